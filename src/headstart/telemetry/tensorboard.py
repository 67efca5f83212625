"""Write TensorBoard event files from the record: the same lines always give the same points, at the same times.

`headstart.telemetry.scalars` selects the scalars. `rebuild_event_file` rewrites the event file from `metrics.jsonl`, on
resume and for `headstart rebuild`.
"""

from __future__ import annotations

import io
import itertools
import os
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from torch.utils.tensorboard.summary import custom_scalars, hparams, text

from headstart import markdown
from headstart.config.plan_file import PLAN_FILE, read_plan_file
from headstart.errors import DataError
from headstart.i18n import _
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.printable import printable
from headstart.storage import contained
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import (
    EndLine,
    EpochLine,
    FindingLine,
    FreezeCheckLine,
    Histogram,
    ImageLine,
    Line,
    SnapshotLine,
    TimedLine,
    WithdrawnLine,
)
from headstart.telemetry.confusion_image import confusion_picture
from headstart.telemetry.event_file import EventFile, framed
from headstart.telemetry.hyperparameters import Hyperparameter
from headstart.telemetry.scalars import scalars

RUN_LAYOUT = {
    "train beside val": {
        "loss": ["Multiline", ["loss/train", "loss/val"]],
        "accuracy": ["Multiline", ["accuracy/train", "accuracy/val"]],
    },
    "learning rate": {"lr": ["Multiline", ["lr/head", "lr/backbone"]]},
}
TEST_SUFFIX = ".test"  # of the event file with the results on test of a run of a study
_file_numbers = itertools.count()
MAX_PICTURE_BYTES = 32_000_000  # that of training samples has 100,000
HPARAM_METRICS = ("accuracy/best", "accuracy/test", "accuracy/val", "loss/val")  # columns beside hyperparameters


class TensorBoard:
    """Writes lines of a record as TensorBoard events to a run folder."""

    def __init__(self, folder: Path, settings: Mapping[str, Hyperparameter]) -> None:
        """Create the event file and write its header.

        Args:
            folder: The run's folder.
            settings: Hyperparameters: the full set of keys, the same in every run.
        """
        self.folder = folder
        self._classes = _class_names(folder)
        self._time: float | None = None  # of the last line with a time; lines without one use it too
        begin = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
        self.name = f"{begin}.{os.getpid()}.{next(_file_numbers)}"
        self._file = EventFile(folder / self.name)
        self._add(Event(step=0, file_version="brain.Event:2"))
        # makes a running TensorBoard drop the points it has read of this run
        self._add(Event(step=0, session_log=SessionLog(status=SessionLog.START)))
        self._add_summary(custom_scalars(RUN_LAYOUT))
        experiment, begin, self._success = hparams(dict(settings), dict.fromkeys(HPARAM_METRICS))
        self._add_summary(experiment)
        self._add_summary(begin)

    def write(self, line: Line) -> None:
        """Write one line of the record as events; kinds of lines without a TensorBoard view are ignored."""
        if isinstance(line, TimedLine):
            self._time = line.time
        values = [Summary.Value(tag=tag, simple_value=_number(value)) for tag, value in scalars(line)]
        values += self._pictures_and_histograms(line)
        if values:
            self._add_summary(Summary(value=values), line.step)
        if isinstance(line, FreezeCheckLine):
            self._add_summary(_text("freeze check", line.sentence), line.step)
        elif isinstance(line, FindingLine | WithdrawnLine):
            self._add_summary(_text(f"finding/{line.code}", line.sentence), line.step)
        elif isinstance(line, EndLine):
            self._add_summary(self._success)  # until then the status in TensorBoard's table of runs is unknown

    def _pictures_and_histograms(self, line: Line) -> Iterator[Summary.Value]:
        if isinstance(line, EpochLine):
            yield _confusion("confusion/val", line.confusion, self._classes)
        elif isinstance(line, EndLine) and line.test is not None:
            yield _confusion("confusion/test", line.test.confusion, self._classes)
        elif isinstance(line, ImageLine):
            if contained.is_file(self.folder, line.file):
                yield _picture_of_file(self.folder, line)
        elif isinstance(line, SnapshotLine):
            for name, by_layer in (("weights", line.weights), ("gradients", line.gradients)):
                for layer, histogram in by_layer.items():
                    if histogram.counts:
                        yield Summary.Value(tag=f"{name}/{layer}", histo=_histogram(histogram))

    def _add_summary(self, summary: Summary, step: int = 0) -> None:
        self._add(Event(step=step, summary=summary))

    def _add(self, event: Event) -> None:
        event.wall_time = time.time() if self._time is None else self._time
        self._file.write(event.SerializeToString())

    def flush(self) -> None:
        """Pass buffered events to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        self._file.close()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _number(value: float | None) -> float:
    return float("nan") if value is None else value  # None: not finite


def _confusion(tag: str, counts: ConfusionCounts, classes: list[str]) -> Summary.Value:
    buffer = io.BytesIO()
    picture = confusion_picture(counts, classes)
    picture.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)  # flat colors: run lengths suffice
    return _picture(tag, buffer.getvalue())


def _text(tag: str, sentence: str) -> Summary:
    """Return the summary of a sentence, in which TensorBoard finds no Markdown: it shows texts as Markdown."""
    return text(tag, markdown.as_paragraph(markdown.escape(printable(sentence))))


def _picture_of_file(folder: Path, line: ImageLine) -> Summary.Value:
    """Return the summary value of a picture of a run. Raises DataError if it is no PNG or JPEG, or too large."""
    content = contained.read_bytes(folder, line.file, MAX_PICTURE_BYTES)
    try:
        return _picture(line.tag, content)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise DataError(
            _("{path} is not a PNG or JPEG file.", path=folder / line.file), _("Restore it from a copy, or remove it.")
        ) from None


def _picture(tag: str, encoded: bytes) -> Summary.Value:
    """Return the summary value of an encoded image."""
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
        width, height = image.size
    image_value = Summary.Image(encoded_image_string=encoded, width=width, height=height, colorspace=3)
    return Summary.Value(tag=tag, image=image_value)


def _histogram(value: Histogram) -> HistogramProto:
    low, high = value.low, value.high
    if low == high:  # one value: use the narrowest bin that contains it
        high = float(np.nextafter(np.float32(low), np.float32(np.inf)))
    return HistogramProto(
        min=low,
        max=high,
        num=value.n,
        sum=value.sum,
        sum_squares=value.sum_squares,
        bucket_limit=np.linspace(low, high, len(value.counts) + 1)[1:].tolist(),
        bucket=value.counts,
    )


def _class_names(folder: Path) -> list[str]:
    """Return the class names of the run's plan, or an empty list without a plan."""
    return list(read_plan_file(folder).plan.facts.class_names) if (folder / PLAN_FILE).exists() else []


