"""Tests of the gallery: Grad-CAM against its equations, the selection of images, and gallery.zip."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import headstart
from headstart.analysis import confusion
from headstart.analysis.correctness import read_predictions
from headstart.artifacts import gallery
from headstart.errors import DataError
from headstart.models import factory, structure
from headstart.models.gradcam import grad_cam
from headstart.report import photos
from headstart.reporter import NullReporter
from headstart.storage.seals import BrokenSealError
from tests.handmade import counts_of, read_table, table_of
from tests.messages import fields_of
from tests.training.test_setup import RecordingReporter


def test_grad_cam_equals_its_equations() -> None:
    torch.manual_seed(0)
    network = factory.build("resnet18", 3).eval()
    with torch.no_grad():
        network.fc.weight.abs_()  # so that each class has positive evidence
    images, classes = torch.randn(2, 3, 64, 64), torch.tensor([0, 2])
    maps = grad_cam(network, structure.block_names(network)[-1], images, classes)
    for number in range(2):
        x = images[number : number + 1]
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            x = network.get_submodule(name)(x)
        features = x.detach().requires_grad_()
        score = network.fc(features.mean((2, 3)))[0, classes[number]]
        (gradient,) = torch.autograd.grad(score, features)
        alpha = gradient[0].sum((1, 2)) / gradient[0, 0].numel()  # equation 1
        expected = sum(alpha[k] * features[0, k] for k in range(512)).clamp(min=0).detach()  # equation 2
        expected = F.interpolate(expected[None, None], size=(64, 64), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(maps[number], expected / expected.max(), rtol=1e-3, atol=1e-4)
        assert 0 < expected.mean() < expected.max()
    assert all(p.grad is None for p in network.parameters())


class Twice(nn.Module):
    """Calls one layer twice, the second time on its first output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)
        self.graph: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        self.graph.append(features.requires_grad)
        features = F.relu(self.block(self.block(features)), inplace=True)
        self.graph.append(features.requires_grad)
        return self.head(features.mean((2, 3)))


def test_grad_cam_records_no_graph_before_its_layer_which_may_be_called_twice() -> None:
    torch.manual_seed(0)
    network, images, classes = Twice(), torch.randn(2, 3, 8, 8), torch.tensor([0, 1])
    maps = grad_cam(network, "block", images, classes)
    assert network.graph == [False, True]
    features = network.block(network.stem(images)).detach().requires_grad_()
    logits = network.head(F.relu(network.block(features)).mean((2, 3)))
    (gradient,) = torch.autograd.grad(logits[[0, 1], classes].sum(), features)
    expected = F.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1)).detach()
    torch.testing.assert_close(maps, expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-12))


@given(st.integers(2, 5), st.integers(1, 80), st.integers(0, 1000))
def test_selected_images_belong_to_their_lists(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, classes, count), rng.normal(size=(count, classes)).astype(np.float32)
    lists = gallery.select_images(labels, logits)
    predicted = logits.argmax(1)
    assert set(lists.cells) == set(zip(labels.tolist(), predicted.tolist(), strict=True))
    for (true, guess), rows in lists.cells.items():
        assert 1 <= len(rows) <= gallery.MAX_PER_CELL and len(set(rows.tolist())) == len(rows)
        assert (labels[rows] == true).all() and (predicted[rows] == guess).all()
    assert len(lists.mistakes) == min(gallery.MAX_PER_LIST, int((predicted != labels).sum()))
    assert (predicted[lists.mistakes] != labels[lists.mistakes]).all()
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), reduction="none").numpy()
    if len(lists.mistakes):
        assert loss[lists.mistakes[0]] == pytest.approx(loss[predicted != labels].max(), rel=1e-5)


def test_number_of_selected_images_is_limited() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 60, 9000), rng.normal(size=(9000, 60)).astype(np.float32)
    most = max(gallery.MAX_CELL_IMAGES, confusion.MAX_SHOWN_CLASSES * (confusion.MAX_SHOWN_CLASSES - 1))
    assert sum(map(len, gallery.select_images(labels, logits).cells.values())) <= most


