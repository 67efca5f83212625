"""The study of docs/pictures.py is run, continued or refused; its commands run in a terminal of their own."""

import os
from contextlib import chdir
from pathlib import Path

import pytest
from rich.text import Text

from docs import pictures
from headstart.config.study_file import read_study, write_study

DECLARATION = '[protocol]\narms = ["scratch", "source:other.csv"]\n[plan.data]\nsource = "photos.csv"\n'


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Declare a study in a temporary folder; return the names of the commands that are run, which do nothing."""
    commands = []
    root = pictures.ROOT
    for name in ("ROOT", "DECLARATION", "PHOTOS", "RUNS"):
        monkeypatch.setattr(pictures, name, tmp_path / getattr(pictures, name).relative_to(root))
    pictures.PHOTOS.mkdir(parents=True)
    pictures.DECLARATION.write_text(DECLARATION)

    def run_headstart(command: str, *_arguments: str) -> None:
        commands.append(command)
        if command == "compare":
            write_declared("new", verdict=True)

    monkeypatch.setattr(pictures, "run_headstart", run_headstart)
    return commands


def write_declared(name: str, *, verdict: bool) -> Path:
    """Write the files of the declared study into a folder."""
    folder = pictures.RUNS / name
    folder.mkdir(parents=True)
    with chdir(pictures.ROOT):
        write_study(folder, read_study(pictures.DECLARATION))
    if verdict:
        (folder / "verdict.json").touch()
    return folder


def test_study_is_run_once(commands: list[str]) -> None:
    assert pictures.finished_study() == pictures.finished_study() == pictures.RUNS / "new"
    assert commands == ["compare"]


def test_interrupted_study_is_resumed(commands: list[str]) -> None:
    study = write_declared("begun", verdict=False)
    assert pictures.finished_study() == study
    assert commands == ["resume"]


def test_study_of_another_declaration_is_refused(commands: list[str]) -> None:
    write_declared("old", verdict=True)
    pictures.DECLARATION.write_text(DECLARATION.replace("[plan.data]", "seeds = 9\n[plan.data]"))
    with pytest.raises(SystemExit, match="declares"):
        pictures.finished_study()
    assert commands == []


def test_several_studies_are_refused(commands: list[str]) -> None:
    write_declared("one", verdict=True)
    write_declared("two", verdict=True)
    with pytest.raises(SystemExit, match="2 studies"):
        pictures.finished_study()
    assert commands == []


def test_missing_photos_are_refused(commands: list[str]) -> None:
    pictures.PHOTOS.rmdir()
    with pytest.raises(SystemExit, match="git clone"):
        pictures.finished_study()
    assert commands == []


def test_output_is_that_of_a_terminal(tmp_path: Path) -> None:
    environment = dict(os.environ)
    text = pictures.terminal_output("--help", folder=tmp_path)
    assert max(line.cell_len for line in Text.from_ansi(text).split()) == pictures.COLUMNS
    assert "\x1b[" in text and "\r" not in text
    assert dict(os.environ) == environment
    with pytest.raises(SystemExit, match="exit code 2"):
        pictures.terminal_output("nothing", folder=tmp_path)
