"""Progress and predicted duration of a study: against counts by hand, and on a terminal and in a log."""

import dataclasses
import io
import itertools
import time
from datetime import datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from headstart.analysis.wording import arm_words
from headstart.config.duration import Duration
from headstart.config.resolve import resolve_settings
from headstart.config.study_file import StudySpec
from headstart.config.study_request import build_study_spec
from headstart.console import ConsoleReporter
from headstart.engines.local import LocalEngine
from headstart.experiment import study
from headstart.experiment.lr_search import MAX_EXTENSIONS, NEAR_RATES
from headstart.experiment.progress import Progress, comparison_phase, search_phase
from headstart.experiment.workload import (
    ArmCost,
    CostSoFar,
    run_images,
    rung_epochs,
    seconds_left,
    workload,
)
from headstart.i18n import Message, verbatim
from headstart.reporter import ArmStatus, NullReporter, StudyStatus
from headstart.storage.schemas.verdict import Verdict
from headstart.text import format_duration, format_remaining
from headstart.verification.rates import rung_of
from headstart.verification.records import RecordedPlan
from tests.handmade import counts_of
from tests.messages import fields_of, values_of

ARMS = ("scratch", "scratch@adam")
PHASES = list(itertools.product((1, 0), range(MAX_EXTENSIONS + 1)))  # of a search: the rung, and extensions of the grid
arms = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1000), min_size=1)


def make_spec(**settings: object) -> StudySpec:
    return build_study_spec("digits:0-3", ARMS, None, None, None, None, {"batch_size": 8, **settings})


@given(arms, arms, st.floats(0.001, 1e3))
def test_estimate_is_never_negative_and_exact_where_all_work_takes_the_same_factor(done, remaining, cost) -> None:
    spent = {name: CostSoFar(count, count * cost) for name, count in done.items()}
    estimate = seconds_left(spent, remaining)
    if not any(remaining.values()):
        assert estimate == 0
    elif not any(done.values()):
        assert estimate is None
    else:
        assert estimate == pytest.approx(sum(remaining.values()) * cost) and estimate >= 0


def test_arm_is_estimated_from_its_own_cost_and_a_new_arm_from_the_average() -> None:
    spent = {"full": CostSoFar(100, 100.0), "frozen": CostSoFar(100, 10.0), "new": CostSoFar()}
    assert seconds_left(spent, {"full": 10, "frozen": 10}) == pytest.approx(11)
    assert seconds_left(spent, {"full": 10}) == pytest.approx(10, rel=0.1)
    assert seconds_left(spent, {"new": 10}) == pytest.approx(5.5)
    little = {"full": CostSoFar(100, 100.0), "frozen": CostSoFar(0.1, 1.0)}  # one run that waited for another
    assert seconds_left(little, {"frozen": 100}) == pytest.approx(110, rel=0.1)


@given(arms, st.floats(0.1, 10), st.floats(0.1, 10))
def test_usual_factor_counts_until_work_is_measured(remaining, usual, factor) -> None:
    total = sum(remaining.values())
    assert seconds_left({}, remaining, usual) == pytest.approx(total * usual)
    half = {name: CostSoFar(count, count * factor) for name, count in remaining.items()}
    estimate = seconds_left(half, remaining, usual)
    low, high = sorted((usual, factor))
    assert low * total * 0.999 <= estimate <= high * total * 1.001
    assert abs(estimate - factor * total) <= 0.2 * abs(usual - factor) * total + 1e-9  # half of the work is done


def test_cost_of_an_arm_counts_what_is_trained_and_evaluated() -> None:
    """600 training images in 2 epochs, 100 for val and 100 for test, at 10 ms each, of which a third is forward."""
    counts = {"train": 300, "val": 100, "test": 100}
    plan = resolve_settings({"source": "digits", "epochs": "2ep", "batch_size": 30}).plan.changed(split_counts=counts)
    full, frozen = (ArmCost.of(plan.changed(tuning=tuning), 0.01) for tuning in ("full", "frozen"))
    assert full.image * 600 == pytest.approx(6.0 + 2 * 100 * 0.01 / 3)
    assert full.evaluation == pytest.approx(200 * 0.01 / 3)
    assert ArmCost.of(plan.changed(precision="bf16"), 0.01).evaluation == pytest.approx(2 * full.evaluation)
    assert full.seconds(600, runs=2, evaluations=1) == pytest.approx(
        full.image * 600 + 2 * full.start + full.evaluation
    )
    assert frozen.seconds(600) < 0.05 * full.seconds(600)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.integers(2, 400), st.integers(1, 9))
