"""Read TOML files."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import TypeAlias

from headstart.errors import HeadstartError, UsageError
from headstart.i18n import Message, _

TomlValue: TypeAlias = "str | float | bool | datetime | date | time | list[TomlValue] | TomlTable"
TomlTable: TypeAlias = "dict[str, TomlValue]"


def read_toml(path: Path, kind: Message, unreadable: type[HeadstartError]) -> TomlTable:
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
        raise unreadable(
            _("The {kind} {path} cannot be read ({reason}).", kind=kind, path=path, reason=error.strerror),
            _("Check the path."),
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            _("The {kind} {path} is not UTF-8 ({error}).", kind=kind, path=path, error=error),
            _("Save the file as UTF-8."),
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            _("The {kind} {path} is not TOML ({error}).", kind=kind, path=path, error=error), _("Fix the TOML syntax.")
        ) from None
