"""Find the files of a table: its paths become names relative to one folder, and nothing outside of it is read."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from headstart.data.read_errors import MissingFilesError
from headstart.data.tables.file_lookup import FileLookup, Fix, Match, normalize
from headstart.data.tables.moved_files import (
    OUTSIDE,
    PARENT,
    ROWS_PER_REPORT,
    common_parts,
    find_moved,
    find_near,
    is_plain,
    is_unusual,
    match_exactly,
    mostly_missing,
)
from headstart.data.tables.table import Table, empty_error
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.reporter import ProgressCallback
from headstart.text import join_first

_WINDOWS = re.compile(r"[A-Za-z]:[/\\]|\\\\")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_FILE_ADDRESS = re.compile(r"file:(?://(?:localhost)?)?(?=/)", re.IGNORECASE)
_AROUND = "= '\"\u2018\u2019\u201a\u201c\u201d\u201e\xab\xbb"  # quotes that CSV does not know, and ="..." of Excel
_SHOWN_FILES = 3


@dataclass(frozen=True)
class FoundFiles:
    """The files of a table.

    Attributes:
        root: Folder that the keys are relative to.
        keys: Key of the file of each row.
        notes: Sentences for the user on what was changed in the paths.
    """

    root: Path
    keys: list[str]
    notes: list[Message]


def find_files(
    table: Table,
    paths: Sequence[str],
    folder: Path,
    *,
    allow_outside: bool,
    progress: ProgressCallback | None = None,
) -> FoundFiles:
    """Return the file of each row.

    A path that names no file is looked up without blanks around it, with other separators, accents or capitals, and
    with an ending, if only one file can be meant. If the table was written in another place, the paths are looked up
    without their beginning, or in one of the subfolders; then all files must be there. Absolute paths, of which none
    exists, are then looked up beside the table.

    Args:
        table: The table, for messages.
        paths: Its column of paths.
        folder: Folder of the table.
        allow_outside: Accept absolute paths, paths with `..`, and links that lead out of the folder.
        progress: Called with (rows done, all rows) if there are many.

    Raises:
        DataError: A path is empty or leads out of the folder, or files are missing.
    """
    paths = [_local(path) if path.startswith(("file:", "~/")) else path for path in paths]
    _require_paths(table, paths, folder)
    root = _common_root(paths) if allow_outside and all(path.startswith("/") for path in paths) else folder
    lookup = FileLookup(root, allow_outside)
    keys = [_relative(path.strip(), root) if path.lstrip().startswith("/") else path for path in paths]
    unusual = [row for row, key in enumerate(keys) if is_unusual(key)]
    outside = [row for row in unusual if OUTSIDE.search(keys[row])] if not allow_outside else []
    foreign = [row for row in unusual if _WINDOWS.match(keys[row].strip())]
    if outside:
        if not _are_here(keys):
            if moved := _move(table, lookup, keys, progress):
                return moved
            _require_near(table, lookup, keys)
        raise _outside_error(table, outside[0], paths[outside[0]])
    is_error = mostly_missing(keys, lambda key: _match(lookup, key, allow_outside))  # if its files were not moved
    match = match_exactly if is_error else _match
    matches: list[Match | None] = []
    for begin in range(0, len(keys), ROWS_PER_REPORT):
        matches += [match(lookup, key, allow_outside) for key in keys[begin : begin + ROWS_PER_REPORT]]
        if progress and len(keys) > ROWS_PER_REPORT:
            progress(len(matches), len(keys))
    if missing := [row for row, match in enumerate(matches) if match is None]:
        if moved := _move(table, lookup, keys, progress):
            return moved
        if root != folder and not _are_here(paths):
            below = FileLookup(folder, allow_outside=True)
            if moved := _move(table, below, paths, progress):
                return _below_common_folder(moved)
            _require_near(table, below, paths)
        if 2 * len(missing) > len(keys):
            _require_near(table, lookup, keys)
        if foreign:
            raise _foreign_error(table, foreign[0], keys[foreign[0]])
        raise _missing_error(table, lookup, missing, keys)
    return _found(table, lookup, [match for match in matches if match is not None], [])


def _below_common_folder(files: FoundFiles) -> FoundFiles:
    """Return the files with keys relative to the folder that contains all, as those of absolute paths are."""
    common = common_parts([key.split("/") for key in files.keys])
    keys = ["/".join(key.split("/")[len(common) :]) for key in files.keys]
    return FoundFiles(files.root.joinpath(*common), keys, files.notes)


def _local(path: str) -> str:
    """Return the path of a file: address, and one in the user's home if it is there."""
    if path.startswith("~/"):
        here = os.path.expanduser(path)  # noqa: PTH111
        return here if os.path.lexists(here) else path
    return unquote(_FILE_ADDRESS.sub("", path)) if _FILE_ADDRESS.match(path) else path


