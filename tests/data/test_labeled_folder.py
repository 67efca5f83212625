"""Folders as people and archives leave them: splits, classes and their wrappers are told apart, or both are named."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from headstart.data.image_index import ImageIndex
from headstart.data.sources import read_evaluation_index, read_index
from headstart.data.split_names import split_names
from headstart.errors import DataError, UsageError
from tests.messages import fields_of, values_of

CLASSES = ("cat", "dog")


def touch(root: Path, *names: str) -> Path:
    """Create empty files: reading an index opens no image."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def grid(*outer: str, inner: tuple[str, ...] = CLASSES) -> list[str]:
    """Return the names of one image in every inner folder of every outer folder."""
    return [f"{a}/{b}/1.jpg" for a in outer for b in inner]


def rows(images: ImageIndex) -> set[tuple[str, str, str]]:
    """Return key, class and split of each image."""
    names = (images.classes[label] for label in images.labels)
    return set(zip(images.keys, names, images.splits, strict=True))


def refused(root: Path, **options: object) -> DataError:
    with pytest.raises(DataError) as caught:
        read_index(str(root), **options)  # type: ignore[arg-type]
    return caught.value


# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("training", "validation", "testing"), ("train", "val", "test")),
        (("train", "dev"), ("train", "val")),
        (("Train", "Eval"), ("train", "val")),
        (("train", "val", "eval"), ("train", "val", "test")),
        (("train", "eval", "test"), ("train", "val", "test")),
        (("TRAIN", "HOLDOUT"), ("train", "test")),
        (("train", "hold-out"), ("train", "test")),
        (("seg_train", "seg_test"), ("train", "test")),
        (("train_images", "val_images"), ("train", "val")),
        (("images_train", "images_val"), ("train", "val")),
        (("train2017", "val2017"), ("train", "val")),
        (("Training Data", "Test Data"), ("train", "test")),
        (("trainImages", "testImages"), ("train", "test")),
        (("trainset", "testset"), ("train", "test")),
        (("fruits-360_Training", "fruits-360_Test"), ("train", "test")),
        (("train", "my_test"), ("train", "test")),
    ],
)
def test_split_folders_are_recognized(tmp_path: Path, folders: tuple[str, ...], splits: tuple[str, ...]) -> None:
    images = read_index(str(touch(tmp_path, *grid(*folders))))
    expected = {(f"{folder}/{c}/1.jpg", c, s) for folder, s in zip(folders, splits, strict=True) for c in CLASSES}
    assert rows(images) == expected


def test_readings_of_unusual_names_are_noted(tmp_path: Path) -> None:
    images = read_index(str(touch(tmp_path, *grid("seg_train", "seg_test", "seg_pred"))))
    assert [values_of(note) for note in images.notes] == [
        ["seg_train", "train", "seg_test", "test"],
        ["'seg_pred'"],
    ]
    assert not read_index(str(touch(tmp_path / "usual", *grid("training", "validation")))).notes


@pytest.mark.parametrize(
    "names",
    [
        ["train_station/a/1.jpg", "test_tube/1.jpg"],
        ["train_station/a/1.jpg", "train_station/b/1.jpg", "test_tube/c/1.jpg", "test_tube/d/1.jpg"],
        ["train/1.jpg", "test_drive/1.jpg", "bus/1.jpg"],
        ["valid_ticket/1.jpg", "invalid_ticket/1.jpg"],
        ["toy train/1.jpg", "train/1.jpg", "car/1.jpg"],
    ],
)
def test_classes_with_a_word_of_a_split(tmp_path: Path, names: list[str]) -> None:
    images = read_index(str(touch(tmp_path, *names)))
    assert set(images.classes) == {name.partition("/")[0] for name in names} and set(images.splits) == {""}


