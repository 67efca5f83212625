"""Augmentation and batches agree with torchvision and Pillow, and are pure functions."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart.data import loader, transforms
from headstart.rng import stream, torch_stream


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a smooth image with some detail, like a photo."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 1.0), st.integers(0, 1000))
def test_boxes_are_within_the_photo(height: int, width: int, smallest: float, index: int) -> None:
    for box in (
        transforms.random_box(height, width, smallest, stream(0, "t", 0, index)),
        transforms.center_box(height, width),
    ):
        top, left, h, w = box
        assert 0 <= top <= top + h <= height
        assert 0 <= left <= left + w <= width
        assert h > 0 and w > 0


def test_random_boxes_are_distributed_as_torchvisions() -> None:
    from scipy.stats import ks_2samp
    from torchvision.transforms import RandomResizedCrop

    blank = torch.zeros(3, 120, 160)
    with torch_stream(0, "reference"):
        reference = np.array([RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)])
    ours = np.array([transforms.random_box(120, 160, 0.08, stream(0, "t", 0, i)) for i in range(3000)])
    for column in range(4):
        assert ks_2samp(ours[:, column], reference[:, column]).pvalue > 1e-3


def test_crop_and_resize_equals_torchvisions_resized_crop() -> None:
    image = photo(97, 140)
    result = transforms.crop_and_resize(image, (5, 11, 80, 93), 48)
    expected = TF.resized_crop(torch.from_numpy(image.copy()).permute(2, 0, 1), 5, 11, 80, 93, [48, 48], antialias=True)
    assert (result[0].int() - expected.int()).abs().max() <= 1  # rounding of the channels_last kernel


def test_crop_and_resize_equals_pillows_antialiased_resize() -> None:
    image = photo(200, 200)
    result = transforms.crop_and_resize(image, (0, 0, 200, 200), 64)[0].permute(1, 2, 0).numpy()
    expected = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(result.astype(int) - expected.astype(int)).max() <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.integers(0, 20), st.integers(0, 10**6), st.floats(0, 1))
def test_training_photo_depends_only_on_seed_epoch_and_index(seed, epoch, index, jitter) -> None:
    augmentation = transforms.Augmentation(32, jitter=jitter)
    single = transforms.augmented_image(photo(40, 50), augmentation, seed, epoch, index)
    images = [photo(60, 40), photo(40, 50), photo(33, 90)]
    batch = transforms.training_batch(images, [7, index, 9], augmentation, seed, epoch)
    assert torch.equal(single[0], batch[1])
    assert batch.shape == (3, 3, 32, 32) and batch.is_contiguous(memory_format=torch.channels_last)


def test_photos_of_a_batch_have_independent_draws() -> None:
    batch = transforms.training_batch([photo(64, 64)] * 8, range(8), transforms.Augmentation(32), 0, 0)
    assert len({row.numpy().tobytes() for row in batch}) == 8


def test_flip_can_be_switched_off_and_flips_half_when_on() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255  # the right half is white
    off, on = (transforms.Augmentation(8, crop=1.0, flip=f) for f in (False, True))
    right = [bool(transforms.augmented_image(image, off, 0, 0, i)[0, 0, 4, 7] > 128) for i in range(400)]
    flipped = [bool(transforms.augmented_image(image, on, 0, 0, i)[0, 0, 4, 7] < 128) for i in range(400)]
    assert all(right)
    assert 160 <= sum(flipped) <= 240


def test_jitter_changes_colors() -> None:
    plain, jittered = (transforms.Augmentation(32, jitter=j) for j in (0.0, 0.4))
    a, b = (transforms.augmented_image(photo(40, 40), augmentation, 0, 0, 1) for augmentation in (plain, jittered))
    assert not torch.equal(a, b)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.tuples(*[st.floats(0, 2)] * 3))
def test_jitter_equals_torchvisions(height: int, width: int, factors: tuple[float, float, float]) -> None:
    image = torch.tensor(photo(height, width)).permute(2, 0, 1)[None]
    expected = image
    for adjust, factor in zip((TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation), factors, strict=True):
        expected = adjust(expected, factor)
    assert torch.equal(transforms._jitter(image, np.array(factors)), expected)


def test_normalise_equals_torchvisions() -> None:
    batch = transforms.plain_batch([photo(40, 50), photo(60, 33)], 32)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    result = transforms.normalize(batch, mean, std, torch.device("cpu"))
    expected = TF.normalize(batch.float() / 255, list(mean), list(std))
    assert torch.allclose(result, expected, atol=1e-6)
    assert result.is_contiguous(memory_format=torch.channels_last)


@given(st.integers(1, 100), st.integers(2, 40), st.integers(0, 5))
def test_epoch_has_every_photo_and_batches_of_one_size(count: int, size: int, epoch: int) -> None:
    steps = -(-count // size)
    rows = [loader.training_rows(count, size, 3, epoch, step) for step in range(steps)]
    assert {len(r) for r in rows} == {size}
    flat = np.concatenate(rows)
    assert sorted(flat[:count]) == list(range(count))
    assert np.array_equal(flat[count:], np.resize(flat[:count], len(flat) - count))  # filled from the epoch's start


def test_plain_batches_have_every_photo_once() -> None:
    images = [photo(20, 20, seed) for seed in range(7)]
    photos = loader.ImageSubset(images, np.array([6, 2, 4, 0, 1]), np.zeros(5, np.int64))
    batches = list(loader.plain_batches(photos, 2, 16))
    assert [count for _, count in batches] == [2, 2, 1]
    assert {tuple(batch.shape) for batch, _ in batches} == {(2, 3, 16, 16)}
    rows = torch.cat([batch[:count] for batch, count in batches])
    assert torch.equal(rows, transforms.plain_batch([images[i] for i in (6, 2, 4, 0, 1)], 16))


@pytest.mark.parametrize(
    ("images", "size", "counts"), [(5, 4, [3, 2]), (4, 4, [4]), (3, 8, [3]), (9, 4, [3, 3, 3]), (0, 4, [])]
)
def test_plain_batches_have_the_smallest_common_size(images: int, size: int, counts: list[int]) -> None:
    photos = loader.ImageSubset([photo(9, 9, 0)] * images, np.arange(images), np.zeros(images, np.int64))
    batches = list(loader.plain_batches(photos, size, 8))
    assert [count for _, count in batches] == counts
    assert {len(batch) for batch, _ in batches} == set(counts[:1])


def test_frozen_backbone_repeats_its_augmented_views() -> None:
    photos = loader.ImageSubset([photo(40, 40, s) for s in range(4)], np.arange(4), np.arange(4))
    training = loader.TrainingBatches(photos, 4, transforms.Augmentation(16), seed=0)

    def views(epoch: int, augmented_views: int) -> dict[int, bytes]:
        images, labels = training.batch(epoch, 0, augmented_views)
        return {int(label): image.numpy().tobytes() for image, label in zip(images, labels, strict=True)}

    assert views(0, 2) == views(2, 2) != views(1, 2)
    assert views(0, 0) != views(2, 0)


@pytest.mark.parametrize("threads", [1, 3, 16])
@pytest.mark.parametrize("count", [7, 3])  # four batches, and two, fewer than are prefetched
def test_prefetched_batches_are_the_same_batches(threads: int, count: int) -> None:
    photos = loader.ImageSubset([photo(40, 40, s) for s in range(count)], np.arange(count), np.arange(count))
    training = loader.TrainingBatches(photos, 2, transforms.Augmentation(16), seed=0)
    prefetcher = loader.Prefetcher(training, threads)
    last = training.steps_per_epoch - 1
    for request in [(0, 0, 0), (0, 1, 0), (0, last, 0), (1, 0, 0), (1, last, 0), (1, last, 2), (2, 0, 2), (0, 0, 0)]:
        for prefetched, plain in zip(prefetcher.batch(*request), training.batch(*request), strict=True):
            assert torch.equal(prefetched, plain)
