"""Plan to parts: what is settled, what is refused, and what the user is told."""

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


class Ear:
    """A voice that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.told: list[tuple[str, int, int]] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def progress(self, what: str, done: int, total: int) -> None:
        self.told.append((what, done, total))


def photos(root: Path, counts: dict[str, int]) -> Path:
    for number, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng((number, i)).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / folder / f"{i}.png")
    return root


def prepare(**settings) -> tuple[setup.TrainingSetup, Ear]:
    draft = calibration.resolve_machine(resolve_settings({**SMALL, "stem": "small", "image_size": 16, **settings}).plan)
    ear = Ear()
    with precision.deterministic(torch.device("cpu"), 1):
        return setup.prepare(draft, ear), ear


def test_a_prepared_plan_is_complete_and_prepares_to_itself() -> None:
    made = prepared()
    assert made.plan.open_fields == ()
    draft = made.plan.changed("facts", fingerprint="", class_names=(), counts={})
    with precision.deterministic(torch.device("cpu"), 1):
        again = setup.prepare(draft, Ear())
    assert again.plan == made.plan and again.plan.hash == made.plan.hash


def test_flip_follows_the_data_unless_told(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", {"a": 8, "b": 8})
    assert prepare(source=str(root))[0].plan.recipe.flip == "on"
    assert prepare(source=str(root), flip="off")[0].parts.batches.how.flip is False
    assert prepare(source="digits:0-1", flip="auto")[0].plan.recipe.flip == "off"


def test_the_user_is_told_what_was_understood(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", {"train/a": 8, "train/b": 9, "val/a": 3, "val/b": 3})
    made, ear = prepare(source=str(root))
    said = "\n".join(ear.said)
    assert "Split: 17 train, 6 val, 0 test" in said
    assert "No unseen images will judge this run" in said
    assert made.split.judge == "val"
    assert ("decoding photos", 23, 23) in ear.told
    assert "decoding photos" not in {what for what, *_ in prepare(source=str(root))[1].told}  # decoded once


def test_bad_photos_stop_the_run_or_are_left_out_and_listed(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", {"a": 10, "b": 10})
    (root / "a" / "broken.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"broken\.jpg") as caught:
        prepare(source=str(root))
    assert "--skip-bad" in caught.value.hint
    made, ear = prepare(source=str(root), skip_bad=True)
    assert any("Left out 1 that" in s and "a/broken.jpg" in s for s in ear.said)
    assert len(made.listing) == 20 and sum(made.plan.facts.counts.values()) == 20
    without = prepare(source=str(photos(tmp_path / "q", {"a": 10, "b": 10})))[0]
    assert made.plan.facts.fingerprint == without.plan.facts.fingerprint


def test_balanced_class_weights_are_sklearns(tmp_path: Path) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    made, _ = prepare(source=str(photos(tmp_path / "p", {"a": 30, "b": 8})), class_weights="balanced")
    labels = made.parts.batches.photos.labels
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert made.parts.class_weights.numpy() == pytest.approx(expected)


def test_the_machine_is_measured_once_for_each_network_and_shape() -> None:
    folder = cache_root() / "machine"
    prepare(batch_size=6, precision="auto")
    known = {p: p.read_bytes() for p in folder.iterdir()}
    made, ear = prepare(batch_size=6, precision="auto")
    assert {p: p.read_bytes() for p in folder.iterdir()} == known
    assert not any("Measuring" in s for s in ear.said)
    files = [json.loads(content) for content in known.values()]
    measured = next(f for f in files if f["network"][-1] == [6, 3, 16, 16])
    assert made.plan.machine.precision == min(measured["seconds"], key=measured["seconds"].get)
    assert any("Measuring" in s for s in prepare(batch_size=7, precision="auto")[1].said)


def test_what_was_measured_on_a_busy_machine_is_measured_again(monkeypatch) -> None:
    """A kept peak of a tenth of what a product shows is a busy hour's; nobody looks twice in one process."""
    prepare(batch_size=9, precision="auto")
    path = next(p for p in (cache_root() / "machine").iterdir() if _shape(p) == [9, 3, 16, 16])
    known = json.loads(path.read_text())
    busy = {p: value / 10 for p, value in known["peak"].items()}
    path.write_text(json.dumps({**known, "peak": busy}))
    assert not any("busy" in s for s in prepare(batch_size=9, precision="auto")[1].said)
    monkeypatch.setattr(calibration, "_trusted", set())  # as in another process
    made, ear = prepare(batch_size=9, precision="auto")
    assert any("busy" in s for s in ear.said)
    assert made.peak > 2 * busy[made.plan.machine.precision]
    monkeypatch.setattr(calibration, "_trusted", set())
    monkeypatch.setattr(calibration, "BUSY", 4.0)  # the machine of these tests may be busy too
    assert not any("Measuring" in s for s in prepare(batch_size=9, precision="auto")[1].said)


def _shape(path: Path) -> list[int]:
    return json.loads(path.read_text())["network"][-1]


def test_fp32_is_taken_where_bf16_would_leave_part_of_a_kernel_unset() -> None:
    """test_resnet at 16 px: a 3x3 kernel with stride 2 on one pixel, eight parts of which meet padding only."""
    made, _ = prepare(network="timm:test_resnet", stem="imagenet", precision="auto")
    assert made.plan.machine.precision == "fp32"
    ours = prepared(precision="bf16").network
    assert precision.strided_on_a_pixel(ours, 16) == ""
    assert precision.strided_on_a_pixel(made.network, 16).startswith("layer4")


def test_a_damaged_measurement_is_made_anew() -> None:
    prepare(batch_size=5, precision="auto")
    for path in (cache_root() / "machine").iterdir():
        content = json.loads(path.read_text())
        if content["network"][-1] == [5, 3, 16, 16]:
            path.write_text("")
    assert any("Measuring" in s for s in prepare(batch_size=5, precision="auto")[1].said)
    assert not any("Measuring" in s for s in prepare(batch_size=5, precision="auto")[1].said)


def test_phases_share_the_budget() -> None:
    made = prepared(tuning="lp-ft", epochs="40st", head_epochs="25%", warmup="10%", augmented_views=3)
    assert [(p.name, p.begin, p.end, p.augmented_views) for p in made.parts.phases] == [
        ("frozen", 0, 10, 3),
        ("full", 10, 40, 0),
    ]
    assert [p.schedule(0) for p in made.parts.phases] == pytest.approx([1 / 2, 1 / 4])  # a warm-up of 1 and of 3 steps


def test_a_frozen_trunk_costs_a_third_of_the_arithmetic_and_a_kept_one_next_to_nothing() -> None:
    full, frozen = (prepared(tuning=t, mixup=0.1).flops[0] for t in ("full", "frozen"))
    assert 2.5 < full / frozen < 3.1
    assert prepared(tuning="frozen").flops[0] == 4 * 512 * 4
    made = prepared(stem="imagenet", image_size=128, tuning="full", epochs="1st", batch_size=2)
    assert made.flops[0] == pytest.approx(3.48e9, rel=0.01)  # field.md's figure for ResNet-18 at 128 px


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
        ({"tuning": "frozen", "epochs": "2ep", "warmup": "2ep"}, "leaves nothing"),
    ],
)
def test_what_cannot_be_is_told_before_anything_trains(settings, match) -> None:
    with pytest.raises(UsageError, match=match):
        prepared(**settings)
