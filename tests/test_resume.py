"""A run cannot be lost: real processes, real signals, and the same bits in the end."""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from headstart.cli import main
from headstart.record import read_json

from .runs import flags, metrics

SETTINGS = {
    "network": "timm:test_resnet",  # half a million weights: the kills are what takes the time
    "save_every": "7st",
    "epochs": "60st",
    "optimizer": "adam",
    "lr": 1e-3,
    "mixup": 0.2,
    "ema": 0.9,
}
CONTEXT = multiprocessing.get_context("forkserver")  # one warm server imports torch, each run is a fork of it
CONTEXT.set_forkserver_preload(["headstart.run", "tests.test_resume"])


def _door(words: list[str], log: str) -> None:
    """A fresh `headstart WORDS…` that writes what it says into `log`."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    main(words)


def start(words: list[str], log: Path) -> multiprocessing.process.BaseProcess:
    process = CONTEXT.Process(target=_door, args=(words, str(log)))
    process.start()
    return process


def wait(process: multiprocessing.process.BaseProcess, log: Path, timeout: float = 120) -> int:
    process.join(timeout)
    assert process.exitcode is not None, log.read_text()
    return process.exitcode


def train_words(runs: Path, **settings) -> list[str]:
    return ["train", *flags(**{**SETTINGS, **settings}), "--runs", str(runs)]


def only_run(runs: Path) -> Path:
    (folder,) = [p for p in runs.iterdir() if (p / "plan.json").exists()]
    return folder


def outcome(folder: Path) -> dict:
    """Everything a finished run leaves that does not depend on the clock."""
    result = read_json(folder / "result.json")
    del result["seconds"]
    predictions = np.load(folder / "evidence" / "predictions.npz")
    return {
        "model": hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest(),
        "metrics": metrics(folder),
        "result": result,
        "predictions": {name: predictions[name].tobytes() for name in predictions.files},
    }


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, float]:
    """The run that nobody disturbs, and how long it took."""
    runs = tmp_path_factory.mktemp("unbroken")
    start(train_words(runs), runs / "log").join(120)  # warms the caches
    shutil.rmtree(only_run(runs))
    begin = time.monotonic()
    assert wait(start(train_words(runs), runs / "log"), runs / "log") == 0
    return outcome(only_run(runs)), time.monotonic() - begin


def kill_until_done(runs: Path, moments: list[float], seconds: float) -> Path:
    """Start a run, kill -9 it after each moment (a share of `seconds`), resume, and let the last one end."""
    log = runs / "log"
    process = start(train_words(runs), log)
    for moment in moments:
        process.join(moment * seconds)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        begun = [p for p in runs.iterdir() if (p / "plan.json").exists()]
        if begun and (begun[0] / "result.json").exists():
            break
        process = start(["resume", str(begun[0]), "--save-every", "7st"] if begun else train_words(runs), log)
    if not (only_run(runs) / "result.json").exists():
        assert wait(process, log) == 0, log.read_text()
    return only_run(runs)


def check_killed(runs: Path, kills: int, unbroken: tuple[dict, float], seed: int) -> None:
    expected, seconds = unbroken
    draw = random.Random(seed)
    folder = kill_until_done(runs, [draw.uniform(0.3, 1.0) for _ in range(kills)], seconds)
    found = outcome(folder)
    assert found["metrics"] == expected["metrics"]
    assert found == expected
    assert not (folder / "checkpoints").exists()
    assert list(folder.rglob("*.tmp-*")) == []
    assert sum(file.stat().st_size > 0 for file in folder.glob("events.out.tfevents.*")) == 1


def test_killed_at_random_moments_the_end_is_the_same(tmp_path: Path, unbroken) -> None:
    check_killed(tmp_path, 5, unbroken, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_twenty_times_the_end_is_the_same(tmp_path: Path, unbroken) -> None:
    check_killed(tmp_path, 20, unbroken, seed=1)


def until_training(folder_of: Path, log: Path, steps: int = 5) -> Path:
    """Wait until a run has made some steps; returns its folder."""
    for _ in range(1200):
        begun = [p for p in folder_of.iterdir() if (p / "metrics.jsonl").exists()]
        if begun and list((begun[0] / "checkpoints").glob("step-*0")):
            return begun[0]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_with_a_checkpoint_and_resume_is_exact(tmp_path: Path, number, code: int) -> None:
    log = tmp_path / "log"
    words = train_words(tmp_path, epochs="140st", save_every="1st")
    process = start(words, log)
    folder = until_training(tmp_path, log)
    begin = time.monotonic()
    os.kill(process.pid, number)
    assert wait(process, log, 10) == code
    assert time.monotonic() - begin < 10
    said = log.read_text()
    assert f"headstart resume {folder}" in said and "Traceback" not in said
    assert metrics(folder)[-1]["kind"] == "stopped"
    assert not (folder / "result.json").exists()
    assert wait(start(["resume", str(folder)], log), log) == 0
    (tmp_path / "again").mkdir()
    assert wait(start(train_words(tmp_path / "again", epochs="140st"), log), log) == 0
    assert outcome(folder) == outcome(only_run(tmp_path / "again"))


def test_a_second_signal_ends_at_once_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(train_words(tmp_path, epochs="3000st"), log)
    folder = until_training(tmp_path, log)
    os.kill(process.pid, signal.SIGSTOP)  # both signals arrive before the run can obey the first
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    assert wait(process, log, 10) in (130, 143)
    process = start(["resume", str(folder)], log)
    time.sleep(4)
    os.kill(process.pid, signal.SIGTERM)
    assert wait(process, log, 10) == 143


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a folder of photos that was stopped early; tests work on copies of it."""
    root = tmp_path_factory.mktemp("stopped")
    from PIL import Image

    for label in ("cat", "dog"):
        (root / "photos" / label).mkdir(parents=True)
        for i in range(20):
            noise = np.random.default_rng(i).integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / "photos" / label / f"{i}.png")
    (root / "runs").mkdir()
    words = train_words(root / "runs", source=str(root / "photos"), image_size=16, epochs="3000st")
    process = start(words, root / "log")
    until_training(root / "runs", root / "log")
    os.kill(process.pid, signal.SIGTERM)
    assert wait(process, root / "log", 10) == 143
    return root


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(words)
    return int(caught.value.code or 0), capsys.readouterr().err


