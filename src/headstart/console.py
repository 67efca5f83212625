"""Reporter for the terminal: writes to stderr, with a live bar or table on a terminal and plain lines elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from headstart.i18n import Message, _, translated
from headstart.reporter import StudyStatus
from headstart.text import printable

PROGRESS_INTERVAL_S = 10.0  # minimum time between two plain lines of progress


class ConsoleReporter:
    """Context manager that reports on stderr and removes its bar or table at the end, also after an error.

    Without a terminal (a log file, a notebook), progress and remaining time are a plain line at most every ten seconds.

    Args:
        times: Begin each line with the seconds since the reporter was made.
    """

    def __init__(self, *, times: bool = False) -> None:
        self._start = time.monotonic() if times else None
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, force_jupyter=False)
        self._bar: Progress | None = None
        self._live: Live | None = None
        self._task_id: TaskID | None = None
        self._task = ""
        self._last_line = time.monotonic()

    def __enter__(self) -> ConsoleReporter:
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop_bar()
        if self._live is not None:
            self._live.stop()
        self._live = None

    def say(self, sentence: Message) -> None:
        """Print one line, above the bar or table; control sequences in it are escaped."""
        time_of_line = "" if self._start is None else f"{time.monotonic() - self._start:7.1f} s  "
        self._console.print(time_of_line + printable(translated(sentence)), markup=False)

    def progress(self, task: Message, done: int, total: int) -> None:
        """Update the bar of `task` and remove it when all is done; ignored while a study's table is shown."""
        if self._live is not None:
            return
        if not self._console.is_terminal:
            self._print_progress(task, done, total)
            return
        if self._bar is None or task != self._task:
            self._stop_bar()
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task_id, self._task = self._bar.add_task(translated(task), total=total), task
        assert self._task_id is not None  # noqa: S101
        self._bar.update(self._task_id, completed=done)
        if done >= total:
            self._stop_bar()

    def study_status(self, status: StudyStatus) -> None:
        """Redraw the table of a study; without a terminal, print the latest run and the remaining time."""
        if self._console.is_terminal:
            self._stop_bar()
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(_render_status(status), refresh=True)
            return
        if status.latest:
            self.say(status.latest)
        if status.remaining and time.monotonic() - self._last_line >= PROGRESS_INTERVAL_S:
            self._last_line = time.monotonic()
            self.say(status.remaining)

    def _print_progress(self, task: Message, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last_line >= PROGRESS_INTERVAL_S and done < total:
            self._last_line = now
            line = _("{task}: {done} of {total}", task=task, done=done, total=total)
            print(translated(line), file=sys.stderr, flush=True)  # noqa: T201

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


def _render_status(status: StudyStatus) -> Group:
    """Return a study's table, with the latest run and the remaining time below it."""
    grid = Table(title=printable(translated(status.title)), title_justify="left", title_style="bold")
    for heading in (_("arm"), _("state")):
        grid.add_column(translated(heading), justify="left")
    headings = [_("seeds"), _("mean val %")]
    headings += [_("epochs to {target:.3g} %", target=100 * status.target)] if status.target else []
    for heading in headings:
        grid.add_column(translated(heading), justify="right")
    for row in status.rows:
        cells = [printable(row.arm), printable(translated(row.state)), f"{row.done}/{row.total}"]
        cells += ["" if row.val is None else f"{100 * row.val:.1f}"]
        cells += ["" if row.to_target is None else f"{row.to_target:g}"] if status.target else []
        grid.add_row(*map(Text, cells))
    lines = [line for line in (status.latest, status.remaining) if line]
    return Group(grid, *(Text(printable(translated(line))) for line in lines))
