"""Estimate the seeds or test images that a decision needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from headstart.analysis.statistics import CrossedInterval, MeanSquares, chi2_quantile
from headstart.storage.schemas.contrast import SampleSizeEstimate

MAX_SAMPLE_SIZE = 100_000  # seeds or units; a larger required sample is reported as none
GRID_SIZE = 100  # numbers that are tried first


def required_sample_size(interval: CrossedInterval, half_width: float, confidence: float = 0.8) -> SampleSizeEstimate:
    """Return the seeds (with these units), or units (with these seeds), for an interval of ± `half_width`.

    The numbers are larger than the present ones. The units are also enough to make `max_undetected_difference` at most
    the width of the interval. The result is a range, because the variance of few seeds is uncertain: A is taken at its
    `confidence` limits `(n-1) A / χ²(n-1)`. Nothing is derived from the observed effect: post-hoc power is a function
    of the p-value (Hoenig & Heisey 2001).

    Args:
        interval: Interval of the present seeds and units.
        half_width: Target half-width, in accuracy.
        confidence: Confidence of the range.
    """
    squares = interval.squares
    tail = (1 - confidence) / 2
    factors = [(squares.n - 1) / chi2_quantile(q, squares.n - 1) for q in (1 - tail, tail)]
    cases = [replace(squares, seeds=max(squares.seeds * factor, squares.rest)) for factor in factors]

    def resolution(case: MeanSquares) -> float:
        """Return the half-width of the interval, or half of the difference that the units can miss if larger."""
        return max(case.half_width(interval.level), case.max_undetected_difference(interval.level) / 2)

    def with_seeds(case: MeanSquares, k: int) -> float:
        """Return the resolution with k seeds."""
        return resolution(case.expected_at(k, case.g))

    def with_units(case: MeanSquares, k: int) -> float:
        """Return the resolution with k units."""
        return resolution(case.expected_at(case.n, k))

    seeds = [_smallest(partial(with_seeds, case), half_width, squares.n) for case in cases]
    units = [_smallest(partial(with_units, case), half_width, squares.g) for case in cases]
    ranges = [(low, high) if low is not None else None for low, high in (seeds, units)]
    return SampleSizeEstimate(half_width=half_width, seeds=ranges[0], units=ranges[1])


def equivalence_units(n: int, margin: float, level: float) -> int | None:
    """Return the smallest number of units with which two arms that never differ are found equivalent.

    Args:
        n: Number of seeds.
        margin: Equivalence margin, in accuracy.
        level: Level of the contrast.

    Returns:
        None if `MAX_SAMPLE_SIZE` units are not enough.
    """

    def resolution(g: int) -> float:
        """Return what must be at most the margin with g units."""
        equal = MeanSquares(0.0, 0.0, 0.0, n, g)
        return max(equal.half_width(level), equal.max_undetected_difference(level))

    return _smallest(resolution, margin, 1)


def _smallest(width: Callable[[int], float], target: float, above: int) -> int | None:
    """Return the smallest k > `above` with a width of at most `target`, or None up to `MAX_SAMPLE_SIZE`.

    Widths decrease with k but for small steps where the degrees of freedom fall, so that the search begins on a grid.
    """
    if above >= MAX_SAMPLE_SIZE:
        return None
    grid = sorted({round(float(k)) for k in np.geomspace(above + 1, MAX_SAMPLE_SIZE, GRID_SIZE)})
    place = next((place for place, k in enumerate(grid) if width(k) <= target), None)
    if place is None:
        return None
    low, high = (grid[place - 1] if place else above), grid[place]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if width(middle) <= target else (middle, high)
    return high
