"""Test the charts with arbitrary input, and the page in a real browser without a network."""

import base64
import html
import itertools
import json
import math
import os
import re
import shlex
import shutil
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import escape
from PIL import Image
from scipy import stats

import headstart
from headstart.analysis.run_records import RunRecord, read_run, runs_at
from headstart.analysis.status import read_verdict
from headstart.analysis.wording import named_words, state_words
from headstart.cli.main import main
from headstart.config.plan_file import read_plan_file
from headstart.config.run_config import ResolvedFacts, RunConfig
from headstart.config.study_request import build_study_spec
from headstart.diagnostics.checks import findings
from headstart.diagnostics.history import History
from headstart.engines.local import LocalEngine
from headstart.errors import DataError, UsageError
from headstart.experiment import study
from headstart.factories import load_factory
from headstart.i18n import Message, Value, verbatim
from headstart.metrics.registry import METRICS
from headstart.optim.registry import DEFAULT_OPTIMIZER, DEFAULT_SCHEDULE
from headstart.report import cost, curves, gallery, health, heatmaps, histograms, layout, page, provenance
from headstart.report.content import page_head
from headstart.report.inputs import BLUE, COLOR_COUNT, GRAY, PageInputs, StudyInputs, arm_colors, verdict_colors
from headstart.report.photos import Gallery, Photo
from headstart.report.registry import SECTIONS, Page
from headstart.report.series import PlottedRun, load_run, mean_and_band, with_unique_names
from headstart.report.svg import charts, labels, sampling
from headstart.report.svg.elements import WIDTH
from headstart.reporter import NullReporter
from headstart.results import diagnosis
from headstart.results.plots import Plots
from headstart.storage.journal import line_bytes, read_lines, with_checksum
from headstart.storage.schemas.metrics import BeginLine, EpochLine, StepLine
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.search import ArmSearch, SearchGroup, TrialScores
from headstart.storage.schemas.study import RunRole, Stage
from headstart.storage.schemas.verdict import SeedResult, TimeToTarget, Verdict
from tests import browser
from tests.browser import NARROW, WIDE, accessibility_faults, needs_browser, open_browser, save_screenshot
from tests.files import read_json
from tests.handmade import (
    SPEED,
    arm_spec,
    counts_of,
    epoch_line,
    histogram,
    probe_line,
    read_table,
    run_result,
    seal,
    snapshot_line,
    split_score,
)
from tests.messages import fields_of, values_of
from tests.pages import PageReader, assert_is_closed
from tests.verdicts import arm_result, changed, contrast, seed_result, times_to_target, verdict

HOSTILE = "<img src=x onerror=alert(1)>"
names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"), min_size=1, max_size=60)
values = st.floats(-1e6, 1e6)


def parsed(chart: object) -> ElementTree.Element:
    return ElementTree.fromstring(str(chart).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))


def texts(chart: object) -> list[str]:
    return ["".join(text.itertext()) for text in parsed(chart).iter("{http://www.w3.org/2000/svg}text")]


@given(names, st.lists(values, min_size=1, max_size=5), values)
def test_charts_are_valid_svg_and_escape_names(name: str, dots: list[float], mean: float) -> None:
    row = charts.IntervalRow(name, 1, mean, min(dots), max(dots), dots)
    path = list(enumerate(dots))
    all_charts = [
        charts.intervals([row], unit=name, label=name, margin=1, zero=True),
        charts.curves([charts.Series(name, 2, [path], path, [(x, y, y) for x, y in path])], x=name, y=name, label=name),
        charts.events([charts.EventRow(name, 3, [1.0], [2.0], 1.0)], x=name, label=name),
        charts.heat_map(charts.Grid([name], [name], [[mean]], [[name]], frozenset({(0, 0)})), label=name),
        charts.scatter([(name, 0, abs(mean) + 1, mean)], x=name, y=name, label=name, log=True),
    ]
    for chart in all_charts:
        root = parsed(chart)
        assert root.get("role") == "img" and root.get("aria-label") == name
        assert not [element for element in root.iter() if element.tag.endswith(("img", "script"))]


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5), st.floats(0, 1))
def test_axis_is_linear_and_has_ticks_within_its_ends(low: float, span: float, share: float) -> None:
    axis = charts.Axis(low, low + span, 10, 110)
    assert (axis.position(low), axis.position(low + span)) == (10, 110)
    assert axis.position(low + share * span) == pytest.approx(10 + 100 * share, abs=0.1)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8 and ticks == sorted(set(ticks))
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_log_axis_has_powers_of_ten() -> None:
    axis = charts.Axis(1e-4, 0.1, 0, 300, log=True)
    assert axis.ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert [axis.position(10.0**power) for power in (-4, -3, -2, -1)] == [0, 100, 200, 300]


@pytest.mark.parametrize(("low", "high"), [(2.3e-3, 3.9e-3), (2.5, 3.5), (0.9, 4e5)])
def test_log_axis_of_any_span_has_ticks(low: float, high: float) -> None:
    assert len(charts.Axis(low, high, 0, 300, log=True).ticks()) >= 2


@given(st.floats(0, 1e4), st.floats(1e-4, 1e7))
@example(1000.0, 0.015625)
def test_tick_labels_are_distinct_and_equal_their_values(low: float, span: float) -> None:
    ticks = charts.Axis(low, low + span, 0, 300).ticks()
    labels = [charts.tick_label(tick) for tick in ticks]
    assert len(set(labels)) == len(labels) or span < 1e-5 * (low + span)
    assert [float(label.replace(",", "")) for label in labels] == pytest.approx(ticks, rel=1e-2, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "label"), [(1e30, "1e30"), (2.5e8, "2.5e8"), (25_000_000.0, "25,000,000"), (0.0, "0")]
)
def test_tick_label_of_a_large_value_is_short(value: float, label: str) -> None:
    assert charts.tick_label(value) == label


def test_integer_axis_has_integer_ticks() -> None:
    for last, expected in ((2, ["1", "2"]), (3, ["1", "2", "3"]), (13, ["2", "4", "6", "8", "10", "12"])):
        line = charts.Series("", 0, [], [(float(epoch), 5.0) for epoch in range(1, last + 1)])
        chart = charts.curves([line], x="epochs", y="", label="")
        labels = [text.text for text in parsed(chart).iter() if text.get("y") == f"{charts.HEIGHT - 22}"]
        assert labels == expected
    chart = charts.events([charts.EventRow("a", 1, [1.0, 2.0], [], 1.5)], x="epochs", label="")
    assert [text for text in texts(chart) if re.fullmatch(r"[\d.]+", text)] == ["0", "1", "2"]


def test_dots_of_equal_seeds_are_drawn_below_each_other() -> None:
    row = charts.IntervalRow("a", 1, 50.0, 40.0, 60.0, [45.0, 50.0, 45.0, 45.0])
    elements = parsed(charts.intervals([row], unit="", label="")).iter()
    dots = [(dot.get("cx"), float(dot.get("cy", 0))) for dot in elements if "seed" in dot.get("class", "")]
    first, other, *more = dots
    assert first[0] != other[0] and first[1] == other[1]
    assert more == [(first[0], first[1] + charts.DOT_STEP), (first[0], first[1] + 2 * charts.DOT_STEP)]


def test_percent_axis_and_band_are_clipped_to_0_to_100() -> None:
    band = charts.Series(
        "a", 1, [[(1, 90.0), (2, 99.0)]], [(1, 90.0), (2, 99.0)], [(1, -80.0, 260.0), (2, 98.0, 100.0)]
    )
    ends = {}
    for shares in (False, True):
        chart = charts.curves([band], x="", y="", label="", shares=shares)
        ends[shares] = [float(text) for text in texts(chart) if re.fullmatch(r"-?\d+", text)]
        (points,) = (line.get("points", "") for line in parsed(chart).iter() if "band" in line.get("class", ""))
        heights = [float(point.split(",")[1]) for point in points.split()]
        (rule,) = (float(text.get("y", 0)) - 4 for text in parsed(chart).iter() if text.text == "100")
        assert (min(heights) == pytest.approx(rule, abs=0.2)) == shares  # no band above 100 %
    assert min(ends[True]) == 0 and max(ends[True]) == 100
    assert min(ends[False]) < 0 and max(ends[False]) > 100
    row = charts.intervals([charts.IntervalRow("a", 1, 95.0, 40.0, 150.0)], unit="", label="")
    assert max(float(text) for text in texts(row)[:-2] if re.fullmatch(r"-?\d+", text)) == 100


def test_long_name_at_the_right_edge_precedes_its_dot_untruncated() -> None:
    name = "a long name of an arm, fine-tuned"
    chart = charts.scatter([("b", 1, 1.0, 50.0), (name, 2, 60.0, 90.0)], x="", y="", label="", log=True)
    label = next(text for text in parsed(chart).iter() if text.text == name)
    assert label.get("text-anchor") == "end" and float(label.get("x", 0)) > 60 + len(name) * labels.BOLD_LETTER_WIDTH
    near = charts.scatter(
        [(name, 2, 60.0, 90.0), ("b", 1, 30.0, 90.0), ("c", 3, 1.0, 50.0)], x="", y="", label="", log=True
    )
    assert name not in near and "a long" in near  # another dot is in the way


