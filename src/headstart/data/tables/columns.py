"""Find the columns of paths, labels, splits and groups in a table, by the names that people and programs use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from headstart.data.image_formats import IMAGE_SUFFIXES
from headstart.data.image_index import SPLIT_NAMES
from headstart.data.tables.options import ROLES, TableOptions, column_flag
from headstart.data.tables.table import Table
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.text import end_sentence, join_first, join_list, replacement_hint, suggestion

# Names without blanks, -, _ and capitals. The role's own name has precedence.
_SYNONYMS = {
    "path": frozenset(
        {"paths", "image", "images", "img", "imgs", "imagefile", "imgfile", "imagefilename", "imagename", "imgname"}
        | {"imagepath", "imagepaths", "imgpath", "imageid", "imgid", "photo", "photos", "picture"}
        | {"file", "files", "filename", "filenames", "filepath", "filepaths", "relpath", "relativepath"}
    ),
    "label": frozenset(
        {"labels", "class", "classes", "classname", "classlabel", "target", "targets", "category", "categories"}
        | {"labelname"}
    ),
    "split": frozenset({"splits", "set", "subset", "partition", "dataset", "phase", "usage"}),
    "group": frozenset({"groups"}),
}
_BITS = frozenset({"0", "1", "0.0", "1.0", "true", "false"})
_ONES = frozenset({"1", "1.0", "true"})
_MAX_LISTED = 10


@dataclass(frozen=True)
class UsedColumns:
    """Names of the columns that are used; "" for a split or group that the table does not have."""

    path: str
    label: str
    split: str
    group: str


def fold_name(name: str) -> str:
    """Return a column name without blanks, - and _, in lower case."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def recognized(names: Iterable[str], options: TableOptions) -> int:
    """Return how many of path and label are among column names: 0 to 2."""
    folded = {fold_name(name) for name in names}
    return sum(
        bool(folded & ({fold_name(options.column(role))} if options.column(role) else {role, *_SYNONYMS[role]}))
        for role in ("path", "label")
    )


def find_columns(table: Table, options: TableOptions) -> tuple[UsedColumns, list[Message]]:
    """Return the columns that are used, and notes on those found by other names and on those not used.

    Raises:
        DataError: A column is missing, is there twice, or several columns may be meant.
    """
    found = {role: _find(table, role, options) for role in ROLES}
    for role in ("path", "label"):
        if not found[role]:
            raise _missing(table, role, [name for name in table.columns if name not in found.values()])
    for name in filter(None, found.values()):
        if table.columns.count(name) > 1:
            raise DataError(
                _("{manifest} has the column {column!r} twice.", manifest=table.name, column=name),
                _("Keep one of the two."),
            )
    notes = [
        _("Column {column!r} of {manifest} is read as {role}.", column=name, manifest=table.name, role=role)
        for role, name in found.items()
        if name and name != role and not options.column(role)
    ]
    extra = [name for name in table.columns if name not in found.values() and not _is_row_number(name)]
    return UsedColumns(**found), notes + _unused_notes(table, extra, found)


def has_label(table: Table, options: TableOptions) -> bool:
    """Return True if a table has a column of labels."""
    return bool(_find(table, "label", options))


def _find(table: Table, role: str, options: TableOptions) -> str:
    """Return the column of a role, "" if there is none."""
    if named := options.column(role):
        exact = [name for name in table.columns if named in (name, name.strip())]
        if not exact:
            raise DataError(
                _("{manifest} has no column {name!r}.", manifest=table.name, name=named),
                replacement_hint(named, table.columns)
                or _("Its columns are {columns}.", columns=join_first(table.columns, _MAX_LISTED)),
            )
        return exact[0]
    own = [name for name in dict.fromkeys(table.columns) if fold_name(name) == role]
    if role in own or len(own) == 1:
        return role if role in own else own[0]
    candidates = own or [name for name in dict.fromkeys(table.columns) if fold_name(name) in _SYNONYMS[role]]
    if role == "split":
        candidates = [name for name in candidates if _are_splits(table, name)]
    if len(candidates) > 1:
        raise DataError(
            _(
                "{manifest} has the columns {columns}, each of which may be the {role}.",
                manifest=table.name,
                columns=join_list(map(repr, candidates)),
                role=role,
            ),
            _("Name one with {flag}.", flag=column_flag(role)),
        )
    return candidates[0] if candidates else ""


