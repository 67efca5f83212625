"""Compare rules of the search: what the selected rates cost in accuracy, in epochs, and in false winners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.analysis.image_sample import ImageSample
from tests.simulation.measures import MARGIN, any_decided, limits, no_sample_sizes
from tests.simulation.searches import Rule
from tests.simulation.studies import Cell, decisions, simulate

SIZES = ((5, 205), (10, 1000))  # seeds and images


@dataclass(frozen=True)
class RuleResult:
    """Outcome of a rule.

    Attributes:
        cell: Two equal arms whose rates are searched by the rule.
        studies: Number of simulated studies.
        regret: Mean over arms of the expected accuracy at the best rate of the grid minus that of the compared runs.
        regret_95: Its 95 % quantile over the arms of all studies.
        dependence: Variance of the mean difference of two arms that is due to their rates, relative to that of
            independent seeds with the same variance; it is 1 if the rates of different seeds are independent.
        epochs: Mean number of epochs per arm, of whole runs of 8 epochs.
        false_winners: Studies whose contrast is decided.
    """

    cell: Cell
    studies: int
    regret: float
    regret_95: float
    dependence: float
    epochs: float
    false_winners: int


def measure_rule(cell: Cell, studies: int) -> RuleResult:
    """Simulate studies of equal arms with a search."""
    sample = ImageSample.equally_weighted(cell.sampler.units)
    regrets, differences, epochs, false_winners = [], [], [], 0
    with no_sample_sizes():
        for study in simulate(cell, studies, (0.0,)):
            assert study.searched is not None
            regrets.append(study.searched.regret)
            differences.append(study.searched.accuracies[0] - study.searched.accuracies[1])
            epochs.append(study.searched.epochs)
            false_winners += any_decided(cell, decisions(cell, study.tables(0.0), sample, MARGIN))
    by_seed = np.array(differences)
    dependence = cell.n * by_seed.mean(axis=1).var() / by_seed.var(axis=1, ddof=1).mean()
    quantile = float(np.quantile(regrets, 0.95))
    return RuleResult(
        cell, studies, float(np.mean(regrets)), quantile, float(dependence), float(np.mean(epochs)), false_winners
    )


def regret_table(studies: int, sizes: Sequence[tuple[int, int]] = SIZES) -> list[str]:
    """Return a Markdown table of all rules."""
    rows = [
        "| seeds | images | search | studies | regret in points: mean, 95 % quantile | dependence | epochs per arm "
        "| a false winner |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n, m in sizes:
        for rule in Rule:
            result = measure_rule(Cell(n, m, search=rule), studies)
            false, upper = result.false_winners / studies, limits(result.false_winners, studies)[1]
            rows.append(
                f"| {n} | {m:,} | {rule} | {studies:,} | {100 * result.regret:.2f}, {100 * result.regret_95:.2f} "
                f"| {result.dependence:.1f} | {result.epochs:.1f} | {100 * false:.1f} ({100 * upper:.1f}) |"
            )
    return rows