def test_name_does_not_cover_the_dot_of_another_arm() -> None:
    chart = charts.scatter([("a" * 9, 1, 1.0, 50.0), ("b", 2, 3.0, 50.0), ("c", 3, 90.0, 60.0)], x="", y="", label="")
    svg = "{http://www.w3.org/2000/svg}"
    dots = [(float(dot.get("cx", 0)), float(dot.get("cy", 0))) for dot in parsed(chart).iter(f"{svg}circle")
            if dot.get("r") == "6"]  # fmt: skip
    names = [text for text in parsed(chart).iter(f"{svg}text") if text.get("class") == "strong"]
    assert len(dots) == len(names) == 3
    for name in names:
        left, height = float(name.get("x", 0)), float(name.get("y", 0)) - 4
        right = left + len(name.text or "") * labels.LETTER_WIDTH
        assert not [dot for dot in dots if left - 6 < dot[0] < right and abs(dot[1] - height) < 12]


@given(st.lists(st.text("ab, ", min_size=1, max_size=40), min_size=1, max_size=12), st.integers(3, 30))
def test_wrapped_names_fit_their_width(arm_names: list[str], letters: int) -> None:
    for most in (0.0, 100.0):
        wrapped = labels.wrap_names(arm_names, letters * labels.BOLD_LETTER_WIDTH, most)
        assert len(wrapped) == len(arm_names) and max(map(len, wrapped)) <= (1 if most == 0 else 2)
        for name, lines in zip(arm_names, wrapped, strict=True):
            assert all(len(line) <= letters for line in lines)
            assert "…" in "".join(lines) or " ".join(lines).split() == name.split()


