"""Interim analyses: test the primary contrast at declared numbers of seeds, before all seeds have run.

The O'Brien-Fleming boundary shares an error of 5 % among all analyses. The information fraction is that of the seeds.
The test images are the same at every analysis, so that the analyses are more alike than the boundary assumes: the error
stays below 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from headstart.analysis.statistics import crossed_interval, obrien_fleming
from headstart.storage.schemas.verdict import InterimAnalysis


def interim_analyses(
    values: Mapping[str, npt.ArrayLike],
    primary: tuple[str, str],
    declared: Sequence[int],
    *,
    weights: npt.ArrayLike | None = None,
) -> list[InterimAnalysis]:
    """Return the interim analyses that the seeds allow, up to the first that crosses its boundary.

    Args:
        values: For each arm the values of the images in the metric, [seeds, images].
        primary: Names of the two arms of the primary contrast.
        declared: Numbers of seeds of all analyses, in ascending order.
        weights: Weights of the images in the metric, [m] with a mean of 1; default: equal weights.
    """
    difference = np.subtract(*(np.asarray(values[name], dtype=np.float64) for name in primary))
    factors = np.ones(1) if weights is None else np.asarray(weights, dtype=np.float64)
    analyses: list[InterimAnalysis] = []
    for n, boundary in zip(declared, _boundaries(tuple(declared)), strict=True):
        if n > len(difference) or (analyses and analyses[-1].stopped):
            break
        p = crossed_interval(difference[:n] * factors, max_weight=float(factors.max())).p
        analyses.append(InterimAnalysis(n=n, p=p, boundary=boundary, stopped=p <= boundary))
    return analyses


@cache
def _boundaries(declared: tuple[int, ...]) -> list[float]:
    """Return the p-value of each analysis at which the study stops."""
    return obrien_fleming([n / declared[-1] for n in declared]) if declared else []
