"""Open and change the files below a folder without following links, such as those of a run, a study or the cache.

Run folders are copied between people, so that a folder may contain links that somebody else has set. Every function
takes the folder that the user has named, its root, and the name of a file below it, with `/` between components. The
root itself may be reached through links. Below it, each component is opened relative to the descriptor of the folder
before it, and a link, a pipe or a device is an error. Files are replaced by a rename, so that other names of a file
(hard links) keep their content. Hard links can be read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headstart.errors import DataError
from headstart.i18n import _
from headstart.storage.descriptors import Entry as Entry
from headstart.storage.descriptors import UnsafeFileError as UnsafeFileError
from headstart.storage.descriptors import components as components
from headstart.storage.descriptors import entry_of, folder_of, open_regular, parent_of, unsafe
from headstart.text import format_bytes

MAX_BYTES = 256_000_000  # of a file that is read as a whole, unless a reader has a limit of its own
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TooLargeError(DataError):
    """A file is larger than its reader accepts."""


def temp_suffix() -> str:
    """Return the suffix of unfinished files of this process, by which `remove_stale` recognizes stale ones."""
    return f".tmp-{os.getpid()}-{socket.gethostname()}"


def join(name: str, *parts: str) -> str:
    """Return the name of a file in the folder `name`; "" is the root."""
    return "/".join((name, *parts) if name else parts)


def subfolder(root: Path, name: str) -> Path:
    """Return the path of a folder that a record names, as a root for other calls; it may be missing.

    Raises:
        UnsafeFileError: The name leads out of the root, a component is a link, or it is a pipe or a device.
    """
    is_folder(root, name)
    return root / name


def open_file(root: Path, name: str, *, change: bool = False) -> BinaryIO:
    """Open a file for reading.

    Args:
        root: The folder that the user has named.
        name: Name below it.
        change: Open it for reading and writing, in place. Only for a file that has no other name.

    Raises:
        UnsafeFileError: A component is a link, or the file is no regular file.
        OSError: The file is missing or cannot be read.
    """
    with parent_of(root, name) as (folder, last):
        descriptor = open_regular(folder, last, os.O_RDWR if change else os.O_RDONLY, root / name)
        return os.fdopen(descriptor, "r+b" if change else "rb")


def read_bytes(root: Path, name: str, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a file. Raises TooLargeError beyond `limit` bytes, else as `open_file`."""
    with open_file(root, name) as file:
        size = os.fstat(file.fileno()).st_size  # what is read is allocated first
        if size > limit:
            raise too_large(root / name, limit)
        return file.read(size)


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
        with parent_of(root, name) as (folder, last):
            return entry_of(last, os.stat(last, dir_fd=folder, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_file(root: Path, name: str) -> bool:
    """Return True if there is a file. Raises UnsafeFileError if it, or a folder in its name, is a link or special."""
    entry = _find_plain(root, name)
    return entry is not None and entry.is_file


def is_folder(root: Path, name: str) -> bool:
    """Return True if there is a folder. Raises UnsafeFileError if it, or a folder in its name, is a link or special."""
    entry = _find_plain(root, name)
    return entry is not None and entry.is_folder


def entries(root: Path, name: str = "") -> list[Entry]:
    """Return the entries of a folder in the order of their names; links are among them, and are not followed.

    Args:
        root: The folder that the user has named.
        name: Name of a folder below it; "" for the root.

    Raises:
        UnsafeFileError: A component is a link.
        OSError: The folder is missing or cannot be read.
    """
    with folder_of(root, name) as descriptor, os.scandir(descriptor) as scan:
        listed = [entry_of(item.name, item.stat(follow_symlinks=False)) for item in scan]
    return sorted(listed, key=lambda entry: entry.name)


def files_below(root: Path, name: str = "") -> list[str]:
    """Return the names below `root` of all files below a folder.

    Raises:
        UnsafeFileError: There is a link, a pipe or a device among them, or they are nested too deeply.
        OSError: The folder is missing or cannot be read.
    """
    names = []
    for entry in entries(root, name):
        inner = join(name, entry.name)
        if entry.is_folder:
            names += files_below(root, inner)
        elif entry.is_file:
            names.append(inner)
        else:
            raise unsafe(root / inner, None)
    return names


@contextlib.contextmanager
def new_file(root: Path, name: str, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Yield a new file that replaces `name` at the end of the block, atomically; after an error nothing is changed.

    Its folder must exist. Readers see the old or the new content, with `sync` also after a power cut.

    Raises:
        UnsafeFileError: A folder in the name is a link.
        OSError: The file cannot be written.
    """
    with parent_of(root, name) as (folder, last):
        temporary = f".{last[:40]}.{secrets.token_hex(8)}{temp_suffix()}"
        try:
            with os.fdopen(os.open(temporary, _NEW, 0o666, dir_fd=folder), "w+b") as file:
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


def create_file(root: Path, name: str) -> BinaryIO:
    """Open a new file for writing. Raises UnsafeFileError, FileExistsError, and OSError if it cannot be written."""
    with parent_of(root, name) as (folder, last):
        return os.fdopen(os.open(last, _NEW, 0o666, dir_fd=folder), "wb")


def create(root: Path, name: str, content: bytes) -> None:
    """Write a new file durably. Raises as `create_file`."""
    with create_file(root, name) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def append(root: Path, name: str) -> BinaryIO:
    """Open a file for appending, and create it if it is missing.

    A file with more than one name is replaced by a copy first: the other names keep their content.

    Raises:
        UnsafeFileError: A component is a link, or the file is no regular file.
        OSError: The file cannot be written.
    """
    with parent_of(root, name) as (folder, last):
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = open_regular(folder, last, flags, root / name)
        if os.fstat(descriptor).st_nlink > 1:
            with os.fdopen(descriptor, "rb") as shared, new_file(root, name) as copy:
                shared.seek(0)
                shutil.copyfileobj(shared, copy)
            descriptor = open_regular(folder, last, flags, root / name)
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
        with parent_of(root, inner) as (folder, last):
            try:
                os.mkdir(last, dir_fd=folder)
            except FileExistsError:
                if not is_folder(root, inner):
                    raise unsafe(root / inner, None) from None
                if count == len(parts) and not exist_ok:
                    raise
    return root / name


def rename(root: Path, old: str, new: str) -> None:
    """Rename a file or folder below a root; a file replaces a file. Raises UnsafeFileError and OSError."""
    with parent_of(root, old) as (source, name), parent_of(root, new) as (target, new_name):
        os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)


def remove(root: Path, name: str) -> None:
    """Remove a file, or a link itself; a missing one is no error. Raises UnsafeFileError and OSError."""
    with contextlib.suppress(FileNotFoundError), parent_of(root, name) as (folder, last):
        os.unlink(last, dir_fd=folder)


def remove_folder(root: Path, name: str) -> None:
    """Remove a folder and its content, or a link itself; a missing one, and what cannot be removed, is no error.

    Raises:
        UnsafeFileError: A folder in the name is a link.
    """
    entry = find(root, name)
    if entry is None:
        return
    with parent_of(root, name) as (folder, last):
        if entry.is_folder:
            with contextlib.suppress(RecursionError):  # folders that are nested a thousand times stay
                shutil.rmtree(last, ignore_errors=True, dir_fd=folder)
        else:
            with contextlib.suppress(OSError):
                os.unlink(last, dir_fd=folder)


def copy(source: Path, name: str, target: Path, new_name: str, *, link: bool = False) -> None:
    """Copy a file from below one root to below another, where it replaces a file; the copy is durable.

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
        if link and _linked(source, name, target, new_name):
            return
        with new_file(target, new_name) as new:
            shutil.copyfileobj(file, new, 1 << 20)


def _linked(source: Path, name: str, target: Path, new_name: str) -> bool:
    """Return whether a hard link could be made."""
    with parent_of(source, name) as (folder, last), parent_of(target, new_name) as (new_folder, new_last):
        try:
            os.link(last, new_last, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)
        except OSError:
            return False
        _sync_descriptor(new_folder)
    return True


def sync_folder(root: Path, name: str = "") -> None:
    """Make the entries of a folder durable. Raises UnsafeFileError and OSError."""
    with folder_of(root, name) as descriptor:
        _sync_descriptor(descriptor)


def _sync_descriptor(descriptor: int) -> None:
    with contextlib.suppress(PermissionError):
        os.fsync(descriptor)


def _find_plain(root: Path, name: str) -> Entry | None:
    """Return the entry of a file or a folder; None if it is missing. Raises UnsafeFileError for other entries."""
    entry = find(root, name)
    if entry is not None and not entry.is_file and not entry.is_folder:
        raise unsafe(root / name, None)
    return entry
