"""Data efficiency: what a start is worth in labels, and where two learning curves cross.

An arm is an array of accuracies [n seeds, k fractions] of the photos; arms share seeds, and the fractions of a seed are
nested, so everything is paired by seed. Between fractions a curve is taken as linear in the logarithm of the labels.

The bands come from inverting a paired t test (Fieller 1954): a share x belongs to the band unless the mean over seeds
of `reference(x) - first(f)` differs from 0 by more than `t(n-1) s/√n`. At the true x that happens with 1 - level, so
the band covers at every n and at the ends of the curve, where resampling few seeds would not. It carries the luck of
the seeds; the test images are the same throughout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
POINTS = 1001  # of the grid on which bands are found: 0.23 % apart over a decade of labels


@dataclass(frozen=True)
class LabelEquivalence:
    """With `fraction` of the labels the first arm has what the reference has with `factor` times as many.

    `factor` is None where the reference's curve does not reach it (more than `most`) or begins above it (less than
    `least`). `low` and `high` are None where the band is open: the curve ends before.
    """

    fraction: float
    factor: float | None
    low: float | None
    high: float | None
    least: float
    most: float
    more: bool  # factor is above `most`


@dataclass(frozen=True)
class Crossover:
    """The share of the labels at which the two arms are equal, with its band; None where that is open."""

    fraction: float
    low: float | None
    high: float | None


def worth(
    first: npt.ArrayLike, reference: npt.ArrayLike, fractions: Sequence[float], level: float = 0.95
) -> list[LabelEquivalence]:
    """For each fraction, how many times its labels the reference needs for the first arm's accuracy.

    The factor is read off the reference's mean curve, where that first reaches the first arm's mean. Raises ValueError
    for fewer than two seeds or fractions, or arms of different shape.
    """
    a, r, x = _checked(first, reference, fractions)
    grid, curves = _curves(r, x)
    found = []
    for column, fraction in enumerate(x):
        difference = curves - a[:, column, None]
        low, high = _band(difference, grid, level)
        mean = difference.mean(axis=0)
        reached = _first_zero(mean, grid) if mean[0] <= 0 else None
        found.append(
            LabelEquivalence(
                fraction=float(fraction),
                factor=None if reached is None else reached / float(fraction),
                low=None if low is None else low / float(fraction),
                high=None if high is None else high / float(fraction),
                least=float(x[0] / fraction),
                most=float(x[-1] / fraction),
                more=bool(mean.max() < 0),
            )
        )
    return found


def crossover(
    first: npt.ArrayLike, reference: npt.ArrayLike, fractions: Sequence[float], level: float = 0.95
) -> Crossover | None:
    """Where the mean curves cross; None where the sign of their difference is the same at both ends.

    Raises ValueError as `worth`.
    """
    a, r, x = _checked(first, reference, fractions)
    grid, difference = _curves(r - a, x)
    mean = difference.mean(axis=0)
    if mean[0] * mean[-1] >= 0:
        return None
    turned = difference if mean[0] < 0 else -difference
    at = _first_zero(turned.mean(axis=0), grid)
    low, high = _band(turned, grid, level)
    return None if at is None else Crossover(at, low, high)


def data_efficiency(conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What verdict.json says under `labels`, of the primary pair at the budget that was asked last.

    `conditions` are those of a verdict, in the order of their fractions. None with one fraction, or with fewer than two
    seeds that both arms have on all of them.
    """
    here = [condition for condition in conditions if condition["budget"] == conditions[-1]["budget"]]
    if len(here) < 2:
        return None
    pair = here[-1]["primary"]
    scores = {
        name: [{run["seed"]: run["test"] for run in _arm(condition, name)["seeds"]} for condition in here]
        for name in pair
    }
    seeds = sorted(set[int].intersection(*(set(of_seed) for curve in scores.values() for of_seed in curve)))
    if len(seeds) < 2:
        return None
    first, reference = ([[of_seed[seed] for of_seed in scores[name]] for seed in seeds] for name in pair)
    fractions = [condition["fraction"] for condition in here]
    crossing = crossover(first, reference, fractions)
    return {
        "first": pair[0],
        "reference": pair[1],
        "level": 0.95,
        "n": len(seeds),
        "worth": [asdict(one) for one in worth(first, reference, fractions)],
        "crossover": None if crossing is None else asdict(crossing),
    }


def _arm(condition: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(arm for arm in condition["arms"] if arm["name"] == name)
    return found


def _checked(first: npt.ArrayLike, reference: npt.ArrayLike, fractions: Sequence[float]) -> tuple[Array, Array, Array]:
    a, r, x = (np.asarray(values, dtype=np.float64) for values in (first, reference, fractions))
    if a.shape != r.shape or a.ndim != 2 or a.shape[1] != len(x):
        raise ValueError("arms of one study have the same seeds and fractions")
    if len(a) < 2 or len(x) < 2 or not (np.diff(x) > 0).all() or x[0] <= 0:
        raise ValueError("a curve needs two seeds at least, and two fractions in rising order")
    return a, r, x


def _curves(values: Array, fractions: Array) -> tuple[Array, Array]:
    """A grid of shares, and each seed's curve [n, grid] on it; the fractions themselves are points of the grid."""
    ends = np.log(fractions)
    logs = np.unique(np.concatenate([np.linspace(ends[0], ends[-1], POINTS), ends]))
    return np.exp(logs), np.array([np.interp(logs, np.log(fractions), row) for row in values])


def _first_zero(mean: Array, grid: Array) -> float | None:
    """Where a curve that begins at or below 0 first reaches it, linear in the logarithm; None where it never does."""
    above = np.flatnonzero(mean >= 0)
    if not len(above):
        return None
    right = int(above[0])
    if right == 0:
        return float(grid[0])
    low, high = math.log(grid[right - 1]), math.log(grid[right])
    share = -mean[right - 1] / (mean[right] - mean[right - 1])
    return math.exp(low + float(share) * (high - low))


def _band(difference: Array, grid: Array, level: float) -> tuple[float | None, float | None]:
    """Shares that cannot be told from where `difference` [n, grid], which rises, is 0; None for an open end.

    Below are those up to which it is significantly negative, above those from which on it is significantly positive.
    """
    n = len(difference)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * difference.std(axis=0, ddof=1) / math.sqrt(n)
    mean = difference.mean(axis=0)
    not_under, not_over = np.flatnonzero(mean + half >= 0), np.flatnonzero(mean - half <= 0)
    below = int(not_under[0]) - 1 if len(not_under) else len(grid) - 1
    above = int(not_over[-1]) + 1 if len(not_over) else 0
    return float(grid[below]) if below >= 0 else None, float(grid[above]) if above < len(grid) else None
