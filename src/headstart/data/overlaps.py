"""What is in two splits or under two labels: equal images, near-duplicates and groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headstart.data.image_index import SPLITS, ImageIndex
from headstart.data.splits import Split
from headstart.data.unit_selection import Indices
from headstart.storage.schemas.overlap import Overlap, OverlapKind

UNUSED = 3  # number of an image that is in no split, after those of `SPLITS`


def overlaps(
    images: ImageIndex, split: Split, content_hashes: Sequence[str], clusters: Sequence[Sequence[int]] = ()
) -> list[Overlap]:
    """Return images of equal content in two splits or under two labels, and groups and near-duplicates in two splits.

    Images that a fraction leaves out of train are in no split.

    Args:
        images: Index of the images.
        split: Their split.
        content_hashes: One content hash per image.
        clusters: Positions of near-duplicates, one sequence for each photo.
    """
    split_of = split_numbers(split, len(images))
    results = []
    equal_images = _shared_names(content_hashes)
    kinds = (
        (OverlapKind.IMAGE, equal_images, None),
        (OverlapKind.GROUP, _shared_names(images.groups), None),
        (OverlapKind.NEAR_DUPLICATE, clusters, content_hashes),  # equal images are counted as such
    )
    for kind, sets, contents in kinds:
        for a, b in ((0, 1), (0, 2), (1, 2)):
            shared = [pair for members in sets if (pair := _crossing(members, split_of, (a, b), contents))]
            if shared:
                first, second = shared[0]
                examples = (images.keys[first], images.keys[second])
                pair_of_splits = (SPLITS[a], SPLITS[b])
                results.append(Overlap(kind=kind, splits=pair_of_splits, count=len(shared), examples=examples))
    conflicting = [members for members in equal_images if len(set(images.labels[members].tolist())) > 1]
    if conflicting:
        members = conflicting[0]
        other = next(i for i in members if images.labels[i] != images.labels[members[0]])
        examples = (images.keys[members[0]], images.keys[other])
        results.append(Overlap(kind=OverlapKind.LABEL, splits=None, count=len(conflicting), examples=examples))
    return results


def split_numbers(split: Split, count: int) -> Indices:
    """Return for each of `count` images the position of its split in `SPLITS`, or UNUSED: int64 [count]."""
    numbers = np.full(count, UNUSED)
    for number, part in enumerate((split.train, split.val, split.test)):
        numbers[part] = number
    return numbers


def has_copy(split: Split, clusters: Indices) -> npt.NDArray[np.bool_]:
    """Return for each image whether the model that is evaluated on it has seen a copy of it: bool [n].

    That is a test image with a copy in train or val, or a val image with a copy in train. Only declared splits have
    such images. Images that a fraction leaves out of train are not seen, and have no copy.

    Args:
        split: The split.
        clusters: Number of the cluster of each image, int64 [n]: copies have the same one.
    """
    numbers = split_numbers(split, len(clusters))
    first = np.full(int(clusters.max(initial=-1)) + 1, UNUSED)
    np.minimum.at(first, clusters, numbers)
    return (first[clusters] < numbers) & (numbers < UNUSED)


def _crossing(
    members: Sequence[int], split_of: Indices, splits: tuple[int, int], contents: Sequence[str] | None
) -> tuple[int, int] | None:
    """Return an image in each of two splits, of different content if `contents` are given; None if there are none."""
    ones, others = ([i for i in members if split_of[i] == split] for split in splits)
    if not ones or not others:
        return None
    if contents is None:
        return ones[0], others[0]
    first, other = contents[ones[0]], contents[others[0]]
    if (j := next((j for j in others if contents[j] != first), None)) is not None:
        return ones[0], j
    return next(((i, others[0]) for i in ones if contents[i] != other), None)  # all others equal the first image


def _shared_names(names: Sequence[str]) -> list[list[int]]:
    """Return the indices of each name that occurs twice or more; empty names are ignored."""
    if len(set(names)) == len(names):  # as most content hashes: lists for a million of them take seconds
        return []
    counts = Counter(names)
    sets = defaultdict(list)
    for i, name in enumerate(names):
        if name and counts[name] > 1:
            sets[name].append(i)
    return list(sets.values())
