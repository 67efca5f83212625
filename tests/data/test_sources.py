"""Folders, manifests and built-in digits are read; clutter is skipped, noted or refused."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from headstart.data.image_index import ImageIndex
from headstart.data.sources import read_index
from headstart.errors import DataError, HeadstartError, UsageError
from tests.messages import fields_of, values_of


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path_factory.mktemp("cache")))


def touch(root: Path, *names: str) -> Path:
    """Create empty files: reading an index opens no image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def refused(source: Path | str, kind: type[HeadstartError] = DataError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        read_index(str(source), **options)  # type: ignore[arg-type]
    assert type(caught.value) is kind
    assert caught.value.message.endswith((".", "?"))
    assert caught.value.hint.endswith((".", "?"))
    return str(caught.value)


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
    assert len(images) == 4 and "4 images in 2 classes" in images.describe()


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
    touch(tmp_path, "a/Thumbs.db", "desktop.ini", "a/notes.txt", "b/x.heic", "b/y.heic")
    images = read_index(str(tmp_path))
    assert images.keys == ("a/1.jpg", "b/1.jpg")
    assert images.notes == ("Skipped 3 files without an image suffix: 2 .heic, 1 .txt.",)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "VAL"])
def test_split_folders_are_the_declared_splits(tmp_path: Path, val: str) -> None:
    touch(
        tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{val}/a/1.jpg", f"{val}/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg"
    )
    images = read_index(str(tmp_path))
    assert sorted(images.splits) == ["test", "test", "train", "train", "val", "val"]
    assert images.classes == ("a", "b") and "train 2, val 2, test 2" in images.describe()


def test_splits_with_different_classes_are_noted_or_refused(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "val/dog/1.jpg", "test/cat/1.jpg")
    assert any("test of 'dog'" in note for note in read_index(str(tmp_path)).notes)
    touch(tmp_path, "test/dogs/1.jpg")
    message = refused(tmp_path)
    assert "'dogs'" in message and "Use 'dog'." in message
    assert len(read_index(str(tmp_path), classes=("cat", "dog"))) == 5


def test_train_may_be_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "bus/1.jpg", "car/1.jpg")
    assert read_index(str(tmp_path)).classes == ("bus", "car", "train")


