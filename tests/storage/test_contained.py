"""Files below a folder: what is opened and written, and that no link, pipe or device is."""

import contextlib
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.storage import contained
from headstart.storage.contained import TooLargeError, UnsafeFileError

SECRET = b"private"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "key").write_bytes(SECRET)
    return folder


def outside(root: Path) -> dict[str, bytes]:
    """Return the files outside of the root, beside it."""
    folder = root.parent / "outside"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


READERS: list[Callable[[Path, str], object]] = [
    contained.open_file,
    contained.read_bytes,
    contained.read_text,
    contained.is_file,
    contained.is_folder,
    contained.subfolder,
    lambda root, name: contained.copy(root, name, root, "copy"),
    lambda root, name: contained.copy(root, name, root, "copy", link=True),
    contained.append,
]
CHANGES: list[Callable[[Path, str], object]] = [
    lambda root, name: contained.write(root, name, b"new"),
    lambda root, name: contained.copy(root, "model/config.json", root, name),
    lambda root, name: contained.rename(root, "model/config.json", name),
    contained.remove,
    contained.remove_folder,
]


@pytest.mark.parametrize("call", [*READERS, *CHANGES])
@pytest.mark.parametrize("name", ["linked/key", "linked/new", "linked/inner/key"])
def test_no_function_goes_through_a_linked_folder(root: Path, name: str, call: Callable[[Path, str], object]) -> None:
    (root / "linked").symlink_to(root.parent / "outside")
    before = outside(root)
    with pytest.raises(UnsafeFileError):
        call(root, name)
    with pytest.raises(UnsafeFileError):
        contained.make_folder(root, name)
    assert outside(root) == before


@pytest.mark.parametrize("call", READERS)
@pytest.mark.parametrize("target", ["../outside/key", "model/config.json", "missing", "self"])
def test_a_link_is_not_opened(root: Path, target: str, call: Callable[[Path, str], object]) -> None:
    (root / "self").symlink_to(target)
    with pytest.raises(UnsafeFileError) as caught:
        call(root, "self")
    assert "self" in caught.value.message and caught.value.hint
    assert outside(root) == {"key": SECRET} and not (root / "missing").exists()


@pytest.mark.parametrize("call", CHANGES)
def test_a_link_is_replaced_or_removed_itself(root: Path, call: Callable[[Path, str], object]) -> None:
    for target in ("../outside/key", "../outside"):
        (root / "linked").unlink(missing_ok=True)
        (root / "model" / "config.json").write_text("{}")
        (root / "linked").symlink_to(target)
        call(root, "linked")
        assert not (root / "linked").is_symlink() and outside(root) == {"key": SECRET}


@pytest.mark.parametrize("call", READERS)
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_special_files_are_refused_at_once(root: Path, kind: str, call: Callable[[Path, str], object]) -> None:
    if kind == "pipe":
        os.mkfifo(root / "special")
    else:
        with contextlib.chdir(root), socket.socket(socket.AF_UNIX) as server:  # names of sockets are short
            server.bind("special")
    with pytest.raises(UnsafeFileError):
        call(root, "special")


@pytest.mark.parametrize("name", ["", ".", "..", "../outside/key", "model/../../outside/key", "/etc/passwd", "a//b",
                                  "model/", "./model", "a\0b"])  # fmt: skip
@pytest.mark.parametrize("call", [*READERS, *CHANGES, contained.make_folder])
def test_names_that_lead_out_of_the_folder(root: Path, name: str, call: Callable[[Path, str], object]) -> None:
    with pytest.raises(UnsafeFileError):
        call(root, name)


@given(st.text("a/.\0", max_size=12))
def test_components_stay_below_the_root(name: str) -> None:
    try:
        parts = contained.components(name)
    except UnsafeFileError:
        return
    assert os.path.normpath(f"/root/{name}") == "/root/" + "/".join(parts)


def test_a_root_may_be_a_link(root: Path) -> None:
    (root.parent / "alias").symlink_to(root)
    alias = root.parent / "alias"
    assert contained.read_text(alias, "model/config.json") == "{}"
    contained.write(alias, "model/config.json", "[]")
    assert (root / "model" / "config.json").read_text() == "[]"


