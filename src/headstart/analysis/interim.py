"""Early looks: the declared moments at which the primary contrast is judged before all seeds have run.

A look costs no error: O'Brien and Fleming's boundary shares 5 % out among all looks. The share of the data is that of
the seeds. The test images are the same at every look, so that looks agree more than the boundary assumes: what is left
of the 5 % is not spent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from headstart.analysis.statistics import balance, crossed, obrien_fleming


@dataclass(frozen=True)
class InterimAnalysis:
    """After `n` seeds of each arm: p of the primary contrast, and the boundary below which the study stops there."""

    n: int
    p: float
    boundary: float
    stopped: bool


def taken(
    correct: Mapping[str, npt.ArrayLike],
    primary: tuple[str, str],
    declared: Sequence[int],
    *,
    labels: npt.ArrayLike | None = None,
) -> list[InterimAnalysis]:
    """The looks that so many seeds allow, up to the first that crosses its boundary.

    `correct` holds [seeds, images] of 0 and 1 for each arm; `declared` are the numbers of seeds of all looks. With
    `labels` the metric is the balanced accuracy.
    """
    difference = np.subtract(*(np.asarray(correct[name], dtype=np.float64) for name in primary))
    weights = np.ones(1) if labels is None else balance(labels)
    found: list[InterimAnalysis] = []
    for n, boundary in zip(declared, _boundaries(tuple(declared)), strict=True):
        if n > len(difference) or (found and found[-1].stopped):
            break
        p = crossed(difference[:n] * weights, most=float(weights.max())).p
        found.append(InterimAnalysis(n, p, boundary, p <= boundary))
    return found


@cache
def _boundaries(declared: tuple[int, ...]) -> list[float]:
    return obrien_fleming([n / declared[-1] for n in declared]) if declared else []
