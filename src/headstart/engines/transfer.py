"""Pack run folders into bytes for a machine that does not share the file system: an uncompressed tar archive."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from headstart.config.plan_file import PLAN_FILE, read_plan_file
from headstart.storage.contained import temp_suffix
from headstart.storage.folders import make_folder


def pack(folders: Sequence[Path]) -> bytes:
    """Return an archive of run folders, with paths relative to the parent of each folder.

    Hard links to one file (a shared backbone) are stored once.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in folders:
            archive.add(folder, folder.name, filter=_without_locks)
    return buffer.getvalue()


def unpack(archive: bytes, parent: Path) -> dict[str, Path]:
    """Unpack runs into `parent`.

    An existing folder with the same name and the same plan is replaced. If its plan differs, the unpacked run gets a
    numbered name. Each run appears atomically.

    Returns:
        The folder of each run by the name under which it was packed.

    Raises:
        tarfile.FilterError: A name or a link in the archive leads out of `parent`; nothing is unpacked.
    """
    parent.mkdir(parents=True, exist_ok=True)
    scratch = parent / f"archive{temp_suffix()}"
    shutil.rmtree(scratch, ignore_errors=True)
    placed: dict[str, Path] = {}
    try:
        scratch.mkdir()
        with tarfile.open(fileobj=io.BytesIO(archive)) as content:
            content.extractall(scratch, filter="data")
        for folder in sorted(scratch.iterdir()):
            target = parent / folder.name
            if target.exists() and _plan_hash(target) != _plan_hash(folder):
                target = make_folder(parent, folder.name)
            shutil.rmtree(target, ignore_errors=True)
            placed[folder.name] = folder.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return placed


def _without_locks(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Return the member; None for an unfinished file, and for a lock: its holder means nothing on another machine."""
    path = member.name.partition("/")[2]
    return None if Path(path).name == "lock" or ".tmp-" in path else member


def _plan_hash(folder: Path) -> str:
    return read_plan_file(folder).hash if (folder / PLAN_FILE).exists() else ""
