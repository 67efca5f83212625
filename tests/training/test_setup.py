"""Plans are resolved or rejected before training, and the user gets a report."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.config.resolve import resolve_settings
from headstart.errors import DataError, UsageError
from headstart.hardware import calibration, precision
from headstart.storage.cache import cache_root
from headstart.training import setup
from tests.short_runs import SMALL, prepared


class RecordingReporter:
    """A reporter that records what it reports."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def progress(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done, total))


def photos(root: Path, counts: dict[str, int]) -> Path:
    for number, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng((number, i)).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / folder / f"{i}.png")
    return root


def prepare(**settings) -> tuple[setup.TrainingSetup, RecordingReporter]:
    draft = calibration.resolve_machine(resolve_settings({**SMALL, "stem": "small", "image_size": 16, **settings}).plan)
    reporter = RecordingReporter()
    with precision.deterministic(torch.device("cpu"), 1):
        return setup.prepare(draft, reporter), reporter


def test_resolved_plan_is_complete_and_resolves_to_itself() -> None:
    training_setup = prepared()
    assert training_setup.plan.open_fields == ()
    draft = training_setup.plan.changed("facts", fingerprint="", class_names=(), counts={})
    with precision.deterministic(torch.device("cpu"), 1):
        again = setup.prepare(draft, RecordingReporter())
    assert again.plan == training_setup.plan and again.plan.hash == training_setup.plan.hash