def _are_splits(table: Table, name: str) -> bool:
    values = {value.strip().casefold() for value in table.column(name).values} - {""}
    return bool(values) and values <= SPLIT_NAMES.keys()


def _is_row_number(name: str) -> bool:
    """Return True for the names that pandas and R give to the numbers of rows."""
    return not name or name.startswith("Unnamed: ")


def _unused_notes(table: Table, extra: list[str], found: dict[str, str]) -> list[Message]:
    free = [role for role, name in found.items() if not name]
    similar = {name: text for name in extra if (text := suggestion(name, free))}
    notes = [
        end_sentence(
            _(
                "Column {column!r} of {manifest} is not used{suggestion}",
                column=name,
                manifest=table.name,
                suggestion=text,
            )
        )
        for name, text in similar.items()
    ]
    if others := [name for name in extra if name not in similar]:
        notes.append(
            ngettext(
                "Column {columns} of {manifest} is not used.",
                "Columns {columns} of {manifest} are not used.",
                len(others),
                columns=join_first([*map(repr, others)], _MAX_LISTED),
                manifest=table.name,
            )
        )
    return notes


def _missing(table: Table, role: str, extra: list[str]) -> DataError:
    """Return the error on a table without a column of paths or labels."""
    if images := [name for name in table.columns if _is_image(name)]:
        return DataError(
            _("{manifest} has no header: it begins with {name!r}.", manifest=table.name, name=images[0]),
            _("Write the line path,label before it, with the separator of the file."),
        )
    if role == "label" and len(bits := [name for name in extra if _are_bits(table, name)]) > 1:
        return _one_hot(table, bits)
    names = join_first(table.columns, _MAX_LISTED) if table.columns else _("none")
    hint = replacement_hint(role, extra) or _(
        "Its columns are {columns}; name one with {flag}.", columns=names, flag=column_flag(role)
    )
    return DataError(_("{manifest} has no column {name!r}.", manifest=table.name, name=role), hint)


def _is_image(name: str) -> bool:
    return any(os.path.splitext(word)[1].lower() in IMAGE_SUFFIXES for word in name.split())  # noqa: PTH122


def _are_bits(table: Table, name: str) -> bool:
    if _is_row_number(name):
        return False
    values = {value.strip().casefold() for value in table.column(name).values}
    return bool(values) and values <= _BITS


def _one_hot(table: Table, names: list[str]) -> DataError:
    """Return the error on a table with one column of zeros and ones per class."""
    columns = [table.column(name).values for name in names]
    counts = [sum(value.strip().casefold() in _ONES for value in row) for row in zip(*columns, strict=True)]
    listed = join_first([*map(repr, names)], _MAX_LISTED)
    row = next((row for row, count in enumerate(counts) if count != 1), None)
    if row is not None:
        return DataError(
            _(
                "{place} has {count:,} ones in the columns {columns}, and there is no column 'label'.",
                place=table.place(row),
                columns=listed,
                count=counts[row],
            ),
            _("Add a column label: headstart needs exactly one class for each image."),
        )
    start = table.columns.index(names[0])
    contiguous = list(table.columns[start : start + len(names)]) == names
    selection = f"loc[:, {names[0]!r}:{names[-1]!r}]" if contiguous else f"loc[:, {names!r}]"
    return DataError(
        _(
            "{manifest} has no column 'label', but one column of 0 and 1 for each class: {columns}.",
            manifest=table.name,
            columns=listed,
        ),
        _(
            'Make one column of them, with pandas: table["label"] = table.{selection}.idxmax(axis=1).',
            selection=selection,
        ),
    )
