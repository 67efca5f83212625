"""Read a study's verdict, and check from its files whether the study is complete."""

from __future__ import annotations

from pathlib import Path

from headstart.analysis.run_records import main_runs
from headstart.config.study_file import StudySpec
from headstart.errors import DataError
from headstart.i18n import _
from headstart.storage import contained
from headstart.storage.schemas.verdict import Verdict


def complete_verdict(folder: Path, spec: StudySpec) -> Verdict | None:
    """Return the verdict of the study in `folder` if the study is complete, else None.

    A study is complete if its verdict is that of `spec`, and all runs that it names, the report, and the model of the
    exported run exist.

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
    runs = {run.folder.name for run in main_runs(folder)}
    return verdict if has_outputs and named_runs and named_runs <= runs else None


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