def rebuild_event_file(
    folder: Path, settings: Mapping[str, Hyperparameter], lines: Iterable[Line] | None = None
) -> TensorBoard:
    """Replace a run's event files by one that is written from its record.

    Args:
        folder: The run's folder.
        settings: Hyperparameters; see `TensorBoard`.
        lines: Lines to write instead of the record's.

    Returns:
        The open writer.

    Raises:
        DataError: The record cannot be read. The old event files stay then.
    """
    old_files = event_files(folder)
    writer = TensorBoard(folder, settings)
    try:
        for line in lines if lines is not None else read_lines(folder / "metrics.jsonl"):
            writer.write(line)
    except BaseException:
        writer.close()
        contained.remove(folder, writer.name)
        raise
    writer.flush()
    retire_event_files(folder, old_files)
    return writer


def add_test(folder: Path, lines: Iterable[Line]) -> None:
    """Add the results of a run on test to its event files, which do not have them: its study has its verdict now.

    The points are those of `rebuild_event_file`. Their file is read after the last one, and has its name with a suffix.

    Args:
        folder: The run's folder.
        lines: The record of the run.
    """
    name = max(event_files(folder, empty=False), default="")
    if not name or has_test_file(folder):
        return
    now, end = 0.0, None
    for line in lines:
        now = line.time if isinstance(line, TimedLine) else now
        end = line if isinstance(line, EndLine) else end
    if end is None or end.test is None:
        return
    shown = {tag for tag, _unused in scalars(end.without_test)}
    values = [Summary.Value(tag=tag, simple_value=_number(value)) for tag, value in scalars(end) if tag not in shown]
    values.append(_confusion("confusion/test", end.test.confusion, _class_names(folder)))
    with contained.new_file(folder, name + TEST_SUFFIX, sync=False) as file:
        for event in (
            Event(wall_time=now, step=0, file_version="brain.Event:2"),
            Event(wall_time=now, step=end.step, summary=Summary(value=values)),
        ):
            file.write(framed(event.SerializeToString()))


def retire_event_files(folder: Path, names: Iterable[str] | None = None) -> None:
    """Empty event files that others replace; files that are already empty, and links, are removed.

    Without its fast loader, TensorBoard fails on a file that is removed while it reads it, and shows nothing new until
    it is restarted. A file with another name, such as that of a backup, is removed too: its content stays there.

    Args:
        folder: The folder of the files.
        names: Their names. Default: all event files in the folder.
    """
    for name in event_files(folder) if names is None else names:
        entry = contained.find(folder, name)
        if entry is None:
            continue
        if not entry.is_file or not entry.size:
            contained.remove(folder, name)
            continue
        with contained.open_file(folder, name, change=True) as file:
            has_other_names = os.fstat(file.fileno()).st_nlink > 1
            if not has_other_names:
                file.truncate(0)
        if has_other_names:
            contained.remove(folder, name)


def event_files(folder: Path, *, empty: bool = True) -> list[str]:
    """Return the names of the event files in a folder; without those that others replaced, unless `empty` is True."""
    named = (entry for entry in contained.entries(folder) if entry.name.startswith("events.out.tfevents."))
    return [entry.name for entry in named if empty or entry.size]


def has_test_file(folder: Path) -> bool:
    """Return whether a run has a file that `add_test` wrote."""
    return any(name.endswith(TEST_SUFFIX) for name in event_files(folder, empty=False))
