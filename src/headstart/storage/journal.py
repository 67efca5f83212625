"""Append-only journal of JSON lines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from headstart.errors import DataError

CLOCK_KEYS = frozenset({"time", "speed"})


class Journal:
    """Appends lines to `metrics.jsonl`.

    Lines are buffered; `sync` makes everything so far durable and returns the size in bytes, which a checkpoint keeps:
    a resumed run cuts the file there, so no event ever stands twice.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Open for appending; with `size` the file is first cut to so many bytes."""
        self.path = path
        if size is not None:
            have = path.stat().st_size if path.exists() else 0
            if have < size:
                raise DataError(
                    f"{path} has {have} bytes, its checkpoint knows of {size}.",
                    "Take the file from a copy, or start the run anew.",
                )
            if have:
                os.truncate(path, size)
        self._file: IO[str] = path.open("a", encoding="utf-8", newline="\n")

    def append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> int:
        self._file.flush()
        os.fsync(self._file.fileno())
        return self.path.stat().st_size

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a record; a last line that was cut by a crash is passed over.

    Raises DataError for a line that is damaged.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if text.endswith("\n"):
                try:
                    line = json.loads(text)
                except ValueError:
                    raise DataError(f"Line {number} of {path} is damaged.", "Take the file from a copy.") from None
                yield line


def without_clock(line: dict[str, Any]) -> dict[str, Any]:
    """A line less what depends on the clock: equal for equal plans."""
    return {key: value for key, value in line.items() if key not in CLOCK_KEYS}
