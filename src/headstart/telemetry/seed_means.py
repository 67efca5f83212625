"""Write one mean run per arm of a study for TensorBoard, computed from the records of its runs.

At every step at which the runs of a variant have a scalar, the mean run has their mean over seeds under the same tag.
What was measured at the end of an epoch or of the run also has a band, as `TAG/low` and `TAG/high`:
`mean ± t(0.975, n-1) s/√n`, the pointwise 95 % t interval over n seeds (Student 1908). It contains the
variation between seeds and, unlike the verdict's interval, not the sampling error of the images. (Bands of every batch
and layer would triple the number of charts.)

Finished and diverged runs count. A run that ended early, diverged or stopped by patience, has no points after its end:
from there on the mean is over the remaining seeds, whose number `seeds` gives at each epoch. Single seeds have no band.
What was measured at the end (test, and val of the best model) is one point over all runs. A value that is not finite
makes the mean not finite. Where seeds differ in their steps per epoch, epochs are matched by number and placed at the
latest of their steps.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import custom_scalars

from headstart.analysis.run_records import RunRecord, main_runs
from headstart.analysis.statistics import t_interval
from headstart.config.study_file import StudySpec
from headstart.storage import contained
from headstart.storage.folders import slug
from headstart.storage.schemas.metrics import EndLine, EpochLine, Line, TimedLine
from headstart.telemetry.event_file import EventFile
from headstart.telemetry.scalars import scalars
from headstart.telemetry.tensorboard import event_files, retire_event_files

CHARTS = ("accuracy/val", "loss/val", "accuracy/train", "loss/train")
MEAN_RUN_LAYOUT = {"mean over seeds": {tag: ["Margin", [tag, f"{tag}/low", f"{tag}/high"]] for tag in CHARTS}}
KINDS_WITH_BAND = ("epoch", "end")  # kinds of lines whose means have a band

LineKey = tuple[str, int]  # kind of line, and its number: the epoch's, 0 for the end, the step's for others
MeanRunKey = tuple[str, str, float]  # variant, budget, fraction


@dataclass
class PooledPoint:
    """Values of several runs at one line key: the latest step and time, the number of runs, and each tag's values."""

    step: int = 0
    time: float = 0.0
    runs: int = 0
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def folder_names(spec: StudySpec) -> dict[MeanRunKey, str]:
    """Return the folder name of each mean run.

    The name is `mean-ARM`, followed by the budget and the fraction of the training images where the study has several.
    """
    fractions = spec.protocol.fractions
    folders: dict[MeanRunKey, str] = {}
    for variant in spec.variants:
        for budget in map(str, spec.budgets):
            for fraction in fractions:
                stem = f"mean-{slug(variant.name)}"
                stem += f"-{budget}" if len(spec.budgets) > 1 else ""
                stem += f"-{fraction:g}" if len(fractions) > 1 else ""
                while stem in folders.values():  # two arms may differ only in characters that no path may contain
                    stem += "+"
                folders[variant.name, budget, fraction] = stem
    return folders


def rebuild_mean_runs(study: Path, spec: StudySpec, only: MeanRunKey | None = None) -> list[Path]:
    """Rewrite the mean runs of a study.

    Conditions without a finished run have no mean run. Results on test are those that runs may show, see `read_run`. A
    reader sees either the old or the new points.

    Args:
        study: The study's folder.
        spec: Its content of study.toml.
        only: Rewrite this condition alone, while the study is running.

    Returns:
        The folders written.

    Raises:
        DataError: An arm has one seed twice.
    """
    by_condition: dict[MeanRunKey, list[RunRecord]] = defaultdict(list)
    for run in main_runs(study):
        by_condition[run.arm, *run.condition].append(run)
    folders = []
    for condition, name in folder_names(spec).items():
        if condition in by_condition and only in (None, condition):
            records = (run.lines() for run in by_condition[condition])
            write_mean_run(study / name, pool_records(records))
            folders.append(study / name)
    return folders


def pool_records(records: Iterable[Iterable[Line]]) -> list[PooledPoint]:
    """Combine the scalars of several records, given as their lines.

    Points are in the order of their steps. A value that is not finite is NaN.
    """
    pooled: dict[LineKey, PooledPoint] = defaultdict(PooledPoint)
    for lines in records:
        now = 0.0
        for line in lines:
            now = line.time if isinstance(line, TimedLine) else now
            if values := list(scalars(line)):
                point = pooled[_line_key(line)]
                point.step, point.time = max(point.step, line.step), max(point.time, now)
                point.runs += 1
                for tag, value in values:
                    point.values[tag].append(math.nan if value is None else value)
    for (kind, _), point in pooled.items():
        if kind in KINDS_WITH_BAND:
            point.values |= dict(_bands(point.values))
        if kind == "epoch":
            point.values |= {"seeds": [point.runs]}
    return sorted(pooled.values(), key=lambda point: point.step)


def _line_key(line: Line) -> LineKey:
    match line:
        case EndLine():
            return line.kind, 0
        case EpochLine():
            return line.kind, line.epoch
        case _:
            return line.kind, line.step


def _bands(values: dict[str, list[float]]) -> Iterator[tuple[str, list[float]]]:
    for tag, seed_values in values.items():
        if len(seed_values) > 1:
            low, high = t_interval(seed_values)
            yield f"{tag}/low", [low]
            yield f"{tag}/high", [high]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def write_mean_run(folder: Path, points: Sequence[PooledPoint]) -> None:
    """Write `folder` as a TensorBoard run of the means and retire its old event files.

    The new file is renamed into place when it is complete. It begins with a purge, so that a running TensorBoard drops
    the points it has read. Its name contains the nanoseconds, because the name decides which file is read last.
    """
    contained.make_folder(folder.parent, folder.name)
    old_files = event_files(folder)
    temporary = f"means.{secrets.token_hex(8)}{contained.temp_suffix()}"  # a name that TensorBoard does not read
    with EventFile(folder / temporary) as file:
        for event in _events(points):
            file.write(event.SerializeToString())
    second, nanosecond = divmod(time.time_ns(), 10**9)
    contained.rename(folder, temporary, f"events.out.tfevents.{second:010d}.{nanosecond:09d}.means")
    retire_event_files(folder, old_files)


def _events(points: Sequence[PooledPoint]) -> Iterator[Event]:
    start_time = points[0].time if points else 0.0
    yield Event(wall_time=start_time, step=0, file_version="brain.Event:2")
    yield Event(wall_time=start_time, step=0, session_log=SessionLog(status=SessionLog.START))
    yield Event(wall_time=start_time, summary=custom_scalars(MEAN_RUN_LAYOUT))
    for point in points:
        means = [Summary.Value(tag=tag, simple_value=_mean(values)) for tag, values in point.values.items()]
        yield Event(wall_time=point.time, step=point.step, summary=Summary(value=means))
