"""What the files hold, as short hashes: the identity of an image, wherever it lies and whatever it is called."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from headstart.data.decode import opened
from headstart.data.image_index import ImageIndex
from headstart.data.parallel import ordered_map
from headstart.errors import DataError
from headstart.storage.cache import cache_root, write_whole

Stamp = tuple[int, int, int]  # size, time of change of the bytes, time of change of the entry, in nanoseconds
UNREADABLE = "unreadable-"
_DIGEST = 16  # bytes
_BATCH = 64  # files per task
_RECENT = 2_000_000_000  # ns; a file this young may change again without its stamp changing


def hash_file(file: io.BufferedReader) -> str:
    """BLAKE2b of the rest of `file`, 16 bytes as 32 hexadecimal digits."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST)).hexdigest()


def hash_files(listing: ImageIndex, progress: Callable[[int, int], None] | None = None) -> tuple[str, ...]:
    """The content hash of each image's file, in the listing's order; `progress` is told (done, of how many).

    A file that cannot be read gets a hash of its own that begins with "unreadable-"; `open_store` reports it. Hashes
    are remembered in the cache by path, size and times, so that a second start reads no file again.
    """
    index = cache_root() / "contents" / f"{hashlib.blake2b(os.fsencode(listing.root), digest_size=8).hexdigest()}.npz"
    known = _recall(index)
    fresh: dict[str, tuple[Stamp, str]] = {}
    now, found = time.time_ns(), list[str]()

    def some(keys: Sequence[str]) -> list[tuple[str, Stamp | None, str]]:
        return [(key, *_identify(listing.root, key, known.get(key))) for key in keys]

    batches = (listing.keys[i : i + _BATCH] for i in range(0, len(listing), _BATCH))
    with contextlib.closing(ordered_map(some, batches, min(16, 2 * (os.cpu_count() or 1)))) as results:
        for batch in results:
            for key, stamp, content in batch:
                found.append(content)
                if stamp and max(stamp[1:]) < now - _RECENT and known.get(key) != (stamp, content):
                    fresh[key] = (stamp, content)
            if progress:
                progress(len(found), len(listing))
    if fresh:
        with contextlib.suppress(OSError):  # what cannot be remembered is read again: it costs time, nothing else
            write_whole(index, _packed({**known, **fresh}))
    return tuple(found)


def fingerprint(listing: ImageIndex, contents: Sequence[str]) -> str:
    """sha256 over the class names and each image's key, label, split, group and content; not over where they lie."""
    digest = hashlib.sha256()
    for name in listing.classes:
        digest.update(f"class\0{name}\0\0".encode())
    rows = sorted(zip(listing.keys, listing.labels.tolist(), listing.splits, listing.groups, contents, strict=True))
    for row in rows:
        digest.update(("\0".join(map(str, row)) + "\0\0").encode())
    return digest.hexdigest()


def _identify(root: Path, key: str, known: tuple[Stamp, str] | None) -> tuple[Stamp | None, str]:
    try:
        status = (root / key).stat()
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if known is not None and known[0] == stamp:
            return stamp, known[1]
        with opened(root / key) as file:
            return stamp, hash_file(file)
    except (OSError, DataError):  # open_store tells the user, with the reason
        return None, UNREADABLE + hashlib.blake2b(key.encode(), digest_size=_DIGEST).hexdigest()


def _recall(index: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        with np.load(index, allow_pickle=False) as arrays:
            keys = arrays["keys"].tobytes().decode().split("\0")
            stamps = map(tuple, arrays["stamps"].tolist())
            digests = arrays["digests"].tobytes().hex()
            texts = (digests[i : i + 2 * _DIGEST] for i in range(0, len(digests), 2 * _DIGEST))
            return dict(zip(keys, zip(stamps, texts, strict=True), strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}  # none yet, or damaged: the files are read


def _packed(known: dict[str, tuple[Stamp, str]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        keys=np.frombuffer("\0".join(known).encode(), dtype=np.uint8),
        stamps=np.array([stamp for stamp, _ in known.values()], dtype=np.int64),
        digests=np.frombuffer(bytes.fromhex("".join(content for _, content in known.values())), dtype=np.uint8),
    )
    return buffer.getvalue()
