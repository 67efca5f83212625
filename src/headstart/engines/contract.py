"""What every engine must do, as checks to run on one of your own: each takes the engine and a new folder.

    for check in contract.CHECKS:
        check(engine, tmp_path / check.__name__)

A check raises AssertionError with what was promised and not kept. The runs are of a few steps on the built-in digits.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import torch

from headstart.analysis.run_records import runs_in
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.engines import Engine
from headstart.errors import DataError
from headstart.hardware import calibration, precision
from headstart.reporter import NullReporter
from headstart.runs import job_protocol
from headstart.training import setup

STEPS = 3
_SMALL = {"source": "digits:0-1", "batch_size": 8, "precision": "fp32", "threads": 1, "network": "timm:test_resnet"}
_HOLDER = re.compile(r"process (\d+) on (.+)\n")


def plan(seed: int, steps: int = STEPS, **settings: Any) -> RunConfig:
    """A complete plan of a small run."""
    draft = calibration.resolve_machine(
        resolve_settings({**_SMALL, "epochs": f"{steps}st", "seed": seed, **settings}).plan
    )
    with precision.deterministic(torch.device(draft.machine.device), draft.machine.threads):
        return setup.complete(draft, NullReporter()).plan


def job(parent: Path, *plans: RunConfig) -> str:
    """A job of these plans, as a study would ask for them."""
    about = {"variant": "small", "stage": "main", "budget": "", "fraction": 1.0}
    return job_protocol.text(parent, [(asked, about) for asked in plans])


def every_job_is_answered_once(engine: Engine, folder: Path) -> None:
    """Whatever the order, each job has one answer, which names the runs of its plans in their order."""
    plans = [plan(seed) for seed in range(3)]
    asked = [job(folder, plans[0]), job(folder), job(folder, plans[1], plans[2])]
    answers = list(engine.run(asked))
    _require(sorted(index for index, _ in answers) == [0, 1, 2], "each job is answered once")
    found = dict(answers)
    for index, wanted in ((0, plans[:1]), (1, []), (2, plans[1:])):
        hashes = [json.loads((run / "plan.json").read_text())["hash"] for run in job_protocol.folders(found[index])]
        _require(hashes == [one.hash for one in wanted], "an answer names the runs of its plans, in order")
    _require(all(run.done for run in runs_in(folder)), "what is answered is done")


def nothing_is_asked_for_nothing(engine: Engine, folder: Path) -> None:
    """No jobs have no answers; a job without plans has an empty one."""
    _require(list(engine.run([])) == [], "no jobs have no answers")
    ((index, answer),) = engine.run([job(folder)])
    _require((index, job_protocol.folders(answer)) == (0, []), "an empty job is answered with no folders")


def an_error_is_an_answer(engine: Engine, folder: Path) -> None:
    """A run that cannot be made is told as the error it is, and the other jobs are answered all the same."""
    asked, lost = plan(0), plan(_fresh()).changed("data", source=str(folder / "nowhere"))
    found = dict(engine.run([job(folder, lost), job(folder, asked)]))
    try:
        job_protocol.folders(found[0])
    except DataError as error:
        _require("nowhere" in error.message, "an error says what it said where it came up")
    else:
        _require(False, "an error comes up as its own class")
    _require(len(job_protocol.folders(found[1])) == 1, "an error leaves the other jobs alone")


def what_is_done_stays(engine: Engine, folder: Path) -> None:
    """A job that is asked for again has the same answer, and nothing is trained again."""
    asked = job(folder, plan(0))
    ((_, first),) = engine.run([asked])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")}
    ((_, second),) = engine.run([asked])
    _require(job_protocol.folders(first) == job_protocol.folders(second), "a run that is done is found")
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")}
    _require(before == after and len(before) == 1, "a run that is done is not run again")


def a_closed_run_leaves_no_run_behind(engine: Engine, folder: Path) -> None:
    """Answers that nobody waits for any more: what was running stops, and the engine answers the next jobs."""
    long = [job(folder, plan(seed, 100_000)) for seed in range(2)]
    answers = engine.run([job(folder), *long])
    next(answers)
    answers.close()
    sizes = _sizes(folder)
    ((_, answer),) = engine.run([job(folder)])
    _require(job_protocol.folders(answer) == [] and _sizes(folder) == sizes, "a run nobody waits for has ended")


def a_lost_workers_run_goes_on(engine: Engine, folder: Path) -> None:
    """Of an engine with workers of its own: one is killed in the midst of a run, which then ends all the same, once.

    The worker is known from the lock of its run. Not for an engine that works in this very process.
    """
    asked = plan(_fresh(), 120)
    killed: list[int] = []
    watcher = threading.Thread(target=kill_a_worker, args=(folder, killed), daemon=True)
    watcher.start()
    ((_, answer),) = engine.run([job(folder, asked)])
    watcher.join()
    _require(len(killed) == 1, "the run had a worker with a checkpoint, which could be killed")
    (run,) = job_protocol.folders(answer)
    _require([found.folder for found in runs_in(folder)] == [run], "the run goes on in its folder")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["kind"] == "step"]
    _require(steps == list(range(1, 121)), "each step is in the record once")


CHECKS = (
    every_job_is_answered_once,
    nothing_is_asked_for_nothing,
    an_error_is_an_answer,
    what_is_done_stays,
    a_closed_run_leaves_no_run_behind,
)
CHECKS_OF_WORKERS = (a_lost_workers_run_goes_on,)


def _fresh() -> int:
    """A seed whose run no earlier check has made: a finished one would be taken over."""
    return secrets.randbelow(1_000_000) + 100


def workers(folder: Path) -> dict[Path, int]:
    """Runs of `folder` that are in progress on this machine and have a checkpoint, and the process of each."""
    found: dict[Path, int] = {}
    for lock in folder.glob("*/lock"):
        try:
            holder = _HOLDER.fullmatch(lock.read_text())
            saved = [path for path in (lock.parent / "checkpoints").iterdir() if (path / "MANIFEST.json").exists()]
        except OSError:  # it has just come to its end
            continue
        if holder and holder[2] == socket.gethostname() and saved and not (lock.parent / "result.json").exists():
            found[lock.parent] = int(holder[1])
    return found


def kill_a_worker(folder: Path, killed: list[int]) -> None:
    """Wait for a worker in the midst of a run, kill it and add its process to `killed`; none of this process."""
    until = time.monotonic() + 120
    while not killed and time.monotonic() < until:
        time.sleep(0.005)
        for pid in set(workers(folder).values()) - {os.getpid()}:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            return


def _sizes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("metrics.jsonl")}


def _require(kept: bool, promise: str) -> None:
    if not kept:
        raise AssertionError(f"An engine promises: {promise}.")
