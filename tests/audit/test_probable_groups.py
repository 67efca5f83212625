"""Series by names and times are found where they are series, and not in numbers, classes and random names."""

import itertools
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.audit.file_facts import FileFacts
from headstart.audit.probable_groups import probable_groups
from headstart.data.image_index import build_index
from headstart.storage.schemas.audit import CheckStatus
from tests.audit.pictures import audited, picture, random_name, seed_of

LABELS = ("cat", "dog")


def groups_of(keys: list[str], files: dict[str, FileFacts] | None = None) -> set[frozenset[str]]:
    """Return the probable groups of images whose folder is their class."""
    index = build_index(
        "data", Path("/data"), keys, [key.split("/")[0] for key in keys], [""] * len(keys), [""] * len(keys)
    )
    numbers = probable_groups(index, [(files or {}).get(key, FileFacts()) for key in index.keys])
    found: dict[int, set[str]] = {}
    for key, number in zip(index.keys, numbers.tolist(), strict=True):
        if number >= 0:
            found.setdefault(number, set()).add(key)
    return {frozenset(members) for members in found.values()}


def series(pattern: str, things: int = 12, images: int = 4) -> dict[int, list[str]]:
    """Return names of several images of each thing, in the classes in turn."""
    return {
        k: [f"{LABELS[k % 2]}/{pattern.format(thing=k + 1, image=i + 1)}.jpg" for i in range(images)]
        for k in range(things)
    }


@pytest.mark.parametrize(
    "pattern",
    [
        "patient{thing}_{image}", "patient{thing:03d}-{image:02d}", "P{thing:04d}_img{image}",
        "{thing:04d}_{image:02d}", "scan {thing} ({image})", "s{thing}.{image}", "subject{thing}frame{image}",
        "video{thing}_frame_{image:05d}",
    ],
)  # fmt: skip
def test_series_by_name(pattern: str) -> None:
    expected = series(pattern)
    assert groups_of(list(itertools.chain(*expected.values()))) == {frozenset(names) for names in expected.values()}


def test_series_that_each_class_numbers_by_itself_are_of_one_class() -> None:
    """cat/p1_1 and dog/p1_1 are two photos, and so p1 is two things."""
    keys = [f"{label}/p{thing}_{image}.jpg" for label in LABELS for thing in range(8) for image in range(3)]
    groups = groups_of(keys)
    assert groups == {
        frozenset(f"{label}/p{thing}_{image}.jpg" for image in range(3)) for label in LABELS for thing in range(8)
    }


def copies_of_roboflow() -> dict[int, list[str]]:
    return {
        k: [f"cat/photo-{k * 7}_jpg.rf.{uuid.UUID(int=k * 10 + i + 2**100).hex}.jpg" for i in range(3)]
        for k in range(4)
    }


def test_augmented_copies() -> None:
    expected = copies_of_roboflow()
    assert groups_of(list(itertools.chain(*expected.values()))) == {frozenset(names) for names in expected.values()}


def test_runs_of_a_camera() -> None:
    starts = [100, 140, 171, 230, 316, 402, 555, 803]
    expected = {k: [f"{LABELS[k % 2]}/IMG_{start + i:04d}.JPG" for i in range(3)] for k, start in enumerate(starts)}
    assert groups_of(list(itertools.chain(*expected.values()))) == {frozenset(names) for names in expected.values()}


def test_times_in_names_of_phones() -> None:
    burst = [f"cat/PXL_20240131_0945{second:02d}123.jpg" for second in (12, 13, 15)]
    others = [f"cat/PXL_20240131_10{minute:02d}12123.jpg" for minute in range(10, 40)]
    assert groups_of([*burst, *others]) == {frozenset(burst)}


