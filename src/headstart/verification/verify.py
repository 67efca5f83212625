"""Compare a verdict with what follows from the records of its study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headstart.errors import DataError, HeadstartError
from headstart.i18n import Message, _
from headstart.storage import contained, repair
from headstart.storage.run_files import STUDY_FILE, VERDICT_FILE
from headstart.storage.schemas.schema import MAX_JSON_BYTES
from headstart.storage.schemas.verdict import Verdict
from headstart.text import join_first, message_of
from headstart.verification.conditions import recorded_conditions
from headstart.verification.costs import study_cost
from headstart.verification.declaration import Declaration, read_declaration
from headstart.verification.evaluations import recomputed_evaluations, stated_evaluations
from headstart.verification.labels import data_efficiency
from headstart.verification.outcome import NOT_RECOMPUTED, Verification
from headstart.verification.rates import rate_faults, search_groups
from headstart.verification.records import RecordedRun, compared_runs, read_runs
from headstart.verification.sentences import shown_numbers
from headstart.verification.tree import Leaf, Tree, leaves


def verify(study: Path) -> Verification:
    """Compute the verdict of the study in a folder again from its records, and compare every value.

    Raises:
        DataError: It is no study, has no verdict yet, or a file is missing, damaged or of another study.
        BrokenSealError: A file of a run has changed since the run ended.
    """
    _require_concluded(study)
    stated, faults = _read_verdict(study)
    try:
        return _verified(study, stated, faults)
    except HeadstartError:
        raise
    except (ArithmeticError, LookupError, ValueError, TypeError) as error:  # of files that are not of one study
        raise DataError(
            _("The records of {study} do not fit together ({reason}).", study=study, reason=message_of(error)),
            _("Restore them from a copy."),
        ) from None


def _verified(study: Path, stated: Verdict, faults: list[Message]) -> Verification:
    declared, runs = read_declaration(study), read_runs(study)
    compared = compared_runs(runs)
    faults += _require_runs(study, stated, compared)
    trials = read_runs(study, "search")
    content: Tree = stated.to_json()
    sentences = content.pop("sentences")
    recomputed = recompute(declared, runs, trials, read_runs(study, "sources"))
    faults += [
        _("{run} was trained with another learning rate than its search selected.", run=run)
        for run in rate_faults(recomputed["search"], compared)
    ]
    named = {key: content.pop(key) for key in NOT_RECOMPUTED}
    pairs = [
        *leaves(content, recomputed),
        *leaves(stated_evaluations(compared), recomputed_evaluations(compared), "runs"),
        *_shown(sentences, {**recomputed, "network": named["network"], "studies": named["studies_on_test_set"]}),
    ]
    return Verification.of(study, pairs, faults)


def recompute(
    declared: Declaration, runs: Sequence[RecordedRun], trials: Sequence[RecordedRun], sources: Sequence[RecordedRun]
) -> Tree:
    """Return the fields of verdict.json but those of `NOT_RECOMPUTED` and the sentences.

    Args:
        declared: What the study declares.
        runs: The runs in its folder.
        trials: Those of its search.
        sources: Those that trained weights of its arms.
    """
    protocol, compared = declared.protocol, compared_runs(runs)
    recorded = recorded_conditions(compared, declared)
    first = next(iter(declared.variants.values()))
    return {
        **recorded[-1],
        "schema_version": 1,
        "pooled": bool(protocol.pooled_seeds),
        "of_others": sum(run.of_others for run in compared),
        "left_out": protocol.pooled_left_out,
        "metric": protocol.metric,
        "margin": protocol.margin_width,
        "max_seeds": protocol.max_seeds,
        "further": protocol.further,
        "target": protocol.target,
        "fingerprint": compared[0].plan.facts.fingerprint,
        "classes": compared[0].plan.facts.class_names,
        "conditions": recorded[:-1],
        "labels": data_efficiency(recorded),
        "search": search_groups(declared, trials),
        "exposure": {
            name: {"classes": inputs.known_classes, "images": inputs.known_images}
            for name, inputs in declared.variants.items()
        },
        "overlaps": [overlap.to_json() for overlap in first.overlaps],
        "cost": study_cost(trials, runs, sources),
    }


def _shown(sentences: Tree, recomputed: Tree) -> Iterator[Leaf]:
    """Yield each number in a sentence as a leaf: one that nothing explains has no counterpart."""
    for kind, shown, name, value in shown_numbers(sentences, recomputed):
        number = float(shown.replace(",", ""))
        yield Leaf(f"sentences.{kind}", number, number if name else value, absent=name is None)


def _require_concluded(study: Path) -> None:
    """Raise DataError for a folder that is no study with a verdict."""
    if not study.exists():
        raise DataError(_("{folder} does not exist.", folder=study), _("Check the path."))
    if not study.is_dir():
        raise DataError(_("{folder} is no folder.", folder=study), _("Name the folder of a study."))
    if contained.is_file(study, STUDY_FILE):
        if not contained.is_file(study, VERDICT_FILE):
            raise DataError(
                _("{folder} has no verdict yet.", folder=study),
                _("Run `headstart resume {folder:shell}`.", folder=study),
            )
    elif contained.is_file(study, "plan.json"):
        raise DataError(
            _("{folder} is a run, which has no verdict.", folder=study),
            _("Name the folder of its study, {study}.", study=repair.study_of(study))
            if repair.study_of(study)
            else _("Name the folder of a study."),
        )
    else:
        raise DataError(_("{folder} is not the folder of a study.", folder=study), _("Name the folder of a study."))


def _read_verdict(study: Path) -> tuple[Verdict, list[Message]]:
    """Return the verdict of a study, and what is wrong with it as a whole: its seal, or names that refer to nothing.

    Raises:
        DataError: It is damaged, or of another schema version.
    """
    path, hint = study / VERDICT_FILE, repair.study_hint(study)
    content = contained.read_bytes(study, VERDICT_FILE, MAX_JSON_BYTES)
    try:
        return Verdict.parse(content, str(path), hint), []
    except DataError as error:
        return super(Verdict, Verdict).parse(content, str(path), hint), [error.message]


def _require_runs(study: Path, stated: Verdict, compared: Sequence[RecordedRun]) -> list[Message]:
    """Return which runs are not those of the verdict. Raises DataError if one is not there."""
    present = {run.folder.name: run for run in compared}
    named = [run.run for condition in stated.all_conditions for arm in condition.arms for run in arm.seeds]
    if missing := [name for name in dict.fromkeys([*named, *stated.seal.runs]) if name not in present]:
        raise DataError(
            _("{study} does not have all runs of its verdict: {names}.", study=study, names=join_first(missing, 3)),
            _("Copy the whole folder of the study, or run `headstart resume {study:shell}`.", study=study),
        )
    faults = []
    for name, run in present.items():
        digest: Any = run.result.seal.digest if run.result else ""
        if stated.seal.runs.get(name) != digest:
            faults.append(_("{folder} is not the run that the verdict is about.", folder=run.folder))
    return faults
