"""The index of the runs that this user began, outside of every run folder.

It tells code that the user has run from code that came with a folder. It is a file of JSON lines in a folder that only
the user can read: `$HEADSTART_DATA`, else `$XDG_DATA_HOME/headstart`, else `~/.local/share/headstart`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from headstart.path_names import expanded
from headstart.storage.schemas.schema import VersionedSchema

INDEX_FILE = "runs.jsonl"


class IndexLine(VersionedSchema):
    """A run or study that this user began, or code that this user trusts."""

    time: float = Field(description="when it began, in seconds since 1970")
    folder: Path = Field(description="its folder")
    plan: str = Field(description="hash of the plan; empty for a study, and for code that was trusted")
    code: str = Field(description="sha256 of the code of the user's own network; empty for other networks")
    seal: str = Field("", description="sha256 of the seal of a run that has ended; empty for others")


def data_root() -> Path:
    """Return the folder of the user's records; it may not exist yet."""
    if configured := os.environ.get("HEADSTART_DATA"):
        return expanded(configured).absolute()
    if shared := os.environ.get("XDG_DATA_HOME"):
        return expanded(shared).absolute() / "headstart"
    return Path.home() / ".local" / "share" / "headstart"


def add(folder: Path, plan: str = "", code: str = "", seal: str = "") -> None:
    """Add a run, a study or trusted code. Write errors are ignored: the user has to trust the code once more.

    Args:
        folder: Its folder.
        plan: Hash of the plan; "" for a study and for code that was trusted.
        code: Hash of the code of the user's own network; "" for other networks.
        seal: Digest of the seal of a run that has ended; "" for others.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # no home, or a name that is not UTF-8
        line = IndexLine(time=time.time(), folder=folder.absolute(), plan=plan, code=code, seal=seal)
        data_root().mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data_root() / INDEX_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.model_dump_json().encode() + b"\n")  # one write: processes share the file
        finally:
            os.close(descriptor)


def knows_code(sha256: str) -> bool:
    """Return True if this user began a run with the code, or trusts it."""
    return any(line.code == sha256 for line in _lines())


def knows_seal(digest: str) -> bool:
    """Return True if a run with this seal ended on behalf of this user."""
    return any(line.seal == digest for line in _lines())


def _lines() -> Iterator[IndexLine]:
    """Yield the lines of the index; damaged ones are skipped, and a missing index has none."""
    with contextlib.suppress(OSError, RuntimeError):
        for text in (data_root() / INDEX_FILE).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValidationError):
                yield IndexLine.model_validate_json(text)
