"""Paths and names in sentences."""

import traceback
from pathlib import Path

import pytest

import headstart
from headstart.errors import DataError
from headstart.printable import printable
from headstart.text import join_list, relative_path


@pytest.mark.parametrize(("path", "shown"), [("photos/a", "photos/a"), ("..", None), ("", None)])
def test_path_is_relative_inside_the_working_directory(
    path: str, shown: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    whole = tmp_path if path == ".." else tmp_path / "work" / path
    assert relative_path(str(whole)) == (shown or str(whole))
    assert relative_path("digits") == "digits"


def test_path_stays_if_the_working_directory_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert relative_path(str(tmp_path / "photos")) == str(tmp_path / "photos")


def test_commas_in_parentheses_need_no_semicolons() -> None:
    assert ";" not in join_list(["scratch (lr=0.1, with adam)", "scratch"])
    assert ";" in join_list(["a, b", "c"])


def test_emoji_and_joined_letters_are_printed_and_control_characters_are_escaped() -> None:
    family = "\U0001f469\u200d\U0001f467"
    assert printable(family) == family
    assert printable("a\nb\x1b[31m\u202ec") == "a\\nb\\x1b[31m\\u202ec"


def test_tracebacks_of_errors_have_no_control_characters() -> None:
    """In Python, an error is printed by its traceback, and names of files and classes are untrusted."""
    with pytest.raises(DataError) as caught:
        headstart.train("no\x1b[31m\nwhere")
    lines = "".join(traceback.format_exception(caught.value)).splitlines()
    assert all(line.isprintable() for line in lines)
    assert "no\\x1b[31m\\nwhere" in lines[-1] and "\x1b" in caught.value.message
