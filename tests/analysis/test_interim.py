"""Interim analyses: false winners, saved seeds, and a study that stops early and runs no further seed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headstart.analysis import contrasts
from headstart.analysis.details import interim_words
from headstart.analysis.interim import interim_analyses
from headstart.analysis.looks import Looks
from headstart.analysis.run_records import runs_in
from headstart.analysis.statistics import crossed_interval, obrien_fleming
from headstart.config.study_config import MIN_DECISIVE_SEEDS
from headstart.config.study_file import read_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import UsageError
from headstart.experiment import study
from headstart.reporter import NullReporter
from headstart.storage.schemas.verdict import InterimAnalysis
from headstart.verification.verify import verify
from tests import simulated
from tests.messages import fields_of, values_of

ANALYSES = (3, 5, 8)  # seeds
LOOKS = Looks(ANALYSES, ANALYSES[-1])
COUNT = 2_000


def simulated_analyses(
    seed: int, *, interaction: float, gain: float = 0.0, count: int = COUNT
) -> Iterator[tuple[list[InterimAnalysis], str]]:
    """Yield interim analyses and outcome of studies with up to 8 seeds, drawn as in test_false_winners.py."""
    arm_models = simulated.arm_models()
    for number, arm_model in enumerate(arm_models.values()):
        if arm_model.best.correct.mean() + gain > 0.95:
            continue
        shift = arm_model.shift(gain, interaction) if gain else 0.0
        at_best_rate = simulated.ArmModel((arm_model.best,), arm_model.seed_sd, arm_model.val_sd)
        rng = np.random.default_rng([seed, number])
        for correct, _ in at_best_rate.studies(
            count // len(arm_models), 2, rng, n=ANALYSES[-1], interaction=interaction, shift=shift
        ):
            arms = dict(zip("ab", correct, strict=True))
            analyses = interim_analyses(arms, ("a", "b"), LOOKS)
            included = {name: table[: analyses[-1].n] for name, table in arms.items()}
            yield (
                analyses,
                contrasts.compute_contrasts(included, [("a", "b")], margin=0.01, looks=LOOKS)[0].outcome,
            )


@pytest.fixture
def no_sample_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the required sample sizes: they are no part of the decision, and take most of the time."""
    monkeypatch.setattr(contrasts, "_sample_sizes", lambda *_: [])


@pytest.mark.usefixtures("no_sample_sizes")
@pytest.mark.parametrize("interaction", [0.0, 2.0])
def test_interim_analyses_do_not_add_false_winners(interaction: float) -> None:
    studies = list(simulated_analyses(11, interaction=interaction))
    false = sum(outcome in ("better", "worse") for _, outcome in studies)
    first = sum(analyses[0].stopped for analyses, _ in studies)
    limit = stats.binomtest(false, len(studies)).proportion_ci(0.9, "exact").high
    print(f"false winners: {false} of {len(studies)}, upper limit {limit:.4f}; stopped at 3 seeds: {first}")
    assert len(studies) == COUNT and limit <= 0.065
    assert first <= 0.01 * COUNT  # with three seeds a study hardly ever stops


@pytest.mark.usefixtures("no_sample_sizes")
def test_interim_analyses_save_seeds_with_a_real_effect() -> None:
    studies = list(simulated_analyses(12, interaction=0.0, gain=0.08, count=800))
    seeds = np.array([analyses[-1].n for analyses, _ in studies])
    power = np.mean([outcome == "better" for _, outcome in studies])
    print(
        f"8 percentage points: mean saving {ANALYSES[-1] - seeds.mean():.2f} of {ANALYSES[-1]} seeds, power {power:.3f}"
    )
    assert ANALYSES[-1] - seeds.mean() > 1 and power >= 0.8


def test_interim_p_is_the_crossed_p_and_agrees_with_the_interval() -> None:
    rng = np.random.default_rng(5)
    arms = {"a": rng.integers(0, 2, (8, 80)), "b": rng.integers(0, 2, (8, 80))}
    analyses = interim_analyses(arms, ("a", "b"), LOOKS)
    assert [analysis.p for analysis in analyses] == [
        crossed_interval(arms["a"][:n] - arms["b"][:n]).p for n in ANALYSES
    ]
    assert [analysis.boundary for analysis in analyses] == obrien_fleming([3 / 8, 5 / 8, 1])
    six_seeds = {name: table[:6] for name, table in arms.items()}
    assert [analysis.n for analysis in interim_analyses(six_seeds, ("a", "b"), LOOKS)] == [3, 5]
    assert interim_analyses(arms, ("a", "b"), Looks()) == []
    for n, boundary in zip(ANALYSES, obrien_fleming([3 / 8, 5 / 8, 1]), strict=True):
        for shift in np.linspace(0, 1, 41):  # the interval excludes 0 exactly where p is below the boundary
            interval = crossed_interval(arms["a"][:n] - arms["b"][:n] + shift, 1 - boundary)
            assert (interval.p <= boundary) == (interval.low > 0 or interval.high < 0)


