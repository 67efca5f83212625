"""Charts as inline SVG, from plain numbers.

Colors, strokes and fonts are CSS classes of the page, so that light, dark and printed pages use the same markup. All
text is escaped by `markupsafe`. Messages are translated before their width is measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources

from markupsafe import Markup

from headstart.i18n import _, translated
from headstart.report.svg.axes import Axis, clip_to_percent, padded_axis, signed_label, tick_label
from headstart.report.svg.elements import (
    AXIS_HEIGHT,
    WIDTH,
    axis_name_lines,
    band,
    dot,
    line,
    path,
    svg,
    tag,
    text_at,
    x_axis,
    y_axis,
)
from headstart.report.svg.labels import (
    BOLD_LETTER_WIDTH,
    LETTER_WIDTH,
    LINE_HEIGHT,
    spread_labels,
    text_width,
    truncate,
    truncate_distinct,
    wrap_cell_text,
    wrap_names,
)
from headstart.report.svg.sampling import points_per_line, subsample

HEIGHT = 320  # of a line chart or scatter plot; like all lengths here in units of the view box
PLOT_TOP = 28  # top of the plot area, below the name of the y axis
ROW_HEIGHT, SIDE_MARGIN = 64, 16  # of charts with one row per arm
VALUE_WIDTH = 84  # space for the values at the right of such a chart
DOT_STEP, MAX_DOT_OFFSET = 4, 16  # vertical distance between dots of equal values, and of the last from the first
SAMPLE_WIDTH = 22  # sample of a line before its name


@dataclass(frozen=True)
class Series:
    """Lines of one arm in a line chart.

    Args:
        name: Label at the end of the line; "" for none.
        color: Index of the color, see charts.css.
        paths: Thin lines, one per seed: [(x, y), …].
        mean: Thick line: [(x, y), …].
        band: Band around the mean: [(x, low, high), …].
    """

    name: str
    color: int
    paths: Sequence[Sequence[tuple[float, float]]] = ()
    mean: Sequence[tuple[float, float]] = ()
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class IntervalRow:
    """Row of an interval chart: small `dots`, their `mean` as a large dot, and the interval from `low` to `high`."""

    name: str
    color: int
    mean: float
    low: float
    high: float
    dots: Sequence[float] = ()
    strong: bool = False  # name in bold type


@dataclass(frozen=True)
class EventRow:
    """Row of an event chart.

    Args:
        name: Name of the arm.
        color: Index of the color.
        reached: Times of the runs that reached the event.
        censored: Lengths of the runs that ended before the event.
        median: Median time, None if it is not defined.
    """

    name: str
    color: int
    reached: Sequence[float]
    censored: Sequence[float]
    median: float | None


@dataclass(frozen=True)
class Grid:
    """Cells of a heat map.

    Args:
        rows: Names of the rows.
        columns: Names of the columns.
        values: Values [rows][columns] that set the colors. None: no cell; -inf: lowest color; NaN: not a number.
        texts: Texts [rows][columns] in the cells.
        outlined: (row, column) of the cells with an outline.
        edges: Those of `outlined` with a dashed outline.
        scale: Values of the first and the last color. Default: smallest and largest finite value.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    texts: Sequence[Sequence[str]]
    outlined: frozenset[tuple[int, int]] = frozenset()
    edges: frozenset[tuple[int, int]] = frozenset()
    scale: tuple[float, float] | None = None


def style() -> Markup:
    """Return the style sheet of charts and photos."""
    return Markup(resources.files("headstart.report").joinpath("charts.css").read_text(encoding="utf-8"))  # noqa: S704


