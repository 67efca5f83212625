"""Shortcuts: the features equal slow definitions, planted shortcuts are named, and natural data has none."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from headstart.audit import shortcut_check, shortcuts
from headstart.audit.sample import Limits, draw_sample
from headstart.audit.shortcuts import Property, probe
from headstart.storage.schemas.audit import CheckStatus

from .pictures import audited, picture, random_name, seed_of, two_classes, write_pictures


def photos(n=360, classes=4, size=(96, 72), seed=0):
    """Smooth random scenes whose middle, not their border, depends on the class."""
    draws = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = []
    for label in labels:
        grid = draws.normal(size=(6, 6, 3))
        scene = np.kron(grid, np.ones((size[0] // 6, size[1] // 6, 1))) * 30 + draws.normal(128, 30, 3)
        scene[30:60, 20:50] += 15 * label
        images.append(np.clip(scene + draws.normal(0, 6, scene.shape), 0, 255).astype(np.uint8))
    return images, labels


EXTRACTORS = {
    Property.BORDER: shortcuts.border_features,
    Property.CORNERS: shortcuts.corner_features,
    Property.THUMBNAIL: shortcuts.thumbnail_features,
    Property.COLORS: shortcuts.color_features,
}


def run(kind, images, labels, classes=4):
    features = np.stack([EXTRACTORS[kind](image) for image in images])
    return probe(kind, features, labels, np.arange(len(labels)), classes=classes)


def named(result):
    return [given.label for given in result.given_away]


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_photos_without_a_shortcut(kind):
    assert named(run(kind, *photos())) == []


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0), (128, 128, 128), (130, 120, 140), (200, 30, 30)])
@pytest.mark.parametrize("width", [1, 4])
def test_a_border_is_named(color, width):
    images, labels = photos()
    for i in np.flatnonzero(labels == 2):
        inner = images[i][width:-width, width:-width].copy()
        images[i][:] = color
        images[i][width:-width, width:-width] = inner
    result = run(Property.BORDER, images, labels)
    assert named(result) == [2]
    assert result.given_away[0].recall > 0.95
    assert result.given_away[0].precision > 0.95
    assert result.given_away[0].images == 90


def test_a_transparent_mark_in_a_corner_is_named():
    images, labels = photos()
    for i in np.flatnonzero(labels == 1):
        part = images[i][-12:-4, -14:-4]
        part[:] = (part * 0.5 + 255 * 0.5).astype(np.uint8)
    assert named(run(Property.CORNERS, images, labels)) == [1]


def test_a_tint_is_named():
    draws = np.random.default_rng(5)
    images, labels = photos()
    gray = [np.clip(i.mean(2, keepdims=True) + draws.normal(0, 12, (1, 1, 3)), 0, 255).astype(np.uint8) for i in images]
    for i in np.flatnonzero(labels == 3):
        gray[i] = np.clip(gray[i] * (1.25, 1, 0.8), 0, 255).astype(np.uint8)
    assert named(run(Property.COLORS, gray, labels)) == [3]


def files(n=400, seed=0):
    draws = np.random.default_rng(seed)
    widths, heights = draws.choice([192, 256, 341], n), draws.choice([192, 256, 300], n)
    sizes = (widths * heights * draws.uniform(0.1, 0.4, n)).astype(int)
    return sizes, widths, heights, ["JPEG RGB .jpg"] * n, np.arange(n) % 4


def test_file_sizes_and_formats():
    sizes, widths, heights, formats, labels = files()
    groups = np.arange(len(labels))

    def given_away(*columns):
        return named(probe(Property.FILE, shortcuts.file_features(*columns), labels, groups, classes=4))

    own = labels == 1
    assert given_away(sizes, widths, heights, formats) == []
    png = ["PNG RGB .png" if mine else name for mine, name in zip(own, formats, strict=True)]
    assert given_away(sizes, widths, heights, png) == [1]
    assert given_away(sizes, np.where(own, 224, widths), np.where(own, 224, heights), formats) == [1]
    assert given_away(np.where(own, sizes * 8, sizes), widths, heights, formats) == [1]
    assert given_away(np.where(own, 54321, sizes), widths, np.where(own, 2 * widths, heights), formats) == [1]


def test_small_images_are_not_checked():
    sizes = np.full((5, 2), 8, dtype=np.int32)
    checked = {kind for kind in Property if shortcuts.is_checkable(kind, sizes)}
    assert checked == {Property.FILE}
    assert all(shortcuts.is_checkable(kind, sizes * 4) for kind in Property)


def test_digits_enlarged_are_their_thumbnails_but_not_their_borders():
    digits = load_digits()
    images = [np.repeat(np.kron(d, np.ones((4, 4)))[..., None] * 15, 3, 2).astype(np.uint8) for d in digits.images]
    for kind in (Property.BORDER, Property.COLORS):
        assert named(run(kind, images, digits.target, 10)) == []


def test_a_class_of_most_images_is_not_given_away_by_a_guess():
    draws = np.random.default_rng(0)
    labels = (draws.random(500) < 0.06).astype(np.int64)
    result = probe(Property.BORDER, draws.normal(size=(500, 10)).astype(np.float32), labels, np.arange(500), classes=2)
    assert result.recall[0] > 0.95
    assert result.precision[0] > 0.9
    assert result.accuracy == pytest.approx(result.chance, abs=0.02)
    assert named(result) == []


def test_best_threshold_equals_all_thresholds_tried():
    draws = np.random.default_rng(3)
    features = np.round(draws.normal(size=(80, 2))).astype(np.float32)  # many equal scores
    labels = (features[:, 0] + draws.normal(size=80) > 0.5).astype(np.int64)
    result = probe(Property.BORDER, features, labels, np.arange(80), classes=2)
    logs, _ = shortcuts.log_probabilities(features, labels, np.arange(80), classes=2)
    best = 0.0
    for cut in logs[:, 1]:
        chosen = logs[:, 1] >= cut
        hits = (chosen & (labels == 1)).sum()
        best = max(best, 2 * hits / (chosen.sum() + (labels == 1).sum()))
    recall, precision = result.recall[1], result.precision[1]
    assert 2 * recall * precision / (recall + precision) == pytest.approx(best)


def test_classes_of_few_images_and_absent_classes_are_not_named():
    images, labels = photos(n=100)
    labels[labels == 2] = 0
    labels[:6] = 2
    for i in range(6):
        images[i][:4] = images[i][-4:] = 255
    result = run(Property.BORDER, images, labels, classes=5)
    assert named(result) == []
    assert np.isnan(result.recall[4])


@pytest.mark.parametrize("shape", [(8, 8), (9, 31), (40, 33), (3, 100), (1, 1)])
def test_thumbnail_cells_equal_their_definition_and_all_shapes_have_features(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for extract in EXTRACTORS.values():
        assert extract(image).shape == extract(np.zeros((50, 60, 3), dtype=np.uint8)).shape
        assert np.isfinite(extract(image)).all()
    height, width = shape
    if min(shape) >= 8:
        cells = [
            image[i * height // 8 : (i + 1) * height // 8, j * width // 8 : (j + 1) * width // 8].mean((0, 1)) / 255
            for i in range(8)
            for j in range(8)
        ]
        np.testing.assert_allclose(shortcuts.thumbnail_features(image)[:192], np.ravel(cells), rtol=1e-5)


def test_plain_border_has_its_color_and_no_deviation():
    image = np.full((100, 100, 3), 90, dtype=np.uint8)
    image[1:-1, 1:-1] = 200
    mean, square, deviation, frame, jump, step = shortcuts.border_features(image)[:18].reshape(6, 3)
    np.testing.assert_allclose(mean, 90 / 255, rtol=1e-5)
    np.testing.assert_allclose(square, (90 / 255) ** 2, rtol=1e-5)
    np.testing.assert_allclose(deviation, 0, atol=1e-6)
    np.testing.assert_allclose(frame, (100 * 90 + 3 * (98 * 200 + 2 * 90)) / 400 / 255, rtol=1e-5)
    assert (jump > 0).all()
    np.testing.assert_allclose(step, 98 / 100 * 110 / 255, rtol=1e-5)


def test_one_class_or_classes_of_few_images_are_not_judged(tmp_path):
    features = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    for labels, classes in ((np.zeros(60, int), 1), (np.full(60, 2), 4), (np.repeat(np.arange(12), 5), 12)):
        result = probe(Property.BORDER, features, labels, np.arange(60), classes=classes)
        assert named(result) == [] and np.isnan(result.recall).all()
    two_classes(tmp_path / "few", count=4)
    assert audited(tmp_path / "few", slow=True)[0].row("shortcuts").status is CheckStatus.NOT_CHECKED
    two_classes(tmp_path / "one")
    for file in (tmp_path / "one" / "dog").iterdir():
        file.write_bytes(b"nothing " + file.name.encode())
    result, _ = audited(tmp_path / "one", slow=True)
    assert result.row("shortcuts").status is result.row("label-errors").status is CheckStatus.NOT_CHECKED


@pytest.mark.parametrize("classes", [3, 40])
def test_files_whose_size_depends_on_the_class_are_named(classes, tmp_path):
    draws = np.random.default_rng(0)
    for label in range(classes):
        folder = tmp_path / f"{label:02}"
        folder.mkdir()
        for number in range(12):
            pixels = draws.integers(0, 256, (32, 36 + 2 * label, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{random_name(100 * label + number)}.bmp")
    row = audited(tmp_path, slow=True)[0].row("shortcuts")
    assert row.status is CheckStatus.WARN
    assert {example.label for example in row.examples} == {f"{label:02}" for label in range(classes)}


def test_classes_of_one_image_can_be_checked(tmp_path):
    write_pictures(tmp_path, {f"c{k}": [f"{random_name(k)}.png"] for k in range(30)})
    assert audited(tmp_path, slow=True)[0].row("shortcuts").status is CheckStatus.NOT_CHECKED


def test_large_data_is_checked_by_a_sample(tmp_path, monkeypatch):
    names = {f"c{k}": [f"{random_name(50 * k + i)}.png" for i in range(12 if k else 3)] for k in range(5)}
    for file in sorted(write_pictures(tmp_path, names).glob("c1/*")):
        picture(seed_of(file.name), 40).save(file)
    _, data = audited(tmp_path)
    whole = draw_sample(data, Limits())
    assert not whole.note and whole.places.tolist() == list(range(51))
    for limits in (Limits(images=30, whole_images=50, class_images=4), Limits(images=30, whole=200, class_images=4),
                   Limits(images=30, classes=3, class_images=4)):  # fmt: skip
        sample = draw_sample(data, limits)
        assert len(sample.places) == 30 and sample.note and (np.diff(sample.places) > 0).all()
        np.testing.assert_array_equal(sample.classes[sample.labels], data.images.labels[sample.places])
        assert 0 not in sample.classes and len(sample.classes) == min(limits.classes, 4)
        assert draw_sample(data, limits).places.tolist() == sample.places.tolist()
        assert draw_sample(data, limits, seed=1).places.tolist() != sample.places.tolist()
    monkeypatch.setattr(shortcut_check, "_LIMITS", Limits(images=46, whole_images=47, class_images=10))
    result = shortcut_check.find_shortcuts(data)
    assert result.status is CheckStatus.WARN and "46" in result.sentence
    assert {int(data.images.labels[example.image]) for example in result.examples} == {1}


def test_large_images_are_sampled_in_steps():
    """Enlarged by a whole factor, an image has the same thumbnail."""
    small = np.random.default_rng(2).integers(0, 256, (64, 70, 3), dtype=np.uint8)
    large = np.kron(small, np.ones((3, 3, 1), dtype=np.uint8))
    np.testing.assert_array_equal(shortcuts.thumbnail_features(large), shortcuts.thumbnail_features(small))


def test_corner_cells_equal_their_definition():
    image = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    cells = [
        corner.reshape(8, 2, 8, 2, 3).mean((1, 3, 4)) / 255
        for corner in (image[:16, :16], image[:16, -16:], image[-16:, :16], image[-16:, -16:])
    ]
    np.testing.assert_allclose(shortcuts.corner_features(image), np.ravel(cells), rtol=1e-5)
