"""The run folder: append, read, cut, replace whole. Files are the contract between rooms.

`metrics.jsonl` is the truth about a run: one JSON object a line, in the order of events. Everything that depends on
the clock stands under the keys `time` and `speed`, so that two runs of one plan differ in nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

from headstart.errors import DataError

SCHEMA = 1


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable (a no-op where folders cannot be opened)."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def temp_suffix() -> str:
    """The ending of what this process has not finished writing: whose it is can be asked later."""
    return f".tmp-{os.getpid()}-{socket.gethostname()}"


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where there can be none: either way `target` is whole by itself."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace a file whole: readers see the old content or the new, also after a power cut."""
    temporary = path.with_name(f".{path.name}{temp_suffix()}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole; NaN and infinity are refused (they are not JSON)."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing.", "Name a folder that headstart wrote.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}).", "Take it from a copy, or start the run anew.") from None
