"""Every word of an ablation, of progress and of a planned study comes from a template of the catalog."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from headstart.config.resolve import resolve_settings
from headstart.experiment import ablation, ablation_grid, ablation_summary, planning, study_kind
from headstart.experiment.ablation_cell import FactorialCell
from headstart.experiment.planning import Forecast
from headstart.experiment.progress import Progress, comparison_phase, search_phase
from headstart.i18n import Message, translated
from tests.diagnostics.test_checks import FAST
from tests.experiment.test_ablation import GRID
from tests.experiment.test_progress import ARMS, make_spec
from tests.pseudo_catalog import PseudoCatalog, words_left

NAMES = words_left(" ".join((*ARMS, *ablation_grid.DEPTHS, "norm batch none shortcut on off sgd BatchNorm nan")))
RATIOS = (1.0, 1e-18)


def assert_translated(message: Message, names: set[str] = NAMES) -> None:
    assert isinstance(message, Message)
    assert words_left(translated(message, PseudoCatalog())) <= names, message


def summary(on: FactorialCell, off: FactorialCell, images: int, test_images: int) -> ablation_summary.AblationSummary:
    cells = [
        FactorialCell(depth, shortcut, norm, cell.correct, cell.gradient_ratios, cell.findings)
        for depth, norm, shortcut in GRID
        for cell in [on if shortcut == "on" or norm == "batch" else off]
    ]
    plan = resolve_settings(FAST).plan.changed(split_counts={"test": test_images, "val": images})
    return ablation_summary.summarize(cells, plan, Path("runs"))


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_words_of_an_ablation_are_in_the_catalog(seeds: int) -> None:
    right, wrong = np.ones((seeds, 40), int), np.zeros((seeds, 40), int)
    outcomes = [((before, after), ()) for before, after in product(RATIOS, RATIOS)]
    outcomes += [((1.0, math.nan), ()), ((1.0, 1.0), ("exploding-gradients",)), ((1.0, 1.0), ("dead-filters",))]
    sentences = set()
    for (on_ratios, on_findings), (off_ratios, off_findings), table in product(outcomes, outcomes, (right, wrong)):
        on = FactorialCell("", "", "", right, on_ratios, on_findings)
        off = FactorialCell("", "", "", table, off_ratios, off_findings)
        for test_images in (40, 0):
            whole = summary(on, off, 40, test_images)
            assert list(whole.sentences) == whole.result.sentences
            sentences |= set(whole.sentences)
    for sentence in sentences:
        assert_translated(sentence)
    whole_text = "\n".join(sentences)
    for case in (
        "prevent vanishing here", "prevents vanishing here", "are not compared", "before training only",
        "an unknown factor", "with and without", "neither before nor after", "evaluated on 40 images of val",
    ):  # fmt: skip
        assert case in whole_text, case
    assert ("make no difference" in whole_text) and ("has another cause" in whole_text) == (seeds > 2)


def test_words_of_phases_and_hints_are_in_the_catalog() -> None:
    shared, per_seed = make_spec(search="shared"), make_spec()
    interim = make_spec(search="shared", interim="3,5", seeds=5)
    phases = [
        search_phase(spec.protocol, 1, rung, extension)
        for spec, rung, extension in product((shared, per_seed), (0, 1, 3), range(3))
    ]
    assert len(set(phases)) == len(phases)
    phases += [comparison_phase(spec, spec.seed_range[:3]) for spec in (shared, per_seed, interim)]
    kinds = (study_kind.COMPARISON, ablation.ABLATION)
    for message in (*phases, *(kind.name for kind in kinds), study_kind.resume_hint(Path("1"))):
        assert_translated(message)


def test_words_of_a_stopped_study_are_in_the_catalog() -> None:
    spec = make_spec(search="shared")
    progress = Progress(spec)
    messages = [progress.stop_message("SIGINT", 0)]
    progress._phase = comparison_phase(spec, range(5))
    for done, started in product((0, 1, 2), (0, 1, 2)):
        progress._done, progress._total = done, 4
        messages.append(progress.stop_message("SIGINT", started))
    assert messages[0] == "Stopped by SIGINT before its first run: all finished work is kept."
    assert messages[5] == (
        "Stopped by SIGINT during its comparison: 1 of 4 runs is done, all finished runs are kept, and 1 unfinished "
        "run resumes from its last checkpoint."
    )
    assert messages[9] == (
        "Stopped by SIGINT during its comparison: 2 of 4 runs are done, all finished runs are kept, and 2 unfinished "
        "runs resume from their last checkpoints."
    )
    for message in messages:
        assert_translated(message, {"SIGINT"})


def test_words_of_an_overrun_are_in_the_catalog() -> None:
    for added in (0, 1, 2):
        overrun = Progress(make_spec(time_budget="20m"), iter([0.0, 1860.0]).__next__).overrun(added)
        assert overrun.startswith("The study took 31 min; --time-budget was 20 min: ")
        assert_translated(overrun)


@pytest.mark.parametrize(
    "changes", [{}, {"search": "off"}, {"seeds": 2}, {"seeds": 7, "interim": "3,5,7"}, {"budgets": "4st,2ep"}], ids=str
)
def test_words_of_a_planned_study_are_in_the_catalog(changes: dict[str, object]) -> None:
    spec = make_spec(**changes)
    lines = Forecast(spec, 120.0, 4000, 20, 20, 3).sentences
    assert ("The study may stop at a clear difference after 3 or 5 seeds." in lines) == ("interim" in changes)
    for line in (*lines, planning._time_budget_words(spec, 60.0, 30.0)):
        assert_translated(line, NAMES | {"ep", "st"})
