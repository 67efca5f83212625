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
from headstart.config.run_config import Plan
from headstart.errors import DivergedError, HeadstartError
from headstart.reporter import Voice
from headstart.runs import heads_runner, runner
from headstart.runs.job_protocol import Asked, failed
from headstart.runs.reuse import PATIENCE, _adopted, _lock, _own, _remember, _trunk_lock
from headstart.storage import locks


def carry_out(job: dict[str, Any], voice: Voice) -> list[Path]:
    """Carry a job out and return its run folders, in order. A run that diverges is an answer, not an error.

    Raises InterruptedRunError and every error of a run.
    """
    parent = Path(job["parent"])
    parent.mkdir(parents=True, exist_ok=True)
    asked = [(Plan.model_validate(item["plan"]), item["about"]) for item in job["runs"]]
    together: dict[str, list[Asked]] = {}
    for plan, about in asked:
        if (key := heads_runner.group(plan)) is not None:
            together.setdefault(key, []).append((plan, about))
    made: dict[str, Path] = {}
    for key, some in together.items():
        made |= _heads(parent, key, some, voice)
    return [made.get(plan.hash) or _one(parent, plan, about, job["until"], voice) for plan, about in asked]


def bundles(asked: Sequence[Asked]) -> list[list[Asked]]:
    """The runs of each job: heads on one trunk together, every other run alone; in order, each plan once."""
    found: dict[str, dict[str, Asked]] = {}
    for plan, about in asked:
        found.setdefault(heads_runner.group(plan) or plan.hash, {}).setdefault(plan.hash, (plan, about))
    return [list(some.values()) for some in found.values()]


def work(text: str, voice: Voice) -> str:
    """A job as text in, its answer as text out: what engines carry. Errors are answers too."""
    try:
        return json.dumps({"folders": [str(folder) for folder in carry_out(json.loads(text), voice)]})
    except HeadstartError as error:
        return failed(error)


def work_apart(text: str, voice: Voice) -> str:
    """As `work`, in another process than whoever asked: errors that nobody foresaw are answers as well."""
    try:
        return work(text, voice)
    except Exception as error:
        return failed(errors.told(error), traceback.format_exc())


def _heads(parent: Path, key: str, asked: Sequence[Asked], voice: Voice) -> dict[str, Path]:
    """Run folders by hash of heads that are trained together; none where they cannot be.

    Where one is missing all are trained, and only it is written: a stack of other heads would round differently.
    """
    made: dict[str, Path] = {}
    with locks.locked(parent, _trunk_lock(key), PATIENCE):
        known = {found.hash: found for found in runs_in(parent)}
        for plan, about in asked:
            if plan.hash in known and known[plan.hash].done:
                made[plan.hash] = known[plan.hash].folder
            elif plan.hash not in known and (folder := _adopted(parent, plan, about)) is not None:
                made[plan.hash] = folder
        if len(made) < len(asked):
            left = {found.hash: found.folder for found in known.values() if not found.done}
            new = heads_runner.carry_out(asked, parent, voice, done=made.keys(), left=left)
            for plan, _ in asked:
                if plan.hash in new:
                    _remember(new[plan.hash], plan)
            made |= new
    return made


def _one(parent: Path, plan: Plan, about: dict[str, Any], until: int | None, voice: Voice) -> Path:
    """One run. Only one process at a time does it, also where a worker that counts as lost still works on it."""
    with locks.locked(parent, _lock(plan), PATIENCE):
        found = next((other for other in runs_in(parent) if other.hash == plan.hash), None)
        if found is not None and (found.done or (until is not None and len(found.epochs) >= until)):
            return found.folder
        if found is None and (folder := _adopted(parent, plan, about, until)) is not None:
            return folder
        try:
            if found is not None:
                _own(found)
                folder = runner.resume(found.folder, voice, until=until)
            else:
                folder = runner.start(plan, parent, voice, until=until, about=about)
        except DivergedError:
            folder = next(other.folder for other in runs_in(parent) if other.hash == plan.hash)
    _remember(folder, plan, until)
    return folder
