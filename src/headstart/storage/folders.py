"""Create and check run folders."""

from __future__ import annotations

import os
import re
import shutil
import socket
from datetime import datetime
from pathlib import Path

from headstart.errors import ModelFileError, ResourceError
from headstart.i18n import Message, _
from headstart.path_names import name_fault
from headstart.text import format_bytes

RUN_NAME_GLOB = "[A-Z][a-z][a-z][0-9][0-9]_*-s[0-9]*"  # of the names that `create_run` gives


def slug(text: str) -> str:
    """Return a name that is safe in a path: at most 80 letters, digits, `.`, `-`, `+` and `@`."""
    return re.sub(r"[^A-Za-z0-9.+@-]+", "-", text).strip("-.")[:80] or "run"


def create_run(parent: Path, name: str, seed: int, now: datetime | None = None) -> Path:
    """Create and return `parent/<Oct20_14-44-12_host>-<name>-s<seed>`, with a number appended when it exists.

    Raises:
        ResourceError: the folder cannot be created.
    """
    host = slug(socket.gethostname().partition(".")[0])
    return make_folder(parent, f"{stamp(now)}_{host}-{slug(name)}-s{seed}")


def stamp(now: datetime | None = None) -> str:
    """Return the local time as `Oct20_14-44-12`, the prefix of TensorBoard's default run names."""
    return (now or datetime.now()).strftime("%b%d_%H-%M-%S")


def make_folder(parent: Path, stem: str) -> Path:
    """Create and return `parent/stem`, or `stem-2`, `stem-3`, … when it exists. Raises ResourceError on failure."""
    for number in range(1, 1000):
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ResourceError(
                _("The folder {folder} cannot be created ({reason}).", folder=folder, reason=error.strerror),
                _("Choose another folder with --runs DIR."),
            ) from None
        return folder
    raise ResourceError(
        _("{folder} has a thousand folders named {name}.", folder=parent, name=stem),
        _("Choose another folder with --runs DIR."),
    )


def require_model(path: Path) -> None:
    """Raise ModelFileError when `path` does not exist."""
    if not path.exists():
        raise ModelFileError(
            _("{path} does not exist.", path=path), _("Use a run, its model folder, or a folder of runs.")
        )


def require_writable(folder: Path) -> None:
    """Raise ResourceError when runs cannot be created in `folder`, which may not exist yet; creates nothing."""
    if fault := name_fault(folder.absolute()):
        raise ResourceError(fault.message, _("Choose another folder with --runs DIR."))
    if not can_be_written(folder.absolute()):
        raise ResourceError(
            _("Runs cannot be written into {folder}.", folder=folder), _("Choose another folder with --runs DIR.")
        )


def require_output_folder(folder: Path, hint: Message | None = None) -> None:
    """Raise ResourceError when output on finished runs cannot be written into `folder`; creates nothing.

    The default hint is for output that has its place in the folder of the runs.
    """
    if not can_be_written(folder.absolute()):
        raise ResourceError(
            _("{folder} can be read, but not written.", folder=folder),
            hint or _("Copy the folder to a place that you can write to, and name the copy."),
        )


def can_be_written(folder: Path) -> bool:
    """Return whether files can be created in an absolute folder, which may not exist yet."""
    try:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    except OSError:
        return False
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def require_space(folder: Path, needed: int) -> None:
    """Raise ResourceError when the disk of `folder` has less than `needed` free bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            _(
                "The disk of {folder} has {free} free, but {needed} are needed.",
                folder=folder,
                free=format_bytes(free),
                needed=format_bytes(needed),
            ),
            _("Free disk space."),
        )
