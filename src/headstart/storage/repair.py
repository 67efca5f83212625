"""Hints on how a damaged file of a run or of a study is repaired, by its place.

The record and the results of a run cannot be made from other files: without a copy, the run is trained again. What a
study has beside its runs, such as the verdict and the model, is made from them.
"""

from __future__ import annotations

from pathlib import Path

from headstart.i18n import Message, _
from headstart.storage.schemas.result import RESULT_FILE

_STUDY_FILES = ("study.toml", "ablation.json")  # in the folder of a study and of an ablation
PLAN_FILE, CHECKPOINTS_FOLDER = "plan.json", "checkpoints"  # in the folder of a run
_EARLIER_STAGES = ("search", "sources")  # folders of a study with runs that are not compared
_MAX_LEVELS = 2  # from the folder of a run to that of its study, which may have a folder for each stage


def run_hint(run: Path) -> Message:
    """Return how a run is repaired of which a file other than plan.json is missing or was changed."""
    study = study_of(run)
    if study is not None and _parent(run).name in _EARLIER_STAGES:
        return _earlier_stage_hint(run, study)
    return _(
        "Restore the file from a copy. To train the run again, remove {result}, then run `headstart resume "
        "{folder:shell}`.",
        result=run / RESULT_FILE,
        folder=study or run,
    )


def lost_result_hint(run: Path) -> Message:
    """Return how a run of a study is repaired that has no result.json, although the study has a verdict."""
    return _(
        "Restore {result} from a copy, or run `headstart resume {folder:shell}`, which trains the run to its end and "
        "computes the verdict again.",
        result=run / RESULT_FILE,
        folder=study_of(run) or _parent(run),
    )


def other_run_hint(run: Path) -> Message:
    """Return how a study is repaired in which a run is not the one that its verdict names."""
    return _(
        "Restore the run from a copy, or run `headstart resume {folder:shell}`, which computes the verdict from the "
        "runs that are there.",
        folder=study_of(run) or _parent(run),
    )


def _earlier_stage_hint(run: Path, study: Path) -> Message:
    """Return how a run of the search or of the sources of a study is repaired: a verdict does not need it any more."""
    if (study / "verdict.json").is_file():
        return _(
            "Restore the file from a copy. The finished study does not need the run any more: without a copy, remove "
            "the folder {run}.",
            run=run,
        )
    return _(
        "Restore the file from a copy. To train the run again, remove the folder {run}, then run `headstart resume "
        "{folder:shell}`.",
        run=run,
        folder=study,
    )


def checkpoints_hint(run: Path) -> Message:
    """Return how a run is continued whose checkpoints cannot be used, or do not fit its record."""
    return _(
        "Restore the files of the run from a copy. To train the run again from its start, remove the folder "
        "{checkpoints}, then run `headstart resume {folder:shell}`.",
        checkpoints=run / CHECKPOINTS_FOLDER,
        folder=study_of(run) or run,
    )


def plan_hint(run: Path) -> Message:
    """Return how a run is repaired whose plan.json was changed: without it nothing is known about the run."""
    study = study_of(run)
    if study is None:
        return _("Undo the change, restore the file from a copy, or train a new run.")
    if _parent(run).name in _EARLIER_STAGES:
        return _earlier_stage_hint(run, study)
    return _(
        "Undo the change, or restore the file from a copy. To train the run again, remove the folder {run}, then run "
        "`headstart resume {folder:shell}`.",
        run=run,
        folder=study,
    )


def study_hint(study: Path) -> Message:
    """Return how the verdict, the model or the report of a study is made again."""
    return _("Run `headstart resume {folder:shell}`, which makes it again from the runs.", folder=study)


def model_hint(model: Path) -> Message | None:
    """Return how the model folder of a study or of a run is repaired; None for one that was copied alone."""
    owner = _parent(model)
    if _is_study(owner):
        return study_hint(owner)
    return run_hint(owner) if (owner / PLAN_FILE).is_file() else None


def study_of(run: Path) -> Path | None:
    """Return the folder of the study or of the ablation in which the folder of a run is; None outside one."""
    folder = run
    for _level in range(_MAX_LEVELS):
        folder = _parent(folder)
        if _is_study(folder):
            return folder
    return None


def _is_study(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _STUDY_FILES)


def _parent(folder: Path) -> Path:
    """Return the parent of a folder, also of one such as `.`, by the path that the user gave where it has one."""
    return folder.parent if folder.name not in ("", "..") else folder.resolve().parent
