"""A tracker that keeps in memory what it receives, and fails when a test asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from headstart.storage.schemas.result import RunResult, RunState
from headstart.telemetry.trackers.tracker import Row, TrackedRun


@dataclass
class RecordedRun:
    """One run, which stays in its tracker when it is opened again."""

    run: TrackedRun
    is_new: bool = True
    rows: list[Row] = field(default_factory=list)
    ends: list[tuple[RunState, RunResult | None]] = field(default_factory=list)
    opened: int = 0
    error: Exception | None = None

    def log(self, rows: Sequence[Row]) -> None:
        if self.error is not None:
            raise self.error
        self.rows += rows

    def end(self, state: RunState, result: RunResult | None) -> None:
        self.ends.append((state, result))


@dataclass
class RecordingTracker:
    """Runs by id."""

    target: str = "memory"
    runs: dict[str, RecordedRun] = field(default_factory=dict)
    error: Exception | None = None

    def open(self, run: TrackedRun) -> RecordedRun:
        is_new = run.id not in self.runs
        recorded = self.runs.setdefault(run.id, RecordedRun(run))
        recorded.is_new, recorded.error = is_new, self.error
        recorded.opened += 1
        return recorded


TRACKER_BY_NAME: dict[str, RecordingTracker] = {}  # of the test in progress


def first() -> RecordingTracker:
    return TRACKER_BY_NAME["first"]


def second() -> RecordingTracker:
    return TRACKER_BY_NAME["second"]
