"""The place of the cache for users without a home, and with a home that cannot be written."""

import os
import pwd
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.errors import ResourceError
from headstart.storage import cache


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
