"""Cache folder: its location, and atomic creation of files and folders in it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.errors import ResourceError
from headstart.i18n import Message, _
from headstart.path_names import expanded
from headstart.storage.contained import temp_suffix
from headstart.storage.files import write_atomic
from headstart.storage.folders import can_be_written

_MAX_STALE_AGE_S = 7 * 24 * 3600
_scratch_lock = threading.Lock()
_HINT = _("Set HEADSTART_CACHE to a writable folder with free space.")


def cache_root() -> Path:
    """Return `$HEADSTART_CACHE`, else `$XDG_CACHE_HOME/headstart`, else `~/.cache/headstart`; it may not exist yet.

    If the latter two cannot be written, or if there is no home, it is a folder of this user for temporary files.

    Raises:
        ResourceError: there is no such folder either.
    """
    if configured := os.environ.get("HEADSTART_CACHE"):
        return expanded(configured).absolute()
    usual = _usual_root()
    return usual if usual is not None and can_be_written(usual) else _temporary_root()


def cache_note() -> Message | None:
    """Return a sentence if the cache is not where it usually is; else None."""
    if os.environ.get("HEADSTART_CACHE") or cache_root() == (usual := _usual_root()):
        return None
    reason = _("there is no home folder") if usual is None else _("{folder} cannot be written", folder=usual)
    return _(
        "The cache is in {folder}, since {reason}; HEADSTART_CACHE names another folder.",
        folder=cache_root(),
        reason=reason,
    )


def _usual_root() -> Path | None:
    """Return the cache of the user's settings or home; None without a home."""
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return expanded(shared).absolute() / "headstart"
    try:
        return Path.home().absolute() / ".cache" / "headstart"
    except RuntimeError:  # no HOME, and the user is not in the list of users
        return None


def _temporary_root() -> Path:
    """Return a folder for temporary files that only this user can read; it is created."""
    try:
        folder = Path(tempfile.gettempdir()) / f"headstart-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise ResourceError(_("There is no folder for the cache ({reason}).", reason=error.strerror), _HINT) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ResourceError(_("The cache folder {folder} belongs to another user.", folder=folder), _HINT)
    return folder


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Create an empty folder in `parent` to fill and pass to `commit_folder`; it is removed at the end of the block.

    Its name is `new.tmp-<pid>-<host>`. Stale folders of dead processes are removed first. A process has at most one
    scratch folder at a time; other threads wait.

    Raises:
        ResourceError: the cache cannot be written.
    """
    scratch = parent / f"new{temp_suffix()}"
    with _scratch_lock:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            remove_stale(parent)
            scratch.mkdir()
            yield scratch
        except OSError as error:
            raise ResourceError(
                _("The cache folder {folder} cannot be written ({error}).", folder=parent, error=error), _HINT
            ) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def commit_folder(scratch: Path, target: Path) -> None:
    """Move the filled folder `scratch` to `target` atomically, also under a power cut: sync, then rename.

    An existing `target`, which another process created first, stays, and `scratch` is not moved.

    Raises:
        OSError: the folder cannot be synced or renamed.
    """
    for parent, _unused, names in os.walk(scratch):
        for name in names:
            _sync(Path(parent) / name)
        _sync(Path(parent))
    try:
        scratch.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    _sync(target.parent)


def write_cache_file(target: Path, content: bytes) -> None:
    """Replace the file `target` atomically and create its folder. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, content)


def remove_stale(folder: Path) -> None:
    """Remove unfinished files and folders of dead processes from `folder`: `*.tmp-<pid>-<host>`.

    Those of another host (a shared cache) are removed when they are older than a week, because its processes cannot be
    checked.
    """
    for path in folder.glob("*.tmp-*-*"):
        pid, _unused, host = path.name.rpartition(".tmp-")[2].partition("-")
        if not pid.isdigit():
            continue
        is_local = host == socket.gethostname()
        is_dead = is_local and (int(pid) == os.getpid() or not _is_alive(int(pid)))
        if is_dead or (not is_local and _age_s(path) > _MAX_STALE_AGE_S):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
