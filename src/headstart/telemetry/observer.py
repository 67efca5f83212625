"""From events to lines of the record. An observer reads; it never writes into what it watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from headstart.telemetry.cadence import is_due, probe_is_due
from headstart.telemetry.tensor_stats import TensorSnapshot
from headstart.training.events import Backward, Epoch, Event, FreezeCheck, Step
from headstart.training.scoring import confusion, score_line


class Observer:
    """Turns the events of one run into lines for `metrics.jsonl`."""

    def __init__(
        self,
        layers: list[str],
        *,
        labels: np.ndarray,
        steps_per_epoch: int,
        total: int,
        flops: tuple[float, ...],
        peak: float,
        batch_size: int = 1,
        probe: Callable[[int, int], dict[str, Any]] | None = None,
    ) -> None:
        """`labels` are those of the val split [n]; `flops` of a training photo per phase; `peak` in FLOP/s.

        `probe` makes a line of (step, epoch); when it is asked, `when.probe_is_due` says.
        """
        self._layers = layers
        self._labels = labels
        self._due = lambda step: is_due(step, steps_per_epoch, total)
        self._probe_due = lambda step: probe_is_due(step, steps_per_epoch, total, batch_size)
        self._flops, self._peak, self._probe = flops, peak, probe
        self._look: TensorSnapshot | None = None

    def lines(self, event: Event) -> Iterator[dict[str, Any]]:
        """The lines that `event` gives rise to; none for most."""
        if isinstance(event, Backward):
            if self._due(event.step):
                self._look = TensorSnapshot(event.network, self._layers)
                self._look.gradients()
        elif isinstance(event, Step):
            yield {
                "kind": "step",
                "step": event.step,
                "epoch": event.epoch,
                "loss": event.loss,
                "lr": event.rates,
                "time": _now(),
            }
            if self._look is not None:
                self._look.weights()
                yield {"kind": "snapshot", "step": event.step, "epoch": event.epoch, **self._look.lines}
                self._look = None
            if self._probe is not None and self._probe_due(event.step):
                yield self._probe(event.step, event.epoch)
        elif isinstance(event, FreezeCheck):
            yield proof_line(event)
        elif isinstance(event, Epoch):
            yield self._epoch(event)

    def _epoch(self, event: Epoch) -> dict[str, Any]:
        seconds = event.train_seconds or float("inf")
        done = sum(self._flops[phase] * count for phase, count in event.images.items())
        return {
            "kind": "epoch",
            "step": event.step,
            "epoch": event.epoch,
            "train": score_line(event.train),
            "val": score_line(event.val),
            "lr": event.rates,
            "best": event.best,
            "confusion": confusion(event.val, self._labels),
            "speed": {
                "images_per_second": sum(event.images.values()) / seconds,
                "mfu": done / seconds / self._peak,
                "train_seconds": event.train_seconds,
                "val_seconds": event.val_seconds,
            },
            "time": _now(),
        }


def _now() -> float:
    """Seconds since 1970, to the millisecond."""
    return round(time.time(), 3)


def proof_line(event: FreezeCheck) -> dict[str, Any]:
    """The line of a record that proves a freeze."""
    return {"kind": "proof", **asdict(event), "sentence": proof_sentence(event)}


def proof_sentence(event: FreezeCheck) -> str:
    """What the run says when a phase with frozen parts ends."""
    return (
        f"Frozen means frozen: in the phase {event.phase} all but {event.trained} tensors were frozen, and their "
        f"sha256, BatchNorm statistics included, is {event.before[:12]} before and {event.after[:12]} after."
    )


def epoch_sentence(line: dict[str, Any], epochs: int) -> str:
    """The terminal's line for one epoch of the record (`kind` epoch)."""
    train, val, speed = line["train"], line["val"], line["speed"]
    rates = " ".join(f"{rate:.3g}" for rate in dict.fromkeys(line["lr"].values()))
    best = "  best so far, model saved" if line["best"] else ""
    return (
        f"epoch {line['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  train {100 * train['accuracy']:5.1f} % loss {train['loss']:.3f}"
        f"  val {100 * val['accuracy']:5.1f} % loss {val['loss']:.3f}"
        f"  lr {rates}  {speed['images_per_second']:.0f} images/s  MFU {100 * speed['mfu']:.0f} %{best}"
    )
