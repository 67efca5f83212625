"""Read a study's verdict, and check from its files whether the study is complete."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headstart.analysis.run_records import RunRecord, main_runs
from headstart.config.study_file import StudySpec
from headstart.errors import DataError
from headstart.i18n import _
from headstart.storage import contained
from headstart.storage.schemas.verdict import Verdict
from headstart.storage.seals import BrokenSealError


def complete_verdict(folder: Path, spec: StudySpec) -> Verdict | None:
    """Return the verdict of the study in `folder` if the study is complete, else None.

    A study is complete if its verdict is that of `spec`, and all runs that it names, the report, and the model of the
    exported run exist; the runs must be those that the study had.

    Raises:
        DataError: An arm has two runs with the same seed.
    """
    try:
        verdict = read_verdict(folder)
    except DataError:  # missing, damaged, or of another schema version
        return None
    if verdict.study != spec.hash:
        return None
    named_runs = {run.run for condition in verdict.all_conditions for arm in condition.arms for run in arm.seeds}
    has_model = contained.is_folder(folder, f"{verdict.exported.run}/model")
    has_outputs = (folder / "report.html").is_file() and ((folder / "model").is_dir() or not has_model)
    runs = main_runs(folder)
    has_runs = named_runs and named_runs <= {run.folder.name for run in runs} and not _other_runs(verdict, runs)
    return verdict if has_outputs and has_runs else None


def require_runs(verdict: Verdict, runs: Iterable[RunRecord]) -> None:
    """Raise BrokenSealError if a run is not the one that the verdict is about, such as that of another study."""
    if others := _other_runs(verdict, runs):
        raise BrokenSealError(
            _("{folder} is not the run of that name when the study ended.", folder=others[0].folder),
            _("Restore it from a copy, or remove {file} and resume the study.", file="verdict.json"),
        )


def _other_runs(verdict: Verdict, runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs whose seals are not those of the verdict."""
    sealed = verdict.seal.runs
    present = [(run, "" if run.result is None else run.result.seal.digest) for run in runs]
    return [run for run, digest in present if sealed.get(run.folder.name, digest) != digest]


def read_verdict(folder: Path) -> Verdict:
    """Read verdict.json of the study in `folder`.

    Raises:
        DataError: The study is not finished, or the file is missing, damaged, or of another schema version.
    """
    if (folder / "study.toml").exists() and not (folder / "verdict.json").exists():
        raise DataError(
            _("{folder} has no verdict yet.", folder=folder), _("Run `headstart resume {folder:shell}`.", folder=folder)
        )
    return Verdict.read(folder / "verdict.json")
