"""Create and check run folders."""

from __future__ import annotations

import os
import re
import shutil
import socket
from datetime import datetime
from pathlib import Path

from headstart.errors import ModelFileError, ResourceError


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


def require_space(folder: Path, needed: int) -> None:
    """Raise ResourceError when less than `needed` bytes are free where `folder` lies."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{needed / 1e9:.1f} GB are needed in {folder} and {free / 1e9:.1f} GB are free.",
            "Free some space, or choose another place.",
        )
