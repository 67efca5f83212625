"""Which images are learned from (train), which choose (val), and which judge once (test).

Stratified by class, with what belongs together kept together: images of one group and images of equal content.
scikit-learn's StratifiedGroupKFold divides into equal folds only and may leave a class out of one; this fills a split
of any size, and no class is left out.
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
SHARE = 0.15  # of all images, each for val and test
_ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a listing: int64, sorted, disjoint, together all images.

    `declared` names what the data itself declared ("none", "train", "train+val", …). `judge` is the split that gives
    the reported number: "test", or "val" where the data declares no unseen images.
    """

    train: Indices
    val: Indices
    test: Indices
    declared: str
    judge: str


def divide(
    listing: ImageIndex,
    *,
    seed: int,
    test_seed: int = 0,
    contents: Sequence[str] | None = None,
    fraction: float = 1.0,
    evaluate_on_val: bool = False,
) -> Split:
    """Divide 70/15/15 what is not declared; `test` depends on `test_seed` only, train and val on `seed` too.

    `contents` (one hash per image) keeps equal images together. `fraction` keeps that share of train (see `thinned`).
    With `val_judges` a declared val without a declared test becomes `test`, and val is carved from train. Raises
    DataError where only some images have a split, where none is for training, and for a class with fewer independent
    images or groups than splits to fill.
    """
    names = np.asarray(listing.splits)
    declared = _declared(listing, names)
    part = {name: np.flatnonzero(names == name) for name in SPLITS}
    pool = np.flatnonzero((names == "train") | (names == ""))
    units = _units(listing, contents)
    judge = "test"
    if evaluate_on_val and declared == "train+val":
        part["test"] = part["val"]
        pool, part["val"] = _carve(listing, units, pool, SHARE, 1, seed, "split/val")
    elif declared in ("none", "train"):
        pool, part["test"] = _carve(listing, units, pool, SHARE, 2, test_seed, "split/test")
        pool, part["val"] = _carve(listing, units, pool, SHARE / (1 - SHARE), 1, seed, "split/val")
    elif declared == "train+test":
        pool, part["val"] = _carve(listing, units, pool, SHARE, 1, seed, "split/val")
    elif declared == "train+val":
        judge = "val"
    return Split(draw_fraction(listing, pool, fraction, test_seed), part["val"], part["test"], declared, judge)


def draw_fraction(listing: ImageIndex, train: Indices, fraction: float, seed: int) -> Indices:
    """`fraction` of the training images of each class, in one order for all fractions: the smaller lie in the larger.

    The order hangs on `seed` and on each image's key, so that it is the same whatever else is in `train`. Raises
    DataError where a class would have none.
    """
    if fraction == 1:
        return train
    kept = []
    draws = stream(seed, "fraction").random(len(listing))
    for label, name in enumerate(listing.classes):
        members = train[listing.labels[train] == label]
        count = int(np.floor(fraction * len(members) + 0.5))
        if members.size and not count:
            raise DataError(
                f"A fraction of {fraction:g} leaves none of the {len(members)} training images of class {name!r}.",
                f"Use {0.5 / len(members):.2g} or more, or leave the class out with --classes.",
            )
        kept.append(members[np.argsort(draws[members], kind="stable")[:count]])
    return np.sort(np.concatenate(kept))


def overlaps(listing: ImageIndex, split: Split, contents: Sequence[str]) -> list[str]:
    """Sentences on images of equal content in two splits or under two labels, and on groups in two splits."""
    side = np.empty(len(listing), dtype=np.int64)
    for number, part in enumerate((split.train, split.val, split.test)):
        side[part] = number
    notes = []
    for noun, names in (("images", contents), ("groups", listing.groups)):
        sets = _sets(names)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            shared = [members for members in sets if {a, b} <= set(side[members].tolist())]
            if shared:
                pair = (next(listing.keys[i] for i in shared[0] if side[i] == s) for s in (a, b))
                where = f"both {SPLITS[a]} and {SPLITS[b]}"
                notes.append(f"{len(shared):,} {noun} are in {where}, such as {' and '.join(pair)}.")
    torn = [members for members in _sets(contents) if len(set(listing.labels[members].tolist())) > 1]
    if torn:
        other = next(i for i in torn[0] if listing.labels[i] != listing.labels[torn[0][0]])
        example = f"{listing.keys[torn[0][0]]} and {listing.keys[other]}"
        notes.append(f"{len(torn):,} images appear under two labels, such as {example}.")
    return notes


