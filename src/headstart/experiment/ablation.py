"""Do shortcuts, or norms, keep gradients alive? A factorial of twins: shortcut x norm x depth, from the same seeds.

He et al. 2015 (arXiv:1512.03385) report that plain networks with BatchNorm have healthy gradients. What shortcuts do
for accuracy and what they do for the flow of gradients are two questions, and each gets a number of its own. Effects
are simple ones, of a switch with everything else equal.
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
from headstart.analysis.statistics import crossed, over_images
from headstart.analysis.wording import length_words
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import FORMS
from headstart.config.study_config import FEWEST_SEEDS
from headstart.diagnostics.checks import findings
from headstart.diagnostics.gradients import VANISHED, flow_kept
from headstart.diagnostics.history import EARLY, HEALTHY, read
from headstart.engines import checked, factory
from headstart.errors import DataError, InterruptedRunError, UsageError
from headstart.experiment.preflight import common_precision
from headstart.hardware import calibration
from headstart.reporter import NullReporter, Reporter
from headstart.runs import job_protocol
from headstart.storage import folders, journal, locks
from headstart.text import capitalize, pluralize, points
from headstart.training import setup

DEPTHS = ("resnet18", "resnet34", "resnet50")
NORMS = ("batch", "none")
SWITCHES = ("on", "off")
EFFECTS = len(DEPTHS) * (len(NORMS) + len(SWITCHES))  # that are told at once
LEVEL = 1 - 0.05 / EFFECTS  # Bonferroni: all intervals together hold with 95 %
OWN = ("network", "shortcut", "norm", "tuning")  # what the factorial decides by itself
FAR_APART = 1.0  # powers of ten: two that lie closer together are not told apart by a limit between them
STARTS = FORMS[: FORMS.index("imagenet")]  # random ones
EPOCHS = "3ep"
HINT = "Give the same command again: it goes on where it was."


ALWAYS, NEVER = "before the first step and after training", "at neither time"
_TIMES = {
    (True, True): ALWAYS,
    (True, False): "before the first step, and no longer after training",
    (False, True): "after training, and not before it",
    (False, False): NEVER,
}


@dataclass(frozen=True)
class FactorialCell:
    """One cell of the factorial, over its seeds."""

    network: str
    shortcut: str
    norm: str
    right: np.ndarray  # [seeds, images] of 0 and 1
    kept: tuple[float, float]  # |∂L/∂h| behind the first block over that behind the last: at the start, at the end
    findings: tuple[str, ...]
    otherwise: str = HEALTHY  # what is said where nothing was found

    @property
    def health(self) -> str:
        """What was found in any of its runs, or what is said of those in which nothing was."""
        return ", ".join(self.findings) or self.otherwise

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def failure(self) -> str:
        """Why it has nothing to say of gradients after training, in words; "" where it has."""
        if "exploding gradients" in self.findings:
            return "explodes"
        return "" if all(map(math.isfinite, self.kept)) else "did not train to its end"

    @property
    def vanishing(self) -> str:
        """When hardly anything reaches the first block."""
        return _TIMES[self.kept[0] <= VANISHED, self.kept[1] <= VANISHED]


def compare(
    source: str, settings: Mapping[str, Any], runs: Path, reporter: Reporter, *, engine: str = "auto", seeds: int = 1
) -> dict[str, Any]:
    """Train the twins that are not there yet; returns `twins`, `effects` and `sentences`.

    `start` among the settings may be one of the random ones. The folder is named by what was asked, so that the same
    call goes on where it was stopped. Raises UsageError for settings that are the factorial's own,
    InterruptedRunError, also for Ctrl-C between two twins, and every error of a run.
    """
    if seeds < 1:
        raise UsageError(f"{seeds} seeds are no twins.", "Use --seeds 1 or more.")
    if taken := [name for name in settings if name in OWN]:
        raise UsageError(f"--{taken[0]} is what the twins differ in, or have in common.", "Leave it out.")
    start = settings.get("start", "scratch")
    if start not in STARTS:
        raise UsageError(
            f"Twins begin with random weights, not with {start}: pretrained ones are made for one of them.",
            f"Use --start with one of {', '.join(STARTS)}, or leave it out.",
        )
    checked(engine)
    draft = resolve_settings({"source": source, "epochs": EPOCHS, **settings}).plan
    folders.require_writable(runs)
    draft = calibration.resolve_machine(draft)
    asked: list[tuple[RunConfig, dict[str, Any]]] = []
    met: list[tuple[str, setup.ResolvedRun]] = []
    for network, norm, shortcut in product(DEPTHS, NORMS, SWITCHES):
        cell = f"{start},network={network},norm={norm},shortcut={shortcut}"
        plan = draft.changed("network", **{**draft.network.model_dump(), "network": network, "norm": norm,
                                           "shortcut": shortcut})  # fmt: skip
        met.append((cell, setup.complete(plan, NullReporter())))
    counts = met[0][1].plan.facts.counts
    if (counts["test"] or counts["val"]) < 2:
        raise DataError("One image cannot judge twins.", "Let test have two images at least, or val without a test.")
    folder, common = _place(runs, draft, [completed for _, completed in met])
    for cell, completed in met:
        for seed in range(draft.seeding.seed, draft.seeding.seed + seeds):
            own = completed.plan.changed("seeding", seed=seed).changed("machine", precision=common)
            own = completed.dataset.recounted(own)
            asked.append(
                (own, {"variant": cell, "stage": "ablation", "budget": str(own.recipe.epochs), "fraction": 1.0})
            )
    reporter.say(f"{len(asked)} twins in {folder}. Safe to press Ctrl-C: the same command goes on.")
    _carry_out(folder, asked, engine, reporter)
    made = {run.hash: run for run in runs_in(folder)}
    of_cell: dict[str, list[RunRecord]] = {}
    for plan, about in asked:
        of_cell.setdefault(about["variant"], []).append(made[plan.hash])
    found = [_twin(runs) for runs in of_cell.values()]
    return ablation_summary(found, asked[0][0]) | {"folder": str(folder)}


def _place(runs: Path, draft: RunConfig, met: Sequence[setup.ResolvedRun]) -> tuple[Path, str]:
    """The factorial's folder, and the precision that all twins have.

    One that was left to be measured is that of the twins which are there already: the machine may be measured anew,
    and differ, between a command and the same one again. It is no part of the folder's name then.
    """
    precision, first = common_precision(met), met[0].plan
    measured = draft.machine.precision == "auto"
    named = first.changed("machine", precision="fp32" if measured else precision)
    folder = runs / f"ablation-{folders.slug(Path(draft.data.source).stem)}-{named.hash[:12]}"
    begun = next(runs_in(folder), None) if measured else None
    return folder, begun.plan["machine"]["precision"] if begun is not None else precision


def _carry_out(
    folder: Path, asked: Sequence[tuple[RunConfig, dict[str, Any]]], engine: str, reporter: Reporter
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = [job_protocol.text(folder, [one]) for one in asked]
    try:
        with (
            locks.locked(folder),
            factory.opened(engine, asked[0][0], reporter) as chosen,
            closing(chosen.run(texts)) as made,
        ):
            for count, (index, answer) in enumerate(made, 1):
                job_protocol.folders(answer)
                reporter.say(f"{count} of {len(asked)}: {asked[index][1]['variant']}")
    except KeyboardInterrupt:
        raise InterruptedRunError(signal.SIGINT, HINT) from None
    except InterruptedRunError as stop:  # a run does not know that it is one of many
        stop.hint = HINT
        raise


def _twin(runs: Sequence[RunRecord]) -> FactorialCell:
    """The runs of one cell, one for each seed."""
    network = runs[0].plan["network"]
    histories = [read(run.plan, journal.read_lines(run.folder / "metrics.jsonl"), run.state) for run in runs]
    start = _middle([flow_kept(history.probes[0]) for history in histories if history.probes])
    after = [history.probes[-1] for history in histories if len(history.probes) > 1 and history.state == "finished"]
    end = _middle([flow_kept(probe) for probe in after]) if len(after) == len(runs) else math.nan
    split = "test" if "test" in runs[0].result else "val"
    names = [one.name for history in histories for one in findings(history)]
    right = np.array([run.judged(split).right for run in runs])
    otherwise = EARLY if EARLY in [history.standing for history in histories] else HEALTHY
    return FactorialCell(
        network["network"], network["shortcut"], network["norm"], right, (start, end), tuple(dict.fromkeys(names)),
        otherwise,
    )  # fmt: skip


def _middle(values: Sequence[float | None]) -> float:
    """The geometric mean of what is known; NaN of nothing."""
    known = [math.log10(value) for value in values if value]
    return 10 ** float(np.mean(known)) if known else math.nan


def ablation_summary(twins: Sequence[FactorialCell], plan: RunConfig) -> dict[str, Any]:
    """The twins, the effect of each switch in each pair, and what that says in words."""
    effects = [
        _effect(switch, _one(twins, switch, "on", other), _one(twins, switch, "off", other))
        for switch, others in (("shortcut", NORMS), ("norm", SWITCHES))
        for other in product(DEPTHS, others)
    ]
    seeds, images = twins[0].right.shape
    length = length_words(str(plan.recipe.epochs))
    of = "images" if plan.facts.counts.get("test") else "images of val, which also chose each twin's epoch"
    head = (
        f"{len(twins)} twins, {pluralize(seeds, 'seed')}, {length}, judged on {images} {of}. Kept: "
        "|∂L/∂h| behind the first block over that behind the last, before and after training."
    )
    table = [
        f"  {one.network:9} norm {one.norm:6} shortcut {one.shortcut:4} {100 * one.accuracy:5.1f} %   kept "
        f"{one.kept[0]:.1e}  {one.kept[1]:.1e}  {one.health}"
        for one in twins
    ]
    limits = (
        f"Limits: these photos, {length}, {plan.recipe.optimizer} at {plan.recipe.lr:g}, and weights of "
        f"{plan.arm.start}, for all twins"
    )
    limits += "; one seed: intervals hold the luck of the images, not that of the seed" if seeds == 1 else ""
    limits += f". With fewer than {FEWEST_SEEDS} seeds accuracies are undecided." if seeds < FEWEST_SEEDS else "."
    return {
        "cells": [
            {"network": one.network, "shortcut": one.shortcut, "norm": one.norm, "accuracy": one.accuracy,
             "kept_at_start": _known(one.kept[0]), "kept_at_end": _known(one.kept[1]), "findings": list(one.findings),
             "health": one.health}
            for one in twins
        ],
        "effects": effects,
        "sentences": [head, *table, *(effect["sentence"] for effect in effects), limits],
    }  # fmt: skip


def _one(twins: Sequence[FactorialCell], switch: str, state: str, other: tuple[str, str]) -> FactorialCell:
    """The twin of a depth with a switch on or off; `other` is the depth and the state of the other switch."""
    network, rest = other
    wanted = (network, state, rest) if switch == "shortcut" else (network, rest, "batch" if state == "on" else "none")
    return next(one for one in twins if (one.network, one.shortcut, one.norm) == wanted)


def _effect(switch: str, on: FactorialCell, off: FactorialCell) -> dict[str, Any]:
    """What a switch does to accuracy, and to the share of the gradient that reaches the first block."""
    accuracy, low, high = _difference(on.right.astype(float) - off.right)
    before, after = (_orders(*kept) for kept in zip(on.kept, off.kept, strict=True))
    where = f"Depth {on.network.removeprefix('resnet')}, "
    if switch == "shortcut":
        where += "with BatchNorm" if on.norm == "batch" else "without a norm"
    else:
        where += "with shortcuts" if on.shortcut == "on" else "plain"
    what = "shortcuts" if switch == "shortcut" else "BatchNorm"
    adds = low > 0 and len(on.right) >= FEWEST_SEEDS
    meaning = _meaning(on, off, what, apart=min(before, after), adds=adds)
    sentence = (
        f"{where}: with {what} accuracy differs by {points(accuracy, signed=True)} points ({100 * LEVEL:.3g} % "
        f"interval {points(low)} to {points(high)}), and the share of the gradient that reaches the first block by "
        f"{_factor(before)} before training and {_factor(after)} after it. {meaning}"
    )
    return {"switch": switch, "network": on.network, "shortcut": on.shortcut if switch == "norm" else None,
            "norm": on.norm if switch == "shortcut" else None, "accuracy": accuracy, "low": low, "high": high,
            "orders_at_start": _known(before), "orders": _known(after), "sentence": sentence}  # fmt: skip


def _meaning(on: FactorialCell, off: FactorialCell, what: str, *, apart: float, adds: bool) -> str:
    """What two twins, with and without `what`, show of gradients.

    `apart` is how many powers of ten lie between what they keep; `adds` is true where it is proved to help accuracy.
    """
    one = what == "BatchNorm"
    keep, add, it = ("keeps", "adds", "it") if one else ("survivors", "add", "they")
    if failed := [
        f"the twin {which} {what} {twin.failure}" for twin, which in ((on, "with"), (off, "without")) if twin.failure
    ]:
        return f"{capitalize(' and '.join(failed))}, so that no more is said of gradients."
    if off.vanishing == ALWAYS and on.vanishing == NEVER and apart >= FAR_APART:
        return f"Without {what} the gradient vanishes, with {what} it does not: here {what} {keep} it alive."
    if off.vanishing == on.vanishing == ALWAYS:
        return f"The gradient vanishes with and without {what}."
    if not off.vanishing == on.vanishing == NEVER:
        return f"With {what} the gradient vanishes {on.vanishing}; without, {off.vanishing}."
    if adds:
        return f"It does not vanish without {what} either: what {what} {add} to accuracy, {it} {add} in another way."
    return f"It does not vanish without {what} either, so that {what} {keep} nothing alive here."


def _difference(right: np.ndarray) -> tuple[float, float, float]:
    """Mean of [seeds, images] and its interval: over both, or of one seed over its images."""
    if len(right) > 1:
        found = crossed(right, LEVEL)
        return found.mean, found.low, found.high
    return over_images(right[0], LEVEL)


def _orders(on: float, off: float) -> float:
    """How many powers of ten the kept share `on` is above `off`; NaN where one is unknown."""
    return math.log10(on / off) if on > 0 and off > 0 else math.nan


def _factor(orders: float) -> str:
    return "an unknown factor" if math.isnan(orders) else f"a factor of 10^{round(orders, 1) + 0:.1f}"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
