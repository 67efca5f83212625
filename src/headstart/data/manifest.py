"""Images listed in a table: CSV, JSON lines or Parquet with the columns path, label and optionally split and group."""

from __future__ import annotations

import json
import os
import posixpath
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_ISREG

import pandas as pd

from headstart.data.folder import is_inside
from headstart.data.image_index import SPLIT_NAMES, ImageIndex, build_index
from headstart.errors import DataError, UsageError
from headstart.i18n import Message, _, ngettext, verbatim
from headstart.text import end_sentence, join_first, replacement_hint, suggestion

_REQUIRED, _COLUMNS = ("path", "label"), ("path", "label", "split", "group")
_OUTSIDE = r"^[/\\]|^[A-Za-z]:[/\\]|(?:^|[/\\])\.\.(?:[/\\]|$)"
_NOT_NORMALIZED = r"(?:^|/)\.(?:/|$)|//|(?:^|/)\.\.(?:/|$)|^/"


def read_manifest(source: str, path: Path, *, allow_outside: bool = False) -> ImageIndex:
    """Return the index of the images that a manifest lists, relative to its folder.

    If all paths are absolute, they are relative to the deepest folder that contains all images: the names of the images
    do not depend on the place of the manifest.

    Rows are numbered from 1, the first one below the header. Equal rows are read once, with a note.

    Args:
        source: Name of the source in messages.
        path: The manifest, absolute.
        allow_outside: Accept absolute paths, paths with `..`, and links that lead out of the manifest's folder.

    Raises:
        DataError: A column, a value or a file is missing, a path leads out of the folder, a split is unknown, or a path
            has two labels. The message names the row.
        UsageError: The manifest is a Parquet file and pyarrow is not installed.
    """
    table, notes = _table(path)
    _check_values(path, table)
    root = _root(path, table["path"], allow_outside)
    table["path"] = _keys(path, root, table["path"], allow_outside, notes)
    table["split"] = _splits(path, table["split"])
    repeated = table.duplicated()
    if repeated.any():
        notes.append(
            ngettext(
                "{count:,} row of {manifest} repeats an earlier one and is read once.",
                "{count:,} rows of {manifest} repeat an earlier one and are read once.",
                int(repeated.sum()),
                manifest=path.name,
            )
        )
        table = table[~repeated]
    if (conflicting := table["path"].duplicated(keep=False)).any():
        first = table[conflicting].iloc[0]["path"]
        rows = (table.index[table["path"] == first] + 1).tolist()
        raise DataError(
            _(
                "{manifest} has {path} twice, with different labels, splits or groups (rows {first} and {second}).",
                manifest=path.name,
                path=first,
                first=rows[0],
                second=rows[1],
            ),
            _("Keep one of the rows."),
        )
    keys = table["path"].tolist()
    _check_files(path, root, keys, allow_outside)
    columns = [table[name].tolist() for name in ("label", "split", "group")]
    return build_index(source, root, keys, columns[0], columns[1], columns[2], notes)


def _table(path: Path) -> tuple[pd.DataFrame, list[Message]]:
    """Return the four columns as text ("" if one is absent) and notes on other columns."""
    suffix = path.suffix.lower()
    reader = {".parquet": _parquet, ".jsonl": _json_lines, ".ndjson": _json_lines}.get(suffix, _csv)
    try:
        table = reader(path)
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' ParserError and a bad encoding are ValueErrors
        hint = _("Save it as UTF-8.") if isinstance(error, UnicodeDecodeError) else _("Correct the file.")
        raise DataError(
            _(
                "{manifest} cannot be read as {suffix}: {reason}.",
                manifest=path.name,
                suffix=suffix[1:],
                reason=_last_line(error),
            ),
            hint,
        ) from error
    table.columns = table.columns.str.strip()
    if (repeated := table.columns.duplicated()).any():
        raise DataError(
            _("{manifest} has the column {column!r} twice.", manifest=path.name, column=table.columns[repeated][0]),
            _("Keep one of the two."),
        )
    extra = [str(column) for column in table if column not in _COLUMNS]
    for name in _REQUIRED:
        if name not in table:
            columns = ", ".join(map(str, table)) or _("none")
            hint = replacement_hint(name, extra) or _(
                "Its columns are {columns}; name one of them {name}.", columns=columns, name=name
            )
            raise DataError(_("{manifest} has no column {name!r}.", manifest=path.name, name=name), hint)
    if table.empty:
        raise DataError(
            _("{manifest} has no rows.", manifest=path.name), _("Give each image a row with its path and label.")
        )
    notes = [_unused_column_note(path, column) for column in extra]
    return table.reindex(columns=list(_COLUMNS), fill_value=""), notes


