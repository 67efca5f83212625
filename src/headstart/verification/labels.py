"""What an arm is worth in labels: how many times its labels the reference needs for its accuracy.

Between the fractions of a study a learning curve is linear in the logarithm of the labels. The intervals invert a
paired t test at each share of a grid (Fieller 1954, *JRSS B* 16, 175-185): a share belongs to the interval unless the
mean over seeds of the difference is significantly below or above 0 there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from headstart.verification.formulas import Values, t_quantile
from headstart.verification.tree import Tree

LEVEL = 0.95
_POINTS = 1001  # of the grid on which the ends of intervals lie, beside the fractions


def data_efficiency(conditions: Sequence[Tree]) -> Tree | None:
    """Return the data efficiency of the primary pair at the last budget; None with one fraction or one seed."""
    curves = [row for row in conditions if row["budget"] == conditions[-1]["budget"]]
    pair = curves[-1]["primary"]
    tests = {
        name: [
            {run["seed"]: run["test"] for arm in row["arms"] if arm["name"] == name for run in arm["seeds"]}
            for row in curves
        ]
        for name in pair
    }
    seeds = sorted(set.intersection(*(set(by_seed) for of_arm in tests.values() for by_seed in of_arm)))
    if len(curves) < 2 or len(seeds) < 2:
        return None
    x = [row["fraction"] for row in curves]
    first, reference = (np.array([[by_seed[s] for by_seed in tests[name]] for s in seeds]) for name in pair)
    logs = np.unique(np.concatenate([np.linspace(math.log(x[0]), math.log(x[-1]), _POINTS), np.log(x)]))
    grid, curve = np.exp(logs), _on(logs, x, reference)
    equivalences = []
    for column, fraction in enumerate(x):
        reached = _first_zero(x, reference.mean(0) - first[:, column].mean())
        low, high = _interval(curve - first[:, [column]], grid)
        equivalences.append(
            {
                "fraction": fraction,
                "factor": None if reached is None else reached / fraction,
                "low": None if low is None else low / fraction,
                "high": None if high is None else high / fraction,
                "min_factor": x[0] / fraction,
                "max_factor": x[-1] / fraction,
                "more": bool(reference.mean(0).max() < first[:, column].mean()),
            }
        )
    rows = {"equivalences": equivalences, "crossover": _crossover(x, reference - first, logs)}
    return {"first": pair[0], "reference": pair[1], "level": LEVEL, "n": len(seeds), **rows}


def _on(logs: Values, x: Sequence[float], values: Values) -> Values:
    """Return curves [n, k] at other shares, linear in the logarithm."""
    return np.array([np.interp(logs, np.log(x), row) for row in values])


def _crossover(x: Sequence[float], difference: Values, logs: Values) -> Tree | None:
    """Return where the mean of a difference [n, k] changes its sign, or None."""
    mean = difference.mean(0)
    if mean[0] * mean[-1] >= 0:
        return None
    rising = difference if mean[0] < 0 else -difference
    low, high = _interval(_on(logs, x, rising), np.exp(logs))
    return {"fraction": _first_zero(x, rising.mean(0)), "low": low, "high": high}


def _first_zero(x: Sequence[float], mean: Values) -> float | None:
    """Return where a curve that starts at or below 0 first reaches 0; None if it starts above, or never does."""
    if mean[0] > 0:
        return None
    for left, right in zip(range(len(x) - 1), range(1, len(x)), strict=True):
        if mean[left] == 0:
            return x[left]
        if mean[right] >= 0:
            share = float(mean[left] / (mean[left] - mean[right]))
            return math.exp((1 - share) * math.log(x[left]) + share * math.log(x[right]))
    return x[-1] if mean[-1] == 0 else None


def _interval(difference: Values, grid: Values) -> tuple[float | None, float | None]:
    """Return the last share up to which a rising difference [n, grid] is below 0, and the first from which it is above.

    None where there is no such share.
    """
    n = len(difference)
    half = float(t_quantile(LEVEL, n - 1.0)) * difference.std(0, ddof=1) / math.sqrt(n)
    below, above = difference.mean(0) + half < 0, difference.mean(0) - half > 0
    low = high = None
    for share, is_below in zip(grid.tolist(), below.tolist(), strict=True):
        if not is_below:
            break
        low = share
    for share, is_above in zip(grid.tolist()[::-1], above.tolist()[::-1], strict=True):
        if not is_above:
            break
        high = share
    return low, high
