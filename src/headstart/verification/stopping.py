"""The p-values at which a study may stop or decide at one of its analyses.

|Z_k| ≥ c / sqrt(share_k), with c so that the probability of stopping at any analysis is the error of the contrast
(O'Brien & Fleming 1979, *Biometrics* 35, 549-556). The score S_k = Z_k sqrt(share_k) is a random walk with independent
normal steps; its density among the paths that have not stopped is integrated from one analysis to the next (Armitage,
McPherson & Rowe 1969, *JRSS A* 132, 235-244) by Simpson's rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np
from scipy import optimize, signal, special

_POINTS_PER_DEVIATION, _MIN_POINTS, _MAX_POINTS = 120, 2001, 8001  # of the grid


@dataclass(frozen=True)
class Stages:
    """The analyses of a study.

    Attributes:
        interim: Numbers of seeds of the interim analyses.
        seeds: Declared seeds.
        further: Numbers of seeds of the analyses after added seeds.
        max_seeds: Declared most seeds; 0 without a reserve.
        first_share: Share of the error for the analyses up to the declared seeds, with a reserve.
    """

    interim: tuple[int, ...] = ()
    seeds: int = 0
    further: tuple[int, ...] = ()
    max_seeds: int = 0
    first_share: float = 1.0

    def first_error(self, error: float) -> float:
        """Return the part of an error that the analyses up to the declared seeds may spend."""
        return error * self.first_share if self.max_seeds else error

    def interim_boundaries(self, error: float) -> list[float]:
        """Return the p-value at which each interim analysis ends the study."""
        return boundaries(self.interim, self.first_error(error)) if self.interim else []

    def level_after(self, n: int, error: float) -> float:
        """Return the level of an interval after n seeds: one minus the boundary of the last analysis up to there."""
        if self.further and n >= self.further[0]:
            return 1 - further_boundaries(self, error)[sum(count <= n for count in self.further) - 1]
        made = sum(count <= n for count in self.interim)
        return 1 - (self.interim_boundaries(error)[made - 1] if made else self.first_error(error))


@cache
def boundaries(declared: tuple[int, ...], error: float) -> list[float]:
    """Return the p-value at which each analysis ends the study.

    Args:
        declared: Number of seeds of each analysis, increasing.
        error: Probability of stopping at any of them if there is no difference.
    """
    shares = [n / declared[-1] for n in declared]
    c = _root(lambda c: _stopping(c, shares) - error)
    return [float(2 * special.ndtr(-c / math.sqrt(share))) for share in shares]


@cache
def further_boundaries(stages: Stages, error: float) -> list[float]:
    """Return the p-value of the boundary of each further analysis.

    After n seeds the analyses have spent the first share of the error, and of the rest the share
    (n - seeds) / (max_seeds - seeds) (a linear spending function; Lan & DeMets 1983, *Biometrika* 70, 659-663).
    """
    early = [*zip(stages.interim, stages.interim_boundaries(error), strict=True)]
    early = early or [(stages.seeds, stages.first_error(error))]
    shares = [n / stages.max_seeds for n, _p in early]
    limits = [-special.ndtri(p / 2) * math.sqrt(n / stages.max_seeds) for n, p in early]
    result = []
    for n in stages.further:
        part = (n - stages.seeds) / (stages.max_seeds - stages.seeds)
        spent = error * (stages.first_share + (1 - stages.first_share) * part)
        shares.append(n / stages.max_seeds)
        limits.append(_root(partial(_excess, limits, shares, spent), 0.3))
        result.append(float(2 * special.ndtr(-limits[-1] / math.sqrt(shares[-1]))))
    return result


def _excess(limits: Sequence[float], shares: Sequence[float], spent: float, limit: float) -> float:
    """Return by how much the error of all analyses, the last one with `limit`, is above what may be spent."""
    return _stopping_at([*limits, limit], shares) - spent


def _root(function: Callable[[float], float], low: float = 1.0) -> float:
    return float(optimize.brentq(function, low, 12.0, xtol=1e-13, rtol=1e-14))


def _stopping_at(limits: Sequence[float], shares: Sequence[float]) -> float:
    """Return the probability that |S_k| reaches its limit at any analysis, by one grid for each."""
    steps = [shares[0], *(after - before for before, after in pairwise(shares))]
    wanted = 2 * max(limits) / math.sqrt(min(steps)) * _POINTS_PER_DEVIATION / 2
    points = int(min(max(wanted, _MIN_POINTS / 2), _MAX_POINTS / 4)) // 2 * 2 + 1
    before = np.linspace(-limits[0], limits[0], points)
    density = _normal(before, steps[0])
    for limit, step in zip(limits[1:], steps[1:], strict=True):
        grid = np.linspace(-limit, limit, points)
        density = _normal(grid[:, None] - before, step) @ (density * _simpson(before))
        before = grid
    return 1 - float(density @ _simpson(before))


def _stopping(c: float, shares: list[float]) -> float:
    """Return the probability that |S_k| reaches c at any analysis, by convolution on one grid."""
    steps = [shares[0], *(after - before for before, after in pairwise(shares))]
    wanted = 2 * c / math.sqrt(min(steps)) * _POINTS_PER_DEVIATION
    points = int(min(max(wanted, _MIN_POINTS), _MAX_POINTS)) // 2 * 2 + 1
    grid = np.linspace(-c, c, points)
    weights = _simpson(grid)
    distances = (grid[1] - grid[0]) * np.arange(1 - points, points)
    density = _normal(grid, steps[0])
    for step in steps[1:]:
        density = signal.fftconvolve(_normal(distances, step), density * weights, "valid")
    return 1 - float(density @ weights)


def _normal(x: np.ndarray, variance: float) -> np.ndarray:
    return np.exp(-(x**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def _simpson(grid: np.ndarray) -> np.ndarray:
    """Return the weights of Simpson's rule for an odd number of equidistant points."""
    weights = np.full(len(grid), 2 * (grid[1] - grid[0]) / 3)
    weights[1::2] *= 2
    weights[[0, -1]] /= 2
    return weights
