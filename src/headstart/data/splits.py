"""Split images into train (training), val (model selection) and test (final evaluation).

Splits are stratified by class. Images of one group and images of equal content stay together. scikit-learn's
StratifiedGroupKFold only makes equal folds and may leave a class out of one; these splits have any size, and every
class is in each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from headstart.data.image_index import SPLITS, ImageIndex
from headstart.errors import DataError
from headstart.rng import stream
from headstart.text import pluralize

Indices = npt.NDArray[np.int64]
HELD_OUT_SHARE = 0.15  # of all images, for val and for test each
_MAX_ATTEMPTS = 20  # random orders that are tried until every split has every class
_MAX_REPAIRS = 100  # units that change sides after the first fit
_MIN_GAIN = 1e-9  # of the squared error; less is rounding


@dataclass(frozen=True, eq=False)
class Split:
    """Positions in an image index: int64, sorted, disjoint, together all images.

    Attributes:
        train: Training images.
        val: Images that select epochs and learning rates.
        test: Images of the final evaluation.
        declared: Splits that the data itself declares: "none", "train", "train+val", …
        evaluation: The split of the reported number: "test", or "val" if the data declares train and val only.
    """

    train: Indices
    val: Indices
    test: Indices
    declared: str
    evaluation: str


def divide(
    images: ImageIndex,
    *,
    seed: int,
    test_seed: int = 0,
    content_hashes: Sequence[str] | None = None,
    fraction: float = 1.0,
    evaluate_on_val: bool = False,
) -> Split:
    """Return the split of the images: declared splits stay, the rest is divided 70/15/15.

    Args:
        images: Index of the images.
        seed: Seed of train and val.
        test_seed: Seed of the test split and of the training fraction. The test split depends on no other seed.
        content_hashes: One hash per image, to keep images of equal content together.
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
    units = _unit_numbers(images, content_hashes)
    evaluation = "test"
    if evaluate_on_val and declared == "train+val":
        test = val
        pool, val = _split_off(images, units, pool, HELD_OUT_SHARE, 1, seed, "split/val")
    elif declared in ("none", "train"):
        pool, test = _split_off(images, units, pool, HELD_OUT_SHARE, 2, test_seed, "split/test")
        pool, val = _split_off(images, units, pool, HELD_OUT_SHARE / (1 - HELD_OUT_SHARE), 1, seed, "split/val")
    elif declared == "train+test":
        pool, val = _split_off(images, units, pool, HELD_OUT_SHARE, 1, seed, "split/val")
    elif declared == "train+val":
        evaluation = "val"
    return Split(draw_fraction(images, pool, fraction, test_seed), val, test, declared, evaluation)


def draw_fraction(images: ImageIndex, train: Indices, fraction: float, seed: int) -> Indices:
    """Return a share of the training images of each class. Smaller fractions are subsets of larger ones.

    The order depends on `seed` and on the position of each image in the index, so that it does not depend on what else
    is in `train`. Raises DataError if a class would have no image.
    """
    if fraction == 1:
        return train
    chosen = []
    draws = stream(seed, "fraction").random(len(images))
    for label, name in enumerate(images.classes):
        members = train[images.labels[train] == label]
        count = int(np.floor(fraction * len(members) + 0.5))
        if members.size and not count:
            available = pluralize(len(members), "training image")
            raise DataError(
                f"A fraction of {fraction:g} leaves none of the {available} of class {name!r}.",
                f"Use {0.5 / len(members):.2g} or more, or leave the class out with --classes.",
            )
        chosen.append(members[np.argsort(draws[members], kind="stable")[:count]])
    return np.sort(np.concatenate(chosen))


