"""Time budgets: the rule with invented costs, and the seeds and epochs in study.toml."""

import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.analysis.contrasts import compute_contrasts, contrast_pairs
from headstart.analysis.run_records import runs_in
from headstart.cli.main import main
from headstart.config.duration import parse_seconds
from headstart.config.study_file import StudySpec, read_study
from headstart.config.study_request import build_study_spec
from headstart.engines.local import LocalEngine
from headstart.errors import UsageError
from headstart.experiment import planning, study
from headstart.experiment.decision_words import decision_words
from headstart.experiment.preflight import resolve_arms
from headstart.experiment.reusable import certain_requests
from headstart.experiment.study_runs import StudyRuns
from headstart.experiment.workload import RunCost, fit_time_budget, predicted_seconds
from headstart.hardware import calibration, cpu
from headstart.reporter import NullReporter
from headstart.runs.job_protocol import RunRequest
from headstart.storage import run_index
from tests.messages import SentenceReporter, fields_of, values_of


def make_spec(**settings: object) -> StudySpec:
    return build_study_spec("digits:0-3", ("scratch", "scratch+frozen"), None, None, None, None, settings)


costs = st.builds(
    RunCost, st.integers(20, 5000), st.integers(4, 64), st.floats(1e-4, 0.1), overhead_seconds_per_run=st.floats(0, 10)
)
limits = st.floats(1, 1e6)
options = st.fixed_dictionaries({"keep_seeds": st.booleans(), "keep_epochs": st.booleans()})


def fitted(spec: StudySpec, costs: list[RunCost], limit: float, options: dict[str, bool]) -> tuple[int, float] | None:
    """Return the seeds and epochs of the fitted study, or None if nothing fits."""
    try:
        fit = fit_time_budget(spec, lambda s: predicted_seconds(s, costs), limit, **options)
    except UsageError:
        return None
    assert predicted_seconds(fit, costs) <= limit
    return fit.protocol.seeds, fit.plan.recipe.epochs.value


@given(st.lists(costs, min_size=2, max_size=2), limits, limits, st.integers(1, 12), st.integers(1, 15), options)
def test_fit_is_within_the_limit_and_never_shrinks_with_more_time(costs, a, b, seeds, epochs, options) -> None:
    spec = make_spec(seeds=seeds, epochs=f"{epochs}ep")
    less, more = (fitted(spec, costs, limit, options) for limit in sorted((a, b)))
    if less is not None:
        assert more is not None and more[0] >= less[0] and more[1] >= less[1]
        assert less[0] == seeds if options["keep_seeds"] else 3 <= less[0] <= 10
        assert less[1] == epochs if options["keep_epochs"] else min(2, epochs) <= less[1] <= epochs
        assert options["keep_seeds"] or less[0] == 3 or less[1] == epochs  # epochs are reduced last


@given(st.lists(costs, min_size=2, max_size=2), limits, st.integers(2, 15))
def test_fit_is_the_longest_study_within_the_limit(costs, limit, epochs) -> None:
    """Against an exhaustive search in the order of the rule."""
    spec = make_spec(epochs=f"{epochs}ep")
    order = [(count, epochs) for count in range(10, 2, -1)] + [(3, fewer) for fewer in range(epochs - 1, 1, -1)]
    fits = [
        pair for pair in order if predicted_seconds(make_spec(seeds=pair[0], epochs=f"{pair[1]}ep"), costs) <= limit
    ]
    assert fitted(spec, costs, limit, {"keep_seeds": False, "keep_epochs": False}) == (fits[0] if fits else None)


def test_budgets_and_lengths_in_steps_do_not_change_and_a_source_is_counted() -> None:
    costs = [RunCost(80, 8, 1.0)] * 2
    for settings, length, minutes in (({"budgets": "2ep,4ep"}, "2ep, 4ep", 48), ({"epochs": "40st"}, "40st", 32)):
        spec = make_spec(search="off", **settings)
        limit = predicted_seconds(make_spec(search="off", seeds=3, **settings), costs)
        fit = fit_time_budget(spec, lambda s: predicted_seconds(s, costs), limit, keep_seeds=False, keep_epochs=False)
        assert fit.protocol.seeds == 3 and (fit.budgets, fit.plan) == (spec.budgets, spec.plan)
        with pytest.raises(UsageError) as error:
            fit_time_budget(spec, lambda s: predicted_seconds(s, costs), limit - 1, keep_seeds=False, keep_epochs=False)
        assert limit == 60 * minutes  # a second less is rounded to the same minutes
        assert values_of(error.value.message) == [minutes, 3, length, minutes]
    slow = [RunCost(80, 8, 1.0, overhead_seconds_per_run=2.0)] * 2
    spec = make_spec(
        epochs="2ep", seeds=4, grid="0.1,0.01", survivors=1, search="shared"
    )  # 2 + 2 + 4 runs for each arm
    assert predicted_seconds(spec, slow) == predicted_seconds(spec, costs) + 2 * 8 * 2.0
    spec = make_spec(epochs="2ep", source_epochs="3ep")
    assert predicted_seconds(spec, costs, [RunCost(16, 8, 2.0)]) == predicted_seconds(spec, costs) + 3 * 16 * 2.0


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("20m", 1200), ("2h", 7200), ("1h30m", 5400), ("1.5 h", 5400)]
)
def test_durations_are_parsed(text: str, expected: float) -> None:
    assert parse_seconds(text) == expected


