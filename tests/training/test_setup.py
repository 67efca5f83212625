"""Plans are resolved or rejected before training, and the user gets a report."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.config.resolve import resolve_settings
from headstart.errors import DataError, UsageError
from headstart.hardware import calibration, precision
from headstart.optim import schedules
from headstart.optim.registry import OPTIMIZERS, SCHEDULES, OptimizerSpec, ScheduleSpec
from headstart.training import setup
from tests.messages import fields_of
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


def write_images(root: Path, counts: dict[str, int]) -> Path:
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
    assert training_setup.plan.unresolved_fields == ()
    draft = training_setup.plan.changed("facts", fingerprint="", class_names=(), split_counts={})
    with precision.deterministic(torch.device("cpu"), 1):
        again = setup.prepare(draft, RecordingReporter())
    assert again.plan == training_setup.plan and again.plan.hash == training_setup.plan.hash


def test_flip_follows_the_data_by_default(tmp_path: Path) -> None:
    root = write_images(tmp_path / "p", {"a": 8, "b": 8})
    assert prepare(source=str(root))[0].plan.recipe.flip == "on"
    assert prepare(source=str(root), flip="off")[0].context.batches.augmentation.flip is False
    assert prepare(source="digits:0-1", flip="auto")[0].plan.recipe.flip == "off"


def test_prepare_reports_the_split_and_the_progress(tmp_path: Path) -> None:
    root = write_images(tmp_path / "p", {"train/a": 8, "train/b": 9, "val/a": 3, "val/b": 3})
    training_setup, reporter = prepare(source=str(root))
    report = "\n".join(reporter.sentences)
    assert "Split: 17 train, 6 val, 0 test" in report
    assert "There is no test split" in report
    assert training_setup.split.evaluation == "val"
    assert ("decoding images", 23, 23) in reporter.steps
    assert "decoding images" not in {label for label, *_ in prepare(source=str(root))[1].steps}  # decoded once


def test_bad_photos_raise_or_are_skipped_and_listed(tmp_path: Path) -> None:
    root = write_images(tmp_path / "p", {"a": 10, "b": 10})
    (root / "a" / "broken.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"broken\.jpg") as caught:
        prepare(source=str(root))
    assert "--skip-bad" in caught.value.hint
    training_setup, reporter = prepare(source=str(root), skip_bad=True)
    assert any("Left out 1 image that" in s and "a/broken.jpg" in s for s in reporter.sentences)
    assert len(training_setup.index) == 20 and sum(dict(training_setup.plan.facts.split_counts).values()) == 20
    without = prepare(source=str(write_images(tmp_path / "q", {"a": 10, "b": 10})))[0]
    assert training_setup.plan.facts.fingerprint == without.plan.facts.fingerprint


def test_balanced_class_weights_equal_sklearn(tmp_path: Path) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    training_setup, _ = prepare(source=str(write_images(tmp_path / "p", {"a": 30, "b": 8})), class_weights="balanced")
    labels = training_setup.context.batches.images.labels
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert training_setup.context.objective.class_weights.numpy() == pytest.approx(expected)


def test_phases_share_the_budget() -> None:
    training_setup = prepared(tuning="lp-ft", epochs="40st", head_epochs="25%", warmup="10%", augmented_views=3)
    assert [(p.tuning, p.begin, p.end, p.augmented_views) for p in training_setup.context.phases] == [
        ("frozen", 0, 10, 3),
        ("full", 10, 40, 0),
    ]
    assert [p.schedule(0, ()) for p in training_setup.context.phases] == pytest.approx(
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
        ({"network": "timm:test_resnet", "stem": "imagenet", "precision": "bf16"}, "stride over a single pixel"),
        ({"network": "timm:vgg11", "image_size": 8}, "vgg11 cannot take images of 8 px"),
        ({"tuning": "frozen", "epochs": "2ep", "warmup": "2ep"}, "leaves none of the"),
    ],
)
def test_impossible_plans_raise_before_training(settings, match) -> None:
    with pytest.raises(UsageError, match=match):
        prepared(**settings)


def of_losses(total: int, warm_up: int = 0) -> schedules.Schedule:
    """Return the number of losses: the factory of a schedule that a plugin adds."""
    return lambda step, losses: float(len(losses))


@pytest.mark.parametrize("uses_history", [False, True])
def test_only_schedules_that_use_the_history_get_the_losses(uses_history: bool, monkeypatch) -> None:
    monkeypatch.setitem(SCHEDULES, "of-losses", ScheduleSpec(f"{__name__}:of_losses", uses_history=uses_history))
    (phase,) = prepared(schedule="of-losses").context.phases
    assert phase.schedule(1, (0.5, 0.4)) == (2 if uses_history else 0)


def test_row_with_an_option_that_is_no_field_is_refused_before_training(monkeypatch) -> None:
    monkeypatch.setitem(SCHEDULES, "mine", ScheduleSpec("headstart.optim.schedules:constant", ("floor",)))
    monkeypatch.setitem(OPTIMIZERS, "mine", OptimizerSpec("torch.optim:SGD", "SGD", 0.1, 0.0, 0.1, ("dampening",)))
    for settings, option in (({"schedule": "mine"}, "floor"), ({"optimizer": "mine"}, "dampening")):
        with pytest.raises(UsageError) as caught:
            prepared(**settings)
        assert fields_of(caught.value.message) == {"name": "mine", "option": option}
