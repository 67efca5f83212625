"""Count the work of a study in training images, and predict durations. Pure functions of plain values.

Training images are the one measure that rungs, whole runs and data fractions have in common. The cost of an image is
measured for each arm separately, since frozen backbones are cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headstart.config.duration import Duration, head_steps
from headstart.config.run_config import RunConfig
from headstart.config.study_config import MIN_DECISIVE_SEEDS, StudyConfig
from headstart.config.study_file import StudySpec
from headstart.errors import UsageError
from headstart.experiment.lr_search import NEAR_RATES
from headstart.i18n import _, ngettext
from headstart.storage.schemas.arm import TuningKind
from headstart.text import format_duration

EPOCH = Duration(1, "ep")
MIN_FINE_TUNING_SHARE = 0.5  # share of an lp-ft epoch from which on it counts as fine-tuning
MAX_SEEDS = 10  # with more seeds, more test images would help more
MIN_TIME_BUDGET_EPOCHS = 2  # to which a time budget may reduce the epochs
FORWARD_SHARE = 1 / 3  # of a training step: a backward pass costs about two forward passes (Kaplan et al. 2020, 2.1)
FP32_RATIO = 2.0  # seconds of a forward pass in fp32 over those in bf16
HEAD_SHARE = 0.01  # of a training step, for the head alone
RUN_START_S, HEAD_START_S = 0.7, 0.1  # of a run, or of a head: data, network, saves
PRIOR_SHARE = 0.1  # of the work of a study, after which an arm's own speed counts more than that of all arms
END_S = 2.0  # of the end of a study: the verdict, the images and the page of its report


@dataclass(frozen=True)
class Workload:
    """Training images of one arm over a whole study.

    Attributes:
        rung_images: Images of the search's rungs.
        full_run_images: Images of the search's whole runs, without those of their rungs.
        comparison_images: Images of the comparison.
    """

    rung_images: int
    full_run_images: int
    comparison_images: int

    @property
    def total_images(self) -> int:
        """Training images of all parts."""
        return self.rung_images + self.full_run_images + self.comparison_images


def _one_epoch(length: Duration) -> int:
    return 1


def workload(
    spec: StudySpec,
    train_images: int,
    batch_size: int,
    rung_epochs: Callable[[Duration], int] = _one_epoch,
    *,
    narrow: bool = True,
) -> Workload:
    """Count the training images of one arm, without rates that may be added at an edge of the grid.

    The first epochs of a run that continues from its rung count as the rung's. With a search for each seed, the runs
    that are compared on all images of the search are those of the selected rates, which are only evaluated again.

    Args:
        spec: The study.
        train_images: Images of the train split.
        batch_size: Images of a training step.
        rung_epochs: Returns the epochs of a rung for a length of training.
        narrow: Later seeds search near the rates that worked.
    """
    protocol = spec.protocol
    rung_runs, full_runs = trial_counts(protocol, narrow=narrow)
    groups = protocol.all_seeds if spec.searches_each_seed else 1
    continued = groups * min(protocol.survivors, len(protocol.grid))
    rung_images, full_run_images, comparison_images = 0, 0, 0
    for budget in spec.budgets:
        if spec.searches_lr:
            subset = _subset_size(train_images, spec.largest_fraction)
            length = run_images(budget, subset, batch_size)
            rung_size = min(length, rung_epochs(budget) * run_images(EPOCH, subset, batch_size))
            rung_images += rung_runs * rung_size
            full_run_images += full_runs * length - continued * rung_size
        trained = [f for f in protocol.fractions if not spec.searches_each_seed or f != spec.largest_fraction]
        lengths = [run_images(budget, _subset_size(train_images, share), batch_size) for share in trained]
        comparison_images += protocol.all_seeds * sum(lengths)
    return Workload(rung_images, full_run_images, comparison_images)


def trial_counts(protocol: StudyConfig, *, narrow: bool = True) -> tuple[int, int]:
    """Return the number of rungs and of whole runs in an arm's search at one budget; some runs continue a rung.

    With `narrow`, later seeds search near the rates that worked.
    """
    rates = len(protocol.grid)
    survivors = min(protocol.survivors, rates)
    if protocol.search != "per-seed":
        return rates, survivors * protocol.search_seeds
    later = min(rates, NEAR_RATES) if narrow else rates
    return rates + (protocol.all_seeds - 1) * later, protocol.all_seeds * survivors


def _subset_size(train_images: int, share: float) -> int:
    return max(1, round(train_images * share))


def rung_epochs(plan: RunConfig) -> int:
    """Return the epochs of a rung: one, and for lp-ft up to the first epoch that is at least half fine-tuning.

    The epochs of the head alone cost little, and say nothing about the best rate for fine-tuning. A rung is shorter
    than the run if the run has more than one epoch.

    Args:
        plan: A resolved configuration.
    """
    if plan.arm.tuning.kind is not TuningKind.LP_FT:
        return 1
    per_epoch, head, whole = lp_ft_steps(plan)
    return max(1, min(math.ceil(head / per_epoch + MIN_FINE_TUNING_SHARE), -(-whole // per_epoch) - 1))


def rung_length(plan: RunConfig) -> Callable[[Duration], int]:
    """Return a function from a length of training to the epochs of a rung of this resolved configuration."""
    return lambda length: rung_epochs(plan.changed(epochs=length))


def lp_ft_steps(plan: RunConfig) -> tuple[int, int, int]:
    """Return the steps of an epoch, of the head's part of an lp-ft run, and of the whole run.

    Args:
        plan: A resolved configuration.
    """
    per_epoch = -(-plan.facts.split_counts.train // plan.recipe.batch_size)
    recipe = plan.recipe
    return per_epoch, head_steps(recipe.epochs, recipe.head_epochs, per_epoch), recipe.epochs.steps(per_epoch)


def requested_images(plan: RunConfig, rung: bool) -> int:
    """Return the training images of a run, or of its rung."""
    recipe, train_images = plan.recipe, plan.facts.split_counts.train
    length = run_images(recipe.epochs, train_images, recipe.batch_size)
    return min(length, rung_epochs(plan) * run_images(EPOCH, train_images, recipe.batch_size)) if rung else length


def backbone_images(plan: RunConfig, start: int, end: int) -> int:
    """Count the training images from `start` to `end` of a run with which more than the head is trained."""
    if plan.arm.tuning.kind is TuningKind.FROZEN:
        return 0
    head = lp_ft_steps(plan)[1] * plan.recipe.batch_size if plan.arm.tuning.kind is TuningKind.LP_FT else 0
    return max(0, end - max(start, head))


def run_images(length: Duration, train_images: int, batch_size: int) -> int:
    """Return the training images of a run of this length on a train split of `train_images` images."""
    return length.steps(-(-train_images // batch_size)) * batch_size


@dataclass(frozen=True)
class RunCost:
    """Cost of training an arm.

    Attributes:
        train_images: Images of the train split.
        batch_size: Images of a training step.
        seconds_per_image: Seconds of a training image.
        shared_seconds: Seconds that all runs of the arm share.
        rung_epochs: Returns the epochs of a rung for a length of training.
        overhead_seconds_per_run: Seconds of a run besides its images.
        narrow: Later seeds search near the rates that worked.
    """

    train_images: int
    batch_size: int
    seconds_per_image: float
    shared_seconds: float = 0.0
    rung_epochs: Callable[[Duration], int] = _one_epoch
    overhead_seconds_per_run: float = 0.0
    narrow: bool = True


def predicted_seconds(spec: StudySpec, arms: Sequence[RunCost], sources: Sequence[RunCost] = ()) -> float:
    """Predict the seconds that a study takes with one run at a time.

    Args:
        spec: The study.
        arms: Cost of each arm.
        sources: Cost of each source that an arm starts from.
    """
    seconds = 0.0
    for arm in arms:
        count = runs_per_arm(spec, narrow=arm.narrow)
        images = _arm_images(spec, arm)
        seconds += arm.shared_seconds + images * arm.seconds_per_image + count * arm.overhead_seconds_per_run
    for source in sources:
        images = run_images(spec.source_epochs, source.train_images, source.batch_size)
        seconds += images * source.seconds_per_image + source.overhead_seconds_per_run
    return seconds


def runs_per_arm(spec: StudySpec, *, narrow: bool = True) -> int:
    """Count the runs of one arm over a whole study, without added rates; a continued rung counts twice."""
    protocol = spec.protocol
    searched = sum(trial_counts(protocol, narrow=narrow)) if spec.searches_lr else 0
    return len(spec.budgets) * (searched + protocol.all_seeds * len(protocol.fractions))


def training_images(spec: StudySpec, arms: Sequence[RunCost], sources: Sequence[RunCost] = ()) -> int:
    """Count the training images of a study; images of a frozen backbone count, since its head is trained on them."""
    return sum(_arm_images(spec, arm) for arm in arms) + sum(
        run_images(spec.source_epochs, source.train_images, source.batch_size) for source in sources
    )


def _arm_images(spec: StudySpec, arm: RunCost) -> int:
    return workload(spec, arm.train_images, arm.batch_size, arm.rung_epochs, narrow=arm.narrow).total_images


def fit_time_budget(
    spec: StudySpec, duration: Callable[[StudySpec], float], limit: float, *, keep_seeds: bool, keep_epochs: bool
) -> StudySpec:
    """Return the study with the seeds and epochs that fit into a time budget.

    10 down to 3 seeds are tried with all epochs. If 3 seeds take too long, the whole epochs are reduced, down to 2.
    Lengths in steps and declared budgets do not change. A larger limit never gives fewer seeds or epochs.

    Args:
        spec: The study.
        duration: Returns the seconds that a study takes.
        limit: Time budget in seconds.
        keep_seeds: Do not change the seeds.
        keep_epochs: Do not change the epochs.

    Raises:
        UsageError: The shortest study takes longer than `limit`; the message names its duration.
    """
    declared, protocol = spec.plan.recipe.epochs, spec.protocol
    seeds = [protocol.seeds] if keep_seeds else list(range(MAX_SEEDS, MIN_DECISIVE_SEEDS - 1, -1))
    keep_epochs = keep_epochs or declared.unit != "ep" or bool(protocol.budgets)
    shorter = [] if keep_epochs else range(math.ceil(declared.value) - 1, MIN_TIME_BUDGET_EPOCHS - 1, -1)
    lengths = [(count, declared) for count in seeds] + [(seeds[-1], Duration(float(value), "ep")) for value in shorter]
    for count, epochs in lengths:
        candidate_protocol = StudyConfig.model_validate({**protocol.model_dump(), "seeds": count})
        candidate = StudySpec(candidate_protocol, spec.plan.changed(epochs=epochs))
        if (needed := duration(candidate)) <= limit:
            return candidate
    enough = 60 * math.ceil(needed / 60) if needed > 99 else math.ceil(needed)  # rounded up, so that it is enough
    shortest = ", ".join(map(str, protocol.budgets)) or str(epochs)
    raise UsageError(
        _(
            "The time budget of {limit} is too short: {seeds} of {length} take about {duration} on this machine.",
            limit=format_duration(limit),
            seeds=ngettext("{count:,} seed", "{count:,} seeds", count),
            length=shortest,
            duration=format_duration(enough),
        ),
        _("Increase --time-budget, or use --search off, fewer arms, a smaller --image-size or --fractions.")
        if spec.searches_lr
        else _("Increase --time-budget, or use fewer arms, a smaller --image-size or --fractions."),
    )


@dataclass(frozen=True)
class ArmCost:
    """Predicted seconds of the work of an arm, for a run alone.

    Attributes:
        image: Seconds of a training image, with its share of a validation.
        start: Seconds of a run, or of a part of it, besides its images.
        evaluation: Seconds of the final evaluation of a run, in fp32.
    """

    image: float
    start: float
    evaluation: float

    @classmethod
    def of(cls, plan: RunConfig, image_seconds: float) -> ArmCost:
        """Return the cost of an arm from its resolved configuration and the measured seconds of a training image."""
        counts, share = plan.facts.split_counts, backbone_share(plan)
        if not share:
            return cls(HEAD_SHARE * image_seconds, HEAD_START_S, 0.0)
        validation = counts.val / max(counts.train, 1) * FORWARD_SHARE
        slower = FP32_RATIO if plan.machine.precision == "bf16" else 1.0
        return cls(
            image=image_seconds * (max(share, HEAD_SHARE) + validation),
            start=RUN_START_S,
            evaluation=image_seconds * FORWARD_SHARE * slower * (counts.val + counts.test),
        )

    def seconds(self, images: int, *, runs: int = 1, evaluations: int = 1) -> float:
        """Return the seconds of training images in some runs, and of their final evaluations."""
        return self.image * images + self.start * runs + self.evaluation * evaluations


def backbone_share(plan: RunConfig) -> float:
    """Return the share of the training images with which more than the head is trained."""
    whole = requested_images(plan, rung=False)
    return backbone_images(plan, 0, whole) / whole


@dataclass(frozen=True)
class CostSoFar:
    """Predicted seconds of the work of an arm so far, and the wall-clock seconds that it took."""

    predicted: float = 0.0
    seconds: float = 0.0


def seconds_left(
    spent: Mapping[str, CostSoFar], remaining: Mapping[str, float], usual_factor: float | None = None
) -> float | None:
    """Estimate the seconds for the remaining work.

    The work of an arm takes longer than predicted by the same factor as its work so far, and by the factor of all arms
    as long as little of its own is done. The factor of all arms is at first the usual one: the first run includes the
    start of its process. The estimate is exact if the factor is the same for all work, never negative, and 0 if nothing
    remains.

    Args:
        spent: Cost so far, by arm.
        remaining: Predicted seconds of the remaining work, by arm.
        usual_factor: Wall-clock seconds by predicted seconds, before anything is measured; None if unknown.

    Returns:
        Seconds, or None if nothing has been measured yet and there is no usual factor.
    """
    if not any(remaining.values()):
        return 0.0
    predicted = sum(arm.predicted for arm in spent.values())
    seconds = sum(arm.seconds for arm in spent.values())
    prior = PRIOR_SHARE * (predicted + sum(remaining.values()))  # seconds of work with the prior factor
    if usual_factor is not None:
        average = (seconds + prior * usual_factor) / (predicted + prior)
    elif predicted > 0:
        average = seconds / predicted
    else:
        return None
    left = 0.0
    for name, work in remaining.items():
        arm = spent.get(name, CostSoFar())
        left += work * (arm.seconds + prior * average) / (arm.predicted + prior)
    return left
