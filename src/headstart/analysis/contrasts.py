"""Decide every contrast of a study from tables of its metric, in the declared order and by the declared rules.

An arm is an array [n seeds, m test images] of values from 0 to 1: with accuracy, 0 or 1. The arms of a study share
seeds and images, so that differences are paired. `ImageSample` has the units and weights of the images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from headstart.analysis.image_sample import ImageSample
from headstart.analysis.looks import Looks
from headstart.analysis.sample_size import required_sample_size
from headstart.analysis.statistics import (
    LEVEL,
    ROUNDING_ERROR,
    CrossedInterval,
    crossed_interval,
    family_levels,
    sign_flip,
)
from headstart.config.study_config import DEFAULT_PRIMARY_SHARE, MIN_DECISIVE_SEEDS, MIN_DECISIVE_UNITS
from headstart.storage.schemas.contrast import Contrast, Outcome, SampleSizeEstimate

MAX_ARMS_ALL_PAIRS = 5  # up to this number of arms every pair is a contrast; beyond, each arm with the reference


def can_decide(n: int, g: int) -> bool:
    """Return whether n seeds and g units of test images are enough for a decision."""
    return n >= MIN_DECISIVE_SEEDS and g >= MIN_DECISIVE_UNITS


def decide(
    low: float, high: float, *, margin: float, n: int, g: int, max_undetected_difference: float = 0.0
) -> tuple[Outcome, bool]:
    """Return the outcome of an interval, and whether the difference may be smaller than the margin.

    The rules apply in this order: fewer than 3 seeds or 20 units: undecided; interval inside ± margin, and enough units
    to detect a difference of the margin: equivalent; interval excludes 0: better or worse; otherwise undecided.

    Args:
        low: Lower end of the interval, in accuracy.
        high: Upper end of the interval.
        margin: Equivalence margin, in accuracy.
        n: Number of seeds.
        g: Number of units of the images.
        max_undetected_difference: Difference that the images can miss (`CrossedInterval.max_undetected_difference`).
    """
    if not can_decide(n, g):
        return Outcome.UNDECIDED, False
    if -margin <= low and high <= margin and max_undetected_difference <= margin:
        return Outcome.EQUIVALENT, False
    if low > 0:
        return Outcome.BETTER, low < margin
    if high < 0:
        return Outcome.WORSE, high > -margin
    return Outcome.UNDECIDED, False


def contrast_pairs(arms: Sequence[str], reference: str, primary: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the pairs of a study, primary first: all pairs of up to five arms, else each arm with the reference."""
    if len(arms) <= MAX_ARMS_ALL_PAIRS:
        others = [(b, a) if a == reference else (a, b) for a, b in combinations(arms, 2)]
    else:
        others = [(arm, reference) for arm in arms if arm != reference]
    return [primary, *(pair for pair in others if set(pair) != set(primary))]


def compute_contrasts(
    values: Mapping[str, npt.ArrayLike],
    pairs: Sequence[tuple[str, str]],
    *,
    margin: float,
    sample: ImageSample | None = None,
    primary_share: float = DEFAULT_PRIMARY_SHARE,
    looks: Looks | None = None,
    level: float = LEVEL,
) -> list[Contrast]:
    """Compute the contrast of every pair.

    All pairs are one family, in which the probability of any false decision is at most `1 - level`: decisions,
    intervals and adjusted p-values come from the level of each pair (see `family_levels`). With several analyses, the
    error of each pair is divided among them in the same way as that of the primary contrast, since the study can end at
    any of them.

    Args:
        values: For each arm the values of the images in the metric, [seeds, images].
        pairs: Pairs of arm names, the primary one first.
        margin: Equivalence margin, in accuracy.
        sample: Units and weights of the images; default: independent images with equal weights.
        primary_share: Share of the error that the primary contrast has.
        looks: The declared analyses; the tables end at one of them. Default: only this one.
        level: Confidence level of the family.

    Raises:
        ValueError: Arms differ in shape.
    """
    tables = {name: np.asarray(table, dtype=np.float64) for name, table in values.items()}
    if len({table.shape for table in tables.values()}) > 1:
        raise ValueError("arms of one study have the same seeds and images")
    sample = sample or ImageSample.independent(tables[pairs[0][0]].shape[1])
    contrasts: list[Contrast] = []
    for pair, family_level in zip(pairs, family_levels(len(pairs), primary_share, level), strict=True):
        difference = sample.unit_values(tables[pair[0]] - tables[pair[1]])
        pair_level = (looks or Looks()).level_after(len(difference), family_level)
        interval = crossed_interval(difference, pair_level, sample.max_weight, sample.spread)
        adjusted = min(1.0, interval.p * (1 - level) / (1 - pair_level))
        contrasts.append(
            _contrast(pair, not contrasts, interval, difference.mean(axis=1), adjusted, margin, sample.images)
        )
    return contrasts


def _contrast(
    pair: tuple[str, str],
    primary: bool,
    interval: CrossedInterval,
    per_seed: npt.NDArray[np.float64],
    p: float,
    margin: float,
    images: int,
) -> Contrast:
    n, g = len(per_seed), interval.squares.g
    outcome, by_less = decide(
        interval.low,
        interval.high,
        margin=margin,
        n=n,
        g=g,
        max_undetected_difference=interval.max_undetected_difference,
    )
    return Contrast(
        first=pair[0],
        second=pair[1],
        primary=primary,
        outcome=outcome,
        by_less_than_margin=by_less,
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        level=interval.level,
        p=interval.p,
        p_adjusted=p,
        p_sign_flip=sign_flip(per_seed) if n <= 20 else None,
        half_width_infinite_seeds=interval.half_width_infinite_seeds,
        degrees_of_freedom=interval.degrees_of_freedom,
        wins=int((per_seed > ROUNDING_ERROR).sum()),
        losses=int((per_seed < -ROUNDING_ERROR).sum()),
        n=n,
        m=images,
        g=g,
        sample_sizes=_sample_sizes(interval, margin) if outcome is Outcome.UNDECIDED and can_decide(n, g) else [],
    )


def _sample_sizes(interval: CrossedInterval, margin: float) -> list[SampleSizeEstimate]:
    """Return the sample sizes for a half-width of the margin, where the interval is wider, and of half the margin.

    An interval with a half-width of half the margin excludes 0 or lies inside the margin. It decides on enough units.
    """
    reached = interval.squares.half_width(interval.level) <= margin
    return [required_sample_size(interval, width) for width in (margin, margin / 2)[reached:]]
