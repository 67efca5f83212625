"""Statistics agree with simulations, published tables, brute force and scipy; every simulation is seeded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headstart.analysis.contrasts import compute_contrasts, contrast_pairs, decide
from headstart.analysis.image_sample import ImageSample
from headstart.analysis.sample_size import required_sample_size
from headstart.analysis.statistics import (
    crossed_interval,
    family_levels,
    mean_squares,
    obrien_fleming,
    sign_flip,
    time_to_target,
)
from headstart.metrics.confusion import balanced_weights
from headstart.verification.formulas import Sample
from headstart.verification.formulas import mean_squares as squares
from headstart.verification.sample_sizes import required


def many_crossed(d: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and half-width of the interval for [studies, n, m], by a second implementation."""
    _, n, m = d.shape
    row, column, mean = d.mean(2), d.mean(1), d.mean((1, 2))
    a = m * ((row - mean[:, None]) ** 2).sum(1) / (n - 1)
    b = n * ((column - mean[:, None]) ** 2).sum(1) / (m - 1)
    total = ((d - mean[:, None, None]) ** 2).sum((1, 2))
    c = (total - a * (n - 1) - b * (m - 1)) / ((n - 1) * (m - 1))
    variance = np.maximum(np.maximum(a + b - c, c) / (n * m), 1 / (m + 2) ** 2)
    df = np.full(len(d), np.inf)
    for rows in (a, np.maximum(a * (n - 1) / stats.chi2.isf(0.7, n - 1), c)):
        below = rows**2 / (n - 1) + b**2 / (m - 1) + c**2 / ((n - 1) * (m - 1))
        df = np.minimum(df, np.maximum((rows + b - c) ** 2 / np.maximum(below, 1e-300), min(n, m) - 1))
    return mean, stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance)


def studies(count: int, n: int, m: int, rng: np.random.Generator, *, skewed: bool, gap: float) -> np.ndarray:
    """Simulate differences of two arms with effects of images and seeds, and noise.

    An arm classifies an image correctly where skill (arm, seed) + ease (image) + noise of both exceeds 0.
    """
    ease = rng.normal(1.0, 1.2, (count, 1, m)).astype(np.float32)
    interaction = rng.normal(0, 0.5, (count, 1, m)).astype(np.float32)  # arm x image
    correct = []
    for sign in (1, -1):
        seed_effect = rng.gamma(1.0, 0.15, (count, n, 1)) - 0.15 if skewed else rng.normal(0, 0.15, (count, n, 1))
        noise = rng.standard_normal((count, n, m), dtype=np.float32) * 0.7
        correct.append(ease + sign * (gap / 2 + interaction / 2) + seed_effect.astype(np.float32) + noise > 0)
    return correct[0].astype(np.int8) - correct[1].astype(np.int8)


@pytest.mark.parametrize("m", [100, 300, 1000])
@pytest.mark.parametrize("skewed", [False, True])
def test_coverage_at_five_seeds(m: int, skewed: bool) -> None:
    rng = np.random.default_rng([5, m, skewed])
    truth = studies(400, 5, 1000, rng, skewed=skewed, gap=0.3).mean()
    covered = total = 0
    for _ in range(3):
        mean, half = many_crossed(studies(500, 5, m, rng, skewed=skewed, gap=0.3))
        covered += int((abs(mean - truth) <= half).sum())
        total += len(mean)
    assert covered / total >= 0.93


def test_interval_over_seeds_alone_has_too_little_coverage() -> None:
    rng = np.random.default_rng(7)
    truth = studies(400, 5, 1000, rng, skewed=False, gap=0.3).mean()
    d = studies(1500, 5, 100, rng, skewed=False, gap=0.3)
    seeds = d.mean(2)
    half = stats.t.ppf(0.975, 4) * seeds.std(1, ddof=1) / np.sqrt(5)
    assert (abs(seeds.mean(1) - truth) <= half).mean() < 0.93


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.integers(2, 40), st.integers(0, 10**6))
def test_crossed_interval_agrees_with_a_second_implementation_and_anova(n: int, m: int, seed: int) -> None:
    d = np.random.default_rng(seed).integers(-1, 2, (n, m)).astype(float)
    interval = crossed_interval(d)
    mean, half = many_crossed(d[None])
    assert interval.mean == pytest.approx(mean[0])
    assert (interval.low, interval.high) == pytest.approx(np.clip([mean[0] - half[0], mean[0] + half[0]], -1, 1))
    squares = mean_squares(d)
    explained = squares.seeds * (n - 1) + squares.units * (m - 1) + squares.rest * (n - 1) * (m - 1)
    assert explained == pytest.approx(((d - d.mean()) ** 2).sum())
    assert (interval.p < 0.05) == (abs(interval.mean) > half[0]) or abs(abs(interval.mean) - half[0]) < 1e-9