def test_changed_photos_are_refused_with_the_difference(stopped: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(stopped, tmp_path / "copy")
    folder = only_run(tmp_path / "copy" / "runs")
    plan = read_json(folder / "plan.json")
    plan["plan"]["data"]["source"] = str(tmp_path / "copy" / "photos")  # paths do not count
    (folder / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "copy" / "photos" / "cat" / "3.png").unlink()
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}
    code, said = refusal(["resume", str(folder)], capsys)
    assert code == 3
    assert "facts.fingerprint" in said and "facts.counts" in said and "--force-new" in said
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"} == before


def test_a_changed_plan_is_refused(stopped: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(stopped / "runs", tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    plan = read_json(folder / "plan.json")
    plan["plan"]["recipe"]["lr"] = 0.5
    (folder / "plan.json").write_text(json.dumps(plan))
    code, said = refusal(["resume", str(folder)], capsys)
    assert code == 2
    assert "recipe.lr: 0.001 -> 0.5" in said and "--force-new" in said


def test_a_run_in_use_is_refused(tmp_path: Path, capsys) -> None:
    log = tmp_path / "log"
    process = start(train_words(tmp_path, epochs="3000st"), log)
    folder = until_training(tmp_path, log)
    code, said = refusal(["resume", str(folder)], capsys)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert code == 2
    assert f"process {process.pid} on " in said


def test_all_checkpoints_damaged_is_exit_6_and_force_new_starts_again(stopped: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(stopped / "runs", tmp_path / "runs")
    folder = only_run(tmp_path / "runs")
    for path in (folder / "checkpoints").iterdir():
        (path / "model.safetensors").write_bytes(b"")
    code, said = refusal(["resume", str(folder)], capsys)
    assert code == 6
    assert all(path.name in said for path in (folder / "checkpoints").iterdir())


def test_a_diverged_run_says_so_and_keeps_the_best_model(tmp_path: Path, capsys) -> None:
    words = train_words(tmp_path, epochs="8ep", lr=1e18, optimizer="sgd", ema=0, mixup=0, warmup="90%")
    code, said = refusal(words, capsys)
    assert code == 4
    assert "loss became" in said
    folder = only_run(tmp_path)
    result = read_json(folder / "result.json")
    assert result["state"] == "diverged"
    if result["best_epoch"]:
        from headstart.model_folder import read_model

        read_model(folder / "model")  # refuses weights that are not finite
