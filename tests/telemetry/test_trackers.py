"""What trackers receive of a record: every line once, and only lines that stay."""

import io
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from headstart.analysis.run_records import read_run
from headstart.config.run_config import RunConfig
from headstart.errors import UsageError
from headstart.storage.files import write_json
from headstart.storage.journal import Journal, RecordPosition, read_lines, read_lines_from
from headstart.storage.schemas.checkpoint import STATE_FILE
from headstart.storage.schemas.metrics import BeginLine, EndLine, Line
from headstart.storage.schemas.result import RESULT_FILE, RunState
from headstart.storage.schemas.study import Stage
from headstart.storage.schemas.trackers import TRACKERS_FILE, TrackersFile
from headstart.storage.schemas.verdict import ExportedRun
from headstart.telemetry.hyperparameters import hyperparameters
from headstart.telemetry.scalars import scalars
from headstart.telemetry.trackers import registry
from headstart.telemetry.trackers.registry import TRACKERS, TrackerSpec, require_trackers
from headstart.telemetry.trackers.tracker import Row
from headstart.telemetry.trackers.worker import TrackerNotice, TrackerWorker
from tests import recording_tracker
from tests.handmade import (
    arm_spec,
    epoch_line,
    evaluation,
    resolved,
    run_result,
    run_role,
    seal,
    snapshot_line,
    step_line,
    write_run_files,
)
from tests.messages import fields_of
from tests.recording_tracker import RecordedRun, RecordingTracker
from tests.verdicts import arm_result, seed_result, verdict

PLAN = RunConfig().changed(class_names=("a", "b"))
NAME = "Jan01_00-00-00_host-scratch-s0"
BEGIN = 1000.125
CONFUSION = [[5, 0], [1, 4]]
FIRST_EPOCH = [
    BeginLine(time=BEGIN),
    *(step_line(step, 1 / step, time=BEGIN + step) for step in (1, 2, 3)),
    snapshot_line(3, gradient_norm={"conv1": None, "fc": 2.0}),
    epoch_line(3, 1, confusion=CONFUSION, time=BEGIN + 4),
]
SECOND_EPOCH = [
    *(step_line(step, 1 / step, epoch=2, time=BEGIN + step) for step in (4, 5, 6)),
    epoch_line(6, 2, confusion=CONFUSION, time=BEGIN + 8),
]
END = EndLine(step=6, epoch=2, val=evaluation(), test=evaluation(0.4))
RESULT = run_result(epochs=2, best_epoch=2, test=evaluation(0.4))


class Sending:
    """A worker on a folder, as one process has it, with trackers that outlive it."""

    def __init__(self, folder: Path, trackers: Sequence[str] = ("first",)) -> None:
        self.notices = io.BytesIO()
        self._worker = TrackerWorker(folder, self.notices)
        self._worker.make_trackers(trackers)

    def send(self, *, ended: bool = False) -> None:
        self._worker.send_all(ended=ended)

    def faults(self) -> list[TrackerNotice]:
        return [TrackerNotice.model_validate_json(line) for line in self.notices.getvalue().splitlines()]


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> RecordingTracker:
    """Return the tracker `first`; there is also `second`."""
    for name in ("first", "second"):
        monkeypatch.setitem(TRACKERS, name, TrackerSpec(name, f"tests.recording_tracker:{name}"))
        monkeypatch.setitem(recording_tracker.TRACKER_BY_NAME, name, RecordingTracker())
    return recording_tracker.first()


def new_run(parent: Path, lines: Sequence[Line] = FIRST_EPOCH, *, name: str = NAME, **files) -> Path:
    write_run_files(parent / name, PLAN, hash="0" * 64, **files)
    append(parent / name, lines)
    return parent / name


def append(run: Path, lines: Sequence[Line], *, size: int | None = None) -> int:
    """Append lines to a record, which is cut to `size` first, and return its size in bytes."""
    with Journal(run / "metrics.jsonl", size) as journal:
        for line in lines:
            journal.append(line)
        return journal.sync()


def write_checkpoint(run: Path, step: int, size: int) -> None:
    folder = run / "checkpoints" / f"step-{step:08d}-0001"
    folder.mkdir(parents=True)
    (folder / STATE_FILE).write_text(json.dumps({"position": {"bytes": size, "plan": "is not read"}, "progress": {}}))


def finish(run: Path, lines: Sequence[Line] = (*SECOND_EPOCH, END)) -> None:
    append(run, lines)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    write_json(run / RESULT_FILE, RESULT.to_json())
    seal(run)


