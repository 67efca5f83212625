"""Names beside what they name: cut to the room that there is, told apart, and none on another."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
LINE = 15  # units of the view box between two lines of names
LETTER, STRONG, SMALL = 7.2, 8.2, 6.0  # width of a letter of the labels, more or less, of one in bold, and in a cell

WIDE = 1.9  # letters that one of Chinese, Japanese or Korean takes

TURNING = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF"}  # kinds of letters and signs


def apart(ends: Sequence[tuple[float, T]], top: float, bottom: float, lines: int = 1) -> list[tuple[float, T]]:
    """Labels at their heights, so many lines apart: pushed down where they would lie on each other, and up again."""
    found: list[tuple[float, T]] = []
    bottom -= (lines - 1) * LINE
    gap = min(lines * LINE + (4 if lines > 1 else 0), (bottom - top) / max(len(ends) - 1, 1))
    for height, what in sorted(ends, key=lambda end: end[0]):
        found.append((max(height, found[-1][0] + gap) if found else max(height, top), what))
    for at in range(len(found) - 1, -1, -1):
        below = found[at + 1][0] - gap if at + 1 < len(found) else bottom
        found[at] = (min(found[at][0], below), found[at][1])
    return found


def letters(text: str) -> float:
    """How wide a text is, in letters of the Latin alphabet: wide ones of East Asia count double, marks not."""
    return sum(
        0.0 if unicodedata.combining(one) else WIDE if unicodedata.east_asian_width(one) in "WF" else 1.0
        for one in text
    )


def head(text: str, most: float) -> str:
    """As much of the text's beginning as `most` letters hold."""
    return next((text[:at] for at in range(len(text), 0, -1) if letters(text[:at]) <= most), "")


def cut(text: str, room: float, letter: float = LETTER) -> str:
    """The text, with its end cut off where it is longer than `room`."""
    most = max(3, int(room / letter))
    return text if letters(text) <= most else head(text, most - 1) + "…"


def cut_apart(names: Sequence[str], room: float, letter: float = LETTER) -> list[str]:
    """The names cut to `room`: at their ends or, where those that differ would look alike, in their middle."""
    ends = [cut(name, room, letter) for name in names]
    known = Counter(dict(zip(names, ends, strict=True)).values())
    most = max(3, int(room / letter))
    begin = most // 3
    return [short if known[short] == 1 else f"{head(name, begin)}…{head(name[::-1], most - begin - 1)[::-1]}"
            for name, short in zip(names, ends, strict=True)]  # fmt: skip


def isolated(name: str) -> str:
    """The name in a sentence: one that is written from right to left leaves the order of what is around it.

    The signs are those of Unicode's bidirectional algorithm (UAX 9), not HTML's, so that alt texts have them as well.
    """
    turned = any(unicodedata.bidirectional(one) in TURNING for one in name)
    return f"\u2068{name}\u2069" if turned else name


def in_lines(names: Sequence[str], room: float, most: float) -> list[list[str]]:
    """The names in one line each, or two where one is too short for any and there are `most` lines for all."""
    fits = int(room / STRONG)
    if all(letters(name) <= fits for name in names) or 2 * len(names) > most:
        return [[name] for name in cut_apart(names, room, STRONG)]
    broken = [_broken(name, fits) for name in names]
    first = [begin for begin, _ in broken]
    wholes = cut_apart([f"{begin} {rest}".strip() for begin, rest in broken], room, STRONG)
    rests = cut_apart([rest for _, rest in broken], room, STRONG)
    return [
        [begin, rest] if begin and rest else [whole] for begin, rest, whole in zip(first, rests, wholes, strict=True)
    ]


def lines_in(text: str, room: float, most: int) -> list[str]:
    """A cell's text in one line or, word by word, in `most` at most; nothing where there is no room for it."""
    for lines in ([text], text.split()):
        if text and len(lines) <= max(most, 1) and all(letters(line) * SMALL < room for line in lines):
            return lines
    return []


def _broken(name: str, fits: int) -> tuple[str, str]:
    """The name and "", or what stands before its last comma or blank in the first `fits` letters, and the rest."""
    if letters(name) <= fits:
        return name, ""
    fits = len(head(name, fits))
    at = name.rfind(", ", 0, fits) + 1 or name.rfind(" ", 0, fits + 1)
    return (name[:at], name[at:].strip()) if at > 0 else ("", name)
