"""A memory-mapped store of decoded images (uint8) in the cache, keyed by content and size.

<cache>/pixels/<key>/pixels.bin      the images one after the other, each h x w x 3 bytes, RGB
                     index.npz       contents (hashes) [n, 16], sizes [n, 2] (h, w), max_values, visible, scaled [n]
                                     (`ImageFacts`), checks [n] (CRC-32 of an image's bytes): no pickle
                     MANIFEST.json   the length of pixels.bin and the hash of index.npz, written last
<cache>/pixels/undecodable.json      hashes of files that could not be decoded the last time; they are tried first
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart.data import store_files
from headstart.data.conversion import DEFAULT_CONVERSION, EIGHT_BITS, OPAQUE, Conversion, is_visible
from headstart.data.decode import suppress_pillow_warnings
from headstart.data.hashing import UNREADABLE_PREFIX
from headstart.data.image_index import ImageIndex
from headstart.data.pixels import Pixels
from headstart.data.store_builder import DecodeFailure, StoreBuilder, read_image, undecodable_error
from headstart.data.store_files import StoredImages, StoreIndex
from headstart.errors import DataError, ResourceError
from headstart.i18n import Message, _, ngettext
from headstart.reporter import ProgressCallback
from headstart.storage.cache import cache_root
from headstart.storage.contained import UnsafeFileError
from headstart.text import end_sentence, join_first


class PixelStore:
    """The pixels of an image index: `store[i]` is image i as a read-only uint8 view [h, w, 3], RGB, without a copy.

    An image's checksum is verified at the first access, and DataError is raised if it does not match.

    Attributes:
        sizes: (h, w) of each image, int32 [len, 2]; (0, 0) for the images in `bad`.
        bad: Positions of the images that cannot be decoded and have no pixels.
        faults: For each of them, why; the sentence names the image.
        is_deep: True for an image whose file has more than 8 bits per value, bool [len].
        is_transparent: True for an image with transparent pixels, bool [len].
        conversion: Conversion of the images to 8 bits and RGB.
        notes: Sentences for the user.
    """

    def __init__(
        self,
        place: tuple[Path, str],
        stored: StoredImages,
        images: ImageIndex,
        content_hashes: Sequence[str],
        failures: dict[str, DecodeFailure],
        conversion: Conversion | None,
    ) -> None:
        """Assign the images of an index to those of a store.

        Args:
            place: The cache, and the name of the store below it.
            stored: Content of the store.
            images: Index of the images.
            content_hashes: One content hash per image.
            failures: What could not be decoded, by content hash.
            conversion: A given conversion; None for that which the images give.
        """
        index = stored.index
        number = {content: i for i, content in enumerate(index.content_hashes)}
        self.bad = tuple(i for i, content in enumerate(content_hashes) if content in failures)
        self.faults = tuple(end_sentence(failures[content_hashes[i]].of(images.keys[i])) for i in self.bad)
        record = np.fromiter(
            (number.get(content, -1) for content in content_hashes), dtype=np.int64, count=len(content_hashes)
        )
        self.sizes: npt.NDArray[np.int32] = np.where(record[:, None] >= 0, index.sizes[record], 0).astype(np.int32)
        self.is_deep: npt.NDArray[np.bool_] = index.scaled[record] & (record >= 0)
        self.is_transparent: npt.NDArray[np.bool_] = (index.visible[record] != OPAQUE) & (record >= 0)
        self._starts = index.starts()[record]
        self._place, self._checks, self._pixels = place, index.checks[record], stored.pixels
        self._checked = np.zeros(len(record), dtype=np.bool_)
        self.conversion = conversion or index.found_conversion()
        self.notes = tuple(_notes(images, index, record, self.conversion))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Pixels:
        height, width = self.sizes[index]
        if not height:
            raise LookupError(f"image {index} could not be decoded and has no pixels")
        start = self._starts[index]
        flat = self._pixels[start : start + int(height) * int(width) * 3]
        if not self._checked[index]:
            self._check(index, flat)
        return flat.reshape(height, width, 3)

    def _check(self, index: int, flat: Pixels) -> None:
        if zlib.crc32(flat.data) != self._checks[index]:
            hint = _("Run the command again: the images will be decoded again.")
            folder = Path(*self._place)
            try:
                store_files.invalidate(*self._place)
            except (OSError, UnsafeFileError):
                hint = _("Delete {folder} and run the command again.", folder=folder)
            raise DataError(
                _(
                    "The cached pixels in {folder} have changed on the disk (image {index}).",
                    folder=folder,
                    index=index,
                ),
                hint,
            )
        self._checked[index] = True


def _notes(
    images: ImageIndex, index: StoreIndex, record: npt.NDArray[np.int64], conversion: Conversion
) -> list[Message]:
    """Return sentences on what was decided for all images; `record` are their places in the store's index, or -1."""
    known = record >= 0
    notes: list[Message] = []
    if count := int(np.count_nonzero(index.scaled[record] & known)):
        deep = int(np.count_nonzero((index.max_values[record] != EIGHT_BITS) & known))
        notes.append(
            ngettext(
                "Scaled {count:,} image with more than 8 bits per value to 8.",
                "Scaled {count:,} images with more than 8 bits per value to 8.",
                count,
            )
        )
        if deep:
            notes[-1] = ngettext(
                "Scaled {count:,} image with more than 8 bits per value to 8: of 16-bit values, {top:,} became 255.",
                "Scaled {count:,} images with more than 8 bits per value to 8: of 16-bit values, {top:,} became 255.",
                count,
                top=conversion.max_value,
            )
    transparent = (index.visible[record] != OPAQUE) & known
    if count := int(np.count_nonzero(transparent)):
        notes.append(
            ngettext(
                "Placed {count:,} image with transparency on {background}.",
                "Placed {count:,} images with transparency on {background}.",
                count,
                background=_background_name(conversion.background),
            )
        )
        visible = index.visible[record]
        blank = [int(i) for i in np.flatnonzero(transparent) if not is_visible(int(visible[i]), conversion.background)]
        if blank:
            notes.append(
                ngettext(
                    "Nothing is visible on {count:,} of them: {names}.",
                    "Nothing is visible on {count:,} of them: {names}.",
                    len(blank),
                    names=join_first([images.keys[i] for i in blank], 5),
                )
            )
    return notes


