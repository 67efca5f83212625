"""Read TOML files."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from headstart.errors import HeadstartError, UsageError


def read_toml(path: Path, what: str, unreadable: type[HeadstartError]) -> dict[str, Any]:
    """The content of a TOML file, which errors call `what`. Raises `unreadable`, or UsageError where it is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(f"The {what} {path} cannot be read ({error.strerror}).", "Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The {what} {path} is not TOML ({error}).", "Mend that line.") from None
