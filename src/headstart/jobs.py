"""A job is JSON: a list of plans to carry out in a folder. Its answer is the run folders. Engines know no more.

A run that is done is never run again: neither in its folder, nor where an earlier study has done it (the cache knows
where, by plan and environment). One that was stopped is gone on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import signal
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart import errors, record, run, run_heads
from headstart.analysis.run_records import RunRecord, read_run, runs_in
from headstart.cache import cache_root, write_whole
from headstart.config.run_config import Plan
from headstart.errors import DivergedError, HeadstartError, InterruptedRunError
from headstart.hardware import environment
from headstart.reporter import Voice
from headstart.scribe import called

Asked = tuple[Plan, dict[str, Any]]  # a complete plan and what the run is there for
PATIENCE = 60.0  # seconds that a run is waited for which another process has


def text(parent: Path, asked: Sequence[Asked], *, until: int | None = None, seconds: float = 0.0) -> str:
    """A job as text: runs to be made in `parent`, each a complete plan and what it is there for.

    With `until` they pause after that epoch. `seconds` is how long the job may take, as far as that is known.
    """
    items = [{"plan": plan.model_dump(mode="json"), "about": about} for plan, about in asked]
    return json.dumps({"parent": str(parent.absolute()), "runs": items, "until": until, "seconds": seconds})


def carry_out(job: dict[str, Any], voice: Voice) -> list[Path]:
    """Carry a job out and return its run folders, in order. A run that diverges is an answer, not an error.

    Raises InterruptedRunError and every error of a run.
    """
    parent = Path(job["parent"])
    parent.mkdir(parents=True, exist_ok=True)
    asked = [(Plan.model_validate(item["plan"]), item["about"]) for item in job["runs"]]
    together: dict[str, list[Asked]] = {}
    for plan, about in asked:
        if (key := run_heads.group(plan)) is not None:
            together.setdefault(key, []).append((plan, about))
    made: dict[str, Path] = {}
    for key, some in together.items():
        made |= _heads(parent, key, some, voice)
    return [made.get(plan.hash) or _one(parent, plan, about, job["until"], voice) for plan, about in asked]


def adopt(parent: Path, asked: Sequence[Asked]) -> list[Path]:
    """Take over into `parent` what is done elsewhere of these runs and not there yet; returns their folders."""
    found = []
    for plan, about in asked:
        if _key(plan).exists():
            name = _trunk_lock(group) if (group := run_heads.group(plan)) is not None else _lock(plan)
            with record.locked(parent, name, PATIENCE):
                there = any(other.hash == plan.hash for other in runs_in(parent))
                if not there and (folder := _adopted(parent, plan, about)) is not None:
                    found.append(folder)
    return found


def bundles(asked: Sequence[Asked]) -> list[list[Asked]]:
    """The runs of each job: heads on one trunk together, every other run alone; in order, each plan once."""
    found: dict[str, dict[str, Asked]] = {}
    for plan, about in asked:
        found.setdefault(run_heads.group(plan) or plan.hash, {}).setdefault(plan.hash, (plan, about))
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


def failed(error: HeadstartError, trace: str = "") -> str:
    """The answer that carries an error, and where it came from in another process."""
    kind = type(error).__name__
    told = {"kind": kind, "what": error.what, "cure": error.cure, "code": error.exit_code, "trace": trace}
    return json.dumps({"error": told})


def interrupted(number: signal.Signals) -> str:
    """The answer of a job that was not begun, or not ended, because of a signal."""
    return failed(InterruptedRunError(number, "Go on with `headstart resume`."))


def stopped(answer: str) -> bool:
    """Whether the answer is that somebody asked the job to stop."""
    return dict(json.loads(answer).get("error", {})).get("kind") == InterruptedRunError.__name__


def seconds(text: str) -> float:
    """How long a job may take; 0 where nobody knows."""
    return float(json.loads(text)["seconds"])


def title(text: str) -> str:
    """What a job is about, for people."""
    runs = json.loads(text)["runs"]
    return ", ".join(f"{run['about']['cell']} seed {run['plan']['chance']['seed']}" for run in runs) or "an empty job"


def folders(answer: str) -> list[Path]:
    """The run folders of an answer. Raises the error that it carries, as the class that it was."""
    content = json.loads(answer)
    if (told := content.get("error")) is None:
        return [Path(folder) for folder in content["folders"]]
    if told["kind"] == InterruptedRunError.__name__:
        raise InterruptedRunError(signal.Signals(told["code"] - 128), told["cure"])
    error: HeadstartError = getattr(errors, told["kind"], HeadstartError)(told["what"], told["cure"])
    if trace := told.get("trace"):
        error.add_note(f"In the process of the run:\n{trace}")
    raise error


def _heads(parent: Path, key: str, asked: Sequence[Asked], voice: Voice) -> dict[str, Path]:
    """Run folders by hash of heads that are trained together; none where they cannot be.

    Where one is missing all are trained, and only it is written: a stack of other heads would round differently.
    """
    made: dict[str, Path] = {}
    with record.locked(parent, _trunk_lock(key), PATIENCE):
        known = {found.hash: found for found in runs_in(parent)}
        for plan, about in asked:
            if plan.hash in known and known[plan.hash].done:
                made[plan.hash] = known[plan.hash].folder
            elif plan.hash not in known and (folder := _adopted(parent, plan, about)) is not None:
                made[plan.hash] = folder
        if len(made) < len(asked):
            left = {found.hash: found.folder for found in known.values() if not found.done}
            new = run_heads.carry_out(asked, parent, voice, done=made.keys(), left=left)
            for plan, _ in asked:
                if plan.hash in new:
                    _remember(new[plan.hash], plan)
            made |= new
    return made


def _one(parent: Path, plan: Plan, about: dict[str, Any], until: int | None, voice: Voice) -> Path:
    """One run. Only one process at a time does it, also where a worker that counts as lost still works on it."""
    with record.locked(parent, _lock(plan), PATIENCE):
        found = next((other for other in runs_in(parent) if other.hash == plan.hash), None)
        if found is not None and (found.done or (until is not None and len(found.epochs) >= until)):
            return found.folder
        if found is None and (folder := _adopted(parent, plan, about, until)) is not None:
            return folder
        try:
            if found is not None:
                _own(found)
                folder = run.resume(found.folder, voice, until=until)
            else:
                folder = run.start(plan, parent, voice, until=until, about=about)
        except DivergedError:
            folder = next(other.folder for other in runs_in(parent) if other.hash == plan.hash)
    _remember(folder, plan, until)
    return folder


def _lock(plan: Plan) -> str:
    return f".{plan.hash[:16]}.lock"


def _trunk_lock(group: str) -> str:
    """That of all heads on one trunk."""
    return f".{hashlib.sha256(group.encode()).hexdigest()[:16]}.lock"


def _key(plan: Plan, until: int | None = None) -> Path:
    """Where the cache keeps the place of the run of this plan in this environment, or of its first epochs."""
    text = json.dumps(
        [plan.hash, environment.environment(plan.machine.device)] + [until] * (until is not None), sort_keys=True
    )
    return cache_root() / "runs" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _remember(folder: Path, plan: Plan, until: int | None = None) -> None:
    """Note where a plan's finished run lies, or its rung; what cannot be noted costs time, nothing else."""
    done = (folder / "result.json").exists()
    if done or until is not None:
        with contextlib.suppress(OSError):
            place = _key(plan, None if done else until)
            write_whole(place, json.dumps({"folder": str(folder.absolute())}).encode())


