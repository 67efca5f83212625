"""Reporting interface: modules report progress through a `Reporter` and do not know the terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from headstart.i18n import Message

ProgressCallback: TypeAlias = Callable[[int, int], None]  # receives (items done, all items)


@dataclass(frozen=True)
class ArmStatus:
    """Progress of one arm of a study.

    Attributes:
        arm: the arm in words.
        state: what the arm is doing, such as "comparing" or "waiting".
        done: number of finished seeds.
        total: number of planned seeds.
        val: mean accuracy on val, 0 to 1; test accuracy is never reported during a study.
        to_target: median number of epochs until val reached the target, over the finished seeds. None when fewer than
            half of them reached it. Runs in progress do not count.
    """

    arm: Message
    state: Message
    done: int
    total: int
    val: float | None
    to_target: float | None


@dataclass(frozen=True)
class StudyStatus:
    """Progress of a study.

    Attributes:
        title: stage of the study and count of its runs.
        target: val accuracy of the time-to-target column, 0 to 1; 0 means no target.
        rows: status of each arm.
        latest: one line about the run that finished last.
        remaining: one line with the estimated remaining time.
    """

    title: Message
    target: float
    rows: tuple[ArmStatus, ...]
    latest: Message
    remaining: Message


class Reporter(Protocol):
    """Receiver of messages and progress."""

    def say(self, sentence: Message) -> None:
        """Report one plain sentence."""

    def progress(self, task: Message, done: int, total: int) -> None:
        """Report that `done` of `total` items of `task` are finished."""

    def study_status(self, status: StudyStatus) -> None:
        """Report the progress of a study."""


class NullReporter:
    """A reporter that discards everything."""

    def say(self, sentence: Message) -> None:
        """Discard the sentence."""

    def progress(self, task: Message, done: int, total: int) -> None:
        """Discard the progress."""

    def study_status(self, status: StudyStatus) -> None:
        """Discard the status."""
