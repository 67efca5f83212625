"""What Weights & Biases and MLflow store of a run, read back with their own packages and compared with the record."""

import contextlib
import importlib.util
import math
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import headstart
from headstart.analysis.run_records import runs_in
from headstart.cli.main import main
from headstart.config.plan_file import read_plan_file
from headstart.storage.journal import read_lines
from headstart.telemetry.hyperparameters import hyperparameters
from headstart.telemetry.scalars import scalars
from headstart.telemetry.trackers.registry import TRACKERS
from headstart.telemetry.trackers.tracking import tracked
from tests.short_runs import SMALL, command, finish, flags, metrics
from tests.telemetry.test_trackers import finish as finish_by_hand
from tests.telemetry.test_trackers import new_run, write_checkpoint
from tests.telemetry.test_tracking import faults
from tests.tracker_readers import StoredRun, stored_runs
from tests.training.test_setup import RecordingReporter

INSTALLED = [name for name, spec in TRACKERS.items() if importlib.util.find_spec(spec.module)]
pytestmark = pytest.mark.skipif(not INSTALLED, reason="neither wandb nor mlflow is installed")
LOG = [word for name in INSTALLED for word in ("--log", name)]
TRAINING = {**SMALL, "network": "timm:test_resnet", "epochs": "3ep", "batch_size": 32}


@dataclass(frozen=True)
class Stores:
    """Where the installed trackers store runs, without a network."""

    wandb: Path
    mlflow: str

    def read(self, name: str) -> dict[str, StoredRun]:
        return stored_runs(name, self.wandb / "wandb" if name == "wandb" else self.mlflow)

    def mlflow_status(self, run: str) -> str:
        with contextlib.closing(sqlite3.connect(self.mlflow.removeprefix("sqlite:///"))) as database:
            ((status,),) = database.execute("SELECT status FROM runs WHERE name = ?", [run])
        return str(status)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty database of MLflow, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("mlflow")
    if "mlflow" in INSTALLED:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/empty.db")
            with tracked(folder, ["mlflow"], RecordingReporter()):
                finish_by_hand(new_run(folder, name="unused"))
    return folder / "empty.db"


@pytest.fixture
def stores(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """Set the variables of the trackers to new stores."""
    folder = tmp_path / "stores"
    folder.mkdir()
    uri = f"sqlite:///{folder}/runs.db"
    if database.exists():
        shutil.copy(database, folder / "runs.db")
    variables = {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "MLFLOW_TRACKING_URI": uri}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Stores(folder, uri)


def record_points(run: Path) -> list[tuple[str, int, int, float | None]]:
    """Return (tag, step, time in ms, value) of every scalar of a record, sorted; None for one that is not finite."""
    points, now = [], 0.0
    for line in read_lines(run / "metrics.jsonl"):
        now = getattr(line, "time", now)
        points += [(tag, line.step, round(1000 * now), value) for tag, value in scalars(line)]
    return sorted(points, key=lambda point: point[:3])


def stored_points(stored: StoredRun) -> list[tuple[str, int, int, float | None]]:
    points = [(tag, step, ms, None if math.isnan(value) else value) for tag, step, ms, value in stored.points]
    return sorted(points, key=lambda point: point[:3])


def check_stored(stored: StoredRun, run: Path) -> None:
    """Check that a tracker has the record of a run, each point once, and its hyperparameters."""
    assert stored_points(stored) == record_points(run)
    content = read_plan_file(run)
    arm = content.plan.arm_name if content.study is None else content.study.variant
    expected = {**hyperparameters(content.plan), "arm": arm}
    assert stored.settings.keys() == expected.keys()
    assert {name: type(value)(stored.settings[name]) for name, value in expected.items()} == expected


def only_run(runs: Path) -> Path:
    (plan,) = runs.glob("*/plan.json")
    return plan.parent


def wait_for(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("name", INSTALLED)
def test_stored_points_equal_the_record(name: str, tmp_path: Path, stores: Stores) -> None:
    run, reporter = new_run(tmp_path / "runs"), RecordingReporter()
    write_checkpoint(run, 3, (run / "metrics.jsonl").stat().st_size)
    with tracked(run, [name], reporter):
        pass  # stopped
    if name == "mlflow":
        assert stores.mlflow_status(run.name) == "KILLED"
    with tracked(run, [name], reporter):
        finish_by_hand(run)
    stored = stores.read(name)[run.name]
    check_stored(stored, run)
    assert stored.states == (["finished"] if name == "mlflow" else ["killed", "finished"])
    ended = {key: stored.ended_as[key] for key in ("state", "epochs", "best_epoch", "evaluation_split")}
    assert ended == {"state": "finished", "epochs": "2", "best_epoch": "2", "evaluation_split": "test"}
    assert faults(reporter) == []


def test_killed_and_resumed_run_is_stored_once(tmp_path: Path, stores: Stores) -> None:
    plain = headstart.train(runs=tmp_path / "plain", quiet=True, data=TRAINING["source"], **without_source())
    runs = tmp_path / "runs"
    process = command("train", *flags(**TRAINING), "--runs", runs, "--save-every", "2st", *LOG)
    wait_for(lambda: any(runs.glob("*/checkpoints/step-00000008-*")))
    process.send_signal(signal.SIGKILL)
    finish(process)
    run = only_run(runs)
    code, _, err = finish(command("resume", run, "--save-every", "2st", *LOG))
    assert code == 0, err
    assert metrics(run) == metrics(plain.folder)  # a tracker changes nothing
    weights = [folder / "model" / "model.safetensors" for folder in (run, plain.folder)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    for name in INSTALLED:
        stored = {one.name: one for one in stores.read(name).values()}
        check_stored(stored[run.name], run)
        assert stored[run.name].states[-1] == "finished"


def without_source() -> dict[str, str | int]:
    return {name: value for name, value in TRAINING.items() if name != "source"}


def test_study_is_stored_as_a_group(tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.hardware.cpu.usable_cores", lambda: 1)  # one worker imports the packages
    settings = {**without_source(), "epochs": "1ep"}
    study = headstart.compare(
        TRAINING["source"], arms=["scratch", "scratch:torch"], seeds=1, search="off", engine="processes",
        runs=tmp_path, log=INSTALLED, quiet=True, **settings,
    )  # fmt: skip
    records = list(runs_in(study.folder))
    assert len(records) == 2
    for name in INSTALLED:
        stored = {one.name: one for one in stores.read(name).values() if one.group == study.folder.name}
        assert stored.keys() == {run.folder.name for run in records}
        for run in records:
            check_stored(stored[run.folder.name], run.folder)
            assert stored[run.folder.name].stage == "main" and stored[run.folder.name].states[-1] == "finished"
    main(["rebuild", str(study.folder), *LOG])  # nothing is left to send
    for name in INSTALLED:
        for run in records:
            check_stored(stores.read(name)[run.folder.name], run.folder)
