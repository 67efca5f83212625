"""Data frames and ImageFolders as data: their manifest, its names of images, and its errors."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torchvision.datasets import ImageFolder

from headstart.config.run_config import RunConfig
from headstart.data.frames import MANIFEST_FOLDER, hold_out_val, stored_source, temporary_source
from headstart.data.hashing import fingerprint, hash_files
from headstart.data.image_index import ImageIndex
from headstart.data.sources import read_index
from headstart.data.splits import divide
from headstart.errors import DataError, ResourceError, UsageError
from headstart.reporter import NullReporter
from tests.messages import fields_of

LABELS = ("cat", "dog")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders with 20 images each, two of them equal."""
    folder, digits = tmp_path_factory.mktemp("data") / "photos", read_index("digits:0-1")
    for number, label in enumerate(LABELS):
        (folder / label).mkdir(parents=True)
        for position in np.flatnonzero(digits.labels == number)[:20]:
            shutil.copy(digits.paths[position], folder / label)
        shutil.copy(sorted((folder / label).iterdir())[0], folder / label / "copy.png")
    return folder


def frame_of(folder: Path) -> pd.DataFrame:
    paths = sorted(folder.glob("*/*.png"))
    return pd.DataFrame({"path": paths, "label": [path.parent.name for path in paths]})


def content(index: ImageIndex) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return fingerprint(index, hash_files(index)), index.keys, index.classes


def test_folder_image_folder_and_frame_are_the_same_data(photos: Path, tmp_path: Path, monkeypatch) -> None:
    expected = content(read_index(str(photos)))
    frame = frame_of(photos)
    monkeypatch.chdir(photos.parent)
    relative = frame.assign(path=[str(path.relative_to(photos.parent)) for path in frame["path"]])
    for data in (
        ImageFolder(str(photos)),
        ImageFolder("photos"),
        frame,
        frame.sample(frac=1, random_state=0),
        relative,
    ):
        source = stored_source(data, tmp_path / "runs")
        assert Path(source).parent == tmp_path / "runs" / MANIFEST_FOLDER
        assert content(read_index(source, allow_outside=True)) == expected
    with temporary_source(frame) as source:
        assert content(read_index(source, allow_outside=True)) == expected
    assert not Path(source).exists()
    for data in (str(photos), photos, "digits:0-1"):
        assert stored_source(data, tmp_path / "other") == str(data)
    assert not (tmp_path / "other").exists()


def test_equal_data_is_stored_once_and_restored(photos: Path, tmp_path: Path) -> None:
    frame = frame_of(photos)
    first = Path(stored_source(frame, tmp_path))
    stamp, text = first.stat().st_mtime_ns, first.read_text()
    assert stored_source(frame.assign(extra=1), tmp_path) == str(first) and first.stat().st_mtime_ns == stamp
    assert stored_source(frame.iloc[:-1], tmp_path) != str(first)
    first.write_text("damaged")
    assert stored_source(frame, tmp_path) == str(first) and first.read_text() == text


def test_splits_groups_and_labels_of_any_type_are_kept(photos: Path, tmp_path: Path) -> None:
    frame = frame_of(photos)
    frame["label"] = pd.Categorical(np.where(frame["label"] == "cat", 10, 9))
    frame["split"] = ["train", "test"] * (len(frame) // 2)
    frame["group"] = np.arange(len(frame)) % 7
    index = read_index(stored_source(frame, tmp_path), allow_outside=True)
    assert index.classes == ("9", "10")
    rows = dict(zip(map(str, index.paths), zip(index.splits, index.groups, strict=True), strict=True))
    assert rows == {
        str(path): (split, str(group))
        for path, split, group in zip(frame["path"], frame["split"], frame["group"], strict=True)
    }


def test_quotes_commas_and_accents_in_names_survive(photos: Path, tmp_path: Path) -> None:
    image = sorted(photos.glob("cat/*.png"))[0]
    names = ['a,"b".png', "é\u0301.png", " c.png", "d#1.png"]
    for name in names:
        shutil.copy(image, tmp_path / name)
    frame = pd.DataFrame({"path": [str(tmp_path / name) for name in names], "label": ['x, "y"', "NA", "nan", "1.0"]})
    index = read_index(stored_source(frame, tmp_path / "runs"), allow_outside=True)
    assert {key: index.classes[label] for key, label in zip(index.keys, index.labels, strict=True)} == dict(
        zip(names, frame["label"], strict=True)
    )


@pytest.mark.parametrize("column", ["path", "label"])
def test_missing_column_or_value_is_an_error(column: str, photos: Path, tmp_path: Path) -> None:
    frame = frame_of(photos)
    with pytest.raises(DataError) as error:
        stored_source(frame.drop(columns=column), tmp_path)
    assert fields_of(error.value.message)["name"] == column and not list(tmp_path.iterdir())
    frame[column] = frame[column].astype(object)
    frame.loc[2, column] = None
    with pytest.raises(DataError) as error:
        read_index(stored_source(frame, tmp_path), allow_outside=True)
    assert fields_of(error.value.message).items() >= {"number": 3, "column": column}.items()


def test_other_types_and_names_that_are_not_utf8_are_errors(tmp_path: Path) -> None:
    for data in (3, ["a.png"], {"path": []}, np.zeros(3)):
        with pytest.raises(UsageError) as error:
            stored_source(data, tmp_path)  # type: ignore[arg-type]
        assert fields_of(error.value.message) == {"kind": type(data).__name__}
    with pytest.raises(DataError):
        stored_source(pd.DataFrame({"path": [Path("\udcff.png")], "label": ["a"]}), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError):
        stored_source(pd.DataFrame({"path": ["a.png"], "label": ["a"]}), tmp_path / "file")


def test_manifest_of_absolute_paths_needs_permission(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_index(stored_source(frame_of(photos), tmp_path))


def test_held_out_images_are_stratified_and_copies_stay_together(photos: Path) -> None:
    frame, index = frame_of(photos), read_index(str(photos))
    hashes = dict(zip(map(str, index.paths), hash_files(index), strict=True))
    plans = [RunConfig().changed(seed=seed, image_size=32) for seed in (0, 0, 1)]
    results = [hold_out_val(frame, plan, 1, NullReporter()) for plan in plans]
    assert results[0].equals(results[1]) and not results[0].equals(results[2])
    for held_out in results:
        assert list(held_out["label"]) == list(frame["label"])
        assert list(held_out["path"]) == list(map(str, frame["path"]))
        assert held_out[held_out["split"] == "val"].groupby("label").size().between(2, 5).all()
        split_by_content = held_out.assign(content=held_out["path"].map(hashes)).groupby("content")["split"]
        assert (split_by_content.nunique() == 1).all() and len(split_by_content) == len(frame) - len(LABELS)
    with temporary_source(results[0]) as source:
        declared = read_index(source, allow_outside=True)
        split = divide(declared, seed=5, content_hashes=hash_files(declared))
    assert split.evaluation == "val" and not len(split.test)
    assert len(split.val) == (results[0]["split"] == "val").sum()
