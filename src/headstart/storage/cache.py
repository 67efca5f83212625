"""Where what can be made again is kept, and how a folder appears there whole or not at all."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.errors import ResourceError
from headstart.storage.files import temp_suffix, write_atomic

_WEEK = 7 * 24 * 3600
_one_at_a_time = threading.Lock()
_HINT = "Point HEADSTART_CACHE at a folder that you may write to and that has room."


def cache_root() -> Path:
    """`$HEADSTART_CACHE`, else `$XDG_CACHE_HOME/headstart`, else `~/.cache/headstart`; it need not exist yet."""
    if own := os.environ.get("HEADSTART_CACHE"):
        return Path(own).expanduser().absolute()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser().absolute() / "headstart"
    return Path.home() / ".cache" / "headstart"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent` to fill and then `settle`; whatever happens in the block, none is left behind.

    It is called `new.tmp-<pid>-<host>`; leftovers of dead processes are removed first. One at a time in a process.
    Raises ResourceError where the cache cannot be written.
    """
    scratch = parent / f"new{temp_suffix()}"
    with _one_at_a_time:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            remove_stale(parent)
            scratch.mkdir()
            yield scratch
        except OSError as error:
            raise ResourceError(f"The cache folder {parent} cannot be written ({error}).", _HINT) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def commit_folder(scratch: Path, target: Path) -> None:
    """Make the filled folder `scratch` appear as `target`, whole even after a power cut: sync, then rename.

    If `target` exists, because another process was quicker, it stays and `scratch` is left alone. Raises OSError.
    """
    for parent, _, names in os.walk(scratch):
        for name in names:
            _sync(Path(parent) / name)
        _sync(Path(parent))
    try:
        scratch.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    _sync(target.parent)


def write_whole(target: Path, content: bytes) -> None:
    """Replace the file `target` by `content` in one step, creating its folder. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, content)


def remove_stale(folder: Path) -> None:
    """Remove the unfinished work that dead processes left in `folder`: `*.tmp-<pid>-<host>`.

    A process on another host (a shared cache) cannot be asked; its leftovers go when a week old.
    """
    for path in folder.glob("*.tmp-*-*"):
        pid, _, host = path.name.rpartition(".tmp-")[2].partition("-")
        if not pid.isdigit():
            continue
        here = host == socket.gethostname()
        if (here and (int(pid) == os.getpid() or not _alive(int(pid)))) or (not here and _age(path) > _WEEK):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if os.name == "nt":  # there os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
