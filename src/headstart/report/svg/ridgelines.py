"""Histograms over time as ridgelines, from the first at the bottom to the last at the top, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from headstart.i18n import translated
from headstart.report.svg.elements import points_attribute, svg, tag, text_at
from headstart.report.svg.labels import LETTER_WIDTH, text_width

GAP, TALLEST = 22, 60  # units of the view box between two baselines, and height of the highest bin
BOTTOM, RIGHT = 34, 700  # space below the last baseline, and right end of the scale
MIN_LEFT = 60  # least space for the names


@dataclass(frozen=True)
class Ridge:
    """One histogram: its name, and the heights of its bins from 0 to 1."""

    name: str
    heights: Sequence[float]


def ridgelines(ridges: Sequence[Ridge], *, low: float, high: float, label: str) -> Markup:
    """Return ridgelines.

    Args:
        ridges: Histograms in the order of time, with the same bins.
        low: Lower end of the scale.
        high: Upper end of the scale.
        label: Description of the chart.
    """
    names = [translated(ridge.name) for ridge in ridges]
    left = max(MIN_LEFT, 16 + max(map(text_width, names)) * LETTER_WIDTH)
    parts: list[Markup] = []
    for row in range(len(ridges) - 1, -1, -1):  # the last one is behind the others
        base = TALLEST + GAP * (len(ridges) - row)
        heights = ridges[row].heights
        step = (RIGHT - left) / len(heights)
        bins = [
            (round(left + step * (index + 0.5), 1), round(base - TALLEST * height, 1))
            for index, height in enumerate(heights)
        ]
        outline = [(left, base), *bins, (RIGHT, base)]
        parts.append(tag("polygon", "", points=points_attribute(outline), cls="ridge"))
        parts.append(text_at(left - 8, base, names[row], "end", "note"))
    height = TALLEST + GAP * len(ridges) + BOTTOM
    parts.append(text_at(left, height - 10, f"{low:.3g}", "start", "note"))
    parts.append(text_at(RIGHT, height - 10, f"{high:.3g}", "end", "note"))
    return svg(height, label, parts)
