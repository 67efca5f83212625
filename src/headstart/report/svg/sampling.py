"""Selection of evenly spaced points, since a page has no space for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")
MAX_LINE_POINTS = 240  # points of one line; more would not be visible
MAX_CHART_POINTS = 12_000  # points of all lines of a chart


def points_per_line(lines: int) -> int:
    """Return the largest number of points of each of several lines of a chart, at least 2."""
    return max(2, min(MAX_LINE_POINTS, MAX_CHART_POINTS // max(lines, 1)))


def subsample(points: Sequence[T], max_points: int) -> list[T]:
    """Return at most `max_points` evenly spaced points, including the first and the last."""
    if len(points) <= max_points:
        return list(points)
    indices = np.unique(np.linspace(0, len(points) - 1, max_points).round().astype(int))
    return [points[int(index)] for index in indices]
