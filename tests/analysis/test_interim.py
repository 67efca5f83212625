"""Early looks: declared, rarely wrong, and worth their price; a study that stopped runs no further seed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headstart.analysis import contrasts
from headstart.analysis.interim import InterimAnalysis, taken
from headstart.analysis.run_records import runs_in
from headstart.analysis.statistics import crossed, obrien_fleming
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import UsageError
from headstart.experiment import study
from headstart.reporter import NullReporter
from tests import recompute, simulated

LOOKS = (3, 5, 8)
COUNT = 2_000


def judged(
    seed: int, *, taste: float, gain: float = 0.0, count: int = COUNT
) -> Iterator[tuple[list[InterimAnalysis], str]]:
    """The looks and the final outcome of studies with up to 8 seeds, drawn as in tests/test_false_winners.py."""
    worlds = simulated.worlds()
    for number, world in enumerate(worlds.values()):
        if world.best.right.mean() + gain > 0.95:
            continue
        shift = world.shift(gain, taste) if gain else 0.0
        one = simulated.World((world.best,), world.luck, world.val_spread)
        rng = np.random.default_rng([seed, number])
        for correct, _ in one.studies(count // len(worlds), 2, rng, n=LOOKS[-1], taste=taste, shift=shift):
            arms = dict(zip("ab", correct, strict=True))
            looks = taken(arms, ("a", "b"), LOOKS)
            seen = {name: table[: looks[-1].n] for name, table in arms.items()}
            level = 1 - looks[-1].boundary
            yield looks, contrasts.contrasts(seen, [("a", "b")], margin=0.01, primary_level=level)[0].outcome


@pytest.fixture
def no_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would settle an undecided contrast is no part of the decision, and takes most of the time."""
    monkeypatch.setattr(contrasts, "need", lambda *_: None)


@pytest.mark.usefixtures("no_needs")
@pytest.mark.parametrize("taste", [0.0, 2.0])
def test_looks_make_no_more_false_winners(taste: float) -> None:
    found = list(judged(11, taste=taste))
    false = sum(outcome in ("better", "worse") for _, outcome in found)
    first = sum(looks[0].stopped for looks, _ in found)
    limit = stats.binomtest(false, len(found)).proportion_ci(0.9, "exact").high
    print(f"false winners: {false} of {len(found)}, upper limit {limit:.4f}; stopped at 3 seeds: {first}")
    assert len(found) == COUNT and limit <= 0.065
    assert first <= 0.01 * COUNT  # with three seeds it hardly ever stops


@pytest.mark.usefixtures("no_needs")
def test_looks_save_seeds_where_there_is_an_effect() -> None:
    found = list(judged(12, taste=0.0, gain=0.08, count=800))
    seeds = np.array([looks[-1].n for looks, _ in found])
    power = np.mean([outcome == "better" for _, outcome in found])
    print(f"8 points: mean saving {LOOKS[-1] - seeds.mean():.2f} of {LOOKS[-1]} seeds, power {power:.3f}")
    assert LOOKS[-1] - seeds.mean() > 1 and power >= 0.8


def test_a_look_is_the_crossed_p_of_the_seeds_so_far_and_the_interval_goes_with_it() -> None:
    rng = np.random.default_rng(5)
    arms = {"a": rng.integers(0, 2, (8, 80)), "b": rng.integers(0, 2, (8, 80))}
    looks = taken(arms, ("a", "b"), LOOKS)
    assert [look.p for look in looks] == [crossed(arms["a"][:n] - arms["b"][:n]).p for n in LOOKS]
    assert [look.boundary for look in looks] == obrien_fleming([3 / 8, 5 / 8, 1])
    assert [look.n for look in taken({k: v[:6] for k, v in arms.items()}, ("a", "b"), LOOKS)] == [3, 5]
    assert taken(arms, ("a", "b"), ()) == []
    for n, boundary in zip(LOOKS, obrien_fleming([3 / 8, 5 / 8, 1]), strict=True):
        for shift in np.linspace(0, 1, 41):  # the interval excludes 0 where p is below the boundary, and only there
            found = crossed(arms["a"][:n] - arms["b"][:n] + shift, 1 - boundary)
            assert (found.p <= boundary) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize("interim", ["2,5", "3,3,5", "5,3", "3,4", "3,8"])
def test_looks_that_make_no_sense_are_told(looks: str) -> None:
    with pytest.raises(UsageError, match="Looks takes increasing numbers of seeds"):
        build_study_spec(
            "digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, {"seeds": 5, "interim": looks}
        )


def test_looks_at_a_grid_of_rates_need_a_contrast_that_is_declared() -> None:
    with pytest.raises(UsageError, match="say which with primary"):
        build_study_spec(
            "digits:0-3", ("scratch",), {"lr": ("0.1", "0.01")}, None, None, None, {"seeds": 4, "interim": "3,4"}
        )


@pytest.mark.parametrize(("rates", "seeds"), [(("0.02", "0.00001"), 3), (("0.02", "0.021"), 4)])
def test_a_study_ends_at_the_look_that_crosses(rates: tuple[str, str], seeds: int, tmp_path: Path) -> None:
    settings = {"network": "timm:test_resnet", "batch_size": 16, "precision": "fp32", "threads": 1, "epochs": "40st"}
    arms, vary = ("scratch",), {"lr": rates}
    looked = {"seeds": 4, "interim": "3,4", "primary": f"scratch,lr={rates[1]} vs scratch,lr={rates[0]}"}
    wanted = build_study_spec("digits:0-3", arms, vary, None, None, None, {**settings, **looked})
    folder = study.begin(wanted, tmp_path, NullReporter())
    assert read_study(folder).protocol.interim == (3, 4)
    verdict = study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    runs = list(runs_in(folder))
    assert sorted(run.seed for run in runs) == sorted(2 * list(range(seeds))) and verdict["n"] == seeds
    assert [look["n"] for look in verdict["interim"]] == [3, 4][: seeds - 2]
    assert verdict["contrasts"][0]["level"] == 1 - verdict["interim"][-1]["boundary"]
    said = verdict["sentences"]["interim"]
    assert ("the study ended" in said) == (seeds == 3) and "looked at after 3" in said
    assert study.run_study(folder, LocalEngine(NullReporter()), NullReporter()) == verdict
    assert list(runs_in(folder)) == runs  # going on adds nothing
    wrong, rows = recompute.check(folder)
    assert wrong == [] and [row for row in rows if row[3] is None] == []
    assert [row for row in rows if row[0] == "interim"]
