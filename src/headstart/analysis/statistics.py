"""Intervals and tests, each with its formula and source.

A comparison of two arms is an array `difference` [n seeds, m judge images] with entries -1, 0, 1: what the first arm
got right and the second did not, and the other way round, under the same seed. Seeds and images are both samples, so
the interval carries both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
LEVEL = 0.95  # of an interval, unless another is said
ROUNDING = 1e-12  # a difference of accuracies below it is none
MOST = 100_000  # seeds or images; a need beyond is told as none


def wilson(correct: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Interval of an accuracy from `correct` of n images (Wilson 1927, score interval, by scipy.stats.binomtest).

    It covers the sampling of the images, not that of the training. Raises ValueError for n < 1.
    """
    found = stats.binomtest(correct, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class MeanSquares:
    """Of an [n, m] array with both factors random: `seeds` (A), `images` (B) and `rest` (C)."""

    seeds: float
    images: float
    rest: float
    n: int
    m: int
    most: float = 1.0  # what one image counts at most: an entry's largest size

    def variance(self) -> float:
        """Variance of the mean: max((A + B - C)/(n m), C/(n m)), and never below `unseen_variance`."""
        found = max(self.seeds + self.images - self.rest, self.rest) / (self.n * self.m)
        return max(found, self.unseen_variance())

    def unseen_variance(self) -> float:
        """(most/(m + 2))²: what is left where the arms differ on no image at all.

        It is that of paired shares with half an image added to each cell of their table (Agresti & Min 2005): among
        images that were not drawn there may be some on which they differ.
        """
        return (self.most / (self.m + 2)) ** 2

    def unseen(self, level: float) -> float:
        """The difference that so few images may hide where none of them shows any: see `crossed`."""
        return float(self.most * (1 - ((1 - level) / 2) ** (1 / self.m)))

    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom of that variance, at least those of the smaller factor.

        (With fewer seeds than images that is n - 1; with endless seeds the images' m - 1 must not be raised by them.)
        """
        a, b, c, n, m = self.seeds, self.images, self.rest, self.n, self.m
        below = a**2 / (n - 1) + b**2 / (m - 1) + c**2 / ((n - 1) * (m - 1))
        least = min(n, m) - 1.0
        return max((a + b - c) ** 2 / below, least) if below else least

    def at(self, n: int, m: int) -> MeanSquares:
        """What would be expected with n seeds and m images of the same kind."""
        of_seeds, of_images = max(self.seeds - self.rest, 0) / self.m, max(self.images - self.rest, 0) / self.n
        return MeanSquares(self.rest + m * of_seeds, self.rest + n * of_images, self.rest, n, m, self.most)

    def half_width(self, level: float) -> float:
        return float(stats.t.ppf((1 + level) / 2, self.degrees())) * math.sqrt(self.variance())


@dataclass(frozen=True)
class CrossedInterval:
    """A mean difference, its interval at `level`, and the two-sided t p-value that belongs to it."""

    mean: float
    low: float
    high: float
    level: float
    p: float
    degrees: float
    endless_seeds: float  # half-width that would stay with endless seeds: the images' share; at most 1
    unseen: float  # difference that so few images may hide, where none of them shows any
    squares: MeanSquares


def mean_squares(difference: npt.ArrayLike, most: float = 1.0) -> MeanSquares:
    """`A = m Σ(row-mean)²/(n-1)`, `B = n Σ(col-mean)²/(m-1)`, `C = Σ(D-row-col+mean)²/((n-1)(m-1))`.

    The two-way crossed random-effects model without replication (Searle, Casella & McCulloch 1992, chapter 4).
    Raises ValueError for fewer than two seeds or images.
    """
    d = np.asarray(difference, dtype=np.float64)
    n, m = d.shape
    if n < 2 or m < 2:
        raise ValueError(f"a variance needs two seeds and two images at least, not {n} and {m}")
    row, column, mean = d.mean(axis=1), d.mean(axis=0), d.mean()
    rest = d - row[:, None] - column[None, :] + mean
    return MeanSquares(
        seeds=float(m * ((row - mean) ** 2).sum() / (n - 1)),
        images=float(n * ((column - mean) ** 2).sum() / (m - 1)),
        rest=float((rest**2).sum() / ((n - 1) * (m - 1))),
        n=n,
        m=m,
        most=most,
    )


def crossed(difference: npt.ArrayLike, level: float = LEVEL, most: float = 1.0) -> CrossedInterval:
    """Mean of `difference` [n, m] with an interval over seeds and images, both random and crossed.

    `mean ± t(df) sqrt(Var)`, `Var = max((A + B - C)/(n m), C/(n m))` with a floor where hardly an image differs, df by
    Satterthwaite (1946), at least n - 1. `most` is what one image counts at most. `unseen` is the exact upper limit of
    a share of which m images show none (Clopper & Pearson 1934): `most (1 - ((1 - level)/2)^(1/m))`.

    A difference of accuracies, balanced ones too, lies in [-1, 1], and the interval is cut there: it covers as often as
    the whole one does, since what is cut off cannot be true, and `decide` says the same of both.
    """
    squares = mean_squares(difference, most)
    mean = float(np.asarray(difference, dtype=np.float64).mean())
    error, degrees = math.sqrt(squares.variance()), squares.degrees()
    low, high = possible(mean, squares.half_width(level))
    p = float(2 * stats.t.sf(abs(mean) / error, degrees))
    of_images = max((squares.images - squares.rest) / (squares.n * squares.m), squares.unseen_variance())
    endless = min(1.0, float(stats.t.ppf((1 + level) / 2, squares.m - 1)) * math.sqrt(of_images))
    return CrossedInterval(mean, low, high, level, p, degrees, endless, squares.unseen(level), squares)


def over_images(difference: npt.ArrayLike, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and interval of one seed's difference [m images]: paired t (Student 1908), with the floor of `crossed`.

    It covers the sampling of the images, not that of the training. Raises ValueError for fewer than two images.
    """
    d = np.asarray(difference, dtype=np.float64)
    if len(d) < 2:
        raise ValueError(f"a variance needs two images at least, not {len(d)}")
    floor = MeanSquares(0, 0, 0, 1, len(d)).unseen_variance()
    error = math.sqrt(max(float(d.var(ddof=1)) / len(d), floor))
    mean = float(d.mean())
    return mean, *possible(mean, float(stats.t.ppf((1 + level) / 2, len(d) - 1)) * error)


def possible(mean: float, half: float) -> tuple[float, float]:
    """The interval `mean ± half` of a difference of accuracies, cut to [-1, 1]."""
    return max(mean - half, -1.0), min(mean + half, 1.0)


def balance(labels: npt.ArrayLike) -> Array:
    """What each of m images counts in the balanced accuracy, where every class counts the same: their mean is 1.

    Of image j that is m / (k m_j), k classes of which m_j images are of its class.
    """
    _, place, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    return np.asarray(len(place) / (len(counts) * counts[place]), dtype=np.float64)


def sign_flip(per_seed: Sequence[float] | Array) -> float:
    """Exact two-sided p of the mean of n paired differences under all 2^n changes of sign (Fisher 1935, §21).

    It asks less of the data than t does, and cannot fall below 2/2^n. Raises ValueError above 20 seeds.
    """
    d = np.asarray(per_seed, dtype=np.float64)
    if len(d) > 20:
        raise ValueError("all changes of sign are counted for up to 20 seeds")
    signs = 1 - 2 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)
    sums = np.abs(signs @ d)
    return float((sums >= abs(d.sum()) - ROUNDING).mean())


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family of tests (Holm 1979): the i-th smallest of k times k - i + 1, made monotone."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def bonferroni(level: float, family: int) -> float:
    """The level of each of `family` intervals that together hold with `level` (Dunn 1961)."""
    return 1 - (1 - level) / max(family, 1)


@dataclass(frozen=True)
class SampleSizeEstimate:
    """What would bring the half-width down: from `low` to `high` seeds, or images; None where no number would."""

    half_width: float
    seeds: tuple[int, int | None] | None
    images: tuple[int, int | None] | None


def need(found: CrossedInterval, half_width: float, confidence: float = 0.8) -> SampleSizeEstimate:
    """How many seeds (of these images), or images (with these seeds), would give an interval of ± `half_width`.

    More than there are, and images enough that what they may hide (`unseen`) is no more than the interval's width.
    A range, since the spread of few seeds is itself uncertain: A is taken at its `confidence` limits, which are
    `(n-1) A / χ²(n-1)`. Nothing is derived from the observed effect: power at it is the p-value in other words (Hoenig
    & Heisey 2001).
    """
    squares = found.squares
    tail = (1 - confidence) / 2
    limits = [(squares.n - 1) / float(stats.chi2.ppf(q, squares.n - 1)) for q in (1 - tail, tail)]
    cases = [replace(squares, seeds=max(squares.seeds * factor, squares.rest)) for factor in limits]

    def known_to(case: MeanSquares) -> float:
        return max(case.half_width(found.level), case.unseen(found.level) / 2)

    def with_seeds(case: MeanSquares, k: int) -> float:
        return known_to(case.at(k, case.m))

    def with_images(case: MeanSquares, k: int) -> float:
        return known_to(case.at(case.n, k))

    seeds = [_smallest(partial(with_seeds, case), half_width, squares.n) for case in cases]
    images = [_smallest(partial(with_images, case), half_width, squares.m) for case in cases]
    return SampleSizeEstimate(half_width, *((low, high) if low is not None else None for low, high in (seeds, images)))


def _smallest(width: Callable[[int], float], wanted: float, above: int) -> int | None:
    """The smallest k in `above` … MOST, exclusive, whose width is at most `wanted`; None where even MOST fails.

    Widths fall with k.
    """
    low, high = above, MOST
    if width(high) > wanted:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if width(middle) <= wanted else (middle, high)
    return high


def obrien_fleming(shares: Sequence[float], level: float = LEVEL) -> list[float]:
    """Two-sided p-values at which to stop, at looks after these `shares` of the data, increasing, the last one 1.

    |Z_k| ≥ c / sqrt(share_k) (O'Brien & Fleming 1979). c makes the chance of stopping at any look, where there is no
    difference, 1 - level; found by the recursive integration of Armitage, McPherson & Rowe (1969).
    """
    low, high = 1.5, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _crossing(middle, shares) > 1 - level else (low, middle)
    return [float(2 * stats.norm.sf(high / math.sqrt(share))) for share in shares]


def _crossing(c: float, shares: Sequence[float]) -> float:
    """P(|S_k| ≥ c for some k), S_k normal with variance share_k and independent increments: S_k = Z_k sqrt(share_k)."""
    nodes, weights = np.polynomial.legendre.leggauss(129)
    grid, weights = c * nodes, c * weights
    inside = stats.norm.pdf(grid, scale=math.sqrt(shares[0]))
    apart = grid[:, None] - grid[None, :]
    for before, after in pairwise(shares):
        inside = stats.norm.pdf(apart, scale=math.sqrt(after - before)) @ (inside * weights)
    return 1 - float(inside @ weights)


@dataclass(frozen=True)
class TimeToTarget:
    """When `reached` of n runs first reached a target: the median of all n, None where fewer than half of them did."""

    median: float | None
    reached: int
    n: int


def time_to_target(times: Sequence[float | None]) -> TimeToTarget:
    """Median time of n runs to a target, the ⌈n/2⌉-th smallest; one that has ended without it (None) never gets there.

    Its end is no random censoring: one that diverged, lost patience or used its budget up will not pass the target
    under what was declared. These are competing events, after which a run stays among those at risk (Fine & Gray 1999),
    so that the share that has got there by a time is counted of all n. Wants runs that have ended: one that goes on may
    still get there.
    """
    reached = sorted(time for time in times if time is not None)
    half = (len(times) + 1) // 2
    median = float(reached[half - 1]) if 0 < half <= len(reached) else None
    return TimeToTarget(median, len(reached), len(times))
