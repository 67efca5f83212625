"""Cached features train the same head as the backbone and are computed once."""

import dataclasses
import math
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.storage.cache import cache_root
from headstart.training import events, loop
from headstart.training.feature_cache import PLAIN_VIEW, FeatureCache, head_input
from tests.short_runs import prepared
from tests.trained import trained

FROZEN = {"network": "resnet20", "tuning": "frozen", "epochs": "3ep", "augmented_views": 2, "batch_size": 16}


def weights(setup, *, cached: bool) -> tuple[dict[str, torch.Tensor], list[float]]:
    context = setup.context if cached else dataclasses.replace(setup.context, backbone=None)
    state = loop.initial_state(context)
    losses = [event.loss for event in loop.train(context, state) if isinstance(event, events.Step)]
    return state.network.state_dict(), losses


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"optimizer": "adam", "head": "mlp:16"}, {"tuning": "lp-ft", "epochs": "2ep", "head_epochs": "50%"}],
)
def test_head_on_cached_features_equals_the_head_on_the_backbone(precision: str, settings: dict) -> None:
    cached, cached_losses = weights(prepared(**{**FROZEN, **settings}, precision=precision), cached=True)
    computed, losses = weights(prepared(**{**FROZEN, **settings}, precision=precision), cached=False)
    assert cached_losses == pytest.approx(losses, abs=1e-4)
    for key, tensor in computed.items():
        assert torch.allclose(cached[key], tensor, atol=1e-4), key


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_do_not_depend_on_the_other_images_of_the_batch(precision: str) -> None:
    setup = prepared(**FROZEN, precision=precision)
    photos = setup.context.batches.images
    half = dataclasses.replace(photos, indices=photos.indices[::3], labels=photos.labels[::3])
    features = []
    for seed, order in ((7, (half, photos)), (8, (photos,))):
        other = prepared(**FROZEN, precision=precision, test_seed=seed)  # another seed of the views gives another key
        backbone = other.context.backbone
        backbone.batches = dataclasses.replace(backbone.batches, view_seed=0)
        for images in order:
            list(backbone.fill("view-1", images))
        features.append(backbone.rows("view-1", half.indices))
    assert torch.equal(*features)


