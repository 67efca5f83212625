"""Tests of predict and evaluate: preprocessing as in training, correct numbers, and output for any file name."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm
from sklearn.metrics import accuracy_score, confusion_matrix

from headstart.artifacts.find_model import find_model
from headstart.cli.main import main
from headstart.cli.render import as_csv, as_table
from headstart.config.flag_words import flag_words
from headstart.data.pixels import MAX_PIXELS
from headstart.data.sources import read_index
from headstart.errors import DataError, ModelFileError, UsageError
from headstart.i18n import Message, _
from headstart.inference.evaluate import SPLIT_NOTES, ModelEvaluation, describe_evaluation, evaluate
from headstart.inference.predictor import Prediction, Predictor, require_predictions
from headstart.printable import printable, printable_cell
from headstart.reporter import NullReporter
from tests.handmade import counts_of, seal, table_of
from tests.messages import fields_of, values_of
from tests.trained import SETTINGS, train, trained
from tests.training.test_setup import RecordingReporter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory)


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor(folder)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 digits, six of each class, in class folders."""
    root = tmp_path_factory.mktemp("digits")
    index = read_index(SETTINGS["source"])
    for label, name in enumerate(index.classes):
        (root / name).mkdir()
        for i in np.flatnonzero(index.labels == label)[:6]:
            shutil.copy(index.paths[i], root / name)
    return root


