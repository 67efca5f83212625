"""Add seeds to a finished study, within the number that it declared before its first run.

A verdict that is computed again after more seeds is another chance for a false decision. A study can declare that
seeds may be added (`max_seeds`), and the error that is kept for the further analyses (`analysis.looks`). Without that,
the same question is a new study on fresh seeds.
"""

from __future__ import annotations

from pathlib import Path

from headstart.analysis.status import read_verdict
from headstart.config.study_config import StudyConfig
from headstart.config.study_file import StudySpec, read_study, write_study
from headstart.errors import UsageError
from headstart.i18n import _, ngettext
from headstart.storage import contained, locks
from headstart.storage.run_files import VERDICT_FILE


def add_seeds(folder: Path, count: int) -> None:
    """Declare a further analysis of a study after `count` more seeds, and remove its verdict.

    Raises:
        UsageError: The study has no verdict yet, has ended at an interim analysis, or has not declared so many seeds.
        DataError: A file of the study is damaged.
    """
    if count < 1:
        raise UsageError(_("--more-seeds is {count}; it must be at least 1.", count=count), _("Name the added seeds."))
    with locks.locked(folder):
        spec = read_study(folder)
        protocol = spec.protocol
        if not contained.is_file(folder, VERDICT_FILE):
            raise UsageError(
                _("{study} has no verdict yet: no seeds can be added.", study=folder),
                _("Finish it with `headstart resume {study:shell}`.", study=folder),
            )
        if read_verdict(folder).n < protocol.all_seeds:
            raise UsageError(
                _("{study} ended before its last declared seed: no seeds can be added.", study=folder),
                _("Its verdict stands. A new study on fresh seeds can ask the question again."),
            )
        _require_reserve(folder, spec, count)
        contained.remove(folder, VERDICT_FILE)
        further = (*protocol.further, protocol.all_seeds + count)
        rules = StudyConfig.model_validate({**protocol.model_dump(), "further": further})
        write_study(folder, StudySpec(rules, spec.plan))


def _require_reserve(folder: Path, spec: StudySpec, count: int) -> None:
    """Raise UsageError if the study has not declared so many more seeds."""
    protocol = spec.protocol
    left = max(0, protocol.max_seeds - protocol.all_seeds)
    if count <= left:
        return
    fresh = spec.seed_range[-1] + 1
    hint = _(
        "Begin a new study on fresh seeds: `headstart compare --study {file:shell}` with a copy of study.toml whose "
        "seed is {seed}. To be able to add seeds, set max_seeds there, too.",
        file="new-study.toml",
        seed=fresh,
    )
    if not protocol.max_seeds:
        message = _(
            "{study} did not declare that seeds may be added: another verdict is another chance for a false decision.",
            study=folder,
        )
        raise UsageError(message, hint)
    message = ngettext(
        "{study} declared at most {limit} seeds: {count} more can be added.",
        "{study} declared at most {limit} seeds: {count} more can be added.",
        left,
        study=folder,
        limit=protocol.max_seeds,
    )
    raise UsageError(message, hint)
