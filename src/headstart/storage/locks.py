"""Lock a file against other processes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from headstart.errors import ResourceError, UsageError

try:
    import fcntl
except ImportError:  # Windows: the lock file alone has to do
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(folder: Path, name: str = "lock", patience: float = 0.0) -> Iterator[None]:
    """Hold the file `name` of a folder, which stands for the folder or for a part of it.

    A second process waits for `patience` seconds and is then refused; a dead one's lock is taken over. Raises
    UsageError naming the holder's pid and host.
    """
    path = folder / name
    with _lock_file(path, time.monotonic() + patience) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _lock_file(path: Path, until: float) -> IO[str]:
    """Open and lock the file, again if its last holder took it away in between, or has it until then."""
    while True:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise ResourceError(
                f"The folder {path.parent} cannot be written ({error.strerror}).",
                "Make it writable, or copy the run elsewhere.",
            ) from None
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise UsageError(f"{path.parent} is in use by {holder}.", "Wait for it, or stop it first.") from None
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        file.close()
