"""Widths of the columns of a table, for the formats that need them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.figures.documents.model import text_parts

LINE_LETTERS = 100.0  # that fit on a line of a table in small type
COLUMN_GAP = 2.0  # between columns, in letters
MAX_WORD = 24  # letters of a word that is not broken
SHORT_TEXT = 16  # letters of a text that is not wrapped


def text_length(text: str) -> int:
    """Return the number of letters of a text; a reference counts as short."""
    return sum(len(part) if isinstance(part, str) else 4 for part in text_parts(text))


@dataclass(frozen=True)
class ColumnWidths:
    """Widths of the columns of a table.

    Args:
        letters: Width of each column in letters.
        wrapped: The texts do not fit on a line, so that some have to be wrapped.
    """

    letters: Sequence[float]
    wrapped: bool


def column_widths(rows: Sequence[Sequence[str]]) -> ColumnWidths:
    """Return the widths of columns: those of their longest texts if a line has the space for them.

    Otherwise every column is at least as wide as its longest word, and columns with longer texts share the rest.

    Args:
        rows: Header and rows.
    """
    columns = list(zip(*rows, strict=True))
    longest = [float(max(map(text_length, column))) for column in columns]
    space = LINE_LETTERS - COLUMN_GAP * len(columns)
    if sum(longest) <= space:
        return ColumnWidths(longest, wrapped=False)
    words = [float(min(max(map(_longest_word, column)), MAX_WORD)) for column in columns]
    least = [length if length <= SHORT_TEXT else word for length, word in zip(longest, words, strict=True)]
    spare = max(space - sum(least), 0.0)
    wanted = [length - width for length, width in zip(longest, least, strict=True)]
    widths = [width + spare * want / (sum(wanted) or 1.0) for width, want in zip(least, wanted, strict=True)]
    scale = min(1.0, space / sum(widths))
    return ColumnWidths([scale * width for width in widths], wrapped=True)


def _longest_word(text: str) -> int:
    return max((text_length(word) for word in text.split()), default=1)