@given(st.lists(st.text("abc漢", min_size=1, max_size=40), max_size=12), st.integers(4, 30))
def test_wrapped_words_fit_their_width(words: list[str], letters: int) -> None:
    lines = labels.wrap_words(" ".join(words), letters * labels.LETTER_WIDTH)
    assert all(labels.text_width(line) <= letters for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(words)
    if all(labels.text_width(word) <= letters for word in words):
        assert " ".join(lines).split() == words


@pytest.mark.parametrize("names", [1, 2, 4])
def test_a_long_name_of_an_axis_is_wrapped_inside_the_chart(names: int) -> None:
    name = ", ".join(["cifar10-resnet18 (fine-tuned, crop=0.35)"] * names)
    chart = parsed(charts.intervals([charts.IntervalRow("a", 1, 5.0, 4.0, 6.0)], unit=name, label="", zero=True))
    height = float(chart.get("viewBox", "").split()[3])
    notes = [text for text in chart.iter() if text.get("class") == "note"]
    lines = [text for text in notes if not re.fullmatch(r"[-\u2212+]?[\d.]+", text.text or "")]
    assert " ".join(line.text or "" for line in lines) == name and len(lines) >= names / 2
    for text in lines:
        x, half = float(text.get("x", 0)), len(text.text or "") * labels.BOLD_LETTER_WIDTH / 2
        assert x - half >= 0 and x + half <= WIDTH and float(text.get("y", 0)) + 6 <= height


@pytest.mark.parametrize("count", [5, 12])
def test_labels_of_runs_that_differ_only_in_the_seed_are_distinct(count: int) -> None:
    series = [charts.Series(f"a-network-of-a-long-name, frozen, seed {seed}", 1, [[(1, seed), (2, seed)]])
              for seed in range(count)]  # fmt: skip
    chart = charts.curves(series, x="", y="", label="")
    seeds = {text.rpartition("seed ")[2] for text in texts(chart) if "seed " in text}
    assert seeds == set(map(str, range(count)))
    rows = charts.heat_map(charts.Grid([line.name * 2 for line in series], ["1"], [[1.0]] * count, [["1"]] * count),
                           label="")  # fmt: skip
    assert {text.rpartition("seed ")[2] for text in texts(rows) if "seed " in text} == seeds


@pytest.mark.parametrize(
    "name", ["\u5916\u5957\u3068\u9577\u3044\u30b3\u30fc\u30c8\u306e\u5199\u771f" * 3, "a name of Latin letters " * 4]
)
def test_names_in_wide_characters_stay_in_the_chart(name: str) -> None:
    """East Asian characters are assumed to be 13 units wide, the font size, and others half as wide."""
    rows = [[1.0, 2.0]] * 2
    charts_of = [charts.heat_map(charts.Grid([name[:end], "x"], ["1", name], rows, [["1", "2"]] * 2), label="")
                 for end in range(1, len(name))]  # fmt: skip
    lines = [charts.Series(f"{name}{seed}", 1, [[(1, seed), (2, seed)]]) for seed in range(3)]
    charts_of += [charts.curves(lines, x="", y="", label=""),
                  charts.scatter([(name, 1, 1.0, 2.0), ("x", 2, 3.0, 4.0)], x="", y="", label="")]  # fmt: skip
    for chart in charts_of:
        for text in parsed(chart).iter("{http://www.w3.org/2000/svg}text"):
            width = sum(13 if letter > "\u3000" else 6.5 for letter in text.text or "")
            before = {"start": 0, "middle": width / 2, "end": width}[text.get("text-anchor", "")]
            left = float(text.get("x", 0)) - before
            assert left >= 0 and left + width <= charts.WIDTH, text.text


@needs_browser
def test_right_to_left_name_does_not_reorder_its_sentence() -> None:
    names = "\u05d7\u05d5\u05dc\u05e6\u05d4", "\u0642\u0645\u064a\u0635"
    shown = Gallery("test", list(names), counts_of([[0, 3], [0, 7]]), {}, [], [],
                    [Photo(key="", true=0, predicted=1, confidence=0.5, src="")], {})  # fmt: skip
    sentences = [gallery._pair_words(shown.pairs[0]), shown.tile(0).text]
    true, predicted = map(labels.isolate_bidi, names)
    assert [values_of(sentence) for sentence in sentences] == [[true, predicted, 3, 3], [predicted, 50, true]]
    script = """() => [...document.querySelectorAll("p")].map(p => [...p.textContent.matchAll(/\\S+/g)].map(word => {
        const range = document.createRange();
        range.setStart(p.firstChild, word.index); range.setEnd(p.firstChild, word.index + word[0].length);
        return range.getBoundingClientRect().left; }))"""
    with open_browser() as visits:
        tab = visits.open("about:blank", WIDE)
        tab.set_content("".join(f"<p>{sentence}</p>" for sentence in sentences))
        of_words = tab.evaluate(script)
        assert [len(places) for places in of_words] == [len(sentence.split()) for sentence in sentences]
        for places in of_words:
            assert places == sorted(places) and len(set(places)) == len(places)
    assert labels.isolate_bidi("plain, 3") == "plain, 3"


def test_name_moved_away_from_its_dot_has_a_sample_of_its_color() -> None:
    rows = [(f"arm {index}", index, 1.0, 50.0) for index in range(4)]
    root = parsed(charts.scatter(rows, x="", y="", label=""))
    samples = [dot.get("class") for dot in root.iter("{http://www.w3.org/2000/svg}circle") if dot.get("r") == "4"]
    assert {f"mean f{index}" for index in (1, 2)} <= set(samples)


def test_run_without_an_epoch_has_no_line() -> None:
    chart = charts.curves([charts.Series("a", 1, [[], []]), charts.Series("b", 2, [[(1, 2.0)]])], x="", y="", label="")
    assert "b" in texts(chart) and "a" not in texts(chart)
    assert charts.curves([charts.Series("a", 1, [[]])], x="", y="", label="") == ""


def test_band_equals_the_t_interval_of_scipy() -> None:
    paths = [[(1.0, 0.2), (2.0, 0.5)], [(1.0, 0.4), (2.0, 0.7)], [(1.0, 0.3), (2.0, 0.9)]]
    mean, band = mean_and_band(paths)
    for index, (x, low, high) in enumerate(band):
        ys = [path[index][1] for path in paths]
        assert (x, mean[index][1]) == (paths[0][index][0], pytest.approx(np.mean(ys)))
        expected = stats.t.interval(0.95, 2, loc=np.mean(ys), scale=stats.sem(ys))
        assert (low, high) == pytest.approx(expected)


@given(st.lists(st.lists(st.tuples(st.floats(0.1, 9), values), max_size=8), max_size=5))
def test_mean_continues_over_the_remaining_runs(steps: list[list[tuple[float, float]]]) -> None:
    paths = [list(zip(np.cumsum([x for x, _ in run]).tolist(), [y for _, y in run], strict=True)) for run in steps]
    mean, band = mean_and_band(paths)
    longest = max(map(len, paths), default=0)
    assert len(mean) == longest and [x for x, _ in mean] == sorted(x for x, _ in mean)
    for index in range(longest):
        points = [path[index] for path in paths if len(path) > index]
        assert mean[index][1] == pytest.approx(np.mean([y for _, y in points]))
        if len(points) == len(paths):
            assert mean[index][0] == pytest.approx(np.mean([x for x, _ in points]))
    assert len(band) == sum(sum(len(path) > index for path in paths) > 1 for index in range(longest))


def plotted_run(
    arm: str,
    seed: int,
    accuracies: list[float],
    *,
    budget: str = "10ep",
    fraction: float = 1.0,
    lr: float = 0.01,
    network: str = "resnet18",
) -> PlottedRun:
    """Return a finished run with these val accuracies by epoch."""
    plan = (
        RunConfig()
        .changed(seed=seed, lr=lr, batch_size=8, epochs=budget, fraction=fraction, network=network)
        .changed(class_names=("a", "b"), class_counts={"a": 9, "b": 9}, split_counts={"val": 165})
    )
    history = History(plan, state=RunState.FINISHED)
    speed = SPEED.model_copy(update={"train_seconds": 1.0, "val_seconds": 0.1})
    for epoch, accuracy in enumerate(accuracies, 1):
        val = split_score(0.1, accuracy)
        correct = round(1000 * accuracy)
        confusion = [[correct, 1000 - correct], [0, 0]]
        history.add(epoch_line(40 * epoch, epoch, train=split_score(0.1), val=val, confusion=confusion, speed=speed))
    folder = Path("-".join(map(str, (arm, seed, budget, fraction))))
    role = RunRole(arm=arm_spec(arm), stage=Stage.MAIN, budget=budget, fraction=fraction)
    run = RunRecord(folder, plan, "hash", role, run_result())
    return PlottedRun(run, f"{arm}, seed {seed}", arm, history)


def verdict_on(runs: list[PlottedRun], chosen: str) -> Verdict:
    """Return a verdict that rests on the runs of ten epochs with all labels."""
    arms: dict[str, list[SeedResult]] = {}
    for run in runs:
        of_arm = arms.setdefault(run.arm, [])
        if run.run.condition == ("10ep", 1.0):
            of_arm.append(seed_result(run.run.seed, run=run.run.folder.name))
    results = [arm_result(name, seeds) for name, seeds in arms.items()]
    return verdict(results, selected=chosen, n=max(map(len, arms.values())), budget="10ep")


def runs_inputs(runs: list[PlottedRun]) -> PageInputs:
    return PageInputs(Path(), runs, dict.fromkeys((run.arm for run in runs), 0))


def study_inputs(of: Verdict, runs: list[PlottedRun] | None = None) -> StudyInputs:
    return StudyInputs(Path(), runs or [], verdict_colors(of), of)


def learning_section(slow: list[list[float]], fast: list[list[float]], chosen: str = "imagenet") -> layout.Section:
    runs = [plotted_run(arm, seed, accuracies) for arm, curves_of_arm in (("imagenet", fast), ("scratch", slow))
            for seed, accuracies in enumerate(curves_of_arm)]  # fmt: skip
    return curves.learning_section(study_inputs(verdict_on(runs, chosen), runs))


def test_mean_and_title_use_all_epochs_if_one_run_ends_early() -> None:
    fast = [[0.505 + 0.01 * epoch for epoch in range(10)]] * 5
    slow = [[0.3 + 0.05 * epoch for epoch in range(10)]] * 4
    whole, cut = learning_section([*slow, slow[0]], fast), learning_section([*slow, slow[0][:1]], fast)
    assert whole.finding == cut.finding and values_of(cut.finding) == [10, "imagenet", "val", 6]
    assert values_of(whole.figures[0].caption) == [5, 165, "165", "test"]
    runs_that_go_on = ["scratch", 4, 2]  # runs of the arm, and the epoch from which the mean is over them
    for figure in cut.figures:
        assert values_of(figure.caption) == [5, *runs_that_go_on, 165, "165", "test"]
        scratch = [row[2:] for row in figure.rows if row[0] == "scratch"]
        assert scratch == [[f"{30 + 5 * epoch:.1f}", "4" if epoch else "5"] for epoch in range(10)]


@pytest.mark.parametrize(
    ("slow", "fast", "chosen", "words"),
    [
        ([0.1], [0.5] * 3, "imagenet", "is ahead on val, up to epoch 1, where the others end"),
        ([0.9, 0.1], [0.5] * 3, "imagenet", "is ahead on val in 1 of 2 epochs, up to epoch 2, where the others end"),
        ([0.9], [0.5] * 3, "scratch", "is ahead on val, up to epoch 1, where it ends"),
        ([0.5] * 3, [0.5] * 3, "imagenet", "is never ahead on val"),
        ([], [0.5] * 3, "imagenet", "is the only arm with a curve"),
        ([], [0.5] * 3, "scratch", "is never ahead on val"),
        ([], [], "scratch", "is never ahead on val"),
    ],
)
def test_title_of_the_curves_states_the_lead_of_the_selected_arm(
    slow: list[float], fast: list[float], chosen: str, words: str
) -> None:
    """This test owns the words of these titles, since some of them differ in words only."""
    name = {"imagenet": "imagenet (fine-tuned)", "scratch": "scratch"}[chosen]
    assert learning_section([slow], [fast], chosen).finding == f"{name} {words}"


def test_title_of_the_curves_names_the_epoch_with_fewer_arms() -> None:
    means = {"imagenet": [0.6] * 10, "scratch": [0.9] * 5, "imagenet+frozen": [0.5] * 10}
    runs = [plotted_run(arm, 0, mean) for arm, mean in means.items()]
    title = curves.learning_section(study_inputs(verdict_on(runs, "imagenet"), runs)).finding
    assert values_of(title) == [10, "imagenet", "val", 5, 6]


def with_probes(run: PlottedRun, flows: list[dict[str, float | None]], distance: float = 0.1) -> PlottedRun:
    """Return the run with a gradient probe for each of `flows`; its layers have moved by `distance` at the last one."""
    for epoch, flow in enumerate(flows):
        moved = distance * epoch / max(len(flows) - 1, 1)
        distances = {"conv1": moved, "fc": 2 * moved}
        run.history.add(probe_line(epoch, epoch, block_gradient_norm=flow, distance_from_init=distances))
    return run


@pytest.mark.parametrize(
    ("long", "short", "numbers"),
    [
        (1, 9, {"count": 1, "others": 9}),
        (2, 1, {"count": 2, "others": 1}),
        (3, 0, {"count": 3}),
        (1, 0, {"count": 1}),
        (0, 2, {}),
        (0, 1, {}),
    ],
)
def test_health_title_counts_the_runs_that_are_long_enough(long: int, short: int, numbers: dict[str, int]) -> None:
    runs = [plotted_run("a", seed, [0.9] * (5 if seed < long else 1)) for seed in range(long + short)]
    for run in runs[long:]:
        run.history.epochs[0] = run.history.epochs[0].model_copy(update={"step": 10})
    assert health.health_section(runs_inputs(runs)).finding.values == numbers


def test_layer_distances_use_the_runs_of_the_verdict() -> None:
    conditions = [("10ep", 1.0, 0.5), ("1ep", 1.0, 0.1), ("10ep", 0.1, 0.2)]
    runs = [with_probes(plotted_run("scratch", seed, [0.5] * 2, budget=budget, fraction=share), [{}, {}], distance)
            for seed in range(2) for budget, share, distance in conditions]  # fmt: skip
    section = health.distance_section(study_inputs(verdict_on(runs, "scratch"), runs))
    assert section is not None and [row[2] for row in section.figures[0].rows] == ["50", "100"]
    standalone = health.distance_section(runs_inputs(runs))  # without a verdict each condition has its own line
    assert standalone is not None
    assert {(*values_of(row[0]), row[2]) for row in standalone.figures[0].rows if row[1] == "conv1"} == {
        ("scratch", epochs, epochs, share, distance)
        for epochs, share, distance in ((10, 100, "50"), (1, 100, "10"), (10, 10, "20"))
    }


def test_layers_of_two_networks_have_no_common_mean() -> None:
    runs = [with_probes(plotted_run("scratch", 0, [0.5] * 2, network=network), [{}, {}], distance)
            for network, distance in (("resnet18", 0.5), ("resnet34", 0.1))]  # fmt: skip
    section = health.distance_section(runs_inputs(runs))
    assert section is not None
    assert {(row[0], row[2]) for row in section.figures[0].rows if row[1] == "conv1"} == {
        ("scratch, resnet18", "50"), ("scratch, resnet34", "10"),
    }  # fmt: skip
    runs = [with_probes(plotted_run("scratch", 0, [0.5] * 2), [{}, {}], distance) for distance in (0.5, 0.1)]
    runs[1].history.probes[-1].distance_from_init["layer9"] = 0.1  # the same name of the network, but other layers
    assert health.distance_section(runs_inputs(runs)) is None


def shades(chart: object) -> list[str]:
    return re.findall(r'class="cell (\w+)"', str(chart))


def gradient_figure(*flows: dict[str, float | None]) -> layout.Figure:
    run = with_probes(plotted_run("a", 0, [0.9] * 2), list(flows))
    (figure,) = health.health_section(runs_inputs([run])).figures
    return figure


@pytest.mark.parametrize("frozen_first", [True, False])
@pytest.mark.parametrize("cached", [True, False])  # runs of a head alone have no other layers
@pytest.mark.parametrize(("trained", "first"), [(("conv1", "layer4", "fc"), "conv1"), (("layer4", "fc"), "layer4")])
def test_default_layer_is_the_first_one_from_the_input(
    frozen_first: bool, cached: bool, trained: Sequence[str], first: str
) -> None:
    shape = histogram(-1.0, 1.0, [1, 2])
    layers = ("conv1", "layer4", "fc")
    runs = [
        PlottedRun(RunRecord(Path(name), RunConfig(), ""), verbatim(name), name, History(RunConfig()), snapshots=[
            snapshot_line(1, weights=dict.fromkeys(weights, shape), gradients=dict.fromkeys(gradients, shape))
        ])
        for name, weights, gradients in (("frozen", ("fc",) if cached else layers, ("fc",)), ("full", layers, trained))
    ]  # fmt: skip
    runs = runs if frozen_first else runs[::-1]
    assert histograms.layer_ridges(runs, "weights")[0] == "conv1"
    assert histograms.ridge_figures(runs, "gradients")[0] == first
    layer, drawn = histograms.layer_ridges(runs, "gradients", "fc")
    assert layer == "fc" and len(drawn) == 2


def test_frozen_zero_and_not_finite_gradients_are_distinguished() -> None:
    figure = gradient_figure({"layer3": 0.1}, {"layer1": 0.0, "layer2": None, "layer3": 0.1})
    rows = [["layer1", "frozen", "0"], ["layer2", "frozen", "not finite"], ["layer3", "0.1", "0.1"]]
    assert [list(row) for row in figure.rows] == rows
    assert {"frozen", "0", "not finite"} <= set(texts(figure.chart))
    shade = shades(figure.chart)[4]
    assert shades(figure.chart) == ["none", "h0", "none", "lost", shade, shade]


def test_two_words_in_a_narrow_cell_take_two_lines() -> None:
    epochs = [{f"layer{index}.0": None if index else 0.1 for index in range(2)}] * 30
    assert {"not", "finite"} <= set(texts(gradient_figure(*epochs).chart))


@given(st.floats(1e-30, 1e3), st.lists(st.floats(-8, 8), min_size=1, max_size=6))
def test_gradient_colors_have_the_same_scale_in_all_runs(last: float, powers: list[float]) -> None:
    flow = {f"block{index}": last * 10**power for index, power in enumerate(powers)} | {"last": last}
    classes = shades(gradient_figure(flow, flow).chart)
    expected = [round((min(max(math.log10(value / last), -6), 7.5) + 6) / 1.5) for value in flow.values()]
    assert expected[-1] == 4
    assert classes == [f"h{shade}" for shade in expected for _ in range(2)]


def test_layer_that_was_never_finite_is_not_frozen() -> None:
    without_values = histogram(0.0, 0.0, [], not_finite=9)
    by_layer = histograms.ridges([snapshot_line(1, gradients={"conv1": without_values})], "gradients")
    assert by_layer == {"conv1": None}


@given(st.integers(2, 2000), st.integers(2, 300))
def test_subsample_keeps_first_and_last_point(count: int, most: int) -> None:
    points = [(float(i), float(-i)) for i in range(count)]
    sample = sampling.subsample(points, most)
    assert sample[0] == points[0] and sample[-1] == points[-1]
    assert len(sample) == min(count, most) and sample == sorted(sample)


def test_ridges_have_one_scale_and_all_snapshots() -> None:
    snapshots = [
        snapshot_line(1, 1, weights={"conv1": histogram(0.0, 1.0, [1] * 64)}),
        snapshot_line(9, 2, weights={"conv1": histogram(-1.0, 1.0, [1] * 64)}),
        snapshot_line(19, 3, weights={"conv1": histogram(0.0, 0.0, [], not_finite=64)}),
    ]
    layer = histograms.ridges(snapshots, "weights")["conv1"]
    assert layer is not None
    assert (layer.low, layer.high, layer.steps, layer.epochs) == (-1.0, 1.0, [1, 9], [1, 2])
    assert layer.non_finite == 1
    rows = np.frombuffer(base64.b64decode(layer.rows), dtype=np.uint8).reshape(2, histograms.BINS)
    half = histograms.BINS // 2
    assert (rows[0, :half] == 0).all() and (rows[0, half:] == 255).all()  # twice the density on half of the scale
    assert (rows[1] == round(255 / np.sqrt(2))).all()


def test_one_arm_is_blue_and_scratch_gray() -> None:
    color = arm_colors(list(map(arm_spec, ("scratch", "a", "b", "scratch@adam"))), "b")
    assert color == {"scratch": GRAY, "b": BLUE, "a": 2, "scratch@adam": 3}
    assert max(arm_colors([arm_spec(f"arm{i}") for i in range(20)], "arm3").values()) < COLOR_COUNT


@pytest.mark.parametrize(
    ("winner", "selected", "colors"),
    [
        (None, "scratch", {"scratch": GRAY, "imagenet": 2}),
        (None, "imagenet", {"scratch": GRAY, "imagenet": BLUE}),
        ("scratch", "scratch", {"scratch": BLUE, "imagenet": 2}),
    ],
)
def test_blue_is_the_arm_of_the_exported_model_unless_it_is_an_undecided_scratch(
    winner: str | None, selected: str, colors: dict[str, int]
) -> None:
    result = verdict([arm_result("scratch"), arm_result("imagenet")], selected=selected, winner=winner)
    assert verdict_colors(result) == colors


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a study of two arms on photos whose class names are HTML."""
    photos = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index, label in enumerate((HOSTILE, "plain", "& \"quoted\" 'too'")):
        (photos / label).mkdir()
        for number in range(24):
            pixels = rng.integers(0, 120, (20, 20, 3)) + 60 * index
            Image.fromarray(pixels.astype(np.uint8)).save(photos / label / f"{HOSTILE}{number}.png")
    plan = {"network": "timm:test_resnet", "image_size": 16, "batch_size": 8, "precision": "fp32", "threads": 1,
            "epochs": "3ep", "seeds": 2, "grid": "0.01,0.001", "survivors": 1, "search_seeds": 1}  # fmt: skip
    spec = build_study_spec(str(photos), ("scratch", "scratch@adam"), {}, None, None, None, plan)
    folder = study.begin(spec, tmp_path_factory.mktemp("runs"), NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    return folder


def test_study_ends_with_its_report(study_folder: Path) -> None:
    text = (study_folder / "report.html").read_text(encoding="utf-8")
    assert len(text) < 5_000_000
    assert HOSTILE not in text and "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    verdict = read_json(study_folder / "verdict.json")
    assert f"<h1>{verdict['sentences']['headline']}</h1>" in text


def section_of(text: str, name: str) -> str:
    """Return the HTML of the section of that id."""
    return text.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def tables_of(text: str) -> list[list[list[str]]]:
    """Return the cells of every table, row by row."""
    tables = [re.findall(r"<tr>(.*?)</tr>", table) for table in re.findall(r"<table.*?</table>", text, re.DOTALL)]
    cells = [[re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in table] for table in tables]
    return [[[html.unescape(cell) for cell in row] for row in table] for table in cells]


def test_page_has_the_protocol_and_the_runs_of_the_search(study_folder: Path) -> None:
    text = (study_folder / "report.html").read_text(encoding="utf-8")
    declared, main_runs, searched, _environment = tables_of(section_of(text, "how"))
    protocol = provenance.declared_protocol(study_folder)
    assert protocol is not None and declared == [[name, value] for name, value in protocol.rows]
    assert [values_of(value) if isinstance(value, Message) else value for _name, value in protocol.rows] == [
        ["scratch", "scratch", "adam"],
        ["scratch", "adam", "scratch"],  # the primary contrast: the declared arms, the reference last
        ["val", "test"],  # of selection and evaluation
        [1],  # percentage points of the margin
        [75, "val"],
        [2, 0, 1],  # seeds, the first and the last
        [3, 3],  # epochs
        [100],  # per cent of the training images
        ["val"],  # on which each seed searches
        [1, "0.001", "0.01"],  # rates that are trained in full, of the rates
        "timm:test_resnet",
        [DEFAULT_OPTIMIZER, DEFAULT_SCHEDULE, 8, 16],
        read_json(study_folder / "verdict.json")["study"],
    ]
    assert (
        html.escape((study_folder / "study.toml").read_text(encoding="utf-8"), quote=False).replace('"', "&#34;")
        in text
    )
    for (_header, *rows), place in ((main_runs, "."), (searched, "search")):
        expected = {os.path.relpath(plan.parent, study_folder) for plan in (study_folder / place).glob("*/plan.json")}
        assert {row[-1] for row in rows} == expected and len(rows) == len(expected)
    states = {row[-1]: row[4] for row in searched[1:]}
    finished = {name for name in states if (study_folder / name / "result.json").exists()}
    assert {states[name] for name in finished} == {state_words(RunState.FINISHED)}
    (ended_early,) = {states[name] for name in states.keys() - finished}
    assert "rung" in ended_early  # "not finished" would be a run that may continue


def test_page_reports_a_changed_declaration(study_folder: Path, tmp_path: Path) -> None:
    for name in ("verdict.json", "study.toml"):
        shutil.copy(study_folder / name, tmp_path)
    for run in study_folder.glob("*-s[01]"):
        shutil.copytree(run, tmp_path / run.name)
    declaration = tmp_path / "study.toml"
    changed = declaration.read_text(encoding="utf-8").replace('margin = "1pt"', 'margin = "9pt"')
    declaration.write_text(changed, encoding="utf-8")
    protocol = provenance.declared_protocol(tmp_path)
    assert protocol is not None and protocol.problem is not None and protocol.rows == ()
    assert set(values_of(protocol.problem)) == {declaration}
    text = section_of(page.write_page(tmp_path).read_text(encoding="utf-8"), "how")
    assert escape(protocol.problem) in text and text.count('class="named"') == 1  # the table of the environment


def test_charts_of_a_study_render_in_a_notebook(study_folder: Path, tmp_path: Path) -> None:
    plots = headstart.Study(study_folder).plot
    for over, words in curves.UNITS.items():
        assert words in plots.curves(over).html
    study_charts = [plots.curves(), plots.grid(), plots.health(), plots.confusion(), plots.mistakes()]
    for chart in study_charts:
        shown = chart._repr_html_()
        assert chart.title and 'class="headstart chart"' in shown and HOSTILE not in shown and "<script" not in shown
        page = chart.save(tmp_path / "chart.html").read_text(encoding="utf-8")
        assert shown.partition("</style>")[2] in page
    counts = read_table(study_folder / read_json(study_folder / "verdict.json")["exported"]["run"])
    svg = str(study_charts[3].html).partition("<svg")[2].partition("</svg>")[0]
    assert all(str(count) in texts(f"<svg{svg}</svg>") for row in counts for count in row)
    assert all("<summary>" in chart.html and "<table" in chart.html for chart in study_charts[:4])
    cells = re.findall(r"<td>([^<]*)</td>", study_charts[3].html)
    assert [int(cell) for cell in cells if cell.isdigit()] == [count for row in counts for count in row]
    assert 'src="data:image/webp' in study_charts[4].html
    with pytest.raises(UsageError) as error:
        plots.curves("weeks")
    assert fields_of(error.value.message) == {"over": "weeks"}
    assert fields_of(error.value.hint) == {"units": ", ".join(curves.UNITS)}
    verdict = headstart.Study(study_folder).verdict
    assert str(verdict).startswith(verdict.sentences.headline) and HOSTILE not in verdict._repr_html_()


def test_pages_run_and_load_only_what_is_in_them(study_folder: Path, grid: Path, tmp_path: Path) -> None:
    run = shutil.copytree(next(study_folder.glob("*-s0")), tmp_path / "run")
    for path in (study_folder / "report.html", grid / "report.html", page.write_page(run)):
        shown = assert_is_closed(path.read_text(encoding="utf-8"))
        assert len(shown.scripts) == len(shown.styles) == 1
    study, finished = headstart.Study(study_folder), headstart.Run(run)
    plots = [study.plot.curves(), study.plot.confusion(), study.plot.mistakes(), finished.plot.curves()]
    for chart in plots:
        shown = assert_is_closed(chart.save(tmp_path / "chart.html").read_text(encoding="utf-8"))
        assert shown.scripts == [] and len(shown.styles) == 1
    for markup in (chart._repr_html_() for chart in (*plots, study, finished, study.verdict)):
        shown = PageReader(markup)
        assert shown.faults == [] and shown.scripts == []


@needs_browser
def test_policy_stops_markup_that_is_not_of_the_page(study_folder: Path, tmp_path: Path) -> None:
    text = (study_folder / "report.html").read_text(encoding="utf-8")
    foreign = """<p id="x" style="color: rgb(1, 2, 3)" onclick="ran()">x</p><script>document.title = "ran"</script>
        <style>#x { font-size: 77px }</style><img src="http://localhost:9/x.png">
        <a href="javascript:document.title='ran'">y</a>"""
    path = tmp_path / "page.html"
    path.write_text(text.replace("</main>", f"{foreign}</main>"), encoding="utf-8")
    with open_browser() as visits:
        tab = visits.open(path.as_uri(), WIDE)
        tab.locator("#x").click()
        tab.locator("a", has_text="y").last.click()
        shown = tab.evaluate(
            "(e => [getComputedStyle(e).color, getComputedStyle(e).fontSize])(document.querySelector('#x'))"
        )
        assert "rgb(1, 2, 3)" not in shown and "77px" not in shown and "ran" not in tab.title()
        directives = [re.findall(r"(style|script|img)-src", error) for error in visits.errors]
        # the attribute, the element; the handler, the element, the address; the picture
        assert sorted(names[0] for names in directives if names) == ["img", *["script"] * 3, *["style"] * 2]


def test_cells_of_the_confusion_matrix_have_the_color_of_their_share(study_folder: Path) -> None:
    run = study_folder / read_json(study_folder / "verdict.json")["exported"]["run"]
    counts = np.array(read_table(run))
    text = page.write_page(run).read_text(encoding="utf-8")
    (style,) = PageReader(text).styles
    shares = dict(re.findall(r"\.confusion \.(\S+) \{ --share: (\S+) \}", style))
    names = re.findall(r'<td class="(share-\d+)( right)?">', text)
    assert [float(shares[name]) for name, _right in names] == pytest.approx(
        (counts / counts.sum(1, keepdims=True).clip(1)).ravel(), abs=5e-4
    )
    assert [bool(right) for _name, right in names] == np.eye(len(counts), dtype=bool).ravel().tolist()


def test_arm_that_diverged_immediately_is_not_the_cheapest(study_folder: Path) -> None:
    verdict = read_verdict(study_folder)
    first, *others = verdict.arms
    diverged = changed(first, seeds=[changed(run, seconds=0.0) for run in first.seeds])
    section = cost.cost_section(study_inputs(changed(verdict, arms=[diverged, *others])))
    duration = cost.time_span(np.mean([run.seconds for run in others[0].seeds]))
    assert values_of(section.finding) == ["scratch", "adam", *map(pytest.approx, values_of(duration))]


@pytest.mark.parametrize(("seconds", "cheapest"), [(60.0, 1), (79.1, 2), (79.0, 2)])
def test_arms_with_equal_shown_minutes_cost_the_same(study_folder: Path, seconds: float, cheapest: int) -> None:
    verdict = read_verdict(study_folder)
    arms = [
        changed(arm, seeds=[changed(run, seconds=time) for run in arm.seeds])
        for arm, time in zip(verdict.arms, (79.0, seconds), strict=True)
    ]
    slow = arm_result("imagenet", [changed(run, seconds=900.0) for run in arms[0].seeds])
    for chosen in (arms, [*arms, slow]):
        section = cost.cost_section(study_inputs(changed(verdict, arms=chosen)))
        table = section.figures[0].rows
        least = min(float(row[1]) for row in table)
        assert sum(float(row[1]) == least for row in table) == cheapest
        named = [value for value in values_of(section.finding) if value in {row[0] for row in table}]
        assert len(named) == (0 if cheapest == len(chosen) else cheapest)


def test_sections_are_in_order(study_folder: Path) -> None:
    text = (study_folder / "report.html").read_text(encoding="utf-8")
    expected = ["arms", "curves", "splits", "target", "grid", "cost", "rates", "histograms", "health", "distance",
              "mistakes", "how", "limits"]  # fmt: skip
    assert re.findall(r'<section id="([a-z]+)"', text) == expected
    assert re.findall(r'<li><a href="#([a-z]+)"', text) == expected


def test_study_without_runs_or_verdict_is_an_error(study_folder: Path, tmp_path: Path) -> None:
    shutil.copy(study_folder / "study.toml", tmp_path)
    for subfolder in ("", "sources", "search"):
        if subfolder:
            shutil.copytree(next(study_folder.glob("*-scratch-s0")), tmp_path / subfolder / "run")
        for read in (page.write_page, diagnosis.diagnose):
            with pytest.raises(DataError) as error:
                read(tmp_path)
            assert f"headstart resume {tmp_path}" in error.value.hint
            assert values_of(error.value.message) == [tmp_path, *([tmp_path / subfolder] if subfolder else [])]
    with pytest.raises(DataError) as error:
        _ = headstart.Study(tmp_path).verdict
    assert values_of(error.value.message) == [tmp_path] and f"headstart resume {tmp_path}" in error.value.hint


def test_contrast_accepts_the_arm_names_of_the_sentences(study_folder: Path) -> None:
    study = headstart.Study(study_folder)
    first, second = study.verdict.primary
    names = [named_words(study.verdict, first).capitalize(), named_words(study.verdict, second)]
    assert study.contrast(*names) == study.contrast(first, second)
    condition = {"budget": "3ep", "fraction": 1.0}
    with pytest.raises(UsageError) as error:
        study.contrast("x", second)
    assert fields_of(error.value.message) == {"first": "x", "second": second, **condition}
    arms = [arm_result(name) for name in ("imagenet", "file:imagenet", "scratch")]
    study.verdict = changed(study.verdict, arms=arms, contrasts=[contrast("file:imagenet", "scratch")])
    assert study.contrast("file:imagenet", "scratch").first == "file:imagenet"
    of_two_arms, other = (named_words(study.verdict, name) for name in ("imagenet", "file:imagenet"))
    assert of_two_arms == other
    with pytest.raises(UsageError) as error:
        study.contrast(of_two_arms, "scratch")
    assert fields_of(error.value.message)["second"] == "scratch"
    assert error.value.message.values["first"] == of_two_arms


def test_cost_has_minutes_images_and_utilization(study_folder: Path) -> None:
    verdict = read_verdict(study_folder)
    runs = [load_run(read_run(plan.parent)) for plan in sorted(study_folder.glob("*/plan.json"))]
    section = cost.cost_section(study_inputs(verdict, runs))
    assert [figure.choice for figure in section.figures] == ["minutes", "images", "MFU"]
    for row, arm in zip(section.figures[0].rows, verdict.arms, strict=True):
        arm_runs = [run for run in runs if run.arm == arm.name]
        shares = [100 * line.speed.mfu for run in arm_runs for line in run.epochs]
        assert float(row[1]) == pytest.approx(np.mean([run.seconds for run in arm.seeds]) / 60, rel=0.06)
        assert row[2] == f"{np.mean([run.images for run in arm.seeds]):,.0f}"
        assert float(row[3]) == pytest.approx(np.median(shares), rel=0.06)


@pytest.mark.parametrize(("seconds", "words"), [(0.17, "0.17 s"), (75, "75 s"), (600, "10 min"), (9000, "2.5 h")])
def test_time_span_uses_seconds_minutes_or_hours(seconds: float, words: str) -> None:
    assert cost.time_span(seconds) == words


def verdict_with_two_searches(seeds: tuple[int | None, ...]) -> Verdict:
    """Return a verdict with searches at two budgets; at the shorter one a best rate is at the edge."""
    not_run = TrialScores(lr=0.01, rung=0.4, full_runs=[])
    tried = {
        "scratch": (0.1, [not_run, TrialScores(lr=0.1, rung=0.5, full_runs=[0.6, 0.8])]),
        "scratch@adam": (0.01, [TrialScores(lr=0.01, rung=0.4, full_runs=[0.5]),
                                TrialScores(lr=0.1, rung=-1.0, full_runs=[])]),
    }  # fmt: skip
    search = [
        SearchGroup(budget=budget, seed=seed, grid=[0.01, 0.1], arms=[
            ArmSearch(arm=name, selected=rate, tried=scores,
                      at_edge=name == "scratch" and budget == "1ep" and seed == seeds[0])
            for name, (rate, scores) in tried.items()
        ])
        for budget in ("1ep", "2ep") for seed in seeds
    ]  # fmt: skip
    return verdict(list(map(arm_result, tried)), search=search, budget="2ep")


@pytest.mark.parametrize("seeds", [(None,), (0, 1)])
def test_every_search_has_a_heat_map(seeds: tuple[int | None, ...]) -> None:
    verdict = verdict_with_two_searches(seeds)
    section = heatmaps.searched_rates_section(study_inputs(verdict))
    assert section is not None and values_of(section.finding) == [1, "scratch"]
    choices = [figure.choice for figure in section.figures]
    assert [values_of(choice) for choice in choices] == [
        [epochs, epochs, *([] if seed is None else [seed])] for epochs in (2, 1) for seed in seeds
    ]
    scratch, with_adam = (named_words(verdict, arm.name) for arm in verdict.arms)
    rows = [[scratch, "70.0", "(40)"], [with_adam, "×", "50.0"]]
    assert all(list(map(list, figure.rows)) == rows for figure in section.figures)
    assert ["outline edge" in figure.chart for figure in section.figures].index(True) == len(seeds)
    markup = Plots(Path(), verdict).grid().html
    assert markup.count("<svg") == len(choices) and all(f"<h5>{choice}</h5>" in markup for choice in choices)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a study with one seed, two learning rates, two budgets, two shares of the labels and no target."""
    plan = {"network": "timm:test_resnet", "image_size": 16, "batch_size": 8, "precision": "fp32", "threads": 1,
            "seeds": 1, "budgets": "1ep,2ep", "fractions": "0.5,1", "target": 0, "metric": "balanced"}  # fmt: skip
    varied = {"lr": ["0.01", "0.001"]}
    spec = build_study_spec("digits:0-2", ("scratch",), varied, None, None, None, plan)
    folder = study.begin(spec, tmp_path_factory.mktemp("runs"), NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    return folder


def test_page_has_every_variant_budget_and_share(grid: Path) -> None:
    verdict = read_verdict(grid)
    inputs = study_inputs(verdict)
    text = (grid / "report.html").read_text(encoding="utf-8")
    runs = [path.parent.name for path in grid.glob("*/plan.json")]
    assert len(runs) == 8 and all(run in text for run in runs)
    loaded = with_unique_names([load_run(read_run(grid / run)) for run in runs])
    assert sorted(values_of(run.name) for run in loaded) == sorted(
        ["scratch", f"lr={rate}", 0, epochs, epochs, share]
        for rate in ("0.01", "0.001") for epochs in (1, 2) for share in (50, 100)
    )  # fmt: skip
    section = heatmaps.compared_rates_section(inputs)
    assert section is not None and section.figures[0].header[1:] == ["0.01", "0.001"]
    assert [f"{100 * arm.test:.1f}" for arm in verdict.arms] == list(section.figures[0].rows[0][1:])
    shown = re.findall(r'<section id="([a-z]+)"', text)
    assert [name for name in shown if name in ("labels", "budgets", "grid", "target")] == ["labels", "budgets", "grid"]
    assert curves.target_section(inputs) is None and heatmaps.searched_rates_section(inputs) is None
    assert METRICS["balanced"].label in text and verdict.metric == "balanced"
    assert verdict.contrasts == [] and verdict.winner is None and f"<h1>{verdict.sentences.headline}</h1>" in text
    assert not re.search(r"\b1 seeds", text)
    images = read_plan_file(grid / verdict.exported.run).plan.facts.split_counts.val
    for figure in curves.learning_section(study_inputs(verdict, loaded)).figures:
        assert values_of(figure.caption) == [images, str(images), "test"]  # no mean of one seed
    with pytest.raises(DataError) as error:
        page.write_page(grid.parent)  # it holds a study, and no runs of its own
    assert (values_of(error.value.message), values_of(error.value.hint)) == ([grid.parent], [grid])


def headline_values(folder: Path) -> list[Value]:
    """Return the values of the headline of a folder's page, which has been written and has this headline."""
    headline = page_head(page.read_inputs(folder)).headline
    assert f"<h1>{escape(headline)}</h1>" in (folder / page.PAGE_NAME).read_text(encoding="utf-8")
    return values_of(headline)


def test_runs_outside_a_study_have_a_page_without_a_verdict(study_folder: Path, tmp_path: Path, capsys) -> None:
    runs = [path.parent for path in sorted(study_folder.glob("*/plan.json"))]
    for run in runs:
        shutil.copytree(run, tmp_path / "copied" / run.name)
    main(["report", str(tmp_path / "copied")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "copied" / "report.html")
    text = (tmp_path / "copied" / "report.html").read_text(encoding="utf-8")
    assert headline_values(tmp_path / "copied") == [len(runs)] and all(run.name in text for run in runs)
    assert "headstart resume" not in text and not section_of(text, "limits")
    single = page.write_page(tmp_path / "copied" / runs[0].name).read_text(encoding="utf-8")
    assert runs[1].name not in single
    test = read_json(runs[0] / "result.json")["test"]
    name = load_run(read_run(runs[0])).name
    expected = [test["n"], *values_of(name), 100 * test["accuracy"], "test"]
    assert headline_values(tmp_path / "copied" / runs[0].name) == expected
    assert f"{name}: {100 * test['accuracy']:.1f} %" in single.partition("<h1>")[2]
    with pytest.raises(DataError) as error:
        page.write_page(tmp_path)
    assert (values_of(error.value.message), values_of(error.value.hint)) == ([tmp_path], [])


@pytest.mark.parametrize("arm", ["scratch", "scratch@adam"])
def test_page_of_a_run_has_the_command_that_repeats_it(study_folder: Path, arm: str, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(next(study_folder.glob(f"*-{arm}-s1")), tmp_path / "run"))
    how = section_of(page.write_page(run).read_text(encoding="utf-8"), "how")
    (shown,) = re.findall(r"<pre[^>]*>(.*?)</pre>", how)
    headstart_, *words = shlex.split(html.unescape(shown))
    assert headstart_ == "headstart" and words[0] == "train" and len(words) < 40  # defaults are left out
    main([*words, "--dry-run"])
    plan = read_plan_file(run).plan
    assert RunConfig.model_validate(tomllib.loads(capsys.readouterr().out)) == plan.model_copy(
        update={"facts": ResolvedFacts()}
    )


def test_command_of_a_run_repeats_the_flag_of_a_list(study_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(next(study_folder.glob("*-scratch-s0")), tmp_path / "run"))
    content = read_json(run / "plan.json")
    content["plan"]["data"]["classes"] = ["a, b", "c"]
    (run / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    seal(run)
    text = html.unescape(page.write_page(run).read_text(encoding="utf-8"))
    (command,) = re.findall(r"<pre[^>]*>(headstart train [^<]*)</pre>", text)
    assert "--classes 'a, b' --classes c" in command
    content["plan"]["data"]["later"] = 1  # of a later version
    (run / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError) as error:
        page.write_page(run)
    damage = fields_of(error.value.message)
    assert (damage["name"], damage["place"]) == (str(run / "plan.json"), "plan.data.later")


def test_captions_state_the_numbers_of_runs_and_images(study_folder: Path, tmp_path: Path) -> None:
    verdict, text = read_json(study_folder / "verdict.json"), (study_folder / "report.html").read_text(encoding="utf-8")
    inputs = page.read_inputs(study_folder)
    images = read_plan_file(inputs.runs[0].run.folder).plan.facts.split_counts
    n, runs, val, test = verdict["n"], len(inputs.runs), [images.val, f"{images.val:,}"], [images.test, "test"]
    for row, expected in {
        "arms": [n], "curves": [n, *val, "test"], "target": [n, *val], "cost": test, "rates": [runs],
        "distance": [runs],
    }.items():  # fmt: skip
        (factory,) = (spec.factory for spec in SECTIONS if spec.id == row and Page.STUDY in spec.pages)
        figures = load_factory(factory)(inputs).figures
        captions = re.findall(r'<figcaption class="how">(.*?)</figcaption>', section_of(text, row))
        assert figures and captions == [escape(figure.caption) for figure in figures], row
        assert all(values_of(figure.caption) == expected for figure in figures), row
    of_health = re.findall(r'<figcaption class="how">(.*?)</figcaption>', section_of(text, "health"))
    assert of_health and all("8" in re.findall(r"\d+", caption) for caption in of_health)  # images of the probe
    run = Path(shutil.copytree(inputs.runs[0].run.folder, tmp_path / "run"))
    section = curves.standalone_section(page.read_inputs(run))
    single = page.write_page(run).read_text(encoding="utf-8")
    assert {tuple(values_of(figure.caption)) for figure in section.figures} == {tuple(val)}
    assert section.figures[0].caption in single


def test_page_of_an_unfinished_study_has_the_command_to_resume(study_folder: Path, tmp_path: Path) -> None:
    shutil.copy(study_folder / "study.toml", tmp_path)
    runs = [
        Path(shutil.copytree(plan.parent, tmp_path / plan.parent.name)) for plan in study_folder.glob("*/plan.json")
    ]
    (runs[0] / "result.json").unlink()
    with (runs[0] / "metrics.jsonl").open("r+b") as file:
        file.truncate(1500)  # within a line, before the end of the first epoch
    text = page.write_page(tmp_path).read_text(encoding="utf-8")
    assert headline_values(tmp_path) == [len(runs)] and f">headstart resume {tmp_path}</pre>" in text
    section = curves.standalone_section(page.read_inputs(tmp_path))
    assert fields_of(section.finding) == {"count": len(runs), "finished": len(runs) - 1} and section.finding in text


def test_run_that_diverged_immediately_has_a_page(study_folder: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(next(study_folder.glob("*-scratch-s0")), tmp_path / "run"))
    lines = [line for line in read_lines(run / "metrics.jsonl") if isinstance(line, BeginLine | StepLine)][:2]
    (run / "metrics.jsonl").write_bytes(b"".join(map(line_bytes, lines)))
    content = read_json(run / "plan.json")
    content["plan"]["recipe"]["lr"] = 1e30
    (run / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    diverged = run_result(RunState.DIVERGED, best_epoch=0, epochs=0)
    (run / "result.json").write_text(diverged.model_dump_json(), encoding="utf-8")
    shutil.rmtree(run / "artifacts")
    seal(run)
    text = page.write_page(run).read_text(encoding="utf-8")
    inputs = page.read_inputs(run)
    assert headline_values(run) == ["scratch", 0]
    _header, row = tables_of(section_of(text, "how"))[0]
    assert row[1] == state_words(RunState.DIVERGED)
    without_epoch = curves.standalone_section(inputs)
    assert values_of(without_epoch.finding) == [] and without_epoch.figures == []  # not that of a best epoch 0
    assert without_epoch.finding in section_of(text, "curves") and 'name="curves"' not in text
    assert "#histograms" not in text and 'id="pick-run"' not in text  # there are no snapshots
    assert [finding.code for finding in findings(inputs.runs[0].history)] == ["learning-rate-too-high"]
    of_health = health.health_section(inputs)
    (sentence,) = of_health.lead
    assert escape(of_health.finding) in text and escape(sentence) in text and "--lr 0.01." in sentence


def test_median_time_has_the_number_of_seeds_that_reached_the_target() -> None:
    arms = []
    for name, reached, median in (("scratch", 5, 9.0), ("imagenet", 3, 7.0)):
        times = times_to_target(TimeToTarget(median=median, reached=reached, n=5))
        arms.append(arm_result(name, to_target=times))
    section = curves.target_section(study_inputs(verdict(arms, target=0.9, n=5)))
    assert section is not None
    # of 1 arm: per cent, runs, epochs (which also select the plural), and the runs that reached the target
    assert values_of(section.finding) == [1, "imagenet", 90, 5, 7, 7, 3]


@needs_browser
def test_snapshots_without_a_finite_value_are_counted(study_folder: Path, tmp_path: Path) -> None:
    run = Path(
        shutil.copytree(study_folder / read_json(study_folder / "verdict.json")["exported"]["run"], tmp_path / "run")
    )
    lines = [line.to_json() for line in read_lines(run / "metrics.jsonl")]
    last = [line for line in lines if line["kind"] == "snapshot"][-1]
    first, *_, other = last["weights"]
    last["weights"][first] |= {"counts": [], "n": 0, "not_finite": 9}
    (run / "metrics.jsonl").write_bytes(b"".join(with_checksum(json.dumps(line).encode()) for line in lines))
    seal(run)
    with open_browser() as visits:
        tab = visits.open(page.write_page(run).as_uri(), WIDE)
        assert re.findall(r"\d+", tab.locator("#ridges p.note").inner_text()) == ["1"]
        tab.locator("#pick-layer").select_option(label=other)
        assert tab.locator("#ridges svg").count() and not tab.locator("#ridges p.note").count()
        assert visits.errors == []


def test_standalone_runs_have_a_heat_map_of_optimizers_and_rates(study_folder: Path, tmp_path: Path) -> None:
    expected: dict[tuple[str, str], list[float]] = {}
    for plan in sorted([*study_folder.glob("*/plan.json"), *study_folder.glob("search/*/plan.json")]):
        shutil.copytree(plan.parent, tmp_path / plan.parent.name)
        recipe = read_json(plan)["plan"]["recipe"]
        lines = read_lines(plan.with_name("metrics.jsonl"))
        best = max(line.val.accuracy for line in lines if isinstance(line, EpochLine))
        expected.setdefault((recipe["optimizer"], f"{recipe['lr']:g}"), []).append(100 * best)
    optimizers, rates = map(set, zip(*expected, strict=True))
    assert optimizers == {DEFAULT_OPTIMIZER, "adam"} and len(rates) > 1
    runs = [load_run(run) for run in runs_at(tmp_path)]
    section = heatmaps.standalone_rates_section(runs_inputs(runs))
    assert section is not None
    cells = {(row, rate): (value, count) for row, rate, value, count in section.figures[0].rows}
    assert cells == {
        cell: (f"{np.mean(accuracies):.1f}", str(len(accuracies))) for cell, accuracies in expected.items()
    }
    highest = max(np.mean(accuracies) for accuracies in expected.values())
    best = {cell for cell, accuracies in expected.items() if np.mean(accuracies) == highest}
    count, *cells_of_title, accuracy = values_of(section.finding)
    assert count == len(best) and accuracy == pytest.approx(highest)
    named = zip(cells_of_title[::2], cells_of_title[1::2], strict=True)
    assert {(optimizer, f"{rate:g}") for optimizer, rate in named} == best
    text = page.write_page(tmp_path).read_text(encoding="utf-8")
    assert section.finding in text.replace("\u00a0", " ")
    assert len(tables_of(section_of(text, "how"))[0]) == 1 + len(runs)
    assert heatmaps.standalone_rates_section(runs_inputs(runs[:1])) is None


@pytest.mark.parametrize(
    ("row", "column", "edge"),
    [
        ([1.0, 3.0, 2.0], 1, False),
        ([3.0, None, 2.0], 0, True),
        ([None, 1.0, 2.0], 2, True),
        ([None, 5.0, None], 1, False),
    ],
)
def test_best_of_a_row_is_outlined_and_marked_at_an_edge(row: list, column: int, edge: bool) -> None:
    best, edges = heatmaps.best_of_rows([row])
    assert (best, edges) == ({(0, column)}, {(0, column)} if edge else set())


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
def test_browser_is_found_by_any_of_its_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.find_chromium() is None
    (tmp_path / name).touch(0o755)
    assert browser.find_chromium() == str(tmp_path / name)


def test_browser_of_playwright_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    assert not browser.has_playwright_chromium()
    with sync_api.sync_playwright() as playwright:
        executable = Path(playwright.chromium.executable_path)
    assert executable.is_relative_to(tmp_path)
    executable.parent.mkdir(parents=True)
    executable.touch(0o755)
    assert browser.has_playwright_chromium()


@needs_browser
def test_study_page_in_a_browser(study_folder: Path) -> None:
    address = (study_folder / "report.html").as_uri()
    with open_browser() as visits:
        for width, scheme in itertools.product((WIDE, NARROW), ("light", "dark")):
            tab = visits.open(address, width, scheme)
            assert tab.locator("h1").inner_text() == read_json(study_folder / "verdict.json")["sentences"]["headline"]
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.locator("#curves .legend:visible").count() == (1 if width == NARROW else 0)
            save_screenshot(tab, f"report-{width}-{scheme}")
        shown = tab.locator("#curves figure:visible")
        assert shown.count() == 1 and curves.UNITS["epochs"] in shown.locator("svg.wide").get_attribute("aria-label")
        tab.locator('label[for="curves-1"]').click()
        assert shown.count() == 1 and curves.UNITS["images"] in shown.locator("svg.wide").get_attribute("aria-label")
        run = read_run(next(path.parent for path in sorted(study_folder.glob("*-s1/plan.json"))))
        tab.locator("#pick-run").select_option(label=load_run(run).name)
        tab.locator("#pick-layer").select_option(index=0)
        snapshots = load_run(run).snapshots
        assert tab.locator("#ridges polygon").count() == len(snapshots) > 2
        weights = tab.locator("#ridges svg").inner_html()
        layer, last = tab.locator("#pick-layer option:checked").inner_text(), snapshots[-1]
        place = [str(last.epoch), str(last.step)]
        assert place in [re.findall(r"\d+", label) for label in tab.locator("#ridges text").all_text_contents()]
        tab.locator("#bins summary").click()
        bins = tab.locator("#bins tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        assert len(bins[0]) == 2 + len(snapshots) and re.findall(r"\d+", bins[0][-1]) == place
        drawn = last.weights[layer]
        edges = np.linspace(drawn.low, drawn.high, len(drawn.counts) + 1)
        middle = (edges[:-1] + edges[1:]) / 2 @ np.array(drawn.counts) / drawn.n
        contributions = [(float(low) + float(high)) / 2 * float(row[-1]) / 100 for low, high, *row in bins[1:]]
        assert sum(float(row[-1]) for row in bins[1:]) == pytest.approx(100, abs=3)
        assert sum(contributions) == pytest.approx(middle, abs=float(bins[1][1]) - float(bins[1][0]))
        tab.locator('label[for="kind-gradients"]').click()
        assert (
            tab.locator("#ridges polygon").count() == len(snapshots)
            and tab.locator("#ridges svg").inner_html() != weights
        )
        assert tab.locator("td.words", has_text=HOSTILE).count()
        tab.locator('[data-cell^="1-"]').first.click()
        assert tab.locator("#cell img").count() and tab.locator("#cell h3").inner_text().startswith(HOSTILE)
        sources = tab.locator("img").evaluate_all(
            "images => images.map(image => [image.src.slice(0, 11), image.naturalWidth])"
        )
        assert sources and all(kind == "data:image/" and width for kind, width in sources)
        assert (visits.requests, visits.errors) == ([address] * 4, [])


@needs_browser
def test_images_without_a_photo_on_the_page_have_their_path(study_folder: Path, tmp_path: Path) -> None:
    """The model is wrong for every second image; the gallery has one photo per cell and one mistake."""
    run = Path(
        shutil.copytree(study_folder / read_json(study_folder / "verdict.json")["exported"]["run"], tmp_path / "run")
    )
    archive, predictions = run / "artifacts" / "gallery.zip", run / "artifacts" / "predictions.npz"
    with zipfile.ZipFile(archive) as file:
        members = {name: file.read(name) for name in file.namelist()}
    index = json.loads(members["index.json"])
    with np.load(predictions) as file:
        arrays = dict(file)
    arrays["label"][::2] = (arrays["logits"].argmax(1)[::2] + 1) % 3
    np.savez(predictions, **arrays)
    seal(run)
    cells: dict[str, list[str]] = {}
    counts = np.zeros((3, 3), int)
    in_split = arrays["split"] == index["split"]
    for key, true, logits in zip(*(arrays[name][in_split] for name in ("image", "label", "logits")), strict=True):
        cells.setdefault(f"{true}-{logits.argmax()}", []).append(str(key))
        counts[true, logits.argmax()] += 1
    number_of = {photo["key"]: number for number, photo in enumerate(index["photos"])}
    photos = {cell: [number_of[key] for key in keys if key in number_of][:1] for cell, keys in cells.items()}
    wrong = {key for name, keys in cells.items() for key in keys if name[0] != name[2]}
    listed = next(number_of[key] for key in sorted(wrong) if key in number_of)
    index |= {"cells": photos, "counts": counts_of(counts.tolist()).model_dump()}
    index |= {"lists": {"mistakes": [listed], "least_confident": []}}
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in (members | {"index.json": json.dumps(index).encode()}).items():
            file.writestr(name, content)
    cell = max(cells, key=lambda name: len(cells[name]))
    with open_browser() as visits:
        tab = visits.open(page.write_page(run).as_uri(), WIDE)
        tab.locator(f'[data-cell="{cell}"]').click()
        assert re.findall(r"\d+", tab.locator("#cell summary").inner_text()) == [str(len(cells[cell]) - 1)]
        shown = tab.locator("#cell .gallery .note").all_text_contents()
        assert sorted([*shown, *tab.locator("#cell .paths li").all_text_contents()]) == sorted(cells[cell])
        worst = tab.locator("#mistakes > details")
        assert re.findall(r"\d+", worst.locator("summary").inner_text()) == [str(len(wrong) - 1)]
        assert set(worst.locator("li").all_text_contents()) == wrong - {index["photos"][listed]["key"]}
        assert visits.errors == []


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark"), (NARROW, "light"), (WIDE, "dark")])
def test_pages_are_accessible(study_folder: Path, grid: Path, tmp_path: Path, width: int, scheme: str) -> None:
    run = shutil.copytree(next(study_folder.glob("*-s0")), tmp_path / "run")
    pages = [study_folder / "report.html", grid / "report.html", page.write_page(run)]
    with open_browser() as visits:
        for path in pages:
            assert accessibility_faults(visits.open(path.as_uri(), width, scheme)) == {}, path
        assert visits.errors == []


@needs_browser
def test_printed_page_is_light_and_complete(study_folder: Path) -> None:
    counts = read_table(study_folder / read_json(study_folder / "verdict.json")["exported"]["run"])
    with open_browser() as visits:
        tab = visits.open((study_folder / "report.html").as_uri(), WIDE, "dark")
        tab.emulate_media(media="print", color_scheme="dark")
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert tab.locator("details:not([open])").count() == 0
        assert tab.locator("#curves figure:visible").count() == len(curves.UNITS)
        cells = tab.locator("table.confusion td").all_inner_texts()
        assert [int(cell) for cell in cells] == [count for row in counts for count in row]
