"""Select the scalars of a record line and their TensorBoard tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def scalars(line: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Yield (tag, value) of every scalar in one line of the record; None is a value that is not finite.

    All runs have the same tags, except tags of what a run does not have: gradients of frozen layers, a test result.
    """
    scalars_of_kind = _KINDS.get(line["kind"])
    return scalars_of_kind(line) if scalars_of_kind is not None else iter(())


def _step(line: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "loss/batch", line["loss"]
    for group, rate in line["lr"].items():
        yield f"lr/{group}", rate


def _epoch(line: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    for split in ("train", "val"):
        yield f"loss/{split}", line[split]["loss"]
        yield f"accuracy/{split}", line[split]["accuracy"]
    for name, value in line["speed"].items():
        yield f"speed/{name}", value


def _snapshot(line: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    for kind in ("gradient_norm", "update_ratio"):
        for layer, value in line[kind].items():
            yield f"{kind}/{layer}", value


def _probe(line: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    for kind in ("block_gradient_norm", "zero_activations", "dead_channels", "distance_from_init"):
        for layer, value in line[kind].items():
            yield f"{kind}/{layer}", value


def _end(line: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "accuracy/best", line["val"]["accuracy"]  # of the saved model, not of the last epoch
    if "test" in line:
        yield "loss/test", line["test"]["loss"]
        yield "accuracy/test", line["test"]["accuracy"]


_KINDS = {"step": _step, "epoch": _epoch, "snapshot": _snapshot, "probe": _probe, "end": _end}
