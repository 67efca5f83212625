"""Export a study's best model, and require that a study has a winner."""

from __future__ import annotations

import shutil
from pathlib import Path

from headstart.analysis.wording import evaluation_images, paragraph, splits
from headstart.artifacts.model_folder import merge_weight_files
from headstart.errors import UsageError
from headstart.storage import files
from headstart.storage.schemas.verdict import Verdict
from headstart.text import pluralize


def export(folder: Path, verdict: Verdict) -> None:
    """Copy the model of the arm selected on val to `model/` in the study's folder.

    The model card quotes the arm's mean, not the accuracy of the exported seed. Does nothing if the run has no model.

    Args:
        folder: Folder of the study.
        verdict: Its verdict.
    """
    source, target = folder / verdict.exported.run / "model", folder / "model"
    if not source.is_dir():
        return
    scratch = target.with_name(f"model{files.temp_suffix()}")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch)
    merge_weight_files(scratch)
    arm = verdict.arm(verdict.selected)
    card = scratch / "README.md"
    lines = [
        card.read_text(encoding="utf-8"),
        f"Selected on {splits(verdict)[0]} among {pluralize(verdict.n, 'seed')} of the arm {arm.name}. The arm's "
        f"mean on {verdict.evaluation.images} {evaluation_images(verdict)} is {arm.test:.3f}: "
        "expect this accuracy, not "
        "that of a single seed.\n",
        f"{paragraph(verdict.sentences)}\n",
    ]
    card.write_text("\n".join(lines), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)


def require_winner(verdict: Verdict) -> None:
    """Require that the study has a winner and that its exported model is of the winning arm.

    Args:
        verdict: The study's verdict.

    Raises:
        UsageError: There is no winner, or the winner is not the arm selected on val.
    """
    if verdict.winner is None:
        raise UsageError("The study has no winner.", "Read the verdict for how many seeds or images would decide it.")
    if verdict.winner != verdict.selected:
        selection, evaluation = splits(verdict)
        raise UsageError(
            f"The study's model was selected on {selection}, and its arm lost on {evaluation}.",
            "Read the verdict, and use a model of the winning arm.",
        )