def test_names_of_splits_are_words() -> None:
    assert (
        split_names(["contest", "evaluate", "retrain", "latest", "trainer", "train_test_split", "développement"]) == []
    )
    assert [(n.folder, n.split) for n in split_names(["x_test", "eval", "train"])] == [
        ("train", "train"), ("eval", "val"), ("x_test", "test"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("train", "test", "count"),
    [
        ("train", ["test/1.jpg", "test/2.jpg"], 2),
        ("train", ["test/images/1.jpg"], 1),
        ("train", ["test/unknown/1.jpg", "test/unknown/2.jpg"], 2),
        ("train", ["test/test/1.jpg"], 1),
        ("train", ["test_images/1.jpg"], 1),
        ("train_images", ["test_images/1.jpg"], 1),
    ],
)
def test_unlabeled_test_is_left_out(tmp_path: Path, train: str, test: list[str], count: int) -> None:
    touch(tmp_path, *grid(train), *test)
    images = read_index(str(tmp_path))
    assert rows(images) == {(f"{train}/{c}/1.jpg", c, "train") for c in CLASSES}
    fields = fields_of(images.notes[-1])
    assert (fields["count"], fields["split"]) == (count, "test")
    assert Path(str(fields["folder"])).parts[: len(tmp_path.parts)] == tmp_path.parts
    assert "headstart predict RUN " in images.notes[-1]


def test_empty_test_is_left_out_and_labels_beside_train_do_not_count(tmp_path: Path) -> None:
    touch(tmp_path, *grid("train"), "test/readme.txt", "annotations/1.xml", "__MACOSX/train/._1.jpg")
    images = read_index(str(tmp_path))
    assert set(images.splits) == {"train"} and images.classes == CLASSES
    assert [values_of(note) for note in images.notes][:2] == [["'annotations'"], [str(tmp_path / "test")]]


@pytest.mark.parametrize("folders", [("train", "val", "dev"), ("Train", "train"), ("train", "train_extra", "test")])
def test_two_folders_for_one_split_are_refused(tmp_path: Path, folders: tuple[str, ...]) -> None:
    fields = fields_of(refused(touch(tmp_path, *grid(*folders))).message)
    paths = {str(tmp_path / folder) for folder in folders}
    assert {fields["first"], fields["second"]} < paths or {fields["first"], fields["second"]} == paths


def test_splits_inside_the_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, *grid(*CLASSES, inner=("train", "Test")))
    expected = {(f"{c}/{s}/1.jpg", c, s.lower()) for c in CLASSES for s in ("train", "Test")}
    assert rows(read_index(str(tmp_path))) == rows(read_evaluation_index(str(tmp_path), CLASSES)) == expected


# --- two readings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (("fold1", "fold2", "fold3"), CLASSES),
        (("entrenamiento", "prueba"), CLASSES),
        (("cat", "dog"), ("2019", "2020")),
        (("imagesTr", "imagesTs"), ("0", "1", "2")),
    ],
)
def test_equal_subfolders_are_refused_with_both_readings(
    tmp_path: Path, outer: tuple[str, ...], inner: tuple[str, ...]
) -> None:
    touch(tmp_path, *grid(*outer, inner=inner))
    error = refused(tmp_path)
    assert fields_of(error.message)["root"] == str(tmp_path)
    assert {"--class-folders inner", "--class-folders outer"} <= {
        f"--class-folders {word}" for word in ("inner", "outer") if f"--class-folders {word}" in error.hint
    }
    by_outer = read_index(str(tmp_path), class_folders="outer")
    by_inner = read_index(str(tmp_path), class_folders="inner")
    assert rows(by_outer) == {(f"{a}/{b}/1.jpg", a, "") for a in outer for b in inner}
    assert rows(by_inner) == {(f"{a}/{b}/1.jpg", b, "") for a in outer for b in inner}
    for images in (by_outer, by_inner):  # a model knows which reading is its own
        assert rows(read_evaluation_index(str(tmp_path), images.classes)) == rows(images)


def test_almost_equal_subfolders_are_refused_too(tmp_path: Path) -> None:
    touch(tmp_path, *grid("a", "b", inner=("cat", "dog", "fox")), *grid("c", inner=("cat", "dog")))
    assert "--class-folders" in refused(tmp_path).hint


@pytest.mark.parametrize(
    "names",
    [
        grid("cat", "dog", inner=("images",)),  # one folder cannot be the classes
        [*grid("animals", inner=("cat", "dog")), *grid("plants", inner=("rose", "oak"))],
        [*grid("cat", "dog", inner=("a", "b")), "cat/1.jpg"],  # images beside the folders
    ],
)
def test_folders_in_classes_are_no_second_reading(tmp_path: Path, names: list[str]) -> None:
    images = read_index(str(touch(tmp_path, *names)))
    assert set(images.classes) == {name.partition("/")[0] for name in names}


def test_class_folders_applies_to_folders_only(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "list.csv").write_text("path,label\n1.jpg,a\n2.jpg,b\n")
    for source in (str(tmp_path / "list.csv"), "digits"):
        with pytest.raises(UsageError):
            read_index(source, class_folders="outer")


# --- wrappers and copies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        (grid("photos"), "photos"),
        ([*grid("photos"), "labels/1.xml"], "photos"),
        ([*grid("flowers-v2"), "__MACOSX/flowers-v2/cat/1.jpg", ".DS_Store"], "flowers-v2"),
        ([f"photos/photos/{name}" for name in grid("x")], "photos/photos/x"),
    ],
)
def test_archive_inside_a_folder(tmp_path: Path, names: list[str], folder: str) -> None:
    root = touch(tmp_path / "photos", *names)
    images = read_index(str(root))
    assert rows(images) == {(f"{folder}/{c}/1.jpg", c, "") for c in CLASSES}
    assert values_of(images.notes[0])[0] == str(root / folder)


