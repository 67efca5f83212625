"""A verdict is read as it was written, and shown with the runs of which it is."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headstart.analysis.run_records import runs_in
from headstart.analysis.status import has_all_runs, read_verdict, require_runs
from headstart.artifacts.find_model import find_model
from headstart.cli.main import main
from headstart.config.study_file import write_study as write_declaration
from headstart.config.study_request import build_study_spec
from headstart.errors import DataError
from headstart.experiment import compare
from headstart.i18n import NOTHING, Message
from headstart.report.content import page_head
from headstart.report.page import read_inputs, write_page
from headstart.reporter import NullReporter
from headstart.results.diagnosis import diagnose
from headstart.results.remarks import remarks
from headstart.storage.files import write_json
from headstart.storage.schemas.verdict import Verdict, VerdictSeal
from headstart.storage.seals import BrokenSealError
from tests.figures.made import Made, write_study
from tests.files import read_json
from tests.messages import fields_of


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


def test_a_run_that_has_lost_its_result_is_not_called_another_run(study: Path) -> None:
    run = next(runs_in(study)).folder
    (run / "result.json").unlink()
    for read in (read_inputs, diagnose, remarks):
        with pytest.raises(BrokenSealError) as error:
            read(study)
        assert fields_of(error.value.message) == {"folder": run, "file": "result.json"}
        assert fields_of(error.value.hint) == {"result": run / "result.json", "folder": study}


def test_exchanged_names_of_runs_are_noticed(study: Path) -> None:
    verdict, runs = read_verdict(study), list(runs_in(study))
    require_runs(verdict, runs)
    exchanged = [replace(runs[0], folder=runs[1].folder), replace(runs[1], folder=runs[0].folder)]
    with pytest.raises(BrokenSealError):
        require_runs(verdict, exchanged)
    require_runs(verdict, [replace(runs[0], folder=study / "later")])  # of which the verdict is not


def test_a_study_with_other_runs_does_not_have_its_runs(study: Path) -> None:
    verdict = read_verdict(study)
    assert has_all_runs(study, verdict)
    one, other = (run.folder for run in list(runs_in(study))[:2])
    exchange(one, other)
    assert not has_all_runs(study, verdict)
    exchange(one, other)
    shutil.rmtree(one)
    assert not has_all_runs(study, verdict)


def exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def absent(study: Path) -> Message:
    """Return the remark on runs that are not there, empty without one."""
    return next((remark for remark in remarks(study) if "declared" in fields_of(remark)), NOTHING)


def exchange_runs(study: Path) -> None:
    one, other = (run.folder for run in list(runs_in(study))[:2])
    exchange(one, other)


def edit_verdict(study: Path) -> None:
    content = read_json(study / "verdict.json")
    change_accuracy(content)
    (study / "verdict.json").write_text(json.dumps(content))


READERS: dict[str, Callable[[Path], object]] = {
    "report": read_inputs,
    "diagnose": diagnose,
    "predict": find_model,
    "remarks": remarks,
}


@pytest.mark.parametrize("damage", [exchange_runs, edit_verdict])
def test_each_command_notices_what_the_others_notice(study: Path, damage: Callable[[Path], None]) -> None:
    (study / "model").mkdir()
    (study / "model" / "config.json").write_text("{}")
    damage(study)
    errors = []
    for read in READERS.values():
        with pytest.raises(DataError) as error:
            read(study)
        errors.append((error.value.message, error.value.hint))
    assert len(set(errors)) == 1
    assert fields_of(errors[0][1])["folder"] == study  # which is to be resumed


@pytest.mark.parametrize("kept", ["verdict.json", "search.json", "variants.json"])
def test_a_study_that_lost_its_study_toml_is_not_read_as_runs(study: Path, kept: str) -> None:
    for name in ("study.toml", "verdict.json"):
        (study / name).rename(study / f"{name}-aside")
    assert read_inputs(study) and not absent(study)  # runs in a folder
    (study / kept).write_bytes((study / "verdict.json-aside").read_bytes())
    for read in (read_inputs, diagnose, remarks, lambda folder: main(["resume", str(folder)]), rebuild):
        with pytest.raises((DataError, SystemExit)) as error:
            read(study)
        if isinstance(error.value, DataError):
            assert fields_of(error.value.message) == {"path": study / "study.toml", "name": kept}
        else:
            assert error.value.code == DataError.exit_code


def rebuild(folder: Path) -> object:
    return compare.rebuild(folder, NullReporter())


def test_runs_that_are_not_there_are_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not absent(study) and not read_inputs(study).absent
    run = next(runs_in(study))
    shutil.rmtree(run.folder)
    fields = fields_of(absent(study))
    assert (fields["count"], fields["declared"], fields["folder"]) == (1, 4, run.folder.name)
    inputs = read_inputs(study)
    assert inputs.absent == absent(study) and inputs.absent in page_head(inputs).lead.values.values()
    for command in ("report", "diagnose"):
        main([command, str(study)])
        assert str(inputs.absent) in capsys.readouterr().err


def test_a_study_without_a_verdict_names_the_declared_runs_that_are_not_there(study: Path) -> None:
    settings = {"epochs": "3ep", "seeds": 2, "search": "off"}
    write_declaration(study, build_study_spec("digits", Made().arms, None, None, None, None, settings))
    (study / "verdict.json").unlink()
    assert not absent(study)
    run = next(runs_in(study))
    shutil.rmtree(run.folder)
    fields = fields_of(absent(study))
    assert (fields["count"], fields["declared"]) == (1, 4)
    inputs = read_inputs(study)
    assert inputs.absent == absent(study) and inputs.absent in page_head(inputs).lead.values.values()