def test_content_equals_what_was_written(root: Path) -> None:
    contained.make_folder(root, "a/b")
    contained.write(root, "a/b/text", "ünï")
    assert contained.read_text(root, "a/b/text") == "ünï"
    with contained.append(root, "a/b/text") as file:
        file.write(b"!")
    assert (root / "a" / "b" / "text").read_text() == "ünï!"
    assert contained.files_below(root) == ["a/b/text", "model/config.json"]
    assert [(entry.name, entry.is_folder) for entry in contained.entries(root)] == [("a", True), ("model", True)]
    contained.rename(root, "a/b/text", "model/text")
    contained.remove_folder(root, "a")
    assert contained.files_below(root) == ["model/config.json", "model/text"]
    contained.remove(root, "model/text")
    contained.remove(root, "model/text")
    assert not contained.is_file(root, "model/text") and contained.is_folder(root, "model")
    assert (
        contained.subfolder(root, "model") == root / "model" and contained.subfolder(root, "no/model").name == "model"
    )
    assert (contained.join("", "a", "b"), contained.join("a", "b")) == ("a/b", "a/b")
    assert contained.find(root, "none/file") is None and contained.find(root, "model/config.json/x") is None
    mask = os.umask(0)
    os.umask(mask)
    contained.write(root, "new", b"")
    assert stat.S_IMODE((root / "new").stat().st_mode) == 0o666 & ~mask


def test_other_names_of_a_file_keep_their_content(root: Path) -> None:
    for name in ("written", "appended"):
        os.link(root.parent / "outside" / "key", root / name)
    assert contained.read_bytes(root, "written") == SECRET
    contained.write(root, "written", b"new")
    with contained.append(root, "appended") as file:
        file.write(b" and more")
        file.truncate(10)
    assert outside(root) == {"key": SECRET}
    assert (root / "appended").read_bytes() == (SECRET + b" and more")[:10]
    contained.copy(root, "written", root.parent / "outside", "copy", link=True)
    assert (root / "written").samefile(root.parent / "outside" / "copy")


def test_an_error_leaves_the_old_file_and_no_temporary_one(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt), contained.new_file(root, "model/config.json") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert contained.files_below(root) == ["model/config.json"]
    assert contained.read_text(root, "model/config.json") == "{}"


def test_folders_of_any_depth_end_the_collection(root: Path) -> None:
    (root / "/".join("d" * 200)).mkdir(parents=True)
    with pytest.raises(UnsafeFileError):
        contained.files_below(root)


def test_links_are_listed_but_not_collected(root: Path) -> None:
    (root / "linked").symlink_to(root.parent / "outside")
    assert [(e.name, e.is_file, e.is_folder) for e in contained.entries(root)] == [
        ("linked", False, False), ("model", False, True),
    ]  # fmt: skip
    with pytest.raises(UnsafeFileError):
        contained.files_below(root)


@given(st.integers(0, 40), st.integers(1, 40))
def test_a_file_above_its_limit_is_not_read(tmp_path_factory: pytest.TempPathFactory, size: int, limit: int) -> None:
    root = tmp_path_factory.getbasetemp()
    (root / "sized").write_bytes(b"x" * size)
    if size <= limit:
        assert contained.read_bytes(root, "sized", limit) == b"x" * size
        return
    with pytest.raises(TooLargeError):
        contained.read_bytes(root, "sized", limit)


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "\U0001f469" * 63])
def test_files_with_long_names_are_written(root: Path, name: str) -> None:
    contained.write(root, name, b"content")
    assert contained.read_bytes(root, name, 10) == b"content"


def test_temporary_names_are_not_predictable(root: Path) -> None:
    names = []
    for _ in range(2):
        with contained.new_file(root, "text") as file:
            names += [entry.name for entry in contained.entries(root) if entry.name.startswith(".text.")]
            file.write(b"")
    assert len(set(names)) == 2


def test_folders_that_are_nested_too_deeply(root: Path) -> None:
    with contextlib.chdir(root):
        for _ in range(1200):
            Path("d").mkdir()
            os.chdir("d")
    with pytest.raises(UnsafeFileError):
        contained.files_below(root)
    contained.remove_folder(root, "d")  # no error
    with contextlib.chdir(root):
        subprocess.run(["rm", "-rf", "d"], check=True)