def test_endless_seeds_is_the_limit_of_many_seeds() -> None:
    d = np.random.default_rng(3).integers(-1, 2, (6, 80)) + (np.arange(80) % 3 - 1)
    interval = crossed_interval(d)
    limit = interval.squares.expected_at(50_000, 80).half_width(0.95)
    assert limit == pytest.approx(interval.half_width_infinite_seeds, rel=0.01)


def test_identical_arms_have_the_minimum_variance() -> None:
    interval = crossed_interval(np.zeros((5, 50)))
    assert (interval.mean, interval.p) == (0, 1) and -interval.low == interval.high == pytest.approx(
        stats.t.ppf(0.975, 4) / 52
    )
    assert interval.max_undetected_difference == pytest.approx(
        stats.binomtest(0, 50).proportion_ci(method="exact").high
    )
    assert crossed_interval(np.zeros((5, 50)), max_weight=2).max_undetected_difference == pytest.approx(
        2 * interval.max_undetected_difference
    )


@pytest.mark.parametrize(("m", "gap"), [(54, 0.02), (100, 0.015), (205, 0.015), (400, 0.015)])
def test_few_images_are_not_enough_for_equivalence_near_100_percent(m: int, gap: float) -> None:
    """All of the difference is in a few images, which a small test set may not contain at all."""
    rng = np.random.default_rng([11, m])
    equal = covered = 0
    for _ in range(400):
        hard = rng.random(m) < gap / 0.95
        first = rng.random((5, m)) < 0.999
        second = np.where(hard, rng.random((5, m)) < 0.05, rng.random((5, m)) < 0.999)
        contrast = compute_contrasts({"a": first, "b": second}, [("a", "b")], margin=0.01)[0]
        equal += contrast.outcome == "equivalent"
        covered += contrast.low <= gap <= contrast.high
    # without minimum variance and limit these are 20 % and 68 % at 54 images; nominal are 2.5 % and 95 %
    assert equal / 400 <= 0.05 and covered / 400 >= 0.85


def test_balanced_weights_give_the_balanced_difference() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [50, 30, 5])
    a, b = rng.integers(0, 2, (2, 4, 85))
    balanced = np.mean([(a - b)[:, labels == k].mean() for k in range(3)])
    assert ((a - b) * balanced_weights(labels)).mean() == pytest.approx(balanced)


def test_sign_flip_equals_scipy_permutation_test() -> None:
    d = np.random.default_rng(2).normal(0.3, 1, 8)
    scipy = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d) == pytest.approx(scipy.pvalue)
    assert sign_flip([1, 2, 3, 4, 5]) == 2 / 2**5


@given(st.integers(1, 45), st.floats(0.01, 0.99), st.floats(0.5, 0.999))
def test_family_levels_divide_the_error(family: int, share: float, level: float) -> None:
    levels = family_levels(family, share, level)
    assert len(levels) == family and sum(1 - x for x in levels) == pytest.approx(1 - level)
    assert levels[0] == pytest.approx(1 - share * (1 - level) if family > 1 else level)
    assert len(set(levels[1:])) <= 1


@pytest.mark.parametrize(("interim", "c"), [(2, 1.977), (3, 2.004), (5, 2.040), (10, 2.087)])
def test_obrien_fleming_against_the_published_table(interim: int, c: float) -> None:
    """Compare with the constants of Jennison & Turnbull 2000, table 2.3 (alpha 0.05, two-sided)."""
    p = obrien_fleming([k / interim for k in range(1, interim + 1)])
    assert stats.norm.isf(p[-1] / 2) == pytest.approx(c, abs=0.002)
    assert stats.norm.isf(p[0] / 2) == pytest.approx(c * np.sqrt(interim), abs=0.005)


def test_obrien_fleming_keeps_its_level_in_simulation() -> None:
    z = np.random.default_rng(4).standard_normal((40_000, 5)).cumsum(1) / np.sqrt(np.arange(1, 6))
    stopped = (2 * stats.norm.sf(abs(z)) <= np.array(obrien_fleming([0.2, 0.4, 0.6, 0.8, 1]))).any(1).mean()
    assert stopped == pytest.approx(0.05, abs=0.004)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(2, 30), min_size=2, max_size=4, unique=True))
def test_obrien_fleming_at_any_shares_against_the_multivariate_normal(counts: list[int]) -> None:
    shares = np.array(sorted(counts)) / max(counts)
    edges = stats.norm.isf(np.array(obrien_fleming(list(shares))) / 2)
    assert np.ptp(edges * np.sqrt(shares)) < 1e-6
    correlation = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))
    inside = stats.multivariate_normal.cdf(edges, cov=correlation, lower_limit=-edges, rng=np.random.default_rng(0))
    assert 1 - inside == pytest.approx(0.05, abs=5e-4)


