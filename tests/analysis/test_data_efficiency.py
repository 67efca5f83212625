"""What a start is worth in labels: planted curves, and the coverage of its bands in simulation."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.analysis.data_efficiency import crossover, data_efficiency, worth
from headstart.analysis.sentences import labels_words

FRACTIONS = (0.1, 0.25, 0.5, 1.0)


def log_curve(shares, slope: float = 0.1, at_all: float = 0.8) -> np.ndarray:
    """Accuracy that is linear in the logarithm of the labels."""
    return at_all + slope * np.log(np.asarray(shares))


@given(st.floats(1.05, 9.5), st.floats(0.01, 0.3))
def test_labels_times_a_factor_are_found_as_that_factor(factor: float, slope: float) -> None:
    """The first arm at f is the reference at factor x f, on every seed alike."""
    reference = np.tile(log_curve(FRACTIONS, slope), (3, 1))
    first = np.tile(log_curve(np.array(FRACTIONS) * factor, slope), (3, 1))
    for found in worth(first, reference, FRACTIONS):
        if found.fraction * factor < 1:
            assert found.factor == pytest.approx(factor, rel=1e-6) and not found.more
            assert found.low == pytest.approx(factor, rel=4e-3) and found.high == pytest.approx(factor, rel=4e-3)
        elif found.fraction * factor > 1:
            assert found.factor is None and found.more and found.most == pytest.approx(1 / found.fraction)
            assert found.low == pytest.approx(found.most) and found.high is None


def test_a_worse_arm_is_worth_less_and_below_the_curve_it_is_censored() -> None:
    reference = np.tile(log_curve(FRACTIONS), (4, 1))
    first = np.tile(log_curve(np.array(FRACTIONS) / 4), (4, 1))
    found = worth(first, reference, FRACTIONS)
    assert found[-1].factor == pytest.approx(0.25, rel=1e-6)
    assert found[0].factor is None and not found[0].more and found[0].low is None and found[0].high == pytest.approx(1)
    assert [one.factor for one in worth(reference, reference, FRACTIONS)] == pytest.approx([1.0] * 4)


def test_where_curves_cross() -> None:
    steep, flat = log_curve(FRACTIONS, 0.2, 0.8), log_curve(FRACTIONS, 0.1, 0.8 + 0.1 * math.log(0.4))
    for one, other in ((steep, flat), (flat, steep)):  # both have 0.8 + 0.2 log(0.4) at 0.4
        found = crossover(np.tile(one, (3, 1)), np.tile(other, (3, 1)), FRACTIONS)
        assert found is not None and found.fraction == pytest.approx(0.4, rel=1e-6)
    assert crossover(np.tile(flat - 1, (3, 1)), np.tile(steep, (3, 1)), FRACTIONS) is None


@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_bands_cover_what_is_true(n: int) -> None:
    """2,000 studies: seeds shift whole curves, and every run by itself; at 10 % the true factor is 2."""
    draw, studies = np.random.default_rng(1), 2000
    true = log_curve(FRACTIONS)
    better = log_curve(np.minimum(np.array(FRACTIONS) * 2, 1))  # where it matters, the reference with twice the labels
    flatter = true.mean() + 0.3 * (true - true.mean())
    meets = _crossing(true, flatter)
    inside = [0, 0]
    for _ in range(studies):
        shift = draw.normal(0, 0.02, (n, 1))
        reference, first, flat = (
            mean + shift + draw.normal(0, 0.01, (n, len(FRACTIONS))) for mean in (true, better, flatter)
        )
        found = worth(first, reference, FRACTIONS)[0]
        inside[0] += (found.low or 0) <= 2 <= (found.high or math.inf)
        cross = crossover(flat, reference, FRACTIONS)
        inside[1] += cross is not None and (cross.low or 0) <= meets <= (cross.high or math.inf)
    error = math.sqrt(0.05 * 0.95 / studies)
    for count in inside:
        assert 0.95 - 4 * error <= count / studies <= 0.95 + 4 * error


def _crossing(one: np.ndarray, other: np.ndarray) -> float:
    """Where two curves that are linear in the logarithm between the fractions meet."""
    logs, difference = np.log(FRACTIONS), one - other
    at = int(np.flatnonzero(np.sign(difference[:-1]) != np.sign(difference[1:]))[0])
    share = -difference[at] / (difference[at + 1] - difference[at])
    return math.exp(logs[at] + share * (logs[at + 1] - logs[at]))


def condition(fraction: float, first: list[float], reference: list[float]) -> dict:
    """As conclude makes them, as far as curves need it; seed 9 is done on one fraction only."""
    arms = []
    for name, values in (("imagenet", first), ("scratch", reference)):
        rows = [{"seed": seed, "test": value} for seed, value in enumerate(values)]
        arms.append({"name": name, "seeds": rows + ([{"seed": 9, "test": 0.0}] if fraction == 1 else [])})
    return {"budget": "3ep", "fraction": fraction, "arms": arms, "primary": ["imagenet", "scratch"]}


def test_a_verdict_with_several_fractions_says_it() -> None:
    shifts = [-0.01, 0.0, 0.01]
    curves = [(log_curve(share * 1.9), log_curve(share)) for share in FRACTIONS]
    conditions = [
        condition(share, [float(first) + s for s in shifts], [float(reference) + s for s in shifts])
        for share, (first, reference) in zip(FRACTIONS, curves, strict=True)
    ]
    found = data_efficiency(conditions)
    assert found is not None and (found["first"], found["reference"], found["n"]) == ("imagenet", "scratch", 3)
    assert [one["factor"] for one in found["worth"]] == [pytest.approx(1.9, rel=1e-6)] * 3 + [None]
    said = labels_words({"labels": found})
    assert said.startswith("With 10 % of the labels, the arm 'imagenet, fine-tuned' has the accuracy for which the arm")
    assert "needs about 1.9 times as many" in said
    assert "3 seeds" in said and json.dumps(found, allow_nan=False)
    more = {**found, "worth": [{**found["worth"][3], "high": None}]}
    assert "more than 1 times as many" in labels_words({"labels": more})
    assert data_efficiency(conditions[-1:]) is None and data_efficiency([]) is None


def test_what_is_no_curve_is_refused() -> None:
    for first, reference, fractions in (
        (np.zeros((1, 2)), np.zeros((1, 2)), (0.5, 1)),
        (np.zeros((3, 1)), np.zeros((3, 1)), (1,)),
        (np.zeros((3, 2)), np.zeros((2, 2)), (0.5, 1)),
        (np.zeros((3, 2)), np.zeros((3, 2)), (1, 0.5)),
    ):
        with pytest.raises(ValueError, match=r"seeds|arms"):
            worth(first, reference, fractions)
