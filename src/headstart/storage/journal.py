"""Append-only journal of JSON lines.

`metrics.jsonl` is the complete record of a run: one JSON object per line, in the order of events. Values that depend on
the clock are under the keys `time` and `speed`, so that two runs of one plan differ in nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ValidationError

from headstart.errors import DataError
from headstart.i18n import _
from headstart.storage.schemas.metrics import BEGIN, LINE, BeginLine, Line

_RESTORE_HINT = _("Restore the file from a copy.")


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
            DataError: the file is shorter than `size`.
        """
        self.path = path
        if size is not None:
            present = path.stat().st_size if path.exists() else 0
            if present < size:
                raise DataError(
                    _(
                        "{path} has {present} bytes, but its checkpoint was written at {size}.",
                        path=path,
                        present=present,
                        size=size,
                    ),
                    _("Restore the file from a copy, or start the run again."),
                )
            if present:
                os.truncate(path, size)
        self._file: IO[str] = path.open("a", encoding="utf-8", newline="\n")

    def append(self, line: Line) -> None:
        """Append one line."""
        text = json.dumps(line.model_dump(mode="json"), separators=(",", ":"), allow_nan=False)
        self._file.write(text + "\n")

    def flush(self) -> None:
        """Pass buffered lines to the operating system, so that readers see them."""
        self._file.flush()

    def sync(self) -> int:
        """Write all lines to disk and return the size of the file in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self.path.stat().st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.close()


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a record; an incomplete last line, which a crash left, is skipped.

    A missing file has no lines.

    Raises:
        DataError: a line is damaged, or the record is of another schema version.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if text.endswith("\n"):
                yield _parse_line(text, number, path)


@dataclass(frozen=True)
class RecordPosition:
    """A place between two lines of a record.

    Attributes:
        bytes: Bytes before it.
        lines: Lines before it.
    """

    bytes: int = 0
    lines: int = 0


def read_lines_from(path: Path, position: RecordPosition, end: int) -> Iterator[tuple[Line, RecordPosition]]:
    """Yield the complete lines of a record from a position up to byte `end`, each with the position after it.

    Raises:
        DataError: a line is damaged, or the record is of another schema version.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(position.bytes)
        for line in file:
            position = RecordPosition(position.bytes + len(line), position.lines + 1)
            if position.bytes > end or not line.endswith(b"\n"):
                return
            yield _parse_line(line.decode(), position.lines, path), position


def _parse_line(text: str, number: int, path: Path) -> Line:
    """Return a line of a record; the version in the first is checked before its other fields."""
    try:
        if number == 1 and _Kind.model_validate_json(text).kind == BEGIN:
            return BeginLine.parse(text, str(path), _RESTORE_HINT)
        return LINE.validate_json(text)
    except ValidationError:
        raise DataError(_("Line {number} of {path} is damaged.", number=number, path=path), _RESTORE_HINT) from None


class _Kind(BaseModel):
    """The kind of a line, whose other fields may be of any version."""

    kind: str
