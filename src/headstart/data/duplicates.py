"""Near-duplicates among the images of a data set, in the cache: found once, from the files alone.

<cache>/near-duplicates/<key>.json      the pairs; the key is a hash of the contents and of the version of the search

The pairs do not depend on the image size of a run, because arms of different sizes must have the same splits, and a
split must be found again without the cache.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from headstart.data import near_duplicates as search
from headstart.data.components import components, same_name
from headstart.data.decode import DECODER_VERSION
from headstart.data.hashing import UNREADABLE_PREFIX
from headstart.data.image_index import ImageIndex
from headstart.data.image_windows import Integers
from headstart.data.near_duplicates import Pairs
from headstart.data.thumbnails import read_thumbnails
from headstart.errors import DataError
from headstart.i18n import _
from headstart.reporter import Reporter
from headstart.storage.cache import cache_root, read_cache_file, write_cache_file
from headstart.storage.schemas.cache import NearDuplicatePairs

MAX_SEARCHED = 200_000  # images of different content: the thumbnails of more would need gigabytes


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
    images: ImageIndex, content_hashes: Sequence[str], *, threads: int, reporter: Reporter
) -> Pairs:
    """Return the near-duplicates among images: positions of images of different content.

    They are a function of the contents of the files, and are read from the cache if the same contents were searched
    before. Of images of equal content, the first is compared. Images that `read_thumbnails` leaves out are not
    compared, and none are if there are more than MAX_SEARCHED of different content.

    Args:
        images: Index of the images.
        content_hashes: One content hash per image.
        threads: Number of threads.
        reporter: Receives progress, and a note if nothing is searched.

    Raises:
        DataError: A file has changed since it was hashed.
    """
    first: dict[str, int] = {}
    for i, content in enumerate(content_hashes):
        first.setdefault(content, i)
    if len(first) > MAX_SEARCHED:
        reporter.say(
            _(
                "Near-duplicates are not searched among more than {limit:,} different images (here {count:,}).",
                limit=MAX_SEARCHED,
                count=len(first),
            )
        )
        return Pairs.none()
    contents = sorted(content for content in first if not content.startswith(UNREADABLE_PREFIX))
    file = _cache_file(contents)
    pairs = _read(file, len(contents))
    if pairs is None:
        files = [(content, images.paths[first[content]]) for content in contents]
        compared, squares = read_thumbnails(files, threads, partial(reporter.progress, _("reading thumbnails")))
        pairs = search.find_pairs(squares, threads, reporter).at(compared)
        _write(file, pairs, len(contents))
    return pairs.at(np.array([first[content] for content in contents], dtype=np.int64))


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
    return components(len(content_hashes), [same_name(content_hashes), pairs.edges])


def _cache_file(contents: Iterable[str]) -> str:
    """Return the name of the file below the cache."""
    digest = hashlib.blake2b(f"{search.ALGORITHM_VERSION} {DECODER_VERSION}\n".encode(), digest_size=16)
    for content in contents:
        digest.update(content.encode())
    return f"near-duplicates/{digest.hexdigest()}.json"


def _read(file: str, count: int) -> Pairs | None:
    """Return the pairs in a file of the cache; None if there is none, or it is damaged."""
    content = read_cache_file(cache_root(), file)
    try:
        stored = NearDuplicatePairs.parse(content, file) if content is not None else None
    except DataError:
        return None
    if stored is None or not stored.is_intact or stored.images != count:
        return None
    if len(stored.pairs) != len(stored.similarity) or not all(0 <= i < j < count for i, j in stored.pairs):
        return None
    rows = np.array(stored.pairs, dtype=np.int64).reshape(-1, 2)
    return Pairs(rows[:, 0], rows[:, 1], np.array(stored.similarity, dtype=np.float32))


def _write(file: str, pairs: Pairs, count: int) -> None:
    rows = tuple(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    stored = NearDuplicatePairs.of(count, rows, tuple(pairs.similarity.astype(np.float64).round(6).tolist()))
    write_cache_file(cache_root(), file, (stored.model_dump_json() + "\n").encode())
