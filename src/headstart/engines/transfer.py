"""Run folders as bytes, for a machine that does not see them: a ZIP archive that is not compressed."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from headstart.storage.files import link, read_json, temp_suffix
from headstart.storage.folders import make_folder

_LEFT = ("lock",)  # whose it is says nothing elsewhere
_LINKS = "links.json"


def pack(folders: Sequence[Path]) -> bytes:
    """The files of run folders, under each folder's name. One file on the disk (a shared trunk) travels once."""
    buffer = io.BytesIO()
    first: dict[tuple[int, int], str] = {}
    links: dict[str, str] = {}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.name not in _LEFT and ".tmp-" not in str(path.relative_to(folder)):
                    name, about = str(Path(folder.name) / path.relative_to(folder)), path.stat()
                    source = first.setdefault((about.st_dev, about.st_ino), name)
                    if source == name:
                        archive.write(path, name)
                    else:
                        links[name] = source
        archive.writestr(_LINKS, json.dumps(links))
    return buffer.getvalue()


def unpack(parcel: bytes, parent: Path) -> dict[str, Path]:
    """Lay packed runs into `parent`; returns where each is, by the name it was packed under.

    A run that lies there already, by its plan, is replaced; one that only has the name of another gets a number. Each
    appears whole. Names in the archive cannot lead out of `parent`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    scratch = parent / f"parcel{temp_suffix()}"
    shutil.rmtree(scratch, ignore_errors=True)
    placed: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(parcel)) as archive:
            archive.extractall(scratch)  # zipfile drops `..` and roots from names
        scratch.mkdir(exist_ok=True)
        _relink(scratch)
        for folder in sorted(scratch.iterdir()):
            target = parent / folder.name
            if target.exists() and _hash(target) != _hash(folder):
                target = make_folder(parent, folder.name)
            shutil.rmtree(target, ignore_errors=True)
            placed[folder.name] = folder.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return placed


def _relink(scratch: Path) -> None:
    """Make the links of a parcel anew; names that lead out of it are passed over."""
    path = scratch / _LINKS
    links = read_json(path) if path.exists() else {}
    path.unlink(missing_ok=True)
    root = scratch.resolve()
    for name, source in links.items():
        target, origin = (scratch / name).resolve(), (scratch / source).resolve()
        if target.is_relative_to(root) and origin.is_relative_to(root) and origin.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            link(origin, target)


def _hash(folder: Path) -> str:
    plan = folder / "plan.json"
    return str(read_json(plan)["hash"]) if plan.exists() else ""
