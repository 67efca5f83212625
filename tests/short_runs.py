"""Small real runs for the tests: a small network on digits, in this process or in a child process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from headstart.config.resolve import resolve_settings
from headstart.hardware import calibration, precision
from headstart.reporter import NullReporter
from headstart.storage.journal import read_lines
from headstart.training import setup
from headstart.training.setup import TrainingSetup
from tests.conftest import environment_for_processes

CLOCK_KEYS = {"time", "speed"}  # keys of a record line with values that depend on the clock
SGD = {"optimizer": "sgd", "schedule": "cosine", "head_init": "torch", "jitter": 0.0}
SMALL = {
    **SGD, "source": "digits:0-3", "network": "resnet20", "batch_size": 8, "precision": "fp32", "threads": 1,
    "epochs": "60st",
}  # fmt: skip


def prepared(**settings: Any) -> TrainingSetup:
    """Return the training setup of a small run."""
    draft = calibration.resolve_machine(resolve_settings({**SMALL, **settings}).plan)
    with precision.deterministic(torch.device("cpu"), draft.machine.threads):
        return setup.prepare(draft, NullReporter())


def command(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start `headstart ARGUMENTS...` in a child process."""
    return subprocess.Popen(
        [sys.executable, "-c", "from headstart.cli.main import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_for_processes(),
    )


def finish(process: subprocess.Popen[str], timeout: float = 120) -> tuple[int, str, str]:
    """Wait for a process, and return its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def flags(**settings: Any) -> list[str]:
    """Return settings as command-line arguments, the source first."""
    values = {**SMALL, **settings}
    source = values.pop("source")
    arguments = [source]
    for name, value in values.items():
        flag = "--" + name.replace("_", "-")
        arguments += [flag] if value is True else [flag, str(value)]
    return arguments


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the record of a run without the values that depend on the clock."""
    return [
        {key: value for key, value in line.to_json().items() if key not in CLOCK_KEYS}
        for line in read_lines(folder / "metrics.jsonl")
    ]