def _sets(names: Sequence[str]) -> list[list[int]]:
    """Indices that share a name, for each name that at least two share."""
    sets = defaultdict(list)
    for i, name in enumerate(names):
        if name:
            sets[name].append(i)
    return [members for members in sets.values() if len(members) > 1]


def _declared(listing: ImageIndex, names: npt.NDArray[np.str_]) -> str:
    if (names == "").all():
        return "none"
    if (names == "").any():
        key = listing.keys[int((names == "").argmax())]
        count = np.count_nonzero(names == "")
        raise DataError(
            f"{count:,} images have no split, others have one (such as {key}).", "Give all a split, or none."
        )
    declared = "+".join(name for name in SPLITS if (names == name).any())
    if "train" not in declared:
        raise DataError(f"{listing.source} declares {declared}, but no image for train.", "Declare some as train.")
    return declared


def _units(listing: ImageIndex, contents: Sequence[str] | None) -> Indices:
    """For each image the number of its unit: images joined by group or content, directly or through others."""
    n = len(listing)
    rows, columns, nodes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], n
    for names in (listing.groups, contents or ()):
        number: dict[str, int] = {}
        joined = [i for i, name in enumerate(names) if name]
        rows.append(np.asarray(joined, dtype=np.int64))
        columns.append(np.asarray([nodes + number.setdefault(names[i], len(number)) for i in joined], dtype=np.int64))
        nodes += len(number)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = csr_matrix((np.ones(len(row), dtype=np.int8), (row, column)), shape=(nodes, nodes))
    _, unit = connected_components(graph, directed=False)
    return np.asarray(unit[:n], dtype=np.int64)


def _carve(
    listing: ImageIndex, units: Indices, pool: Indices, share: float, keep: int, seed: int, purpose: str
) -> tuple[Indices, Indices]:
    """Divide `pool` into (rest, carved), `carved` holding about `share` of each class.

    Each class gets one unit or more in `carved` and `keep` or more in the rest, which will be `keep` splits.
    """
    _, unit = np.unique(units[pool], return_inverse=True)
    for attempt in range(_ATTEMPTS):
        order = stream(seed, purpose, 0, attempt).permutation(int(unit.max()) + 1)
        filling = _Filling(order[unit], listing.labels[pool], len(listing.classes), share, keep)
        if attempt == 0 and filling.short is not None:
            name, count = listing.classes[filling.short], int(filling.total[filling.short])
            found = f"{pluralize(count, 'independent image')} or {'group' if count == 1 else 'groups'}"
            what = f"Class {name!r} has {found}, too few for {keep + 1} splits."
            raise DataError(what, "Add images of it, or leave it out: --classes a,b,c keeps those.")
        if filling.fill() and (keep == 1 or _divisible(filling, seed, attempt)):
            carved = filling.chosen[order[unit]]
            return pool[~carved], pool[carved]
    raise DataError(
        f"The groups of {listing.source} cannot be divided so that each split has every class.",
        "Use smaller groups, or declare the splits yourself.",
    )


def _divisible(filling: _Filling, seed: int, attempt: int) -> bool:
    """Whether what is left can be divided once more; it hangs on no seed but that of the test split."""
    if filling.simple:
        return True
    rest = np.flatnonzero(~filling.chosen)
    shuffled = stream(seed, "split/trial", 0, attempt).permutation(rest)
    trial = _Filling.__new__(_Filling)
    trial.prepare(filling.table[shuffled], SHARE / (1 - SHARE), 1)
    return trial.short is None and trial.fill()


