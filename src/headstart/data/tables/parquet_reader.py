"""Read Parquet tables, with pyarrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.data.tables.encoding import require_table
from headstart.data.tables.table import Column, Table, dates
from headstart.errors import DataError, UsageError
from headstart.i18n import _
from headstart.text import end_sentence, message_of

if TYPE_CHECKING:
    import pyarrow

_SAMPLE_BYTES = 4096


def read_parquet(path: Path) -> Table:
    """Return the table in a Parquet file; a column is read when it is needed.

    Raises:
        DataError: The file is damaged. A column raises it for values that are no text, number or boolean.
        UsageError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(_("Parquet manifests need pyarrow."), _("Install it with `pip install pyarrow`.")) from error
    with path.open("rb") as file:
        start = file.read(_SAMPLE_BYTES)
    if not start.startswith(b"PAR1"):
        require_table(start, path.name)
    try:
        metadata = pyarrow.parquet.read_metadata(path)
        names = tuple(map(str, pyarrow.parquet.read_schema(path).names))
    except pyarrow.ArrowException as error:  # not every ArrowException is a ValueError
        raise DataError(
            end_sentence(
                _("{manifest} is no intact Parquet file ({reason})", manifest=path.name, reason=message_of(error))
            ),
            _("Write the file again, or if it is CSV rename it, so that it ends in .csv."),
        ) from error
    return Table(path.name, tuple(map(str.strip, names)), metadata.num_rows, lambda place: _read(path, names[place]))


def _read(path: Path, name: str) -> Column:
    import pyarrow
    import pyarrow.parquet

    kinds = pyarrow.types
    try:
        column = pyarrow.parquet.read_table(path, columns=[name])[name]
        if kinds.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        class_names = _class_names(column, path, name)
        if kinds.is_struct(column.type):
            column = _paths_of_images(column, path, name)
        kind = column.type
        is_number = kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)
        values = column.cast(pyarrow.string()).fill_null("").to_pylist()
    except (pyarrow.ArrowException, KeyError, UnicodeDecodeError) as error:  # for example a column of lists
        raise DataError(
            _("The column {column!r} of {manifest} is neither text nor numbers.", column=name, manifest=path.name),
            _("Write a column of text: the paths of image files, or their labels."),
        ) from error
    if kinds.is_floating(kind):
        values = ["" if value == "nan" else f"{value}.0" if value.isdigit() else value for value in values]
    elif kinds.is_timestamp(kind):
        values = dates(values)
    elif class_names:
        values = [class_names.get(value, value) for value in values]
        return Column(values, frozenset(values))
    return Column(values, frozenset() if is_number or kinds.is_boolean(kind) else frozenset(values))


def _paths_of_images(column: pyarrow.ChunkedArray, path: Path, name: str) -> pyarrow.ChunkedArray:
    """Return the paths in a column of images of Hugging Face. Raises DataError if the images are in the file itself."""
    import pyarrow.compute

    fields = {field.name for field in column.type}
    if "bytes" in fields and pyarrow.compute.struct_field(column, "bytes").null_count < len(column):
        raise DataError(
            _("The column {column!r} of {manifest} has the images themselves.", column=name, manifest=path.name),
            _(
                "Run this in Python: `{code}`. Then use {target}.",
                code=_unpacking_code(path, name),
                target=path.stem + ".csv",
            ),
        )
    return pyarrow.compute.struct_field(column, "path") if "path" in fields else column


def _unpacking_code(path: Path, name: str) -> str:
    """Return a program that writes the images in a column to files beside the table, and a table of these."""
    return (
        f"import pandas, pathlib; table = pandas.read_parquet({str(path)!r}); "
        "table['path'] = [f'{i}.jpg' for i in range(len(table))]; "
        f"[pathlib.Path({str(path.parent)!r}, p).write_bytes(v['bytes']) "
        f"for p, v in zip(table['path'], table[{name!r}])]; "
        f"table.drop(columns={name!r}).to_csv({str(path.with_suffix('.csv'))!r}, index=False)"
    )


def _class_names(column: pyarrow.ChunkedArray, path: Path, name: str) -> dict[str, str]:
    """Return the names of classes by their numbers, which Hugging Face's datasets write into the file."""
    import pyarrow
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_schema(path).metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        names = features[name]["names"]
    except (ValueError, KeyError, TypeError):
        return {}
    is_list = isinstance(names, list) and all(isinstance(text, str) for text in names)
    if not is_list or not pyarrow.types.is_integer(column.type):
        return {}
    return {str(number): text for number, text in enumerate(names)}
