"""A mean run for each arm of a study, beside the raw ones: a view that is made whole from their records.

At every step at which the runs of a cell have a scalar, it has their mean over seeds under the same tag. What an epoch
or the end of a run measured has a band too, as `TAG/low` and `TAG/high`: `mean ± t(0.975, n-1) s/√n`, the pointwise
95 % t interval over n seeds (Student 1908). It carries the luck of the seeds and not that of the images, as the
verdict's does. (Bands of every batch and layer would make three charts of each.)

Finished runs count, diverged ones too. One that ended early, be it diverged or by patience, has no points after its
end: from there on the mean is over the seeds that are left, and `seeds` says at each epoch how many. Single seeds have
no band. What was measured at the end (test, and the best model's val) is one point over all of them. A value that is
not finite makes the mean not finite. Where seeds differ in their steps per epoch, epochs are matched by number and
stand at the latest of their steps.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from scipy import stats
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import custom_scalars

from headstart.analysis.run_records import RunRecord, compared
from headstart.config.study_file import StudySpec
from headstart.storage.files import temp_suffix
from headstart.storage.folders import slug
from headstart.storage.journal import read_lines
from headstart.telemetry.event_file import EventFile
from headstart.telemetry.scalars import scalars
from headstart.telemetry.tensorboard import retire

LEVEL = 0.95
CHARTS = ("accuracy/val", "loss/val", "accuracy/train", "loss/train")
LAYOUT = {"mean over seeds": {tag: ["Margin", [tag, f"{tag}/low", f"{tag}/high"]] for tag in CHARTS}}
BANDED = ("epoch", "end")  # kinds of lines whose means have a band

Place = tuple[str, int]  # kind of line, and its number: the epoch's, 0 of the end, the step's of others
Condition = tuple[str, str, float]  # cell, budget, fraction


@dataclass
class Moment:
    """What the runs that reached a place measured there: the latest step and time, and each tag's values."""

    step: int = 0
    time: float = 0.0
    runs: int = 0
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def names(declared: StudySpec) -> dict[Condition, str]:
    """The folder of each mean run: `mean-ARM`, with budget and share of the photos where several were asked."""
    fractions = declared.protocol.fractions
    found: dict[Condition, str] = {}
    for cell in declared.cells:
        for budget in map(str, declared.budgets):
            for fraction in fractions:
                stem = f"mean-{slug(cell.name)}"
                stem += f"-{budget}" if len(declared.budgets) > 1 else ""
                stem += f"-{fraction:g}" if len(fractions) > 1 else ""
                while stem in found.values():  # two arms may differ in letters that no path has
                    stem += "+"
                found[cell.name, budget, fraction] = stem
    return found


def rebuild(study: Path, declared: StudySpec, only: Condition | None = None) -> list[Path]:
    """Write the mean runs of a study anew, or only that of one cell and condition; returns their folders.

    One alone is of a study that goes on: it leaves out what the test split says, which is not to be looked at yet.
    Cells without a finished run have none yet. A reader sees the old points or the new ones. Raises DataError where an
    arm has a seed twice.
    """
    by_condition: dict[Condition, list[RunRecord]] = defaultdict(list)
    for run in compared(study):
        by_condition[run.about["variant"], run.about["budget"], run.about["fraction"]].append(run)
    made = []
    for condition, name in names(declared).items():
        if condition in by_condition and only in (None, condition):
            records = (read_lines(run.folder / "metrics.jsonl") for run in by_condition[condition])
            moments = gather(records, judged=only is None)
            write(study / name, moments)
            made.append(study / name)
    return made


def gather(records: Iterable[Iterable[dict[str, Any]]], *, judged: bool = True) -> list[Moment]:
    """The scalars of several records put together, in the order of their steps; a value that is not finite is NaN.

    What the test split says is left out unless `judged`.
    """
    found: dict[Place, Moment] = defaultdict(Moment)
    for lines in records:
        now = 0.0
        for line in lines:
            now = line.get("time", now)
            points = [(tag, value) for tag, value in scalars(line) if judged or not tag.endswith("/test")]
            if points:
                moment = found[_place(line)]
                moment.step, moment.time = max(moment.step, line["step"]), max(moment.time, now)
                moment.runs += 1
                for tag, value in points:
                    moment.values[tag].append(math.nan if value is None else value)
    for (kind, _), moment in found.items():
        if kind in BANDED:
            moment.values |= dict(_bands(moment.values))
        if kind == "epoch":
            moment.values["seeds"] = [moment.runs]
    return sorted(found.values(), key=lambda moment: moment.step)


def _place(line: dict[str, Any]) -> Place:
    kind = str(line["kind"])
    number = 0 if kind == "end" else line["epoch" if kind == "epoch" else "step"]
    return kind, int(number)


def _bands(values: dict[str, list[float]]) -> Iterator[tuple[str, list[float]]]:
    for tag, of_seeds in values.items():
        if len(of_seeds) > 1:
            low, high = band(of_seeds)
            yield f"{tag}/low", [low]
            yield f"{tag}/high", [high]


def band(values: Sequence[float]) -> tuple[float, float]:
    """`mean ± t(0.975, n-1) s/√n` of n > 1 values (Student 1908)."""
    n, mean = len(values), _mean(values)
    distances = [value - mean for value in values]
    deviation = math.sqrt(math.fsum(d * d for d in distances) / (n - 1))
    half = _quantile(n - 1) * deviation / math.sqrt(n)
    return mean - half, mean + half


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@lru_cache(maxsize=64)
def _quantile(degrees: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, degrees))


def write(folder: Path, moments: Sequence[Moment]) -> None:
    """Make `folder` a TensorBoard run of the means. The new file is put in place whole, then the old one is retired.

    It begins with a purge, so that a TensorBoard that is looking forgets what it has read; its name, which decides what
    is read last, carries the nanoseconds.
    """
    folder.mkdir(exist_ok=True)
    old = list(folder.glob("events.out.tfevents.*"))
    temporary = folder / f"means{temp_suffix()}"  # a name that TensorBoard does not read
    with EventFile(temporary) as file:
        for event in _events(moments):
            file.write(event.SerializeToString())
    second, rest = divmod(time.time_ns(), 10**9)
    temporary.replace(folder / f"events.out.tfevents.{second:010d}.{rest:09d}.means")
    retire(old)


def _events(moments: Sequence[Moment]) -> Iterator[Any]:
    began = moments[0].time if moments else 0.0
    yield Event(wall_time=began, step=0, file_version="brain.Event:2")
    yield Event(wall_time=began, step=0, session_log=SessionLog(status=SessionLog.START))
    yield Event(wall_time=began, summary=custom_scalars(LAYOUT))
    for moment in moments:
        points = [Summary.Value(tag=tag, simple_value=_mean(values)) for tag, values in moment.values.items()]
        yield Event(wall_time=moment.time, step=moment.step, summary=Summary(value=points))
