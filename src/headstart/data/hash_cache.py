"""Remember content hashes of files, so that a file is read again only after a change."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.errors import DataError
from headstart.storage import arrays
from headstart.storage.cache import WRITE_ERRORS, cache_root, make_cache_folder

DIGEST_BYTES = 16
Stamp = tuple[int, int, int]  # size in bytes, time of change of the content and of the entry, both in nanoseconds
NO_STAMP: Stamp = (-1, -1, -1)  # of a file that cannot be read
Stamps = npt.NDArray[np.int64]  # [n, 3]
_MIN_AGE_NS = 2_000_000_000  # the content of a younger file may change without a change of its stamp
_SAVE_INTERVAL_S = 15.0  # so much work is lost if the process is killed
_MAX_SAVE_SHARE = 0.05  # of the time, for saving a large cache again and again
_FOLDER = "contents"  # in the cache
_MAX_BYTES = 1 << 31  # about 20 million files
_EMPTY = (list[str](), np.zeros((0, 3), dtype=np.int64), np.zeros((0, DIGEST_BYTES), dtype=np.uint8))
_Entries = tuple[Stamps, npt.NDArray[np.uint8]]  # stamps and digests, one row per file


class HashCache:
    """Content hashes and stamps of the files below a folder, in one file of the cache.

    One thread may add and save while others look up: lookups of keys that were added meanwhile may miss them.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        name = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
        self._cache, self._file = cache_root(), f"{_FOLDER}/{name}.npz"
        keys, stamps, digests = _read(self._cache, self._file)
        # one tuple: a lookup in another thread never sees the stamp of one state and the digest of another
        self._entries: _Entries = (stamps, digests)
        self._rows = dict(zip(keys, range(len(keys)), strict=True))
        self._newest = time.time_ns() - _MIN_AGE_NS
        self._added: list[tuple[list[str], Stamps, str]] = []  # keys, stamps and hashes of a batch
        self._next_save = time.monotonic() + _SAVE_INTERVAL_S

    def lookup(self, keys: Sequence[str], stamps: Stamps) -> list[str]:
        """Return the hash of each file; "" for one that is unknown or has another stamp."""
        rows = [self._rows.get(key, -1) for key in keys]
        known_stamps, digests = self._entries  # after the rows: `save` replaces these first
        if not len(known_stamps):
            return [""] * len(keys)
        matches = (known_stamps[rows] == stamps).all(axis=1) & (np.asarray(rows) >= 0)
        text, size = digests[rows].tobytes().hex(), 2 * DIGEST_BYTES
        return [text[i * size : (i + 1) * size] if match else "" for i, match in enumerate(matches.tolist())]

    def add(self, keys: Sequence[str], stamps: Stamps, content_hashes: Sequence[str]) -> None:
        """Remember hashes of files that are old enough, and save them from time to time."""
        old = (stamps[:, 0] >= 0) & (stamps[:, 1:].max(axis=1) < self._newest)
        if places := np.flatnonzero(old).tolist():
            hashes = "".join([content_hashes[i] for i in places])
            self._added.append(([keys[i] for i in places], stamps[old], hashes))
        if time.monotonic() >= self._next_save:
            self.save()

    def save(self) -> None:
        """Write what was added. Without a cache that can be written, files are only read again."""
        if not self._added:
            return
        start = time.monotonic()
        self._merge()
        stamps, digests = self._entries
        keys = np.frombuffer("\0".join(self._rows).encode(), dtype=np.uint8)
        with contextlib.suppress(*WRITE_ERRORS):
            make_cache_folder(self._cache, _FOLDER)
            arrays.write_npz(self._cache, self._file, {"keys": keys, "stamps": stamps, "digests": digests})
        now = time.monotonic()
        self._next_save = now + max(_SAVE_INTERVAL_S, (now - start) / _MAX_SAVE_SHARE)

    def _merge(self) -> None:
        """Move what was added to the rows. An exception such as KeyboardInterrupt may end it anywhere."""
        count = len(self._rows)
        keys = [key for batch, _stamps, _hashes in self._added for key in batch]
        unknown = dict.fromkeys(key for key in keys if key not in self._rows)
        fresh = {key: row for row, key in enumerate(unknown, count)}
        rows = [fresh[key] if (row := self._rows.get(key)) is None else row for key in keys]
        digests = bytes.fromhex("".join([hashes for _keys, _stamps, hashes in self._added]))
        space = ((0, len(fresh)), (0, 0))
        stamps, digest_rows = self._entries
        all_stamps, all_digests = np.pad(stamps[:count], space), np.pad(digest_rows[:count], space)
        all_stamps[rows] = np.concatenate([batch for _keys, batch, _hashes in self._added])
        all_digests[rows] = np.frombuffer(digests, dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        self._entries = (all_stamps, all_digests)
        self._rows.update(fresh)
        self._added = []


def _read(root: Path, name: str) -> tuple[list[str], Stamps, npt.NDArray[np.uint8]]:
    """Return keys, stamps and digests; nothing if the file is missing or damaged, so that the files are read again."""
    try:
        columns = arrays.read_npz(root, name, _MAX_BYTES)
        keys = columns["keys"].tobytes().decode().split("\0")
        stamps, digests = columns["stamps"], columns["digests"]
    except (OSError, ValueError, KeyError, DataError):
        return _EMPTY
    is_sound = (
        (stamps.dtype, digests.dtype) == (np.dtype(np.int64), np.dtype(np.uint8))
        and (stamps.shape, digests.shape) == ((len(keys), 3), (len(keys), DIGEST_BYTES))
        and len(set(keys)) == len(keys)
    )
    return (keys, stamps, digests) if is_sound else _EMPTY