def test_workload_is_the_sum_of_all_runs(seeds, rates, survivors, photos, epochs) -> None:
    """Each run is counted separately: rungs, runs that continue them, the other search seed, the comparison."""
    grid = [10.0**-place for place in range(rates)]
    for mode in ("shared", "per-seed"):
        spec = make_spec(seeds=seeds, grid=grid, survivors=survivors, epochs=f"{epochs}ep", search=mode)
        epoch = -(-photos // 8) * 8
        images = rungs = 0
        for seed in range(seeds if mode == "per-seed" else 1):
            rungs += (rates if seed == 0 else min(rates, NEAR_RATES)) * epoch
            for _ in range(min(survivors, rates)):
                images += (epochs - 1) * epoch + (epochs * epoch if mode == "shared" else 0)
        work = workload(spec, photos, 8)
        compared = seeds * epochs * epoch if mode == "shared" else 0  # the runs of the selected rates are trials
        assert (work.rung_images, work.full_run_images, work.comparison_images) == (rungs, images, compared)
        whole_grid = workload(spec, photos, 8, narrow=False)
        assert whole_grid.rung_images == rates * epoch * (seeds if mode == "per-seed" else 1)


def test_workload_of_budgets_in_steps_and_fractions() -> None:
    settings = {"seeds": 2, "budgets": "6st,2ep", "fractions": "0.5,1", "grid": "0.1", "survivors": 1}
    work = workload(make_spec(search="shared", **settings), 80, 8)
    assert work.rung_images == (6 + 10) * 8 and work.full_run_images == (6 + 6 + 20 + 20) * 8 - work.rung_images
    assert work.comparison_images == 2 * (6 + 6 + 10 + 20) * 8
    assert workload(make_spec(**settings), 80, 8).comparison_images == 2 * (6 + 10) * 8  # of the smaller fraction
    assert workload(make_spec(seeds=3, epochs="1ep", search="off"), 80, 8).total_images == 240
    assert run_images(Duration(500, "st"), 3, 8) == 4000


@dataclasses.dataclass
class TenSecondEngine:
    """An engine whose answers take ten seconds each on a simulated clock."""

    engine: LocalEngine
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds

    def run(self, texts):
        for index, answer in self.engine.run(texts):
            self.seconds += 10.0
            yield index, answer

    def close(self) -> None:
        pass


class Listener(NullReporter):
    def __init__(self) -> None:
        self.tables: list[StudyStatus] = []

    def study_status(self, status: StudyStatus) -> None:
        self.tables.append(status)


TINY = {
    "precision": "fp32",
    "threads": 1,
    "network": "timm:test_resnet",
    "budgets": "4st",
    "grid": "0.01,0.001",
    "survivors": 1,
    "seeds": 2,
    "search": "shared",
    "target": 0.01,
}


@pytest.fixture(scope="module")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[StudyStatus], list[float | None], Verdict]:
    """Tables of a small real study whose runs take ten seconds each, the estimate at each table, and the verdict.

    Runs are shorter than an epoch, so that a rung is a whole run and every run costs the same.
    """
    spec = make_spec(**TINY)
    folder = study.begin(spec, tmp_path_factory.mktemp("runs"), NullReporter())
    engine, reporter, estimates = TenSecondEngine(LocalEngine(NullReporter())), Listener(), []

    class SimulatedProgress(Progress):
        def __init__(self, spec: StudySpec, *, runs_here: int) -> None:
            super().__init__(spec, engine, runs_here=runs_here)

        def table(self, latest: str) -> StudyStatus:
            estimates.append(self.seconds_left())
            return super().table(latest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "Progress", SimulatedProgress)
        verdict = study.run_study(folder, engine, reporter)
    return reporter.tables, estimates, verdict