def test_time_to_target_by_hand() -> None:
    """Three of five runs must have reached the target, however early the others ended; of 24 runs 12."""
    median_time = time_to_target([2, None, 4, 5, None])
    assert (median_time.median, median_time.reached, median_time.n) == (5, 3, 5)
    assert time_to_target([5, 5, None, None, None]).median is None
    assert time_to_target([None]).median is None
    assert time_to_target([3, 1, 2]).median == 2
    for reached in range(25):
        times = [*range(1, reached + 1), *[None] * (24 - reached)]
        assert time_to_target(times).median == (12 if reached >= 12 else None), reached


@given(st.lists(st.one_of(st.none(), st.integers(1, 20)), min_size=1, max_size=60))
def test_time_to_target_is_kaplan_meier_with_every_run_at_risk_to_the_end(times: list[int | None]) -> None:
    """Censor runs that never reach the target after the last event; 0.5 up to rounding of a product of shares."""
    reached = [time for time in times if time is not None]
    median_time = time_to_target(times)
    assert (median_time.reached, median_time.n) == (len(reached), len(times))
    if not reached:
        assert median_time.median is None
        return
    survival = stats.ecdf(stats.CensoredData(uncensored=reached, right=[21] * (len(times) - len(reached)))).sf
    half = survival.quantiles[survival.probabilities <= 0.5 + 1e-9]
    assert median_time.median == (half[0] if len(half) else None)


def test_required_seeds_are_more_than_the_present_ones() -> None:
    d = np.random.default_rng(8).integers(-1, 2, (5, 200)) + np.random.default_rng(9).integers(0, 2, (5, 1))
    interval = crossed_interval(d)
    half_width = interval.high - interval.mean
    low, high = required_sample_size(interval, half_width * 0.9).seeds
    assert 5 < low <= high  # although the variance of five seeds may be too large by chance
    assert required_sample_size(interval, interval.half_width_infinite_seeds * 0.5).seeds is None


def test_mean_of_a_balanced_accuracy_is_at_most_one_despite_rounding() -> None:
    rng = np.random.default_rng(24525)
    first, second = (rng.random((2, 2, 11)) < rng.random((2, 1, 1))).astype(int)
    labels = rng.integers(0, 3, 11)
    assert ((first - second) * balanced_weights(labels)).mean() < -1  # by a rounding error
    sample = ImageSample.of_metric("balanced", labels, np.arange(11))
    (contrast,) = compute_contrasts({"a": first, "b": second}, [("a", "b")], margin=0.0, sample=sample)
    assert contrast.mean == contrast.low == -1 < contrast.high


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(2, 6), st.integers(18, 30), st.integers(0, 10**6))
def test_clipped_interval_decides_as_the_whole_one(data, n: int, m: int, seed: int) -> None:
    """Include balanced accuracies, and margins up to the largest that can be declared."""
    rng = np.random.default_rng(seed)
    first, second = (rng.random((2, n, m)) < rng.random((2, 1, 1))).astype(int)
    metric, units = data.draw(st.sampled_from(["accuracy", "balanced"]), "metric"), rng.integers(0, m, m)
    sample = ImageSample.of_metric(metric, rng.integers(0, 3, m), units if data.draw(st.booleans()) else np.arange(m))
    margin = data.draw(st.sampled_from([0.0, 0.01, 0.3, 0.9999]) | st.floats(0, 0.9999), "margin")
    contrast = compute_contrasts({"a": first, "b": second}, [("a", "b")], margin=margin, sample=sample)[0]
    squares = mean_squares(sample.unit_values(first - second), sample.max_weight, sample.spread)
    half = squares.half_width(0.95)
    low, high = contrast.mean - half, contrast.mean + half
    hidden = squares.max_undetected_difference(0.95)
    expected = decide(low, high, margin=margin, n=n, g=sample.count, max_undetected_difference=hidden)
    assert expected == (contrast.outcome, contrast.by_less_than_margin)
    assert -1 <= contrast.low <= contrast.mean + 1e-12 and contrast.mean - 1e-12 <= contrast.high <= 1
    for shift in (-1, 1, contrast.mean):  # both cover the same possible values
        assert (low <= shift <= high) == (contrast.low <= shift <= contrast.high)


