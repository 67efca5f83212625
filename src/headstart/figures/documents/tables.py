"""The tables of a verdict: accuracy of the arms, contrasts, and the numbers of the figures of the page."""

from __future__ import annotations

from headstart.analysis.wording import metric_words, named_words, splits
from headstart.figures.documents.model import DocumentTable
from headstart.i18n import Message, _, join, ngettext
from headstart.report.layout import Section
from headstart.report.sections import arm_row, ranked_arms
from headstart.report.words import evaluated_images
from headstart.storage.schemas.contrast import Contrast, Outcome
from headstart.storage.schemas.verdict import ArmResult, Verdict
from headstart.text import format_level, format_points

NO_VALUE = "–"
NO_EPOCH_NOTE = _(
    "Without a best epoch: the run diverged before its first evaluation and counts as a model that predicts the first "
    "class."
)


def accuracy_table(verdict: Verdict) -> DocumentTable:
    """Return the accuracy of each arm on the evaluation images, with its interval, seeds, epochs and rates."""
    header = [
        _("arm"),
        _("mean, %"),
        _("95 % interval over seeds"),
        _("seeds, %"),
        _("{split}, %", split=splits(verdict)[0]),
        _("best epochs"),
        _("learning rate"),
    ]
    rows = []
    for arm in ranked_arms(verdict):
        row = arm_row(arm, 0, selected=False)
        interval: str = _("{low:.1f} to {high:.1f}", low=row.low, high=row.high) if len(row.dots) > 1 else NO_VALUE
        seeds = join([f"{value:.1f}" for value in row.dots], ", ")
        rows.append([row.name, f"{row.mean:.1f}", interval, seeds, f"{100 * arm.val:.1f}", _epochs(arm), _rates(arm)])
    caption = _(
        "{metric:cap} on {images} by arm, over {seeds}. The column {selection} is the mean on the images that selected "
        "the epochs.",
        metric=metric_words(verdict),
        images=evaluated_images(verdict),
        seeds=ngettext("{count} seed", "{count} seeds", verdict.n),
        selection=header[4],
    )
    if verdict.n > 1:
        caption = join([caption, _("Values of the seeds are in the order of the seeds.")])
    if any(not run.best_epoch for arm in verdict.arms for run in arm.seeds):
        caption = join([caption, NO_EPOCH_NOTE])
    return DocumentTable("accuracy", caption, header, rows)


def _epochs(arm: ArmResult) -> str:
    """Return the best epoch of each seed, of all epochs that were trained."""
    ends = {run.epochs for run in arm.seeds}
    epochs = join([str(run.best_epoch or NO_VALUE) for run in arm.seeds], ", ")
    return _("{epochs} of {all}", epochs=epochs, all=ends.pop()) if len(ends) == 1 else epochs


def _rates(arm: ArmResult) -> str:
    return join(dict.fromkeys(f"{run.lr:g}" for run in arm.seeds), ", ")


def contrast_table(verdict: Verdict) -> list[DocumentTable]:
    """Return the table of all contrasts, the primary one first; nothing with one seed."""
    if not verdict.contrasts:
        return []
    header = [
        _("first minus second"),
        _("difference, points"),
        _("interval"),
        _("level"),
        _("p"),
        _("first ahead on"),
        _("decision"),
    ]
    rows = [_contrast_row(verdict, contrast) for contrast in verdict.contrasts]
    caption = _(
        "Differences between arms in percentage points, on {images}. The equivalence margin is ±{margin} percentage "
        "points.",
        images=evaluated_images(verdict),
        margin=format_points(verdict.margin),
    )
    if len(rows) > 1:
        caption = join([caption, _("The primary contrast comes first. The p-values are adjusted for all contrasts.")])
    return [DocumentTable("contrasts", caption, header, rows)]


def _contrast_row(verdict: Verdict, contrast: Contrast) -> list[str]:
    outcomes = {
        Outcome.BETTER: _("first is better"),
        Outcome.WORSE: _("second is better"),
        Outcome.EQUIVALENT: _("equivalent"),
        Outcome.UNDECIDED: _("undecided"),
    }
    return [
        _("{first} minus {second}", first=named_words(verdict, contrast.first),
          second=named_words(verdict, contrast.second)),
        format_points(contrast.mean, signed=True),
        _("{low} to {high}", low=format_points(contrast.low), high=format_points(contrast.high)),
        format_level(contrast.level),
        f"{contrast.p_adjusted:.2g}",
        ngettext("{wins} of {count} seed", "{wins} of {count} seeds", contrast.n, wins=contrast.wins),
        outcomes[contrast.outcome],
    ]  # fmt: skip


def numbers_of(section: Section | None, key: str, caption: Message) -> list[DocumentTable]:
    """Return the numbers of the first figure of a section of the page as a table; nothing without the section."""
    if section is None or not section.figures:
        return []
    figure = section.figures[0]
    return [DocumentTable(key, caption, figure.header, figure.rows)]
