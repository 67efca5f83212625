"""Folders that look like classes and are not: splits, masks, archives, and files that are not read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headstart.data.sources import read_evaluation_index, read_index, require_source
from headstart.errors import DataError
from tests.data.test_labeled_folder import CLASSES, grid, refused, rows, touch
from tests.messages import fields_of, values_of

# --- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folders", "train"),
    [
        (["train2017", "val2017"], "train2017"),
        (["train", "test1"], "train"),
        (["Training Images", "Test Images"], "Training Images"),
        (["seg_train", "seg_test", "seg_val"], "seg_train"),
    ],
)
def test_splits_without_labels_are_no_classes(tmp_path: Path, folders: list[str], train: str) -> None:
    error = refused(touch(tmp_path, *(f"{folder}/1.jpg" for folder in folders)))
    assert values_of(error.message) == [1, str(tmp_path / train), "1.jpg"]
    assert read_index(str(tmp_path), class_folders="outer").classes == tuple(sorted(folders))


@pytest.mark.parametrize(
    "folders",
    [
        ["trainA", "trainB", "testA", "testB"],
        ["train_cat", "train_dog", "test_cat", "test_dog"],
        ["cat_train", "dog_train", "cat_val"],
    ],
)
def test_splits_and_classes_in_one_name_are_refused(tmp_path: Path, folders: list[str]) -> None:
    error = refused(touch(tmp_path, *(f"{folder}/1.jpg" for folder in folders)))
    assert fields_of(error.message)["split"] == "train" and "--class-folders outer" in error.hint
    assert set(read_index(str(tmp_path), class_folders="outer").classes) == set(folders)
    root = touch(tmp_path / "sorted", *grid("train", "test"))  # as the hint says
    assert read_index(str(root)).classes == CLASSES


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["cat/1.jpg", "dog/1.jpg", "test/1.jpg"], ["'test'"]),
        (["cat/1.jpg", "dog/1.jpg", "val/cat/1.jpg", "Testing/cat/1.jpg"], ["'Testing'", "'val'"]),
        (["prod/1.jpg", "dev/1.jpg"], ["'dev'"]),
        (["train/a/1.jpg", "train/b/1.jpg", "bus/1.jpg"], ["'train'"]),
        ([*grid("labeled"), "unlabeled/1.jpg"], ["'unlabeled'"]),
    ],
)
def test_splits_beside_classes_are_refused_with_both_readings(
    tmp_path: Path, names: list[str], folders: list[str]
) -> None:
    error = refused(touch(tmp_path, *names))
    values = values_of(error.message)
    assert (
        values[: len(folders) + 1] == [len(folders), *folders]
        and str(tmp_path) in values
        and "--class-folders outer" in error.hint
    )
    images = read_index(str(tmp_path), class_folders="outer")
    assert set(images.classes) == {name.partition("/")[0] for name in names}
    assert rows(read_evaluation_index(str(tmp_path), images.classes)) == rows(images)


# --- masks and annotations -------------------------------------------------------------------------------------------


def test_masks_beside_images_are_left_out(tmp_path: Path) -> None:
    names = grid("COVID", "Normal", inner=("images", "masks"))
    images = read_index(str(touch(tmp_path, *names)))
    assert rows(images) == {(f"{c}/images/1.jpg", c, "") for c in ("COVID", "Normal")}
    assert [values_of(note) for note in images.notes] == [[2, str(tmp_path / "COVID/masks")]]
    assert len(read_index(str(tmp_path), class_folders="outer")) == 4


@pytest.mark.parametrize("other", ["docs/1.txt", "empty/notes.md", ".hidden/1.jpg"])
def test_masks_are_left_out_where_other_folders_have_no_images(tmp_path: Path, other: str) -> None:
    names = grid("COVID", "Normal", inner=("Images", "GT", "annotations"))
    touch(tmp_path, *names, f"COVID/{other}")
    assert rows(read_index(str(tmp_path))) == {(f"{c}/Images/1.jpg", c, "") for c in ("COVID", "Normal")}


@pytest.mark.parametrize(
    ("prefix", "inner", "reading"),
    [
        ("", [""], "outer"),
        ("photos/", [""], "outer"),
        ("train/", ["", "../val/"], "inner"),
        ("fold1/", ["", "../fold2/"], "inner"),
    ],
)
@pytest.mark.parametrize(
    ("classes", "doubtful"),
    [
        (("bottle", "img", "label"), ["'label'"]),
        (("image", "mask", "with_mask"), ["'mask'"]),
        (("Images", "Labels", "gt", "paper"), ["'Labels'", "'gt'"]),
    ],
)
def test_class_called_like_annotations_is_refused_and_the_hint_reads_it(
    tmp_path: Path, prefix: str, inner: list[str], reading: str, classes: tuple[str, ...], doubtful: list[str]
) -> None:
    names = [os.path.normpath(f"{prefix}{part}{name}/1.jpg") for part in inner for name in classes]
    error = refused(touch(tmp_path, *names))
    if prefix != "fold1/":  # two readings for another reason, and the flag decides both
        assert values_of(error.message)[: len(doubtful) + 1] == [len(doubtful), *doubtful]
        assert fields_of(error.hint)["reading"] == reading
    images = read_index(str(tmp_path), class_folders=reading)  # type: ignore[arg-type]
    assert set(images.classes) == set(classes) and len(images) == len(names)
    assert len(read_evaluation_index(str(tmp_path), classes)) == len(names)


def test_class_called_like_annotations_is_a_class_after_the_other_way_of_the_hint(tmp_path: Path) -> None:
    root = touch(tmp_path / "photos", *grid("bottle", "label", "img", inner=("images", "masks")))
    hint = fields_of(refused(root).hint)  # with the flag masks would be images
    (root / "label").rename(root / hint["example"])
    images = read_index(str(root))
    assert set(images.classes) == {"bottle", "img", hint["example"]} and len(images) == 3
    (root / hint["example"]).rename(root / "label")
    (root / "label").rename(tmp_path / "label")
    assert rows(read_index(str(root))) == {(f"{c}/images/1.jpg", c, "") for c in ("bottle", "img")}


def test_masks_beside_more_images_of_a_class_are_refused(tmp_path: Path) -> None:
    names = [*grid("COVID", "Normal", "Viral", inner=("images", "masks")), "COVID/more/1.jpg", "Viral/old/1.jpg"]
    error = refused(touch(tmp_path / "photos", *names))
    assert values_of(error.message)[:3] == [2, "'masks'", str(tmp_path / "photos/COVID")]
    moved = tmp_path / "photos/COVID/masks"
    moved.rename(moved.with_name(fields_of(error.hint)["example"]))  # images of the class
    (tmp_path / "photos/Viral/masks").rename(tmp_path / "masks")  # annotations
    assert len(read_index(str(tmp_path / "photos"))) == 3 + 1 + 2


@pytest.mark.parametrize("split", ["", "test/"])
def test_classes_of_a_model_are_never_left_out_as_annotations(tmp_path: Path, split: str) -> None:
    touch(tmp_path, f"{split}image/1.jpg", f"{split}label/1.jpg")
    images = read_evaluation_index(str(tmp_path), ("bottle", "image", "label"))
    assert {key.split("/")[-2] for key in images.keys} == {"image", "label"}
    assert len(read_evaluation_index(str(tmp_path), ("bottle", "image"))) == 1


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["images/1.jpg", "masks/1.png"], ["'images'"]),
        (["images/1.jpg", "labels/1.txt", "data.yaml"], ["'images'"]),
        (["train/images/1.jpg", "train/labels/1.txt", "valid/images/2.jpg"], ["'images'"]),
        (["JPEGImages/1.jpg", "SegmentationClass/1.png", "Annotations/1.xml"], ["'JPEGImages'"]),
        (["images/1.jpg", "images/2.jpg", "result.json"], ["'images'"]),
        (["masks/1.jpg", "labels/1.png"], ["'labels'", "'masks'"]),
    ],
)
def test_data_of_other_tasks_have_no_classes(tmp_path: Path, names: list[str], folders: list[str]) -> None:
    assert values_of(refused(touch(tmp_path, *names)).message) == [str(tmp_path), *folders]


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (["train/1.jpg", "train.csv", "sample_submission.csv", "test.csv"], "train.csv"),
        (["images/1.jpg", "labels.csv", "classes.csv"], "labels.csv"),
        (["1.jpg", "list.jsonl"], "list.jsonl"),
        (["train/1.jpg", "train/_classes.csv", "valid/1.jpg"], "train/_classes.csv"),
    ],
)
def test_table_beside_unsorted_images_is_offered(tmp_path: Path, names: list[str], table: str) -> None:
    hint = refused(touch(tmp_path, *names)).hint
    assert fields_of(hint)["path"] == str(tmp_path / table) and hint.count(table) == 2


def test_text_that_is_no_table_is_not_offered(tmp_path: Path) -> None:
    hint = refused(touch(tmp_path, "1.jpg", "requirements.txt", "package.json")).hint
    assert "requirements" not in hint and "package" not in hint


# --- files that are not read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "kinds"),
    [
        (["1.dng", "2.cr2"], "1 .dng, 1 .cr2"),
        (["1.psd"], "1 .psd"),
        (["1.dcm", "2.dcm", "notes.txt"], "2 .dcm"),
        (["sub/1.mp4"], "1 .mp4"),
        (["cats.zip"], "1 .zip"),
        (["1.pgm"], "1 .pgm"),
        (["1.NEF", "2.npy", "3.npy"], "1 .nef"),
        (["1.mov", "2.MP4", "data.json"], "1 .mov, 1 .mp4"),
        (["1.jxl"], "1 .jxl"),
        (["1.svs", "1.xml"], "1 .svs"),
        (["cats.tar.gz"], "1 .gz"),
    ],
)
@pytest.mark.parametrize("split", ["", "train/"])
def test_class_without_images_that_are_read_is_refused(
    tmp_path: Path, files: list[str], kinds: str, split: str
) -> None:
    touch(tmp_path, *(f"{split}{name}/1.jpg" for name in CLASSES), *(f"{split}fox/{name}" for name in files))
    assert values_of(refused(tmp_path).message) == [1, repr(f"{split}fox"), *kinds.split(", ")]
    touch(tmp_path, f"{split}fox/1.jpg")
    assert read_index(str(tmp_path)).classes == (*CLASSES, "fox")


@pytest.mark.parametrize(
    "files",
    [
        ["x.npy", "y.npz"],
        ["best.pt", "last.pth", "model.safetensors", "model.onnx"],
        ["cache.pkl", "train.h5", "train.mat", "train.parquet", "data.bin"],
        ["boxes.json", "classes.txt", "README", "report.pdf"],
        ["events.out.tfevents.1.host.0", "a.wav", "b.mp3"],
        [],
    ],
)
@pytest.mark.parametrize(("split", "reading"), [("", "auto"), ("", "outer"), ("train/", "auto")])
def test_folder_without_photos_beside_classes_is_noted(
    tmp_path: Path, files: list[str], split: str, reading: str
) -> None:
    touch(tmp_path, *(f"{split}{name}/1.jpg" for name in CLASSES), *(f"{split}features/sub/{name}" for name in files))
    (tmp_path / split / "features").mkdir(exist_ok=True)
    images = read_index(str(tmp_path), class_folders=reading)  # type: ignore[arg-type]
    assert images.classes == CLASSES and len(images) == 2
    assert "features" in values_of(images.notes[0])


@pytest.mark.parametrize("files", [["1.mp4"], ["1.cr2"], ["1.zip"], ["1.mp4", "1.cr2"]])
def test_hint_on_other_formats_fits_them(tmp_path: Path, files: list[str]) -> None:
    hints = set()
    for number, names in enumerate([files, ["1.psd"], ["1.avi"], ["1.tgz"]]):
        root = touch(tmp_path / str(number), *(f"{name}/1.jpg" for name in CLASSES), *(f"fox/{name}" for name in names))
        hints.add(refused(root).hint.template)  # type: ignore[attr-defined]
    assert len(hints) == 3


@pytest.mark.parametrize("names", [["photos.zip"], ["cat.tar.gz", "dog.tar.gz"], ["train/cat.7z"]])
def test_folder_of_archives_is_refused(tmp_path: Path, names: list[str]) -> None:
    root = touch(tmp_path, *names)
    folder, _slash, name = names[0].rpartition("/")
    assert values_of(refused(root).message) == [str(root / folder), name]


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.rar", "a.xlsx", "a.JPG", "https://example.org/photos"])
def test_sources_of_other_kinds_have_hints_of_their_own(tmp_path: Path, name: str) -> None:
    source = name if "://" in name else str(touch(tmp_path, name) / name)
    hints = set()
    for other in (source, str(tmp_path / "missing"), str(touch(tmp_path, "a.dat") / "a.dat")):
        with pytest.raises(DataError) as caught:
            require_source(other)
        assert fields_of(caught.value.message) == {"source": other}
        hints.add(caught.value.hint.template)
    assert len(hints) == 3


# --- levels and names ------------------------------------------------------------------------------------------------


def test_classes_below_one_folder_each_are_a_second_reading(tmp_path: Path) -> None:
    names = [f"{domain}/images/{c}/1.jpg" for domain in ("amazon", "dslr") for c in CLASSES]
    assert "--class-folders inner" in refused(touch(tmp_path, *names)).hint
    assert rows(read_index(str(tmp_path), class_folders="inner")) == {(name, name.split("/")[2], "") for name in names}
    assert read_index(str(tmp_path), class_folders="outer").classes == ("amazon", "dslr")


def test_subfolders_of_classes_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "cats/siamese/1.jpg", "cats/persian/1.jpg", "dogs/pug/1.jpg", "fish/1.jpg")
    images = read_index(str(tmp_path))
    assert images.classes == ("cats", "dogs", "fish")
    assert [values_of(note) for note in images.notes] == [[1, "'cats'"]]


@pytest.mark.parametrize("name", ["cat\u200b", "\ufeffcat", "cat\u00a0", "\u200e cat \u00ad", "cat\t"])
def test_signs_that_cannot_be_seen_make_no_class(tmp_path: Path, name: str) -> None:
    images = read_index(str(touch(tmp_path, "cat/1.jpg", f"{name}/2.jpg", "dog/1.jpg")))
    assert images.classes == CLASSES and len(images) == 3
    assert [values_of(note)[-1] for note in images.notes] == ["cat"]


@pytest.mark.parametrize(("first", "second"), [("01", "1"), ("\uff43at", "cat"), ("007", "7"), ("\ufb01sh", "fish")])
def test_names_that_read_alike_are_noted(tmp_path: Path, first: str, second: str) -> None:
    images = read_index(str(touch(tmp_path, f"{first}/1.jpg", f"{second}/1.jpg", "other/1.jpg")))
    assert len(images.classes) == 3
    assert [set(values_of(note)) for note in images.notes] == [{repr(first), repr(second)}]
