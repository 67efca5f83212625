"""The seeds, or units of test images, with which a contrast would be decided.

Each number above the present one is tried. The variance of few seeds is uncertain, so that the range has the number for
both ends of the 80 % interval of their mean square, `(n - 1) A / χ²(n - 1)`. The expected mean squares of more seeds
and units are those of Searle, Casella & McCulloch (1992).
"""

from __future__ import annotations

import numpy as np
from scipy import special

from headstart.verification.formulas import (
    Sample,
    Values,
    chi2_quantile,
    degrees_of_freedom,
    missed_difference,
    standard_error,
    t_quantile,
)
from headstart.verification.tree import Tree

MAX_SAMPLE_SIZE = 100_000  # a larger number is none
Expected = tuple[Values, Values, Values, Values, Values]
_BLOCK = 500  # numbers whose t quantiles are computed at once


def required(squares: tuple[float, float, float], n: int, g: int, level: float, target: float, sample: Sample) -> Tree:
    """Return the numbers for an interval of ± target, or of a difference of twice the target that units can miss."""
    a, b, c = squares
    of_units = max(b - c, 0.0) / n
    ranges: dict[str, list[int | None]] = {"seeds": [], "units": []}
    for q in (0.9, 0.1):
        of_seeds = max(max(a * (n - 1) / chi2_quantile(q, n - 1), c) - c, 0.0) / g
        for name, present in (("seeds", n), ("units", g)):
            k = np.arange(present + 1, MAX_SAMPLE_SIZE + 1, dtype=np.float64)
            rows, columns = (k, np.full_like(k, g)) if name == "seeds" else (np.full_like(k, n), k)
            expected = (c + columns * of_seeds, c + rows * of_units, np.full_like(k, c), rows, columns)
            ranges[name].append(_first(k, expected, level, target, sample))
    seeds, units = (None if low is None else [low, high] for low, high in ranges.values())
    return {"half_width": target, "seeds": seeds, "units": units}


def _first(k: Values, expected: Expected, level: float, target: float, sample: Sample) -> int | None:
    """Return the first k with an interval of at most ± target, or None.

    No quantile of t is below that of the normal distribution, which is computed once.

    Args:
        k: Numbers of seeds or units.
        expected: Expected mean squares of each, and the numbers of seeds and units.
        level: Level of the interval.
        target: Its half-width.
        sample: The images.
    """
    error, normal = standard_error(*expected, sample), float(special.ndtri((1 + level) / 2))
    possible = (missed_difference(expected[-1], level, sample) <= 2 * target) & (error * normal <= target * (1 + 1e-9))
    places = np.flatnonzero(possible)
    for begin in range(0, len(places), _BLOCK):
        block = places[begin : begin + _BLOCK]
        df = degrees_of_freedom(*(values[block] for values in expected))
        enough = np.flatnonzero(t_quantile(level, df) * error[block] <= target)
        if len(enough):
            return int(k[block[enough[0]]])
    return None
