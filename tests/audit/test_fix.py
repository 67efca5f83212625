"""`--fix` writes a manifest that is read back as it was meant, and overwrites nothing."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.audit.fix import require_new_file, write_fixed_manifest
from headstart.audit.registry import AUDIT_CHECKS
from headstart.audit.run import audit
from headstart.data.sources import read_index
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, HeadstartError, UsageError
from headstart.reporter import NullReporter
from headstart.storage.schemas.audit import CheckStatus
from tests.audit.pictures import audited, picture, plan_of, random_name, seed_of, statuses, two_classes, write_pictures
from tests.audit.test_probable_groups import series

UNUSUAL = [
    "a,b.png", 'a"b.png', '"quoted".png', "'quoted'.png", "a;b.png", "a\tb.png", " blank.png", "blank .png",
    "=1+1.png", "~.png", "file:x.png", "a\\b.png", "ünï-é.png", "写真.png", "a|b.png", "#a.png", "-a.png",
    "a%20b.png", "C:a.png", "NA.png", "1.png", "line\nbreak.png", "a''b.png", "“a”.png", "cr\rb.png",
]  # fmt: skip


def fixed(folder: Path, path: Path, **settings: object) -> tuple[Path, list[str]]:
    """Return the manifest that is written for a folder, and the sentences about it."""
    _, data = audited(folder, **settings)
    return path, list(write_fixed_manifest(data, path).notes)


def rows_of(source: Path, **options: object) -> dict[str, tuple[str, str]]:
    index = read_index(str(source), **options)  # type: ignore[arg-type]
    return {
        os.path.realpath(path): (index.classes[label], split)
        for path, label, split in zip(index.paths, index.labels, index.splits, strict=True)
    }


def test_unusual_names_are_read_back(tmp_path: Path) -> None:
    two_classes(tmp_path, count=4)
    write_pictures(
        tmp_path, {"a, \"b\"; 'c'": UNUSUAL, "~": ["a.png", "b.png", "c.png"], "01": ["x.png", "y.png", "z.png"]}
    )
    path, notes = fixed(tmp_path, tmp_path / "fixed.csv")
    expected = rows_of(tmp_path)
    left_out = [file for file in expected if "\r" in file]
    assert len(left_out) == 1 and sum("cr\rb.png" in note for note in notes) == 1
    assert rows_of(path) == {file: row for file, row in expected.items() if file not in left_out}


def test_classes_that_differ_in_spelling_are_read_back_with_a_flag(tmp_path: Path) -> None:
    write_pictures(
        tmp_path, {label: [f"{random_name(i)}{label}.png" for i in range(4)] for label in ("Cat", "cat ", "dog")}
    )
    path = tmp_path / "fixed.csv"
    assert write_fixed_manifest(audited(tmp_path)[1], path).flags == ("--keep-labels",)
    assert rows_of(path, table=TableOptions(keep_labels=True)) == rows_of(tmp_path)


@pytest.mark.parametrize("place", ["out.csv", "elsewhere/out.csv"])
def test_a_manifest_beside_the_images_needs_a_flag(place: str, tmp_path: Path) -> None:
    photos = two_classes(tmp_path / "photos")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    path = tmp_path / place
    is_outside = "/" in place
    assert write_fixed_manifest(audited(photos)[1], path).flags == ("--allow-outside",) * is_outside
    assert rows_of(path, allow_outside=is_outside) == rows_of(photos)


def test_unreadable_files_are_left_out_and_named(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "bad.jpg").write_bytes(b"nothing")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    done = audit(plan_of(tmp_path), NullReporter(), fix=tmp_path / "fixed.csv")
    assert [row.check for row in done.result.failed] == ["unreadable"]
    assert any("cat/bad.jpg" in note for note in done.notes) and "fixed.csv" in done.next_step
    result, data = audited(tmp_path / "fixed.csv")
    assert result.failed == () and "cat/bad.jpg" not in data.images.keys
    assert {file: file.read_bytes() for file in before} == before


def test_series_and_near_duplicates_become_groups(tmp_path: Path) -> None:
    for thing, names in series("p{thing}_{image}").items():
        for number, name in enumerate(names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            picture(thing * 10 + number, 64).save(tmp_path / name)
    with Image.open(tmp_path / "cat" / "p1_1.jpg") as image:
        image.resize((50, 50)).save(tmp_path / "cat" / "again.jpg", quality=60)
    assert statuses(audited(tmp_path, image_size=48)[0])["groups"] == "warn"
    path, _ = fixed(tmp_path, tmp_path / "fixed.csv", image_size=48)
    result, data = audited(path, image_size=48)
    group = dict(zip(data.images.keys, data.images.groups, strict=True))
    assert len(set(group.values()) - {""}) == 12
    assert group["cat/again.jpg"] == group["cat/p1_1.jpg"] == group["cat/p1_4.jpg"] != group["cat/p3_1.jpg"]
    assert statuses(result)["groups"] == statuses(result)["near-duplicates-across-splits"] == "pass"


def test_declared_groups_keep_their_names(tmp_path: Path) -> None:
    two_classes(tmp_path)
    keys = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.png"))
    rows = [f"{key},{key[:3]},{'group-1' if number < 2 else ''}" for number, key in enumerate(keys)]
    (tmp_path / "photos.csv").write_text("\n".join(["path,label,group", *rows]))
    shutil.copy(tmp_path / keys[5], tmp_path / keys[6])
    path, _ = fixed(tmp_path / "photos.csv", tmp_path / "fixed.csv")
    index = read_index(str(path))
    group = dict(zip(index.keys, index.groups, strict=True))
    assert group[keys[0]] == group[keys[1]] == "group-1"
    assert group[keys[5]] == group[keys[6]] not in ("", "group-1")


def test_groups_that_would_prevent_a_split_are_not_written(tmp_path: Path) -> None:
    names = {label: [f"t{thing}_{label}{i}.png" for thing in range(5) for i in range(2)] for label in ("a", "b")}
    write_pictures(tmp_path, names)
    for thing in range(5):  # each series has both classes, and one class is in two series only
        for i in range(2):
            if thing > 1:
                (tmp_path / "b" / f"t{thing}_b{i}.png").unlink()
    for thing in range(2):
        for i in range(2):
            picture(seed_of(thing, i)).save(tmp_path / "b" / f"extra{'xyzw'[2 * thing + i]}.png")
    path, _ = fixed(tmp_path, tmp_path / "fixed.csv")
    assert statuses(audited(path)[0])["splits"] == "pass"


def test_copies_of_test_images_are_left_out_of_train(tmp_path: Path) -> None:
    for split in ("train", "test"):
        two_classes(tmp_path / split)
        for file in (tmp_path / split).rglob("*.png"):
            picture(seed_of(split, file.name), 64).save(file)
    copied = sorted((tmp_path / "test" / "cat").iterdir())[:2]
    shutil.copy(copied[0], tmp_path / "train" / "cat" / "equal.png")
    with Image.open(copied[1]) as image:
        image.save(tmp_path / "train" / "cat" / "again.jpg", quality=60)
    result, _ = audited(tmp_path, image_size=48)
    assert {row.check for row in result.failed} == {"duplicates-across-splits", "near-duplicates-across-splits"}
    path, notes = fixed(tmp_path, tmp_path / "fixed.csv", image_size=48)
    assert any("train/cat/again.jpg" in note and "train/cat/equal.png" in note for note in notes)
    left, data = audited(path, image_size=48)
    assert left.failed == () and len(data.images) == 48 and left.splits is not None and left.splits.test == 24


def test_a_copy_under_another_label_is_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        two_classes(tmp_path / split)
        for file in (tmp_path / split).rglob("*.png"):
            picture(seed_of(split, file.name), 64).save(file)
    first, second = sorted((tmp_path / "test" / "cat").iterdir())[:2]
    shutil.copy(first, tmp_path / "train" / "dog" / "mislabeled.png")
    shutil.copy(second, tmp_path / "train" / "cat" / "copy.png")
    done = audit(plan_of(tmp_path), NullReporter(), fix=tmp_path / "fixed.csv")
    assert done.result.fixed is not None and len(done.result.fixed.left_out) == 2
    assert sum(f"test/cat/{first.name}" in note for note in done.notes) == 1
    assert not any(f"test/cat/{second.name}" in note for note in done.notes)
    still = {row.check for row in audited(tmp_path / "fixed.csv")[0].rows if row.status.value in ("fail", "warn")}
    uncorrected = next(note for note in done.notes if str(AUDIT_CHECKS["duplicate-labels"].name) in note)
    assert all(str(AUDIT_CHECKS[check].name) in uncorrected for check in still)


def test_a_train_split_that_is_the_test_split_stays(tmp_path: Path) -> None:
    two_classes(tmp_path / "test")
    shutil.copytree(tmp_path / "test", tmp_path / "train")
    path, notes = fixed(tmp_path, tmp_path / "fixed.csv")
    assert len(read_index(str(path))) == 48 and len(notes) == 2


def test_a_val_class_that_is_in_test_stays(tmp_path: Path) -> None:
    for k, split in enumerate(("train", "val", "test")):
        write_pictures(tmp_path / split, {label: [f"{random_name(30 * k + 9 * m + i)}.png" for i in range(6)]
                                          for m, label in enumerate(("cat", "dog"))})  # fmt: skip
        for file in (tmp_path / split).rglob("*.png"):
            picture(seed_of(split, file.name)).save(file)
    for file, copy in zip(
        sorted((tmp_path / "test" / "cat").iterdir()), (tmp_path / "val" / "cat").iterdir(), strict=True
    ):
        shutil.copy(file, copy)
    dogs = sorted((tmp_path / "val" / "dog").iterdir())
    shutil.copy(next((tmp_path / "test" / "dog").iterdir()), dogs[0])
    path, notes = fixed(tmp_path, tmp_path / "fixed.csv")
    _, data = audited(path)
    places = [
        (data.images.classes[label], split) for label, split in zip(data.images.labels, data.images.splits, strict=True)
    ]
    assert (places.count(("cat", "val")), places.count(("dog", "val"))) == (6, 5)
    assert sum("'cat'" in note and "val" in note for note in notes) == 1


def test_classes_that_lose_their_last_image_of_a_split_are_named(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        two_classes(tmp_path / split, count=4)
        for file in (tmp_path / split).rglob("*.png"):
            picture(seed_of(split, file.name)).save(file)
    for file in (tmp_path / "val" / "cat").iterdir():
        file.write_bytes(f"no image {file.name}".encode())
    _, notes = fixed(tmp_path, tmp_path / "fixed.csv")
    assert len([note for note in notes if "'cat'" in note and "Val" in note]) == 1
    assert not any("'dog'" in note for note in notes)


def test_a_manifest_that_cannot_be_divided_is_named(tmp_path: Path) -> None:
    two_classes(tmp_path, count=4, owl=["a.png", "b.png"])
    path, notes = fixed(tmp_path, tmp_path / "fixed.csv")
    fault = audited(path)[0].row("splits")
    assert fault.status is CheckStatus.FAIL
    assert sum(fault.sentence in note for note in notes) == 1


def test_files_that_cannot_be_written_are_refused_first(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("mine")
    for path in (tmp_path / "old.csv", tmp_path / "new.txt", tmp_path / "none" / "new.csv", tmp_path / "new"):
        with pytest.raises(UsageError) as caught:
            require_new_file(path, ".csv", "--fix")
        assert caught.value.hint
    for options in (
        {"fix": tmp_path / "old.csv"},
        {"html": tmp_path / "a.txt"},
        {"html": tmp_path / "none" / "a.html"},
    ):
        with pytest.raises(HeadstartError):  # before the data is read
            audit(plan_of(tmp_path / "nowhere"), NullReporter(), **options)
    assert (tmp_path / "old.csv").read_text() == "mine"
    _, data = audited(two_classes(tmp_path / "photos"))
    with pytest.raises(UsageError):
        write_fixed_manifest(data, tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == "mine"


def test_a_manifest_that_is_not_read_back_is_removed(tmp_path: Path, monkeypatch) -> None:
    _, data = audited(two_classes(tmp_path))
    monkeypatch.setattr("headstart.audit.fix._path_in", lambda path, folder: "cat/other.png")
    with pytest.raises(DataError):
        write_fixed_manifest(data, tmp_path / "fixed.csv")
    assert not (tmp_path / "fixed.csv").exists()


def test_images_of_16_bits_and_others_are_not_changed(tmp_path: Path) -> None:
    two_classes(tmp_path)
    Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 60).save(tmp_path / "cat" / "deep.png")
    path, _ = fixed(tmp_path, tmp_path / "fixed.csv")
    assert audited(path)[0].row("deep").status is CheckStatus.PASS and audited(path)[0].row("deep").count == 1
