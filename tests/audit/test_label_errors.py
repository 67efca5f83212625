"""Confident learning: equal to the paper's formulas written as loops, and planted swaps are found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.audit.label_errors import cross_validated, suspects

from .test_cross_validation import clusters


def brute_force(probabilities, labels):
    """Return thresholds, confident joint and suspects, from the definitions in section 3.1 of the paper."""
    n, k = probabilities.shape
    thresholds = {}
    for j in range(k):
        own = [probabilities[i, j] for i in range(n) if labels[i] == j]
        if own:
            thresholds[j] = min(sum(own) / len(own), 0.9)
    joint, found = [[0] * k for _ in range(k)], {}
    for i in range(n):
        above = [j for j in thresholds if probabilities[i, j] >= thresholds[j]]
        best = max(above or range(k), key=lambda j: (probabilities[i, j], -j))
        if above:
            joint[labels[i]][best] += 1
        if best != labels[i]:
            found[i] = best
    return thresholds, joint, found


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 40))
def test_equal_to_brute_force(seed, classes, count):
    draws = np.random.default_rng(seed)
    probabilities = draws.dirichlet(np.full(classes, 0.4), count)
    labels = draws.integers(0, classes, count)
    result = suspects(probabilities, labels)
    thresholds, joint, found = brute_force(probabilities, labels)
    for j in range(classes):
        assert result.thresholds[j] == pytest.approx(thresholds.get(j, np.nan), nan_ok=True)
    assert result.joint.tolist() == joint
    assert dict(zip(result.indices.tolist(), result.suggested.tolist(), strict=True)) == found
    expected = {}
    for i, j in found.items():
        others = [x for x in range(count) if labels[x] == labels[i] and x != i]
        rate = (sum(probabilities[x, j] for x in others) + 10 * probabilities[:, j].mean()) / (len(others) + 10)
        expected[i] = np.log(probabilities[i, j] / max(probabilities[i, labels[i]], 1e-30)) - np.log(rate)
    np.testing.assert_allclose(result.scores, [expected[i] for i in result.indices.tolist()], rtol=1e-6, atol=1e-9)
    assert (np.diff(result.scores) <= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_planted_swaps_come_first(seed):
    features, labels = clusters(n=900, classes=6, d=20, spread=1.6, seed=seed)
    draws = np.random.default_rng(seed)
    wrong = draws.choice(900, 12, replace=False)
    given_labels = labels.copy()
    given_labels[wrong] = (labels[wrong] + draws.integers(1, 6, 12)) % 6
    probabilities = cross_validated([features], given_labels, np.arange(900), classes=6)
    result = suspects(probabilities, given_labels)
    first = dict(zip(result.indices[:14].tolist(), result.suggested[:14].tolist(), strict=True))
    hits = [i for i in wrong.tolist() if first.get(i) == labels[i]]
    assert len(hits) >= 11


def test_a_second_view_makes_fewer_errors_and_one_view_twice_changes_nothing():
    features, labels = clusters(n=600, classes=5, d=30, spread=0.6)
    halves = [np.ascontiguousarray(features[:, :15]), np.ascontiguousarray(features[:, 15:])]
    groups, rows = np.arange(600), np.arange(600)

    def loss(views):
        return -np.log(cross_validated(views, labels, groups, classes=5)[rows, labels]).mean()

    assert loss(halves) < min(loss(halves[:1]), loss(halves[1:]))
    assert loss(halves[:1] * 2) == pytest.approx(loss(halves[:1]), abs=1e-6)


def test_images_of_a_class_in_one_group_are_no_suspects():
    features, labels = clusters(n=300, classes=3)
    groups = np.where(labels == 2, 1000, np.arange(300))
    probabilities = cross_validated([features], labels, groups, classes=3)
    assert (probabilities[labels == 2, 2] == 1).all()
    assert not (labels[suspects(probabilities, labels).indices] == 2).any()


def test_no_images():
    result = suspects(np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    assert not len(result.indices)
    assert result.joint.sum() == 0


def test_a_thousand_classes():
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 6)
    features = (draws.normal(size=(1000, 64))[labels] * 3 + draws.normal(size=(6000, 64))).astype(np.float32)
    given_labels = labels.copy()
    given_labels[[7, 1234, 5999]] = [500, 3, 0]
    probabilities = cross_validated([features], given_labels, np.arange(6000), classes=1000)
    assert set(suspects(probabilities, given_labels).indices[:3].tolist()) == {7, 1234, 5999}
