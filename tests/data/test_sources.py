"""Folders, manifests and built-in digits are read; clutter is skipped, noted or refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.image_index import ImageIndex
from headstart.data.sources import read_evaluation_index, read_index
from headstart.errors import DataError, HeadstartError, UsageError
from headstart.i18n import Message
from tests.messages import fields_of, values_of

ROOT = Path("ROOT")  # stands for the folder of the images in expected values


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))


def touch(root: Path, *names: str) -> Path:
    """Create empty files: reading an index opens no image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def refused(source: Path | str, kind: type[HeadstartError] = DataError, **options: object) -> HeadstartError:
    with pytest.raises(kind) as caught:
        read_index(str(source), **options)  # type: ignore[arg-type]
    assert caught.value.message.endswith((".", "?"))
    assert caught.value.hint.endswith((".", "?"))
    return caught.value


def sentences_in(message: Message) -> list[list[object]]:
    """Return the values of each sentence of a message that `join` made."""
    return [values_of(sentence) for sentence in message.values.values()]


def pairs(images: ImageIndex) -> list[tuple[str, str]]:
    return [(key, images.classes[label]) for key, label in zip(images.keys, images.labels, strict=True)]


# --- folders ---------------------------------------------------------------------------------------------------------


def test_folder_of_class_folders_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "10/b10.jpg", "10/b9.JPG", "2/a.png", "2/deep/er/c.webp")
    images = read_index(str(tmp_path))
    assert images.classes == ("2", "10")
    assert pairs(images) == [("2/a.png", "2"), ("2/deep/er/c.webp", "2"), ("10/b9.JPG", "10"), ("10/b10.jpg", "10")]
    assert images.labels.dtype == np.int64
    assert list(images.paths) == [tmp_path / key for key in images.keys]
    assert set(images.splits) == {""} and set(images.groups) == {""} and images.flip and not images.notes
    assert len(images) == 4 and sentences_in(images.describe())[0] == [str(tmp_path), 4, 2]


def test_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{c}/{i}.jpg" for c in "ab" for i in range(12)))
    expected = read_index(str(tmp_path)).keys
    scandir = os.scandir

    class Reversed:
        def __init__(self, path: str) -> None:
            self.iterator = scandir(path)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return list(self.iterator)[::-1]

        def __exit__(self, *_: object) -> None:
            self.iterator.close()

    monkeypatch.setattr(os, "scandir", Reversed)
    assert read_index(str(tmp_path)).keys == expected


def test_clutter_is_skipped(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/1.jpg", "b/1.jpg", ".ipynb_checkpoints/1.jpg", "__MACOSX/a/1.jpg", "a/._1.jpg", "a/.hidden/2.jpg"
    )
    touch(tmp_path, "a/Thumbs.db", "desktop.ini", "a/notes.txt", "b/x.svg", "b/y.svg")
    images = read_index(str(tmp_path))
    assert images.keys == ("a/1.jpg", "b/1.jpg")
    assert [values_of(note) for note in images.notes] == [[3, "2 .svg", "1 .txt"]]


@pytest.mark.parametrize("val", ["val", "valid", "validation", "VAL"])
def test_split_folders_are_the_declared_splits(tmp_path: Path, val: str) -> None:
    touch(
        tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{val}/a/1.jpg", f"{val}/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg"
    )
    images = read_index(str(tmp_path))
    assert sorted(images.splits) == ["test", "test", "train", "train", "val", "val"]
    assert images.classes == ("a", "b") and fields_of(images.describe())["splits"] == "train 2, val 2, test 2"


def test_splits_with_different_classes_are_noted_or_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "val/dog/1.jpg", "test/cat/1.jpg")
    assert [values_of(note) for note in read_index(str(tmp_path)).notes] == [["test", "'dog'"]]
    touch(tmp_path, "test/dogs/1.jpg")
    error = refused(tmp_path)
    assert values_of(error.message) == [1, "'dogs'", str(tmp_path)]
    assert fields_of(error.hint) == {"choice": "dog"}
    assert len(read_index(str(tmp_path), classes=("cat", "dog"))) == 5


