"""Predicting and evaluating: the same pixel path as in training, honest numbers, and output that any name survives."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import norm
from sklearn.metrics import accuracy_score, confusion_matrix

from headstart.cli.main import main
from headstart.cli.render import as_csv, as_table
from headstart.data import read
from headstart.errors import DataError, ModelFileError, UsageError
from headstart.inference.evaluate import evaluate, sentences
from headstart.inference.predictor import Predictor, require_read
from headstart.reporter import NullReporter
from headstart.results.run import find_model
from headstart.text import printable
from tests.trained import SETTINGS, train, trained


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
    listing = read(SETTINGS["source"])
    for label, name in enumerate(listing.classes):
        (root / name).mkdir()
        for i in np.flatnonzero(listing.labels == label)[:6]:
            shutil.copy(listing.paths[i], root / name)
    return root


@pytest.fixture(scope="module")
def photo(digits: Path) -> Image.Image:
    """A picture in colour without symmetry, 24 x 18 px."""
    with Image.open(sorted((digits / "2").iterdir())[0]) as image:
        gray = np.asarray(image.convert("L").resize((24, 18)))
    return Image.fromarray(np.stack([gray, gray // 2, 255 - gray], axis=2))


def probabilities(predictor: Predictor, path: Path) -> np.ndarray:
    (found,) = predictor.predict([path])
    assert found.error == "" and sum(found.probabilities) == pytest.approx(1)
    assert found.label == predictor.classes[int(np.argmax(found.probabilities))]
    assert found.confidence == max(found.probabilities)
    return np.array(found.probabilities)


@pytest.mark.parametrize("turn", range(2, 9))
def test_a_photo_turned_by_exif_is_predicted_as_the_upright_one(turn, predictor, photo, tmp_path: Path) -> None:
    turns = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}  # Pillow's transpositions that undo `turn`
    stored = photo
    for method in turns[turn]:
        stored = stored.transpose(Image.Transpose(method))
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / "turned.png", exif=exif)
    photo.save(tmp_path / "plain.png")
    stored.save(tmp_path / "lying.png")
    upright = probabilities(predictor, tmp_path / "plain.png")
    assert np.array_equal(probabilities(predictor, tmp_path / "turned.png"), upright)
    assert not np.array_equal(probabilities(predictor, tmp_path / "lying.png"), upright)


def test_other_kinds_of_pixels_are_predicted_as_their_rgb(predictor, photo, tmp_path: Path) -> None:
    few = photo.quantize(16)
    few.save(tmp_path / "palette.png")
    few.convert("RGB").save(tmp_path / "palette-rgb.png")
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
    seen = set()
    for name in ("palette.png", "cmyk.tif", "sixteen.png", "clear.png"):
        path = tmp_path / name
        with Image.open(path) as image:
            assert image.mode != "RGB"
        found = probabilities(predictor, path)
        assert np.array_equal(found, probabilities(predictor, tmp_path / f"{path.stem}-rgb.png")), name
        seen.add(found.tobytes())
    assert len(seen) == 4


def test_folders_are_searched_and_files_keep_their_order(predictor, digits: Path) -> None:
    files = [sorted((digits / "3").iterdir())[0], sorted((digits / "1").iterdir())[0]]
    found = list(predictor.predict([files[0], digits, files[1]]))
    assert len(found) == 26
    assert [found[0].image, found[-1].image] == list(map(str, files))
    assert [p.image for p in found[1:-1]] == [str(p) for name in "0123" for p in sorted((digits / name).iterdir())]
    assert found[0] in found[1:-1]


def partly(words: list[str], capsys):
    """What a command said that could do only a part: exit code 3, and the part on stdout."""
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 3
    return capsys.readouterr()


def test_one_bad_file_does_not_lose_the_others(folder, digits, tmp_path: Path, capsys) -> None:
    good = sorted((digits / "0").iterdir())[0]
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "empty.png").touch()
    bad = [tmp_path / name for name in ("cut.png", "page.jpg", "empty.png", "missing.png")]
    words = ["predict", str(folder), str(bad[0]), str(good), *map(str, bad[1:])]
    said = partly(words, capsys)
    lines = said.out.splitlines()
    assert said.err.startswith("4 of the 5 images could not be read.")
    assert len(lines) == 5 and "%" in lines[1] and str(good) in lines[1]
    for line, path, word in zip(
        [lines[0], *lines[2:]], bad, ("damaged", "is not a JPEG", "is empty", "no image"), strict=True
    ):
        assert line.startswith(str(path)) and word in line and "%" not in line
    told = json.loads(partly([*words, "--json"], capsys).out)
    assert [sorted(row) for row in told].count(["error", "image"]) == 4
    with pytest.raises(SystemExit) as left:
        main(["predict", str(folder), *map(str, bad)])
    said = capsys.readouterr()
    assert left.value.code == 3 and said.out == "" and "None of the 4 images" in said.err
    with pytest.raises(SystemExit) as left:
        main(["predict", str(folder), str(bad[2])])
    assert left.value.code == 3 and str(bad[2]) in capsys.readouterr().err


def test_a_bomb_among_the_images_is_refused_without_a_warning(predictor, digits, tmp_path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    found = list(predictor.predict([tmp_path / "bomb.png", sorted((digits / "0").iterdir())[0]]))
    assert "megapixels" in found[0].error and found[1].label


HOSTILE = ["<b>bold.png", "two\nlines.png", 'a,b"c.png', "=cmd().png", "\x1b[31mred.png", "ünï ☃.png", "'quote.png"]


def test_json_csv_and_table_agree_whatever_the_files_are_called(folder, digits, tmp_path: Path, capsys) -> None:
    good = sorted((digits / "0").iterdir())[0]
    for name in HOSTILE:
        shutil.copy(good, tmp_path / name)
    words = ["predict", str(folder), *(str(tmp_path / name) for name in HOSTILE), str(tmp_path / "no\tfile")]
    told = json.loads(partly([*words, "--json"], capsys).out)
    rows = list(csv.DictReader(io.StringIO(partly([*words, "--csv"], capsys).out)))
    table = partly(words, capsys).out.splitlines()
    assert [row["image"] for row in told] == [row["image"] for row in rows] == words[2:]
    assert len(table) == len(words) - 2
    for row, line, text in zip(told[:-1], rows[:-1], table[:-1], strict=True):
        assert line["label"] == row["label"] and float(line["confidence"]) == row["confidence"] and line["error"] == ""
        assert {n: float(line[f"p({n})"]) for n in "0123"} == row["probabilities"]
        assert text.startswith(printable(row["image"])) and text.endswith(f"%  {row['label']}")
        assert text.isprintable()
    assert rows[-1]["error"] == told[-1]["error"] and rows[-1]["label"] == "" and "no\\tfile" in table[-1]


def test_a_file_name_that_is_no_text_is_predicted_too(folder, digits, tmp_path: Path, capsys) -> None:
    path = tmp_path / b"\xff.png".decode(errors="surrogateescape")
    shutil.copy(sorted((digits / "0").iterdir())[0], path)
    for flag in ("--json", "--csv"):
        main(["predict", str(folder), str(path), flag])
        assert "udcff" in capsys.readouterr().out


def test_classes_called_like_columns_do_not_hide_them() -> None:
    from headstart.inference.predictor import Prediction

    found = [Prediction("a.png", "image", 0.75, (0.25, 0.75))]
    (row,) = csv.DictReader(io.StringIO(as_csv(found, ["error", "image"])))
    assert row == {
        "image": "a.png",
        "label": "image",
        "confidence": "0.75",
        "error": "",
        "p(error)": "0.25",
        "p(image)": "0.75",
    }
    assert as_table(found) == "a.png   75.0 %  image\n"
    assert as_table([]) == ""
    with pytest.raises(DataError, match="no images"):
        require_read([])


def wilson_by_hand(correct: int, n: int) -> tuple[float, float]:
    """Wilson 1927, written out."""
    z, p = norm.ppf(0.975), correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def test_an_evaluation_is_what_sklearn_and_the_formula_say(folder, predictor, digits: Path) -> None:
    found = evaluate(folder, str(digits), NullReporter())
    predictions = list(predictor.predict([digits]))
    true = [Path(p.image).parent.name for p in predictions]
    labels = [p.label for p in predictions]
    assert found["split"] == "all" and found["own"] is False and found["n"] == 24
    assert found["accuracy"] == pytest.approx(accuracy_score(true, labels))
    assert found["confusion"] == confusion_matrix(true, labels, labels=found["classes"]).tolist()
    assert found["interval"] == pytest.approx(
        wilson_by_hand(sum(a == b for a, b in zip(true, labels, strict=True)), 24)
    )
    losses = [-np.log(p.probabilities[int(name)]) for p, name in zip(predictions, true, strict=True)]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_photos_of_one_class_can_be_judged(folder, digits: Path, tmp_path: Path) -> None:
    every, name = evaluate(folder, str(digits), NullReporter()), "2"
    shutil.copytree(digits / name, tmp_path / "photos" / name)
    found = evaluate(folder, str(tmp_path / "photos"), NullReporter())
    assert found["confusion"][int(name)] == every["confusion"][int(name)] and found["n"] == sum(found["confusion"][2])


@pytest.mark.parametrize("named", [".", "model", ".."])
def test_its_own_data_is_judged_on_what_it_has_not_seen(named: str, folder: Path) -> None:
    """The run, its model folder, and the folder of runs give result.json's own number."""
    result = json.loads((folder / "result.json").read_text())
    found = evaluate((folder / named).resolve(), SETTINGS["source"], NullReporter())
    assert found["split"] == "test" and found["own"] is True
    for key in ("accuracy", "n", "correct", "interval", "confusion"):
        assert found[key] == result["test"][key], key
    assert found["loss"] == pytest.approx(result["test"]["loss"], rel=1e-5)
    assert "which it has never seen" in sentences(found)[0]


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize(("named", "told"), [(".", 0), ("model", 0), ("..", 1)])
def test_which_of_several_runs_answers_is_said(
    verb: str, named: str, told: int, folder: Path, digits: Path, capsys
) -> None:
    main([verb, str((folder / named).resolve()), str(digits)])
    sentence = f"{folder.name} answers: of the runs in {folder.parent} the best by val."
    assert capsys.readouterr().err.count(sentence) == told