def test_flip_follows_the_data_by_default(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", {"a": 8, "b": 8})
    assert prepare(source=str(root))[0].plan.recipe.flip == "on"
    assert prepare(source=str(root), flip="off")[0].context.batches.augmentation.flip is False
    assert prepare(source="digits:0-1", flip="auto")[0].plan.recipe.flip == "off"


def test_prepare_reports_the_split_and_the_progress(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", {"train/a": 8, "train/b": 9, "val/a": 3, "val/b": 3})
    training_setup, reporter = prepare(source=str(root))
    report = "\n".join(reporter.sentences)
    assert "Split: 17 train, 6 val, 0 test" in report
    assert "There is no test split" in report
    assert training_setup.split.evaluation == "val"
    assert ("decoding photos", 23, 23) in reporter.steps
    assert "decoding photos" not in {label for label, *_ in prepare(source=str(root))[1].steps}  # decoded once


def test_bad_photos_raise_or_are_skipped_and_listed(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", {"a": 10, "b": 10})
    (root / "a" / "broken.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"broken\.jpg") as caught:
        prepare(source=str(root))
    assert "--skip-bad" in caught.value.hint
    training_setup, reporter = prepare(source=str(root), skip_bad=True)
    assert any("Left out 1 that" in s and "a/broken.jpg" in s for s in reporter.sentences)
    assert len(training_setup.index) == 20 and sum(training_setup.plan.facts.split_counts.values()) == 20
    without = prepare(source=str(photos(tmp_path / "q", {"a": 10, "b": 10})))[0]
    assert training_setup.plan.facts.fingerprint == without.plan.facts.fingerprint


def test_balanced_class_weights_equal_sklearn(tmp_path: Path) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    training_setup, _ = prepare(source=str(photos(tmp_path / "p", {"a": 30, "b": 8})), class_weights="balanced")
    labels = training_setup.context.batches.photos.labels
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert training_setup.context.class_weights.numpy() == pytest.approx(expected)


def test_the_machine_is_measured_once_for_each_network_and_shape() -> None:
    folder = cache_root() / "machine"
    prepare(batch_size=6, precision="auto")
    files = {p: p.read_bytes() for p in folder.iterdir()}
    training_setup, reporter = prepare(batch_size=6, precision="auto")
    assert {p: p.read_bytes() for p in folder.iterdir()} == files
    assert not any("Measuring" in s for s in reporter.sentences)
    measurements = [json.loads(content) for content in files.values()]
    measured = next(m for m in measurements if m["network"][-1] == [6, 3, 16, 16])
    assert training_setup.plan.machine.precision == min(measured["seconds"], key=measured["seconds"].get)
    assert any("Measuring" in s for s in prepare(batch_size=7, precision="auto")[1].sentences)


def test_measurement_of_a_busy_machine_is_repeated(monkeypatch) -> None:
    """A cached peak of a tenth of the real one was measured on a busy machine; a process checks only once."""
    prepare(batch_size=9, precision="auto")
    path = next(p for p in (cache_root() / "machine").iterdir() if _shape(p) == [9, 3, 16, 16])
    content = json.loads(path.read_text())
    busy = {p: value / 10 for p, value in content["peak"].items()}
    path.write_text(json.dumps({**content, "peak": busy}))
    assert not any("busy" in s for s in prepare(batch_size=9, precision="auto")[1].sentences)
    monkeypatch.setattr(calibration, "_trusted", set())  # as in another process
    training_setup, reporter = prepare(batch_size=9, precision="auto")
    assert any("busy" in s for s in reporter.sentences)
    assert training_setup.peak > 2 * busy[training_setup.plan.machine.precision]
    monkeypatch.setattr(calibration, "_trusted", set())
    monkeypatch.setattr(calibration, "BUSY_SPEED_RATIO", 4.0)  # the machine of these tests may be busy too
    assert not any("Measuring" in s for s in prepare(batch_size=9, precision="auto")[1].sentences)


def _shape(path: Path) -> list[int]:
    return json.loads(path.read_text())["network"][-1]


def test_fp32_is_selected_where_bf16_leaves_part_of_a_kernel_unset() -> None:
    """test_resnet at 16 px has a 3x3 kernel with stride 2 on one pixel; eight of its parts cover padding only."""
    training_setup, _ = prepare(network="timm:test_resnet", stem="imagenet", precision="auto")
    assert training_setup.plan.machine.precision == "fp32"
    ours = prepared(precision="bf16").network
    assert precision.find_single_pixel_stride(ours, 16) == ""
    assert precision.find_single_pixel_stride(training_setup.network, 16).startswith("layer4")


def test_damaged_measurement_is_repeated() -> None:
    prepare(batch_size=5, precision="auto")
    for path in (cache_root() / "machine").iterdir():
        content = json.loads(path.read_text())
        if content["network"][-1] == [5, 3, 16, 16]:
            path.write_text("")
    assert any("Measuring" in s for s in prepare(batch_size=5, precision="auto")[1].sentences)
    assert not any("Measuring" in s for s in prepare(batch_size=5, precision="auto")[1].sentences)


def test_phases_share_the_budget() -> None:
    training_setup = prepared(tuning="lp-ft", epochs="40st", head_epochs="25%", warmup="10%", augmented_views=3)
    assert [(p.name, p.begin, p.end, p.augmented_views) for p in training_setup.context.phases] == [
        ("frozen", 0, 10, 3),
        ("full", 10, 40, 0),
    ]
    assert [p.schedule(0) for p in training_setup.context.phases] == pytest.approx(
        [1 / 2, 1 / 4]
    )  # a warm-up of 1 and of 3 steps


def test_frozen_backbone_needs_a_third_of_the_flops_and_cached_features_almost_none() -> None:
    full, frozen = (prepared(tuning=t, mixup=0.1).flops[0] for t in ("full", "frozen"))
    assert 2.5 < full / frozen < 3.1
    assert prepared(tuning="frozen").flops[0] == 4 * 512 * 4
    training_setup = prepared(stem="imagenet", image_size=128, tuning="full", epochs="1st", batch_size=2)
    assert training_setup.flops[0] == pytest.approx(3.48e9, rel=0.01)  # the published figure for ResNet-18 at 128 px


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"tuning": "stages:9"}, "stages"),
        ({"tuning": "lp-ft", "head_epochs": "100%"}, "head-epochs"),
        ({"epochs": "0.001ep"}, "less than one step"),
        ({"device": "cuda:7"}, "cuda:7"),
        ({"network": "timm:test_vit", "image_size": 64}, "takes images of 160 px only"),
        ({"network": "timm:test_resnet", "stem": "imagenet", "precision": "bf16"}, "strides over a single pixel"),
        ({"network": "timm:vgg11", "image_size": 8}, "vgg11 cannot take images of 8 px"),
        ({"tuning": "frozen", "epochs": "2ep", "warmup": "2ep"}, "leaves none of the"),
    ],
)
def test_impossible_plans_raise_before_training(settings, match) -> None:
    with pytest.raises(UsageError, match=match):
        prepared(**settings)
