"""Interim analyses: test the primary contrast at declared numbers of seeds, before all seeds have run.

The O'Brien-Fleming boundary shares the error of a contrast among all analyses. The information fraction is that of the
seeds. The test images are the same at every analysis, so that the analyses are more alike than the boundary assumes:
the error stays below that of the contrast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from headstart.analysis.image_sample import ImageSample
from headstart.analysis.statistics import LEVEL, crossed_interval, obrien_fleming
from headstart.config.study_config import MIN_DECISIVE_UNITS
from headstart.storage.schemas.verdict import InterimAnalysis


def interim_analyses(
    values: Mapping[str, npt.ArrayLike],
    primary: tuple[str, str],
    declared: Sequence[int],
    *,
    sample: ImageSample | None = None,
    level: float = LEVEL,
) -> list[InterimAnalysis]:
    """Return the interim analyses that the seeds allow, up to the first that crosses its boundary.

    With too few units for a decision there are none.

    Args:
        values: For each arm the values of the images in the metric, [seeds, images].
        primary: Names of the two arms of the primary contrast.
        declared: Numbers of seeds of all analyses, in ascending order.
        sample: Units and weights of the images; default: independent images with equal weights.
        level: Level of the primary contrast (see `statistics.family_levels`).
    """
    difference = np.subtract(*(np.asarray(values[name], dtype=np.float64) for name in primary))
    sample = sample or ImageSample.independent(difference.shape[1])
    analyses: list[InterimAnalysis] = []
    for n, boundary in zip(declared, _boundaries(tuple(declared), level), strict=True):
        if n > len(difference) or sample.count < MIN_DECISIVE_UNITS or (analyses and analyses[-1].stopped):
            break
        of_units = sample.unit_values(difference[:n])
        p = crossed_interval(of_units, max_weight=sample.max_weight, spread=sample.spread).p
        analyses.append(InterimAnalysis(n=n, p=p, boundary=boundary, stopped=p <= boundary))
    return analyses


def level_after(n: int, declared: Sequence[int], level: float) -> float:
    """Return the level of an interval after n seeds of a study with declared analyses: one minus their boundary.

    The intervals of all analyses hold together with `level` (Jennison & Turnbull 1989). Without an analysis up to n, or
    with none declared, it is `level`.
    """
    made = sum(count <= n for count in declared)
    return 1 - _boundaries(tuple(declared), level)[made - 1] if made else level


@cache
def _boundaries(declared: tuple[int, ...], level: float) -> list[float]:
    """Return the p-value of each analysis at which the study stops."""
    return obrien_fleming([n / declared[-1] for n in declared], level) if declared else []
