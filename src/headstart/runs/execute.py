"""Run jobs.

A job is a list of plans to run in a folder. Its answer is the list of run folders. Engines see both as text.

A finished run is never repeated, neither in its folder nor if an earlier study has run it (the cache stores its path
by plan and environment). A stopped run is resumed.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

from headstart import errors
from headstart.analysis.run_records import runs_in
from headstart.config.plugins import load_plugins
from headstart.errors import DivergedError, HeadstartError
from headstart.models.user_code import pinned
from headstart.reporter import Reporter
from headstart.runs import heads_runner, runner
from headstart.runs.job_protocol import Answer, Job, RunRequest, decode_job, error_answer
from headstart.runs.reuse import (
    RUN_LOCK_TIMEOUT_S,
    backbone_lock_name,
    claim,
    copy_finished,
    finished_trial,
    register_finished,
    run_lock_name,
)
from headstart.runs.run_folder import is_blind
from headstart.runs.trial_evaluation import evaluate_trial
from headstart.storage import contained, locks


def run_job(job: Job, reporter: Reporter) -> list[Path]:
    """Run a job and return its run folders in order. A run that diverges is a result, not an error.

    Raises:
        InterruptedRunError: A run was stopped by a signal.
        HeadstartError: Any error of a run.
    """
    parent = job.parent
    parent.mkdir(parents=True, exist_ok=True)
    head_groups: dict[str, list[RunRequest]] = {}
    for request in job.runs:
        if (key := heads_runner.stack_key(request.plan)) is not None:
            head_groups.setdefault(key, []).append(request)
    head_folders: dict[str, Path] = {}
    for key, group in head_groups.items():
        head_folders |= _run_heads(parent, key, group, reporter)
    return [
        head_folders.get(request.plan.hash) or _run_single(parent, request, job.until, reporter) for request in job.runs
    ]


def group_into_jobs(requests: Sequence[RunRequest]) -> list[list[RunRequest]]:
    """Return the runs of each job, in order, each plan once.

    Heads on one backbone are in one job; every other run has its own.
    """
    jobs: dict[str, dict[str, RunRequest]] = {}
    for request in requests:
        plan = request.plan
        jobs.setdefault(heads_runner.stack_key(plan) or plan.hash, {}).setdefault(plan.hash, request)
    return [list(job.values()) for job in jobs.values()]


def answer_job(text: str, reporter: Reporter, *, parent: Path | None = None) -> str:
    """Run a job given as text and return its answer as text. A HeadstartError is an answer too.

    Args:
        text: The job.
        reporter: Receives progress.
        parent: The folder of the runs; None for that of the job.
    """
    try:
        job = decode_job(text)
        job = job if parent is None else job.model_copy(update={"parent": parent})
        with pinned(job.codes()):
            return Answer(folders=run_job(job, reporter)).model_dump_json()
    except HeadstartError as error:
        return error_answer(error)


def answer_job_in_worker(text: str, reporter: Reporter, *, parent: Path | None = None) -> str:
    """Run a job in another process than its caller, with its plugins.

    The arguments are those of `answer_job`. Unexpected errors are answers too, with their traceback.
    """
    try:
        load_plugins()
        return answer_job(text, reporter, parent=parent)
    except Exception as error:
        return error_answer(errors.as_headstart_error(error), traceback.format_exc())


def _run_heads(parent: Path, key: str, requests: Sequence[RunRequest], reporter: Reporter) -> dict[str, Path]:
    """Return the run folders by hash of heads that are trained together; empty if they cannot be.

    If one is missing, all are trained and only the missing one is written: a stack of other heads would round
    differently.
    """
    folders: dict[str, Path] = {}
    with locks.locked(parent, backbone_lock_name(key), RUN_LOCK_TIMEOUT_S):
        records = {record.hash: record for record in runs_in(parent)}
        for request in requests:
            run_hash = request.plan.hash
            if run_hash in records and records[run_hash].done:
                folders[run_hash] = records[run_hash].folder
            elif run_hash not in records and (folder := copy_finished(parent, request)) is not None:
                folders[run_hash] = folder
        if len(folders) < len(requests):
            unfinished = {record.hash: record.folder for record in records.values() if not record.done}
            new = heads_runner.run_heads(requests, parent, reporter, done=folders.keys(), unfinished=unfinished)
            for request in requests:
                if request.plan.hash in new:
                    register_finished(new[request.plan.hash], request.plan)
            folders |= new
    return folders


def _run_single(parent: Path, request: RunRequest, until: int | None, reporter: Reporter) -> Path:
    """Start, resume or reuse one run, and return its folder.

    Only one process at a time does this, even if a worker that is considered lost is still working on the run.
    """
    plan = request.plan
    with locks.locked(parent, run_lock_name(plan), RUN_LOCK_TIMEOUT_S):
        record = next((record for record in runs_in(parent) if record.hash == plan.hash), None)
        if record is not None and (record.done or (until is not None and len(record.epochs) >= until)):
            return record.folder
        if record is None and (folder := copy_finished(parent, request, until)) is not None:
            return folder
        trial = None if is_blind(request.role) else finished_trial(parent, plan)
        try:
            if trial is not None:
                if record is not None:  # of a stopped evaluation, or of a training that takes longer
                    contained.remove_folder(parent, record.folder.name)
                folder = evaluate_trial(trial, plan, parent, request.role, reporter)
            elif record is not None:
                claim(record)
                folder = runner.resume(record.folder, reporter, until=until)
            else:
                folder = runner.run_new(plan, parent, reporter, until=until, role=request.role)
        except DivergedError:
            folder = next(other.folder for other in runs_in(parent) if other.hash == plan.hash)
    register_finished(folder, plan, until)
    return folder
