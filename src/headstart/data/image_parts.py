"""Bound the number of parts of an image file, because Pillow reads many kinds of them one by one.

A PNG or GIF file of 10 MB can have a million chunks or blocks, and a TIFF file as many strips.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from headstart.data.foreign_formats import ForeignFormatError
from headstart.i18n import _

MAX_READS = 500_000  # Pillow reads a chunk of PNG in 2 to 4 parts, a block of GIF in 2, and pixels in parts of 64 kB
MIN_BYTES_PER_READ = 1000  # of a file with more: encoders write the pixels of PNG in chunks of 8 kB or more
MAX_TAG_VALUES = 200_000  # of a tag of TIFF: strips, tiles, or colors. A palette of 16 bits has 196,608
MAX_TILE_BYTES = 150_000_000  # of a tile of TIFF, which is unpacked as a whole
_BYTES = frozenset({1, 2, 6, 7})  # types of TIFF that Pillow does not take apart
_BYTES_OF_TYPE = {3: 2, 4: 4, 16: 8}  # of integers that may be sizes
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 322, 323
_SIZES = (_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT)


class CountedFile:
    """An open file of which only so many parts can be read as files with pixels have."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = max(MAX_READS, size // MIN_BYTES_PER_READ)

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. Raises ForeignFormatError if there were too many parts."""
        self._left -= 1
        if self._left < 0:
            raise too_many_parts()
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:  # of any method of a file
        return getattr(self._file, name)


def too_many_parts() -> ForeignFormatError:
    """Return the error on a file whose parts take too long to read."""
    return ForeignFormatError(
        _("{name} has far more chunks, blocks, strips or tiles than programs write, which take too long to read",
          name=""),
        _("Save the image again without its metadata."),
    )  # fmt: skip


def require_small_directory(file: BinaryIO) -> None:
    """Raise ForeignFormatError for a TIFF file of too many strips, tiles or other values, or of huge tiles.

    The position in the file is changed. A directory that is incomplete is left to the readers.
    """
    sizes: dict[int, int] = dict.fromkeys(_SIZES, 0)
    try:
        for tag, kind, count, value in _entries(file):
            if count > MAX_TAG_VALUES and kind not in _BYTES:
                raise too_many_parts()
            if tag in sizes:
                sizes[tag] = max(sizes[tag], value)
    except struct.error:
        return
    sample = sizes[_SAMPLES] * math.ceil((sizes[_BITS] or 1) / 8)
    tile = sizes[_TILE_WIDTH] * sizes[_TILE_HEIGHT] * max(sample, 1)
    if tile > MAX_TILE_BYTES and tile > 2 * sizes[_WIDTH] * sizes[_HEIGHT] * max(sample, 1):
        raise too_many_parts()


def _entries(file: BinaryIO) -> Iterator[tuple[int, int, int, int]]:
    """Yield (tag, type, number of values, first value) of the first directory of a TIFF file.

    The first value is 0 unless it is an integer in the directory; of several bits per sample it is 16.
    """
    file.seek(0)
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    word, place, number = ("Q", 8, "Q") if is_big else ("I", 4, "H")
    file.seek(min(struct.unpack_from(f"{order}{word}", head, place)[0], 2**62))
    entry = struct.Struct(f"{order}HH{word}{struct.calcsize(word)}s")
    for _number in range(struct.unpack(f"{order}{number}", file.read(struct.calcsize(number)))[0]):
        tag, kind, count, field = entry.unpack(file.read(entry.size))
        width = _BYTES_OF_TYPE.get(kind, 0)
        if width and width * count <= len(field):
            value = int.from_bytes(field[:width], "little" if order == "<" else "big")
        else:
            value = 16 if tag == _BITS else 0
        yield tag, kind, count, value
