"""What the house says while it works. Rooms speak through a `Voice`; only the doors know what a terminal is."""

from __future__ import annotations

from typing import Protocol


class Voice(Protocol):
    """Somebody who passes on sentences and progress."""

    def say(self, sentence: str) -> None:
        """Pass on one plain sentence."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Pass on that `done` of `total` pieces of `what` are finished."""


class Silent:
    """Passes on nothing."""

    def say(self, sentence: str) -> None:
        pass

    def progress(self, what: str, done: int, total: int) -> None:
        pass
