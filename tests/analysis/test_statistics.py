"""The statistics against simulations, published tables, brute force and scipy; every simulation is seeded."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from headstart.analysis.contrasts import contrasts, decide, pairs
from headstart.analysis.statistics import (
    balance,
    bonferroni,
    crossed,
    holm,
    mean_squares,
    need,
    obrien_fleming,
    sign_flip,
    time_to_target,
    wilson,
)
from tests.recompute import needed, squares


def many_crossed(d: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The same interval for [studies, n, m] at once, written a second time: mean and half-width."""
    _, n, m = d.shape
    row, column, mean = d.mean(2), d.mean(1), d.mean((1, 2))
    a = m * ((row - mean[:, None]) ** 2).sum(1) / (n - 1)
    b = n * ((column - mean[:, None]) ** 2).sum(1) / (m - 1)
    total = ((d - mean[:, None, None]) ** 2).sum((1, 2))
    c = (total - a * (n - 1) - b * (m - 1)) / ((n - 1) * (m - 1))
    variance = np.maximum(np.maximum(a + b - c, c) / (n * m), 1 / (m + 2) ** 2)
    below = a**2 / (n - 1) + b**2 / (m - 1) + c**2 / ((n - 1) * (m - 1))
    df = np.maximum((a + b - c) ** 2 / np.maximum(below, 1e-300), min(n, m) - 1)
    return mean, stats.t.ppf((1 + level) / 2, df) * np.sqrt(variance)


def studies(count: int, n: int, m: int, rng: np.random.Generator, *, skewed: bool, gap: float) -> np.ndarray:
    """Differences of two arms: images of unequal difficulty, seeds of unequal luck, and what is left to chance.

    Each arm's answer to an image is right where skill (arm, seed) + ease (image) + noise of both exceeds 0.
    """
    ease = rng.normal(1.0, 1.2, (count, 1, m)).astype(np.float32)
    taste = rng.normal(0, 0.5, (count, 1, m)).astype(np.float32)  # arm x image: one arm finds some images easier
    answers = []
    for sign in (1, -1):
        luck = rng.gamma(1.0, 0.15, (count, n, 1)) - 0.15 if skewed else rng.normal(0, 0.15, (count, n, 1))
        noise = rng.standard_normal((count, n, m), dtype=np.float32) * 0.7
        answers.append(ease + sign * (gap / 2 + taste / 2) + luck.astype(np.float32) + noise > 0)
    return answers[0].astype(np.int8) - answers[1].astype(np.int8)


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


def test_an_interval_over_seeds_alone_would_miss_the_images() -> None:
    rng = np.random.default_rng(7)
    truth = studies(400, 5, 1000, rng, skewed=False, gap=0.3).mean()
    d = studies(1500, 5, 100, rng, skewed=False, gap=0.3)
    seeds = d.mean(2)
    half = stats.t.ppf(0.975, 4) * seeds.std(1, ddof=1) / np.sqrt(5)
    assert (abs(seeds.mean(1) - truth) <= half).mean() < 0.93


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.integers(2, 40), st.integers(0, 10**6))
def test_crossed_agrees_with_the_second_writing_and_with_anova(n: int, m: int, seed: int) -> None:
    d = np.random.default_rng(seed).integers(-1, 2, (n, m)).astype(float)
    found = crossed(d)
    mean, half = many_crossed(d[None])
    assert found.mean == pytest.approx(mean[0])
    assert (found.low, found.high) == pytest.approx(np.clip([mean[0] - half[0], mean[0] + half[0]], -1, 1))
    squares = mean_squares(d)
    explained = squares.seeds * (n - 1) + squares.images * (m - 1) + squares.rest * (n - 1) * (m - 1)
    assert explained == pytest.approx(((d - d.mean()) ** 2).sum())
    assert (found.p < 0.05) == (abs(found.mean) > half[0]) or abs(abs(found.mean) - half[0]) < 1e-9


def test_endless_seeds_is_the_limit_of_many_seeds() -> None:
    d = np.random.default_rng(3).integers(-1, 2, (6, 80)) + (np.arange(80) % 3 - 1)
    found = crossed(d)
    limit = found.squares.at(50_000, 80).half_width(0.95)
    assert limit == pytest.approx(found.endless_seeds, rel=0.01)


def test_identical_answers_are_known_as_well_as_so_few_images_can_tell() -> None:
    found = crossed(np.zeros((5, 50)))
    assert (found.mean, found.p) == (0, 1) and -found.low == found.high == pytest.approx(stats.t.ppf(0.975, 4) / 52)
    assert found.unseen == pytest.approx(stats.binomtest(0, 50).proportion_ci(method="exact").high)
    assert crossed(np.zeros((5, 50)), most=2).unseen == pytest.approx(2 * found.unseen)


