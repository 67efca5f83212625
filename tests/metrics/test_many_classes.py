"""Files and predictions of many classes grow with the number of images, not with the square of that of classes."""

import csv
import io
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from sklearn import metrics as sk

import headstart
from headstart.cli.render import as_csv
from headstart.errors import UsageError
from headstart.metrics import top_logits as kept
from headstart.metrics.confusion_counts import MAX_CLASSES, MAX_COUNT, ConfusionCounts
from headstart.metrics.registry import METRICS, MetricSpec
from headstart.metrics.values import counts_value, image_values, metric_value, require_kept_logits
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import EpochLine
from headstart.training.scoring import Scorer
from tests.handmade import counts_of, table_of
from tests.memory import cost

MAX_BYTES = 50_000_000  # of the record, the result and the report of 20,000 classes
TINY = {"network": "timm:test_resnet", "image_size": 16, "batch_size": 128, "precision": "fp32", "threads": 1}

pairs = st.integers(1, 40).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), max_size=60))
)


@given(pairs)
def test_counts_are_those_of_the_dense_matrix(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, images = case
    table = np.zeros((classes, classes), dtype=int)
    for true, predicted in images:
        table[true, predicted] += 1
    labels, guesses = np.array(images, dtype=np.int64).reshape(-1, 2).T
    counts = ConfusionCounts.of_labels(labels, guesses, classes)
    assert ConfusionCounts.model_validate_json(counts.model_dump_json()) == counts == counts_of(table.tolist())
    assert table_of(counts) == counts.block(range(classes)).tolist() == table.tolist()
    assert (counts.images, counts.correct) == (len(images), np.trace(table))
    assert counts.true_totals.tolist() == table.sum(axis=1).tolist()
    assert counts.predicted_totals.tolist() == table.sum(axis=0).tolist()
    errors = [(table[i, j], i, j) for i in range(classes) for j in range(classes) if i != j and table[i, j]]
    assert counts.errors() == sorted(errors, key=lambda cell: -cell[0])
    chosen = list(range(classes))[::-2]
    assert counts.block(chosen).tolist() == table[np.ix_(chosen, chosen)].tolist()


@pytest.mark.parametrize(
    "damage",
    [
        {"true": [0]},
        {"true": [1, 0]},
        {"true": [0, 0], "predicted": [1, 1]},
        {"counts": [1, 0]},
        {"predicted": [1, 3]},
        {"predicted": [-1, 2]},
        {"classes": -1},
        {"more": 1},
    ],
)
def test_damaged_counts_are_rejected(damage: dict[str, object]) -> None:
    sound = {"classes": 3, "true": [0, 1], "predicted": [1, 2], "counts": [4, 5]}
    assert ConfusionCounts.model_validate(sound).images == 9
    with pytest.raises(ValidationError):
        ConfusionCounts.model_validate({**sound, **damage})


@pytest.mark.parametrize("classes", [300, 5000])
def test_metrics_of_many_classes_equal_those_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 4000)
    predicted = np.where(rng.random(4000) < 0.5, labels, rng.integers(0, classes, 4000))
    counts = ConfusionCounts.of_labels(labels, predicted, classes)
    with warnings.catch_warnings():  # scikit-learn warns of predicted classes that have no images
        warnings.simplefilter("ignore")
        expected = {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced": sk.balanced_accuracy_score(labels, predicted),
            "macro-f1": sk.f1_score(labels, predicted, average="macro"),
        }
    assert {name: counts_value(name, counts) for name in expected} == pytest.approx(expected, abs=1e-12)


def test_record_grows_linearly_with_the_classes() -> None:
    """Two images of each class, one of them wrong."""
    sizes = {}
    for classes in (500, 1000, 2000):
        labels = np.repeat(np.arange(classes), 2)
        predicted = np.where(np.arange(2 * classes) % 2, labels, (labels * 7 + 1) % classes)
        sizes[classes] = len(ConfusionCounts.of_labels(labels, predicted, classes).model_dump_json())
    assert sizes[1000] < 2.3 * sizes[500] and sizes[2000] < 2.3 * sizes[1000]


