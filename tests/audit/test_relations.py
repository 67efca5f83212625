"""Sets of alike images and their relations agree with a comparison of all pairs, and take linear time."""

import itertools

import numpy as np
import pytest

from headstart.audit.relations import different_pair, relations, sets_of


def test_relations_agree_with_all_pairs() -> None:
    draw = np.random.default_rng(0)
    for _unused in range(50):
        count = 8
        splits = [("train", "val", "test", "")[i] for i in draw.integers(0, 4, count)]
        labels, identity = draw.integers(0, 2, count).tolist(), draw.integers(0, 4, count).tolist()
        result = relations([list(range(count))], splits, labels, identity)
        differ = [(i, j) for i in range(count) for j in range(count) if identity[i] != identity[j]]
        test = {i for i, j in differ if splits[i] == "test" and splits[j] in ("train", "val")}
        val = {i for i, j in differ if splits[i] == "val" and splits[j] == "train"}
        kinds = {(identity[i], splits[i]) for i in range(count) if splits[i]}  # "" is no split
        assert {identity[i] for i, _other in result.test} == {identity[i] for i in test}
        assert {identity[i] for i, _other in result.val} == {identity[i] for i in val}
        assert bool(result.labels) == any(labels[i] != labels[j] for i, j in differ)
        assert len(result.within) == sum(bool(split) for _content, split in kinds) - len(
            {split for _content, split in kinds if split}
        )


@pytest.mark.parametrize(
    ("numbers", "sets"),
    [
        ([-1, -1, 0, 0, 1, 1], [[2, 3], [4, 5]]),
        ([0, -1, 2, -1, 0, 2, 2], [[0, 4], [2, 5, 6]]),
        ([-1, -1, -1], []),
        ([0, 0], [[0, 1]]),
        ([3, 1, 2], []),
        ([], []),
    ],
)
def test_sets_are_without_images_that_are_in_none(numbers: list[int], sets: list[list[int]]) -> None:
    assert sets_of(np.array(numbers, dtype=np.int64)) == sets


def test_different_pair_agrees_with_all_pairs() -> None:
    for first in itertools.product(range(3), repeat=4):
        for second in itertools.product(range(3), repeat=4):
            differ = {(i, j) for i in range(4) for j in range(4) if first[i] != first[j] and second[i] != second[j]}
            pair = different_pair(range(4), first, second)
            assert (pair in differ) if differ else pair is None


def test_a_large_cluster_of_one_label_takes_linear_time() -> None:
    count = 100_000  # a comparison of all pairs would take hours
    result = relations([range(count)], ["train"] * count, [0] * count, range(count))
    assert (len(result.within), result.labels) == (count - 1, [])
    assert relations([range(count)], ["train"] * count, [*([0] * (count - 1)), 1], range(count)).labels == [
        (0, count - 1)
    ]