def test_every_contrast_divides_its_error_among_the_analyses() -> None:
    """The study can end at any analysis, so that contrasts which did not end it have a boundary, too."""
    rng = np.random.default_rng(6)
    tables = {name: rng.integers(0, 2, (5, 80)) for name in "abc"}
    pairs = [("a", "c"), ("b", "c"), ("a", "b")]
    family = contrasts.compute_contrasts(tables, pairs, margin=0.01, looks=LOOKS, primary_share=0.6)
    for contrast, level in zip(family, [1 - 0.03, 1 - 0.01, 1 - 0.01], strict=True):
        boundary = obrien_fleming([3 / 8, 5 / 8, 1], level)[1]
        assert contrast.level == pytest.approx(1 - boundary)
        assert contrast.p_adjusted == pytest.approx(min(1, contrast.p * 0.05 / boundary))


@pytest.mark.parametrize("interim", ["2,5", "3,3,5", "5,3", "3,4", "3,8"])
def test_invalid_interim_analyses_are_rejected(interim: str) -> None:
    with pytest.raises(UsageError) as error:
        build_study_spec(
            "digits:0-3", ("scratch", "scratch@adam"), None, None, None, None, {"seeds": 5, "interim": interim}
        )
    assert fields_of(error.value.message) == {"first": MIN_DECISIVE_SEEDS, "last": 5, "seeds": 5}


def test_interim_analyses_of_a_grid_need_a_declared_contrast() -> None:
    rules, vary = {"seeds": 4, "interim": "3,4"}, {"lr": ("0.1", "0.01")}
    with pytest.raises(UsageError, match="primary"):
        build_study_spec("digits:0-3", ("scratch",), vary, None, None, None, rules)
    declared = {**rules, "primary": "scratch,lr=0.1 vs scratch,lr=0.01"}
    assert build_study_spec("digits:0-3", ("scratch",), vary, None, None, None, declared).protocol.interim == (3, 4)


@pytest.mark.parametrize(("rates", "seeds"), [(("0.02", "0.00001"), 3), (("0.02", "0.021"), 4)])
def test_study_ends_at_the_analysis_that_crosses_its_boundary(
    rates: tuple[str, str], seeds: int, tmp_path: Path
) -> None:
    settings = {"network": "timm:test_resnet", "batch_size": 16, "precision": "fp32", "threads": 1, "epochs": "40st"}
    arms, vary = ("scratch",), {"lr": rates}
    interim = {"seeds": 4, "interim": "3,4", "primary": f"scratch,lr={rates[1]} vs scratch,lr={rates[0]}"}
    spec = build_study_spec("digits:0-3", arms, vary, None, None, None, {**settings, **interim})
    folder = study.begin(spec, tmp_path, NullReporter())
    assert read_study(folder).protocol.interim == (3, 4)
    verdict = study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    runs = list(runs_in(folder))
    assert sorted(run.seed for run in runs) == sorted(2 * list(range(seeds))) and verdict.n == seeds
    assert [analysis.n for analysis in verdict.interim] == [3, 4][: seeds - 2]
    assert verdict.contrasts[0].level == 1 - verdict.interim[-1].boundary
    *earlier, last = verdict.interim
    assert last.stopped == (last.p <= last.boundary) == (seeds == 3) and not any(a.stopped for a in earlier)
    words = interim_words(verdict)
    assert words is not None and words == verdict.sentences.interim and ("ended" in words) == (seeds == 3)
    pair = ["scratch", f"lr={rates[1]}", "scratch", f"lr={rates[0]}"]
    analyzed = [analysis.n for analysis in verdict.interim]
    assert values_of(words) == ["test", seeds, *map(str, analyzed), *pair, last.p, last.boundary]
    assert study.run_study(folder, LocalEngine(NullReporter()), NullReporter()) == verdict
    assert list(runs_in(folder)) == runs  # a second call adds nothing
    values = verify(folder).values
    assert not any(leaf.differs for leaf in values) and "sentences.interim" in [leaf.where for leaf in values]
