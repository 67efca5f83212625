"""Read Parquet tables, with pyarrow."""

from __future__ import annotations

from pathlib import Path

from headstart.data.tables.table import Column, Table
from headstart.errors import DataError, UsageError
from headstart.i18n import _
from headstart.text import end_sentence, message_of


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
    try:
        metadata = pyarrow.parquet.read_metadata(path)
        names = tuple(map(str, pyarrow.parquet.read_schema(path).names))
    except pyarrow.ArrowException as error:  # not every ArrowException is a ValueError
        raise DataError(
            end_sentence(
                _("{manifest} is no intact Parquet file ({reason})", manifest=path.name, reason=message_of(error))
            ),
            _("Write the file again."),
        ) from error
    return Table(path.name, tuple(map(str.strip, names)), metadata.num_rows, lambda place: _read(path, names[place]))


def _read(path: Path, name: str) -> Column:
    import pyarrow
    import pyarrow.parquet

    kinds = pyarrow.types
    try:
        column = pyarrow.parquet.read_table(path, columns=[name])[name]
        kind = column.type
        if kinds.is_dictionary(kind):
            kind = kind.value_type
            column = column.cast(kind)
        is_text = not (kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_boolean(kind))
        values = column.cast(pyarrow.string()).fill_null("").to_pylist()
    except (pyarrow.ArrowException, KeyError) as error:  # for example a column of lists or of images
        raise DataError(
            _("The column {column!r} of {manifest} is neither text nor numbers.", column=name, manifest=path.name),
            _("Write a column of text: the paths of image files, or their labels."),
        ) from error
    if kinds.is_floating(kind):
        values = ["" if value == "nan" else f"{value}.0" if value.isdigit() else value for value in values]
    return Column(values, frozenset(values) if is_text else frozenset())
