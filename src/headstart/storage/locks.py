"""Lock files between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

from headstart.errors import DataError, ResourceError, UsageError
from headstart.i18n import _
from headstart.path_names import name_fault
from headstart.storage import contained

_MAX_BYTES = 1000
_HOLDER = re.compile(r"process (\d+) on (.+)\n")


@contextlib.contextmanager
def locked(folder: Path, name: str = "lock", timeout_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `name` of a folder, which protects the folder or a part of it.

    The lock of a dead process is taken over.

    Args:
        folder: folder that contains the lock file.
        name: name of the lock file.
        timeout_s: seconds to wait for another process that holds the lock.

    Raises:
        DataError: the name of the folder is not UTF-8, and its files could not be continued.
        UsageError: another process holds the lock; the message names its pid and host.
        ResourceError: the lock file cannot be written or locked.
    """
    if fault := name_fault(folder.absolute()):
        raise DataError(*fault)
    _require_own_file(folder, name)
    with _acquire(folder / name, timeout_s):
        with contained.open_file(folder, name, change=True) as file:
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        try:
            yield
        finally:
            contained.remove(folder, name)  # while it is locked: FileLock retries if it has locked a deleted file


def _require_own_file(folder: Path, name: str) -> None:
    """Raise UnsafeFileError for a lock that is a link or special: FileLock empties what it locks.

    One that is another name of a file is removed, unless it is locked: a backup may give it another name then.
    """
    try:
        file = contained.open_file(folder, name)
    except OSError:  # none yet, or one that cannot be read: FileLock reports it
        return
    with file:
        if os.fstat(file.fileno()).st_nlink < 2:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(folder, name) from None
        contained.remove(folder, name)


def holder(folder: Path, name: str = "lock") -> tuple[int, str] | None:
    """Return the process id and the host in the lock file of a folder; None if it is missing or has no holder."""
    try:
        match = _HOLDER.fullmatch(contained.read_bytes(folder, name, _MAX_BYTES).decode(errors="replace"))
    except (OSError, DataError):
        return None
    return (int(match[1]), match[2]) if match else None


def _acquire(path: Path, timeout_s: float) -> AbstractContextManager[object]:
    """Lock the file, and return what releases it."""
    try:
        # Without a fallback to the mere existence of the file: only the kernel frees the lock of a killed process.
        return FileLock(path, timeout=timeout_s, fallback_to_soft=False).acquire()
    except Timeout:
        raise _in_use(path.parent, path.name) from None
    except OSError as error:
        raise ResourceError(
            _("The folder {folder} cannot be written or locked ({reason}).", folder=path.parent, reason=error.strerror),
            _("Grant write permission, or copy the run to another folder."),
        ) from None


def _in_use(folder: Path, name: str) -> UsageError:
    pid, host = holder(folder, name) or (None, "")
    message = _("{folder} is in use by another process.", folder=folder)
    if pid is not None:
        message = _("{folder} is in use by process {pid} on {host}.", folder=folder, pid=pid, host=host)
    return UsageError(message, _("Wait for it, or stop it first."))
