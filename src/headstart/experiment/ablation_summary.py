"""Summarize an ablation: the effect of each factor on accuracy and on gradient flow, and what prevents vanishing.

He et al. 2015 (arXiv:1512.03385) report that plain networks with BatchNorm have healthy gradients. Effects on accuracy
and on gradient flow are therefore separate numbers. Each is a simple effect: of one factor with all others equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from headstart.analysis.run_records import RunRecord
from headstart.analysis.statistics import crossed_interval, paired_t_interval
from headstart.analysis.wording import length_words
from headstart.config.run_config import RunConfig
from headstart.config.study_config import MIN_DECISIVE_SEEDS
from headstart.diagnostics.checks import findings
from headstart.diagnostics.gradients import MAX_VANISHED_RATIO, first_to_last_ratio
from headstart.diagnostics.history import HEALTHY, TOO_EARLY, read_history
from headstart.diagnostics.registry import HEALTH_CHECKS, finding_name
from headstart.experiment.ablation_grid import DEPTHS, NORMS, SHORTCUTS
from headstart.storage import journal
from headstart.storage.schemas.ablation import AblationCell, AblationEffect, AblationResult
from headstart.storage.schemas.result import RunState
from headstart.text import capitalize, format_points, pluralize

EFFECT_COUNT = len(DEPTHS) * (len(NORMS) + len(SHORTCUTS))  # reported together
EFFECT_CONFIDENCE_LEVEL = 1 - 0.05 / EFFECT_COUNT  # Bonferroni: all intervals together hold with 95 %
MIN_RATIO_DECADES = 1.0  # powers of ten between two gradient ratios on either side of the limit for vanishing
ALWAYS, NEVER = "before and after training", "neither before nor after training"
_VANISHING_WORDS = {(True, True): ALWAYS, (True, False): "before training only", (False, True): "after training only",
                    (False, False): NEVER}  # fmt: skip


@dataclass(frozen=True)
class FactorialCell:
    """One cell of the factorial: a network, over its seeds.

    Attributes:
        network: Name of the network, which has the depth.
        shortcut: `on` or `off`.
        norm: `batch` or `none`.
        correct: [seeds, images] of 0 and 1.
        gradient_ratios: |∂L/∂h| behind the first block over that behind the last, before and after training.
        findings: Codes of the findings in any of its runs.
        no_finding: Health of runs without findings: healthy, or too early to say.
    """

    network: str
    shortcut: str
    norm: str
    correct: np.ndarray
    gradient_ratios: tuple[float, float]
    findings: tuple[str, ...]
    no_finding: str = HEALTHY

    @property
    def health(self) -> str:
        """Findings in any of its runs, or the health of runs without findings."""
        return ", ".join(map(finding_name, self.findings)) or self.no_finding

    @property
    def accuracy(self) -> float:
        """Mean accuracy over seeds, 0 to 1."""
        return float(self.correct.mean())

    @property
    def failure(self) -> str:
        """Why there are no gradients after training to compare, as a predicate; "" if there are."""
        if not_comparable := [code for code in self.findings if not HEALTH_CHECKS[code].gradients_comparable]:
            return f"has {finding_name(not_comparable[0])}"
        return "" if all(map(math.isfinite, self.gradient_ratios)) else "did not finish training"

    @property
    def vanishing(self) -> str:
        """When the gradient vanishes on the way to the first block."""
        before, after = (ratio <= MAX_VANISHED_RATIO for ratio in self.gradient_ratios)
        return _VANISHING_WORDS[before, after]


def read_cell(runs: Sequence[RunRecord]) -> FactorialCell:
    """Return the cell of these runs, which are of one network with one seed each."""
    network = runs[0].plan.network
    histories = [read_history(run.plan, journal.read_lines(run.folder / "metrics.jsonl"), run.state) for run in runs]
    before = _geometric_mean([first_to_last_ratio(history.probes[0]) for history in histories if history.probes])
    ended = [history for history in histories if history.state is RunState.FINISHED and len(history.probes) > 1]
    ratios = [first_to_last_ratio(history.probes[-1]) for history in ended]
    after = _geometric_mean(ratios) if len(ratios) == len(runs) else math.nan
    codes = [finding.code for history in histories for finding in findings(history)]
    correct = np.array([run.predictions(run.evaluation_split).correct for run in runs])
    no_finding = TOO_EARLY if TOO_EARLY in [history.status for history in histories] else HEALTHY
    return FactorialCell(network.network, network.shortcut, network.norm, correct, (before, after),
                         tuple(dict.fromkeys(codes)), no_finding)  # fmt: skip


def _geometric_mean(values: Sequence[float | None]) -> float:
    """Return the geometric mean of the values that are not None or 0; NaN if there are none."""
    exponents = [math.log10(value) for value in values if value]
    return 10 ** float(np.mean(exponents)) if exponents else math.nan


def summarize(cells: Sequence[FactorialCell], plan: RunConfig, folder: Path) -> AblationResult:
    """Return the cells, the effect of each factor in each pair of cells, and sentences that describe them.

    Args:
        cells: All networks of the ablation.
        plan: Resolved configuration of one of the runs.
        folder: Folder of the runs.
    """
    depths = tuple(dict.fromkeys(cell.network for cell in cells))
    effects = [
        _effect(switch, _find(cells, switch, "on", other), _find(cells, switch, "off", other))
        for switch, others in (("shortcut", NORMS), ("norm", SHORTCUTS))
        for other in product(depths, others)
    ]
    results = [
        AblationCell(
            network=cell.network,
            shortcut=cell.shortcut,
            norm=cell.norm,
            accuracy=cell.accuracy,
            gradient_ratio_before=_finite(cell.gradient_ratios[0]),
            gradient_ratio_after=_finite(cell.gradient_ratios[1]),
            findings=list(cell.findings),
            health=cell.health,
        )
        for cell in cells
    ]
    sentences = [
        _description(cells, plan),
        *map(_table_row, cells),
        *(effect.sentence for effect in effects),
        _limits(len(cells[0].correct), plan),
    ]
    return AblationResult(cells=results, effects=effects, sentences=sentences, folder=str(folder))


def _description(cells: Sequence[FactorialCell], plan: RunConfig) -> str:
    """Return a sentence on the networks, their training and their evaluation."""
    seeds, images = cells[0].correct.shape
    split = "" if plan.facts.split_counts["test"] else " of val, which also selected each network's epoch"
    return (
        f"{len(cells)} networks, {pluralize(seeds, 'seed')}, {length_words(str(plan.recipe.epochs))}, evaluated on "
        f"{images} images{split}. Gradient ratio: |∂L/∂h| behind the first block over that behind the last, before and "
        "after training."
    )


def _table_row(cell: FactorialCell) -> str:
    """Return the row of a network in the printed table."""
    return (
        f"  {cell.network:9} norm {cell.norm:6} shortcut {cell.shortcut:4} {100 * cell.accuracy:5.1f} %   gradient "
        f"ratio {cell.gradient_ratios[0]:.1e}  {cell.gradient_ratios[1]:.1e}  {cell.health}"
    )


def _limits(seeds: int, plan: RunConfig) -> str:
    """Return a sentence on the conditions to which the results are limited."""
    limits = [
        f"Limits: these images, {length_words(str(plan.recipe.epochs))}, {plan.recipe.optimizer} at "
        f"{plan.recipe.lr:g}, and initial weights {plan.arm.start}, for all networks",
        "; one seed: intervals contain the sampling error of the images, not that of the seed" if seeds == 1 else "",
        f". Accuracies with fewer than {MIN_DECISIVE_SEEDS} seeds are undecided."
        if seeds < MIN_DECISIVE_SEEDS
        else ".",
    ]
    return "".join(limits)


def _find(cells: Sequence[FactorialCell], switch: str, state: str, other: tuple[str, str]) -> FactorialCell:
    """Return the cell with a factor on or off; `other` is the depth and the state of the other factor."""
    network, rest = other
    key = (network, state, rest) if switch == "shortcut" else (network, rest, "batch" if state == "on" else "none")
    return next(cell for cell in cells if (cell.network, cell.shortcut, cell.norm) == key)


def _effect(switch: str, on: FactorialCell, off: FactorialCell) -> AblationEffect:
    """Return the effect of a factor on accuracy and on the gradient ratio."""
    accuracy, low, high = _difference(on.correct.astype(float) - off.correct)
    before, after = (_decades(*ratios) for ratios in zip(on.gradient_ratios, off.gradient_ratios, strict=True))
    context = f"Depth {on.network.removeprefix('resnet')}, "
    if switch == "shortcut":
        context += "with BatchNorm" if on.norm == "batch" else "without a norm"
    else:
        context += "with shortcuts" if on.shortcut == "on" else "without shortcuts"
    factor = "shortcuts" if switch == "shortcut" else "BatchNorm"
    adds = low > 0 and len(on.correct) >= MIN_DECISIVE_SEEDS
    meaning = _meaning(on, off, factor, decades=min(before, after), adds=adds)
    interval = f"{100 * EFFECT_CONFIDENCE_LEVEL:.3g} % interval {format_points(low)} to {format_points(high)}"
    sentence = (
        f"{context}: with {factor} accuracy differs by {format_points(accuracy, signed=True)} percentage points "
        f"({interval}), and the gradient ratio by {_factor_words(before)} before training and {_factor_words(after)} "
        f"after it. {meaning}"
    )
    return AblationEffect(
        switch=switch,
        network=on.network,
        shortcut=on.shortcut if switch == "norm" else None,
        norm=on.norm if switch == "shortcut" else None,
        accuracy=accuracy,
        low=low,
        high=high,
        ratio_decades_before=_finite(before),
        ratio_decades_after=_finite(after),
        sentence=sentence,
    )


def _meaning(on: FactorialCell, off: FactorialCell, factor: str, *, decades: float, adds: bool) -> str:
    """Return a sentence on the gradients of two networks, with and without a factor.

    `decades` are the powers of ten between their gradient ratios; `adds`: the factor improves accuracy significantly.
    """
    prevents, makes = ("prevents", "makes") if factor == "BatchNorm" else ("prevent", "make")
    if failures := [
        f"the network {which} {factor} {cell.failure}"
        for cell, which in ((on, "with"), (off, "without"))
        if cell.failure
    ]:
        return f"{capitalize(' and '.join(failures))}: gradients are not compared."
    if off.vanishing == ALWAYS and on.vanishing == NEVER and decades >= MIN_RATIO_DECADES:
        return f"Without {factor} the gradient vanishes, with {factor} it does not: {factor} {prevents} vanishing here."
    if off.vanishing == on.vanishing == ALWAYS:
        return f"The gradient vanishes with and without {factor}."
    if not off.vanishing == on.vanishing == NEVER:
        return f"With {factor} the gradient vanishes {on.vanishing}; without {factor}, {off.vanishing}."
    if adds:
        return f"It does not vanish without {factor} either: the gain in accuracy with {factor} has another cause."
    return f"It does not vanish without {factor} either: {factor} {makes} no difference to vanishing here."


def _difference(difference: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of [seeds, images] and its interval: over both, or of one seed over its images."""
    if len(difference) > 1:
        interval = crossed_interval(difference, EFFECT_CONFIDENCE_LEVEL)
        return interval.mean, interval.low, interval.high
    return paired_t_interval(difference[0], EFFECT_CONFIDENCE_LEVEL)


def _decades(on: float, off: float) -> float:
    """Return the powers of ten from the gradient ratio `off` to `on`; NaN if either is unknown."""
    return math.log10(on / off) if on > 0 and off > 0 else math.nan


def _factor_words(decades: float) -> str:
    return "an unknown factor" if math.isnan(decades) else f"a factor of 10^{round(decades, 1) + 0:.1f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
