"""One run's record to one tracker: what was not sent yet, and the result."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

from headstart.config.plan_file import read_plan_file, withholds_test
from headstart.storage.files import write_json
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.trackers import TRACKERS_FILE, TrackerPosition, TrackersFile
from headstart.telemetry.trackers.record import RowReader, kept_bytes, read_result
from headstart.telemetry.trackers.tracker import Row, TrackedRun, Tracker, TrackerRun

BATCH_ROWS = 1000  # lines that are sent at a time


class RunFeed:
    """Sends one record to one tracker, and keeps its position in trackers.json."""

    def __init__(self, folder: Path, run: TrackedRun, name: str, tracker: Tracker, on_progress: Callable[[], None]):
        """Continue where an earlier process stopped, if it sent the same record to the same target.

        Args:
            folder: The folder of the run.
            run: The run.
            name: Name of the tracker.
            tracker: The tracker.
            on_progress: Called after each call of the tracker that returned.
        """
        self.run = run
        self._folder, self._name, self._tracker, self._on_progress = folder, name, tracker, on_progress
        self._opened: TrackerRun | None = None
        self._reader, self._sent = RowReader(folder), 0
        self._role = read_plan_file(folder).study
        self._withheld: RunState | None = None  # state of a run that has ended, and whose result is not sent yet
        self.is_complete = False  # the result was sent
        position = read_positions(folder).get(name)
        if position is not None and (position.run_id, position.target) == (run.id, tracker.target):
            self._sent, self.is_complete = position.lines, position.ended

    def send(self, *, ended: bool) -> None:
        """Send what the record has and the tracker has not.

        Results on test are sent when the study has its verdict: the run is ended without them, and opened again.

        Args:
            ended: No process works on the run; an unfinished run is ended in the tracker too.

        Raises:
            DataError: The record or the result is damaged.
            Exception: Any error of the tracker.
        """
        without_test = withholds_test(self._folder, self._role)
        if self.is_complete or (self._withheld is not None and without_test):
            return
        result = read_result(self._folder)  # before the record, which is complete if there is a result
        end = kept_bytes(self._folder, has_result=result is not None, ended=ended)
        if self._withheld is not None:
            self._reader, self._withheld = RowReader(self._folder), None
        self._send_rows(end, without_test)
        if result is not None and result.test is not None and without_test:
            self._withheld = result.state
            self.close(result.state)
        elif result is not None:
            if self._open():
                self._send_rows(end, without_test)
            self._run().end(result.state, result)
            self._opened, self.is_complete = None, True
            self._save(self._reader.lines, ended=True)
        elif ended:
            self.close()

    def close(self, state: RunState = RunState.UNFINISHED) -> None:
        """End the run in the tracker without its result, if it is open."""
        if self._opened is not None:
            self._opened.end(state, None)
            self._opened = None
            self._on_progress()

    def _send_rows(self, end: int, without_test: bool) -> None:
        """Send the lines up to byte `end` that were not sent; without those with results on test, the last."""
        rows = self._reader.rows(end)
        while batch := list(itertools.islice(rows, BATCH_ROWS)):
            if new := [row for row in batch if row.line > self._sent and not (without_test and _has_test(row))]:
                if self._open():
                    self._send_rows(end, without_test)
                    return
                self._run().log(new)
                self._save(new[-1].line, ended=False)

    def _open(self) -> bool:
        """Open the run in the tracker; return True if lines that were sent are missing there: all are sent again."""
        if self._opened is not None:
            return False
        self._opened = self._tracker.open(self.run)
        self._on_progress()
        if not self._opened.is_new or not self._sent:
            return False
        self._reader, self._sent = RowReader(self._folder), 0
        return True

    def _run(self) -> TrackerRun:
        assert self._opened is not None  # noqa: S101  (opened by the caller)
        return self._opened

    def _save(self, lines: int, *, ended: bool) -> None:
        self._sent = lines
        position = TrackerPosition(run_id=self.run.id, target=self._tracker.target, lines=lines, ended=ended)
        content = TrackersFile(trackers={**read_positions(self._folder), self._name: position})
        write_json(self._folder / TRACKERS_FILE, content.to_json())
        self._on_progress()


def _has_test(row: Row) -> bool:
    return any(tag.endswith("/test") for tag in row.scalars)


def read_positions(folder: Path) -> dict[str, TrackerPosition]:
    """Return the positions in trackers.json by tracker; empty without the file.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / TRACKERS_FILE
    return TrackersFile.read(path).trackers if path.exists() else {}
