"""Find the columns of paths, labels, splits and groups in a table, by the names that people and programs use."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from headstart.config.registry.starts import MANIFEST_SUFFIXES
from headstart.data.image_formats import IMAGE_SUFFIXES
from headstart.data.image_index import SPLIT_NAMES
from headstart.data.read_errors import MissingColumnError
from headstart.data.tables.options import ROLES, TableOptions, column_flag
from headstart.data.tables.table import Table
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.text import closest, end_sentence, join_first, join_list, replacement_hint, suggestion

# Names without blanks, -, _ and capitals. The role's own name has precedence.
_SYNONYMS = {
    "path": frozenset(
        {"paths", "image", "images", "img", "imgs", "imagefile", "imgfile", "imagefilename", "imagename", "imgname"}
        | {"imagepath", "imagepaths", "imgpath", "imageid", "imgid", "photo", "photos", "picture"}
        | {"file", "files", "filename", "filenames", "filepath", "filepaths", "relpath", "relativepath"}
    ),
    "label": frozenset(
        {"labels", "class", "classes", "classname", "classlabel", "target", "targets", "category", "categories"}
        | {"labelname", "choice"}  # choice: of Label Studio
    ),
    "split": frozenset({"splits", "set", "subset", "partition", "dataset", "phase", "usage"}),
    "group": frozenset({"groups"}),
}
_ZEROS = frozenset({"", "0", "0.0", "false"})
_ONES = frozenset({"1", "1.0", "true"})
_SHARE = re.compile(r"(0?\.[0-9]+|0|1)(\.0+)?(e-?[0-9]+)?")
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


def may_be(name: str, role: str, options: TableOptions) -> bool:
    """Return True for a column name that stands for a role: the one that the user named, or one of the usual ones."""
    named = options.column(role)
    return fold_name(name) in ({fold_name(named)} if named else {role, *_SYNONYMS[role]})


def recognized(names: Iterable[str], options: TableOptions) -> int:
    """Return how many of path and label are among column names: 0 to 2."""
    names = list(names)
    return sum(any(may_be(name, role, options) for name in names) for role in ("path", "label"))


def find_columns(table: Table, options: TableOptions) -> tuple[UsedColumns, list[Message]]:
    """Return the columns that are used, and notes on those found by other names and on those not used.

    Raises:
        DataError: A column is missing, is there twice, or several columns may be meant.
    """
    found = {role: _find(table, role, options) for role in ROLES}
    if missing := [role for role in ("path", "label") if not found[role]]:
        raise _missing(table, missing, [name for name in table.columns if name not in found.values()])
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


def has_column(table: Table, role: str, options: TableOptions) -> bool:
    """Return True if a table has a column of a role, or several that may be it."""
    if named := options.column(role):
        return named in table.columns
    try:
        return bool(_find(table, role, options))
    except DataError:
        return True


def has_label(table: Table, options: TableOptions) -> bool:
    """Return True if a table has a column of labels."""
    return bool(_find(table, "label", options))


def _find(table: Table, role: str, options: TableOptions) -> str:
    """Return the column of a role, "" if there is none."""
    if named := options.column(role):
        exact = [name for name in table.columns if named in (name, name.strip())]
        if not exact:
            raise MissingColumnError(
                _("{manifest} has no column {name!r}.", manifest=table.name, name=named),
                replacement_hint(named, table.columns)
                or _("Its columns are {columns}.", columns=join_first(table.columns, _MAX_LISTED)),
                role,
            )
        return exact[0]
    own = [name for name in dict.fromkeys(table.columns) if fold_name(name) == role]
    if role in own or len(own) == 1:
        return role if role in own else own[0]
    candidates = own or [name for name in dict.fromkeys(table.columns) if fold_name(name) in _SYNONYMS[role]]
    if role == "split":
        candidates = [name for name in candidates if _are_splits(table, name)]
    if role == "path" and not candidates:
        candidates = [name for name in table.columns if name and _is_row_number(name) and _are_images(table, name)]
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


def _are_images(table: Table, name: str) -> bool:
    """Return True for a column of file names, which may be the index of a data frame, or the names of rows of R."""
    return table.rows > 0 and all(
        posixpath.splitext(value.strip())[1].lower() in IMAGE_SUFFIXES for value in table.column(name).values
    )


def _is_row_number(name: str) -> bool:
    """Return True for the names that pandas and R give to the numbers of rows."""
    return not name or name.startswith(("Unnamed: ", "__index_level_"))


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


def _missing(table: Table, roles: list[str], extra: list[str]) -> DataError:
    """Return the error on a table without a column of paths or labels, or without both."""
    role = roles[0]
    if role == "label" and (error := _one_hot_error(table, extra)):
        return error
    if len(roles) > 1 and len(table.columns) > 1:
        return DataError(
            _("{manifest} has neither a column 'path' nor a column 'label'.", manifest=table.name),
            _(
                "Its columns are {columns}; name them with {flags}.",
                columns=join_first(table.columns, _MAX_LISTED),
                flags=join_list([column_flag(role) for role in roles]),
            ),
        )
    message = _("{manifest} has no column {name!r}.", manifest=table.name, name=role)
    if similar := closest(role, extra):
        hint = _("Rename the column {choice!r}, or name it with {flag}.", choice=similar, flag=column_flag(role))
    elif len(table.columns) == 1:
        hint = _(
            "Its only column is {choice!r}: give each image a path and a label, with a comma between them.",
            choice=table.columns[0],
        )
    else:
        names = join_first(table.columns, _MAX_LISTED) if table.columns else _("none")
        hint = _("Its columns are {columns}; name one with {flag}.", columns=names, flag=column_flag(role))
    return DataError(message, hint)


def _one_hot_error(table: Table, extra: list[str]) -> DataError | None:
    """Return the error on a table with one column for each class; None for another table."""
    columns = {name: [value.strip().casefold() for value in table.column(name).values] for name in extra if name}
    columns = {name: values for name, values in columns.items() if not _is_row_number(name)}
    signs = {name: set(values) - _ZEROS for name, values in columns.items()}
    if len(bits := [name for name in columns if signs[name] <= _ONES and set(columns[name]) != {""}]) > 1:
        return _one_hot(table, bits, [[value in _ONES for value in columns[name]] for name in bits])
    marks = [name for name in columns if len(signs[name]) == 1 and "" in columns[name]]
    if len(marks) > 1 and len(set.union(*(signs[name] for name in marks))) == 1:
        return _one_hot(table, marks, [[value != "" for value in columns[name]] for name in marks], ".notna()")
    shares = [name for name in columns if all(map(_SHARE.fullmatch, columns[name]))]
    if len(shares) > 1 and all(
        abs(sum(map(float, row)) - 1) < 0.02 for row in zip(*(columns[name] for name in shares), strict=True)
    ):
        return _one_hot(table, shares, None)
    return None


def _one_hot(table: Table, names: list[str], ones: list[list[bool]] | None, convert: str = "") -> DataError:
    """Return the error on columns of zeros and ones, or of shares that add up to 1, with code that makes labels."""
    listed = join_first([*map(repr, names)], _MAX_LISTED)
    counts = [sum(row) for row in zip(*ones, strict=True)] if ones else []
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
            "{manifest} has no column 'label', but one column for each class: {columns}.",
            manifest=table.name,
            columns=listed,
        ),
        _(
            'Run `{read}table["label"] = table.{selection}.idxmax(axis=1); '
            'table.to_csv("labeled.csv", index=False)` in Python with pandas, and name labeled.csv.',
            read=_reading_code(table.name),
            selection=selection + convert,
        ),
    )


def _reading_code(name: str) -> str:
    """Return the Python code that reads a file as the table of pandas `table`; "" for a data frame."""
    readers = {
        ".parquet": "pandas.read_parquet({name!r})",
        ".json": "pandas.read_json({name!r})",
        ".jsonl": "pandas.read_json({name!r}, lines=True)",
        ".ndjson": "pandas.read_json({name!r}, lines=True)",
    }
    suffix = PurePath(name).suffix.lower()
    if suffix not in MANIFEST_SUFFIXES:
        return ""
    code = readers.get(suffix, "pandas.read_csv({name!r}, sep=None, engine='python')").format(name=name)
    return f"import pandas; table = {code}; "
