"""What a time budget leaves room for: the rule with made-up prices, and what reaches study.toml."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.analysis.contrasts import contrasts
from headstart.analysis.run_records import runs_in
from headstart.cli.main import main
from headstart.config.duration import seconds
from headstart.config.study_file import StudySpec, read_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import UsageError
from headstart.experiment import planning, study
from headstart.experiment.workload import RunCost, fit, predicted
from headstart.reporter import NullReporter


def asked(**settings: object) -> StudySpec:
    return build_study_spec("digits:0-3", ("scratch", "scratch+frozen"), None, None, None, None, settings)


prices = st.builds(RunCost, st.integers(20, 5000), st.integers(4, 64), st.floats(1e-4, 0.1), each=st.floats(0, 10))
limits = st.floats(1, 1e6)
kept = st.fixed_dictionaries({"keep_seeds": st.booleans(), "keep_epochs": st.booleans()})


def chosen(wanted: StudySpec, price: list[RunCost], limit: float, how: dict[str, bool]) -> tuple[int, float] | None:
    """(seeds, epochs) of what results; None where nothing fits."""
    try:
        found = fit(wanted, lambda d: predicted(d, price), limit, **how)
    except UsageError:
        return None
    assert predicted(found, price) <= limit
    return found.protocol.seeds, found.plan.recipe.epochs.value


@given(st.lists(prices, min_size=2, max_size=2), limits, limits, st.integers(1, 12), st.integers(1, 15), kept)
def test_what_results_fits_and_more_time_gives_no_less(price, one, other, seeds, epochs, how) -> None:
    wanted = asked(seeds=seeds, epochs=f"{epochs}ep")
    less, more = (chosen(wanted, price, limit, how) for limit in sorted((one, other)))
    if less is not None:
        assert more is not None and more[0] >= less[0] and more[1] >= less[1]
        assert less[0] == seeds if how["keep_seeds"] else 3 <= less[0] <= 10
        assert less[1] == epochs if how["keep_epochs"] else min(2, epochs) <= less[1] <= epochs
        assert how["keep_seeds"] or less[0] == 3 or less[1] == epochs  # epochs go last


@given(st.lists(prices, min_size=2, max_size=2), limits, st.integers(2, 15))
def test_nothing_longer_would_have_fitted(price, limit, epochs) -> None:
    """By trying all of them, in the order of the rule."""
    wanted = asked(epochs=f"{epochs}ep")
    order = [(count, epochs) for count in range(10, 2, -1)] + [(3, fewer) for fewer in range(epochs - 1, 1, -1)]
    fits = [pair for pair in order if predicted(asked(seeds=pair[0], epochs=f"{pair[1]}ep"), price) <= limit]
    assert chosen(wanted, price, limit, {"keep_seeds": False, "keep_epochs": False}) == (fits[0] if fits else None)


def test_budgets_and_lengths_in_steps_are_kept_and_a_source_is_counted() -> None:
    price = [RunCost(80, 8, 1.0)] * 2
    for settings in ({"budgets": "2ep,4ep"}, {"epochs": "40st"}):
        wanted = asked(search="off", **settings)
        cost = predicted(asked(search="off", seeds=3, **settings), price)
        found = fit(wanted, lambda d: predicted(d, price), cost, keep_seeds=False, keep_epochs=False)
        assert found.protocol.seeds == 3 and (found.budgets, found.plan) == (wanted.budgets, wanted.plan)
        with pytest.raises(UsageError, match="not enough"):
            fit(wanted, lambda d: predicted(d, price), cost - 1, keep_seeds=False, keep_epochs=False)
    slow = [RunCost(80, 8, 1.0, each=2.0)] * 2
    wanted = asked(epochs="2ep", seeds=4, grid="0.1,0.01", survivors=1, search_seeds=2)  # of each arm 2 + 2 + 4 runs
    assert predicted(wanted, slow) == predicted(wanted, price) + 2 * 8 * 2.0
    wanted = asked(epochs="2ep", source_epochs="3ep")
    assert predicted(wanted, price, [RunCost(16, 8, 2.0)]) == predicted(wanted, price) + 3 * 16 * 2.0


@pytest.mark.parametrize(
    ("text", "wanted"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("1h30m", 5400), ("1.5 h", 5400)]
)
def test_times_are_read(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["20", "m", "0m", "-5m", "20 days", "2h ago", "nan s"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"time.budget.*no time"):
        asked(time_budget=text)


TINY = {"precision": "fp32", "threads": 1, "grid": "0.01", "survivors": 1, "search_seeds": 1, "time_budget": "1000h"}


def test_seeds_and_epochs_stand_in_study_toml_with_what_was_asked(tmp_path: Path) -> None:
    folder = planning.begin(asked(**TINY), {"time_budget"}, tmp_path, NullReporter())
    rules = tomllib.loads((folder / "study.toml").read_text())["protocol"]
    assert (rules["time_budget"], rules["seeds"]) == ("1000h", 10)
    again = planning.begin(
        read_study(folder / "study.toml"), None, tmp_path, NullReporter()
    )  # a declared one stays as it is
    assert read_study(again) == read_study(folder)
    without = {**TINY, "time_budget": "", "seeds": 10}
    assert read_study(folder).hash == StudySpec(asked(**without).protocol, read_study(folder).plan).hash
    lines = planning.describe_plan(asked(**TINY, seeds=4), {"seeds"}, NullReporter())
    assert "4 seeds" in lines[0] and " images in all: about " in lines[-1]
    before = list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"1 s are not enough: 3 seeds of 2ep take about"):
        planning.begin(asked(**{**TINY, "time_budget": "1s"}), {"time_budget"}, tmp_path, NullReporter())
    with pytest.raises(UsageError, match=r"5 seeds of 8ep take about"):
        planning.describe_plan(asked(**{**TINY, "time_budget": "1s"}), {"seeds", "epochs"}, NullReporter())
    assert list(tmp_path.iterdir()) == before


def test_what_is_foretold_is_what_is_done(tmp_path: Path) -> None:
    """Runs and images of a dry run beside those that the study has made."""
    rules = {"precision": "fp32", "threads": 1, "grid": "0.02,0.01,0.005", "survivors": 2, "seeds": 3, "epochs": "2ep"}
    wanted = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None,
                      {**rules, "network": "timm:test_resnet", "batch_size": 64})  # fmt: skip
    lines = "\n".join(planning.describe_plan(wanted, set(), NullReporter(), "local"))
    folder = planning.begin(wanted, set(), tmp_path, NullReporter(), "local")
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    searched, main = list(runs_in(folder / "search")), list(runs_in(folder))
    added = [run for run in searched if run.plan["recipe"]["lr"] not in wanted.protocol.grid]  # at the grid's edge
    asked_for = [run for run in searched if run not in added]
    counted = sum(run.epochs[-1]["step"] * 64 for run in [*asked_for, *main])
    assert f"2 arms: scratch and scratch@adam; 3 seeds.\n{len(main)} runs of 2ep" in lines
    assert "(6 short runs and 8 whole ones)" in lines
    whole = [run for run in asked_for if len(run.epochs) == 2]
    assert len(whole) == 8 and len(asked_for) == 6 - 4 + 8  # of each arm two rungs go on as whole runs
    assert f"{counted:,} training images in all: about" in lines and "here; every rate" in lines


def test_one_after_the_other_takes_as_long_as_all_lanes_together(monkeypatch) -> None:
    monkeypatch.setattr(planning, "usable_cores", lambda: 8)
    wanted = asked(precision="fp32", threads=2, search="off")
    alone, together = (
        planning._within(wanted, set(), NullReporter(), engine).seconds for engine in ("local", "processes")
    )
    assert alone == pytest.approx(4 * together)


def test_a_tie_out_of_reach_is_told() -> None:
    """No pair of 5 x m answers can be called equal, not even two that never differ."""
    for images in (20, 205, 1000):
        said = planning.out_of_reach(asked().protocol, images)
        same = np.ones((5, images), dtype=np.int8)
        (found,) = contrasts({"a": same, "b": same}, [("a", "b")], margin=0.01)
        assert bool(said) == (found.outcome != "equal"), images
    assert "More images or a wider --margin" in planning.out_of_reach(asked().protocol, 205)[0]
    assert planning.out_of_reach(asked(seeds=2).protocol, 10**6) == [
        "Fewer than 3 seeds decide nothing: the verdict will be undecided."
    ]


def test_without_arms_missing_weights_name_the_file_and_the_other_ways(tmp_path: Path, capsys) -> None:
    """Nothing leaves this machine here, and torch's cache is empty."""
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = draw.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    words = ["--image-size", "32", "--batch-size", "4", "--threads", "1", "--precision", "fp32", "--epochs", "1ep"]
    with pytest.raises(SystemExit) as left:
        main(["compare", str(tmp_path / "photos"), *words, "--runs", str(tmp_path / "runs")])
    *_, what, hint = capsys.readouterr().err.splitlines()
    assert left.value.code == 3
    assert "resnet18-f37072fd.pth could not be fetched" in what
    for text in ("checkpoints/resnet18-f37072fd.pth", "sha256 begins with f37072fd", "--arm file:", "source:"):
        assert text in hint
    assert "--arm scratch" in hint and "--start" not in hint
    assert not (tmp_path / "runs").exists()