def test_interval_is_clipped_to_100_percentage_points() -> None:
    d = np.repeat([[1.0], [1.0], [0.0]], 18, axis=1)
    interval = crossed_interval(d)
    assert (interval.high, interval.low) == (1, pytest.approx(2 / 3 - interval.squares.half_width(0.95)))
    assert interval.squares.half_width(0.95) > 1 / 3
    assert crossed_interval([[1, 0], [-1, 0]]).half_width_infinite_seeds <= 1


@given(st.floats(-0.05, 0.05), st.floats(0.0005, 0.05), st.integers(3, 9))
def test_interval_of_half_the_margin_is_always_decided(mean: float, margin: float, n: int) -> None:
    assert decide(mean - 0.499 * margin, mean + 0.499 * margin, margin=margin, n=n, g=20)[0] != "undecided"


def test_required_sample_size_is_more_than_the_present_one() -> None:
    rng = np.random.default_rng(12)
    for m in (205, 2000):
        a, b = (rng.random((5, m)) < share for share in (0.9, 0.893))
        contrast = compute_contrasts({"a": a, "b": b}, [("a", "b")], margin=0.02)[0]
        if contrast.outcome == "undecided":
            wide = contrast.high - contrast.low > 0.04
            assert [size.half_width for size in contrast.sample_sizes] == ([0.02, 0.01] if wide else [0.01])
            for size in contrast.sample_sizes:
                for present, required in ((5, size.seeds), (m, size.units)):
                    assert required is None or required[0] > present


def test_required_sample_size_with_unequal_weights() -> None:
    """Balance classes of 100, 100 and 4 images; compare with a second implementation that tries every number."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], [100, 100, 4])
    weights = balanced_weights(labels)
    d = ((rng.random((5, 204)) < 0.7) * 1.0 - (rng.random((5, 204)) < 0.7)) * weights
    max_weight = float(weights.max())
    assert max_weight == pytest.approx(17)
    for target in (0.01, 0.05, 0.1, 0.3):
        estimate = required_sample_size(crossed_interval(d, max_weight=max_weight), target)
        ranges = {
            name: None if pair is None else list(pair)
            for name, pair in (("seeds", estimate.seeds), ("units", estimate.units))
        }
        other = required(squares(d), 5, 204, 0.95, target, Sample(np.arange(204), weights, labels))
        assert other == {"half_width": target, **ranges}, target


def test_more_images_do_not_reduce_variation_between_seeds() -> None:
    d = np.repeat(np.array([[-1.0], [1.0], [0.0], [1.0], [-1.0]]), 100, axis=1)
    assert required_sample_size(crossed_interval(d), 0.1).units is None


@pytest.mark.parametrize(
    ("low", "high", "n", "outcome"),
    [
        (0.02, 0.06, 5, ("better", False)),
        (0.005, 0.06, 5, ("better", True)),
        (-0.06, -0.02, 5, ("worse", False)),
        (-0.005, 0.008, 5, ("equivalent", False)),
        (0.001, 0.009, 5, ("equivalent", False)),  # the margin comes first
        (-0.02, 0.03, 5, ("undecided", False)),
        (0.02, 0.06, 2, ("undecided", False)),
    ],
)
def test_decision_rules_apply_in_order(low: float, high: float, n: int, outcome: tuple[str, bool]) -> None:
    assert decide(low, high, margin=0.01, n=n, g=20) == outcome


def test_all_contrasts_share_the_error_and_the_primary_one_has_half_of_it() -> None:
    rng = np.random.default_rng(6)
    correct = {name: rng.integers(0, 2, (5, 90)) for name in ("scratch", "a", "b", "c")}
    declared = contrast_pairs(list(correct), "scratch", ("a", "scratch"))
    assert declared[0] == ("a", "scratch") and len(declared) == 6 and len({frozenset(p) for p in declared}) == 6
    contrasts = compute_contrasts(correct, declared, margin=0.01)
    assert [c.level for c in contrasts] == [pytest.approx(0.975)] + [pytest.approx(0.995)] * 5
    assert sum(1 - c.level for c in contrasts) == pytest.approx(0.05)
    alone = crossed_interval(correct["a"] - correct["scratch"], 0.975)
    assert (contrasts[0].low, contrasts[0].p_adjusted) == (alone.low, min(1, 2 * alone.p))
    assert [c.p_adjusted for c in contrasts[1:]] == [pytest.approx(min(1, 10 * c.p)) for c in contrasts[1:]]
    (two_arms,) = compute_contrasts(correct, declared[:1], margin=0.01)
    assert (two_arms.level, two_arms.p_adjusted) == (0.95, two_arms.p)
    assert contrasts[0].mean == pytest.approx(correct["a"].mean() - correct["scratch"].mean())
    assert len(contrast_pairs([f"arm{i}" for i in range(9)], "arm0", ("arm1", "arm0"))) == 8
