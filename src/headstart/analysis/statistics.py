"""Intervals and tests, each with its formula and source.

A comparison of two arms is an array `difference` [n seeds, g units]: the metric of the first arm minus that of the
second, under the same seed. A unit is a test image, or a group of images that depend on each other
(`analysis.image_sample`). Seeds and units are both samples, and the interval covers both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from headstart.storage.schemas.verdict import TimeToTarget

Array = npt.NDArray[np.float64]
LEVEL = 0.95  # default confidence level
ROUNDING_ERROR = 1e-12  # differences of accuracies below it are rounding
MIN_NODES, MAX_NODES, NODES_PER_DEVIATION = 129, 1025, 12  # of the quadrature for the boundaries of analyses
SEEDS_TAIL = 0.3  # of the distribution of the seeds' mean square, in the degrees of freedom


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of an [n, g] array with both factors random: `seeds` (A), `units` (B) and `rest` (C)."""

    seeds: float
    units: float
    rest: float
    n: int
    g: int
    max_weight: float = 1.0  # largest weight of an image
    spread: float = 1.0  # mean squared size of the units, whose mean is 1

    def variance(self) -> float:
        """Return the variance of the mean: max((A + B - C)/(n g), C/(n g)), at least `min_variance`."""
        variance = max(self.seeds + self.units - self.rest, self.rest) / (self.n * self.g)
        return max(variance, self.min_variance())

    def min_variance(self) -> float:
        """Return max_weight² spread/(g + 2)²: the variance where the arms differ on no unit at all.

        It is that of paired proportions with half a unit added to each cell of their table (Agresti & Min 2005): the
        arms may differ on units that were not sampled, whose size is that of the sampled ones in the mean square.
        """
        return self.spread * (self.max_weight / (self.g + 2)) ** 2

    def max_undetected_difference(self, level: float) -> float:
        """Return the largest difference that g units can miss if none of them shows any: see `crossed_interval`."""
        return float(self.max_weight * (1 - ((1 - level) / 2) ** (self.spread / self.g)))

    def degrees_of_freedom(self) -> float:
        """Return Satterthwaite's degrees of freedom of the variance, reduced where A is uncertain.

        The result is the smaller of those with A and with `A_u = max(A (n-1)/χ²_0.3(n-1), C)`. With few seeds, A is
        often far below its expectation. Satterthwaite's formula then takes the variance for one of the units alone, of
        which there are many, and the interval would be too narrow exactly where A is too small.
        """
        uncertain = max(self.seeds * (self.n - 1) / chi2_quantile(SEEDS_TAIL, self.n - 1), self.rest)
        return min(self._satterthwaite(self.seeds), self._satterthwaite(uncertain))

    def _satterthwaite(self, a: float) -> float:
        """Return the degrees of freedom with this A, at least those of the smaller factor.

        With fewer seeds than units the minimum is n - 1. With infinitely many seeds it stays at the units' g - 1.
        """
        b, c, n, g = self.units, self.rest, self.n, self.g
        denominator = a**2 / (n - 1) + b**2 / (g - 1) + c**2 / ((n - 1) * (g - 1))
        smallest = min(n, g) - 1.0
        return max((a + b - c) ** 2 / denominator, smallest) if denominator else smallest

    def expected_at(self, n: int, g: int) -> MeanSquares:
        """Return the mean squares that are expected with n seeds and g units."""
        of_seeds, of_units = max(self.seeds - self.rest, 0) / self.g, max(self.units - self.rest, 0) / self.n
        return replace(self, seeds=self.rest + g * of_seeds, units=self.rest + n * of_units, n=n, g=g)

    def half_width(self, level: float) -> float:
        """Return the half-width of the interval of the mean."""
        return t_quantile(self.degrees_of_freedom(), level) * math.sqrt(self.variance())


@dataclass(frozen=True)
class CrossedInterval:
    """Mean difference, its interval at `level`, and the two-sided t p-value that belongs to it."""

    mean: float
    low: float
    high: float
    level: float
    p: float
    degrees_of_freedom: float
    half_width_infinite_seeds: float  # half-width with infinitely many seeds, which is due to the units; at most 1
    max_undetected_difference: float  # difference that the units can miss, where none of them shows any
    squares: MeanSquares


