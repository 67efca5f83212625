"""Near-duplicates of a data set: found once, in one split, and declared splits are checked for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.config.run_config import RunConfig
from headstart.data import duplicates, hashing
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.decode import ImageFileError
from headstart.data.hashing import UNREADABLE_PREFIX, hash_file
from headstart.data.near_duplicates import Pairs
from headstart.data.sources import read_data
from headstart.data.splits import Split, divide, unit_numbers
from headstart.data.thumbnails import read_thumbnails
from headstart.errors import DataError
from headstart.i18n import Message
from headstart.reporter import NullReporter
from headstart.storage.schemas.overlap import OverlapKind
from tests.data.test_near_duplicates import cropped, photo, saved
from tests.data.test_splits import index_of, parts
from tests.messages import fields_of


class RecordingReporter(NullReporter):
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.said: list[Message] = []
        self.steps: list[tuple[Message, int, int]] = []

    def say(self, sentence: Message) -> None:
        self.said.append(sentence)

    def progress(self, task: Message, done: int, total: int) -> None:
        self.steps.append((task, done, total))


def write_photos(root: Path, photos: int = 8, copies: int = 3) -> None:
    """Write photos of two classes; of the first one of each also altered copies."""
    for label in range(2):
        folder = root / f"class {label}"
        folder.mkdir(parents=True)
        for number in range(photos):
            image = photo(100 * label + number, 96)
            image.save(folder / f"{number}.png")
            if number == 0:
                for copy in range(copies):
                    saved(cropped(image, 0.08, copy / copies, 0.5)).save(folder / f"0 copy {copy}.png")


def plan_of(root: Path, **settings: object) -> RunConfig:
    return RunConfig().changed(source=str(root), image_size=64, threads=1, **settings)


def load(root: Path, **settings: object) -> tuple[Dataset, Split]:
    plan = plan_of(root, **settings)
    return load_dataset(plan, read_data(plan.data), NullReporter())


def test_copies_of_a_photo_are_in_one_split_for_every_seed(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    dataset, split = load(tmp_path / "photos")
    keys = dataset.images.keys
    copies = [{i for i, key in enumerate(keys) if key.startswith(f"class {label}/0")} for label in (0, 1)]
    assert [set(members) for members in dataset.clusters.members] == copies
    for part in (split, *(dataset.split(plan_of(tmp_path, seed=seed)) for seed in range(8))):
        assert all(any(members <= side for side in parts(part)) for members in copies)
    apart, ignored = load(tmp_path / "photos", near_duplicates="ignore")
    splits = [ignored, *(apart.split(plan_of(tmp_path, seed=seed)) for seed in range(8))]
    assert not all(any(members <= side for side in parts(part)) for part in splits for members in copies)
    assert apart.clusters.digest == "" != dataset.clusters.digest


def test_a_second_search_reads_the_cache_at_any_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    first = load(tmp_path / "photos")[0]

    def fail(*_arguments: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(duplicates, "read_thumbnails", fail)
    other = load(tmp_path / "photos", cache_resolution=1.0)[0]
    assert other.clusters == first.clusters
    assert np.allclose(other.near_duplicates.similarity, first.near_duplicates.similarity, atol=1e-6)


def test_pairs_do_not_depend_on_the_image_size_or_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    results = []
    for number, settings in enumerate([{"image_size": 8}, {"image_size": 32}, {"image_size": 200, "threads": 2}]):
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / f"cache {number}"))
        plan = RunConfig().changed(source=str(tmp_path / "photos"), **{"threads": 1, **settings})
        dataset, split = load_dataset(plan, read_data(plan.data), NullReporter())
        results.append((dataset.clusters, parts(split)))
    assert len(results[0][0].members) == 2
    assert results[0] == results[1] == results[2]


def test_small_unreadable_and_changed_files_are_not_compared(tmp_path: Path) -> None:
    image = photo(0, 96)
    for number, side in enumerate((96, 80, 24, 23)):
        saved(image.resize((side, side)), 95).save(tmp_path / f"{number}.png")
    (tmp_path / "4.png").write_bytes(b"no image")
    index = replace(index_of([0] * 5), root=tmp_path, keys=tuple(f"{i}.png" for i in range(5)))
    index = replace(index, paths=[tmp_path / key for key in index.keys])
    contents = list(hashing.hash_files(index))
    files = list(zip(contents, index.paths, strict=True))
    places, squares = read_thumbnails(files, 1, lambda _done, _total: None)
    assert places.tolist() == [0, 1, 2] and squares.shape == (3, 64, 64)
    with pytest.raises(ImageFileError):
        read_thumbnails([("0" * 32, index.paths[0])], 1, lambda _done, _total: None)
    contents[0] = UNREADABLE_PREFIX + "0"
    pairs = duplicates.find_near_duplicates(index, contents, threads=1, reporter=NullReporter())
    assert not {0, 3, 4} & {*pairs.first.tolist(), *pairs.second.tolist()}


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_thumbnails_of_16_bit_images_have_their_contrast(bits: int, tmp_path: Path) -> None:
    gray = np.asarray(photo(0, 96).convert("L"))
    Image.fromarray(gray).save(tmp_path / "0.png")
    Image.fromarray(gray.astype(np.uint16) << (bits - 8)).save(tmp_path / "1.png")
    files = [(hash_file(io.BytesIO(path.read_bytes())), path) for path in (tmp_path / "0.png", tmp_path / "1.png")]
    eight, sixteen = read_thumbnails(files, 1, lambda _done, _total: None)[1].astype(int)
    assert eight.std() > 20 and np.abs(eight - sixteen).max() <= 2


def test_many_images_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    monkeypatch.setattr(duplicates, "MAX_SEARCHED", 20)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    reporter = RecordingReporter()
    plan = plan_of(tmp_path / "photos")
    dataset, _split = load_dataset(plan, read_data(plan.data), reporter)
    assert len(dataset.near_duplicates) == 0 and not (tmp_path / "cache" / "near-duplicates").exists()
    assert [fields_of(note)["count"] for note in reporter.said if "limit" in note.values] == [22]


def test_progress_reaches_the_end_of_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "photos")
    reporter = RecordingReporter()
    index = read_data(plan_of(tmp_path / "photos").data)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    duplicates.find_near_duplicates(index, hashing.hash_files(index), threads=1, reporter=reporter)
    steps: dict[str, list[tuple[int, int]]] = {}
    for task, done, total in reporter.steps:
        steps.setdefault(task.template, []).append((done, total))
    assert len(steps) == 3
    for values in steps.values():
        assert values == sorted(values) and values[-1][0] == values[-1][1] and len({total for _, total in values}) == 1


DAMAGES: dict[str, Callable[[str], str]] = {
    "cut": lambda text: text[:-9],
    "changed": lambda text: text.replace('"similarity":[0.9', '"similarity":[0.8', 1),
    "empty": lambda _text: "{}",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    write_photos(tmp_path / "photos")
    first = load(tmp_path / "photos")[0]
    (file,) = (tmp_path / "cache" / "near-duplicates").iterdir()
    text = file.read_text()
    file.write_text(DAMAGES[damage](text))
    assert file.read_text() != text
    assert load(tmp_path / "photos")[0].clusters == first.clusters
    assert file.read_text() == text


def test_declared_splits_are_checked_for_near_duplicates(tmp_path: Path) -> None:
    write_photos(tmp_path / "all")
    for path in sorted((tmp_path / "all").rglob("*.png")):
        name = {"1": "val", "0 copy 1": "test", "2": "test"}.get(path.stem, "train")
        target = tmp_path / "photos" / name / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    dataset, split = load(tmp_path / "photos")
    (overlap,) = dataset.overlaps(split)
    assert (overlap.kind, overlap.splits, overlap.count) == (OverlapKind.NEAR_DUPLICATE, ("train", "test"), 2)
    assert [Path(name).stem[0] for name in overlap.examples] == ["0", "0"]
    assert not split.is_drawn


@pytest.mark.parametrize(("moved", "count"), [("0", 1), ("[0-9]*", None), ("", 2)])
def test_only_near_duplicates_in_one_split_are_said_to_be_kept_together(
    moved: str, count: int | None, tmp_path: Path
) -> None:
    write_photos(tmp_path / "all")
    for path in sorted((tmp_path / "all").rglob("*.png")):
        of_test = path.stem == "7" or (path.stem == "0 copy 1" and fnmatch(path.parent.name[-1], moved))
        target = tmp_path / "photos" / ("test" if of_test else "train") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    reporter, plan = RecordingReporter(), plan_of(tmp_path / "photos")
    dataset, split = load_dataset(plan, read_data(plan.data), reporter)
    assert (split.declared, split.is_drawn) == ("train+test", True)
    notes = [fields_of(note) for note in reporter.said if "images" in note.values]
    assert [note["count"] for note in notes] == ([] if count is None else [count])
    for note in notes:
        pair = {note["first"], note["second"]}
        assert any(pair <= keys_in(split, name, dataset) for name in ("train", "val", "test"))


def keys_in(split: Split, name: str, dataset: Dataset) -> set[str]:
    """Return the keys of the images of a split."""
    return {dataset.images.keys[i] for i in getattr(split, name)}


def test_a_class_that_is_one_burst_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", photos=1)
    with pytest.raises(DataError) as error:
        load(tmp_path / "photos")
    assert "--near-duplicates ignore" in str(error.value.hint)
    assert load(tmp_path / "photos", near_duplicates="ignore")[1].is_drawn


def test_units_are_connected_by_groups_contents_and_near_duplicates() -> None:
    images = index_of([0] * 8, groups=["a", "a", "", "", "b", "", "b", ""])
    pairs = Pairs(np.array([1, 3]), np.array([2, 5]), np.ones(2, np.float32))
    units = unit_numbers(images, ["0", "1", "2", "3", "4", "5", "6", "3"], pairs).tolist()
    assert [units.index(unit) for unit in units] == [0, 0, 0, 3, 4, 3, 4, 3]


def test_no_pairs_change_nothing() -> None:
    images = index_of([0, 1] * 20)
    with_none, without = divide(images, seed=3, near_duplicates=Pairs.none()), divide(images, seed=3)
    assert parts(with_none) == parts(without)


def test_clusters_hold_equal_contents_and_do_not_depend_on_the_order() -> None:
    contents = ["a", "b", "c", "a", "d"]
    clusters = duplicates.clusters_of(Pairs(np.array([0]), np.array([2]), np.ones(1, np.float32)), contents)
    assert (clusters.members, clusters.examples) == (((0, 2, 3),), ((0, 2),))
    turned = duplicates.clusters_of(Pairs(np.array([1]), np.array([2]), np.ones(1, np.float32)), ["b", "c", "a", "d"])
    assert turned.digest == clusters.digest != ""


def test_the_plan_has_the_hash_of_its_near_duplicates() -> None:
    plan = RunConfig().changed(fingerprint="abc")
    assert plan.changed(near_duplicates="ignore").identity() == plan.identity()
    assert plan.changed(near_duplicates_sha256="d").identity() != plan.identity()