def test_every_split_of_its_own_data_can_be_asked_for(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    counts = json.loads((folder / "plan.json").read_text())["plan"]["facts"]["counts"]
    found = {name: evaluate(folder, SETTINGS["source"], NullReporter(), split=name) for name in ("train", "val")}
    assert {name: found[name]["n"] for name in found} == {name: counts[name] for name in found}
    assert found["val"]["confusion"] == result["val"]["confusion"]
    assert "which it has learned from" in sentences(found["train"])[0]


def test_classes_only_choose_rows_and_never_the_photos_it_learned_from(folder: Path) -> None:
    whole = evaluate(folder, SETTINGS["source"], NullReporter())
    part = evaluate(folder, SETTINGS["source"], NullReporter(), classes=["1", "3"])
    assert part["own"] and part["split"] == "test"
    assert [part["confusion"][i] for i in (1, 3)] == [whole["confusion"][i] for i in (1, 3)]
    assert part["n"] == sum(map(sum, (whole["confusion"][1], whole["confusion"][3])))
    one = evaluate(folder, SETTINGS["source"], NullReporter(), classes=["2"])
    assert one["n"] == sum(whole["confusion"][2])


def test_data_with_other_classes(folder, digits, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(digits, more)
    shutil.copytree(digits / "0", more / "seven")
    with pytest.raises(DataError, match="has seven too") as caught:
        evaluate(folder, str(more), NullReporter())
    assert "--classes 0,1,2,3" in caught.value.hint
    assert evaluate(folder, str(more), NullReporter(), classes=list("0123"))["n"] == 24
    with pytest.raises(UsageError, match="'seven' in the model"):
        evaluate(folder, str(more), NullReporter(), classes=["seven"])
    with pytest.raises(UsageError, match="no class '9'"):
        evaluate(folder, str(more), NullReporter(), classes=["9"])
    few = tmp_path / "few"
    for name in "31":  # a subset, in an order of its own
        shutil.copytree(digits / name, few / name)
    found = evaluate(folder, str(few), NullReporter())
    whole = evaluate(folder, str(digits), NullReporter())
    assert found["n"] == 12 and found["confusion"][1] == whole["confusion"][1]
    assert [sum(row) for row in found["confusion"]] == [0, 6, 0, 6]
    none = tmp_path / "none"
    for name in ("a", "b"):
        shutil.copytree(digits / "0", none / name)
    with pytest.raises(DataError, match="has a, b too"):
        evaluate(folder, str(none), NullReporter())


def test_declared_splits_and_those_that_are_not(folder, digits, tmp_path: Path) -> None:
    for split, count in (("train", 3), ("validation", 2), ("test", 1)):
        for name in "0123":
            (tmp_path / split / name).mkdir(parents=True)
            for path in sorted((digits / name).iterdir())[:count]:
                shutil.copy(path, tmp_path / split / name)
    expected = {"auto": ("test", 4), "train": ("train", 12), "val": ("val", 8), "all": ("all", 24)}
    for split, (name, count) in expected.items():
        found = evaluate(folder, str(tmp_path), NullReporter(), split=split)
        assert (found["split"], found["n"], found["own"]) == (name, count, False)
    shutil.rmtree(tmp_path / "test")
    assert evaluate(folder, str(tmp_path), NullReporter())["split"] == "all"
    with pytest.raises(DataError, match="no test photos"):
        evaluate(folder, str(tmp_path), NullReporter(), split="test")
    with pytest.raises(UsageError, match="declares no splits"):
        evaluate(folder, str(digits), NullReporter(), split="val")
    with pytest.raises(UsageError, match="no split 'tset'"):
        evaluate(folder, str(digits), NullReporter(), split="tset")


@pytest.fixture(scope="module")
def damaged(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, one of them damaged, and a class more."""
    root = tmp_path_factory.mktemp("damaged") / "photos"
    shutil.copytree(digits, root)
    (root / "1" / "cut.png").write_bytes(sorted((digits / "1").iterdir())[0].read_bytes()[:60])
    shutil.copytree(digits / "0", root / "other")
    return root


def test_a_run_on_some_classes_that_left_out_bad_photos_knows_its_data(damaged: Path, tmp_path: Path) -> None:
    some = {"classes": "0,1,2", "skip_bad": True, "source": str(damaged), "image_size": 16, "stem": "small"}
    folder = train(tmp_path, **{**SETTINGS, **some, "epochs": "2st", "batch_size": 4, "precision": "fp32"})
    result = json.loads((folder / "result.json").read_text())
    with pytest.raises(DataError, match="other"):
        evaluate(folder, str(damaged), NullReporter())
    found = evaluate(folder, str(damaged), NullReporter(), skip_bad=True)
    assert found["own"] and found["confusion"] == result["test"]["confusion"]


def test_a_bad_photo_is_named_or_left_out(folder, damaged, capsys) -> None:
    with pytest.raises(DataError, match=r"cut\.png") as caught:
        evaluate(folder, str(damaged), NullReporter(), classes=list("0123"))
    assert "--skip-bad" in caught.value.hint
    main(["evaluate", str(folder), str(damaged), "--classes", "0,1,2,3", "--skip-bad", "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out)["n"] == 24
    assert "Left out 1 photos that cannot be decoded: 1/cut.png." in said.err


def test_the_confusion_is_printed_for_people(folder, digits, capsys) -> None:
    main(["evaluate", str(folder), str(digits)])
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith("Accuracy ") and "on 24 photos (all), 95 % interval" in lines[0]
    assert lines[2].split() == ["true", "\\", "predicted", "0", "1", "2", "3"]
    assert [sum(map(int, line.split()[1:])) for line in lines[3:]] == [6, 6, 6, 6]
    assert "too high" in said.err


def test_many_classes_are_told_by_their_worst_pairs() -> None:
    count = 30
    confusion = np.eye(count, dtype=int) * 9
    confusion[3, 7] = 5
    confusion[4, 2] = 2
    found = {
        "accuracy": 0.9, "n": 277, "interval": [0.8, 0.95], "split": "all", "own": False,
        "classes": [f"c{i}" for i in range(count)], "confusion": confusion.tolist(),
    }  # fmt: skip
    assert sentences(found)[2:] == ["Most often confused:", "      5  c3 taken for c7", "      2  c4 taken for c2"]
    assert sentences({**found, "confusion": np.eye(count, dtype=int).tolist()})[-1] == "Nothing was confused."


def test_a_folder_of_runs_gives_the_best_by_val(folder: Path, tmp_path: Path) -> None:
    for name, val, test in (("a", 0.5, 0.99), ("b", 0.9, 0.1), ("c", 0.7, 0.5)):
        shutil.copytree(folder, tmp_path / name)
        result = json.loads((folder / "result.json").read_text())
        result["val"]["accuracy"], result["test"]["accuracy"] = val, test
        (tmp_path / name / "result.json").write_text(json.dumps(result))
    assert find_model(tmp_path) == tmp_path / "b" / "model"
    shutil.copytree(folder, tmp_path / "d")  # still under way: counts for nothing
    (tmp_path / "d" / "result.json").unlink()
    assert find_model(tmp_path) == tmp_path / "b" / "model"
    with pytest.raises(ModelFileError, match="nothing does not exist"):
        find_model(tmp_path / "nothing")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ModelFileError, match="no model"):
        find_model(tmp_path / "nothing")
