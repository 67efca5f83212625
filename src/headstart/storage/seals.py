"""Seal a run that has ended, and notice what was changed afterwards.

result.json is written last and contains the seal (`schemas.seal`). Every reader verifies the seal of what it reads: the
plan and the result when a run is opened, the record, the predictions and the model when they are read. What may change
later lies outside the seal: the place of the images, event files, pictures and pages.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from headstart.errors import DataError, ModelFileError
from headstart.i18n import _
from headstart.storage import contained, repair
from headstart.storage.files import JsonData
from headstart.storage.run_files import MODEL_FILES, MODEL_FOLDER, PREDICTIONS_FILE, RECORD_FILE, known_files
from headstart.storage.schemas.result import RESULT_FILE, RunResult
from headstart.storage.schemas.schema import StoredFile
from headstart.storage.schemas.seal import Seal

_UNSEALED = frozenset({f"{MODEL_FOLDER}/README.md"})  # a text, which users complete
_BLOCK_BYTES = 1 << 20
_verified: dict[tuple[int, ...], StoredFile] = {}  # by `_content_key`


class BrokenSealError(DataError):
    """A file of a run that has ended is missing or has changed."""


class BrokenModelError(ModelFileError, BrokenSealError):
    """A file of the model of a run that has ended is missing or has changed: an error of a model file."""


def seal_run(folder: Path, result: RunResult, plan: Mapping[str, JsonData]) -> RunResult:
    """Return a result with the seal of the files in a run folder, all of which must be durable.

    Args:
        folder: The folder of the run.
        result: Its result; an earlier seal is replaced.
        plan: What the seal covers of plan.json (`PlanFile.sealed`).

    Raises:
        UnsafeFileError: A file is a link.
        OSError: A file is missing or cannot be read.
    """
    names = [RECORD_FILE]
    names += [PREDICTIONS_FILE] if contained.is_file(folder, PREDICTIONS_FILE) else []
    if contained.is_folder(folder, MODEL_FOLDER):
        known = [contained.join(MODEL_FOLDER, file) for file in known_files(folder, MODEL_FOLDER, MODEL_FILES)]
        names += [name for name in known if name not in _UNSEALED]  # others are not copied on
    seal = Seal(
        plan=_digest(plan),
        result=_result_digest(result),
        files={name: _stored(folder, name) for name in names},
    )
    return result.model_copy(update={"seal": seal})


def seal_copy(folder: Path, result: RunResult, plan: Mapping[str, JsonData]) -> RunResult:
    """Return the result of a run with the seal of a copy, which differs from the run in plan.json only.

    Args:
        folder: The folder of the copy.
        result: The result of the run, as it was read and verified.
        plan: What the seal covers of the plan.json of the copy (`PlanFile.sealed`).

    Raises:
        BrokenSealError: The copy does not have the files of the run.
    """
    require_all(folder, result.seal)
    return result.model_copy(update={"seal": result.seal.model_copy(update={"plan": _digest(plan)})})


def require_result(folder: Path, result: RunResult, plan: Mapping[str, JsonData]) -> None:
    """Raise BrokenSealError if the result, or the plan of the run, is not that of the seal.

    Args:
        folder: The folder of the run, for messages.
        result: The result that was read.
        plan: What the seal covers of the plan.json that was read, with the hash computed from the plan.
    """
    if result.seal.result != _result_digest(result):
        raise _broken(folder, RESULT_FILE)
    if result.seal.plan != _digest(plan) or result.plan != plan["hash"]:
        raise _broken(folder, repair.PLAN_FILE)


def require_file(folder: Path, seal: Seal, name: str) -> None:
    """Raise BrokenSealError if a file of a run is not that of its seal.

    Args:
        folder: The folder of the run.
        seal: Its seal.
        name: Name of the file in it.
    """
    sealed = seal.files.get(name)
    try:
        is_intact = sealed is not None and _stored(folder, name) == sealed
    except OSError:
        raise _broken(folder, name, is_there=False) from None
    if not is_intact:
        raise _broken(folder, name)


def require_kept(folder: Path, seal: Seal) -> None:
    """Raise BrokenSealError as `require_all`, but for a model that is missing as a whole, which saves space."""
    has_model = contained.is_folder(folder, MODEL_FOLDER)
    for name in seal.files:
        if has_model or not name.startswith(f"{MODEL_FOLDER}/"):
            require_file(folder, seal, name)


def is_stored(folder: Path, name: str, stored: StoredFile) -> bool:
    """Return whether a file below a folder has this size and this hash."""
    try:
        return _stored(folder, name) == stored
    except OSError:
        return False


def require_all(folder: Path, seal: Seal) -> None:
    """Raise BrokenSealError if a file of a run is not that of its seal."""
    for name in seal.files:
        require_file(folder, seal, name)


def _broken(folder: Path, name: str, *, is_there: bool = True) -> BrokenSealError:
    """Return the error on a file of a run that is missing or has changed."""
    message = (
        _("{path} has changed since the run ended.", path=folder / name)
        if is_there
        else _("{path} is missing or cannot be read.", path=folder / name)
    )
    hint = repair.plan_hint(folder) if name == repair.PLAN_FILE else repair.run_hint(folder)
    kind = BrokenModelError if name.startswith(f"{MODEL_FOLDER}/") else BrokenSealError
    return kind(message, hint)


def _stored(folder: Path, name: str) -> StoredFile:
    """Return size and hash of a file; a file that was hashed before and has not changed is not read again."""
    with contained.open_file(folder, name) as file:
        status = os.fstat(file.fileno())
        key = _content_key(status)
        if key not in _verified:
            _verified[key] = StoredFile(size=status.st_size, sha256=_hash(file))
    return _verified[key]


def _content_key(status: os.stat_result) -> tuple[int, ...]:
    """Return what is equal as long as a file has the same content, under each of its names.

    A further hard link changes the ctime of a file, so that it is no part of the key of a file with several names, such
    as the backbone of heads. Within one process the key misses a change of such a file whose size and mtime are set
    back, and a change of any file within one tick of the file system's clock, some milliseconds, that keeps the size.
    """
    once = status.st_ctime_ns if status.st_nlink == 1 else 0
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, once)


def _hash(file: BinaryIO) -> str:
    """Return the sha256 of an open file in hexadecimal digits."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _result_digest(result: RunResult) -> str:
    return _digest({key: value for key, value in result.to_json().items() if key != "seal"})


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
