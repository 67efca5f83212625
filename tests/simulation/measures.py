"""Measure the error rates of a cell, and compare them with the bars."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import special, stats

from headstart.analysis import contrasts
from headstart.analysis.headline import not_worse
from headstart.analysis.image_sample import ImageSample
from headstart.analysis.statistics import LEVEL, MeanSquares
from headstart.storage.schemas.contrast import Contrast, Outcome
from tests.simulation.searches import Rule
from tests.simulation.studies import Cell, decisions, simulate

MARGIN, WIDE_MARGIN = 0.01, 0.05  # the default margin, and one that most intervals can be inside of
GAINS = (0.0, MARGIN, WIDE_MARGIN)
MAX_ERROR, MAX_ERROR_LIMIT, MIN_COVERAGE = 0.06, 0.065, 0.94


@dataclass(frozen=True)
class CellResult:
    """Counts of a cell.

    Attributes:
        cell: Name of the cell.
        studies: Number of simulated studies.
        false_winners: Equal arms: studies of which any contrast is decided.
        all_covered: A true gain of 5 points: studies whose intervals all contain their true difference.
        single_covered: The same studies: contrasts whose interval at 95 % would contain it.
        single_total: Number of those contrasts; 0 with interim analyses, where no interval is at a fixed level.
        false_equivalent: A true gain of the default margin: studies that find a contrast with this difference to be
            equivalent.
        false_equivalent_wide: The same for a gain and a margin of 5 points.
        mean_width: Mean width of the primary interval at a gain of 5 points.
        power: Studies that find the first arm to be better than the last one at a gain of 5 points.
        seconds: Time of the simulation.
    """

    cell: str
    studies: int
    false_winners: int
    all_covered: int
    single_covered: int
    single_total: int
    false_equivalent: int
    false_equivalent_wide: int
    mean_width: float
    power: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return asdict(self)


@contextmanager
def no_sample_sizes() -> Iterator[None]:
    """Skip the required sample sizes: they are no part of a decision, and take much of the time."""
    with patch.object(contrasts, "_sample_sizes", lambda *_: []):
        yield


def measure(cell: Cell, studies: int) -> CellResult:
    """Simulate studies of a cell with equal arms, and with a first arm that is better by each gain."""
    started = time.perf_counter()
    sample = ImageSample.equally_weighted(cell.sampler.units)
    counts, width = np.zeros(7, dtype=np.int64), 0.0
    with no_sample_sizes():
        for study in simulate(cell, studies, GAINS):
            equal, small, large = (decisions(cell, study.tables(gain), sample, MARGIN) for gain in GAINS)
            truths = [_truth(cell, contrast, WIDE_MARGIN) for contrast in large]
            pairs = list(zip(large, truths, strict=True))
            counts += (
                any_decided(cell, equal),
                all(contrast.low <= truth <= contrast.high for contrast, truth in pairs),
                0 if cell.interim else sum(covers(contrast, truth, LEVEL) for contrast, truth in pairs),
                0 if cell.interim else len(pairs),
                any(row.outcome is Outcome.EQUIVALENT for row in small if _truth(cell, row, MARGIN)),
                any(equivalent_within(row, sample, WIDE_MARGIN) for row in large if _truth(cell, row, WIDE_MARGIN)),
                large[0].outcome is Outcome.BETTER,
            )
            width += large[0].high - large[0].low
    *rates, power = map(int, counts)
    return CellResult(cell.name, studies, *rates, width / studies, power, time.perf_counter() - started)


def any_decided(cell: Cell, family: Sequence[Contrast]) -> bool:
    """Return whether any arm is shown to be worse than another one."""
    return len(not_worse(family, cell.arm_names)) < cell.arms


def _truth(cell: Cell, contrast: Contrast, gain: float) -> float:
    """Return the true difference of two arms if the first arm of the study is better by `gain`."""
    best = cell.arm_names[0]
    return gain * ((contrast.first == best) - (contrast.second == best))


def covers(contrast: Contrast, truth: float, level: float) -> bool:
    """Return whether an interval of the contrast at another level would contain the true difference."""
    own, other = (special.stdtrit(contrast.degrees_of_freedom, (1 + p) / 2) for p in (contrast.level, level))
    half = max(contrast.high - contrast.mean, contrast.mean - contrast.low)
    return bool(abs(contrast.mean - truth) <= half * other / own)


def equivalent_within(contrast: Contrast, sample: ImageSample, margin: float) -> bool:
    """Return whether the contrast is equivalent at another margin."""
    units = MeanSquares(0, 0, 0, contrast.n, contrast.g, sample.max_weight, sample.spread)
    undetected = units.max_undetected_difference(contrast.level)
    outcome, _ = contrasts.decide(
        contrast.low, contrast.high, margin=margin, n=contrast.n, g=contrast.g, max_undetected_difference=undetected
    )
    return outcome is Outcome.EQUIVALENT


def limits(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the lower and the upper one-sided limit of a rate (Clopper & Pearson 1934)."""
    interval = stats.binomtest(count, total).proportion_ci(2 * confidence - 1, "exact")
    return float(interval.low), float(interval.high)


def excesses(cell: Cell, result: CellResult) -> list[str]:
    """Return the bars that a cell misses, as measured; none for a shared search, which is reported only."""
    if cell.search is Rule.SHARED:
        return []
    missed = [
        f"{name}: {count} of {total}" for name, (count, total) in errors(result).items() if count > MAX_ERROR * total
    ]
    upper = limits(result.false_winners, result.studies)[1]
    missed += [f"upper limit of false winners: {upper:.4f}"] * (upper > MAX_ERROR_LIMIT)
    covered = coverages(result).items()
    return missed + [f"{name}: {count} of {total}" for name, (count, total) in covered if count < MIN_COVERAGE * total]


def significant_excesses(cell: Cell, result: CellResult, confidence: float = 0.99) -> list[str]:
    """Return the bars that a cell misses with this confidence (one-sided), for few studies."""
    if cell.search is Rule.SHARED:
        return []
    too_many = [name for name, counts in errors(result).items() if limits(*counts, confidence)[0] > MAX_ERROR]
    return too_many + [
        name for name, counts in coverages(result).items() if limits(*counts, confidence)[1] < MIN_COVERAGE
    ]


def errors(result: CellResult) -> dict[str, tuple[int, int]]:
    """Return the number of studies with each error, and of all studies."""
    return {
        "false winners": (result.false_winners, result.studies),
        "false equivalent at 1 point": (result.false_equivalent, result.studies),
        "false equivalent at 5 points": (result.false_equivalent_wide, result.studies),
    }


def coverages(result: CellResult) -> dict[str, tuple[int, int]]:
    """Return the number of studies, and of single intervals, that cover the truth, and their total."""
    of_studies = {"all intervals": (result.all_covered, result.studies)}
    return of_studies | ({"one interval": (result.single_covered, result.single_total)} if result.single_total else {})
