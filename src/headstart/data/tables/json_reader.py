"""Read tables of JSON lines, and arrays of JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from headstart.data.tables.encoding import decode_table
from headstart.data.tables.table import Column, Table
from headstart.errors import DataError
from headstart.i18n import Message, _

_Json: TypeAlias = "str | bool | list[_Json] | dict[str, _Json] | None"


class _Number(str):
    """A number as it is written: 1.50 stays 1.50."""

    __slots__ = ()


def read_json(path: Path) -> Table:
    """Return the table in a file with one JSON object per line, or with an array of objects.

    Raises:
        DataError: A line is no JSON object. A column raises it for a value that is no text, number or boolean.
    """
    text, notes = decode_table(path.read_bytes(), path.name)
    rows: Iterable[dict[str, _Json]] | None = _array(text)
    lines: list[int] | None = None
    if rows is None:
        lines = []
        rows = _lines(text, path.name, lines)
    columns, count = _columns(rows)
    names = tuple(columns)
    table = Table(
        path.name,
        tuple(map(str.strip, names)),
        count,
        lambda place: _column(table, columns[names[place]], names[place]),
        lines,
        tuple(notes),
    )
    return table


def _lines(text: str, manifest: str, numbers: list[int]) -> Iterator[dict[str, _Json]]:
    """Yield the objects of lines that are not blank, and append the numbers of these lines to `numbers`."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            numbers.append(number)
            yield _object(line, number, manifest)


def _columns(rows: Iterable[dict[str, _Json]]) -> tuple[dict[str, list[_Json]], int]:
    """Return the values of all rows by name, None where a row has none, and the number of rows.

    Lists of values take a fraction of the memory of one object for each row.
    """
    columns: dict[str, list[_Json]] = {}
    count = 0
    for count, row in enumerate(rows, 1):
        for name, value in row.items():
            if (column := columns.get(name)) is None:
                column = columns[name] = [None] * (count - 1)
            column.append(value)
        if len(row) != len(columns):
            for column in columns.values():
                column += [None] * (count - len(column))
    return columns, count


_decoder = json.JSONDecoder(  # json.loads would make one for each line
    parse_int=_Number,
    parse_float=_Number,
    parse_constant=lambda name: None if name == "NaN" else _Number(name),
)


def _loads(text: str) -> _Json:
    value: _Json = json.loads(text) if text.startswith("\ufeff") else _decoder.decode(text)  # json.loads refuses marks
    return value


def _array(text: str) -> list[dict[str, _Json]] | None:
    """Return the objects of an array, which `to_json(orient="records")` of pandas writes; None for other text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        value = _loads(text)
    except (ValueError, RecursionError):
        return None
    objects = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
    return objects if isinstance(value, list) and len(objects) == len(value) else None


def _object(line: str, number: int, manifest: str) -> dict[str, _Json]:
    try:
        row = _loads(line)
    except (ValueError, RecursionError) as error:
        raise _bad_line(number, manifest, _("not JSON ({reason})", reason=error)) from error
    if not isinstance(row, dict):
        raise _bad_line(number, manifest, _("not an object in braces"))
    return row


def _bad_line(number: int, manifest: str, kind: Message) -> DataError:
    return DataError(
        _("Line {number} of {manifest} is {kind}.", number=number, manifest=manifest, kind=kind),
        _("Write one object per line: {example}.", example='{"path": "cat/1.jpg", "label": "cat"}'),
    )


def _column(table: Table, cells: Sequence[_Json], name: str) -> Column:
    values: list[str] = []
    texts: set[str] = set()
    others: set[str] = set()
    for number, value in enumerate(cells):
        if isinstance(value, bool):
            value = _Number("true" if value else "false")
        if not isinstance(value, str | None):
            raise DataError(
                _(
                    "{place}: the {column} is neither text nor a number or boolean.",
                    place=table.place(number),
                    column=name,
                ),
                _("Write one value without brackets or braces."),
            )
        (others if isinstance(value, _Number) else texts).add(value or "")
        values.append(value or "")
    return Column([str(value) for value in values], frozenset(texts - others))