def _last_line(error: Exception) -> Message:
    """Return what is wrong with the file; other libraries say it in the last line of their message."""
    content = error.args[0] if error.args else ""
    return content if isinstance(content, Message) else verbatim(str(error).strip().splitlines()[-1])


def _unused_column_note(path: Path, column: str) -> Message:
    similar = suggestion(column, _COLUMNS)
    return end_sentence(
        _(
            "Column {column!r} of {manifest} is not used{suggestion}",
            column=column,
            manifest=path.name,
            suggestion=similar,
        )
    )


def _csv(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    if not header.strip():
        raise DataError(
            _("{manifest} is empty.", manifest=path.name), _("Add a header, path,label, and a row for each image.")
        )
    separator = "," if "," in header else next((s for s in "\t;" if s in header), ",")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with too many fields
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=separator, index_col=False)


def _json_lines(path: Path) -> pd.DataFrame:
    columns: dict[str, list[str]] = {name: [] for name in _COLUMNS}
    seen: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, parse_int=str, parse_float=str)  # 1 stays "1", 1.50 stays "1.50"
            except (ValueError, RecursionError) as error:
                raise ValueError(_("line {number} is not JSON ({reason})", number=number, reason=error)) from error
            if not isinstance(row, dict):
                raise ValueError(_("line {number} is not an object", number=number))  # noqa: TRY004
            seen.update(dict.fromkeys(row))
            for name, values in columns.items():
                value = row.get(name)
                if value is not None and not isinstance(value, str):
                    raise ValueError(
                        _("{name} in line {number} is neither text nor a number", name=name, number=number)
                    )
                values.append(value or "")
    table = pd.DataFrame({name: values for name, values in columns.items() if name in seen}, dtype=str)
    for name in seen:
        if name not in columns:
            table[name] = ""
    return table


def _parquet(path: Path) -> pd.DataFrame:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(_("Parquet manifests need pyarrow."), _("Install it with `pip install pyarrow`.")) from error
    try:
        names = pyarrow.parquet.read_schema(path).names
        table = pyarrow.parquet.read_table(path, columns=[name for name in _COLUMNS if name in names])
        columns = {}
        for name in table.column_names:
            column = table[name]
            if pyarrow.types.is_floating(column.type):  # a column of whole numbers with gaps is stored as floats
                column = column.cast(pyarrow.int64())
            columns[name] = column.cast(pyarrow.string()).fill_null("").to_pylist()
    except pyarrow.ArrowException as error:  # for example a column of lists; not every ArrowException is a ValueError
        raise ValueError(str(error)) from error
    frame = pd.DataFrame(columns, dtype=str)
    for name in names:
        if name not in _COLUMNS:
            frame[name] = ""
    return frame


def _row(mask: pd.Series[bool]) -> int:
    """Return the number of the first row that a mask selects."""
    return int(mask.to_numpy().argmax()) + 1


def _check_values(path: Path, table: pd.DataFrame) -> None:
    for name in ("label", "split", "group"):
        table[name] = table[name].fillna("").str.strip()
    for name in _REQUIRED:
        if (empty := table[name].isna() | (table[name] == "")).any():
            raise DataError(
                _("Row {row} of {manifest} has no {column}.", row=_row(empty), manifest=path.name, column=name),
                _("Fill in its {column} or remove the row.", column=name),
            )
    if (invalid := table["path"].str.contains("\0", regex=False)).any():
        raise DataError(
            _("Row {row} of {manifest} has a zero byte in its path.", row=_row(invalid), manifest=path.name),
            _("Correct the path."),
        )


def _root(path: Path, column: pd.Series[str], allow_outside: bool) -> Path:
    """Return the folder that the names of the images are relative to."""
    if allow_outside and column.str.startswith("/").all():
        return Path(os.path.commonpath(column.map(os.path.dirname).unique().tolist()))
    return path.parent


