"""Rate of false winners and power of a study's decisions, in simulation; tests/simulation has the declared cells.

Each test draws at least 2,000 studies from the real records, as described in tests/simulated.py, with 5 seeds and 205
test images, and the same number of studies of each arm. The decisions are those of the real code. There are two null
hypotheses:

- copies: equal arms, each with its own search on two search seeds. Where two rates of the real records are close on val
  and different on test, copies end at different rates, and the study rightly finds one of them better.
- interaction: arms at the rate of an infinitely long search that differ by an arm x image effect of mean zero, as large
  as that between the real arms (their difference has a variance of 0.01 to 0.12 between images; 2 in logits gives 0.03
  to 0.07).

Upper limits are Clopper and Pearson's (1934), one-sided 95 %, by scipy.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from headstart.analysis import contrasts
from headstart.analysis.headline import flip_contrast, not_worse
from headstart.analysis.verdict import comparators_of, with_comparators
from headstart.config.study_config import ArmVariant
from headstart.storage.schemas.contrast import Contrast
from tests import simulated
from tests.handmade import arm_spec

COUNT = 2_000
INTERACTIONS = [0.0, 2.0]


@pytest.fixture(autouse=True)
def _no_sample_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the required sample sizes: they are no part of the decision, and take most of the time."""
    monkeypatch.setattr(contrasts, "_sample_sizes", lambda *_: [])


def upper_limit(count: int, total: int) -> float:
    return float(stats.binomtest(count, total).proportion_ci(0.9, "exact").high)


def simulated_studies(
    seed: int, copies: int, count: int = COUNT, *, interaction: float = 0.0, gain: float = 0.0, fixed: bool = False
):
    """Yield simulated studies in which every copy is the same arm, with the same number of each real arm.

    With `interaction` or `fixed` the copies are at the best rate; `fixed` alone has no interaction, as the variants of
    a grid without a search. With `gain` the accuracy of the first copy is higher by that amount, for arms where that
    is possible.
    """
    arm_models = simulated.arm_models()
    for number, arm_model in enumerate(arm_models.values()):
        if arm_model.best.correct.mean() + gain <= 0.95:
            shift = arm_model.shift(gain, interaction) if gain else 0.0
            rng = np.random.default_rng([seed, number])
            arm_model = replace(arm_model, pools=(arm_model.best,)) if interaction or fixed else arm_model
            yield from arm_model.studies(count // len(arm_models), copies, rng, interaction=interaction, shift=shift)


def copy_contrasts(correct: np.ndarray) -> list[Contrast]:
    """Return the contrasts of all pairs of copies; the first against the last is the primary one."""
    names = [chr(ord("a") + i) for i in range(len(correct))]
    pairs = contrasts.contrast_pairs(names, names[-1], (names[0], names[-1]))
    return contrasts.compute_contrasts(dict(zip(names, correct, strict=True)), pairs, margin=0.01)


@pytest.mark.parametrize("interaction", INTERACTIONS, ids=["copies", "interaction"])
def test_three_equal_arms_rarely_have_a_false_decision(interaction: float) -> None:
    """Count studies in which any of the three contrasts is decided, so that fewer than all arms remain."""
    false = excluded = 0
    for correct, _ in simulated_studies(2, 3, interaction=interaction):
        rows = copy_contrasts(correct)
        false += any(row.outcome in ("better", "worse") for row in rows)
        remaining = not_worse(rows, "abc")
        excluded += len(remaining) < 3
        for name in remaining:
            own = [flip_contrast(row, name) for row in rows if name in row.pair]
            assert all(row.outcome != "worse" for row in own)
    print(f"any decision: {false} of {COUNT}, upper limit {upper_limit(false, COUNT):.4f}")
    assert false == excluded and upper_limit(false, COUNT) <= 0.065


@pytest.mark.parametrize(("rows", "rates"), [(1, 3), (2, 5), (4, 2)])
def test_grid_of_equal_rates_rarely_has_a_headline(rows: int, rates: int) -> None:
    """Select an arm and its comparator on val among all variants, and compare them on test in the family of all."""
    variants = [
        ArmVariant(arm_spec(f"scratch,optimizer={row},lr={rate}")) for row in range(rows) for rate in range(rates)
    ]
    names = [variant.name for variant in variants]
    false = 0
    for correct, val in simulated_studies(4, len(variants), interaction=0.0, fixed=True):
        scores = dict(zip(names, val, strict=True))
        chosen = max(names, key=lambda name: scores[name])
        comparators = comparators_of(chosen, variants, scores)
        pairs = with_comparators(names, (names[1], names[0]), chosen, comparators)
        family = contrasts.compute_contrasts(dict(zip(names, correct, strict=True)), pairs, margin=0.01)
        headline = next(row for row in family if row.pair == {chosen, comparators[0]})
        false += headline.outcome in ("better", "worse")
    print(f"headlines of {rows} x {rates}: {false} of {COUNT}, upper limit {upper_limit(false, COUNT):.4f}")
    assert upper_limit(false, COUNT) <= 0.065


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_power_at_eight_percentage_points(interaction: float, gain: float = 0.08) -> None:
    """Measure the power at 8 percentage points, n = 5, m = 205, for arms where such a gain is possible."""
    outcomes, gains = [], []
    for correct, _ in simulated_studies(3, 2, interaction=interaction, gain=gain):
        outcomes.append(copy_contrasts(correct)[0].outcome == "better")
        gains.append(float(correct[0].mean() - correct[1].mean()))
    print(f"power: {sum(outcomes)} of {len(outcomes)}")
    assert np.mean(gains) == pytest.approx(gain, abs=0.005)
    assert len(outcomes) >= 500 and np.mean(outcomes) >= 0.8
