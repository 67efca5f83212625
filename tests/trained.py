"""A small real run that tests share: the published ResNet-18, four digits at 32 px, trained in bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headstart.config.resolve import resolve_settings
from headstart.reporter import NullReporter
from headstart.runs import runner
from tests.short_runs import SGD

SETTINGS: dict[str, Any] = {
    "source": "digits:0-3",
    "image_size": 32,
    "stem": "imagenet",
    "batch_size": 32,
    "epochs": "2ep",
    "threads": 1,
    "precision": "bf16",
    **SGD,
}
_runs: dict[str, Path] = {}


def train(runs: Path, **settings: Any) -> Path:
    """Train a run with these settings and return its folder."""
    return runner.run_new(resolve_settings(settings).plan, runs, NullReporter())


def trained(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the shared run, which is trained on first use."""
    if "run" not in _runs:
        _runs["run"] = train(factory.mktemp("trained"), **SETTINGS)
    return _runs["run"]
