"""What holds on a CPU holds on an accelerator: the same bits again, exact resume, frozen trunks, portable models."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart import compare, evaluate
from headstart.config.resolve import resolve_settings
from headstart.errors import ResourceError, as_headstart_error
from headstart.hardware import devices, precision
from headstart.models import factory
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.storage.files import read_json
from headstart.storage.journal import read_lines
from headstart.telemetry import tensor_stats
from headstart.weights.files import model_weights
from tests.runs.test_resume import outcome
from tests.training.test_batched_heads import (
    test_each_head_is_the_head_trained_alone as _each_head_is_the_head_trained_alone,
)

DEVICE = devices.pick_device("auto")
pytestmark = pytest.mark.skipif(DEVICE.type == "cpu", reason="there is no accelerator")

SMALL: dict[str, Any] = {
    "source": "digits:0-3",
    "device": str(DEVICE),
    "image_size": 32,
    "stem": "imagenet",
    "batch_size": 32,
    "epochs": "3ep",
}
KINDS: dict[str, dict[str, Any]] = {
    "sgd in fp32": {"precision": "fp32"},
    "sgd in bf16": {"precision": "bf16"},
    "adam, mixup, moving average": {"optimizer": "adam", "lr": 1e-3, "mixup": 0.2, "ema": 0.9, "clip": 1.0},
    "adamw, balanced": {"optimizer": "adamw", "lr": 1e-3, "class_weights": "balanced", "jitter": 0.2},
    "rmsprop": {"optimizer": "rmsprop", "lr": 1e-4},
    "head first": {"tuning": "lp-ft", "head_epochs": "1ep"},
    "frozen": {"tuning": "frozen", "augmented_views": 2},
    "without norm": {"norm": "none", "shortcut": "off", "lr": 1e-3},
    "resnet50": {"network": "resnet50"},
}


def begin(runs: Path, until: int | None = None, **wanted: Any) -> Path:
    return runner.start(resolve_settings({**SMALL, **wanted}).plan, runs, NullReporter(), until=until)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_plan_gives_the_same_bits_also_when_stopped_and_gone_on_with(kind: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns where an operation has no repeatable form
        first = begin(tmp_path / "first", **KINDS[kind])
    wanted = outcome(first)
    again = begin(tmp_path / "again", **KINDS[kind])
    assert outcome(again) == wanted
    stopped = begin(tmp_path / "stopped", until=2, **KINDS[kind])
    assert not (stopped / "result.json").exists()
    runner.resume(stopped, NullReporter())
    assert outcome(stopped) == wanted


def test_a_run_begins_as_it_does_on_a_cpu(tmp_path: Path) -> None:
    """The same first values, batches and augmentation; the loss differs by rounding, more so with each step."""
    found = []
    for device in (str(DEVICE), "cpu"):
        folder = begin(tmp_path / device, device=device, precision="fp32", epochs="4st", lr=1e-3)
        found.append([line["loss"] for line in read_lines(folder / "metrics.jsonl") if line["kind"] == "step"])
    assert found[0] == pytest.approx(found[1], abs=1e-3) and found[0][0] == pytest.approx(found[1][0], abs=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_networks_are_bit_equal_to_torchvisions_there(name: str) -> None:
    theirs = torchvision.models.get_model(name, num_classes=5)
    ours = factory.build(name, 5)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    with precision.deterministic(DEVICE, 1):
        for network in (ours, theirs):
            devices.place(network, DEVICE)
        for mode in (True, False):
            logits = [network.train(mode)(images) for network in (ours, theirs)]
            assert torch.equal(*logits)
            gradients = []
            for network, found in zip((ours, theirs), logits, strict=True):
                network.zero_grad()
                F.cross_entropy(found, torch.arange(4, device=DEVICE)).backward()
                gradients.append({k: p.grad for k, p in network.named_parameters()})
            assert all(torch.equal(gradients[0][k], gradients[1][k]) for k in gradients[1])


@pytest.mark.parametrize("tuning", ["frozen", "lp-ft", "stages:1"])
def test_frozen_means_frozen_there(tuning: str, tmp_path: Path) -> None:
    start = begin(tmp_path / "start", source="digits:6-9", epochs="1ep")
    folder = begin(tmp_path, start=f"run:{start}", tuning=tuning, head_epochs="1ep", epochs="2ep")
    proofs = [line for line in read_lines(folder / "metrics.jsonl") if line["kind"] == "proof"]
    assert len(proofs) == 1
    before, after = (model_weights(path / "model").state for path in (start, folder))
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    allowed = {"frozen": ("fc",), "stages:1": ("layer4", "fc"), "lp-ft": ("",)}[tuning]
    assert moved and all(name.startswith(allowed) for name in moved)


def test_a_kept_trunk_trains_the_head_as_the_network_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"tuning": "frozen", "augmented_views": 2, "precision": "fp32"}
    kept = begin(tmp_path / "kept", **kind)
    monkeypatch.setattr("headstart.training.feature_cache.LARGEST", 0)
    anew = begin(tmp_path / "anew", **kind)
    first, second = (model_weights(folder / "model").state for folder in (kept, anew))
    for key, tensor in second.items():
        assert torch.allclose(first[key], tensor, atol=1e-4, rtol=1e-4), key


@pytest.mark.parametrize("head", ["linear", "mlp:8"])
def test_many_heads_are_the_heads_trained_alone_there(
    head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = f"run:{begin(tmp_path / 'start')}"
    monkeypatch.setattr(
        "tests.training.test_batched_heads.FROZEN",
        {**SMALL, "source": "digits:4-7", "tuning": "frozen", "augmented_views": 2},
    )
    _each_head_is_the_head_trained_alone(head, start, tmp_path, monkeypatch)


@settings(deadline=None)  # the first example waits for the kernel
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200))
def test_histograms_count_the_same_there(values: list[float]) -> None:
    tensor = torch.tensor(values)
    here, there = tensor_stats.histogram(tensor), tensor_stats.histogram(tensor.to(DEVICE))
    assert (here["low"], here["high"], here["n"]) == (there["low"], there["high"], there["n"])
    assert sum(there["counts"]) == len(values)
    assert there["sum"] == pytest.approx(here["sum"], rel=1e-4, abs=1e-2 * max(map(abs, values), default=0))


def test_a_model_from_there_is_used_on_a_cpu(tmp_path: Path) -> None:
    """Trained in bf16 there, judged there in fp32; here fp32 gives the same logits to rounding."""
    folder = begin(tmp_path, precision="bf16")
    there = np.load(folder / "artifacts" / "predictions.npz")
    theirs = torchvision.models.resnet18(num_classes=4)
    theirs.load_state_dict(model_weights(folder / "model").state)
    judged = evaluate(folder, "digits:0-3", split="test")
    result = read_json(folder / "result.json")["test"]
    assert judged["n"] == result["n"] and judged["loss"] == pytest.approx(result["loss"], abs=1e-3)
    assert judged["accuracy"] == pytest.approx(result["accuracy"], abs=0.01)
    assert all(np.isfinite(there[name]).all() for name in there.files if "logits" in name)


def test_a_study_there_ends_with_a_verdict(tmp_path: Path) -> None:
    start = begin(tmp_path / "start", source="digits:6-9")
    asked = {"seeds": 3, "epochs": "2ep", "grid": [0.05, 0.01], "image_size": 32, "stem": "imagenet"}
    arms = ["scratch", f"run:{start}", f"run:{start}+frozen", f"run:{start}+lp-ft"]
    study = compare("digits:0-3", arms=arms, runs=tmp_path, device=str(DEVICE), quiet=True, **asked)
    assert study.verdict["sentences"]
    assert len(study.frame.groupby(["arm", "seed"])) >= 12


@pytest.mark.skipif(DEVICE.type != "cuda", reason="torch limits the memory of CUDA only")
def test_what_does_not_fit_is_told_in_two_sentences(tmp_path: Path) -> None:
    large = {"image_size": 512, "batch_size": 256, "precision": "fp32"}
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            begin(tmp_path, **large)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    error = as_headstart_error(caught.value)
    assert isinstance(error, ResourceError) and "--batch-size" in error.hint


def test_the_loss_of_an_epoch_is_that_of_its_steps(tmp_path: Path) -> None:
    folder = begin(tmp_path, epochs="1ep")
    lines = list(read_lines(folder / "metrics.jsonl"))
    steps = [line["loss"] for line in lines if line["kind"] == "step"]
    (epoch,) = [line for line in lines if line["kind"] == "epoch"]
    assert epoch["train"]["loss"] == pytest.approx(np.mean(steps))
    assert 0 < epoch["speed"]["mfu"] < 1
