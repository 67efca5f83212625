"""Read the JSON files beside weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from headstart.errors import ModelFileError
from headstart.i18n import _
from headstart.storage.files import JsonData


def read_json(path: Path) -> Mapping[str, JsonData]:
    """Return the JSON object in `path`, or {} if there is no file. Raises ModelFileError for other content."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(
            _("{path} cannot be read ({error}).", path=path, error=error), _("Repair it or move it away.")
        ) from error
    if not isinstance(content, dict):
        raise ModelFileError(_("{path} is not a JSON object.", path=path), _("Repair it or move it away."))
    return content
