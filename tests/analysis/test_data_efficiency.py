"""Data efficiency: planted curves, and the coverage of its intervals in simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.analysis.data_efficiency import crossover, data_efficiency, label_equivalence
from headstart.analysis.details import labels_words
from headstart.i18n import Message
from headstart.storage.schemas.verdict import Condition, DataEfficiency
from tests.messages import values_of
from tests.verdicts import arm_result, changed, seed_result, verdict

FRACTIONS = (0.1, 0.25, 0.5, 1.0)


def log_curve(shares, slope: float = 0.1, all_labels: float = 0.8) -> np.ndarray:
    """Return accuracies that are linear in the logarithm of the labels."""
    return all_labels + slope * np.log(np.asarray(shares))


@given(st.floats(1.05, 9.5), st.floats(0.01, 0.3))
def test_label_equivalence_recovers_a_planted_factor(factor: float, slope: float) -> None:
    """Make the first arm at f equal to the reference at factor x f, on every seed."""
    reference = np.tile(log_curve(FRACTIONS, slope), (3, 1))
    first = np.tile(log_curve(np.array(FRACTIONS) * factor, slope), (3, 1))
    for equivalence in label_equivalence(first, reference, FRACTIONS):
        if equivalence.fraction * factor < 1:
            assert equivalence.factor == pytest.approx(factor, rel=1e-6) and not equivalence.more
            assert equivalence.low == pytest.approx(factor, rel=4e-3) and equivalence.high == pytest.approx(
                factor, rel=4e-3
            )
        elif equivalence.fraction * factor > 1:
            assert (
                equivalence.factor is None
                and equivalence.more
                and equivalence.max_factor == pytest.approx(1 / equivalence.fraction)
            )
            assert equivalence.low == pytest.approx(equivalence.max_factor) and equivalence.high is None


def test_factor_of_a_worse_arm_is_below_one_or_censored() -> None:
    reference = np.tile(log_curve(FRACTIONS), (4, 1))
    first = np.tile(log_curve(np.array(FRACTIONS) / 4), (4, 1))
    equivalences = label_equivalence(first, reference, FRACTIONS)
    assert equivalences[-1].factor == pytest.approx(0.25, rel=1e-6)
    assert (
        equivalences[0].factor is None
        and not equivalences[0].more
        and equivalences[0].low is None
        and equivalences[0].high == pytest.approx(1)
    )
    assert [row.factor for row in label_equivalence(reference, reference, FRACTIONS)] == pytest.approx([1.0] * 4)


def test_crossover_of_planted_curves() -> None:
    steep, flat = log_curve(FRACTIONS, 0.2, 0.8), log_curve(FRACTIONS, 0.1, 0.8 + 0.1 * math.log(0.4))
    for first, reference in ((steep, flat), (flat, steep)):  # both have 0.8 + 0.2 log(0.4) at 0.4
        crossing = crossover(np.tile(first, (3, 1)), np.tile(reference, (3, 1)), FRACTIONS)
        assert crossing is not None and crossing.fraction == pytest.approx(0.4, rel=1e-6)
    assert crossover(np.tile(flat - 1, (3, 1)), np.tile(steep, (3, 1)), FRACTIONS) is None


@pytest.mark.parametrize("n", [3, 5, 20])
def test_intervals_cover_the_true_values(n: int) -> None:
    """Simulate 2,000 studies with effects of seeds and of runs; at 10 % the true factor is 2."""
    draw, studies = np.random.default_rng(1), 2000
    true = log_curve(FRACTIONS)
    better = log_curve(
        np.minimum(np.array(FRACTIONS) * 2, 1)
    )  # up to half of the labels, the reference with twice the labels
    flatter = true.mean() + 0.3 * (true - true.mean())
    true_crossing = _crossing(true, flatter)
    inside = [0, 0]
    for _ in range(studies):
        shift = draw.normal(0, 0.02, (n, 1))
        reference, first, flat = (
            mean + shift + draw.normal(0, 0.01, (n, len(FRACTIONS))) for mean in (true, better, flatter)
        )
        equivalence = label_equivalence(first, reference, FRACTIONS)[0]
        inside[0] += (equivalence.low or 0) <= 2 <= (equivalence.high or math.inf)
        cross = crossover(flat, reference, FRACTIONS)
        inside[1] += cross is not None and (cross.low or 0) <= true_crossing <= (cross.high or math.inf)
    error = math.sqrt(0.05 * 0.95 / studies)
    for count in inside:
        assert 0.95 - 4 * error <= count / studies <= 0.95 + 4 * error


def _crossing(first: np.ndarray, second: np.ndarray) -> float:
    """Return where two curves that are linear in the logarithm between the fractions cross."""
    logs, difference = np.log(FRACTIONS), first - second
    at = int(np.flatnonzero(np.sign(difference[:-1]) != np.sign(difference[1:]))[0])
    share = -difference[at] / (difference[at + 1] - difference[at])
    return math.exp(logs[at] + share * (logs[at + 1] - logs[at]))


def condition(fraction: float, first: list[float], reference: list[float]) -> Condition:
    """Return a condition with these accuracies; seed 9 exists at one fraction only."""
    arms = []
    for name, values in (("imagenet", first), ("scratch", reference)):
        rows = [seed_result(seed, test=value) for seed, value in enumerate(values)]
        arms.append(arm_result(name, rows + ([seed_result(9, test=0.0)] if fraction == 1 else [])))
    return verdict(arms, budget="3ep", fraction=fraction)


def equivalence_words(efficiency: DataEfficiency) -> Message:
    """Return the sentence on the smallest fraction."""
    words = labels_words(verdict(labels=efficiency))
    assert words is not None
    sentence = words.values["part0"]
    assert isinstance(sentence, Message)
    return sentence


def test_verdict_with_several_fractions_has_a_labels_sentence() -> None:
    shifts = [-0.01, 0.0, 0.01]
    curves = [(log_curve(share * 1.9), log_curve(share)) for share in FRACTIONS]
    conditions = [
        condition(share, [float(first) + s for s in shifts], [float(reference) + s for s in shifts])
        for share, (first, reference) in zip(FRACTIONS, curves, strict=True)
    ]
    efficiency = data_efficiency(conditions)
    assert efficiency is not None and (efficiency.first, efficiency.reference, efficiency.n) == (
        "imagenet",
        "scratch",
        3,
    )
    assert [row.factor for row in efficiency.equivalences] == [pytest.approx(1.9, rel=1e-6)] * 3 + [None]
    factor, first_row = pytest.approx(1.9, rel=1e-6), efficiency.equivalences[0]
    between = ["95", f"{first_row.low:.2g}", f"{first_row.high:.2g}"]
    assert values_of(equivalence_words(efficiency)) == [10, "imagenet", "scratch", factor, 3, *between]
    last = changed(efficiency.equivalences[3], high=None)
    at_least = [3, "95", f"{last.low:.2g}", 1]
    more = equivalence_words(changed(efficiency, equivalences=[last]))
    assert values_of(more) == [100, "imagenet", "scratch", 1, *at_least]  # more than 1 times as many labels
    fewer = equivalence_words(changed(efficiency, equivalences=[changed(last, more=False)]))
    assert values_of(fewer) == [100, "imagenet", "scratch", *at_least] and "labels" not in fewer.values
    assert data_efficiency(conditions[-1:]) is None and data_efficiency([]) is None


def test_invalid_curves_raise_value_error() -> None:
    for first, reference, fractions in (
        (np.zeros((1, 2)), np.zeros((1, 2)), (0.5, 1)),
        (np.zeros((3, 1)), np.zeros((3, 1)), (1,)),
        (np.zeros((3, 2)), np.zeros((2, 2)), (0.5, 1)),
        (np.zeros((3, 2)), np.zeros((3, 2)), (1, 0.5)),
    ):
        with pytest.raises(ValueError, match=r"seeds|arms"):
            label_equivalence(first, reference, fractions)
