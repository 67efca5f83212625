"""The index of the runs that this user began, outside of every run folder.

It tells code that the user has run from code that came with a folder. It is a file of JSON lines in a folder that only
the user can read: `$HEADSTART_DATA`, else `$XDG_DATA_HOME/headstart`, else `~/.local/share/headstart`.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from headstart.i18n import NOTHING, Message, _
from headstart.path_names import expanded
from headstart.storage import contained
from headstart.storage.schemas.schema import VersionedSchema

INDEX_FILE = "runs.jsonl"


class IndexLine(VersionedSchema):
    """A run or study that this user began, or code that this user trusts."""

    time: float = Field(description="when it began, in seconds since 1970")
    folder: Path = Field(description="its folder")
    plan: str = Field(description="hash of the plan; empty for a study, and for code that was trusted")
    code: str = Field(description="sha256 of the code of the user's own network; empty for other networks")
    seal: str = Field("", description="sha256 of the seal of a run that has ended; empty for others")


def data_root() -> Path:
    """Return the folder of the user's records; it may not exist yet."""
    if configured := os.environ.get("HEADSTART_DATA"):
        return expanded(configured).absolute()
    if shared := os.environ.get("XDG_DATA_HOME"):
        return expanded(shared).absolute() / "headstart"
    return Path.home() / ".local" / "share" / "headstart"


def add(folder: Path, plan: str = "", code: str = "", seal: str = "") -> None:
    """Add a run, a study or trusted code. Write errors are ignored: the user has to trust the code once more.

    A RuntimeError is a missing home, a ValueError a name that is not UTF-8.

    Args:
        folder: Its folder.
        plan: Hash of the plan; "" for a study and for code that was trusted.
        code: Hash of the code of the user's own network; "" for other networks.
        seal: Digest of the seal of a run that has ended; "" for others.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError, contained.UnsafeFileError):
        line = IndexLine(time=time.time(), folder=folder.absolute(), plan=plan, code=code, seal=seal)
        root = data_root()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contained.append(root, INDEX_FILE) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(line.model_dump_json().encode() + b"\n")  # one write: processes share the file


def knows_code(sha256: str) -> bool:
    """Return True if this user began a run with the code, or trusts it."""
    return bool(sha256) and sha256 in _content().codes


def knows_seal(digest: str) -> bool:
    """Return True if a run with this seal ended on behalf of this user."""
    return bool(digest) and digest in _content().seals


def fault() -> Message:
    """Return a sentence if the index is not used, because others can write to it; else nothing."""
    with contextlib.suppress(OSError, RuntimeError):
        root = data_root()
        for path in (root, root / INDEX_FILE):
            status = root.stat() if path == root else path.lstat()
            if status.st_uid != os.getuid():
                return _("The index of your runs is not used, because {path} belongs to another user.", path=path)
            if path != root and not stat.S_ISREG(status.st_mode):
                return _(
                    "The index of your runs is not used until {path} has been removed, which is not a regular file.",
                    path=path,
                )
            if not _is_private(status):
                return _(
                    "The index of your runs is not used until `chmod go-w {path:shell}`: others can write to it.",
                    path=path,
                )
    return NOTHING


@dataclass(frozen=True)
class _Content:
    """The text of an index, and what its lines have."""

    text: bytes = b""
    codes: frozenset[str] = frozenset()
    seals: frozenset[str] = frozenset()


_EMPTY = _Content()
_read: dict[tuple[int, ...], _Content] = {}  # the last content, by device, inode, size and time of the last change


def _content() -> _Content:
    """Return the content of the index; an empty one if it is missing, or others can change it.

    Lines are appended again and again, so that only those are parsed that follow the text that was read last.
    """
    with contextlib.suppress(OSError, RuntimeError, contained.UnsafeFileError):
        root = data_root()
        with contained.open_file(root, INDEX_FILE) as file:
            status = os.fstat(file.fileno())
            if not _is_private(root.stat()) or not _is_private(status):
                return _EMPTY
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            content = _read.get(key)
            if content is None:
                content = _extended(next(iter(_read.values()), _EMPTY), file.read(status.st_size))
                _read.clear()
                _read[key] = content
            return content
    return _EMPTY


def _extended(before: _Content, text: bytes) -> _Content:
    """Return the content of a text, which mostly begins with one that was parsed before."""
    if not text.startswith(before.text):
        before = _EMPTY
    lines = list(_lines(text[len(before.text) :]))
    codes, seals = (line.code for line in lines), (line.seal for line in lines)
    return _Content(text, before.codes.union(codes), before.seals.union(seals))


def _lines(text: bytes) -> Iterator[IndexLine]:
    """Yield the lines that are intact."""
    for line in text.splitlines():
        with contextlib.suppress(ValidationError):
            yield IndexLine.model_validate_json(line)


def _is_private(status: os.stat_result) -> bool:
    """Return True if only this user can change a file or the entries of a folder."""
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
