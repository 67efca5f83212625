"""The program of the process that sends records to trackers.

It reads records and never writes to them. A tracker whose call fails is switched off; the others go on. When stdin is
closed, because the training has ended or its process has died, the rest is sent and the process ends. Without progress
for some time it gives up: the rest can be sent later from the record.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pydantic import Field

from headstart.config.plugins import load_plugins
from headstart.errors import DataError, HeadstartError
from headstart.factories import load_factory
from headstart.i18n import _
from headstart.storage.locks import locked
from headstart.storage.schemas.schema import Schema
from headstart.telemetry.trackers.feed import RunFeed
from headstart.telemetry.trackers.record import begin_time, run_folders, tracked_run
from headstart.telemetry.trackers.registry import TRACKERS
from headstart.telemetry.trackers.tracker import Tracker

POLL_S = 2.0  # interval at which records are read
MAX_STALL_S = 60.0  # time without progress, after the training has ended, after which the process gives up
MAX_REASON = 300  # characters of an error
LOCK_FILE = ".trackers.lock"  # in the folder: the process of a killed training may still send what it has
LOCK_TIMEOUT_S = 2 * MAX_STALL_S
NICENESS = 10  # the training has precedence


class TrackRequest(Schema):
    """What the process does."""

    folder: Path = Field(description="folder of a run, of a study, or of runs")
    trackers: tuple[str, ...] = Field(description="names of trackers")


class TrackerNotice(Schema):
    """A fault, as one line on stdout."""

    tracker: str = Field(description="name of the tracker that is switched off; empty if a run was skipped")
    reason: str = Field(description="what failed")


class TrackerWorker:
    """Sends the records below a folder to trackers."""

    def __init__(self, folder: Path, notices: IO[bytes]) -> None:
        """Start without trackers.

        Args:
            folder: Folder of a run, of a study, or of runs.
            notices: Receives faults, one JSON line each.
        """
        self._folder, self._notices = folder, notices
        self._trackers: dict[str, Tracker] = {}
        self._feeds: dict[Path, dict[str, RunFeed]] = {}  # by folder and tracker
        self._begins: dict[Path, float] = {}  # when the record of a folder began
        self._skipped: set[Path] = set()  # runs with damaged files
        self.progress_at = time.monotonic()

    def make_trackers(self, names: Sequence[str]) -> None:
        """Make the trackers, which imports their packages; they send no usage data unless the user asks for it."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        for name in names:
            try:
                self._trackers[name] = load_factory(TRACKERS[name].factory)()
            except Exception as error:  # a tracker may raise anything
                self._report(name, error)

    def send_all(self, *, ended: bool) -> None:
        """Send what the records have and the trackers have not; see `RunFeed.send`."""
        for folder in run_folders(self._folder):
            if folder in self._skipped:
                continue
            try:
                self._send_run(folder, ended=ended)
            except (DataError, OSError) as error:
                self._skipped.add(folder)
                self._report("", error)

    def _send_run(self, folder: Path, *, ended: bool) -> None:
        feeds = self._feeds.setdefault(folder, {})
        if all(name in feeds and feeds[name].is_complete for name in self._trackers):
            return
        if (begin := begin_time(folder)) is None:
            return
        is_new, self._begins[folder] = begin != self._begins.get(folder), begin
        run = tracked_run(folder, begin) if is_new else None
        for name, tracker in list(self._trackers.items()):
            try:
                if run is not None:
                    if name in feeds:  # the run has started again
                        feeds[name].close()
                    feeds[name] = RunFeed(folder, run, name, tracker, self._note_progress)
                feeds[name].send(ended=ended)
            except DataError:
                raise
            except Exception as error:  # a tracker may raise anything
                if not folder.is_dir():  # removed while it was read: not the tracker's fault
                    raise
                del self._trackers[name]
                self._report(name, error)

    def _note_progress(self) -> None:
        self.progress_at = time.monotonic()

    def _report(self, tracker: str, error: Exception) -> None:
        text = " ".join(str(error).split())
        reason = text if isinstance(error, DataError) else f"{type(error).__name__}: {text}"
        self.notify(TrackerNotice(tracker=tracker, reason=reason[:MAX_REASON]))

    def notify(self, notice: TrackerNotice) -> None:
        """Write one notice."""
        self._notices.write(notice.model_dump_json().encode() + b"\n")
        self._notices.flush()

    def give_up(self, reason: str) -> None:
        """Report that nothing more is sent to the trackers that are still on."""
        for name in list(self._trackers):
            self.notify(TrackerNotice(tracker=name, reason=reason))


def main() -> None:
    """Send records until stdin is closed, and then the rest."""
    request = TrackRequest.model_validate_json(sys.argv[2])
    notices = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of a package must not be mistaken for a notice
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    os.nice(NICENESS)
    load_plugins()
    worker = TrackerWorker(request.folder, notices)
    threading.Thread(target=_watch, args=(worker, ended), daemon=True).start()
    worker.make_trackers(request.trackers)
    try:
        with locked(request.folder, LOCK_FILE, LOCK_TIMEOUT_S):
            while not ended.wait(POLL_S):
                worker.send_all(ended=False)
            worker.send_all(ended=True)
    except HeadstartError as error:
        worker.give_up(error.message)


def _wait_for_end(ended: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    ended.set()


def _watch(worker: TrackerWorker, ended: threading.Event) -> None:
    """End the process if nothing is sent for a long time after the training has ended."""
    ended.wait()
    ended_at = time.monotonic()
    while time.monotonic() - max(ended_at, worker.progress_at) < MAX_STALL_S:
        time.sleep(1)
    worker.give_up(_("no answer in {seconds:.0f} s", seconds=MAX_STALL_S))
    os._exit(1)
