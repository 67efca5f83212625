"""`evaluate` without data reads what the run was trained on, with every option; other data as in the training."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import headstart
from headstart.cli.main import main
from headstart.config.plan_file import read_plan_file
from headstart.config.run_config import READING_FIELDS, DataConfig
from headstart.data import hashing
from headstart.data.image_index import build_index
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, HeadstartError, UsageError
from headstart.inference import evaluate as evaluation
from headstart.inference.evaluation_data import match_training_data, read_named
from headstart.inference.predictor import Predictor
from tests.messages import fields_of
from tests.moved_photos import SETTINGS, write_photos


def write_images(folder: Path, count: int = 8) -> None:
    """Write images without equal contents into a folder."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(sum(str(folder.relative_to(folder.parents[1])).encode()))
    for number in range(count):
        Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")


def folders(*names: str, count: int = 8) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        for name in names:
            write_images(root / name, count)
        return root

    return write


def table(labels: tuple[str, str] = ("cat", "dog"), **columns: str) -> Callable[[Path], Path]:
    """Return a function that writes photos with a table whose columns have other names, and returns the table."""

    def write(root: Path) -> Path:
        photos = [photo.relative_to(root) for photo in sorted(write_photos(root, 12).rglob("*.png"))]
        number = [int(photo.stem) for photo in photos]
        rows = {
            "path": [str(photo) for photo in photos],
            "label": [labels[photo.parent.name == "dog"] for photo in photos],
            "split": [("train", "train", "val", "test")[i % 4] for i in number],
            "group": [
                f"{photo.parent.name}{i // 4}{i % 4 > 1}{i % 4 > 2}" for photo, i in zip(photos, number, strict=True)
            ],
        }
        names = {role: name for role, name in columns.items() if role in rows}
        frame = pd.DataFrame({names[role]: rows[role] for role in names})
        # columns with the usual names, and other values
        decoys = {"label": ["x", "y"] * 12} if "label" not in names.values() else {}
        frame.assign(**decoys).to_csv(root / "list.csv", index=False)
        return root / "list.csv"

    return write


def with_small_class(root: Path) -> Path:
    write_images(write_photos(root) / "fox", 1)
    return root


def with_damaged_image(root: Path) -> Path:
    (write_photos(root) / "cat" / "broken.png").write_bytes(b"no image")
    return root


def with_link_outside(root: Path) -> Path:
    write_images(root.parent / "elsewhere", 8)
    (write_photos(root) / "fox").symlink_to(root.parent / "elsewhere")
    return root


def table_in_two_spellings(root: Path) -> Path:
    file = table(path="path", label="label")(root)
    frame = pd.read_csv(file)
    frame.loc[frame.index % 3 == 0, "label"] = frame["label"].str.upper()
    frame.to_csv(file, index=False)
    return file


COLUMNS = {"path": "where", "label": "kind", "split": "part", "group": "patient"}
CASES: dict[str, tuple[Callable[[Path], Path], dict[str, object]]] = {
    "source": (folders("cat", "dog"), {}),
    "classes": (folders("cat", "dog", "fox"), {"classes": ("cat", "fox")}),
    "min_per_class": (with_small_class, {"min_per_class": 3}),
    "class_folders": (folders("A/images", "A/masks", "B/images", "B/masks"), {"class_folders": "outer"}),
    "class_folders label": (folders("bottle", "label", "img"), {"class_folders": "outer"}),
    "class_folders mask": (folders("with_mask", "mask", "image"), {"class_folders": "outer"}),
    "class_folders inner": (folders("one/cat", "one/dog", "two/cat", "two/dog"), {"class_folders": "inner"}),
    "class_folders splits": (folders("train/a", "train/b", "val/a", "val/b"), {"class_folders": "outer"}),
    "skip_bad": (with_damaged_image, {"skip_bad": True}),
    "allow_outside": (with_link_outside, {"allow_outside": True}),
    "path_column": (table(path="where", label="label"), {"path_column": "where"}),
    "label_column": (table(path="path", label="kind"), {"label_column": "kind"}),
    "split_column": (table(path="path", label="label", split="part"), {"split_column": "part"}),
    "group_column": (table(path="path", label="label", group="patient"), {"group_column": "patient"}),
    "columns": (table(**COLUMNS), {f"{role}_column": name for role, name in COLUMNS.items()}),
    "keep_labels": (table(("Cat", "cat"), path="path", label="label"), {"keep_labels": True}),
    "merge_labels": (table_in_two_spellings, {"merge_labels": True}),
}


def test_every_way_of_reading_has_a_case() -> None:
    assert {name.split()[0] for name in CASES} - {"classes", "columns"} == set(READING_FIELDS)


@pytest.mark.parametrize("case", CASES)
def test_run_is_evaluated_on_its_own_test_images(case: str, tmp_path: Path) -> None:
    write, options = CASES[case]
    source = write(tmp_path / "photos")
    run = headstart.train(source, runs=tmp_path / "runs", quiet=True, **SETTINGS, **options)
    result = headstart.evaluate(run)
    assert run.test is not None
    assert result.own and (result.n, result.confusion) == (run.test.n, run.test.confusion)
    shutil.move(tmp_path / "photos", tmp_path / "moved")
    flags = {name: True for name in ("skip_bad", "allow_outside") if name in options}
    moved = tmp_path / "moved" / source.relative_to(tmp_path / "photos")
    assert headstart.evaluate(run, moved, **flags) == result


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run on the table `photos/list.csv`, whose columns it names."""
    root = tmp_path_factory.mktemp("table")
    write, options = CASES["columns"]
    run = headstart.train(write(root / "photos"), runs=root / "runs", quiet=True, **SETTINGS, **options)
    run.folder.rename(root / "run")
    return root


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder, in which the run reads the copied table."""
    root = tmp_path / "project"
    shutil.copytree(finished, root)
    plan = root / "run" / "plan.json"
    plan.write_text(plan.read_text().replace(str(finished / "photos"), str(root / "photos")))
    return root


