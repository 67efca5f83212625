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

from headstart.data.foreign_formats import foreign_format
from headstart.data.row_bands import bands
from headstart.i18n import Message, _

IntArray = npt.NDArray[np.integer[Any]]
_PNG_COLOR_TYPE = 25  # position in a file
_PNG_GRAY_ALPHA, _PNG_RGBA = 4, 6
_WIDTH, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 256, 258, 262, 274, 277
_PLANES, _PREDICTOR, _TILE_WIDTH, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 284, 317, 322, 338, 339
_HARMLESS_TAG = 337  # text that readers ignore
_MAX_VALUE = 281
_PARTS = (273, 279, 324, 325)  # places and sizes of strips and tiles
_BYTE, _SHORT, _LONG, _LONG8 = 1, 3, 4, 16
_LETTERS = {_BYTE: "B", _SHORT: "H", _LONG: "I", _LONG8: "Q"}
_MAX_COUNT = 64  # of values of a tag that is read, and so of channels
_BIG = 43  # version of a file with 64-bit places
_RAW_PHOTOMETRIC = frozenset({32803, 34892})  # color filter arrays, and what is computed from them
_CMYK = 5
_COLORS = {0: 1, 1: 1, 2: 3, _CMYK: 4}  # channels of a photometric interpretation, without extra samples
_ASSOCIATED, _UNASSOCIATED = 1, 2  # kinds of alpha
_PLANAR_CHANNELS = (1, 3, 4)  # of planar files of 8 bits that Pillow reads


class LayoutError(ValueError):
    """A TIFF file has a layout that is not read; the message is the layout."""


class ImageTooLargeError(Exception):
    """An image has more pixels than `limit`; JPEGs that are not progressive are decoded at a reduced scale."""

    def __init__(self, limit: int, *, is_progressive: bool = False) -> None:
        super().__init__(f"more than {limit} pixels")
        self.limit, self.is_progressive = limit, is_progressive


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
        high <<= 8  # in place: large images take hundreds of megabytes
        high |= np.asarray(image)
        return Samples(high, mode, orientation)


def with_transparent_color(samples: Samples, color: int | tuple[int, ...]) -> Samples:
    """Return 16-bit samples with an alpha channel that hides the pixels of one color (tRNS)."""
    is_hidden = (samples.values == np.asarray(color)).all(axis=2, keepdims=True)
    opacity = np.where(is_hidden, 0, np.iinfo(np.uint16).max).astype(np.uint16)
    return Samples(np.concatenate([samples.values, opacity], axis=2), f"{samples.mode}A", samples.orientation)


