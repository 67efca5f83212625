"""Reuse finished runs, also across studies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.analysis.run_records import RunRecord, read_run, runs_in
from headstart.config.run_config import RunConfig
from headstart.errors import HeadstartError
from headstart.hardware import environment
from headstart.runs import heads_runner, runner
from headstart.runs.job_protocol import RunRequest
from headstart.storage import files, folders, locks
from headstart.storage.cache import cache_root, write_whole
from headstart.telemetry.run_logger import called

RUN_LOCK_TIMEOUT_S = 60.0  # seconds that a run is waited for which another process has


def reuse_finished(parent: Path, asked: Sequence[RunRequest]) -> list[Path]:
    """Take over into `parent` what is done elsewhere of these runs and not there yet; returns their folders."""
    found = []
    for plan, about in asked:
        if _key(plan).exists():
            name = _backbone_lock(group) if (group := heads_runner.group(plan)) is not None else _lock(plan)
            with locks.locked(parent, name, RUN_LOCK_TIMEOUT_S):
                there = any(other.hash == plan.hash for other in runs_in(parent))
                if not there and (folder := _adopted(parent, plan, about)) is not None:
                    found.append(folder)
    return found


def _lock(plan: RunConfig) -> str:
    return f".{plan.hash[:16]}.lock"


def _backbone_lock(group: str) -> str:
    """That of all heads on one trunk."""
    return f".{hashlib.sha256(group.encode()).hexdigest()[:16]}.lock"


def _key(plan: RunConfig, until: int | None = None) -> Path:
    """Where the cache keeps the place of the run of this plan in this environment, or of its first epochs."""
    text = json.dumps(
        [plan.hash, environment.environment(plan.machine.device)] + [until] * (until is not None), sort_keys=True
    )
    return cache_root() / "runs" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _remember(folder: Path, plan: RunConfig, until: int | None = None) -> None:
    """Note where a plan's finished run lies, or its rung; what cannot be noted costs time, nothing else."""
    done = (folder / "result.json").exists()
    if done or until is not None:
        with contextlib.suppress(OSError):
            place = _key(plan, None if done else until)
            write_whole(place, json.dumps({"folder": str(folder.absolute())}).encode())


def _adopted(parent: Path, plan: RunConfig, about: dict[str, Any], until: int | None = None) -> Path | None:
    """A finished run of this plan from elsewhere, else its rung of `until` epochs, as a folder of its own in `parent`.

    Files of the model are linked where that can be: they are only ever replaced whole. The others are copied, since
    TensorBoard's are emptied in place by `repair`. The plan comes last: without it the folder is no run.
    """
    source = _finished(plan, about) or (None if until is None else _rung(plan, until))
    if source is None:
        return None
    folder = folders.create_run(parent, called(plan, about), plan.seeding.seed)
    try:
        content = files.read_json(source / "plan.json")
        _take_over(source, folder)
        gone = source not in (_finished(plan, about), until is not None and _rung(plan, until))  # or gone on
    except (HeadstartError, OSError):
        gone = True
    if gone:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    files.write_json(folder / "plan.json", {**content, "study": about, "made_in": str(source)})
    _remember(folder, plan, until)
    return folder


def _finished(plan: RunConfig, about: dict[str, Any]) -> Path | None:
    """Where the finished run of a plan lies, judged as far as it is asked for."""
    try:
        source = _noted(plan)
        content = files.read_json(source / "plan.json")
        result = files.read_json(source / "result.json")
        read_run(source).judged("val")
    except Exception:  # whatever is wrong with a hint: then the run is made
        return None
    if content.get("hash") != plan.hash or result.get("state") not in ("finished", "diverged"):
        return None
    if runner.is_blind(content.get("study")) and not runner.is_blind(about):  # it has not been judged
        return None
    return source


def _rung(plan: RunConfig, until: int) -> Path | None:
    """Where a run of a plan lies that paused after so many epochs and has not gone on."""
    try:
        source = _noted(plan, until)
        found = read_run(source)
        return source if found.hash == plan.hash and not found.done and len(found.epochs) == until else None
    except Exception:  # as for a finished one
        return None


def _noted(plan: RunConfig, until: int | None = None) -> Path:
    return Path(json.loads(_key(plan, until).read_bytes())["folder"])


def _claim(found: RunRecord) -> None:
    """A rung that was taken over and goes on is trained here, from its first step: nothing of it is another study's."""
    if found.made_in:
        content = files.read_json(found.folder / "plan.json")
        files.write_json(found.folder / "plan.json", {name: content[name] for name in content if name != "made_in"})


def _take_over(source: Path, folder: Path) -> None:
    """All but the checkpoints: a rung that goes on begins anew, since its checkpoint may be of another study's hour."""
    for path in sorted(source.rglob("*")):
        place = folder / path.relative_to(source)
        if "checkpoints" in place.relative_to(folder).parts[:1]:
            continue
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif path.name not in ("plan.json", "lock") and ".tmp-" not in path.name:
            (files.link if path.parent.name == "model" else shutil.copyfile)(path, place)
