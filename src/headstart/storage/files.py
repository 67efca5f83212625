"""Atomically write the files of a run folder. The file formats are the interface between packages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from headstart.storage import contained

SCHEMA_VERSION = 1  # version of the file formats

JsonData: TypeAlias = "Mapping[str, JsonData] | Sequence[JsonData] | str | float | bool | None"


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace a file atomically: readers see the old or the new content, also after a power cut.

    The folder of the file is its root (`contained`): a link in the place of the file is replaced, not followed.
    """
    contained.write(path.parent, path.name, content)


def json_text(value: JsonData) -> str:
    """Return the text of a JSON file. Raises ValueError for NaN and infinity, which are not JSON."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_json(path: Path, value: JsonData) -> None:
    """Replace a JSON file atomically. Raises ValueError for NaN and infinity, which are not JSON."""
    write_atomic(path, json_text(value))