def confused_predictions(classes: int, count: int, boost: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, logits of a model that is better than chance if `boost` > 0, and its confusion counts."""
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, classes, count), rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += boost
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    return labels, logits, counts


@pytest.mark.parametrize(("classes", "count", "boost"), [(100, 2000, 2.2), (60, 9000, 0.0), (12, 3000, 0.5)])
def test_each_shown_kind_of_mistake_has_an_image(classes: int, count: int, boost: float) -> None:
    labels, logits, counts = confused_predictions(classes, count, boost)
    cells = gallery.select_images(labels, logits).cells
    shown = confusion.shown_classes(counts_of(counts.tolist()))
    wrong = {(true, guess) for true in shown for guess in shown if true != guess and counts[true, guess]}
    assert wrong <= set(cells) and all(true in shown and guess in shown for true, guess in cells)
    assert sum(map(len, cells.values())) <= max(gallery.MAX_CELL_IMAGES, len(wrong))
    if len(wrong) < 300:  # then correct predictions are selected too
        assert {(at, at) for at in shown if counts[at, at]} <= set(cells)


def test_cells_that_a_page_does_not_show_use_no_space() -> None:
    """The gallery has images of every cell; the page shows some of the cells."""
    labels, logits, counts = confused_predictions(100, 2000, 2.2)
    rows: dict[str, list[int]] = {}
    for at, cell in enumerate(zip(labels, logits.argmax(1), strict=True)):
        rows.setdefault("{}-{}".format(*cell), []).append(at)
    entries = [photos.Photo(str(at), true=0, predicted=1, confidence=1.0, src="s" * 1000) for at in range(2000)]
    full = photos.Gallery("test", [str(at) for at in range(100)], counts_of(counts.tolist()), rows, [], [], entries, {})
    shown = confusion.shown_classes(counts_of(counts.tolist()))
    wrong = [f"{true}-{guess}" for true in shown for guess in shown if true != guess and counts[true, guess]]
    fitting = photos.fit_gallery(full, 2000 * len(wrong))
    assert all(fitting.cells[cell] for cell in wrong) and fitting.photo_count < 1.2 * len(wrong)
    smaller = photos.fit_gallery(full, 1000 * len(wrong))
    frequent = [counts[tuple(map(int, cell.split("-")))] for cell in wrong if smaller.cells[cell]]
    rare = [counts[tuple(map(int, cell.split("-")))] for cell in wrong if not smaller.cells[cell]]
    assert rare and min(frequent) >= max(rare)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"network": "timm:test_resnet", "image_size": 16, "batch_size": 16, "epochs": "1ep", "threads": 1}
    return headstart.train("digits:0-2", **options, precision="fp32", runs=tmp_path_factory.mktemp("runs")).folder


@given(st.integers(2, 80), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_confusion_shows_all_classes_or_the_most_confused(classes: int, wrong: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.diag(rng.integers(0, 9, classes))
    np.add.at(counts, (rng.integers(0, classes, wrong), rng.integers(0, classes, wrong)), 1)
    shown = confusion.shown_classes(counts_of(counts.tolist()))
    assert shown == sorted(set(shown)) and len(shown) == min(classes, confusion.MAX_SHOWN_CLASSES)
    off = counts - np.diag(np.diag(counts))
    most = np.maximum(off.max(axis=0), off.max(axis=1))  # largest confusion of each class, in either direction
    hidden = [at for at in range(classes) if at not in shown]
    # Of two classes that are confused equally often, one may be left out.
    assert max(most[hidden], default=0) <= min((most[at] for at in shown), default=0)


def test_run_writes_its_gallery(run: Path) -> None:
    pictures = photos.load_gallery(run)
    confusion = read_table(run)
    assert pictures is not None and table_of(pictures.counts) == confusion and pictures.split == "test"
    with np.load(run / "artifacts" / "predictions.npz") as arrays:
        labels = dict(zip(arrays["image"].tolist(), arrays["label"].tolist(), strict=True))
    assert {photo.key for photo in pictures.photos} <= set(labels)
    assert all(labels[photo.key] == photo.true for photo in pictures.photos)
    assert sum(pair[2] for pair in pictures.pairs) == sum(map(sum, confusion)) - sum(confusion[i][i] for i in range(3))
    assert set(pictures.filters) == {"before", "after"} and pictures.filters["before"] != pictures.filters["after"]
    with zipfile.ZipFile(run / "artifacts" / "gallery.zip") as archive:
        assert Image.open(io.BytesIO(archive.read("0.webp"))).size == (gallery.THUMBNAIL_PX, gallery.THUMBNAIL_PX)
    before = (run / "artifacts" / "gallery.zip").read_bytes()
    gallery.write_gallery(run)
    assert (run / "artifacts" / "gallery.zip").read_bytes() == before


def test_photos_of_other_predictions_are_refused(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    path = copy / "artifacts" / "predictions.npz"
    with np.load(path) as arrays:
        changed = dict(arrays)
    changed["label"] = changed["label"][::-1]
    np.savez(path, **changed)
    with pytest.raises(BrokenSealError) as caught:
        photos.load_gallery(copy)
    assert fields_of(caught.value.message) == {"path": path}
    path.unlink()
    pictures = photos.load_gallery(copy)
    assert pictures is not None and pictures.photos and not pictures.paths


def test_ctrl_c_skips_the_gallery_of_a_finished_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gallery, "write_gallery", interrupt)
    ear = RecordingReporter()
    gallery.write_if_possible(run, ear)
    assert [fields_of(sentence) for sentence in ear.sentences] == [{"run": run}]


def test_damaged_gallery_is_ignored(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "artifacts" / "gallery.zip"
    path.write_bytes(path.read_bytes()[:200])
    assert photos.load_gallery(tmp_path / "run") is None
    counts = {"classes": 1, "true": ["x"], "predicted": [0], "counts": [1]}
    for wrong in ([], {"photos": [{}]}, {"split": "test", "classes": ["a"], "counts": counts, "cells": {"0-0": [7]},
                                         "lists": {"mistakes": [], "least_confident": []}, "photos": []}):  # fmt: skip
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("index.json", json.dumps(wrong))
        assert photos.load_gallery(tmp_path / "run") is None
    path.unlink()
    assert photos.load_gallery(tmp_path / "run") is None
    (tmp_path / "run" / "artifacts" / "predictions.npz").unlink()
    gallery.write_if_possible(tmp_path / "run", NullReporter())  # reports the error
    assert not path.exists()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_predictions_raise_an_error_or_are_complete(run: Path, data: st.DataObject) -> None:
    """A byte is changed, or the end of the file is missing."""
    content = bytearray((run / "artifacts" / "predictions.npz").read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[position] ^= data.draw(st.integers(1, 255))
    else:
        del content[position:]
    with TemporaryDirectory() as folder:
        (Path(folder) / "artifacts").mkdir()
        (Path(folder) / "artifacts" / "predictions.npz").write_bytes(content)
        try:
            predicted = read_predictions(Path(folder), "test")
        except DataError as error:
            assert fields_of(error.message)["path"] == Path(folder) / "artifacts" / "predictions.npz" and error.hint
        else:
            assert len(predicted.images) == len(predicted.labels) == len(predicted.predicted)


def test_filter_picture_has_every_filter_in_its_colors() -> None:
    weights = np.zeros((3, 3, 2, 2), dtype=np.float32)
    weights[0, 0], weights[1, 1], weights[2, 2] = 1, -1, 0.5
    picture = np.asarray(Image.open(io.BytesIO(photos.draw_filters(weights))))
    step = 2 * photos.UPSCALE + photos.GAP_PX
    assert picture.shape == (step, 3 * step, 3)
    assert picture[0, 0].tolist() == [255, 128, 128]
    assert picture[0, step].tolist() == [128, 0, 128] and picture[0, 2 * step].tolist() == [128, 128, 191]
