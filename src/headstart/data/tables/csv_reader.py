"""Read tables that Excel, LibreOffice, pandas, R and people write as text: CSV with any of the usual separators."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence, Set
from pathlib import Path

from headstart.data.tables.columns import may_be
from headstart.data.tables.csv_layout import Layout, find_layout, is_image_name, is_rule, split_line
from headstart.data.tables.encoding import decode_table
from headstart.data.tables.options import TableOptions
from headstart.data.tables.table import (
    ROW_NAMES,
    Column,
    Table,
    require_few_columns,
    require_filled,
    require_paths_for_rows,
)
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext

_SHOWN_CHARACTERS = 40
_MIN_ROW_CHARACTERS = 8  # 1.jpg,a and a line end; those of many different images have more
_MAX_SHORT_ROWS = 1_000_000


def read_csv(path: Path, options: TableOptions) -> Table:
    """Return the table in a text file; blank rows are left out.

    Args:
        path: The file.
        options: Names of columns that the user named: they help to find the separator.

    Raises:
        DataError: The file is empty, a quote does not close, or a row has too many values. The message names the line.
    """
    text, notes = decode_table(path.read_bytes(), path.name)
    require_paths_for_rows(path.name, text.count("\n"), len(text), _MIN_ROW_CHARACTERS, _MAX_SHORT_ROWS)
    layout, notes_above = find_layout(text, path.name, options)
    try:
        header, rows, lines = _parse(path.name, layout, layout.text, options)
    except _QuoteError as error:
        repaired = _repair_quotes(layout)
        if repaired == layout.text:
            raise error.cause from None
        try:
            header, rows, lines = _parse(path.name, layout, repaired, options)
        except _QuoteError:
            raise error.cause from None
    require_few_columns(path.name, max(map(len, [header, *rows])))
    require_filled(path.name, len(header), sum(max(len(header) - len(row), 0) for row in rows))
    notes += [*notes_above, *_drop_headers(path.name, header, rows, lines)]
    notes += _fit_to_header(path.name, header, rows, lines)
    names = tuple(name.strip() for name in header)
    columns = [[row[place] for row in rows] for place in range(len(names))]  # a list for each row takes more memory
    return Table(path.name, names, len(rows), lambda place: Column(columns[place]), lines, tuple(notes))


class _QuoteError(Exception):
    """A quote is in the wrong place; `cause` is the error for the user."""

    def __init__(self, cause: DataError) -> None:
        super().__init__(cause)
        self.cause = cause


def _parse(
    manifest: str, layout: Layout, text: str, options: TableOptions
) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, the rows that are not blank, and the line on which each of them begins."""
    blanks_before_quotes = re.search(re.escape(layout.separator) + r'[ \t]+"', text) is not None
    reader = csv.reader(
        io.StringIO(text, newline="\n"),
        delimiter=layout.separator,
        strict=True,
        skipinitialspace=blanks_before_quotes or layout.separator == " ",
    )
    rows: list[list[str]] = []
    lines: list[int] = []
    paths: set[int] = set()
    first = layout.header
    try:
        while True:
            first = layout.header + reader.line_num + 1
            row = next(reader)
            last = layout.header + reader.line_num
            if last > first and rows:
                for place, value in enumerate(row):
                    if "\n" in value and _swallows_rows(row, place, layout, rows, paths):
                        raise _QuoteError(_open_quote(manifest, first, last, value))
            elif not rows:
                paths = {place for place, name in enumerate(row) if may_be(name, "path", options)}
            if any(map(str.strip, row)) and not is_rule("".join(row)):
                rows.append(row)
                lines.append(first)
    except StopIteration:
        return rows[0], rows[1:], lines[1:]
    except csv.Error as error:
        last = layout.header + reader.line_num
        raise _QuoteError(_misplaced_quote(manifest, first, last, str(error))) from error


def _swallows_rows(
    row: Sequence[str], place: int, layout: Layout, rows: Sequence[Sequence[str]], paths: Set[int]
) -> bool:
    """Return True if a value with line breaks contains other rows of the table, which is what a stray quote does.

    Its first line then ends the row, its last one is the beginning of another row, and the lines between are rows.
    Each has a path where the row has its path. Descriptions with line breaks have not.

    Args:
        row: The values of a row.
        place: Place of a value.
        layout: Has the separator.
        rows: The rows before it, from the header.
        paths: Places of the columns that may have the path; none if the header names no such column.
    """
    texts = row[place].split("\n")
    first, *lines = (split_line(text, layout.separator) for text in texts)
    lines[-1] = [*lines[-1], *row[place + 1 :]]
    shifted = len(row) - len(rows[0]) == 1  # names of rows, which the header does not name
    own = [*row[:place], *first]
    if len(own) not in (len(rows[0]) + shifted, len(rows[-1])):
        return False
    columns = [path for path in ({path + shifted for path in paths} or range(len(own))) if path < len(own)]
    return any(
        len(line) == len(own) and any(_may_be_row(text, line[path], own[path], layout) for path in columns)
        for text, line in zip(texts[1:], lines, strict=True)
    )


