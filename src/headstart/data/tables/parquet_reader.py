"""Read Parquet tables, with pyarrow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.data.tables.encoding import require_table
from headstart.data.tables.table import Column, Table, dates, first_row, require_few_columns, require_paths_for_rows
from headstart.errors import DataError, UsageError
from headstart.i18n import _
from headstart.text import end_sentence, format_bytes, message_of

if TYPE_CHECKING:
    import pyarrow

_SAMPLE_BYTES = 4096
_MAX_DENSE_ROWS = 1_000_000  # each row is an image: a larger table takes some bytes for each path
_MIN_ROW_BYTES = 1  # of the file; a table of numbered paths with the best compression has 2
_MAX_COLUMN_BYTES = 100_000_000  # unpacked; columns of more are packed less than _MAX_RATIO
_MAX_RATIO = 50
_MAX_EMPTY_BYTES = 1000  # of a part of a column without values
_NO_LABEL = frozenset({"-1", ""})  # Hugging Face's datasets write -1 for an image without a label


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
        require_few_columns(path.name, metadata.num_columns)
        names = tuple(map(str, pyarrow.parquet.read_schema(path).names))
    except pyarrow.ArrowException as error:  # not every ArrowException is a ValueError
        raise DataError(
            end_sentence(
                _("{manifest} is no intact Parquet file ({reason})", manifest=path.name, reason=message_of(error))
            ),
            _("Write the file again, or if it is CSV rename it, so that it ends in .csv."),
        ) from error
    require_paths_for_rows(path.name, metadata.num_rows, path.stat().st_size, _MIN_ROW_BYTES, _MAX_DENSE_ROWS)
    table = Table(
        path.name, tuple(map(str.strip, names)), metadata.num_rows, lambda place: _read(table, path, names[place])
    )
    return table


def _require_unpacked_size(path: Path, name: str) -> None:
    """Raise DataError for a column that unpacks to much more than its size in the file."""
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    places = [
        place
        for place in range(metadata.num_columns)
        if f"{metadata.schema.column(place).path}.".startswith(f"{name}.")
    ]
    chunks = [metadata.row_group(group).column(place) for group in range(metadata.num_row_groups) for place in places]
    packed = sum(chunk.total_compressed_size for chunk in chunks)
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    if unpacked > _MAX_COLUMN_BYTES and unpacked > _MAX_RATIO * min(packed, path.stat().st_size):
        raise DataError(
            _(
                "The column {column!r} of {manifest} unpacks from {packed} to {unpacked}.",
                column=name,
                manifest=path.name,
                packed=format_bytes(packed),
                unpacked=format_bytes(unpacked),
            ),
            _("Write a column of text: the paths of image files, or their labels."),
        )


def _is_text(kind: pyarrow.DataType) -> bool:
    """Return whether values are text or bytes. They are read as a dictionary: a small file may repeat a long one."""
    import pyarrow

    kinds = pyarrow.types
    tests = (kinds.is_string, kinds.is_large_string, kinds.is_binary, kinds.is_large_binary)
    return any(is_of_kind(kind) for is_of_kind in tests)


def _texts(column: pyarrow.ChunkedArray) -> list[str]:
    """Return the cells as text, "" for a missing one; equal cells of a dictionary are one object."""
    import pyarrow

    if not pyarrow.types.is_dictionary(column.type):
        return list(column.cast(pyarrow.string()).fill_null("").to_pylist())
    whole = column.combine_chunks()  # of one dictionary
    values = [*whole.dictionary.cast(pyarrow.string()).fill_null("").to_pylist(), ""]
    return list(map(values.__getitem__, whole.indices.fill_null(len(values) - 1).to_pylist()))


def _read(table: Table, path: Path, name: str) -> Column:
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    kinds = pyarrow.types
    kind = pyarrow.parquet.read_schema(path).field(name).type
    place = name
    try:
        _require_unpacked_size(path, name)
        if kinds.is_struct(kind):  # images of Hugging Face
            _require_no_embedded_images(path, name)
            place, kind = f"{name}.path", kind.field("path").type
        dictionaries = [place] if _is_text(kind) else []
        # the only column; without a name of its own if a field is read as a dictionary
        column = pyarrow.parquet.read_table(path, columns=[place], read_dictionary=dictionaries).column(0)
        class_names = _class_names(path, name)
        values = _texts(pyarrow.compute.struct_field(column, "path") if kinds.is_struct(column.type) else column)
    except (pyarrow.ArrowException, KeyError, UnicodeDecodeError) as error:  # for example a column of lists
        if kinds.is_binary(kind) or kinds.is_large_binary(kind):
            raise _embedded_error(path, name) from None
        raise DataError(
            _("The column {column!r} of {manifest} is neither text nor numbers.", column=name, manifest=path.name),
            _("Write a column of text: the paths of image files, or their labels."),
        ) from error
    is_number = kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)
    if kinds.is_floating(kind):
        values = ["" if value == "nan" else f"{value}.0" if value.isdigit() else value for value in values]
    elif kinds.is_timestamp(kind):
        values = dates(values)
    elif class_names:
        values = _named(table, values, class_names, name)
        return Column(values, frozenset(values))
    return Column(values, frozenset() if is_number or kinds.is_boolean(kind) else frozenset(values))


def _require_no_embedded_images(path: Path, name: str) -> None:
    """Raise DataError if a column of images of Hugging Face has the images themselves, without reading them."""
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    places = [i for i in range(metadata.num_columns) if metadata.schema.column(i).path == f"{name}.bytes"]
    for group in range(metadata.num_row_groups):
        for chunk in (metadata.row_group(group).column(place) for place in places):
            known = chunk.statistics
            if known is not None and known.has_null_count:
                has_values = known.null_count < chunk.num_values
            else:  # what says that all are missing is encoded in runs
                has_values = chunk.total_uncompressed_size > _MAX_EMPTY_BYTES
            if has_values:
                raise _embedded_error(path, name)


def _embedded_error(path: Path, name: str) -> DataError:
    """Return the error on a column with the bytes of image files, with a program that writes the files."""
    target = path.with_suffix(".csv")
    if target.exists():
        target = path.with_name(f"{path.stem}-table.csv")
    return DataError(
        _("The column {column!r} of {manifest} has the images themselves.", column=name, manifest=path.name),
        _(
            "Run this in Python: `{code}`. Then use {target}.",
            code=_unpacking_code(path, name, target),
            target=target.name,
        ),
    )


def _unpacking_code(path: Path, name: str, target: Path) -> str:
    """Return a program that writes the images in a column to a folder beside the table, and a table of these.

    A row whose image is no value but a file keeps its path; one that has neither has no path in the new table, which is
    reported with its line. Numbers of classes become their names.
    """
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    kinds = pyarrow.types
    value = "v or {}" if kinds.is_struct(schema.field(name).type) else "{'bytes': v}"
    nested = [
        field.name
        for field in schema
        if field.name != name and (kinds.is_nested(field.type) or kinds.is_binary(field.type))
    ]
    labels = [field.name for field in schema if _class_names(path, field.name)]
    steps = [
        f"import json, pandas, pathlib, pyarrow.parquet; source = pathlib.Path({str(path.absolute())!r})",
        "table = pandas.read_parquet(source)",
        f"images = [{value} for v in table.pop({name!r})]",
        "folder = source.with_name(source.stem + '-images'); folder.mkdir(exist_ok=True)",
        "table['path'] = [folder.name + f'/{i}' + (pathlib.PurePath(v.get('path') or '').suffix or '.jpg') "
        "if v.get('bytes') else v.get('path') for i, v in enumerate(images)]",
        "[(source.parent / p).write_bytes(v['bytes']) for p, v in zip(table['path'], images) if v.get('bytes')]",
    ]
    if labels:
        steps.append(
            "features = json.loads(pyarrow.parquet.read_schema(source).metadata[b'huggingface'])['info']['features']"
        )
    steps += [
        f"table[{label!r}] = table[{label!r}].map(dict(enumerate(features[{label!r}]['names'])))" for label in labels
    ]
    dropped = f".drop(columns={nested!r})" if nested else ""
    return "; ".join([*steps, f"table{dropped}.to_csv(source.with_name({target.name!r}), index=False)"])


def _named(table: Table, values: Sequence[str], names: Mapping[str, str], column: str) -> list[str]:
    """Return the names of classes in the place of their numbers, "" for a missing one.

    Raises:
        DataError: A number has no name.
    """
    if unknown := {*values} - {*names, *_NO_LABEL}:
        row = first_row([value in unknown for value in values])
        raise DataError(
            _(
                "{place} has the number {value} in the column {column!r}, whose numbers of classes are 0 to {last}.",
                place=table.place(row),
                value=values[row],
                column=column,
                last=len(names) - 1,
            ),
            _("Correct the number, or remove the row."),
        )
    return [names.get(value, "") for value in values]


def _class_names(path: Path, name: str) -> dict[str, str]:
    """Return the names of classes by their numbers, which Hugging Face's datasets write into the file."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[name]["names"]
    except (ValueError, KeyError, TypeError):
        return {}
    is_list = isinstance(names, list) and all(isinstance(text, str) for text in names)
    if not is_list or not pyarrow.types.is_integer(schema.field(name).type):
        return {}
    return {str(number): text for number, text in enumerate(names)}
