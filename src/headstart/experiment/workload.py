"""How much work a study is, and how long what is left of it will take. Pure functions of plain values.

Work is counted in images that pass through training: the one measure that rungs of an epoch, whole runs and fractions
of the photos have in common. What an image costs is measured, for each arm by itself: frozen ones are cheaper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from headstart.config.duration import Duration
from headstart.config.run_config import RunConfig
from headstart.config.study_config import FEWEST_SEEDS, StudyConfig
from headstart.config.study_file import StudySpec
from headstart.errors import UsageError

EPOCH = Duration(1, "ep")
MIN_FINE_TUNING_SHARE = 0.5  # an epoch of lp-ft counts as fine-tuning where so much of it is
MOST_SEEDS = 10  # beyond, more images of the test split would do more
FEWEST_EPOCHS = 2


@dataclass(frozen=True)
class Workload:
    """Training images of one arm over a whole study: rungs of the search, its whole runs, and the comparison."""

    rungs: int
    whole: int
    main: int

    @property
    def total(self) -> int:
        return self.rungs + self.whole + self.main


def _one_epoch(length: Duration) -> int:
    return 1


def workload(
    declared: StudySpec, photos: int, batch_size: int, rung: Callable[[Duration], int] = _one_epoch
) -> Workload:
    """What each arm will do, `photos` being the train split; without points that the grid's edge might add.

    `rung` gives the epochs of a rung for a length of training. A run that a rung began goes on from there: its first
    epochs count as the rung's.
    """
    protocol = declared.protocol
    begun_runs, whole_runs = trials(protocol)
    continued = begun_runs * min(protocol.survivors, len(protocol.grid)) // len(protocol.grid)
    found = Workload(0, 0, 0)
    for budget in declared.budgets:
        searched = _part(photos, declared.share)
        length = run_images(budget, searched, batch_size)
        begun = min(length, rung(budget) * run_images(EPOCH, searched, batch_size)) if declared.searched else 0
        rungs = begun_runs * begun
        whole = whole_runs * length - continued * begun if declared.searched else 0
        parts = [run_images(budget, _part(photos, share), batch_size) for share in protocol.fractions]
        found = Workload(found.rungs + rungs, found.whole + whole, found.main + protocol.seeds * sum(parts))
    return found


def trials(protocol: StudyConfig) -> tuple[int, int]:
    """The runs of an arm's search at one length of training: rungs, and whole ones (some of which rungs begin)."""
    kept = min(protocol.survivors, len(protocol.grid))
    groups, seeds = (protocol.seeds, 1) if protocol.search == "per-seed" else (1, protocol.search_seeds)
    return groups * len(protocol.grid), groups * kept * seeds


def _part(photos: int, share: float) -> int:
    return max(1, round(photos * share))


