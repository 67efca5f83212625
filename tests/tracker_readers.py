"""Read what trackers have stored, with their own packages, in a process of its own.

`python -m tests.tracker_readers NAME PLACE` prints the runs as JSON. Importing the packages has side effects (warnings,
handlers) that must not reach the tests.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.conftest import environment_for_processes

BLOCK = 32768  # bytes, of LevelDB's log format
WANDB_STATES = {0: "finished", 1: "failed", 255: "killed"}


@dataclass
class StoredRun:
    """A run in a tracker: points as [tag, step, time in ms, value], in the order in which they were stored."""

    name: str
    group: str
    stage: str
    states: list[str]
    settings: dict[str, str]
    ended_as: dict[str, str]
    points: list[tuple[str, int, int, float]] = field(default_factory=list)


def stored_runs(name: str, place: str | Path) -> dict[str, StoredRun]:
    """Return the runs of a tracker by name: from a folder for `wandb`, from a tracking URI for `mlflow`."""
    command = [sys.executable, "-m", "tests.tracker_readers", name, str(place)]
    folder = Path(__file__).parents[1]
    environment = environment_for_processes()
    environment["PYTHONPATH"] = ":".join([str(folder), environment.get("PYTHONPATH", "")])
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    runs = [StoredRun(**values) for values in json.loads(result.stdout)]
    return {run.name: run for run in runs}


def wandb_runs(folder: Path) -> Iterator[StoredRun]:
    """Yield the runs of the offline files in a folder.

    A run that was opened several times has several files. `wandb sync` keeps only one of them, so the newest must be
    complete. The states are those of all files.
    """
    from wandb.proto import wandb_internal_pb2

    runs: dict[str, StoredRun] = {}
    for file in sorted(folder.glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        run, states = None, runs[file.stem].states if file.stem in runs else []
        for data in _leveldb_records(file.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run" and run is None:
                config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
                settings = {key: str(value) for key, value in config.items() if not key.startswith("_")}
                run = runs[file.stem] = StoredRun(
                    record.run.display_name, record.run.run_group, record.run.job_type, states, settings, {}
                )
            elif kind == "history":
                values = _values(record.history.item)
                time, step = round(1000 * values.pop("_timestamp")), values.pop("step")
                tags = [tag for tag in values if not tag.startswith("_")]
                run.points += [(tag, step, time, values[tag]) for tag in tags]
            elif kind == "summary":
                run.ended_as |= {
                    item.key: str(json.loads(item.value_json)) for item in record.summary.update if item.key
                }
            elif kind == "exit":
                run.states.append(WANDB_STATES[record.exit.exit_code])
    yield from runs.values()


def _values(items) -> dict[str, float]:
    names = ((item.key or item.nested_key[0], item.value_json) for item in items)
    return {name: float(text.strip('"')) if text.strip('"') == "NaN" else json.loads(text) for name, text in names}


def _leveldb_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log: chunks in blocks, each with checksum, length and kind (1 whole, 2 to 4 parts)."""
    place, record = 7, b""  # after W&B's header
    while place + 7 <= len(data):
        if (left := BLOCK - place % BLOCK) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def mlflow_runs(uri: str) -> Iterator[StoredRun]:
    """Yield the runs of the experiment of headstart."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("headstart")
    for found in client.search_runs([experiment.experiment_id]):
        tags = {name.removeprefix("headstart."): value for name, value in found.data.tags.items()}
        points = [
            (metric.key, metric.step, metric.timestamp, metric.value)
            for key in found.data.metrics
            for metric in client.get_metric_history(found.info.run_id, key)
        ]
        yield StoredRun(
            found.info.run_name, tags.get("study", ""), tags.get("stage", ""), [found.info.status.lower()],
            {**found.data.params, "arm": tags.get("arm", "")}, tags, points,
        )  # fmt: skip


if __name__ == "__main__":
    tracker, source = sys.argv[1:]
    stored = wandb_runs(Path(source)) if tracker == "wandb" else mlflow_runs(source)
    print(json.dumps([asdict(run) for run in stored]))
