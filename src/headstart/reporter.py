"""What the house says while it works. Rooms speak through a `Voice`; only the doors know what a terminal is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ArmStatus:
    """Where one arm of a study stands: seeds done of those asked, mean accuracy on val (never on test meanwhile).

    `to_target` is the median number of epochs until val passed the target, over the seeds that are done: runs under way
    do not count yet. None where it has not on half of them.
    """

    arm: str
    state: str
    done: int
    total: int
    val: float | None
    to_target: float | None


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands: its arms, a line on the run that has just ended, and how long the rest will take."""

    title: str
    target: float  # 0: none
    rows: tuple[ArmStatus, ...]
    latest: str
    left: str


class Reporter(Protocol):
    """Somebody who passes on sentences and progress."""

    def say(self, sentence: str) -> None:
        """Pass on one plain sentence."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass on that `done` of `total` pieces of `what` are finished."""

    def table(self, table: StudyStatus) -> None:
        """Pass on where a study stands."""


class NullReporter:
    """Passes on nothing."""

    def say(self, sentence: str) -> None:
        pass

    def progress(self, what: str, done: int, total: int) -> None:
        pass

    def table(self, table: StudyStatus) -> None:
        pass
