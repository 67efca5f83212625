"""The learning rates of pooled runs, and where each comes from: one study declares one rate, or those of optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.run_records import RunRecord
from headstart.config.plan_file import differences
from headstart.config.study_file import StudySpec
from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.optim.registry import OPTIMIZERS
from headstart.storage import contained
from headstart.storage.files import JsonData
from headstart.storage.run_files import SEARCH_FILE
from headstart.storage.schemas.search import SearchResults
from headstart.storage.schemas.study import Stage
from headstart.text import join_first, join_list

_MAX_SHOWN = 3


def require_declarable_rates(spec: StudySpec, examples: Sequence[RunRecord]) -> None:
    """Raise DataError if the arms have learning rates or weight decays that one study would not declare.

    Args:
        spec: The study of which the runs would be.
        examples: A run of each variant, in their order.
    """
    for variant, run in zip(spec.variants, examples, strict=True):
        declared = variant.plan(spec.plan).recipe
        changes = differences(
            _rates(declared.lr, declared.weight_decay), _rates(run.rate, run.plan.recipe.weight_decay)
        )
        if not changes:
            continue
        if declared.lr == run.rate:
            raise DataError(
                _("The arms have different rates; {arm}: {changes}.", arm=variant.name, changes=join_first(changes, 2)),
                _("Pool runs whose rates are equal, or the defaults of their optimizers."),
            )
        words = [
            _("{arm} has {rate:g} ({origin})", arm=variant.name, rate=run.rate, origin=rate_origin(run))
            for variant, run in zip(spec.variants, examples, strict=True)
        ]
        raise DataError(
            _("The arms have different learning rates: {rates}.", rates=join_list(words)),
            _(
                "Pool runs whose arms have the same rate, or the default of their optimizer ({defaults}), such as "
                "those of `headstart compare --search off`. Arms with rates of their own are compared by a study that "
                "has all of them.",
                defaults=_defaults(examples),
            ),
        )


def rate_origin(run: RunRecord) -> Message:
    """Return where the learning rate of a run comes from."""
    study = run.folder.parent
    if run.stage is not Stage.MAIN or not contained.is_file(study, SEARCH_FILE):
        return _("given")
    try:
        searched = bool(SearchResults.read(study / SEARCH_FILE).groups)
    except DataError:
        return _("of the study {study}, whose search.json is damaged", study=study)
    return _("found by the search of {study}", study=study) if searched else _("given")


def _rates(rate: float, weight_decay: float) -> Mapping[str, JsonData]:
    return {"recipe.lr": rate, "recipe.weight_decay": weight_decay}


def _defaults(examples: Sequence[RunRecord]) -> Message:
    names = dict.fromkeys(run.plan.recipe.optimizer for run in examples)
    return join_list([_("{optimizer}: {rate:g}", optimizer=name, rate=OPTIMIZERS[name].lr) for name in names])
