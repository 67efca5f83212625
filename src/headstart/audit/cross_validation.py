"""Cross-validated class probabilities of a linear classifier, in closed form and without torch.

The classifier is linear discriminant analysis with a shrunk covariance (Friedman 1989, "Regularized discriminant
analysis"): the softmax regression of classes that are normal with one covariance. Its weights are the solution of one
linear system for each fold, so 50,000 images or 1,000 classes need no iterations, and equal inputs give equal results.
On 3,781 photos it was as accurate as ridge regression with a Gaussian kernel (77 and 78 %).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headstart.rng import stream

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

FOLDS = 5
SHRINKAGE = 0.1  # share of the covariance that is replaced by its mean variance; 0.03 to 0.3 differ little
_MIN_VARIANCE = 1e-4  # within the classes, of a total of 1: a feature with less is constant within them
_RIDGE = 1e-4  # variance of such a feature, so that it separates classes which differ by more than 0.01
_CALIBRATION_VALUES = 2e6  # logits from which the temperature is taken
_BLOCK_ROWS = 4096
_SCALES = (-5.0, 1.0)  # logarithms of the inverse temperature; separable classes would have no upper limit


class _Fold(NamedTuple):
    """Sums over the images of one fold, of their features less the mean of their class: per class [k, d] and [d, d]."""

    counts: Floats
    sums: Floats
    products: Floats


def assign_folds(labels: Labels, groups: Labels, seed: int) -> Labels:
    """Return the fold of each image, int64 [n]: images of a group share a fold, and classes are spread evenly.

    Args:
        labels: Classes, [n].
        groups: Numbers of the groups, [n]; images that may not be separated have the same one.
        seed: Seed of the order in which groups are assigned.
    """
    _unused, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = stream(seed, "audit-folds").permutation(len(first))
    order = order[np.argsort(labels[first[order]], kind="stable")]
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % FOLDS
    return fold[group]


def standardize(features: Features) -> Features:
    """Return features [n, d] with mean 0 and standard deviation 1; constant ones become 0."""
    centered: Features = features - features.mean(0, dtype=np.float64).astype(np.float32)
    scale = np.sqrt(np.mean(np.square(centered), 0, dtype=np.float64)).astype(np.float32)
    centered[:, scale <= 1e-6] = 0
    centered /= np.where(scale > 1e-6, scale, np.float32(1))
    return centered


def log_probabilities(
    features: Features, labels: Labels, groups: Labels, *, classes: int, seed: int = 0
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return cross-validated log-probabilities of the classes.

    Each image is scored by a classifier that was fitted without its fold. One temperature for all images, which
    minimizes their log loss, makes up for the overconfidence of weights that fit the training folds.

    Args:
        features: Features, float32 [n, d].
        labels: Classes, int64 [n].
        groups: Numbers of the groups, int64 [n].
        classes: Number of classes, k.
        seed: Seed of the folds.

    Returns:
        Log-probabilities, float64 [n, k], and for each image whether its class had images in the other folds. A class
        that the other folds lack has probability 0.
    """
    values = standardize(features)
    means = _class_sums(values, labels, classes) / np.maximum(np.bincount(labels, minlength=classes), 1)[:, None]
    fold = assign_folds(labels, groups, seed)
    parts = [_sum_fold(values[fold == f], labels[fold == f], means) for f in range(FOLDS)]
    total = _Fold(*(sum(arrays) for arrays in zip(*parts, strict=True)))
    logits = np.full((len(labels), classes), -np.inf)
    covered = np.zeros(len(labels), dtype=np.bool_)
    for f, part in enumerate(parts):
        rows = fold == f
        rest = _Fold(*(all_ - own for all_, own in zip(total, part, strict=True)))
        known = rest.counts > 0
        if rows.any() and known.any():
            weights, bias = _fit(rest, means, known)
            logits[np.ix_(rows, known)] = values[rows] @ weights + bias
            covered[rows] = known[labels[rows]]
    logits[np.isneginf(logits).all(1)] = 0
    return calibrate(logits, labels, covered), covered


def _class_sums(values: Features | Floats, labels: Labels, classes: int) -> Floats:
    """Return the sums of the rows of each class, float64 [k, d]."""
    from scipy.sparse import csr_matrix

    rows = np.arange(len(labels))
    members = csr_matrix((np.ones(len(labels)), (labels, rows)), shape=(classes, len(labels)))
    return np.asarray(members @ values, dtype=np.float64)


def _sum_fold(values: Features, labels: Labels, means: Floats) -> _Fold:
    """Return the sums of a fold. Differences of large products would not say whether a feature varies in a class."""
    centered = values - means[labels]
    counts = np.bincount(labels, minlength=len(means)).astype(np.float64)
    products = centered.astype(np.float32)
    return _Fold(counts, _class_sums(centered, labels, len(means)), (products.T @ products).astype(np.float64))


def _fit(sums: _Fold, means: Floats, known: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return weights [d, k] and biases [k] of the discriminant functions of the `known` classes.

    Args:
        sums: Sums of the training folds.
        means: Means of the classes in all folds, [k, d], which are subtracted in `sums`.
        known: Classes with images in the training folds, [k].
    """
    from scipy.linalg import cho_factor, cho_solve

    counts, n = sums.counts[known], sums.counts.sum()
    shifts = sums.sums[known] / counts[:, None]
    centers = means[known] + shifts
    within = (sums.products - (shifts.T * counts) @ shifts) / max(n - len(counts), 1)
    variances = np.maximum(np.diag(within), 0)
    varies = variances > _MIN_VARIANCE
    ridge = np.where(varies, SHRINKAGE * variances[varies].sum() / len(within), _RIDGE)
    within *= 1 - SHRINKAGE
    within[:, ~varies] = within[~varies] = 0
    within[np.diag_indices(len(within))] += np.maximum(ridge, _RIDGE)
    weights = cho_solve(cho_factor(within, overwrite_a=True), (centers - centers.mean(0)).T)
    bias = np.log(counts / n) - np.sum((centers + centers.mean(0)) * weights.T, 1) / 2
    return weights, bias


def calibrate(logits: Floats, labels: Labels, covered: npt.NDArray[np.bool_]) -> Floats:
    """Return the log-softmax of logits divided by the temperature that minimizes the log loss."""
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    step = max(1, round(logits.size / _CALIBRATION_VALUES))
    sampled = np.flatnonzero(covered)[::step]
    used, own = logits[sampled], labels[sampled]

    def loss(log_scale: float) -> float:
        return float(-log_softmax(used * np.exp(log_scale), axis=1)[np.arange(len(own)), own].mean())

    scale = np.exp(minimize_scalar(loss, bounds=_SCALES, method="bounded").x) if len(own) else 1.0
    result = np.empty_like(logits)
    for begin in range(0, len(logits), _BLOCK_ROWS):  # the softmax makes copies
        rows = slice(begin, begin + _BLOCK_ROWS)
        result[rows] = log_softmax(logits[rows] * scale, axis=1)
    return result
