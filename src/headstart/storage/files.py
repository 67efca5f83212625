"""Atomically write the files of a run folder. The file formats are the interface between packages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from headstart.storage import contained

SCHEMA_VERSION = 1  # version of the file formats

JsonData: TypeAlias = "Mapping[str, JsonData] | Sequence[JsonData] | str | float | bool | None"


def link_or_copy(source: Path, target: Path) -> None:
    """Create `target` as a hard link to `source`, or as a copy where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace a file atomically: readers see the old or the new content, also after a power cut.

    The folder of the file is its root (`contained`): a link in the place of the file is replaced, not followed.
    """
    contained.write(path.parent, path.name, content)


def write_json(path: Path, value: JsonData) -> None:
    """Replace a JSON file atomically. Raises ValueError for NaN and infinity, which are not JSON."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
