"""Stopped and killed runs resume bit for bit, tested with real processes and signals."""

import hashlib
import json
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.cli.main import main
from headstart.config import plugins
from headstart.config.plan_file import read_plan_file
from headstart.config.resolve import resolve_settings
from headstart.errors import DataError, HeadstartError, UsageError
from headstart.reporter import NullReporter
from headstart.runs import runner
from headstart.runs.resume_checks import unchanged_plan
from headstart.storage.schemas.schema import StoredFile
from headstart.training import checkpoint, loop
from headstart.training.state import State, TrainingContext
from tests.files import read_json
from tests.messages import fields_of, values_of
from tests.short_runs import SMALL, flags, metrics
from tests.training.test_setup import RecordingReporter

SETTINGS = {
    "network": "timm:test_resnet",  # half a million weights: training is fast
    "save_every": "7st",
    "epochs": "60st",
    "optimizer": "adam",
    "lr": 1e-3,
    "mixup": 0.2,
    "ema": 0.9,
}
CONTEXT = multiprocessing.get_context("forkserver")  # one server imports torch, and each run is a fork of it
CONTEXT.set_forkserver_preload(["headstart.runs.runner", "tests.runs.test_resume"])


def run_command(arguments: list[str], log: str) -> None:
    """Run `headstart ARGUMENTS...` and append its output to `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    main(arguments)


def start(arguments: list[str], log: Path) -> multiprocessing.process.BaseProcess:
    process = CONTEXT.Process(target=run_command, args=(arguments, str(log)))
    process.start()
    return process


def wait(process: multiprocessing.process.BaseProcess, log: Path, timeout: float = 120) -> int:
    process.join(timeout)
    assert process.exitcode is not None, log.read_text()
    return process.exitcode


def train_arguments(runs: Path, **settings) -> list[str]:
    return ["train", *flags(**{**SETTINGS, **settings}), "--runs", str(runs)]


def only_run(runs: Path) -> Path:
    (folder,) = [p for p in runs.iterdir() if (p / "plan.json").exists()]
    return folder


def outcome(folder: Path) -> dict:
    """Return the results of a finished run that do not depend on the clock."""
    result = read_json(folder / "result.json")
    del result["seconds"]
    result["seal"] = {name: file for name, file in result["seal"]["files"].items() if name != "metrics.jsonl"}
    predictions = np.load(folder / "artifacts" / "predictions.npz")
    return {
        "model": hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest(),
        "metrics": metrics(folder),
        "result": result,
        "predictions": {name: predictions[name].tobytes() for name in predictions.files},
    }


def uninterrupted_outcome(runs: Path, **settings) -> dict:
    """Train below `runs` without interruption, and return the outcome."""
    runs.mkdir(exist_ok=True)
    assert wait(start(train_arguments(runs, **settings), runs / "log"), runs / "log") == 0
    return outcome(only_run(runs))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return uninterrupted_outcome(tmp_path_factory.mktemp("uninterrupted"))


def steps_saved(runs: Path) -> int:
    """Return the step of the newest checkpoint; 0 before the first."""
    names = [p.name for p in runs.glob("*/checkpoints/step-*") if ".tmp-" not in p.name]
    return max((int(name.split("-")[1]) for name in names), default=0)


def kill_and_resume(arguments: list[str], runs: Path, kills: int, generator: random.Random) -> tuple[Path, int]:
    """Kill a run `kills` times, each time one to three steps later at a random moment, then let it finish."""
    log, count, reached = runs / "log", 0, 0
    process = start(arguments, log)
    while count < kills:
        goal = reached + generator.randint(1, 3)
        while process.is_alive() and steps_saved(runs) < goal:
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.05))  # at any point of a step, a checkpoint, or the end of an epoch
        if not process.is_alive():
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        count, reached = count + 1, steps_saved(runs)
        process = start(["resume", str(only_run(runs)), "--save-every", "1st"], log)
    assert wait(process, log) == 0, log.read_text()
    return only_run(runs), count


def check_killed(runs: Path, kills: int, expected: dict, seed: int, **settings) -> None:
    arguments = train_arguments(runs, **{**settings, "save_every": "1st"})
    folder, count = kill_and_resume(arguments, runs, kills, random.Random(seed))
    assert count == kills
    result = outcome(folder)
    assert result["metrics"] == expected["metrics"]
    assert result == expected
    assert not (folder / "checkpoints").exists()
    assert list(folder.rglob("*.tmp-*")) == []
    assert sum(file.stat().st_size > 0 for file in folder.glob("events.out.tfevents.*")) == 1


def test_resume_after_sigkill_is_bit_identical(tmp_path: Path, uninterrupted) -> None:
    check_killed(tmp_path, 5, uninterrupted, seed=0)


def test_resume_after_sigkill_is_bit_identical_with_default_precision_and_threads(tmp_path: Path) -> None:
    """bf16 where it is faster, all cores, the real ResNet-18."""
    settings = {"network": "resnet18", "precision": "bf16", "threads": 0, "ema": 0, "epochs": "16st"}
    expected = uninterrupted_outcome(tmp_path / "whole", **settings)
    (tmp_path / "killed").mkdir()
    check_killed(tmp_path / "killed", 2, expected, seed=2, **settings)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_resume_after_fifty_sigkills_is_bit_identical(tmp_path: Path) -> None:
    expected = uninterrupted_outcome(tmp_path / "whole", epochs="200st")
    (tmp_path / "killed").mkdir()
    check_killed(tmp_path / "killed", 50, expected, seed=1, epochs="200st")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_resume_of_resnet18_after_twenty_sigkills_is_bit_identical(tmp_path: Path) -> None:
    settings = {"network": "resnet18", "precision": "auto", "threads": 0}
    expected = uninterrupted_outcome(tmp_path / "whole", **settings)
    (tmp_path / "killed").mkdir()
    check_killed(tmp_path / "killed", 20, expected, seed=3, **settings)


def wait_for_training(runs: Path, log: Path) -> Path:
    """Wait until a run has made some steps, and return its folder."""
    for _ in range(1200):
        started = [p for p in runs.iterdir() if (p / "metrics.jsonl").exists()]
        if started and list((started[0] / "checkpoints").glob("step-*0")):
            return started[0]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_writes_a_checkpoint_and_resume_is_bit_identical(tmp_path: Path, number, code: int) -> None:
    log = tmp_path / "log"
    arguments = train_arguments(tmp_path, epochs="140st", save_every="1st")
    process = start(arguments, log)
    folder = wait_for_training(tmp_path, log)
    os.kill(process.pid, number)
    assert wait(process, log, 120) == code
    output = log.read_text()
    assert f"headstart resume {folder}" in output and "Traceback" not in output
    assert metrics(folder)[-1]["kind"] == "stopped"
    assert not (folder / "result.json").exists()
    assert wait(start(["resume", str(folder)], log), log) == 0
    (tmp_path / "again").mkdir()
    assert wait(start(train_arguments(tmp_path / "again", epochs="140st"), log), log) == 0
    assert outcome(folder) == outcome(only_run(tmp_path / "again"))


def test_second_signal_stops_at_once_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(train_arguments(tmp_path, epochs="3000st"), log)
    folder = wait_for_training(tmp_path, log)
    os.kill(process.pid, signal.SIGSTOP)  # both signals arrive before the run can handle the first
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    assert wait(process, log, 10) in (130, 143)
    before = steps_saved(tmp_path)
    process = start(["resume", str(folder), "--save-every", "1st"], log)
    while process.is_alive() and steps_saved(tmp_path) <= before:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    assert wait(process, log, 10) == 143


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the parent of a run on an image folder that was stopped early; tests use copies of it."""
    root = tmp_path_factory.mktemp("stopped")
    from PIL import Image

    for label in ("cat", "dog"):
        (root / "photos" / label).mkdir(parents=True)
        for i in range(20):
            noise = np.random.default_rng(i).integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / "photos" / label / f"{i}.png")
    (root / "runs").mkdir()
    arguments = train_arguments(root / "runs", source=str(root / "photos"), image_size=16, epochs="3000st")
    process = start(arguments, root / "log")
    wait_for_training(root / "runs", root / "log")
    os.kill(process.pid, signal.SIGTERM)
    assert wait(process, root / "log", 10) == 143
    return root


def failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, HeadstartError]:
    """Run a command that fails, and return its exit code and the error whose message and hint it has printed last."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    error = caught.value.__context__
    assert isinstance(error, HeadstartError)
    assert capsys.readouterr().err.endswith(f"{error.message}\n{error.hint}\n")
    return int(caught.value.code or 0), error


def test_resume_rejects_changed_images_with_the_difference(stopped: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(stopped, tmp_path / "copy")
    folder = only_run(tmp_path / "copy" / "runs")
    plan = read_json(folder / "plan.json")
    plan["plan"]["data"]["source"] = str(tmp_path / "copy" / "photos")  # paths are not compared
    (folder / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "copy" / "photos" / "cat" / "3.png").unlink()
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}
    code, error = failure(["resume", str(folder)], capsys)
    assert code == 3 and "--force-new" in error.hint
    changes = str(fields_of(error.message)["changes"])
    assert {"facts.fingerprint", "facts.split_counts"} <= set(re.findall(r"\bfacts\.\w+", changes))
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"} == before


def test_resume_rejects_a_changed_plan(stopped: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(stopped / "runs", tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    plan = read_json(folder / "plan.json")
    plan["plan"]["recipe"]["lr"] = 0.5
    (folder / "plan.json").write_text(json.dumps(plan))
    code, error = failure(["resume", str(folder)], capsys)
    assert code == 2 and "--force-new" in error.hint
    assert fields_of(error.message) == {"folder": folder, "changes": "recipe.lr: 0.001 -> 0.5"}


def test_resume_rejects_a_run_in_use(tmp_path: Path, capsys) -> None:
    log = tmp_path / "log"
    process = start(train_arguments(tmp_path, epochs="3000st"), log)
    folder = wait_for_training(tmp_path, log)
    code, error = failure(["resume", str(folder)], capsys)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert code == 2
    assert fields_of(error.message) == {"folder": folder, "pid": process.pid, "host": socket.gethostname()}


def test_resume_exits_with_6_if_all_checkpoints_are_damaged(stopped: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(stopped / "runs", tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    for path in (folder / "checkpoints").iterdir():
        (path / "model.safetensors").write_bytes(b"")
    code, error = failure(["resume", str(folder)], capsys)
    assert code == 6
    assert set(map(str, (folder / "checkpoints").iterdir())) <= set(map(str, values_of(error.message)))


def test_diverged_run_keeps_the_best_model(tmp_path: Path, capsys, monkeypatch) -> None:
    """The loss becomes NaN in the second epoch: the model of the first epoch is kept, bit for bit."""
    settings = {"source": "digits:0-1", "batch_size": 16, "schedule": "constant", "ema": 0}
    main(train_arguments(tmp_path / "one", **settings, epochs="1ep"))
    real = loop._loss

    def nan_loss(context: TrainingContext, state: State, *rest):
        loss, logits = real(context, state, *rest)
        return (loss * float("nan") if state.progress.step == 20 else loss), logits

    monkeypatch.setattr(loop, "_loss", nan_loss)
    code, error = failure(train_arguments(tmp_path / "bad", **settings, epochs="4ep"), capsys)
    assert code == 4
    assert fields_of(error.message) == {"loss": pytest.approx(math.nan, nan_ok=True), "step": 21}
    finished, diverged = only_run(tmp_path / "one"), only_run(tmp_path / "bad")
    result = read_json(diverged / "result.json")
    assert (result["state"], result["best_epoch"]) == ("diverged", 1)
    assert (finished / "model/model.safetensors").read_bytes() == (diverged / "model/model.safetensors").read_bytes()
    assert not (diverged / "checkpoints").exists()
    expected = read_json(finished / "result.json")
    assert (result["val"], result["test"]) == (expected["val"], expected["test"])  # of the model that is kept
    code, error = failure(["resume", str(diverged)], capsys)
    assert code == 2 and fields_of(error.message) == {"folder": diverged} and "headstart tensorboard" in error.hint


def test_resume_removes_incomplete_files_of_a_crash(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped / "runs", tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    (folder / "model").mkdir(exist_ok=True)
    orphan = folder / "model" / f".model.safetensors.tmp-99999999-{socket.gethostname()}"
    orphan.write_bytes(b"half")
    process = start(["resume", str(folder)], tmp_path / "log")
    for _ in range(600):
        if not orphan.exists():
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not orphan.exists()


def test_plan_has_absolute_paths(stopped: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(stopped)
    main(
        [
            "train",
            "photos",
            "--network",
            "timm:test_resnet",
            "--image-size",
            "16",
            "--epochs",
            "1st",
            "--runs",
            str(tmp_path),
        ]
    )
    monkeypatch.chdir("/")
    plan = runner.draft_from_run(only_run(tmp_path))
    assert plan.data.source == str(stopped / "photos")


@pytest.mark.parametrize(("key", "value", "expected"), [("lr", -1, 3), ("optimizer", "adan", 3), ("flip", "auto", 2)])
def test_resume_rejects_a_plan_made_invalid_by_hand(
    stopped: Path, tmp_path: Path, capsys, key: str, value, expected: int
) -> None:
    shutil.copytree(stopped / "runs", tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    content = read_json(folder / "plan.json")
    content["plan"]["recipe"][key] = value
    (folder / "plan.json").write_text(json.dumps(content))
    code, error = failure(["resume", str(folder)], capsys)
    fields = fields_of(error.message)
    assert code == expected
    if isinstance(error, UsageError):
        (change,) = str(fields["changes"]).split("; ")
        assert change.startswith(f"recipe.{key}: ") and change.endswith(f" -> {value}")
    else:
        assert str(fields["place"]).startswith(f"plan.recipe.{key}")


def move_to_other_machine(folder: Path, best_epoch: int) -> Path:
    """Change a stopped run as if another machine had started it, with the best model of `best_epoch`."""
    for name, change in (
        ("plan.json", lambda content: content["environment"].update(processor="another")),
        ("model/config.json", lambda content: content["headstart"].update(epoch=best_epoch)),
    ):
        content = read_json(folder / name)
        change(content)
        (folder / name).write_text(json.dumps(content))
    return folder


def test_resume_on_another_machine_rejects_a_best_model_newer_than_the_checkpoint(tmp_path: Path) -> None:
    """Another machine may not reproduce it, and it would be evaluated nevertheless."""
    plan = resolve_settings({**SMALL, "epochs": "3ep", "network": "timm:test_resnet"}).plan
    reporter = RecordingReporter()
    stopped = runner.run_new(plan, tmp_path, NullReporter(), until=2)
    processor = read_json(stopped / "plan.json")["environment"]["processor"]
    with pytest.raises(UsageError) as error:
        runner.resume(move_to_other_machine(stopped, best_epoch=3), reporter)
    assert fields_of(error.value.message) == {"folder": stopped, "epoch": 3}
    assert not (stopped / "result.json").exists()
    runner.resume(move_to_other_machine(stopped, best_epoch=2), reporter)
    changes = [fields_of(sentence).get("changes") for sentence in reporter.sentences]
    assert [change for change in changes if change] == [f"processor: another -> {processor}"] * 2  # in both attempts
    assert read_json(stopped / "result.json")["state"] == "finished"


def refused_plan(folder: Path, change: Callable[[Any], Any]) -> HeadstartError:
    """Change plan.json of a stopped run, and return the error of resuming it."""
    path = folder / "plan.json"
    path.write_text(json.dumps(change(read_json(path))))
    with pytest.raises(HeadstartError) as error:
        unchanged_plan(folder)
    return error.value


def test_resume_names_the_fault_of_a_damaged_plan(stopped: Path, tmp_path: Path) -> None:
    def refused(name: str, change: Callable[[Any], Any]) -> HeadstartError:
        shutil.copytree(stopped / "runs", tmp_path / name)
        error = refused_plan(only_run(tmp_path / name), change)
        assert type(error) is DataError, name
        return error

    version = fields_of(refused("version", lambda content: {**content, "schema_version": 2}).message)
    assert (version["schema"], version["supported"]) == (2, 1)
    for part, value in (("environment", "linux"), ("plan", []), ("plan", None)):
        error = refused(f"{part} {value}", lambda content, part=part, value=value: {**content, part: value})
        assert fields_of(error.message)["place"] == part and plugins.VARIABLE in error.hint
    assert set(fields_of(refused("list", lambda content: []).message)) == {"name", "text"}
    wrong_hash = refused("hash", lambda content: {**content, "hash": "0" * 64})
    assert set(fields_of(wrong_hash.message)) == {"path"}


def test_resume_reports_a_missing_plugin_although_the_checkpoint_needs_it_too(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped / "runs", tmp_path / "runs")
    folder = only_run(tmp_path / "runs")

    def with_unknown_optimizer(text: str) -> str:
        return text.replace('"optimizer": "adam"', '"optimizer": "of_a_plugin"')

    for state in folder.glob("checkpoints/*/state.json"):
        state.write_text(with_unknown_optimizer(state.read_text()))
        manifest = read_json(state.parent / "MANIFEST.json")
        manifest["files"]["state.json"] = StoredFile.of(state.read_bytes()).to_json()
        (state.parent / "MANIFEST.json").write_text(json.dumps(manifest))
        assert "of_a_plugin" in state.read_text()
        assert not checkpoint.find_damage(state.parents[2], state.parent.name)
    error = refused_plan(folder, lambda content: json.loads(with_unknown_optimizer(json.dumps(content))))
    assert type(error) is DataError and plugins.VARIABLE in error.hint
    assert str(fields_of(error.message)["name"]).endswith("plan.json")


def test_resume_lists_a_change_of_a_plan_whose_hash_was_changed_too(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped / "runs", tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    content = read_plan_file(folder)
    plan = content.plan.changed(momentum=0.5)
    changed = content.model_copy(update={"plan": plan, "hash": plan.hash}).to_json()
    error = refused_plan(folder, lambda _content: changed)
    assert type(error) is UsageError
    assert fields_of(error.message)["changes"] == "recipe.momentum: 0.9 -> 0.5"
    shutil.rmtree(folder / "checkpoints")
    assert unchanged_plan(folder).plan == plan  # nothing contradicts it
    error = refused_plan(folder, lambda _content: {**changed, "hash": content.hash})
    assert type(error) is DataError
