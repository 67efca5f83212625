"""How long a study takes, and where it stands: against counts made by hand, and as a terminal and a log show it."""

import dataclasses
import io
import itertools
import re
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from headstart.config.duration import Duration
from headstart.config.resolve import resolve_settings
from headstart.config.study_file import StudySpec
from headstart.config.study_request import build_study_spec
from headstart.console import ConsoleReporter
from headstart.engines.local import LocalEngine
from headstart.experiment import study
from headstart.experiment.lr_search import EXTENSIONS
from headstart.experiment.progress import Progress, comparing, searching
from headstart.experiment.workload import (
    CostSoFar,
    left_words,
    run_images,
    rung_epochs,
    seconds_left,
    span_words,
    workload,
)
from headstart.reporter import ArmStatus, NullReporter, StudyStatus
from tests import recompute

ARMS = ("scratch", "scratch@adam")
arms = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 1000), min_size=1)


def asked(**settings: object) -> StudySpec:
    return build_study_spec("digits:0-3", ARMS, None, None, None, None, {"batch_size": 8, **settings})


@given(arms, arms, st.floats(0.001, 1e3))
def test_what_is_left_is_never_below_nothing_and_exact_where_images_cost_the_same(done, left, price) -> None:
    spent = {name: CostSoFar(count, count * price) for name, count in done.items()}
    found = seconds_left(spent, left)
    if not any(left.values()):
        assert found == 0
    elif not any(done.values()):
        assert found is None
    else:
        assert found == pytest.approx(sum(left.values()) * price) and found >= 0


def test_an_arm_costs_what_it_has_cost_and_a_new_one_the_average() -> None:
    spent = {"full": CostSoFar(100, 100.0), "frozen": CostSoFar(100, 10.0), "new": CostSoFar()}
    assert seconds_left(spent, {"full": 10, "frozen": 10}) == pytest.approx(11)
    assert seconds_left(spent, {"new": 10}) == pytest.approx(5.5)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.integers(2, 400), st.integers(1, 9))
