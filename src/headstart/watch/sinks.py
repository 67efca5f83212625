"""TensorBoard as a view of the record: the same lines always give the same points, at the same times.

Which scalars there are, `scalars` says. `rebuild` makes the event file anew from `metrics.jsonl`: on resume, and to
repair one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from headstart.record import read_json, read_lines
from headstart.watch.pictures import confusion_picture
from headstart.watch.scalars import scalars

LAYOUT = {
    "train beside val": {
        "loss": ["Multiline", ["loss/train", "loss/val"]],
        "accuracy": ["Multiline", ["accuracy/train", "accuracy/val"]],
    },
    "learning rate": {"lr": ["Multiline", ["lr/head", "lr/trunk"]]},
}
METRICS = ("accuracy/best", "accuracy/test", "accuracy/val", "loss/val")  # beside the hyper-parameters


class TensorBoard:
    """Writes lines of a record as TensorBoard events into a run folder."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """`settings` are the hyper-parameters: the full set of keys, the same in every run."""
        self.folder = folder
        self._classes = _class_names(folder)
        self._time: float | None = None  # of the last line that has one; later lines happened just after it
        # purge_step tells a TensorBoard that is already looking to forget what it has read of this run
        self._writer = SummaryWriter(str(folder), purge_step=0, flush_secs=5)
        self._writer.add_custom_scalars(LAYOUT)
        plain = {name: _plain(value) for name, value in settings.items()}
        experiment, begin, self._success = hparams(plain, dict.fromkeys(METRICS))
        self._add_summary(experiment)
        self._add_summary(begin)

    def write(self, line: dict[str, Any]) -> None:
        """Write one line of the record; kinds that TensorBoard has no place for are passed over."""
        self._time = line.get("time", self._time)
        for tag, value in scalars(line):
            self._scalar(tag, value, line["step"])
        writer = getattr(self, f"_{line['kind']}", None)
        if writer is not None:
            writer(line["step"], line)

    def _epoch(self, step: int, line: dict[str, Any]) -> None:
        self._confusion("confusion/val", line["confusion"], step)

    def _look(self, step: int, line: dict[str, Any]) -> None:
        for kind in ("weights", "gradients"):
            for layer, histogram in line[kind].items():
                self._histogram(f"{kind}/{layer}", histogram, step)

    def _image(self, step: int, line: dict[str, Any]) -> None:
        path = self.folder / line["file"]
        if path.exists():
            with Image.open(path, formats=("PNG",)) as image:
                self._picture(line["tag"], np.asarray(image.convert("RGB")), step)

    def _proof(self, step: int, line: dict[str, Any]) -> None:
        self._writer.add_text("proof of freeze", line["sentence"], step, self._time)

    def _end(self, step: int, line: dict[str, Any]) -> None:
        if "test" in line:
            self._confusion("confusion/test", line["test"]["confusion"], step)
        self._add_summary(self._success)  # until then TensorBoard's table of runs calls its status unknown

    def _add_summary(self, summary: Any) -> None:
        self._writer._get_file_writer().add_summary(summary, walltime=self._time)

    def _scalar(self, tag: str, value: float | None, step: int) -> None:
        """A point; None, which is the record's word for a value that is not finite, becomes TensorBoard's NaN mark."""
        self._writer.add_scalar(tag, float("nan") if value is None else value, step, self._time)

    def _picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        self._writer.add_image(tag, picture, step, self._time, dataformats="HWC")

    def _confusion(self, tag: str, counts: list[list[int]], step: int) -> None:
        self._picture(tag, confusion_picture(np.array(counts), self._classes), step)

    def _histogram(self, tag: str, value: dict[str, Any], step: int) -> None:
        if not value["counts"]:
            return
        low, high = value["low"], value["high"]
        if low == high:  # one value: a bin of the smallest width that holds it
            high = float(np.nextafter(np.float32(low), np.float32(np.inf)))
        limits = np.linspace(low, high, len(value["counts"]) + 1)[1:]
        self._writer.add_histogram_raw(
            tag,
            min=low,
            max=high,
            num=value["n"],
            sum=value["sum"],
            sum_squares=value["sum_squares"],
            bucket_limits=limits.tolist(),
            bucket_counts=value["counts"],
            global_step=step,
            walltime=self._time,
        )

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(value: Any) -> int | float | str:
    """A setting as TensorBoard's table shows it; a bool would become a number there."""
    if isinstance(value, (list, tuple)):
        return ", ".join(str(part) for part in value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _class_names(folder: Path) -> list[str]:
    """As the run's plan has them; none where there is no plan (yet)."""
    if not (folder / "plan.json").exists():
        return []
    names: list[str] = read_json(folder / "plan.json")["plan"]["facts"]["class_names"]
    return names


def rebuild(folder: Path, settings: dict[str, Any], lines: Iterable[dict[str, Any]] | None = None) -> TensorBoard:
    """Replace a run's event files by what its record says; returns the writer, ready for more."""
    retire(folder.glob("events.out.tfevents.*"))
    board = TensorBoard(folder, settings)
    for line in lines if lines is not None else read_lines(folder / "metrics.jsonl"):
        board.write(line)
    board.flush()
    return board


def retire(files: Iterable[Path]) -> None:
    """Take event files away that others replace: they are emptied, and removed the next time.

    Where TensorBoard's fast loader is missing, one that is reading a file would stumble over one that has vanished, and
    show nothing new until it is started again.
    """
    for old in files:
        if old.stat().st_size:
            os.truncate(old, 0)
        else:
            old.unlink()