class _Filling:
    """Chooses units until each class has its share: first what fits, in the given (random) order, then repairs.

    `table` [units, classes] counts images; `chosen` [units] is the answer; `inside` and `total` [classes] count units.
    """

    def __init__(self, unit: Indices, labels: Indices, classes: int, share: float, keep: int) -> None:
        shape = (int(unit.max()) + 1, classes)
        self.prepare(csr_matrix((np.ones(len(unit)), (unit, labels)), shape=shape), share, keep)

    def prepare(self, table: csr_matrix, share: float, keep: int) -> None:
        """Set up for `table`; `short` is a class with too few units, or None."""
        self.table, self.keep = table, keep
        self.has = (table > 0).astype(np.float64)
        counts = np.asarray(table.sum(axis=0)).ravel()
        self.total = np.asarray(self.has.sum(axis=0)).ravel()
        self.target = _apportion(counts, share)
        self.weight = 1 / np.maximum(counts, 1)
        self.chosen = np.zeros(table.shape[0], dtype=bool)
        self.inside = np.zeros(table.shape[1])
        self.have = np.zeros(table.shape[1])
        lacking = np.flatnonzero(self.total < keep + 1)
        self.short = int(lacking[0]) if len(lacking) else None
        self.simple = bool((np.diff(self.has.indptr) == 1).all())

    def fill(self) -> bool:
        """Choose; False if some class ends without a unit."""
        self._first_fit()
        for label in np.argsort(self.total, kind="stable"):
            if self.inside[label] == 0:
                gain = np.where(self.has[:, [label]].toarray().ravel() > 0, self._change(), np.inf)
                best = int(gain.argmin())
                if np.isinf(gain[best]):
                    return False
                self._toggle(best)
        for _ in range(100):
            change = self._change()
            best = int(change.argmin())
            if change[best] > -1e-9:
                break
            self._toggle(best)
        return True

    def _first_fit(self) -> None:
        room, spare = self.target.tolist(), (self.total - self.keep).tolist()
        starts, labels, sizes = (a.tolist() for a in (self.table.indptr, self.table.indices, self.table.data))
        for unit in range(len(self.chosen)):
            span = range(starts[unit], starts[unit + 1])
            if all(sizes[k] <= room[labels[k]] and spare[labels[k]] >= 1 for k in span):
                self.chosen[unit] = True
                for k in span:
                    room[labels[k]] -= sizes[k]
                    spare[labels[k]] -= 1
        self.have = self.target - np.asarray(room)
        self.inside = self.total - self.keep - np.asarray(spare)

    def _change(self) -> npt.NDArray[np.float64]:
        """By how much Σ (have - target)² / count would change if each unit changed sides; inf where it must not."""
        sign = np.where(self.chosen, -1, 1)
        change = 2 * sign * (self.table @ (self.weight * (self.have - self.target)))
        change += self.table.multiply(self.table) @ self.weight
        last_inside = self.has @ (self.inside <= 1).astype(np.float64)
        last_outside = self.has @ (self.total - self.inside <= self.keep).astype(np.float64)
        change[np.where(self.chosen, last_inside, last_outside) > 0] = np.inf
        return np.asarray(change)

    def _toggle(self, unit: int) -> None:
        sign = -1 if self.chosen[unit] else 1
        self.chosen[unit] = not self.chosen[unit]
        self.have += sign * self.table[[unit]].toarray().ravel()
        self.inside += sign * self.has[[unit]].toarray().ravel()


def _apportion(counts: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.float64]:
    """Whole numbers near `share` of each count that add up to `share` of the sum (largest remainders), at least 1."""
    quota = counts * share
    target = np.floor(quota)
    missing = int(np.floor(quota.sum() + 0.5) - target.sum())
    target[np.argsort(target - quota, kind="stable")[:missing]] += 1
    return np.maximum(target, 1)
