"""Find the model folder that a path names."""

from __future__ import annotations

from pathlib import Path

from headstart.analysis.run_records import RunRecord, read_run, run_folders
from headstart.analysis.status import checked_verdict
from headstart.analysis.study_model import require_exported_model
from headstart.config.model_file import CONFIG_FILE, ModelFolder
from headstart.config.sealed_run import require_intact_model
from headstart.errors import ModelFileError
from headstart.i18n import _, ngettext
from headstart.metrics.values import counts_value
from headstart.path_names import name_fault
from headstart.storage import contained
from headstart.storage.folders import require_model
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.metrics import Evaluation
from headstart.storage.schemas.result import RunState


def find_model(path: Path) -> ModelFolder:
    """Return the model folder of a path.

    Args:
        path: A run or a study, its `model/` folder, or a folder of runs without studies, whose best run on val is
            selected.

    Raises:
        ModelFileError: There is no model, the path is not UTF-8, there are studies in the folder, or the runs cannot
            be compared: their classes or selection metrics differ.
        UnsafeFileError: A folder or file of the model is a link.
        BrokenSealError: The run, or a file of its model, has changed since the run ended.
    """
    require_model(path)
    if fault := name_fault(path.absolute()):  # safetensors cannot open it
        raise ModelFileError(*fault)
    for name in ("", MODEL_FOLDER):
        if contained.is_file(path, contained.join(name, CONFIG_FILE)):
            return _intact(ModelFolder(path, name))
    studies = sorted(file.parent for file in path.glob("*/study.toml"))
    if studies:  # their data or classes may be others than those of the runs beside them
        raise ModelFileError(
            ngettext("{path} contains {count:,} study.", "{path} contains {count:,} studies.", len(studies), path=path),
            _("Name a run or a study in it, such as {study}.", study=studies[-1]),
        )
    folders = [folder for folder in run_folders(path) if contained.is_file(folder, f"{MODEL_FOLDER}/{CONFIG_FILE}")]
    runs = [read_run(folder) for folder in folders]
    finished = [(run, run.result.val) for run in runs if run.result and run.state is RunState.FINISHED]
    if len({run.plan.facts.class_names for run, _unused in finished}) > 1:
        raise ModelFileError(_("The runs in {path} have different classes.", path=path), _("Name one of these runs."))
    if len({run.plan.recipe.select for run, _unused in finished}) > 1:
        raise ModelFileError(
            _("The runs in {path} select their best epoch by different metrics.", path=path),
            _("Name one of these runs."),
        )
    if finished:  # model selection is on val, never on test
        best, _unused = max(finished, key=lambda item: _val_rank(*item))
        return _intact(ModelFolder(best.folder, MODEL_FOLDER))
    raise ModelFileError(
        _("There is no model and no finished run in {path}.", path=path),
        _("Name a run, its model folder, or a folder of finished runs."),
    )


def _intact(model: ModelFolder) -> ModelFolder:
    """Return a model folder; that of a run that has ended must be the one that the run wrote."""
    require_intact_model(*model)
    if model.name == MODEL_FOLDER and (verdict := checked_verdict(model.root)) is not None:
        require_exported_model(model.root, verdict)
    return model


def _val_rank(run: RunRecord, val: Evaluation) -> tuple[float, float]:
    """Return the key that orders runs: the metric on val that selected their best epoch, then the lower loss."""
    return (counts_value(run.plan.recipe.select, val.confusion), -val.loss)
