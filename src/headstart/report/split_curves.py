"""Loss and accuracy on train and val during training, one panel per arm."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from headstart.analysis.wording import arm_words
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.layout import Figure, Section
from headstart.report.series import PlottedRun, mean_and_band
from headstart.report.svg.panels import Panel, PanelLine, panels
from headstart.storage.schemas.metrics import EpochLine
from headstart.text import format_points

MAX_PANELS = 12  # arms with a panel
LOSS, ACCURACY = "loss", "accuracy"


def split_section(inputs: PageInputs) -> Section | None:
    """Return loss and accuracy on both splits by epoch; None if no run has finished an epoch."""
    by_arm: dict[str, list[PlottedRun]] = {}
    for run in inputs.compared_runs:
        if run.epochs:
            by_arm.setdefault(run.arm, []).append(run)
    if not by_arm:
        return None
    groups = list(by_arm.values())
    figures = [_figure(groups, inputs, quantity) for quantity in (LOSS, ACCURACY)]
    selected = by_arm.get(inputs.verdict.selected) if isinstance(inputs, StudyInputs) else None
    runs = [run for group in groups for run in group]
    return Section(_gap_words(selected or runs, of_arm=selected is not None), figures, _notes(groups))


def _figure(groups: Sequence[Sequence[PlottedRun]], inputs: PageInputs, quantity: str) -> Figure:
    """Return the panels of one quantity, "loss" or "accuracy"."""
    parts, table = [], []
    for runs in groups[:MAX_PANELS]:
        lines = []
        means = {}
        for split in ("train", "val"):
            paths = [_curve(run, quantity, split) for run in runs]
            means[split], _band = mean_and_band(paths)
            lines.append(PanelLine(split, paths if len(paths) > 1 else [], means[split], dashed=split == "train"))
        parts.append(Panel(arm_words(runs[0].spec), inputs.color[runs[0].arm], lines))
        digits = 3 if quantity == LOSS else 1
        table += [
            [arm_words(runs[0].spec), f"{epoch:g}", f"{train:.{digits}f}", f"{val:.{digits}f}"]
            for (epoch, train), (_epoch, val) in zip(means["train"], means["val"], strict=True)
        ]
    name = _("loss") if quantity == LOSS else _("accuracy, %")
    label = _("{name:cap} on train and val by epoch", name=name)
    chart = panels(parts, x=_("epochs"), y=name, label=label, shares=quantity == ACCURACY)
    header = [_("arm"), _("epoch"), "train", "val"]
    return Figure(chart, _caption(groups), header, table, _("loss") if quantity == LOSS else _("accuracy"))


def _curve(run: PlottedRun, quantity: str, split: str) -> list[tuple[float, float]]:
    """Return loss, or accuracy in per cent, on a split by epoch."""
    factor = 1.0 if quantity == LOSS else 100.0
    return [(float(line.epoch), factor * getattr(getattr(line, split), quantity)) for line in run.epochs]


def _caption(groups: Sequence[Sequence[PlottedRun]]) -> Message:
    """Return how to read the panels."""
    several = max(map(len, groups)) > 1
    lines = _("Dashed: train. Solid: val.")
    if several:
        lines = _("Dashed: train. Solid: val. Thin: each run. Thick: their mean.")
    scored = _(
        "Train is scored during each epoch, on augmented images and while the weights change; val after it, on images "
        "without augmentation."
    )
    return join([lines, scored])


def _selected_epoch(run: PlottedRun) -> EpochLine:
    """Return the line of the selected epoch."""
    return next((line for line in reversed(run.epochs) if line.best), run.epochs[-1])


def _gap_words(runs: Sequence[PlottedRun], *, of_arm: bool) -> Message:
    """Return the difference of val and train accuracy at the selected epoch, the mean over the runs."""
    lines = [_selected_epoch(run) for run in runs]
    gap = mean(line.val.accuracy - line.train.accuracy for line in lines)
    values = {"points": format_points(abs(gap)), "where": _at_selected_epoch(len(runs))}
    below = _("val accuracy is {points} percentage points below train {where}", **values)
    above = _("val accuracy is {points} percentage points above train {where}", **values)
    words = below if gap < 0 else above
    return (
        _("{arm}: {finding}", arm=arm_words(runs[0].spec), finding=words)
        if of_arm
        else _("{finding:cap}", finding=words)
    )


def _at_selected_epoch(count: int) -> Message:
    return ngettext("at the selected epoch", "at the selected epoch, in the mean of {count:,} runs", count)


def _notes(groups: Sequence[Sequence[PlottedRun]]) -> list[Message]:
    """Return in how many runs the loss on val was lowest before the last epoch, and how many arms have no panel."""
    runs = [run for group in groups for run in group]
    early = sum(min(run.epochs, key=lambda line: line.val.loss).epoch < run.epochs[-1].epoch for run in runs)
    notes = [
        ngettext(
            "Val loss was lowest before the last epoch in {early} of {count:,} run.",
            "Val loss was lowest before the last epoch in {early} of {count:,} runs.",
            len(runs),
            early=early,
        )
    ]
    if (more := len(groups) - MAX_PANELS) > 0:
        notes.append(ngettext("{count} more arm has no panel.", "{count} more arms have no panel.", more))
    return notes
