"""TensorBoard's event file: protobuf records, each between its length and checksums, written here and now.

Format: TensorFlow's TFRecord (length, masked CRC-32C of it, data, masked CRC-32C of those; little-endian). TensorBoard
brings a writer of its own that computes the checksum in Python, byte by byte: two thirds of what a record took.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path
from types import TracebackType

import google_crc32c

FLUSH_SECONDS = 5.0  # what a live TensorBoard sees is no older


class EventFile:
    """Appends records to a new file; no thread and no queue, which would take as long and hold this one up besides."""

    def __init__(self, path: Path) -> None:
        self._file, self._flushed = path.open("wb"), time.monotonic()

    def write(self, data: bytes) -> None:
        """Append one serialized event."""
        length = struct.pack("<Q", len(data))
        self._file.write(length + _checksum(length) + data + _checksum(data))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the system, where a TensorBoard that looks on finds it."""
        self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as the format wants it, 4 bytes."""
    crc: int = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