def test_train_alone_is_a_split(tmp_path: Path) -> None:
    images = read_index(str(touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg")))
    assert images.classes == ("a", "b") and set(images.splits) == {"train"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1.jpg", "2.jpg"], "outside of class folders"),
        (["a/1.jpg", "b/1.jpg", "stray.jpg"], "stray.jpg"),
        (["train/1.jpg", "test/2.jpg"], "outside of class folders"),
        (["train/a/1.jpg", "train/b/1.jpg", "test/1.jpg"], "outside of class folders"),
        (["notes.txt"], "no class folders"),
        (["a/1.jpg"], "only one class"),
        (["a/1.jpg", "b/readme.txt"], "only one class"),
        (["val/a/1.jpg", "test/a/1.jpg"], "no train"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"], "two folders for val"),
        (["a/x.txt", "b/x.txt"], "no images"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, names: list[str], words: str) -> None:
    assert words in refused(touch(tmp_path, *names))


def test_empty_class_and_clashing_names_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "Cat/1.jpg", "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "empty").mkdir()
    images = read_index(str(tmp_path))
    assert images.classes == ("Cat", "cat", "dog")
    assert any("'empty' has no images" in note for note in images.notes)
    assert any("'Cat' and 'cat'" in note for note in images.notes)


def test_links_out_of_the_folder_are_skipped(tmp_path: Path) -> None:
    outside = touch(tmp_path / "outside", "3.jpg", "more/4.jpg")
    root = touch(tmp_path / "root", "a/1.jpg", "b/1.jpg")
    (root / "a/loop").symlink_to(root)
    (root / "a/self").symlink_to(root / "a/self")
    (root / "a/in.jpg").symlink_to(root / "b/1.jpg")
    (root / "b/out.jpg").symlink_to(outside / "3.jpg")
    (root / "c").symlink_to(outside / "more")
    (root / "b/gone.jpg").symlink_to(outside / "5.jpg")
    os.mkfifo(root / "b/pipe.jpg")
    images = read_index(str(root))
    assert images.keys == ("a/1.jpg", "a/in.jpg", "b/1.jpg")
    assert [note.split(" (")[0] for note in images.notes] == [
        "Skipped 1 link back to a parent folder.",
        "Skipped 2 links out of the folder",
        "Skipped 2 links without a target.",
        "Skipped 1 file without an image suffix: 1 other.",
    ]
    assert read_index(str(root), allow_outside=True).keys == ("a/1.jpg", "a/in.jpg", "b/1.jpg", "b/out.jpg", "c/4.jpg")


def test_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert str(tmp_path / "b") in refused(tmp_path)


def test_missing_and_unusable_sources_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a/1.jpg", "file.zip")
    assert "Use 'photos'." in refused(tmp_path / "photo")
    (tmp_path / ".digit").mkdir()
    assert "Use 'digits'." in refused(tmp_path / "digit")
    assert "neither a folder nor a manifest" in refused(tmp_path / "file.zip")
    assert "cannot be read" in refused("x" * 300)


def test_pick_and_without_select_images(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/{i}.jpg" for c in ("1", "2", "10") for i in range(3)))
    picked = read_index(str(tmp_path), classes=("10", "1", "10"))
    assert picked.classes == ("1", "10") and picked.labels.tolist() == [0] * 3 + [1] * 3
    assert picked.without([0, np.int64(4)]).keys == ("1/1.jpg", "1/2.jpg", "10/0.jpg", "10/2.jpg")
    assert picked.without([0]).paths[0] == tmp_path / "1/1.jpg"
    touch(tmp_path, "trousers/1.jpg")
    assert "Use 'trousers'." in refused(tmp_path, UsageError, classes=("1", "Trouser"))
    assert "only '1'" in refused(tmp_path, UsageError, classes=("1",))


# --- manifests -------------------------------------------------------------------------------------------------------


def manifest(root: Path, text: str | bytes, name: str = "list.csv") -> Path:
    touch(root, "x/1.jpg", "x/2.jpg", "y/3.jpg", "y/4.jpg")
    (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return root / name


def test_csv_with_bom_crlf_blank_lines_and_numeric_labels(tmp_path: Path) -> None:
    header, rows = (
        "\ufeffpath,label,split,group",
        ["x/1.jpg,10,train,p", "", "./x//2.jpg, 2 ,Train,", "y/3.jpg,2,valid,NA"],
    )
    images = read_index(str(manifest(tmp_path, "\r\n".join([header, *rows, "y/4.jpg,2,test,nan", ""]))))
    assert pairs(images) == [("x/1.jpg", "10"), ("x/2.jpg", "2"), ("y/3.jpg", "2"), ("y/4.jpg", "2")]
    assert images.classes == ("2", "10")
    assert images.splits == ("train", "train", "val", "test") and images.groups == ("p", "", "NA", "nan")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_every_format_gives_the_same_index(tmp_path: Path, ending: str) -> None:
    rows = [("x/1.jpg", 1, "a"), ("x/2.jpg", 2, ""), ("y/3.jpg", 1, "b"), ("y/4.jpg", 2, None)]
    touch(tmp_path, *(row[0] for row in rows))
    path = tmp_path / f"list.{ending}"
    table = pd.DataFrame(rows, columns=["path", "label", "group"])
    if ending == "parquet":
        pytest.importorskip("pyarrow")
        table.to_parquet(path)
    elif ending in ("csv", "tsv"):
        table.to_csv(path, index=False, sep="," if ending == "csv" else "\t")
    else:
        path.write_text("".join(json.dumps(dict(zip(table.columns, row, strict=True))) + "\n" for row in rows))
    images = read_index(str(path))
    assert pairs(images) == [("x/1.jpg", "1"), ("x/2.jpg", "2"), ("y/3.jpg", "1"), ("y/4.jpg", "2")]
    assert images.groups == ("a", "", "b", "") and images.root == tmp_path


def test_parquet_labels_stored_as_floats(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    touch(tmp_path, "1.jpg", "2.jpg")
    pd.DataFrame({"path": ["1.jpg", "2.jpg"], "label": [1.0, 2.0]}).to_parquet(tmp_path / "list.parquet")
    assert read_index(str(tmp_path / "list.parquet")).classes == ("1", "2")


def test_repeated_rows_and_unknown_columns_are_noted(tmp_path: Path) -> None:
    text = "path,label,spilt\nx/1.jpg,a,0\nx/1.jpg,a,0\n./x/1.jpg,a,1\ny/3.jpg,b,0\n"
    images = read_index(str(manifest(tmp_path, text)))
    assert images.keys == ("x/1.jpg", "y/3.jpg")
    assert any("2 rows of list.csv repeat" in note for note in images.notes)
    assert any("'spilt'" in note and "did you mean 'split'?" in note for note in images.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("path,label\n", "no rows"),
        ("paths,label\nx/1.jpg,a\n", "Use 'paths'."),
        ("file,label\nx/1.jpg,a\n", "no column 'path'"),
        ("path,label\nx/1.jpg,a\nx/2.jpg\n", "Row 2 of list.csv has no label"),
        ("path,label\nx/1.jpg,a\n,b\n", "Row 2 of list.csv has no path"),
        ("path,label\nx/1.jpg,a,b,c\n", "cannot be read as csv"),
        ("path,label\nx/1.jpg,a\n../../etc/passwd,b\n", "Row 2 of list.csv leads out"),
        ("path,label\n/etc/passwd,a\nx/1.jpg,b\n", "Row 1 of list.csv leads out"),
        ("path,label\nx/../../y.jpg,a\n", "leads out"),
        ("path,label\nC:\\a.jpg,a\n", "leads out"),
        ("path,label\n..\\a.jpg,a\n", "leads out"),
        ("path,label\nx/1.jpg,a\nx/1.jpg,b\n", "rows 1 and 2"),
        (
            "path,label,split\nx/1.jpg,a,train\nx/2.jpg,b,tset\n",
            "Row 2 of list.csv has the split 'tset'. Use 'test'.",
        ),
        ("path,label\nx/1.jpg,a\nx/7.jpg,b\nz/8.jpg,b\n", "2 of the 3 files"),
        ("path,label\nx,a\nx/1.jpg,b\n", "1 of the 2 files"),
        (b"path,label\nx/1.jpg,\xff\xfe\n", "cannot be read as csv"),
        ("path,label\nx/1.jpg,a\n".encode("utf-16"), "Save it as UTF-8."),
        ("path,label, label\nx/1.jpg,a,a\n", "has the column 'label' twice"),
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert words in refused(manifest(tmp_path, text))


@pytest.mark.parametrize(
    "line", ["{", "[" * 100_000, "[1]", '{"path": "x/1.jpg", "label": ["a"]}', '{"path": "x/1.jpg", "label": true}']
)
def test_json_lines_that_are_refused(tmp_path: Path, line: str) -> None:
    assert "line 2" in refused(manifest(tmp_path, '{"path": "x/2.jpg", "label": 1}\n' + line + "\n", "list.jsonl"))


def test_paths_spelt_as_on_another_system_are_converted(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", unicodedata.normalize("NFD", "x/é.jpg"), unicodedata.normalize("NFC", "y/ü.jpg"))
    rows = ["x\\1.jpg,a", unicodedata.normalize("NFC", "x\\é.jpg,a"), unicodedata.normalize("NFD", "y/ü.jpg,b")]
    path = tmp_path / "list.csv"
    path.write_text("path,label\n" + "\n".join(rows), encoding="utf-8")
    images = read_index(str(path))
    assert len(images) == 3 and all(file.is_file() for file in images.paths)
    assert any("Converted 3 paths of list.csv from another system" in note for note in images.notes)


def test_skipped_files_are_named_if_a_class_has_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.heic", "cat/2.heic", "dog/3.heic")
    assert "has no images" in refused(tmp_path) and "3 .heic" in refused(tmp_path)
    touch(tmp_path, "cat/1.png")
    assert "only one class, 'cat'" in refused(tmp_path) and "Class folder 'dog' has no images" in refused(tmp_path)
    assert len(read_index(str(tmp_path), to_train=False)) == 1


def test_manifest_never_reads_outside_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "outside/1.jpg", "outside/2.jpg")
    path = manifest(tmp_path / "root", "path,label\nlink.jpg,a\nx/1.jpg,b\n")
    (path.parent / "link.jpg").symlink_to(tmp_path / "outside/1.jpg")
    assert "leads out" in refused(path)
    assert len(read_index(str(path), allow_outside=True)) == 2
    path = manifest(tmp_path / "root", "path,label\nfolder/2.jpg,a\nx/1.jpg,b\n")
    (path.parent / "folder").symlink_to(tmp_path / "outside")
    assert "leads out" in refused(path)
    absolute = tmp_path / "outside/1.jpg"
    path = manifest(tmp_path / "root", f"path,label\n../outside/2.jpg,a\n{absolute},b\n")
    images = read_index(str(path), allow_outside=True)
    assert images.keys == ("../outside/1.jpg", "../outside/2.jpg")
    assert all(p.is_file() for p in images.paths)


def test_missing_files_of_100_000_rows_are_counted(tmp_path: Path) -> None:
    rows = 100_000
    folders = [tmp_path / f"d{i}" for i in range(10)]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "d0" / "0.jpg").touch()
    for i in range(1, rows):
        os.link(tmp_path / "d0" / "0.jpg", folders[i % 10] / f"{i}.jpg") if i < 2000 else None
    lines = (f"d{i % 10}/{i}.jpg,{i % 7}" for i in range(rows))
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(lines))
    assert "98,000 of the 100,000 files" in refused(tmp_path / "list.csv")


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
    assert "./digits" in read_index("digits").notes[0]
    assert read_index("./digits").classes == ("a", "b")
    assert read_index("digits:0-5", classes=("0", "3")).classes == ("0", "3")


@pytest.mark.parametrize("source", ["digits:", "digits:5-0", "digits:3", "digits:a", "digits:0-11", "digits:1,,2"])
def test_digits_that_are_refused(source: str) -> None:
    assert source in refused(source, UsageError)


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
