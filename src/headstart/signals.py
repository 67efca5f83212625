"""Defer SIGINT and SIGTERM to the next safe point; a second signal ends the process immediately."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar, TypeAlias

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_requested: list[signal.Signals] = []


def request_stop(number: signal.Signals) -> None:
    """Request a stop, from any thread, as the signal `number` would.

    Current and later guards report it, and it is not sent again. Meant for processes that receive messages from their
    parent instead of signals.
    """
    _requested[:] = _requested or [number]


class TerminationRequested(KeyboardInterrupt):
    """SIGTERM as an exception, raised where SIGINT would raise KeyboardInterrupt."""

    number = signal.SIGTERM


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise TerminationRequested on SIGTERM within the block, unless a SignalGuard defers the signal.

    Has an effect only in the main thread and only while SIGTERM has its default handler.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    raise TerminationRequested


Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None  # as `signal.signal` returns it


class SignalGuard:
    """Context manager that records signals; the work polls `pending` and stops at a safe point.

    Guards may be nested, as the guard of a run in that of an engine: all of them report the signal. A signal that
    nobody has polled when the outermost block ends is sent again to the previous handler, so that none is lost. Outside
    the main thread signals cannot be caught: there only `request_stop` has an effect.
    """

    _received: ClassVar[list[signal.Signals]] = []
    _delivered: ClassVar[bool] = False  # a caller has polled the signal and will stop
    _depth: ClassVar[int] = 0
    _previous: ClassVar[dict[signal.Signals, Handler]] = {}

    def __init__(self) -> None:
        self._catches = threading.current_thread() is threading.main_thread()

    def pending(self) -> signal.Signals | None:
        """Return the first signal received, or None. A caller that gets a signal has to stop."""
        if self._catches and SignalGuard._received:
            SignalGuard._delivered = True
            return SignalGuard._received[0]
        return _requested[0] if _requested else None

    def complete(self) -> None:
        """Mark the work as complete: a signal that came too late for it is left to the enclosing guards, if any."""
        if self._catches and SignalGuard._depth == 1:
            SignalGuard._delivered = True

    @staticmethod
    def _record(number: int, frame: FrameType | None) -> None:
        if SignalGuard._received:
            os._exit(128 + number)  # second signal: files on disk are complete at any moment
        SignalGuard._received.append(signal.Signals(number))

    def __enter__(self) -> SignalGuard:
        if self._catches:
            if not SignalGuard._depth:
                SignalGuard._previous = {number: signal.signal(number, SignalGuard._record) for number in SIGNALS}
            SignalGuard._depth += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._catches:
            return
        SignalGuard._depth -= 1
        if SignalGuard._depth:
            return
        undelivered = [] if SignalGuard._delivered else list(SignalGuard._received)
        SignalGuard._received.clear()
        SignalGuard._delivered = False
        for number, handler in SignalGuard._previous.items():
            signal.signal(number, handler)
        if kind is None or issubclass(kind, GeneratorExit):  # another exception takes precedence over the signal
            for number in undelivered:
                signal.raise_signal(number)
