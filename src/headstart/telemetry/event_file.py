"""Write and read TensorBoard event files: protobuf records, each between its length and checksums, without a queue.

Format: TensorFlow's TFRecord (length, masked CRC-32C of the length, data, masked CRC-32C of the data; little-endian).
TensorBoard's own writer computes the checksum in Python, byte by byte: two thirds of the time per record.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import google_crc32c

from headstart.storage import contained

MAX_RECORD_BYTES = 100_000_000  # of one event, which is read as a whole; pictures are the largest
FLUSH_INTERVAL_S = 5.0  # seconds after which the next write also flushes


class EventFile:
    """Appends records to a new file, in the calling thread: a thread with a queue would take as long and block too."""

    def __init__(self, path: Path) -> None:
        """Create the file at `path`. Raises FileExistsError if it is there already."""
        self._file, self._flushed = contained.create_file(path.parent, path.name), time.monotonic()

    def write(self, data: bytes) -> None:
        """Append one serialized event."""
        self._file.write(framed(data))
        if time.monotonic() - self._flushed > FLUSH_INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Pass buffered records to the operating system, so that a running TensorBoard can read them."""
        self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def framed(data: bytes) -> bytes:
    """Return a serialized event as a record of the file."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """Return the CRC-32C of `data`, rotated and shifted as the format requires, in 4 bytes."""
    crc: int = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


class EventFileError(Exception):
    """A record is cut off or does not have its checksum.

    Args:
        position: Offset of the record in bytes.
    """

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the records of a file in their order; they are serialized events.

    TensorBoard's own reader takes several times as long per histogram, because it computes the checksum in Python.

    Raises:
        EventFileError: A record is damaged or, as in a file that is still being written, not complete.
    """
    file = path.resolve()  # those of other programs may be links
    with contained.open_file(file.parent, file.name) as opened:
        position = 0
        while header := opened.read(8):
            if len(header) < 8 or opened.read(4) != _checksum(header):
                raise EventFileError(position)
            length = struct.unpack("<Q", header)[0]
            if length > MAX_RECORD_BYTES:
                raise EventFileError(position)
            record = opened.read(length)
            if len(record) < length or opened.read(4) != _checksum(record):
                raise EventFileError(position)
            yield record
            position += len(header) + length + 8
