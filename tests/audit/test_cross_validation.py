"""Cross-validated probabilities: equal to scikit-learn's discriminant analysis, with groups and rare classes."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from headstart.audit.cross_validation import (
    FOLDS,
    SHRINKAGE,
    assign_folds,
    log_probabilities,
    standardize,
)


def clusters(n=400, classes=4, d=12, spread=1.5, seed=0):
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, classes, n)
    features = draws.normal(size=(n, d)) + draws.normal(size=(classes, d))[labels] * spread
    return features.astype(np.float32), labels


def test_probabilities_equal_those_of_scikit_learn_up_to_one_temperature():
    features, labels = clusters(spread=0.4)
    features *= np.linspace(0.1, 30, 12, dtype=np.float32)
    groups = np.arange(len(labels))
    logs, covered = log_probabilities(features, labels, groups, classes=4)
    assert covered.all()
    np.testing.assert_allclose(np.exp(logs).sum(1), 1, atol=1e-9)
    values = StandardScaler().fit_transform(features.astype(np.float64))
    fold = assign_folds(labels, groups, 0)
    expected = np.empty_like(logs)
    for f in range(FOLDS):
        rest = fold != f
        model = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=PooledShrunk())
        expected[fold == f] = model.fit(values[rest], labels[rest]).decision_function(values[fold == f])
    centered, reference = (x - x.mean(1, keepdims=True) for x in (logs, expected))
    scale = (centered * reference).sum() / (reference**2).sum()
    np.testing.assert_allclose(centered, scale * reference, atol=5e-3)

    def loss(s):
        return -log_softmax(expected * s, axis=1)[np.arange(len(labels)), labels].mean()

    assert loss(scale) <= min(loss(scale * 1.05), loss(scale / 1.05))


class PooledShrunk:
    """Covariance of one class, shrunk: scikit-learn averages those of the classes."""

    def fit(self, values):
        covariance = np.cov(values.T, bias=True)
        size = len(covariance)
        self.covariance_ = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / size * np.eye(size)
        return self


def test_folds_keep_groups_together_and_spread_classes():
    labels = np.repeat(np.arange(7), 40)
    groups = np.repeat(np.arange(140), 2)
    fold = assign_folds(labels, groups, 3)
    assert all(len(set(fold[groups == g])) == 1 for g in range(140))
    counts = np.array([np.bincount(fold[labels == c], minlength=FOLDS) for c in range(7)])
    assert counts.min() >= 6
    assert counts.max() <= 10
    assert (assign_folds(labels, groups, 3) == fold).all()
    assert (assign_folds(labels, groups, 4) != fold).any()


def test_copies_in_one_group_cannot_be_recognized_but_separate_ones_can():
    draws = np.random.default_rng(1)
    labels, features = draws.integers(0, 2, 60), draws.normal(size=(60, 40)).astype(np.float32)
    twice, own = np.tile(features, (4, 1)), np.tile(labels, 4)
    apart, _ = log_probabilities(twice, own, np.arange(240), classes=2)
    together, _ = log_probabilities(twice, own, np.tile(np.arange(60), 4), classes=2)
    assert np.mean(apart.argmax(1) == own) > 0.8
    assert np.mean(together.argmax(1) == own) < 0.7


def test_a_class_in_one_group_is_not_covered_and_an_absent_class_has_probability_0():
    features, labels = clusters(classes=3)
    labels[labels == 2] = 3
    groups = np.where(labels == 3, 1000, np.arange(len(labels)))
    logs, covered = log_probabilities(features, labels, groups, classes=5)
    assert (covered == (labels != 3)).all()
    assert np.isneginf(logs[:, [2, 4]]).all()
    assert not np.isnan(logs).any()


def test_one_group_of_all_images_covers_nothing():
    features, labels = clusters(n=20)
    logs, covered = log_probabilities(features, labels, np.zeros(20, dtype=np.int64), classes=4)
    assert not covered.any()
    np.testing.assert_allclose(np.exp(logs), 0.25)


def test_more_features_than_images_and_constant_ones():
    draws = np.random.default_rng(2)
    labels = np.arange(30) % 2
    features = np.hstack([draws.normal(size=(30, 100)), np.full((30, 3), 7.0)]).astype(np.float32)
    features[:, 0] += 20 * labels
    assert (standardize(features)[:, 100:] == 0).all()
    logs, _ = log_probabilities(features, labels, np.arange(30), classes=2)
    assert np.isfinite(logs).all()


@pytest.mark.parametrize(("classes", "count"), [(2, 1), (2, 2), (20, 1), (100, 1), (1, 1), (3, 2), (100, 2)])
def test_few_images_have_probabilities(classes: int, count: int):
    labels = np.repeat(np.arange(classes), count)
    features = np.random.default_rng(0).normal(size=(len(labels), 7)).astype(np.float32)
    for values in (features, np.zeros_like(features), np.repeat(features[:, :1], 7, axis=1)):
        logs, _covered = log_probabilities(values, labels, np.arange(len(labels)), classes=classes)
        np.testing.assert_allclose(np.exp(logs).sum(1), 1, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("noise", [0, 1, 100])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_features_that_are_constant_within_classes_separate_them(classes: int, noise: int, offset: float):
    draws = np.random.default_rng(4)
    labels = np.repeat(np.arange(classes), 20)
    constant = (draws.permutation(classes)[labels, None] + offset).astype(np.float32)
    features = np.hstack([constant, draws.normal(size=(len(labels), noise)).astype(np.float32)])
    logs, covered = log_probabilities(features, labels, np.arange(len(labels)), classes=classes)
    assert covered.all()
    assert (logs.argmax(1) == labels).all()


def test_the_temperature_of_many_images_is_taken_from_a_part_of_them(monkeypatch):
    features, labels = clusters(n=3000, spread=0.4)
    whole, _ = log_probabilities(features, labels, np.arange(3000), classes=4)
    monkeypatch.setattr("headstart.audit.cross_validation._CALIBRATION_VALUES", 3000)
    monkeypatch.setattr("headstart.audit.cross_validation._BLOCK_ROWS", 7)
    part, _ = log_probabilities(features, labels, np.arange(3000), classes=4)
    np.testing.assert_allclose(np.exp(part), np.exp(whole), atol=0.02)
    assert (part != whole).any()
