"""How often a study finds a winner where there is none, and how often it finds one that is there.

2,000 studies or more each, drawn as tests/simulated.py says from the real records, 5 seeds and 205 test images, as many
of each arm; decisions by the real code. Two nulls:

- copies: equal arms, each with a search of its own on two search seeds. Where the real records leave two rates close to
  each other on val and apart on test, copies end at different rates, and the study rightly finds one better.
- taste: arms at the rate of an endless search which differ by an arm x image effect of mean zero, as large as that
  between the real arms (their difference has a variance of 0.01 to 0.12 between images;
  2 in logits gives 0.03 to 0.07).

Upper limits are Clopper and Pearson's (1934), one-sided 95 %, by scipy.
"""

from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats

from headstart.analysis import contrasts as contrasts_module
from headstart.analysis.headline import flip_contrast, key_contrast
from headstart.analysis.verdict import rival_of, rivals_of, with_rivals
from headstart.config.study_config import ArmVariant
from tests import simulated

COUNT = 2_000
PAIRS = 5_000  # two arms are quick: more studies, and a closer limit
NULLS = [0.0, 2.0]


@pytest.fixture(autouse=True)
def _no_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would settle an undecided contrast is no part of the decision, and takes most of the time."""
    monkeypatch.setattr(contrasts_module, "need", lambda *_: None)


def upper(count: int, total: int) -> float:
    return float(stats.binomtest(count, total).proportion_ci(0.9, "exact").high)


def drawn(seed: int, copies: int, count: int = COUNT, *, taste: float = 0.0, gain: float = 0.0, fixed: bool = False):
    """Simulated studies in which every copy is the same arm, as many of each real arm; with `taste` at its best rate.

    With `fixed` they are at that rate without a taste, as the cells of a grid are that has no search.

    With `gain` the first copy is better by so much accuracy, for the arms that have so much room above them.
    """
    worlds = simulated.worlds()
    for number, world in enumerate(worlds.values()):
        if world.best.right.mean() + gain <= 0.95:
            shift = world.shift(gain, taste) if gain else 0.0
            rng = np.random.default_rng([seed, number])
            world = replace(world, pools=(world.best,)) if taste or fixed else world
            yield from world.studies(count // len(worlds), copies, rng, taste=taste, shift=shift)


def contrasts(correct: np.ndarray) -> list[contrasts_module.Contrast]:
    """All pairs of the copies, the first against the last declared as the primary contrast."""
    names = [chr(ord("a") + i) for i in range(len(correct))]
    wanted = contrasts_module.pairs(names, names[-1], (names[0], names[-1]))
    return contrasts_module.contrasts(dict(zip(names, correct, strict=True)), wanted, margin=0.01)


@pytest.mark.parametrize("taste", NULLS, ids=["copies", "taste"])
def test_two_copies_of_one_arm_seldom_have_a_winner(taste: float) -> None:
    false = sum(contrasts(correct)[0].outcome in ("better", "worse") for correct, _ in drawn(1, 2, PAIRS, taste=taste))
    limit = upper(false, PAIRS)
    print(f"false winners: {false} of {PAIRS}, upper limit {limit:.4f}")
    assert limit <= 0.065


@pytest.mark.parametrize("taste", NULLS, ids=["copies", "taste"])
def test_three_copies_seldom_have_one_that_is_best_of_all_or_a_headline(taste: float) -> None:
    """The headline is the arm that val chose against the reference; best of all is better than each of the others."""
    best = headline = 0
    for correct, val in drawn(2, 3, taste=taste):
        found = [asdict(one) for one in contrasts(correct)]
        chosen = "abc"[int(np.argmax(val))]
        verdict = {"chosen": chosen, "rival": rival_of(chosen, ("a", "c"), []), "contrasts": found}
        headline += key_contrast(verdict)["outcome"] in ("better", "worse")
        seen = {
            name: [flip_contrast(one, name) for one in found if name in (one["first"], one["second"])] for name in "abc"
        }
        best += any(all(one["outcome"] == "better" for one in against) for against in seen.values())
    print(f"best of all: {best} of {COUNT}, upper limit {upper(best, COUNT):.4f}")
    print(f"headline: {headline} of {COUNT}, upper limit {upper(headline, COUNT):.4f}")
    assert upper(best, COUNT) <= 0.065 and upper(headline, COUNT) <= 0.065, (best, headline)


@pytest.mark.parametrize(("rows", "rates"), [(1, 3), (2, 5), (4, 2)])
def test_a_grid_of_equal_rates_seldom_has_a_headline(rows: int, rates: int) -> None:
    """Val chooses an arm and its rival among all cells; the test images judge them, in the family of all."""
    cells = [
        ArmVariant(f"{row},{rate}", {"optimizer": row, "lr": rate}) for row in range(rows) for rate in range(rates)
    ]
    names = [cell.name for cell in cells]
    false = 0
    for correct, val in drawn(4, len(cells), taste=0.0, fixed=True):
        scores = dict(zip(names, val, strict=True))
        chosen = max(names, key=lambda name: scores[name])
        wanted = with_rivals(names, (names[1], names[0]), chosen, rivals_of(chosen, cells, scores))
        found = contrasts_module.contrasts(dict(zip(names, correct, strict=True)), wanted, margin=0.01)
        one = next(one for one in found if {one.first, one.second} == {chosen, rivals_of(chosen, cells, scores)[0]})
        false += one.outcome in ("better", "worse")
    print(f"headlines of {rows} x {rates}: {false} of {COUNT}, upper limit {upper(false, COUNT):.4f}")
    assert upper(false, COUNT) <= 0.065


@pytest.mark.parametrize("taste", NULLS)
def test_eight_points_are_found(taste: float, gain: float = 0.08) -> None:
    """Power at an effect of 8 points, n = 5, m = 205, for the arms that have so much room above them."""
    outcomes, gains = [], []
    for correct, _ in drawn(3, 2, taste=taste, gain=gain):
        outcomes.append(contrasts(correct)[0].outcome == "better")
        gains.append(float(correct[0].mean() - correct[1].mean()))
    print(f"power: {sum(outcomes)} of {len(outcomes)}")
    assert np.mean(gains) == pytest.approx(gain, abs=0.005)
    assert len(outcomes) >= 500 and np.mean(outcomes) >= 0.8
