"""SIGINT and SIGTERM as a wish that is obeyed between two events; a second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, ClassVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked: list[signal.Signals] = []


def ask(number: signal.Signals) -> None:
    """Ask, from any thread, for what a signal asks for: the wish of now and those to come are told, and never twice.

    For a process that hears its parent's messages and no signals.
    """
    _asked[:] = _asked or [number]


class Wish:
    """Within the block a signal is only noted in `signal`; the work stops itself at a moment that is whole.

    Blocks may stand within each other, as a run's does within an engine's: all are told, until one that asks. A signal
    that nobody has asked for when the outermost block ends is sent again, to whoever heard signals before: a wish is
    never lost. Outside the main thread, where signals cannot be caught, only `ask` is heard.
    """

    _heard: ClassVar[list[signal.Signals]] = []
    _told: ClassVar[bool] = False  # somebody knows and will stop
    _depth: ClassVar[int] = 0
    _before: ClassVar[dict[signal.Signals, Any]] = {}

    def __init__(self) -> None:
        self._hears = threading.current_thread() is threading.main_thread()

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that was heard first, or None. Who has been told of one has to stop."""
        if self._hears and Wish._heard:
            Wish._told = True
            return Wish._heard[0]
        return _asked[0] if _asked else None

    @staticmethod
    def _note(number: int, frame: FrameType | None) -> None:
        if Wish._heard:
            os._exit(128 + number)  # asked twice: what is on the disk is whole at any moment
        Wish._heard.append(signal.Signals(number))

    def __enter__(self) -> Wish:
        if self._hears:
            if not Wish._depth:
                Wish._before = {number: signal.signal(number, Wish._note) for number in SIGNALS}
            Wish._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        if not self._hears:
            return
        Wish._depth -= 1
        if Wish._depth:
            return
        for number, handler in Wish._before.items():
            signal.signal(number, handler)
        unheard = [] if Wish._told else list(Wish._heard)
        Wish._heard.clear()
        Wish._told = False
        for number in unheard:
            signal.raise_signal(number)
