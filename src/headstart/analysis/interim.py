"""Interim analyses: test the primary contrast at declared numbers of seeds, before all seeds have run.

`analysis.looks` has the boundaries.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from headstart.analysis.image_sample import ImageSample
from headstart.analysis.looks import Looks
from headstart.analysis.statistics import LEVEL, crossed_interval
from headstart.config.study_config import MIN_DECISIVE_UNITS
from headstart.storage.schemas.verdict import InterimAnalysis


def interim_analyses(
    values: Mapping[str, npt.ArrayLike],
    primary: tuple[str, str],
    looks: Looks,
    *,
    sample: ImageSample | None = None,
    level: float = LEVEL,
) -> list[InterimAnalysis]:
    """Return the interim analyses that the seeds allow, up to the first that crosses its boundary.

    With too few units for a decision there are none.

    Args:
        values: For each arm the values of the images in the metric, [seeds, images].
        primary: Names of the two arms of the primary contrast.
        looks: The declared analyses.
        sample: Units and weights of the images; default: independent images with equal weights.
        level: Level of the primary contrast (see `statistics.family_levels`).
    """
    difference = np.subtract(*(np.asarray(values[name], dtype=np.float64) for name in primary))
    sample = sample or ImageSample.independent(difference.shape[1])
    analyses: list[InterimAnalysis] = []
    for n, boundary in zip(looks.interim, looks.interim_boundaries(level), strict=True):
        if n > len(difference) or sample.count < MIN_DECISIVE_UNITS or (analyses and analyses[-1].stopped):
            break
        of_units = sample.unit_values(difference[:n])
        p = crossed_interval(of_units, max_weight=sample.max_weight, spread=sample.spread).p
        analyses.append(InterimAnalysis(n=n, p=p, boundary=boundary, stopped=p <= boundary))
    return analyses