def mean_squares(difference: npt.ArrayLike, max_weight: float = 1.0, spread: float = 1.0) -> MeanSquares:
    """Return `A = g Σ(row-mean)²/(n-1)`, `B = n Σ(col-mean)²/(g-1)`, `C = Σ(D-row-col+mean)²/((n-1)(g-1))`.

    The model is the two-way crossed random-effects model without replication (Searle, Casella & McCulloch 1992,
    chapter 4).

    Args:
        difference: Array [n seeds, g units].
        max_weight: Largest weight of an image.
        spread: Mean squared size of the units, whose mean is 1.

    Raises:
        ValueError: Fewer than two seeds or units.
    """
    d = np.asarray(difference, dtype=np.float64)
    n, g = d.shape
    if n < 2 or g < 2:
        raise ValueError(f"a variance needs at least two seeds and two units, not {n} and {g}")
    row, column, mean = d.mean(axis=1), d.mean(axis=0), d.mean()
    rest = d - row[:, None] - column[None, :] + mean
    return MeanSquares(
        seeds=float(g * ((row - mean) ** 2).sum() / (n - 1)),
        units=float(n * ((column - mean) ** 2).sum() / (g - 1)),
        rest=float((rest**2).sum() / ((n - 1) * (g - 1))),
        n=n,
        g=g,
        max_weight=max_weight,
        spread=spread,
    )


def crossed_interval(
    difference: npt.ArrayLike, level: float = LEVEL, max_weight: float = 1.0, spread: float = 1.0
) -> CrossedInterval:
    """Return the mean of `difference` with an interval over seeds and units, both random and crossed.

    `mean ± t(df) sqrt(Var)`, `Var = max((A + B - C)/(n g), C/(n g))`, at least `MeanSquares.min_variance`, df by
    Satterthwaite (1946), at least n - 1, see `MeanSquares.degrees_of_freedom`. `max_undetected_difference` is the exact
    upper limit of a proportion of which `g/spread` units show none (Clopper & Pearson 1934):
    `max_weight (1 - ((1 - level)/2)^(spread/g))`. `g/spread` is the effective number of units of unequal size (Kish
    1965).

    A difference of accuracies, balanced ones too, lies in [-1, 1], and the interval is clipped to that range. This
    changes neither its coverage, since values outside are impossible, nor the result of `decide`.

    Args:
        difference: Array [n seeds, g units].
        level: Confidence level.
        max_weight: Largest weight of an image.
        spread: Mean squared size of the units, whose mean is 1.

    Raises:
        ValueError: Fewer than two seeds or units.
    """
    squares = mean_squares(difference, max_weight, spread)
    mean = bounded(float(np.asarray(difference, dtype=np.float64).mean()))
    error, degrees = math.sqrt(squares.variance()), squares.degrees_of_freedom()
    low, high = clip_interval(mean, squares.half_width(level))
    p = float(2 * stats.t.sf(abs(mean) / error, degrees))
    of_units = max((squares.units - squares.rest) / (squares.n * squares.g), squares.min_variance())
    endless = min(1.0, t_quantile(squares.g - 1, level) * math.sqrt(of_units))
    return CrossedInterval(
        mean, low, high, level, p, degrees, endless, squares.max_undetected_difference(level), squares
    )


def paired_t_interval(
    difference: npt.ArrayLike, level: float = LEVEL, spread: float = 1.0
) -> tuple[float, float, float]:
    """Return mean, low and high of one seed's difference [g units]: paired t (Student 1908).

    The variance has the minimum of `crossed_interval`. The interval covers the sampling of the images, not that of the
    training.

    Raises:
        ValueError: Fewer than two units.
    """
    d = np.asarray(difference, dtype=np.float64)
    if len(d) < 2:
        raise ValueError(f"a variance needs at least two units, not {len(d)}")
    min_variance = MeanSquares(0, 0, 0, 1, len(d), spread=spread).min_variance()
    error = math.sqrt(max(float(d.var(ddof=1)) / len(d), min_variance))
    mean = bounded(float(d.mean()))
    return mean, *clip_interval(mean, t_quantile(len(d) - 1, level) * error)


def clip_interval(mean: float, half: float) -> tuple[float, float]:
    """Return the interval `mean ± half` of a difference of accuracies, clipped to [-1, 1]."""
    return bounded(mean - half), bounded(mean + half)


def bounded(difference: float) -> float:
    """Return a difference of accuracies within [-1, 1]; weighted means may be beyond by a rounding error."""
    return min(max(difference, -1.0), 1.0)


def t_interval(values: Sequence[float] | Array, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval `mean ± t(n-1) s/√n` of n > 1 values (Student 1908)."""
    n, mean = len(values), math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = t_quantile(n - 1, level) * deviation / math.sqrt(n)
    return mean - half, mean + half


@lru_cache(maxsize=256)
def chi2_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Return the quantile of the chi-squared distribution."""
    return float(stats.chi2.ppf(probability, degrees_of_freedom))


@lru_cache(maxsize=256)
def t_quantile(degrees_of_freedom: float, level: float = LEVEL) -> float:
    """Return the two-sided quantile of Student's t distribution."""
    return float(stats.t.ppf((1 + level) / 2, degrees_of_freedom))


def sign_flip(per_seed: Sequence[float] | Array) -> float:
    """Return the exact two-sided p of the mean of n paired differences under all 2^n sign changes (Fisher 1935, §21).

    It makes fewer assumptions than t, and cannot be below 2/2^n.

    Raises:
        ValueError: More than 20 seeds.
    """
    d = np.asarray(per_seed, dtype=np.float64)
    if len(d) > 20:
        raise ValueError("all sign changes are counted for at most 20 seeds")
    signs = 1 - 2 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)
    sums = np.abs(signs @ d)
    return float((sums >= abs(d.sum()) - ROUNDING_ERROR).mean())


