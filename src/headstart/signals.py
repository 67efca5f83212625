"""SIGINT and SIGTERM as a wish that is obeyed between two events; a second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked: list[signal.Signals] = []


def request_stop(number: signal.Signals) -> None:
    """Ask, from any thread, for what a signal asks for: the wish of now and those to come are told, and never twice.

    For a process that hears its parent's messages and no signals.
    """
    _asked[:] = _asked or [number]


class TerminationRequested(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would be."""

    number = signal.SIGTERM


@contextmanager
def raised() -> Iterator[None]:
    """Within the block SIGTERM raises `Terminated`, as SIGINT raises KeyboardInterrupt, where nobody has it noted.

    Only in the main thread, and only where SIGTERM would end the process in silence.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    raise TerminationRequested


class SignalGuard:
    """Within the block a signal is only noted; the work asks with `heard` and stops itself at a moment that is whole.

    Blocks may stand within each other, as a run's does within an engine's: all are told. A signal that nobody has asked
    for when the outermost block ends is sent again, to whoever heard signals before: a wish is never lost. Outside the
    main thread, where signals cannot be caught, only `ask` is heard.
    """

    _noted: ClassVar[list[signal.Signals]] = []
    _told: ClassVar[bool] = False  # somebody knows and will stop
    _depth: ClassVar[int] = 0
    _before: ClassVar[dict[signal.Signals, Any]] = {}

    def __init__(self) -> None:
        self._hears = threading.current_thread() is threading.main_thread()

    def heard(self) -> signal.Signals | None:
        """The signal that came first, or None. Who has been told of one has to stop."""
        if self._hears and SignalGuard._noted:
            SignalGuard._told = True
            return SignalGuard._noted[0]
        return _asked[0] if _asked else None

    def complete(self) -> None:
        """The work is done: a signal that came too late for it is for the blocks around this one, if there are any."""
        if self._hears and SignalGuard._depth == 1:
            SignalGuard._told = True

    @staticmethod
    def _note(number: int, frame: FrameType | None) -> None:
        if SignalGuard._noted:
            os._exit(128 + number)  # asked twice: what is on the disk is whole at any moment
        SignalGuard._noted.append(signal.Signals(number))

    def __enter__(self) -> SignalGuard:
        if self._hears:
            if not SignalGuard._depth:
                SignalGuard._before = {number: signal.signal(number, SignalGuard._note) for number in SIGNALS}
            SignalGuard._depth += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._hears:
            return
        SignalGuard._depth -= 1
        if SignalGuard._depth:
            return
        unheard = [] if SignalGuard._told else list(SignalGuard._noted)
        SignalGuard._noted.clear()
        SignalGuard._told = False
        for number, handler in SignalGuard._before.items():
            signal.signal(number, handler)
        if kind is None or issubclass(kind, GeneratorExit):  # an error on its way says more than a wish to stop
            for number in unheard:
                signal.raise_signal(number)