def intervals(rows: Sequence[IntervalRow], *, unit: str, label: str, margin: float = 0.0, zero: bool = False) -> Markup:
    """Return an interval chart: one row per arm with the seeds as dots, their mean and an interval.

    Args:
        rows: Rows from top to bottom, in per cent.
        unit: Name of the axis.
        label: Description of the chart.
        margin: Equivalence margin, shaded around 0. Only with `zero`.
        zero: The values are differences: mark 0 and the margin, and show signs.
    """
    values = [value for row in rows for value in (row.low, row.high, row.mean, *row.dots)]
    values += [-margin, margin, 0.0] if zero else []
    axis = padded_axis(values, SIDE_MARGIN, WIDTH - VALUE_WIDTH)
    axis = axis if zero else clip_to_percent(axis)
    bottom = ROW_HEIGHT * len(rows) + 10
    parts = [x_axis(axis, 4, bottom, unit)]
    if zero:
        left, width = axis.position(-margin), round(axis.position(margin) - axis.position(-margin), 1)
        parts.append(tag("rect", "", x=left, y=4, width=width, height=bottom - 4, cls="margin"))
        parts.append(line(axis.position(0), 4, axis.position(0), bottom, "zero"))
    for index, row in enumerate(rows):
        y = ROW_HEIGHT * (index + 0.62)
        if row.name:
            parts.append(text_at(SIDE_MARGIN, y - 16, row.name, "start", "strong" if row.strong else ""))
        ends = (axis.position(row.low), axis.position(row.high))
        parts.append(line(ends[0], y, ends[1], y, f"interval c{row.color}"))
        parts += [line(end, y - 5, end, y + 5, f"interval c{row.color}") for end in ends]
        equal = Counter[float]()
        for x in map(axis.position, row.dots):  # dots at the same position are drawn below each other
            offset = min(MAX_DOT_OFFSET, DOT_STEP * equal[x])
            parts.append(dot(x, y + 11 + offset, 3.5, f"seed f{row.color} c{row.color}"))
            equal[x] += 1
        parts.append(dot(axis.position(row.mean), y, 6, f"mean f{row.color}"))
        value_words = signed_label(row.mean) if zero else f"{row.mean:.1f}"
        parts.append(text_at(WIDTH - VALUE_WIDTH + 12, y + 5, value_words, "start", "value"))
    more_lines = len(axis_name_lines(axis, unit)) - 1
    return svg(bottom + AXIS_HEIGHT + more_lines * LINE_HEIGHT, label, parts, "rows")


def curves(
    series: Sequence[Series],
    *,
    x: str,
    y: str,
    label: str,
    log: bool = False,
    log_x: bool = False,
    target: float | None = None,
    shares: bool = False,
) -> Markup:
    """Return a line chart: thin lines for seeds, a thick line with its band for each arm, named at its end.

    Args:
        series: Lines; they are subsampled to `points_per_line`.
        x: Name of the x axis.
        y: Name of the y axis.
        label: Description of the chart.
        log: Use a logarithmic y axis.
        log_x: Use a logarithmic x axis.
        target: Value of a dotted horizontal line.
        shares: y is in per cent; bands are clipped to 0 to 100.
    """
    max_points = points_per_line(sum(len(arm.paths) for arm in series))
    series = [replace(arm, name=translated(arm.name), paths=[subsample(points, max_points) for points in arm.paths
                                                             if points]) for arm in series]  # fmt: skip
    right = 16 + SAMPLE_WIDTH + max((text_width(arm.name) for arm in series), default=0) * BOLD_LETTER_WIDTH
    right = min(right, 0.36 * WIDTH)
    points = [point for arm in series for points in (*arm.paths, arm.mean) for point in points]
    if not points:
        return Markup("")
    ys = [value for _x, value in points] + [value for arm in series for _x, *limits in arm.band for value in limits]
    ys += [target] if target is not None else []
    whole = all(float(point[0]).is_integer() for point in points)
    xs = [point[0] for point in points]
    across = Axis(min(xs), max(xs), 56, WIDTH - right, log=log_x, whole=whole)
    up = _curve_y_axis(ys, log=log, shares=shares)
    parts = [x_axis(across, PLOT_TOP, HEIGHT - 40, x), y_axis(up, 56, WIDTH - right, y)]
    if target is not None:
        parts.append(line(56, up.position(target), WIDTH - right, up.position(target), "target"))
        parts.append(
            text_at(60, up.position(target) - 5, _("target {value}", value=tick_label(target)), "start", "note")
        )
    parts += _bands(series, across, up, shares=shares)
    for arm in series:
        thin = f"seed c{arm.color}" if arm.mean else f"lone c{arm.color} d{arm.color}"
        parts += [path(points, across, up, thin) for points in arm.paths]
        parts.append(path(arm.mean, across, up, f"mean c{arm.color} d{arm.color}"))
    parts += _line_names(series, up, right)
    return svg(HEIGHT + 6, label, parts)


