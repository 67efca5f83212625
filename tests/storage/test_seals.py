"""Seals of runs that have ended: what was changed is refused and named, and what was hashed is not hashed again."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies

import headstart
from headstart.analysis.run_records import read_run, runs_in
from headstart.artifacts.find_model import find_model
from headstart.artifacts.gallery import write_gallery
from headstart.artifacts.model_folder import read_model
from headstart.config.plan_file import PLAN_FILE, read_plan_file, write_plan_file
from headstart.config.run_config import RunConfig
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import DataError
from headstart.experiment import study
from headstart.figures.filters import trained_filters
from headstart.i18n import Message
from headstart.report.page import write_page
from headstart.reporter import NullReporter
from headstart.results.diagnosis import diagnose
from headstart.storage import run_index, seals
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.result import RESULT_FILE
from headstart.storage.schemas.schema import StoredFile
from headstart.storage.schemas.seal import Seal
from headstart.weights.local import network_of_run
from tests.experiment.test_study import SHORT
from tests.files import read_json
from tests.handmade import run_result, run_role, seal, write_run_files
from tests.messages import fields_of


def seal_of(folder: Path, *names: str) -> Seal:
    files = {name: StoredFile.of((folder / name).read_bytes()) for name in names}
    return Seal(plan="", result="", files=files)


def test_a_file_with_several_names_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    real = seals._hash
    monkeypatch.setattr(seals, "_hash", lambda file: hashed.append(1) or real(file))
    (tmp_path / "shared").write_bytes(b"weights")
    for number in range(4):
        os.link(tmp_path / "shared", tmp_path / f"{number}")  # changes the ctime
        seals.require_all(tmp_path, seal_of(tmp_path, f"{number}"))
    assert len(hashed) == 1


def test_a_change_with_the_former_size_and_time_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    seal, before = seal_of(tmp_path, "file"), file.stat()
    seals.require_all(tmp_path, seal)
    file.write_bytes(b"behind")
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # until the clock of the file system goes on
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(seals.BrokenSealError, match="file"):
        seals.require_all(tmp_path, seal)


ORIGIN = {"reused_from": None, "of_others": False, "study": None, "environment": {"python": "2"}}


@pytest.mark.parametrize("field", ORIGIN)
def test_all_of_plan_json_but_the_place_of_the_images_is_sealed(tmp_path: Path, field: str) -> None:
    write_run_files(tmp_path, RunConfig(), role=run_role(), result=run_result())
    pooled = read_plan_file(tmp_path).model_copy(update={"reused_from": "/elsewhere", "of_others": True})
    write_plan_file(tmp_path, pooled)
    seal(tmp_path)
    moved = pooled.plan.model_copy(update={"data": pooled.plan.data.model_copy(update={"source": "/moved"})})
    write_plan_file(tmp_path, pooled.model_copy(update={"plan": moved}))
    assert read_run(tmp_path).of_others
    content = read_json(tmp_path / PLAN_FILE)
    assert content[field] != ORIGIN[field]
    (tmp_path / PLAN_FILE).write_text(json.dumps({**content, field: ORIGIN[field]}))
    with pytest.raises(seals.BrokenSealError) as error:
        read_run(tmp_path)
    assert fields_of(error.value.message)["path"] == tmp_path / PLAN_FILE


class Listener(NullReporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[Message] = []

    def say(self, text: Message) -> None:
        self.said.append(text)


def compare(runs: Path, listener: Listener | None = None) -> Path:
    """Run a short study below a folder, and return its folder."""
    spec = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, SHORT)
    folder = study.begin(spec, runs, NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), listener or NullReporter())
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study."""
    return compare(tmp_path_factory.mktemp("studies"))


def edit(file: Path, change: Callable[[dict], object]) -> None:
    content = read_json(file)
    change(content)
    file.write_text(json.dumps(content))


EDITS: dict[str, tuple[str, Callable[[dict], object]]] = {
    "plan": (PLAN_FILE, lambda content: content["plan"]["recipe"].update(lr=5.0)),
    "role": (PLAN_FILE, lambda content: content["study"].update(budget="9st")),
    "origin": (PLAN_FILE, lambda content: content.update(of_others=True)),
    "result": (RESULT_FILE, lambda content: content["val"].update(accuracy=1.0)),
    "state": (RESULT_FILE, lambda content: content.update(state="diverged")),
}
READERS: dict[str, Callable[[Path], object]] = {
    "report": write_page,
    "diagnose": diagnose,
    "resume": lambda folder: headstart.resume(folder, quiet=True),
}


@pytest.mark.parametrize("file, change", EDITS.values(), ids=EDITS)
def test_an_edited_run_of_a_study_is_refused(
    finished: Path, tmp_path: Path, file: str, change: Callable[[dict], object]
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / finished.name))
    edited = next(runs_in(folder)).folder / file
    edit(edited, change)
    for read in READERS.values():
        with pytest.raises(DataError) as error:
            read(folder)
        assert fields_of(error.value.message)["path"] == edited