def tiff_samples(file: BinaryIO, max_pixels: int, max_bytes: int) -> Samples:
    """Return the samples of the first image of a TIFF file: gray, RGB or CMYK, with or without extra samples.

    Its directory is rewritten so that Pillow and libtiff unpack the rows as bytes, whatever the compression. Channels
    that are stored one after another are unpacked one by one.

    Raises:
        LayoutError: The file has another layout.
        ForeignFormatError: It is the raw file of a camera.
        ImageTooLargeError: It has more than `max_pixels` pixels, or more than `max_bytes` in what is unpacked.
        ValueError: It is damaged.
    """
    file.seek(0)
    content = file.read()
    tags = _Directory(bytearray(content))
    width, depth, channels = tags.value(_WIDTH, 0), tags.value(_BITS, 1), tags.value(_SAMPLES, 1)
    photometric, predictor = tags.value(_PHOTOMETRIC, 1), tags.value(_PREDICTOR, 1)
    _require_layout(tags, depth, channels, photometric)
    colors, alpha = _COLORS[photometric], _alpha(tags, channels, photometric)
    used = [*range(colors), *([alpha.channel] if alpha else [])]  # other extra samples, as spot colors, are left out
    planes = channels if tags.value(_PLANES, 1) == 2 else 1
    row = channels // planes * depth // 8
    limit = min(max_pixels, max_bytes // (row * (len(used) if planes > 1 else 1)))
    tile_width = tags.value(_TILE_WIDTH, 0)
    parts = []
    for plane in used if planes > 1 else [0]:
        tags = _Directory(bytearray(content))
        orientation, top = tags.value(_ORIENTATION, 1), tags.value(_MAX_VALUE, 0)
        tags.describe_rows(width * row, tile_width * row)
        if planes > 1:
            tags.take_plane(plane, planes)
        rows = _unpack(tags.content, row, limit)
        parts.append(rows.reshape(len(rows), -1, row).view(np.dtype(f"{tags.order}u{depth // 8}")))
    values = _chosen(parts[0], used) if planes == 1 else np.concatenate(parts, axis=2)
    if predictor == 2:
        values = _undo_differences(values, tile_width or width)
    return _channels(values.astype(f"u{depth // 8}"), photometric, alpha, orientation, top)


def _chosen(values: IntArray, channels: list[int]) -> IntArray:
    return values if len(channels) == values.shape[2] else np.take(values, channels, axis=2)


@dataclass(frozen=True)
class _Alpha:
    """Position of the alpha channel; `is_associated`: the colors are multiplied by it."""

    channel: int
    is_associated: bool


def _alpha(tags: _Directory, channels: int, photometric: int) -> _Alpha | None:
    """Return the first alpha channel of gray and RGB."""
    colors, extra = _COLORS[photometric], tags.values(_EXTRA_SAMPLES)
    position = next((i for i, kind in enumerate(extra) if kind in (_ASSOCIATED, _UNASSOCIATED)), None)
    if position is None or photometric == _CMYK or channels <= colors + position:
        return None
    return _Alpha(colors + position, extra[position] == _ASSOCIATED)


def _require_layout(tags: _Directory, depth: int, channels: int, photometric: int) -> None:
    if photometric in _RAW_PHOTOMETRIC:
        raise foreign_format("camera raw")
    predictor = tags.value(_PREDICTOR, 1)
    if channels > _MAX_COUNT:
        raise LayoutError(_layout(depth, channels, photometric, {tags.value(_SAMPLE_FORMAT, 1)}, predictor))
    formats = set(tags.values(_SAMPLE_FORMAT)) or {1}
    is_plain = tags.value(_PLANES, 1) in (1, 2) and formats == {1} and predictor in (1, 2)
    colors = _COLORS.get(photometric, 0)
    if not is_plain or depth not in (8, 16) or not colors or channels < colors or len(set(tags.values(_BITS))) > 1:
        raise LayoutError(_layout(depth, channels, photometric, formats, predictor))


def _layout(depth: int, channels: int, photometric: int, formats: set[int], predictor: int) -> Message:
    kind = {1: _("integers"), 2: _("signed integers"), 3: _("floating-point numbers")}.get(min(formats), _("values"))
    return _(
        "{channels} channels of {bits} bits, {kind}, photometric {photometric}, predictor {predictor}",
        channels=channels, bits=depth, kind=kind, photometric=photometric, predictor=predictor,
    )  # fmt: skip


class _Directory:
    """The first directory of a TIFF file, changed in place; that of a BigTIFF file has longer fields."""

    def __init__(self, content: bytearray) -> None:
        self.content = content
        self.order = order = "<" if content[:2] == b"II" else ">"
        try:
            is_big = struct.unpack_from(f"{order}2xH", content)[0] == _BIG
            self._word, head, number, size = ("Q", 8, "Q", 20) if is_big else ("I", 4, "H", 12)
            start = struct.unpack_from(f"{order}{self._word}", content, head)[0]
            count = struct.unpack_from(f"{order}{number}", content, start)[0]
            begin = start + struct.calcsize(f"<{number}")
            positions = range(begin, begin + size * count, size)
            self._positions = {struct.unpack_from(f"{order}H", content, p)[0]: p for p in positions}
        except struct.error as error:
            raise ValueError(_("its directory is incomplete")) from error
        self._inline = struct.calcsize(f"<{self._word}")  # bytes of values that stand in the directory

    def _field(self, tag: int) -> tuple[str, int, int, int]:
        """Return the letter of a type, the number of values, their position, and that of the field for them."""
        position = self._positions[tag]
        field = position + 4 + self._inline
        try:
            kind, count = struct.unpack_from(f"{self.order}H{self._word}", self.content, position + 2)
            if (letter := _LETTERS.get(kind)) is None:
                raise ValueError(_("its directory is damaged"))
            if struct.calcsize(f"<{count}{letter}") <= self._inline:
                return letter, count, field, field
            return letter, count, struct.unpack_from(f"{self.order}{self._word}", self.content, field)[0], field
        except struct.error as error:
            raise ValueError(_("its directory is incomplete")) from error

    def values(self, tag: int) -> tuple[int, ...]:
        """Return the integers of a tag; none if it is absent."""
        if tag not in self._positions:
            return ()
        letter, count, place, _field = self._field(tag)
        if count > _MAX_COUNT:
            raise ValueError(_("its directory is damaged"))
        return self._integers(letter, count, place)

    def value(self, tag: int, default: int) -> int:
        """Return the first integer of a tag, which may have any number of them."""
        if tag not in self._positions:
            return default
        letter, count, place, _field = self._field(tag)
        return next(iter(self._integers(letter, min(count, 1), place)), default)

    def _integers(self, letter: str, count: int, place: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(f"{self.order}{count}{letter}", self.content, place)
        except struct.error as error:
            raise ValueError(_("its directory is incomplete")) from error

    def describe_rows(self, width: int, tile_width: int) -> None:
        """Declare one channel of `width` bytes in a row, upright, without a predictor."""
        self._set(_WIDTH, _LONG, width)
        self._set(_TILE_WIDTH, _LONG, tile_width)
        for tag, value in ((_BITS, 8), (_PHOTOMETRIC, 1), (_SAMPLES, 1), (_PREDICTOR, 1), (_ORIENTATION, 1)):
            self._set(tag, _SHORT, value)
        self._set(_SAMPLE_FORMAT, _SHORT, 1)
        self._set(_PLANES, _SHORT, 1)
        if (position := self._positions.get(_EXTRA_SAMPLES)) is not None:
            self._put(position, _HARMLESS_TAG, 2, 1, 0)

    def take_plane(self, plane: int, planes: int) -> None:
        """Keep the strips or tiles of one of `planes` channels that are stored one after another."""
        for tag in _PARTS:
            if tag not in self._positions:
                continue
            try:
                letter, count, place, field = self._field(tag)
                size = struct.calcsize(f"<{letter}")
                kept = count // planes
                place += plane * kept * size
                struct.pack_into(f"{self.order}{self._word}", self.content, field - self._inline, kept)
                if kept * size <= self._inline:
                    numbers = bytes(self.content[place : place + kept * size])
                    self.content[field : field + self._inline] = numbers.ljust(self._inline, b"\0")
                else:
                    struct.pack_into(f"{self.order}{self._word}", self.content, field, place)
            except struct.error as error:
                raise ValueError(_("its directory is incomplete")) from error

    def _set(self, tag: int, kind: int, value: int) -> None:
        """Give a tag that is present one value."""
        if (position := self._positions.get(tag)) is not None:
            self._put(position, tag, kind, 1, value)

    def _put(self, position: int, tag: int, kind: int, count: int, value: int) -> None:
        packed = struct.pack(f"{self.order}{_LETTERS.get(kind, 'B')}", value).ljust(self._inline, b"\0")
        struct.pack_into(f"{self.order}HH{self._word}{self._inline}s", self.content, position, tag, kind, count, packed)


def _unpack(content: bytearray, row: int, limit: int) -> npt.NDArray[np.uint8]:
    """Return the rows of a file whose directory declares one channel of 8 bits: uint8 [h, bytes of a row].

    Args:
        content: The file.
        row: Bytes of each pixel.
        limit: Highest number of pixels.
    """
    with TiffImagePlugin.TiffImageFile(io.BytesIO(content)) as image:
        if image.width * image.height > limit * row:
            raise ImageTooLargeError(limit)
        image.load()
        return np.asarray(image)


def _undo_differences(values: IntArray, tile_width: int) -> IntArray:
    """Return values from differences of neighbors in a row, which begin at the left side of each tile."""
    parts = [
        np.cumsum(values[:, begin : begin + tile_width], axis=1, dtype=values.dtype.newbyteorder("="))
        for begin in range(0, values.shape[1], tile_width)
    ]
    return np.concatenate(parts, axis=1)


def _channels(values: IntArray, photometric: int, alpha: _Alpha | None, orientation: int, highest: int) -> Samples:
    """Return samples of the colors and the alpha channel, if there is one, in `values`.

    Where 0 is white, `highest` is black if the file declares it.
    """
    top = np.iinfo(values.dtype).max
    colors = _COLORS[photometric]
    kept, mode = values[..., :colors], {1: "L", 3: "RGB", 4: "CMYK"}[colors]
    if photometric == 0:
        black = highest if kept.size and 0 < int(kept.max()) <= highest < top else top
        kept = black - kept
    if alpha is None:
        return Samples(kept, mode, orientation)
    opacity = values[..., colors:]
    if alpha.is_associated:
        kept = _divided(kept, opacity)
    return Samples(np.concatenate([kept, opacity], axis=2), f"{mode}A", orientation)


def _divided(colors: IntArray, opacity: IntArray) -> IntArray:
    """Return colors that were multiplied by alpha; in bands of rows, because intermediate values take 8 bytes each."""
    divided, opaque, top = np.empty_like(colors), opaque_value(opacity), np.iinfo(colors.dtype).max
    for band in bands(colors):
        share = np.maximum(opacity[band].astype(np.float64), 1) / opaque
        divided[band] = np.minimum(np.rint(colors[band] / share), top)
    return divided


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


def is_misread_tiff(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return True if Pillow would reduce 16-bit values to their high byte, mix up channels, or show a negative."""
    tags = image.tag_v2
    if image.mode in ("I", "F"):
        return False
    is_planar, is_deep = tags.get(_PLANES, 1) == 2, 16 in tags.get(_BITS, ())
    if is_planar:
        return is_deep or tags.get(_SAMPLES, 1) not in _PLANAR_CHANNELS
    if image.mode.startswith("I;16"):
        return tags.get(_PHOTOMETRIC) == 0
    return is_deep and image.mode != "CMYK"
