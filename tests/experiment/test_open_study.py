"""A study without a verdict: nothing shows its results on test, and the ledger says who used its test images."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import headstart
from headstart.analysis.run_records import RunRecord, read_run, runs_in
from headstart.analysis.set_uses import other_studies_note
from headstart.analysis.status import read_verdict
from headstart.cli.main import main
from headstart.cli.render import print_run
from headstart.config.plan_file import read_plan_file
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import DataError, UsageError
from headstart.experiment import study
from headstart.experiment.conclusion import conclude_if_trained
from headstart.report.photos import load_gallery
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.runs.job_protocol import RunRequest
from headstart.runs.reuse import copy_finished, register_finished
from headstart.storage import ledger, run_index
from headstart.storage.files import write_json
from headstart.storage.journal import line_bytes, read_lines
from headstart.storage.schemas.gallery import GALLERY_FILE
from headstart.storage.schemas.ledger import LedgerUse
from headstart.storage.schemas.metrics import EndLine, Evaluation
from headstart.storage.schemas.result import RunResult
from headstart.telemetry import tensorboard
from tests.experiment.test_study import SHORT
from tests.handmade import counts_of, seal
from tests.messages import SentenceReporter, fields_of
from tests.tensorboard_server import points

ARMS = ("scratch", "scratch@adam")
CORRECT, IMAGES, LOSS = 97_531, 98_765, 7.654321  # on test, as no other number of the study
WRONG = IMAGES - CORRECT
TEXTS = re.compile(r"(?<![\d.])(97,?531|98,?765|7\.65\d*|0\.987\d*|98\.7[456]\d*|98\.8(?!\d)|1,?234(?![\d.]))")
RECORDS = {"metrics.jsonl", "result.json", "predictions.npz"}  # from which the verdict is computed


class NoVerdictError(Exception):
    """Ends a study when all its runs have ended."""


def no_verdict(*_arguments: object, **_named: object) -> None:
    raise NoVerdictError


def train(images: Path, runs: Path, **settings: Any) -> Path:
    """Return the folder of a new study whose runs have ended, without its verdict."""
    spec = build_study_spec(str(images), ARMS, None, None, None, None, {**SHORT, "seeds": 1, **settings})
    made = study.begin(spec, runs, NullReporter())
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NoVerdictError):
        patch.setattr(study, "conclude", no_verdict)
        study.run_study(made, LocalEngine(NullReporter()), NullReporter())
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """An open study and its images, of a user with an own ledger."""
    folder = tmp_path_factory.mktemp("open")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_DATA", str(folder / "data"))
        patch.setenv("HEADSTART_CACHE", str(folder / "cache"))
        images = Path(shutil.copytree("examples/photos", folder / "images"))
        yield train(images, folder), images


@pytest.fixture
def opened(trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_DATA", str(tmp_path / "data"))
    return Path(shutil.copytree(trained[0], tmp_path / "study"))


def give_numbers(run: Path) -> None:
    """Give a run recognizable results on test."""
    test = Evaluation(
        loss=LOSS, accuracy=CORRECT / IMAGES, n=IMAGES, units=IMAGES, correct=CORRECT, interval=(0.9874, 0.9876),
        confusion=counts_of([[CORRECT, WRONG, 0, 0], [0] * 4, [0] * 4, [0] * 4]),
    )  # fmt: skip
    lines = list(read_lines(run / "metrics.jsonl"))
    changed = [line.model_copy(update={"test": test}) if isinstance(line, EndLine) else line for line in lines]
    (run / "metrics.jsonl").write_bytes(b"".join(map(line_bytes, changed)))
    result = RunResult.read(run / "result.json").model_copy(update={"test": test})
    write_json(run / "result.json", result.to_json())
    seal(run)


def event_tags(folder: Path) -> set[str]:
    files = [file for file in folder.glob("events.out.tfevents.*") if file.stat().st_size]
    return {value.tag for file in files for event in EventFileLoader(str(file)).Load() for value in event.summary.value}


def written(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files below a folder as text, but records, weights and pictures; event files as their values."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in RECORDS):
        if "tfevents" in file.name:
            events = EventFileLoader(str(file)).Load() if file.stat().st_size else []
            yield file, " ".join(map(str, events))
        elif file.suffix in (".html", ".svg"):
            yield file, re.sub(r"<style.*?</style>|<path[^>]*>|<[^>]*>", " ", file.read_text(), flags=re.DOTALL)
        elif file.suffix in (".json", ".toml", ".md", ".txt", ".csv"):
            yield file, file.read_text()


def python_texts(folder: Path) -> Iterator[str]:
    made = headstart.Study(folder)
    yield made.frame.to_csv()
    for run in made.runs:
        yield from (repr(run), run._repr_html_(), repr(run.test), repr(run.result), json.dumps(run.result.to_json()))
        yield run.history.to_csv()
        yield str([line.to_json() for line in read_run(run.folder).lines()])


def make_outputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Let every command that reads runs write what it can, and return what was printed."""
    runs = [run.folder for run in runs_in(folder)]
    commands = [["diagnose", folder], ["diagnose", folder, "--json"], ["rebuild", folder], ["rebuild", runs[0]]]
    commands += [["report", path, "--format", name] for path in (folder, *runs) for name in ("html", "md")]
    commands += [["figures", folder, "--format", "svg"], ["figures", runs[0], "--format", "svg"]]
    for words in commands:
        assert main(list(map(str, words))) in (0, None), words
    for as_json in (False, True):  # as `resume` of a run does
        print_run(runs[0], as_json)
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_nothing_shows_test_before_the_verdict_and_everything_after_it(
    opened: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = list(runs_in(opened))
    assert len(records) == 2
    for folder in (*(run.folder for run in records), *opened.glob("mean-*")):  # as they were written live
        assert "accuracy/val" in event_tags(folder) and not [tag for tag in event_tags(folder) if "test" in tag]
    for run in records:
        give_numbers(run.folder)
    printed = make_outputs(opened, capsys)
    assert not TEXTS.search(printed), printed
    for text in python_texts(opened):
        assert not TEXTS.search(text), text
    read = dict(written(opened))
    assert {"report.html", "report.md"} <= {file.name for file in read} and any(file.suffix == ".svg" for file in read)
    for file, text in read.items():
        assert (match := TEXTS.search(text)) is None, (file, match)
    for folder in (*(run.folder for run in records), *opened.glob("mean-*")):
        assert "accuracy/val" in event_tags(folder) and not [tag for tag in event_tags(folder) if "test" in tag]
    run = headstart.Run(records[0].folder)
    assert run.test is None and run.result is not None and run.result.val.n
    with pytest.raises(DataError):
        read_run(run.folder).predictions("test")

    reporter = SentenceReporter()
    assert conclude_if_trained(opened, reporter) is not None
    assert run.test is not None and run.test.correct == CORRECT
    for folder in (*(run.folder for run in records), *opened.glob("mean-*")):
        assert {"accuracy/test", "loss/test"} <= event_tags(folder)
    for record in records:
        before = sorted(points(record.folder))
        assert "confusion/test" in {point[0] for point in before}
        runner.rebuild(record.folder)
        assert sorted(points(record.folder)) == before
    main(["report", str(opened)])
    shown = dict(written(opened))
    assert TEXTS.search(shown[opened / "report.html"])


def test_a_run_that_the_verdict_does_not_name_is_withheld(opened: Path) -> None:
    assert conclude_if_trained(opened, NullReporter()) is not None
    first = next(runs_in(opened))
    assert first.result is not None and first.result.test is not None and not first.withholds_test
    added = Path(shutil.copytree(first.folder, opened / "added"))
    assert read_run(added).withholds_test and read_run(added).evaluation_split == "val"
    exported = opened / read_verdict(opened).exported.run
    gallery = load_gallery(exported)
    assert gallery is not None and gallery.split == "test"
    (opened / "verdict.json").write_text("{}")
    assert all(run.withholds_test for run in runs_in(opened)) and load_gallery(exported) is None
    alone = Path(shutil.copytree(first.folder, opened.parent / "alone"))
    assert not read_run(alone).withholds_test


def test_models_of_an_open_study_are_not_evaluated_on_its_test_images(
    opened: Path, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run = next(runs_in(opened, with_test=True))
    test = run.predictions("test")
    for image in test.images:
        target = tmp_path / "elsewhere" / image
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(trained[1] / image, target)
    elsewhere = str(tmp_path / "elsewhere")
    assert headstart.evaluate(run.folder, split="val").split == "val"
    for source, split in ((None, "auto"), (None, "test"), (None, "all"), (elsewhere, "all")):
        with pytest.raises(UsageError) as error:
            headstart.evaluate(run.folder, source, split=split)
        assert fields_of(error.value.message)["study"] == opened.absolute()
    assert not ledger.uses_of(ledger.digest_of(test.contents)).studies
    for source in (None, elsewhere):
        looked = headstart.evaluate(run.folder, source, look_at_test=True)
        assert looked.n == len(test.images)
    text = (tmp_path / "data" / ledger.LEDGER_FILE).read_text()
    assert text.count("\n") == 1 and f'"use":"{LedgerUse.EVALUATION.value}"' in text
    assert ledger.uses_of(ledger.digest_of(test.contents)).studies == (read_study(opened).hash,)
    assert conclude_if_trained(opened, NullReporter()) is not None
    assert headstart.evaluate(run.folder).split == "test"
    assert (tmp_path / "data" / ledger.LEDGER_FILE).read_text().count("\n") == 2  # with the verdict


def copy_into(study_folder: Path, record: RunRecord) -> Path:
    """Return the copy of a finished run that another study reuses."""
    assert record.role is not None and record.result is not None
    run_index.add(record.folder, record.hash, seal=record.result.seal.digest)
    register_finished(record.folder, record.plan)
    study_folder.mkdir()
    shutil.copy(record.folder.parent / "study.toml", study_folder)
    copy = copy_finished(study_folder, RunRequest(plan=record.plan, role=record.role))
    assert copy is not None
    return copy


def test_a_reused_run_does_not_show_test_in_an_open_study(opened: Path, tmp_path: Path) -> None:
    verdict = conclude_if_trained(opened, NullReporter())
    assert verdict is not None
    record = read_run(opened / verdict.exported.run)
    assert (record.folder / GALLERY_FILE).is_file() and tensorboard.has_test_file(record.folder)
    copy = copy_into(tmp_path / "other", record)
    assert read_run(copy).withholds_test and not (copy / GALLERY_FILE).exists()
    assert "accuracy/val" in event_tags(copy) and not [tag for tag in event_tags(copy) if "test" in tag]
    for name in tensorboard.event_files(record.folder):
        (record.folder / name).unlink()
    tensorboard.rebuild_event_file(record.folder, {}).close()  # one file with all results, as a run outside a study has
    assert "accuracy/test" in event_tags(record.folder)
    copy = copy_into(tmp_path / "third", record)
    assert "accuracy/val" in event_tags(copy) and not [tag for tag in event_tags(copy) if "test" in tag]


def test_a_verdict_says_how_many_studies_used_its_test_images(
    opened: Path, trained: tuple[Path, Path], tmp_path: Path
) -> None:
    reporter = SentenceReporter()
    first = conclude_if_trained(opened, reporter)
    assert first is not None and first.studies_on_test_set == 1 and not other_studies_note(first)
    (opened / "verdict.json").unlink()
    again = conclude_if_trained(opened, reporter)  # computed again: not counted twice
    assert again == first
    second = conclude_if_trained(train(trained[1], tmp_path, seed=1), reporter)
    assert second is not None and second.studies_on_test_set == 2
    (note,) = other_studies_note(second)
    assert fields_of(note)["count"] == 2 and note in second.sentences.notes
    pooled = headstart.pool([run.folder for run in runs_in(opened)], runs=tmp_path / "pooled", trust=True, quiet=True)
    assert pooled.verdict.studies_on_test_set == 3
    run = next(runs_in(opened))
    runner.check(runner.draft_from_run(run.folder), reporter)
    assert [fields_of(text) for text in reporter.sentences if "judged" in text][-1]["count"] == 3
    (opened / "verdict.json").unlink()
    earlier = conclude_if_trained(opened, reporter)
    assert earlier is not None and earlier.studies_on_test_set == 1  # it is still the first
    report = (pooled.folder / "report.html").read_text()
    assert "judged 3 studies" in report
    assert read_verdict(pooled.folder).sentences.notes.count(str(other_studies_note(pooled.verdict)[0])) == 1


@pytest.mark.parametrize("fault", ["damaged", "not writable"])
def test_a_study_has_its_verdict_without_a_ledger(opened: Path, tmp_path: Path, fault: str) -> None:
    data = tmp_path / "data"
    if fault == "damaged":
        data.mkdir()
        (data / ledger.LEDGER_FILE).write_text("{}\n")
    else:
        data.write_text("")
    reporter = SentenceReporter()
    verdict = conclude_if_trained(opened, reporter)
    assert verdict is not None and verdict.studies_on_test_set == (1 if fault == "damaged" else None)
    assert len([text for text in reporter.sentences if "ledger" in text]) == 1
    assert read_plan_file(next(runs_in(opened)).folder).study is not None