def test_views_are_shared_by_seeds_and_read_from_disk(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = {"start": f"run:{trained(tmp_path_factory)}", "stem": "imagenet", "source": "digits:4-7"}
    frozen = {**FROZEN, **start, "network": "resnet18"}
    first, second = prepared(**frozen, seed=11).context, prepared(**frozen, seed=12).context
    list(first.backbone.fill("view-0", first.batches.images))
    indices = np.intersect1d(first.batches.images.indices, second.batches.images.indices)
    missing = len(np.setdiff1d(second.batches.images.indices, indices))
    remaining = list(second.backbone.fill("view-0", second.batches.images))
    assert len(remaining) <= math.ceil(missing / second.batches.batch_size)  # batches
    assert torch.equal(first.backbone.rows("view-0", indices), second.backbone.rows("view-0", indices))
    third = prepared(**frozen, seed=12).context
    monkeypatch.setattr("headstart.training.feature_cache.FeatureCache._compute", None)  # nothing remains to compute
    assert list(third.backbone.fill("view-0", third.batches.images)) == []


def test_plain_features_are_the_input_of_the_head() -> None:
    setup = prepared(**FROZEN)
    list(setup.context.backbone.fill(PLAIN_VIEW, setup.context.val))
    features = setup.context.backbone.rows(PLAIN_VIEW, setup.context.val.indices)
    setup.network.eval()
    logits = np.concatenate(list(loop.iter_logits(setup.network, setup.context.val, setup.context, "fp32")))
    with torch.no_grad():
        assert np.allclose(setup.network.fc(features).numpy(), logits, atol=1e-5)
    assert head_input(setup.network, torch.zeros(2, 3, 16, 16)).shape == (2, *features.shape[1:])


def test_mixup_disables_the_feature_cache() -> None:
    assert prepared(**FROZEN, mixup=0.3).context.backbone is None


def test_unfinished_files_of_dead_processes_are_removed() -> None:
    context = prepared(**FROZEN, test_seed=78).context
    list(context.backbone.fill("view-0", context.batches.images))
    process = subprocess.Popen(["true"])
    process.wait()  # its id is free again
    stale = cache_root() / context.backbone._folder / f"view-1.npy.tmp-{process.pid}-{socket.gethostname()}"
    stale.touch()
    list(context.backbone.fill("view-1", context.batches.images))
    assert not stale.exists()


def test_concurrent_fills_of_a_view_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache fills one half while another, which started before, fills the other half."""
    first, second, third = (prepared(**FROZEN, test_seed=77).context.backbone for _ in range(3))
    photos = first.batches.images
    halves = [dataclasses.replace(photos, indices=photos.indices[i::2], labels=photos.labels[i::2]) for i in (0, 1)]
    monkeypatch.setattr("headstart.storage.contained.temp_suffix", lambda: ".tmp-1-slow")
    filling = first.fill("view-0", halves[0])
    next(filling)
    monkeypatch.setattr("headstart.storage.contained.temp_suffix", lambda: ".tmp-2-quick")
    list(second.fill("view-0", halves[1]))
    assert list(filling)
    for backbone, half in ((first, halves[0]), (second, halves[1])):
        assert torch.isfinite(backbone.rows("view-0", half.indices)).all()
    assert list(third.fill("view-0", photos)) == []  # both halves are on the disk
    assert torch.equal(third.rows("view-0", halves[1].indices), second.rows("view-0", halves[1].indices))


def flip(path: Path, row: int, width: int) -> None:
    content = bytearray(path.read_bytes())
    content[128 + row * width + 9] ^= 2  # after the header
    path.write_bytes(content)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "link": linked,
    "pipe": pipe,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"1234"),
    "empty": lambda path: path.write_bytes(b""),
    "columns first": lambda path: np.save(path, np.asfortranarray(np.load(path))),
    "other type": lambda path: np.save(path, np.load(path).view(np.int32)),
    "rows in another order": lambda path: np.save(path, np.roll(np.load(path), 1, axis=0)),
    "features of another view": lambda path: path.write_bytes(path.with_name("view-1.npy").read_bytes()),
    "hard link": lambda path: os.link(path, path.with_name("elsewhere")),
}


def test_damaged_features_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(**FROZEN, test_seed=79).context.backbone
    photos, folder = first.batches.images, cache_root() / first._folder
    for view in ("view-0", "view-1"):
        list(first.fill(view, photos))
    expected = first.rows("view-0", photos.indices)
    file = folder / "view-0.npy"
    intact = file.read_bytes()
    computed: list[list[int]] = []
    compute = FeatureCache._compute

    def counted(self: FeatureCache, view: str, images: object, rows: np.ndarray) -> np.ndarray:
        computed.append(rows.tolist())
        return compute(self, view, images, rows)

    monkeypatch.setattr(FeatureCache, "_compute", counted)
    for name, damage in DAMAGE.items():
        file.unlink(missing_ok=True)
        file.write_bytes(intact)
        damage(file)
        other = prepared(**FROZEN, test_seed=79).context.backbone
        computed.clear()
        list(other.fill("view-0", photos))
        assert torch.equal(other.rows("view-0", photos.indices), expected), name
        rows = sorted(row for batch in computed for row in batch)
        assert rows == ([] if name == "hard link" else sorted(photos.indices.tolist())), name
        assert not file.is_symlink()
        (folder / "elsewhere").unlink(missing_ok=True)
    file.write_bytes(intact)
    row = int(photos.indices[5])
    flip(file, row, first._width * 4)
    other = prepared(**FROZEN, test_seed=79).context.backbone
    computed.clear()
    list(other.fill("view-0", photos))
    assert computed == [[row]] and file.read_bytes() == intact
    assert torch.equal(other.rows("view-0", photos.indices), expected)


def test_abandoned_filling_counts_nothing_as_computed() -> None:
    backbone = prepared(**FROZEN, test_seed=80).context.backbone
    photos = backbone.batches.images
    filling = backbone.fill("view-0", photos)
    next(filling), next(filling)
    filling.close()
    assert not list((cache_root() / backbone._folder).iterdir())
    list(backbone.fill("view-0", photos))
    assert torch.isfinite(backbone.rows("view-0", photos.indices)).all()