def counted(status: StudyStatus) -> Message:
    """Return the phase of a table, with the counts of its runs."""
    return status.title.values["phase"]


def test_table_counts_runs_as_they_end(small_study) -> None:
    tables, _, verdict = small_study
    assert [row.done for row in tables[0].rows] == [0, 0] and tables[0].latest == ""
    last = tables[-1]
    assert values_of(last.title) == [4, 4, "4st"] and last.remaining == ""
    for row, arm in zip(last.rows, verdict.arms, strict=True):
        assert row == ArmStatus(arm_words(arm.spec), "done", 2, 2, pytest.approx(arm.val), arm.to_target.epochs.median)
    for before, after in itertools.pairwise(tables):
        assert sum(row.done for row in after.rows) - sum(row.done for row in before.rows) in (0, 1)
    assert {tuple(values_of(row.state)) for row in tables[3].rows} <= {(trials,) for trials in range(4)}
    assert not any("test" in table.latest for table in tables)
    ended = [table for table in tables if table.latest]
    assert all(table.title.values["condition"] == "4st" for table in tables)
    assert all(table.latest.values["part0"] == counted(table) for table in ended)
    assert len({counted(table) for table in ended}) == len(ended)  # no count is repeated
    spec = make_spec(**TINY)
    comparison, searches = comparison_phase(spec, [0, 1]), [search_phase(spec.protocol, 0, *phase) for phase in PHASES]
    assert {counted(table).values["phase"] for table in ended} <= {comparison, *searches}
    assert counted(last).values["phase"] == comparison


def test_estimate_is_close_where_all_runs_take_the_same_time(small_study) -> None:
    """During the comparison, after the search, which an extended grid could make longer.

    The predicted seconds of a rung are without those of an evaluation.
    """
    tables, estimates, _ = small_study
    pairs = zip(tables, estimates[-len(tables) :], strict=True)
    phase = comparison_phase(make_spec(**TINY), [0, 1])
    seconds = [estimate for table, estimate in pairs if counted(table).values["phase"] == phase]
    assert seconds == pytest.approx([40.0, 30.0, 20.0, 10.0, 0.0], rel=0.3)


def test_score_after_a_rung_is_that_of_its_last_epoch() -> None:
    """Heads that are trained together run to the end although a rung was requested."""
    lines = [SimpleNamespace(confusion=counts_of([[correct, 4 - correct], [0, 0]])) for correct in (1, 2, 3)]
    record = SimpleNamespace(epochs=lines, rung=2, val_score=lambda _metric: 0.75)
    progress = Progress(make_spec())
    scores = []
    for rung in (False, True):
        progress.request(verbatim("search"), [], {}, {}, rung)
        scores.append(progress._score(record))  # type: ignore[arg-type]
    assert scores == [0.75, 0.5]


def test_every_phase_of_a_study_has_its_own_name() -> None:
    shared, per_seed = make_spec(search="shared").protocol, make_spec().protocol
    comparison = comparison_phase(make_spec(search="shared"), range(5))
    assert values_of(comparison) == []
    names = {comparison}
    for (rung, extension), (protocol, seed) in itertools.product([*PHASES, (3, 0)], [(shared, []), (per_seed, [1])]):
        name = search_phase(protocol, 1, rung, extension)
        assert values_of(name) == seed + ([rung] if rung else [])
        assert ("grid" in name) == (extension > 0)
        names.add(name)
    assert len(names) == 1 + 2 * (len(PHASES) + 1)
    interim = make_spec(interim="3,5", seeds=5, search="shared", seed=7)
    assert values_of(comparison_phase(interim, [7, 8, 9])) == [3]
    assert values_of(comparison_phase(make_spec(interim="3,5", seeds=5), [8])) == [8]