def make_logits(images: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, images)
    logits = (4 * rng.normal(size=(images, classes))).astype(np.float32)
    logits[np.arange(images), labels] += rng.normal(6, 3, images).astype(np.float32)
    logits[:3] = 0  # as of a run that diverged: the first class is predicted
    return labels, logits


@pytest.mark.parametrize("name", [name for name, spec in METRICS.items() if spec.of_images])
def test_values_of_the_largest_logits_equal_those_of_all(name: str) -> None:
    labels, logits = make_logits(50, 1500)
    top = kept.top_logits(labels, logits)
    np.testing.assert_allclose(image_values(name, labels, top), image_values(name, labels, logits), atol=1e-5)
    assert metric_value(name, labels, top) == pytest.approx(metric_value(name, labels, logits), abs=1e-6)


def test_largest_logits_are_in_order_and_exact() -> None:
    labels, logits = make_logits(50, 1500)
    top = kept.top_logits(labels, logits)
    assert np.array_equal(kept.predicted_classes(top), logits.argmax(1))
    assert np.array_equal(top.logits, np.take_along_axis(logits, top.classes, axis=1))
    assert np.array_equal(top.logits, -np.sort(-logits, axis=1)[:, : kept.KEPT_LOGITS])
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    np.testing.assert_allclose(top.top_probabilities, np.take_along_axis(probabilities, top.classes, axis=1), rtol=1e-6)
    np.testing.assert_allclose(top.label_probabilities, probabilities[np.arange(50), labels], rtol=1e-6)


def test_metric_without_a_function_of_the_largest_logits_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "full", MetricSpec("full", "", of_images=METRICS["brier"].of_images))
    labels, logits = make_logits(5, 1500)
    assert len(image_values("full", labels, logits)) == 5
    with pytest.raises(UsageError, match="full"):
        image_values("full", labels, kept.top_logits(labels, logits))
    require_kept_logits("full", kept.MAX_FULL_CLASSES)
    with pytest.raises(UsageError, match="full"):  # which a study does before it trains
        require_kept_logits("full", kept.MAX_FULL_CLASSES + 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.sampled_from([3, 1000, 1001]), st.integers(1, 40))
def test_score_of_batches_is_that_of_all_images(images: int, classes: int, batch: int) -> None:
    labels, logits = make_logits(images, classes)
    scorer = Scorer(labels, keep=True)
    for begin in range(0, images, batch):
        scorer.add(logits[begin : begin + batch])
    score = scorer.score()
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert score.loss == float(loss)  # the same bits
    assert score.counts == ConfusionCounts.of_labels(labels, logits.argmax(1), classes)
    if classes <= kept.MAX_FULL_CLASSES:
        assert np.array_equal(score.logits, logits)
    else:
        whole = kept.top_logits(labels, logits)
        assert all(np.array_equal(getattr(score.logits, name), getattr(whole, name)) for name in kept.ARRAYS)


@pytest.mark.parametrize("images", [0, 4])
def test_score_of_a_part_of_the_images_is_an_error(images: int) -> None:
    labels, logits = make_logits(5, 3)
    scorer = Scorer(labels)
    scorer.add(logits[:images])
    with pytest.raises(ValueError, match="images"):
        scorer.score()


# --- runs --------------------------------------------------------------------------------------------------------


