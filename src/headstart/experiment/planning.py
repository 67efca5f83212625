"""Plan a study: describe it, predict its duration, and fit its seeds and epochs into a time budget."""

from __future__ import annotations

import html
from collections.abc import Container
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from headstart.analysis.wording import arm_words
from headstart.config.duration import parse_seconds
from headstart.config.study_file import StudySpec
from headstart.engines import factory
from headstart.experiment import preflight, study
from headstart.experiment.decision_words import decision_words
from headstart.experiment.lr_search import is_narrow
from headstart.experiment.reusable import certain_requests
from headstart.experiment.workload import (
    FORWARD_SHARE,
    ArmCost,
    RunCost,
    backbone_share,
    fit_time_budget,
    predicted_seconds,
    requested_images,
    rung_length,
    training_images,
    trial_counts,
)
from headstart.hardware import calibration
from headstart.i18n import Message, _, join, ngettext, translated, verbatim
from headstart.printable import printable
from headstart.reporter import NullReporter, Reporter
from headstart.runs import reuse
from headstart.storage.files import JsonData
from headstart.storage.schemas.forecast import ForecastResult
from headstart.text import format_duration, join_list
from headstart.training import setup

EVALUATION_PASSES = 2  # of a frozen backbone over all images without augmentation, for selection and evaluation
STEP_OVERHEAD = 1.15  # factor on the measured step for the update, augmentation and logging


@dataclass(frozen=True)
class Forecast:
    """A study with its machine resolved and its time budget applied, and what it will take; its text describes both.

    Attributes:
        spec: The study.
        seconds: Predicted duration.
        training_images: Images that pass through training, of all arms and sources.
        evaluation_images: Images of test, or of val without a test split.
        evaluation_units: Their units: images in one group or nearly equal are one unit.
        reusable_runs: Least number of runs that are done already and are reused; `seconds` excludes them.

    Examples:
        >>> forecast = headstart.plan("digits:0-1", arms=["scratch", "scratch@adam"], seeds=3, epochs=1, quiet=True)
        >>> forecast.evaluation_images, forecast.spec.protocol.seeds
        (54, 3)
    """

    spec: StudySpec
    seconds: float
    training_images: int
    evaluation_images: int
    evaluation_units: int
    reusable_runs: int

    @property
    def sentences(self) -> list[Message]:
        """Seeds, runs, images and duration in words."""
        protocol, count = self.spec.protocol, len(self.spec.variants)
        arms = ngettext(
            "{seeds} of {count} arm: {arms}.",
            "{seeds} of {count} arms: {arms}.",
            count,
            arms=join_list(arm_words(variant.arm) for variant in self.spec.variants),
            seeds=ngettext("{count:,} seed", "{count:,} seeds", protocol.seeds),
        )
        lines = [arms, *(_planned_runs(self.spec, str(budget)) for budget in self.spec.budgets)]
        if len(protocol.interim) > 1:
            analyses = reduce(_either, (verbatim(str(seeds)) for seeds in protocol.interim[:-1]))
            lines.append(_("The study may stop at a clear difference after {numbers} seeds.", numbers=analyses))
        reused = ngettext(
            "At least {count:,} of these runs is done already and is reused; the duration excludes it.",
            "At least {count:,} of these runs are done already and are reused; the duration excludes them.",
            self.reusable_runs,
        )
        warnings = decision_words(self.spec, self.evaluation_images, self.evaluation_units)
        return [*lines, *warnings, _planned_work(self), *([reused] if self.reusable_runs else [])]

    def __str__(self) -> str:
        return "\n".join(printable(translated(sentence)) for sentence in self.sentences)

    def to_json(self) -> dict[str, JsonData]:
        """Return the study and what it takes as JSON (`ForecastResult`)."""
        protocol = self.spec.protocol
        return ForecastResult(
            arms=[variant.name for variant in self.spec.variants],
            seeds=protocol.seeds,
            budgets=[str(budget) for budget in self.spec.budgets],
            rates=list(protocol.grid) if self.spec.searches_lr else [],
            seconds=self.seconds,
            training_images=self.training_images,
            evaluation_images=self.evaluation_images,
            evaluation_units=self.evaluation_units,
            reusable_runs=self.reusable_runs,
        ).to_json()

    def _repr_html_(self) -> str:
        return "".join(f"<p>{html.escape(translated(sentence))}</p>" for sentence in self.sentences)


