"""The terminal as a voice: sentences and progress on stderr; a bar when a person looks, plain lines when not."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from headstart.use.printing import printable

PATIENCE = 10.0  # seconds between two plain lines of progress


class Terminal:
    """Speaks on stderr; a context that takes its bar away at the end, also when something went wrong.

    Without a terminal (a log, a notebook), progress is a plain line at most every ten seconds.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, force_jupyter=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._last = time.monotonic()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def say(self, sentence: str) -> None:
        """Print one line, above the bar where there is one; names in it cannot steer the terminal."""
        self._console.print(printable(sentence), markup=False)

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar of `what`; it leaves when everything is done."""
        if not self._console.is_terminal:
            self._plain(what, done, total)
            return
        if self._bar is None or what != self._what:
            self._leave()
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task, self._what = self._bar.add_task(what, total=total), what
        assert self._task is not None  # noqa: S101
        self._bar.update(self._task, completed=done)
        if done >= total:
            self._leave()

    def _plain(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= PATIENCE and done < total:
            self._last = now
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)  # noqa: T201

    def _leave(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None
