"""Look up files by paths that were written elsewhere: with other capitals, accents or separators, or no ending."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple
from urllib.parse import unquote

from headstart.data.folder import is_inside
from headstart.data.image_formats import IMAGE_SUFFIXES
from headstart.errors import DataError
from headstart.i18n import _

_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u200e\u200f\u2060\ufeff"
_MAX_PATH = 32_768  # characters; the longest path of any system
_MAX_FOLDERS = 100  # of a path that is looked up folder by folder


class Fix(Enum):
    """What was changed in a path so that its file is found, in the order of the notes."""

    NONE = auto()
    SPELLING = auto()  # backslashes, %20, or another Unicode form of accents
    BLANKS = auto()
    CASE = auto()
    ENDING = auto()


class Match(NamedTuple):
    """The file that a path means: its key, what was changed in the path, and whether the file may be read."""

    key: str
    fix: Fix
    allowed: bool


@dataclass(frozen=True)
class _FolderIndex:
    """Names of the files of a folder by their name, and by the stem of images, without capitals."""

    names: Mapping[str, list[str]]
    stems: Mapping[str, list[str]]

    @staticmethod
    def of(files: Iterable[str]) -> _FolderIndex:
        """Index the names of files."""
        names, stems = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for name in sorted(files):
            names[_folded(name)].append(name)
            if _has_image_suffix(name):
                stems[_folded(posixpath.splitext(name)[0])].append(name)
        return _FolderIndex(names, stems)


class FileLookup:
    """Regular files below a folder; each folder is listed and resolved once."""

    def __init__(self, root: Path, allow_outside: bool) -> None:
        self.root = root
        self._real_root = os.path.realpath(root)
        self._allow_outside = allow_outside
        self._files: dict[str, dict[str, bool]] = {}
        self._folders: dict[str, str | None] = {}
        self._indices: dict[str, _FolderIndex] = {}

    def allowed(self, key: str) -> bool | None:
        """Return whether a file may be read; None if there is no such file.

        Args:
            key: Path relative to the root, with forward slashes and without `.` and `//`.
        """
        parent, _unused, name = key.rpartition("/")
        listing = self._files.get(parent)
        return (self._listing(parent) if listing is None else listing).get(name)

    def find(self, key: str) -> Match | None:
        """Return the only file that a path may mean; None if there is none, or if there are several."""
        if len(key) > _MAX_PATH:
            return None
        slashed = key.replace("\\", "/")
        spellings = [slashed, *(unicodedata.normalize(form, slashed) for form in ("NFC", "NFD") if not key.isascii())]
        if "%" in key:
            spellings.append(unquote(slashed))
        forms = {key: Fix.NONE}
        for fix, others in ((Fix.SPELLING, spellings), (Fix.BLANKS, map(_without_blanks, spellings))):
            for form in others:
                forms.setdefault(form, fix)
        for form, fix in forms.items():
            if (allowed := self.allowed(normalized := normalize(form))) is not None:
                return Match(normalized, fix, allowed)
        stripped = normalize(_without_blanks(slashed))
        for candidates, fix in ((self.in_other_case(stripped), Fix.CASE), (self.with_ending(stripped), Fix.ENDING)):
            if candidates:
                return Match(candidates[0], fix, self.allowed(candidates[0]) or False) if len(candidates) == 1 else None
        return None

    def with_ending(self, key: str) -> list[str]:
        """Return the image files whose name without its ending is the name of `key`, in any capitals."""
        return [] if _has_image_suffix(key) else self._named(key, lambda index: index.stems)

    def in_other_case(self, key: str) -> list[str]:
        """Return the files that differ from `key` in capitals only, those of their folders included."""
        return self._named(key, lambda index: index.names)

    def with_other_ending(self, key: str) -> list[str]:
        """Return the image files that differ from `key` in their ending only."""
        return self._named(posixpath.splitext(key)[0], lambda index: index.stems) if _has_image_suffix(key) else []

    def subfolders(self) -> list[str]:
        """Return the names of the visible folders directly in the root, sorted."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except OSError:
            return []

    def _named(self, key: str, names: Callable[[_FolderIndex], Mapping[str, list[str]]]) -> list[str]:
        """Return the files in the folder of a path whose name, or stem, is that of the path in any capitals."""
        if not key or key.count("/") > _MAX_FOLDERS:
            return []
        folder = self._folder(posixpath.dirname(key))
        if folder is None:
            return []
        if folder not in self._indices:
            self._indices[folder] = _FolderIndex.of(self._listing(folder))
        found = names(self._indices[folder]).get(_folded(posixpath.basename(key)), [])
        return [posixpath.join(folder, name) for name in found]

    def _folder(self, folder: str) -> str | None:
        """Return the folder that a path means, in any capitals; None if there is none, or if there are several."""
        if folder not in self._folders:
            self._folders[folder] = self._find_folder(folder)
        return self._folders[folder]

    def _find_folder(self, folder: str) -> str | None:
        if not folder or (self.root / folder).is_dir():
            return folder
        parent, name = posixpath.split(folder)
        if not name or (above := self._folder(parent)) is None:
            return None
        try:
            with os.scandir(self.root / above) as entries:
                same = [entry.name for entry in entries if _folded(entry.name) == _folded(name) and entry.is_dir()]
        except OSError:
            return None
        return posixpath.join(above, same[0]) if len(same) == 1 else None

    def _listing(self, folder: str) -> dict[str, bool]:
        if folder not in self._files:
            self._files[folder] = dict(self._scan(self.root / folder))
        return self._files[folder]

    def _scan(self, folder: Path) -> Iterator[tuple[str, bool]]:
        """Yield the names of the regular files in `folder`, and whether each one may be read."""
        folder_allowed = self._allow_outside or is_inside(os.path.realpath(folder), self._real_root)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not entry.is_symlink():
                        if entry.is_file():
                            yield entry.name, folder_allowed
                    elif os.path.exists(entry.path) and S_ISREG(entry.stat().st_mode):  # noqa: PTH110
                        yield (
                            entry.name,
                            self._allow_outside or is_inside(os.path.realpath(entry.path), self._real_root),
                        )
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise DataError(
                _("The folder {folder} cannot be read ({reason}).", folder=folder, reason=error.strerror),
                _("Grant read permission."),
            ) from error


def normalize(key: str) -> str:
    """Return a relative path without `.`, `//` and inner `..`."""
    return posixpath.normpath(key) if "//" in key or "./" in key or key.endswith(("/.", "/..")) else key


def _without_blanks(key: str) -> str:
    """Return a path without blanks around it and around its parts; some blanks are invisible."""
    return "/".join(part.strip(_BLANKS) for part in key.strip(_BLANKS).split("/"))


def _has_image_suffix(key: str) -> bool:
    return posixpath.splitext(key)[1].lower() in IMAGE_SUFFIXES


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
