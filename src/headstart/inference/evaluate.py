"""Evaluate a saved model on labeled images: accuracy with its interval, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from headstart.artifacts.predictions import evaluation
from headstart.config.flag_words import flag_text
from headstart.data import hashing, pixel_store, sources
from headstart.data.dataset import left_out_note
from headstart.data.image_index import ImageIndex, several_names_hint
from headstart.data.splits import divide
from headstart.data.tables.options import TableOptions
from headstart.errors import DataError, HeadstartError, UsageError
from headstart.hardware.devices import usable_cores
from headstart.i18n import Message, _, ngettext, verbatim
from headstart.inference.predictor import INFERENCE_BATCH_SIZE, Predictor
from headstart.inference.training_data import naming_data, require_data, training_data
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.reporter import Reporter
from headstart.storage.schemas.metrics import Evaluation
from headstart.text import join_first, printable, replacement_hint
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
    """Images to evaluate on: rows of an index, with the name of their split.

    `own` is True if the index is the data that the model was trained on. `bad` are the keys of images left out of it.
    """

    index: ImageIndex
    content_hashes: Sequence[str]
    rows: np.ndarray
    name: str
    own: bool
    bad: tuple[str, ...]


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
) -> ModelEvaluation:
    """Evaluate a model on labeled images.

    Args:
        model: A run, a model folder or a folder of runs.
        source: Name or path of the data. None: the data of the run, with all options of its plan.
        reporter: Reports progress and notes.
        split: train, val, test, all or auto. auto is the evaluation split of the run if `source` is the data that the
            model was trained on; else the test split if the data declares one; else all images.
        classes: Evaluate on images of these classes only.
        skip_bad: Leave out images that cannot be decoded.
        allow_outside: Allow files outside the folder of the data.
        table: How a table is read. Without options: as the plan of the run says, if that is possible.
        device: Where the model runs: cpu, cuda, cuda:N or N, mps, or auto.

    Raises:
        ModelFileError: There is no usable model.
        DataError: The data cannot be read, or does not match the model.
        UsageError: A split, a class or the device does not exist.
    """
    _require_split(split)
    predictor = Predictor(model, device)
    own = training_data(predictor.folder)
    known = naming_data(predictor.path) if source is None else nullcontext()
    if source is None:
        own = require_data(own, predictor.path)
        source, skip_bad, allow_outside = own.source, skip_bad or own.skip_bad, allow_outside or own.allow_outside
    open_store = partial(
        pixel_store.open_store,
        side=predictor.model.cache_side,
        skip_bad=skip_bad,
        progress=partial(reporter.progress, _("decoding images")),
        threads=usable_cores(),
        conversion=predictor.model.conversion,
    )
    read = partial(sources.read_evaluation_index, source, predictor.classes, allow_outside=allow_outside)
    with known:
        index = _read(read, table or TableOptions(), TableOptions() if own is None else TableOptions.of(own))
    evaluation_set = _evaluation_set(predictor, index, split, classes, open_store if skip_bad else None)
    for note in [predictor.selection_note, *index.notes, *_notes(evaluation_set)]:
        if note:
            reporter.say(note)
    store = open_store(evaluation_set.index, evaluation_set.content_hashes)
    number = {name: i for i, name in enumerate(predictor.classes)}
    model_classes = np.array([number.get(name, -1) for name in evaluation_set.index.classes])  # -1: not evaluated
    labels = model_classes[evaluation_set.index.labels[evaluation_set.rows]]
    result = evaluation(_score(predictor, store, evaluation_set.rows, labels, reporter))
    return ModelEvaluation(**dict(result), split=evaluation_set.name, own=evaluation_set.own, classes=predictor.classes)


def _require_split(split: str) -> None:
    if split not in SPLITS:
        raise UsageError(
            _("There is no split {split!r}.", split=split), _("Choose one of {splits}.", splits=", ".join(SPLITS))
        )


def _read(read: Callable[..., ImageIndex], given: TableOptions, own: TableOptions) -> ImageIndex:
    """Return the index, read with the given options, or without any as the plan of the run says, if that works."""
    if given == TableOptions() and own != given:
        with suppress(HeadstartError):  # another kind of data, or a table with other columns
            return read(table=own)
    return read(table=given)


def _score(
    predictor: Predictor, store: pixel_store.PixelStore, rows: np.ndarray, labels: np.ndarray, reporter: Reporter
) -> Score:
    """Return the score of the model on these rows of the store, which have these labels."""
    scorer = Scorer(labels)
    for begin in range(0, len(rows), INFERENCE_BATCH_SIZE):
        scorer.add(predictor.logits([store[int(i)] for i in rows[begin : begin + INFERENCE_BATCH_SIZE]]))
        reporter.progress(_("evaluating"), min(begin + INFERENCE_BATCH_SIZE, len(rows)), len(rows))
    return scorer.score()


def _evaluation_set(
    predictor: Predictor,
    index: ImageIndex,
    split: str,
    classes: Sequence[str],
    open_store: Callable[[ImageIndex, Sequence[str]], pixel_store.PixelStore] | None,
) -> _EvaluationSet:
    """Select the images; with `open_store`, images that cannot be decoded are left out."""
    _require_classes(predictor, index, classes)
    index, content_hashes, own, bad = _match_training_data(predictor, index, open_store)
    _reject_unknown_classes(predictor, index, classes)
    training_data = predictor.model.config.headstart.data
    if own and split != "all":
        run_split = divide(
            index,
            seed=training_data.seed,
            test_seed=training_data.test_seed,
            content_hashes=content_hashes,
            fraction=training_data.fraction,
            evaluate_on_val=training_data.evaluate_on_val,
        )
        name = run_split.evaluation if split == "auto" else split
        rows = getattr(run_split, name)
    else:
        name, rows = _declared_split(index, split)
    if classes:
        rows = rows[np.isin(index.labels[rows], [index.classes.index(name) for name in classes])]
    if not len(rows):
        raise DataError(
            _("There are no {split} images in {source}.", split=name, source=index.source),
            _("Choose another --split, for example all."),
        )
    if own:
        return _EvaluationSet(index, content_hashes, rows, name, own, bad)
    subset = index.without(set(range(len(index))) - set(rows.tolist()))
    return _EvaluationSet(subset, [content_hashes[i] for i in rows], np.arange(len(subset)), name, own, bad)


def _match_training_data(
    predictor: Predictor, index: ImageIndex, open_store: Callable[..., pixel_store.PixelStore] | None
) -> tuple[ImageIndex, Sequence[str], bool, tuple[str, ...]]:
    """Compare the data with the data that the model was trained on.

    Images that cannot be decoded are left out only if `open_store` is given. Classes that the model does not have are
    left out only if the rest is the data that the model was trained on.

    Returns:
        The index, its content hashes, True if it is the data that the model was trained on, and keys of images left
        out.
    """
    fingerprint = predictor.model.config.headstart.data.fingerprint
    shared = [name for name in index.classes if name in predictor.classes]
    if 2 <= len(shared) < len(index.classes):  # the model may have been trained on these classes only
        match = _match_training_data(predictor, index.pick(shared), open_store)
        if match[2]:
            return match
    hashes = hashing.hash_files(index)
    own = hashing.fingerprint(index, hashes) == fingerprint
    if own or open_store is None:
        return index, hashes, own, ()
    bad = set(open_store(index, hashes).bad)
    good_index = index.without(bad).without_empty_classes()
    good_hashes = [content for i, content in enumerate(hashes) if i not in bad]
    left_out = tuple(index.keys[i] for i in sorted(bad))
    return good_index, good_hashes, hashing.fingerprint(good_index, good_hashes) == fingerprint, left_out


def _require_classes(predictor: Predictor, index: ImageIndex, classes: Sequence[str]) -> None:
    """Raise UsageError if the data or the model does not have one of the classes."""
    for name in classes:
        available, message = predictor.classes, _("There is no class {name!r} in the model.", name=name)
        if name not in index.classes:
            available = index.classes
            message = _("There is no class {name!r} in {source}.", name=name, source=index.source)
        if name not in available:
            hint = _("Choose from {classes}.", classes=join_first(available, LISTED_NAMES))
            raise UsageError(message, several_names_hint(name, available) or replacement_hint(name, available) or hint)


def _reject_unknown_classes(predictor: Predictor, index: ImageIndex, classes: Sequence[str]) -> None:
    """Raise DataError if the data has classes that the model does not have and no `classes` are selected."""
    unknown = [name for name in index.classes if name not in predictor.classes]
    shared = [name for name in index.classes if name in predictor.classes]
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
    count, name, bad = len(evaluation_set.rows), evaluation_set.name, evaluation_set.bad
    notes = [left_out_note(bad, LISTED_NAMES)] if bad else []
    if evaluation_set.own:
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
    is_known = evaluation.own and name in SPLIT_NOTES
    lines = [
        ngettext(
            "Accuracy {accuracy:.1f} % on {count:,} image ({split}), 95 % interval {low:.1f} to {high:.1f}.",
            "Accuracy {accuracy:.1f} % on {count:,} images ({split}), 95 % interval {low:.1f} to {high:.1f}.",
            evaluation.n,
            accuracy=100 * evaluation.accuracy,
            split=_("{split}, {note}", split=name, note=SPLIT_NOTES[name]) if is_known else name,
            low=low,
            high=high,
        ),
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
        _(
            "  {count:>5}  {true} predicted as {predicted}",
            count=times,
            true=classes[true],
            predicted=classes[predicted],
        )
        for times, true, predicted in worst
    ]
    return [_("Most often confused:"), *lines] if lines else [_("No image was misclassified.")]
