"""Run folders as bytes, for a machine that does not see them: a ZIP archive that is not compressed."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from headstart.record import make_folder, mark, read_json

_LEFT = ("lock",)  # whose it is says nothing elsewhere


def pack(folders: Sequence[Path]) -> bytes:
    """The files of run folders, under each folder's name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.name not in _LEFT and ".tmp-" not in str(path.relative_to(folder)):
                    archive.write(path, str(Path(folder.name) / path.relative_to(folder)))
    return buffer.getvalue()


def unpack(parcel: bytes, parent: Path) -> dict[str, Path]:
    """Lay packed runs into `parent`; returns where each is, by the name it was packed under.

    A run that lies there already, by its plan, is replaced; one that only has the name of another gets a number. Each
    appears whole. Names in the archive cannot lead out of `parent`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    scratch = parent / f"parcel{mark()}"
    shutil.rmtree(scratch, ignore_errors=True)
    placed: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(parcel)) as archive:
            archive.extractall(scratch)  # zipfile drops `..` and roots from names
        scratch.mkdir(exist_ok=True)
        for folder in sorted(scratch.iterdir()):
            target = parent / folder.name
            if target.exists() and _hash(target) != _hash(folder):
                target = make_folder(parent, folder.name)
            shutil.rmtree(target, ignore_errors=True)
            placed[folder.name] = folder.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return placed


def _hash(folder: Path) -> str:
    plan = folder / "plan.json"
    return str(read_json(plan)["hash"]) if plan.exists() else ""
