"""On the real photos and weights beside the checkout, where they are: what the lab exercise asks for, and more.

They are slow (`make slow`): an epoch of 1,481 photos at 64 px takes about ten seconds on two cores.
"""

from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.storage.journal import read_lines

pytestmark = [pytest.mark.photos, pytest.mark.slow]


def trained(clothing: Path, runs: Path, **settings: Any) -> headstart.Run:
    return headstart.train(clothing / "lab4.csv", runs=runs, quiet=True, image_size=64, seed=0, **settings)


def passed_after(run: headstart.Run) -> int:
    """Epochs until val first passed 75 %; 99 where it never did."""
    epochs = run.history.loc[run.history["val_accuracy"] >= 0.75, "epoch"]
    return int(epochs.min()) if len(epochs) else 99


def test_scratch_passes_75_per_cent_and_pretrained_weights_are_sooner(
    clothing: Path, cifar_weights: Path, tmp_path: Path
) -> None:
    how = {"optimizer": "adam", "lr": 0.001, "epochs": "10ep"}
    scratch = trained(clothing, tmp_path, start="scratch", **how)
    weights = trained(clothing, tmp_path, start=f"file:{cifar_weights}", optimizer="sgd", lr=0.01, epochs="5ep")
    assert passed_after(weights) < passed_after(scratch) <= 10
    assert scratch.test is not None and scratch.test["n"] == 205


@pytest.mark.parametrize(
    "how", [{"tuning": "frozen"}, {"tuning": "lp-ft"}, {"tuning": "stages:1"}, {"head": "mlp:256"}]
)
def test_every_tuning_trains_and_proves_what_it_froze(
    how: dict[str, str], clothing: Path, cifar_weights: Path, tmp_path: Path
) -> None:
    made = trained(clothing, tmp_path, start=f"file:{cifar_weights}", lr=0.01, epochs="2ep", **how)
    assert made.state == "finished" and made.history["val_accuracy"].max() > 0.3
    proofs = [line for line in read_lines(made.folder / "metrics.jsonl") if line["kind"] == "proof"]
    assert bool(proofs) == ("tuning" in how)
    assert all(proof["before"] == proof["after"] != "" for proof in proofs)