def record_rows(run: Path) -> list[Row]:
    """Return the rows of a whole record, from TensorBoard's scalars of each line."""
    rows, time = [], 0.0
    for number, line in enumerate(read_lines(run / "metrics.jsonl"), 1):
        time = getattr(line, "time", time)
        if values := dict(scalars(line)):
            rows.append(Row(number, line.step, time, values))
    return rows


def without_nan(rows: Sequence[Row]) -> list[Row]:
    """Return rows with None in place of NaN, which equals nothing."""
    return [
        Row(r.line, r.step, r.time, {tag: None if math.isnan(v) else v for tag, v in r.scalars.items()})  # type: ignore[dict-item]
        for r in rows
    ]


def only(tracker: RecordingTracker) -> RecordedRun:
    (recorded,) = tracker.runs.values()
    return recorded


def position(run: Path, tracker: str = "first") -> tuple[int, bool]:
    stored = TrackersFile.read(run / TRACKERS_FILE).trackers[tracker]
    return stored.lines, stored.ended


def test_lines_from_a_position_are_those_of_the_record(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    size = append(run, SECOND_EPOCH)
    path, lines = run / "metrics.jsonl", [*FIRST_EPOCH, *SECOND_EPOCH]
    pairs = list(read_lines_from(path, RecordPosition(), size))
    assert [line for line, _ in pairs] == lines == list(read_lines(path))
    for index, (_, place) in enumerate(pairs, 1):
        assert place.lines == index
        assert [line for line, _ in read_lines_from(path, place, size)] == lines[index:]
        assert [line for line, _ in read_lines_from(path, RecordPosition(), place.bytes)] == lines[:index]
        assert [line for line, _ in read_lines_from(path, RecordPosition(), place.bytes - 1)] == lines[: index - 1]
    with path.open("a") as file:
        file.write('{"kind":"step"')  # incomplete
    assert len(list(read_lines_from(path, RecordPosition(), path.stat().st_size))) == len(lines)


def test_finished_run_is_sent_whole_with_its_result(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path)
    finish(run)
    sending = Sending(run)
    sending.send()
    recorded = only(tracker)
    assert without_nan(recorded.rows) == record_rows(run)
    assert math.isnan(
        next(row for row in recorded.rows if "gradient_norm/conv1" in row.scalars).scalars["gradient_norm/conv1"]
    )
    assert recorded.ends == [(RunState.FINISHED, read_run(run).result)]
    assert position(run) == (len(list(read_lines(run / "metrics.jsonl"))), True)
    shown = recorded.run
    assert (shown.name, shown.arm, shown.seed, shown.group, shown.stage) == (NAME, PLAN.arm_name, 0, None, None)
    assert shown.begin == BEGIN and shown.hyperparameters == hyperparameters(resolved(PLAN))
    sending.send(ended=True)
    Sending(run).send(ended=True)  # another process
    assert (recorded.opened, len(recorded.ends)) == (1, 1) and sending.faults() == []


def test_run_in_progress_is_sent_up_to_its_checkpoint(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path)
    sending = Sending(tmp_path)
    sending.send()
    assert tracker.runs == {}  # no checkpoint yet: everything may be trained again
    size = (run / "metrics.jsonl").stat().st_size
    write_checkpoint(run, 3, size)
    append(run, SECOND_EPOCH[:2])  # after the checkpoint
    sending.send()
    sent = record_rows(run)[:5]
    assert without_nan(only(tracker).rows) == sent and position(run) == (6, False)
    sending.send()
    assert len(only(tracker).rows) == len(sent) and only(tracker).ends == []
    append(run, [*SECOND_EPOCH, END], size=size)  # resumed from the checkpoint
    finish(run, [])
    sending.send()
    assert without_nan(only(tracker).rows) == record_rows(run)
    assert only(tracker).opened == 1 and only(tracker).ends == [(RunState.FINISHED, read_run(run).result)]


def test_resumed_run_continues_in_another_process(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path)
    size = (run / "metrics.jsonl").stat().st_size
    write_checkpoint(run, 3, size)
    append(run, SECOND_EPOCH[:2])
    Sending(run).send(ended=True)
    assert only(tracker).ends == [(RunState.UNFINISHED, None)] and position(run) == (6, False)
    Sending(run).send(ended=True)  # nothing new: it is not opened
    assert only(tracker).opened == 1
    append(run, [*SECOND_EPOCH, END], size=size)
    finish(run, [])
    moved = tmp_path / "elsewhere" / NAME
    moved.parent.mkdir()
    run.rename(moved)
    Sending(moved).send()
    assert without_nan(only(tracker).rows) == record_rows(moved)
    assert only(tracker).ends == [(RunState.UNFINISHED, None), (RunState.FINISHED, read_run(moved).result)]


def test_older_checkpoint_repeats_no_line(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path, FIRST_EPOCH[:2])
    early = (run / "metrics.jsonl").stat().st_size
    late = append(run, FIRST_EPOCH[2:])
    write_checkpoint(run, 3, late)
    sending = Sending(run)
    sending.send()
    shutil.rmtree(run / "checkpoints")  # damaged: the run continues from the one before
    write_checkpoint(run, 1, early)
    again = [line.model_copy(update={"time": 10**6 / 3}) if hasattr(line, "time") else line for line in FIRST_EPOCH[2:]]
    append(run, again, size=early)
    sending.send()
    finish(run)
    sending.send()
    rows = only(tracker).rows
    assert [row.line for row in rows] == [row.line for row in record_rows(run)]
    assert [row.scalars["loss/batch"] for row in rows if "loss/batch" in row.scalars] == [
        1 / step for step in range(1, 7)
    ]


def test_run_that_starts_again_is_another_run(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path)
    write_checkpoint(run, 3, (run / "metrics.jsonl").stat().st_size)
    sending = Sending(tmp_path)
    sending.send()
    shutil.rmtree(run / "checkpoints")
    append(run, [BeginLine(time=BEGIN + 100), *FIRST_EPOCH[1:]], size=0)
    finish(run)
    sending.send()
    first, second = tracker.runs.values()
    assert first.run.id != second.run.id and first.run.name == second.run.name
    assert first.ends == [(RunState.UNFINISHED, None)] and second.ends == [(RunState.FINISHED, read_run(run).result)]
    assert without_nan(second.rows) == record_rows(run)


def test_record_without_checkpoint_is_sent_at_the_end(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path)  # as a rung that did not survive, whose checkpoint was removed
    sending = Sending(tmp_path)
    sending.send(ended=True)
    assert without_nan(only(tracker).rows) == record_rows(run)
    assert only(tracker).ends == [(RunState.UNFINISHED, None)]


def test_run_that_a_tracker_has_lost_is_sent_again(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path)
    write_checkpoint(run, 3, (run / "metrics.jsonl").stat().st_size)
    Sending(run).send(ended=True)
    tracker.runs.clear()  # deleted there
    finish(run)
    Sending(run).send()
    assert without_nan(only(tracker).rows) == record_rows(run) and only(tracker).opened == 1


def test_another_target_receives_everything(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path)
    finish(run)
    Sending(run).send()
    tracker.target = "other server"
    rows = list(only(tracker).rows)
    tracker.runs.clear()
    Sending(run).send()
    assert without_nan(only(tracker).rows) == without_nan(rows)


def test_copied_run_has_its_own_id(tmp_path: Path, tracker: RecordingTracker) -> None:
    run = new_run(tmp_path)
    finish(run)
    Sending(run).send()
    copy = tmp_path / "study" / NAME
    shutil.copytree(run, copy)
    write_run_files(copy, PLAN, hash="0" * 64, role=run_role())
    seal(copy)
    Sending(copy.parent).send()
    assert [recorded.run.group for recorded in tracker.runs.values()] == [None, "study"]
    assert all(without_nan(recorded.rows) == record_rows(run) for recorded in tracker.runs.values())


def test_failing_tracker_is_switched_off_and_reported_once(tmp_path: Path, tracker: RecordingTracker) -> None:
    for name in (NAME, f"{NAME}1"):
        finish(new_run(tmp_path, name=name))
    tracker.error = RuntimeError("no\n connection")
    sending = Sending(tmp_path, ("first", "second"))
    sending.send()
    sending.send(ended=True)
    assert sending.faults() == [TrackerNotice(tracker="first", reason="RuntimeError: no connection")]
    assert only(tracker).rows == [] and only(tracker).opened == 1
    second = recording_tracker.second()
    assert [len(recorded.ends) for recorded in second.runs.values()] == [1, 1]
    tracker.error = None
    Sending(tmp_path, ("first", "second")).send()  # later, as `headstart rebuild --log`
    assert all(without_nan(recorded.rows) == record_rows(tmp_path / NAME) for recorded in tracker.runs.values())
    assert [recorded.opened for recorded in second.runs.values()] == [1, 1]


def test_tracker_that_cannot_be_made_is_reported(
    tmp_path: Path, tracker: RecordingTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "broken", TrackerSpec("broken", "tests.recording_tracker:missing"))
    run = new_run(tmp_path)
    finish(run)
    sending = Sending(tmp_path, ("broken", "first"))
    sending.send()
    (fault,) = sending.faults()
    assert fault.tracker == "broken" and "AttributeError" in fault.reason
    assert only(tracker).ends == [(RunState.FINISHED, read_run(run).result)]


def test_damaged_record_stops_no_other_run(tmp_path: Path, tracker: RecordingTracker) -> None:
    damaged = new_run(tmp_path, name=NAME)
    finish(damaged)
    with (damaged / "metrics.jsonl").open("a") as file:
        file.write("{}\n")
    good = new_run(tmp_path, name=f"{NAME}1")
    finish(good)
    sending = Sending(tmp_path)
    sending.send()
    sending.send()
    (fault,) = sending.faults()
    assert fault.tracker == "" and str(damaged / "metrics.jsonl") in fault.reason
    recorded = next(one for one in tracker.runs.values() if one.run.name == good.name)
    assert without_nan(recorded.rows) == record_rows(good)


def test_study_is_the_group_of_its_runs(tmp_path: Path, tracker: RecordingTracker) -> None:
    study = tmp_path / "Jan01_00-00-00_compare-photos"
    (study / "search").mkdir(parents=True)
    (study / "study.toml").touch()
    varied = arm_spec("scratch,lr=0.1")
    role = run_role().model_copy(update={"arm": varied})
    trial = role.model_copy(update={"stage": Stage.SEARCH})
    write_json(study / "verdict.json", {})
    finish(new_run(study, role=role))
    finish(new_run(study / "search", name=f"{NAME}1", role=trial))
    Sending(study).send()
    shown = [(one.run.group, one.run.stage, one.run.arm) for one in tracker.runs.values()]
    assert shown == [(study.name, "main", varied.name), (study.name, "search", varied.name)]


def test_names_are_sent_without_control_characters(tmp_path: Path, tracker: RecordingTracker) -> None:
    study = tmp_path / "a\x1b[31m"
    (study / "search").mkdir(parents=True)
    (study / "study.toml").touch()
    role = run_role().model_copy(update={"arm": arm_spec("scratch,lr=0.1").model_copy(update={"label": "x\x07"})})
    finish(new_run(study, name="b\x1b[1m", role=role))
    Sending(study).send()
    (sent,) = (one.run for one in tracker.runs.values())
    assert (sent.group, sent.name, sent.arm) == ("a\\x1b[31m", "b\\x1b[1m", "x\\x07,lr=0.1")


def test_test_results_wait_for_the_verdict(tmp_path: Path, tracker: RecordingTracker) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.toml").touch()
    run = new_run(study, role=run_role())
    sending = Sending(study)
    finish(run)
    sending.send()
    sending.send()
    recorded = only(tracker)
    assert without_nan(recorded.rows) == record_rows(run)[:-1]
    assert not any(tag.endswith("/test") for row in recorded.rows for tag in row.scalars)
    assert recorded.ends == [(RunState.FINISHED, None)] and recorded.opened == 1
    Sending(study).send(ended=True)  # the study was stopped, and is resumed
    assert recorded.opened == 1
    named = [arm_result("imagenet", [seed_result(run=run.name)]), arm_result("scratch")]
    stated = verdict(named, exported=ExportedRun(run=run.name, seed=0))
    write_json(study / "verdict.json", stated.to_json())
    sending.send(ended=True)
    assert without_nan(recorded.rows) == record_rows(run)
    assert recorded.ends[1:] == [(RunState.FINISHED, read_run(run).result)] and position(run)[1]


def test_unknown_and_missing_trackers_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError) as caught:
        require_trackers(["wandbb"])
    assert fields_of(caught.value.message) == {"name": "wandbb"}
    assert fields_of(caught.value.hint) == {"choices": "wandb, mlflow"}
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    for name, spec in TRACKERS.items():
        with pytest.raises(UsageError) as caught:
            require_trackers([name])
        assert fields_of(caught.value.message) == {"title": spec.title}
        assert fields_of(caught.value.hint) == {"requirement": name}
    monkeypatch.setattr(registry, "find_spec", lambda name: object())
    assert require_trackers(["mlflow", "wandb", "mlflow"]) == ("mlflow", "wandb")
