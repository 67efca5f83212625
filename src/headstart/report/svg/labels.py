"""Chart labels: text width, truncation, wrapping and placement without overlap."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
LINE_HEIGHT = 15  # units of the view box between two lines of names
LETTER_WIDTH, BOLD_LETTER_WIDTH, CELL_LETTER_WIDTH = 7.2, 8.2, 6.0  # approximate widths in units of the view box

WIDE_CHARACTER_LETTERS = 1.9  # Latin letters as wide as one Chinese, Japanese or Korean character

BIDI_CLASSES = {"R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF"}  # may reorder nearby text


def spread_labels(ends: Sequence[tuple[float, T]], top: float, bottom: float, lines: int = 1) -> list[tuple[float, T]]:
    """Return the labels sorted by height and moved apart so that they do not overlap.

    Args:
        ends: (height, label) pairs.
        top: Smallest height of a label.
        bottom: Largest height of the last line of a label.
        lines: Lines per label.
    """
    placed: list[tuple[float, T]] = []
    bottom -= (lines - 1) * LINE_HEIGHT
    gap = min(lines * LINE_HEIGHT + (4 if lines > 1 else 0), (bottom - top) / max(len(ends) - 1, 1))
    for height, label in sorted(ends, key=lambda end: end[0]):
        placed.append((max(height, placed[-1][0] + gap) if placed else max(height, top), label))
    for index in range(len(placed) - 1, -1, -1):
        max_height = placed[index + 1][0] - gap if index + 1 < len(placed) else bottom
        placed[index] = (min(placed[index][0], max_height), placed[index][1])
    return placed


def text_width(text: str) -> float:
    """Return the width of a text in Latin letters.

    East Asian wide characters count `WIDE_CHARACTER_LETTERS`, combining marks count 0.
    """
    return sum(
        0.0
        if unicodedata.combining(character)
        else WIDE_CHARACTER_LETTERS
        if unicodedata.east_asian_width(character) in "WF"
        else 1.0
        for character in text
    )


def longest_prefix(text: str, max_letters: float) -> str:
    """Return the longest prefix of a text that is at most `max_letters` letters wide."""
    return next((text[:end] for end in range(len(text), 0, -1) if text_width(text[:end]) <= max_letters), "")


def truncate(text: str, max_width: float, letter: float = LETTER_WIDTH) -> str:
    """Return the text, truncated at its end with an ellipsis if it is wider than `max_width` units."""
    max_letters = max(3, int(max_width / letter))
    return text if text_width(text) <= max_letters else longest_prefix(text, max_letters - 1) + "…"


def truncate_distinct(names: Sequence[str], max_width: float, letter: float = LETTER_WIDTH) -> list[str]:
    """Return the names truncated to `max_width` units such that different names stay different.

    A name is truncated at its end, or in the middle if truncation at the end would make it equal to another name.
    """
    truncated = [truncate(name, max_width, letter) for name in names]
    counts = Counter(dict(zip(names, truncated, strict=True)).values())
    max_letters = max(3, int(max_width / letter))
    begin = max_letters // 3
    return [
        short
        if counts[short] == 1
        else f"{longest_prefix(name, begin)}…{longest_prefix(name[::-1], max_letters - begin - 1)[::-1]}"
        for name, short in zip(names, truncated, strict=True)
    ]


def isolate_bidi(name: str) -> str:
    """Return the name with bidirectional isolates if it contains right-to-left text.

    A right-to-left name then leaves the order of the words around it unchanged. The isolates are characters of
    Unicode's bidirectional algorithm (UAX 9), not HTML, so that they work in alt texts too.
    """
    needs_isolates = any(unicodedata.bidirectional(character) in BIDI_CLASSES for character in name)
    return f"\u2068{name}\u2069" if needs_isolates else name


def wrap_names(names: Sequence[str], max_width: float, max_lines: float) -> list[list[str]]:
    """Return the lines of each name, one or two.

    Args:
        names: Names in bold type.
        max_width: Width of a line in units of the view box.
        max_lines: Lines available for all names. Names get two lines only if this suffices for two lines each and some
            name does not fit in one line.
    """
    fits = int(max_width / BOLD_LETTER_WIDTH)
    if all(text_width(name) <= fits for name in names) or 2 * len(names) > max_lines:
        return [[name] for name in truncate_distinct(names, max_width, BOLD_LETTER_WIDTH)]
    parts = [_split_name(name, fits) for name in names]
    first = [begin for begin, _ in parts]
    wholes = truncate_distinct([f"{begin} {rest}".strip() for begin, rest in parts], max_width, BOLD_LETTER_WIDTH)
    rests = truncate_distinct([rest for _, rest in parts], max_width, BOLD_LETTER_WIDTH)
    return [
        [begin, rest] if begin and rest else [whole] for begin, rest, whole in zip(first, rests, wholes, strict=True)
    ]


def wrap_words(text: str, max_width: float, letter: float = LETTER_WIDTH) -> list[str]:
    """Return the lines of a text, broken at blanks, and within a word only if it is wider than `max_width` units."""
    fits, lines = max(1, int(max_width / letter)), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer) <= fits:
            lines[-1] = longer
            continue
        rest = word
        while rest:
            part = longest_prefix(rest, fits) or rest[0]
            lines.append(part)
            rest = rest[len(part) :]
    return [line for line in lines if line] or [""]


def wrap_cell_text(text: str, max_width: float, max_lines: int) -> list[str]:
    """Return a cell's text as one line or as one word per line, or [] if neither fits.

    Args:
        text: Text of the cell.
        max_width: Width of the cell in units of the view box.
        max_lines: Maximum number of lines.
    """
    for lines in ([text], text.split()):
        if (
            text
            and len(lines) <= max(max_lines, 1)
            and all(text_width(line) * CELL_LETTER_WIDTH < max_width for line in lines)
        ):
            return lines
    return []


def _split_name(name: str, fits: int) -> tuple[str, str]:
    """Split a name at its last comma or blank within the first `fits` letters; a name that fits is not split."""
    if text_width(name) <= fits:
        return name, ""
    fits = len(longest_prefix(name, fits))
    end = name.rfind(", ", 0, fits) + 1 or name.rfind(" ", 0, fits + 1)
    return (name[:end], name[end:].strip()) if end > 0 else ("", name)
