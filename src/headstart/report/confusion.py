"""The confusion matrix of a model as the cells of a heat map, and the evaluation of a run that may be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.analysis import confusion
from headstart.analysis.run_records import RunRecord
from headstart.i18n import Message, _, join, ngettext
from headstart.report.svg import charts
from headstart.storage.schemas.metrics import Evaluation


@dataclass(frozen=True)
class ConfusionGrid:
    """Cells of a confusion matrix.

    Args:
        grid: The cells of the shown classes; values are shares of the true class, texts are counts.
        title: How many images are correct.
        caption: How to read the cells, and how many classes are left out.
    """

    grid: charts.Grid
    title: Message
    caption: Message


def confusion_grid(evaluation: Evaluation, classes: Sequence[str], split: Message, arm: Message) -> ConfusionGrid:
    """Return the cells of the most confused classes of a model.

    Args:
        evaluation: Evaluation of the model.
        classes: Names of all classes.
        split: The evaluated images in words.
        arm: The model in words.
    """
    counts = evaluation.confusion
    shown = confusion.shown_classes(counts)
    names = [classes[index] for index in shown]
    totals = counts.true_totals
    rows = [(row, max(int(totals[true]), 1)) for true, row in zip(shown, counts.block(shown).tolist(), strict=True)]
    shares = [[count / total for count in row] for row, total in rows]
    grid = charts.Grid(names, names, shares, [[str(count) for count in row] for row, _unused in rows])
    title = ngettext(
        "{correct} of {count} {split} image is correct ({arm})",
        "{correct} of {count} {split} images are correct ({arm})",
        counts.images,
        correct=counts.correct,
        split=split,
        arm=arm,
    )
    caption = _("Rows: true class; columns: predicted class. Darker: a larger share of the row.")
    if others := counts.classes - len(shown):
        left_out = ngettext(
            "Shown: the most confused classes; {count} other is left out.",
            "Shown: the most confused classes; {count} others are left out.",
            others,
        )
        caption = join([caption, left_out])
    return ConfusionGrid(grid, title, caption)


def shown_evaluation(run: RunRecord) -> tuple[Evaluation, str] | None:
    """Return the evaluation of a run that may be shown, and the name of its split; None until the run has ended.

    This is the one on test, or on val if there is none or the verdict of the run's study is not known yet.
    """
    return None if run.result is None else (run.result.final, run.evaluation_split)
