"""Run an ablation of the network: shortcut x norm x depth, with the same seeds, and report what prevents vanishing.

He et al. 2015 (arXiv:1512.03385) report that plain networks with BatchNorm have healthy gradients. Effects on accuracy
and on gradient flow are therefore separate numbers. Each is a simple effect: of one factor with all others equal.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.statistics import crossed_interval, paired_t_interval
from headstart.analysis.wording import length_words
from headstart.config.registry.starts import DEFAULT_START
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import FACTORIAL_FIELDS, RunConfig
from headstart.config.start_spec import random_starts
from headstart.config.study_config import MIN_DECISIVE_SEEDS
from headstart.diagnostics.checks import findings
from headstart.diagnostics.gradients import MAX_VANISHED_RATIO, first_to_last_ratio
from headstart.diagnostics.history import HEALTHY, TOO_EARLY, read_history
from headstart.engines import factory
from headstart.engines.registry import validate_engine_name
from headstart.errors import DataError, InterruptedRunError, UsageError
from headstart.experiment.preflight import common_precision, requested_records
from headstart.hardware import calibration
from headstart.reporter import NullReporter, Reporter
from headstart.runs import job_protocol
from headstart.runs.job_protocol import RunRequest
from headstart.storage import folders, journal, locks
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import RunRole, Stage
from headstart.text import capitalize, format_points, pluralize
from headstart.training import setup

DEPTHS = ("resnet18", "resnet34", "resnet50")
NORMS, SHORTCUTS = ("batch", "none"), ("on", "off")
EFFECT_COUNT = len(DEPTHS) * (len(NORMS) + len(SHORTCUTS))  # reported together
EFFECT_CONFIDENCE_LEVEL = 1 - 0.05 / EFFECT_COUNT  # Bonferroni: all intervals together hold with 95 %
MIN_RATIO_DECADES = 1.0  # powers of ten between two gradient ratios on either side of the limit for vanishing
DEFAULT_EPOCHS = "3ep"
RESUME_HINT = "Run the same command again to resume."
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
        findings: Names of the findings in any of its runs.
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
        return ", ".join(self.findings) or self.no_finding

    @property
    def accuracy(self) -> float:
        """Mean accuracy over seeds, 0 to 1."""
        return float(self.correct.mean())

    @property
    def failure(self) -> str:
        """Why there are no gradients after training to compare, as a predicate; "" if there are."""
        if "exploding gradients" in self.findings:
            return "has exploding gradients"
        return "" if all(map(math.isfinite, self.gradient_ratios)) else "did not finish training"

    @property
    def vanishing(self) -> str:
        """When the gradient vanishes on the way to the first block."""
        before, after = (ratio <= MAX_VANISHED_RATIO for ratio in self.gradient_ratios)
        return _VANISHING_WORDS[before, after]


def run_ablation(
    source: str,
    settings: Mapping[str, Any],
    runs: Path,
    reporter: Reporter,
    *,
    engine_name: str = "auto",
    seeds: int = 1,
) -> dict[str, Any]:
    """Train the networks of the ablation that are not trained yet, and compare them.

    The folder is named after the configuration, so that the same call resumes an interrupted ablation.

    Args:
        source: The images.
        settings: Settings of the runs. `start` may be one of `random_starts()`.
        runs: Folder in which the ablation's folder is made.
        reporter: Receives progress.
        engine_name: Name of the engine.
        seeds: Seeds of each network.

    Returns:
        `cells`, `effects`, `sentences` and `folder`.

    Raises:
        UsageError: A setting is one of `FACTORIAL_FIELDS`, or the start is not random.
        DataError: The evaluation split has fewer than two images, or the images changed during the ablation.
        InterruptedRunError: A signal stopped a run, or the ablation between two runs.
    """
    _check_settings(settings, start := settings.get("start", DEFAULT_START), seeds)
    validate_engine_name(engine_name)
    draft = resolve_settings({"source": source, "epochs": DEFAULT_EPOCHS, **settings}).plan
    folders.require_writable(runs)
    draft = calibration.resolve_machine(draft)
    resolved: list[tuple[ArmSpec, setup.ResolvedRun]] = []
    for network, norm, shortcut in product(DEPTHS, NORMS, SHORTCUTS):
        varied = {"network": network, "norm": norm, "shortcut": shortcut}
        run = setup.resolve_run(draft.changed("network", **varied), NullReporter())
        resolved.append((ArmSpec(start=start, label=start, varied=varied), run))
    _require_two_images(resolved[0][1].plan)
    folder, precision = _folder_and_precision(runs, draft, [run for _, run in resolved])
    requests: list[RunRequest] = []
    for arm, run in resolved:
        for seed in range(draft.seeding.seed, draft.seeding.seed + seeds):
            plan = run.plan.changed("seeding", seed=seed).changed("machine", precision=precision)
            role = RunRole(arm=arm, stage=Stage.ABLATION, budget=str(plan.recipe.epochs), fraction=1.0)
            requests.append((run.dataset.with_split_counts(plan), role))
    reporter.say(f"{len(requests)} runs in {folder}. Safe to press Ctrl-C: run the same command again to resume.")
    _run(folder, requests, engine_name, reporter)
    records = requested_records(requests, {run.hash: run for run in runs_in(folder)}, "ablation")
    cells = [_cell(records[first : first + seeds]) for first in range(0, len(records), seeds)]
    return ablation_summary(cells, requests[0][0]) | {"folder": str(folder)}


def _check_settings(settings: Mapping[str, Any], start: str, seeds: int) -> None:
    """Raise UsageError for settings that an ablation cannot have."""
    if seeds < 1:
        raise UsageError(f"--seeds must be at least 1 (now {seeds}).", "Use --seeds 1 or more.")
    if fixed := [name for name in settings if name in FACTORIAL_FIELDS]:
        raise UsageError(f"--{fixed[0]} is set by the ablation for each of its networks.", "Leave it out.")
    if start not in random_starts():
        raise UsageError(
            f"An ablation starts from random weights, not from {start}: pretrained weights fit only one network.",
            f"Use --start with one of {', '.join(random_starts())}, or leave it out.",
        )


def _require_two_images(plan: RunConfig) -> None:
    """Raise DataError if the evaluation split has fewer than two images: an interval needs two."""
    split = "test" if plan.facts.split_counts["test"] else "val"
    if (count := plan.facts.split_counts[split]) < 2:
        raise DataError(
            f"The {split} split has {pluralize(count, 'image')}, and an ablation needs at least 2.",
            f"Add images to {split}.",
        )


def _folder_and_precision(runs: Path, draft: RunConfig, resolved: Sequence[setup.ResolvedRun]) -> tuple[Path, str]:
    """Return the ablation's folder and the precision of all its runs.

    A measured precision may differ when the command is run again. It is then not part of the folder's name, and the
    precision of the first existing run is used.
    """
    precision, first = common_precision(resolved), resolved[0].plan
    measured = draft.machine.precision == "auto"
    named = first.changed("machine", precision="fp32" if measured else precision)
    folder = runs / f"ablation-{folders.slug(Path(draft.data.source).stem)}-{named.hash[:12]}"
    existing = next(runs_in(folder), None) if measured else None
    return folder, existing.plan.machine.precision if existing is not None else precision


def _run(folder: Path, requests: Sequence[RunRequest], engine_name: str, reporter: Reporter) -> None:
    """Run each request as a job of its own; finished runs are reused."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            locks.locked(folder),
            factory.open_engine(engine_name, requests[0][0], reporter) as engine,
            closing(engine.run([job_protocol.encode_job(folder, [request]) for request in requests])) as answers,
        ):
            for count, (index, answer) in enumerate(answers, 1):
                job_protocol.decode_answer(answer)
                reporter.say(f"{count} of {len(requests)}: {requests[index][1].variant}")
    except KeyboardInterrupt:
        raise InterruptedRunError(signal.SIGINT, RESUME_HINT) from None
    except InterruptedRunError as stop:  # the hint of a run names only that run
        stop.hint = RESUME_HINT
        raise