def test_study_that_exceeds_its_time_budget_reports_the_causes() -> None:
    clock = iter([0.0, 1199.0, 0.0, 1860.0, 0.0, 1860.0, 0.0, 9e9])
    spec = make_spec(time_budget="20m")
    assert Progress(spec, lambda: next(clock)).overrun(0) == ""
    slow = Progress(spec, lambda: next(clock)).overrun(0)
    wider = Progress(spec, lambda: next(clock)).overrun(2)
    assert [values_of(sentence) for sentence in (slow, wider)] == [[31, 20], [31, 20, 2]]
    (cause,), (rates, same_cause) = (sentence.values["causes"].values.values() for sentence in (slow, wider))
    assert cause == same_cause and values_of(rates) == [2] and "--time-budget" in slow
    assert Progress(make_spec(), lambda: next(clock)).overrun(2) == ""


def test_remaining_time_in_words() -> None:
    noon = datetime(2026, 10, 20, 12, 0)
    assert format_remaining(None, noon) == format_remaining(0.0, noon) == ""
    assert fields_of(format_remaining(12 * 60, noon)) == {"minutes": 12, "end": "12:12"}
    assert fields_of(format_remaining(125 * 60, noon)) == {"hours": 2, "minutes": 5, "end": "14:05"}
    assert fields_of(format_remaining(26 * 3600, noon)) == {"hours": 26, "minutes": 0, "end": "Oct 21 14:00"}
    seconds = format_remaining(5, noon)
    assert seconds and values_of(seconds) == []
    assert [format_duration(length) for length in (45, 720, 7500)] == ["45 s", "12 min", "2 h 05 min"]


ROWS = (ArmStatus("scratch[red]", "comparing", 1, 5, 0.5, None), ArmStatus("b", "waiting", 0, 5, None, 2.0))
TABLE = StudyStatus("comparison 1/10: 3ep", 0.75, ROWS, "comparison 1/10  scratch", "about 12 min left (until 12:12)")


def test_without_a_terminal_progress_is_printed_as_lines(capsys, monkeypatch) -> None:
    clock = iter(range(1000))  # a few seconds for each status
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with ConsoleReporter() as reporter:
        for _ in range(4):
            reporter.study_status(TABLE)
    lines = capsys.readouterr().err.splitlines()
    assert lines.count(TABLE.latest) == 4 and 1 <= lines.count(TABLE.remaining) < 4
    assert len(lines) == 4 + lines.count(TABLE.remaining)


def test_on_a_terminal_the_table_is_redrawn_and_removed(monkeypatch) -> None:
    screen = io.StringIO()
    with ConsoleReporter() as reporter:
        monkeypatch.setattr(reporter, "_console", Console(file=screen, force_terminal=True, width=100))
        reporter.study_status(TABLE)
        first = screen.getvalue()
        reporter.progress("training", 1, 2)  # a progress bar would overwrite the table
        assert screen.getvalue() == first
        reporter.study_status(dataclasses.replace(TABLE, remaining=""))
        reporter.say("a sentence")
    output = screen.getvalue()
    for text in (
        "scratch[red]",
        "comparing",
        "1/5",
        "50.0",
        "75 %",
        TABLE.latest,
        TABLE.remaining,
        "a sentence",
    ):
        assert text in output
    assert output.endswith("\x1b[2K") or output.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # the table is erased


@pytest.mark.parametrize(
    ("tuning", "epochs", "head", "expected"),
    [
        ("full", "8ep", "30%", 1),
        ("frozen", "8ep", "30%", 1),
        ("lp-ft", "8ep", "30%", 3),  # 2.4 epochs of the head, then 0.6 of fine-tuning
        ("lp-ft", "10ep", "30%", 4),  # 3 epochs of the head, then a whole one
        ("lp-ft", "8ep", "1ep", 2),
        ("lp-ft", "2ep", "30%", 1),  # shorter than the run
        ("lp-ft", "1ep", "30%", 1),
        ("lp-ft", "30st", "10st", 2),
    ],
)
def test_rung_of_lp_ft_ends_with_an_epoch_that_is_mostly_fine_tuning(
    tuning: str, epochs: str, head: str, expected: int
) -> None:
    plan = resolve_settings(
        {"source": "digits", "tuning": tuning, "epochs": epochs, "head_epochs": head, "batch_size": 8}
    ).plan
    resolved = plan.changed(split_counts={"train": 80, "val": 10, "test": 10})
    assert rung_epochs(resolved) == expected
    assert rung_of(RecordedPlan.model_validate(resolved.model_dump(mode="json"))) == expected
