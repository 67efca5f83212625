"""Escape characters of untrusted text that cannot be printed: names of files, folders and classes."""

from __future__ import annotations

import re

# control characters, ends of lines and paragraphs, lone surrogates, and marks that reorder the letters after them
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_JOINERS = "\u200c\u200d"  # of letters and emoji: they are parts of words, and invisible alone


def printable(text: str) -> str:
    """Return the text on one line, with escapes for characters that cannot be printed.

    File and class names are untrusted: a newline or a control sequence in a name must not reach the terminal.
    """
    return "".join(c if c.isprintable() or c in _JOINERS else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def printable_cell(text: str) -> str:
    """Return a text with escapes for control characters only, for files of programs such as CSV.

    Names with unusual spaces stay exact. What ends a line, begins a control sequence of a terminal or reorders the
    letters after it is escaped.
    """
    return _CONTROLS.sub(lambda match: _escape(match[0]), text)
