"""Streams that are closed, full or without a reader do not stop the work, and no output gets into files of a run."""

import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headstart.console import ConsoleReporter
from headstart.i18n import verbatim
from headstart.streams import TolerantStream, is_terminal, occupy_descriptors
from tests.conftest import environment_for_processes
from tests.moved_photos import SETTINGS, write_photos
from tests.short_runs import flags


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `headstart COMMAND` in a shell, which sets the streams up, with more variables in the environment."""
    environment = {name: value for name, value in environment_for_processes().items() if name != "COLUMNS"}
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m headstart {command}"],
        cwd=folder, capture_output=True, text=True, env=environment | variables, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("streams", "reported"),
    [(">&-", False), ("2>&-", False), ("<&- >&- 2>&-", False), ("> /dev/full", True), ("2> /dev/full", False)],
)
@pytest.mark.parametrize(("arguments", "code"), [("--version", 0), ("train --help", 0), ("train nothing", 3)])
def test_exit_code_is_that_of_the_work(arguments: str, code: int, streams: str, reported: bool, tmp_path: Path) -> None:
    process = shell(f"{arguments} {streams}", tmp_path)
    is_lost = reported and code == 0  # what is printed is the result
    assert process.returncode == (5 if is_lost else code)
    assert ("No space left" in process.stderr) == is_lost


@pytest.mark.parametrize("columns", ["0", "-5", "1", "99999999", "9" * 5000, "wide"])
def test_width_that_no_terminal_has_is_ignored(columns: str, tmp_path: Path) -> None:
    usual = shell("--help", tmp_path)
    assert usual.returncode == 0 and usual.stdout
    assert shell("--help", tmp_path, COLUMNS=columns).stdout == usual.stdout


def test_reader_that_has_gone(tmp_path: Path) -> None:
    process = shell('train --help-all | head -1; echo "${PIPESTATUS[0]}" >&2', tmp_path)
    assert process.stderr == "0\n"


CLOSED = """
import os, sys
for number in range(3):
    os.close(number)
sys.stdin = sys.stdout = sys.stderr = None
import headstart
run = headstart.train("photos", runs="runs", **{settings})
os.write(1, b"printed by a library")
headstart.predict(run, "photos/cat/0.png")
run.report()
"""


def test_run_of_a_process_without_streams(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    code = CLOSED.replace("{settings}", repr(SETTINGS))
    environment = environment_for_processes()
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False).returncode == 0
    (run,) = (folder for folder in (tmp_path / "runs").iterdir() if folder.is_dir())
    assert json.loads((run / "result.json").read_text())["state"] == "finished"
    assert not [path for path in run.rglob("*") if path.is_file() and b"printed by a library" in path.read_bytes()]
    words = " ".join(flags(**{**SETTINGS, "source": "photos"}))
    assert shell(f"train {words} --runs more <&- >&- 2>&-", tmp_path).returncode == 0
    (run,) = (tmp_path / "more").iterdir()
    assert [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_closed_descriptors_are_opened_for_child_processes() -> None:
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.closerange(0, 3)
        occupy_descriptors()
        inherited = [os.get_inheritable(number) and os.fstat(number).st_rdev for number in range(3)]
        os.write(write, json.dumps(inherited).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert json.loads(os.read(read, 1000)) == [os.stat(os.devnull).st_rdev] * 3  # noqa: PTH116
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed")])
def test_reporter_goes_on_when_stderr_fails(error: Exception, monkeypatch) -> None:
    class Failing:
        encoding = "utf-8"
        writes = 0

        def write(self, _text: str) -> int:
            self.writes += 1
            raise error

        def flush(self) -> None:
            pass

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stderr", stream := Failing())
    with ConsoleReporter() as reporter:
        for _ in range(3):
            reporter.say(verbatim("text"))
    assert stream.writes == 1


@pytest.mark.parametrize("make", [io.StringIO, io.BytesIO, lambda: io.TextIOWrapper(io.BytesIO())])
def test_reporter_goes_on_when_python_code_has_closed_stderr(make, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := make())
    stream.close()
    with ConsoleReporter(times=True) as reporter:
        reporter.say(verbatim("text"))
        reporter.progress(verbatim("decode"), 1, 2)
    assert is_terminal(stream) is TolerantStream(stream).isatty() is False


def test_reporter_goes_on_when_python_code_closes_stderr_later(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.TextIOWrapper(io.BytesIO()))
    with ConsoleReporter() as reporter:
        stream.close()
        reporter.say(verbatim("text"))
    assert TolerantStream(stream).write("text") == 4


FULL_AND_EMPTIED = """
import os, sys
from headstart.streams import lost_output, replace_streams
kept, full = os.dup(1), os.open("/dev/full", os.O_WRONLY)
replace_streams()
print("first", flush=True)
for number in (full, kept):
    os.dup2(number, 1)
    print("later", flush=True)
print(lost_output().values["reason"], file=sys.stderr)
"""


def test_nothing_is_written_behind_lost_output() -> None:
    process = subprocess.run(
        [sys.executable, "-c", FULL_AND_EMPTIED], capture_output=True, text=True, check=True,
        env=environment_for_processes(),
    )  # fmt: skip
    assert (process.stdout, process.stderr) == ("first\n", "No space left on device\n")


@pytest.mark.parametrize("stream", [None])
def test_missing_stream_accepts_everything(stream: None) -> None:
    tolerant = TolerantStream(stream)
    thread = threading.Thread(target=lambda: print("text", file=tolerant, flush=True))
    thread.start()
    thread.join()
    assert (tolerant.write("text"), tolerant.isatty(), tolerant.encoding) == (4, False, "utf-8")
