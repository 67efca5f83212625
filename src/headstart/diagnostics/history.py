"""Collect what a run's record holds about its health: losses, tensor snapshots and gradient probes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from statistics import median

from headstart.config.run_config import RunConfig
from headstart.i18n import Message, _
from headstart.storage.schemas.metrics import EpochLine, Line, ProbeLine, SnapshotLine, StepLine
from headstart.storage.schemas.result import RunState

MIN_ASSESSED_EPOCHS, MIN_STEPS = 2, 30  # after both, or at its end, a run is expected to have learned something
LONG_EPOCHS, LONG_STEPS, LONG_STEPS_PER_CLASS = 3, 100, 10  # after all of these a run must have learned something
MAX_FALLING_LOSS_RATIO = 0.97  # of the training loss of the previous epoch: a loss below it is still falling
MAX_UNLEARNED_LOSS_RATIO = 0.95  # of the prior entropy: a run whose loss is not below it has barely learned
MAX_LEARNED_LOSS_RATIO = 0.6  # of the prior entropy: a run whose loss is below it has learned
MIN_SNAPSHOT_STEP = 4  # earlier snapshots show the optimizer's warm-up rather than the learning rate
MIN_LR_SHARE = 0.1  # of the highest rate: snapshots at lower rates are ignored


class HealthStatus(Enum):
    """Status of a run without unhealthy findings."""

    HEALTHY = auto()
    TOO_EARLY = auto()

    @property
    def words(self) -> Message:
        """The status in words."""
        return _("healthy") if self is HealthStatus.HEALTHY else _("too early to say")


@dataclass
class History:
    """The plan of a run, and the lines of its record that concern health."""

    plan: RunConfig
    first_loss: float = math.nan
    epochs: list[EpochLine] = field(default_factory=list)
    snapshots: list[tuple[SnapshotLine, float]] = field(default_factory=list)  # with the learning rate of their step
    probes: list[ProbeLine] = field(default_factory=list)
    state: RunState = RunState.UNFINISHED
    _rate: float = 0.0

    def add(self, line: Line) -> None:
        """Add the next line of the record."""
        match line:
            case StepLine():
                self._rate = max(line.lr.values())
                if math.isnan(self.first_loss):
                    self.first_loss = line.loss
            case SnapshotLine():
                self.snapshots.append((line, self._rate))
            case EpochLine():
                self.epochs.append(line)
            case ProbeLine():
                self.probes.append(line)

    @property
    def ended(self) -> bool:
        """True if the run has finished or diverged."""
        return self.state is not RunState.UNFINISHED

    @property
    def prior_entropy(self) -> float:
        """Loss of predicting the class frequencies: their entropy, which is ln(k) for k equal ones."""
        images = [count for count in self.plan.facts.class_counts.values() if count]
        if len(images) < 2 or self.plan.recipe.class_weights != "none":
            return self.uniform_loss
        total = sum(images)
        return -sum(count / total * math.log(count / total) for count in images)

    @property
    def uniform_loss(self) -> float:
        """Loss of predicting all classes with equal probability, as a new head does."""
        return math.log(max(len(self.plan.facts.class_names), 2))

    @property
    def last_loss(self) -> float:
        """Loss of the last epoch on train or on val, whichever is smaller, or NaN.

        An epoch's training loss is a mean over its steps: a network that has just started to learn is better than it.
        """
        return min(self.epochs[-1].train.loss, self.epochs[-1].val.loss) if self.epochs else math.nan

    @property
    def has_had_time(self) -> bool:
        """True if the run can be expected to have learned something."""
        enough = bool(self.epochs) and self.epochs[-1].step >= MIN_STEPS
        return enough and (self.ended or len(self.epochs) >= MIN_ASSESSED_EPOCHS)

    @property
    def has_had_long_time(self) -> bool:
        """True if the run must have learned something, if it can; many classes need more steps."""
        steps = max(LONG_STEPS, LONG_STEPS_PER_CLASS * len(self.plan.facts.class_names))
        return len(self.epochs) >= LONG_EPOCHS and self.epochs[-1].step >= steps

    @property
    def status(self) -> HealthStatus:
        """Status of the run if it has no unhealthy finding."""
        learns = self.has_had_time and not (self.has_barely_learned or self.predicts_one_class)
        return HealthStatus.HEALTHY if learns else HealthStatus.TOO_EARLY

    @property
    def has_barely_learned(self) -> bool:
        """True if the loss is still close to that of predicting the class frequencies, or above it."""
        return bool(self.epochs) and self.last_loss >= MAX_UNLEARNED_LOSS_RATIO * self.prior_entropy

    @property
    def is_falling(self) -> bool:
        """True if the training loss fell since the previous epoch, or since the first and below the prior entropy.

        A fall from the first epoch's loss to the prior entropy shows that only the class frequencies were learned.
        """
        losses = [line.train.loss for line in self.epochs]
        return losses[-1] < MAX_FALLING_LOSS_RATIO * max([min(losses[0], self.prior_entropy), *losses[-2:-1]])

    @property
    def predicts_one_class(self) -> bool:
        """True if val images of several classes got a single prediction, in each of the last (at most two) epochs."""
        tables = [line.confusion for line in self.epochs[-MIN_ASSESSED_EPOCHS:]]
        return bool(tables) and all(len(set(table.true)) > 1 and len(set(table.predicted)) == 1 for table in tables)

    @property
    def loss_is_flat(self) -> bool:
        """True if the training loss has stopped falling, or the run has ended."""
        losses = [line.train.loss for line in self.epochs[-2:]]
        return self.ended or (len(losses) == 2 and losses[1] >= MAX_FALLING_LOSS_RATIO * losses[0])

    @property
    def has_learned(self) -> bool:
        """True if the loss is far below that of predicting the class frequencies."""
        return bool(self.epochs) and self.last_loss < MAX_LEARNED_LOSS_RATIO * self.prior_entropy

    def updates(self) -> list[tuple[int, str, float]]:
        """Return (epoch, layer with the largest update, median over layers of |Δw|/|w|) of each snapshot.

        Updates are proportional to the learning rate. They are scaled to the highest rate, which is at least the
        recipe's own, so that a schedule or a warm-up has no effect. If a head is trained first and then everything,
        only the second part counts.
        """
        layers = max(
            (sum(r is not None for r in line.update_ratio.values()) for line, _rate in self.snapshots), default=0
        )
        highest = max([self.plan.recipe.lr, *(rate for _line, rate in self.snapshots)])
        updates = []
        for line, rate in self.snapshots:
            ratios = {layer: ratio for layer, ratio in line.update_ratio.items() if ratio is not None}
            if len(ratios) > layers // 2 and line.step >= MIN_SNAPSHOT_STEP and rate >= MIN_LR_SHARE * highest > 0:
                layer = max(ratios, key=ratios.__getitem__)
                updates.append((line.epoch, layer, median(ratios.values()) * highest / rate))
        return updates

    def distance(self) -> float:
        """Return |w - w₀|/|w₀| at the last probe, the median over the layers that have moved; 0 if unknown."""
        distances = self.probes[-1].distance_from_init.values() if self.probes else ()
        moved = [distance for distance in distances if distance]
        return median(moved) if moved else 0.0


def read_history(plan: RunConfig, lines: Iterable[Line], state: RunState = RunState.UNFINISHED) -> History:
    """Return the history of a run from its plan, the lines of its record, and its state."""
    history = History(plan, state=state)
    for line in lines:
        history.add(line)
    return history
