"""A table as it was read from a file: its columns as text, and where its rows are in the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.text import format_bytes, join_first

ROW_NAMES = "Unnamed: 0"  # pandas's name of a first column without a name
MAX_COLUMNS = 10_000
_MAX_FILLED_CELLS = 10_000_000  # empty cells that are added to rows which do not have all columns
_MAX_NUMBERS = 20


class TableSizeError(DataError):
    """A table has more columns or cells than are read."""


@dataclass(frozen=True)
class Column:
    """The cells of a column, [n].

    Attributes:
        values: Text of each cell, "" for a missing value. Numbers are as written, booleans `true` and `false`.
        text_only: Values that occur as text and never as a number or boolean. It is empty for CSV, which has no types.
    """

    values: Sequence[str]
    text_only: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Table:
    """A table of n rows.

    Attributes:
        name: Name of the file in messages.
        columns: Names of the columns, without blanks around them.
        rows: Number of rows.
        read: Returns a column by its place in `columns`.
        lines: Line of each row in the file, from 1; None for a format without lines.
        notes: Sentences for the user on how the file was read.
    """

    name: str
    columns: tuple[str, ...]
    rows: int
    read: Callable[[int], Column]
    lines: Sequence[int] | None = None
    notes: tuple[Message, ...] = ()

    def column(self, name: str) -> Column:
        """Return the first column of a name; a column of empty cells for the name ""."""
        return self.read(self.columns.index(name)) if name else Column([""] * self.rows)

    def number(self, row: int) -> int:
        """Return the number by which a person finds a row: its line, or its place from 1."""
        return self.lines[row] if self.lines is not None else row + 1

    def place(self, row: int) -> Message:
        """Return where a row is, such as `Line 7 of list.csv`, as the beginning of a sentence."""
        if self.lines is None:
            return _("Row {number} of {manifest}", number=self.number(row), manifest=self.name)
        return _("Line {number} of {manifest}", number=self.number(row), manifest=self.name)


def require_few_columns(name: str, columns: int) -> None:
    """Raise TableSizeError for a table of more than MAX_COLUMNS columns."""
    if columns > MAX_COLUMNS:
        raise TableSizeError(
            _(
                "{manifest} has {count:,} columns, and at most {limit:,} are read.",
                manifest=name,
                count=columns,
                limit=MAX_COLUMNS,
            ),
            _("Keep the columns with the path, the label, and the split or group if there is one."),
        )


def require_filled(name: str, columns: int, missing: int) -> None:
    """Raise TableSizeError if a table would take far more memory with the cells that its rows do not have."""
    if missing > _MAX_FILLED_CELLS:
        raise TableSizeError(
            _(
                "Most of the {width:,} columns of {manifest} are missing in its rows: more than {limit:,} cells.",
                manifest=name,
                width=columns,
                limit=_MAX_FILLED_CELLS,
            ),
            _("Keep the columns with the path, the label, and the split or group if there is one."),
        )


def require_paths_for_rows(name: str, rows: int, size: int, min_bytes: float, max_short: int) -> None:
    """Raise TableSizeError for a file that is too small to have a path for each of its rows.

    Args:
        name: Name of the file.
        rows: Number of its rows.
        size: Its size in bytes.
        min_bytes: Smallest size of a row.
        max_short: Number of rows up to which rows may be smaller.
    """
    if rows > max_short and size < min_bytes * rows:
        raise TableSizeError(
            _(
                "{manifest} declares {rows:,} rows in {size}, which is too little for the path of an image in each.",
                manifest=name,
                rows=rows,
                size=format_bytes(size),
            ),
            _("Write the table again, with one row for each image."),
        )


def empty_error(table: Table, column: str, rows: Sequence[int]) -> DataError:
    """Return the error on rows without a path or label: all of them are named, so that one correction is enough."""
    if len(rows) == 1:
        message = _("{place} has no {column}.", place=table.place(rows[0]), column=column)
        return DataError(message, _("Fill in the {column}, or remove the row.", column=column))
    numbers = join_first([str(table.number(row)) for row in rows], _MAX_NUMBERS)
    if table.lines is None:
        message = _(
            "Rows {numbers} of {manifest} have no {column}.", numbers=numbers, manifest=table.name, column=column
        )
    else:
        message = _(
            "Lines {numbers} of {manifest} have no {column}.", numbers=numbers, manifest=table.name, column=column
        )
    return DataError(message, _("Fill in each {column}, or remove these rows.", column=column))


def dates(texts: Sequence[str]) -> list[str]:
    """Return times as text without what no row needs: fractions of zero, and midnight if all rows have it."""
    short = [re.sub(r"\.0+(?=$|[+Z-])", "", text) for text in texts]
    midnight = all(not text or text.endswith(" 00:00:00") for text in short)
    return [text.removesuffix(" 00:00:00") for text in short] if midnight else short


def first_row(matches: Sequence[bool]) -> int:
    """Return the first row for which `matches` is true."""
    return next(row for row, match in enumerate(matches) if match)