@pytest.mark.parametrize("text", ["20", "m", "0m", "-5m", "20 days", "2h ago", "nan s"])
def test_invalid_duration_is_an_error(text: str) -> None:
    with pytest.raises(UsageError) as error:
        make_spec(time_budget=text)
    assert fields_of(error.value.message) == {"name": "time-budget", "value": text, "text": text}


TINY = {
    "network": "resnet20", "precision": "fp32", "threads": 1, "grid": "0.01", "survivors": 1, "search_seeds": 1,
    "time_budget": "1000h",
}  # fmt: skip


def test_study_toml_has_the_fitted_seeds_and_epochs_and_the_time_budget(tmp_path: Path) -> None:
    folder = planning.begin_within_time_budget(make_spec(**TINY), {"time_budget"}, tmp_path, NullReporter())
    rules = tomllib.loads((folder / "study.toml").read_text())["protocol"]
    assert (rules["time_budget"], rules["seeds"]) == ("1000h", 10)
    declared = read_study(folder / "study.toml")  # a declared study does not change
    again = planning.begin_within_time_budget(declared, None, tmp_path, NullReporter())
    assert read_study(again) == read_study(folder)
    without = {**TINY, "time_budget": "", "seeds": 10}
    assert read_study(folder).hash == StudySpec(make_spec(**without).protocol, read_study(folder).plan).hash
    lines = planning.forecast(make_spec(**TINY, seeds=4), {"seeds"}, NullReporter()).sentences
    assert fields_of(lines[0])["count"] == 2 and fields_of(lines[0].values["seeds"]) == {"count": 4}
    assert set(lines[-1].values) == {"count", "duration"}
    before = list(tmp_path.iterdir())
    short = make_spec(**{**TINY, "time_budget": "1s"})
    with pytest.raises(UsageError) as shortest:
        planning.begin_within_time_budget(short, {"time_budget"}, tmp_path, NullReporter())
    with pytest.raises(UsageError) as declared_length:
        planning.forecast(short, {"seeds", "epochs"}, NullReporter())
    for error, seeds, length in (
        (shortest, 3, "2ep"),
        (declared_length, short.protocol.seeds, str(short.plan.recipe.epochs)),
    ):
        assert values_of(error.value.message)[:3] == [1, seeds, length]
        assert error.value.message.values["duration"] != error.value.message.values["limit"]
    assert list(tmp_path.iterdir()) == before