def check_inputs_and_choose_threads(spec: StudySpec, engine_name: str, reporter: Reporter) -> StudySpec:
    """Check the inputs of every arm, then choose the threads per run, which may take a measurement."""
    preflight.check_inputs(spec)
    return factory.choose_threads(spec, engine_name, reporter)


def begin_within_time_budget(
    spec: StudySpec, explicit: Container[str] | None, runs: Path, reporter: Reporter, engine_name: str = "auto"
) -> Path:
    """Begin a study (see `study.begin`), with the seeds and epochs that its time budget allows.

    Args:
        spec: The study.
        explicit: Names of the settings set by the user: seeds or epochs among them are not changed. None for a
            study.toml, which is complete: its time budget was applied when it was written.
        runs: Folder in which the study's folder is made.
        reporter: Receives progress.
        engine_name: Engine whose parallel runs the prediction counts on.

    Returns:
        The study's folder.

    Raises:
        UsageError: Nothing fits into the time budget.
    """
    if explicit is None or not spec.protocol.time_budget:
        return study.begin(spec, runs, reporter)
    fitted = _fit(spec, explicit, reporter, engine_name).spec
    return study.begin(fitted, runs, NullReporter())


def _either(first: Message, second: Message) -> Message:
    return _("{first} or {second}", first=first, second=second)


def _planned_runs(spec: StudySpec, budget: str) -> Message:
    """Return a sentence on the runs of the comparison and the search at one budget."""
    protocol, arms = spec.protocol, len(spec.variants)
    runs = ngettext(
        "{count} run of {budget} on fresh seeds",
        "{count} runs of {budget} on fresh seeds",
        arms * protocol.seeds * len(protocol.fractions),
        budget=budget,
    )
    if not spec.searches_lr:
        return _("{runs}.", runs=runs)
    counts = [trial_counts(protocol, narrow=is_narrow(variant.arm.tuning)) for variant in spec.variants]
    rungs, whole = map(sum, zip(*counts, strict=True))
    values: dict[str, Message] = {
        "runs": runs,
        "rates": ngettext("{count:,} learning rate", "{count:,} learning rates", len(protocol.grid)),
        "short_runs": ngettext("{count} short run", "{count} short runs", rungs),
        "whole_runs": ngettext("{count} whole one", "{count} whole ones", whole),
    }
    if spec.searches_each_seed:
        return _(
            "{runs}. Each seed has its own search, of {rates} at first and near the selected ones later (at least "
            "{short_runs} and {whole_runs}, the best of which are compared).",
            **values,
        )
    return _("{runs}, after a search of {rates} for each arm ({short_runs} and {whole_runs}).", **values)


def _planned_work(forecast: Forecast) -> Message:
    """Return a sentence on the training images and the duration of the study."""
    duration, images = format_duration(forecast.seconds), forecast.training_images
    if forecast.spec.searches_lr:
        return ngettext(
            "{count:,} training image in all: about {duration} on this machine; each rate added at an edge of the grid "
            "takes more.",
            "{count:,} training images in all: about {duration} on this machine; each rate added at an edge of the "
            "grid takes more.",
            images,
            duration=duration,
        )
    return ngettext(
        "{count:,} training image in all: about {duration} on this machine.",
        "{count:,} training images in all: about {duration} on this machine.",
        images,
        duration=duration,
    )


def forecast(
    spec: StudySpec, explicit: Container[str] | None, reporter: Reporter, engine_name: str = "auto"
) -> Forecast:
    """Check every arm, fit the study into its time budget, and predict what it will take. Write nothing.

    The arguments are those of `begin_within_time_budget`.
    """
    fitted = _fit(spec, explicit, reporter, engine_name)
    first = fitted.arms[0]
    split, evaluation_images = first.plan.facts.split_counts.evaluation
    evaluated = first.split.test if split == "test" else first.split.val
    evaluation_units = len(np.unique(first.dataset.units[evaluated]))
    requests = list(certain_requests(fitted.spec, fitted.arms, fitted.sources))
    if sentence := reuse.index_fault(requests):
        reporter.say(sentence)
    reusable = [request for request in requests if reuse.is_done(request)]
    costs = {variant.name: _arm_cost(arm) for variant, arm in zip(fitted.spec.variants, fitted.arms, strict=True)}
    saved = sum(
        costs[role.variant].seconds(requested_images(plan, role.rung is not None), evaluations=int(role.rung is None))
        for plan, role in ((request.plan, request.role) for request in reusable)
        if role.variant in costs  # not those on sources
    )
    workers = factory.parallel_runs(engine_name, fitted.spec.plan.machine)
    seconds = max(0.0, fitted.seconds - saved / workers)
    return Forecast(fitted.spec, seconds, fitted.training_images, evaluation_images, evaluation_units, len(reusable))


