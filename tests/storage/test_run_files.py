"""Files of runs and models that are copied on: known ones, and no links."""

import os
import re
from pathlib import Path

import pytest

from headstart.storage import run_files
from headstart.storage.contained import UnsafeFileError
from headstart.storage.run_files import CODE_FILES, MODEL_FILES, RUN_FILES

RUN = {
    "plan.json", "metrics.jsonl", "result.json", "trackers.json", "events.out.tfevents.1.host.2.0",
    "artifacts/samples.jpg", "artifacts/predictions.npz", "artifacts/gallery.zip",
    "checkpoints/step-00000188-0002/MANIFEST.json", "checkpoints/step-00000188-0002/model.safetensors",
    "checkpoints/step-00000188-0002/state.json", "code/my.py", "code/pack/part.py",
    "model/model.safetensors", "model/head.safetensors", "model/backbone.safetensors", "model/config.json",
    "model/preprocess.json", "model/README.md", "model/code/my.py",
}  # fmt: skip
UNKNOWN = {
    "lock", "notes.txt", ".plan.json.1.tmp-1-host", "report.html", "artifacts/more.npz", "model/y.txt", "model/id_rsa",
    "model/deep/model.safetensors", "other/plan.json", "checkpoints/step-00000188-0002.tmp-1/state.json",
    "checkpoints/important.tmp-backup/state.json", "code/data.bin", "code/__pycache__/my.cpython-311.pyc",
    "plan.json\n", "model/config.json\n",
}  # fmt: skip


def write(folder: Path, names: set[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("part", "known"), [("", RUN_FILES), ("model", MODEL_FILES), ("code", CODE_FILES)])
def test_known_files_are_copied_and_no_others(part: str, known: re.Pattern[str], tmp_path: Path) -> None:
    write(tmp_path / "run", RUN | UNKNOWN)
    (tmp_path / "copy").mkdir()
    run_files.copy_folder(tmp_path / "run", part, tmp_path, "copy", known)
    prefix = f"{part}/" if part else ""
    expected = {name.removeprefix(prefix): name for name in RUN if name.startswith(prefix)}
    assert files(tmp_path / "copy") == expected


@pytest.mark.parametrize("place", ["y.txt", "model/y.txt", "model/config.json", "artifacts", "code/deep/my.py"])
@pytest.mark.parametrize("target", ["file", "folder", "missing", "pipe"])
def test_a_link_or_a_pipe_in_a_run_is_an_error_that_names_it(place: str, target: str, tmp_path: Path) -> None:
    write(tmp_path, {"private/key"})
    run = write(tmp_path / "run", {name for name in RUN if not name.startswith(place)} | {"code/deep/other.py"})
    if target == "pipe":
        os.mkfifo(run / place)
    else:
        (run / place).symlink_to(tmp_path / {"file": "private/key", "folder": "private"}.get(target, "missing"))
    with pytest.raises(UnsafeFileError, match=place):
        run_files.known_files(run, "", RUN_FILES)


def test_links_in_folders_of_others_are_not_looked_at(tmp_path: Path) -> None:
    run = write(tmp_path / "run", RUN | {"wandb/log"})
    (run / "wandb" / "latest").symlink_to("log")
    assert set(run_files.known_files(run, "", RUN_FILES)) == RUN
