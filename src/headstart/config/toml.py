"""Read TOML files."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import TypeAlias

from headstart.errors import HeadstartError, UsageError

TomlValue: TypeAlias = "str | float | bool | datetime | date | time | list[TomlValue] | TomlTable"
TomlTable: TypeAlias = "dict[str, TomlValue]"


def read_toml(path: Path, kind: str, unreadable: type[HeadstartError]) -> TomlTable:
    """Return the content of a TOML file.

    Args:
        path: the file.
        kind: name of the file in messages, such as "settings file".
        unreadable: class of the error for a file that cannot be read.

    Raises:
        HeadstartError: the file cannot be read; the class is `unreadable`.
        UsageError: the file is not UTF-8, or not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(f"The {kind} {path} cannot be read ({error.strerror}).", "Check the path.") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"The {kind} {path} is not UTF-8 ({error}).", "Save the file as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The {kind} {path} is not TOML ({error}).", "Fix the TOML syntax.") from None
