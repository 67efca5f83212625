"""A study stopped by a signal reports what is kept and how to resume; a finished study returns its verdict at once."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart import signals
from headstart.analysis.run_records import runs_in
from headstart.analysis.status import read_verdict
from headstart.config.study_file import read_study
from headstart.experiment.conclusion import complete_verdict
from tests.conftest import environment_for_processes

WORDS = [
    "compare", "digits:0-3", "--arm", "scratch", "--arm", "scratch@adam", "--network", "timm:test_resnet",
    "--batch-size", "8", "--precision", "fp32", "--threads", "1", "--epochs", "40st", "--search", "off",
    "--seeds", "3",
]  # fmt: skip
MAIN = (
    "import atexit, sys; from headstart.cli.main import main\n"
    "atexit.register(lambda: print('torch' in sys.modules))\n"
    "main()"
)


def process(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment_for_processes(), **environment},
        start_new_session=True,
    )


def until(study: subprocess.Popen[str], text: str) -> list[str]:
    """Return the lines on stderr up to the first that begins with `text`."""
    assert study.stderr is not None
    lines = []
    for line in study.stderr:
        lines.append(line)
        if line.startswith(text):
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.parametrize(
    ("engine", "number", "send"),
    [
        pytest.param("local", signal.SIGINT, os.kill, id="local-SIGINT", marks=pytest.mark.slow),
        pytest.param("local", signal.SIGTERM, os.kill, id="local-SIGTERM"),
        pytest.param("processes", signal.SIGINT, os.killpg, id="processes-SIGINT-as-from-a-terminal"),
    ],
)
def test_stopped_study_reports_what_is_kept_and_can_be_resumed(engine: str, number, send, tmp_path: Path) -> None:
    environment = {"HEADSTART_CACHE": str(tmp_path / "cache")}
    study = process(*WORDS, "--engine", engine, "--runs", str(tmp_path / "runs"), **environment)
    until(study, "comparison 1/6")
    send(study.pid, number)
    _, err = study.communicate(timeout=120)
    (folder,) = (tmp_path / "runs").iterdir()
    *_, message, hint = err.splitlines()
    assert study.returncode == 128 + number, err
    done = sum(run.done for run in runs_in(folder))
    started = sum(not run.done and (run.folder / "checkpoints").is_dir() for run in runs_in(folder))
    counts = [done, 6, started] if started else [done, 6]
    assert list(map(int, re.findall(r"\d+", message))) == counts, (message, done, started)
    assert re.search(rf"\b{number.name}\b.*\bcomparison\b", message)
    assert f"`headstart resume {folder}`" in hint
    assert complete_verdict(folder, read_study(folder)) is None

    resumed = process("resume", str(folder), "--engine", "local", **environment)
    out, err = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, err
    first, *_ = [line for line in err.splitlines() if line.startswith("comparison ")]
    assert first.startswith(f"comparison {done + 1}/6  ")
    verdict = read_verdict(folder)
    assert out.endswith("True\n") and complete_verdict(folder, read_study(folder)) == verdict

    again = process("resume", str(folder), **environment)
    repeated, err = again.communicate(timeout=120)
    assert len(err.splitlines()) == 1 and str(folder) in err
    assert repeated == out.replace("True\n", "False\n")  # the same verdict, without torch


@pytest.fixture
def sigterm_ends() -> Iterator[None]:
    """Restore the default handler, which another test's Ray may have replaced."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_ends")
def test_sigterm_between_two_runs_is_raised_like_ctrl_c_and_only_there() -> None:
    with pytest.raises(signals.TerminationRequested), signals.raise_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(signals.TerminationRequested), signals.raise_on_sigterm(), signals.SignalGuard() as guard:
        os.kill(os.getpid(), signal.SIGTERM)  # deferred, and raised at the end of the guard
        del guard
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append("own"))
    with signals.raise_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)  # an existing handler still receives it
    signal.signal(signal.SIGTERM, before)
    assert received == ["own"]
