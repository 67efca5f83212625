"""Charts as inline SVG, from plain numbers.

Colours, strokes and fonts are classes of the page's style sheet, so that light, dark and paper need nothing here. Every
text goes through `markupsafe`: names of classes and files are shown as text, whatever they hold.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import TypeVar

import numpy as np
from markupsafe import Markup

from headstart.report.svg import labels as labels_module
from headstart.report.svg.axes import Axis, number, of_shares, padded
from headstart.report.svg.labels import LETTER, LINE, STRONG

T = TypeVar("T")
WIDTH, HEIGHT = 720, 320  # units of the view box; the page scales it
TOP = 28  # of what is drawn, below the name of the y axis
TALL, SIDE, VALUE, BELOW = 64, 16, 84, 46  # of a chart of rows: a row, margins, room for values and for the axis
STEP, ROOM = 4, 16  # from a dot to an equal one, and for all of them
SAMPLE = 22  # of a line, before its name
MOST_POINTS, MOST_OF_ALL = 240, 12_000  # of a line, since a chart is not wider; and of all lines of a chart


@dataclass(frozen=True)
class Series:
    """One arm in a chart: `paths` of its seeds [(x, y), …], the `mean`, and a `band` [(x, low, high), …] around it."""

    name: str
    colour: int
    paths: Sequence[Sequence[tuple[float, float]]] = ()
    mean: Sequence[tuple[float, float]] = ()
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Row:
    """One line of a chart of intervals: its `dots`, its `mean`, and the interval from `low` to `high`."""

    name: str
    colour: int
    mean: float
    low: float
    high: float
    dots: Sequence[float] = ()
    strong: bool = False


@dataclass(frozen=True)
class Event:
    """When runs of an arm got somewhere: times of those that did, lengths of those that never did, and the median."""

    name: str
    colour: int
    reached: Sequence[float]
    censored: Sequence[float]
    median: float | None


@dataclass(frozen=True)
class Grid:
    """A heat map: `values` [rows][columns]; `taken` cells and `edges` are outlined.

    A value is None for what is not there, -inf for what is less than any, and NaN for what is no number. Colours go
    from one end of `scale` to the other, else from the smallest to the largest value.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    texts: Sequence[Sequence[str]]
    taken: frozenset[tuple[int, int]] = frozenset()
    edges: frozenset[tuple[int, int]] = frozenset()
    scale: tuple[float, float] | None = None


def subsample(points: Sequence[T], most: int = MOST_POINTS) -> list[T]:
    """So many of the points, the first and the last among them, evenly spread; all where they are few."""
    if len(points) <= most:
        return list(points)
    places = np.unique(np.linspace(0, len(points) - 1, most).round().astype(int))
    return [points[int(place)] for place in places]


def style() -> Markup:
    """The style sheet of charts and photos, for the head of a page."""
    return Markup(resources.files("headstart.report").joinpath("charts.css").read_text(encoding="utf-8"))  # noqa: S704


