"""Read the JSON files beside weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from headstart.config.model_file import MAX_JSON_BYTES
from headstart.errors import ModelFileError
from headstart.i18n import _
from headstart.storage import contained
from headstart.storage.files import JsonData


def read_json(path: Path) -> Mapping[str, JsonData]:
    """Return the JSON object in `path`, or {} if there is no file. Raises ModelFileError for other content."""
    return _parse(path, path.read_bytes if path.is_file() else None)


def read_inner_json(root: Path, name: str) -> Mapping[str, JsonData]:
    """Return the JSON object in a file below a root, where links are not followed; as `read_json`."""
    exists = contained.is_file(root, name)
    return _parse(root / name, partial(contained.read_bytes, root, name, MAX_JSON_BYTES) if exists else None)


def _parse(path: Path, read: Callable[[], bytes] | None) -> Mapping[str, JsonData]:
    if read is None:
        return {}
    try:
        content = json.loads(read().decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(
            _("{path} cannot be read ({error}).", path=path, error=error), _("Repair it or move it away.")
        ) from error
    if not isinstance(content, dict):
        raise ModelFileError(_("{path} is not a JSON object.", path=path), _("Repair it or move it away."))
    return content