def _require_paths(table: Table, paths: Sequence[str], folder: Path) -> None:
    if empty := [row for row, path in enumerate(paths) if not path.strip()]:
        raise empty_error(table, "path", empty)
    for row, path in enumerate(paths):
        if "\0" in path or ("\n" in path and not (folder / path).is_file()):  # a name may have a line break
            raise DataError(
                _("{place} has a line break or zero byte in its path.", place=table.place(row)), _("Correct the path.")
            )
        if ":" in path and _ADDRESS.match(path):
            raise DataError(
                _("{place} has an address of the internet, {path!r}.", place=table.place(row), path=path),
                _("Download the images, and write the paths of their files."),
            )


def _common_root(paths: Sequence[str]) -> Path:
    return Path(os.path.commonpath({os.path.dirname(path) for path in paths}))  # noqa: PTH120


def _relative(path: str, root: Path) -> str:
    """Return an absolute path relative to the root if it is below it, otherwise unchanged."""
    if not PARENT.search(path):
        for start in (str(root).rstrip("/") + "/", os.path.realpath(root).rstrip("/") + "/"):
            if path.startswith(start):
                return path[len(start) :]
    return path


def _match(lookup: FileLookup, key: str, allow_outside: bool) -> Match | None:
    if is_plain(key) and (allowed := lookup.allowed(key)) is not None:
        return Match(key, Fix.NONE, allowed)
    if allow_outside and (key.startswith("/") or PARENT.search(key)):
        start = lookup.root.as_posix()
        key = posixpath.relpath(posixpath.join(start, key), start)
    return lookup.find(key)


def _found(table: Table, lookup: FileLookup, matches: Sequence[Match], notes: list[Message]) -> FoundFiles:
    """Return the files with notes on what was changed. Raises DataError for a link that leads out of the folder."""
    for match in matches:
        if not match.allowed:
            raise DataError(
                _("{path} in {manifest} is a link that leads out of its folder.", path=match.key, manifest=table.name),
                _("Copy the file, or use --allow-outside (in a study file: allow_outside = true)."),
            )
    changed = [match for match in matches if match.fix is not Fix.NONE]
    counts = Counter(match.fix for match in changed)
    examples = {match.fix: match.key for match in reversed(changed)}
    notes += [_fix_note(fix, counts[fix], table.name, examples[fix]) for fix in Fix if counts[fix]]
    return FoundFiles(lookup.root, [match.key for match in matches], notes)


def _fix_note(fix: Fix, count: int, manifest: str, example: str) -> Message:
    match fix:
        case Fix.BLANKS:
            return ngettext(
                "Dropped blanks around {count:,} path of {manifest}.",
                "Dropped blanks around {count:,} paths of {manifest}.",
                count,
                manifest=manifest,
            )
        case Fix.CASE:
            return ngettext(
                "Found the file of {count:,} path of {manifest} in other capitals, such as {example}.",
                "Found the files of {count:,} paths of {manifest} in other capitals, such as {example}.",
                count,
                manifest=manifest,
                example=example,
            )
        case Fix.ENDING:
            return ngettext(
                "Added the missing ending to {count:,} path of {manifest}, as in {example}.",
                "Added the missing ending to {count:,} paths of {manifest}, as in {example}.",
                count,
                manifest=manifest,
                example=example,
            )
        case _:
            return ngettext(
                "Converted {count:,} path of {manifest} from another system's spelling (\\, %20 or accents).",
                "Converted {count:,} paths of {manifest} from another system's spelling (\\, %20 or accents).",
                count,
                manifest=manifest,
            )


def _move(
    table: Table, lookup: FileLookup, keys: Sequence[str], progress: ProgressCallback | None
) -> FoundFiles | None:
    """Return the files if all are there without the common beginning of the paths, or in subfolders."""
    if (moved := find_moved(lookup, keys, progress)) is None:
        return None
    place, matches = moved
    return _found(table, lookup, matches, [place.note(table.name, lookup.root, matches)])


def _are_here(keys: Sequence[str]) -> bool:
    """Return True if one of the absolute paths exists on this machine."""
    return any(os.path.lexists(key) for key in keys if key.startswith("/"))


