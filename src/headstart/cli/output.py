r"""Print on standard output and standard error, with control characters escaped.

The other modules of the command line print through these functions. Names of files, arms and classes are untrusted: a
control sequence in a name must not reach the terminal. The functions differ in what stays exact.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from headstart.i18n import translated
from headstart.printable import printable, printable_cell
from headstart.streams import is_terminal

if TYPE_CHECKING:  # the storage layer cannot be imported on systems that headstart refuses with a message
    from headstart.storage.files import JsonData

_NOT_IN_TOML = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")  # tomli-w escapes the others


def print_lines(lines: Iterable[str], *, end: str = "\n") -> None:
    """Print texts in the reader's language, each on one line."""
    print("\n".join(printable(translated(line)) for line in lines), end=end)


def print_wrapped(texts: Iterable[str], *, end: str = "\n") -> None:
    """Print texts like `print_lines`; if stdout is a terminal, on lines that end between words."""
    if not is_terminal(sys.stdout):
        print_lines(texts, end=end)
        return
    console = Console()
    wrapped = (part for text in texts for part in Text(printable(translated(text))).wrap(console, console.width))
    print("\n".join(str(part).rstrip() for part in wrapped), end=end)


def print_words(paths: Iterable[Path | str]) -> None:
    """Print paths and addresses, one a line, for other programs: unusual spaces stay as they are."""
    print("\n".join(printable_cell(str(path)) for path in paths), flush=True)


def print_json(value: JsonData) -> None:
    """Print a value as JSON, in ASCII."""
    print(json.dumps(value, indent=1, allow_nan=False))


def print_csv(text: str) -> None:
    """Print CSV whose cells went through `printable_cell`."""
    print(text, end="")


def print_toml(text: str) -> None:
    """Print TOML, with escapes of TOML for the control characters that it allows in texts."""
    print(_NOT_IN_TOML.sub(lambda match: f"\\u{ord(match[0]):04x}", text), end="")


def print_errors(lines: Iterable[str]) -> None:
    """Print texts in the reader's language on stderr, each on one line."""
    print(*(printable(translated(line)) for line in lines), sep="\n", file=sys.stderr)


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an error on stderr; messages of errors have names."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    print(*map(printable_cell, lines), sep="\n", file=sys.stderr)
