"""Resume a study that has nothing left to train: its results are made again, and a changed run is an error."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.analysis.run_records import runs_in
from headstart.artifacts.find_model import find_model
from headstart.cli.main import main
from headstart.config.plan_file import read_plan_file, write_plan_file
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import DataError, HeadstartError, ModelFileError, UsageError
from headstart.experiment import study
from headstart.experiment.conclusion import complete_verdict, conclude_if_trained
from headstart.inference.predictor import Predictor
from headstart.report.page import write_page
from headstart.reporter import NullReporter
from headstart.storage import locks, repair
from headstart.storage.seals import BrokenModelError, BrokenSealError
from tests.analysis.test_status import edit_verdict, exchange_runs
from tests.experiment.test_study import SHORT
from tests.files import read_json
from tests.handmade import seal
from tests.messages import SentenceReporter, fields_of

ARMS = ("scratch", "scratch@adam")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study whose images are not there any more."""
    folder = tmp_path_factory.mktemp("conclusion")
    images = folder / "images"
    shutil.copytree("examples/photos", images)
    spec = build_study_spec(str(images), ARMS, None, None, None, None, {**SHORT, "seeds": 1})
    made = study.begin(spec, folder, NullReporter())
    study.run_study(made, LocalEngine(NullReporter()), NullReporter())
    shutil.rmtree(images)
    return made


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "study"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def first_run(folder: Path) -> Path:
    return next(runs_in(folder)).folder


REPAIRED: dict[str, Callable[[Path], object]] = {
    "edited verdict": edit_verdict,
    "damaged verdict": lambda folder: (folder / "verdict.json").write_text("{"),
    "no verdict": lambda folder: (folder / "verdict.json").unlink(),
    "weights": lambda folder: flip(folder / "model" / "model.safetensors"),
    "preprocessing": lambda folder: (folder / "model" / "preprocess.json").write_text("{}"),
    "settings": lambda folder: (folder / "model" / "config.json").write_text("{"),
    "no model": lambda folder: shutil.rmtree(folder / "model"),
    "no weights": lambda folder: (folder / "model" / "model.safetensors").unlink(),
    "no report": lambda folder: (folder / "report.html").unlink(),
    "model of another run": lambda folder: _replace_model(folder),
}


def _replace_model(folder: Path) -> None:
    exported = read_json(folder / "verdict.json")["exported"]["run"]
    other = next(run.folder for run in runs_in(folder) if run.folder.name != exported)
    shutil.rmtree(folder / "model")
    shutil.copytree(other / "model", folder / "model")


def contents(folder: Path) -> dict[str, bytes]:
    names = [f"model/{file}" for file in ("model.safetensors", "config.json", "preprocess.json", "README.md")]
    return {name: (folder / name).read_bytes() for name in ("verdict.json", *names)}


@pytest.mark.parametrize("damage", REPAIRED.values(), ids=REPAIRED)
def test_what_is_made_from_the_runs_is_made_again_without_the_images(
    finished: Path, copy: Path, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copy)
    assert complete_verdict(copy, read_study(copy)) is None
    reporter = SentenceReporter()
    assert conclude_if_trained(copy, reporter) is not None
    assert len(reporter.sentences) == 1  # what was damaged, and that it is made again
    assert contents(copy) == contents(finished) and (copy / "report.html").is_file()
    assert complete_verdict(copy, read_study(copy)) is not None
    find_model(copy)
    main(["resume", str(copy)])  # says only that the study is finished
    assert capsys.readouterr().err.count("\n") == 1


CHANGED_VARIANTS: dict[str, Callable[[dict], object]] = {
    "images": lambda first: first.update(images="0" * 64),
    "weights": lambda first: first.update(weights="0" * 64),
    "known classes": lambda first: first.update(known_classes=["cat"]),
    "declared splits": lambda first: first.update(declared="train+val+test"),
    "arm": lambda first: first["arm"].update(start="imagenet"),
}


