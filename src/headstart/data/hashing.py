"""Content hashes of image files: they identify an image whatever its name and folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Sequence
from stat import S_ISREG
from typing import BinaryIO

import numpy as np

from headstart.data.hash_cache import DIGEST_BYTES, NO_STAMP, HashCache, Stamp, Stamps
from headstart.data.image_index import ImageIndex
from headstart.data.parallel import ordered_map
from headstart.reporter import ProgressCallback

UNREADABLE_PREFIX = "unreadable-"
_FILES_PER_TASK = 128
_READ_BYTES = 1 << 16  # the memory of larger blocks is mapped and unmapped for each file, which takes most of the time


def hash_file(file: BinaryIO) -> str:
    """Return BLAKE2b of the rest of `file`: 16 bytes as 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    while block := file.read(_READ_BYTES):
        digest.update(block)
    return digest.hexdigest()


def hash_files(images: ImageIndex, progress: ProgressCallback | None = None) -> tuple[str, ...]:
    """Return the content hash of each image's file, in the order of the index.

    Hashes are cached by path, size and times, so that a file is read again only after a change. Those of a start that
    ends early are kept. A file that cannot be read gets a hash of its own that begins with "unreadable-"; `open_store`
    reports it.

    Args:
        images: Index of the images.
        progress: Called with (files done, all files).
    """
    cache = HashCache(images.root)
    folder = os.path.join(images.root, "")  # noqa: PTH118
    stopped = threading.Event()
    content_hashes: list[str] = []

    def hash_batch(keys: Sequence[str]) -> tuple[Stamps, list[str], list[int]]:
        """Return stamps and hashes of the files, and the places of those that were read."""
        paths = [folder + key for key in keys]
        stamps = np.array([_stamp(path) for path in paths], dtype=np.int64)
        hashes = cache.lookup(keys, stamps)
        read = [place for place, content in enumerate(hashes) if not content]
        for place in read:
            if stopped.is_set():  # nobody waits for the batch
                break
            content = "" if stamps[place, 0] < 0 else _read_hash(paths[place])
            if not content:
                stamps[place] = NO_STAMP
            hashes[place] = content or _unreadable(keys[place])
        return stamps, hashes, read

    batches = [images.keys[i : i + _FILES_PER_TASK] for i in range(0, len(images), _FILES_PER_TASK)]
    with contextlib.closing(ordered_map(hash_batch, batches, min(16, 2 * (os.cpu_count() or 1)))) as results:
        try:
            for keys, (stamps, hashes, read) in zip(batches, results, strict=True):
                content_hashes += hashes
                if read:
                    cache.add([keys[place] for place in read], stamps[read], [hashes[place] for place in read])
                if progress:
                    progress(len(content_hashes), len(images))
        finally:
            stopped.set()
            cache.save()
    return tuple(content_hashes)


def _stamp(path: str) -> Stamp:
    """Return the stamp of a regular file; `NO_STAMP` for what is none, or is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116  # a million paths as objects take seconds
    except (OSError, ValueError):  # ValueError: a null character in the name
        return NO_STAMP
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns) if S_ISREG(status.st_mode) else NO_STAMP


def _read_hash(path: str) -> str:
    """Return the hash of a file; "" if it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return hash_file(file)
    except OSError:
        return ""


def _unreadable(key: str) -> str:
    """Return the hash of a file that cannot be read; `open_store` reports the reason."""
    return UNREADABLE_PREFIX + hashlib.blake2b(key.encode(), digest_size=DIGEST_BYTES).hexdigest()


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
