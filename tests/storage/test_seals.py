"""Seals of runs that have ended: what was changed is refused and named, and what was hashed is not hashed again."""

import os
from pathlib import Path

import pytest

from headstart.storage import seals
from headstart.storage.schemas.schema import StoredFile
from headstart.storage.schemas.seal import Seal


def seal_of(folder: Path, *names: str) -> Seal:
    files = {name: StoredFile.of((folder / name).read_bytes()) for name in names}
    return Seal(plan="", result="", files=files)


def test_a_file_with_several_names_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    real = seals._hash
    monkeypatch.setattr(seals, "_hash", lambda file: hashed.append(1) or real(file))
    (tmp_path / "shared").write_bytes(b"weights")
    for number in range(4):
        os.link(tmp_path / "shared", tmp_path / f"{number}")  # changes the ctime
        seals.require_all(tmp_path, seal_of(tmp_path, f"{number}"))
    assert len(hashed) == 1


def test_a_change_with_the_former_size_and_time_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    seal, before = seal_of(tmp_path, "file"), file.stat()
    seals.require_all(tmp_path, seal)
    file.write_bytes(b"behind")
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # until the clock of the file system goes on
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(seals.BrokenSealError, match="file"):
        seals.require_all(tmp_path, seal)
