"""TensorBoard as a view of the record: the same lines always give the same points.

Tags are the same in every run. `rebuild` makes the event file anew from `metrics.jsonl`: on resume, and to repair one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from headstart.record import read_lines

LAYOUT = {
    "train beside val": {
        "loss": ["Multiline", ["loss/train", "loss/val"]],
        "accuracy": ["Multiline", ["accuracy/train", "accuracy/val"]],
    },
    "learning rate": {"lr": ["Multiline", ["lr/head", "lr/trunk"]]},
}


class TensorBoard:
    """Writes lines of a record as TensorBoard events into a run folder."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """`settings` are the hyper-parameters: the full set of keys, the same in every run."""
        self.folder = folder
        # purge_step tells a TensorBoard that is already looking to forget what it has read of this run
        self._writer = SummaryWriter(str(folder), purge_step=0, flush_secs=5)
        self._writer.add_custom_scalars(LAYOUT)
        metrics = {"accuracy/val": None, "loss/val": None, "accuracy/test": None}
        plain = {k: v if isinstance(v, (bool, int, float)) else str(v) for k, v in settings.items()}
        for summary in hparams(plain, metrics):
            self._writer._get_file_writer().add_summary(summary)

    def write(self, line: dict[str, Any]) -> None:
        """Write one line of the record; kinds without a picture are passed over."""
        writer = getattr(self, f"_{line['kind']}", None)
        if writer is not None:
            writer(line["step"], line)

    def _step(self, step: int, line: dict[str, Any]) -> None:
        self._writer.add_scalar("loss/batch", line["loss"], step)
        for group, rate in line["lr"].items():
            self._writer.add_scalar(f"lr/{group}", rate, step)

    def _epoch(self, step: int, line: dict[str, Any]) -> None:
        for split in ("train", "val"):
            self._writer.add_scalar(f"loss/{split}", line[split]["loss"], step)
            self._writer.add_scalar(f"accuracy/{split}", line[split]["accuracy"], step)
        for name, value in line["speed"].items():
            self._writer.add_scalar(f"speed/{name}", value, step)
        self._confusion_image("confusion/val", line["confusion"], step)

    def _look(self, step: int, line: dict[str, Any]) -> None:
        for kind in ("weights", "gradients"):
            for layer, histogram in line[kind].items():
                self._histogram(f"{kind}/{layer}", histogram, step)
        for kind in ("gradient_norm", "ratio"):
            for layer, value in line[kind].items():
                self._writer.add_scalar(f"{kind}/{layer}", value, step)

    def _image(self, step: int, line: dict[str, Any]) -> None:
        path = self.folder / line["file"]
        if path.exists():
            with Image.open(path, formats=("PNG",)) as image:
                self._writer.add_image(line["tag"], np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def _proof(self, step: int, line: dict[str, Any]) -> None:
        self._writer.add_text("proof of freeze", line["sentence"], step)

    def _end(self, step: int, line: dict[str, Any]) -> None:
        if "test" in line:
            self._writer.add_scalar("loss/test", line["test"]["loss"], step)
            self._writer.add_scalar("accuracy/test", line["test"]["accuracy"], step)
            self._confusion_image("confusion/test", line["test"]["confusion"], step)

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
        )

    def _confusion_image(self, tag: str, counts: list[list[int]], step: int) -> None:
        self._writer.add_image(tag, confusion_picture(np.array(counts)), step, dataformats="HWC")

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


def confusion_picture(counts: np.ndarray) -> np.ndarray:
    """A confusion matrix [true, predicted] as an RGB picture: darker blue is a larger share of its row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    paper, ink = np.array([255.0, 255.0, 255.0]), np.array([0.0, 114.0, 178.0])
    colours = paper + (ink - paper) * shares[..., None]
    cell = max(8, 256 // len(counts))
    return np.kron(colours, np.ones((cell, cell, 1))).round().astype(np.uint8)


def rebuild(folder: Path, settings: dict[str, Any], lines: Iterable[dict[str, Any]] | None = None) -> TensorBoard:
    """Replace a run's event files by what its record says; returns the writer, ready for more."""
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    board = TensorBoard(folder, settings)
    for line in lines if lines is not None else read_lines(folder / "metrics.jsonl"):
        board.write(line)
    board.flush()
    return board
