"""Intervals and tests, each with its formula and source."""

from __future__ import annotations

from scipy import stats


def wilson(correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of an accuracy from `correct` of n images (Wilson 1927, score interval, by scipy.stats.binomtest).

    It covers the sampling of the images, not that of the training. Raises ValueError for n < 1.
    """
    found = stats.binomtest(correct, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)
