"""Test units of images: values per unit, their weights, and the decisions on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.analysis.contrasts import compute_contrasts
from headstart.analysis.image_sample import ImageSample
from headstart.analysis.interim import interim_analyses
from headstart.analysis.looks import Looks
from headstart.analysis.statistics import crossed_interval
from headstart.metrics.accuracy import effective_size, wilson_interval
from headstart.storage.schemas.contrast import Outcome


@st.composite
def studies(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return differences [n, m], labels [m] and units [m]."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, m = draw(st.integers(2, 4)), draw(st.integers(2, 30))
    return rng.integers(-1, 2, (n, m)).astype(float), rng.integers(0, 3, m), rng.integers(0, m, m)


@settings(max_examples=60)
@given(studies(), st.sampled_from(["accuracy", "balanced"]))
def test_unit_values_equal_those_of_a_loop(study: tuple[np.ndarray, np.ndarray, np.ndarray], metric: str) -> None:
    d, labels, units = study
    sample = ImageSample.of_metric(metric, labels, units)
    n, m = d.shape
    classes, counts = np.unique(labels, return_counts=True)
    weight = {k: m / (len(classes) * c) if metric == "balanced" else 1.0 for k, c in zip(classes, counts, strict=True)}
    class_mean = {k: d[:, labels == k].mean() if metric == "balanced" else d.mean() for k in classes}
    names = sorted(set(units.tolist()))
    mean = sum(weight[k] * d[i, j] for i in range(n) for j, k in enumerate(labels)) / (n * m)
    expected = [
        [sum(weight[labels[j]] * (d[i, j] - class_mean[labels[j]]) for j in np.flatnonzero(units == c)) * len(names) / m
         + mean for c in names]
        for i in range(n)
    ]  # fmt: skip
    values = sample.unit_values(d)
    assert values == pytest.approx(np.array(expected), abs=1e-12)
    weights = np.array([weight[k] for k in labels])
    assert values.mean(axis=1) == pytest.approx((d * weights).mean(axis=1), abs=1e-12)
    assert (sample.count, sample.images) == (len(names), m)
    sizes = [(units == c).sum() * len(names) / m for c in names]
    assert sample.max_weight == max(weights) and sample.spread == pytest.approx(np.mean(np.square(sizes)))


@given(studies())
def test_independent_images_keep_their_values(study: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    d, labels, _ = study
    sample = ImageSample.of_metric("accuracy", labels, np.arange(len(labels)) + 7)
    assert (sample.unit_values(d) == d).all() and sample.max_weight == sample.spread == 1


def test_images_that_are_all_repeated_add_nothing() -> None:
    """Three copies of each image have the interval of one copy."""
    d = np.random.default_rng(0).integers(-1, 2, (5, 60)).astype(float)
    sample = ImageSample.of_metric("accuracy", np.zeros(180, np.int64), np.repeat(np.arange(60), 3))
    once, thrice = crossed_interval(d), crossed_interval(sample.unit_values(np.repeat(d, 3, axis=1)))
    assert (thrice.low, thrice.high, thrice.p) == pytest.approx((once.low, once.high, once.p), abs=1e-12)


def test_one_burst_does_not_hide_a_difference_between_other_images() -> None:
    """A burst of ten photos beside 195 single ones widens the interval by little."""
    rng = np.random.default_rng(7)
    units = np.concatenate([np.arange(195), np.full(10, 195)])
    sample = ImageSample.equally_weighted(units)
    tables = [rng.random((5, 205)) < share for share in (0.95, 0.8)]
    (grouped,) = compute_contrasts(dict(zip("ab", tables, strict=True)), [("a", "b")], margin=0.01, sample=sample)
    (single,) = compute_contrasts(dict(zip("ab", tables, strict=True)), [("a", "b")], margin=0.01)
    assert (grouped.outcome, single.outcome) == (Outcome.BETTER, Outcome.BETTER)
    assert grouped.high - grouped.low < 1.3 * (single.high - single.low)


@pytest.mark.parametrize("units", [1, 10])
def test_too_few_units_end_no_study_early(units: int) -> None:
    tables = {"a": np.ones((5, 100)), "b": np.zeros((5, 100))}
    sample = ImageSample.equally_weighted(np.arange(100) % units)
    assert interim_analyses(tables, ("a", "b"), Looks((3, 5), 5), sample=sample) == []


def test_fewer_than_20_units_decide_nothing() -> None:
    tables = {"a": np.ones((5, 200)), "b": np.zeros((5, 200))}
    outcomes = []
    for g in (19, 20):
        sample = ImageSample.of_metric("accuracy", np.zeros(200, np.int64), np.arange(200) % g)
        (contrast,) = compute_contrasts(tables, [("a", "b")], margin=0.01, sample=sample)
        outcomes.append(contrast.outcome)
        assert (contrast.m, contrast.g) == (200, g)
    assert outcomes == [Outcome.UNDECIDED, Outcome.BETTER]


def simulate(rng: np.random.Generator, studies: int, clusters: int, size: int, share: float) -> np.ndarray:
    """Return differences [studies, 5, clusters * size] of equal arms, of which `share` of the variance is the units'.

    An image is correct where a latent normal value is positive; those of the arms, seeds and images add up.
    """
    shape = (studies, 5, clusters, size)
    unit, image = rng.standard_normal((studies, 1, clusters, 1)), rng.standard_normal((studies, 1, clusters, size))
    arms = []
    for _ in range(2):
        own = rng.standard_normal((studies, 1, clusters, 1)) * np.sqrt(share) + np.sqrt(1 - share) * (
            rng.standard_normal((studies, 1, clusters, size))
        )
        latent = 0.7 * (np.sqrt(share) * unit + np.sqrt(1 - share) * image) + 0.5 * own
        arms.append(latent + 0.3 * rng.standard_normal(shape) + 0.5 > 0)
    return (arms[0].astype(float) - arms[1]).reshape(studies, 5, clusters * size)


def test_groups_of_images_make_no_false_winners() -> None:
    """With correlation 0.9 in groups of ten, an interval over images has a false winner in more than 10 %."""
    differences = simulate(np.random.default_rng(5), 400, 40, 10, 0.9)
    sample = ImageSample.of_metric("accuracy", np.zeros(400, np.int64), np.repeat(np.arange(40), 10))
    of_images = [crossed_interval(d).p <= 0.05 for d in differences]
    of_units = [crossed_interval(sample.unit_values(d), spread=sample.spread).p <= 0.05 for d in differences]
    assert np.mean(of_images) > 0.1
    assert np.mean(of_units) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


@settings(max_examples=60)
@given(studies())
def test_effective_size_has_the_cluster_robust_variance(study: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    d, _, units = study
    correct = d[0] > 0
    m, names = len(correct), set(units.tolist())
    share = correct.mean()
    sums = [sum(float(correct[j]) - share for j in np.flatnonzero(units == c)) for c in names]
    variance = len(names) / max(len(names) - 1, 1) * sum(s**2 for s in sums) / m**2
    size = effective_size(correct, units)
    alike = m**2 / sum(float((units == c).sum()) ** 2 for c in names)
    if len(names) == m:
        assert size == m
    elif len(names) == 1 or not 0 < share < 1:
        assert size == pytest.approx(alike)
    elif variance < 1e-20:
        assert size == m
    else:
        assert size == pytest.approx(min(m, share * (1 - share) / variance))


def test_repeated_images_have_the_interval_of_one_copy() -> None:
    correct = np.arange(90) < 60
    low, high = wilson_interval(180, 270, size=effective_size(np.repeat(correct, 3), np.repeat(np.arange(90), 3)))
    expected = wilson_interval(60, 90)
    assert (low, high) == pytest.approx(expected, abs=2e-3)  # g/(g - 1) = 90/89 widens it
    assert high - low > expected[1] - expected[0]
