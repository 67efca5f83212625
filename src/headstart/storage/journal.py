"""Append-only journal of JSON lines.

`metrics.jsonl` is the complete record of a run: one JSON object per line, in the order of events. Values that depend on
the clock are under the keys `time` and `speed`, so that two runs of one plan differ in nothing else but the checksum:
`crc32c`, the last key of each line, is the CRC-32C (Castagnoli) of the object without it, in eight hexadecimal digits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
from pydantic import BaseModel, ValidationError

from headstart.errors import DataError
from headstart.i18n import _
from headstart.storage import contained, repair
from headstart.storage.schemas.metrics import BEGIN, LINE, BeginLine, Line

MAX_LINE_BYTES = 10_000_000  # of a line with its end; the longest ones, snapshots, have some kB for each layer
_RESTORE_HINT = _("Restore the file from a copy.")
_CHECKSUM = ',"crc32c":"{:08x}"}}\n'
_CHECKSUM_BYTES = len(_CHECKSUM.format(0))


class Journal:
    """Append-only writer of `metrics.jsonl`.

    Lines are buffered. `sync` makes them durable and returns the size in bytes, which a checkpoint stores: a resumed
    run truncates the file there, so that no event is recorded twice.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Open the file for appending.

        Args:
            path: file to append to; created when missing.
            size: truncate the file to this number of bytes first.

        Raises:
            DataError: the file is shorter than `size`, or a link.
            OSError: it cannot be written.
        """
        self.path = path
        if size is not None:
            entry = contained.find(path.parent, path.name)
            present = entry.size if entry is not None else 0
            if present < size:
                raise DataError(
                    _(
                        "{path} has {present} bytes, but its checkpoint was written at {size}.",
                        path=path,
                        present=present,
                        size=size,
                    ),
                    repair.checkpoints_hint(path.parent),
                )
            if size and _byte_before(path, size) != b"\n":
                raise DataError(
                    _("{path} has no line that ends at {size}.", path=path, size=size),
                    repair.checkpoints_hint(path.parent),
                )
        self._file = contained.append(path.parent, path.name)
        if size is not None:
            self._file.truncate(size)

    def append(self, line: Line) -> None:
        """Append one line."""
        self._file.write(line_bytes(line))

    def flush(self) -> None:
        """Pass buffered lines to the operating system, so that readers see them."""
        self._file.flush()

    def sync(self) -> int:
        """Write all lines to disk and return the size of the file in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()


def _byte_before(path: Path, position: int) -> bytes:
    with contained.open_file(path.parent, path.name) as file:
        file.seek(position - 1)
        return file.read(1)


def line_bytes(line: Line) -> bytes:
    """Return a line as it is in the record, with its checksum and its end."""
    return with_checksum(json.dumps(line.model_dump(mode="json"), separators=(",", ":"), allow_nan=False).encode())


def with_checksum(content: bytes) -> bytes:
    """Return a JSON object as a line of the record, with its checksum and its end."""
    return content[:-1] + _CHECKSUM.format(google_crc32c.value(content)).encode()


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a record; an incomplete last line, which a crash left, is skipped.

    A missing file has no lines.

    Raises:
        DataError: a line is damaged, or the record is of another schema version, or a link.
    """
    try:
        lines = read_lines_from(path, RecordPosition(), None)
        yield from (line for line, _unused in lines)
    except FileNotFoundError:
        return


@dataclass(frozen=True)
class RecordPosition:
    """A place between two lines of a record.

    Attributes:
        bytes: Bytes before it.
        lines: Lines before it.
    """

    bytes: int = 0
    lines: int = 0


def read_lines_from(path: Path, position: RecordPosition, end: int | None) -> Iterator[tuple[Line, RecordPosition]]:
    """Yield the complete lines of a record from a position up to byte `end`, each with the position after it.

    Raises:
        DataError: a line is damaged, or the record is of another schema version, or a link.
        OSError: the file cannot be read.
    """
    with contained.open_file(path.parent, path.name) as file:
        file.seek(position.bytes)
        while line := file.readline(MAX_LINE_BYTES + 1):
            position = RecordPosition(position.bytes + len(line), position.lines + 1)
            if len(line) > MAX_LINE_BYTES:
                raise _damaged(position.lines, path)
            if (end is not None and position.bytes > end) or not line.endswith(b"\n"):
                return
            yield _parse_line(line, position.lines, path), position


def checked_object(line: bytes) -> bytes | None:
    """Return the JSON object of a line without its checksum; None if the line does not have its checksum."""
    content = line[:-_CHECKSUM_BYTES] + b"}"
    is_intact = line[-_CHECKSUM_BYTES:] == _CHECKSUM.format(google_crc32c.value(content)).encode()
    return content if is_intact else None


def _parse_line(line: bytes, number: int, path: Path) -> Line:
    """Return a line of a record; the version in the first is checked before its other fields."""
    content = checked_object(line)
    if content is None:
        raise _damaged(number, path)
    try:
        if number == 1 and _Kind.model_validate_json(content).kind == BEGIN:
            return BeginLine.parse(content, str(path), _RESTORE_HINT)
        return LINE.validate_json(content)
    except ValidationError:
        raise _damaged(number, path) from None


def _damaged(number: int, path: Path) -> DataError:
    return DataError(_("Line {number} of {path} is damaged.", number=number, path=path), _RESTORE_HINT)


class _Kind(BaseModel):
    """The kind of a line, whose other fields may be of any version."""

    kind: str