def _may_be_row(text: str, path: str, other: str, layout: Layout) -> bool:
    """Return True if a line may be a row by its path: the name of an image as that of another row is, or one word.

    Words are also in sentences, which have blanks behind commas.
    """
    if is_image_name(other):
        return is_image_name(path)
    blank = f"{layout.separator} "
    is_sentence = blank in text and blank not in layout.text.split("\n", 1)[0]
    return len(path.split()) == 1 and not is_sentence


def _open_quote(manifest: str, first: int, last: int, value: str) -> DataError:
    return DataError(
        _(
            "The quote in line {first} of {manifest} closes only in line {last}, so that the rows between are in one "
            "value: {value!r}.",
            first=first,
            manifest=manifest,
            last=last,
            value=value[:_SHOWN_CHARACTERS] + ("…" if len(value) > _SHOWN_CHARACTERS else ""),
        ),
        _quote_hint(first),
    )


def _misplaced_quote(manifest: str, first: int, last: int, reason: str) -> DataError:
    """Return the error on a quote that the reader rejected between two lines."""
    if "field limit" in reason and last == first:
        return DataError(
            _(
                "Line {line} of {manifest} has a value of more than {limit:,} characters.",
                line=first,
                manifest=manifest,
                limit=csv.field_size_limit(),
            ),
            _("Shorten the value, or remove its column."),
        )
    if "end of data" in reason or "field limit" in reason:
        message = _("The quote in line {first} of {manifest} is never closed.", first=first, manifest=manifest)
    elif last > first:
        message = _(
            "The quote in line {first} of {manifest} closes only in line {last}, with text behind it.",
            first=first,
            manifest=manifest,
            last=last,
        )
    else:
        message = _("Line {first} of {manifest} has text behind a closing quote.", first=first, manifest=manifest)
    return DataError(message, _quote_hint(first))


def _quote_hint(line: int) -> Message:
    return _('Remove the quote in line {line}, or write it twice in a quoted value: "5"" bolt".', line=line)


def _repair_quotes(layout: Layout) -> str:
    """Return the text with quotes as CSV has them: write.table of R puts a backslash before a quote, people a blank."""
    doubled = layout.text.replace('\\"', '""')
    return (
        re.sub(rf'"[ \t]+(?={re.escape(layout.separator)}|\n|$)', '"', doubled) if layout.separator != " " else doubled
    )


def _fit_to_header(manifest: str, header: list[str], rows: list[list[str]], lines: Sequence[int]) -> list[Message]:
    """Give each row one value per column, and return a note on rows that end early.

    Spreadsheets add empty values at the ends of rows, and leave empty ones out. write.table of R writes the names of
    the rows without a name in the header.
    """
    width = len(header)
    if rows and all(len(row) == width + 1 and row[-1].strip() for row in rows) and _are_row_names(rows):
        header.insert(0, ROW_NAMES)
        width += 1
    header[0] = header[0] or ROW_NAMES
    short = 0
    for row, line in zip(rows, lines, strict=True):
        if len(row) == width:
            continue
        if any(map(str.strip, row[width:])):
            raise DataError(
                _(
                    "Line {line} of {manifest} has {count:,} values for {width:,} columns.",
                    line=line,
                    manifest=manifest,
                    count=len(row),
                    width=width,
                ),
                _("Put quotes around a value that contains the separator, and name all columns in the header."),
            )
        short += len(row) < width
        row[width:] = []
        row += [""] * (width - len(row))
    if not short:
        return []
    return [
        ngettext(
            "{count:,} row of {manifest} ends early: its last columns are empty.",
            "{count:,} rows of {manifest} end early: their last columns are empty.",
            short,
            manifest=manifest,
        )
    ]


def _are_row_names(rows: Sequence[Sequence[str]]) -> bool:
    """Return True if the first values are numbers of rows, or files: each is there once."""
    first = [row[0] for row in rows]
    return len({*first}) == len(first) and (all(map(str.isdecimal, first)) or all(map(is_image_name, first)))


def _drop_headers(manifest: str, header: list[str], rows: list[list[str]], lines: list[int]) -> list[Message]:
    """Leave out rows that repeat the header, which joined files have, and return a note on them."""
    kept = [place for place, row in enumerate(rows) if row != header]
    repeated = len(rows) - len(kept)
    if repeated:  # to delete each row from a long list takes quadratic time
        rows[:], lines[:] = [rows[place] for place in kept], [lines[place] for place in kept]
    else:
        return []
    return [
        ngettext(
            "{count:,} row of {manifest} repeats the header and is left out.",
            "{count:,} rows of {manifest} repeat the header and are left out.",
            repeated,
            manifest=manifest,
        )
    ]
