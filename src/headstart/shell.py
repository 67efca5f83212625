"""Quote words of commands that users copy into a shell.

A word with control characters is written as `$'…'`, which bash, zsh and ksh read. A control character must neither
reach the terminal nor be lost: in plain quotes, an escape that is shown for it would be another name.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path


def quote_path(path: str | Path) -> str:
    """Return a path as one word of a command, so that it cannot be taken for a flag."""
    text = str(path)
    return quote(f"./{text}" if text.startswith("-") else text)


def quote(text: str) -> str:
    """Return one word of a command."""
    return shlex.quote(text) if text.isprintable() else f"$'{''.join(map(_escaped, text))}'"


def join(words: Iterable[str]) -> str:
    """Return the words of a command, separated by spaces."""
    return " ".join(map(quote, words))


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    # three octal digits: a hexadecimal escape could continue with the next letter of the name
    is_byte = "\udc80" <= character <= "\udcff"  # of a name that is not UTF-8
    content = character.encode(errors="surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in content)
