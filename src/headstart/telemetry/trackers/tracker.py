"""The interface of a tracker, which receives the scalars of records.

A tracker may raise any exception. It is then switched off, and the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headstart.printable import printable
from headstart.storage.schemas.result import RunResult, RunState
from headstart.telemetry.hyperparameters import Hyperparameter


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers show it; control characters in its texts are escaped.

    Attributes:
        id: Identifies the record: 16 hexadecimal digits, the same in every process that reads it.
        name: Name of the run's folder.
        arm: Name of its arm; in a study with the values of varied fields.
        seed: Its seed.
        group: Name of the study's folder; None outside a study.
        stage: Stage of the study; None outside a study.
        begin: When the record begins, in seconds since 1970.
        hyperparameters: Every field of the plan.
    """

    id: str
    name: str
    arm: str
    seed: int
    group: str | None
    stage: str | None
    begin: float
    hyperparameters: Mapping[str, Hyperparameter]


@dataclass(frozen=True)
class Row:
    """The scalars of one line of the record.

    Attributes:
        line: Number of the line, from 1.
        step: Number of updates done.
        time: Seconds since 1970.
        scalars: Value by TensorBoard tag; NaN for one that is not finite.
    """

    line: int
    step: int
    time: float
    scalars: Mapping[str, float]


class TrackerRun(Protocol):
    """One run in a tracker."""

    @property
    def is_new(self) -> bool:
        """True if every line must be sent: the tracker has nothing of the run, or keeps each opening by itself."""

    def log(self, rows: Sequence[Row]) -> None:
        """Add the scalars of lines, in the order of the record. A line is sent again to a run that `is_new`."""

    def end(self, state: RunState, result: RunResult | None) -> None:
        """End the run.

        Args:
            state: Its state; an unfinished run may be opened again.
            result: Its result; None if it is unfinished.
        """


class Tracker(Protocol):
    """A tracker in the process that sends records to it."""

    @property
    def target(self) -> str:
        """Where the runs are kept, without secrets. To another target, everything is sent again."""

    def open(self, run: TrackedRun) -> TrackerRun:
        """Return a run, which is made or continued. Several runs are open at a time."""


def summary(state: RunState, result: RunResult | None) -> dict[str, str | int]:
    """Return what a tracker shows of the end of a run besides its scalars."""
    values: dict[str, str | int] = {"state": state.value}
    if result is not None:
        values |= {"epochs": result.epochs, "best_epoch": result.best_epoch}
        values |= {"evaluation_split": result.evaluation_split}
        if result.reason is not None:
            values |= {"reason": printable(result.reason)}
    return values