def test_train_may_be_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "bus/1.jpg", "car/1.jpg")
    assert read_index(str(tmp_path)).classes == ("bus", "car", "train")


def test_train_alone_is_a_split(tmp_path: Path) -> None:
    images = read_index(str(touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg")))
    assert images.classes == ("a", "b") and set(images.splits) == {"train"}


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (["1.jpg", "2.jpg"], [2, ROOT, "1.jpg"]),
        (["a/1.jpg", "b/1.jpg", "stray.jpg"], [1, ROOT, "stray.jpg"]),
        (["train/1.jpg", "test/2.jpg"], [1, ROOT / "train", "1.jpg"]),
        (["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/1.jpg"], [1, ROOT / "test", "1.jpg"]),
        (["notes.txt"], [ROOT]),
        (["a/1.jpg"], [ROOT, "a"]),
        (["a/1.jpg", "b/readme.txt"], [ROOT, "a", "b", 1, "1 .txt"]),
        (["val/a/1.jpg", "test/a/1.jpg"], [ROOT, "val", "test"]),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"],
            [ROOT, "val", ROOT / "val", ROOT / "valid"],
        ),
        (["a/x.txt", "b/x.txt"], [ROOT, "a", "b", 2, "2 .txt"]),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, names: list[str], values: list[object]) -> None:
    expected = [str(tmp_path / value.relative_to(ROOT)) if isinstance(value, Path) else value for value in values]
    assert values_of(refused(touch(tmp_path, *names)).message) == expected


def test_empty_class_and_clashing_names_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "Cat/1.jpg", "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "empty").mkdir()
    images = read_index(str(tmp_path))
    assert images.classes == ("Cat", "cat", "dog")
    assert [values_of(note) for note in images.notes] == [["empty"], ["'Cat'", "'cat'"]]


def test_links_out_of_the_folder_are_skipped(tmp_path: Path) -> None:
    outside = touch(tmp_path / "outside", "3.jpg", "more/4.jpg")
    root = touch(tmp_path / "root", "a/1.jpg", "b/1.jpg")
    (root / "a/loop").symlink_to(root)
    (root / "a/self").symlink_to(root / "a/self")
    (root / "a/in.jpg").symlink_to(root / "b/1.jpg")
    (root / "b/out.jpg").symlink_to(outside / "3.jpg")
    (root / "b/more").symlink_to(outside / "more")
    (root / "b/gone.jpg").symlink_to(outside / "5.jpg")
    (root / "b/lost.jpg").symlink_to(outside / "6.jpg")
    os.mkfifo(root / "b/pipe.jpg")
    images = read_index(str(root))
    assert images.keys == ("a/1.jpg", "a/in.jpg", "b/1.jpg")
    back, out, without_target, files = images.notes
    assert [values_of(note) for note in (back, out, without_target, files)] == [[1], [2], [3], [1, 1]]
    assert [note for note in images.notes if "--allow-outside" in note] == [out]
    assert read_index(str(root), allow_outside=True).keys == (
        "a/1.jpg",
        "a/in.jpg",
        "b/1.jpg",
        "b/more/4.jpg",
        "b/out.jpg",
    )


def test_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert fields_of(refused(tmp_path).message) == {"folder": str(tmp_path / "b"), "reason": "Permission denied"}


def test_missing_and_unusable_sources_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.jpg", "file.dat")
    assert fields_of(refused(tmp_path / "photo").hint) == {"choice": "photos"}
    (tmp_path / ".digit").mkdir()
    assert fields_of(refused(tmp_path / "digit").hint) == {"choice": "digits"}
    error = refused(tmp_path / "file.dat")
    assert fields_of(error.message) == {"source": str(tmp_path / "file.dat")}
    assert fields_of(error.hint) == {"suffixes": ".csv, .json, .jsonl, .ndjson, .parquet, .tsv, .txt"}
    fields = fields_of(refused("x" * 300).message)
    assert fields["source"] == "x" * 300
    assert isinstance(fields["error"], OSError) and fields["error"].errno == errno.ENAMETOOLONG


