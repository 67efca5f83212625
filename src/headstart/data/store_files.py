"""The files of a pixel store: names of folders, index and manifest, and the list of files that are not images."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from PIL import features

from headstart.data.conversion import Conversion, choose_conversion
from headstart.data.decode import DECODER_VERSION
from headstart.data.hash_cache import DIGEST_BYTES
from headstart.data.image_formats import heif_version
from headstart.errors import DataError
from headstart.storage import arrays, contained
from headstart.storage.cache import cache_root, read_cache_file, write_cache_file
from headstart.storage.schemas.cache import StoreManifest, UndecodableFiles

STORES = "pixels"  # the folder of all stores in the cache
PIXELS_FILE, _INDEX_FILE, _MANIFEST_FILE = "pixels.bin", "index.npz", "MANIFEST.json"
_UNDECODABLE_FILE = f"{STORES}/undecodable.json"
_SCHEMA_VERSION = 3  # of a store
_MAX_INDEX_BYTES = 1 << 30  # 36 bytes per image
_COLUMNS = {  # types of the columns of an index
    "contents": "uint8", "sizes": "int32", "max_values": "int32", "visible": "int16", "scaled": "bool",
    "checks": "uint32",
}  # fmt: skip


@dataclass(frozen=True)
class StoreIndex:
    """The images of a store, in the order of its pixels.

    Attributes:
        content_hashes: Content hash of each image's file.
        sizes: (h, w), int32 [n, 2].
        max_values: `ImageFacts.max_value`, int32 [n].
        visible: `ImageFacts.visible`, int16 [n].
        scaled: `ImageFacts.is_scaled`, bool [n].
        checks: CRC-32 of an image's bytes, uint32 [n].
    """

    content_hashes: tuple[str, ...]
    sizes: npt.NDArray[np.int32]
    max_values: npt.NDArray[np.int32]
    visible: npt.NDArray[np.int16]
    scaled: npt.NDArray[np.bool_]
    checks: npt.NDArray[np.uint32]

    def found_conversion(self) -> Conversion:
        """Return the conversion that the images give."""
        return choose_conversion(self.max_values.tolist(), self.visible.tolist())

    def starts(self) -> npt.NDArray[np.int64]:
        """Return the position of each image in the file of pixels, and that of its end, int64 [n + 1]."""
        return np.concatenate([[0], np.cumsum(np.prod(self.sizes, axis=1, dtype=np.int64) * 3)])


@dataclass(frozen=True)
class StoredImages:
    """A complete store: its index, and the bytes of all images as a memory map, uint8 [n]."""

    index: StoreIndex
    pixels: npt.NDArray[np.uint8]


def store_name(content_hashes: Iterable[str], side: int, conversion: Conversion | None) -> str:
    """Return the folder of a store below the cache, named after the contents, size, conversion and decoders' versions.

    Args:
        content_hashes: Content hashes of the images, in any order.
        side: As in `decode`.
        conversion: A given conversion; None for that which the images give.
    """
    versions = f"{PIL.__version__} {features.version('libjpeg_turbo')} {features.version('avif')} {heif_version()}"
    rules = f"{conversion.max_value} {conversion.background}" if conversion else "found"
    digest = hashlib.blake2b(f"{DECODER_VERSION} {versions} {side} {rules}\n".encode(), digest_size=16)
    for content in sorted(content_hashes):
        digest.update(content.encode())
    return f"{STORES}/{digest.hexdigest()}"


def write_index(root: Path, name: str, index: StoreIndex) -> None:
    """Write the index and, last, the manifest of a store whose pixels are written.

    Args:
        root: The cache.
        name: Name of the store's folder below it.
        index: The index.
    """
    contents = np.frombuffer(bytes.fromhex("".join(index.content_hashes)), dtype=np.uint8)
    columns: dict[str, arrays.Array] = {
        "contents": contents.reshape(len(index.content_hashes), -1),
        "sizes": index.sizes,
        "max_values": index.max_values,
        "visible": index.visible,
        "scaled": index.scaled,
        "checks": index.checks,
    }
    arrays.write_npz(root, f"{name}/{_INDEX_FILE}", columns)
    pixels = contained.find(root, f"{name}/{PIXELS_FILE}")
    manifest = StoreManifest(
        schema_version=_SCHEMA_VERSION,
        bytes=pixels.size if pixels else 0,
        index=hashlib.sha256(contained.read_bytes(root, f"{name}/{_INDEX_FILE}", _MAX_INDEX_BYTES)).hexdigest(),
    )
    contained.write(root, f"{name}/{_MANIFEST_FILE}", manifest.model_dump_json(indent=1) + "\n")


def read_store(root: Path, name: str) -> StoredImages | None:
    """Return a store; None if it is missing, or if its files do not match its manifest and each other.

    `PixelStore` checks the pixels themselves.

    Args:
        root: The cache.
        name: Name of the store's folder below it.
    """
    try:
        manifest = StoreManifest.parse(contained.read_bytes(root, f"{name}/{_MANIFEST_FILE}", 1 << 16), _MANIFEST_FILE)
        content = contained.read_bytes(root, f"{name}/{_INDEX_FILE}", _MAX_INDEX_BYTES)
        if manifest.schema_version != _SCHEMA_VERSION or manifest.index != hashlib.sha256(content).hexdigest():
            return None
        columns = arrays.parse_npz(content, _INDEX_FILE)
        with contained.open_file(root, f"{name}/{PIXELS_FILE}") as file:
            if os.fstat(file.fileno()).st_size != manifest.bytes or not _is_sound(columns, manifest.bytes):
                return None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, DataError):  # ValueError: an empty file is not mapped
        return None
    index = StoreIndex(
        content_hashes=tuple(row.tobytes().hex() for row in columns["contents"]),
        sizes=columns["sizes"],
        max_values=columns["max_values"],
        visible=columns["visible"],
        scaled=columns["scaled"],
        checks=columns["checks"],
    )
    return StoredImages(index, np.frombuffer(mapped, dtype=np.uint8))


def invalidate(root: Path, name: str) -> None:
    """Remove the manifest of a store, so that it is built again. Raises UnsafeFileError and OSError."""
    contained.remove(root, f"{name}/{_MANIFEST_FILE}")


def _is_sound(columns: dict[str, arrays.Array], pixel_bytes: int) -> bool:
    """Return True if an index has all columns, and its images fill a file of `pixel_bytes`."""
    if {key: str(column.dtype) for key, column in columns.items()} != _COLUMNS:
        return False
    count = len(columns["contents"]) if columns["contents"].ndim else 0
    shapes = {"contents": (count, DIGEST_BYTES), "sizes": (count, 2)}
    if not count or any(column.shape != shapes.get(key, (count,)) for key, column in columns.items()):
        return False
    areas = np.prod(columns["sizes"], axis=1, dtype=np.int64)
    if columns["sizes"].min() < 1 or areas.max() > pixel_bytes:
        return False
    ends = np.cumsum(areas * 3)
    return bool((np.diff(ends) > 0).all()) and int(ends[-1]) == pixel_bytes  # a sum that overflows is negative


def read_undecodable() -> set[str]:
    """Return the hashes of files that could not be decoded the last time."""
    content = read_cache_file(cache_root(), _UNDECODABLE_FILE)
    try:
        return set(UndecodableFiles.parse(content, _UNDECODABLE_FILE).contents) if content is not None else set()
    except DataError:
        return set()


def add_undecodable(content_hashes: Iterable[str]) -> None:
    """Save the hashes of files that are not images. They are tried again each time, so a wrong entry does no harm."""
    saved = read_undecodable()
    if fresh := set(content_hashes) - saved:
        listed = UndecodableFiles(contents=tuple(sorted(saved | fresh)))
        write_cache_file(cache_root(), _UNDECODABLE_FILE, listed.model_dump_json(indent=1).encode())
