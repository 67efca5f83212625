"""Learning curves and learning rates of the arms."""

from __future__ import annotations

import math

from headstart.analysis.wording import splits
from headstart.figures.canvas import (
    WIDE_IN,
    DrawnFigure,
    draw_line,
    draw_thin_line,
    log_ticks,
    new_figure,
    plain_ticks,
)
from headstart.figures.fonts import Typeface
from headstart.figures.groups import MAX_ARMS, compared_groups, left_out_words, seed_words
from headstart.figures.labels import add_legend, legend_height
from headstart.i18n import _, join, ngettext
from headstart.report.health import rate_paths
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.split_curves import ACCURACY, LOSS, loss_cap, scored_words, split_series
from headstart.report.svg.sampling import points_per_line, subsample

LEGEND_IN = WIDE_IN - 0.2  # width of a legend
PANEL_IN = 1.75  # height of a row of panels


def learning_curves(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw loss and accuracy by epoch, on training and selection images; None if no run has finished an epoch."""
    groups = [group for group in compared_groups(inputs) if any(run.epochs for run in group.runs)]
    if not groups:
        return None
    verdict = inputs.verdict if isinstance(inputs, StudyInputs) else None
    selection = splits(verdict)[0] if verdict else _("val")
    by_name = {group.name: [run for run in group.runs if run.epochs] for group in groups}
    shown = groups[:MAX_ARMS]
    names = [typeface.drawable(group.name) for group in shown]
    figure = new_figure(2 * PANEL_IN + 0.2 + legend_height(names, LEGEND_IN))
    grid = figure.subplots(2, 2, sharex=True, sharey="row")
    for row, (quantity, cap) in enumerate(((LOSS, loss_cap(by_name)), (ACCURACY, math.inf))):
        for place, (group, name) in enumerate(zip(shown, names, strict=True)):
            for axes, line in zip(grid[row], split_series(by_name[group.name], quantity, selection), strict=True):
                for path in line.paths:
                    draw_thin_line(axes, path, group.style, largest=cap)
                draw_line(axes, line.mean, group.style, name, place=(place, len(shown)), largest=cap)
        grid[row][0].set_ylabel(typeface.drawable(quantity.axis))
        plain_ticks(grid[row][0].yaxis)
    for column, split in enumerate((_("train"), selection)):
        grid[0][column].set_title(typeface.drawable(split))
        grid[1][column].set_xlabel(typeface.drawable(_("epoch")))
        plain_ticks(grid[1][column].xaxis, whole=True)
    add_legend(figure, names, [group.style for group in shown], LEGEND_IN)
    title = _("Loss and accuracy on train and {selection} by epoch", selection=selection)
    caption = [seed_words(groups), *scored_words(verdict, by_name, selection), *left_out_words(groups)]
    return DrawnFigure(figure, title, join(caption))


def learning_rates(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw the learning rate at each step, equal lines of an arm once; None without a step."""
    groups = [group for group in compared_groups(inputs) if any(any(rate_paths(run)) for run in group.runs)]
    if not groups:
        return None
    shown = groups[:MAX_ARMS]
    names = [typeface.drawable(group.name) for group in shown]
    paths = [
        list(dict.fromkeys(tuple(path) for run in group.runs for path in rate_paths(run) if path)) for group in shown
    ]
    count = points_per_line(sum(map(len, paths)))
    figure = new_figure(2.2 + legend_height(names, LEGEND_IN))
    axes = figure.subplots()
    for place, (group, name) in enumerate(zip(shown, names, strict=True)):
        for path in paths[place]:
            draw_line(axes, subsample(path, count), group.style, name, place=(place, len(shown)))
    rates = [rate for of_group in paths for path in of_group for _step, rate in path]
    low, high = min(rates) / 1.3, max(rates) * 1.3
    log_ticks(axes, low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel(typeface.drawable(_("step")))
    axes.set_ylabel(typeface.drawable(_("learning rate")))
    plain_ticks(axes.xaxis, whole=True, count=8)
    add_legend(figure, names, [group.style for group in shown], LEGEND_IN)
    runs = sum(len(group.runs) for group in groups)
    read = ngettext(
        "The rate that the optimizer had at each step, on a logarithmic axis, of {count} run.",
        "The rate that the optimizer had at each step, on a logarithmic axis, of {count} runs; equal rates of an arm "
        "are one line.",
        runs,
    )
    return DrawnFigure(figure, _("Learning rate by step"), join([read, *left_out_words(groups)]))
