"""What a run's record holds of its health: losses, looks and probes, and a few numbers that are made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Line = Mapping[str, Any]

EPOCHS, STEPS = 2, 30  # after so many, or at its end, a run could be expected to have learned something
PLENTY, OF_A_CLASS = (3, 100), 10  # epochs, steps, and steps for each class, after which it must have
FALLING = 0.97  # of the training loss of an epoch before: what still learns is below it
MAX_UNLEARNED_LOSS_RATIO = 0.95  # of the loss of one who guesses: who has not come below it has hardly begun to learn
HALFWAY = 0.6  # of the loss of one who guesses: who has come below it has learned
FIRST_STEPS = 4  # looks before that step say more about the optimizer's start than about the rate
HEALTHY, EARLY = "healthy", "too early to say"  # what a run is called in which nothing is wrong
LATE = 0.1  # of the highest rate: looks at smaller rates are left out


@dataclass
class History:
    """What a record holds of a run's health, line by line. `plan` is the run's, as in plan.json."""

    plan: Mapping[str, Any]
    first_loss: float = math.nan
    epochs: list[Line] = field(default_factory=list)
    looks: list[tuple[Line, float]] = field(default_factory=list)  # with the rate that its step had
    probes: list[Line] = field(default_factory=list)
    state: str = ""  # `finished` or `diverged` when the run has ended
    _rate: float = 0.0

    def take(self, line: Line) -> None:
        """The next line of the record."""
        kind = line["kind"]
        if kind == "step":
            self._rate = max(line["lr"].values())
            if math.isnan(self.first_loss):
                self.first_loss = line["loss"]
        elif kind == "snapshot":
            self.looks.append((line, self._rate))
        elif kind in ("epoch", "probe"):
            (self.epochs if kind == "epoch" else self.probes).append(line)

    @property
    def ended(self) -> bool:
        return bool(self.state)

    @property
    def prior_entropy(self) -> float:
        """The loss of one who knows the shares of the classes alone: their entropy, which is ln(k) of k equal ones."""
        images = [int(count) for count in self.plan["facts"].get("images", {}).values() if count]
        if len(images) < 2 or self.plan["recipe"].get("class_weights", "none") != "none":
            return self.uniform_loss
        return -sum(count / sum(images) * math.log(count / sum(images)) for count in images)

    @property
    def uniform_loss(self) -> float:
        """The loss of one who takes all classes for equally frequent, as a new head does."""
        return math.log(max(len(self.plan["facts"]["class_names"]), 2))

    @property
    def last_loss(self) -> float:
        """The loss of the last epoch on train or on val, whichever is smaller, or NaN.

        (An epoch's training loss is a mean over its steps: a network that has just begun to learn is better than it.)
        """
        return min(float(self.epochs[-1][split]["loss"]) for split in ("train", "val")) if self.epochs else math.nan

    @property
    def has_had_time(self) -> bool:
        """Whether it could be expected to have learned something."""
        enough = bool(self.epochs) and self.epochs[-1]["step"] >= STEPS
        return enough and (self.ended or len(self.epochs) >= EPOCHS)

    @property
    def has_had_plenty_of_time(self) -> bool:
        """Whether it must have learned something, if it can; many classes take longer."""
        epochs, steps = PLENTY
        steps = max(steps, OF_A_CLASS * len(self.plan["facts"]["class_names"]))
        return len(self.epochs) >= epochs and self.epochs[-1]["step"] >= steps

    @property
    def standing(self) -> str:
        """What the run is called if nothing is wrong."""
        return HEALTHY if self.has_had_time and not (self.has_hardly_begun or self.predicts_one_class) else EARLY

    @property
    def has_hardly_begun(self) -> bool:
        """Whether its loss is still that of one who guesses, or nearly."""
        return bool(self.epochs) and self.last_loss >= MAX_UNLEARNED_LOSS_RATIO * self.prior_entropy

    @property
    def is_falling(self) -> bool:
        """Whether the training loss came down since the epoch before, or since the first and below guessing.

        (From the first epoch's loss to that of guessing only the class shares are learned.)
        """
        losses = [float(line["train"]["loss"]) for line in self.epochs]
        return losses[-1] < FALLING * max([min(losses[0], self.prior_entropy), *losses[-2:-1]])

    @property
    def predicts_one_class(self) -> bool:
        """Whether it gave one class to val images of several, in each of the last two epochs if there are so many."""
        tables = [line.get("confusion") or [] for line in self.epochs[-EPOCHS:]]
        return bool(tables) and all(
            sum(map(any, table)) > 1 and sum(any(column) for column in zip(*table, strict=True)) == 1
            for table in tables
        )

    @property
    def settled(self) -> bool:
        """Whether the training loss has stopped falling, be it at the run's end."""
        losses = [line["train"]["loss"] for line in self.epochs[-2:]]
        return self.ended or (len(losses) == 2 and losses[1] >= FALLING * losses[0])

    @property
    def has_learned(self) -> bool:
        return bool(self.epochs) and self.last_loss < HALFWAY * self.prior_entropy

    def updates(self) -> list[tuple[int, str, float]]:
        """(epoch, layer that moves most, median over layers of |Δw|/|w|) of each look, as at the highest rate.

        Updates are proportional to the rate, so that a schedule or a warm-up is divided out: what they are where the
        rate is the recipe's own, which a run may not have come to. Where a head learns first and then everything, the
        second counts.
        """
        most = max((sum(ratio is not None for ratio in look["ratio"].values()) for look, _ in self.looks), default=0)
        highest = max([float(self.plan["recipe"]["lr"]), *(rate for _, rate in self.looks)])
        found = []
        for look, rate in self.looks:
            ratios = {layer: ratio for layer, ratio in look["ratio"].items() if ratio is not None}
            if len(ratios) > most // 2 and look["step"] >= FIRST_STEPS and rate >= LATE * highest > 0:
                layer = max(ratios, key=ratios.__getitem__)
                found.append((look["epoch"], layer, median(ratios.values()) * highest / rate))
        return found

    def distance(self) -> float:
        """How far the weights are from where they started, the median over layers that have moved; 0 if unknown."""
        moved = [far for far in (self.probes[-1]["distance"].values() if self.probes else ()) if far]
        return median(moved) if moved else 0.0


def read(plan: Mapping[str, Any], lines: Iterable[Line], state: str = "") -> History:
    """The history of a run from the lines of its record; `state` is that of result.json, where there is one."""
    history = History(plan, state=state)
    for line in lines:
        history.take(line)
    return history