def _background_name(level: int) -> Message:
    if level in (0, 255):
        return _("white") if level else _("black")
    return _("gray ({level} of 255)", level=level)


def open_store(
    images: ImageIndex,
    content_hashes: Sequence[str],
    *,
    side: int,
    skip_bad: bool = False,
    progress: ProgressCallback | None = None,
    threads: int,
    conversion: Conversion | None = None,
) -> PixelStore:
    """Return the pixel store of an image index, which is built if it does not exist.

    Args:
        images: Index of the images.
        content_hashes: Their content hashes, from `hash_files`.
        side: Length of the shorter sides in px, about (see `decode`).
        skip_bad: List images that cannot be decoded in `store.bad` instead of raising DataError.
        progress: Called with (images done, all images) while the store is built.
        threads: Number of decoding threads.
        conversion: Conversion of a trained model; None for that which the images give.

    Raises:
        DataError: Images cannot be decoded. The whole set is tried before the error names them.
        ResourceError: The disk is too small or the cache cannot be written.
    """
    first: dict[str, int] = {}
    for i, content in enumerate(content_hashes):
        first.setdefault(content, i)
    failures: dict[str, DecodeFailure] = {}
    suspects = [
        content
        for content in store_files.read_undecodable() | {c for c in first if c.startswith(UNREADABLE_PREFIX)}
        if content in first
    ]
    with suppress_pillow_warnings():
        for content in suspects:
            result = read_image(images.paths[first[content]], content, side, DEFAULT_CONVERSION)
            if isinstance(result, DecodeFailure):
                failures[content] = result
            elif content.startswith(UNREADABLE_PREFIX):
                fault = _("{name} could not be read a moment ago, but can now", name="")
                failures[content] = DecodeFailure(fault, permanent=False)
        good = [content for content in first if content not in failures]
        root, name = cache_root(), store_files.store_name(good, side, conversion)
        stored = store_files.read_store(root, name) if good else None
        if good and stored is None:
            paths = {content: images.paths[first[content]] for content in good}
            name = StoreBuilder(root, paths, failures, side, conversion, threads).build(progress)
            stored = store_files.read_store(root, name)
    if failures and (not skip_bad or len(failures) == len(first)):
        raise undecodable_error(images, content_hashes, failures)
    if stored is None:
        raise ResourceError(
            _("The pixel store {folder} is damaged and cannot be replaced.", folder=root / name),
            _("Delete it, or set HEADSTART_CACHE to a writable folder with free space."),
        )
    return PixelStore((root, name), stored, images, content_hashes, failures, conversion)
