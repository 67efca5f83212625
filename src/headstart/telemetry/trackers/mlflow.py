"""MLflow. Its variables choose where runs go: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME.

MLflow gives runs ids of its own, so that a run is found by the tag `headstart.id`. Times of points are those of the
record, and a database ignores a point that it has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from headstart.storage.schemas.result import RunResult, RunState
from headstart.telemetry.trackers.tracker import Row, TrackedRun, summary

EXPERIMENT = "headstart"  # unless MLFLOW_EXPERIMENT_NAME names another
ID_TAG = "headstart.id"
MAX_METRICS = 1000  # in one request, MLflow's limit; of parameters it is 100
MAX_PARAMS = 100
STATUSES = {RunState.FINISHED: "FINISHED", RunState.DIVERGED: "FAILED", RunState.UNFINISHED: "KILLED"}


class MlflowTracker:
    """Runs in one experiment of MLflow."""

    def __init__(self) -> None:
        """Read the settings of the environment; connect to nothing."""
        self._client = MlflowClient()
        self._experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        self.target = f"{_without_password(self._client.tracking_uri)} {self._experiment}"

    def open(self, run: TrackedRun) -> MlflowRun:
        """Return the run with the id of the record, which is made if there is none."""
        experiment = self._experiment_id()
        existing = self._client.search_runs([experiment], f"tags.`{ID_TAG}` = '{run.id}'", max_results=1)
        if existing:
            run_id = existing[0].info.run_id
            self._client.update_run(run_id, "RUNNING")
            return MlflowRun(self._client, run_id, is_new=False)
        tags = {ID_TAG: run.id, "headstart.arm": run.arm, "headstart.seed": str(run.seed)}
        if run.group is not None and run.stage is not None:
            tags |= {"headstart.study": run.group, "headstart.stage": run.stage}
        created = self._client.create_run(experiment, start_time=_milliseconds(run.begin), tags=tags, run_name=run.name)
        params = [Param(name, str(value)) for name, value in run.hyperparameters.items()]
        for start in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(created.info.run_id, params=params[start : start + MAX_PARAMS])
        return MlflowRun(self._client, created.info.run_id, is_new=True)

    def _experiment_id(self) -> str:
        """Return the id of the experiment, which another process may make at the same time."""
        try:
            if (experiment := self._client.get_experiment_by_name(self._experiment)) is None:
                return str(self._client.create_experiment(self._experiment))
        except MlflowException:
            if (experiment := self._client.get_experiment_by_name(self._experiment)) is None:
                raise
        return str(experiment.experiment_id)


class MlflowRun:
    """One run of MLflow."""

    def __init__(self, client: MlflowClient, run_id: str, *, is_new: bool) -> None:
        """Wrap a run of the client."""
        self._client, self._id, self.is_new = client, run_id, is_new
        self._end = 0  # time of the last line, in milliseconds

    def log(self, rows: Sequence[Row]) -> None:
        """Add one point for each scalar, in as few requests as possible."""
        points = list(_points(rows))
        for start in range(0, len(points), MAX_METRICS):
            self._client.log_batch(self._id, metrics=points[start : start + MAX_METRICS])
        self._end = max(self._end, *(point.timestamp for point in points), 0)

    def end(self, state: RunState, result: RunResult | None) -> None:
        """Add the result as tags, and set status and end."""
        for name, value in summary(state, result).items():
            self._client.set_tag(self._id, f"headstart.{name}", value)
        self._client.set_terminated(self._id, STATUSES[state], end_time=self._end or None)


def _points(rows: Sequence[Row]) -> Iterator[Metric]:
    for row in rows:
        for tag, value in row.scalars.items():
            yield Metric(tag, value, _milliseconds(row.time), row.step)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _without_password(uri: str) -> str:
    return re.sub("//[^/]*@", "//", uri)


def create() -> MlflowTracker:
    """Return the tracker of the settings in the environment."""
    return MlflowTracker()
