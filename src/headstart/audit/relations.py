"""How sets of alike images lie in splits and classes, in time that is linear in the number of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headstart.data.image_index import SPLITS


@dataclass
class Relations:
    """How sets of alike images lie in splits and classes.

    Attributes:
        within: Copies of an image of the same split: pairs (image, copy).
        test: Test images with a copy in train or val: pairs (test image, copy).
        val: Val images with a copy in train: pairs (val image, copy).
        labels: Sets with several labels: one pair of each.
    """

    within: list[tuple[int, int]] = field(default_factory=list)
    test: list[tuple[int, int]] = field(default_factory=list)
    val: list[tuple[int, int]] = field(default_factory=list)
    labels: list[tuple[int, int]] = field(default_factory=list)


def relations(
    sets: Iterable[Sequence[int]], splits: Sequence[str], labels: Sequence[int], identity: Sequence[int] | None = None
) -> Relations:
    """Return the relations in sets of alike images.

    Args:
        sets: Positions of the images of each set.
        splits: Split of each image; "" for an image that is in none.
        labels: Label of each image.
        identity: Number of each image's content: images of equal content are no pair, because another check reports
            them. None if all images of a set are equal.
    """
    result = Relations()
    for members in sets:
        places: dict[str, list[int]] = defaultdict(list)
        seen: set[tuple[int, str]] = set()
        for i in members:
            key = (i if identity is None else identity[i], splits[i])
            if key not in seen:
                seen.add(key)
                places[splits[i]].append(i)
        for name in SPLITS:
            split = places.get(name, [])
            result.within += [(split[0], copy) for copy in split[1:]]
        train, val, test = (places.get(name, []) for name in ("train", "val", "test"))
        result.test += _pairs(test, [*train, *val], identity)
        result.val += _pairs(val, train, identity)
        if pair := different_pair(members, labels, identity):
            result.labels.append(pair)
    return result


def _pairs(images: Sequence[int], others: Sequence[int], identity: Sequence[int] | None) -> Iterable[tuple[int, int]]:
    """Yield each image with the first of the others that has another content."""
    for image in images:
        for other in others:
            if identity is None or identity[other] != identity[image]:
                yield image, other
                break


def different_pair(
    members: Iterable[int], first: Sequence[Hashable], second: Sequence[Hashable] | None = None
) -> tuple[int, int] | None:
    """Return two images of a set that differ in both properties; None if no two do.

    All images are compared with one of them. Those that share only the first property with it differ in both from
    those that share only the second.

    Args:
        members: Positions of the images.
        first: A property of each image.
        second: Another one. None if only the first counts.
    """
    start: int | None = None
    shares_first: int | None = None
    shares_second: int | None = None
    for i in members:
        if start is None:
            start = i
            continue
        differs = second is None or second[i] != second[start]
        if first[i] != first[start]:
            if differs:
                return start, i
            shares_second = i
        elif differs:
            shares_first = i
        if shares_first is not None and shares_second is not None:
            return shares_first, shares_second
    return None


def sets_of(numbers: npt.NDArray[np.int64]) -> list[list[int]]:
    """Return the positions of each number that occurs twice or more; negative numbers stand for no set."""
    places = np.flatnonzero(numbers >= 0)
    order = places[np.argsort(numbers[places], kind="stable")]
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    return [part.tolist() for part in np.split(order, starts[1:]) if len(part) > 1]
