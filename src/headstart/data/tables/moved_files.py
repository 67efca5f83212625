"""Find files whose paths were written in another place: without their beginning, or in subfolders."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.data.tables.file_lookup import FileLookup, Fix, Match
from headstart.i18n import Message, _
from headstart.reporter import ProgressCallback
from headstart.text import join_list

OUTSIDE = re.compile(r"^\s*(?:[/\\]|[A-Za-z]:[/\\])|(?:^|[/\\])\.\.(?:[/\\]|$)")
PARENT = re.compile(r"(?:^|[/\\])\.\.(?:[/\\]|$)")
ROWS_PER_REPORT = 10_000  # less are found at once
_MAX_FOLDERS = 50  # among which the files may be spread
_MAX_CORRECTED = 100_000  # rows of a table that is an error whose paths are all compared with similar names
_SAMPLE_ROWS = 1000  # by which places are compared


@dataclass(frozen=True)
class Place:
    """Where the files of a table may be.

    Attributes:
        keys: Path of each row, without the beginning that is left out.
        folders: Folders below the root, "" for the root; if there are several, each file is in one of them.
        prefix: What the paths of the table have before the keys.
    """

    keys: Sequence[str]
    folders: tuple[str, ...] = ("",)
    prefix: str = ""

    def matches(self, lookup: FileLookup, row: int) -> list[Match]:
        """Return the files that a row may mean: those of exactly its name, else the others."""
        key = self.keys[row]
        if os.path.isabs(key):  # noqa: PTH117
            return []
        if len(self.folders) > 1 and key.partition("/")[0] in self.folders and (match := lookup.find(key)):
            return [match]  # a path that was corrected has its folder
        if is_plain(key):
            names = [posixpath.join(folder, key) for folder in self.folders]
            exact = [Match(name, Fix.NONE, allowed) for name in names if (allowed := lookup.allowed(name)) is not None]
            if exact:
                return exact
        return [match for folder in self.folders if (match := lookup.find(posixpath.join(folder, key)))]

    def note(self, manifest: str, root: Path, matches: Sequence[Match]) -> Message:
        """Return a sentence on where the files were found."""
        if self.prefix:
            return _(
                "The paths of {manifest} are read without their beginning {prefix!r}: the files are in {folder}.",
                manifest=manifest,
                prefix=self.prefix + "/",
                folder=root,
            )
        if len(self.folders) == 1:
            return _(
                "The paths of {manifest} are read in its subfolder {folder!r}.",
                manifest=manifest,
                folder=self.folders[0],
            )
        used = {match.key.partition("/")[0] for match in matches}
        return _(
            "The paths of {manifest} are read in its subfolders {folders}.",
            manifest=manifest,
            folders=join_list(map(repr, sorted(used))),
        )


@dataclass(frozen=True)
class NearPlace:
    """The place with most files of a table, but not with all.

    Attributes:
        place: The place.
        missing: Rows whose file is not there.
        repeated: The files of rows that have several, by row.
    """

    place: Place
    missing: list[int]
    repeated: dict[int, list[Match]]


def is_plain(key: str) -> bool:
    """Return True for a path that needs no correction before it is looked up."""
    return "//" not in key and "/." not in key and key[:1] not in ("", ".", "/")


def is_unusual(path: str) -> bool:
    """Return True for every path that leads out of its folder, and quickly False for most others."""
    return not path[:1].isalnum() or ":" in path or ".." in path


def find_moved(
    lookup: FileLookup, keys: Sequence[str], progress: ProgressCallback | None = None
) -> tuple[Place, list[Match]] | None:
    """Return the only place that has all files, and these.

    They are there without the common beginning of the paths; or all in one subfolder; or each in one subfolder, as in
    archives of several parts.
    """
    for place in _shortened(keys):
        if matches := _all_matches(lookup, place, progress):
            return place, matches
    found: list[tuple[Place, list[Match]]] = []
    for place in _in_subfolders(lookup, keys):
        is_spread = len(place.folders) > 1
        if not (is_spread and found) and (matches := _all_matches(lookup, place, progress)):
            found.append((place, matches))
    return found[0] if len(found) == 1 else None


def find_near(lookup: FileLookup, keys: Sequence[str]) -> NearPlace | None:
    """Return the place that has most files, if it is more than half of them and not all."""
    chosen = _sample(len(keys))
    places = [*_shortened(keys), *_in_subfolders(lookup, keys)]
    hits = [sum(len(place.matches(lookup, row)) == 1 for row in chosen) for place in places]
    if not places or max(hits) * 2 <= len(chosen):
        return None
    place = places[hits.index(max(hits))]
    matches = [place.matches(lookup, row) for row in range(len(keys))]
    missing = [row for row, found in enumerate(matches) if not found]
    repeated = {row: found for row, found in enumerate(matches) if len(found) > 1}
    return NearPlace(place, missing, repeated) if missing or repeated else None


def mostly_missing(keys: Sequence[str], match: Callable[[str], Match | None]) -> bool:
    """Return whether most files of a large table are missing; those of a smaller one are all looked up."""
    if len(keys) <= _MAX_CORRECTED:
        return False
    rows = _sample(len(keys))
    return 2 * sum(match(keys[row]) is None for row in rows) > len(rows)


def match_exactly(lookup: FileLookup, key: str, _allow_outside: bool) -> Match | None:
    """Return the file with exactly this path, which is found much faster than one with a similar path."""
    allowed = lookup.allowed(key) if is_plain(key) else None
    return None if allowed is None else Match(key, Fix.NONE, allowed)


def _sample(rows: int) -> range:
    """Return rows that stand for all rows of a table."""
    return range(0, rows, max(1, rows // _SAMPLE_ROWS))


def _shortened(keys: Sequence[str]) -> Iterator[Place]:
    """Yield the places of paths without the first folders, which all of them have in common."""
    if any(".." in key and PARENT.search(key) for key in keys):
        return
    slashed = [key.strip().replace("\\", "/") for key in keys]
    common = common_parts([min(slashed).split("/"), max(slashed).split("/")])  # of all: they lie between these two
    for count in range(1, len(common) + 1):
        prefix = "/".join(common[:count])
        yield Place([key[len(prefix) + 1 :] for key in slashed], prefix=prefix)


def _in_subfolders(lookup: FileLookup, keys: Sequence[str]) -> list[Place]:
    """Return a place for each subfolder, and one for all of them if there are several, but not too many."""
    if any(is_unusual(key) and OUTSIDE.search(key) for key in keys):
        return []
    folders = tuple(lookup.subfolders())
    return [Place(keys, (name,)) for name in folders] + (
        [Place(keys, folders)] if 1 < len(folders) <= _MAX_FOLDERS else []
    )


def common_parts(paths: Sequence[list[str]]) -> list[str]:
    """Return the folders with which all paths begin."""
    first, last = min(paths), max(paths)  # in the order of lists: all others lie between these two
    count = 0
    while count < min(len(first), len(last)) - 1 and first[count] == last[count]:
        count += 1
    return first[:count]


def _all_matches(lookup: FileLookup, place: Place, progress: ProgressCallback | None) -> list[Match]:
    """Return the file of each row; none if a row has no file or several."""
    rows = len(place.keys)
    if any(len(place.matches(lookup, row)) != 1 for row in _sample(rows)):
        return []
    matches: list[Match] = []
    for row in range(rows):
        found = place.matches(lookup, row)
        if len(found) != 1:
            return []
        matches += found
        if progress and rows > ROWS_PER_REPORT and (row + 1 == rows or (row + 1) % ROWS_PER_REPORT == 0):
            progress(row + 1, rows)
    return matches
