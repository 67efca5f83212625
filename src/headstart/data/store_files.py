"""The files of a pixel store: names of folders, index and manifest, and the list of files that are not images."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from PIL import features

from headstart.data.conversion import Conversion, choose_conversion
from headstart.data.decode import DECODER_VERSION
from headstart.data.image_formats import heif_version
from headstart.errors import DataError
from headstart.storage.cache import cache_root, write_cache_file
from headstart.storage.schemas.cache import StoreManifest, UndecodableFiles

PIXELS_FILE, _INDEX_FILE, _MANIFEST_FILE = "pixels.bin", "index.npz", "MANIFEST.json"
_SCHEMA_VERSION = 3  # of a store


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


def root() -> Path:
    """Return the folder of all stores."""
    return cache_root() / "pixels"


def store_folder(content_hashes: Iterable[str], side: int, conversion: Conversion | None) -> Path:
    """Return the folder of a store, named after the contents, the size, the conversion and the decoders' versions.

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
    return root() / digest.hexdigest()


def write_index(folder: Path, index: StoreIndex) -> None:
    """Write the index and, last, the manifest of a store whose pixels are written."""
    buffer, count = io.BytesIO(), len(index.content_hashes)
    np.savez(
        buffer,
        contents=np.frombuffer(bytes.fromhex("".join(index.content_hashes)), dtype=np.uint8).reshape(count, -1),
        sizes=index.sizes,
        max_values=index.max_values,
        visible=index.visible,
        scaled=index.scaled,
        checks=index.checks,
    )
    (folder / _INDEX_FILE).write_bytes(buffer.getvalue())
    (folder / _MANIFEST_FILE).write_text(_manifest(folder).model_dump_json(indent=1) + "\n")


def read_index_file(folder: Path) -> StoreIndex:
    """Return the index of a complete store."""
    with np.load(folder / _INDEX_FILE, allow_pickle=False) as arrays:
        return StoreIndex(
            content_hashes=tuple(row.tobytes().hex() for row in arrays["contents"]),
            sizes=arrays["sizes"],
            max_values=arrays["max_values"],
            visible=arrays["visible"],
            scaled=arrays["scaled"],
            checks=arrays["checks"],
        )


def is_complete(folder: Path) -> bool:
    """Return True if the files in `folder` match its manifest; `PixelStore` checks the pixels."""
    try:
        return StoreManifest.read(folder / _MANIFEST_FILE) == _manifest(folder)
    except (OSError, DataError):
        return False


def invalidate(folder: Path) -> None:
    """Remove the manifest, so that the store is built again. Raises OSError."""
    (folder / _MANIFEST_FILE).unlink(missing_ok=True)


def _manifest(folder: Path) -> StoreManifest:
    return StoreManifest(
        schema_version=_SCHEMA_VERSION,
        bytes=(folder / PIXELS_FILE).stat().st_size,
        index=hashlib.sha256((folder / _INDEX_FILE).read_bytes()).hexdigest(),
    )


def read_undecodable() -> set[str]:
    """Return the hashes of files that could not be decoded the last time."""
    try:
        return set(UndecodableFiles.read(root() / "undecodable.json").contents)
    except DataError:
        return set()


def add_undecodable(content_hashes: Iterable[str]) -> None:
    """Save the hashes of files that are not images. They are tried again each time, so a wrong entry does no harm."""
    saved = read_undecodable()
    if fresh := set(content_hashes) - saved:
        listed = UndecodableFiles(contents=tuple(sorted(saved | fresh)))
        write_cache_file(root() / "undecodable.json", listed.model_dump_json(indent=1).encode())
