"""Select the scalars of a record line and their TensorBoard tags."""

from __future__ import annotations

from collections.abc import Iterator

from headstart.storage.schemas.metrics import EndLine, EpochLine, Line, ProbeLine, SnapshotLine, StepLine


def scalars(line: Line) -> Iterator[tuple[str, float | None]]:
    """Yield (tag, value) of every scalar in one line of the record; None is a value that is not finite.

    All runs have the same tags, except tags of what a run does not have: gradients of frozen layers, a test result.
    """
    match line:
        case StepLine():
            yield from _step(line)
        case EpochLine():
            yield from _epoch(line)
        case SnapshotLine():
            yield from _snapshot(line)
        case ProbeLine():
            yield from _probe(line)
        case EndLine():
            yield from _end(line)


def _step(line: StepLine) -> Iterator[tuple[str, float | None]]:
    yield "loss/batch", line.loss
    for group, rate in line.lr.items():
        yield f"lr/{group}", rate


def _epoch(line: EpochLine) -> Iterator[tuple[str, float | None]]:
    for split, score in (("train", line.train), ("val", line.val)):
        yield f"loss/{split}", score.loss
        yield f"accuracy/{split}", score.accuracy
    for name, value in line.speed:
        yield f"speed/{name}", value


def _snapshot(line: SnapshotLine) -> Iterator[tuple[str, float | None]]:
    for name, by_layer in (("gradient_norm", line.gradient_norm), ("update_ratio", line.update_ratio)):
        for layer, value in by_layer.items():
            yield f"{name}/{layer}", value


def _probe(line: ProbeLine) -> Iterator[tuple[str, float | None]]:
    for block, norm in line.block_gradient_norm.items():
        yield f"block_gradient_norm/{block}", norm
    for layer, share in line.zero_activations.items():
        yield f"zero_activations/{layer}", share
    for layer, share in line.dead_channels.items():
        yield f"dead_channels/{layer}", share
    for layer, distance in line.distance_from_init.items():
        yield f"distance_from_init/{layer}", distance


def _end(line: EndLine) -> Iterator[tuple[str, float | None]]:
    yield "accuracy/best", line.val.accuracy  # of the saved model, not of the last epoch
    if line.test is not None:
        yield "loss/test", line.test.loss
        yield "accuracy/test", line.test.accuracy