def _curve_y_axis(values: Sequence[float], *, log: bool, shares: bool) -> Axis:
    if log:
        positive = [value for value in values if value > 0] or [1.0]
        return Axis(min(positive) / 1.3, max(positive) * 1.3, HEIGHT - 40, PLOT_TOP, log=True)
    axis = padded_axis(values, HEIGHT - 40, PLOT_TOP)
    return clip_to_percent(axis) if shares else axis


def _bands(series: Sequence[Series], across: Axis, up: Axis, *, shares: bool) -> list[Markup]:
    """Return a polygon for each band, clipped to 0 to 100 with `shares`."""
    return [band(arm.band, across, up, f"f{arm.color}", shares=shares) for arm in series if arm.band]


def _line_names(series: Sequence[Series], up: Axis, right: float) -> list[Markup]:
    """Return the names at the ends of the lines, each with a sample of its line, within `right` units."""
    parts = []
    named = [arm for arm in series if arm.name and (arm.mean or arm.paths)]
    labels = wrap_names([arm.name for arm in named], right - SAMPLE_WIDTH - 12, (HEIGHT - 44 - PLOT_TOP) / LINE_HEIGHT)
    ends = [
        (up.position((arm.mean or arm.paths[0])[-1][1]), (arm, label_lines))
        for arm, label_lines in zip(named, labels, strict=True)
    ]
    left, line_count = WIDTH - right + 8, max(map(len, labels), default=1)
    for y_end, (arm, label_lines) in spread_labels(ends, PLOT_TOP, HEIGHT - 44, line_count):
        parts.append(line(left, y_end, left + SAMPLE_WIDTH - 6, y_end, f"mean c{arm.color} d{arm.color}"))
        for index, label_line in enumerate(label_lines):
            y = y_end + 4 + index * LINE_HEIGHT
            parts.append(text_at(left + SAMPLE_WIDTH, y, label_line, "start", "strong"))
    return parts


