"""The place of the cache for users without a home, and with a home that cannot be written."""

import os
import pwd
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.errors import ResourceError
from headstart.storage import cache, contained


@pytest.fixture
def temporary(monkeypatch, tmp_path: Path) -> Path:
    """Return the folder for temporary files; no variable names a cache or a home."""
    for variable in ("HEADSTART_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"headstart-{os.getuid()}"


def unknown(_uid: int) -> None:
    raise KeyError("no such user")


def test_user_without_a_home_has_a_folder_of_its_own(temporary: Path, monkeypatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert cache.cache_root() == temporary
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
    note = cache.cache_note()
    assert note is not None and note.values["folder"] == temporary


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null", "/dev/null/x"])
def test_home_that_cannot_be_written_is_not_used(variable: str, folder: str, temporary: Path, monkeypatch) -> None:
    monkeypatch.setenv(variable, folder)
    monkeypatch.setattr(os, "access", lambda path, _mode: not str(path).startswith("/proc"))  # for root, too
    assert cache.cache_root() == temporary and cache.cache_note() is not None


def test_usual_places_are_used(temporary: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_root() == tmp_path / ".cache" / "headstart"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert cache.cache_root() == tmp_path / "xdg" / "headstart" and cache.cache_note() is None
    monkeypatch.setenv("HEADSTART_CACHE", "/proc/named")  # what the user names is never replaced
    assert cache.cache_root() == Path("/proc/named") and cache.cache_note() is None
    assert not temporary.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: folder.write_text("a file"),
        lambda folder: folder.symlink_to(folder.parent),
        lambda folder: (folder.mkdir(), folder.chmod(0o777)),
    ],
)
def test_folder_of_another_user_is_refused(spoil: Callable[[Path], object], temporary: Path, monkeypatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    spoil(temporary)
    with pytest.raises(ResourceError):
        cache.cache_root()


# links in the cache


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a cache, beside a folder that nothing may change."""
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text("key")
    (tmp_path / "private" / f"diary.tmp-99999999-{cache.socket.gethostname()}").mkdir()
    return tmp_path / "cache"


def is_private_intact(root: Path) -> bool:
    names = sorted(path.name.partition(".")[0] for path in root.with_name("private").iterdir())
    return names == ["diary", "key"] and (root.parent / "private" / "key").read_text() == "key"


def test_folder_is_committed_whole(root: Path) -> None:
    for _ in range(2):  # the second is not needed
        with cache.scratch_folder(root, "kind") as scratch:
            assert scratch.endswith(f".tmp-{os.getpid()}-{cache.socket.gethostname()}")
            contained.make_folder(root, f"{scratch}/inner")
            contained.write(root, f"{scratch}/inner/file", b"content")
            cache.commit_folder(root, scratch, "kind/target")
    assert contained.files_below(root) == ["kind/target/inner/file"]
    assert len(contained.entries(root, "kind")) == 1


def test_names_of_scratch_folders_are_not_predictable(root: Path) -> None:
    names = []
    for _ in range(2):
        with cache.scratch_folder(root, "kind") as scratch:
            names.append(scratch)
    assert len(set(names)) == 2


def test_link_in_the_place_of_a_folder_is_an_error_with_its_name(root: Path) -> None:
    root.mkdir()
    (root / "kind").symlink_to("../private")
    with pytest.raises(ResourceError) as error, cache.scratch_folder(root, "kind"):
        pass
    assert str(root / "kind") in error.value.message and "HEADSTART_CACHE" in error.value.hint
    cache.write_cache_file(root, "kind/key", b"new")
    assert cache.read_cache_file(root, "kind/key") is None
    with pytest.raises(contained.UnsafeFileError):
        cache.remove_stale(root, "kind")
    assert is_private_intact(root)


@pytest.mark.parametrize("kind", ["link", "pipe", "hard link", "folder"])
def test_file_of_the_cache_is_replaced_and_not_written_through(root: Path, kind: str) -> None:
    (root / "kind").mkdir(parents=True)
    file, key = root / "kind" / "file", root.parent / "private" / "key"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        os.link(key, file) if kind == "hard link" else file.symlink_to(key)
    assert cache.read_cache_file(root, "kind/file") == (b"key" if kind == "hard link" else None)
    cache.write_cache_file(root, "kind/file", b"new")
    assert cache.read_cache_file(root, "kind/file") == (None if kind == "folder" else b"new")
    assert is_private_intact(root)


def test_few_of_many_stale_names_are_removed_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_REMOVED", 3)
    (root / "kind").mkdir(parents=True)
    (root / "kind" / "kept").touch()
    for number in range(5):
        (root / "kind" / f"{number}.tmp-99999999-{cache.socket.gethostname()}").touch()
    for left in (2, 0, 0):
        cache.remove_stale(root, "kind")
        assert len(contained.entries(root, "kind")) == left + 1


def test_stale_link_is_removed_itself(root: Path) -> None:
    (root / "kind").mkdir(parents=True)
    (root / "kind" / f"x.tmp-99999999-{cache.socket.gethostname()}").symlink_to("../../private")
    cache.remove_stale(root, "kind")
    assert contained.entries(root, "kind") == [] and is_private_intact(root)