@pytest.fixture(scope="module")
def photo(digits: Path) -> Image.Image:
    """A color image without symmetry, 24 x 18 px."""
    with Image.open(sorted((digits / "2").iterdir())[0]) as image:
        gray = np.asarray(image.convert("L").resize((24, 18)))
    return Image.fromarray(np.stack([gray, gray // 2, 255 - gray], axis=2))


def probabilities(predictor: Predictor, path: Path) -> np.ndarray:
    (prediction,) = predictor.predict([path])
    assert prediction.error == "" and sum(prediction.probabilities) == pytest.approx(1)
    assert prediction.label == predictor.classes[int(np.argmax(prediction.probabilities))]
    assert prediction.confidence == max(prediction.probabilities)
    return np.array(prediction.probabilities)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_rotation_does_not_change_the_prediction(orientation, predictor, photo, tmp_path: Path) -> None:
    # Pillow's transpositions that undo `orientation`
    transposes = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}
    stored = photo
    for method in transposes[orientation]:
        stored = stored.transpose(Image.Transpose(method))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    photo.save(tmp_path / "plain.png")
    stored.save(tmp_path / "lying.png")
    upright = probabilities(predictor, tmp_path / "plain.png")
    assert np.array_equal(probabilities(predictor, tmp_path / "turned.png"), upright)
    assert not np.array_equal(probabilities(predictor, tmp_path / "lying.png"), upright)


def test_other_color_modes_are_predicted_as_rgb(predictor, photo, tmp_path: Path) -> None:
    palette = photo.quantize(16)
    palette.save(tmp_path / "palette.png")
    palette.convert("RGB").save(tmp_path / "palette-rgb.png")
    cmyk = photo.convert("CMYK")
    cmyk.save(tmp_path / "cmyk.tif")
    cmyk.convert("RGB").save(tmp_path / "cmyk-rgb.png")
    gray = np.asarray(photo.convert("L"))
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(gray).save(tmp_path / "sixteen-rgb.png")
    clear = photo.convert("RGBA")
    clear.putalpha(128)
    clear.save(tmp_path / "clear.png")
    white = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    white.convert("RGB").save(tmp_path / "clear-rgb.png")
    predictions = set()
    for name in ("palette.png", "cmyk.tif", "sixteen.png", "clear.png"):
        path = tmp_path / name
        with Image.open(path) as image:
            assert image.mode != "RGB"
        predicted = probabilities(predictor, path)
        assert np.array_equal(predicted, probabilities(predictor, tmp_path / f"{path.stem}-rgb.png")), name
        predictions.add(predicted.tobytes())
    assert len(predictions) == 4


def test_folders_are_searched_and_files_keep_their_order(predictor, digits: Path) -> None:
    files = [sorted((digits / "3").iterdir())[0], sorted((digits / "1").iterdir())[0]]
    predictions = list(predictor.predict([files[0], digits, files[1]]))
    assert len(predictions) == 26
    assert [predictions[0].image, predictions[-1].image] == list(map(str, files))
    assert [p.image for p in predictions[1:-1]] == [
        str(p) for name in "0123" for p in sorted((digits / name).iterdir())
    ]
    assert predictions[0] in predictions[1:-1]


def main_with_partial_failure(words: list[str], capsys):
    """Run a command that fails for some of its inputs (exit code 3); return its output."""
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 3
    return capsys.readouterr()


def test_unreadable_files_do_not_stop_the_others(folder, predictor, digits, tmp_path: Path, capsys) -> None:
    good = sorted((digits / "0").iterdir())[0]
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "empty.png").touch()
    bad = [tmp_path / name for name in ("cut.png", "page.jpg", "empty.png", "missing.png")]
    failed = list(predictor.predict(bad))
    names = [{"format", "text"}, {"format"}, set(), {"reason"}]
    assert [fields_of(p.error).keys() for p in failed] == names
    words = ["predict", str(folder), str(bad[0]), str(good), *map(str, bad[1:])]
    output = main_with_partial_failure(words, capsys)
    lines = output.out.splitlines()
    assert re.findall(r"\d+", output.err.splitlines()[-2]) == ["4", "5"]
    assert len(lines) == 5 and "%" in lines[1] and str(good) in lines[1]
    for line, path, prediction in zip([lines[0], *lines[2:]], bad, failed, strict=True):
        assert line.startswith(str(path)) and "%" not in line
        assert line.removeprefix(str(path)).strip() == prediction.error
    parsed = json.loads(main_with_partial_failure([*words, "--json"], capsys).out)
    assert [sorted(row) for row in parsed].count(["error", "image"]) == 4
    with pytest.raises(SystemExit) as exit_info:
        main(["predict", str(folder), *map(str, bad)])
    output = capsys.readouterr()
    assert exit_info.value.code == 3 and output.out == ""
    with pytest.raises(DataError) as caught:
        require_predictions(failed)
    assert fields_of(caught.value.message) == {"count": 4, "image": str(bad[0]), **fields_of(failed[0].error)}
    assert output.err.splitlines()[-2:] == [caught.value.message, caught.value.hint]
    with pytest.raises(SystemExit) as exit_info:
        main(["predict", str(folder), str(bad[2])])
    assert exit_info.value.code == 3 and str(bad[2]) in capsys.readouterr().err


def test_decompression_bomb_is_refused_without_a_warning(predictor, digits, tmp_path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    predictions = list(predictor.predict([tmp_path / "bomb.png", sorted((digits / "0").iterdir())[0]]))
    assert fields_of(predictions[0].error) == {"megapixels": MAX_PIXELS // 10**6} and predictions[1].label


HOSTILE = ["<b>bold.png", "two\nlines.png", 'a,b"c.png', "=cmd().png", "\x1b[31mred.png", "ünï ☃.png", "'quote.png"]


def test_json_csv_and_table_agree_for_any_file_name(folder, digits, tmp_path: Path, capsys) -> None:
    good = sorted((digits / "0").iterdir())[0]
    for name in HOSTILE:
        shutil.copy(good, tmp_path / name)
    words = ["predict", str(folder), *(str(tmp_path / name) for name in HOSTILE), str(tmp_path / "no\tfile")]
    parsed = json.loads(main_with_partial_failure([*words, "--json"], capsys).out)
    rows = list(csv.DictReader(io.StringIO(main_with_partial_failure([*words, "--csv"], capsys).out)))
    table = main_with_partial_failure(words, capsys).out.splitlines()
    assert [row["image"] for row in parsed] == words[2:]  # JSON is exact
    assert [row["image"] for row in rows] == list(map(printable_cell, words[2:]))
    assert len(table) == len(words) - 2
    for row, line, text in zip(parsed[:-1], rows[:-1], table[:-1], strict=True):
        assert line["label"] == row["label"] and float(line["confidence"]) == row["confidence"] and line["error"] == ""
        assert {n: float(line[f"p({n})"]) for n in "0123"} == row["probabilities"]
        assert text.startswith(printable(row["image"])) and text.endswith(f"%  {row['label']}")
        assert text.isprintable()
    assert rows[-1]["error"] == parsed[-1]["error"] and rows[-1]["label"] == "" and "no\\tfile" in table[-1]


def test_file_name_that_is_not_unicode_is_printed_escaped(folder, digits, tmp_path: Path, capsys) -> None:
    path = tmp_path / b"\xff.png".decode(errors="surrogateescape")
    shutil.copy(sorted((digits / "0").iterdir())[0], path)
    for flag in ("--json", "--csv"):
        main(["predict", str(folder), str(path), flag])
        assert "udcff" in capsys.readouterr().out


def test_classes_named_like_csv_columns_keep_their_own_columns() -> None:
    predictions = [Prediction("a.png", "image", 0.75, (0.25, 0.75))]
    (row,) = csv.DictReader(io.StringIO(as_csv(predictions, ["error", "image"])))
    assert row == {
        "image": "a.png",
        "label": "image",
        "confidence": "0.75",
        "error": "",
        "p(error)": "0.25",
        "p(image)": "0.75",
    }
    assert as_table(predictions) == ["a.png   75.0 %  image"]
    assert as_table([]) == []
    with pytest.raises(DataError) as error:
        require_predictions([])
    assert values_of(error.value.message) == []


def split_note(evaluation: ModelEvaluation) -> dict[str, object]:
    """Return the split in the first line of the description, with its note."""
    split = describe_evaluation(evaluation)[0].values["split"]
    assert isinstance(split, Message)
    return dict(split.values)


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """Return the 95 % interval of Wilson (1927)."""
    z, p = norm.ppf(0.975), correct / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return center - half, center + half


def test_evaluation_equals_sklearn_and_wilson(folder, predictor, digits: Path) -> None:
    evaluation = evaluate(folder, str(digits), NullReporter())
    predictions = list(predictor.predict([digits]))
    true_labels = [Path(p.image).parent.name for p in predictions]
    labels = [p.label for p in predictions]
    assert evaluation.split == "all" and evaluation.own is False and evaluation.n == 24
    assert evaluation.accuracy == pytest.approx(accuracy_score(true_labels, labels))
    assert table_of(evaluation.confusion) == confusion_matrix(true_labels, labels, labels=evaluation.classes).tolist()
    assert evaluation.interval == pytest.approx(
        wilson_interval(sum(a == b for a, b in zip(true_labels, labels, strict=True)), 24)
    )
    losses = [-np.log(p.probabilities[int(name)]) for p, name in zip(predictions, true_labels, strict=True)]
    assert evaluation.loss == pytest.approx(np.mean(losses), rel=1e-4)


def test_evaluation_on_one_class_equals_its_row_of_the_confusion_matrix(folder, digits: Path, tmp_path: Path) -> None:
    full, name = evaluate(folder, str(digits), NullReporter()), "2"
    shutil.copytree(digits / name, tmp_path / "photos" / name)
    evaluation = evaluate(folder, str(tmp_path / "photos"), NullReporter())
    part, whole = table_of(evaluation.confusion), table_of(full.confusion)
    assert part[int(name)] == whole[int(name)] and evaluation.n == sum(part[2])


@pytest.mark.parametrize("named", [".", "model", ".."])
def test_evaluation_on_the_training_data_uses_its_test_split(named: str, folder: Path) -> None:
    """The run, its model folder and the folder of runs give the result in result.json."""
    result = json.loads((folder / "result.json").read_text())
    evaluation = evaluate((folder / named).resolve(), SETTINGS["source"], NullReporter())
    assert evaluation.split == "test" and evaluation.own is True
    written = evaluation.to_json()
    for key in ("accuracy", "n", "correct", "interval", "confusion"):
        assert written[key] == result["test"][key], key
    assert evaluation.loss == pytest.approx(result["test"]["loss"], rel=1e-5)
    assert split_note(evaluation) == {"split": "test", "note": SPLIT_NOTES["test"]}


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize(("named", "count"), [(".", 0), ("model", 0), ("..", 1)])
def test_selected_run_is_reported(verb: str, named: str, count: int, folder: Path, digits: Path, capsys) -> None:
    main([verb, str((folder / named).resolve()), str(digits)])
    lines = [line for line in capsys.readouterr().err.splitlines() if folder.name in line]
    assert len(lines) == count and all(str(folder.parent) in line for line in lines)


def test_evaluation_knows_its_data_in_any_layout(digits: Path, tmp_path: Path) -> None:
    """Links into a store, below splits of unusual names that archives wrapped, with a class that was left out."""
    photos = tmp_path / "photos" / "photos"
    for split, files in (("seg_train", slice(0, 4)), ("seg_test", slice(4, 6))):
        for name in "012":
            (photos / split / split / name).mkdir(parents=True)
            for path in sorted((digits / name).iterdir())[files][: 1 if name == "2" else None]:
                (photos / split / split / name / path.name).symlink_to(path)
    source = str(tmp_path / "photos")
    settings = {"image_size": 32, "stem": "small", "batch_size": 4, "threads": 1, "precision": "fp32"}
    run = train(
        tmp_path / "runs",
        source=source,
        allow_outside=True,
        min_per_class=2,
        epochs="1st",
        network="resnet20",
        **settings,
    )
    evaluation = evaluate(run, source, NullReporter(), allow_outside=True)
    assert (evaluation.own, evaluation.split, evaluation.n, evaluation.classes) == (True, "test", 4, ("0", "1"))
    result = json.loads((run / "result.json").read_text())
    assert evaluation.to_json()["confusion"] == result["test"]["confusion"]


def test_evaluation_on_each_split_of_the_training_data(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    counts = json.loads((folder / "plan.json").read_text())["plan"]["facts"]["split_counts"]
    evaluations = {name: evaluate(folder, SETTINGS["source"], NullReporter(), split=name) for name in ("train", "val")}
    assert {name: evaluations[name].n for name in evaluations} == {name: counts[name] for name in evaluations}
    assert evaluations["val"].to_json()["confusion"] == result["val"]["confusion"]
    assert split_note(evaluations["train"]) == {"split": "train", "note": SPLIT_NOTES["train"]}


def test_selected_classes_never_add_training_images(folder: Path) -> None:
    full = evaluate(folder, SETTINGS["source"], NullReporter())
    part = evaluate(folder, SETTINGS["source"], NullReporter(), classes=["1", "3"])
    assert part.own and part.split == "test"
    rows, selected = table_of(full.confusion), table_of(part.confusion)
    assert [selected[i] for i in (1, 3)] == [rows[i] for i in (1, 3)]
    assert part.n == sum(rows[1]) + sum(rows[3])
    single = evaluate(folder, SETTINGS["source"], NullReporter(), classes=["2"])
    assert single.n == sum(rows[2])


def test_evaluation_on_data_with_other_classes(folder, digits, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(digits, more)
    shutil.copytree(digits / "0", more / "seven")
    with pytest.raises(DataError) as caught:
        evaluate(folder, str(more), NullReporter())
    assert values_of(caught.value.message) == ["seven", *"0123"]
    assert "--classes 0 --classes 1 --classes 2 --classes 3" in caught.value.hint
    assert evaluate(folder, str(more), NullReporter(), classes=list("0123")).n == 24
    with pytest.raises(UsageError) as error:
        evaluate(folder, str(more), NullReporter(), classes=["seven"])
    assert fields_of(error.value.message) == {"name": "seven"}
    with pytest.raises(UsageError) as error:
        evaluate(folder, str(more), NullReporter(), classes=["9"])
    assert fields_of(error.value.message) == {"name": "9", "source": str(more)}
    subset = tmp_path / "subset"
    for name in "31":  # a subset, in another order
        shutil.copytree(digits / name, subset / name)
    part = evaluate(folder, str(subset), NullReporter())
    full = evaluate(folder, str(digits), NullReporter())
    assert part.n == 12 and table_of(part.confusion)[1] == table_of(full.confusion)[1]
    assert part.confusion.true_totals.tolist() == [0, 6, 0, 6]
    other = tmp_path / "other"
    for name in ("a", "b"):
        shutil.copytree(digits / "0", other / name)
    with pytest.raises(DataError) as caught:
        evaluate(folder, str(other), NullReporter())
    assert values_of(caught.value.message) == ["a", "b", *"0123"]


def test_evaluation_on_declared_splits(folder, digits, tmp_path: Path) -> None:
    for split, count in (("train", 3), ("validation", 2), ("test", 1)):
        for name in "0123":
            (tmp_path / split / name).mkdir(parents=True)
            for path in sorted((digits / name).iterdir())[:count]:
                shutil.copy(path, tmp_path / split / name)
    expected = {"auto": ("test", 4), "train": ("train", 12), "val": ("val", 8), "all": ("all", 24)}
    for split, (name, count) in expected.items():
        evaluation = evaluate(folder, str(tmp_path), NullReporter(), split=split)
        assert (evaluation.split, evaluation.n, evaluation.own) == (name, count, False)
    shutil.rmtree(tmp_path / "test")
    assert evaluate(folder, str(tmp_path), NullReporter()).split == "all"
    with pytest.raises(DataError) as no_images:
        evaluate(folder, str(tmp_path), NullReporter(), split="test")
    assert fields_of(no_images.value.message) == {"split": "test", "source": str(tmp_path)}
    with pytest.raises(UsageError) as error:
        evaluate(folder, str(digits), NullReporter(), split="val")
    assert fields_of(error.value.message) == {"source": str(digits)}
    with pytest.raises(UsageError) as error:
        evaluate(folder, str(digits), NullReporter(), split="tset")
    assert fields_of(error.value.message) == {"split": "tset"}
    assert fields_of(error.value.hint) == {"splits": "auto, train, val, test, all"}


@pytest.fixture(scope="module")
def damaged(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits with a damaged image and one more class."""
    root = tmp_path_factory.mktemp("damaged") / "photos"
    shutil.copytree(digits, root)
    (root / "1" / "cut.png").write_bytes(sorted((digits / "1").iterdir())[0].read_bytes()[:60])
    shutil.copytree(digits / "0", root / "other")
    return root


def test_training_data_is_recognised_without_classes_and_bad_images(damaged: Path, tmp_path: Path) -> None:
    selection = {"classes": list("012"), "skip_bad": True, "source": str(damaged), "image_size": 16, "stem": "small"}
    folder = train(tmp_path, **{**SETTINGS, **selection, "epochs": "2st", "batch_size": 4, "precision": "fp32"})
    result = json.loads((folder / "result.json").read_text())
    with pytest.raises(DataError) as error:
        evaluate(folder, str(damaged), NullReporter())
    assert values_of(error.value.message) == ["3", "other", "0", "1", "2"]
    evaluation = evaluate(folder, str(damaged), NullReporter(), skip_bad=True)
    assert evaluation.own and evaluation.to_json()["confusion"] == result["test"]["confusion"]


def test_bad_image_is_reported_or_left_out(folder, damaged, capsys) -> None:
    with pytest.raises(DataError) as caught:
        evaluate(folder, str(damaged), NullReporter(), classes=list("0123"))
    fields = fields_of(caught.value.message)
    assert (fields["failed"], fields["count"], fields["name"]) == (1, 25, "1/cut.png")
    assert "--skip-bad" in caught.value.hint
    main(["evaluate", str(folder), str(damaged), *flag_words("classes", list("0123")), "--skip-bad", "--json"])
    output = capsys.readouterr()
    assert json.loads(output.out)["n"] == 24
    (line,) = (line for line in output.err.splitlines() if "1/cut.png" in line)
    assert re.findall(r"\d+", line.replace("1/cut.png", "")) == ["1"]


def test_confusion_matrix_is_printed(folder, digits, capsys) -> None:
    main(["evaluate", str(folder), str(digits)])
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert lines[2].split()[-4:] == list("0123")
    assert [line.split()[0] for line in lines[3:]] == list("0123")
    confusion = np.array([line.split()[1:] for line in lines[3:]], dtype=int)
    assert confusion.sum(axis=1).tolist() == [6, 6, 6, 6]
    correct = int(np.trace(confusion))
    low, high = wilson_interval(correct, 24)
    numbers = [f"{100 * correct / 24:.1f}", "24", "95", f"{100 * low:.1f}", f"{100 * high:.1f}"]
    assert re.findall(r"\d+(?:\.\d+)?", lines[0]) == numbers and "(all)" in lines[0]
    reporter = RecordingReporter()
    evaluate(folder, str(digits), reporter)
    evaluate(folder, SETTINGS["source"], reporter)
    other, own = reporter.sentences
    assert fields_of(other) == {"count": 24, "split": "all"} and str(other) in output.err
    assert own.template != other.template, "only data other than the training data has a warning"


def test_many_classes_are_described_by_their_most_confused_pairs() -> None:
    count = 30
    confusion = np.eye(count, dtype=int) * 9
    confusion[3, 7] = 5
    confusion[4, 2] = 2
    evaluation = ModelEvaluation(
        loss=0.3, accuracy=0.9, n=277, units=277, correct=249, interval=(0.8, 0.95), split="all", own=False,
        classes=tuple(f"c{i}" for i in range(count)), confusion=counts_of(confusion.tolist()),
    )  # fmt: skip
    assert [fields_of(line) for line in describe_evaluation(evaluation)[2:]] == [
        {},
        {"count": 5, "true": "c3", "predicted": "c7"},
        {"count": 2, "true": "c4", "predicted": "c2"},
    ]
    correct = evaluation.model_copy(update={"confusion": counts_of(np.eye(count, dtype=int).tolist())})
    assert [fields_of(line) for line in describe_evaluation(correct)[2:]] == [{}]


def test_folder_of_runs_gives_the_best_on_val(folder: Path, tmp_path: Path) -> None:
    for name, val, test in (("a", 0.5, 0.99), ("b", 0.9, 0.1), ("c", 0.7, 0.5)):
        shutil.copytree(folder, tmp_path / name)
        result = json.loads((folder / "result.json").read_text())
        result["val"]["accuracy"], result["test"]["accuracy"] = val, test
        result["val"]["confusion"] = counts_of([[round(100 * val), round(100 - 100 * val)], [0, 0]]).model_dump()
        (tmp_path / name / "result.json").write_text(json.dumps(result))
        seal(tmp_path / name)
    assert find_model(tmp_path).path == tmp_path / "b" / "model"
    shutil.copytree(folder, tmp_path / "d")  # unfinished: ignored
    (tmp_path / "d" / "result.json").unlink()
    assert find_model(tmp_path).path == tmp_path / "b" / "model"
    for name in "abc":  # with balanced accuracy, c is the best
        content = json.loads((tmp_path / name / "plan.json").read_text())
        content["plan"]["recipe"]["select"] = "balanced"
        (tmp_path / name / "plan.json").write_text(json.dumps(content))
        result = json.loads((tmp_path / name / "result.json").read_text())
        table = [[9, 1], [0, 2]] if name == "c" else [[10, 0], [2, 0]]
        result["val"]["confusion"] = counts_of(table).model_dump()
        (tmp_path / name / "result.json").write_text(json.dumps(result))
        seal(tmp_path / name)
    assert find_model(tmp_path).path == tmp_path / "c" / "model"
    with pytest.raises(ModelFileError) as missing:
        find_model(tmp_path / "nothing")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ModelFileError) as empty:
        find_model(tmp_path / "nothing")
    for error in (missing, empty):
        assert fields_of(error.value.message) == {"path": tmp_path / "nothing"}
    assert missing.value.message.template != empty.value.message.template


def test_folder_with_studies_names_no_model(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "a")
    assert find_model(tmp_path).path == tmp_path / "a" / "model"
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.toml").touch()
    with pytest.raises(ModelFileError) as error:
        find_model(tmp_path)
    assert fields_of(error.value.message) == {"path": tmp_path, "count": 1}
    assert fields_of(error.value.hint) == {"study": tmp_path / "study"}


def test_runs_that_select_by_different_metrics_are_not_ranked(folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        shutil.copytree(folder, tmp_path / name)
    assert find_model(tmp_path).path in {tmp_path / "a" / "model", tmp_path / "b" / "model"}
    content = json.loads((tmp_path / "a" / "plan.json").read_text())
    content["plan"]["recipe"]["select"] = "balanced"
    (tmp_path / "a" / "plan.json").write_text(json.dumps(content))
    seal(tmp_path / "a")
    with pytest.raises(ModelFileError) as error:
        find_model(tmp_path)
    assert error.value.message.values == {"path": tmp_path}


def test_error_of_a_prediction_is_a_message_without_the_path(predictor, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(sorted((digits / "0").iterdir())[0].read_bytes()[:60])
    (tmp_path / "empty.png").touch()
    paths = [tmp_path / name for name in ("cut.png", "empty.png", "missing.png")]
    predictions = list(predictor.predict([*paths[:2], tmp_path, paths[2]]))
    assert [p.image for p in predictions] == [str(paths[i]) for i in (0, 1, 0, 1, 2)]
    for prediction in predictions:
        assert isinstance(prediction.error, Message) and str(tmp_path) not in prediction.error
    for prediction, row in zip(predictions, as_table(predictions), strict=True):
        assert row.removeprefix(prediction.image).strip() == prediction.error


@pytest.mark.parametrize("count", [1, 3])
def test_failure_of_all_predictions_names_the_first_image(count: int) -> None:
    reason = _("It is {what}.", what="empty")
    with pytest.raises(DataError) as error:
        require_predictions([Prediction(f"{i}.png", "", 0.0, (), reason) for i in range(count)])
    message = error.value.message
    assert isinstance(message, Message) and message.number == count
    assert (fields_of(message)["image"], fields_of(message)["what"]) == ("0.png", "empty")


@pytest.mark.parametrize("count", [1, 2])
def test_number_of_evaluated_images_selects_the_plural(count: int) -> None:
    confusion = counts_of([[count, 0], [0, 0]])
    evaluation = ModelEvaluation(
        loss=0.3, accuracy=1.0, n=count, units=count, correct=count, interval=(0.8, 1.0), split="all", own=False,
        classes=("a", "b"), confusion=confusion,
    )  # fmt: skip
    images = describe_evaluation(evaluation)[0].values["images"]
    assert isinstance(images, Message) and images.plural and images.number == fields_of(images)["count"] == count


def test_groups_of_evaluated_images_are_counted() -> None:
    evaluation = ModelEvaluation(
        loss=0.3, accuracy=0.5, n=40, units=7, correct=20, interval=(0.2, 0.8), split="all", own=False,
        classes=("a", "b"), confusion=counts_of([[20, 0], [20, 0]]),
    )  # fmt: skip
    assert sorted(values_of(describe_evaluation(evaluation)[0].values["images"])) == [7, 40]