@pytest.mark.parametrize("change", CHANGED_VARIANTS.values(), ids=CHANGED_VARIANTS)
def test_a_changed_list_of_what_the_arms_read_is_an_error(copy: Path, change: Callable[[dict], object]) -> None:
    content = read_json(copy / "variants.json")
    change(next(iter(content["variants"].values())))
    (copy / "variants.json").write_text(json.dumps(content))
    with pytest.raises(DataError) as error:
        conclude_if_trained(copy, NullReporter())
    assert fields_of(error.value.message) == {"path": copy / "variants.json"}


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("{")])
@pytest.mark.parametrize("name", ["variants.json", "search.json"])
def test_a_lost_list_is_an_error_and_the_rates_come_from_the_verdict(
    copy: Path, name: str, damage: Callable[[Path], object]
) -> None:
    before = (copy / name).read_bytes()
    damage(copy / name)
    reporter = SentenceReporter()
    if name == "variants.json":
        with pytest.raises(DataError):
            conclude_if_trained(copy, reporter)
    else:
        assert conclude_if_trained(copy, reporter) is not None
        assert len(reporter.sentences) == 1 and (copy / name).read_bytes() == before


def test_changed_runs_of_a_search_are_said_and_need_not_be_kept(copy: Path) -> None:
    trial = copy / "search" / "Dec01_00-00-00_host-trial"
    shutil.copytree(first_run(copy), trial)
    reporter = SentenceReporter()
    assert conclude_if_trained(copy, reporter) is not None
    assert [fields_of(sentence) for sentence in reporter.sentences] == [{"folder": copy / "search"}]
    flip(trial / "metrics.jsonl")
    with pytest.raises(BrokenSealError) as error:
        conclude_if_trained(copy, NullReporter())
    assert fields_of(error.value.hint) == {"run": trial}
    shutil.rmtree(trial)  # as the hint says
    reporter = SentenceReporter()
    assert conclude_if_trained(copy, reporter) is not None and not reporter.sentences
    (copy / "verdict.json").unlink()
    shutil.copytree(first_run(copy), trial)
    assert fields_of(repair.run_hint(trial)) == {"run": trial, "folder": copy}


def test_a_damaged_backbone_that_models_shared_is_named(copy: Path) -> None:
    for run in list(runs_in(copy)):
        (run.folder / "model" / "backbone.safetensors").write_bytes(b"frozen")
        seal(run.folder)
    (copy / "verdict.json").unlink()
    conclude_if_trained(copy, NullReporter())
    (copy / "backbones").mkdir()
    for name, content in {"1.safetensors": b"frozen", "2.safetensors": b"fr0zen"}.items():
        (copy / "backbones" / name).write_bytes(content)
    reporter = SentenceReporter()
    assert conclude_if_trained(copy, reporter) is not None
    assert [fields_of(sentence) for sentence in reporter.sentences] == [{"path": copy / "backbones" / "2.safetensors"}]


def test_a_verdict_on_exchanged_runs_is_replaced(copy: Path) -> None:
    exchange_runs(copy)
    with pytest.raises(BrokenSealError):
        write_page(copy)
    reporter = SentenceReporter()
    verdict = conclude_if_trained(copy, reporter)
    assert verdict is not None and len(reporter.sentences) == 1
    assert verdict.seal.runs == {run.folder.name: run.result.seal.digest for run in runs_in(copy) if run.result}
    write_page(copy)


RUN_FILES = {
    "metrics.jsonl": 3,
    "artifacts/predictions.npz": 3,
    "model/model.safetensors": 6,
    "model/preprocess.json": 6,
}


