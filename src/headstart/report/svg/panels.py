"""Small multiples: one panel per arm, all with the same axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from headstart.i18n import translated
from headstart.report.svg.axes import Axis, clip_to_percent, padded_axis
from headstart.report.svg.elements import AXIS_HEIGHT, WIDTH, band, path, svg, text_at, x_axis, y_axis
from headstart.report.svg.labels import (
    BOLD_LETTER_WIDTH,
    LETTER_WIDTH,
    spread_labels,
    text_width,
    truncate,
    truncate_distinct,
)
from headstart.report.svg.sampling import points_per_line, subsample

PANEL_HEIGHT = 230  # in units of the view box, with title and axes
TITLE_HEIGHT = 44  # above the plot area
LEFT, GAP = 52, 14  # space for the labels of the y axis, and between panels
NAME_GAP = 6  # between the end of a line and its name
MAX_NAME_SHARE = 0.36  # of the width of a panel


@dataclass(frozen=True)
class PanelSeries:
    """Lines of one quantity in a panel.

    Args:
        name: Label at the end of the mean.
        paths: Thin lines, one per seed: [(x, y), …].
        mean: Thick line: [(x, y), …].
        band: Band around the mean: [(x, low, high), …].
        dashed: Draw dashed instead of solid lines.
    """

    name: str
    paths: Sequence[Sequence[tuple[float, float]]]
    mean: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A panel with its title and the index of its color."""

    name: str
    color: int
    series: Sequence[PanelSeries]


def small_multiples(
    panels: Sequence[Panel], *, x: str, y: str, label: str, shares: bool = False, cap: float = math.inf
) -> Markup:
    """Return panels in rows of two with equal axes, or one wide panel; no markup without points.

    Args:
        panels: Panels in reading order; lines are subsampled to `points_per_line`.
        x: Name of the x axes.
        y: Name of the y axes.
        label: Description of the chart.
        shares: y is in per cent; bands are clipped to 0 to 100.
        cap: Largest value of the y axes; lines above it are drawn at the top.
    """
    lines = [line for panel in panels for line in _lines(panel)]
    points = [point for line in lines for point in line if math.isfinite(point[1])]
    if not points:
        return Markup("")
    max_points = points_per_line(len(lines))
    columns = min(2, len(panels))
    width = (WIDTH - GAP * (columns - 1)) / columns
    names = [translated(series.name) for panel in panels for series in panel.series]
    right = min(10 + max(map(text_width, names)) * LETTER_WIDTH, MAX_NAME_SHARE * width)
    titles = truncate_distinct([translated(panel.name) for panel in panels], width - LEFT, BOLD_LETTER_WIDTH)
    xs = [point[0] for point in points]
    whole = all(float(value).is_integer() for value in xs)
    up = padded_axis([min(point[1], cap) for point in points], 0, 0)
    up = clip_to_percent(up) if shares else replace(up, low=max(up.low, 0.0))
    content = []
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left, top = (index % columns) * (width + GAP), (index // columns) * PANEL_HEIGHT
        across = Axis(min(xs), max(xs), left + LEFT, left + width - right, whole=whole)
        vertical = replace(up, begin=top + PANEL_HEIGHT - AXIS_HEIGHT, end=top + TITLE_HEIGHT)
        content.append(text_at(left + LEFT - 44, top + 14, title, "start", "strong"))
        content += [x_axis(across, vertical.end, vertical.begin, x), y_axis(vertical, across.begin, across.end, y)]
        for series in panel.series:
            content += _drawn(series, panel.color, across, vertical, max_points, shares=shares)
        content += _names(panel, across, vertical, right)
    return svg(PANEL_HEIGHT * math.ceil(len(panels) / columns) + 6, label, content)


def _lines(panel: Panel) -> Iterator[Sequence[tuple[float, float]]]:
    for series in panel.series:
        yield from series.paths
        yield series.mean


def _drawn(
    series: PanelSeries, color: int, across: Axis, up: Axis, max_points: int, *, shares: bool
) -> Iterator[Markup]:
    """Yield the band, the thin lines and the mean of a series, of at most `max_points` each."""
    style = f"c{color}" + (" dashed" if series.dashed else "")
    if series.band:
        yield band(subsample(series.band, max_points), across, up, f"f{color}", shares=shares)
    for points in series.paths:
        yield path(subsample(points, max_points), across, up, f"seed {style}")
    yield path(subsample(series.mean, max_points), across, up, f"mean {style}")


def _names(panel: Panel, across: Axis, up: Axis, right: float) -> Iterator[Markup]:
    """Yield the names of the series at the ends of their means, within `right` units."""
    ends = []
    for series in panel.series:
        finite = [point for point in series.mean if math.isfinite(point[1])]
        if finite:
            ends.append((up.position(finite[-1][1]), (across.position(finite[-1][0]), translated(series.name))))
    for height, (x_end, name) in spread_labels(ends, up.end, up.begin):
        short = truncate(name, right - NAME_GAP)
        yield text_at(max(x_end, across.begin) + NAME_GAP, height + 4, short, "start", "note")