def test_pick_and_without_select_images(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/{i}.jpg" for c in ("1", "2", "10") for i in range(3)))
    picked = read_index(str(tmp_path), classes=("10", "1", "10"))
    assert picked.classes == ("1", "10") and picked.labels.tolist() == [0] * 3 + [1] * 3
    assert picked.without([0, np.int64(4)]).keys == ("1/1.jpg", "1/2.jpg", "10/0.jpg", "10/2.jpg")
    assert picked.without([0]).paths[0] == tmp_path / "1/1.jpg"
    touch(tmp_path, "trousers/1.jpg")
    error = refused(tmp_path, UsageError, classes=("1", "Trouser"))
    assert fields_of(error.message) == {"name": "Trouser", "source": str(tmp_path)}
    assert fields_of(error.hint) == {"choice": "trousers"}
    assert fields_of(refused(tmp_path, UsageError, classes=("1",)).message) == {"name": "1"}


def test_skipped_files_are_named_if_a_class_has_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.txt", "cat/2.txt", "dog/3.txt")
    skipped, root = [3, "3 .txt"], str(tmp_path)
    assert sentences_in(refused(tmp_path).message) == [[root], ["cat"], ["dog"], skipped]
    touch(tmp_path, "cat/1.png")
    assert sentences_in(refused(tmp_path).message) == [[root, "cat"], ["dog"], skipped]
    assert len(read_evaluation_index(str(tmp_path), ())) == 1


# --- built in --------------------------------------------------------------------------------------------------------


def test_digits_are_written_once_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    images = read_index("digits")
    assert images.classes == ("6", "7", "8", "9") and not images.flip and images.source == "digits"
    data = load_digits()
    assert len(images) == np.isin(data.target, (6, 7, 8, 9)).sum()
    i = int(images.paths[5].stem)
    expected = np.rint(data.images[i] * 255 / 16)
    assert np.array_equal(np.asarray(Image.open(images.paths[5])), expected)
    assert read_index("digits:0-2,5").classes == ("0", "1", "2", "5")
    images.paths[0].unlink()
    assert len(read_index("digits")) == len(images), "a damaged copy is written again"
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "digits/a/1.jpg", "digits/b/1.jpg")
    (note,) = read_index("digits").notes
    assert "./digits" in note
    assert read_index("./digits").classes == ("a", "b")
    assert read_index("digits:0-5", classes=("0", "3")).classes == ("0", "3")


@pytest.mark.parametrize("source", ["digits:", "digits:5-0", "digits:3", "digits:a", "digits:0-11", "digits:1,,2"])
def test_digits_that_are_refused(source: str) -> None:
    assert fields_of(refused(source, UsageError).message) == {"source": source}


def test_lists_of_classes_have_a_sign_for_those_left_out(tmp_path: Path) -> None:
    touch(tmp_path / "many", *(f"{number}/1.jpg" for number in range(31)))
    line = read_index(str(tmp_path / "many")).summary()[-1]
    assert (fields_of(line), line.number) == ({"count": 1}, 1)
    touch(tmp_path / "spelt", *(f"{name}/1.jpg" for name in ("Cat", "cat", "CAT", "dog")))
    (note,) = read_index(str(tmp_path / "spelt")).notes
    assert sorted(values_of(note)) == ["'CAT'", "'Cat'", "'cat'"]
    few = touch(tmp_path / "few", *(f"train/{number}/1.jpg" for number in range(7)), "val/0/1.jpg")
    (note,) = read_index(str(few)).notes
    assert values_of(note)[1:7] == [*(f"'{number}'" for number in range(1, 6)), "…"]
