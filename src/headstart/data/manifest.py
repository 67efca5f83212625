"""Images listed in a table: CSV, JSON lines or Parquet with the columns path, label and optionally split and group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.data.image_index import ImageIndex, build_index
from headstart.data.tables import csv_reader, json_reader, labels, parquet_reader, split_names
from headstart.data.tables.columns import find_columns
from headstart.data.tables.options import TableOptions
from headstart.data.tables.paths import find_files
from headstart.data.tables.table import Table
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.reporter import ProgressCallback

_JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})


@dataclass(frozen=True)
class ManifestRows:
    """The images of a table, one entry per row.

    Attributes:
        table: The table.
        root: Folder that the keys are relative to.
        keys: Name of each image.
        labels: Name of its class.
        splits: "train", "val", "test" or "" (not declared).
        groups: Its group, "" for none.
        notes: Sentences for the user.
    """

    table: Table
    root: Path
    keys: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]
    groups: Sequence[str]
    notes: Sequence[Message]


def read_manifest(
    source: str,
    path: Path,
    options: TableOptions | None = None,
    *,
    allow_outside: bool = False,
    progress: ProgressCallback | None = None,
) -> ImageIndex:
    """Return the index of the images that a manifest lists, relative to its folder.

    If all paths are absolute, they are relative to the deepest folder that contains all images: the names of the images
    do not depend on the place of the manifest. Equal rows are read once, with a note. Messages name lines of the file.

    Args:
        source: Name of the source in messages.
        path: The manifest, absolute.
        options: What the user decided about columns and labels.
        allow_outside: Accept absolute paths, paths with `..`, and links that lead out of the manifest's folder.
        progress: As in `find_files`.

    Raises:
        DataError: A column, a value or a file is missing, a path leads out of the folder, a split is unknown, a path
            has two labels, or labels may be one label in several spellings. The message names the line.
        UsageError: The manifest is a Parquet file and pyarrow is not installed.
    """
    table = read_table(path, options or TableOptions())
    rows = read_rows(table, path.parent, options, allow_outside=allow_outside, progress=progress)
    return index_rows(source, rows)


def read_table(path: Path, options: TableOptions) -> Table:
    """Return the table in a file, by its suffix."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return parquet_reader.read_parquet(path)
    return json_reader.read_json(path, options) if suffix in _JSON_SUFFIXES else csv_reader.read_csv(path, options)


def read_rows(
    table: Table,
    folder: Path,
    options: TableOptions | None = None,
    *,
    allow_outside: bool = False,
    progress: ProgressCallback | None = None,
) -> ManifestRows:
    """Return the images of a table, in the order of its rows; raises what `read_manifest` raises.

    Args:
        table: The table.
        folder: Folder of the table.
        options: What the user decided about columns and labels.
        allow_outside: As in `read_manifest`.
        progress: As in `find_files`.
    """
    options = options or TableOptions()
    if not table.rows and (not table.columns or find_columns(table, options)):
        raise DataError(
            _("{manifest} has no rows.", manifest=table.name), _("Give each image a row with its path and label.")
        )
    columns, column_notes = find_columns(table, options)
    paths = table.column(columns.path).values
    names, label_notes = labels.read_labels(table, table.column(columns.label), options)
    groups, group_notes = labels.read_groups(table, table.column(columns.group))
    splits, split_notes = split_names.read_splits(table, table.column(columns.split))
    files = find_files(table, paths, folder, allow_outside=allow_outside, progress=progress)
    notes = [*table.notes, *column_notes, *label_notes, *group_notes, *split_notes, *files.notes]
    return ManifestRows(table, files.root, files.keys, names, splits, groups, notes)


def index_rows(source: str, rows: ManifestRows) -> ImageIndex:
    """Return the index of the images of a table. Raises DataError if two rows contradict each other."""
    first: dict[str, int] = {}
    repeated = 0
    for row, key in enumerate(rows.keys):
        earlier = first.setdefault(key, row)
        if earlier == row:
            continue
        repeated += 1
        if any(column[row] != column[earlier] for column in (rows.labels, rows.splits, rows.groups)):
            raise DataError(
                _(
                    "{manifest} has {path} twice, with other labels, splits or groups (lines {first} and {second}).",
                    manifest=rows.table.name,
                    path=key,
                    first=rows.table.number(earlier),
                    second=rows.table.number(row),
                ),
                _("Keep one of the lines."),
            )
    notes = list(rows.notes)
    if repeated:
        notes.append(
            ngettext(
                "{count:,} row of {manifest} repeats an earlier one and is read once.",
                "{count:,} rows of {manifest} repeat an earlier one and are read once.",
                repeated,
                manifest=rows.table.name,
            )
        )
    order = list(first.values())
    keys, names, splits, groups = (
        [column[row] for row in order] for column in (rows.keys, rows.labels, rows.splits, rows.groups)
    )
    return build_index(source, rows.root, keys, names, splits, groups, notes)
