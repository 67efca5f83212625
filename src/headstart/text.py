"""Format numbers, lists and names for sentences."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def join_list(names: Iterable[str]) -> str:
    """Join one name or more as `a, b and c`; names that contain commas as `a, b; c; and d`."""
    *first, last = names
    if any("," in name for name in (*first, last)):
        return "; ".join([*first, f"and {last}" if first else last])
    return " and ".join([", ".join(first), last] if first else [last])


def points(value: float, *, signed: bool = False) -> str:
    """Format a difference of accuracies (-1 to 1) in percentage points with one decimal."""
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text.replace("-0.0", "0.0").replace("+0.0", "0.0")


def pluralize(number: int, noun: str) -> str:
    """Format a count with its noun: `1 seed`, `3 seeds`, `1,200 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def level_words(level: float) -> str:
    """Format a confidence level: 0.95 as `95 %`, with as many digits as needed to stay below 100."""
    digits = 3
    while float(f"{100 * level:.{digits}g}") >= 100 and digits < 12:
        digits += 1
    return f"{100 * level:.{digits}g} %"


def percent(value: float) -> str:
    """Format an accuracy (0 to 1) in per cent with one decimal."""
    return f"{100 * value:.1f} %"


def capitalize(text: str) -> str:
    """Capitalize the first letter and keep the rest."""
    return text[:1].upper() + text[1:]


def printable(text: str) -> str:
    """Return the text on one line, with escapes for characters that cannot be printed.

    File and class names are untrusted: a newline or a control sequence in a name must not reach the terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def suggestion(name: str, choices: Sequence[str]) -> str:
    """Return `; did you mean 'optimizer'?` where a choice resembles the name, else an empty string."""
    close = difflib.get_close_matches(name.replace("-", "_"), choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
