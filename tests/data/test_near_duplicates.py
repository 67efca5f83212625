"""Near-duplicates are found by construction: altered copies of photo-like images are pairs, other images are not."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from sklearn.datasets import load_digits

from headstart.data.near_duplicates import Pairs, find_pairs, min_similarity
from headstart.data.thumbnails import thumbnail

SIDE = 160
Squares = npt.NDArray[np.uint8]


def photo(seed: int, side: int = SIDE) -> Image.Image:
    """Return noise with the spectrum of photos, and a few ellipses."""
    random = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(side)
    amplitude = (np.hypot(frequency[:, None], frequency) + 1 / side) ** -1.2
    spectrum = np.fft.fft2(random.normal(size=(side, side))) * amplitude
    noise = np.fft.ifft2(spectrum).real
    gray = 115 + 30 * (noise - noise.mean()) / noise.std()
    image = Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        (x, y), (a, b) = random.uniform(0, side, 2), random.uniform(0.05, 0.25, 2) * side
        draw.ellipse((x - a, y - b, x + a, y + b), fill=tuple(random.integers(20, 200, 3).tolist()))
    return image


def striped(image: Image.Image, seed: int) -> Image.Image:
    """Return a photo with a shirt whose stripes are near the sampling limit of thumbnails."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    bend, period = random.uniform(0.02, 0.1), random.uniform(2.1, 2.6) / 64
    stripes = 120 + 40 * np.sin(2 * np.pi * (y + bend * (x - 0.5) ** 2) / period)
    mask = Image.new("L", image.size)
    corners = np.array([(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]) + random.uniform(-0.05, 0.05, (4, 2))
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners * SIDE], fill=255)
    return Image.composite(Image.fromarray(stripes.astype(np.uint8)).convert("RGB"), image, mask)


def saved(image: Image.Image, quality: int = 70) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def cropped(image: Image.Image, share: float, x: float, y: float) -> Image.Image:
    """Return the image without a share of its width and height; `x` and `y` say where, 0 to 1."""
    width, height = (round(size * (1 - share)) for size in image.size)
    left, top = round(x * (image.width - width)), round(y * (image.height - height))
    return image.crop((left, top, left + width, top + height))


def squares_of(images: list[Image.Image]) -> Squares:
    return np.stack([thumbnail(np.asarray(image.convert("RGB"))) for image in images])


def pairs_in(squares: Squares) -> set[tuple[int, int]]:
    pairs = find_pairs(squares, 1)
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


PHOTOS = [photo(seed) for seed in range(12)]
ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda image: saved(image, 50),
    "resized": lambda image: saved(image.resize((96, 96))),
    "flipped": ImageOps.mirror,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "gray": lambda image: image.convert("L"),
    "cropped by 10 %": lambda image: cropped(image, 0.1, 0.2, 0.9),
    "cropped by 15 %": lambda image: saved(cropped(image, 0.15, 1, 0.4)),
    "all of it": lambda image: saved(ImageOps.mirror(cropped(image, 0.1, 0, 1)).resize((96, 96)), 50),
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_copies_are_the_only_pairs(name: str) -> None:
    copies = [ALTERED[name](image) for image in PHOTOS[:6]]
    assert pairs_in(squares_of([*PHOTOS, *copies])) == {(i, len(PHOTOS) + i) for i in range(6)}


@pytest.mark.parametrize("has_stripes", [False, True])
def test_bursts_are_clusters(has_stripes: bool) -> None:
    random = np.random.default_rng(0)
    photos = [striped(image, seed) for seed, image in enumerate(PHOTOS)] if has_stripes else PHOTOS
    images = [saved(cropped(image, random.uniform(0, 0.15), *random.random(2))) for image in photos for _ in range(5)]
    labels = find_pairs(squares_of(images), 1).clusters(len(images))
    assert [len(set(labels[i : i + 5].tolist())) for i in range(0, len(images), 5)] == [1] * len(PHOTOS)
    assert len(set(labels.tolist())) == len(PHOTOS)


def drawings() -> list[Image.Image]:
    random = np.random.default_rng(0)
    images = []
    for _ in range(60):
        image = Image.new("L", (210, 210), 255)
        points = random.uniform(20, 190, (random.integers(2, 5), 2))
        ImageDraw.Draw(image).line([tuple(point) for point in points], fill=0, width=6)
        images.append(image.resize((105, 105)))
    return images


def texts() -> list[Image.Image]:
    random, images = np.random.default_rng(0), []
    for _ in range(30):
        image = Image.new("L", (240, 180), 255)
        for y in range(8, 170, 16):
            letters = "".join(random.choice(list("abcdefghijklmno   "), 34))
            ImageDraw.Draw(image).text((8, y), letters, fill=0, font=ImageFont.load_default(13))
        images.append(image)
    return images