def change(table: Path, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    edit(pd.read_csv(table)).to_csv(table, index=False)


def refused(*arguments: object, **options: object) -> HeadstartError:
    with pytest.raises(DataError) as error:
        headstart.evaluate(*arguments, **options)  # type: ignore[arg-type]
    return error.value


def test_error_on_the_own_table_is_not_replaced_by_one_on_usual_columns(project: Path, capsys) -> None:
    change(project / "photos" / "list.csv", lambda rows: rows.replace("cat/3.png", "cat/gone.png"))
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(project / "run")])
    *_notes, message, hint = capsys.readouterr().err.splitlines()
    assert stop.value.code == 3 and "cat/gone.png" in message and "headstart evaluate" in hint
    named = refused(project / "run", project / "photos" / "list.csv")
    assert fields_of(named.message)["count"] == 1 and "cat/gone.png" in named.message


def test_own_column_that_was_renamed_is_named_and_never_guessed(project: Path) -> None:
    change(project / "photos" / "list.csv", lambda rows: rows.rename(columns={"kind": "kinds"}))
    error = refused(project / "run")  # the table has a column `label`, with other values
    assert fields_of(error.message) == {"manifest": "list.csv", "name": "kind"}
    assert fields_of(error.hint)["choice"] == "kinds" and "headstart evaluate" in error.hint
    assert headstart.evaluate(project / "run", label_column="kinds").own


def test_own_images_that_changed_are_refused_with_the_difference(project: Path) -> None:
    table = project / "photos" / "list.csv"
    change(table, lambda rows: rows[rows["where"] != "cat/3.png"])
    error = refused(project / "run")
    values = fields_of(error.message)
    assert {name: values[name] for name in ("name", "count", "former")} == {"name": "cat", "count": 11, "former": 12}
    assert f"headstart evaluate {project / 'run'} DATA" in error.hint
    result = headstart.evaluate(project / "run", table)  # named, they are evaluated
    assert (result.own, result.split) == (False, "test")


@pytest.mark.parametrize("role", ["path", "label", "split", "group"])
def test_only_columns_that_a_named_table_lacks_are_found_by_usual_names(role: str, project: Path) -> None:
    training = read_plan_file(project / "run").plan.data
    source = project / "photos" / "list.csv"
    before = read_named(str(source), ("cat", "dog"), training, TableOptions(), allow_outside=False)
    change(source, lambda rows: rows.drop(columns="label").rename(columns={COLUMNS[role]: role}))
    index = read_named(str(source), ("cat", "dog"), training, TableOptions(), allow_outside=False)
    for name in ("keys", "splits", "groups"):
        assert getattr(index, name) == getattr(before, name)
    assert index.labels.tolist() == before.labels.tolist()
    absent = [fields_of(note) for note in index.notes if "source" in fields_of(note)]
    assert absent == [{"source": str(source), "name": COLUMNS[role], "role": role}]


def test_folder_is_evaluated_by_a_model_of_a_table(project: Path) -> None:
    training = read_plan_file(project / "run").plan.data
    index = read_named(str(project / "photos"), ("cat", "dog"), training, TableOptions(), allow_outside=False)
    assert (index.classes, len(index)) == (("cat", "dog"), 24)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("A/images", "A/masks", "B/images"), 3),  # as in the training
        (("test/A/images", "test/A/masks", "test/B/images"), 2),  # the folders in the root are no classes
    ],
)
def test_other_folders_are_read_as_in_the_training_if_their_classes_are_known(names, expected, tmp_path: Path) -> None:
    training = DataConfig(class_folders="outer")
    folders(*names, count=1)(tmp_path / "new")
    index = read_named(str(tmp_path / "new"), ("A", "B"), training, TableOptions(), allow_outside=False)
    assert (index.classes, len(index)) == (("A", "B"), expected)


class NotSearched(tuple):
    """A tuple that is not searched from its beginning, which would take a while with many names."""

    def __contains__(self, item: object) -> bool:
        raise AssertionError(item)

    def index(self, *_arguments: object) -> int:
        raise AssertionError


def test_many_classes_are_not_searched_one_by_one(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(40)]
    keys = [f"{name}/1.png" for name in names]
    for key in keys:
        (tmp_path / key).parent.mkdir()
        (tmp_path / key).write_text(key)
    index = build_index(str(tmp_path), tmp_path, keys, names, [""] * 40, [""] * 40, [])
    index = replace(index, classes=NotSearched(index.classes))
    known = NotSearched(index.classes[:30])
    part = index.pick(list(known))
    fingerprint = hashing.fingerprint(part, hashing.hash_files(part))
    match = match_training_data(index, known, fingerprint, None)
    assert match.own and len(match.index) == 30
    model = cast(Predictor, SimpleNamespace(classes=known))
    evaluation._require_classes(model, index, known)
    evaluation._reject_unknown_classes(model, index, known)
    for name in (index.classes[-1], "absent"):
        with pytest.raises(UsageError):
            evaluation._require_classes(model, index, [name])
