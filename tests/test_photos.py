"""Compare optimizers, learning rates and initial weights on the images and weights in HEADSTART_TEST_DATA.

They are slow (`make slow`): an epoch of 1,481 images at 64 px takes about ten seconds on two cores.
"""

from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import FreezeCheckLine

pytestmark = [pytest.mark.photos, pytest.mark.slow]


def train(clothing: Path, runs: Path, **settings: Any) -> headstart.Run:
    """Train on the clothing images at 64 px with seed 0."""
    return headstart.train(clothing / "lab4.csv", runs=runs, quiet=True, image_size=64, seed=0, **settings)


def epochs_to_target(run: headstart.Run) -> int:
    """Return the epochs until the val accuracy reached 75 %; 99 if it did not."""
    epochs = run.history.loc[run.history["val_accuracy"] >= 0.75, "epoch"]
    return int(epochs.min()) if len(epochs) else 99


def test_pretrained_weights_reach_75_percent_before_scratch(
    clothing: Path, cifar_weights: Path, tmp_path: Path
) -> None:
    settings = {"optimizer": "adam", "lr": 0.001, "epochs": "10ep"}
    scratch = train(clothing, tmp_path, start="scratch", **settings)
    weights = train(clothing, tmp_path, start=f"file:{cifar_weights}", optimizer="sgd", lr=0.01, epochs="5ep")
    assert epochs_to_target(weights) < epochs_to_target(scratch) <= 10
    assert scratch.test is not None and scratch.test.n == 205


@pytest.mark.parametrize(
    "settings", [{"tuning": "frozen"}, {"tuning": "lp-ft"}, {"tuning": "stages:1"}, {"head": "mlp:256"}]
)
def test_fine_tuning_modes_train_and_verify_frozen_tensors(
    settings: dict[str, str], clothing: Path, cifar_weights: Path, tmp_path: Path
) -> None:
    run = train(clothing, tmp_path, start=f"file:{cifar_weights}", lr=0.01, epochs="2ep", **settings)
    assert run.state == "finished" and run.history["val_accuracy"].max() > 0.3
    checks = [line for line in read_lines(run.folder / "metrics.jsonl") if isinstance(line, FreezeCheckLine)]
    assert bool(checks) == ("tuning" in settings)
    assert all(check.before == check.after != "" for check in checks)