@pytest.mark.parametrize(("m", "gap"), [(54, 0.02), (100, 0.015), (205, 0.015), (400, 0.015)])
def test_near_100_per_cent_equality_is_not_claimed_of_what_few_images_hide(m: int, gap: float) -> None:
    """All of the difference lies in a few images, which a small judge set may not hold at all."""
    rng = np.random.default_rng([11, m])
    equal = covered = 0
    for _ in range(400):
        hard = rng.random(m) < gap / 0.95
        first = rng.random((5, m)) < 0.999
        second = np.where(hard, rng.random((5, m)) < 0.05, rng.random((5, m)) < 0.999)
        found = contrasts({"a": first, "b": second}, [("a", "b")], margin=0.01)[0]
        equal += found.outcome == "equal"
        covered += found.low <= gap <= found.high
    # Without the floor and the limit it is 20 % and 68 % at 54 images; nominal are 2.5 % and 95 %.
    assert equal / 400 <= 0.05 and covered / 400 >= 0.85


def test_balanced_weights_give_the_balanced_difference() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [50, 30, 5])
    a, b = rng.integers(0, 2, (2, 4, 85))
    balanced = np.mean([(a - b)[:, labels == k].mean() for k in range(3)])
    assert ((a - b) * balance(labels)).mean() == pytest.approx(balanced)


def test_sign_flip_is_the_permutation_test_of_scipy() -> None:
    d = np.random.default_rng(2).normal(0.3, 1, 8)
    scipy = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(d) == pytest.approx(scipy.pvalue)
    assert sign_flip([1, 2, 3, 4, 5]) == 2 / 2**5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_by_its_definition(p: list[float]) -> None:
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.2):
        order = sorted(range(len(p)), key=lambda i: p[i])
        passed = [p[i] * (len(p) - rank) <= alpha for rank, i in enumerate(order)]
        rejected = set(itertools.compress(order, itertools.accumulate(passed, lambda a, b: a and b)))
        assert {i for i in range(len(p)) if adjusted[i] <= alpha} == rejected


def test_bonferroni() -> None:
    assert bonferroni(0.95, 5) == pytest.approx(0.99) and bonferroni(0.95, 0) == 0.95


@pytest.mark.parametrize(("interim", "c"), [(2, 1.977), (3, 2.004), (5, 2.040), (10, 2.087)])
def test_obrien_fleming_against_the_published_table(looks: int, c: float) -> None:
    """Constants of Jennison & Turnbull 2000, table 2.3 (alpha 0.05, two-sided)."""
    p = obrien_fleming([k / looks for k in range(1, looks + 1)])
    assert stats.norm.isf(p[-1] / 2) == pytest.approx(c, abs=0.002)
    assert stats.norm.isf(p[0] / 2) == pytest.approx(c * np.sqrt(looks), abs=0.005)


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
    together = np.sqrt(np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares))
    inside = stats.multivariate_normal.cdf(edges, cov=together, lower_limit=-edges, rng=np.random.default_rng(0))
    assert 1 - inside == pytest.approx(0.05, abs=5e-4)


def test_time_to_target_by_hand() -> None:
    """Of five runs three must have got there, however early the others ended; of 24 runs 12."""
    found = time_to_target([2, None, 4, 5, None])
    assert (found.median, found.reached, found.n) == (5, 3, 5)
    assert time_to_target([5, 5, None, None, None]).median is None
    assert time_to_target([None]).median is None
    assert time_to_target([3, 1, 2]).median == 2
    for reached in range(25):
        times = [*range(1, reached + 1), *[None] * (24 - reached)]
        assert time_to_target(times).median == (12 if reached >= 12 else None), reached


@given(st.lists(st.one_of(st.none(), st.integers(1, 20)), min_size=1, max_size=60))
def test_time_to_target_is_kaplan_meier_with_every_run_at_risk_to_the_end(times: list[int | None]) -> None:
    """Whoever never got there is censored after the last event; 0.5 but for the rounding of a product of shares."""
    reached = [time for time in times if time is not None]
    found = time_to_target(times)
    assert (found.reached, found.n) == (len(reached), len(times))
    if not reached:
        assert found.median is None
        return
    survival = stats.ecdf(stats.CensoredData(uncensored=reached, right=[21] * (len(times) - len(reached)))).sf
    half = survival.quantiles[survival.probabilities <= 0.5 + 1e-9]
    assert found.median == (half[0] if len(half) else None)


def test_what_is_needed_gives_the_width_that_was_asked_for() -> None:
    d = np.random.default_rng(8).integers(-1, 2, (5, 200)) + np.random.default_rng(9).integers(0, 2, (5, 1))
    found = crossed(d)
    wanted = found.high - found.mean
    low, high = need(found, wanted * 0.9).seeds
    assert 5 < low <= high  # never fewer than there are, though five seeds may look more unlike than they are
    assert need(found, found.endless_seeds * 0.5).seeds is None


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(2, 6), st.integers(2, 12), st.integers(0, 10**6))
def test_an_interval_cut_to_what_can_be_decides_as_the_whole_one(data, n: int, m: int, seed: int) -> None:
    """Also of balanced accuracies, with ties up to the widest that can be declared."""
    rng = np.random.default_rng(seed)
    first, second = (rng.random((2, n, m)) < rng.random((2, 1, 1))).astype(int)
    labels = rng.integers(0, 3, m) if data.draw(st.booleans(), "balanced") else None
    margin = data.draw(st.sampled_from([0.0, 0.01, 0.3, 0.9999]) | st.floats(0, 0.9999), "margin")
    found = contrasts({"a": first, "b": second}, [("a", "b")], margin=margin, labels=labels)[0]
    weights = np.ones(1) if labels is None else balance(labels)
    squares = mean_squares((first - second) * weights, float(weights.max()))
    half = squares.half_width(0.95)
    low, high = found.mean - half, found.mean + half
    assert decide(low, high, margin=margin, n=n, unseen=squares.unseen(0.95)) == (
        found.outcome,
        found.by_less_than_margin,
    )
    assert -1 <= found.low <= found.mean + 1e-12 and found.mean - 1e-12 <= found.high <= 1
    for shift in (-1, 1, found.mean):  # of all that can be true, both cover the same
        assert (low <= shift <= high) == (found.low <= shift <= found.high)