@pytest.mark.parametrize("wrapper", ["data/", "seg/seg/"])
def test_splits_inside_wrappers(tmp_path: Path, wrapper: str) -> None:
    names = [wrapper + name for name in grid("train/train", "test/test")]
    images = read_index(str(touch(tmp_path, *names)))
    assert sorted(images.splits) == ["test", "test", "train", "train"] and images.classes == CLASSES


@pytest.mark.parametrize("word", ["outer", "inner"])
def test_readings_below_a_wrapper(tmp_path: Path, word: str) -> None:
    touch(tmp_path, *(f"photos/{name}" for name in grid("fold1", "fold2")))
    assert "--class-folders" in refused(tmp_path).hint
    classes = read_index(str(tmp_path), class_folders=word).classes  # type: ignore[arg-type]
    assert classes == {"outer": ("fold1", "fold2"), "inner": CLASSES}[word]


def test_copy_of_the_classes_in_a_folder_of_the_same_name(tmp_path: Path) -> None:
    root = touch(tmp_path / "photos", "cat/1.jpg", "dog/1.jpg", *grid("photos"))
    images = read_index(str(root))
    assert images.keys == ("cat/1.jpg", "dog/1.jpg")
    assert [values_of(note) for note in images.notes] == [[str(root / "photos")]]


def test_one_class_is_evaluated_as_it_is(tmp_path: Path) -> None:
    touch(tmp_path, *grid("cat", inner=("a", "b")))
    assert read_evaluation_index(str(tmp_path), CLASSES).classes == ("cat",)
    assert read_evaluation_index(str(touch(tmp_path / "new", *grid("test"))), CLASSES).splits == ("test", "test")


# --- links -----------------------------------------------------------------------------------------------------------


def link_store(root: Path, count: int = 3) -> Path:
    """Make class folders of links into a store beside them, whose files have no suffix, as hub caches do."""
    for number, name in enumerate(CLASSES):
        for i in range(count):
            stored = root / "store" / f"{i:02x}" / f"{i}{number}"
            touch(root, str(stored.relative_to(root)))
            (root / "photos" / name).mkdir(parents=True, exist_ok=True)
            (root / "photos" / name / f"{i}.jpg").symlink_to(os.path.relpath(stored, root / "photos" / name))
    return root / "photos"


def test_links_into_a_store_are_refused_first_and_read_with_the_flag(tmp_path: Path) -> None:
    photos = link_store(tmp_path)
    error = refused(photos)
    assert fields_of(error.message)["count"] == 6 and "--allow-outside" in error.hint
    images = read_index(str(photos), allow_outside=True)
    assert rows(images) == {(f"{c}/{i}.jpg", c, "") for c in CLASSES for i in range(3)}
    inside = read_index(str(touch(tmp_path, ".git/x")), class_folders="inner", allow_outside=False)  # links stay inside
    assert {key for key in inside.keys if key.startswith("photos/")} == {f"photos/{key}" for key in images.keys}


@pytest.mark.parametrize(
    ("files", "links", "count", "lost"),
    [
        (["cat/1.jpg", "dog/1.jpg"], {"fox": "cat"}, 1, ["'fox'"]),  # a class folder is a link
        ([], {"cat": "cat", "dog": "dog"}, 2, ["'cat'", "'dog'"]),
        ([], {"photos": "."}, 1, ["'photos'"]),
        (grid("train"), {"val": "."}, 1, ["'val'"]),
        ([*grid("train"), "val/cat/1.jpg"], {"val/dog": "dog"}, 1, ["'dog'"]),
        ([*grid("train"), "val/cat/1.jpg"], {"val/dog/1.jpg": "dog/1.jpg"}, 1, ["'dog'"]),
        (["dog/1.jpg"], {"cat/1.jpg": "cat/1.jpg", "cat/more": "dog"}, 2, ["'cat'"]),
    ],
)
def test_a_class_that_is_lost_with_its_links_is_refused(
    tmp_path: Path, files: list[str], links: dict[str, str], count: int, lost: list[str]
) -> None:
    touch(tmp_path / "store", "cat/1.jpg", "dog/1.jpg")
    root = touch(tmp_path / "root", *files)
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(tmp_path / "store" / target)
    error = refused(root)
    values = values_of(error.message)
    assert values[0] == count and values[2:] == lost and "--allow-outside" in error.hint
    classes = set(read_index(str(root), allow_outside=True).classes)
    assert classes >= {"cat", "dog"} and len(classes) == 2 + ("fox" in links)


def test_links_without_targets_are_named_first(tmp_path: Path) -> None:
    root = touch(tmp_path, "dog/1.jpg")
    (root / "cat").mkdir()
    for i in range(2):
        (root / f"cat/{i}.jpg").symlink_to("../annex/objects/gone")
    error = refused(root)
    assert values_of(error.message) == [2, str(root), "'cat'"] and "git annex get" in error.hint


