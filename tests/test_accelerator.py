"""Accelerators meet the same requirements as the CPU: determinism, exact resume, frozen backbones, portable models."""

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
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import EpochLine, FreezeCheckLine, StepLine
from headstart.telemetry import tensor_stats
from headstart.weights.model_weights import model_weights
from tests.files import read_json
from tests.runs.test_resume import outcome
from tests.training.test_batched_heads import (
    test_each_head_equals_the_head_trained_alone as _stacked_head_equals_single_head,
)

DEVICE = devices.pick_device("auto")
pytestmark = pytest.mark.skipif(DEVICE.type == "cpu", reason="no accelerator is available")

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


def train(runs: Path, until: int | None = None, **settings: Any) -> Path:
    return runner.run_new(resolve_settings({**SMALL, **settings}).plan, runs, NullReporter(), until=until)


@pytest.mark.parametrize("kind", KINDS)
def test_run_is_deterministic_and_resume_is_bit_identical(kind: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns about operations without a deterministic form
        first = train(tmp_path / "first", **KINDS[kind])
    expected = outcome(first)
    again = train(tmp_path / "again", **KINDS[kind])
    assert outcome(again) == expected
    stopped = train(tmp_path / "stopped", until=2, **KINDS[kind])
    assert not (stopped / "result.json").exists()
    runner.resume(stopped, NullReporter())
    assert outcome(stopped) == expected


def test_first_losses_equal_those_on_a_cpu(tmp_path: Path) -> None:
    """Initial weights, batches and augmentation are equal; rounding differences of the loss grow with each step."""
    losses = []
    for device in (str(DEVICE), "cpu"):
        folder = train(tmp_path / device, device=device, precision="fp32", epochs="4st", lr=1e-3)
        losses.append([line.loss for line in read_lines(folder / "metrics.jsonl") if isinstance(line, StepLine)])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3) and losses[0][0] == pytest.approx(losses[1][0], abs=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_networks_are_bit_identical_to_torchvision(name: str) -> None:
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
            for network, outputs in zip((ours, theirs), logits, strict=True):
                network.zero_grad()
                F.cross_entropy(outputs, torch.arange(4, device=DEVICE)).backward()
                gradients.append({k: p.grad for k, p in network.named_parameters()})
            assert all(torch.equal(gradients[0][k], gradients[1][k]) for k in gradients[1])


@pytest.mark.parametrize("tuning", ["frozen", "lp-ft", "stages:1"])
def test_frozen_tensors_do_not_change(tuning: str, tmp_path: Path) -> None:
    start = train(tmp_path / "start", source="digits:6-9", epochs="1ep")
    folder = train(tmp_path, start=f"run:{start}", tuning=tuning, head_epochs="1ep", epochs="2ep")
    checks = [line for line in read_lines(folder / "metrics.jsonl") if isinstance(line, FreezeCheckLine)]
    assert len(checks) == 1
    before, after = (model_weights(path / "model").state for path in (start, folder))
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    allowed = {"frozen": ("fc",), "stages:1": ("layer4", "fc"), "lp-ft": ("",)}[tuning]
    assert changed and all(name.startswith(allowed) for name in changed)


def test_cached_features_train_the_same_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"tuning": "frozen", "augmented_views": 2, "precision": "fp32"}
    cached = train(tmp_path / "cached", **kind)
    monkeypatch.setattr("headstart.training.feature_cache.MAX_FEATURES_PER_IMAGE", 0)
    uncached = train(tmp_path / "uncached", **kind)
    first, second = (model_weights(folder / "model").state for folder in (cached, uncached))
    for key, tensor in second.items():
        assert torch.allclose(first[key], tensor, atol=1e-4, rtol=1e-4), key


@pytest.mark.parametrize("head", ["linear", "mlp:8"])
def test_stacked_heads_equal_single_heads(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = f"run:{train(tmp_path / 'start')}"
    monkeypatch.setattr(
        "tests.training.test_batched_heads.FROZEN",
        {**SMALL, "source": "digits:4-7", "tuning": "frozen", "augmented_views": 2},
    )
    _stacked_head_equals_single_head(head, start, tmp_path, monkeypatch)


@settings(deadline=None)  # the first example compiles the kernel
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200))
def test_histograms_equal_those_on_a_cpu(values: list[float]) -> None:
    tensor = torch.tensor(values)
    cpu, device = tensor_stats.histogram(tensor), tensor_stats.histogram(tensor.to(DEVICE))
    assert (cpu.low, cpu.high, cpu.n) == (device.low, device.high, device.n)
    assert sum(device.counts) == len(values)
    assert device.sum == pytest.approx(cpu.sum, rel=1e-4, abs=1e-2 * max(map(abs, values), default=0))


def test_model_can_be_used_on_a_cpu(tmp_path: Path) -> None:
    """A model trained in bf16 and evaluated in fp32 gives the same logits in fp32 on a CPU, up to rounding."""
    folder = train(tmp_path, precision="bf16")
    predictions = np.load(folder / "artifacts" / "predictions.npz")
    reference = torchvision.models.resnet18(num_classes=4)
    reference.load_state_dict(model_weights(folder / "model").state)
    evaluation = evaluate(folder, "digits:0-3", split="test")
    result = read_json(folder / "result.json")["test"]
    assert evaluation.n == result["n"] and evaluation.loss == pytest.approx(result["loss"], abs=1e-3)
    assert evaluation.accuracy == pytest.approx(result["accuracy"], abs=0.01)
    assert all(np.isfinite(predictions[name]).all() for name in predictions.files if "logits" in name)


def test_study_ends_with_a_verdict(tmp_path: Path) -> None:
    start = train(tmp_path / "start", source="digits:6-9")
    settings = {"seeds": 3, "epochs": "2ep", "grid": [0.05, 0.01], "image_size": 32, "stem": "imagenet"}
    arms = ["scratch", f"run:{start}", f"run:{start}+frozen", f"run:{start}+lp-ft"]
    study = compare("digits:0-3", arms=arms, runs=tmp_path, device=str(DEVICE), quiet=True, **settings)
    assert study.verdict.sentences.headline
    assert len(study.frame.groupby(["arm", "seed"])) >= 12


@pytest.mark.skipif(DEVICE.type != "cuda", reason="torch limits memory only on CUDA")
def test_out_of_memory_has_a_message_and_a_hint(tmp_path: Path) -> None:
    large = {"image_size": 512, "batch_size": 256, "precision": "fp32"}
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        with pytest.raises(torch.OutOfMemoryError) as caught:
            train(tmp_path, **large)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    error = as_headstart_error(caught.value)
    assert isinstance(error, ResourceError) and "--batch-size" in error.hint


def test_epoch_loss_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    folder = train(tmp_path, epochs="1ep")
    lines = list(read_lines(folder / "metrics.jsonl"))
    steps = [line.loss for line in lines if isinstance(line, StepLine)]
    (epoch,) = [line for line in lines if isinstance(line, EpochLine)]
    assert epoch.train.loss == pytest.approx(np.mean(steps))
    assert 0 < epoch.speed.mfu < 1
