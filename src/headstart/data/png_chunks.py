"""Leave out chunks of a PNG file that stop Pillow and do not change pixels: large text, damaged metadata."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT = (b"iCCP", b"zTXt", b"iTXt", b"tEXt")
_PIXELS = (b"tRNS",)  # of the ancillary chunks
_MAX_CHUNK_TEXT = 1 << 20  # Pillow refuses a chunk that unpacks to more
_MAX_ALL_TEXT = 32 << 20  # of a file; Pillow refuses more than 64 MiB
_ANCILLARY = 0x20  # bit of the first letter of a chunk


def without_metadata(file: BinaryIO) -> io.BytesIO | None:
    """Return a PNG file without the metadata that Pillow may refuse; None if there is none, or it is no PNG file.

    Text below the limits of Pillow and EXIF data stay, if their checksums are right. Nothing is unpacked beyond the
    limits.
    """
    file.seek(0)
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        return None
    kept, unpacked, tried, is_complete = [_SIGNATURE], 0, 0, True
    for kind, chunk in _chunks(file):
        if kind[0] & _ANCILLARY and kind not in _PIXELS:
            body, checksum = chunk[8:-4], chunk[-4:]
            size = 0
            if kind in _TEXT:  # what is left out was unpacked too, which takes time
                size = _unpacked_bytes(kind, body) if tried <= _MAX_ALL_TEXT else _MAX_CHUNK_TEXT + 1
                tried += size
            is_known = kind in _TEXT or kind == b"eXIf"
            is_right = struct.pack(">I", zlib.crc32(kind + body)) == checksum
            if not is_known or not is_right or size > _MAX_CHUNK_TEXT or unpacked + size > _MAX_ALL_TEXT:
                is_complete = False
                continue
            unpacked += size
        kept.append(chunk)
    return None if is_complete else io.BytesIO(b"".join(kept))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, whole chunk) of each chunk of a PNG file, from the position after its signature."""
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        yield kind, header + file.read(length + 4)


def _unpacked_bytes(kind: bytes, body: bytes) -> int:
    """Return the size of the unpacked text of a chunk; one more than the limit stands for all above it."""
    if kind == b"tEXt" or (kind == b"iTXt" and body.partition(b"\0")[2][:1] == b"\0"):
        return len(body)
    packed = body.partition(b"\0")[2][1:]  # after the keyword and the method of compression
    if kind == b"iTXt":
        packed = packed[1:].split(b"\0", 2)[-1]  # after the method, the language and the translated keyword
    try:
        return len(zlib.decompressobj().decompress(packed, _MAX_CHUNK_TEXT + 1))
    except zlib.error:
        return len(body)
