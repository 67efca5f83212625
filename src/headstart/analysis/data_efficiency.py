"""Data efficiency: what an arm is worth in labels, and where two learning curves cross.

An arm is an array of accuracies [n seeds, k fractions] of the training images. Arms share seeds and the fractions of a
seed are nested, so that everything is paired by seed. Between fractions a curve is linear in the logarithm of the
labels.

The intervals invert a paired t test (Fieller 1954): a share x belongs to the interval unless the mean over seeds of
`reference(x) - first(f)` differs from 0 by more than `t(n-1) s/√n`. At the true x that happens with probability
1 - level, so that the interval covers at every n and at the ends of the curve, where resampling few seeds would not. It
contains the variation between seeds only: the test images are the same throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headstart.analysis.statistics import LEVEL, t_quantile
from headstart.storage.schemas.verdict import Condition, Crossover, DataEfficiency, LabelEquivalence

Array = npt.NDArray[np.float64]
GRID_SIZE = 1001  # points of the grid for intervals: 0.23 % apart over a decade of labels


def label_equivalence(
    first: npt.ArrayLike, reference: npt.ArrayLike, fractions: Sequence[float], level: float = LEVEL
) -> list[LabelEquivalence]:
    """Return for each fraction how many times its labels the reference needs for the first arm's accuracy.

    The factor is where the reference's mean curve first reaches the first arm's mean. It is None where the curve does
    not reach it (more than `max_factor`) or starts above it (less than `min_factor`).

    Args:
        first: Accuracies of the first arm [n seeds, k fractions].
        reference: Accuracies of the reference, of the same shape.
        fractions: The k fractions, in ascending order.
        level: Confidence level of the intervals.

    Raises:
        ValueError: Fewer than two seeds or fractions, or arms of different shape.
    """
    a, r, x = _checked(first, reference, fractions)
    grid, curves = _curves(r, x)
    equivalences = []
    for column, fraction in enumerate(x):
        difference = curves - a[:, column, None]
        low, high = _interval(difference, grid, level)
        mean = difference.mean(axis=0)
        reached = _first_zero(mean, grid) if mean[0] <= 0 else None
        equivalences.append(
            LabelEquivalence(
                fraction=float(fraction),
                factor=None if reached is None else reached / float(fraction),
                low=None if low is None else low / float(fraction),
                high=None if high is None else high / float(fraction),
                min_factor=float(x[0] / fraction),
                max_factor=float(x[-1] / fraction),
                more=bool(mean.max() < 0),
            )
        )
    return equivalences


def crossover(
    first: npt.ArrayLike, reference: npt.ArrayLike, fractions: Sequence[float], level: float = LEVEL
) -> Crossover | None:
    """Return where the mean curves cross, or None if their difference has the same sign at both ends.

    Args:
        first: Accuracies of the first arm [n seeds, k fractions].
        reference: Accuracies of the reference, of the same shape.
        fractions: The k fractions, in ascending order.
        level: Confidence level of the interval.

    Raises:
        ValueError: Fewer than two seeds or fractions, or arms of different shape.
    """
    a, r, x = _checked(first, reference, fractions)
    grid, difference = _curves(r - a, x)
    mean = difference.mean(axis=0)
    if mean[0] * mean[-1] >= 0:
        return None
    rising = difference if mean[0] < 0 else -difference
    fraction = _first_zero(rising.mean(axis=0), grid)
    low, high = _interval(rising, grid, level)
    return None if fraction is None else Crossover(fraction=fraction, low=low, high=high)


def data_efficiency(conditions: Sequence[Condition]) -> DataEfficiency | None:
    """Return `labels` of verdict.json: the data efficiency of the primary pair at the last budget.

    Args:
        conditions: Conditions of a verdict, in the order of their fractions.

    Returns:
        None with one fraction, or with fewer than two seeds that both arms have at all fractions.
    """
    last_budget = [condition for condition in conditions if condition.budget == conditions[-1].budget]
    if len(last_budget) < 2:
        return None
    pair = last_budget[-1].primary
    curves = {
        name: [{run.seed: run.test for run in condition.arm(name).seeds} for condition in last_budget] for name in pair
    }
    seeds = sorted(set[int].intersection(*(set(by_seed) for curve in curves.values() for by_seed in curve)))
    if len(seeds) < 2:
        return None
    first, reference = ([[by_seed[seed] for by_seed in curves[name]] for seed in seeds] for name in pair)
    fractions = [condition.fraction for condition in last_budget]
    return DataEfficiency(
        first=pair[0],
        reference=pair[1],
        level=LEVEL,
        n=len(seeds),
        equivalences=label_equivalence(first, reference, fractions),
        crossover=crossover(first, reference, fractions),
    )


def _checked(first: npt.ArrayLike, reference: npt.ArrayLike, fractions: Sequence[float]) -> tuple[Array, Array, Array]:
    """Return the inputs as arrays, or raise ValueError."""
    a, r, x = (np.asarray(values, dtype=np.float64) for values in (first, reference, fractions))
    if a.shape != r.shape or a.ndim != 2 or a.shape[1] != len(x):
        raise ValueError("arms of one study have the same seeds and fractions")
    if len(a) < 2 or len(x) < 2 or not (np.diff(x) > 0).all() or x[0] <= 0:
        raise ValueError("a curve needs at least two seeds, and at least two fractions in ascending order")
    return a, r, x


def _curves(values: Array, fractions: Array) -> tuple[Array, Array]:
    """Return a grid of shares and each seed's curve on it [n, grid]; the grid contains the fractions."""
    ends = np.log(fractions)
    logs = np.unique(np.concatenate([np.linspace(ends[0], ends[-1], GRID_SIZE), ends]))
    return np.exp(logs), np.array([np.interp(logs, np.log(fractions), row) for row in values])


def _first_zero(mean: Array, grid: Array) -> float | None:
    """Return where a curve that starts at or below 0 first reaches 0, linear in the logarithm, or None."""
    above = np.flatnonzero(mean >= 0)
    if not len(above):
        return None
    right = int(above[0])
    if right == 0:
        return float(grid[0])
    low, high = math.log(grid[right - 1]), math.log(grid[right])
    share = -mean[right - 1] / (mean[right] - mean[right - 1])
    return math.exp(low + float(share) * (high - low))


def _interval(difference: Array, grid: Array, level: float) -> tuple[float | None, float | None]:
    """Return the interval of the share at which the rising `difference` [n, grid] is 0; an open end is None.

    The lower end is the last share up to which the difference is significantly negative, the upper end the first share
    from which on it is significantly positive.
    """
    n = len(difference)
    half = t_quantile(n - 1, level) * difference.std(axis=0, ddof=1) / math.sqrt(n)
    mean = difference.mean(axis=0)
    not_under, not_over = np.flatnonzero(mean + half >= 0), np.flatnonzero(mean - half <= 0)
    below = int(not_under[0]) - 1 if len(not_under) else len(grid) - 1
    above = int(not_over[-1]) + 1 if len(not_over) else 0
    return float(grid[below]) if below >= 0 else None, float(grid[above]) if above < len(grid) else None