def events(rows: Sequence[EventRow], *, x: str, label: str) -> Markup:
    """Return an event chart: filled dots for runs that reached it, open dots for others, a bar at the median."""
    values = [value for row in rows for value in (*row.reached, *row.censored)]
    whole = all(float(value).is_integer() for value in values)
    axis = Axis(0, max(values, default=1) * 1.05, SIDE_MARGIN, WIDTH - SIDE_MARGIN, whole=whole)
    bottom = ROW_HEIGHT * len(rows) + 10
    parts = [x_axis(axis, 4, bottom, x)]
    for index, row in enumerate(rows):
        y = ROW_HEIGHT * (index + 0.72)
        parts.append(text_at(SIDE_MARGIN, y - 22, row.name, "start"))
        for times, style in ((row.reached, f"mean f{row.color}"), (row.censored, f"open c{row.color}")):
            equal: dict[float, int] = {}
            for time in sorted(times):
                step = equal[time] = equal.get(time, -1) + 1
                parts.append(dot(axis.position(time), y + 6 * ((step + 1) // 2) * (-1) ** step, 5, style))
        if row.median is not None:
            median = axis.position(row.median)
            parts.append(line(median, y - 15, median, y + 15, f"interval c{row.color}"))
    return svg(bottom + AXIS_HEIGHT, label, parts, "rows")


def heat_map(grid: Grid, *, label: str, columns: str = "") -> Markup:
    """Return a heat map whose cells show their text on one line or one word per line.

    `label` is the description of the chart, `columns` the name of the column axis.
    """
    rows, column_names = list(map(translated, grid.rows)), list(map(translated, grid.columns))
    left = min(16 + max(map(text_width, rows)) * LETTER_WIDTH, 0.4 * WIDTH)
    cell_width, top = (WIDTH - left - 8) / len(grid.columns), 30
    cell_height = min(34.0, max(16.0, cell_width))
    finite = [value for row in grid.values for value in row if value is not None and math.isfinite(value)]
    low, high = grid.scale or (min(finite, default=0.0), max(finite, default=1.0))
    parts = [text_at(left, 12, columns, "start", "note")]

    def box(row: int, column: int, style: str) -> Markup:
        """Return the rectangle of a cell."""
        x, y = round(left + column * cell_width, 1), round(top + row * cell_height, 1)
        return tag("rect", "", x=x, y=y, width=round(cell_width - 1, 1), height=round(cell_height - 1, 1), cls=style)

    for index, name in enumerate(column_names):
        parts.append(
            text_at(left + (index + 0.5) * cell_width, top - 4, truncate(name, cell_width + 4), "middle", "note")
        )
    for row, name in enumerate(truncate_distinct(rows, left - 10)):
        y = top + (row + 0.5) * cell_height + 4
        parts.append(text_at(left - 8, y, name, "end", "note"))
        for column, value in enumerate(grid.values[row]):
            style, x = _shade(value, low, high), left + (column + 0.5) * cell_width
            parts.append(box(row, column, f"cell {style}"))
            lines = wrap_cell_text(translated(grid.texts[row][column]), cell_width, int(cell_height / 14))
            parts += [text_at(x, y + 13 * (index - (len(lines) - 1) / 2), text, "middle", f"in {style}")
                      for index, text in enumerate(lines)]  # fmt: skip
    parts += [box(*cell, "outline edge" if cell in grid.edges else "outline") for cell in sorted(grid.outlined)]
    return svg(round(top + len(grid.rows) * cell_height + 8), label, parts)


def _shade(value: float | None, low: float, high: float) -> str:
    """Return the CSS class of a cell: one of ten shades, `lost` for NaN, `none` for no value."""
    if value is None or math.isnan(value):
        return "none" if value is None else "lost"
    share = (value - low) / (high - low) if high > low else 0.0
    return f"h{round(9 * min(max(share, 0.0), 1.0))}"


def scatter(rows: Sequence[tuple[str, int, float, float]], *, x: str, y: str, label: str, log: bool = False) -> Markup:
    """Return a scatter plot with a named dot for each (name, color, x, y); `log` makes the x axis logarithmic."""
    rows = [(translated(name), color, x_value, y_value) for name, color, x_value, y_value in rows]
    xs = [row[2] for row in rows]
    across = Axis(min(xs) / 1.6, max(xs) * 1.6, 56, WIDTH - 150, log=True) if log else padded_axis(xs, 56, WIDTH - 150)
    up = padded_axis([row[3] for row in rows], HEIGHT - 40, PLOT_TOP)
    parts = [x_axis(across, PLOT_TOP, HEIGHT - 40, x), y_axis(up, 56, WIDTH - 150, y)]
    dots = [(across.position(x_value), up.position(y_value)) for _name, _color, x_value, y_value in rows]
    parts += [dot(*place, 6, f"mean f{color}") for place, (_name, color, *_values) in zip(dots, rows, strict=True)]
    labels = spread_labels([(place[1], (place, row)) for place, row in zip(dots, rows, strict=True)],
                           PLOT_TOP, HEIGHT - 44)  # fmt: skip
    for y_label, ((x_dot, y_dot), (name, color, *_values)) in labels:
        width, moved = text_width(name) * BOLD_LETTER_WIDTH, abs(y_dot - y_label) >= 6
        nearby = [place for place in dots if abs(place[1] - y_label) < 12]
        before = x_dot - 10 - width
        if x_dot + 10 + width > WIDTH and before > 60 and not any(before < place[0] < x_dot for place in nearby):
            parts += [dot(x_dot - 4, y_label, 4, f"mean f{color}")] if moved else []
            parts.append(text_at(x_dot - 10, y_label + 4, name, "end", "strong"))
            continue
        left = x_dot + 10
        for place in sorted(nearby):  # the name starts after dots of other arms that it would cover
            if x_dot < place[0] < left + width:
                left = place[0] + 10
        if left > x_dot + 10 or moved:
            parts.append(dot(left + 5, y_label, 4, f"mean f{color}"))
            left += 14
        parts.append(text_at(left, y_label + 4, truncate(name, WIDTH - left - 2, BOLD_LETTER_WIDTH), "start", "strong"))
    return svg(HEIGHT + 6, label, parts)
