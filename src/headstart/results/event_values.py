"""Read the values of TensorBoard event files that any program wrote: scalars, histograms and hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from headstart.i18n import Message, _, ngettext
from headstart.report.histograms import MAX_SNAPSHOTS
from headstart.report.svg.sampling import subsample
from headstart.storage.schemas.metrics import Histogram
from headstart.telemetry.event_file import EventFileError, read_records

BINS = 64
MAX_TENSOR_VALUES = 100_000  # of a histogram: 3 for each bin. A tensor may declare any shape with one value
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scalar:
    """One logged number and when it was logged, in seconds since 1970."""

    step: int
    time: float
    value: float


@dataclass
class EventValues:
    """The values of one event file, or of several files of one run."""

    scalars: dict[str, list[Scalar]] = field(default_factory=dict)
    histograms: dict[str, list[tuple[int, Summary.Value]]] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    purge_step: int | None = None  # earlier values from this step on are void
    notes: list[Message] = field(default_factory=list)
    tag_notes: dict[str, list[Message]] = field(default_factory=dict)

    @property
    def started(self) -> float:
        """Seconds since 1970 of the first scalar; 0 without one."""
        return min((values[0].time for values in self.scalars.values()), default=0.0)

    def restarts(self, later: EventValues) -> bool:
        """Return whether `later` begins again: with a tag whose steps start where they start here, or before."""
        if later.purge_step is not None:
            return False
        common = self.scalars.keys() & later.scalars.keys()
        return any(later.scalars[tag][0].step <= self.scalars[tag][0].step for tag in common)

    def continue_with(self, later: EventValues, prefix: str = "") -> None:
        """Add the values of a file that was written later; its steps replace equal and higher ones."""
        for tag, values in later.scalars.items():
            first = values[0].step if later.purge_step is None else later.purge_step
            kept = [value for value in self.scalars.get(prefix + tag, []) if value.step < first]
            self.scalars[prefix + tag] = kept + values
        for tag, rows in later.histograms.items():
            first = rows[0][0] if later.purge_step is None else later.purge_step
            before = [row for row in self.histograms.get(prefix + tag, []) if row[0] < first]
            self.histograms[prefix + tag] = before + rows
        for tag, notes in later.tag_notes.items():
            self.tag_notes.setdefault(prefix + tag, []).extend(notes)
        self.settings |= later.settings
        self.notes += later.notes


def read_event_values(path: Path) -> EventValues:
    """Return the values of one event file up to its end, or up to its first damaged record, which a note names."""
    values = EventValues()
    try:
        for record in read_records(path):
            event = _event(record)
            if event.HasField("session_log") and event.session_log.status == SessionLog.START and event.step:
                values.purge_step = event.step
            for value in event.summary.value:
                _add_value(values, event, value)
    except EventFileError as error:
        values.notes.append(
            _(
                "{file} has an incomplete or damaged record at byte {position:,}; what is before it was read.",
                file=path.name,
                position=error.position,
            )
        )
    for tag in list(values.scalars):
        values.scalars[tag] = _ascending(tag, values.scalars[tag], values.tag_notes.setdefault(tag, []))
        if not values.scalars[tag]:
            del values.scalars[tag]
    return values


def _event(record: bytes) -> Event:
    """Return the event of a record; an empty one if the record is none, as in files of other formats."""
    try:
        return Event.FromString(record)
    except Exception:  # protobuf's DecodeError, whose package is not a dependency of its own
        return Event()


def _add_value(values: EventValues, event: Event, value: Summary.Value) -> None:
    """Add one value of an event; pictures, texts and graphs are left out."""
    plugin, kind = value.metadata.plugin_data.plugin_name, value.WhichOneof("value")
    if plugin == "hparams":
        content = _hyperparameters(value.metadata.plugin_data.content)
        for name, setting in content.session_start_info.hparams.items():
            text = getattr(setting, setting.WhichOneof("kind") or "", "")
            values.settings[name] = f"{text:g}" if isinstance(text, float) else str(text)
    elif kind == "simple_value":
        values.scalars.setdefault(value.tag, []).append(Scalar(event.step, event.wall_time, value.simple_value))
    elif kind == "histo" or (kind == "tensor" and plugin == "histograms" and _size(value) % 3 == 0):
        values.histograms.setdefault(value.tag, []).append((event.step, value))
    elif kind == "tensor" and plugin == "scalars" and _size(value) == 1:
        number = float(make_ndarray(value.tensor).reshape(()))
        values.scalars.setdefault(value.tag, []).append(Scalar(event.step, event.wall_time, number))


def _hyperparameters(content: bytes) -> HParamsPluginData:
    """Return the hyperparameters of a value; empty ones for other content."""
    try:
        return HParamsPluginData.FromString(content)
    except Exception:  # as in `_event`
        return HParamsPluginData()


def _size(value: Summary.Value) -> int:
    """Return the number of values of a tensor; -1 if it declares more than MAX_TENSOR_VALUES, or is no array."""
    tensor = value.tensor
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    if min(sizes, default=0) < 0 or math.prod(sizes) > MAX_TENSOR_VALUES:
        return -1
    try:
        array = make_ndarray(tensor)
    except (TypeError, ValueError):
        return -1
    return int(array.size) if array.dtype.kind in "iuf" else -1


def _ascending(tag: str, values: Sequence[Scalar], notes: list[Message]) -> list[Scalar]:
    """Return finite values with ascending steps.

    Values without a step all have step 0; they are numbered. If steps begin again, the last series is kept.
    """
    finite = [value for value in values if math.isfinite(value.value)]
    if lost := len(values) - len(finite):
        words = ngettext("{tag}: {count} value is not finite.", "{tag}: {count} values are not finite.", lost, tag=tag)
        notes.append(words)
    if len(finite) > 1 and len({value.step for value in finite}) == 1:
        return [Scalar(index, value.time, value.value) for index, value in enumerate(finite)]
    kept: list[Scalar] = []
    replaced = 0
    for value in finite:
        while kept and kept[-1].step >= value.step:
            kept.pop()
            replaced += 1
        kept.append(value)
    if replaced:
        words = ngettext(
            "{tag}: steps begin again; {count} earlier value was replaced.",
            "{tag}: steps begin again; {count} earlier values were replaced.",
            replaced,
            tag=tag,
        )
        notes.append(words)
    return kept


def drawn_histograms(rows: Sequence[tuple[int, Summary.Value]]) -> list[tuple[int, Histogram]]:
    """Return the histograms of a tag by step, as many as the report draws, in equal bins."""
    by_step = dict(rows)
    return [(step, equal_bins(*_bins(by_step[step]))) for step in subsample(sorted(by_step), MAX_SNAPSHOTS)]


def _bins(value: Summary.Value) -> tuple[Floats, Floats, float, float]:
    """Return counts, edges, and the smallest and largest value of a histogram in either of TensorBoard's formats."""
    if value.WhichOneof("value") == "histo":
        proto: HistogramProto = value.histo
        edges = np.array([proto.min, *proto.bucket_limit])
        return np.array(proto.bucket), np.clip(edges, proto.min, proto.max), proto.min, proto.max
    left, right, counts = make_ndarray(value.tensor).astype(np.float64).reshape(-1, 3).T
    if not len(counts):
        return counts, np.zeros(1), 0.0, 0.0
    return counts, np.append(left, right[-1]), float(left[0]), float(right[-1])


def equal_bins(counts: Floats, edges: Floats, low: float, high: float) -> Histogram:
    """Return a histogram in equal bins, as if the values of each of the given bins were evenly spread in it.

    Cumulative counts are rounded, so that the sum is exact. There are no bins if a value is not finite.

    Args:
        counts: Values in each bin.
        edges: Ascending edges of the bins, one more than bins.
        low: Smallest value.
        high: Largest value.
    """
    n = round(counts.sum()) if math.isfinite(low) and math.isfinite(high) else 0
    if not n:
        return Histogram(low=0.0, high=0.0, n=0, sum=0.0, sum_squares=0.0, counts=[])
    centers = (edges[:-1] + edges[1:]) / 2
    sums = {"sum": float(counts @ centers), "sum_squares": float(counts @ centers**2)}
    if low == high:
        return Histogram(low=low, high=high, n=n, counts=[n], **sums)
    cumulative = np.concatenate([[0.0], np.cumsum(counts)])
    at_edges = np.interp(np.linspace(low, high, BINS + 1), edges, cumulative).round().astype(int)
    return Histogram(low=low, high=high, n=n, counts=np.diff(at_edges).tolist(), **sums)
