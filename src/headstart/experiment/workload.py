"""Count the work of a study in training images, and predict durations. Pure functions of plain values.

Training images are the one measure that rungs, whole runs and data fractions have in common. The cost of an image is
measured for each arm separately, since frozen backbones are cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from headstart.config.duration import Duration
from headstart.config.run_config import RunConfig
from headstart.config.study_config import MIN_DECISIVE_SEEDS, StudyConfig
from headstart.config.study_file import StudySpec
from headstart.errors import UsageError

EPOCH = Duration(1, "ep")
MIN_FINE_TUNING_SHARE = 0.5  # share of an lp-ft epoch from which on it counts as fine-tuning
MAX_SEEDS = 10  # with more seeds, more test images would help more
MIN_EPOCHS = 2


@dataclass(frozen=True)
class Workload:
    """Training images of one arm over a whole study.

    Attributes:
        rungs: Images of the search's rungs.
        whole: Images of the search's whole runs, without those of their rungs.
        main: Images of the comparison.
    """

    rungs: int
    whole: int
    main: int

    @property
    def total(self) -> int:
        """Training images of all parts."""
        return self.rungs + self.whole + self.main


def _one_epoch(length: Duration) -> int:
    return 1


def workload(spec: StudySpec, photos: int, batch_size: int, rung: Callable[[Duration], int] = _one_epoch) -> Workload:
    """Count the training images of one arm, without rates that may be added at an edge of the grid.

    The first epochs of a run that continues from its rung count as the rung's.

    Args:
        spec: The study.
        photos: Images of the train split.
        batch_size: Images of a training step.
        rung: Returns the epochs of a rung for a length of training.
    """
    protocol = spec.protocol
    rung_runs, whole_runs = trial_counts(protocol)
    continued = rung_runs * min(protocol.survivors, len(protocol.grid)) // len(protocol.grid)
    total = Workload(0, 0, 0)
    for budget in spec.budgets:
        searched = _subset_size(photos, spec.share)
        length = run_images(budget, searched, batch_size)
        rung_size = min(length, rung(budget) * run_images(EPOCH, searched, batch_size)) if spec.searched else 0
        rungs = rung_runs * rung_size
        whole = whole_runs * length - continued * rung_size if spec.searched else 0
        main = [run_images(budget, _subset_size(photos, share), batch_size) for share in protocol.fractions]
        total = Workload(total.rungs + rungs, total.whole + whole, total.main + protocol.seeds * sum(main))
    return total


def trial_counts(protocol: StudyConfig) -> tuple[int, int]:
    """Return the number of rungs and of whole runs in an arm's search at one budget; some runs continue a rung."""
    survivors = min(protocol.survivors, len(protocol.grid))
    groups, seeds = (protocol.seeds, 1) if protocol.search == "per-seed" else (1, protocol.search_seeds)
    return groups * len(protocol.grid), groups * survivors * seeds


def _subset_size(photos: int, share: float) -> int:
    return max(1, round(photos * share))


