"""Reuse finished runs, also across studies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from headstart.analysis.run_records import RunRecord, read_run, runs_in
from headstart.config.plan_file import PLAN_FILE, PlanFile, read_plan_file, withholds_test, write_plan_file
from headstart.config.run_config import RunConfig
from headstart.errors import HeadstartError
from headstart.hardware import environment
from headstart.i18n import NOTHING, Message, _, join
from headstart.runs import heads_runner
from headstart.runs.job_protocol import RunRequest
from headstart.runs.run_folder import is_blind
from headstart.storage import contained, files, folders, locks, run_index, seals
from headstart.storage.cache import cache_root, read_cache_file, write_cache_file
from headstart.storage.run_files import MODEL_FOLDER, RECORD_FILE, RUN_FILES, copy_file, known_files
from headstart.storage.schemas.gallery import GALLERY_FILE
from headstart.storage.schemas.result import RESULT_FILE
from headstart.storage.schemas.schema import VersionedSchema
from headstart.storage.schemas.study import RunRole
from headstart.telemetry import tensorboard
from headstart.telemetry.hyperparameters import hyperparameters
from headstart.telemetry.run_logger import run_name

MAX_RUNG_RECORD_BYTES = 1_000_000_000  # of a rung
RUN_LOCK_TIMEOUT_S = 60.0  # time to wait for a run that another process holds


class _RegisteredRun(VersionedSchema):
    """An entry of the cache for a run that can be reused."""

    folder: Path


def reuse_finished(parent: Path, requests: Sequence[RunRequest]) -> list[Path]:
    """Copy those of the requested runs that are finished elsewhere into `parent`, and return their folders."""
    copies = []
    for request in requests:
        plan = request.plan
        if read_cache_file(cache_root(), _registry_name(plan)) is not None:
            key = heads_runner.stack_key(plan)
            lock = run_lock_name(plan) if key is None else backbone_lock_name(key)
            with locks.locked(parent, lock, RUN_LOCK_TIMEOUT_S):
                exists = any(record.hash == plan.hash for record in runs_in(parent))
                if not exists and (folder := copy_finished(parent, request)) is not None:
                    copies.append(folder)
    return copies


def index_fault(requests: Sequence[RunRequest]) -> Message:
    """Return why runs that could be reused are trained, if the index is not used and there are such runs."""
    fault = run_index.fault()
    if not fault or not any(_registered_run(request.plan) for request in requests):
        return NOTHING
    return join([_("Finished runs of other folders are not reused."), fault])


def is_done(request: RunRequest) -> bool:
    """Return whether the requested run, or the rung of its role, is done elsewhere and can be copied."""
    plan, role = request.plan, request.role
    return _finished_run(plan, role) is not None or (role.rung is not None and _rung(plan, role.rung) is not None)


def run_lock_name(plan: RunConfig) -> str:
    """Return the file name of the lock of a single run."""
    return f".{plan.hash[:16]}.lock"


def backbone_lock_name(group: str) -> str:
    """Return the file name of the lock of all heads on one backbone; `group` is from `heads_runner.stack_key`."""
    return f".{hashlib.sha256(group.encode()).hexdigest()[:16]}.lock"


def register_finished(folder: Path, plan: RunConfig, until: int | None = None) -> None:
    """Store the path of a plan's finished run, or of its rung, in the cache, and the digest of the rung in the index.

    Write errors are ignored: they cost time when the run could have been reused, nothing else.
    """
    done = (folder / RESULT_FILE).exists()
    if done or until is not None:
        name = _registry_name(plan, None if done else until)
        write_cache_file(cache_root(), name, _RegisteredRun(folder=folder.absolute()).model_dump_json().encode())
    if not done and until is not None:
        with suppress(OSError):
            run_index.add(folder, plan.hash, seal=_record_digest(folder))


def copy_finished(parent: Path, request: RunRequest, until: int | None = None) -> Path | None:
    """Copy a finished run of a plan from elsewhere into a new folder in `parent`; else its rung of `until` epochs.

    Files of the model are hard-linked if possible, since they are only replaced atomically. The others are copied,
    since `rebuild` truncates TensorBoard's files in place. The plan is written last: a folder without it is not a run.

    Returns:
        The new folder, or None if there is no such run.
    """
    plan, role = request.plan, request.role
    record = _finished_run(plan, role) or (None if until is None else _rung(plan, until))
    if record is None:
        return None
    folder = folders.create_run(parent, run_name(plan, role), plan.seeding.seed)
    try:
        copy_files(record.folder, folder)
        # the source may have been deleted or resumed during the copy; the seal shows it of a finished run
        again = record if record.done or until is None else _rung(plan, until)
        unchanged = again is not None and again.folder == record.folder
        if unchanged:
            write_copied_plan(folder, record, role, plan=plan)  # the images may have been moved since the run
            _remove_test(folder, record)
    except (HeadstartError, OSError):
        unchanged = False
    if not unchanged:
        contained.remove_folder(parent, folder.name)
        return None
    register_finished(folder, plan, until)
    return folder


def _remove_test(folder: Path, source: RunRecord) -> None:
    """Remove what shows results on test from a copy of a run, if the verdict of its study is not there yet."""
    copy = read_run(folder)
    if not copy.withholds_test or source.result is None or source.result.test is None:
        return
    contained.remove(folder, GALLERY_FILE)
    is_mixed = not tensorboard.has_test_file(folder) and not withholds_test(source.folder, source.role)
    for name in tensorboard.event_files(folder):
        if is_mixed or name.endswith(tensorboard.TEST_SUFFIX):
            contained.remove(folder, name)
    if is_mixed:
        tensorboard.rebuild_event_file(folder, hyperparameters(copy.plan), copy.lines()).close()


def write_copied_plan(
    folder: Path, source: RunRecord, role: RunRole, *, plan: RunConfig | None = None, of_others: bool = False
) -> None:
    """Write plan.json of a copied run, and result.json of one that has ended, with the seal of the files of the run.

    Args:
        folder: The folder of the copy.
        source: The run.
        role: Role of the copy in its study.
        plan: Its plan, which has the same hash. Default: that of the run.
        of_others: Whether somebody else trained the run.

    Raises:
        BrokenSealError: The run has changed since it was read, or the copy does not have its files.
    """
    read = read_plan_file(source.folder)
    content = with_origin(read, role, str(source.folder.absolute()), of_others=of_others)
    content = content.model_copy(update={"plan": plan or read.plan})
    if source.result is not None:
        seals.require_result(source.folder, source.result, read.sealed)
        sealed = seals.seal_copy(folder, source.result, content.sealed)
        files.write_json(folder / RESULT_FILE, sealed.to_json())
        run_index.add(folder, content.hash, seal=sealed.seal.digest)
    write_plan_file(folder, content)


def claim(record: RunRecord) -> None:
    """Remove the mark of a copied rung before it is resumed.

    It is then trained from its first step, so nothing in it is from another study.
    """
    if record.reused_from:
        content = read_plan_file(record.folder)
        write_plan_file(record.folder, with_origin(content, content.study, None))


def with_origin(
    content: PlanFile, role: RunRole | None, reused_from: str | None, *, of_others: bool = False
) -> PlanFile:
    """Return the content of plan.json with another role and origin."""
    return content.model_copy(update={"study": role, "reused_from": reused_from, "of_others": of_others})


def _registry_name(plan: RunConfig, until: int | None = None) -> str:
    """Return the name of the cache file on the run of this plan in this environment, or its rung of `until` epochs."""
    text = json.dumps(
        [plan.hash, environment.environment(plan.machine.device)] + [until] * (until is not None), sort_keys=True
    )
    return f"runs/{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def finished_trial(parent: Path, plan: RunConfig) -> RunRecord | None:
    """Return the finished trial of a plan, which was not evaluated on test: of this study, or of another.

    Args:
        parent: Folder of the study.
        plan: The plan.
    """
    record = _known_run(plan)
    if record is not None and record.lacks_test:
        return record
    trials = runs_in(parent, "search", with_test=True) if contained.find(parent, "search") else ()
    return next((run for run in trials if run.hash == plan.hash and run.lacks_test and _is_intact(run)), None)


def _finished_run(plan: RunConfig, role: RunRole) -> RunRecord | None:
    """Return the finished run of a plan, evaluated on the splits that the role needs."""
    record = _known_run(plan)
    return None if record is not None and record.lacks_test and not is_blind(role) else record


def _known_run(plan: RunConfig) -> RunRecord | None:
    """Return the finished and intact run of a plan that the cache names and the index of this user knows."""
    record = _registered_run(plan)
    if record is None or record.result is None or not run_index.knows_seal(record.result.seal.digest):
        return None
    return record if _is_intact(record) else None


def _is_intact(record: RunRecord) -> bool:
    """Return whether a run has ended, with the files of its seal."""
    if record.result is None:
        return False
    try:
        seals.require_all(record.folder, record.result.seal)
        record.predictions("val")
        list(record.lines())  # raises if a line is damaged
    except Exception:  # as in _registered_run
        return False
    return True


def _registered_run(plan: RunConfig) -> RunRecord | None:
    """Return the finished run of a plan that the cache names, whoever trained it."""
    try:
        record = read_run(_registered_folder(plan), with_test=True)
    except Exception:  # the entry is only a hint: if it is invalid for any reason, the run is trained
        return None
    return record if record.hash == plan.hash and record.done else None


def _rung(plan: RunConfig, until: int) -> RunRecord | None:
    """Return the run of a plan that paused after `until` epochs and was not resumed, if the index knows its record."""
    try:
        record = read_run(_registered_folder(plan, until), with_test=True)
        is_paused = record.hash == plan.hash and not record.done and len(record.epochs) == until
        return record if is_paused and run_index.knows_seal(_record_digest(record.folder)) else None
    except Exception:  # as in _registered_run
        return None


def _record_digest(folder: Path) -> str:
    """Return the hash of the record of a run that has paused, which has no seal."""
    content = contained.read_bytes(folder, RECORD_FILE, MAX_RUNG_RECORD_BYTES)
    return hashlib.sha256(b"rung\n" + content).hexdigest()


def _registered_folder(plan: RunConfig, until: int | None = None) -> Path:
    name = _registry_name(plan, until)
    return _RegisteredRun.parse(read_cache_file(cache_root(), name) or b"", name).folder


def copy_files(source: Path, folder: Path) -> None:
    """Copy the files of a run but its plan and checkpoints; those of the model are linked if possible.

    A rung that is resumed is trained from its first step, since its checkpoint may be from another study.

    Raises:
        UnsafeFileError: There is a link in the run.
    """
    for name in known_files(source, "", RUN_FILES):
        part = name.partition("/")[0]
        if name != PLAN_FILE and part != "checkpoints":
            copy_file(source, name, folder, name, link=part == MODEL_FOLDER)