def scans() -> list[Image.Image]:
    """Return gray images of one anatomy, each with noise of its own."""
    common = np.asarray(photo(100).convert("L").resize((10, 10)).resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)
    noise = (np.asarray(photo(seed).convert("L"), float) - 128 for seed in range(200, 230))
    return [Image.fromarray(np.clip(common + 0.2 * own, 0, 255).astype(np.uint8)) for own in noise]


def digits() -> list[Image.Image]:
    images = (255 - load_digits().images[:300] * 15.9).astype(np.uint8)
    return [Image.fromarray(image).resize((32, 32)) for image in images]


def screenshots() -> list[Image.Image]:
    """Return pictures of one strong layout with texts of their own."""
    layout = Image.new("L", (320, 200), 255)
    draw = ImageDraw.Draw(layout)
    draw.rectangle((0, 0, 320, 24), fill=60)
    draw.rectangle((0, 24, 70, 200), fill=225)
    for row in range(10):
        draw.line((75, 40 + 16 * row, 315, 40 + 16 * row), fill=150)
        draw.text((6, 28 + 16 * row), ["Home", "Data", "Models", "Users", "Jobs"][row % 5], fill=0)
    random, images = np.random.default_rng(0), []
    for _ in range(40):
        image = layout.copy()
        for row in range(10):
            letters = "".join(random.choice(list("abcdefghijklmno   "), 30))
            ImageDraw.Draw(image).text((80, 27 + 16 * row), letters, fill=0, font=ImageFont.load_default(9))
        images.append(image)
    return images


DIFFERENT = {
    "screenshots": screenshots,
    "photos": lambda: [photo(seed) for seed in range(40)],
    "digits": digits,
    "drawings": drawings,
    "texts in one layout": texts,
    "scans of one anatomy": scans,
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_images_with_common_structure_are_no_pairs(name: str) -> None:
    assert pairs_in(squares_of(DIFFERENT[name]())) == set()


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_pairs_do_not_depend_on_the_order(seed: int) -> None:
    squares = squares_of([*PHOTOS, *(saved(cropped(image, 0.12, 0.5, 0)) for image in PHOTOS)])
    expected = {(i, len(PHOTOS) + i) for i in range(len(PHOTOS))}
    order = np.random.default_rng(seed).permutation(len(squares))
    pairs = {tuple(sorted((int(order[i]), int(order[j])))) for i, j in pairs_in(squares[order])}
    assert pairs == expected


def test_equal_thumbnails_are_one_cluster_also_with_altered_copies() -> None:
    images = [PHOTOS[0], PHOTOS[1], PHOTOS[0], saved(PHOTOS[0]), PHOTOS[0], PHOTOS[1]]
    labels = find_pairs(squares_of(images), 1).clusters(len(images)).tolist()
    assert labels == [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_flat_images_are_not_compared(count: int) -> None:
    assert len(find_pairs(np.full((count, 64, 64), 200, np.uint8), 1)) == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (64, 64), (700, 20)])
def test_thumbnails_have_one_size(size: tuple[int, int]) -> None:
    square = thumbnail(np.full((*size, 3), 90, np.uint8))
    assert square.shape == (64, 64) and square.dtype == np.uint8 and (square == 90).all()


@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] < pair[1]), max_size=14))
def test_clusters_are_connected_components(edges: set[tuple[int, int]]) -> None:
    first, second = (np.array([edge[k] for edge in sorted(edges)], np.int64) for k in (0, 1))
    labels = Pairs(first, second, np.ones(len(edges), np.float32)).clusters(12)
    component = list(range(12))
    for _ in range(12):  # the smallest label spreads along the edges
        for a, b in edges:
            component[a] = component[b] = min(component[a], component[b])
    for a, b in combinations(range(12), 2):
        assert (labels[a] == labels[b]) == (component[a] == component[b])


def test_the_threshold_rises_where_similarity_has_no_gap() -> None:
    copies = np.full(100, 0.97, np.float32)
    others = np.tanh(np.random.default_rng(0).exponential(0.1, 3000)).astype(np.float32)
    everywhere = np.linspace(0.3, 0.999, 3000, dtype=np.float32)
    assert min_similarity(np.r_[copies, others]) == 0.7
    common = np.tanh(np.random.default_rng(0).exponential(0.3, 3000)).astype(np.float32)
    assert 0.8 <= min_similarity(np.r_[copies, common]) < 0.97
    weak_copies = np.repeat(np.linspace(0.71, 0.99, 50, dtype=np.float32), 4)  # more below a threshold than others
    assert min_similarity(np.r_[weak_copies, others]) == 0.7
    assert min_similarity(everywhere) == 0.99
    assert min_similarity(np.empty(0, np.float32)) >= 0.9  # no evidence


def test_module_imports_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, headstart.data.near_duplicates as nd; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
