"""Pictures for the report: Grad-CAM against its equations, the choice of photos, and what is left in a run."""

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

from headstart import api
from headstart.analysis import confusion
from headstart.analysis.correctness import predictions
from headstart.artifacts import gallery
from headstart.errors import DataError
from headstart.models import factory, structure
from headstart.models.gradcam import grad_cam
from headstart.report import photos as photos_module
from headstart.reporter import NullReporter
from tests.training.test_setup import Ear


def test_grad_cam_is_its_equations() -> None:
    torch.manual_seed(0)
    network = factory.build("resnet18", 3).eval()
    with torch.no_grad():
        network.fc.weight.abs_()  # so that something speaks for each class
    images, classes = torch.randn(2, 3, 64, 64), torch.tensor([0, 2])
    found = grad_cam(network, structure.block_names(network)[-1], images, classes)
    for number in range(2):
        x = images[number : number + 1]
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            x = network.get_submodule(name)(x)
        seen = x.detach().requires_grad_()
        score = network.fc(seen.mean((2, 3)))[0, classes[number]]
        (gradient,) = torch.autograd.grad(score, seen)
        alpha = gradient[0].sum((1, 2)) / gradient[0, 0].numel()  # equation 1
        wanted = sum(alpha[k] * seen[0, k] for k in range(512)).clamp(min=0).detach()  # equation 2
        wanted = F.interpolate(wanted[None, None], size=(64, 64), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(found[number], wanted / wanted.max(), rtol=1e-3, atol=1e-4)
        assert 0 < wanted.mean() < wanted.max()
    assert all(p.grad is None for p in network.parameters())


@given(st.integers(2, 5), st.integers(1, 80), st.integers(0, 1000))
def test_each_list_has_what_it_says(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, classes, count), rng.normal(size=(count, classes)).astype(np.float32)
    found = gallery.chosen(labels, logits)
    said = logits.argmax(1)
    assert set(found["cells"]) == set(zip(labels.tolist(), said.tolist(), strict=True))
    for (true, guess), rows in found["cells"].items():
        assert 1 <= len(rows) <= gallery.OF_CELL and len(set(rows.tolist())) == len(rows)
        assert (labels[rows] == true).all() and (said[rows] == guess).all()
    assert len(found["mistakes"]) == min(gallery.OF_LIST, int((said != labels).sum()))
    assert (said[found["mistakes"]] != labels[found["mistakes"]]).all()
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), reduction="none").numpy()
    if len(found["mistakes"]):
        assert loss[found["mistakes"][0]] == pytest.approx(loss[said != labels].max(), rel=1e-5)


def test_pictures_are_not_without_number() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 60, 9000), rng.normal(size=(9000, 60)).astype(np.float32)
    most = max(gallery.MOST, confusion.MOST_CLASSES * (confusion.MOST_CLASSES - 1))
    assert sum(map(len, gallery.chosen(labels, logits)["cells"].values())) <= most