def rung_epochs(plan: RunConfig) -> int:
    """Epochs that a rung of this complete plan has: one, and for lp-ft up to the first that is half fine-tuning.

    Its head epochs say nothing of the rate that is good for fine-tuning, and cost next to nothing. A rung is shorter
    than the run where that can be.
    """
    if plan.arm.tuning != "lp-ft":
        return 1
    per_epoch, head, whole = lp_ft_steps(plan)
    return max(1, min(math.ceil(head / per_epoch + MIN_FINE_TUNING_SHARE), -(-whole // per_epoch) - 1))


def rungs_of(plan: RunConfig) -> Callable[[Duration], int]:
    """`rung_epochs` of this complete plan at any length of training."""
    return lambda length: rung_epochs(plan.changed("recipe", epochs=length))


def lp_ft_steps(plan: RunConfig) -> tuple[int, int, int]:
    """Of a complete plan: steps of an epoch, of the head's part of an lp-ft run, and of the whole run."""
    per_epoch = -(-plan.facts.counts["train"] // plan.recipe.batch_size)
    whole = plan.recipe.epochs.steps(per_epoch)
    return per_epoch, plan.recipe.head_epochs.steps(per_epoch, whole=whole), whole


def asked_images(plan: RunConfig, rung: bool) -> int:
    """Training images of a run, or of its rung."""
    recipe, photos = plan.recipe, plan.facts.counts["train"]
    length = run_images(recipe.epochs, photos, recipe.batch_size)
    return min(length, rung_epochs(plan) * run_images(EPOCH, photos, recipe.batch_size)) if rung else length


def tuned_images(plan: RunConfig, begin: int, end: int) -> int:
    """Of the training images `begin` to `end` of a run, those of which more than the head learns: the costly ones."""
    if plan.arm.tuning == "frozen":
        return 0
    head = lp_ft_steps(plan)[1] * plan.recipe.batch_size if plan.arm.tuning == "lp-ft" else 0
    return max(0, end - max(begin, head))


def run_images(length: Duration, photos: int, batch_size: int) -> int:
    """Training images of a run of this length on `photos` photos."""
    return length.steps(-(-photos // batch_size)) * batch_size


@dataclass(frozen=True)
class RunCost:
    """What training costs: the photos of the train split, the batch, the seconds of an image, and what is paid once.

    `rung` gives the epochs of a rung for a length of training; `each` are the seconds that a run takes besides.
    """

    photos: int
    batch_size: int
    seconds: float
    once: float = 0.0
    rung: Callable[[Duration], int] = _one_epoch
    each: float = 0.0


def predicted(declared: StudySpec, arms: Sequence[RunCost], sources: Sequence[RunCost] = ()) -> float:
    """Seconds that a study will take, one run after the other; `arms` and `sources` are what each of them costs."""
    count = runs_of_an_arm(declared)
    return sum(arm.once + _total(declared, arm) * arm.seconds + count * arm.each for arm in arms) + sum(
        run_images(declared.source_epochs, source.photos, source.batch_size) * source.seconds + source.each
        for source in sources
    )


def runs_of_an_arm(declared: StudySpec) -> int:
    """Runs of one arm over a whole study, without points that the grid's edge might add; a rung that goes on is two."""
    protocol = declared.protocol
    searched = sum(trials(protocol)) if declared.searched else 0
    return len(declared.budgets) * (searched + protocol.seeds * len(protocol.fractions))


def passes(declared: StudySpec, arms: Sequence[RunCost], sources: Sequence[RunCost] = ()) -> int:
    """Images that pass through training in a study; those of a frozen trunk count as trained on by its head."""
    return sum(_total(declared, arm) for arm in arms) + sum(
        run_images(declared.source_epochs, source.photos, source.batch_size) for source in sources
    )


def _total(declared: StudySpec, arm: RunCost) -> int:
    return workload(declared, arm.photos, arm.batch_size, arm.rung).total


def fit(
    declared: StudySpec, cost: Callable[[StudySpec], float], limit: float, *, keep_seeds: bool, keep_epochs: bool
) -> StudySpec:
    """The study with the seeds and epochs that `limit` seconds allow, `cost` being the seconds that one takes.

    The epochs stay, and 10 down to 3 seeds are tried; if even 3 take too long, fewer whole epochs, down to 2. What is
    to be kept is kept; lengths in steps, and declared budgets, always are. More time gives no fewer of either. Raises
    UsageError, with the time that the shortest takes, where nothing fits.
    """
    asked, rules = declared.plan.recipe.epochs, declared.protocol
    seeds = [rules.seeds] if keep_seeds else list(range(MOST_SEEDS, FEWEST_SEEDS - 1, -1))
    keep_epochs = keep_epochs or asked.unit != "ep" or bool(rules.budgets)
    shorter = [] if keep_epochs else range(math.ceil(asked.value) - 1, FEWEST_EPOCHS - 1, -1)
    lengths = [(count, asked) for count in seeds] + [(seeds[-1], Duration(float(value), "ep")) for value in shorter]
    for count, epochs in lengths:
        protocol = StudyConfig.model_validate({**rules.model_dump(), "seeds": count})
        made = StudySpec(protocol, declared.plan.changed("recipe", epochs=epochs))
        if (needed := cost(made)) <= limit:
            return made
    enough = 60 * math.ceil(needed / 60) if needed > 99 else math.ceil(needed)  # what is told must do when it is given
    shortest = ", ".join(map(str, rules.budgets)) or str(epochs)
    raise UsageError(
        f"{span_words(limit)} are not enough: {count} seeds of {shortest} take about {span_words(enough)} here.",
        "Give it more time, or compare fewer arms, at a smaller --image-size, or on a smaller share with --fractions.",
    )


@dataclass(frozen=True)
class CostSoFar:
    """What an arm has done so far: training images, and the seconds of wall clock that they took."""

    images: float = 0.0
    seconds: float = 0.0


def seconds_left(spent: Mapping[str, CostSoFar], left: Mapping[str, float]) -> float | None:
    """Seconds for the images that are `left` of each arm; None while nothing has been measured.

    An arm costs what its own images have cost; one that has not begun costs what an image cost on average. Exact where
    every image takes the same time, never below 0, and 0 when nothing is left.
    """
    if not any(left.values()):
        return 0.0
    images = sum(arm.images for arm in spent.values())
    if images <= 0:
        return None
    average = sum(arm.seconds for arm in spent.values()) / images
    rates = {name: arm.seconds / arm.images for name, arm in spent.items() if arm.images > 0}
    return sum(count * rates.get(name, average) for name, count in left.items())


def left_words(seconds: float | None, now: datetime) -> str:
    """`about 12 min left (until 14:32)`; nothing while nothing is known, or nothing is left."""
    if not seconds:
        return ""
    if seconds < 60:
        return "less than a minute left"
    end = (now + timedelta(seconds=seconds)).strftime("%H:%M" if seconds < 12 * 3600 else "%b %d %H:%M")
    return f"about {span_words(seconds)} left (until {end})"


def span_words(seconds: float) -> str:
    """`45 s`, `12 min` or `2 h 05 min`, rounded."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