def test_described_plan_is_what_the_study_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and images of a dry run against those of the study."""
    rules = {"precision": "fp32", "threads": 1, "grid": "0.02,0.01,0.005", "survivors": 2, "seeds": 3, "epochs": "2ep"}
    spec = build_study_spec("digits:0-3", ("scratch", "scratch@adam"), None, None, None, None,
                            {**rules, "network": "timm:test_resnet", "batch_size": 64, "search": "shared"})  # fmt: skip
    forecast = planning.forecast(spec, set(), NullReporter(), "local")
    lines = forecast.sentences
    folder = planning.begin_within_time_budget(spec, set(), tmp_path, NullReporter(), "local")
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    searched, main = list(runs_in(folder / "search")), list(runs_in(folder))
    added = [run for run in searched if run.plan.recipe.lr not in spec.protocol.grid]  # at an edge of the grid
    declared = [run for run in searched if run not in added]
    images = sum(run.epochs[-1].step * 64 for run in [*declared, *main])
    whole = [run for run in declared if len(run.epochs) == 2]
    assert len(whole) == 8 and len(declared) == 6 - 4 + 8  # two rungs of each arm continue as whole runs
    assert fields_of(lines[0])["count"] == 2 and "scratch and scratch (with adam)" in lines[0]
    assert fields_of(lines[0].values["seeds"]) == {"count": 3}
    assert values_of(lines[1]) == [len(main), "2ep", 3, 6, 8]  # rates, short runs and whole runs of the search
    assert lines[-1].values["count"] == images and "grid" in lines[-1]  # which may be extended
    again = planning.forecast(spec, set(), NullReporter(), "local")
    assert (forecast.reusable_runs, again.reusable_runs) == (0, 6)  # the first runs of the search; the rest depends
    shutil.copytree(run_index.data_root(), tmp_path / "open")
    (tmp_path / "open").chmod(0o770)  # others could have written it
    monkeypatch.setenv("HEADSTART_DATA", str(tmp_path / "open"))
    reporter = SentenceReporter()
    assert planning.forecast(spec, set(), reporter, "local").reusable_runs == 0
    assert sum(run_index.fault() in sentence.values.values() for sentence in reporter.sentences) == 1


class FirstPhaseError(Exception):
    """Ends a study at its first phase."""


@pytest.mark.parametrize(
    ("arms", "settings", "vary", "runs"),
    [
        (("scratch", "scratch@adam"), {"grid": "0.02,0.01", "epochs": "2ep"}, {}, 4),
        (("scratch", "scratch+lp-ft"), {"grid": "0.02,0.01", "fractions": "0.5,0.7", "head_epochs": "12st"}, {}, 4),
        (("scratch",), {"search": "off", "interim": "3,4", "image_size": "64"}, {"precision": ("bf16", "fp32")}, 6),
        (("scratch", "scratch@adam"), {"search": "off", "fractions": "0.5,1"}, {}, 16),
        (("scratch", "scratch@adam"), {"search": "shared", "grid": "0.02,0.01"}, {}, 4),
        (("scratch", "source:digits:4-6"), {"grid": "0.02,0.01"}, {}, 3),
    ],
)
def test_first_phase_of_a_study_requests_runs_that_a_dry_run_counts(
    arms: tuple[str, ...], settings: dict[str, str], vary: dict[str, tuple[str, ...]], runs: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    small = {"network": "timm:test_resnet", "threads": 1, "seeds": 4, "survivors": 1, "search_seeds": 1}
    precision = {} if vary else {"precision": "fp32"}
    spec = build_study_spec("digits:0-3", arms, vary, None, None, None, {**small, **precision, **settings})
    spec = StudySpec(spec.protocol, calibration.resolve_machine(spec.plan))
    resolved, sources = resolve_arms(spec, NullReporter())
    certain = {(request.plan.hash, request.role.rung) for request in certain_requests(spec, resolved, sources)}
    assert len(certain) == runs
    first: list[RunRequest] = []

    def stop(self: object, phase: object, parent: Path, requests: list[RunRequest], *, rung: bool = False) -> None:
        first.extend(requests)
        raise FirstPhaseError

    monkeypatch.setattr(StudyRuns, "run", stop)
    folder = study.begin(spec, tmp_path, NullReporter())
    with pytest.raises(FirstPhaseError):
        study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    requested = {(request.plan.hash, request.role.rung) for request in first}
    assert requested <= certain and first
    if not sources:  # a study begins with one source
        assert requested == certain


def test_sequential_runs_take_as_long_as_all_processes_together(monkeypatch) -> None:
    monkeypatch.setattr(cpu, "usable_cores", lambda: 8)
    spec = make_spec(precision="fp32", threads=2, search="off")
    sequential, parallel = (
        planning.forecast(spec, set(), NullReporter(), engine).seconds for engine in ("local", "processes")
    )
    assert sequential == pytest.approx(4 * parallel)


def test_images_for_equivalence_are_those_of_arms_that_never_differ() -> None:
    """Two arms that agree on every image are equivalent with exactly these images, for each contrast of the family."""
    for arms in (("scratch", "scratch@adam"), ("scratch", "scratch@adam", "scratch@adamw")):
        spec = build_study_spec("digits:0-3", arms, None, None, None, None, {})
        texts = decision_words(spec, 10**4, 10**4)
        assert len(texts) == len(arms) - 1
        for place, text in enumerate(texts):
            needed = fields_of(text)["needed"]
            for images in (needed - 1, needed):
                same = dict.fromkeys("abc"[: len(arms)], np.ones((5, images), dtype=np.int8))
                pairs = contrast_pairs(list(same), "a", ("b", "a"))
                contrast = compute_contrasts(same, pairs, margin=0.01)[place]
                assert (contrast.outcome == "equivalent") == (images == needed), (place, images)
            assert (len(decision_words(spec, needed - 1, needed - 1)) > len(texts)) == (place == 0)


def test_too_few_seeds_or_groups_are_said_before_the_study() -> None:
    (text,) = decision_words(make_spec(seeds=2), 10**6, 10**6)
    assert fields_of(text) == {"seeds": 3}
    (text,) = decision_words(make_spec(), 1000, 19)
    assert fields_of(text)["least"] == 20
    of_groups, of_images = (decision_words(make_spec(), images, 24)[-1] for images in (1000, 24))
    assert (values_of(of_groups), values_of(of_images)) == ([24, 1000], [24])


def test_missing_default_weights_name_the_file_and_arms_without_download(tmp_path: Path, capsys) -> None:
    """Without network access, and with an empty torch cache."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    flags = ["--image-size", "32", "--batch-size", "4", "--threads", "1", "--precision", "fp32", "--epochs", "1ep"]
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(tmp_path / "photos"), *flags, "--runs", str(tmp_path / "runs")])
    *_, message, hint = capsys.readouterr().err.splitlines()
    assert stop.value.code == 3
    assert re.search(r"https://\S+/resnet18-f37072fd\.pth\b", message)
    for text in (r"checkpoints/resnet18-f37072fd\.pth", r"\bsha256\b.*\bf37072fd\b", "--arm file:", "source:"):
        assert re.search(text, hint)
    assert "--arm scratch" in hint and "--start" not in hint
    assert not (tmp_path / "runs").exists()
