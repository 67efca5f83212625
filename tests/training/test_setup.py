"""Plans are resolved or rejected before training, and the user gets a report."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.config.resolve import resolve_settings
from headstart.errors import DataError, UsageError
from headstart.hardware import calibration, precision
from headstart.i18n import Message
from headstart.optim import schedules
from headstart.optim.registry import OPTIMIZERS, SCHEDULES, OptimizerSpec, ScheduleSpec
from headstart.training import augmentation_defaults, setup
from tests.messages import fields_of, values_of
from tests.short_runs import SMALL, prepared

PER_EPOCH = 504 // SMALL["batch_size"]  # steps of an epoch: 70 % of the 720 images of digits:0-3


class RecordingReporter:
    """A reporter that records what it reports."""

    def __init__(self) -> None:
        self.sentences: list[Message] = []
        self.steps: list[tuple[Message, int, int]] = []

    def say(self, sentence: Message) -> None:
        self.sentences.append(sentence)

    def progress(self, what: Message, done: int, total: int) -> None:
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
    draft = training_setup.plan.changed(fingerprint="", class_names=(), split_counts={})
    with precision.deterministic(torch.device("cpu"), 1):
        again = setup.prepare(draft, RecordingReporter())
    assert again.plan == training_setup.plan and again.plan.hash == training_setup.plan.hash


def test_flip_follows_the_data_by_default(tmp_path: Path) -> None:
    root = write_images(tmp_path / "p", {"a": 8, "b": 8})
    assert prepare(source=str(root))[0].plan.recipe.flip == "on"
    assert prepare(source=str(root), flip="off")[0].context.batches.augmentation.flip is False
    assert prepare(source="digits:0-1", flip="auto")[0].plan.recipe.flip == "off"


@pytest.mark.parametrize(("few", "many", "limit", "crop"), [(0.35, 0.08, 13, 0.35), (0.35, 0.08, 12, 0.08)])
def test_crop_follows_the_training_images_of_the_whole_data_set(
    tmp_path: Path, monkeypatch, few: float, many: float, limit: int, crop: float
) -> None:
    monkeypatch.setattr(augmentation_defaults, "MANY_IMAGES", limit)
    monkeypatch.setattr(augmentation_defaults, "CROP_OF_FEW", few)
    monkeypatch.setattr(augmentation_defaults, "CROP_OF_MANY", many)
    root = write_images(tmp_path / "p", {"train/a": 6, "train/b": 6, "val/a": 3, "val/b": 3})
    whole, reporter = prepare(source=str(root), crop="auto")
    assert whole.plan.recipe.crop == whole.context.batches.augmentation.crop == crop
    expected = {"share": 100 * crop, "count": 12}
    assert [fields_of(s) for s in reporter.sentences if "share" in fields_of(s)] == [expected]
    assert prepare(source=str(root), crop="auto", fraction=0.5)[0].plan.recipe.crop == crop
    given, reporter = prepare(source=str(root), crop=0.5)
    assert given.plan.recipe.crop == 0.5 and not [s for s in reporter.sentences if "share" in fields_of(s)]
    assert prepare(source="digits:0-1", crop=None)[0].plan.recipe.crop == 0.6


def test_crop_that_is_decided_gives_the_weights_of_the_same_crop_that_is_given(tmp_path: Path) -> None:
    root = write_images(tmp_path / "p", {"train/a": 8, "train/b": 8, "val/a": 3, "val/b": 3})
    decided = prepare(source=str(root), crop="auto")[0]
    given = prepare(source=str(root), crop=augmentation_defaults.CROP_OF_FEW)[0]
    assert decided.plan == given.plan and decided.plan.hash == given.plan.hash
    assert torch.equal(decided.context.batches.batch(0, 0, 0)[0], given.context.batches.batch(0, 0, 0)[0])


def test_head_initialization_of_the_recipe_reaches_the_network(tmp_path: Path) -> None:
    root = write_images(tmp_path / "p", {"train/a": 8, "train/b": 8, "val/a": 3, "val/b": 3})
    assert not prepare(source=str(root), head_init="zero")[0].network.fc.weight.any()


def test_prepare_reports_the_split_and_the_progress(tmp_path: Path) -> None:
    root = write_images(tmp_path / "p", {"train/a": 8, "train/b": 9, "val/a": 3, "val/b": 3})
    training_setup, reporter = prepare(source=str(root))
    values = [values_of(sentence) for sentence in reporter.sentences]
    after_split = values.index(["17 train, 6 val, 0 test", "train+val"]) + 1
    assert values[after_split] == [] and "test" in reporter.sentences[after_split]  # that there is no such split
    assert training_setup.split.evaluation == "val"
    finished = {task for task, done, total in reporter.steps if done == total == 23}
    again = {task for task, *_ in prepare(source=str(root))[1].steps}
    assert len(finished - again) == 2  # the decoding, and the thumbnails of the search for near-duplicates


def test_bad_photos_raise_or_are_skipped_and_listed(tmp_path: Path) -> None:
    root = write_images(tmp_path / "p", {"a": 10, "b": 10})
    (root / "a" / "broken.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError) as caught:
        prepare(source=str(root))
    numbers = {name: fields_of(caught.value.message)[name] for name in ("failed", "count", "name")}
    assert numbers == {"failed": 1, "count": 21, "name": "a/broken.jpg"} and "--skip-bad" in caught.value.hint
    training_setup, reporter = prepare(source=str(root), skip_bad=True)
    assert [1, "a/broken.jpg"] in [values_of(sentence) for sentence in reporter.sentences]
    assert len(training_setup.dataset.images) == 20 and sum(dict(training_setup.plan.facts.split_counts).values()) == 20
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
    assert [(str(p.tuning), p.begin, p.end, p.augmented_views) for p in training_setup.context.phases] == [
        ("frozen", 0, 10, 3),
        ("full", 10, 40, 0),
    ]
    assert [p.schedule(0, ()) for p in training_setup.context.phases] == pytest.approx(
        [1 / 2, 1 / 4]
    )  # a warm-up of 1 and of 3 steps


def test_frozen_backbone_needs_a_third_of_the_flops_and_cached_features_almost_none() -> None:
    full, frozen = (prepared(network="resnet18", tuning=t, mixup=0.1).flops[0] for t in ("full", "frozen"))
    assert 2.5 < full / frozen < 3.1
    assert prepared(network="resnet18", tuning="frozen").flops[0] == 4 * 512 * 4
    large = {"network": "resnet18", "stem": "imagenet", "image_size": 128, "batch_size": 2}
    training_setup = prepared(**large, tuning="full", epochs="1st")
    assert training_setup.flops[0] == pytest.approx(3.48e9, rel=0.01)  # the published figure for ResNet-18 at 128 px


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({"tuning": "stages:9"}, {"number": 9}),
        ({"tuning": "lp-ft", "head_epochs": "100%"}, {"head_epochs": "100%", "epochs": SMALL["epochs"]}),
        ({"epochs": "0.001ep"}, {"epochs": "0.001ep", "steps": PER_EPOCH}),
        ({"device": "cuda:7"}, {"device": "cuda:7"}),
        (
            {"network": "timm:test_vit", "image_size": 64},
            {"network": "timm:test_vit", "fixed_size": 160, "size": 64},
        ),
        (
            {"network": "timm:test_resnet", "stem": "imagenet", "precision": "bf16"},
            {"network": "timm:test_resnet", "size": 16, "layer": "layer4.0.conv1"},
        ),
        ({"network": "timm:vgg11", "image_size": 8}, {"network": "timm:vgg11", "size": 8}),
        ({"tuning": "frozen", "epochs": "2ep", "warmup": "2ep"}, {"warmup": "2ep", "count": 2 * PER_EPOCH}),
    ],
)
def test_impossible_plans_raise_before_training(settings: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        prepared(**settings)
    found = fields_of(error.value.message)
    assert {name: value for name, value in found.items() if name != "reason"} == fields  # the reason is torch's


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
