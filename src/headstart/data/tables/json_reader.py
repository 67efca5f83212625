"""Read tables of JSON lines, and arrays of JSON objects."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from headstart.data.tables.columns import recognized
from headstart.data.tables.encoding import decode_table
from headstart.data.tables.options import TableOptions
from headstart.data.tables.table import Column, Table, TableSizeError, require_few_columns, require_filled
from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.text import join_first

_Json: TypeAlias = "str | bool | list[_Json] | dict[str, _Json] | None"

_OBJECT = re.compile(r"[\s,]*(?=\{)")
_SHOWN = 5  # names of columns
_SHARED_NUMBERS = 20_000


class _Number(str):
    """A number as it is written: 1.50 stays 1.50."""

    __slots__ = ()


def read_json(path: Path, options: TableOptions) -> Table:
    """Return the table in a file with one JSON object per line, or with an array of objects.

    Args:
        path: The file.
        options: Names of columns that the user named: they tell the row of one image from a table in one object.

    Raises:
        DataError: A line is no JSON object. A column raises it for a value that is no text, number or boolean.
    """
    text, notes = decode_table(path.read_bytes(), path.name)
    lines: list[int] | None = None
    if text.lstrip().startswith("["):
        columns, count = _columns(_array(text, path.name), path.name)
    else:
        columns, count, lines = _objects(text, path.name)
    names = tuple(columns)
    if count == 1 and _is_whole_table({name: values[0] for name, values in columns.items()}, options):
        raise DataError(
            _("{manifest} is one object of JSON, with {names}.", manifest=path.name, names=join_first(names, _SHOWN)),
            _(
                "{hint} pandas does with table.to_json({file!r}, orient='records', lines=True).",
                hint=_example_hint(),
                file=path.with_suffix(".jsonl").name,
            ),
        )
    table = Table(
        path.name,
        tuple(map(str.strip, names)),
        count,
        lambda place: _column(table, columns[names[place]], names[place]),
        lines,
        tuple(notes),
    )
    return table


def _is_whole_table(row: dict[str, _Json], options: TableOptions) -> bool:
    """Return True for the only object of a file if it is a table: its lists and objects are no values of a row."""
    nested = [name for name, value in row.items() if isinstance(value, list | dict)]
    plain = [name for name in row if name not in nested]
    return (bool(nested) and recognized(row, options) < 2) or recognized(nested, options) > recognized(plain, options)


def _pairs(pairs: list[tuple[str, _Json]]) -> dict[str, _Json]:
    """Return an object. Raises ValueError for a name that is there twice, of which JSON keeps the last."""
    row = dict(pairs)
    if len(row) < len(pairs):
        counts = Counter(name for name, _value in pairs)
        raise ValueError(_("{name!r} is there twice", name=next(name for name, count in counts.items() if count > 1)))
    return row


# A list may have millions of short numbers, which are few different ones.
_number = functools.lru_cache(_SHARED_NUMBERS)(_Number)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_int=_number,
    parse_float=_number,
    parse_constant=lambda name: None if name == "NaN" else _Number(name),
)


def _array(text: str, manifest: str) -> list[dict[str, _Json]]:
    """Return the objects of an array, which `to_json(orient="records")` of pandas writes."""
    try:
        value: _Json = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _bad_line(error.lineno, manifest, _("not JSON ({reason})", reason=error.msg)) from error
    except (ValueError, RecursionError) as error:
        raise _bad_line(1, manifest, _("not JSON ({reason})", reason=_reason(error))) from error
    objects = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
    if isinstance(value, list) and len(objects) == len(value):
        return objects
    raise _bad_line(1, manifest, _("an array with other things than objects in braces"))


def _objects(text: str, manifest: str) -> tuple[dict[str, list[_Json]], int, list[int]]:
    """Return the columns of the objects in a text, their number, and the line on which each begins.

    There is one object a line, or they are in a sequence.
    """
    lines: list[int] = []
    try:
        return *_columns(_lines(text, manifest, lines), manifest), lines
    except TableSizeError:
        raise
    except DataError:
        if (sequence := _sequence(text)) is None:
            raise
    rows, lines = sequence
    return *_columns(rows, manifest), lines


def _lines(text: str, manifest: str, numbers: list[int]) -> Iterator[dict[str, _Json]]:
    """Yield the objects of lines that are not blank, and append the numbers of these lines to `numbers`."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = _DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                raise _bad_line(number, manifest, _("not JSON ({reason})", reason=_reason(error))) from error
            if not isinstance(row, dict):
                raise _bad_line(number, manifest, _("not an object in braces"))
            numbers.append(number)
            yield row


def _columns(rows: Iterable[dict[str, _Json]], manifest: str) -> tuple[dict[str, list[_Json]], int]:
    """Return the values of all rows by name, None where a row has none, and the number of rows.

    Lists of values take a fraction of the memory of one object for each row.
    """
    columns: dict[str, list[_Json]] = {}
    count = cells = 0
    for count, row in enumerate(rows, 1):
        for name, value in row.items():
            if (column := columns.get(name)) is None:
                column = columns[name] = []
            if len(column) < count - 1:
                column += [None] * (count - 1 - len(column))
            column.append(value)
        cells += len(row)
        if len(row) != len(columns):
            require_few_columns(manifest, len(columns))
            require_filled(manifest, len(columns), count * len(columns) - cells)
    require_few_columns(manifest, len(columns))
    for column in columns.values():
        column += [None] * (count - len(column))
    return columns, count


def _sequence(text: str) -> tuple[list[dict[str, _Json]], list[int]] | None:
    """Return objects that are written over several lines, or with commas between them; None for other text."""
    rows: list[dict[str, _Json]] = []
    lines: list[int] = []
    line, place = 1, 0
    while match := _OBJECT.match(text, place):
        line += text.count("\n", place, match.end())
        try:
            row, end = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            return None
        rows.append(row)
        lines.append(line)
        line += text.count("\n", match.end(), end)
        place = end
    return None if text[place:].strip(", \t\n") else (rows, lines)


def _reason(error: Exception) -> str:
    """Return the message of this module, or that of the parser with the place in the line."""
    if isinstance(error, json.JSONDecodeError):
        return _("{reason} at character {number}", reason=error.msg, number=error.colno)
    return next((text for text in error.args if isinstance(text, Message)), str(error))


def _bad_line(number: int, manifest: str, kind: Message) -> DataError:
    return DataError(
        _("Line {number} of {manifest} is {kind}.", number=number, manifest=manifest, kind=kind),
        _(
            "Correct the line: a comma before a bracket, or a missing quote, is the usual cause. {hint}",
            hint=_example_hint(),
        ),
    )


def _example_hint() -> Message:
    return _("Write one object per line: {example}.", example='{"path": "cat/1.jpg", "label": "cat"}')


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
