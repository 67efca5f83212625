"""The terminal as a voice, on stderr: sentences; a bar or a study's table when a person looks, plain lines when not."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid
from rich.text import Text

from headstart.reporter import StudyStatus
from headstart.text import printable

PROGRESS_INTERVAL_S = 10.0  # seconds between two plain lines of progress


class ConsoleReporter:
    """Speaks on stderr; a context that takes its bar or table away at the end, also when something went wrong.

    Without a terminal (a log, a notebook), progress and what is left are a plain line at most every ten seconds.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, force_jupyter=False)
        self._bar: Progress | None = None
        self._live: Live | None = None
        self._task: TaskID | None = None
        self._what = ""
        self._last = time.monotonic()

    def __enter__(self) -> ConsoleReporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()
        if self._live is not None:
            self._live.stop()
        self._live = None

    def say(self, sentence: str) -> None:
        """Print one line, above the bar where there is one; names in it cannot steer the terminal."""
        self._console.print(printable(sentence), markup=False)

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar of `what`; it leaves when everything is done. A table that is there says enough."""
        if self._live is not None:
            return
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

    def table(self, table: StudyStatus) -> None:
        """Draw a study's table anew, below what is said; without a terminal, say what has ended and what is left."""
        if self._console.is_terminal:
            self._leave()
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(drawn(table), refresh=True)
            return
        if table.latest:
            self.say(table.latest)
        if table.left and time.monotonic() - self._last >= PROGRESS_INTERVAL_S:
            self._last = time.monotonic()
            self.say(table.left)

    def _plain(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= PROGRESS_INTERVAL_S and done < total:
            self._last = now
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)  # noqa: T201

    def _leave(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


def drawn(table: StudyStatus) -> Group:
    """A study's table as the terminal shows it."""
    grid = Grid(title=printable(table.title), title_justify="left", title_style="bold")
    heads = ["arm", "state", "seeds", "mean val %"] + (
        [f"epochs to {100 * table.target:.3g} %"] if table.target else []
    )
    for head in heads:
        grid.add_column(head, justify="left" if head in ("arm", "state") else "right")
    for row in table.rows:
        cells = [printable(row.arm), printable(row.state), f"{row.done}/{row.total}"]
        cells += ["" if row.val is None else f"{100 * row.val:.1f}"]
        cells += ["" if row.to_target is None else f"{row.to_target:g}"] if table.target else []
        grid.add_row(*map(Text, cells))
    lines = [line for line in (table.latest, table.left) if line]
    return Group(grid, *(Text(printable(line)) for line in lines))