def family_levels(family: int, primary_share: float, level: float = LEVEL) -> list[float]:
    """Return the levels of `family` intervals that hold together with `level`, that of the primary contrast first.

    The errors of the intervals add up to `1 - level` (Bonferroni; Dunn 1961). The primary contrast has the share
    `primary_share` of it, and the others divide the rest equally. A single contrast has all of it.
    """
    error = 1 - level
    if family == 1:
        return [level]
    return [1 - primary_share * error, *[1 - (1 - primary_share) * error / (family - 1)] * (family - 1)]


def obrien_fleming(shares: Sequence[float], level: float = LEVEL) -> list[float]:
    """Return the two-sided p-values at which to stop, one for each interim analysis.

    |Z_k| ≥ c / sqrt(share_k) (O'Brien & Fleming 1979). c makes the probability of stopping at any analysis 1 - level
    under the null hypothesis. It is computed by the recursive integration of Armitage, McPherson & Rowe (1969).

    Args:
        shares: Shares of the data at each analysis, increasing, the last one 1.
        level: One minus the total error.
    """
    c = optimize.brentq(lambda c: _crossing([c] * len(shares), shares) - (1 - level), 1.5, 9.0, xtol=1e-12)
    return [float(2 * stats.norm.sf(c / math.sqrt(share))) for share in shares]


def spending_boundaries(shares: Sequence[float], known: Sequence[float], spent: Sequence[float]) -> list[float]:
    """Return the two-sided p-values of further analyses at which the declared error is spent (Lan & DeMets 1983).

    Args:
        shares: Shares of the data at each analysis, increasing: of the analyses before, then of the further ones.
        known: P-values of the boundaries of the analyses before.
        spent: The total error of all analyses up to each further one, increasing.
    """
    bounds = [stats.norm.isf(p / 2) * math.sqrt(share) for p, share in zip(known, shares, strict=False)]
    for share, error in zip(shares[len(known) :], spent, strict=True):
        upto, scale = shares[: len(bounds) + 1], math.sqrt(share)

        def excess(z: float, upto: Sequence[float] = upto, scale: float = scale, error: float = error) -> float:
            return _crossing([*bounds, z * scale], upto) - error

        bounds.append(scale * optimize.brentq(excess, 0.5, 12.0, xtol=1e-10))
    further = zip(bounds[len(known) :], shares[len(known) :], strict=True)
    return [float(2 * stats.norm.sf(bound / math.sqrt(share))) for bound, share in further]


def _crossing(bounds: Sequence[float], shares: Sequence[float]) -> float:
    """Return P(|S_k| ≥ bounds_k for some k); S_k is normal with variance share_k and independent increments.

    S_k = Z_k sqrt(share_k).
    """
    narrowest = min([shares[0], *(after - before for before, after in pairwise(shares))])
    count = min(MAX_NODES, max(MIN_NODES, math.ceil(NODES_PER_DEVIATION * max(bounds) / math.sqrt(narrowest))))
    nodes, weights = _gauss_legendre(count)
    grid, inside = bounds[0] * nodes, stats.norm.pdf(bounds[0] * nodes, scale=math.sqrt(shares[0]))
    for (last, bound), (before, after) in zip(pairwise(bounds), pairwise(shares), strict=True):
        points = bound * nodes
        apart = points[:, None] - grid[None, :]
        inside = stats.norm.pdf(apart, scale=math.sqrt(after - before)) @ (inside * last * weights)
        grid = points
    return 1 - float(inside @ (bounds[-1] * weights))


@cache
def _gauss_legendre(count: int) -> tuple[Array, Array]:
    """Return the nodes and weights of the quadrature of Gauss and Legendre from -1 to 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return nodes, weights


def time_to_target(times: Sequence[float | None]) -> TimeToTarget:
    """Return the median time of n runs to a target: the ⌈n/2⌉-th smallest time.

    A run that has ended without the target (None) never reaches it. Its end is no random censoring: a run that
    diverged, stopped early or used up its budget cannot reach the target under the declared rules. These are competing
    events, after which a run stays in the risk set (Fine & Gray 1999), so that shares are relative to all n runs.

    Args:
        times: Time of each run, or None. All runs must have ended: a run in progress may still reach the target.
    """
    reached = sorted(time for time in times if time is not None)
    half = (len(times) + 1) // 2
    median = float(reached[half - 1]) if 0 < half <= len(reached) else None
    return TimeToTarget(median=median, reached=len(reached), n=len(times))