def _adopted(parent: Path, plan: Plan, about: dict[str, Any], until: int | None = None) -> Path | None:
    """A finished run of this plan from elsewhere, else its rung of `until` epochs, as a folder of its own in `parent`.

    Files of the model are linked where that can be: they are only ever replaced whole. The others are copied, since
    TensorBoard's are emptied in place by `repair`. The plan comes last: without it the folder is no run.
    """
    source = _finished(plan, about) or (None if until is None else _rung(plan, until))
    if source is None:
        return None
    folder = record.create_run(parent, called(plan, about), plan.chance.seed)
    try:
        content = record.read_json(source / "plan.json")
        _take_over(source, folder)
        gone = source not in (_finished(plan, about), until is not None and _rung(plan, until))  # or gone on
    except (HeadstartError, OSError):
        gone = True
    if gone:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    record.write_json(folder / "plan.json", {**content, "study": about, "made_in": str(source)})
    _remember(folder, plan, until)
    return folder


def _finished(plan: Plan, about: dict[str, Any]) -> Path | None:
    """Where the finished run of a plan lies, judged as far as it is asked for."""
    try:
        source = _noted(plan)
        content = record.read_json(source / "plan.json")
        result = record.read_json(source / "result.json")
        read_run(source).judged("val")
    except Exception:  # whatever is wrong with a hint: then the run is made
        return None
    if content.get("hash") != plan.hash or result.get("state") not in ("finished", "diverged"):
        return None
    if run.is_blind(content.get("study")) and not run.is_blind(about):  # it has not been judged
        return None
    return source


def _rung(plan: Plan, until: int) -> Path | None:
    """Where a run of a plan lies that paused after so many epochs and has not gone on."""
    try:
        source = _noted(plan, until)
        found = read_run(source)
        return source if found.hash == plan.hash and not found.done and len(found.epochs) == until else None
    except Exception:  # as for a finished one
        return None


def _noted(plan: Plan, until: int | None = None) -> Path:
    return Path(json.loads(_key(plan, until).read_bytes())["folder"])


def _own(found: RunRecord) -> None:
    """A rung that was taken over and goes on is trained here, from its first step: nothing of it is another study's."""
    if found.made_in:
        content = record.read_json(found.folder / "plan.json")
        record.write_json(found.folder / "plan.json", {name: content[name] for name in content if name != "made_in"})


def _take_over(source: Path, folder: Path) -> None:
    """All but the checkpoints: a rung that goes on begins anew, since its checkpoint may be of another study's hour."""
    for path in sorted(source.rglob("*")):
        place = folder / path.relative_to(source)
        if "checkpoints" in place.relative_to(folder).parts[:1]:
            continue
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif path.name not in ("plan.json", "lock") and ".tmp-" not in path.name:
            (record.link if path.parent.name == "model" else shutil.copyfile)(path, place)