def test_the_work_of_a_study_is_what_its_runs_add_up_to(seeds, rates, keep, photos, epochs) -> None:
    """Each run is counted by itself here: rungs, what goes on from them, the other search seed, the comparison."""
    grid = [10.0**-place for place in range(rates)]
    for how in ("shared", "per-seed"):
        wanted = asked(seeds=seeds, grid=grid, survivors=keep, epochs=f"{epochs}ep", search=how)
        epoch = -(-photos // 8) * 8
        images = rungs = 0
        for _ in range(seeds if how == "per-seed" else 1):
            rungs += rates * epoch
            for _ in range(min(keep, rates)):
                images += (epochs - 1) * epoch + (epochs * epoch if how == "shared" else 0)
        found = workload(wanted, photos, 8)
        assert (found.rungs, found.whole, found.main) == (rungs, images, seeds * epochs * epoch)


def test_budgets_in_steps_and_fractions() -> None:
    found = workload(asked(seeds=2, budgets="6st,2ep", fractions="0.5,1", grid="0.1", survivors=1), 80, 8)
    assert found.rungs == (6 + 10) * 8 and found.whole == (6 + 6 + 20 + 20) * 8 - found.rungs
    assert found.main == 2 * (6 + 6 + 10 + 20) * 8
    assert workload(asked(seeds=3, epochs="1ep", search="off"), 80, 8).total == 240
    assert run_images(Duration(500, "st"), 3, 8) == 4000


@dataclasses.dataclass
class Ticking:
    """An engine whose every answer takes ten seconds, on a clock that nobody waits for."""

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

    def table(self, table: StudyStatus) -> None:
        self.tables.append(table)


TINY = {
    "precision": "fp32",
    "threads": 1,
    "network": "timm:test_resnet",
    "budgets": "4st",
    "grid": "0.01,0.001",
    "survivors": 1,
    "seeds": 2,
    "target": 0.01,
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[StudyStatus], list[float | None], dict]:
    """The tables of a small real study whose runs take ten seconds each, what was left at each, and the verdict.

    They are shorter than an epoch, so that a rung is a whole run and every run costs the same.
    """
    wanted = asked(**TINY)
    folder = study.begin(wanted, tmp_path_factory.mktemp("runs"), NullReporter())
    engine, reporter, left = Ticking(LocalEngine(NullReporter())), Listener(), []

    class Timed(Progress):
        def __init__(self, declared: StudySpec) -> None:
            super().__init__(declared, engine)

        def table(self, latest: str) -> StudyStatus:
            left.append(self.seconds_left())
            return super().table(latest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "Progress", Timed)
        verdict = study.run_study(folder, engine, reporter)
    return reporter.tables, left, verdict


def test_the_table_of_a_study_fills_up_as_its_runs_end(told) -> None:
    tables, _, verdict = told
    assert [row.done for row in tables[0].rows] == [0, 0] and tables[0].latest == ""
    last = tables[-1]
    assert last.title == "comparison 4/4: 4st" and last.left == ""
    for row, arm in zip(last.rows, verdict["arms"], strict=True):
        assert row == ArmStatus(
            arm["name"], "done", 2, 2, pytest.approx(arm["val"]), arm["to_target"]["epochs"]["median"]
        )
    for before, after in itertools.pairwise(tables):
        assert sum(row.done for row in after.rows) - sum(row.done for row in before.rows) in (0, 1)
    assert {row.state for row in tables[3].rows} <= {"0 trials", "1 trial", "2 trials", "3 trials"}
    assert not any("test" in table.latest for table in tables)
    lines = [table.latest for table in tables if table.latest]
    part = re.compile(r"(?:search(?:, (?:still )?wider grid)?, (?:first epoch|whole)|comparison) \d+/\d+  ")
    named = [part.match(line) for line in lines]
    assert None not in named and len(lines) == len({match[0] for match in named if match})  # no count comes twice
    assert all(table.title == f"{table.latest.split('  ')[0]}: 4st" for table in tables if table.latest)


def test_where_all_runs_take_the_same_time_the_estimate_is_exact(told) -> None:
    """Of the comparison: no search is left that the grid's edge could make longer."""
    tables, left, _ = told
    all_left = zip(tables, left[-len(tables) :], strict=True)
    found = [seconds for table, seconds in all_left if "comparison" in table.title]
    assert found == pytest.approx([40.0, 30.0, 20.0, 10.0, 0.0])


def test_every_part_of_a_study_has_a_name_of_its_own() -> None:
    shared, per_seed = asked().protocol, asked(search="per-seed").protocol
    parts = [(rung, extension) for extension in range(EXTENSIONS + 1) for rung in (1, 0)]
    assert [searching(shared, 10**9, *part) for part in parts] == [
        "search, first epoch",
        "search, whole",
        "search, wider grid, first epoch",
        "search, wider grid, whole",
        "search, still wider grid, first epoch",
        "search, still wider grid, whole",
    ]
    assert searching(shared, 10**9, 3, 0) == "search, first epochs"
    assert searching(per_seed, 1, 1, 0) == "search for seed 1, first epoch"
    assert comparing(shared, 5) == "comparison"
    assert comparing(asked(interim="3,5", seeds=5).protocol, 3) == "comparison, up to 3 seeds"


def test_a_study_that_took_longer_than_its_budget_says_so_and_why() -> None:
    clock = iter([0.0, 1199.0, 0.0, 1860.0, 0.0, 1860.0, 0.0, 9e9])
    wanted = asked(time_budget="20m")
    assert Progress(wanted, lambda: next(clock)).overrun(0) == ""
    slow = Progress(wanted, lambda: next(clock)).overrun(0)
    assert slow.startswith("It took 31 min, and --time-budget declared 20 min: ") and "not cut short" in slow
    wider = Progress(wanted, lambda: next(clock)).overrun(2)
    assert "20 min: 2 learning rates were added at the edges of the grid; runs may" in wider
    assert Progress(asked(), lambda: next(clock)).overrun(2) == ""


def test_words() -> None:
    noon = datetime(2026, 10, 20, 12, 0)
    assert left_words(None, noon) == left_words(0.0, noon) == ""
    assert left_words(12 * 60, noon) == "about 12 min left (until 12:12)"
    assert left_words(125 * 60, noon) == "about 2 h 05 min left (until 14:05)"
    assert left_words(26 * 3600, noon) == "about 26 h 00 min left (until Oct 21 14:00)"
    assert left_words(5, noon) == "less than a minute left" and span_words(45) == "45 s"


ROWS = (ArmStatus("scratch[red]", "comparing", 1, 5, 0.5, None), ArmStatus("b", "waiting", 0, 5, None, 2.0))
TABLE = StudyStatus("comparison 1/10: 3ep", 0.75, ROWS, "comparison 1/10  scratch", "about 12 min left (until 12:12)")


def test_without_a_terminal_a_study_tells_lines(capsys, monkeypatch) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with ConsoleReporter() as reporter:
        for _ in range(4):
            reporter.table(TABLE)
    said = capsys.readouterr().err.splitlines()
    assert said.count(TABLE.latest) == 4 and 1 <= said.count(TABLE.left) < 4 and len(said) == 4 + said.count(TABLE.left)


def test_on_a_terminal_the_table_is_drawn_over_and_taken_away(monkeypatch) -> None:
    screen = io.StringIO()
    with ConsoleReporter() as reporter:
        monkeypatch.setattr(reporter, "_console", Console(file=screen, force_terminal=True, width=100))
        reporter.table(TABLE)
        first = screen.getvalue()
        reporter.progress("training", 1, 2)  # a bar would stand in its way
        assert screen.getvalue() == first
        reporter.table(dataclasses.replace(TABLE, left=""))
        reporter.say("a sentence")
    shown = screen.getvalue()
    for text in ("scratch[red]", "comparing", "1/5", "50.0", "epochs to 75 %", TABLE.latest, TABLE.left, "a sentence"):
        assert text in shown
    assert shown.endswith("\x1b[2K") or shown.rstrip().endswith(("\x1b[2K", "\x1b[?25h"))  # nothing is left of it


@pytest.mark.parametrize(
    ("tuning", "epochs", "head", "expected"),
    [
        ("full", "8ep", "30%", 1),
        ("frozen", "8ep", "30%", 1),
        ("lp-ft", "8ep", "30%", 3),  # 2.4 epochs of the head, and 0.6 of fine-tuning
        ("lp-ft", "10ep", "30%", 4),  # 3 epochs of the head, then a whole one
        ("lp-ft", "8ep", "1ep", 2),
        ("lp-ft", "2ep", "30%", 1),  # shorter than the run
        ("lp-ft", "1ep", "30%", 1),
        ("lp-ft", "30st", "10st", 2),
    ],
)
def test_a_rung_of_lp_ft_has_an_epoch_that_is_mostly_fine_tuning(
    tuning: str, epochs: str, head: str, expected: int
) -> None:
    plan = resolve_settings(
        {"source": "digits", "tuning": tuning, "epochs": epochs, "head_epochs": head, "batch_size": 8}
    ).plan
    complete = plan.changed("facts", counts={"train": 80, "val": 10, "test": 10})
    assert rung_epochs(complete) == expected
    assert recompute.rung_of(complete.model_dump(mode="json")) == expected
