"""A study that a signal stops says what is kept and how to go on; asked again when it is done, it says so at once."""

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
from headstart.analysis.status import ended
from headstart.config.study_file import read_study
from headstart.storage.files import read_json
from tests.conftest import environment_for_processes

WORDS = [
    "compare", "digits:0-3", "--arm", "scratch", "--arm", "scratch@adam", "--network", "timm:test_resnet",
    "--batch-size", "8", "--precision", "fp32", "--threads", "1", "--epochs", "120st", "--search", "off",
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
    """The lines on stderr up to the one that begins with `text`."""
    assert study.stderr is not None
    said = []
    for line in study.stderr:
        said.append(line)
        if line.startswith(text):
            return said
    raise AssertionError("".join(said))


@pytest.mark.parametrize(
    ("engine", "number", "to"),
    [("local", signal.SIGINT, os.kill), ("local", signal.SIGTERM, os.kill), ("processes", signal.SIGINT, os.killpg)],
    ids=["here-SIGINT", "here-SIGTERM", "lanes-SIGINT-as-from-a-terminal"],
)
def test_a_signal_tells_what_is_kept_and_the_study_goes_on(engine: str, number, to, tmp_path: Path) -> None:
    place = {"HEADSTART_CACHE": str(tmp_path / "cache")}
    study = process(*WORDS, "--engine", engine, "--runs", str(tmp_path / "runs"), **place)
    until(study, "comparison 1/6")
    to(study.pid, number)
    _, err = study.communicate(timeout=120)
    (folder,) = (tmp_path / "runs").iterdir()
    *_, what, hint = err.splitlines()
    assert study.returncode == 128 + number, err
    done = sum(run.done for run in runs_in(folder))
    begun = sum(not run.done and (run.folder / "checkpoints").is_dir() for run in runs_in(folder))
    verb = "is" if done == 1 else "are"
    told = rf"Stopped by {number.name} in its comparison: {done} of 6 runs {verb} done and kept, as is all before"
    match = re.fullmatch(
        rf"{told}(?:, and (\d) that (?:is|are) begun goe?s? on from (?:its|their) last checkpoints?)?\.", what
    )
    assert match and int(match[1] or 0) == begun, (what, done, begun)
    assert hint == f"Go on with `headstart resume {folder}`."
    assert ended(folder, read_study(folder)) is None

    on = process("resume", str(folder), "--engine", "local", **place)
    out, err = on.communicate(timeout=240)
    assert on.returncode == 0, err
    first, *_ = [line for line in err.splitlines() if line.startswith("comparison ")]
    assert first.startswith(f"comparison {done + 1}/6  ")
    verdict = read_json(folder / "verdict.json")
    assert out.endswith("True\n") and ended(folder, read_study(folder)) == verdict

    again = process("resume", str(folder), **place)
    repeated, err = again.communicate(timeout=120)
    assert err == f"The study {folder} is finished: nothing is done again, and this is its verdict.\n"
    assert repeated == out.replace("True\n", "False\n")  # the same verdict, without torch


@pytest.fixture
def sigterm_ends() -> Iterator[None]:
    """As in a fresh process, whatever another test's Ray has set."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_ends")
def test_sigterm_between_two_runs_is_raised_as_ctrl_c_is_and_only_there() -> None:
    with pytest.raises(signals.TerminationRequested), signals.raised():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(signals.TerminationRequested), signals.raised(), signals.SignalGuard() as guard:
        os.kill(os.getpid(), signal.SIGTERM)  # noted, and raised when nobody has asked for it
        del guard
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("own"))
    with signals.raised():
        os.kill(os.getpid(), signal.SIGTERM)  # who hears it already goes on hearing it
    signal.signal(signal.SIGTERM, before)
    assert heard == ["own"]
