"""Checks that every engine must pass. Each check takes the engine and a new folder.

    for check in contract.CHECKS:
        check(engine, tmp_path / check.__name__)

A check raises AssertionError with the requirement that is violated. The runs take a few steps on the built-in digits.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from pathlib import Path

import torch

from headstart.analysis.run_records import runs_in
from headstart.config.plan_file import read_plan_file
from headstart.config.registry.starts import DEFAULT_START
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import RunConfig
from headstart.engines.engine import Engine
from headstart.errors import DataError
from headstart.hardware import calibration, precision
from headstart.reporter import NullReporter
from headstart.runs import job_protocol
from headstart.runs.job_protocol import RunRequest
from headstart.storage import locks
from headstart.storage.journal import read_lines
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.metrics import StepLine
from headstart.storage.schemas.study import RunRole, Stage
from headstart.training.setup import resolve_run

STEPS = 3
KILLED_STEPS = 400  # several seconds, so that a run has a checkpoint before it ends, on a fast machine too
CHECKPOINT_TIMEOUT_S = 120  # time for a run to write its first checkpoint
_SMALL: dict[str, str | float] = {
    "source": "digits:0-1",
    "batch_size": 8,
    "precision": "fp32",
    "threads": 1,
    "network": "timm:test_resnet",
}


def plan(seed: int, steps: int = STEPS, **settings: str | float) -> RunConfig:
    """Return a complete plan of a small run."""
    draft = calibration.resolve_machine(
        resolve_settings({**_SMALL, "epochs": f"{steps}st", "seed": seed, **settings}).plan
    )
    with precision.deterministic(torch.device(draft.machine.device), draft.machine.threads):
        return resolve_run(draft, NullReporter()).plan


def job(parent: Path, *plans: RunConfig) -> str:
    """Return a job with these plans, as a study would request it."""
    role = RunRole(arm=ArmSpec(start=DEFAULT_START, label="small"), stage=Stage.MAIN, budget="", fraction=1.0)
    return job_protocol.encode_job(parent, [RunRequest(plan=plan, role=role) for plan in plans])


def every_job_is_answered_once(engine: Engine, folder: Path) -> None:
    """Check that each job has one answer that names the runs of its plans in order, whatever the order of answers."""
    plans = [plan(seed) for seed in range(3)]
    jobs = [job(folder, plans[0]), job(folder), job(folder, plans[1], plans[2])]
    answers = list(engine.run(jobs))
    _require(sorted(index for index, _ in answers) == [0, 1, 2], "each job is answered once")
    by_job = dict(answers)
    for index, expected in ((0, plans[:1]), (1, []), (2, plans[1:])):
        hashes = [read_plan_file(run).hash for run in job_protocol.decode_answer(by_job[index])]
        _require(hashes == [plan.hash for plan in expected], "an answer names the runs of its plans, in order")
    _require(all(run.done for run in runs_in(folder)), "answered runs are finished")


def no_jobs_have_no_answers(engine: Engine, folder: Path) -> None:
    """Check that no jobs give no answers, and that a job without plans gives an empty answer."""
    _require(list(engine.run([])) == [], "no jobs have no answers")
    ((index, answer),) = engine.run([job(folder)])
    _require((index, job_protocol.decode_answer(answer)) == (0, []), "an empty job is answered with no folders")


def errors_are_answers(engine: Engine, folder: Path) -> None:
    """Check that a run that fails is answered with its error, and that the other jobs are still answered."""
    valid, invalid = plan(0), plan(_new_seed()).changed(source=str(folder / "nowhere"))
    by_job = dict(engine.run([job(folder, invalid), job(folder, valid)]))
    try:
        job_protocol.decode_answer(by_job[0])
    except DataError as error:
        _require("nowhere" in error.message, "an error keeps its message")
    else:
        _require(False, "an error keeps its class")
    _require(len(job_protocol.decode_answer(by_job[1])) == 1, "an error does not affect other jobs")


def finished_runs_are_not_repeated(engine: Engine, folder: Path) -> None:
    """Check that a repeated job has the same answer, and that no run is trained again."""
    repeated = job(folder, plan(0))
    ((_, first),) = engine.run([repeated])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")}
    ((_, second),) = engine.run([repeated])
    _require(
        job_protocol.decode_answer(first) == job_protocol.decode_answer(second), "a repeated job has the same answer"
    )
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("metrics.jsonl")}
    _require(before == after and len(before) == 1, "a finished run is not trained again")


def closing_stops_running_jobs(engine: Engine, folder: Path) -> None:
    """Check that closing the generator stops the runs in progress, and that the engine answers the next jobs."""
    long = [job(folder, plan(seed, 100_000)) for seed in range(2)]
    answers = engine.run([job(folder), *long])
    next(answers)
    answers.close()
    sizes = _metrics_sizes(folder)
    ((_, answer),) = engine.run([job(folder)])
    _require(job_protocol.decode_answer(answer) == [] and _metrics_sizes(folder) == sizes, "closing stops running jobs")


def runs_survive_a_lost_worker(engine: Engine, folder: Path) -> None:
    """Check that a run whose worker is killed continues and finishes once.

    The worker is identified by the lock of its run. Not for an engine that runs jobs in this process.
    """
    long = plan(_new_seed(), KILLED_STEPS)
    killed: list[int] = []
    killer = threading.Thread(target=kill_worker, args=(folder, killed), daemon=True)
    killer.start()
    ((_, answer),) = engine.run([job(folder, long)])
    killer.join()
    _require(len(killed) == 1, "the run has a worker process with a checkpoint")
    (run,) = job_protocol.decode_answer(answer)
    _require([record.folder for record in runs_in(folder)] == [run], "the run continues in its folder")
    steps = [line.step for line in read_lines(run / "metrics.jsonl") if isinstance(line, StepLine)]
    _require(steps == list(range(1, KILLED_STEPS + 1)), "each step is in the record once")


CHECKS = (
    every_job_is_answered_once,
    no_jobs_have_no_answers,
    errors_are_answers,
    finished_runs_are_not_repeated,
    closing_stops_running_jobs,
)
WORKER_CHECKS = (runs_survive_a_lost_worker,)


def _new_seed() -> int:
    """Return a seed that no earlier check has used: its finished run would be reused."""
    return secrets.randbelow(1_000_000) + 100


def active_workers(folder: Path) -> dict[Path, int]:
    """Return the process of each run in `folder` that is in progress on this machine and has a checkpoint."""
    pids: dict[Path, int] = {}
    for lock in folder.glob("*/lock"):
        try:
            saved = [path for path in (lock.parent / "checkpoints").iterdir() if (path / "MANIFEST.json").exists()]
        except OSError:  # the run has just ended
            continue
        holder = locks.holder(lock.parent)
        if holder and holder[1] == socket.gethostname() and saved and not (lock.parent / "result.json").exists():
            pids[lock.parent] = holder[0]
    return pids


def kill_worker(folder: Path, killed: list[int], timeout_s: float = CHECKPOINT_TIMEOUT_S) -> None:
    """Wait for a worker with a run in progress, kill it, and append its process id to `killed`.

    This process is never killed. No worker is killed if no run has a checkpoint within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not killed and time.monotonic() < deadline:
        time.sleep(0.005)
        for pid in set(active_workers(folder).values()) - {os.getpid()}:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            return


def _metrics_sizes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("metrics.jsonl")}


def _require(holds: bool, requirement: str) -> None:
    if not holds:
        raise AssertionError(f"The engine violates a requirement: {requirement}.")
