"""Reject JPEG files with far more scans or segments than cameras and programs write, before they are decoded.

A progressive JPEG is decoded in scans, each of which visits the whole image, so that a small file with thousands of
scans takes minutes. Pillow reads the segments before the first scan one by one.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from headstart.data.foreign_formats import ForeignFormatError
from headstart.i18n import _

MAX_SCANS = 100  # as in libtiff; programs write 1 to about 20
MAX_SCANNED_PIXELS = 1_500_000_000  # scans x width x height: 23 scans of the largest progressive JPEG that is decoded
MAX_SEGMENTS = 1000  # before the first scan: a color profile or metadata of 64 MB
_MAX_JUNK = 1 << 16  # bytes between segments, which belong to none
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_NO_ENTROPY_CODE = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # a marker that ends the data of a scan
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xDA))
_READ_BYTES = 16  # of a segment: its marker, its length, and the size and number of channels of a frame


def require_few_scans(file: BinaryIO, start: bytes) -> None:
    """Raise ForeignFormatError for a JPEG file that would take too long to decode; its position may be changed.

    Args:
        file: The file.
        start: Its first bytes; seeking in the file takes longer than decoding a small image allows.
    """
    position, junk, pixels, channels, is_progressive = 2, 0, 0, 0, False
    for _number in range(MAX_SEGMENTS):
        head = start[position : position + _READ_BYTES]
        if len(head) < _READ_BYTES:
            file.seek(position)
            head = file.read(_READ_BYTES)
        if len(head) < 4:
            return  # the file ends before its first scan
        if head[0] != 0xFF or head[1] in (0x00, 0xFF):
            skipped = _bytes_to_marker(file, position, _MAX_JUNK - junk)
            position, junk = position + skipped, junk + skipped
            continue
        marker, length = head[1], int.from_bytes(head[2:4])
        if marker == _START_OF_SCAN:
            if is_progressive or head[4:5] < bytes([channels]):
                file.seek(position)
                _require_scans(file.read(), pixels)
            return
        if marker in _FRAMES and len(head) > 9:
            pixels = int.from_bytes(head[5:7]) * int.from_bytes(head[7:9])
            channels, is_progressive = head[9], marker in _PROGRESSIVE
        position += 2 if marker in _WITHOUT_LENGTH else 2 + max(length, 2)
    raise _too_costly_segments()


def _bytes_to_marker(file: BinaryIO, position: int, limit: int) -> int:
    """Return the number of bytes before the next marker. Raises ForeignFormatError for more than `limit`."""
    file.seek(position)
    match = _MARKER.search(file.read(limit + 2))
    if match is None:
        raise _too_costly_segments()
    return match.start()


def _require_scans(content: bytes, pixels: int) -> None:
    """Raise ForeignFormatError for too many scans in the content of a file from its first scan."""
    limit = min(MAX_SCANS, MAX_SCANNED_PIXELS // max(pixels, 1))
    scans, position = 0, 0
    while (match := _NO_ENTROPY_CODE.search(content, position)) and content[match.end() - 1] != _END_OF_IMAGE:
        scans += content[match.end() - 1] == _START_OF_SCAN
        if scans > limit:
            raise ForeignFormatError(
                _("{name} is a JPEG file of more than {limit} scans, which takes too long to decode",
                  name="", limit=limit),
                _("Save it as a JPEG that is not progressive."),
            )  # fmt: skip
        position = match.end() + max(int.from_bytes(content[match.end() : match.end() + 2]), 2)


def _too_costly_segments() -> ForeignFormatError:
    return ForeignFormatError(
        _("{name} is a JPEG file of more than {limit:,} segments, or with other data between them",
          name="", limit=MAX_SEGMENTS),
        _("Save the image again without its metadata."),
    )  # fmt: skip
