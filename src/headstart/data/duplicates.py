"""Near-duplicates among the images of a data set, in the cache: found once, whatever the resolution of the pixels.

<cache>/near-duplicates/<key>.json      the pairs; the key is a hash of the contents and of the version of the search

The resolution is no part of the key, because arms of different image sizes must have the same splits. A pair of nearly
the lowest similarity may be found at one resolution only; the digest in the plan shows which pairs a run has used.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.data import near_duplicates as search
from headstart.data.image_windows import Integers
from headstart.data.near_duplicates import Pairs
from headstart.data.pixel_store import PixelStore
from headstart.errors import DataError
from headstart.reporter import ProgressCallback
from headstart.storage.cache import cache_root, write_cache_file
from headstart.storage.schemas.cache import NearDuplicatePairs

_BATCH = 256  # thumbnails


@dataclass(frozen=True)
class Clusters:
    """Groups of images of different content that show the same photo.

    Attributes:
        members: Positions of the images of each group, copies of equal content included.
        examples: Two images of different content of each group.
        digest: Hash of the contents of each group; "" without groups.
    """

    members: tuple[tuple[int, ...], ...]
    examples: tuple[tuple[int, int], ...]
    digest: str


def find_near_duplicates(
    store: PixelStore, content_hashes: Sequence[str], *, threads: int, progress: ProgressCallback | None = None
) -> Pairs:
    """Return the near-duplicates among the images of a store: positions of images of different content.

    They are read from the cache if the same contents were searched before, at any resolution. Images whose shorter side
    is below `near_duplicates.MIN_SIDE` px are not compared. Of images of equal content, the first is compared.

    Args:
        store: The pixels.
        content_hashes: One content hash per image of the store.
        threads: Number of threads.
        progress: Called with (images done, all images).

    Raises:
        DataError: Cached pixels have changed on the disk.
    """
    first: dict[str, int] = {}
    for i, content in enumerate(content_hashes):
        first.setdefault(content, i)
    contents = sorted(content for content, i in first.items() if min(store.sizes[i]) >= search.MIN_SIDE)
    places = np.array([first[content] for content in contents], dtype=np.int64)
    if len(contents) < 2:
        return Pairs.none()
    file = _cache_file(first)
    pairs = _read(file, len(contents))
    if pairs is None:
        pairs = search.find_pairs(_thumbnails(store, places, threads, progress))
        _write(file, pairs, len(contents))
    one, other = places[pairs.first], places[pairs.second]
    return Pairs(np.minimum(one, other), np.maximum(one, other), pairs.similarity)


def clusters_of(pairs: Pairs, content_hashes: Sequence[str]) -> Clusters:
    """Return the connected groups of near-duplicates, in the order of their first images."""
    if not len(pairs):
        return Clusters((), (), "")
    numbers = pairs.clusters(len(content_hashes))
    of_content = dict(zip(reversed(content_hashes), reversed(numbers.tolist()), strict=True))  # of the first copy
    groups = defaultdict(list)
    for i, content in enumerate(content_hashes):
        groups[of_content[content]].append(i)
    connected = set(numbers[pairs.first].tolist())
    members = tuple(tuple(group) for number, group in groups.items() if number in connected)
    lines = sorted(" ".join(sorted({content_hashes[i] for i in group})) for group in members)
    examples = tuple(
        (group[0], next(i for i in group if content_hashes[i] != content_hashes[group[0]])) for group in members
    )
    return Clusters(members, examples, hashlib.sha256("\n".join(lines).encode()).hexdigest())


def copy_numbers(pairs: Pairs, content_hashes: Sequence[str]) -> Integers:
    """Return a number for each image, int64 [n]: that of its copies, equal or connected by near-duplicates."""
    first: dict[str, int] = {}
    equal = np.array([first.setdefault(content, i) for i, content in enumerate(content_hashes)], dtype=np.int64)
    if not len(pairs):
        return equal
    copies = np.flatnonzero(equal != np.arange(len(equal)))
    both = Pairs(
        np.concatenate([pairs.first, equal[copies]]),
        np.concatenate([pairs.second, copies]),
        np.concatenate([pairs.similarity, np.ones(len(copies), np.float32)]),
    )
    return both.clusters(len(equal))


def _thumbnails(
    store: PixelStore, places: Integers, threads: int, progress: ProgressCallback | None
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    squares = np.empty((len(places), search.SIDE, search.SIDE), np.uint8)

    def fill(begin: int) -> int:
        for row in range(begin, min(begin + _BATCH, len(places))):
            squares[row] = search.thumbnail(store[int(places[row])])
        return min(begin + _BATCH, len(places))

    with ThreadPoolExecutor(threads) as pool:
        for done in pool.map(fill, range(0, len(places), _BATCH)):
            if progress:
                progress(done, len(places))
    return squares


def _cache_file(contents: Iterable[str]) -> Path:
    digest = hashlib.blake2b(f"{search.ALGORITHM_VERSION}\n".encode(), digest_size=16)
    for content in sorted(contents):
        digest.update(content.encode())
    return cache_root() / "near-duplicates" / f"{digest.hexdigest()}.json"


def _read(file: Path, count: int) -> Pairs | None:
    """Return the pairs in a file of the cache; None if there is none, or it is damaged."""
    try:
        stored = NearDuplicatePairs.read(file)
    except DataError:
        return None
    if not stored.is_intact or stored.images != count:
        return None
    rows = np.array(stored.pairs, dtype=np.int64).reshape(-1, 2)
    return Pairs(rows[:, 0], rows[:, 1], np.array(stored.similarity, dtype=np.float32))


def _write(file: Path, pairs: Pairs, count: int) -> None:
    rows = tuple(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    stored = NearDuplicatePairs.of(count, rows, tuple(pairs.similarity.astype(np.float64).round(6).tolist()))
    with suppress(OSError):  # they are found again next time
        write_cache_file(file, (stored.model_dump_json() + "\n").encode())