def _cell(runs: Sequence[RunRecord]) -> FactorialCell:
    """Return the cell of these runs, one for each seed."""
    network = runs[0].plan.network
    histories = [read_history(run.plan, journal.read_lines(run.folder / "metrics.jsonl"), run.state) for run in runs]
    before = _geometric_mean([first_to_last_ratio(history.probes[0]) for history in histories if history.probes])
    ended = [history for history in histories if history.state is RunState.FINISHED and len(history.probes) > 1]
    ratios = [first_to_last_ratio(history.probes[-1]) for history in ended]
    after = _geometric_mean(ratios) if len(ratios) == len(runs) else math.nan
    names = [finding.name for history in histories for finding in findings(history)]
    correct = np.array([run.correctness(run.evaluation_split).correct for run in runs])
    no_finding = TOO_EARLY if TOO_EARLY in [history.status for history in histories] else HEALTHY
    return FactorialCell(network.network, network.shortcut, network.norm, correct, (before, after),
                         tuple(dict.fromkeys(names)), no_finding)  # fmt: skip


def _geometric_mean(values: Sequence[float | None]) -> float:
    """Return the geometric mean of the values that are not None or 0; NaN if there are none."""
    exponents = [math.log10(value) for value in values if value]
    return 10 ** float(np.mean(exponents)) if exponents else math.nan