def _outside_error(table: Table, row: int, path: str) -> DataError:
    if _WINDOWS.match(path.strip()) or (os.path.isabs(path.strip()) and not os.path.lexists(path.strip())):  # noqa: PTH117
        return _foreign_error(table, row, path)
    return DataError(
        _("{place} leads out of the manifest's folder: {path!r}.", place=table.place(row), path=path),
        _(
            "Use relative paths without '..', or --allow-outside if you trust the manifest (in a study file: "
            "allow_outside = true)."
        ),
    )


def _foreign_error(table: Table, row: int, path: str) -> DataError:
    """Return the error on an absolute path of another machine."""
    example = "/".join(re.split(r"[/\\]+", path.strip())[1:][-2:])  # without the drive
    return MissingFilesError(
        _("{place} has the path {path!r} of another machine: no such file is here.", place=table.place(row), path=path),
        _("Put the table into the folder of the images, and write paths relative to it, such as {path}.", path=example),
    )


def _require_near(table: Table, lookup: FileLookup, keys: Sequence[str]) -> None:
    """Raise DataError for the rows without a file if most files are in one place: these rows are to be corrected."""
    if (near := find_near(lookup, keys)) is None:
        return
    folders = near.place.folders
    if near.missing and len(folders) == 1:
        raise _missing_error(table, lookup, near.missing, near.place.keys, folders[0])
    if near.missing:
        raise MissingFilesError(
            ngettext(
                "{count:,} of the {files} in {manifest} is in none of the subfolders {folders}: {examples}.",
                "{count:,} of the {files} in {manifest} are in none of the subfolders {folders}: {examples}.",
                len(near.missing),
                files=_files(len(keys)),
                manifest=table.name,
                folders=join_first([*map(repr, folders)], _SHOWN_FILES),
                examples=join_first([keys[row] for row in near.missing], _SHOWN_FILES),
            ),
            _correct_hint(table, near.missing[0]),
        )
    row, matches = next(iter(near.repeated.items()))
    raise DataError(
        ngettext(
            "{count:,} of the {files} in {manifest} is in several subfolders: {examples}.",
            "{count:,} of the {files} in {manifest} are in several subfolders: {examples}.",
            len(near.repeated),
            files=_files(len(keys)),
            manifest=table.name,
            examples=join_first([keys[row] for row in near.repeated], _SHOWN_FILES),
        ),
        _(
            "Write the folder before each of these names, such as {paths}; the first is {row}.",
            paths=_("{first} or {second}", first=matches[0].key, second=matches[1].key),
            row=_row_name(table, row),
        ),
    )


def _files(count: int) -> Message:
    return ngettext("{count:,} file", "{count:,} files", count)


def _row_name(table: Table, row: int) -> Message:
    if table.lines is None:
        return _("row {number}", number=table.number(row))
    return _("line {number}", number=table.number(row))


def _correct_hint(table: Table, row: int) -> Message:
    return _("Correct these paths or remove their rows; the first is {row}.", row=_row_name(table, row))


def _missing_error(
    table: Table, lookup: FileLookup, rows: Sequence[int], keys: Sequence[str], folder: str = ""
) -> DataError:
    """Return the error on files that are missing in a folder below the root, with what is there instead of the first.

    Args:
        table: The table, for messages.
        lookup: The files.
        rows: Rows whose files are missing.
        keys: Path of each row in the folder.
        folder: The folder; "" for the root.
    """
    missing = [keys[row] for row in rows]
    key = posixpath.join(folder, normalize(missing[0].strip().replace("\\", "/")))
    if len(same := lookup.in_other_case(key) or lookup.with_ending(key)) > 1:
        hint = _("Both {first} and {second} are there: write one of them.", first=same[0], second=same[1])
    elif other := lookup.with_other_ending(key):
        hint = _("{path} is there: correct the ending.", path=other[0])
    elif place := next((name for name in lookup.subfolders() if lookup.find(posixpath.join(name, key))), ""):
        hint = _("{path} is there: write the folder before the name.", path=posixpath.join(place, key))
    elif (bare := key.strip(_AROUND)) != key and (match := lookup.find(bare)):
        hint = _("{path} is there: write the paths without the signs around them.", path=match.key)
    elif len(missing) == len(keys):
        hint = _("Copy the images into this folder, or put the table into the folder of the images.")
    else:
        hint = _correct_hint(table, rows[0])
    return MissingFilesError(
        ngettext(
            "{count:,} of the {files} in {manifest} is not in {folder}: {examples}.",
            "{count:,} of the {files} in {manifest} are not in {folder}: {examples}.",
            len(missing),
            files=_files(len(keys)),
            manifest=table.name,
            folder=lookup.root / folder,
            examples=join_first(missing, _SHOWN_FILES),
        ),
        hint,
    )
