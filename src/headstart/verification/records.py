"""Read the runs of a study: plans, results, epochs and predictions, all under their seals."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from headstart.errors import DataError
from headstart.i18n import _
from headstart.storage import contained, repair, seals
from headstart.storage.arrays import read_npz
from headstart.storage.bounds import MAX_INTEGER
from headstart.storage.journal import read_lines
from headstart.storage.run_files import PREDICTIONS_FILE, RECORD_FILE
from headstart.storage.schemas.metrics import EpochLine
from headstart.storage.schemas.result import RESULT_FILE, RunResult, RunState
from headstart.storage.schemas.schema import Count, Positive, Schema, VersionedSchema
from headstart.storage.schemas.split_counts import SplitCounts
from headstart.storage.schemas.study import RunRole, Stage

Values = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
_MAX_PREDICTIONS_BYTES = 4_000_000_000
_BLOCK_IMAGES = 10_000  # whose logits are computed with at once


class _Part(Schema):
    """A part of a plan of which only some fields are read."""

    model_config = ConfigDict(extra="ignore")


class _Arm(_Part):
    tuning: str


class RecordedRecipe(_Part):
    """What a verdict uses of a recipe."""

    lr: Positive
    epochs: str
    head_epochs: str
    batch_size: int = Field(ge=1)
    mixup: Positive
    cutmix: Positive
    ema: Positive
    crop: float | str
    jitter: Positive
    select: str


class _Seeding(_Part):
    seed: Count


class _Facts(_Part):
    fingerprint: str
    class_names: list[str]
    split_counts: SplitCounts


class RecordedPlan(_Part):
    """What a verdict uses of the plan of a run."""

    arm: _Arm
    recipe: RecordedRecipe
    seeding: _Seeding
    facts: _Facts


class _PlanFile(VersionedSchema):
    """Content of plan.json. What the seal covers of it is all but the plan, for which its hash stands."""

    hash: str
    plan: RecordedPlan
    environment: dict[str, str | int]
    study: RunRole | None = None
    reused_from: str | None = None
    of_others: bool = False


@dataclass(frozen=True)
class ClassifiedImages:
    """The images of one split as a run classified them: labels, predictions, copies, units and losses, [m].

    `names` is a hash of their names in order.
    """

    names: str
    labels: Numbers
    predicted: Numbers
    copies: npt.NDArray[np.bool_]
    units: Numbers
    losses: Values

    @cached_property
    def correct(self) -> Values:
        """1 for each image whose prediction is its label, else 0."""
        return np.asarray(self.predicted == self.labels, np.float64)


@dataclass(frozen=True)
class RecordedRun:
    """One run of a study."""

    folder: Path
    plan: RecordedPlan
    role: RunRole
    of_others: bool
    result: RunResult | None
    epochs: tuple[EpochLine, ...]

    @property
    def variant(self) -> str:
        """Name of its arm."""
        return self.role.variant

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.plan.seeding.seed

    @property
    def rate(self) -> float:
        """Its learning rate."""
        return self.plan.recipe.lr

    @property
    def condition(self) -> tuple[str, float]:
        """Budget and fraction of the training images."""
        return self.role.budget, self.role.fraction

    @property
    def state(self) -> RunState:
        """Its state."""
        return RunState.UNFINISHED if self.result is None else self.result.state

    @property
    def seconds(self) -> float:
        """Seconds of training and validation."""
        return seconds(self.epochs)

    @property
    def images(self) -> int:
        """Training images, each counted as often as used."""
        return images(self.epochs, self.plan.recipe.batch_size)

    @cached_property
    def best(self) -> EpochLine | None:
        """The epoch with the highest metric on val; of equal ones that with the lowest loss, then the first."""
        select = self.plan.recipe.select
        return max(self.epochs, key=lambda line: (score(line, select), -line.val.loss), default=None)

    def split(self, name: str) -> ClassifiedImages:
        """Return the images of val or test. Raises DataError if the predictions are missing or damaged."""
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, ClassifiedImages]:
        """Both splits; the logits are not kept."""
        try:
            if self.result is not None:
                seals.require_file(self.folder, self.result.seal, PREDICTIONS_FILE)
            arrays = read_npz(self.folder, PREDICTIONS_FILE, _MAX_PREDICTIONS_BYTES)
            return {split: _images(arrays, split) for split in ("val", "test")}
        except (OSError, KeyError, ValueError, IndexError, TypeError):
            path = self.folder / PREDICTIONS_FILE
            raise DataError(_("{path} is damaged or missing.", path=path), repair.run_hint(self.folder)) from None


def seconds(epochs: Iterable[EpochLine]) -> float:
    """Return the seconds of training and validation of some epochs."""
    total = 0.0
    for line in epochs:
        total += line.speed.train_seconds + line.speed.val_seconds
    return round(total, 3)


def images(epochs: tuple[EpochLine, ...], batch_size: int) -> int:
    """Return the training images of the first epochs, each counted as often as used."""
    return min(epochs[-1].step * batch_size, MAX_INTEGER) if epochs else 0


def score(line: EpochLine, metric: str) -> float:
    """Return a metric of an epoch on val from its confusion counts: accuracy, or the mean accuracy of the classes.

    Raises:
        ValueError: It is another metric.
    """
    totals, correct = dict[int, int](), dict[int, int]()  # by true class
    counts = line.confusion
    for true, predicted, count in zip(counts.true, counts.predicted, counts.counts, strict=True):
        totals[true] = totals.get(true, 0) + count
        correct[true] = correct.get(true, 0) + (count if true == predicted else 0)
    if metric == "accuracy":
        return sum(correct.values()) / sum(totals.values())
    if metric == "balanced":
        return sum(correct[true] / total for true, total in totals.items()) / len(totals)
    raise ValueError(metric)


def read_runs(study: Path, part: str = "") -> list[RecordedRun]:
    """Return the runs in a part of a study, in the order of their names; there are none if it does not exist.

    Raises:
        DataError: A run is damaged, or is none of a study.
        BrokenSealError: A file of a run has changed since it ended.
    """
    if part and not contained.is_folder(study, part):
        return []
    names = [contained.join(part, entry.name) for entry in contained.entries(study, part) if entry.is_folder]
    return [_read_run(study, name) for name in names if contained.is_file(study, f"{name}/plan.json")]


def compared_runs(runs: Iterable[RecordedRun]) -> list[RecordedRun]:
    """Return the runs of the comparison that have ended.

    Raises:
        DataError: Two of them have the same arm, seed, budget and fraction.
    """
    compared = [run for run in runs if run.role.stage is Stage.MAIN and run.result is not None]
    by_role: dict[tuple[object, ...], RecordedRun] = {}
    for run in compared:
        other = by_role.setdefault((run.variant, run.condition, run.seed), run)
        if other is not run:
            raise DataError(
                _("{folder} and {other} have the same role.", folder=run.folder, other=other.folder.name),
                _("Remove the one that does not belong to the study."),
            )
    return compared


def _read_run(study: Path, name: str) -> RecordedRun:
    folder = study / name
    content = _PlanFile.read(folder / "plan.json", repair.plan_hint(folder), root=study)
    if content.study is None:
        raise DataError(_("{folder} belongs to no study.", folder=folder), _("Move it out of the folder of the study."))
    result = None
    if contained.is_file(study, f"{name}/{RESULT_FILE}"):
        result = RunResult.read(folder / RESULT_FILE, repair.run_hint(folder), root=study)
        sealed = content.model_dump(mode="json", exclude={"plan"}, exclude_defaults=True)
        seals.require_result(folder, result, sealed)
        seals.require_file(folder, result.seal, RECORD_FILE)
    lines = read_lines(folder / RECORD_FILE)
    epochs = tuple(line for line in lines if isinstance(line, EpochLine))
    return RecordedRun(folder, content.plan, content.study, content.of_others, result, epochs)


def _images(arrays: dict[str, npt.NDArray[Any]], split: str) -> ClassifiedImages:
    """Return the images of a split. Raises KeyError, ValueError, IndexError and TypeError for other arrays."""
    rows = arrays["split"] == split
    label = arrays["label"][rows].astype(np.int64)
    if "logits" in arrays:
        predicted, losses = _of_logits(arrays["logits"], np.flatnonzero(rows), label)
    else:  # only the largest logits of many classes, the predicted class first
        predicted = arrays["top_classes"][rows][:, 0].astype(np.int64)
        losses = (arrays["top_log_sum_exp"][rows] - arrays["top_label_logits"][rows]).astype(np.float64)
    names = hashlib.sha256("\0".join(map(str, arrays["image"][rows])).encode()).hexdigest()
    _unused, first, unit = np.unique(arrays["unit"][rows], return_index=True, return_inverse=True)
    units = np.argsort(np.argsort(first))[unit].astype(np.int64)  # numbered in the order of appearance
    copies = arrays["copy"][rows].astype(np.bool_)
    if any(array.shape != label.shape for array in (predicted, units, copies, losses)) or label.ndim != 1:
        raise ValueError("the arrays have different lengths")
    return ClassifiedImages(names, label, predicted, copies, units, losses)


def _of_logits(logits: npt.NDArray[Any], rows: Numbers, label: Numbers) -> tuple[Numbers, Values]:
    """Return the predicted class and the cross-entropy of some rows of logits [images, classes], block by block."""
    predicted, losses = np.zeros(len(rows), np.int64), np.zeros(len(rows))
    for begin in range(0, len(rows), _BLOCK_IMAGES):
        block = slice(begin, begin + _BLOCK_IMAGES)
        values = logits[rows[block]].astype(np.float64)
        largest = values.max(axis=1)
        sums = largest + np.log(np.exp(values - largest[:, None]).sum(axis=1))
        predicted[block] = values.argmax(axis=1)
        losses[block] = sums - values[np.arange(len(values)), label[block]]
    return predicted, losses