@dataclass(frozen=True)
class _FittedStudy:
    """A study within its time budget, with its resolved arms and sources."""

    spec: StudySpec
    arms: list[setup.ResolvedRun]
    sources: dict[str, setup.ResolvedRun]
    seconds: float
    training_images: int


def _fit(spec: StudySpec, explicit: Container[str] | None, reporter: Reporter, engine_name: str) -> _FittedStudy:
    """Check every arm, and fit the study into its time budget."""
    spec = StudySpec(spec.protocol, calibration.resolve_machine(spec.plan))
    arms, sources = preflight.resolve_arms(spec, reporter)
    arm_costs, source_costs = [run_cost(arm) for arm in arms], [run_cost(source) for source in sources.values()]
    workers = factory.parallel_runs(engine_name, spec.plan.machine)

    def duration(spec: StudySpec) -> float:
        """Return the predicted seconds of a study on this machine."""
        return predicted_seconds(spec, arm_costs, source_costs) / workers

    if explicit is not None and spec.protocol.time_budget:
        limit = parse_seconds(spec.protocol.time_budget)
        keep_seeds = "seeds" in explicit or bool(spec.protocol.interim)  # the last interim analysis is after all seeds
        spec = fit_time_budget(spec, duration, limit, keep_seeds=keep_seeds, keep_epochs="epochs" in explicit)
        reporter.say(_time_budget_words(spec, limit, duration(spec)))
    images = training_images(spec, arm_costs, source_costs)
    return _FittedStudy(spec, arms, sources, duration(spec), images)


def _time_budget_words(spec: StudySpec, limit: float, duration: float) -> Message:
    """Return a sentence on the study that fits into a time budget; `limit` and `duration` are in seconds."""
    values: dict[str, Message] = {
        "limit": format_duration(limit),
        "seeds": ngettext("{count:,} seed", "{count:,} seeds", spec.protocol.seeds),
        "lengths": join(map(str, spec.budgets), ", "),
        "duration": format_duration(duration),
    }
    if spec.searches_lr:
        return _(
            "A time budget of {limit} allows {seeds} of {lengths}: about {duration}, and more for each rate added at "
            "an edge of the grid.",
            **values,
        )
    return _("A time budget of {limit} allows {seeds} of {lengths}: about {duration}.", **values)


def _arm_cost(run: setup.ResolvedRun) -> ArmCost:
    """Return the cost of an arm from its measured step."""
    return ArmCost.of(run.plan, _image_seconds(run))


def _image_seconds(run: setup.ResolvedRun) -> float:
    """Return the seconds of a training image, from the measured step."""
    return STEP_OVERHEAD * run.step_seconds / run.plan.recipe.batch_size


def run_cost(run: setup.ResolvedRun) -> RunCost:
    """Return an upper limit of an arm's cost from its measured step.

    A frozen backbone costs one forward pass over the images for each augmented view, and two for evaluation, once for
    all runs.
    """
    plan = run.plan
    train_images = plan.facts.split_counts.train
    cost = _arm_cost(run)
    passes = plan.recipe.augmented_views + EVALUATION_PASSES if backbone_share(plan) < 1 else 0
    return RunCost(
        train_images=train_images,
        batch_size=plan.recipe.batch_size,
        seconds_per_image=cost.image,
        shared_seconds=passes * train_images * FORWARD_SHARE * _image_seconds(run),
        rung_epochs=rung_length(plan),
        overhead_seconds_per_run=cost.start + cost.evaluation,
        narrow=is_narrow(plan.arm.tuning),
    )
