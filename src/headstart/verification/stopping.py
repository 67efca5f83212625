"""The p-values at which a study may stop at one of its declared analyses.

|Z_k| ≥ c / sqrt(share_k), with c so that the probability of stopping at any analysis is the error of the contrast
(O'Brien & Fleming 1979, *Biometrics* 35, 549-556). The score S_k = Z_k sqrt(share_k) is a random walk with independent
normal steps; its density among the paths that have not stopped is integrated from one analysis to the next (Armitage,
McPherson & Rowe 1969, *JRSS A* 132, 235-244) by Simpson's rule.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise

import numpy as np
from scipy import optimize, signal, special

_POINTS_PER_DEVIATION, _MIN_POINTS, _MAX_POINTS = 120, 2001, 8001  # of the grid


@cache
def boundaries(declared: tuple[int, ...], error: float) -> list[float]:
    """Return the p-value at which each analysis ends the study.

    Args:
        declared: Number of seeds of each analysis, increasing.
        error: Probability of stopping at any of them if there is no difference.
    """
    shares = [n / declared[-1] for n in declared]
    c = float(optimize.brentq(lambda c: _stopping(c, shares) - error, 1.0, 12.0, xtol=1e-13, rtol=1e-14))
    return [float(2 * special.ndtr(-c / math.sqrt(share))) for share in shares]


def level_after(n: int, declared: list[int], error: float) -> float:
    """Return the level of an interval after n seeds: one minus the boundary of the last analysis up to there."""
    made = sum(count <= n for count in declared)
    return 1 - (boundaries(tuple(declared), error)[made - 1] if made else error)


def _stopping(c: float, shares: list[float]) -> float:
    """Return the probability that |S_k| reaches c at any analysis."""
    steps = [shares[0], *(after - before for before, after in pairwise(shares))]
    wanted = 2 * c / math.sqrt(min(steps)) * _POINTS_PER_DEVIATION
    points = int(min(max(wanted, _MIN_POINTS), _MAX_POINTS)) // 2 * 2 + 1
    grid = np.linspace(-c, c, points)
    weights = np.full(points, 2.0)
    weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0
    weights *= (grid[1] - grid[0]) / 3
    distances = (grid[1] - grid[0]) * np.arange(1 - points, points)
    density = _normal(grid, steps[0])
    for step in steps[1:]:
        density = signal.fftconvolve(_normal(distances, step), density * weights, "valid")
    return 1 - float(density @ weights)


def _normal(x: np.ndarray, variance: float) -> np.ndarray:
    return np.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
