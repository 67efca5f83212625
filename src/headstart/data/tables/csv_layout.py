"""Find where a table begins in a text, and the separator of its values."""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.data.image_formats import IMAGE_SUFFIXES
from headstart.data.image_index import SPLIT_NAMES
from headstart.data.tables.columns import recognized
from headstart.data.tables.options import TableOptions
from headstart.data.tables.table import MAX_COLUMNS
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext

SEPARATORS = (",", ";", "\t", "|")  # the first of those that fit equally well is used
_DECLARATION = re.compile(r'^\s*"?sep=(.|\\t)"?[\s,;|]*$', re.IGNORECASE)  # Excel's line on the separator
_ONLY_SEPARATORS = re.compile(r'^[\s,;|"]*$')
_RULE_SIGNS = re.compile(r"[-=+:|\s]+")  # of a table as people, MySQL and psql print it
_RULE_LINE = re.compile(r"[-=]{2}")
_MAX_LINES_ABOVE = 20  # the header is looked for in as many lines


@dataclass(frozen=True)
class Layout:
    """Where the table begins in the text, and its separator.

    Attributes:
        header: Place of the line of the header, from 0.
        text: The header and all lines below it.
        separator: The separator of the values.
    """

    header: int
    text: str
    separator: str


def find_layout(text: str, manifest: str, options: TableOptions) -> tuple[Layout, list[Message]]:
    """Find the header below empty lines, comments, titles and the line on the separator, and the separator.

    A line is a title if it has neither a path nor a label column, and one of the next lines has both.

    Raises:
        DataError: There is no line, the text is JSON, or the first line is the row of an image.
    """
    lines = text.split("\n", _MAX_LINES_ABOVE)
    declared = ""
    headers: list[int] = []  # lines that may be the header
    for number, line in enumerate(lines[:_MAX_LINES_ABOVE]):
        if match := _DECLARATION.match(line):
            declared = declared or match[1].replace("\\t", "\t")
        elif not (_ONLY_SEPARATORS.match(line) or is_rule(line) or _is_comment(line, options)):
            headers.append(number)
    if not headers:
        raise DataError(
            _("{manifest} is empty.", manifest=manifest), _("Add a header, path,label, and a row for each image.")
        )
    fits = [recognized(split_line(lines[n], declared or _separator(lines[n], options)), options) for n in headers]
    place = fits.index(2) if fits[0] == 0 and 2 in fits else 0
    header = headers[place]
    separator = declared or _separator(lines[header].removeprefix("#"), options)
    if len(split_line(lines[header], separator)) == 1:
        if (unwrapped := _unwrapped(text, options)) is not None:
            return find_layout(unwrapped, manifest, options)
        separator = _separator_of_rows([lines[n] for n in headers[place + 1 :]]) or separator
    if fits[place] < 2:
        _require_header(lines[header], separator, manifest)
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
    return Layout(header, "\n".join(lines[header:]).removeprefix("#"), separator), notes


def is_rule(line: str) -> bool:
    """Return True for a line such as `|-----|:---|`, which separates the header of a printed table from its rows."""
    return _RULE_SIGNS.fullmatch(line) is not None and _RULE_LINE.search(line) is not None


def split_line(line: str, separator: str) -> list[str]:
    """Return the values in a line; none if one is too long, or if there are more than columns of a table."""
    try:
        values = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []
    return values if len(values) <= MAX_COLUMNS else []


def is_image_name(value: str) -> bool:
    """Return True for the name of a file that ends as image files do."""
    return posixpath.splitext(value.strip())[1].lower() in IMAGE_SUFFIXES


def _is_comment(line: str, options: TableOptions) -> bool:
    """Return True for a line that begins with # and is no header."""
    return line.startswith("#") and not recognized(split_line(line[1:], _separator(line[1:], options)), options)


def _separator(header: str, options: TableOptions) -> str:
    """Return the separator with which a header has most of the columns that are needed, then most columns."""
    fields = {separator: split_line(header, separator) for separator in SEPARATORS}
    best = max(SEPARATORS, key=lambda s: (recognized(fields[s], options), len(fields[s])))
    with_blanks = split_line(header, " ")  # write.table of R
    return " " if recognized(fields[best], options) < recognized(with_blanks, options) == 2 else best


def _separator_of_rows(rows: Sequence[str]) -> str:
    """Return the separator behind the name of an image, which stands before the other columns without a name."""
    for separator in (*SEPARATORS, " "):
        values = split_line(rows[0], separator) if rows else []
        if len(values) == 2 and is_image_name(values[0]):
            return separator
    return ""


def _unwrapped(text: str, options: TableOptions) -> str | None:
    """Return the lines of a table of which each is in quotes, as some exports write it; None for another table."""
    try:
        rows = list(csv.reader(text.split("\n"), strict=True))
    except csv.Error:
        return None
    header = next((row[0] for row in rows if row), "")
    if any(len(row) > 1 for row in rows) or recognized(split_line(header, _separator(header, options)), options) < 2:
        return None
    return "\n".join("".join(row) for row in rows)


def _require_header(line: str, separator: str, manifest: str) -> None:
    """Raise DataError for JSON, and for the row of an image in the place of the header."""
    if line.lstrip().startswith(('{"', "[{", "[ {")) or line.strip() in {"[", "{"}:
        raise DataError(
            _("{manifest} is JSON, not CSV.", manifest=manifest), _("Rename it, so that it ends in .jsonl.")
        )
    values = split_line(line, separator)
    if len(values) == 1 and is_image_name(line.rstrip().rpartition(" ")[0]):
        values, separator = [*line.rstrip().rsplit(" ", 1)], " "
    image = next((place for place, value in enumerate(values) if is_image_name(value)), None)
    if image is None:
        return
    roles = ["path" if place == image else _role(value) for place, value in enumerate(values)]
    if "label" not in roles and "" in roles:
        roles[roles.index("")] = "label"
    seen: set[str] = set()
    names = []
    for place, role in enumerate(roles, 1):
        names.append(role if role and role not in seen else f"column{place}")
        seen.add(role)
    raise DataError(
        _("{manifest} has no header: it begins with {name!r}.", manifest=manifest, name=values[image]),
        _("Write the line {header!r} before it, with the columns in this order.", header=separator.join(names)),
    )


def _role(value: str) -> str:
    return "split" if value.strip().casefold() in SPLIT_NAMES else ""
