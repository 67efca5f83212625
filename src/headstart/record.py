"""The run folder: append, read, cut, replace whole. Files are the contract between rooms.

`metrics.jsonl` is the truth about a run: one JSON object a line, in the order of events. Everything that depends on
the clock stands under the keys `time` and `speed`, so that two runs of one plan differ in nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from headstart.errors import DataError, ModelFileError, ResourceError, UsageError

try:
    import fcntl
except ImportError:  # Windows: the lock file alone has to do
    fcntl = None  # type: ignore[assignment]

SCHEMA = 1
CLOCK_KEYS = frozenset({"time", "speed"})


def slug(text: str) -> str:
    """A name that is safe in a path: letters, digits, `.`, `-`, `+`, `@`, at most 80 of them."""
    return re.sub(r"[^A-Za-z0-9.+@-]+", "-", text).strip("-.")[:80] or "run"


def create_run(parent: Path, name: str, seed: int, now: datetime | None = None) -> Path:
    """Make `parent/<Oct20_14-44-12_host>-<name>-s<seed>` and return it; a number is added when it exists.

    Raises ResourceError when the folder cannot be made.
    """
    host = slug(socket.gethostname().partition(".")[0])
    return make_folder(parent, f"{stamp(now)}_{host}-{slug(name)}-s{seed}")


def stamp(now: datetime | None = None) -> str:
    """`Oct20_14-44-12`, in local time, as TensorBoard's own run names begin."""
    return (now or datetime.now()).strftime("%b%d_%H-%M-%S")


def make_folder(parent: Path, stem: str) -> Path:
    """Make `parent/stem`, or `stem-2`, `stem-3`, … where that exists. Raises ResourceError when it cannot be made."""
    for number in range(1, 1000):
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ResourceError(
                f"The folder {folder} cannot be made ({error.strerror}).", "Choose another place with --runs DIR."
            ) from None
        return folder
    raise ResourceError(f"There are a thousand folders named {stem}.", "Choose another place with --runs DIR.")


def require_model(path: Path) -> None:
    """Raise ModelFileError where there is nothing that could hold a model."""
    if not path.exists():
        raise ModelFileError(f"{path} does not exist.", "Name a run, its model folder, or a folder of runs.")


def require_writable(folder: Path) -> None:
    """Raise ResourceError where runs cannot be made in `folder`, which need not exist yet; nothing is made."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ResourceError(f"Runs cannot be written into {folder}.", "Choose another place with --runs DIR.")


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable (a no-op where folders cannot be opened)."""
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def mark() -> str:
    """The ending of what this process has not finished writing: whose it is can be asked later."""
    return f".tmp-{os.getpid()}-{socket.gethostname()}"


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where there can be none: either way `target` is whole by itself."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace a file whole: readers see the old content or the new, also after a power cut."""
    temporary = path.with_name(f".{path.name}{mark()}")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole; NaN and infinity are refused (they are not JSON)."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is missing.", "Name a folder that headstart wrote.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}).", "Take it from a copy, or start the run anew.") from None


class Journal:
    """Appends lines to `metrics.jsonl`.

    Lines are buffered; `sync` makes everything so far durable and returns the size in bytes, which a checkpoint keeps:
    a resumed run cuts the file there, so no event ever stands twice.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Open for appending; with `size` the file is first cut to so many bytes."""
        self.path = path
        if size is not None:
            have = path.stat().st_size if path.exists() else 0
            if have < size:
                raise DataError(
                    f"{path} has {have} bytes, its checkpoint knows of {size}.",
                    "Take the file from a copy, or start the run anew.",
                )
            if have:
                os.truncate(path, size)
        self._file: IO[str] = path.open("a", encoding="utf-8", newline="\n")

    def append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":"), allow_nan=False) + "\n")

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> int:
        self._file.flush()
        os.fsync(self._file.fileno())
        return self.path.stat().st_size

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a record; a last line that was cut by a crash is passed over.

    Raises DataError for a line that is damaged.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if text.endswith("\n"):
                try:
                    line = json.loads(text)
                except ValueError:
                    raise DataError(f"Line {number} of {path} is damaged.", "Take the file from a copy.") from None
                yield line


def without_clock(line: dict[str, Any]) -> dict[str, Any]:
    """A line less what depends on the clock: equal for equal plans."""
    return {key: value for key, value in line.items() if key not in CLOCK_KEYS}


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


def require_space(folder: Path, needed: int) -> None:
    """Raise ResourceError when less than `needed` bytes are free where `folder` lies."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{needed / 1e9:.1f} GB are needed in {folder} and {free / 1e9:.1f} GB are free.",
            "Free some space, or choose another place.",
        )
