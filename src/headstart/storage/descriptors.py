"""Descriptors of files and folders below a root: each component is opened without following links."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import DataError
from headstart.i18n import Message, _

MAX_DEPTH = 64  # components of a name; nothing that headstart writes is deeper than ten
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # without O_NONBLOCK, opening a pipe waits for its other end
_HINT = _("Replace it by the regular file from a copy of the folder, if the copy has one.")


class UnsafeFileError(DataError):
    """A name below a folder is a link, a pipe or a device, or leads out of the folder."""


@dataclass(frozen=True)
class Entry:
    """An entry of a folder.

    Attributes:
        name: Its name in the folder.
        is_file: It is a regular file.
        is_folder: It is a folder. An entry that is neither is a link, a pipe or a device.
        size: Size in bytes.
        modified: Time of the last change in seconds since 1970.
    """

    name: str
    is_file: bool
    is_folder: bool
    size: int
    modified: float


def components(name: str) -> list[str]:
    """Return the components of a name. Raises UnsafeFileError if it is empty, absolute, too deep or has `..`."""
    parts = name.split("/")
    if "\0" in name or len(parts) > MAX_DEPTH or any(part in ("", ".", "..") for part in parts):
        raise UnsafeFileError(
            _("{name!r} is not the name of a file inside the folder.", name=name), _("Restore the folder from a copy.")
        )
    return parts


@contextlib.contextmanager
def parent_of(root: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield the descriptor of the folder that contains a name, and the last component."""
    *folders, last = components(name)
    with folder_of(root, "/".join(folders)) as descriptor:
        yield descriptor, last


@contextlib.contextmanager
def folder_of(root: Path, name: str) -> Iterator[int]:
    """Yield the descriptor of a folder below a root; "" is the root."""
    descriptor = os.open(root, _FOLDER)
    try:
        path = root
        for part in components(name) if name else ():
            path /= part
            inner = _open_folder(descriptor, part, path)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(folder: int, name: str, path: Path) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and _is_link(folder, name):
            raise unsafe(path, stat.S_IFLNK) from None
        raise


def open_regular(folder: int, name: str, flags: int, path: Path) -> int:
    """Open a regular file in the folder of a descriptor."""
    try:
        descriptor = os.open(name, flags | _FILE, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP and _is_link(folder, name):
            raise unsafe(path, stat.S_IFLNK) from None
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket, or a pipe without a reader
            raise unsafe(path, None) from None
        raise
    if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise unsafe(path, mode)
    return descriptor


def _is_link(folder: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def entry_of(name: str, status: os.stat_result) -> Entry:
    """Return an entry by its status, that of a link itself."""
    return Entry(name, stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode), status.st_size, status.st_mtime)


def unsafe(path: Path, mode: int | None) -> UnsafeFileError:
    """Return the error on an entry that is not opened; its kind is looked up if `mode` is None."""
    try:
        mode = path.lstat().st_mode if mode is None else mode
    except OSError:
        mode = 0
    return UnsafeFileError(_kind_message(path, mode), _HINT)


def _kind_message(path: Path, mode: int) -> Message:
    if stat.S_ISLNK(mode):
        return _("{path} is a link, and links in a folder that may be a copy are not followed.", path=path)
    return _("{path} is not a regular file.", path=path)