@pytest.mark.parametrize("file", RUN_FILES)
@pytest.mark.parametrize("is_missing", [False, True], ids=["changed", "missing"])
def test_a_changed_run_is_an_error_that_names_the_way(
    copy: Path, file: str, is_missing: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = first_run(copy)
    (run / file).unlink() if is_missing else flip(run / file)
    before = contents(copy)
    for folder in (copy, run):
        with pytest.raises(SystemExit) as exit_:
            main(["resume", str(folder)])
        assert exit_.value.code == RUN_FILES[file]
        assert capsys.readouterr().err.count(file) == 1
    with pytest.raises(BrokenSealError) as error:
        conclude_if_trained(copy, NullReporter())
    assert fields_of(error.value.message)["path"] == run / file
    assert fields_of(error.value.hint) == {"result": run / "result.json", "folder": copy}
    assert contents(copy) == before and (run / "result.json").exists()


def test_a_model_that_was_removed_from_a_run_is_no_fault(copy: Path) -> None:
    for run in list(runs_in(copy)):
        shutil.rmtree(run.folder / "model")
    assert conclude_if_trained(copy, NullReporter()) is not None


def test_a_damaged_model_has_one_exit_code_under_each_name(copy: Path) -> None:
    run = first_run(copy)
    flip(run / "model" / "model.safetensors")
    hints = set()
    for name in (run, run / "model"):
        with pytest.raises(ModelFileError) as error:
            Predictor(name)
        assert error.value.exit_code == 6
        hints.add(tuple(fields_of(error.value.hint).items()))
    assert hints == {(("result", run / "result.json"), ("folder", copy))}
    assert issubclass(BrokenModelError, BrokenSealError)


def test_hints_on_the_model_of_a_study_say_to_resume_it(copy: Path) -> None:
    flip(copy / "model" / "model.safetensors")
    with pytest.raises(ModelFileError) as error:
        Predictor(copy)
    assert fields_of(error.value.hint) == {"folder": copy}


@pytest.mark.parametrize("file", ["plan.json", "result.json"])
def test_hints_on_an_edited_plan_or_result_name_what_is_to_be_removed(copy: Path, file: str) -> None:
    run = first_run(copy)
    text = (run / file).read_text().replace('"seed": 0', '"seed": 1')
    (run / file).write_text(text)
    for folder in (copy, run):
        with pytest.raises(DataError) as error:
            conclude_if_trained(copy, NullReporter()) if folder == copy else write_page(run)
        removed = {"run": run} if file == "plan.json" else {"result": run / file}
        assert fields_of(error.value.hint) == {**removed, "folder": copy}


def test_a_run_whose_result_was_removed_needs_the_images(copy: Path) -> None:
    (first_run(copy) / "result.json").unlink()
    reporter = SentenceReporter()
    assert conclude_if_trained(copy, reporter) is None and len(reporter.sentences) == 1  # the verdict is replaced
    with pytest.raises(HeadstartError):
        main_resume(copy)


def main_resume(folder: Path) -> None:
    try:
        main(["resume", str(folder)])
    except SystemExit as stop:
        raise HeadstartError(stop.code, "") from None


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.5}, {"image_size": 24}, {"fingerprint": "1" * 64}, {"cache_resolution": 2.0}, {"seed": 7}],
)
def test_a_run_of_another_declaration_is_refused_before_the_others_are_trained(copy: Path, change: dict) -> None:
    """Its seal is intact, and its role is that of the study, but not its plan."""
    run = first_run(copy)
    plan = read_plan_file(run)
    write_plan_file(run, plan.model_copy(update={"plan": plan.plan.changed(**change)}))
    seal(run)
    (copy / "verdict.json").unlink()
    for other in list(runs_in(copy))[1:]:
        shutil.rmtree(other.folder)
    with pytest.raises(DataError) as error:
        conclude_if_trained(copy, NullReporter())
    assert fields_of(error.value.message)["folder"] == run


def test_nothing_is_decided_on_a_study_that_another_process_uses(copy: Path) -> None:
    """The runs could change between the check and the verdict."""
    shutil.rmtree(first_run(copy))
    reporter = SentenceReporter()
    with locks.locked(copy), pytest.raises(UsageError):
        conclude_if_trained(copy, reporter)
    assert not reporter.sentences
    assert conclude_if_trained(copy, reporter) is None
