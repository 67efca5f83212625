"""Evaluate a saved model on labeled images: accuracy with its interval, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from headstart.analysis.wording import in_groups, score_note
from headstart.artifacts.predictions import evaluation, score_without_copies
from headstart.config.flag_words import flag_text
from headstart.config.run_config import DataConfig
from headstart.data import pixel_store
from headstart.data.dataset import left_out_note
from headstart.data.image_index import ImageIndex, several_names_hint
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, UsageError
from headstart.hardware.cpu import usable_cores
from headstart.i18n import Message, _, ngettext, verbatim
from headstart.inference import open_study
from headstart.inference.evaluation_data import (
    EvaluationData,
    OpenStore,
    has_copy,
    match_training_data,
    read_named,
    split_of_training,
    unit_numbers,
    with_near_duplicates,
)
from headstart.inference.predictor import INFERENCE_BATCH_SIZE, Predictor
from headstart.inference.training_data import (
    changed_error,
    read_training_images,
    require_plan,
    training_plan,
    with_options,
)
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.printable import printable
from headstart.reporter import Reporter
from headstart.storage.schemas.metrics import Evaluation
from headstart.text import join_first, replacement_hint
from headstart.training.scoring import Score, Scorer

SPLITS = ("auto", "train", "val", "test", "all")
SPLIT_NOTES = {  # of the data that the model was trained on
    "test": _("not used in training or model selection"),
    "val": _("also used for model selection"),
    "train": _("used in training"),
    "all": _("including training images: the accuracy is too high"),
}
MAX_MATRIX_CLASSES = 20  # with more classes, the most confused pairs are listed instead of a matrix
LISTED_NAMES, LISTED_PAIRS = 10, 10


class ModelEvaluation(Evaluation):
    """Result of a model on labeled images.

    Examples:
        >>> evaluation = run.evaluate(split="val")
        >>> evaluation.n, evaluation.classes
        (54, ('0', '1'))
        >>> evaluation.interval[0] <= evaluation.accuracy <= evaluation.interval[1]
        True
    """

    split: str = Field(description="name of the evaluated split")
    own: bool = Field(description="whether the data is the one that the model was trained on")
    classes: tuple[str, ...] = Field(description="class names, in the order of the confusion counts")


@dataclass(frozen=True)
class _EvaluationSet:
    """Images to evaluate on: rows of an index, with the name of their split and the number of each row's unit.

    `has_copy` says for each row whether the model has seen a copy of the image; None if that is unknown.
    """

    data: EvaluationData
    rows: np.ndarray
    name: str
    units: npt.NDArray[np.int64]
    has_copy: npt.NDArray[np.bool_] | None = None


def evaluate(
    model: str | Path,
    source: str | None,
    reporter: Reporter,
    *,
    split: str = "auto",
    classes: Sequence[str] = (),
    skip_bad: bool = False,
    allow_outside: bool = False,
    table: TableOptions | None = None,
    device: str | int = "cpu",
    look_at_test: bool = False,
) -> ModelEvaluation:
    """Evaluate a model on labeled images.

    Args:
        model: A run, a model folder or a folder of runs.
        source: Name or path of the data. None: the data of the run, read as in its training.
        reporter: Reports progress and notes.
        split: train, val, test, all or auto: the evaluation split of the run if `source` is its data; else the test
            split if the data declares one; else all images.
        classes: Evaluate on images of these classes only.
        skip_bad: Leave out images that cannot be decoded.
        allow_outside: Allow files outside the folder of the data.
        table: How a table is read. Without options: as in the training, but for columns that the table does not have.
        device: Where the model runs: cpu, cuda, cuda:N or N, mps, or auto.
        look_at_test: Evaluate a model of a study without a verdict on its test images, which the ledger then says.

    Raises:
        ModelFileError: There is no usable model.
        DataError: The data cannot be read, or does not match the model, or the data of the run has changed.
        UsageError: A split, a class or the device does not exist, or the model is of a study without a verdict.
    """
    _require_split(split)
    predictor = Predictor(model, device)
    plan, options = training_plan(predictor.folder), table or TableOptions()
    settings = plan.data if plan is not None else None
    if source is None:
        plan = require_plan(plan, predictor.path)
        own = with_options(plan.data, options, skip_bad=skip_bad, allow_outside=allow_outside)
        index, skip_bad = read_training_images(own, predictor.path), own.skip_bad
    else:
        index = read_named(source, predictor.classes, settings, options, allow_outside=allow_outside)
    open_store = partial(
        pixel_store.open_store,
        side=predictor.model.cache_side,
        skip_bad=skip_bad,
        progress=partial(reporter.progress, _("decoding images")),
        threads=usable_cores(),
        conversion=predictor.model.conversion,
    )
    _require_classes(predictor, index, classes)
    fingerprint = predictor.model.config.headstart.data.fingerprint
    data = match_training_data(index, predictor.classes, fingerprint, open_store if skip_bad else None)
    if source is None and plan is not None and not data.own:
        raise changed_error(data.index, plan.facts, predictor.path)
    evaluation_set = _evaluation_set(predictor, data, split, classes, settings, reporter)
    chosen = (evaluation_set.data, evaluation_set.name, evaluation_set.rows)
    open_study.require_verdict(predictor.folder, *chosen, reporter, look_at_test=look_at_test)
    for note in filter(None, [predictor.selection_note, *index.notes, *_notes(evaluation_set)]):
        reporter.say(note)
    return _evaluate(predictor, evaluation_set, open_store, reporter)


def _evaluate(
    predictor: Predictor, evaluation_set: _EvaluationSet, open_store: OpenStore, reporter: Reporter
) -> ModelEvaluation:
    """Return the result of the model on a set of images."""
    index, rows = evaluation_set.data.index, evaluation_set.rows
    store = open_store(index, evaluation_set.data.content_hashes)
    number = {name: i for i, name in enumerate(predictor.classes)}
    model_classes = np.array([number.get(name, -1) for name in index.classes])  # -1: not evaluated
    labels, copies = model_classes[index.labels[rows]], evaluation_set.has_copy
    score = _score(predictor, store, rows, Scorer(labels, keep=copies is not None), reporter)
    without_copies = None if copies is None else score_without_copies(score, labels, copies)
    result = evaluation(score, evaluation_set.units).model_copy(update={"without_copies": without_copies})
    return ModelEvaluation(
        **dict(result), split=evaluation_set.name, own=evaluation_set.data.own, classes=predictor.classes
    )


def _require_split(split: str) -> None:
    if split not in SPLITS:
        raise UsageError(
            _("There is no split {split!r}.", split=split), _("Choose one of {splits}.", splits=", ".join(SPLITS))
        )


def _score(
    predictor: Predictor, store: pixel_store.PixelStore, rows: np.ndarray, scorer: Scorer, reporter: Reporter
) -> Score:
    """Return the score of the model on these rows of the store, of which the scorer has the labels."""
    for begin in range(0, len(rows), INFERENCE_BATCH_SIZE):
        scorer.add(predictor.logits([store[int(i)] for i in rows[begin : begin + INFERENCE_BATCH_SIZE]]))
        reporter.progress(_("evaluating"), min(begin + INFERENCE_BATCH_SIZE, len(rows)), len(rows))
    return scorer.score()


def _evaluation_set(
    predictor: Predictor,
    data: EvaluationData,
    split: str,
    classes: Sequence[str],
    settings: DataConfig | None,
    reporter: Reporter,
) -> _EvaluationSet:
    """Select the images."""
    index, own, copies = data.index, data.own, None
    _reject_unknown_classes(predictor, index, classes)
    training_data = predictor.model.config.headstart.data
    if own and split != "all":
        data = with_near_duplicates(data, training_data, reporter)
        run_split = split_of_training(data, training_data)
        name = run_split.evaluation if split == "auto" else split
        rows = getattr(run_split, name)
        copies = has_copy(data, run_split, settings, reporter) if name != "train" else None
    else:
        name, rows = _declared_split(index, split)
    if classes:
        selected = set(classes)
        rows = rows[np.array([name in selected for name in index.classes])[index.labels[rows]]]
    if not len(rows):
        raise DataError(
            _("There are no {split} images in {source}.", split=name, source=index.source),
            _("Choose another --split, for example all."),
        )
    units = unit_numbers(data, settings, reporter)[rows]
    if own:
        return _EvaluationSet(data, rows, name, units, None if copies is None else copies[rows])
    subset = index.without(set(range(len(index))) - set(rows.tolist()))
    hashes = [data.content_hashes[i] for i in rows]
    return _EvaluationSet(replace(data, index=subset, content_hashes=hashes), np.arange(len(subset)), name, units)


def _require_classes(predictor: Predictor, index: ImageIndex, classes: Sequence[str]) -> None:
    """Raise UsageError if the data or the model does not have one of the classes."""
    in_data = set(index.classes)
    in_both = in_data & set(predictor.classes)
    for name in classes:
        if name in in_both:
            continue
        available, message = predictor.classes, _("There is no class {name!r} in the model.", name=name)
        if name not in in_data:
            available = index.classes
            message = _("There is no class {name!r} in {source}.", name=name, source=index.source)
        hint = _("Choose from {classes}.", classes=join_first(available, LISTED_NAMES))
        raise UsageError(message, several_names_hint(name, available) or replacement_hint(name, available) or hint)


def _reject_unknown_classes(predictor: Predictor, index: ImageIndex, classes: Sequence[str]) -> None:
    """Raise DataError if the data has classes that the model does not have and no `classes` are selected."""
    known = set(predictor.classes)
    unknown = [name for name in index.classes if name not in known]
    shared = [name for name in index.classes if name in known]
    if unknown and not classes:
        raise DataError(
            _(
                "The data has classes that the model does not have: {unknown}. The model has {known}.",
                unknown=join_first(unknown, LISTED_NAMES),
                known=join_first(predictor.classes, LISTED_NAMES),
            ),
            _("Use {flags}.", flags=flag_text("classes", shared)) if shared else _("Name other data."),
        )


def _declared_split(index: ImageIndex, split: str) -> tuple[str, np.ndarray]:
    """Return the name and the rows of a split that the data declares, or of all images."""
    splits = np.array(index.splits)
    if split == "all" or (split == "auto" and not (splits == "test").any()):
        return "all", np.arange(len(index))
    if (splits == "").all():
        raise UsageError(
            _(
                "{source} declares no splits, and it is not the data that the model was trained on.",
                source=index.source,
            ),
            _("Leave --split out to evaluate on all images."),
        )
    return (name := "test" if split == "auto" else split), np.flatnonzero(splits == name)


def _notes(evaluation_set: _EvaluationSet) -> list[Message]:
    """Return notes on the images, which are reported before the result."""
    count, name, bad = len(evaluation_set.rows), evaluation_set.name, evaluation_set.data.bad
    notes = [left_out_note(bad, LISTED_NAMES)] if bad else []
    if evaluation_set.data.own:
        note = ngettext(
            "This is the data that the model was trained on. Evaluating on {count:,} image ({split}).",
            "This is the data that the model was trained on. Evaluating on {count:,} images ({split}).",
            count,
            split=name,
        )
    else:
        note = ngettext(
            "Evaluating on {count:,} image ({split}). This is not exactly the data that the model was trained on. "
            "If it contains training images, the accuracy is too high.",
            "Evaluating on {count:,} images ({split}). This is not exactly the data that the model was trained on. "
            "If it contains training images, the accuracy is too high.",
            count,
            split=name,
        )
    return [*notes, note]


def describe_evaluation(evaluation: ModelEvaluation) -> list[Message]:
    """Describe an evaluation: accuracy, then the confusion matrix or, with many classes, the most confused pairs.

    Args:
        evaluation: Return value of `evaluate`.

    Returns:
        Lines of text.
    """
    low, high = (100 * x for x in evaluation.interval)
    name = evaluation.split
    images = ngettext("{count:,} image", "{count:,} images", evaluation.n)
    is_known = evaluation.own and name in SPLIT_NOTES
    lines = [
        _(
            "Accuracy {accuracy:.1f} % on {images} ({split}), 95 % interval {low:.1f} to {high:.1f}.",
            images=in_groups(images, evaluation.n, evaluation.units),
            accuracy=100 * evaluation.accuracy,
            split=_("{split}, {note}", split=name, note=SPLIT_NOTES[name]) if is_known else name,
            low=low,
            high=high,
        ),
        *([copies] if (copies := score_note(evaluation)) is not None else []),
        verbatim(""),
    ]
    classes = [printable(name) for name in evaluation.classes]
    return lines + (_matrix if len(classes) <= MAX_MATRIX_CLASSES else _pairs)(classes, evaluation.confusion)


def _matrix(classes: Sequence[str], counts: ConfusionCounts) -> list[Message]:
    confusion = counts.block(range(len(classes))).tolist()
    corner = _("true \\ predicted")
    first = max(len(name) for name in (*classes, corner))
    widths = [2 + max(len(name), *(len(str(row[i])) for row in confusion)) for i, name in enumerate(classes)]
    cells = "".join(name.rjust(width) for name, width in zip(classes, widths, strict=True))
    lines = [Message("{corner:<{first}}{cells}", {"corner": corner, "first": first, "cells": cells})]
    for name, row in zip(classes, confusion, strict=True):
        cells = "".join(str(count).rjust(width) for count, width in zip(row, widths, strict=True))
        lines.append(verbatim(name.ljust(first) + cells))
    return lines


def _pairs(classes: Sequence[str], counts: ConfusionCounts) -> list[Message]:
    worst = counts.errors()[:LISTED_PAIRS]
    lines = [
        _("  {count:>5}  {true} predicted as {predicted}", count=times, true=classes[i], predicted=classes[j])
        for times, i, j in worst
    ]
    return [_("Most often confused:"), *lines] if lines else [_("No image was misclassified.")]