UUIDS = [f"{LABELS[i % 2]}/{uuid.UUID(bytes=np.random.default_rng(i).bytes(16), version=4)}.jpg" for i in range(300)]
NO_SERIES = {
    "numbers": [f"{LABELS[i % 2]}/{i:05d}.jpg" for i in range(300)],
    "plain numbers": [f"{LABELS[i % 2]}/{i}.png" for i in range(300)],
    "uuid": UUIDS,
    "hex": [f"{LABELS[i % 2]}/{random_name(i)}.jpg" for i in range(300)],
    "short hex": [f"{LABELS[i % 2]}/{random_name(i)[:6]}.jpg" for i in range(300)],
    "class name": [f"{label}/{label}_{i:04d}.jpg" for label in LABELS for i in range(100)],
    "class name, dot": [f"{label}/{label}.{i}.jpg" for label in LABELS for i in range(100)],
    "other class name": [f"{label}/n{k:08d}_{i}.JPEG" for k, label in enumerate(LABELS) for i in range(100)],
    "label and number": [f"{label}/{k}_{i}.jpg" for k, label in enumerate(LABELS) for i in range(100)],
    "one stem": [f"{label}/image_{i:04d}.jpg" for label in LABELS for i in range(100)],
    "one camera": [f"{LABELS[i % 2]}/IMG_{i:04d}.jpg" for i in range(400)],
    "part of a camera": [f"{LABELS[i % 2]}/DSC_{3 * i:05d}.jpg" for i in range(400)],
    "breeds": [f"{LABELS[k % 2]}/breed{'abcdefghij'[k]}_{i}.jpg" for k in range(10) for i in range(60)],
    "times": [f"cat/IMG_202401{day:02d}_1200{s:02d}.jpg" for day in range(1, 28) for s in (0, 30)],
}  # fmt: skip


@pytest.mark.parametrize("name", NO_SERIES)
def test_no_series(name: str) -> None:
    assert groups_of(NO_SERIES[name]) == set()


def test_bursts_by_time_and_camera() -> None:
    keys = UUIDS[:60]
    times = {key: 1000.0 * i for i, key in enumerate(keys)}
    times |= dict(zip(keys[:4], (5.0, 6.5, 9.0, 11.9), strict=True))
    files = {key: FileFacts(taken=time, camera="A") for key, time in times.items()}
    assert groups_of(keys, files) == {frozenset(keys[:4])}
    files[keys[1]] = FileFacts(taken=6.5, camera="B")
    assert groups_of(keys, files) == {frozenset(keys[2:4])}
    same = {key: FileFacts(taken=0.0, camera="A") for key in keys}  # a clock that was never set
    assert groups_of(keys, same) == set()


def test_bursts_in_files_on_both_sides_of_a_split_warn(tmp_path: Path) -> None:
    for split, label, number in [(s, lab, n) for s in ("train", "test") for lab in LABELS for n in range(10)]:
        (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0110] = "Camera 1"
        minute = number + 10 * LABELS.index(label)
        exif.get_ifd(0x8769)[0x9003] = f"2024:01:31 10:{minute:02d}:{1 if split == 'train' else 3:02d}"
        image = picture(seed_of(split, label, number), 64)
        image.save(tmp_path / split / label / f"{random_name(number + 77)}.jpg", exif=exif)
    result, data = audited(tmp_path)
    assert data.files[0].camera == "Camera 1" and data.files[0].taken is not None
    row = result.row("groups")
    assert (row.status, row.count) == (CheckStatus.WARN, 20)
    assert {(example.split, example.other_split) for example in row.examples} <= {("test", "train"), ("test", "val")}


def test_declared_groups_are_no_probable_groups_across_splits(tmp_path: Path) -> None:
    rows = ["path,label,group"]
    for thing, names in series("p{thing}_{image}").items():
        for number, name in enumerate(names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            picture(thing * 10 + number).save(tmp_path / name)
            rows.append(f"{name},{name.split('/')[0]},g{thing}")
    (tmp_path / "photos.csv").write_text("\n".join(rows))
    assert audited(tmp_path / "photos.csv")[0].row("groups").status is CheckStatus.PASS
    (tmp_path / "plain.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows))
    assert audited(tmp_path / "plain.csv")[0].row("groups").status is CheckStatus.WARN


def test_a_burst_beside_images_without_series_is_in_several_splits(tmp_path: Path) -> None:
    names = {
        f"{split}/{label}": [f"{random_name(100 * k + i)}.jpg" for i in range(4)]
        for k, (split, label) in enumerate(itertools.product(("train", "val", "test"), LABELS))
    }
    burst = {"train/cat": range(4), "val/cat": range(4, 6), "test/cat": range(6, 8)}
    number = 0
    for place, files in names.items():
        (tmp_path / place).mkdir(parents=True)
        for name in [*files, *(f"IMG_20240131_09451{i}.jpg" for i in burst.get(place, ()))]:
            picture(number).save(tmp_path / place / name)
            number += 1
    result, data = audited(tmp_path)
    row = result.row("groups")
    assert (row.status, row.count) == (CheckStatus.WARN, 1)
    assert all("IMG_2024" in name for name in (row.examples[0].image, row.examples[0].other))
    assert row.examples[0].split != row.examples[0].other_split
    assert (data.probable_groups < 0).sum() == 24
