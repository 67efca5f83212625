"""Reporter for the terminal: writes to stderr, with a live bar or table on a terminal and plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import IO, cast

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from headstart.i18n import Message, _, translated
from headstart.printable import printable
from headstart.reporter import StudyStatus
from headstart.streams import TolerantStream, is_terminal
from headstart.text import format_duration

PROGRESS_INTERVAL_S = 10.0  # minimum time between two plain lines of progress
SILENCE_S = 60.0  # maximum time without a plain line during a study


class ConsoleReporter:
    """Context manager that reports on stderr and removes its bar or table at the end, also after an error.

    Without a terminal (a log file, a notebook), progress and remaining time are a plain line at most every ten seconds.
    A study whose runs are long prints one at least every minute. If stderr is closed or cannot be written, nothing is
    reported, and the command goes on.

    Args:
        times: Begin each line with the seconds since the reporter was made.
    """

    def __init__(self, *, times: bool = False) -> None:
        self._start = time.monotonic() if times else None
        self._stream = TolerantStream(sys.stderr)
        self._console = Console(
            file=cast(IO[str], self._stream),
            highlight=False,
            soft_wrap=True,
            emoji=False,
            force_jupyter=False,
            force_terminal=is_terminal(sys.stderr),  # notebooks set FORCE_COLOR, but cannot move the cursor
        )
        self._bar: Progress | None = None
        self._live: Live | None = None
        self._task_id: TaskID | None = None
        self._task = ""
        self._last_line = self._last_sentence = time.monotonic()
        self._status: StudyStatus | None = None  # the latest, without a terminal
        self._status_time = 0.0
        self._closed = threading.Event()
        self._heartbeat: threading.Thread | None = None

    def __enter__(self) -> ConsoleReporter:
        return self

    def __exit__(self, *_error: object) -> None:
        self._closed.set()
        self._stop_bar()
        if self._live is not None:
            self._live.stop()
        self._live = None
        if self._heartbeat is not None:
            self._heartbeat.join()

    def say(self, sentence: Message) -> None:
        """Print one line, above the bar or table; control sequences in it are escaped."""
        self._last_sentence = time.monotonic()
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
                TextColumn("{task.description}", markup=False),  # names may look like Rich's markup
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task_id, self._task = self._bar.add_task(printable(translated(task)), total=total), task
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
        self._status, self._status_time = status, time.monotonic()
        if self._heartbeat is None:
            self._heartbeat = threading.Thread(target=self._repeat_status, daemon=True)
            self._heartbeat.start()
        if status.latest:
            self.say(status.latest)
        if status.remaining and time.monotonic() - self._last_line >= PROGRESS_INTERVAL_S:
            self._last_line = time.monotonic()
            self.say(status.remaining)

    def _repeat_status(self) -> None:
        """Say how far a study is whenever nothing was said for `SILENCE_S`, until the reporter is closed."""
        while not self._closed.wait(max(0.0, self._last_sentence + SILENCE_S - time.monotonic())):
            now = time.monotonic()
            if self._status is not None and now - self._last_sentence >= SILENCE_S:
                since = format_duration(now - self._status_time)
                self.say(_("{status}: no run has ended for {duration}.", status=self._status.title, duration=since))

    def _print_progress(self, task: Message, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last_line >= PROGRESS_INTERVAL_S and done < total:
            self._last_line = self._last_sentence = now
            line = _("{task}: {done} of {total}", task=task, done=done, total=total)
            self._stream.write(f"{printable(translated(line))}\n")
            self._stream.flush()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


def _render_status(status: StudyStatus) -> Group:
    """Return a study's table, with the latest run and the remaining time below it."""
    grid = Table(title=Text(printable(translated(status.title)), style="bold"), title_justify="left")
    for heading in (_("arm"), _("state")):
        grid.add_column(Text(translated(heading)), justify="left")
    headings = [_("seeds"), _("mean val %")]
    headings += [_("epochs to {target:.3g} %", target=100 * status.target)] if status.target else []
    for heading in headings:
        grid.add_column(Text(translated(heading)), justify="right")
    for row in status.rows:
        cells = [printable(translated(row.arm)), printable(translated(row.state)), f"{row.done}/{row.total}"]
        cells += ["" if row.val is None else f"{100 * row.val:.1f}"]
        cells += ["" if row.to_target is None else f"{row.to_target:g}"] if status.target else []
        grid.add_row(*map(Text, cells))
    lines = [line for line in (status.latest, status.remaining) if line]
    return Group(grid, *(Text(printable(translated(line))) for line in lines))
