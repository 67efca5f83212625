"""Open and change the files below a folder without following links, such as those of a run, a study or the cache.

Run folders are copied between people, so that a folder may contain links that somebody else has set. Every function
takes the folder that the user has named, its root, and the name of a file below it, with `/` between components. The
root itself may be reached through links. Below it, each component is opened relative to the descriptor of the folder
before it, and a link, a pipe or a device is an error. Files are replaced by a rename, so that other names of a file
(hard links) keep their content. Hard links can be read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.text import format_bytes

MAX_BYTES = 256_000_000  # of a file that is read as a whole, unless a reader has a limit of its own
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # without O_NONBLOCK, opening a pipe waits for its other end
_HINT = _("Replace it by a copy of the file, or remove it.")


class UnsafeFileError(DataError):
    """A name below a folder is a link, a pipe or a device, or leads out of the folder."""


class TooLargeError(DataError):
    """A file is larger than its reader accepts."""


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


def temp_suffix() -> str:
    """Return the suffix of unfinished files of this process, by which `remove_stale` recognizes stale ones."""
    return f".tmp-{os.getpid()}-{socket.gethostname()}"


def components(name: str) -> list[str]:
    """Return the components of a name. Raises UnsafeFileError if it is empty or absolute, or contains `..`."""
    parts = name.split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise UnsafeFileError(
            _("{name!r} is no name of a file inside the folder.", name=name), _("Restore the folder from a copy.")
        )
    return parts


def open_file(root: Path, name: str) -> BinaryIO:
    """Open a file for reading.

    Args:
        root: The folder that the user has named.
        name: Name below it.

    Raises:
        UnsafeFileError: A component is a link, or the file is no regular file.
        OSError: The file is missing or cannot be read.
    """
    with _parent(root, name) as (folder, last):
        return os.fdopen(_open(folder, last, os.O_RDONLY, root / name), "rb")


def read_bytes(root: Path, name: str, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a file. Raises TooLargeError beyond `limit` bytes, else as `open_file`."""
    with open_file(root, name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise too_large(root / name, limit)
    return content


def read_text(root: Path, name: str, limit: int = MAX_BYTES) -> str:
    """Return the text of a UTF-8 file. Raises as `read_bytes`, and UnicodeDecodeError for other encodings."""
    return read_bytes(root, name, limit).decode()


def too_large(path: Path, limit: int) -> TooLargeError:
    """Return the error on a file of more than `limit` bytes."""
    return TooLargeError(
        _("{path} is larger than {limit}, which no file of its kind needs.", path=path, limit=format_bytes(limit)),
        _("Restore it from a copy."),
    )


def find(root: Path, name: str) -> Entry | None:
    """Return the entry of a name without following a link at its end; None if it is missing.

    Raises:
        UnsafeFileError: A folder in the name is a link.
    """
    try:
        with _parent(root, name) as (folder, last):
            return _entry(last, os.stat(last, dir_fd=folder, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_file(root: Path, name: str) -> bool:
    """Return True if there is a file. Raises UnsafeFileError if it, or a folder in its name, is a link or special."""
    return _is_kind(root, name, "is_file")


def is_folder(root: Path, name: str) -> bool:
    """Return True if there is a folder. Raises UnsafeFileError if it, or a folder in its name, is a link or special."""
    return _is_kind(root, name, "is_folder")


def entries(root: Path, name: str = "") -> list[Entry]:
    """Return the entries of a folder in the order of their names; links are among them, and are not followed.

    Args:
        root: The folder that the user has named.
        name: Name of a folder below it; "" for the root.

    Raises:
        UnsafeFileError: A component is a link.
        OSError: The folder is missing or cannot be read.
    """
    with _folder(root, name) as descriptor, os.scandir(descriptor) as scan:
        listed = [_entry(item.name, item.stat(follow_symlinks=False)) for item in scan]
    return sorted(listed, key=lambda entry: entry.name)


def files_below(root: Path, name: str = "") -> list[str]:
    """Return the names below `root` of all files below a folder.

    Raises:
        UnsafeFileError: There is a link, a pipe or a device among them.
        OSError: The folder is missing or cannot be read.
    """
    names = []
    for entry in entries(root, name):
        inner = f"{name}/{entry.name}" if name else entry.name
        if entry.is_folder:
            names += files_below(root, inner)
        elif entry.is_file:
            names.append(inner)
        else:
            raise _unsafe(root / inner, None)
    return names


@contextlib.contextmanager
def new_file(root: Path, name: str, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file that replaces `name` at the end of the block, atomically; after an error nothing is changed.

    Its folder must exist. Readers see the old or the new content, with `sync` also after a power cut.

    Raises:
        UnsafeFileError: A folder in the name is a link.
        OSError: The file cannot be written.
    """
    with _parent(root, name) as (folder, last):
        temporary = f".{last}.{secrets.token_hex(8)}{temp_suffix()}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o666, dir_fd=folder), "w+b") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        if sync:
            _sync_descriptor(folder)


def write(root: Path, name: str, content: bytes | str) -> None:
    """Replace a file atomically and durably, as `new_file`."""
    with new_file(root, name) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def append(root: Path, name: str) -> BinaryIO:
    """Open a file for appending, and create it if it is missing.

    A file with more than one name is replaced by a copy first: the other names keep their content.

    Raises:
        UnsafeFileError: A component is a link, or the file is no regular file.
        OSError: The file cannot be written.
    """
    with _parent(root, name) as (folder, last):
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = _open(folder, last, flags, root / name)
        if os.fstat(descriptor).st_nlink > 1:
            with os.fdopen(descriptor, "rb") as shared, new_file(root, name) as copy:
                shared.seek(0)
                shutil.copyfileobj(shared, copy)
            descriptor = _open(folder, last, flags, root / name)
        return os.fdopen(descriptor, "ab")


def make_folder(root: Path, name: str, *, exist_ok: bool = True) -> Path:
    """Create a folder and those that contain it below the root, and return its path.

    Raises:
        UnsafeFileError: A component is a link or no folder.
        FileExistsError: It exists, and `exist_ok` is False.
        OSError: It cannot be created.
    """
    parts = components(name)
    for count in range(1, len(parts) + 1):
        inner = "/".join(parts[:count])
        with _parent(root, inner) as (folder, last):
            try:
                os.mkdir(last, dir_fd=folder)
            except FileExistsError:
                if not is_folder(root, inner):
                    raise _unsafe(root / inner, None) from None
                if count == len(parts) and not exist_ok:
                    raise
    return root / name


def rename(root: Path, old: str, new: str) -> None:
    """Rename a file or folder below a root; a file replaces a file. Raises UnsafeFileError and OSError."""
    with _parent(root, old) as (source, name), _parent(root, new) as (target, new_name):
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)


def remove(root: Path, name: str) -> None:
    """Remove a file, or a link itself; a missing one is no error. Raises UnsafeFileError and OSError."""
    with contextlib.suppress(FileNotFoundError), _parent(root, name) as (folder, last):
        os.unlink(last, dir_fd=folder)


def remove_folder(root: Path, name: str) -> None:
    """Remove a folder and its content, or a link itself; a missing one, and what cannot be removed, is no error.

    Raises:
        UnsafeFileError: A folder in the name is a link.
    """
    entry = find(root, name)
    if entry is None:
        return
    with _parent(root, name) as (folder, last):
        if entry.is_folder:
            shutil.rmtree(last, ignore_errors=True, dir_fd=folder)
        else:
            with contextlib.suppress(OSError):
                os.unlink(last, dir_fd=folder)


def copy(source: Path, name: str, target: Path, new_name: str, *, link: bool = False) -> None:
    """Copy a file from below one root to below another, where it replaces a file.

    Args:
        source: Root of the file.
        name: Its name.
        target: Root of the copy.
        new_name: Name of the copy; its folder must exist.
        link: Make a hard link where that is possible.

    Raises:
        UnsafeFileError: A component is a link, or the file is no regular file.
        OSError: The file cannot be read, or the copy not written.
    """
    with open_file(source, name) as file:
        if link:
            with contextlib.suppress(OSError), _parent(source, name) as (folder, last), _parent(target, new_name) as (
                new_folder, new_last,
            ):  # fmt: skip
                os.link(last, new_last, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)
                return
        with new_file(target, new_name, sync=False) as new:
            shutil.copyfileobj(file, new, 1 << 20)


def sync_folder(root: Path, name: str = "") -> None:
    """Make the entries of a folder durable. Raises UnsafeFileError and OSError."""
    with _folder(root, name) as descriptor:
        _sync_descriptor(descriptor)


def _sync_descriptor(descriptor: int) -> None:
    with contextlib.suppress(PermissionError):
        os.fsync(descriptor)


def _is_kind(root: Path, name: str, kind: str) -> bool:
    entry = find(root, name)
    if entry is None:
        return False
    if not entry.is_file and not entry.is_folder:
        raise _unsafe(root / name, None)
    return bool(getattr(entry, kind))


@contextlib.contextmanager
def _parent(root: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield the descriptor of the folder that contains a name, and the last component."""
    *folders, last = components(name)
    with _folder(root, "/".join(folders)) as descriptor:
        yield descriptor, last


@contextlib.contextmanager
def _folder(root: Path, name: str) -> Iterator[int]:
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
            raise _unsafe(path, stat.S_IFLNK) from None
        raise


def _open(folder: int, name: str, flags: int, path: Path) -> int:
    """Open a regular file in the folder of a descriptor."""
    try:
        descriptor = os.open(name, flags | _FILE, 0o666, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP and _is_link(folder, name):
            raise _unsafe(path, stat.S_IFLNK) from None
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket, or a pipe without a reader
            raise _unsafe(path, None) from None
        raise
    if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise _unsafe(path, mode)
    return descriptor


def _is_link(folder: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _entry(name: str, status: os.stat_result) -> Entry:
    return Entry(name, stat.S_ISREG(status.st_mode), stat.S_ISDIR(status.st_mode), status.st_size, status.st_mtime)


def _unsafe(path: Path, mode: int | None) -> UnsafeFileError:
    """Return the error on an entry that is not opened; its kind is looked up if `mode` is None."""
    try:
        mode = path.lstat().st_mode if mode is None else mode
    except OSError:
        mode = 0
    return UnsafeFileError(_kind_message(path, mode), _HINT)


def _kind_message(path: Path, mode: int) -> Message:
    if stat.S_ISLNK(mode):
        return _("{path} is a link, and links in a folder that may be a copy are not followed.", path=path)
    return _("{path} is no regular file.", path=path)
