"""Select units of images, such as groups, so that each class has its share of the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Indices = npt.NDArray[np.int64]
_MAX_REPAIRS = 100  # units that change sides after the first fit
_MIN_GAIN = 1e-9  # of the squared error; less is rounding


class UnitSelection:
    """Selects units until each class has its share: first fit in the given (random) order, then repairs.

    `table` [units, classes] counts images and `contains` says which units have a class. `selected` [units] is the
    result. `images_inside` [classes] counts selected images; `units_inside` and `total` [classes] count units.
    """

    def __init__(self, unit: Indices, labels: Indices, classes: int, share: float, remaining: int) -> None:
        from scipy.sparse import csr_matrix  # slow, and not needed if the splits are declared

        shape = (int(unit.max()) + 1, classes)
        self.prepare(csr_matrix((np.ones(len(unit)), (unit, labels)), shape=shape), share, remaining)

    def prepare(self, table: csr_matrix, share: float, remaining: int) -> None:
        """Set up for `table`; `short_classes` are the classes with too few units."""
        self.table, self.remaining = table, remaining
        self.contains = (table > 0).astype(np.float64)
        counts = np.asarray(table.sum(axis=0)).ravel()
        self.total = np.asarray(self.contains.sum(axis=0)).ravel()
        self.target = _apportion(counts, share)
        self.weight = 1 / np.maximum(counts, 1)
        self.selected = np.zeros(table.shape[0], dtype=bool)
        self.units_inside = np.zeros(table.shape[1])
        self.images_inside = np.zeros(table.shape[1])
        self.short_classes = np.flatnonzero(self.total < remaining + 1)
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
        for _unused in range(_MAX_REPAIRS):
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
