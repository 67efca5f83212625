"""Export a study's best model, and require that a study has a winner."""

from __future__ import annotations

import shutil
from pathlib import Path

from headstart import markdown
from headstart.analysis.sentences import verdict_messages
from headstart.analysis.wording import arm_words, evaluation_images, splits
from headstart.artifacts.model_folder import merge_weight_files
from headstart.errors import NoWinnerError
from headstart.i18n import _, ngettext
from headstart.storage.contained import temp_suffix
from headstart.storage.schemas.verdict import Verdict
from headstart.text import printable


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
    scratch = target.with_name(f"model{temp_suffix()}")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch)
    merge_weight_files(scratch)
    arm = verdict.arm(verdict.selected)
    card = scratch / "README.md"
    selection = ngettext(
        "Selected on {split} among {count:,} seed of the arm {arm}. The arm's mean on {number} {images} is "
        "{accuracy:.3f}: expect this accuracy, not that of a single seed.",
        "Selected on {split} among {count:,} seeds of the arm {arm}. The arm's mean on {number} {images} is "
        "{accuracy:.3f}: expect this accuracy, not that of a single seed.",
        verdict.n,
        split=splits(verdict)[0],
        arm=arm_words(arm.spec),
        number=verdict.evaluation.images,
        images=evaluation_images(verdict),
        accuracy=arm.test,
    )
    paragraphs = (selection, verdict_messages(verdict).paragraph)
    lines = [
        card.read_text(encoding="utf-8"),
        *(f"{markdown.as_paragraph(markdown.escape(printable(text)))}\n" for text in paragraphs),
    ]
    card.write_text("\n".join(lines), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    scratch.rename(target)


def require_winner(verdict: Verdict) -> None:
    """Require that the study has a winner and that its exported model is of the winning arm.

    Args:
        verdict: The study's verdict.

    Raises:
        NoWinnerError: There is no winner, or the winner is not the arm selected on val.
    """
    if verdict.winner is None:
        raise NoWinnerError(
            _("The study has no winner."), _("Read the verdict: it estimates how many more seeds or images are needed.")
        )
    if verdict.winner != verdict.selected:
        selection, evaluation = splits(verdict)
        raise NoWinnerError(
            _(
                "The study's model was selected on {selection}; the winner on {evaluation} is another arm.",
                selection=selection,
                evaluation=evaluation,
            ),
            _("Read the verdict, and use a model of the winning arm."),
        )