def intervals(rows: Sequence[Row], *, unit: str, label: str, margin: float = 0.0, zero: bool = False) -> Markup:
    """Dots of seeds, mean and interval in per cent, a row each.

    With `zero` they are differences: a line at 0 and the zone of the tie.
    """
    values = [v for row in rows for v in (row.low, row.high, row.mean, *row.dots)]
    values += [-margin, margin, 0.0] if zero else []
    axis = padded(values, SIDE, WIDTH - VALUE)
    axis = axis if zero else of_shares(axis)
    bottom = TALL * len(rows) + 10
    drawn = [_frame_x(axis, 4, bottom, unit)]
    if zero:
        wide = round(axis.at(margin) - axis.at(-margin), 1)
        drawn.append(_tag("rect", "", x=axis.at(-margin), y=4, width=wide, height=bottom - 4, cls="margin"))
        drawn.append(_line(axis.at(0), 4, axis.at(0), bottom, "zero"))
    for index, row in enumerate(rows):
        y = TALL * (index + 0.62)
        if row.name:
            drawn.append(_text(SIDE, y - 16, row.name, "start", "strong" if row.strong else ""))
        ends = (axis.at(row.low), axis.at(row.high))
        drawn.append(_line(ends[0], y, ends[1], y, f"interval c{row.colour}"))
        drawn += [_line(end, y - 5, end, y + 5, f"interval c{row.colour}") for end in ends]
        equal = Counter[float]()
        for at in map(axis.at, row.dots):  # those in one place stand below each other
            drawn.append(_dot(at, y + 11 + min(ROOM, STEP * equal[at]), 3.5, f"seed f{row.colour} c{row.colour}"))
            equal[at] += 1
        drawn.append(_dot(axis.at(row.mean), y, 6, f"mean f{row.colour}"))
        told = _signed(row.mean) if zero else f"{row.mean:.1f}"
        drawn.append(_text(WIDTH - VALUE + 12, y + 5, told, "start", "value"))
    return _svg(bottom + BELOW, label, drawn, "rows")


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
    """Thin lines for seeds, a thick one with its band for each arm, named at its end; axes may be logarithmic.

    With `shares` y is in per cent, and no band is drawn beyond what can be. Lines are thinned to what the page has room
    for.
    """
    right = 16 + SAMPLE + max((labels_module.letters(one.name) for one in series), default=0) * STRONG
    right = min(right, 0.36 * WIDTH)
    lines = sum(len(one.paths) for one in series)
    each = max(2, min(MOST_POINTS, MOST_OF_ALL // max(lines, 1)))
    series = [replace(one, paths=[subsample(path, each) for path in one.paths if path]) for one in series]
    points = [point for one in series for path in (*one.paths, one.mean) for point in path]
    if not points:
        return Markup("")
    ys = [v for _, v in points] + [v for one in series for _, *both in one.band for v in both]
    ys += [target] if target is not None else []
    whole = all(float(p[0]).is_integer() for p in points)
    across = Axis(min(p[0] for p in points), max(p[0] for p in points), 56, WIDTH - right, log=log_x, whole=whole)
    if log:
        kept = [v for v in ys if v > 0] or [1.0]
        up = Axis(min(kept) / 1.3, max(kept) * 1.3, HEIGHT - 40, TOP, log=True)
    else:
        up = padded(ys, HEIGHT - 40, TOP)
        up = of_shares(up) if shares else up
    drawn = [_frame_x(across, TOP, HEIGHT - 40, x), _frame_y(up, 56, WIDTH - right, y)]
    if target is not None:
        drawn.append(_line(56, up.at(target), WIDTH - right, up.at(target), "target"))
        drawn.append(_text(60, up.at(target) - 5, f"target {number(target)}", "start", "note"))
    for one in series:
        if one.band:
            least, most = (0.0, 100.0) if shares else (-math.inf, math.inf)
            top = [(across.at(a), up.at(min(high, most))) for a, _, high in one.band]
            bottom = [(across.at(a), up.at(max(low, least))) for a, low, _ in reversed(one.band)]
            drawn.append(_tag("polygon", "", points=_points([*top, *bottom]), cls=f"band f{one.colour}"))
    for one in series:
        thin = f"seed c{one.colour}" if one.mean else f"lone c{one.colour} d{one.colour}"
        drawn += [_path(path, across, up, thin) for path in one.paths]
        drawn.append(_path(one.mean, across, up, f"mean c{one.colour} d{one.colour}"))
    drawn += _named_ends(series, up, right)
    return _svg(HEIGHT + 6, label, drawn)


def _named_ends(series: Sequence[Series], up: Axis, right: float) -> list[Markup]:
    """The names of lines at their ends, each with a sample of its line, in the `right` units of the chart."""
    drawn = []
    named = [one for one in series if one.name and (one.mean or one.paths)]
    labels = labels_module.in_lines([one.name for one in named], right - SAMPLE - 12, (HEIGHT - 44 - TOP) / LINE)
    ends = [
        (up.at((one.mean or one.paths[0])[-1][1]), (one, label_lines))
        for one, label_lines in zip(named, labels, strict=True)
    ]
    left, most = WIDTH - right + 8, max(map(len, labels), default=1)
    for y_end, (one, label_lines) in labels_module.apart(ends, TOP, HEIGHT - 44, most):
        drawn.append(_line(left, y_end, left + SAMPLE - 6, y_end, f"mean c{one.colour} d{one.colour}"))
        for at, line in enumerate(label_lines):
            drawn.append(_text(left + SAMPLE, y_end + 4 + at * LINE, line, "start", "strong"))
    return drawn


def events(rows: Sequence[Event], *, x: str, label: str) -> Markup:
    """A filled dot for each run that got there, an open one where a run ended before it did, a bar at the median."""
    values = [v for row in rows for v in (*row.reached, *row.censored)]
    whole = all(float(value).is_integer() for value in values)
    axis = Axis(0, max(values, default=1) * 1.05, SIDE, WIDTH - SIDE, whole=whole)
    bottom = TALL * len(rows) + 10
    drawn = [_frame_x(axis, 4, bottom, x)]
    for index, row in enumerate(rows):
        y = TALL * (index + 0.72)
        drawn.append(_text(SIDE, y - 22, row.name, "start"))
        for times, style in ((row.reached, f"mean f{row.colour}"), (row.censored, f"open c{row.colour}")):
            seen: dict[float, int] = {}
            for time in sorted(times):
                step = seen[time] = seen.get(time, -1) + 1
                drawn.append(_dot(axis.at(time), y + 6 * ((step + 1) // 2) * (-1) ** step, 5, style))
        if row.median is not None:
            drawn.append(_line(axis.at(row.median), y - 15, axis.at(row.median), y + 15, f"interval c{row.colour}"))
    return _svg(bottom + BELOW, label, drawn, "rows")


def heat_map(grid: Grid, *, label: str, columns: str = "") -> Markup:
    """Cells shaded by their value, each with its text, in two lines if need be."""
    left = min(16 + max(map(labels_module.letters, grid.rows)) * LETTER, 0.4 * WIDTH)
    wide, top = (WIDTH - left - 8) / len(grid.columns), 30
    tall = min(34.0, max(16.0, wide))
    known = [v for row in grid.values for v in row if v is not None and math.isfinite(v)]
    low, high = grid.scale or (min(known, default=0.0), max(known, default=1.0))
    drawn = [_text(left, 12, columns, "start", "note")]

    def box(row: int, column: int, style: str) -> Markup:
        x, y = round(left + column * wide, 1), round(top + row * tall, 1)
        return _tag("rect", "", x=x, y=y, width=round(wide - 1, 1), height=round(tall - 1, 1), cls=style)

    for index, name in enumerate(grid.columns):
        drawn.append(_text(left + (index + 0.5) * wide, top - 4, labels_module.cut(name, wide + 4), "middle", "note"))
    for row, name in enumerate(labels_module.cut_apart(grid.rows, left - 10)):
        drawn.append(_text(left - 8, top + (row + 0.5) * tall + 4, name, "end", "note"))
        for column, value in enumerate(grid.values[row]):
            style, x, y = _shade(value, low, high), left + (column + 0.5) * wide, top + (row + 0.5) * tall + 4
            drawn.append(box(row, column, f"cell {style}"))
            lines = labels_module.lines_in(grid.texts[row][column], wide, int(tall / 14))
            drawn += [_text(x, y + 13 * (at - (len(lines) - 1) / 2), line, "middle", f"in {style}")
                      for at, line in enumerate(lines)]  # fmt: skip
    drawn += [box(*cell, "outline edge" if cell in grid.edges else "outline") for cell in sorted(grid.taken)]
    return _svg(round(top + len(grid.rows) * tall + 8), label, drawn)


def _shade(value: float | None, low: float, high: float) -> str:
    """The class of a cell: one of ten shades, `lost` for what is no number, `none` for what is not there."""
    if value is None or math.isnan(value):
        return "none" if value is None else "lost"
    share = (value - low) / (high - low) if high > low else 0.0
    return f"h{round(9 * min(max(share, 0.0), 1.0))}"


def scatter(rows: Sequence[tuple[str, int, float, float]], *, x: str, y: str, label: str, log: bool = False) -> Markup:
    """A named dot for each (name, colour, x, y)."""
    xs = [row[2] for row in rows]
    across = Axis(min(xs) / 1.6, max(xs) * 1.6, 56, WIDTH - 150, log=True) if log else padded(xs, 56, WIDTH - 150)
    up = padded([row[3] for row in rows], HEIGHT - 40, TOP)
    drawn = [_frame_x(across, TOP, HEIGHT - 40, x), _frame_y(up, 56, WIDTH - 150, y)]
    dots = [(across.at(one), up.at(other)) for _, _, one, other in rows]
    drawn += [_dot(*dot, 6, f"mean f{colour}") for dot, (_, colour, _, _) in zip(dots, rows, strict=True)]
    for y_label, (name, colour, one, other) in labels_module.apart(
        [(up.at(row[3]), row) for row in rows], TOP, HEIGHT - 44
    ):
        own, wide, moved = across.at(one), labels_module.letters(name) * STRONG, abs(up.at(other) - y_label) >= 6
        beside = [dot for dot in dots if abs(dot[1] - y_label) < 12]
        before = own - 10 - wide
        if own + 10 + wide > WIDTH and before > 60 and not any(before < dot[0] < own for dot in beside):
            drawn += [_dot(own - 4, y_label, 4, f"mean f{colour}")] if moved else []
            drawn.append(_text(own - 10, y_label + 4, name, "end", "strong"))
            continue
        left = own + 10
        for dot in sorted(beside):  # a name does not run over the dot of another
            if own < dot[0] < left + wide:
                left = dot[0] + 10
        if left > own + 10 or moved:
            drawn.append(_dot(left + 5, y_label, 4, f"mean f{colour}"))
            left += 14
        drawn.append(_text(left, y_label + 4, labels_module.cut(name, WIDTH - left - 2, STRONG), "start", "strong"))
    return _svg(HEIGHT + 6, label, drawn)


def _frame_x(axis: Axis, top: float, bottom: float, name: str) -> Markup:
    parts = [_line(axis.begin, bottom, axis.end, bottom, "axis")]
    for tick in axis.ticks():
        parts.append(_line(axis.at(tick), top, axis.at(tick), bottom, "rule"))
        parts.append(_text(axis.at(tick), bottom + 18, number(tick), "middle", "note"))
    parts.append(_text((axis.begin + axis.end) / 2, bottom + 38, name, "middle", "note"))
    return Markup("").join(parts)


def _frame_y(axis: Axis, left: float, right: float, name: str) -> Markup:
    parts = [_text(left - 44, axis.end - 14, name, "start", "note")]
    for tick in axis.ticks():
        parts.append(_line(left, axis.at(tick), right, axis.at(tick), "rule"))
        parts.append(_text(left - 6, axis.at(tick) + 4, number(tick), "end", "note"))
    return Markup("").join(parts)


def _path(points: Sequence[tuple[float, float]], across: Axis, up: Axis, style: str) -> Markup:
    """A line through the points; a point alone is a dot, and what is not finite is left out."""
    known = [(across.at(a), up.at(b)) for a, b in points if math.isfinite(b)]
    if len(known) == 1:
        return _dot(*known[0], 3, style.replace(" c", " f", 1))
    return _tag("polyline", "", points=_points(known), cls=f"line {style}") if known else Markup("")


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return _tag("line", "", x1=round(x1, 1), y1=round(y1, 1), x2=round(x2, 1), y2=round(y2, 1), cls=style)


def _dot(x: float, y: float, radius: float, style: str) -> Markup:
    return _tag("circle", "", cx=round(x, 1), cy=round(y, 1), r=radius, cls=style)


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> Markup:
    more = {"cls": style} if style else {}
    return _tag("text", text, x=round(x, 1), y=round(y, 1), **{"text-anchor": anchor}, **more)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")


def _tag(name: str, content: str, **attributes: object) -> Markup:
    """An element; `cls` is its class."""
    named = (("class" if key == "cls" else key, value) for key, value in attributes.items())
    told = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in named)
    return Markup("<{0}{1}>{2}</{0}>").format(name, told, content)


def _svg(height: float, label: str, parts: Iterable[Markup], kind: str = "wide") -> Markup:
    """The chart with its description for those who do not see it. Charts of `rows` fit on a phone as they are."""
    content, box = Markup("").join(parts), f"0 0 {WIDTH} {height:g}"
    return _tag("svg", content, viewBox=box, role="img", cls=kind, **{"aria-label": label})
