"""Read the layout `imagefolder` of Hugging Face: a folder, or split folders, with a table of their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from headstart.data import manifest
from headstart.data.folder import list_images
from headstart.data.image_index import SPLIT_NAMES, ImageIndex
from headstart.data.labeled_folder import read_folder
from headstart.data.tables.columns import fold_name, has_label
from headstart.data.tables.options import TableOptions
from headstart.data.tables.table import Table
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_FILE_COLUMN = fold_name("file_name")  # the layout requires it


def find_metadata(root: Path) -> list[tuple[str, Path]]:
    """Return the tables `metadata.*` in a folder, or in its split folders, each with the name of its split or "".

    A folder that only contains another one is skipped.
    """
    own = [("", root / name) for name in _NAMES if (root / name).is_file()]
    if own:
        return own[:1]
    tables = []
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.casefold())
        table = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
        if split and table:
            tables.append((split, table))
    return tables or (find_metadata(folders[0]) if len(folders) == 1 and not folders[0].is_symlink() else [])


def read_image_folder(
    source: str,
    root: Path,
    options: TableOptions | None = None,
    *,
    allow_outside: bool = False,
    read_classes: Callable[[], ImageIndex] | None = None,
) -> ImageIndex | None:
    """Return the images that the tables `metadata.*` of a folder list; None if it has none of this layout.

    A table without labels describes images in class folders; then these are read, with a note.

    Args:
        source: Name of the source in messages.
        root: The folder, absolute.
        options: What the user decided about columns and labels.
        allow_outside: As for other tables.
        read_classes: Reads the images in class folders with what the user decided about these; None reads them without.

    Raises:
        DataError: As for other tables.
    """
    options = options or TableOptions()
    tables = [(split, path, manifest.read_table(path, options)) for split, path in find_metadata(root)]
    if not tables or not all(_has_file_names(table, options) for _split, _path, table in tables):
        return None
    if not all(has_label(table, options) for _split, _path, table in tables):
        read = read_classes or partial(read_folder, source, root, allow_outside=allow_outside)
        return _from_class_folders(source, root, tables[0][1], read)
    parts = [
        _below(root, path.parent, split, manifest.read_rows(table, path.parent, options, allow_outside=allow_outside))
        for split, path, table in tables
    ]
    index = manifest.index_rows(source, _joined(parts))
    note = _(
        "The labels are those of {tables}.", tables=", ".join(str(path.relative_to(root)) for _s, path, _t in tables)
    )
    unlisted = len(set(map(str, list_images(root))) - set(map(str, index.paths)))
    unlisted_note = ngettext(
        "{count:,} image of the folder is not in the table and is not used.",
        "{count:,} images of the folder are not in the table and are not used.",
        unlisted,
    )
    return replace(index, notes=(note, *index.notes, *([unlisted_note] if unlisted else [])))


def _has_file_names(table: Table, options: TableOptions) -> bool:
    return bool(options.path_column) or any(fold_name(name) == _FILE_COLUMN for name in table.columns)


def _from_class_folders(source: str, root: Path, table: Path, read: Callable[[], ImageIndex]) -> ImageIndex:
    """Return the images in class folders; raise the table's error if there are none."""
    try:
        index = read()
    except DataError:
        return manifest.read_manifest(source, table)  # raises the error on the missing labels
    note: Message = _("{table} has no labels and is not used.", table=table.relative_to(root))
    return replace(index, notes=(note, *index.notes))


def _below(root: Path, folder: Path, split: str, rows: manifest.ManifestRows) -> manifest.ManifestRows:
    """Return rows with keys relative to the root, and with the split of their folder where they declare none."""
    prefix = "" if folder == root else folder.relative_to(root).as_posix() + "/"
    return replace(
        rows,
        root=root,
        keys=[prefix + key for key in rows.keys],
        splits=[declared or split for declared in rows.splits],
    )


def _joined(parts: list[manifest.ManifestRows]) -> manifest.ManifestRows:
    return replace(
        parts[0],
        keys=[key for rows in parts for key in rows.keys],
        labels=[label for rows in parts for label in rows.labels],
        splits=[split for rows in parts for split in rows.splits],
        groups=[group for rows in parts for group in rows.groups],
        notes=[note for rows in parts for note in rows.notes],
    )
