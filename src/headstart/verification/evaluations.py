"""The evaluations of the compared runs in result.json: accuracy, its interval, and the loss, from the predictions."""

from __future__ import annotations

from collections.abc import Iterable

from headstart.verification.formulas import accuracy_interval
from headstart.verification.records import ClassifiedImages, RecordedRun
from headstart.verification.tree import Tree


def stated_evaluations(runs: Iterable[RecordedRun]) -> Tree:
    """Return the evaluations that the runs state, by the name of their folder."""
    return {run.folder.name: {split: _stated(run, split) for split in ("val", "test")} for run in runs}


def recomputed_evaluations(runs: Iterable[RecordedRun]) -> Tree:
    """Return the same from the predictions of the runs."""
    return {run.folder.name: {split: _recomputed(run.split(split)) for split in ("val", "test")} for run in runs}


def _stated(run: RecordedRun, split: str) -> Tree | None:
    evaluation = None if run.result is None else run.result.val if split == "val" else run.result.test
    if evaluation is None:
        return None
    content = evaluation.model_dump(mode="json", exclude={"confusion"})
    cells = zip(evaluation.confusion.true, evaluation.confusion.predicted, evaluation.confusion.counts, strict=True)
    return {**content, "confusion": {f"{a}>{b}": count for a, b, count in cells}}


def _recomputed(images: ClassifiedImages) -> Tree:
    correct, kept = images.correct, ~images.copies
    cells: dict[str, int] = {}
    for pair in sorted(zip(images.labels.tolist(), images.predicted.tolist(), strict=True)):
        name = "{}>{}".format(*pair)
        cells[name] = cells.get(name, 0) + 1
    without = None
    if images.copies.any():
        accuracy = float(correct[kept].mean()) if kept.any() else None
        without = {"copies": int(images.copies.sum()), "n": int(kept.sum()), "accuracy": accuracy}
    return {
        "loss": float(images.losses.mean()),
        "accuracy": float(correct.mean()),
        "n": len(correct),
        "units": len(set(images.units.tolist())),
        "correct": int(correct.sum()),
        "interval": list(accuracy_interval(correct, images.units)),
        "confusion": cells,
        "without_copies": without,
    }
