"""Read data frames of pandas as tables, and write tables as JSON lines, which keep text, numbers and booleans apart."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from headstart.data.tables.columns import has_column, may_be
from headstart.data.tables.options import ROLES, TableOptions
from headstart.data.tables.table import ROW_NAMES, Column, Table, dates
from headstart.errors import DataError
from headstart.i18n import _

if TYPE_CHECKING:
    import pandas as pd

_Cell: TypeAlias = "str | int | float | bool | None"


def with_index(frame: pd.DataFrame, options: TableOptions) -> pd.DataFrame:
    """Return a data frame whose index is a column, if it has names or text: a file would have it as a column too.

    A level of the index whose name stands for the path, label, split or group is left out if a column does so too.
    """
    index = frame.index
    if all(name is None for name in index.names):
        is_text = index.nlevels == 1 and len(index) > 0 and all(isinstance(label, str) for label in index)
        return frame.rename_axis(ROW_NAMES).reset_index() if is_text and ROW_NAMES not in frame.columns else frame
    taken = [role for role in ROLES if has_column(frame_table(frame), role, options)]
    named = [
        name
        for name in index.names
        if name is not None
        and name not in frame.columns
        and not any(may_be(str(name), role, options) for role in taken)
    ]
    return frame.reset_index(level=named) if named else frame


def frame_table(frame: pd.DataFrame) -> Table:
    """Return a data frame as a table. A column raises DataError for a value that is no text, number or boolean."""
    columns = tuple(str(name).strip() for name in frame.columns)
    table = Table("DataFrame", columns, len(frame), lambda place: _column(cells(table, frame, place)))
    return table


def cells(table: Table, frame: pd.DataFrame, place: int) -> list[_Cell]:
    """Return the values of a column as values of JSON; None for a missing value."""
    import pandas as pd

    values: list[_Cell] = []
    for row, value in enumerate(frame.iloc[:, place].astype(object)):
        if not isinstance(value, str) and callable(getattr(value, "item", None)) and getattr(value, "ndim", 1) == 0:
            value = value.item()  # of NumPy and torch
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, os.PathLike):
            values.append(os.fspath(value))
        elif hasattr(value, "__len__") and not isinstance(value, (str, bytes)):
            raise DataError(
                _(
                    "{place}: the {column} is of type {kind}, neither text nor a number or boolean.",
                    place=table.place(row),
                    column=table.columns[place],
                    kind=type(value).__name__,
                ),
                _("Put paths of image files and their labels into the columns."),
            )
        elif pd.isna(value):
            values.append(None)
        else:
            values.append(value if isinstance(value, (str, bool, int, float)) else str(value))
    if pd.api.types.is_datetime64_any_dtype(frame.dtypes.iloc[place]):
        return [value or None for value in dates([str(value or "") for value in values])]
    return values


def _column(values: Sequence[_Cell]) -> Column:
    texts = {value for value in values if isinstance(value, str)}
    written = [_as_text(value) for value in values]
    others = {text for text, value in zip(written, values, strict=True) if not isinstance(value, str)}
    return Column(written, frozenset(texts - others))


def _as_text(value: _Cell) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def json_lines(columns: dict[str, list[_Cell]]) -> str:
    """Return columns of equal length as JSON lines; empty text stands for a missing value."""
    rows = zip(*columns.values(), strict=True)
    return "".join(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