# --- names -----------------------------------------------------------------------------------------------------------


def test_blanks_and_forms_of_accents_make_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
    touch(tmp_path, f"train/{composed}/1.jpg", f"val/{decomposed}/1.jpg", "train/dog/1.jpg", "val/dog /1.jpg")
    images = read_index(str(tmp_path))
    assert images.classes == ("dog", composed)
    assert rows(images) == {
        (f"train/{composed}/1.jpg", composed, "train"), (f"val/{decomposed}/1.jpg", composed, "val"),
        ("train/dog/1.jpg", "dog", "train"), ("val/dog /1.jpg", "dog", "val"),
    }  # fmt: skip
    assert all(path.is_file() for path in images.paths)
    assert [values_of(note) for note in images.notes] == [
        ["'dog'", "'dog '", "dog"], [ascii(decomposed), ascii(composed), composed],
    ]  # fmt: skip
    touch(tmp_path / "one", " cat/1.jpg", "dog/1.jpg")
    assert [values_of(note) for note in read_index(str(tmp_path / "one")).notes] == [[" cat", "cat"]]


def test_names_that_differ_in_case_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.JPG", "cat/a.jpg", "dog/b.jpg", "Dog/b.jpg")
    images = read_index(str(tmp_path))
    assert len(images) == 4
    assert [values_of(note) for note in images.notes] == [[1, "cat/a.JPG", "cat/a.jpg"], ["'Dog'", "'dog'"]]


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xea\xee\xf2", b"it's \xff"])
@pytest.mark.parametrize("place", ["root", "class", "image"])
def test_names_that_are_not_utf8_are_refused_with_their_bytes(tmp_path: Path, name: bytes, place: str) -> None:
    text = os.fsdecode(name)
    root = tmp_path / (text if place == "root" else "photos")
    class_ = text if place == "class" else "cat"
    touch(root, f"{class_}/{text if place == 'image' else '1'}.jpg", "dog/1.jpg")
    error = refused(root)
    path = {"root": root, "class": root / class_, "image": root / class_ / f"{text}.jpg"}[place]
    assert fields_of(error.message)["name"] == os.fsencode(path).decode(errors="backslashreplace")


# --- sizes of classes ------------------------------------------------------------------------------------------------


def fill(root: Path, counts: dict[str, int], **extra: bytes) -> Path:
    """Write files of different content; `extra` overrides that of all files of a class."""
    for name, count in counts.items():
        for i in range(count):
            touch(root, f"{name}/{i}.jpg").joinpath(f"{name}/{i}.jpg").write_bytes(
                extra.get(name, f"{name}{i}".encode())
            )
    return root


def test_classes_that_are_too_small_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 5, "b": 4, "c": 2, "d": 1, "e": 6}, e=b"all the same")
    images = read_index(str(tmp_path), min_per_class=3)
    assert images.classes == ("a", "b") and len(images) == 9 and images.labels.tolist() == [0] * 5 + [1] * 4
    assert [values_of(note) for note in images.notes] == [[9, 3, 3, "'c' (2)", "'d' (1)", "'e' (1)"]]
    assert read_index(str(tmp_path), min_per_class=1).classes == ("a", "b", "c", "d", "e")
    error = refused(tmp_path, min_per_class=5)
    assert values_of(error.message) == [1, 5, str(tmp_path)] and values_of(error.hint) == [4]
    assert read_index(str(tmp_path), min_per_class=4).classes == ("a", "b")


def test_smallest_number_counts_train_and_holds_for_manifests(tmp_path: Path) -> None:
    lines = ["a,train", "a,train", "b,train", "b,train", "c,val", "c,val", "d,train", "d,val"]
    fill(tmp_path, {str(i): 1 for i in range(len(lines))})
    table = "path,label,split\n" + "".join(f"{i}/0.jpg,{line}\n" for i, line in enumerate(lines))
    (tmp_path / "list.csv").write_text(table)
    source = str(tmp_path / "list.csv")
    assert read_index(source, min_per_class=1).classes == ("a", "b", "d")
    assert read_index(source, min_per_class=2).classes == ("a", "b")
    with pytest.raises(DataError) as caught:
        read_index(source)
    assert values_of(caught.value.message) == [1, "'c'", source] and "--min-per-class 1" in caught.value.hint


def test_runs_below_the_data_are_no_class(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 3, "dog": 3})
    before = read_index(str(tmp_path))
    touch(tmp_path, "runs/run/metrics.jsonl", "runs/run/artifacts/samples.jpg", "study/study.toml", "study/mean/x.jpg")
    after = read_index(str(tmp_path))
    assert (after.keys, after.classes) == (before.keys, before.classes)
    assert [2, str(tmp_path / "study")] in [values_of(note) for note in after.notes]
