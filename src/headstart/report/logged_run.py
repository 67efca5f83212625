"""A run as what any program may log of it: curves, learning rates and histograms, without a plan or a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from headstart.analysis.run_records import elapsed
from headstart.i18n import Message, _, join
from headstart.report.series import PlottedRun
from headstart.storage.schemas.metrics import SnapshotLine

LOSS, ACCURACY = "loss", "accuracy"
TRAIN, VAL, TEST, UNNAMED = "train", "val", "test", ""
MEASURE_WORDS = {LOSS: _("loss"), ACCURACY: _("accuracy")}
SPLIT_WORDS = {TRAIN: _("train"), VAL: _("val"), TEST: _("test"), UNNAMED: _("split not named")}
MAX_SHARE = 1 + 1e-4  # accuracies with larger values are in per cent; shares may be rounded up
OWN_CLOCK = 1.5  # a curve that ends at this many times the last epoch counts something else, such as steps


class LoggedQuantity(NamedTuple):
    """What a curve shows: a measure, and the images on which it was computed ("" if the log does not say)."""

    measure: str
    split: str


class Point(NamedTuple):
    """One logged value, with the seconds since the run's first one."""

    step: int
    seconds: float
    value: float


@dataclass(frozen=True)
class LoggedRun:
    """One run of any program.

    Args:
        name: Name on the page.
        folder: Folder of its files.
        started: Seconds since 1970 of its first value; 0 if unknown.
        curves: Values of each quantity; accuracies as shares of 1. Steps ascend and values are finite.
        rates: Learning rates of each part of the network.
        snapshots: Histograms of weights and gradients; their epochs are 0.
        saved: Steps at which a model was saved.
        sources: Which tag, or which words of a log, each curve was read from.
        settings: Hyperparameters that were logged.
        other_tags: Tags that fit no rule.
        notes: What was wrong with the files.
    """

    name: Message
    folder: Path
    started: float = 0.0
    curves: Mapping[LoggedQuantity, Sequence[Point]] = field(default_factory=dict)
    rates: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    snapshots: Sequence[SnapshotLine] = ()
    saved: Sequence[int] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    other_tags: Sequence[str] = ()
    notes: Sequence[Message] = ()

    @property
    def arm(self) -> str:
        """Name of its arm: every run is one of its own."""
        return f"{self.folder}: {self.name}"

    def selection(self, measure: str) -> LoggedQuantity | None:
        """Return the quantity of a measure by which runs are compared: on val, else on what is next best known."""
        known = [LoggedQuantity(measure, split) for split in (VAL, TEST, UNNAMED, TRAIN)]
        return next((quantity for quantity in known if self.curves.get(quantity)), None)

    def by_epoch(self, quantity: LoggedQuantity) -> list[tuple[float, float]]:
        """Return the values of a quantity over epochs.

        An epoch is one evaluation. If evaluations are logged at consecutive numbers, these are the epochs (from 1 on).
        A curve that ends far beyond them counts steps: it is stretched over the same epochs.
        """
        points = self.curves.get(quantity, ())
        if not points:
            return []
        epochs = [self.epoch_of(point.step) for point in points]
        last = self.epoch_of(self._evaluations[-1])
        if self._counts_epochs and epochs[-1] > OWN_CLOCK * last:
            epochs = [(point.step + 1) * last / (points[-1].step + 1) for point in points]
        return [(epoch, point.value) for epoch, point in zip(epochs, points, strict=True)]

    def epoch_of(self, step: int) -> float:
        """Return the epoch of a step that is counted as those of the evaluations."""
        evaluations = self._evaluations
        if self._counts_epochs:
            return float(step + (evaluations[0] == 0))
        known = evaluations if evaluations[0] == 0 else [0, *evaluations]
        return float(np.interp(step, known, range(len(known))))

    def by_second(self, quantity: LoggedQuantity) -> list[tuple[float, float]]:
        """Return the values of a quantity over seconds since the run's first value; [] if the log has no times."""
        points = self.curves.get(quantity, ())
        return [(point.seconds, point.value) for point in points] if any(point.seconds for point in points) else []

    @property
    def _counts_epochs(self) -> bool:
        """True if the evaluations are numbered 0, 1, 2, … or 1, 2, 3, …; else their steps are those of the training."""
        evaluations = self._evaluations
        consecutive = bool(np.all(np.diff(evaluations) == 1))
        return consecutive and (len(evaluations) > 1 or evaluations[0] <= 1)

    @cached_property
    def _evaluations(self) -> Sequence[int]:
        """Steps of the evaluations: those of the longest curve on val, else on test, else of the shortest of all.

        Runs without an evaluation may log the loss at every step and the accuracy after an epoch.
        """
        for split in (VAL, TEST):
            if curves := [points for quantity, points in self.curves.items() if points and quantity.split == split]:
                return [point.step for point in max(curves, key=len)]
        return [point.step for point in min(filter(None, self.curves.values()), key=len)]

    def best(self, quantity: LoggedQuantity) -> tuple[float, float]:
        """Return the epoch and the value of the best point: the lowest loss, else the highest value."""
        sign = -1 if quantity.measure == LOSS else 1
        return max(self.by_epoch(quantity), key=lambda point: (sign * point[1], -point[0]))


def as_logged(run: PlottedRun) -> LoggedRun:
    """Return one of headstart's runs as what other programs log: the steps of its curves are epochs."""
    curves: dict[LoggedQuantity, list[Point]] = {}
    for line, _images, seconds in elapsed(run.epochs, run.run.plan.recipe.batch_size):
        for split, score in ((TRAIN, line.train), (VAL, line.val)):
            curves.setdefault(LoggedQuantity(LOSS, split), []).append(Point(line.epoch, seconds, score.loss))
            curves.setdefault(LoggedQuantity(ACCURACY, split), []).append(Point(line.epoch, seconds, score.accuracy))
    return LoggedRun(
        run.name,
        run.run.folder,
        started=run.started,
        curves=curves,
        rates={part: [Point(step, 0.0, rate) for step, rate in points] for part, points in run.rates.items()},
        snapshots=run.snapshots,
        sources=dict.fromkeys(map(curve_words, curves), "metrics.jsonl"),
    )


def curve_words(quantity: LoggedQuantity) -> Message:
    """Return the name of a quantity, such as "val accuracy"."""
    return (
        join([SPLIT_WORDS[quantity.split], MEASURE_WORDS[quantity.measure]])
        if quantity.split
        else (MEASURE_WORDS[quantity.measure])
    )
