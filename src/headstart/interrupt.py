"""SIGINT and SIGTERM as a wish that is obeyed between two events; a second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked: list[signal.Signals] = []


def ask(number: signal.Signals) -> None:
    """Ask, from any thread, for what a signal asks for: the wish of now and those to come are told, and never twice.

    For a process that hears its parent's messages and no signals.
    """
    _asked[:] = _asked or [number]


class Wish:
    """Within the block the first signal is only noted in `signal`; the run stops itself at a moment that is whole.

    Outside the main thread, where signals cannot be caught, only `ask` is heard.
    """

    def __init__(self) -> None:
        self._noted: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that was heard first, or None."""
        return self._noted or (_asked[0] if _asked else None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted is not None:
            os._exit(128 + number)  # asked twice: what is on the disk is whole at any moment
        self._noted = signal.Signals(number)

    def __enter__(self) -> Wish:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
