"""Lock files between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from headstart.errors import ResourceError, UsageError

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
        UsageError: another process holds the lock; the message names its pid and host.
        ResourceError: the lock file cannot be written.
    """
    path = folder / name
    with _lock_file(path, time.monotonic() + timeout_s) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def holder(folder: Path, name: str = "lock") -> tuple[int, str] | None:
    """Return the process id and the host in the lock file of a folder; None if it is missing or has no holder."""
    try:
        match = _HOLDER.fullmatch((folder / name).read_text(encoding="utf-8"))
    except OSError:
        return None
    return (int(match[1]), match[2]) if match else None


def _lock_file(path: Path, deadline: float) -> IO[str]:
    """Open and lock the file; retry until the deadline, and whenever its last holder deleted it in between."""
    while True:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise ResourceError(
                f"The folder {path.parent} cannot be written ({error.strerror}).",
                "Grant write permission, or copy the run to another folder.",
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise UsageError(f"{path.parent} is in use by {holder}.", "Wait for it, or stop it first.") from None
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        file.close()
