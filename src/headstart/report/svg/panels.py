"""Small multiples: one panel per arm, all with the same axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from headstart.i18n import translated
from headstart.report.svg.axes import Axis, clip_to_percent, padded_axis
from headstart.report.svg.elements import WIDTH, path, svg, text_at, x_axis, y_axis
from headstart.report.svg.labels import BOLD_LETTER_WIDTH, spread_labels, text_width, truncate, truncate_distinct
from headstart.report.svg.sampling import subsample

PANEL_HEIGHT = 230  # in units of the view box, with title and axes
TITLE_HEIGHT, AXIS_HEIGHT = 44, 46  # above and below the plot area
LEFT, GAP = 52, 14  # space for the labels of the y axis, and between panels
MAX_LINE_POINTS = 120  # points of one line; more would not be visible
MAX_CHART_POINTS = 12_000  # points of all lines of a chart


@dataclass(frozen=True)
class PanelLine:
    """Lines of one quantity in a panel.

    Args:
        name: Label at the end of the line.
        paths: Thin lines, one per seed: [(x, y), …].
        mean: Thick line: [(x, y), …].
        dashed: Draw dashed instead of solid lines.
    """

    name: str
    paths: Sequence[Sequence[tuple[float, float]]]
    mean: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A panel with its title and the index of its color."""

    name: str
    color: int
    lines: Sequence[PanelLine]


def panels(parts: Sequence[Panel], *, x: str, y: str, label: str, shares: bool = False) -> Markup:
    """Return panels in rows of two with equal axes, or one wide panel; no markup without points.

    Args:
        parts: Panels in reading order; lines are subsampled to `MAX_CHART_POINTS` in total.
        x: Name of the x axes.
        y: Name of the y axes.
        label: Description of the chart.
        shares: y is in per cent.
    """
    points = [point for panel in parts for path in _all_paths(panel) for point in path if math.isfinite(point[1])]
    if not points:
        return Markup("")
    count = sum(1 for panel in parts for _path in _all_paths(panel))
    limit = max(2, min(MAX_LINE_POINTS, MAX_CHART_POINTS // count))
    columns = min(2, len(parts))
    width = (WIDTH - GAP * (columns - 1)) / columns
    names = [translated(line.name) for panel in parts for line in panel.lines]
    right = 10 + max(map(text_width, names)) * BOLD_LETTER_WIDTH
    titles = truncate_distinct([translated(panel.name) for panel in parts], width - LEFT, BOLD_LETTER_WIDTH)
    xs = [point[0] for point in points]
    whole = all(float(value).is_integer() for value in xs)
    up = padded_axis([point[1] for point in points], 0, 0)
    up = clip_to_percent(up) if shares else replace(up, low=max(up.low, 0.0))
    content = []
    for index, (panel, title) in enumerate(zip(parts, titles, strict=True)):
        left, top = (index % columns) * (width + GAP), (index // columns) * PANEL_HEIGHT
        across = Axis(min(xs), max(xs), left + LEFT, left + width - right, whole=whole)
        vertical = replace(up, begin=top + PANEL_HEIGHT - AXIS_HEIGHT, end=top + TITLE_HEIGHT)
        content.append(text_at(left + LEFT - 44, top + 14, title, "start", "strong"))
        content += [x_axis(across, vertical.end, vertical.begin, x), y_axis(vertical, across.begin, across.end, y)]
        content += _panel_lines(panel, across, vertical, limit)
    return svg(PANEL_HEIGHT * math.ceil(len(parts) / columns) + 6, label, content)


def _all_paths(panel: Panel) -> Iterator[Sequence[tuple[float, float]]]:
    for of_panel in panel.lines:
        yield from of_panel.paths
        yield of_panel.mean


def _panel_lines(panel: Panel, across: Axis, up: Axis, limit: int) -> list[Markup]:
    """Return the lines of a panel, of at most `limit` points each, and their names at their ends."""
    parts, ends = [], []
    for of_panel in panel.lines:
        style = f"c{panel.color}" + (" dashed" if of_panel.dashed else "")
        parts += [path(subsample(points, limit), across, up, f"seed {style}") for points in of_panel.paths if points]
        parts.append(path(subsample(of_panel.mean, limit), across, up, f"mean {style}"))
        finite = [point for point in of_panel.mean if math.isfinite(point[1])]
        if finite:
            ends.append((up.position(finite[-1][1]), (across.position(finite[-1][0]), of_panel.name)))
    for height, (x_end, name) in spread_labels(ends, up.end, up.begin):
        parts.append(text_at(max(x_end, across.begin) + 6, height + 4, truncate(name, WIDTH), "start", "note"))
    return parts
