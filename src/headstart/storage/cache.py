"""Cache folder: its location, and atomic creation of files and folders in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
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
from headstart.storage import contained
from headstart.storage.contained import temp_suffix
from headstart.storage.folders import can_be_written

WRITE_ERRORS = (OSError, ResourceError, contained.UnsafeFileError)  # of files that are only computed again
MAX_REMOVED = 10_000  # unfinished files and folders of one folder
_MAX_STALE_AGE_S = 7 * 24 * 3600
_STARTED_S = time.time()  # of this process, about
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


def make_cache_folder(root: Path, name: str) -> None:
    """Create the cache and a folder in it.

    Args:
        root: The cache.
        name: Name of the folder below it.

    Raises:
        ResourceError: It cannot be created, or a link is in its place.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        contained.make_folder(root, name)
    except contained.UnsafeFileError as error:
        raise ResourceError(error.message, _("Remove it. HEADSTART_CACHE can name a folder on another disk.")) from None
    except OSError as error:
        raise _unwritable(root / name, error) from error


@contextmanager
def scratch_folder(root: Path, parent: str) -> Iterator[str]:
    """Create an empty folder to fill and pass to `commit_folder`; it is removed at the end of the block.

    Stale folders of dead processes are removed first. A process has at most one scratch folder at a time; other
    threads wait.

    Args:
        root: The cache.
        parent: Name below it of the folder in which the new one is created.

    Yields:
        The name of the new folder below `root`; it ends in `.tmp-<pid>-<host>`.

    Raises:
        ResourceError: The cache cannot be written.
    """
    scratch = f"{parent}/new.{secrets.token_hex(8)}{temp_suffix()}"
    with _scratch_lock:
        make_cache_folder(root, parent)
        try:
            remove_stale(root, parent)
            contained.make_folder(root, scratch, exist_ok=False)
            yield scratch
        except OSError as error:
            raise _unwritable(root / parent, error) from error
        finally:
            with contextlib.suppress(OSError, contained.UnsafeFileError):
                contained.remove_folder(root, scratch)


def commit_folder(root: Path, scratch: str, target: str) -> None:
    """Move the filled folder `scratch` to `target` atomically, also under a power cut: sync, then rename.

    An existing `target`, which another process created first, stays, and `scratch` is not moved.

    Args:
        root: The cache.
        scratch: Name of the folder below it.
        target: New name below it.

    Raises:
        UnsafeFileError: There is a link in one of the folders, or in the place of `target`.
        OSError: The folder cannot be synced or renamed.
    """
    names = contained.files_below(root, scratch)
    for name in names:
        with contained.open_file(root, name) as file:
            os.fsync(file.fileno())
    for folder in sorted({scratch, *(name.rpartition("/")[0] for name in names)}):
        contained.sync_folder(root, folder)
    try:
        contained.rename(root, scratch, target)
    except OSError:
        if not contained.is_folder(root, target):
            raise
    contained.sync_folder(root, target.rpartition("/")[0])


def read_cache_file(root: Path, name: str, limit: int = contained.MAX_BYTES) -> bytes | None:
    """Return the content of a file of the cache; None if it is missing, too large or a link, or cannot be read."""
    try:
        return contained.read_bytes(root, name, limit)
    except (OSError, contained.UnsafeFileError, contained.TooLargeError):
        return None


def write_cache_file(root: Path, name: str, content: bytes) -> None:
    """Replace a file of the cache atomically and create its folder.

    Write errors are ignored: what is in the cache is computed again without it.
    """
    with contextlib.suppress(*WRITE_ERRORS):
        make_cache_folder(root, name.rpartition("/")[0])
        contained.write(root, name, content)


def remove_stale(root: Path, name: str = "") -> None:
    """Remove unfinished files and folders of dead processes: `*.tmp-<pid>-<host>`.

    Those of this process are stale if they are older than it: an earlier process had the same number. Those of another
    host (a shared cache) are removed when they are older than a week, because its processes cannot be checked. A folder
    that somebody filled with such names keeps most of them: at most `MAX_REMOVED` are removed at once.

    Args:
        root: The folder that the user has named, or the cache.
        name: Name below it of the folder with the unfinished files; "" for `root`.

    Raises:
        UnsafeFileError: A component is a link.
    """
    try:
        listed = contained.entries(root, name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in itertools.islice(filter(_is_stale, listed), MAX_REMOVED):
        inner = contained.join(name, entry.name)
        (contained.remove_folder if entry.is_folder else contained.remove)(root, inner)


def _is_stale(entry: contained.Entry) -> bool:
    _unused, mark, process = entry.name.rpartition(".tmp-")
    pid, _unused, host = process.partition("-")
    if not mark or not re.fullmatch("[0-9]{1,18}", pid):
        return False
    if host != socket.gethostname():
        return time.time() - entry.modified > _MAX_STALE_AGE_S
    return entry.modified < _STARTED_S if int(pid) == os.getpid() else not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _unwritable(folder: Path, error: OSError) -> ResourceError:
    return ResourceError(_("The cache folder {folder} cannot be written ({error}).", folder=folder, error=error), _HINT)
