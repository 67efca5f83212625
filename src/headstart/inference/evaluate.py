"""Evaluate a saved model on labelled photos: accuracy with its interval, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headstart import data
from headstart.artifacts.predictions import summary
from headstart.data import pixel_store
from headstart.data.image_index import ImageIndex, nearest
from headstart.data.splits import divide
from headstart.errors import DataError, UsageError
from headstart.hardware.devices import usable_cores
from headstart.inference.predictor import BATCH, Predictor
from headstart.reporter import Reporter
from headstart.text import printable
from headstart.training.scoring import score

SPLITS = ("auto", "train", "val", "test", "all")
OWN = {
    "test": "which it has never seen",
    "val": "which also chose its epoch",
    "train": "which it has learned from",
    "all": "among them those that it has learned from: the number is too high",
}
WIDEST = 20  # classes whose confusion is shown as a matrix


@dataclass(frozen=True)
class _EvaluationSet:
    """Labelled photos, which of them are judged (`rows` of the listing), and what these are called.

    `own` is True where the listing is the very data the model was trained on. `bad` names what was left out of it.
    """

    listing: ImageIndex
    contents: Sequence[str]
    rows: np.ndarray
    name: str
    own: bool
    bad: tuple[str, ...]


def evaluate(
    model: str | Path,
    source: str,
    reporter: Reporter,
    *,
    split: str = "auto",
    classes: Sequence[str] = (),
    skip_bad: bool = False,
    allow_outside: bool = False,
) -> dict[str, Any]:
    """Accuracy, its 95 % interval (Wilson), loss and confusion counts [true][predicted] of a model on labelled photos.

    `split` is train, val, test, all, or auto: where they are the very photos the model was trained on its own unseen
    ones, else the test split where the data declares one, else all. `classes` keeps only those; `skip_bad` leaves out
    what cannot be decoded. Raises ModelFileError, DataError, UsageError.
    """
    if split not in SPLITS:
        raise UsageError(f"There is no split {split!r}.", f"Choose one of {', '.join(SPLITS)}.")
    predictor = Predictor(model)
    open_store = partial(
        pixel_store.open_store,
        side=predictor.model.store_side,
        skip_bad=skip_bad,
        progress=partial(reporter.progress, "decoding photos"),
        threads=usable_cores(),
    )
    listing = data.read(source, allow_outside=allow_outside, to_train=False)
    evaluation_set = _evaluation_set(predictor, listing, split, classes, open_store if skip_bad else None)
    for note in [*([predictor.who] if predictor.who else []), *_notes(evaluation_set)]:
        reporter.say(note)
    logits = _logits(
        predictor, open_store(evaluation_set.listing, evaluation_set.contents), evaluation_set.rows, reporter
    )
    number = {name: i for i, name in enumerate(predictor.classes)}
    place = np.array([number.get(name, -1) for name in evaluation_set.listing.classes])  # -1: not among the judged
    labels = place[evaluation_set.listing.labels[evaluation_set.rows]]
    found = summary(score(logits, labels), labels)
    return {"split": evaluation_set.name, "own": evaluation_set.own, "classes": list(predictor.classes), **found}


def _logits(predictor: Predictor, store: pixel_store.PixelStore, rows: np.ndarray, reporter: Reporter) -> np.ndarray:
    logits = []
    for begin in range(0, len(rows), BATCH):
        logits.append(predictor.logits([store[int(i)] for i in rows[begin : begin + BATCH]]))
        reporter.progress("evaluating", min(begin + BATCH, len(rows)), len(rows))
    return np.concatenate(logits)


def _evaluation_set(
    predictor: Predictor,
    listing: ImageIndex,
    split: str,
    classes: Sequence[str],
    open_store: Callable[[ImageIndex, Sequence[str]], pixel_store.PixelStore] | None,
) -> _EvaluationSet:
    """Choose the photos; `open_store` is given where the undecodable ones are to be left out."""
    _require_classes(predictor, listing, classes)
    listing, contents, own, bad = _recognise(predictor, listing, open_store)
    _refuse_unknown(predictor, listing, classes)
    trained_on = predictor.model.config["headstart"]["data"]
    if own and split != "all":
        parted = divide(
            listing,
            seed=trained_on["seed"],
            test_seed=trained_on["test_seed"],
            contents=contents,
            fraction=trained_on.get("fraction", 1.0),
            evaluate_on_val=trained_on.get("evaluate_on_val", False),
        )
        name = parted.judge if split == "auto" else split
        rows = getattr(parted, name)
    else:
        name, rows = _declared(listing, split)
    if classes:
        rows = rows[np.isin(listing.labels[rows], [listing.classes.index(name) for name in classes])]
    if not len(rows):
        raise DataError(f"There are no {name} photos in {listing.source}.", "Choose another with --split, e.g. all.")
    if own:
        return _EvaluationSet(listing, contents, rows, name, own, bad)
    few = listing.without(set(range(len(listing))) - set(rows.tolist()))
    return _EvaluationSet(few, [contents[i] for i in rows], np.arange(len(few)), name, own, bad)


def _recognise(
    predictor: Predictor, listing: ImageIndex, open_store: Callable[..., pixel_store.PixelStore] | None
) -> tuple[ImageIndex, Sequence[str], bool, tuple[str, ...]]:
    """The listing, its content hashes, whether it is what the model was trained on, and keys of what was left out.

    Photos that cannot be decoded are left out where `open_store` is given; classes that the model does not know only
    where the rest is what it was trained on.
    """
    trained_on = predictor.model.config["headstart"]["data"]["fingerprint"]
    theirs = [name for name in listing.classes if name in predictor.classes]
    if 2 <= len(theirs) < len(listing.classes):  # the model may have been trained on these classes only
        found = _recognise(predictor, listing.pick(theirs), open_store)
        if found[2]:
            return found
    hashes = pixel_store.hash_files(listing)
    own = pixel_store.fingerprint(listing, hashes) == trained_on
    if own or open_store is None:
        return listing, hashes, own, ()
    bad = set(open_store(listing, hashes).bad)
    good, kept = listing.without(bad), [content for i, content in enumerate(hashes) if i not in bad]
    left_out = tuple(listing.keys[i] for i in sorted(bad))
    return good, kept, pixel_store.fingerprint(good, kept) == trained_on, left_out


def _require_classes(predictor: Predictor, listing: ImageIndex, classes: Sequence[str]) -> None:
    """Raise UsageError for a class that is asked for and that the data or the model does not have."""
    for name in classes:
        for known, where in ((listing.classes, listing.source), (predictor.classes, "the model")):
            if name not in known:
                raise UsageError(
                    f"There is no class {name!r} in {where}.", nearest(name, known) or f"It has {_some(known)}."
                )


def _refuse_unknown(predictor: Predictor, listing: ImageIndex, classes: Sequence[str]) -> None:
    """Raise DataError where photos would be judged whose class the model cannot name."""
    unknown = [name for name in listing.classes if name not in predictor.classes]
    shared = [name for name in listing.classes if name in predictor.classes]
    if unknown and not classes:
        raise DataError(
            f"The model knows {_some(predictor.classes)}, and the data has {_some(unknown)} too.",
            f"Judge the classes it knows with --classes {','.join(shared)}." if shared else "Name other data.",
        )


def _declared(listing: ImageIndex, split: str) -> tuple[str, np.ndarray]:
    """A split that the data declares, or all of it."""
    splits = np.array(listing.splits)
    if split == "all" or (split == "auto" and not (splits == "test").any()):
        return "all", np.arange(len(listing))
    if (splits == "").all():
        raise UsageError(
            f"{listing.source} declares no splits, and it is not the data that the model was trained on.",
            "Judge all of it: leave --split out.",
        )
    return (name := "test" if split == "auto" else split), np.flatnonzero(splits == name)


def _notes(evaluation_set: _EvaluationSet) -> list[str]:
    """What the user should know about the photos before the number."""
    count, bad = len(evaluation_set.rows), evaluation_set.bad
    notes = [f"Left out {len(bad)} photos that cannot be decoded: {_some(bad)}."] if bad else []
    if evaluation_set.own:
        notes.append(f"This is the data that the model was trained on: judging {count} photos ({evaluation_set.name}).")
    else:
        notes.append(
            f"Judging {count} photos ({evaluation_set.name}). This is not, as a whole, the data that the model was trained on; "
            "any among them that it has learned from make the number too high."
        )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")


def sentences(found: dict[str, Any]) -> list[str]:
    """An evaluation in words, and the confusion as plain columns; with many classes, the pairs confused most often."""
    low, high = (100 * x for x in found["interval"])
    name = found["split"]
    which = f"{name}, {OWN[name]}" if found["own"] and name in OWN else name
    lines = [
        f"Accuracy {100 * found['accuracy']:.1f} % on {found['n']} photos ({which}), "
        f"95 % interval {low:.1f} to {high:.1f}.",
        "",
    ]
    classes = [printable(name) for name in found["classes"]]
    return lines + (_matrix if len(classes) <= WIDEST else _pairs)(classes, found["confusion"])


def _matrix(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[str]:
    first = max(len(name) for name in (*classes, "true \\ predicted"))
    widths = [2 + max(len(name), *(len(str(row[i])) for row in confusion)) for i, name in enumerate(classes)]
    lines = ["true \\ predicted".ljust(first) + "".join(n.rjust(w) for n, w in zip(classes, widths, strict=True))]
    for name, row in zip(classes, confusion, strict=True):
        lines.append(name.ljust(first) + "".join(str(c).rjust(w) for c, w in zip(row, widths, strict=True)))
    return lines


def _pairs(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[str]:
    count = len(classes)
    wrong = [(confusion[i][j], i, j) for i in range(count) for j in range(count) if i != j and confusion[i][j]]
    worst = sorted(wrong, key=lambda pair: -pair[0])[:10]
    lines = [f"  {times:>5}  {classes[i]} taken for {classes[j]}" for times, i, j in worst]
    return ["Most often confused:", *lines] if lines else ["Nothing was confused."]
