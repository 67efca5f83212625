"""Augmentation against torchvision and Pillow, and as pure functions."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart.data import loader, mixup, transforms
from headstart.rng import stream, torch_stream


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with some detail, like a photo."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_streams_are_derived_not_stored() -> None:
    a = stream(1, "order", 2, 3).random(4)
    stream(1, "order", 2, 4).random(100)
    assert np.array_equal(a, stream(1, "order", 2, 3).random(4))
    others = [stream(2, "order", 2, 3), stream(1, "augment", 2, 3), stream(1, "order", 3, 3), stream(1, "order", 2, 4)]
    assert not any(np.array_equal(a, other.random(4)) for other in others)
    with pytest.raises(ValueError, match="out of range"):
        stream(1, "order", 1 << 24)


def test_torch_streams_leave_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    with torch_stream(1, "init"):
        a = torch.rand(3)
    with torch_stream(1, "init"):
        b = torch.rand(3)
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 1.0), st.integers(0, 1000))
def test_boxes_lie_within_the_photo(height: int, width: int, smallest: float, index: int) -> None:
    for box in (
        transforms.random_box(height, width, smallest, stream(0, "t", 0, index)),
        transforms.centre_box(height, width),
    ):
        top, left, h, w = box
        assert 0 <= top <= top + h <= height
        assert 0 <= left <= left + w <= width
        assert h > 0 and w > 0


def test_random_boxes_are_distributed_as_torchvisions() -> None:
    from scipy.stats import ks_2samp
    from torchvision.transforms import RandomResizedCrop

    image = torch.zeros(3, 120, 160)
    with torch_stream(0, "reference"):
        reference = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)])
    ours = np.array([transforms.random_box(120, 160, 0.08, stream(0, "t", 0, i)) for i in range(3000)])
    for column in range(4):
        assert ks_2samp(ours[:, column], reference[:, column]).pvalue > 1e-3


def test_cutting_is_torchvisions_resized_crop() -> None:
    picture = photo(97, 140)
    found = transforms.cut(picture, (5, 11, 80, 93), 48)
    expected = TF.resized_crop(
        torch.from_numpy(picture.copy()).permute(2, 0, 1), 5, 11, 80, 93, [48, 48], antialias=True
    )
    assert (found[0].int() - expected.int()).abs().max() <= 1  # rounding of the channels_last kernel


def test_cutting_is_pillows_antialiased_resize() -> None:
    picture = photo(200, 200)
    found = transforms.cut(picture, (0, 0, 200, 200), 64)[0].permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.integers(0, 20), st.integers(0, 10**6), st.floats(0, 1))
def test_a_training_photo_depends_on_nothing_but_seed_epoch_and_index(seed, epoch, index, jitter) -> None:
    how = transforms.Augmentation(32, jitter=jitter)
    one = transforms.training_photo(photo(40, 50), how, seed, epoch, index)
    pictures = [photo(60, 40), photo(40, 50), photo(33, 90)]
    many = transforms.training_batch(pictures, [7, index, 9], how, seed, epoch)
    assert torch.equal(one[0], many[1])
    assert many.shape == (3, 3, 32, 32) and many.is_contiguous(memory_format=torch.channels_last)


def test_photos_of_a_batch_are_drawn_apart() -> None:
    batch = transforms.training_batch([photo(64, 64)] * 8, range(8), transforms.Augmentation(32), 0, 0)
    assert len({row.numpy().tobytes() for row in batch}) == 8


def test_flip_can_be_switched_off_and_is_fair_when_on() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255  # the right half is white
    off, on = (transforms.Augmentation(8, crop=1.0, flip=f) for f in (False, True))
    right = [bool(transforms.training_photo(picture, off, 0, 0, i)[0, 0, 4, 7] > 128) for i in range(400)]
    flipped = [bool(transforms.training_photo(picture, on, 0, 0, i)[0, 0, 4, 7] < 128) for i in range(400)]
    assert all(right)
    assert 160 <= sum(flipped) <= 240


def test_jitter_moves_colours_only_when_asked() -> None:
    plain, jittered = (transforms.Augmentation(32, jitter=j) for j in (0.0, 0.4))
    a, b = (transforms.training_photo(photo(40, 40), how, 0, 0, 1) for how in (plain, jittered))
    assert not torch.equal(a, b)


def test_normalise_is_torchvisions() -> None:
    batch = transforms.plain_batch([photo(40, 50), photo(60, 33)], 32)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = transforms.normalise(batch, mean, std, torch.device("cpu"))
    expected = TF.normalize(batch.float() / 255, list(mean), list(std))
    assert torch.allclose(found, expected, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_mixup_is_a_permutation_with_a_share() -> None:
    mixes = [mixup.mixup(16, 0.4, 0, 1, step) for step in range(300)]
    assert all(sorted(m.partner.tolist()) == list(range(16)) for m in mixes)
    assert all(0 <= m.share <= 1 for m in mixes)
    assert np.mean([m.share for m in mixes]) == pytest.approx(0.5, abs=0.06)  # Beta(a, a) has mean 1/2
    again = mixup.mixup(16, 0.4, 0, 1, 7)
    assert again.share == mixes[7].share and torch.equal(again.partner, mixes[7].partner)


@given(st.integers(1, 100), st.integers(2, 40), st.integers(0, 5))
def test_an_epoch_holds_every_photo_and_all_batches_have_one_size(count: int, size: int, epoch: int) -> None:
    steps = -(-count // size)
    rows = [loader.training_rows(count, size, 3, epoch, step) for step in range(steps)]
    assert {len(r) for r in rows} == {size}
    flat = np.concatenate(rows)
    assert sorted(flat[:count]) == list(range(count))
    assert np.array_equal(flat[count:], np.resize(flat[:count], len(flat) - count))  # filled from the epoch's start


def test_plain_batches_show_every_photo_once() -> None:
    pictures = [photo(20, 20, seed) for seed in range(7)]
    photos = loader.ImageSubset(pictures, np.array([6, 2, 4, 0, 1]), np.zeros(5, np.int64))
    found = list(loader.plain_batches(photos, 2, 16))
    assert [count for _, count in found] == [2, 2, 1]
    assert {tuple(batch.shape) for batch, _ in found} == {(2, 3, 16, 16)}
    together = torch.cat([batch[:count] for batch, count in found])
    assert torch.equal(together, transforms.plain_batch([pictures[i] for i in (6, 2, 4, 0, 1)], 16))


def test_a_frozen_trunk_sees_so_many_views_and_no_more() -> None:
    photos = loader.ImageSubset([photo(40, 40, s) for s in range(4)], np.arange(4), np.arange(4))
    training = loader.TrainingBatches(photos, 4, transforms.Augmentation(16), seed=0)

    def looks(epoch: int, augmented_views: int) -> dict[int, bytes]:
        images, labels = training.batch(epoch, 0, augmented_views)
        return {int(label): image.numpy().tobytes() for image, label in zip(images, labels, strict=True)}

    assert looks(0, 2) == looks(2, 2) != looks(1, 2)
    assert looks(0, 0) != looks(2, 0)


@pytest.mark.parametrize("threads", [1, 3, 16])
@pytest.mark.parametrize("count", [7, 3])  # four batches and two, which is fewer than are made ahead
def test_batches_made_ahead_are_the_same_batches(threads: int, count: int) -> None:
    photos = loader.ImageSubset([photo(40, 40, s) for s in range(count)], np.arange(count), np.arange(count))
    training = loader.TrainingBatches(photos, 2, transforms.Augmentation(16), seed=0)
    ahead = loader.Prefetcher(training, threads)
    last = training.steps_per_epoch - 1
    for asked in [(0, 0, 0), (0, 1, 0), (0, last, 0), (1, 0, 0), (1, last, 0), (1, last, 2), (2, 0, 2), (0, 0, 0)]:
        for made, plain in zip(ahead.batch(*asked), training.batch(*asked), strict=True):
            assert torch.equal(made, plain)