def ablation_summary(cells: Sequence[FactorialCell], plan: RunConfig) -> dict[str, Any]:
    """Return the cells, the effect of each factor in each pair of cells, and sentences that describe them.

    `plan` is the resolved configuration of one of the runs.
    """
    effects = [
        _effect(switch, _find(cells, switch, "on", other), _find(cells, switch, "off", other))
        for switch, others in (("shortcut", NORMS), ("norm", SHORTCUTS))
        for other in product(DEPTHS, others)
    ]
    seeds, images = cells[0].correct.shape
    length = length_words(str(plan.recipe.epochs))
    split = "" if plan.facts.split_counts["test"] else " of val, which also selected each network's epoch"
    head = (
        f"{len(cells)} networks, {pluralize(seeds, 'seed')}, {length}, evaluated on {images} images{split}. "
        "Gradient ratio: |∂L/∂h| behind the first block over that behind the last, before and after training."
    )
    table = [
        f"  {cell.network:9} norm {cell.norm:6} shortcut {cell.shortcut:4} {100 * cell.accuracy:5.1f} %   gradient "
        f"ratio {cell.gradient_ratios[0]:.1e}  {cell.gradient_ratios[1]:.1e}  {cell.health}"
        for cell in cells
    ]
    few = seeds < MIN_DECISIVE_SEEDS
    limits = [
        f"Limits: these images, {length}, {plan.recipe.optimizer} at {plan.recipe.lr:g}, and initial weights "
        f"{plan.arm.start}, for all networks",
        "; one seed: intervals contain the sampling error of the images, not that of the seed" if seeds == 1 else "",
        f". Accuracies with fewer than {MIN_DECISIVE_SEEDS} seeds are undecided." if few else ".",
    ]
    return {
        "cells": [
            {"network": cell.network, "shortcut": cell.shortcut, "norm": cell.norm, "accuracy": cell.accuracy,
             "gradient_ratio_before": _finite(cell.gradient_ratios[0]),
             "gradient_ratio_after": _finite(cell.gradient_ratios[1]),
             "findings": list(cell.findings), "health": cell.health}
            for cell in cells
        ],
        "effects": effects,
        "sentences": [head, *table, *(effect["sentence"] for effect in effects), "".join(limits)],
    }  # fmt: skip


def _find(cells: Sequence[FactorialCell], switch: str, state: str, other: tuple[str, str]) -> FactorialCell:
    """Return the cell with a factor on or off; `other` is the depth and the state of the other factor."""
    network, rest = other
    key = (network, state, rest) if switch == "shortcut" else (network, rest, "batch" if state == "on" else "none")
    return next(cell for cell in cells if (cell.network, cell.shortcut, cell.norm) == key)


def _effect(switch: str, on: FactorialCell, off: FactorialCell) -> dict[str, Any]:
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
    return {"switch": switch, "network": on.network, "shortcut": on.shortcut if switch == "norm" else None,
            "norm": on.norm if switch == "shortcut" else None, "accuracy": accuracy, "low": low, "high": high,
            "ratio_decades_before": _finite(before), "ratio_decades_after": _finite(after),
            "sentence": sentence}  # fmt: skip


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