def test_the_model_of_a_study_is_that_of_its_verdict(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    assert find_model(folder).path == folder / "model"
    exported = read_json(folder / "verdict.json")["exported"]["run"]
    other = next(run.folder for run in runs_in(folder) if run.folder.name != exported)
    shutil.rmtree(folder / "model")
    shutil.copytree(other / "model", folder / "model")  # its own config.json names its weights
    with pytest.raises(seals.BrokenSealError):
        find_model(folder)
    for run in list(runs_in(folder)):
        shutil.rmtree(run.folder)  # to save space: nothing is left that the model could be compared with
    assert find_model(folder).path == folder / "model"


def test_the_model_of_a_study_of_heads_is_that_of_its_verdict(tmp_path: Path) -> None:
    """The runs have a head and a shared backbone, which are one file in the model of the study."""
    arms = ("source:digits:4-6+frozen", "source:digits:4-6+frozen@adam")
    spec = build_study_spec("digits:0-3", arms, None, None, None, None, SHORT)
    folder = study.begin(spec, tmp_path, NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    exported = read_json(folder / "verdict.json")["exported"]["run"]
    assert (folder / exported / "model" / "head.safetensors").exists()
    assert find_model(folder).path == folder / "model"
    other = next(run.folder for run in runs_in(folder) if run.folder.name != exported)
    shutil.rmtree(folder / "model")
    shutil.copytree(other / "model", folder / "model")
    with pytest.raises(seals.BrokenSealError):
        find_model(folder)


def test_a_registered_run_is_reused_only_with_its_seal_in_the_index(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reused(name: str) -> tuple[list[bool], list[Message]]:
        listener = Listener()
        folder = compare(tmp_path / name, listener)
        return [run.reused_from is not None for run in runs_in(folder)], listener.said

    index = run_index.data_root() / run_index.INDEX_FILE
    own, _said = reused("own")
    assert own == [True] * 4
    for name, mode in (("closed", 0o700), ("open", 0o770)):
        data = tmp_path / f"{name}-data"
        data.mkdir()
        if name == "open":
            shutil.copy(index, data)  # it has the seals, but others could have written them
        data.chmod(mode)
        monkeypatch.setenv("HEADSTART_DATA", str(data))
        trained, said = reused(name)
        assert trained == [False] * 4
        reported = [text for text in said if run_index.fault() and run_index.fault() in text.values.values()]
        assert len(reported) == (name == "open")


@pytest.fixture(scope="module")
def run(finished: Path) -> Path:
    """A run of the study."""
    return next(runs_in(finished)).folder


@hypothesis.given(strategies.data())
@hypothesis.settings(max_examples=60)
def test_a_flipped_byte_is_noticed_and_its_file_is_named(
    run: Path, tmp_path_factory: pytest.TempPathFactory, data: strategies.DataObject
) -> None:
    result = read_run(run).result
    assert result is not None
    seals.require_all(run, result.seal)
    name = data.draw(strategies.sampled_from(sorted(result.seal.files)))
    position = data.draw(strategies.integers(0, result.seal.files[name].size - 1))
    copy = Path(shutil.copytree(run, tmp_path_factory.mktemp("copies") / "run"))
    content = bytearray((copy / name).read_bytes())
    content[position] ^= data.draw(strategies.integers(1, 255))
    (copy / name).write_bytes(content)
    with pytest.raises(seals.BrokenSealError) as error:
        seals.require_all(copy, result.seal)
    assert fields_of(error.value.message)["path"] == copy / name
    shutil.rmtree(copy.parent)


def test_the_seal_has_the_files_that_copies_have(run: Path) -> None:
    (run / "model" / "notes.txt").write_text("unknown")
    result = read_run(run).result
    assert result is not None
    names = {"metrics.jsonl", "artifacts/predictions.npz"}
    names |= {f"model/{file}" for file in ("model.safetensors", "config.json", "preprocess.json")}
    assert seals.seal_run(run, result, read_plan_file(run).sealed) == result
    assert result.seal.files.keys() == names
    (run / "model" / "notes.txt").unlink()


MODEL_READERS: dict[str, Callable[[Path], object]] = {
    "read": lambda run: read_model(run, MODEL_FOLDER),
    "module": lambda run: headstart.Run(run).model(),
    "predictor": headstart.Predictor,
    "preprocessing": lambda run: headstart.Run(run).transform(),
    "start": lambda run: headstart.train(
        "digits:0-3", start=f"run:{run}", network="timm:test_resnet", epochs="1st", runs=run.parent, quiet=True
    ),
    "network": lambda run: network_of_run(str(run)),
    "filters": trained_filters,
    "gallery": write_gallery,
}


@pytest.mark.parametrize("read", MODEL_READERS.values(), ids=MODEL_READERS)
def test_a_changed_model_of_a_run_is_not_read(run: Path, tmp_path: Path, read: Callable[[Path], object]) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    weights = copy / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    stored = StoredFile.of(bytes(content)).to_json()
    change = {"weights": {weights.name: stored}}  # config.json names the changed file, only the seal shows it
    edit(copy / "model" / "config.json", lambda config: config["headstart"].update(change))
    with pytest.raises(seals.BrokenSealError) as error:
        read(copy)
    assert fields_of(error.value.message)["path"] in (weights, copy / "model" / "config.json")
    shutil.copytree(run / "model", copy / "model", dirs_exist_ok=True)
    read(copy)
