"""Pack run folders into bytes for a machine that does not share the file system: an uncompressed ZIP archive."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from headstart.config.plan_file import PLAN_FILE, read_plan_file
from headstart.storage.files import link_or_copy, read_json, temp_suffix
from headstart.storage.folders import make_folder

_EXCLUDED_FILES = ("lock",)  # the holder of a lock means nothing on another machine
_LINKS = "links.json"


def pack(folders: Sequence[Path]) -> bytes:
    """Return an archive of run folders, with paths relative to the parent of each folder.

    Hard links to one file (a shared backbone) are stored once.
    """
    buffer = io.BytesIO()
    first: dict[tuple[int, int], str] = {}
    links: dict[str, str] = {}
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for folder in folders:
            for path in sorted(folder.rglob("*")):
                relative = path.relative_to(folder)
                if path.is_file() and path.name not in _EXCLUDED_FILES and ".tmp-" not in str(relative):
                    name, status = str(Path(folder.name) / relative), path.stat()
                    source = first.setdefault((status.st_dev, status.st_ino), name)
                    if source == name:
                        archive.write(path, name)
                    else:
                        links[name] = source
        archive.writestr(_LINKS, json.dumps(links))
    return buffer.getvalue()


def unpack(archive: bytes, parent: Path) -> dict[str, Path]:
    """Unpack runs into `parent`.

    An existing folder with the same name and the same plan is replaced. If its plan differs, the unpacked run gets a
    numbered name. Each run appears atomically. Names in the archive cannot lead out of `parent`.

    Returns:
        The folder of each run by the name under which it was packed.
    """
    parent.mkdir(parents=True, exist_ok=True)
    scratch = parent / f"archive{temp_suffix()}"
    shutil.rmtree(scratch, ignore_errors=True)
    placed: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as content:
            content.extractall(scratch)  # zipfile drops `..` and roots from names
        scratch.mkdir(exist_ok=True)
        _restore_links(scratch)
        for folder in sorted(scratch.iterdir()):
            target = parent / folder.name
            if target.exists() and _plan_hash(target) != _plan_hash(folder):
                target = make_folder(parent, folder.name)
            shutil.rmtree(target, ignore_errors=True)
            placed[folder.name] = folder.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return placed


def _restore_links(scratch: Path) -> None:
    """Restore the hard links of an archive; ignore names that lead out of it."""
    path = scratch / _LINKS
    links = read_json(path) if path.exists() else {}
    path.unlink(missing_ok=True)
    root = scratch.resolve()
    for name, source in links.items():
        target, origin = (scratch / name).resolve(), (scratch / source).resolve()
        if target.is_relative_to(root) and origin.is_relative_to(root) and origin.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(origin, target)


def _plan_hash(folder: Path) -> str:
    return read_plan_file(folder).hash if (folder / PLAN_FILE).exists() else ""
