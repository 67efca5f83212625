"""Selection of evenly spaced points, since a page has no space for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def subsample(points: Sequence[T], max_points: int) -> list[T]:
    """Return at most `max_points` evenly spaced points, including the first and the last."""
    if len(points) <= max_points:
        return list(points)
    indices = np.unique(np.linspace(0, len(points) - 1, max_points).round().astype(int))
    return [points[int(index)] for index in indices]
