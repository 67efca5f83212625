"""Splits are disjoint, complete, stratified and reproducible, and keep groups and equal images together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart.data.image_index import ImageIndex, build_index
from headstart.data.overlaps import has_copy, overlaps
from headstart.data.splits import Split, divide
from headstart.errors import DataError
from tests.messages import fields_of, values_of

fast_settings = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def index_of(labels: list[int], groups: list[str] | None = None, splits: list[str] | None = None) -> ImageIndex:
    n = len(labels)
    keys = [f"{i:06d}.jpg" for i in range(n)]
    names = [f"class {label}" for label in labels]
    return build_index("source", Path("/source"), keys, names, splits or [""] * n, groups or [""] * n)


def parts(split: Split) -> list[set[int]]:
    return [set(part.tolist()) for part in (split.train, split.val, split.test)]


def check_partition(images: ImageIndex, split: Split) -> None:
    indices = np.concatenate([split.train, split.val, split.test])
    assert np.array_equal(np.sort(indices), np.arange(len(images)))
    for part in (split.train, split.val, split.test):
        assert part.dtype == np.int64 and np.array_equal(part, np.sort(part))


def check_together(names: list[str], split: Split) -> None:
    split_of = {i: number for number, part in enumerate(parts(split)) for i in part}
    for name in set(names) - {""}:
        assert len({split_of[i] for i, other in enumerate(names) if other == name}) == 1


@st.composite
def units_of_one_class(draw: st.DrawFn) -> tuple[list[int], list[str], list[str]]:
    """Draw images whose groups and copies have one class, with at least 3 units of each class."""
    labels, groups, contents = [], [], []
    for label in range(draw(st.integers(2, 4))):
        for unit in range(draw(st.integers(3, 30))):
            size = draw(st.sampled_from([1, 1, 1, 2, 5]))
            kind = draw(st.sampled_from(["none", "group", "copies"]))
            for k in range(size if kind != "none" else 1):
                labels.append(label)
                groups.append(f"g{label}-{unit}" if kind == "group" else "")
                contents.append(f"c{label}-{unit}" if kind == "copies" else f"c{label}-{unit}-{k}")
    return labels, groups, contents


@fast_settings
@given(units_of_one_class(), st.integers(0, 100), st.integers(0, 3))
def test_split_of_undeclared_data(data: tuple[list[int], list[str], list[str]], seed: int, test_seed: int) -> None:
    labels, groups, contents = data
    images = index_of(labels, groups)
    split = divide(images, seed=seed, test_seed=test_seed, content_hashes=contents)
    check_partition(images, split)
    check_together(groups, split)
    check_together(contents, split)
    for part in (split.train, split.val, split.test):
        assert set(images.labels[part]) == set(range(len(images.classes))), "every split has every class"
    again = divide(images, seed=seed, test_seed=test_seed, content_hashes=contents)
    other = divide(images, seed=seed + 1, test_seed=test_seed, content_hashes=contents)
    assert parts(again) == parts(split)
    assert np.array_equal(other.test, split.test), "test depends on test_seed only"
    assert (split.declared, split.evaluation) == ("none", "test")


@fast_settings
@given(st.lists(st.integers(3, 200), min_size=2, max_size=5), st.integers(0, 5))
def test_proportions_without_groups_are_exact(counts: list[int], seed: int) -> None:
    images = index_of([label for label, count in enumerate(counts) for _ in range(count)])
    split = divide(images, seed=seed)
    for label, count in enumerate(counts):
        test, val = (int(np.sum(images.labels[part] == label)) for part in (split.test, split.val))
        assert abs(test - 0.15 * count) < 1 or test == 1
        assert abs(val - (count - test) * 15 / 85) < 1 or val == 1


@fast_settings
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=30, max_size=150), st.integers(0, 9))
def test_groups_of_mixed_classes_stay_together_or_are_refused(rows: list[tuple[int, int]], seed: int) -> None:
    """Groups that span classes stay together and every split has every class, or the data is refused."""
    labels, groups = [label for label, _ in rows], [f"g{group}" for _, group in rows]
    labels += [0, 1]
    groups += ["", ""]
    images = index_of(labels, groups)
    try:
        split = divide(images, seed=seed)
    except DataError:
        units = defaultdict(set)
        for label, group in zip(labels, groups, strict=True):
            units[label].add(group)
        assert min(map(len, units.values())) < 8, "with so many groups a split exists"
        return
    check_partition(images, split)
    check_together(groups, split)
    for part in (split.train, split.val, split.test):
        assert len(set(images.labels[part])) == len(images.classes)


def test_uneven_groups_reach_about_the_shares() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 12, 200)
    labels = [int(label) for size in sizes for label in rng.integers(0, 3, size)]
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    images = index_of(labels, groups)
    for seed in range(5):
        split = divide(images, seed=seed, test_seed=seed)
        for part in (split.test, split.val):
            share = np.bincount(images.labels[part]) / np.bincount(images.labels)
            assert np.abs(share - 0.15).max() < 0.015


def test_rare_class_is_in_every_split() -> None:
    split = divide(index_of([0] * 1000 + [1] * 3), seed=0)
    assert [sum(i >= 1000 for i in part) for part in parts(split)] == [1, 1, 1]
    with pytest.raises(DataError) as error:
        divide(index_of([0] * 1000 + [1] * 2), seed=0)
    assert values_of(error.value.message) == [1, "'class 1' (2)", 3]
    with pytest.raises(DataError) as error:
        divide(index_of([0] * 9 + [1] * 9, ["", "", ""] * 3 + ["same"] * 9), seed=0)
    assert values_of(error.value.message) == [1, "'class 1' (1)", 3]
    with pytest.raises(DataError) as error:  # all of them at once
        divide(index_of([0] * 9 + [1, 2, 2, 3]), seed=0)
    assert values_of(error.value.message) == [3, "'class 1' (1)", "'class 2' (2)", "'class 3' (1)", 3]
    assert "--min-per-class 3" in error.value.hint


def declared(*names: str, n: int = 40) -> ImageIndex:
    return index_of([0, 1] * (n * len(names) // 2), splits=[name for name in names for _ in range(n)])


def test_declared_splits_are_used() -> None:
    split = divide(declared("train", "val", "test"), seed=3)
    assert list(map(len, parts(split))) == [40, 40, 40]
    assert (split.declared, split.evaluation, split.val[0], split.test[0]) == ("train+val+test", "test", 40, 80)


def test_declared_val_is_used_for_evaluation_without_a_test_split() -> None:
    split = divide(declared("train", "val"), seed=3)
    assert (split.declared, split.evaluation, len(split.train), len(split.val), len(split.test)) == (
        "train+val",
        "val",
        40,
        40,
        0,
    )


def test_val_is_split_off_train_if_only_test_is_declared() -> None:
    split = divide(declared("train", "test"), seed=3)
    assert (split.declared, split.evaluation, len(split.train), len(split.val)) == ("train+test", "test", 34, 6)
    assert np.array_equal(split.test, np.arange(40, 80))
    assert parts(divide(declared("train", "test"), seed=4)) != parts(split)


def test_train_only_is_divided_like_undeclared_data() -> None:
    split = divide(declared("train", n=100), seed=3)
    assert (split.declared, split.evaluation, len(split.train), len(split.val), len(split.test)) == (
        "train",
        "test",
        70,
        15,
        15,
    )
    assert parts(split) == parts(divide(declared("", n=100), seed=3))


def test_partly_declared_is_refused() -> None:
    with pytest.raises(DataError) as error:
        divide(declared("train", "", "test"), seed=0)
    assert fields_of(error.value.message) == {"count": 40, "example": "000040.jpg"}
    with pytest.raises(DataError) as error:
        divide(declared("val", "test"), seed=0)
    assert fields_of(error.value.message) == {"source": "source", "declared": "val+test"}


@fast_settings
@given(clusters=st.lists(st.integers(0, 6), min_size=1, max_size=30), data=st.data())
def test_has_copy_marks_images_whose_cluster_is_in_an_earlier_split(clusters: list[int], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(["left out", "train", "val", "test"]), min_size=len(clusters),
                               max_size=len(clusters)))  # fmt: skip
    part = [np.flatnonzero(np.array(names) == name) for name in ("train", "val", "test")]
    result = has_copy(Split(*part, declared="none", evaluation="test", is_drawn=True), np.array(clusters))
    seen_by = {"left out": (), "train": (), "val": ("train",), "test": ("train", "val")}
    for i, name in enumerate(names):
        copies = {names[k] for k in range(len(names)) if clusters[k] == clusters[i]}
        assert result[i] == bool(copies & set(seen_by[name]))


@fast_settings
@given(
    images=st.lists(
        st.tuples(st.sampled_from(["left out", "train", "val", "test"]), st.sampled_from("abc")),
        min_size=1,
        max_size=12,
    )
)
def test_near_duplicates_in_two_splits_are_the_first_of_all_pairs(images: list[tuple[str, str]]) -> None:
    names, contents = zip(*images, strict=True)
    part = {name: np.flatnonzero(np.array(names) == name) for name in ("train", "val", "test")}
    split = Split(**part, declared="train+val+test", evaluation="test", is_drawn=False)
    index = index_of([0] * len(images))
    found = overlaps(index, split, [str(i) for i in range(len(images))], [])
    assert found == []
    result = {
        overlap.splits: overlap.examples
        for overlap in overlaps(index, split, contents, [range(len(images))])
        if overlap.kind == "near-duplicate"
    }
    for pair in combinations(("train", "val", "test"), 2):
        crossing = [(i, j) for i, j in product(part[pair[0]], part[pair[1]]) if contents[i] != contents[j]]
        expected = tuple(index.keys[i] for i in crossing[0]) if crossing else None
        assert result.get(pair) == expected


def test_overlaps_between_splits_are_reported() -> None:
    images = declared("train", "val", "test")
    contents = [str(i) for i in range(120)]
    assert overlaps(images, divide(images, seed=0), contents) == []
    contents[40] = contents[80] = contents[0]
    contents[3] = contents[2]
    groups = ("",) * 39 + ("g", "g") + ("",) * 79
    notes = overlaps(replace(images, groups=groups), divide(images, seed=0), contents)
    assert [(note.kind, note.splits, note.count, note.examples) for note in notes] == [
        ("image", ("train", "val"), 1, ("000000.jpg", "000040.jpg")),
        ("image", ("train", "test"), 1, ("000000.jpg", "000080.jpg")),
        ("image", ("val", "test"), 1, ("000040.jpg", "000080.jpg")),
        ("group", ("train", "val"), 1, ("000039.jpg", "000040.jpg")),
        ("label", None, 1, ("000002.jpg", "000003.jpg")),
    ]


def test_split_of_50_000_images_keeps_its_shares() -> None:
    n = 50_000
    images = index_of([i % 10 for i in range(n)], [f"g{i // 3}" if i % 2 else "" for i in range(n)])
    split = divide(images, seed=0, content_hashes=[str(i // 2) for i in range(n)])
    check_partition(images, split)
    assert abs(len(split.test) - 0.15 * n) < 20 and abs(len(split.val) - 0.15 * n) < 20
