"""Format numbers, lists and names for sentences."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def join_list(names: Iterable[str]) -> str:
    """`a, b and c`; where a name has commas of its own, `a, b; c; and d`. Wants one name or more."""
    *before, last = names
    if any("," in name for name in (*before, last)):
        return "; ".join([*before, f"and {last}" if before else last])
    return " and ".join([", ".join(before), last] if before else [last])


def points(value: float, *, signed: bool = False) -> str:
    """A difference of accuracies in points, one decimal."""
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text.replace("-0.0", "0.0").replace("+0.0", "0.0")


def pluralize(number: int, what: str) -> str:
    """`1 seed`, `3 seeds`, `1,200 images`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def level_words(level: float) -> str:
    """`95 %` of a level of 0.95; as many digits as it takes to stay below 100."""
    digits = 3
    while float(f"{100 * level:.{digits}g}") >= 100 and digits < 12:
        digits += 1
    return f"{100 * level:.{digits}g} %"


def percent(value: float) -> str:
    """An accuracy in per cent, one decimal."""
    return f"{100 * value:.1f} %"


def capitalize(text: str) -> str:
    """With a capital first letter, for the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def printable(text: str) -> str:
    """The text on one line, as a terminal may safely show it: what cannot be printed is written as an escape.

    Names of files and classes come from strangers; a newline or a terminal's control sequence in one does no harm.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nearest(name: str, known: Sequence[str]) -> str:
    """`; did you mean 'optimizer'?` where a known name comes near, else nothing."""
    close = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