def overlaps(images: ImageIndex, split: Split, content_hashes: Sequence[str]) -> list[str]:
    """Return sentences on overlaps between splits.

    They name images of equal content in two splits or under two labels, and groups in two splits.

    Args:
        images: Index of the images.
        split: Their split.
        content_hashes: One content hash per image.
    """
    split_of = np.empty(len(images), dtype=np.int64)
    for number, part in enumerate((split.train, split.val, split.test)):
        split_of[part] = number
    notes = []
    for noun, names in (("image", content_hashes), ("group", images.groups)):
        sets = _shared_names(names)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            shared = [members for members in sets if {a, b} <= set(split_of[members].tolist())]
            if shared:
                pair = (next(images.keys[i] for i in shared[0] if split_of[i] == s) for s in (a, b))
                splits = f"both {SPLITS[a]} and {SPLITS[b]}"
                verb = "is" if len(shared) == 1 else "are"
                notes.append(f"{pluralize(len(shared), noun)} {verb} in {splits}, such as {' and '.join(pair)}.")
    conflicting = [
        members for members in _shared_names(content_hashes) if len(set(images.labels[members].tolist())) > 1
    ]
    if conflicting:
        first = conflicting[0]
        other = next(i for i in first if images.labels[i] != images.labels[first[0]])
        example = f"{images.keys[first[0]]} and {images.keys[other]}"
        verb = "has" if len(conflicting) == 1 else "have"
        notes.append(f"{pluralize(len(conflicting), 'image')} {verb} two labels, such as {example}.")
    return notes


def _shared_names(names: Sequence[str]) -> list[list[int]]:
    """Return the indices of each name that occurs twice or more; empty names are ignored."""
    sets = defaultdict(list)
    for i, name in enumerate(names):
        if name:
            sets[name].append(i)
    return [members for members in sets.values() if len(members) > 1]


def _declared_splits(images: ImageIndex, names: npt.NDArray[np.str_]) -> str:
    if (names == "").all():
        return "none"
    if (names == "").any():
        key = images.keys[int((names == "").argmax())]
        count = int(np.count_nonzero(names == ""))
        without = f"{pluralize(count, 'image')} {'has' if count == 1 else 'have'} no split"
        raise DataError(
            f"{without} (such as {key}), but others have one.",
            "Declare a split for every image, or for none.",
        )
    declared = "+".join(name for name in SPLITS if (names == name).any())
    if "train" not in declared:
        raise DataError(f"{images.source} declares {declared}, but no image for train.", "Declare some as train.")
    return declared


def _unit_numbers(images: ImageIndex, content_hashes: Sequence[str] | None) -> Indices:
    """Return the number of each image's unit: images connected by group or content, directly or through others."""
    n = len(images)
    rows, columns, nodes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], n
    for names in (images.groups, content_hashes or ()):
        number: dict[str, int] = {}
        joined = [i for i, name in enumerate(names) if name]
        rows.append(np.asarray(joined, dtype=np.int64))
        columns.append(np.asarray([nodes + number.setdefault(names[i], len(number)) for i in joined], dtype=np.int64))
        nodes += len(number)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = csr_matrix((np.ones(len(row), dtype=np.int8), (row, column)), shape=(nodes, nodes))
    _, unit = connected_components(graph, directed=False)
    return np.asarray(unit[:n], dtype=np.int64)


def _split_off(
    images: ImageIndex, units: Indices, pool: Indices, share: float, remaining: int, seed: int, purpose: str
) -> tuple[Indices, Indices]:
    """Divide `pool` into (rest, held out), with about `share` of each class held out.

    Each class gets at least one unit in the held-out part and at least `remaining` units in the rest, which will be
    `remaining` splits.
    """
    _, unit = np.unique(units[pool], return_inverse=True)
    for attempt in range(_MAX_ATTEMPTS):
        order = stream(seed, purpose, 0, attempt).permutation(int(unit.max()) + 1)
        selection = _Selection(order[unit], images.labels[pool], len(images.classes), share, remaining)
        if attempt == 0 and selection.short_class is not None:
            name, count = images.classes[selection.short_class], int(selection.total[selection.short_class])
            units_text = f"{pluralize(count, 'independent image')} or {'group' if count == 1 else 'groups'}"
            raise DataError(
                f"Class {name!r} has {units_text}, too few for {remaining + 1} splits.",
                "Add images of it, or name the other classes with --classes a,b,c.",
            )
        if selection.select() and (remaining == 1 or _can_split_rest(selection, seed, attempt)):
            held_out = selection.selected[order[unit]]
            return pool[~held_out], pool[held_out]
    raise DataError(
        f"The groups of {images.source} cannot be divided so that each split has every class.",
        "Use smaller groups, or declare the splits yourself.",
    )


def _can_split_rest(selection: _Selection, seed: int, attempt: int) -> bool:
    """Return True if the rest can be divided once more. The answer depends on the seed of the test split only."""
    if selection.units_have_one_class:
        return True
    rest = np.flatnonzero(~selection.selected)
    shuffled = stream(seed, "split/trial", 0, attempt).permutation(rest)
    trial = _Selection.__new__(_Selection)
    trial.prepare(selection.table[shuffled], HELD_OUT_SHARE / (1 - HELD_OUT_SHARE), 1)
    return trial.short_class is None and trial.select()


