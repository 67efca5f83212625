"""Split images into train (training), val (model selection) and test (final evaluation).

Splits are stratified by class. Images of one group, images of equal content and near-duplicates stay together.
scikit-learn's StratifiedGroupKFold only makes equal folds and may leave a class out of one; these splits have any size,
and every class is in each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart.data.components import components, same_name
from headstart.data.image_index import SPLITS, ImageIndex, class_counts_text
from headstart.data.near_duplicates import Pairs
from headstart.data.unit_selection import Indices, UnitSelection
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.rng import stream
from headstart.storage.schemas.study import TRAIN_AND_VAL

HELD_OUT_SHARE = 0.15  # of all images, for val and for test each
_MAX_ATTEMPTS = 20  # random orders that are tried until every split has every class


@dataclass(frozen=True, eq=False)
class Split:
    """Positions in an image index: int64, sorted, disjoint, together all images.

    Attributes:
        train: Training images.
        val: Images that select epochs and learning rates.
        test: Images of the final evaluation.
        declared: Splits that the data itself declares: "none", "train", "train+val", …
        evaluation: The split of the reported number: "test", or "val" if the data declares train and val only.
        is_drawn: A split was drawn, so that what stays together matters.
    """

    train: Indices
    val: Indices
    test: Indices
    declared: str
    evaluation: str
    is_drawn: bool


def divide(
    images: ImageIndex,
    *,
    seed: int,
    test_seed: int = 0,
    content_hashes: Sequence[str] | None = None,
    near_duplicates: Pairs | None = None,
    fraction: float = 1.0,
    evaluate_on_val: bool = False,
) -> Split:
    """Return the split of the images: declared splits stay, the rest is divided 70/15/15.

    Args:
        images: Index of the images.
        seed: Seed of train and val.
        test_seed: Seed of the test split and of the training fraction. The test split depends on no other seed.
        content_hashes: One hash per image, to keep images of equal content together.
        near_duplicates: Pairs of images to keep together.
        fraction: Share of the training images that is used (see `draw_fraction`).
        evaluate_on_val: Use a declared val without a declared test as `test`, and split a new val off train.

    Raises:
        DataError: Only some images have a split, no image is for training, or a class has fewer independent images or
            groups than there are splits.
    """
    names = np.asarray(images.splits)
    declared = _declared_splits(images, names)
    val, test = np.flatnonzero(names == "val"), np.flatnonzero(names == "test")
    pool = np.flatnonzero((names == "train") | (names == ""))
    units = unit_numbers(images, content_hashes, near_duplicates)
    evaluation, is_drawn = "test", True
    if evaluate_on_val and declared == TRAIN_AND_VAL:
        test = val
        pool, val = _split_off(images, units, pool, HELD_OUT_SHARE, 1, seed, "split/val")
    elif declared in ("none", "train"):
        pool, test = _split_off(images, units, pool, HELD_OUT_SHARE, 2, test_seed, "split/test")
        pool, val = _split_off(images, units, pool, HELD_OUT_SHARE / (1 - HELD_OUT_SHARE), 1, seed, "split/val")
    elif declared == "train+test":
        pool, val = _split_off(images, units, pool, HELD_OUT_SHARE, 1, seed, "split/val")
    else:
        evaluation, is_drawn = "val" if declared == TRAIN_AND_VAL else "test", False
    return Split(draw_fraction(images, pool, fraction, test_seed), val, test, declared, evaluation, is_drawn)


def split_off_val(
    images: ImageIndex,
    seed: int,
    content_hashes: Sequence[str] | None = None,
    near_duplicates: Pairs | None = None,
) -> Indices:
    """Return the val images that `divide` splits off data whose only other split is a declared test.

    Args:
        images: Index of the images without the test images.
        seed: Seed of train and val.
        content_hashes: One hash per image, to keep images of equal content together.
        near_duplicates: Pairs of images to keep together.

    Raises:
        DataError: A class has fewer than two independent images or groups. The hint is for a call from Python.
    """
    units, pool = unit_numbers(images, content_hashes, near_duplicates), np.arange(len(images))
    try:
        return _split_off(images, units, pool, HELD_OUT_SHARE, 1, seed, "split/val")[1]
    except _SmallClassesError as error:
        hint = _("Add images, or leave these classes out of X and y.")
        if near_duplicates is not None and len(near_duplicates):
            split_off_val(images, seed, content_hashes)  # raises if there is another reason
            message = _together_message(error)
            hint = _('Add images, leave these classes out of X and y, or set near_duplicates="ignore".')
            raise DataError(message, hint) from None
        raise DataError(error.message, hint) from None


def draw_fraction(images: ImageIndex, train: Indices, fraction: float, seed: int) -> Indices:
    """Return a share of the training images of each class. Smaller fractions are subsets of larger ones.

    The order depends on `seed` and on the position of each image in the index, so that it does not depend on what else
    is in `train`. Raises DataError if a class would have no image.
    """
    if fraction == 1:
        return train
    chosen = []
    emptied: dict[str, int] = {}
    draws = stream(seed, "fraction").random(len(images))
    for label, name in enumerate(images.classes):
        members = train[images.labels[train] == label]
        count = int(np.floor(fraction * len(members) + 0.5))
        if members.size and not count:
            emptied[name] = len(members)
        chosen.append(members[np.argsort(draws[members], kind="stable")[:count]])
    if emptied:
        raise DataError(
            ngettext(
                "A fraction of {fraction:g} leaves no training image of {count:,} class: {classes}.",
                "A fraction of {fraction:g} leaves no training image of {count:,} classes: {classes}.",
                len(emptied),
                fraction=fraction,
                classes=class_counts_text(emptied),
            ),
            _(
                "Use {fraction:.2g} or more, or name the other classes with --classes.",
                fraction=0.5 / min(emptied.values()),
            ),
        )
    return np.sort(np.concatenate(chosen))


def _declared_splits(images: ImageIndex, names: npt.NDArray[np.str_]) -> str:
    if (names == "").all():
        return "none"
    if (names == "").any():
        key = images.keys[int((names == "").argmax())]
        raise DataError(
            ngettext(
                "{count:,} image has no split (such as {example}), but others have one.",
                "{count:,} images have no split (such as {example}), but others have one.",
                int(np.count_nonzero(names == "")),
                example=key,
            ),
            _("Declare a split for every image, or for none."),
        )
    declared = "+".join(name for name in SPLITS if (names == name).any())
    if "train" not in declared:
        raise DataError(
            _("{source} declares {declared}, but no image for train.", source=images.source, declared=declared),
            _("Declare some as train."),
        )
    return declared


def unit_numbers(
    images: ImageIndex, content_hashes: Sequence[str] | None, near_duplicates: Pairs | None = None
) -> Indices:
    """Return the number of each image's unit: images that are connected, directly or through others.

    Images of one group, of equal content, and near-duplicates are connected.
    """
    edges = [same_name(images.groups), same_name(content_hashes or ()), (near_duplicates or Pairs.none()).edges]
    return components(len(images), edges)


def _split_off(
    images: ImageIndex, units: Indices, pool: Indices, share: float, remaining: int, seed: int, purpose: str
) -> tuple[Indices, Indices]:
    """Divide `pool` into (rest, held out), with about `share` of each class held out.

    Each class gets at least one unit in the held-out part and at least `remaining` units in the rest, which will be
    `remaining` splits.
    """
    _unused, unit = np.unique(units[pool], return_inverse=True)
    for attempt in range(_MAX_ATTEMPTS):
        order = stream(seed, purpose, 0, attempt).permutation(int(unit.max()) + 1)
        selection = UnitSelection(order[unit], images.labels[pool], len(images.classes), share, remaining)
        if attempt == 0 and len(selection.short_classes):
            counts = {images.classes[i]: int(selection.total[i]) for i in selection.short_classes}
            raise _too_small(counts, remaining + 1)
        if selection.select() and (remaining == 1 or _can_split_rest(selection, seed, attempt)):
            held_out = selection.selected[order[unit]]
            return pool[~held_out], pool[held_out]
    raise DataError(
        _("The groups of {source} cannot be divided so that each split has every class.", source=images.source),
        _("Use smaller groups, or declare the splits yourself."),
    )


class _SmallClassesError(DataError):
    """Classes have fewer independent images or groups than there are splits."""


def _too_small(counts: Mapping[str, int], splits: int) -> _SmallClassesError:
    """Return the error that names all classes that are too small, with their counts."""
    return _SmallClassesError(
        ngettext(
            "{count:,} class has too few independent images or groups: {classes}. It needs {splits}, one for each "
            "split.",
            "{count:,} classes have too few independent images or groups: {classes}. Each needs {splits}, one for each "
            "split.",
            len(counts),
            classes=class_counts_text(counts),
            splits=splits,
        ),
        _(
            "Add images, leave small classes out with --min-per-class {splits}, or write --classes NAME for each class "
            "that is used.",
            splits=splits,
        ),
    )


def together_error(error: DataError) -> DataError:
    """Return an error of `divide` that near-duplicates cause, which keep images together."""
    return DataError(
        _together_message(error),
        _("{hint} Or divide near-duplicates like other images, with --near-duplicates ignore.", hint=error.hint),
    )


def _together_message(error: DataError) -> Message:
    return _("{message} Near-duplicates, such as photos of a burst, count as one.", message=error.message)


def _can_split_rest(selection: UnitSelection, seed: int, attempt: int) -> bool:
    """Return True if the rest can be divided once more. The answer depends on the seed of the test split only."""
    if selection.units_have_one_class:
        return True
    rest = np.flatnonzero(~selection.selected)
    shuffled = stream(seed, "split/trial", 0, attempt).permutation(rest)
    trial = UnitSelection.__new__(UnitSelection)
    trial.prepare(selection.table[shuffled], HELD_OUT_SHARE / (1 - HELD_OUT_SHARE), 1)
    return not len(trial.short_classes) and trial.select()
