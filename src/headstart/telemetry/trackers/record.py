"""What trackers read of a run's folder: what identifies the run, and the lines of its record that will stay."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from headstart.analysis.run_records import read_run
from headstart.analysis.run_records import run_folders as records_in
from headstart.config.plan_file import PLAN_FILE, read_plan_file, study_folder
from headstart.errors import DataError
from headstart.printable import printable
from headstart.storage import contained
from headstart.storage.journal import RecordPosition, read_lines_from
from headstart.storage.schemas.checkpoint import STATE_FILE
from headstart.storage.schemas.metrics import BeginLine, TimedLine
from headstart.storage.schemas.result import RunResult
from headstart.storage.schemas.schema import MAX_JSON_BYTES
from headstart.telemetry.hyperparameters import hyperparameters
from headstart.telemetry.scalars import scalars
from headstart.telemetry.trackers.tracker import Row, TrackedRun

STUDY_SUBFOLDERS = ("search", "sources")  # of a study, with runs


class _Position(BaseModel):
    """The part of `training.checkpoint.RunPosition` that is read here, without torch."""

    bytes: int


class _State(BaseModel):
    """The part of state.json that is read here."""

    position: _Position


def run_folders(folder: Path) -> list[Path]:
    """Return the folder of a run, or the runs of a study or of a folder of runs, sorted by name."""
    if contained.is_file(folder, PLAN_FILE):
        return [folder]
    return [path for part in ("", *STUDY_SUBFOLDERS) for path in records_in(folder, part)]


def record_path(folder: Path) -> Path:
    """Return the path of a run's record."""
    return folder / "metrics.jsonl"


def begin_time(folder: Path) -> float | None:
    """Return when the record of a run begins, in seconds since 1970; None if it has no line yet.

    Raises:
        DataError: The line is damaged.
    """
    path = record_path(folder)
    if not path.exists():
        return None
    for line, _unused in read_lines_from(path, RecordPosition(), path.stat().st_size):
        return line.time if isinstance(line, BeginLine) else 0.0
    return None


def tracked_run(folder: Path, begin: float) -> TrackedRun:
    """Return how trackers show a run.

    Its id is derived from the plan, from when the record begins, and from the names of the run and the study. A resumed
    or moved run keeps it; a run that starts again, or is copied into another study, has its own.

    Raises:
        DataError: plan.json is missing or damaged.
    """
    content, folder, study = read_plan_file(folder), folder.absolute(), study_folder(folder)
    role, group = content.study, None if study is None else study.name
    identity = f"{content.hash} {begin!r} {group} {folder.name}"
    return TrackedRun(
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        name=printable(folder.name),
        arm=printable(content.plan.arm_name if role is None else role.variant),
        seed=content.plan.seeding.seed,
        group=None if group is None else printable(group),
        stage=None if role is None else role.stage.value,
        begin=begin,
        hyperparameters=hyperparameters(content.plan),
    )


def kept_bytes(folder: Path, *, has_result: bool, ended: bool) -> int:
    """Return how many bytes of a run's record stay as they are: what follows them is cut when the run is resumed.

    Args:
        folder: The folder of the run.
        has_result: The run has ended, and all of its record stays.
        ended: No process works on the run. Without a checkpoint it can only start again, so that all of its record is
            final; it is not while the first checkpoint is yet to come.
    """
    path = record_path(folder)
    if not path.exists():
        return 0
    if not has_result:
        for name in _checkpoints(folder):
            try:
                state = contained.read_bytes(folder, f"checkpoints/{name}/{STATE_FILE}", MAX_JSON_BYTES)
                return _State.model_validate_json(state).position.bytes
            except (OSError, ValueError, DataError):  # removed by the run meanwhile, or damaged
                continue
        if not ended:
            return 0
    return path.stat().st_size


def _checkpoints(folder: Path) -> list[str]:
    """Return the names of the checkpoints of a run, the newest first."""
    try:
        names = [entry.name for entry in contained.entries(folder, "checkpoints") if entry.is_folder]
    except OSError:
        return []
    return sorted((name for name in names if name.startswith("step-") and ".tmp-" not in name), reverse=True)


def read_result(folder: Path) -> RunResult | None:
    """Return the result of a run, with that on test, which must not be sent if the run withholds it; None without one.

    Raises:
        DataError: It is damaged or was changed.
    """
    return read_run(folder, with_test=True).result


class RowReader:
    """Reads the scalars of a record, each line once."""

    def __init__(self, folder: Path) -> None:
        """Start before the first line."""
        self._path = record_path(folder)
        self._position, self._time = RecordPosition(), 0.0

    @property
    def lines(self) -> int:
        """Number of lines that were read."""
        return self._position.lines

    def rows(self, end: int) -> Iterator[Row]:
        """Yield the scalars of the lines up to byte `end`; lines without scalars have no row.

        Raises:
            DataError: A line is damaged.
        """
        if end < self._position.bytes:  # resumed from an older checkpoint: lines may have other lengths
            self._position = RecordPosition()
        for line, position in read_lines_from(self._path, self._position, end):
            self._position = position
            if isinstance(line, TimedLine):
                self._time = line.time
            values = {tag: math.nan if value is None else value for tag, value in scalars(line)}
            if values:
                yield Row(self._position.lines, line.step, self._time, values)
