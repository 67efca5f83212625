"""From who-was-right tables to decisions: every contrast of a study, in the declared order and with declared rules.

An arm is an array `correct` [n seeds, m judge images] of 0 and 1. Arms of one study share seeds and images, so that
differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from headstart.analysis.statistics import (
    ROUNDING,
    CrossedInterval,
    SampleSizeEstimate,
    balance,
    bonferroni,
    crossed,
    holm,
    need,
    sign_flip,
)
from headstart.config.study_config import FEWEST_SEEDS

Outcome = Literal["better", "worse", "equal", "undecided"]
Table = npt.NDArray[np.int8]
ALL_PAIRS = 5  # up to so many arms every pair is a contrast; beyond, each arm against the reference


@dataclass(frozen=True)
class Contrast:
    """First arm minus second arm, in accuracy (0 to 1)."""

    first: str
    second: str
    primary: bool
    outcome: Outcome
    by_less_than_margin: bool  # better or worse, but perhaps by less than the tie
    mean: float
    low: float
    high: float
    level: float
    p: float
    p_adjusted: float
    p_sign_flip: float | None  # None beyond 20 seeds
    endless_seeds: float
    degrees: float
    wins: int
    losses: int
    n: int
    m: int
    need: SampleSizeEstimate | None  # of an undecided one with enough seeds: seeds or images that would settle it


def decide(low: float, high: float, *, margin: float, n: int, unseen: float = 0.0) -> tuple[Outcome, bool]:
    """The outcome and whether it may be by less than the tie. In this order:

    fewer than 3 seeds: undecided; inside ± tie, on images enough that they cannot hide more than it: equal; without 0:
    better or worse; else undecided. `unseen` is what so few images may hide (`Crossed.unseen`).
    """
    if n < FEWEST_SEEDS:
        return "undecided", False
    if -margin <= low and high <= margin and unseen <= margin:
        return "equal", False
    if low > 0:
        return "better", low < margin
    if high < 0:
        return "worse", high > -margin
    return "undecided", False


def pairs(arms: Sequence[str], reference: str, primary: tuple[str, str]) -> list[tuple[str, str]]:
    """The contrasts of a study, primary first: every pair of up to five arms, else each arm with the reference."""
    if len(arms) <= ALL_PAIRS:
        others = [(b, a) if a == reference else (a, b) for a, b in combinations(arms, 2)]
    else:
        others = [(arm, reference) for arm in arms if arm != reference]
    return [primary, *(pair for pair in others if set(pair) != set(primary))]


def contrasts(
    correct: Mapping[str, npt.ArrayLike],
    wanted: Sequence[tuple[str, str]],
    *,
    margin: float,
    labels: npt.ArrayLike | None = None,
    level: float = 0.95,
    primary_level: float | None = None,
) -> list[Contrast]:
    """Every pair in `wanted`, the first of which is the primary one and stands at `level` by itself.

    Where looks were taken, `primary_level` is one minus the boundary of the last one: its interval is then one of
    those that hold together at all looks (Jennison & Turnbull 1989).

    The others form a family: intervals at the Bonferroni level, p-values by Holm. With `labels` [m] the metric is the
    balanced accuracy. Raises ValueError for arms of different shape.
    """
    tables = {name: np.asarray(table, dtype=np.float64) for name, table in correct.items()}
    if len({table.shape for table in tables.values()}) > 1:
        raise ValueError("arms of one study have the same seeds and images")
    weights = np.ones(1) if labels is None else balance(labels)
    family = bonferroni(primary_level or level, len(wanted) - 1)  # the end of a study that looked is that of all arms
    found, shown = [], []
    for number, (first, second) in enumerate(wanted):
        difference = (tables[first] - tables[second]) * weights
        found.append(crossed(difference, (primary_level or level) if number == 0 else family, float(weights.max())))
        shown.append(difference.mean(axis=1))
    adjusted = [found[0].p, *holm([f.p for f in found[1:]])]
    return [
        _contrast(pair, number == 0, result, seeds, p, margin)
        for number, (pair, result, seeds, p) in enumerate(zip(wanted, found, shown, adjusted, strict=True))
    ]


def _contrast(
    pair: tuple[str, str],
    primary: bool,
    found: CrossedInterval,
    per_seed: npt.NDArray[np.float64],
    p: float,
    margin: float,
) -> Contrast:
    n = len(per_seed)
    outcome, by_less = decide(found.low, found.high, margin=margin, n=n, unseen=found.unseen)
    return Contrast(
        first=pair[0],
        second=pair[1],
        primary=primary,
        outcome=outcome,
        by_less_than_margin=by_less,
        mean=found.mean,
        low=found.low,
        high=found.high,
        level=found.level,
        p=found.p,
        p_adjusted=p,
        p_sign_flip=sign_flip(per_seed) if n <= 20 else None,
        endless_seeds=found.endless_seeds,
        degrees=found.degrees,
        wins=int((per_seed > ROUNDING).sum()),
        losses=int((per_seed < -ROUNDING).sum()),
        n=n,
        m=found.squares.m,
        need=_need(found, margin) if outcome == "undecided" and n >= FEWEST_SEEDS else None,
    )


def _need(found: CrossedInterval, margin: float) -> SampleSizeEstimate:
    """What would settle an undecided contrast: ± the tie, or half of that where it is known so well already.

    An interval of ± half the tie is always decided: it leaves out 0, or lies inside the tie.
    """
    return need(found, margin if found.squares.half_width(found.level) > margin else margin / 2)
