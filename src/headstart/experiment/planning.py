"""Before a study begins: what it will do and how long that takes here, and what a time budget leaves room for."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from headstart.analysis.statistics import LEVEL, MeanSquares
from headstart.config.duration import seconds
from headstart.config.run_config import RunConfig
from headstart.config.study_config import FEWEST_SEEDS, StudyConfig
from headstart.config.study_file import StudySpec
from headstart.engines import factory
from headstart.experiment import preflight, study
from headstart.experiment.workload import (
    RunCost,
    asked_images,
    fit,
    passes,
    predicted,
    rungs_of,
    span_words,
    trials,
    tuned_images,
)
from headstart.hardware import calibration
from headstart.hardware.devices import usable_cores
from headstart.reporter import NullReporter, Reporter
from headstart.text import join_list, pluralize
from headstart.training import setup

FORWARD = 1 / 3  # of a training step: the backward pass costs about twice the forward one (Kaplan et al. 2020, 2.1)
PLAIN_PASSES = 2  # of a frozen trunk over all photos without augmentation, to choose and to judge
RUN_SECONDS, HEAD_SECONDS = 3.5, 0.3  # of a run besides its images: begun, saved, judged
MARGIN = 1.15  # on the measured steps, for validation, saving and judging


def resolve_study(declared: StudySpec, engine: str, reporter: Reporter) -> StudySpec:
    """As `choice.settled`, which may measure; what an arm lacks is told before."""
    preflight.check_arms(declared)
    return factory.resolve_engine(declared, engine, reporter)


def begin(
    declared: StudySpec, given: Container[str] | None, runs: Path, reporter: Reporter, engine: str = "auto"
) -> Path:
    """As `study.begin`, with the seeds and epochs that the time budget allows on that engine, if there is one.

    `given` are the settings that were asked for by name: their seeds and epochs are kept. None stands for a study.toml,
    which says all of it: its time budget tells what was asked when it was written.
    """
    if given is None or not declared.protocol.time_budget:
        return study.begin(declared, runs, reporter)
    found = _within(declared, given, reporter, engine).declared
    return study.begin(found, runs, NullReporter())


def describe_plan(
    declared: StudySpec, given: Container[str] | None, reporter: Reporter, engine: str = "auto"
) -> list[str]:
    """Check every arm, and say what the study will do: seeds, runs, images, minutes. Nothing is written."""
    found = _within(declared, given, reporter, engine)
    declared, protocol, count = found.declared, found.declared.protocol, len(found.declared.cells)
    lines = [f"{count} arms: {join_list(cell.name for cell in declared.cells)}; {pluralize(protocol.seeds, 'seed')}."]
    for budget in declared.budgets:
        text = f"{count * protocol.seeds * len(protocol.fractions)} runs of {budget} on fresh seeds"
        if declared.searched:
            begun, whole = trials(protocol)
            text += f", after a search of {pluralize(len(protocol.grid), 'learning rate')} for each arm"
            text += f" ({count * begun} short runs and {count * whole} whole ones)"
        lines.append(f"{text}.")
    if len(protocol.interim) > 1:
        lines.append(f"A clear difference may end it after {' or '.join(map(str, protocol.interim[:-1]))} seeds.")
    where = "on this machine alone" if engine == "ray" else "here"
    return [
        *lines,
        *out_of_reach(protocol, found.judging),
        f"{found.images:,} training images in all: about {span_words(found.seconds)} {where}"
        + ("; every rate that is added at the edge of a grid takes more." if declared.searched else "."),
    ]


def out_of_reach(protocol: StudyConfig, images: int) -> list[str]:
    """A warning where no two arms could be called practically equal: with so few seeds, or images that judge them."""
    if protocol.seeds < FEWEST_SEEDS:
        return [f"Fewer than {FEWEST_SEEDS} seeds decide nothing: the verdict will be undecided."]
    nothing = MeanSquares(0.0, 0.0, 0.0, protocol.seeds, images)  # of arms that do not differ at all
    hidden = max(nothing.half_width(LEVEL), nothing.unseen(LEVEL))
    if hidden <= protocol.margin_width:
        return []
    return [
        f"Two arms cannot be called equal here: on {images} images they may differ by {100 * hidden:.1f} points where "
        f"none shows it, and the tie is ±{100 * protocol.margin_width:.3g}. More images or a wider --margin would do."
    ]


@dataclass(frozen=True)
class Forecast:
    """A study with its machine settled and within its time budget, and what it will take."""

    declared: StudySpec
    seconds: float
    images: int  # that pass through training, of all arms and sources
    judging: int  # images that judge


def _within(declared: StudySpec, given: Container[str] | None, reporter: Reporter, engine: str) -> Forecast:
    declared = StudySpec(declared.protocol, calibration.resolve_machine(declared.plan))
    checked, others = preflight.check(declared, reporter)
    prices, sources = [price(arm) for arm in checked], [price(source) for source in others.values()]
    plan = declared.plan.machine
    workers = max(1, usable_cores() // plan.threads) if plan.device == "cpu" and engine != "local" else 1

    def cost(declared: StudySpec) -> float:
        return predicted(declared, prices, sources) / workers

    if given is not None and declared.protocol.time_budget:
        limit = seconds(declared.protocol.time_budget)
        seeds = "seeds" in given or bool(declared.protocol.interim)  # the last look is after all seeds
        declared = fit(declared, cost, limit, keep_seeds=seeds, keep_epochs="epochs" in given)
        lengths = ", ".join(map(str, declared.budgets))
        more = ", and more for each rate that is added at the edge of a grid" if declared.searched else ""
        reporter.say(
            f"{span_words(limit)} allow {pluralize(declared.protocol.seeds, 'seed')} of {lengths}: about "
            f"{span_words(cost(declared))}{more}."
        )
    counts = checked[0].plan.facts.counts
    return Forecast(declared, cost(declared), passes(declared, prices, sources), counts["test"] or counts["val"])


def price(found: setup.ResolvedRun) -> RunCost:
    """What this arm costs at most: its measured step, and of a frozen trunk one pass for each view, for all runs."""
    plan = found.plan
    share, photos = _trained_share(plan), plan.facts.counts["train"]
    second = MARGIN * found.step_seconds / plan.recipe.batch_size
    passes = plan.recipe.augmented_views + PLAIN_PASSES if share < 1 else 0
    once, each = passes * photos * FORWARD * second, RUN_SECONDS if share else HEAD_SECONDS
    return RunCost(photos, plan.recipe.batch_size, share * second, once, rungs_of(plan), each)


def _trained_share(plan: RunConfig) -> float:
    """The share of the training in which more than the head is trained."""
    whole = asked_images(plan, rung=False)
    return tuned_images(plan, 0, whole) / whole
