"""Export a study's best model, and require that a study has a winner."""

from __future__ import annotations

import secrets
from pathlib import Path

from headstart import markdown
from headstart.analysis.sentences import verdict_messages
from headstart.analysis.wording import arm_words, evaluation_images, named_words, splits
from headstart.artifacts.model_folder import merge_weight_files
from headstart.config.sealed_run import require_intact_model
from headstart.errors import NoWinnerError
from headstart.i18n import _, ngettext
from headstart.printable import printable
from headstart.storage import contained
from headstart.storage.run_files import MODEL_FILES, MODEL_FOLDER, copy_folder
from headstart.storage.schemas.verdict import Verdict
from headstart.text import join_list


def export(folder: Path, verdict: Verdict) -> None:
    """Copy the model of the arm selected on val to `model/` in the study's folder.

    The model card quotes the arm's mean, not the accuracy of the exported seed. Does nothing if the run has no model.

    Args:
        folder: Folder of the study.
        verdict: Its verdict.

    Raises:
        UnsafeFileError: The model is or contains a link.
        BrokenSealError: The model has changed since its run ended.
    """
    source = contained.join(verdict.exported.run, MODEL_FOLDER)
    if not contained.is_folder(folder, source):
        return
    require_intact_model(contained.subfolder(folder, verdict.exported.run))
    scratch = f"{MODEL_FOLDER}.{secrets.token_hex(8)}{contained.temp_suffix()}"
    contained.make_folder(folder, scratch, exist_ok=False)
    try:
        copy_folder(folder, source, folder, scratch, MODEL_FILES)
        merge_weight_files(folder, scratch)
        card = contained.join(scratch, "README.md")
        contained.write(folder, card, _card(contained.read_text(folder, card), verdict))
        contained.remove_folder(folder, MODEL_FOLDER)
        contained.rename(folder, scratch, MODEL_FOLDER)
    finally:
        contained.remove_folder(folder, scratch)


def _card(card: str, verdict: Verdict) -> str:
    """Return a model card with the sentences of the study."""
    arm = verdict.arm(verdict.selected)
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
    return "\n".join([card, *(f"{markdown.as_paragraph(markdown.escape(printable(text)))}\n" for text in paragraphs)])


def require_winner(verdict: Verdict) -> None:
    """Require that the study has a winner, which is then the arm of its exported model.

    Args:
        verdict: The study's verdict.

    Raises:
        NoWinnerError: More than one arm is not shown to be worse than another.
    """
    if verdict.winner is None:
        raise NoWinnerError(
            _(
                "The study has no winner: {arms} are not shown to be worse than any other arm.",
                arms=join_list(named_words(verdict, name) for name in verdict.not_worse),
            ),
            _("Read the verdict: it estimates how many more seeds or images are needed."),
        )
