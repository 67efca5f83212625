"""Read tables that Excel, LibreOffice, pandas, R and people write as text: CSV with any of the usual separators."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.data.image_formats import IMAGE_SUFFIXES
from headstart.data.tables.columns import recognized
from headstart.data.tables.encoding import decode_table
from headstart.data.tables.options import TableOptions
from headstart.data.tables.table import Column, Table
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext

_SEPARATORS = (",", ";", "\t", "|")  # the first of those that fit equally well is used
_DECLARATION = re.compile(r'^\s*"?sep=(.)"?[\s,;|]*$', re.IGNORECASE)  # Excel's line on the separator
_ONLY_SEPARATORS = re.compile(r'^[\s,;|"]*$')
_IMAGE_NAME = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})\b", re.IGNORECASE)
_SHOWN_CHARACTERS = 40
_MAX_LINES_ABOVE = 20  # the header is looked for in as many lines


@dataclass(frozen=True)
class _Layout:
    """Where the table begins in the text, and its separator.

    Attributes:
        header: Place of the line of the header, from 0.
        text: The header and all lines below it.
        separator: The separator of the values.
    """

    header: int
    text: str
    separator: str


def read_csv(path: Path, options: TableOptions) -> Table:
    """Return the table in a text file; blank rows are left out.

    Args:
        path: The file.
        options: Names of columns that the user named: they help to find the separator.

    Raises:
        DataError: The file is empty, a quote does not close, or a row has too many values. The message names the line.
    """
    text, notes = decode_table(path.read_bytes(), path.name)
    layout, notes_above = _layout(text, path.name, options)
    try:
        header, rows, lines = _parse(path.name, layout, layout.text)
    except _QuoteError as error:
        repaired = _repair_quotes(layout)
        if repaired == layout.text:
            raise error.cause from None
        try:
            header, rows, lines = _parse(path.name, layout, repaired)
        except _QuoteError:
            raise error.cause from None
    notes += [*notes_above, *_fit_to_header(path.name, header, rows, lines)]
    names = tuple(name.strip() for name in header)
    columns = [[row[place] for row in rows] for place in range(len(names))]  # a list for each row takes more memory
    return Table(path.name, names, len(rows), lambda place: Column(columns[place]), lines, tuple(notes))


def _layout(text: str, manifest: str, options: TableOptions) -> tuple[_Layout, list[Message]]:
    """Find the header below empty lines, comments, titles and the line on the separator, and the separator.

    A line is a title if it has neither a path nor a label column, and one of the next lines has both.
    """
    lines = text.split("\n", _MAX_LINES_ABOVE)
    declared = ""
    headers: list[int] = []  # lines that may be the header
    for number, line in enumerate(lines[:_MAX_LINES_ABOVE]):
        if match := _DECLARATION.match(line):
            declared = declared or match[1]
        elif not _ONLY_SEPARATORS.match(line) and not _is_comment(line, options):
            headers.append(number)
    if not headers:
        raise DataError(
            _("{manifest} is empty.", manifest=manifest), _("Add a header, path,label, and a row for each image.")
        )
    fits = [recognized(_split(lines[n], declared or _separator(lines[n], options)), options) for n in headers]
    place = fits.index(2) if fits[0] == 0 and 2 in fits else 0
    header = headers[place]
    separator = declared or _separator(lines[header].removeprefix("#"), options)
    notes = []
    if place:
        notes.append(
            ngettext(
                "The line above the header of {manifest} is left out: {line!r}.",
                "The {count} lines above the header of {manifest} are left out: {line!r}.",
                place,
                manifest=manifest,
                line=lines[headers[0]],
            )
        )
    return _Layout(header, "\n".join(lines[header:]).removeprefix("#"), separator), notes


def _is_comment(line: str, options: TableOptions) -> bool:
    """Return True for a line that begins with # and is no header."""
    return line.startswith("#") and not recognized(_split(line[1:], _separator(line[1:], options)), options)


def _separator(header: str, options: TableOptions) -> str:
    """Return the separator with which a header has most of the columns that are needed, then most columns."""
    fields = {separator: _split(header, separator) for separator in _SEPARATORS}
    best = max(_SEPARATORS, key=lambda s: (recognized(fields[s], options), len(fields[s])))
    with_blanks = _split(header, " ")  # write.table of R
    return " " if recognized(fields[best], options) < recognized(with_blanks, options) == 2 else best


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a value that is too long
        return []


class _QuoteError(Exception):
    """A quote is in the wrong place; `cause` is the error for the user."""

    def __init__(self, cause: DataError) -> None:
        super().__init__(cause)
        self.cause = cause


def _parse(manifest: str, layout: _Layout, text: str) -> tuple[list[str], list[list[str]], list[int]]:
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
    first = layout.header
    try:
        while True:
            first = layout.header + reader.line_num + 1
            row = next(reader)
            last = layout.header + reader.line_num
            if last > first and (value := next((value for value in row if _swallows_rows(value, layout, rows)), None)):
                raise _QuoteError(_open_quote(manifest, first, last, value))
            if any(map(str.strip, row)):
                rows.append(row)
                lines.append(first)
    except StopIteration:
        return rows[0], rows[1:], lines[1:]
    except csv.Error as error:
        last = layout.header + reader.line_num
        raise _QuoteError(_misplaced_quote(manifest, first, last, str(error))) from error


def _swallows_rows(value: str, layout: _Layout, rows: Sequence[Sequence[str]]) -> bool:
    """Return True if a value with line breaks contains other rows of the table.

    That is what a stray quote does. Descriptions with line breaks are in no danger unless they look like rows.
    """
    width = len(rows[0]) if rows else 0
    return any(
        line.count(layout.separator) + 1 == width or _IMAGE_NAME.search(line) is not None
        for line in value.split("\n")[1:]
    )


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


def _repair_quotes(layout: _Layout) -> str:
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
        header.insert(0, "")
        width += 1
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
                _("Put quotes around a value that contains the separator."),
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
    return [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
