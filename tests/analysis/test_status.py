"""A verdict is read as it was written, and shown with the runs of which it is."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headstart.analysis.run_records import runs_in
from headstart.analysis.status import complete_verdict, read_verdict, require_runs
from headstart.errors import DataError
from headstart.report.page import read_inputs, write_page
from headstart.storage.files import write_json
from headstart.storage.schemas.verdict import Verdict, VerdictSeal
from headstart.storage.seals import BrokenSealError
from tests.figures.made import Made, write_study
from tests.files import read_json


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of two arms with two seeds, whose verdict has the seals of its runs."""
    folder = write_study(tmp_path / "study", Made(seeds=2))
    seals = {run.folder.name: run.result.seal.digest for run in runs_in(folder) if run.result is not None}
    assert len(seals) == 2 * len(Made().arms)
    sealed = read_verdict(folder).model_copy(update={"seal": VerdictSeal(runs=seals)})
    write_json(folder / "verdict.json", sealed.to_json())
    return folder


def change_accuracy(content: dict[str, Any]) -> None:
    content["arms"][0]["test"] += 1e-12


def change_sentence(content: dict[str, Any]) -> None:
    content["sentences"]["headline"] = "Use the other arm."


def change_seal_of_a_run(content: dict[str, Any]) -> None:
    content["seal"]["runs"].popitem()


def remove_seal(content: dict[str, Any]) -> None:
    del content["seal"]


@pytest.mark.parametrize("change", [change_accuracy, change_sentence, change_seal_of_a_run, remove_seal])
def test_an_edited_verdict_is_not_shown(study: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = read_json(study / "verdict.json")
    assert Verdict.parse(json.dumps(content), "verdict.json").to_json() == content
    change(content)
    (study / "verdict.json").write_text(json.dumps(content))
    with pytest.raises(DataError):
        read_verdict(study)
    with pytest.raises(DataError):
        write_page(study)
    assert not (study / "report.html").exists()


def test_a_verdict_is_not_shown_with_runs_of_another_study(study: Path, tmp_path: Path) -> None:
    read_inputs(study)
    other = write_study(tmp_path / "other", Made(seeds=2, epochs=5))
    name = next(runs_in(study)).folder.name
    shutil.rmtree(study / name)
    shutil.copytree(next(runs_in(other)).folder, study / name)
    with pytest.raises(BrokenSealError):
        read_inputs(study)


def test_exchanged_names_of_runs_are_noticed(study: Path) -> None:
    verdict, runs = read_verdict(study), list(runs_in(study))
    require_runs(verdict, runs)
    exchanged = [replace(runs[0], folder=runs[1].folder), replace(runs[1], folder=runs[0].folder)]
    with pytest.raises(BrokenSealError):
        require_runs(verdict, exchanged)
    require_runs(verdict, [replace(runs[0], folder=study / "later")])  # of which the verdict is not


def test_a_study_with_other_runs_is_not_complete(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (study / "report.html").touch()
    (study / "model").mkdir()
    runs = list(runs_in(study))
    monkeypatch.setattr(f"{complete_verdict.__module__}.main_runs", lambda _folder: runs)
    spec: Any = SimpleNamespace(hash=read_verdict(study).study)
    assert complete_verdict(study, spec) == read_verdict(study)
    runs[0] = replace(runs[0], result=runs[1].result)
    assert complete_verdict(study, spec) is None
