"""SVG elements as escaped markup: lines, dots, text, axes and the chart's root element."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from headstart.i18n import translated
from headstart.report.svg.axes import Axis, tick_label
from headstart.report.svg.labels import BOLD_LETTER_WIDTH, LINE_HEIGHT, wrap_words

WIDTH = 720  # units of the view box; the page scales it
AXIS_HEIGHT = 46  # space for the axis below a plot


def x_axis(axis: Axis, top: float, bottom: float, name: str) -> Markup:
    """Return the horizontal axis at `bottom` with its name, tick labels and grid lines up to `top`."""
    parts = [line(axis.begin, bottom, axis.end, bottom, "axis")]
    for tick in axis.ticks():
        x = axis.position(tick)
        parts.append(line(x, top, x, bottom, "rule"))
        parts.append(text_at(x, bottom + 18, tick_label(tick), "middle", "note"))
    center = (axis.begin + axis.end) / 2
    for number, words in enumerate(axis_name_lines(axis, name)):
        parts.append(text_at(center, bottom + 38 + number * LINE_HEIGHT, words, "middle", "note"))
    return Markup("").join(parts)


def axis_name_lines(axis: Axis, name: str) -> list[str]:
    """Return the lines of the name of a horizontal axis, in the reader's language: names of arms can be long."""
    center = (axis.begin + axis.end) / 2
    return wrap_words(translated(name), 2 * min(center, WIDTH - center), BOLD_LETTER_WIDTH)


def y_axis(axis: Axis, left: float, right: float, name: str) -> Markup:
    """Return the vertical axis at `left` with its name, tick labels and grid lines up to `right`."""
    parts = [text_at(left - 44, axis.end - 14, name, "start", "note")]
    for tick in axis.ticks():
        y = axis.position(tick)
        parts.append(line(left, y, right, y, "rule"))
        parts.append(text_at(left - 6, y + 4, tick_label(tick), "end", "note"))
    return Markup("").join(parts)


def path(points: Sequence[tuple[float, float]], across: Axis, up: Axis, style: str) -> Markup:
    """Return a line through the points with a finite y; a single point becomes a dot, open for a dashed line."""
    finite = [(across.position(x), up.position(y)) for x, y in points if math.isfinite(y)]
    if len(finite) == 1:
        return dot(*finite[0], 3, style if "dashed" in style else style.replace(" c", " f", 1))
    return tag("polyline", "", points=points_attribute(finite), cls=f"line {style}") if finite else Markup("")


def band(points: Sequence[tuple[float, float, float]], across: Axis, up: Axis, style: str, *, shares: bool) -> Markup:
    """Return the polygon of a band [(x, low, high), …], clipped to 0 to 100 with `shares`."""
    lower, upper = (0.0, 100.0) if shares else (-math.inf, math.inf)
    top = [(across.position(x), up.position(min(high, upper))) for x, _low, high in points]
    bottom = [(across.position(x), up.position(max(low, lower))) for x, low, _high in reversed(points)]
    return tag("polygon", "", points=points_attribute([*top, *bottom]), cls=f"band {style}")


def points_attribute(points: Iterable[tuple[float, float]]) -> str:
    """Return the value of the `points` attribute of a polyline or polygon."""
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    """Return a straight line of the class `style`."""
    return tag("line", "", x1=round(x1, 1), y1=round(y1, 1), x2=round(x2, 1), y2=round(y2, 1), cls=style)


def dot(x: float, y: float, radius: float, style: str) -> Markup:
    """Return a circle of the class `style`."""
    return tag("circle", "", cx=round(x, 1), cy=round(y, 1), r=radius, cls=style)


def text_at(x: float, y: float, text: str, anchor: str, style: str = "") -> Markup:
    """Return a text whose `anchor` (start, middle or end) is at (x, y), in the reader's language."""
    attributes = {"cls": style} if style else {}
    return tag("text", translated(text), x=round(x, 1), y=round(y, 1), **{"text-anchor": anchor}, **attributes)


def tag(name: str, content: str, **attributes: object) -> Markup:
    """Return an element; the attribute `cls` becomes its class."""
    named = (("class" if key == "cls" else key, value) for key, value in attributes.items())
    escaped = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in named)
    return Markup("<{0}{1}>{2}</{0}>").format(name, escaped, content)


def svg(height: float, label: str, parts: Iterable[Markup], kind: str = "wide") -> Markup:
    """Return a chart with `label` as its description for screen readers.

    Args:
        height: Height in units of the view box; the width is `WIDTH`.
        label: Description of the chart, written in the reader's language.
        parts: Elements of the chart.
        kind: CSS class. Charts of kind "rows" fit on a phone; "wide" ones scroll sideways.
    """
    content, box = Markup("").join(parts), f"0 0 {WIDTH} {height:g}"
    return tag("svg", content, viewBox=box, role="img", cls=kind, **{"aria-label": translated(label)})