def _keys(path: Path, root: Path, column: pd.Series[str], allow_outside: bool, notes: list[Message]) -> pd.Series[str]:
    if not allow_outside and (outside := column.str.contains(_OUTSIDE, regex=True)).any():
        message = _(
            "Row {row} of {manifest} leads out of the manifest's folder: {path!r}.",
            row=_row(outside),
            manifest=path.name,
            path=column[outside].iloc[0],
        )
        raise DataError(message, _("Use relative paths without '..', or --allow-outside if you trust the manifest."))
    column = _as_local_paths(path, column, notes)
    to_normalize = column.str.contains(_NOT_NORMALIZED, regex=True)
    if to_normalize.any():
        start = root.as_posix()
        column = column.copy()
        column[to_normalize] = column[to_normalize].map(
            lambda key: posixpath.relpath(posixpath.join(start, key), start)
        )
    return column


def _as_local_paths(path: Path, column: pd.Series[str], notes: list[Message]) -> pd.Series[str]:
    """Convert paths from another system, with backslashes or another Unicode form of accents, to existing paths."""
    foreign = column.str.contains(r"\\|[^\x00-\x7f]", regex=True)
    if not foreign.any():
        return column

    def local_path(key: str) -> str:
        """Return the form of a path that exists on this machine, or the path itself."""
        slashed = key.replace("\\", "/")
        forms = (key, slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD")))
        return next((form for form in forms if (path.parent / form).exists()), key)

    converted = column.copy()
    converted[foreign] = converted[foreign].map(local_path)
    if count := int((converted != column).sum()):
        notes.append(
            ngettext(
                "Converted {count:,} path of {manifest} from another system's spelling (\\ or accents).",
                "Converted {count:,} paths of {manifest} from another system's spelling (\\ or accents).",
                count,
                manifest=path.name,
            )
        )
    return converted


def _splits(path: Path, column: pd.Series[str]) -> pd.Series[str]:
    names = {"": "", **SPLIT_NAMES}
    mapped = column.str.lower().map(names)
    if (unknown := mapped.isna()).any():
        value = column[unknown].iloc[0]
        raise DataError(
            _("Row {row} of {manifest} has the split {split!r}.", row=_row(unknown), manifest=path.name, split=value),
            replacement_hint(value, names) or _("Use train, val or test."),
        )
    return mapped


def _check_files(path: Path, folder: Path, keys: Sequence[str], allow_outside: bool) -> None:
    """Raise DataError for files that are missing or lie outside; each folder is listed and resolved once."""
    root, folders = os.path.realpath(folder), dict[str, dict[str, bool]]()
    missing: list[str] = []
    for key in keys:
        parent, _unused, name = key.rpartition("/")
        if parent not in folders:
            folders[parent] = dict(_files(folder / parent, root, allow_outside))
        allowed = folders[parent].get(name)
        if allowed is False:
            raise DataError(
                _("{path} in {manifest} is a link that leads out of its folder.", path=key, manifest=path.name),
                _("Copy the file, or use --allow-outside."),
            )
        if allowed is None:
            missing.append(key)
    if missing:
        raise DataError(
            ngettext(
                "{count:,} of the {files} in {manifest} is not in {folder}: {examples}.",
                "{count:,} of the {files} in {manifest} are not in {folder}: {examples}.",
                len(missing),
                files=ngettext("{count:,} file", "{count:,} files", len(keys)),
                manifest=path.name,
                folder=folder,
                examples=join_first(missing, 3),
            ),
            _("Correct these paths."),
        )


def _files(folder: Path, root: str, allow_outside: bool) -> Iterator[tuple[str, bool]]:
    """Yield the names of the regular files in `folder`, and whether each one may be read."""
    folder_allowed = allow_outside or is_inside(os.path.realpath(folder), root)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.is_symlink():
                    if entry.is_file():
                        yield entry.name, folder_allowed
                elif os.path.exists(entry.path) and S_ISREG(entry.stat().st_mode):  # noqa: PTH110
                    yield entry.name, allow_outside or is_inside(os.path.realpath(entry.path), root)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DataError(
            _("The folder {folder} cannot be read ({reason}).", folder=folder, reason=error.strerror),
            _("Grant read permission."),
        ) from error
