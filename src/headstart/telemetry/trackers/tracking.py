"""Send the records of a folder to trackers while a run or a study is in progress.

A process of its own reads the records (`worker`), so that a tracker cannot change or stop a training: its package is
not imported here, and its errors become sentences.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headstart.i18n import Message, _, join
from headstart.reporter import Reporter
from headstart.telemetry.trackers.registry import TRACKERS
from headstart.telemetry.trackers.worker import TrackerNotice, TrackRequest

QUIET_END_S = 3.0  # time to send the rest before a sentence says that it goes on
_COMMAND = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from headstart.telemetry.trackers.worker import main; main()"
)


@contextmanager
def tracked(folder: Path, trackers: Sequence[str], reporter: Reporter) -> Iterator[None]:
    """Send the records below a folder to trackers within the block, and the rest at its end.

    Args:
        folder: Folder of a run, of a study, or of runs.
        trackers: Names from `registry.require_trackers`; without any, nothing is done.
        reporter: Receives a sentence for each tracker that fails.
    """
    if not trackers:
        yield
        return
    request = TrackRequest(folder=folder.absolute(), trackers=tuple(trackers))
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and a constant command
            [sys.executable, "-P", "-c", _COMMAND, json.dumps(sys.path), request.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the training; this process ends with its stdin
        )
    except OSError as error:
        _report_failures(trackers, str(error), folder, reporter)
        yield
        return
    reader = threading.Thread(target=_report, args=(process, request, reporter), daemon=True)
    reader.start()
    try:
        yield
    finally:
        _finish(process, reader, request, reporter)


def _finish(
    process: subprocess.Popen[bytes], reader: threading.Thread, request: TrackRequest, reporter: Reporter
) -> None:
    """Let the process send the rest, and wait for it; Ctrl-C ends it."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101
    try:
        process.stdin.close()
        reader.join(QUIET_END_S)
        if reader.is_alive():
            reporter.say(_("Sending the rest to {trackers}; Ctrl-C stops it.", trackers=_titles(request.trackers)))
        process.wait()
        reader.join()
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def _report(process: subprocess.Popen[bytes], request: TrackRequest, reporter: Reporter) -> None:
    """Say what each notice of the process says, and that it has crashed or was killed."""
    assert process.stdout is not None  # noqa: S101
    has_failed = False
    for line in process.stdout:
        if line.endswith(b"\n"):
            notice = TrackerNotice.model_validate_json(line)
            reason = notice.reason.rstrip(".")
            if notice.tracker:
                has_failed = True
                _report_failures([notice.tracker], reason, request.folder, reporter)
            else:
                reporter.say(_("A run is not sent to trackers ({reason}).", reason=reason))
    if (code := process.wait()) and not has_failed:
        _report_failures(request.trackers, _("exit code {code}", code=code), request.folder, reporter)


def _titles(names: Sequence[str]) -> Message:
    return join([TRACKERS[name].title for name in names], ", ")


def _report_failures(names: Sequence[str], reason: str, folder: Path, reporter: Reporter) -> None:
    """Say which trackers failed, and for each the command that sends the rest later."""
    for name in names:
        failure = _("Nothing more is sent to {tracker} ({reason}).", tracker=TRACKERS[name].title, reason=reason)
        hint = _("Send the rest with `headstart rebuild {folder:shell} --log {name:shell}`.", folder=folder, name=name)
        reporter.say(join([failure, hint]))
