"""Small real runs for the tests: digits at 16 px, in this process or in one that can be killed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from headstart.config.resolve import resolve_settings
from headstart.hardware import calibration, precision
from headstart.reporter import NullReporter
from headstart.storage.journal import read_lines, without_clock
from headstart.training import setup
from headstart.training.setup import TrainingSetup
from tests.conftest import environment_for_processes

SMALL = {"source": "digits:0-3", "batch_size": 8, "precision": "fp32", "threads": 1, "epochs": "60st"}


def prepared(**settings: Any) -> TrainingSetup:
    """Everything before the first step of a small run."""
    draft = calibration.resolve_machine(resolve_settings({**SMALL, **settings}).plan)
    with precision.deterministic(torch.device("cpu"), draft.machine.threads):
        return setup.prepare(draft, NullReporter())


def command(*words: str | Path) -> subprocess.Popen[str]:
    """`headstart WORDS…` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from headstart.cli.main import main; main()", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_for_processes(),
    )


def finish(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def flags(**settings: Any) -> list[str]:
    """Settings as the command line takes them; the source first."""
    given = {**SMALL, **settings}
    source = given.pop("source")
    words = [source]
    for name, value in given.items():
        flag = "--" + name.replace("_", "-")
        words += [flag] if value is True else [flag, str(value)]
    return words


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The record of a run less what depends on the clock."""
    return [without_clock(line) for line in read_lines(folder / "metrics.jsonl")]