def rung_epochs(plan: RunConfig) -> int:
    """Return the epochs of a rung: one, and for lp-ft up to the first epoch that is at least half fine-tuning.

    The epochs of the head alone cost little, and say nothing about the best rate for fine-tuning. A rung is shorter
    than the run if the run has more than one epoch.

    Args:
        plan: A resolved configuration.
    """
    if plan.arm.tuning != "lp-ft":
        return 1
    per_epoch, head, whole = lp_ft_steps(plan)
    return max(1, min(math.ceil(head / per_epoch + MIN_FINE_TUNING_SHARE), -(-whole // per_epoch) - 1))


def rung_length(plan: RunConfig) -> Callable[[Duration], int]:
    """Return a function from a length of training to the epochs of a rung of this resolved configuration."""
    return lambda length: rung_epochs(plan.changed("recipe", epochs=length))


def lp_ft_steps(plan: RunConfig) -> tuple[int, int, int]:
    """Return the steps of an epoch, of the head's part of an lp-ft run, and of the whole run.

    Args:
        plan: A resolved configuration.
    """
    per_epoch = -(-plan.facts.split_counts["train"] // plan.recipe.batch_size)
    whole = plan.recipe.epochs.steps(per_epoch)
    return per_epoch, plan.recipe.head_epochs.steps(per_epoch, whole=whole), whole


def requested_images(plan: RunConfig, rung: bool) -> int:
    """Return the training images of a run, or of its rung."""
    recipe, photos = plan.recipe, plan.facts.split_counts["train"]
    length = run_images(recipe.epochs, photos, recipe.batch_size)
    return min(length, rung_epochs(plan) * run_images(EPOCH, photos, recipe.batch_size)) if rung else length


def backbone_images(plan: RunConfig, start: int, end: int) -> int:
    """Count the training images from `start` to `end` of a run with which more than the head is trained."""
    if plan.arm.tuning == "frozen":
        return 0
    head = lp_ft_steps(plan)[1] * plan.recipe.batch_size if plan.arm.tuning == "lp-ft" else 0
    return max(0, end - max(start, head))


def run_images(length: Duration, photos: int, batch_size: int) -> int:
    """Return the training images of a run of this length on a train split of `photos` images."""
    return length.steps(-(-photos // batch_size)) * batch_size


@dataclass(frozen=True)
class RunCost:
    """Cost of training an arm.

    Attributes:
        photos: Images of the train split.
        batch_size: Images of a training step.
        seconds: Seconds of a training image.
        once: Seconds that all runs of the arm share.
        rung: Returns the epochs of a rung for a length of training.
        each: Seconds of a run besides its images.
    """

    photos: int
    batch_size: int
    seconds: float
    once: float = 0.0
    rung: Callable[[Duration], int] = _one_epoch
    each: float = 0.0


def predicted_seconds(spec: StudySpec, arms: Sequence[RunCost], sources: Sequence[RunCost] = ()) -> float:
    """Predict the seconds that a study takes with one run at a time.

    Args:
        spec: The study.
        arms: Cost of each arm.
        sources: Cost of each source that an arm starts from.
    """
    count = runs_per_arm(spec)
    return sum(arm.once + _arm_images(spec, arm) * arm.seconds + count * arm.each for arm in arms) + sum(
        run_images(spec.source_epochs, source.photos, source.batch_size) * source.seconds + source.each
        for source in sources
    )


def runs_per_arm(spec: StudySpec) -> int:
    """Count the runs of one arm over a whole study, without added rates; a continued rung counts twice."""
    protocol = spec.protocol
    searched = sum(trial_counts(protocol)) if spec.searched else 0
    return len(spec.budgets) * (searched + protocol.seeds * len(protocol.fractions))


def training_images(spec: StudySpec, arms: Sequence[RunCost], sources: Sequence[RunCost] = ()) -> int:
    """Count the training images of a study; images of a frozen backbone count, since its head is trained on them."""
    return sum(_arm_images(spec, arm) for arm in arms) + sum(
        run_images(spec.source_epochs, source.photos, source.batch_size) for source in sources
    )


def _arm_images(spec: StudySpec, arm: RunCost) -> int:
    return workload(spec, arm.photos, arm.batch_size, arm.rung).total


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
    shorter = [] if keep_epochs else range(math.ceil(declared.value) - 1, MIN_EPOCHS - 1, -1)
    lengths = [(count, declared) for count in seeds] + [(seeds[-1], Duration(float(value), "ep")) for value in shorter]
    for count, epochs in lengths:
        candidate_protocol = StudyConfig.model_validate({**protocol.model_dump(), "seeds": count})
        candidate = StudySpec(candidate_protocol, spec.plan.changed("recipe", epochs=epochs))
        if (needed := duration(candidate)) <= limit:
            return candidate
    enough = 60 * math.ceil(needed / 60) if needed > 99 else math.ceil(needed)  # rounded up, so that it is enough
    shortest = ", ".join(map(str, protocol.budgets)) or str(epochs)
    raise UsageError(
        f"The time budget of {span_words(limit)} is too short: {count} seeds of {shortest} take about "
        f"{span_words(enough)} on this machine.",
        "Increase --time-budget, or use fewer arms, a smaller --image-size or a smaller share of the images "
        "(--fractions).",
    )


@dataclass(frozen=True)
class CostSoFar:
    """Training images of an arm so far, and the wall-clock seconds that they took."""

    images: float = 0.0
    seconds: float = 0.0


def seconds_left(spent: Mapping[str, CostSoFar], remaining: Mapping[str, float]) -> float | None:
    """Estimate the seconds for the remaining images.

    An arm's images cost what its images have cost so far; without any, the average over all arms. The estimate is exact
    if every image takes the same time, never negative, and 0 if nothing remains.

    Args:
        spent: Cost so far, by arm.
        remaining: Remaining training images, by arm.

    Returns:
        Seconds, or None if nothing has been measured yet.
    """
    if not any(remaining.values()):
        return 0.0
    images = sum(arm.images for arm in spent.values())
    if images <= 0:
        return None
    average = sum(arm.seconds for arm in spent.values()) / images
    rates = {name: arm.seconds / arm.images for name, arm in spent.items() if arm.images > 0}
    return sum(count * rates.get(name, average) for name, count in remaining.items())


def remaining_words(seconds: float | None, now: datetime) -> str:
    """Return e.g. `about 12 min left (until 14:32)`, or "" if nothing is left or the time is unknown."""
    if not seconds:
        return ""
    if seconds < 60:
        return "less than a minute left"
    end = (now + timedelta(seconds=seconds)).strftime("%H:%M" if seconds < 12 * 3600 else "%b %d %H:%M")
    return f"about {span_words(seconds)} left (until {end})"


def span_words(seconds: float) -> str:
    """Return a rounded duration: `45 s`, `12 min` or `2 h 05 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
