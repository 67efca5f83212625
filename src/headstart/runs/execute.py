"""A job is JSON: a list of plans to carry out in a folder. Its answer is the run folders. Engines know no more.

A run that is done is never run again: neither in its folder, nor where an earlier study has done it (the cache knows
where, by plan and environment). One that was stopped is gone on with.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart import errors
from headstart.analysis.run_records import runs_in
from headstart.config.run_config import RunConfig
from headstart.errors import DivergedError, HeadstartError
from headstart.reporter import Reporter
from headstart.runs import heads_runner, runner
from headstart.runs.job_protocol import RunRequest, failed
from headstart.runs.reuse import RUN_LOCK_TIMEOUT_S, _adopted, _backbone_lock, _claim, _lock, _remember
from headstart.storage import locks


def run_job(job: dict[str, Any], reporter: Reporter) -> list[Path]:
    """Carry a job out and return its run folders, in order. A run that diverges is an answer, not an error.

    Raises InterruptedRunError and every error of a run.
    """
    parent = Path(job["parent"])
    parent.mkdir(parents=True, exist_ok=True)
    asked = [(RunConfig.model_validate(item["plan"]), item["about"]) for item in job["runs"]]
    together: dict[str, list[RunRequest]] = {}
    for plan, about in asked:
        if (key := heads_runner.group(plan)) is not None:
            together.setdefault(key, []).append((plan, about))
    made: dict[str, Path] = {}
    for key, some in together.items():
        made |= _heads(parent, key, some, reporter)
    return [made.get(plan.hash) or _one(parent, plan, about, job["until"], reporter) for plan, about in asked]


def bundles(asked: Sequence[RunRequest]) -> list[list[RunRequest]]:
    """The runs of each job: heads on one trunk together, every other run alone; in order, each plan once."""
    found: dict[str, dict[str, RunRequest]] = {}
    for plan, about in asked:
        found.setdefault(heads_runner.group(plan) or plan.hash, {}).setdefault(plan.hash, (plan, about))
    return [list(some.values()) for some in found.values()]


def work(text: str, reporter: Reporter) -> str:
    """A job as text in, its answer as text out: what engines carry. Errors are answers too."""
    try:
        return json.dumps({"folders": [str(folder) for folder in run_job(json.loads(text), reporter)]})
    except HeadstartError as error:
        return failed(error)


def work_apart(text: str, reporter: Reporter) -> str:
    """As `work`, in another process than whoever asked: errors that nobody foresaw are answers as well."""
    try:
        return work(text, reporter)
    except Exception as error:
        return failed(errors.as_headstart_error(error), traceback.format_exc())


def _heads(parent: Path, key: str, asked: Sequence[RunRequest], reporter: Reporter) -> dict[str, Path]:
    """Run folders by hash of heads that are trained together; none where they cannot be.

    Where one is missing all are trained, and only it is written: a stack of other heads would round differently.
    """
    made: dict[str, Path] = {}
    with locks.locked(parent, _backbone_lock(key), RUN_LOCK_TIMEOUT_S):
        known = {found.hash: found for found in runs_in(parent)}
        for plan, about in asked:
            if plan.hash in known and known[plan.hash].done:
                made[plan.hash] = known[plan.hash].folder
            elif plan.hash not in known and (folder := _adopted(parent, plan, about)) is not None:
                made[plan.hash] = folder
        if len(made) < len(asked):
            left = {found.hash: found.folder for found in known.values() if not found.done}
            new = heads_runner.run_heads(asked, parent, reporter, done=made.keys(), left=left)
            for plan, _ in asked:
                if plan.hash in new:
                    _remember(new[plan.hash], plan)
            made |= new
    return made


def _one(parent: Path, plan: RunConfig, about: dict[str, Any], until: int | None, reporter: Reporter) -> Path:
    """One run. Only one process at a time does it, also where a worker that counts as lost still works on it."""
    with locks.locked(parent, _lock(plan), RUN_LOCK_TIMEOUT_S):
        found = next((other for other in runs_in(parent) if other.hash == plan.hash), None)
        if found is not None and (found.done or (until is not None and len(found.epochs) >= until)):
            return found.folder
        if found is None and (folder := _adopted(parent, plan, about, until)) is not None:
            return folder
        try:
            if found is not None:
                _claim(found)
                folder = runner.resume(found.folder, reporter, until=until)
            else:
                folder = runner.start(plan, parent, reporter, until=until, about=about)
        except DivergedError:
            folder = next(other.folder for other in runs_in(parent) if other.hash == plan.hash)
    _remember(folder, plan, until)
    return folder
