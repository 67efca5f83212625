"""Names of files and folders: those that cannot be stored, since plans and records are UTF-8, and `~` in paths."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from headstart import shell
from headstart.i18n import Message, _


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` and `~USER` at its beginning replaced by the home folder.

    A path that exists as it is written is unchanged, and so is one whose user or home folder is unknown: names of
    folders may begin with `~`.
    """
    literal = Path(path)
    if not str(literal).startswith("~") or os.path.lexists(literal):
        return literal
    try:
        return literal.expanduser()
    except RuntimeError:
        return literal


class NameFault(NamedTuple):
    """What is wrong with a name, and a hint: the arguments of an error."""

    message: Message
    hint: Message


def name_fault(path: str | os.PathLike[str]) -> NameFault | None:
    """Return what is wrong with a path whose name is not UTF-8, or that this process does not decode as UTF-8.

    The bytes of the name decide. In a locale that is not UTF-8, Python decodes valid names to other text; such a name
    must not be called invalid.
    """
    text = os.fspath(path)
    if text.isascii():
        return None
    try:
        content = os.fsencode(text)
        name = content.decode()
    except UnicodeDecodeError:
        return _not_utf8(content)
    except UnicodeEncodeError:  # the encoding of the locale has no such character
        name = text
    else:
        if name == text:
            return None
    return NameFault(
        _(
            "The name {name} is UTF-8, but Python reads names of files as {encoding} here.",
            name=name,
            encoding=sys.getfilesystemencoding(),
        ),
        _("Set the environment variable PYTHONUTF8=1, and start Python again."),
    )


def _not_utf8(path: bytes) -> NameFault:
    """Return the fault of a path, with a command that renames the first part of it that is not UTF-8."""
    parts = path.split(b"/")
    place = next(place for place, part in enumerate(parts) if not _is_utf8(part))
    new_name = parts[place].decode("cp1252", errors="replace").replace("\ufffd", "_")  # as old Windows systems wrote it
    old, new = b"/".join(parts[: place + 1]), b"/".join([*parts[:place], new_name.encode()])
    return NameFault(
        _("The name {name} is not UTF-8.", name=old.decode(errors="backslashreplace")),
        _(
            "Rename it, for example in bash with `mv {old} {new}`.",
            old=shell.quote_path(old.decode(errors="surrogateescape")),
            new=shell.quote_path(new.decode()),
        ),
    )


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
