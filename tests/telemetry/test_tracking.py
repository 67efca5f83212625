"""The process that sends records: it sends the rest at the end, reports faults, and stops no run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.i18n import Value
from headstart.storage.locks import locked
from headstart.telemetry.trackers import tracking
from headstart.telemetry.trackers.registry import TRACKERS, TrackerSpec
from headstart.telemetry.trackers.tracker import Row
from headstart.telemetry.trackers.tracking import tracked
from headstart.telemetry.trackers.worker import LOCK_FILE
from tests.conftest import environment_for_processes
from tests.messages import fields_of
from tests.short_runs import command
from tests.short_runs import finish as finish_process
from tests.telemetry.test_trackers import finish, new_run, record_rows, without_nan, write_checkpoint
from tests.training.test_setup import RecordingReporter

MODULE, VARIABLE, FAILS = "tests.file_tracker", "FILE_TRACKER", "fails"  # not imported: it would add its row here too


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the tracker `file` known to this process and its children, and return the folder of its files."""
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.setitem(TRACKERS, "file", TrackerSpec("File", f"{MODULE}:FileTracker"))
    monkeypatch.setenv("HEADSTART_PLUGINS", MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


def faults(reporter: RecordingReporter) -> list[dict[str, Value]]:
    """Return the values of the sentences that report a fault."""
    return [fields_of(sentence) for sentence in reporter.sentences if "tracker" in fields_of(sentence)]


def file_rows(files: Path, run: Path) -> list[Row]:
    return [Row(*json.loads(line)) for line in (files / f"{run.name}.jsonl").read_text().splitlines()]


def test_rest_of_a_record_is_sent_at_the_end(tmp_path: Path, files: Path) -> None:
    run, reporter = new_run(tmp_path), RecordingReporter()
    with tracked(run, ["file"], reporter):
        finish(run)
    assert without_nan(file_rows(files, run)) == record_rows(run) and faults(reporter) == []


def test_error_of_the_run_passes_and_the_record_is_sent(tmp_path: Path, files: Path) -> None:
    run = new_run(tmp_path)
    write_checkpoint(run, 3, (run / "metrics.jsonl").stat().st_size)
    with pytest.raises(ZeroDivisionError), tracked(run, ["file"], RecordingReporter()):
        raise ZeroDivisionError
    assert without_nan(file_rows(files, run)) == record_rows(run)


def test_failing_tracker_names_the_command_that_sends_the_rest(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, reporter = new_run(tmp_path), RecordingReporter()
    monkeypatch.setenv(VARIABLE, FAILS)
    with tracked(run, ["file"], reporter):
        finish(run)
    (values,) = faults(reporter)
    assert "ConnectionError" in str(values["reason"]) and values["folder"] == run
    monkeypatch.setenv(VARIABLE, str(files))
    assert values["name"] == "file"
    code, _, err = finish_process(command("rebuild", run, "--log", "file"))
    assert code == 0, err
    assert without_nan(file_rows(files, run)) == record_rows(run)


def test_killed_process_is_reported(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, reporter = new_run(tmp_path), RecordingReporter()
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*words, **options) -> subprocess.Popen[bytes]:
        started.append(popen(*words, **options))
        return started[-1]

    monkeypatch.setattr(tracking.subprocess, "Popen", start)
    with tracked(run, ["file"], reporter):
        started[0].kill()
    (values,) = faults(reporter)
    assert values["code"] == -signal.SIGKILL and values["folder"] == run


def test_process_that_cannot_start_is_reported(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = RecordingReporter()
    monkeypatch.setattr(tracking.sys, "executable", str(tmp_path / "missing"))
    with tracked(tmp_path, ["file"], reporter):
        pass
    (values,) = faults(reporter)
    assert str(tmp_path / "missing") in str(values["reason"])


def test_stalled_process_gives_up(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, reporter = new_run(tmp_path), RecordingReporter()
    finish(run)
    faster = "from headstart.telemetry.trackers import worker; worker.MAX_STALL_S = 0.5; worker.main()"
    monkeypatch.setattr(tracking, "_COMMAND", f"{tracking._COMMAND.rpartition('from')[0]}{faster}")
    with locked(run, LOCK_FILE), tracked(run, ["file"], reporter):  # another process still sends
        pass
    (values,) = faults(reporter)
    assert "0 s" in str(values["reason"]) and not list(files.iterdir())


def test_without_trackers_no_process_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking.sys, "executable", str(tmp_path / "missing"))
    reporter = RecordingReporter()
    with tracked(tmp_path, [], reporter):
        pass
    assert reporter.sentences == []


def test_process_imports_no_torch() -> None:
    code = "import headstart.telemetry.trackers.worker, sys; sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], env=environment_for_processes(), check=False)
    assert result.returncode == 0
