"""Seals of runs that have ended: what was changed is refused and named, and what was hashed is not hashed again."""

import json
import os
from pathlib import Path

import pytest

from headstart.analysis.run_records import read_run
from headstart.config.plan_file import PLAN_FILE, read_plan_file, write_plan_file
from headstart.config.run_config import RunConfig
from headstart.storage import seals
from headstart.storage.schemas.schema import StoredFile
from headstart.storage.schemas.seal import Seal
from tests.files import read_json
from tests.handmade import run_result, run_role, seal, write_run_files
from tests.messages import fields_of


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


ORIGIN = {"reused_from": None, "of_others": False, "study": None, "environment": {"python": "2"}}


@pytest.mark.parametrize("field", ORIGIN)
def test_all_of_plan_json_but_the_place_of_the_images_is_sealed(tmp_path: Path, field: str) -> None:
    write_run_files(tmp_path, RunConfig(), role=run_role(), result=run_result())
    pooled = read_plan_file(tmp_path).model_copy(update={"reused_from": "/elsewhere", "of_others": True})
    write_plan_file(tmp_path, pooled)
    seal(tmp_path)
    moved = pooled.plan.model_copy(update={"data": pooled.plan.data.model_copy(update={"source": "/moved"})})
    write_plan_file(tmp_path, pooled.model_copy(update={"plan": moved}))
    assert read_run(tmp_path).of_others
    content = read_json(tmp_path / PLAN_FILE)
    assert content[field] != ORIGIN[field]
    (tmp_path / PLAN_FILE).write_text(json.dumps({**content, field: ORIGIN[field]}))
    with pytest.raises(seals.BrokenSealError) as error:
        read_run(tmp_path)
    assert fields_of(error.value.message)["path"] == tmp_path / PLAN_FILE
