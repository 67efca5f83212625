"""Histograms of the first layer over the epochs as ridgelines, one run of each arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes

from headstart.figures.canvas import LINE_IN, NARROW_IN, WIDE_IN, DrawnFigure, panels, plain_ticks
from headstart.figures.fonts import Typeface
from headstart.figures.groups import MAX_ARMS
from headstart.figures.labels import fit_names, line_count
from headstart.i18n import _, join, ngettext
from headstart.report.histograms import (
    BINS,
    KIND_WORDS,
    RIDGE_CAPTION,
    Kind,
    Ridges,
    layer_ridges,
    one_per_arm,
    ridge_heights,
)
from headstart.report.inputs import PageInputs
from headstart.report.series import PlottedRun
from headstart.report.svg.sampling import subsample
from headstart.storage.schemas.metrics import SnapshotLine

COLUMNS = 3  # panels side by side
MAX_RIDGES = 12  # of one panel
OVERLAP = 2.4  # height of the highest bin, as a multiple of the distance of two baselines
PANEL_IN = 1.9


def weights(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw the weights of the first layer after the epochs; None without histograms."""
    return _ridgelines(inputs, "weights", typeface)


def gradients(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw the gradients of the first layer, or of the first one that is not frozen; None without histograms."""
    return _ridgelines(inputs, "gradients", typeface)


def _ridgelines(inputs: PageInputs, kind: Kind, typeface: Typeface) -> DrawnFigure | None:
    with_snapshots = [run for run in inputs.compared_runs if run.snapshots]
    runs = [_by_epoch(run) for run in one_per_arm(with_snapshots, inputs.preferred_runs)]
    layer, drawn = layer_ridges(runs, kind)
    if not drawn:
        return None
    shown = drawn[:MAX_ARMS]
    width = (WIDE_IN if len(shown) > 1 else NARROW_IN) / min(COLUMNS, len(shown)) - 0.5
    names = fit_names([typeface.drawable(run.name) for run, _ridges in shown], width)
    figure, axes = panels(
        len(shown), panel_height=PANEL_IN + line_count(names) * LINE_IN, columns=COLUMNS, extra=0.1
    )  # fmt: skip
    for panel, name, (_run, of_layer) in zip(axes, names, shown, strict=True):
        _draw(panel, of_layer)
        panel.set_title(name)
        panel.set_xlabel(typeface.drawable(KIND_WORDS[kind]))
    for panel in axes[::COLUMNS]:
        panel.set_ylabel(typeface.drawable(_("epoch")))
    title = _("{kind:cap} of {layer} over the epochs", kind=KIND_WORDS[kind], layer=layer)
    which = ngettext(
        "Histograms of one run, at the first measured step (epoch 0) and at the end of each epoch.",
        "Histograms of one run of each of {count} arms, at the first measured step (epoch 0) and at the end of each "
        "epoch.",
        len(shown),
    )
    parts = [which, RIDGE_CAPTION]
    parts += [_("Each panel has its own scale.")] if len(shown) > 1 else []
    if more := len(drawn) - len(shown):
        parts.append(ngettext("{count} more arm is not drawn.", "{count} more arms are not drawn.", more))
    return DrawnFigure(figure, title, join(parts))


def _by_epoch(run: PlottedRun) -> PlottedRun:
    """Return the run with its first snapshot and the last one of each epoch, at most `MAX_RIDGES`."""
    last: dict[int, SnapshotLine] = {line.epoch: line for line in run.snapshots}
    lines = [run.snapshots[0], *(line for line in last.values() if line is not run.snapshots[0])]
    return replace(run, snapshots=subsample(lines, MAX_RIDGES))


def _draw(axes: Axes, of_layer: Ridges) -> None:
    """Draw the histograms of a layer from bottom to top."""
    heights = ridge_heights(of_layer)
    edges = np.linspace(of_layer.low, of_layer.high, BINS + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    for row, values in enumerate(heights):
        top = row + OVERLAP * values
        axes.fill_between(centers, row, top, facecolor="0.82", linewidth=0.0, zorder=2 + len(heights) - row)
        axes.plot(centers, top, color="black", linewidth=0.5, zorder=2 + len(heights) - row, label=f"_{row}")
    axes.set_yticks(range(len(heights)), _epoch_labels(of_layer))
    axes.set_ylim(-0.2, len(heights) - 1 + OVERLAP * 1.05)
    axes.spines["left"].set_visible(False)
    axes.tick_params("y", length=0)
    plain_ticks(axes.xaxis, count=4)


def _epoch_labels(of_layer: Ridges) -> Sequence[str]:
    """Return the epoch of each histogram; that of the first step is 0."""
    begins_early = len(of_layer.epochs) > 1 and of_layer.epochs[0] == of_layer.epochs[1]
    return ["0" if begins_early and place == 0 else str(epoch) for place, epoch in enumerate(of_layer.epochs)]
