"""Atomically write the files of a run folder. The file formats are the interface between packages."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from headstart.storage.contained import temp_suffix

SCHEMA_VERSION = 1  # version of the file formats

JsonData: TypeAlias = "Mapping[str, JsonData] | Sequence[JsonData] | str | float | bool | None"


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable; does nothing where folders cannot be opened."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Create `target` as a hard link to `source`, or as a copy where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace a file atomically: readers see the old or the new content, also after a power cut."""
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


def write_json(path: Path, value: JsonData) -> None:
    """Replace a JSON file atomically. Raises ValueError for NaN and infinity, which are not JSON."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
