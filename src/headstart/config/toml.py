"""Read TOML files."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import TypeAlias

from headstart.errors import HeadstartError, UsageError
from headstart.i18n import Message, _
from headstart.storage import contained

TomlValue: TypeAlias = "str | float | bool | datetime | date | time | list[TomlValue] | TomlTable"
TomlTable: TypeAlias = "dict[str, TomlValue]"
MAX_BYTES = 500_000  # of a file; that of a study has 10,000
MAX_DOTS = 1_000  # in a line; a key of many parts takes tomllib minutes


def read_toml(
    path: Path,
    kind: Message,
    unreadable: type[HeadstartError],
    *,
    root: Path | None = None,
    hint: Message | None = None,
) -> TomlTable:
    """Return the content of a TOML file.

    Args:
        path: The file.
        kind: Name of the file in messages, such as "settings file".
        unreadable: Class of the error for a file that cannot be read.
        root: Folder that contains it, below which no link is followed (`contained`); None for a file that the user has
            named, which may be a link or a pipe.
        hint: Hint of the error on a file that is not TOML. Default: to write it correctly.

    Raises:
        HeadstartError: The file cannot be read; the class is `unreadable`.
        UsageError: The file is not UTF-8, or not valid TOML.
        DataError: The file is too large, or a link below `root`.
    """
    try:
        return tomllib.loads(_text(path, root))
    except OSError as error:
        raise unreadable(
            _("The {kind} {path} cannot be read ({reason}).", kind=kind, path=path, reason=error.strerror),
            _("Check the path."),
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            _("The {kind} {path} is not UTF-8 ({error}).", kind=kind, path=path, error=error),
            hint or _("Save the file as UTF-8."),
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(
            _("The {kind} {path} is not TOML ({error}).", kind=kind, path=path, error=error),
            hint or _("Fix the TOML syntax."),
        ) from None


def _text(path: Path, root: Path | None) -> str:
    with path.open("rb") if root is None else contained.open_file(root, path.relative_to(root).as_posix()) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise contained.too_large(path, MAX_BYTES)
    if max(line.count(b".") for line in content.split(b"\n")) > MAX_DOTS:
        raise tomllib.TOMLDecodeError(_("a line has more than {count:,} dots", count=MAX_DOTS))
    return content.decode()
