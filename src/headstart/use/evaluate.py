"""Evaluate a saved model on labelled photos: accuracy with its interval, and the confusion matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headstart import data
from headstart.data import pixels
from headstart.data.listing import Listing
from headstart.data.split import divide
from headstart.errors import DataError, UsageError
from headstart.evidence import summary
from headstart.loop import score
from headstart.use.predictor import BATCH, Predictor
from headstart.voice import Voice


def evaluate(
    model: str | Path, source: str, voice: Voice, *, split: str = "auto", allow_outside: bool = False
) -> dict[str, Any]:
    """Accuracy, its 95 % interval (Wilson), loss and confusion counts [true][predicted] of a model on labelled photos.

    `split` is train, val, test, all, or auto: the test split where the data declares one, or where they are the very
    photos the model was trained on (then its own unseen ones); else all. Raises ModelFileError, DataError, UsageError.
    """
    predictor = Predictor(model)
    listing = data.read(source, allow_outside=allow_outside)
    unknown = sorted(set(listing.classes) - set(predictor.classes))
    if unknown:
        raise DataError(
            f"The model knows {', '.join(predictor.classes)} and the data has {', '.join(unknown)} too.",
            "Pick the classes it knows, or name other data.",
        )
    name, rows = _choose(predictor, listing, split)
    voice.say(f"Evaluating {len(rows)} photos ({name}).")
    logits = []
    for begin in range(0, len(rows), BATCH):
        photos = [predictor.photo(listing.paths[i]) for i in rows[begin : begin + BATCH]]
        logits.append(predictor.logits(photos))
        voice.progress("evaluating", min(begin + BATCH, len(rows)), len(rows))
    place = np.array([predictor.classes.index(name) for name in listing.classes])
    labels = place[listing.labels[rows]]
    found = summary(score(np.concatenate(logits), labels), labels)
    return {"split": name, "classes": list(predictor.classes), **found}


def _choose(predictor: Predictor, listing: Listing, split: str) -> tuple[str, np.ndarray]:
    """Which photos: a name to report, and their positions."""
    if split not in ("auto", "train", "val", "test", "all"):
        raise UsageError(f"There is no split {split!r}.", "Choose train, val, test, all or auto.")
    trained_on = predictor.model.config["headstart"]["data"]
    same = pixels.fingerprint(listing, contents := pixels.hash_files(listing)) == trained_on["fingerprint"]
    declared = any(listing.splits)
    if split == "all" or (split == "auto" and not declared and not same):
        return "all", np.arange(len(listing))
    if declared and not same:
        chosen = "test" if split == "auto" else split
        rows = np.flatnonzero(np.array(listing.splits) == chosen)
    else:
        parted = divide(listing, seed=trained_on["seed"], test_seed=trained_on["test_seed"], contents=contents)
        chosen = parted.judge if split == "auto" else split
        rows = getattr(parted, chosen)
    if not len(rows):
        raise DataError(
            f"There are no {chosen} photos in {listing.source}.", "Choose another with --split, e.g. --split all."
        )
    return chosen, rows


def sentences(found: dict[str, Any]) -> list[str]:
    """An evaluation in words, with the confusion matrix as plain columns."""
    low, high = (100 * x for x in found["interval"])
    lines = [
        f"Accuracy {100 * found['accuracy']:.1f} % on {found['n']} images ({found['split']}), "
        f"95 % interval {low:.1f} to {high:.1f}.",
        "",
        "true \\ predicted",
    ]
    classes = found["classes"]
    width = max(max(map(len, classes)), len(str(found["n"]))) + 2
    lines.append(" " * width + "".join(name.rjust(width) for name in classes))
    for name, row in zip(classes, found["confusion"], strict=True):
        lines.append(name.rjust(width) + "".join(str(count).rjust(width) for count in row))
    return lines
