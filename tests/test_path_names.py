"""Names that are not UTF-8 are refused with their bytes; valid names are never called invalid."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import headstart
from headstart.artifacts.find_model import find_model
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import with_absolute_paths
from headstart.data.folder import list_images
from headstart.errors import DataError, ModelFileError, ResourceError
from headstart.path_names import expanded, name_fault
from headstart.results.pages import write_report
from headstart.storage.folders import require_writable
from headstart.storage.locks import locked
from tests.messages import fields_of
from tests.moved_photos import SETTINGS, write_photos

LATIN = os.fsdecode(b"fotos_\xe9t\xe9")
ASCII_LOCALE = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


@pytest.mark.parametrize("name", ["photos", "été", "кот", "写真/猫", "e\u0301", "🐈"])
def test_utf8_is_no_fault(name: str) -> None:
    assert name_fault(name) is None and name_fault(Path("/data") / name) is None


@pytest.mark.parametrize(
    "name", [b"fotos_\xe9t\xe9", b"it's\xe9", b"back\\slash\xff", b"\x81\x8d", b"a $HOME `ls` \xe9"]
)
def test_hint_is_a_command_that_renames(tmp_path: Path, name: bytes) -> None:
    inner = os.path.join(os.fsencode(tmp_path), name, b"more\xe9")  # noqa: PTH118
    os.makedirs(inner)  # noqa: PTH103
    fault = name_fault(os.fsdecode(inner))
    assert fault is not None
    command = fault.hint.split("`", 1)[1].removesuffix("`.")
    subprocess.run(["bash", "-c", command], check=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C"})
    (renamed,) = tmp_path.iterdir()
    assert name_fault(renamed) is None and os.listdir(os.fsencode(renamed)) == [b"more\xe9"]  # noqa: PTH208


@pytest.mark.parametrize("field", ["source", "start", "network"])
def test_paths_of_a_plan_are_checked_before_a_run_begins(field: str) -> None:
    values = {"source": f"/data/{LATIN}", "start": f"stats:file:/data/{LATIN}.pth", "network": f"/data/{LATIN}.py:Net"}
    with pytest.raises(DataError) as caught:
        with_absolute_paths(resolve_settings({field: values[field]}).plan)
    suffix = {"source": "", "start": ".pth", "network": ".py"}[field]
    assert fields_of(caught.value.message)["name"] == rf"/data/fotos_\xe9t\xe9{suffix}"


def test_folder_of_runs_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        require_writable(tmp_path / LATIN)
    assert "--runs" in caught.value.hint and not list(tmp_path.iterdir())


def test_ascii_locale(tmp_path: Path) -> None:
    photos = tmp_path / "photos_é"
    for name in ("кот", "dog"):
        (photos / name).mkdir(parents=True)
        (photos / name / "1.jpg").touch()
    env = {**os.environ, **ASCII_LOCALE, "PYTHONPATH": str(Path(headstart.__file__).parents[1])}
    code = "import sys, headstart.path_names as p; print(ascii(p.name_fault(sys.argv[1])))"
    words = [sys.executable, "-c", code, str(photos)]
    in_python = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    assert "PYTHONUTF8=1" in in_python and "photos_\\xe9" in in_python and "Rename" not in in_python
    words = [sys.executable, "-m", "headstart", "train", str(photos), "--runs", str(tmp_path / "r"), "--dry-run"]
    command = subprocess.run(words, env=env, capture_output=True, check=False)
    assert command.returncode == 3  # classes of one image: the names were read
    assert "'кот' (1)" in command.stderr.decode() and not (tmp_path / "r").exists()


def test_folders_of_finished_work_are_checked(tmp_path: Path) -> None:
    """The folder of a run may have been renamed after it was made."""
    folder = tmp_path / LATIN
    folder.mkdir()

    def lock() -> None:
        with locked(folder):
            pass

    for open_folder, kind in ((lambda: find_model(folder), ModelFileError), (lock, DataError)):
        with pytest.raises(kind) as caught:
            open_folder()
        assert fields_of(caught.value.message)["name"] == rf"{tmp_path}/fotos_\xe9t\xe9"
    with pytest.raises(DataError) as refused:
        write_report(folder)
    assert fields_of(refused.value.message)["name"] == rf"{tmp_path}/fotos_\xe9t\xe9"
    assert not list(folder.iterdir())


def test_images_under_any_name_are_listed_for_prediction(tmp_path: Path) -> None:
    folder = tmp_path / LATIN
    folder.mkdir()
    (folder / f"{LATIN}.jpg").touch()
    assert list_images(folder) == [folder / f"{LATIN}.jpg"]


def test_home_is_expanded_only_where_it_is_meant(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expanded("~/photos") == tmp_path / "photos"
    assert expanded("~nobody-has-this-name/x") == Path("~nobody-has-this-name/x")
    assert expanded("a/~/b") == Path("a/~/b")
    (tmp_path / "~").mkdir()
    assert expanded("~") == Path("~")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert expanded("~/photos") == Path("~/photos")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a b#%&?'\";=,[x]*{}$HOME `ls`", id="punctuation"),
        pytest.param("-f --flag. ", id="flag"),
        pytest.param("~root\nline\t\U0001f408", id="home"),
        pytest.param("n" * 200, id="long"),
    ],
)
def test_every_step_works_in_folders_of_any_name(tmp_path: Path, name: str) -> None:
    photos = write_photos(tmp_path / f"{name[:100]} photos")
    run = headstart.train(str(photos), runs=tmp_path / name, **SETTINGS)
    assert run.folder.parent == tmp_path / name
    moved = tmp_path / f"{name[:100]} moved"
    photos.rename(moved)
    evaluation = headstart.evaluate(run.folder, str(moved), split="test")
    assert evaluation.n == run.test.n and evaluation.accuracy == run.test.accuracy
    image = next(moved.glob("*/*.png"))
    assert [prediction.image for prediction in headstart.predict(run.folder, image)] == [str(image)]
    page = run.report()
    assert page.parent == run.folder and page.stat().st_size > 10_000
    assert len(headstart.Run(run.folder).history) and headstart.diagnose(run.folder)
