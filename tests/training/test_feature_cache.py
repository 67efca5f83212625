"""A kept trunk's output trains the same head as the trunk itself, and is computed once."""

import dataclasses

import numpy as np
import pytest
import torch

from headstart.training import events, loop
from headstart.training.feature_cache import PLAIN, head_input
from tests.short_runs import prepared
from tests.trained import trained

FROZEN = {"tuning": "frozen", "epochs": "3ep", "augmented_views": 2, "batch_size": 16}


def weights(made, *, kept: bool) -> tuple[dict[str, torch.Tensor], list[float]]:
    parts = made.parts if kept else dataclasses.replace(made.parts, backbone=None)
    state = loop.begin(parts)
    losses = [event.loss for event in loop.train(parts, state) if isinstance(event, events.Step)]
    return state.network.state_dict(), losses


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "settings", [{}, {"optimizer": "adam", "head": "mlp:16"}, {"tuning": "lp-ft", "epochs": "4ep"}]
)
def test_a_head_on_kept_features_is_the_head_on_the_trunk(precision: str, settings: dict) -> None:
    kept, kept_losses = weights(prepared(**{**FROZEN, **settings}, precision=precision), kept=True)
    alone, losses = weights(prepared(**{**FROZEN, **settings}, precision=precision), kept=False)
    assert kept_losses == pytest.approx(losses, abs=1e-4)
    for key, tensor in alone.items():
        assert torch.allclose(kept[key], tensor, atol=1e-4), key


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_kept_does_not_hang_on_its_neighbours_in_the_batch(precision: str) -> None:
    made = prepared(**FROZEN, precision=precision)
    photos = made.parts.batches.photos
    half = dataclasses.replace(photos, indices=photos.indices[::3], labels=photos.labels[::3])
    found = []
    for seed, order in ((7, (half, photos)), (8, (photos,))):
        other = prepared(**FROZEN, precision=precision, test_seed=seed)  # another seed for views: another key
        backbone = other.parts.backbone
        backbone.batches = dataclasses.replace(backbone.batches, view_seed=0)
        for some in order:
            list(backbone.fill("view-1", some))
        found.append(backbone.rows("view-1", half.indices))
    assert torch.equal(*found)


def test_views_are_shared_by_seeds_and_come_from_the_disk_the_second_time(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {"start": f"run:{trained(tmp_path_factory)}", "stem": "imagenet", "source": "digits:4-7"}
    first, second = prepared(**FROZEN, **start, seed=11).parts, prepared(**FROZEN, **start, seed=12).parts
    list(first.backbone.fill("view-0", first.batches.photos))
    indices = np.intersect1d(first.batches.photos.indices, second.batches.photos.indices)
    missing = len(np.setdiff1d(second.batches.photos.indices, indices))
    left = list(second.backbone.fill("view-0", second.batches.photos))
    assert (left[0] if left else 0) <= missing
    assert torch.equal(first.backbone.rows("view-0", indices), second.backbone.rows("view-0", indices))
    third = prepared(**FROZEN, **start, seed=12).parts
    monkeypatch.setattr("headstart.training.feature_cache.FeatureCache._compute", None)  # nothing is left to compute
    assert list(third.backbone.fill("view-0", third.batches.photos)) == []


def test_plain_features_are_what_the_network_feeds_its_head() -> None:
    made = prepared(**FROZEN)
    list(made.parts.backbone.fill(PLAIN, made.parts.val))
    kept = made.parts.backbone.rows(PLAIN, made.parts.val.indices)
    made.network.eval()
    logits = np.concatenate(list(loop.evaluate(made.network, made.parts.val, made.parts, "fp32")))
    with torch.no_grad():
        assert np.allclose(made.network.fc(kept).numpy(), logits, atol=1e-5)
    assert head_input(made.network, torch.zeros(2, 3, 16, 16)).shape == (2, *kept.shape[1:])


def test_mixed_photos_are_not_kept() -> None:
    assert prepared(**FROZEN, mixup=0.3).parts.backbone is None


def test_two_processes_that_fill_one_view_at_once_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One fills a half while the other, which began before and saw nothing of it, fills the other half."""
    slow, quick, later = (prepared(**FROZEN, test_seed=77).parts.backbone for _ in range(3))
    photos = slow.batches.photos
    halves = [dataclasses.replace(photos, indices=photos.indices[i::2], labels=photos.labels[i::2]) for i in (0, 1)]
    monkeypatch.setattr("headstart.training.feature_cache.mark", lambda: ".tmp-1-slow")
    filling = slow.fill("view-0", halves[0])
    next(filling)
    monkeypatch.setattr("headstart.training.feature_cache.mark", lambda: ".tmp-2-quick")
    list(quick.fill("view-0", halves[1]))
    assert list(filling)
    for backbone, half in ((slow, halves[0]), (quick, halves[1])):
        assert torch.isfinite(backbone.rows("view-0", half.indices)).all()
    assert list(later.fill("view-0", photos)) == []  # both halves are on the disk
    assert torch.equal(later.rows("view-0", halves[1].indices), quick.rows("view-0", halves[1].indices))