def test_few_seeds_and_images_tell_no_difference_of_more_than_100_points() -> None:
    d = np.repeat([[1.0], [1.0], [0.0]], 18, axis=1)
    found = crossed(d)
    assert (found.high, found.low) == (1, pytest.approx(2 / 3 - found.squares.half_width(0.95)))
    assert found.squares.half_width(0.95) > 1 / 3
    assert crossed([[1, 0], [-1, 0]]).endless_seeds <= 1


@given(st.floats(-0.05, 0.05), st.floats(0.0005, 0.05), st.integers(3, 9))
def test_an_interval_of_half_the_tie_is_always_decided(mean: float, margin: float, n: int) -> None:
    assert decide(mean - 0.499 * margin, mean + 0.499 * margin, margin=margin, n=n)[0] != "undecided"


def test_what_would_settle_it_is_more_than_there_is() -> None:
    rng = np.random.default_rng(12)
    for m in (205, 2000):
        a, b = (rng.random((5, m)) < share for share in (0.9, 0.893))
        found = contrasts({"a": a, "b": b}, [("a", "b")], margin=0.02)[0]
        if found.outcome == "undecided":
            assert found.need.half_width == (0.02 if found.high - found.low > 0.04 else 0.01)
            for have, wanted in ((5, found.need.seeds), (m, found.need.images)):
                assert wanted is None or wanted[0] > have


def test_what_is_needed_where_an_image_counts_for_many() -> None:
    """Balanced over classes of 100, 100 and 4 images; held against the second writing, which tries every number."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], [100, 100, 4])
    weights = balance(labels)
    d = ((rng.random((5, 204)) < 0.7) * 1.0 - (rng.random((5, 204)) < 0.7)) * weights
    most = float(weights.max())
    assert most == pytest.approx(17)
    for wanted in (0.01, 0.05, 0.1, 0.3):
        found = need(crossed(d, most=most), wanted)
        told = {
            name: None if pair is None else list(pair)
            for name, pair in (("seeds", found.seeds), ("images", found.images))
        }
        other = needed(*squares(d), 5, 204, 0.95, wanted, most)
        assert other == {"half_width": wanted, **told}, wanted


def test_more_images_do_not_help_against_the_luck_of_seeds() -> None:
    d = np.repeat(np.array([[-1.0], [1.0], [0.0], [1.0], [-1.0]]), 100, axis=1)
    assert need(crossed(d), 0.1).images is None


@pytest.mark.parametrize(
    ("low", "high", "n", "outcome"),
    [
        (0.02, 0.06, 5, ("better", False)),
        (0.005, 0.06, 5, ("better", True)),
        (-0.06, -0.02, 5, ("worse", False)),
        (-0.005, 0.008, 5, ("equal", False)),
        (0.001, 0.009, 5, ("equal", False)),  # the tie comes first
        (-0.02, 0.03, 5, ("undecided", False)),
        (0.02, 0.06, 2, ("undecided", False)),
    ],
)
def test_the_decision_in_its_order(low: float, high: float, n: int, outcome: tuple[str, bool]) -> None:
    assert decide(low, high, margin=0.01, n=n) == outcome


def test_contrasts_primary_alone_others_as_a_family() -> None:
    rng = np.random.default_rng(6)
    correct = {name: rng.integers(0, 2, (5, 90)) for name in ("scratch", "a", "b", "c")}
    wanted = pairs(list(correct), "scratch", ("a", "scratch"))
    assert wanted[0] == ("a", "scratch") and len(wanted) == 6 and len({frozenset(p) for p in wanted}) == 6
    found = contrasts(correct, wanted, margin=0.01)
    assert [c.level for c in found] == [0.95] + [pytest.approx(0.99)] * 5
    alone = crossed(correct["a"] - correct["scratch"])
    assert (found[0].low, found[0].p_adjusted) == (alone.low, alone.p)
    assert [c.p_adjusted for c in found[1:]] == holm([c.p for c in found[1:]])
    assert found[0].mean == pytest.approx(correct["a"].mean() - correct["scratch"].mean())
    assert len(pairs([f"arm{i}" for i in range(9)], "arm0", ("arm1", "arm0"))) == 8


def test_wilson() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