class _Selection:
    """Selects units until each class has its share: first fit in the given (random) order, then repairs.

    `table` [units, classes] counts images and `contains` says which units have a class. `selected` [units] is the
    result. `images_inside` [classes] counts selected images; `units_inside` and `total` [classes] count units.
    """

    def __init__(self, unit: Indices, labels: Indices, classes: int, share: float, remaining: int) -> None:
        shape = (int(unit.max()) + 1, classes)
        self.prepare(csr_matrix((np.ones(len(unit)), (unit, labels)), shape=shape), share, remaining)

    def prepare(self, table: csr_matrix, share: float, remaining: int) -> None:
        """Set up for `table`; `short_class` is a class with too few units, or None."""
        self.table, self.remaining = table, remaining
        self.contains = (table > 0).astype(np.float64)
        counts = np.asarray(table.sum(axis=0)).ravel()
        self.total = np.asarray(self.contains.sum(axis=0)).ravel()
        self.target = _apportion(counts, share)
        self.weight = 1 / np.maximum(counts, 1)
        self.selected = np.zeros(table.shape[0], dtype=bool)
        self.units_inside = np.zeros(table.shape[1])
        self.images_inside = np.zeros(table.shape[1])
        lacking = np.flatnonzero(self.total < remaining + 1)
        self.short_class = int(lacking[0]) if len(lacking) else None
        self.units_have_one_class = bool((np.diff(self.contains.indptr) == 1).all())

    def select(self) -> bool:
        """Select units; return False if some class ends without a unit."""
        self._first_fit()
        for label in np.argsort(self.total, kind="stable"):
            if self.units_inside[label] == 0:
                change = np.where(self.contains[:, [label]].toarray().ravel() > 0, self._error_change(), np.inf)
                best = int(change.argmin())
                if np.isinf(change[best]):
                    return False
                self._toggle(best)
        for _ in range(_MAX_REPAIRS):
            change = self._error_change()
            best = int(change.argmin())
            if change[best] > -_MIN_GAIN:
                break
            self._toggle(best)
        return True

    def _first_fit(self) -> None:
        free, spare = self.target.tolist(), (self.total - self.remaining).tolist()
        starts, labels, sizes = (a.tolist() for a in (self.table.indptr, self.table.indices, self.table.data))
        for unit in range(len(self.selected)):
            span = range(starts[unit], starts[unit + 1])
            if all(sizes[k] <= free[labels[k]] and spare[labels[k]] >= 1 for k in span):
                self.selected[unit] = True
                for k in span:
                    free[labels[k]] -= sizes[k]
                    spare[labels[k]] -= 1
        self.images_inside = self.target - np.asarray(free)
        self.units_inside = self.total - self.remaining - np.asarray(spare)

    def _error_change(self) -> npt.NDArray[np.float64]:
        """Return the change of Σ (images inside - target)² / count if each unit changed sides; inf if it must not."""
        sign = np.where(self.selected, -1, 1)
        change = 2 * sign * (self.table @ (self.weight * (self.images_inside - self.target)))
        change += self.table.multiply(self.table) @ self.weight
        last_inside = self.contains @ (self.units_inside <= 1).astype(np.float64)
        last_outside = self.contains @ (self.total - self.units_inside <= self.remaining).astype(np.float64)
        change[np.where(self.selected, last_inside, last_outside) > 0] = np.inf
        return np.asarray(change)

    def _toggle(self, unit: int) -> None:
        sign = -1 if self.selected[unit] else 1
        self.selected[unit] = not self.selected[unit]
        self.images_inside += sign * self.table[[unit]].toarray().ravel()
        self.units_inside += sign * self.contains[[unit]].toarray().ravel()


def _apportion(counts: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """Return whole numbers, at least 1, near `share` of each count.

    They add up to `share` of the sum (method of largest remainders).
    """
    quota = counts * share
    target = np.floor(quota)
    missing = int(np.floor(quota.sum() + 0.5) - target.sum())
    target[np.argsort(target - quota, kind="stable")[:missing]] += 1
    return np.maximum(target, 1)
