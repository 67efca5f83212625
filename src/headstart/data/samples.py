"""Samples of images that Pillow does not open, or would reduce to the high byte: 16 bits, TIFF with more channels."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin

from headstart.i18n import _

IntArray = npt.NDArray[np.integer[Any]]
_PNG_COLOR_TYPE = 25  # position in a file
_PNG_GRAY_ALPHA, _PNG_RGBA = 4, 6
_WIDTH, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 258, 262, 274, 277
_PLANES, _PREDICTOR, _TILE_WIDTH, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 284, 317, 322, 338, 339
_HARMLESS_TAG = 337  # text that readers ignore
_SHORT, _LONG = 3, 4
_COLORS = {0: 1, 1: 1, 2: 3, 5: 4}  # channels of a photometric interpretation, without extra samples
_ASSOCIATED, _UNASSOCIATED = 1, 2  # kinds of alpha


@dataclass(frozen=True)
class Samples:
    """Values of an image as they are in its file.

    Attributes:
        values: uint8 or uint16 [h, w, channels].
        mode: Mode of Pillow for 8-bit values of these channels: L, LA, RGB, RGBA or CMYK.
        orientation: EXIF orientation, 1 to 8.
    """

    values: IntArray
    mode: str
    orientation: int


def png_samples(content: bytes, orientation: int) -> Samples:
    """Return the samples of a PNG file of 16 bits and two channels or more.

    Pillow reads one byte of each value. A file with gray and alpha is read as one of 8 bits whose four channels are the
    four bytes of a pixel; others are read twice.
    """
    if content[_PNG_COLOR_TYPE] == _PNG_GRAY_ALPHA:
        header = content[12:24] + bytes([8, _PNG_RGBA]) + content[26:29]
        renamed = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
        with PngImagePlugin.PngImageFile(io.BytesIO(renamed)) as image:
            return Samples(np.asarray(image).view(">u2").astype(np.uint16), "LA", orientation)
    with PngImagePlugin.PngImageFile(io.BytesIO(content)) as image:
        mode, high = image.mode, np.asarray(image).astype(np.uint16)
    with PngImagePlugin.PngImageFile(io.BytesIO(content)) as image:
        image.tile = [tile._replace(args=f"{mode};16L") for tile in image.tile]  # the second byte of a value
        return Samples(high << 8 | np.asarray(image), mode, orientation)


def tiff_samples(file: BinaryIO, max_pixels: int) -> Samples:
    """Return the samples of the first image of a TIFF file: gray, RGB or CMYK, with or without extra samples.

    Its directory is rewritten so that Pillow and libtiff unpack the rows as bytes, whatever the compression.

    Raises:
        ValueError: The file has another layout, is damaged or has more than `max_pixels` pixels.
    """
    file.seek(0)
    content = bytearray(file.read())
    order = "<" if content[:2] == b"II" else ">"
    tags = _Directory(content, order)
    width, depth, channels = tags.value(_WIDTH, 0), tags.value(_BITS, 1), tags.value(_SAMPLES, 1)
    photometric, predictor, extra = tags.value(_PHOTOMETRIC, 1), tags.value(_PREDICTOR, 1), tags.values(_EXTRA_SAMPLES)
    colors = _COLORS.get(photometric, 0)
    orientation = tags.value(_ORIENTATION, 1)
    is_plain = tags.value(_PLANES, 1) == 1 and tags.value(_SAMPLE_FORMAT, 1) == 1 and predictor in (1, 2)
    if not is_plain or depth not in (8, 16) or not colors or channels < colors or len(set(tags.values(_BITS))) > 1:
        raise ValueError(
            _("its layout is not read: {channels} channels of {bits} bits, photometric {photometric}",
              channels=channels, bits=depth, photometric=photometric)
        )  # fmt: skip
    row = channels * depth // 8
    tile_width = tags.value(_TILE_WIDTH, 0)
    tags.set(_WIDTH, _LONG, width * row)
    tags.set(_TILE_WIDTH, _LONG, tile_width * row)
    for tag, value in ((_BITS, 8), (_PHOTOMETRIC, 1), (_SAMPLES, 1), (_PREDICTOR, 1), (_ORIENTATION, 1)):
        tags.set(tag, _SHORT, value)
    tags.set(_SAMPLE_FORMAT, _SHORT, 1)
    tags.rename(_EXTRA_SAMPLES, _HARMLESS_TAG)
    rows = _unpack(bytes(content), max_pixels * row)
    values = rows.reshape(len(rows), -1, row).view(np.dtype(f"{order}u{depth // 8}"))
    if predictor == 2:
        values = _undo_differences(values, tile_width or width)
    return _channels(values.astype(f"u{depth // 8}"), photometric, colors, extra, orientation)


class _Directory:
    """The first directory of a TIFF file, changed in place."""

    def __init__(self, content: bytearray, order: str) -> None:
        self._content, self._order = content, order
        try:
            start = struct.unpack_from(f"{order}4xI", content)[0]
            count = struct.unpack_from(f"{order}H", content, start)[0]
            positions = range(start + 2, start + 2 + 12 * count, 12)
            self._positions = {struct.unpack_from(f"{order}H", content, p)[0]: p for p in positions}
        except struct.error as error:
            raise ValueError(_("its directory is incomplete")) from error

    def values(self, tag: int) -> tuple[int, ...]:
        """Return the integers of a tag; none if it is absent."""
        if (position := self._positions.get(tag)) is None:
            return ()
        kind, count = struct.unpack_from(f"{self._order}HI", self._content, position + 2)
        letter = {1: "B", _SHORT: "H", _LONG: "I"}.get(kind)
        if letter is None or count > 64:
            raise ValueError(_("its directory is damaged"))
        layout = f"{self._order}{count}{letter}"
        inline = struct.calcsize(layout) <= 4
        place = position + 8 if inline else struct.unpack_from(f"{self._order}I", self._content, position + 8)[0]
        try:
            return struct.unpack_from(layout, self._content, place)
        except struct.error as error:
            raise ValueError(_("its directory is incomplete")) from error

    def value(self, tag: int, default: int) -> int:
        """Return the first integer of a tag."""
        return next(iter(self.values(tag)), default)

    def set(self, tag: int, kind: int, value: int) -> None:
        """Give a tag that is present one value."""
        if (position := self._positions.get(tag)) is not None:
            packed = struct.pack(f"{self._order}{'H2x' if kind == _SHORT else 'I'}", value)
            struct.pack_into(f"{self._order}HI4s", self._content, position + 2, kind, 1, packed)

    def rename(self, tag: int, other: int) -> None:
        """Replace a tag that is present by an empty text under another number."""
        if (position := self._positions.get(tag)) is not None:
            struct.pack_into(f"{self._order}HHI4x", self._content, position, other, 2, 1)


def _unpack(content: bytes, max_bytes: int) -> npt.NDArray[np.uint8]:
    """Return the rows of a file whose directory declares one channel of 8 bits: uint8 [h, bytes of a row]."""
    with TiffImagePlugin.TiffImageFile(io.BytesIO(content)) as image:
        if image.width * image.height > max_bytes:
            raise Image.DecompressionBombError
        image.load()
        return np.asarray(image)


def _undo_differences(values: IntArray, tile_width: int) -> IntArray:
    """Return values from differences of neighbors in a row, which begin at the left side of each tile."""
    parts = [
        np.cumsum(values[:, begin : begin + tile_width], axis=1, dtype=values.dtype.newbyteorder("="))
        for begin in range(0, values.shape[1], tile_width)
    ]
    return np.concatenate(parts, axis=1)


def _channels(values: IntArray, photometric: int, colors: int, extra: tuple[int, ...], orientation: int) -> Samples:
    """Keep the colors and the first alpha channel; other extra samples, such as spot colors, are left out."""
    top = np.iinfo(values.dtype).max
    kept, mode = values[..., :colors], {1: "L", 3: "RGB", 4: "CMYK"}[colors]
    if photometric == 0:
        kept = top - kept
    alpha = next((i for i, kind in enumerate(extra) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
    if alpha is None or mode == "CMYK" or values.shape[2] <= colors + alpha:
        return Samples(kept, mode, orientation)
    opacity = values[..., colors + alpha : colors + alpha + 1]
    if extra[alpha] == _ASSOCIATED:
        share = np.maximum(opacity.astype(np.float64), 1) / opaque_value(opacity)
        kept = np.minimum(np.rint(kept / share), top).astype(values.dtype)
    return Samples(np.concatenate([kept, opacity], axis=2), f"{mode}A", orientation)


def opaque_value(opacity: IntArray) -> int:
    """Return the value of alpha that is opaque: of the type, or 4095 if 12 bits hold all values of 16-bit alpha."""
    return 4095 if opacity.dtype == np.uint16 and int(opacity.max()) <= 4095 else int(np.iinfo(opacity.dtype).max)


def is_tile_of_16_bits(image: Image.Image) -> bool:
    """Return True if Pillow would reduce an opened image's 16-bit values to their high byte."""
    return (
        isinstance(image, ImageFile.ImageFile)
        and bool(image.tile)
        and not image.mode.startswith("I")
        and ";16" in str(image.tile[0][3])
    )
