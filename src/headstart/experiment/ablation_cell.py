"""The networks of an ablation over their seeds: accuracy, gradient ratios and findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.analysis.run_records import RunRecord
from headstart.diagnostics.checks import findings
from headstart.diagnostics.gradients import MAX_VANISHED_RATIO, first_to_last_ratio
from headstart.diagnostics.history import HealthStatus, read_history
from headstart.diagnostics.registry import HEALTH_CHECKS, finding_name
from headstart.experiment.ablation_grid import DEPTHS
from headstart.i18n import Message, _, join
from headstart.storage.schemas.result import RunState

ALWAYS, NEVER = (True, True), (False, False)  # whether a gradient vanishes before training, and after it


@dataclass(frozen=True)
class FactorialCell:
    """One cell of the factorial: a network, over its seeds.

    Attributes:
        network: Name of the network.
        shortcut: `on` or `off`.
        norm: `batch` or `none`.
        correct: [seeds, images] of 0 and 1.
        gradient_ratios: |∂L/∂h| behind the first block over that behind the last, before and after training.
        findings: Codes of the findings in any of its runs.
        no_finding: Health of runs without findings: healthy, or too early to say.
        units: Number of each image's unit, [images]; None if all images are independent.
    """

    network: str
    shortcut: str
    norm: str
    correct: np.ndarray
    gradient_ratios: tuple[float, float]
    findings: tuple[str, ...]
    no_finding: HealthStatus = HealthStatus.HEALTHY
    units: np.ndarray | None = None

    @property
    def depth(self) -> int:
        """Number of layers with weights from input to output."""
        return DEPTHS[self.network]

    @property
    def health(self) -> Message:
        """Findings in any of its runs, or the health of runs without findings."""
        return join(map(finding_name, self.findings), ", ") if self.findings else self.no_finding.words

    @property
    def accuracy(self) -> float:
        """Mean accuracy over seeds, 0 to 1."""
        return float(self.correct.mean())

    def failure(self, factor: str, *, present: bool) -> Message:
        """Return why there are no gradients after training to compare, as a clause; "" if there are.

        Args:
            factor: Name of the factor in whose effect the network is compared.
            present: The network has the factor.
        """
        if not_comparable := [code for code in self.findings if not HEALTH_CHECKS[code].gradients_comparable]:
            finding = finding_name(not_comparable[0])
            if present:
                return _("the network with {factor} has {finding}", factor=factor, finding=finding)
            return _("the network without {factor} has {finding}", factor=factor, finding=finding)
        if all(map(math.isfinite, self.gradient_ratios)):
            return join([])
        if present:
            return _("the network with {factor} did not finish training", factor=factor)
        return _("the network without {factor} did not finish training", factor=factor)

    @property
    def vanishing(self) -> tuple[bool, bool]:
        """Whether the gradient vanishes on the way to the first block, before training and after it."""
        before, after = (ratio <= MAX_VANISHED_RATIO for ratio in self.gradient_ratios)
        return before, after


def read_cell(runs: Sequence[RunRecord]) -> FactorialCell:
    """Return the cell of these runs, which are of one network with one seed each."""
    network = runs[0].plan.network
    histories = [read_history(run.plan, run.lines(), run.state) for run in runs]
    before = _geometric_mean([first_to_last_ratio(history.probes[0]) for history in histories if history.probes])
    ended = [history for history in histories if history.state is RunState.FINISHED and len(history.probes) > 1]
    ratios = [first_to_last_ratio(history.probes[-1]) for history in ended]
    after = _geometric_mean(ratios) if len(ratios) == len(runs) else math.nan
    codes = [finding.code for history in histories for finding in findings(history)]
    predictions = [run.predictions(run.evaluation_split) for run in runs]
    correct = np.array([of_run.correct for of_run in predictions])
    too_early = any(history.status is HealthStatus.TOO_EARLY for history in histories)
    no_finding = HealthStatus.TOO_EARLY if too_early else HealthStatus.HEALTHY
    return FactorialCell(network.network, network.shortcut, network.norm, correct, (before, after),
                         tuple(dict.fromkeys(codes)), no_finding, predictions[0].units)  # fmt: skip


def _geometric_mean(values: Sequence[float | None]) -> float:
    """Return the geometric mean of the values that are not None or 0; NaN if there are none."""
    exponents = [math.log10(value) for value in values if value]
    return 10 ** float(np.mean(exponents)) if exponents else math.nan
