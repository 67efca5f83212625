"""Bound what the header of a JPEG 2000 file makes its decoder do and allocate.

A tile is decoded as a whole, in 4 bytes per sample and more. The header also divides each tile into precincts, code
blocks and layers, for each of which the decoder has memory before it reads any pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from headstart.data.foreign_formats import ForeignFormatError
from headstart.i18n import _

MAX_TILE_SAMPLES = 90_000_000  # pixels x channels of one tile, which take about 6 bytes each
MAX_SAMPLES_PER_BYTE = 9  # of a file of which a tile has more; photos have less than 4
MAX_TILES = 16_384
MAX_CHANNELS_OF_TILES = 65_536  # tiles x channels
MAX_TILE_BLOCKS = 1_000_000  # code blocks and precincts of one tile, in all channels and resolutions
MAX_PACKETS = 2_000_000  # precincts x layers of the image: 64 megapixels have 200,000 with 12 layers
MAX_MARKERS = 100_000
_CODESTREAM = b"\xff\x4f\xff\x51"
_SIZ, _COD, _COC, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9
_WITH_LENGTH = frozenset(
    {_SIZ, _COD, _COC, _SOT, 0xFF50, 0xFF55, 0xFF57, 0xFF58, 0xFF59, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF61}
    | {0xFF63, 0xFF64, 0xFF74, 0xFF75, 0xFF77, 0xFF78}
)  # the decoder looks for one of these behind an unknown marker, two bytes at a time
_READ_BYTES = 64  # of a marker segment; 33 sizes of precincts behind 12 other bytes are the most that is needed
_WHOLE = 15  # exponent of the size of precincts that are not declared


@dataclass
class _Limits:
    """What the segments of a file declare: sizes, and the most parts of one channel that any of them asks for."""

    file_bytes: int
    width: int = 0
    height: int = 0
    tile_width: int = 0
    tile_height: int = 0
    tiles: int = 0
    channels: int = 0
    layers: int = 1
    precincts: int = 0
    blocks: int = 0

    def read_size(self, body: bytes) -> None:
        """Read the segment on the sizes of the image and its tiles."""
        right, bottom, left, top, width, height, tile_left, tile_top = (
            int.from_bytes(body[place : place + 4]) for place in range(2, 34, 4)
        )
        self.width, self.height, self.channels = max(right - left, 0), max(bottom - top, 0), int.from_bytes(body[34:36])
        self.tile_width, self.tile_height = min(width, self.width), min(height, self.height)
        self.tiles = _parts(max(right - tile_left, 0), width) * _parts(max(bottom - tile_top, 0), height)
        samples = self.tile_width * self.tile_height * self.channels
        if samples > max(MAX_TILE_SAMPLES, MAX_SAMPLES_PER_BYTE * self.file_bytes):
            raise _too_costly()
        if self.tiles > MAX_TILES or self.tiles * self.channels > MAX_CHANNELS_OF_TILES:
            raise _too_costly()

    def read_style(self, body: bytes, style: int) -> None:
        """Read the resolutions, blocks and precincts of channels, which begin at a place in a segment."""
        if len(body) < style + 3:
            return
        levels, widths, heights = min(body[style], 32), (body[style + 1] & 15) + 2, (body[style + 2] & 15) + 2
        precincts = blocks = 0
        for level in range(levels + 1):
            scale = 1 << (levels - level)
            width, height = _parts(self.tile_width, scale), _parts(self.tile_height, scale)
            place = style + 5 + level
            across, down = (body[place] & 15, body[place] >> 4) if place < len(body) else (_WHOLE, _WHOLE)
            precincts += _parts(width, 1 << across) * _parts(height, 1 << down)
            inner = 1 if level else 0  # a block lies in a subband, which has half the size of its resolution
            block = 1 << max(min(widths, across - inner), 0), 1 << max(min(heights, down - inner), 0)
            blocks += _parts(width, block[0]) * _parts(height, block[1])
        self.precincts, self.blocks = max(self.precincts, precincts), max(self.blocks, blocks)

    def require(self) -> None:
        """Raise ForeignFormatError for more parts than the decoder has memory and time for."""
        if self.channels * (self.precincts + self.blocks) > MAX_TILE_BLOCKS:
            raise _too_costly()
        if self.channels * self.precincts * self.tiles * self.layers > MAX_PACKETS:
            raise _too_costly()


def require_few_blocks(file: BinaryIO, size: int) -> None:
    """Raise ForeignFormatError for a JPEG 2000 file that would take too much time or memory; changes the position.

    Args:
        file: The file.
        size: Its size in bytes.
    """
    position = _codestream(file)
    if position is None:
        return
    position += 2  # behind the marker of its beginning
    limits, end = _Limits(size), size
    for _number in range(MAX_MARKERS):
        file.seek(position)
        head = file.read(_READ_BYTES)
        marker, length = int.from_bytes(head[:2]), int.from_bytes(head[2:4])
        if len(head) < 4 or marker == _EOC:
            return
        if marker == _SOD:
            position = end
        elif marker not in _WITH_LENGTH:
            position += 2
        else:
            _read_segment(limits, marker, head[4 : 2 + length])
            if marker == _SOT:
                part = int.from_bytes(head[6:10])
                end = position + part if part else size
            position += 2 + max(length, 2)
    raise _too_costly()


def _read_segment(limits: _Limits, marker: int, body: bytes) -> None:
    if marker == _SIZ:
        limits.read_size(body)
    elif marker == _COD:
        limits.layers = max(limits.layers, int.from_bytes(body[2:4]))
        limits.read_style(body, 5)
    elif marker == _COC:
        limits.read_style(body, 2 if limits.channels < 257 else 3)
    if marker in (_COD, _COC):
        limits.require()


def _codestream(file: BinaryIO) -> int | None:
    """Return the place of the image in a file, which may be in one of its boxes; None if there is none."""
    file.seek(0)
    if file.read(len(_CODESTREAM)) == _CODESTREAM:
        return 0
    position = 0
    for _number in range(MAX_MARKERS):
        file.seek(position)
        head = file.read(16)
        length, start = int.from_bytes(head[:4]), 8
        if length == 1:
            length, start = int.from_bytes(head[8:16]), 16
        if head[4:8] == b"jp2c":
            return position + start
        if len(head) < 8 or not start <= length < 2**62:
            return None
        position += length
    raise _too_costly()


def _parts(length: int, size: int) -> int:
    """Return the number of parts of a size in a length."""
    return -(-length // max(size, 1))


def _too_costly() -> ForeignFormatError:
    return ForeignFormatError(
        _("{name} is a JPEG 2000 file that takes too much time or memory to decode, for its size or its tiles, blocks "
          "and layers", name=""),
        _("Convert it to JPEG or PNG, or reduce it."),
    )  # fmt: skip