def confused(classes: int, count: int, boost: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, logits of a model that knows something, and its confusion."""
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, classes, count), rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += boost
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    return labels, logits, counts


@pytest.mark.parametrize(("classes", "count", "boost"), [(100, 2000, 2.2), (60, 9000, 0.0), (12, 3000, 0.5)])
def test_of_each_kind_of_mistake_that_is_shown_there_is_a_photo(classes: int, count: int, boost: float) -> None:
    labels, logits, counts = confused(classes, count, boost)
    cells = gallery.chosen(labels, logits)["cells"]
    shown = confusion.shown_classes(counts.tolist())
    wrong = {(true, said) for true in shown for said in shown if true != said and counts[true, said]}
    assert wrong <= set(cells) and all(true in shown and said in shown for true, said in cells)
    assert sum(map(len, cells.values())) <= max(gallery.MOST, len(wrong))
    if len(wrong) < 300:  # then there is room for what is right
        assert {(at, at) for at in shown if counts[at, at]} <= set(cells)


def test_cells_that_nobody_can_choose_take_no_room() -> None:
    """A gallery with photos of every cell, as it once was, on a page that shows some of them."""
    labels, logits, counts = confused(100, 2000, 2.2)
    rows: dict[str, list[int]] = {}
    for at, cell in enumerate(zip(labels, logits.argmax(1), strict=True)):
        rows.setdefault("{}-{}".format(*cell), []).append(at)
    photos = [{"key": str(at), "true": 0, "said": 1, "sure": 1.0, "src": "s" * 1000} for at in range(2000)]
    whole = photos_module.Gallery("test", [str(at) for at in range(100)], counts.tolist(), rows, [], [], photos, {})
    shown = confusion.shown_classes(counts.tolist())
    wrong = [f"{true}-{said}" for true in shown for said in shown if true != said and counts[true, said]]
    found = photos_module.that_fit(whole, 2000 * len(wrong))
    assert all(found.cells[cell] for cell in wrong) and found.kept < 1.2 * len(wrong)
    less = photos_module.that_fit(whole, 1000 * len(wrong))
    frequent = [counts[tuple(map(int, cell.split("-")))] for cell in wrong if less.cells[cell]]
    rare = [counts[tuple(map(int, cell.split("-")))] for cell in wrong if not less.cells[cell]]
    assert rare and min(frequent) >= max(rare)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = api.train("digits:0-2", network="timm:test_resnet", image_size=16, batch_size=16, epochs="1ep", threads=1,
                     precision="fp32", runs=tmp_path_factory.mktemp("runs"))  # fmt: skip
    return made.folder


@given(st.integers(2, 80), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_a_confusion_shows_all_classes_or_those_confused_most(classes: int, wrong: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.diag(rng.integers(0, 9, classes))
    np.add.at(counts, (rng.integers(0, classes, wrong), rng.integers(0, classes, wrong)), 1)
    shown = confusion.shown_classes(counts.tolist())
    assert shown == sorted(set(shown)) and len(shown) == min(classes, confusion.MOST_CLASSES)
    off = counts - np.diag(np.diag(counts))
    most = np.maximum(off.max(axis=0), off.max(axis=1))  # of a class: its largest confusion, either way
    left = [at for at in range(classes) if at not in shown]
    # Of two classes that are confused equally often, one may be left out.
    assert max(most[left], default=0) <= min((most[at] for at in shown), default=0)


def test_a_run_ends_with_its_gallery(run: Path) -> None:
    found = photos_module.read(run)
    confusion = json.loads((run / "result.json").read_text())["test"]["confusion"]
    assert found is not None and found.counts == confusion and found.split == "test"
    with np.load(run / "artifacts" / "predictions.npz") as arrays:
        labels = dict(zip(arrays["image"].tolist(), arrays["label"].tolist(), strict=True))
    assert {photo["key"] for photo in found.photos} <= set(labels)
    assert all(labels[photo["key"]] == photo["true"] for photo in found.photos)
    assert sum(pair[2] for pair in found.pairs) == sum(map(sum, confusion)) - sum(confusion[i][i] for i in range(3))
    assert set(found.filters) == {"before", "after"} and found.filters["before"] != found.filters["after"]
    with zipfile.ZipFile(run / "artifacts" / "gallery.zip") as archive:
        assert Image.open(io.BytesIO(archive.read("0.webp"))).size == (gallery.SIDE, gallery.SIDE)
    before = (run / "artifacts" / "gallery.zip").read_bytes()
    gallery.write(run)
    assert (run / "artifacts" / "gallery.zip").read_bytes() == before


def test_ctrl_c_leaves_the_pictures_out_of_a_run_that_is_done(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gallery, "write", stopped)
    ear = Ear()
    gallery.illustrate(run, ear)
    assert ear.said == [f"Stopped: {run} is finished, and its report has no pictures."]


def test_a_damaged_gallery_is_none(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "artifacts" / "gallery.zip"
    path.write_bytes(path.read_bytes()[:200])
    assert photos_module.read(tmp_path / "run") is None
    for wrong in ([], {"photos": [{}]}, {"split": "test", "classes": ["a"], "counts": [["x"]], "cells": {"0-0": [7]},
                                         "lists": {"mistakes": [], "unsure": []}, "photos": []}):  # fmt: skip
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("index.json", json.dumps(wrong))
        assert photos_module.read(tmp_path / "run") is None
    path.unlink()
    assert photos_module.read(tmp_path / "run") is None
    (tmp_path / "run" / "artifacts" / "predictions.npz").unlink()
    gallery.illustrate(tmp_path / "run", NullReporter())  # a run stands without its pictures
    assert not path.exists()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_predictions_are_told_or_whole(run: Path, data: st.DataObject) -> None:
    """A byte that has changed, or an end that is missing."""
    content = bytearray((run / "artifacts" / "predictions.npz").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    with TemporaryDirectory() as folder:
        (Path(folder) / "artifacts").mkdir()
        (Path(folder) / "artifacts" / "predictions.npz").write_bytes(content)
        try:
            found = predictions(Path(folder), "test")
        except DataError as error:
            assert "cannot be read" in error.message and error.hint
        else:
            assert len(found.images) == len(found.labels) == len(found.said)


def test_a_picture_of_filters_has_every_filter_in_its_colours() -> None:
    weights = np.zeros((3, 3, 2, 2), dtype=np.float32)
    weights[0, 0], weights[1, 1], weights[2, 2] = 1, -1, 0.5
    picture = np.asarray(Image.open(io.BytesIO(photos_module.filter_picture(weights))))
    step = 2 * photos_module.LARGER + photos_module.GAP
    assert picture.shape == (step, 3 * step, 3)
    assert picture[0, 0].tolist() == [255, 128, 128]
    assert picture[0, step].tolist() == [128, 0, 128] and picture[0, 2 * step].tolist() == [128, 128, 191]
