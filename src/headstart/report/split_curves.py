"""Loss and accuracy on the training and selection images during training, one panel per arm."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from headstart.analysis.wording import splits
from headstart.i18n import Message, _, join, ngettext
from headstart.report.curves import MAX_TABLE_ROWS
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.layout import Figure, Section
from headstart.report.series import PlottedRun, group_by_recipe, mean_and_band
from headstart.report.svg.panels import Panel, PanelSeries, small_multiples
from headstart.report.words import early_end_words, selection_images
from headstart.storage.schemas.metrics import EpochLine, SplitScore
from headstart.storage.schemas.verdict import Verdict
from headstart.text import format_points, join_list

MAX_PANELS = 12  # arms with a panel
LOSS_CAP = 5.0  # largest loss that is drawn, as a multiple of the uniform loss
Groups = Mapping[Message, Sequence[PlottedRun]]


@dataclass(frozen=True)
class Quantity:
    """What the panels show.

    Args:
        name: Its name.
        axis: Its name with the unit.
        label: Description of the chart.
        value: Its value in that unit.
        shares: The unit is per cent.
    """

    name: Message
    axis: Message
    label: Message
    value: Callable[[SplitScore], float]
    shares: bool


LOSS = Quantity(
    _("loss"), _("loss"), _("Loss on training and selection images by epoch"), lambda score: score.loss, shares=False
)
ACCURACY = Quantity(
    _("accuracy"),
    _("accuracy, %"),
    _("Accuracy on training and selection images by epoch"),
    lambda score: 100 * score.accuracy,
    shares=True,
)


def split_section(inputs: PageInputs) -> Section | None:
    """Return loss and accuracy on both splits by epoch; None if no run has finished an epoch."""
    runs = [run for run in inputs.compared_runs if run.epochs]
    if not runs:
        return None
    verdict = inputs.verdict if isinstance(inputs, StudyInputs) else None
    selected, selection = (verdict.selected, splits(verdict)[0]) if verdict else ("", _("val"))
    groups = group_by_recipe(sorted(runs, key=lambda run: run.arm != selected))  # the selected arm has a panel
    caption = _caption(verdict, groups, selection)
    figures = [_figure(inputs, groups, quantity, selection, caption) for quantity in (LOSS, ACCURACY)]
    return Section(_gap_words(groups, selection, first=bool(selected)), figures, _notes(groups, selection))


def _figure(inputs: PageInputs, groups: Groups, quantity: Quantity, selection: Message, caption: Message) -> Figure:
    """Return the panels of a quantity."""
    panels: list[Panel] = []
    table: list[list[str]] = []
    all_epochs = _has_all_epochs(groups)
    for name, runs in groups.items():
        series = split_series(runs, quantity, selection)
        means = [line.mean for line in series]
        if len(panels) < MAX_PANELS:
            panels.append(Panel(name, inputs.color[runs[0].arm], series))
        rows = [[name, f"{epoch:g}", f"{train:.4g}", f"{val:.4g}", str(sum(len(run.epochs) >= epoch for run in runs))]
                for (epoch, train), (_epoch, val) in zip(*means, strict=True)]  # fmt: skip
        table += rows if all_epochs else rows[-1:]
    cap = math.inf if quantity.shares else loss_cap(groups)
    chart = small_multiples(
        panels, x=_("epochs"), y=quantity.axis, label=quantity.label, shares=quantity.shares, cap=cap
    )
    header = [_("arm"), _("epoch"), _("train"), selection, _("runs")]
    return Figure(chart, caption, header, table, quantity.name)


def split_series(runs: Sequence[PlottedRun], quantity: Quantity, selection: Message) -> list[PanelSeries]:
    """Return a quantity by epoch on the training and the selection images, in this order, over runs of one arm."""
    series = []
    for split, scores in ((_("train"), _train_scores), (selection, _val_scores)):
        paths = [[(float(line.epoch), quantity.value(scores(line))) for line in run.epochs] for run in runs]
        mean, band = mean_and_band(paths)
        series.append(PanelSeries(split, paths if len(paths) > 1 else [], mean, band, dashed=scores is _train_scores))
    return series


def _train_scores(line: EpochLine) -> SplitScore:
    return line.train


def _val_scores(line: EpochLine) -> SplitScore:
    return line.val


def _has_all_epochs(groups: Groups) -> bool:
    """Return whether the table has every epoch, not only the last of each group."""
    return sum(max(len(run.epochs) for run in runs) for runs in groups.values()) <= MAX_TABLE_ROWS


def loss_cap(groups: Groups) -> float:
    """Return the largest loss that is drawn: a multiple of the loss of equal probabilities for all classes."""
    classes = max(len(run.run.plan.facts.class_names) for runs in groups.values() for run in runs)
    return LOSS_CAP * math.log(max(classes, 2))


def _caption(verdict: Verdict | None, groups: Groups, selection: Message) -> Message:
    """Return how to read the panels."""
    lines = _("Dashed: train. Solid: {split}.", split=selection)
    if max(map(len, groups.values())) > 1:
        counts = sorted({len(group) for group in groups.values()})
        lines = _(
            "Dashed: train. Solid: {split}. Thin: each of the {counts} runs of an arm. Thick: their mean, with its "
            "pointwise 95 % t interval.",
            split=selection,
            counts=join_list(f"{count:,}" for count in counts),
        )
    parts = [lines, *scored_words(verdict, groups, selection)]
    if not _has_all_epochs(groups):
        parts.append(_("The table has the last epoch of each arm; metrics.jsonl of a run has all."))
    return join(parts)


def scored_words(verdict: Verdict | None, groups: Groups, selection: Message) -> list[Message]:
    """Return when and on which images the curves were measured, and which values are drawn elsewhere or missing."""
    runs = [run for group in groups.values() for run in group]
    scored = _(
        "Train is the mean over an epoch, while the weights change{differences}; {split} is evaluated after it, on "
        "{images}.",
        split=selection,
        differences=_training_differences(runs),
        images=selection_images(runs, verdict),
    )
    parts = [scored, *early_end_words(groups)]
    cap = loss_cap(groups)
    if any(max(line.train.loss, line.val.loss) > cap for run in runs for line in run.epochs):
        parts.append(_("Losses above {limit:.3g} are drawn at the top.", limit=cap))
    return parts


def _training_differences(runs: Sequence[PlottedRun]) -> Message:
    """Return what else distinguishes the scores of training images, as the end of a clause, or ""."""
    recipes = [run.run.plan.recipe for run in runs]
    differences = [
        (_("augmentation"), any(r.crop != 1 or r.flip != "off" or r.jitter for r in recipes)),
        (_("mixed images"), any(r.mixup or r.cutmix for r in recipes)),
        (_("label smoothing"), any(r.label_smoothing for r in recipes)),
        (_("class weights"), any(r.class_weights != "none" for r in recipes)),
    ]
    names = [name for name, applies in differences if applies]
    ema = _(", and without the moving average of the weights") if any(r.ema for r in recipes) else ""
    return join([_(", with {names}", names=join_list(names)) if names else "", ema], "")


def _gap_words(groups: Groups, selection: Message, *, first: bool) -> Message:
    """Return the difference of the accuracies at the selected epoch, the mean over the runs of one group.

    This is the first group, or that with the largest difference.
    """
    gaps = {name: fmean(_gap(run) for run in runs) for name, runs in groups.items()}
    name = next(iter(gaps)) if first else max(gaps, key=lambda name: abs(gaps[name]))
    points = format_points(abs(gaps[name]))
    values = {"arm": name, "split": selection, "points": points, "when": _at_selected_epoch(len(groups[name]))}
    if points == format_points(0.0):
        return _("{arm}: accuracy on {split} equals that on train {when}", **values)
    if gaps[name] < 0:
        return _("{arm}: accuracy on {split} is {points} percentage points below train {when}", **values)
    return _("{arm}: accuracy on {split} is {points} percentage points above train {when}", **values)


def _gap(run: PlottedRun) -> float:
    """Return the accuracy on the selection images minus that on the training images at the selected epoch."""
    best = run.run.selected_epoch
    line = next((line for line in run.epochs if line.epoch == best), run.epochs[-1])
    return line.val.accuracy - line.train.accuracy


def _at_selected_epoch(count: int) -> Message:
    return ngettext("at the selected epoch", "at the selected epoch, in the mean of {count:,} runs", count)


def _notes(groups: Groups, selection: Message) -> list[Message]:
    """Return in how many runs the selection loss rose again, and how many arms have no panel."""
    runs = [run for group in groups.values() for run in group]
    early = sum(min(line.val.loss for line in run.epochs) < run.epochs[-1].val.loss for run in runs)
    notes = [
        ngettext(
            "The loss on {split} was lowest before the last epoch in {early} of {count:,} run.",
            "The loss on {split} was lowest before the last epoch in {early} of {count:,} runs.",
            len(runs),
            split=selection,
            early=early,
        )
    ]
    if (more := len(groups) - MAX_PANELS) > 0:
        notes.append(
            ngettext("{count} more arm is in the table only.", "{count} more arms are in the table only.", more)
        )
    return notes