def write_images(folder: Path, classes: int) -> Path:
    """Write two training images and one of val for each class, and the table that declares them."""
    rng = np.random.default_rng(0)
    rows = [("path", "label", "split")]
    for label in range(classes):
        part = folder / str(label // 200)
        part.mkdir(parents=True, exist_ok=True)
        base = rng.integers(0, 200, (16, 16, 3))
        for number, split in enumerate(("train", "train", "val")):
            path = part / f"{label}-{number}.png"
            Image.fromarray((base + rng.integers(0, 56, base.shape)).astype(np.uint8)).save(path, compress_level=1)
            rows.append((str(path.relative_to(folder)), f"species {label:05d}", split))
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder / "data.csv"


def train_and_measure(folder: Path, classes: int) -> tuple[headstart.Run, dict[str, int]]:
    """Train one epoch; return the run, and the bytes of its files and of its report."""
    run = headstart.train(str(write_images(folder / "photos", classes)), epochs="1ep", runs=folder / "runs", **TINY)
    files = [run.folder / "metrics.jsonl", run.folder / "result.json", *run.folder.glob("events.*")]
    files += [run.folder / "artifacts" / name for name in ("predictions.npz", "gallery.zip")]
    files.append(headstart.write_report(run.folder))
    return run, {file.name.split(".")[0]: file.stat().st_size for file in files}


def test_run_of_many_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More classes than predictions keep all logits of; the limit is lowered so that few images suffice."""
    monkeypatch.setattr("headstart.training.scoring.MAX_FULL_CLASSES", 100)
    monkeypatch.setattr("headstart.inference.predictor.MAX_FULL_CLASSES", 100)
    small, large = (train_and_measure(tmp_path / str(classes), classes) for classes in (150, 300))
    for name in ("metrics", "result"):
        assert large[1][name] < 2.3 * small[1][name] + 20_000
    run = large[0]
    (line,) = (line for line in read_lines(run.folder / "metrics.jsonl") if isinstance(line, EpochLine))
    assert line.confusion.classes == 300 and line.confusion.images == 300
    assert np.array_equal(line.confusion.true_totals, np.ones(300))
    with np.load(run.folder / "artifacts" / "predictions.npz") as arrays:
        assert "logits" not in arrays and arrays["top_classes"].shape == (300, kept.KEPT_LOGITS)
        predicted, labels = arrays["top_classes"][:, 0], arrays["label"]
        losses = arrays["top_log_sum_exp"] - arrays["top_label_logits"]
    assert run.result.val.confusion == ConfusionCounts.of_labels(labels, predicted, 300)
    assert run.result.val.loss == pytest.approx(losses.mean(), rel=1e-5)
    evaluation = headstart.evaluate(run.folder, str(tmp_path / "300" / "photos" / "data.csv"), split="val")
    assert evaluation.confusion == run.result.val.confusion
    (prediction,) = run.predict(tmp_path / "300" / "photos" / "0" / "7-0.png")
    assert len(prediction.top) == kept.KEPT_LOGITS and prediction.top[0] == (prediction.label, prediction.confidence)
    (full,) = headstart.Predictor(run.folder).predict(tmp_path / "300" / "photos" / "0" / "7-0.png")
    assert [p for _name, p in prediction.top] == sorted(full.probabilities, reverse=True)[: kept.KEPT_LOGITS]
    assert prediction.to_json(run.plan.facts.class_names)["probabilities"] == dict(prediction.top)
    (row,) = csv.DictReader(io.StringIO(as_csv([prediction], ())))
    assert row["top 1"] == prediction.label and float(row["p(top 20)"]) == prediction.top[-1][1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_classes_need_little_space(tmp_path: Path) -> None:
    run, sizes = train_and_measure(tmp_path, 20_000)
    assert run.result.val.n == 20_000 and run.result.val.confusion.classes == 20_000
    assert {name: size for name, size in sizes.items() if size >= MAX_BYTES} == {}
    shutil.rmtree(tmp_path / "photos")
    assert json.loads((run.folder / "result.json").read_text())["val"]["n"] == 20_000


@pytest.mark.parametrize(("classes", "count"), [(MAX_CLASSES + 1, 1), (10**9, 1), (2, MAX_COUNT + 1), (2, 10**30)])
def test_counts_that_no_data_has_are_refused(classes: int, count: int) -> None:
    content = {"classes": 2, "true": [0], "predicted": [1], "counts": [3]}
    ConfusionCounts.model_validate(content | {"classes": MAX_CLASSES})
    with pytest.raises(ValidationError):
        ConfusionCounts.model_validate(content | {"classes": classes, "counts": [count]})


def test_a_picture_of_the_most_classes_takes_little_memory() -> None:
    counts = f"ConfusionCounts(classes={MAX_CLASSES}, true=[0], predicted=[1], counts=[3])"
    setup = "from headstart.metrics.confusion_counts import ConfusionCounts\n"
    setup += "from headstart.telemetry.confusion_image import confusion_picture"
    picture = cost(setup, f"confusion_picture({counts}, [])")
    assert picture.error == "-"
    assert picture.megabytes < 500
    assert picture.seconds < 10
