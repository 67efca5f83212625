"""Content hashes of image files: they identify an image whatever its name and folder."""

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

from headstart.data.decode import open_regular_file
from headstart.data.image_index import ImageIndex
from headstart.data.parallel import ordered_map
from headstart.errors import DataError
from headstart.storage.cache import cache_root, write_cache_file

Stamp = tuple[int, int, int]  # size in bytes, time of change of the content and of the entry, both in nanoseconds
UNREADABLE_PREFIX = "unreadable-"
_DIGEST_BYTES = 16
_FILES_PER_TASK = 64
_MIN_AGE_NS = 2_000_000_000  # the content of a younger file may change without a change of its stamp


def hash_file(file: io.BufferedReader) -> str:
    """Return BLAKE2b of the rest of `file`: 16 bytes as 32 hexadecimal digits."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)).hexdigest()


def hash_files(images: ImageIndex, progress: Callable[[int, int], None] | None = None) -> tuple[str, ...]:
    """Return the content hash of each image's file, in the order of the index.

    Hashes are cached by path, size and times, so that a file is read again only after a change. A file that cannot be
    read gets a hash of its own that begins with "unreadable-"; `open_store` reports it.

    Args:
        images: Index of the images.
        progress: Called with (files done, all files).
    """
    cache_file = (
        cache_root() / "contents" / f"{hashlib.blake2b(os.fsencode(images.root), digest_size=8).hexdigest()}.npz"
    )
    cached = _read_cache(cache_file)
    fresh: dict[str, tuple[Stamp, str]] = {}
    now, content_hashes = time.time_ns(), list[str]()

    def identify_all(keys: Sequence[str]) -> list[tuple[str, Stamp | None, str]]:
        """Return (key, stamp, hash) of each file."""
        return [(key, *_identify(images.root, key, cached.get(key))) for key in keys]

    batches = (images.keys[i : i + _FILES_PER_TASK] for i in range(0, len(images), _FILES_PER_TASK))
    with contextlib.closing(ordered_map(identify_all, batches, min(16, 2 * (os.cpu_count() or 1)))) as results:
        for batch in results:
            for key, stamp, content in batch:
                content_hashes.append(content)
                if stamp and max(stamp[1:]) < now - _MIN_AGE_NS and cached.get(key) != (stamp, content):
                    fresh[key] = (stamp, content)
            if progress:
                progress(len(content_hashes), len(images))
    if fresh:
        with contextlib.suppress(OSError):  # without the cache the files are only read again
            write_cache_file(cache_file, _serialize({**cached, **fresh}))
    return tuple(content_hashes)


def fingerprint(images: ImageIndex, content_hashes: Sequence[str]) -> str:
    """Return sha256 over the class names and each image's key, label, split, group and content.

    The folder of the images is not part of it.
    """
    digest = hashlib.sha256()
    for name in images.classes:
        digest.update(f"class\0{name}\0\0".encode())
    rows = sorted(zip(images.keys, images.labels.tolist(), images.splits, images.groups, content_hashes, strict=True))
    for row in rows:
        digest.update(("\0".join(map(str, row)) + "\0\0").encode())
    return digest.hexdigest()


def _identify(root: Path, key: str, cached: tuple[Stamp, str] | None) -> tuple[Stamp | None, str]:
    try:
        status = (root / key).stat()
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if cached is not None and cached[0] == stamp:
            return stamp, cached[1]
        with open_regular_file(root / key) as file:
            return stamp, hash_file(file)
    except (OSError, DataError):  # open_store reports the reason
        return None, UNREADABLE_PREFIX + hashlib.blake2b(key.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _read_cache(path: Path) -> dict[str, tuple[Stamp, str]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            keys = arrays["keys"].tobytes().decode().split("\0")
            stamps = map(tuple, arrays["stamps"].tolist())
            digests = arrays["digests"].tobytes().hex()
            texts = (digests[i : i + 2 * _DIGEST_BYTES] for i in range(0, len(digests), 2 * _DIGEST_BYTES))
            return dict(zip(keys, zip(stamps, texts, strict=True), strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}  # missing or damaged: the files are read


def _serialize(hashes: dict[str, tuple[Stamp, str]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        keys=np.frombuffer("\0".join(hashes).encode(), dtype=np.uint8),
        stamps=np.array([stamp for stamp, _ in hashes.values()], dtype=np.int64),
        digests=np.frombuffer(bytes.fromhex("".join(content for _, content in hashes.values())), dtype=np.uint8),
    )
    return buffer.getvalue()
