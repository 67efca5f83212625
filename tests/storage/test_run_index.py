"""The index of this user's runs is believed only where nobody else can change it."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.storage import run_index

CODE = "c" * 64


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an index that contains CODE."""
    monkeypatch.setenv("HEADSTART_DATA", str(tmp_path / "data"))
    run_index.add(tmp_path / "run", code=CODE)
    return tmp_path / "data"


def test_index_is_of_this_user_alone(folder: Path) -> None:
    assert run_index.knows_code(CODE) and not run_index.knows_code("d" * 64) and not run_index.fault()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / run_index.INDEX_FILE).stat().st_mode) == 0o600


def linked(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


SPOILED: dict[str, Callable[[Path], object]] = {
    "folder of a group": lambda file: file.parent.chmod(0o770),
    "folder of all": lambda file: file.parent.chmod(0o707),
    "file of a group": lambda file: file.chmod(0o660),
    "file of all": lambda file: file.chmod(0o606),
    "link": linked,
    "pipe": pipe,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_index_that_others_can_change_is_not_believed(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder / run_index.INDEX_FILE)
    assert not run_index.knows_code(CODE) and run_index.fault()


def test_each_line_is_parsed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    real = run_index._lines
    monkeypatch.setattr(run_index, "_lines", lambda text: parsed.append(text) or real(text))
    for number in range(5):
        run_index.add(folder, seal=f"{number}" * 64)
        assert all(run_index.knows_seal(f"{earlier}" * 64) for earlier in range(number + 1))
        assert not run_index.knows_seal("9" * 64) and not run_index.knows_seal("") and run_index.knows_code(CODE)
    assert b"".join(parsed) == (folder / run_index.INDEX_FILE).read_bytes()


def test_an_index_that_was_replaced_or_cut_is_read_again(folder: Path) -> None:
    file = folder / run_index.INDEX_FILE
    run_index.add(folder, seal="1" * 64)
    first, second = file.read_bytes().splitlines(keepends=True)
    assert run_index.knows_seal("1" * 64)
    os.truncate(file, len(first))
    assert not run_index.knows_seal("1" * 64) and run_index.knows_code(CODE)
    (folder / "new").write_bytes(second * 3)
    (folder / "new").chmod(0o600)
    (folder / "new").rename(file)
    assert run_index.knows_seal("1" * 64) and not run_index.knows_code(CODE)
    file.chmod(0o660)  # believed no longer, although it was read
    assert not run_index.knows_seal("1" * 64)
    file.chmod(0o600)
    file.unlink()
    assert not run_index.knows_seal("1" * 64)


@pytest.mark.parametrize("name", ["data", "data/runs.jsonl"])
def test_index_of_another_user_is_not_believed(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = (folder.parent / name).stat().st_ino
    real = run_index._is_private

    def is_private(status: os.stat_result) -> bool:
        values = list(status)
        values[stat.ST_UID] += status.st_ino == other
        return real(os.stat_result(values))

    monkeypatch.setattr(run_index, "_is_private", is_private)
    assert not run_index.knows_code(CODE)


def test_adding_does_not_write_through_links(folder: Path) -> None:
    file, private = folder / run_index.INDEX_FILE, folder.parent / "private"
    private.write_text("key\n")
    file.unlink()
    file.symlink_to(private)
    run_index.add(folder, code="e" * 64)
    file.unlink()
    os.link(private, file)
    run_index.add(folder, code="f" * 64)
    assert private.read_text() == "key\n" and run_index.knows_code("f" * 64)


def test_folder_of_the_index_may_be_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "alias").symlink_to(folder)
    monkeypatch.setenv("HEADSTART_DATA", str(folder.parent / "alias"))
    assert run_index.knows_code(CODE) and not run_index.fault()
