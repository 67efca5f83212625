"""Check a study as a whole: that its verdict, its runs and what they wrote belong together.

Every command that shows or uses a study calls this first, so that all notice the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.analysis.run_records import ConditionKey, RunRecord, main_runs, runs_in
from headstart.analysis.wording import arm_words
from headstart.config.study_file import StudySpec, read_study
from headstart.errors import DataError
from headstart.i18n import NOTHING, Message, _, ngettext
from headstart.storage import contained, repair, seals
from headstart.storage.run_files import MODEL_FOLDER, SEARCH_FILE, STUDY_FILE, VARIANTS_FILE, VERDICT_FILE
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.result import RESULT_FILE
from headstart.storage.schemas.study import Stage
from headstart.storage.schemas.verdict import Verdict
from headstart.storage.seals import BrokenSealError
from headstart.text import join_first

_BESIDE_STUDY_FILE = (VERDICT_FILE, SEARCH_FILE, VARIANTS_FILE)  # files that only a study has
RUN_FOLDERS = ("", "search", "sources")  # that have runs, in the folder of a study
_MAX_SHOWN = 3


@dataclass(frozen=True)
class StudyRun:
    """A run that a study has or should have; `folder` is "" while it has no name."""

    arm: ArmSpec
    seed: int
    condition: ConditionKey
    folder: str = ""

    @property
    def words(self) -> Message:
        """The run in words: its folder if it has one, and its arm with the seed."""
        run = _("{arm} with seed {seed}", arm=arm_words(self.arm), seed=self.seed)
        return _("{folder} ({run})", folder=self.folder, run=run) if self.folder else run


def is_study(folder: Path) -> bool:
    """Return whether a folder is that of a study.

    Raises:
        DataError: Other files of a study are there, but study.toml is missing.
    """
    if contained.is_file(folder, STUDY_FILE):
        return True
    if contained.is_file(folder, "ablation.json"):
        return False
    for name in _BESIDE_STUDY_FILE:
        if contained.is_file(folder, name):
            raise DataError(
                _("{path} is missing, although the folder has {name} of a study.", path=folder / STUDY_FILE, name=name),
                _(
                    "Restore study.toml from a copy of the study. To see the runs alone, copy their folders into "
                    "another folder, and name that."
                ),
            )
    return False


def declared_runs(spec: StudySpec, seeds: Sequence[int] | None = None) -> list[StudyRun]:
    """Return the runs of the comparison that a study declares, of these seeds or of all."""
    return [
        StudyRun(variant.arm, seed, ConditionKey(str(budget), fraction))
        for budget in spec.budgets
        for fraction in spec.protocol.fractions
        for seed in (spec.seed_range if seeds is None else seeds)
        for variant in spec.variants
    ]


def missing_runs(declared: Iterable[StudyRun], runs: Iterable[RunRecord]) -> list[StudyRun]:
    """Return the declared runs that are not among the runs of a study."""
    present = {(run.arm, run.seed, run.condition) for run in runs if run.stage is Stage.MAIN}
    return [run for run in declared if (run.arm.name, run.seed, run.condition) not in present]


def named_runs(verdict: Verdict) -> list[StudyRun]:
    """Return the runs that a verdict is about."""
    return [
        StudyRun(arm.spec, run.seed, ConditionKey(condition.budget, condition.fraction), run.run)
        for condition in verdict.all_conditions
        for arm in condition.arms
        for run in arm.seeds
    ]


def absent_runs(folder: Path, verdict: Verdict | None, runs: Sequence[RunRecord]) -> Message:
    """Return which runs of a study are absent, as a sentence; empty if all are there, or outside a study.

    Args:
        folder: Folder of the study, or of other runs.
        verdict: Its verdict; without one, the runs are those that the study declares.
        runs: The runs that are there.
    """
    has_declaration = is_study(folder)
    if verdict is not None:
        present = {run.folder.name for run in runs}
        every = named_runs(verdict)
        absent = [run for run in every if run.folder not in present]
        return NOTHING if not absent else _absent_words(absent, len(every))
    if not has_declaration:
        return NOTHING
    every = declared_runs(read_study(folder))
    absent = missing_runs(every, runs)
    return NOTHING if not absent else _absent_words(absent, len(every))


def _absent_words(absent: Sequence[StudyRun], declared: int) -> Message:
    return ngettext(
        "{count:,} of {declared:,} runs is not there: {names}.",
        "{count:,} of {declared:,} runs are not there: {names}.",
        len(absent),
        declared=declared,
        names=join_first([run.words for run in absent], _MAX_SHOWN),
    )


def checked_verdict(folder: Path, runs: Iterable[RunRecord] | None = None) -> Verdict | None:
    """Return the verdict of a study, also of one that has lost its study.toml; None while it has none, or outside one.

    Args:
        folder: Folder of the study.
        runs: Its runs. Default: they are read.

    Raises:
        DataError: The verdict is damaged, or of another schema version.
        BrokenSealError: A run is not the one that the verdict is about.
    """
    if not contained.is_file(folder, VERDICT_FILE):
        return None
    verdict = read_verdict(folder)
    require_runs(verdict, runs_in(folder) if runs is None else runs)
    return verdict


def require_runs(verdict: Verdict, runs: Iterable[RunRecord]) -> None:
    """Raise BrokenSealError if a run is not the one that the verdict is about, such as that of another study."""
    if (other := other_run(verdict, runs)) is not None:
        hint = repair.lost_result_hint if other.result is None else repair.other_run_hint
        raise BrokenSealError(other_run_words(other), hint(other.folder))


def other_run(verdict: Verdict, runs: Iterable[RunRecord]) -> RunRecord | None:
    """Return a run whose seal, arm or seed is not that of the verdict, if there is one."""
    sealed = verdict.seal.runs
    named = {run.folder: (run.arm.name, run.seed) for run in named_runs(verdict)}
    for run in runs:
        digest, role = "" if run.result is None else run.result.seal.digest, (run.arm, run.seed)
        if sealed.get(run.folder.name, digest) != digest or named.get(run.folder.name, role) != role:
            return run
    return None


def other_run_words(run: RunRecord) -> Message:
    """Return that a run is not the one that the verdict of its study is about, or has lost its result."""
    if run.result is None:
        return _(
            "{folder} has no {file}: the run that the verdict names has not ended, or has lost this file.",
            folder=run.folder,
            file=RESULT_FILE,
        )
    return _("{folder} is not the run that the verdict names.", folder=run.folder)


def read_verdict(folder: Path) -> Verdict:
    """Read verdict.json of the study in `folder`.

    Raises:
        DataError: The study is not finished, or the file is missing, damaged, or of another schema version.
    """
    if (folder / STUDY_FILE).exists() and not (folder / VERDICT_FILE).exists():
        raise DataError(
            _("{folder} has no verdict yet.", folder=folder), _("Run `headstart resume {folder:shell}`.", folder=folder)
        )
    return Verdict.read(folder / VERDICT_FILE, repair.study_hint(folder))


def sealed_runs(folder: Path) -> list[RunRecord]:
    """Return the runs of all stages of a study that have ended, after each of their files was verified.

    Raises:
        BrokenSealError: A file of a run has changed, or is missing. A model may be missing as a whole: users remove it
            to save space.
    """
    ended = []
    for run in (run for part in RUN_FOLDERS for run in runs_in(folder, part)):
        if run.result is not None:
            seals.require_kept(run.folder, run.result.seal)
            ended.append(run)
    return ended


def has_all_runs(folder: Path, verdict: Verdict) -> bool:
    """Return whether all runs that a verdict is about are in the folder of its study, with their seals."""
    runs = main_runs(folder)
    names = {run.folder for run in named_runs(verdict)}
    return bool(names) and names <= {run.folder.name for run in runs} and other_run(verdict, runs) is None


def has_model(folder: Path, verdict: Verdict) -> bool:
    """Return whether the run of a study's verdict has a model, which is exported."""
    return contained.is_folder(folder, f"{verdict.exported.run}/{MODEL_FOLDER}")
