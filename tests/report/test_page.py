"""The report: charts that are sound whatever they are given, and the page in a real browser, without a network."""

import base64
import html
import itertools
import json
import math
import os
import re
import shlex
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

import headstart
from headstart.analysis.run_records import RunRecord, read_run, runs_at
from headstart.analysis.wording import arm_words
from headstart.cli.main import main
from headstart.config.run_config import ResolvedFacts, RunConfig, read_plan
from headstart.config.study_request import build_study_spec
from headstart.diagnostics.history import History
from headstart.engines.local import LocalEngine
from headstart.errors import DataError, UsageError
from headstart.experiment import study
from headstart.report import cost, curves, health, heatmaps, histograms, page, sections
from headstart.report import photos as photos_module
from headstart.report import series as series_module
from headstart.report.svg import charts, labels
from headstart.reporter import NullReporter
from headstart.results import diagnosis
from headstart.results.plots import Plots
from headstart.storage.files import read_json
from headstart.storage.journal import read_lines
from tests import browser
from tests.browser import NARROW, WIDE, faults, keep, needs_browser, visits

HOSTILE = "<img src=x onerror=alert(1)>"
names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"), min_size=1, max_size=60)
values = st.floats(-1e6, 1e6)


def parsed(chart: object) -> ElementTree.Element:
    return ElementTree.fromstring(str(chart).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))


def texts(chart: object) -> list[str]:
    return ["".join(one.itertext()) for one in parsed(chart).iter("{http://www.w3.org/2000/svg}text")]


@given(names, st.lists(values, min_size=1, max_size=5), values)
def test_charts_are_sound_and_show_names_as_text(name: str, dots: list[float], mean: float) -> None:
    row = charts.Row(name, 1, mean, min(dots), max(dots), dots)
    path = list(enumerate(dots))
    drawn = [
        charts.intervals([row], unit=name, label=name, margin=1, zero=True),
        charts.curves([charts.Series(name, 2, [path], path, [(x, y, y) for x, y in path])], x=name, y=name, label=name),
        charts.events([charts.Event(name, 3, [1.0], [2.0], 1.0)], x=name, label=name),
        charts.heat_map(charts.Grid([name], [name], [[mean]], [[name]], frozenset({(0, 0)})), label=name),
        charts.scatter([(name, 0, abs(mean) + 1, mean)], x=name, y=name, label=name, log=True),
    ]
    for chart in drawn:
        root = parsed(chart)
        assert root.get("role") == "img" and root.get("aria-label") == name
        assert not [one for one in root.iter() if one.tag.endswith(("img", "script"))]


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5), st.floats(0, 1))
def test_an_axis_keeps_order_and_ends_and_has_round_ticks_inside(low: float, span: float, share: float) -> None:
    axis = charts.Axis(low, low + span, 10, 110)
    assert (axis.at(low), axis.at(low + span)) == (10, 110)
    assert axis.at(low + share * span) == pytest.approx(10 + 100 * share, abs=0.1)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8 and ticks == sorted(set(ticks))
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)


def test_a_log_axis_has_powers_of_ten() -> None:
    axis = charts.Axis(1e-4, 0.1, 0, 300, log=True)
    assert axis.ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert [axis.at(10.0**power) for power in (-4, -3, -2, -1)] == [0, 100, 200, 300]


@pytest.mark.parametrize(("low", "high"), [(2.3e-3, 3.9e-3), (2.5, 3.5), (0.9, 4e5)])
def test_a_log_axis_of_any_span_has_ticks(low: float, high: float) -> None:
    assert len(charts.Axis(low, high, 0, 300, log=True).ticks()) >= 2


@given(st.floats(0, 1e4), st.floats(1e-4, 1e7))
@example(1000.0, 0.015625)
def test_labels_of_ticks_differ_and_say_where_they_are(low: float, span: float) -> None:
    ticks = charts.Axis(low, low + span, 0, 300).ticks()
    labels = [charts.number(tick) for tick in ticks]
    assert len(set(labels)) == len(labels) or span < 1e-5 * (low + span)
    assert [float(label.replace(",", "")) for label in labels] == pytest.approx(ticks, rel=1e-2, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "label"), [(1e30, "1e30"), (2.5e8, "2.5e8"), (25_000_000.0, "25,000,000"), (0.0, "0")]
)
def test_the_label_of_a_huge_value_is_short(value: float, label: str) -> None:
    assert charts.number(value) == label


def test_what_is_counted_has_no_marks_between_two_numbers() -> None:
    for last, marks in ((2, ["1", "2"]), (3, ["1", "2", "3"]), (13, ["2", "4", "6", "8", "10", "12"])):
        line = charts.Series("", 0, [], [(float(at), 5.0) for at in range(1, last + 1)])
        chart = charts.curves([line], x="epochs", y="", label="")
        below = [text.text for text in parsed(chart).iter() if text.get("y") == f"{charts.HEIGHT - 22}"]
        assert below == marks
    got = charts.events([charts.Event("a", 1, [1.0, 2.0], [], 1.5)], x="epochs", label="")
    assert [text for text in texts(got) if re.fullmatch(r"[\d.]+", text)] == ["0", "1", "2"]


def test_equal_seeds_stand_below_each_other_and_other_seeds_beside() -> None:
    row = charts.Row("a", 1, 50.0, 40.0, 60.0, [45.0, 50.0, 45.0, 45.0])
    drawn = parsed(charts.intervals([row], unit="", label="")).iter()
    dots = [(one.get("cx"), float(one.get("cy", 0))) for one in drawn if "seed" in one.get("class", "")]
    first, other, *more = dots
    assert first[0] != other[0] and first[1] == other[1]
    assert more == [(first[0], first[1] + charts.STEP), (first[0], first[1] + 2 * charts.STEP)]


def test_what_cannot_be_is_not_drawn_on_an_axis_of_shares() -> None:
    band = charts.Series(
        "a", 1, [[(1, 90.0), (2, 99.0)]], [(1, 90.0), (2, 99.0)], [(1, -80.0, 260.0), (2, 98.0, 100.0)]
    )
    ends = {}
    for shares in (False, True):
        chart = charts.curves([band], x="", y="", label="", shares=shares)
        ends[shares] = [float(text) for text in texts(chart) if re.fullmatch(r"-?\d+", text)]
        (drawn,) = (one.get("points", "") for one in parsed(chart).iter() if "band" in one.get("class", ""))
        heights = [float(point.split(",")[1]) for point in drawn.split()]
        (rule,) = (float(text.get("y", 0)) - 4 for text in parsed(chart).iter() if text.text == "100")
        assert (min(heights) == pytest.approx(rule, abs=0.2)) == shares  # no band above 100 %
    assert min(ends[True]) == 0 and max(ends[True]) == 100
    assert min(ends[False]) < 0 and max(ends[False]) > 100
    row = charts.intervals([charts.Row("a", 1, 95.0, 40.0, 150.0)], unit="", label="")
    assert max(float(text) for text in texts(row)[:-2] if re.fullmatch(r"-?\d+", text)) == 100


def test_a_long_name_at_the_right_stands_before_its_dot_uncut() -> None:
    name = "a long name of an arm, fine-tuned"
    chart = charts.scatter([("b", 1, 1.0, 50.0), (name, 2, 60.0, 90.0)], x="", y="", label="", log=True)
    label = next(text for text in parsed(chart).iter() if text.text == name)
    assert label.get("text-anchor") == "end" and float(label.get("x", 0)) > 60 + len(name) * charts.STRONG
    near = charts.scatter(
        [(name, 2, 60.0, 90.0), ("b", 1, 30.0, 90.0), ("c", 3, 1.0, 50.0)], x="", y="", label="", log=True
    )
    assert name not in near and "a long" in near  # the dot of another is in the way


def test_a_name_does_not_run_over_the_dot_of_another() -> None:
    chart = charts.scatter([("a" * 9, 1, 1.0, 50.0), ("b", 2, 3.0, 50.0), ("c", 3, 90.0, 60.0)], x="", y="", label="")
    svg = "{http://www.w3.org/2000/svg}"
    dots = [(float(one.get("cx", 0)), float(one.get("cy", 0))) for one in parsed(chart).iter(f"{svg}circle")
            if one.get("r") == "6"]  # fmt: skip
    names = [one for one in parsed(chart).iter(f"{svg}text") if one.get("class") == "strong"]
    assert len(dots) == len(names) == 3
    for name in names:
        left, height = float(name.get("x", 0)), float(name.get("y", 0)) - 4
        right = left + len(name.text or "") * charts.LETTER
        assert not [dot for dot in dots if left - 6 < dot[0] < right and abs(dot[1] - height) < 12]


@given(st.lists(st.text("ab, ", min_size=1, max_size=40), min_size=1, max_size=12), st.integers(3, 30))
def test_names_at_lines_stay_in_their_room(said: list[str], letters: int) -> None:
    for most in (0.0, 100.0):
        found = labels.in_lines(said, letters * charts.STRONG, most)
        assert len(found) == len(said) and max(map(len, found)) <= (1 if most == 0 else 2)
        for name, lines in zip(said, found, strict=True):
            assert all(len(line) <= letters for line in lines)
            assert "…" in "".join(lines) or " ".join(lines).split() == name.split()


@pytest.mark.parametrize("count", [5, 12])
def test_runs_that_differ_in_their_seed_alone_are_told_apart_at_their_lines(count: int) -> None:
    series = [charts.Series(f"a-network-of-a-long-name, frozen, seed {seed}", 1, [[(1, seed), (2, seed)]])
              for seed in range(count)]  # fmt: skip
    chart = charts.curves(series, x="", y="", label="")
    seeds = {text.rpartition("seed ")[2] for text in texts(chart) if "seed " in text}
    assert seeds == set(map(str, range(count)))
    rows = charts.heat_map(charts.Grid([one.name * 2 for one in series], ["1"], [[1.0]] * count, [["1"]] * count),
                           label="")  # fmt: skip
    assert {text.rpartition("seed ")[2] for text in texts(rows) if "seed " in text} == seeds


@pytest.mark.parametrize(
    "name", ["\u5916\u5957\u3068\u9577\u3044\u30b3\u30fc\u30c8\u306e\u5199\u771f" * 3, "a name of Latin letters " * 4]
)
def test_names_in_wide_letters_stay_in_the_chart(name: str) -> None:
    """A letter is taken to be as wide as the font is high where it is of East Asia, and half as wide elsewhere."""
    rows = [[1.0, 2.0]] * 2
    charts_of = [charts.heat_map(charts.Grid([name[:end], "x"], ["1", name], rows, [["1", "2"]] * 2), label="")
                 for end in range(1, len(name))]  # fmt: skip
    lines = [charts.Series(f"{name}{seed}", 1, [[(1, seed), (2, seed)]]) for seed in range(3)]
    charts_of += [charts.curves(lines, x="", y="", label=""),
                  charts.scatter([(name, 1, 1.0, 2.0), ("x", 2, 3.0, 4.0)], x="", y="", label="")]  # fmt: skip
    for chart in charts_of:
        for one in parsed(chart).iter("{http://www.w3.org/2000/svg}text"):
            wide = sum(13 if letter > "\u3000" else 6.5 for letter in one.text or "")
            left = float(one.get("x", 0)) - {"start": 0, "middle": wide / 2, "end": wide}[one.get("text-anchor", "")]
            assert left >= 0 and left + wide <= charts.WIDTH, one.text


@needs_browser
def test_a_name_from_right_to_left_does_not_reorder_its_sentence() -> None:
    names = "\u05d7\u05d5\u05dc\u05e6\u05d4", "\u0642\u0645\u064a\u0635"
    gallery = photos_module.Gallery("test", list(names), [[0, 3], [0, 7]], {}, [], [],
                               [{"true": 0, "said": 1, "sure": 0.5, "src": "", "key": ""}], {})  # fmt: skip
    sentences = [page._pair_words(gallery.pairs[0]), gallery.shown(0)["text"]]
    script = """words => [...document.querySelectorAll("p")].map((p, at) => words[at].map(word => {
        const range = document.createRange(), from = p.textContent.indexOf(word);
        range.setStart(p.firstChild, from); range.setEnd(p.firstChild, from + word.length);
        return range.getBoundingClientRect().left; }))"""
    with visits() as seen:
        tab = seen.open("about:blank", WIDE)
        tab.set_content("".join(f"<p>{sentence}</p>" for sentence in sentences))
        words = [[names[0], "is taken", names[1], "3", "of 3"], ["said", names[1], "50", "it is", names[0]]]
        for places in tab.evaluate(script, words):
            assert places == sorted(places) and len(set(places)) == len(places)
    assert labels.isolated("plain, 3") == "plain, 3"


def test_a_name_that_was_moved_from_its_dot_has_a_sample_of_its_colour() -> None:
    rows = [(f"arm {at}", at, 1.0, 50.0) for at in range(4)]
    root = parsed(charts.scatter(rows, x="", y="", label=""))
    samples = [one.get("class") for one in root.iter("{http://www.w3.org/2000/svg}circle") if one.get("r") == "4"]
    assert {f"mean f{at}" for at in (1, 2)} <= set(samples)


def test_a_run_without_an_epoch_has_no_line() -> None:
    chart = charts.curves([charts.Series("a", 1, [[], []]), charts.Series("b", 2, [[(1, 2.0)]])], x="", y="", label="")
    assert "b" in texts(chart) and "a" not in texts(chart)
    assert charts.curves([charts.Series("a", 1, [[]])], x="", y="", label="") == ""


def test_the_band_is_the_t_interval_of_scipy() -> None:
    paths = [[(1.0, 0.2), (2.0, 0.5)], [(1.0, 0.4), (2.0, 0.7)], [(1.0, 0.3), (2.0, 0.9)]]
    mean, band = series_module.mean_and_band(paths)
    for at, (x, low, high) in enumerate(band):
        seen = [path[at][1] for path in paths]
        assert (x, mean[at][1]) == (paths[0][at][0], pytest.approx(np.mean(seen)))
        wanted = stats.t.interval(0.95, 2, loc=np.mean(seen), scale=stats.sem(seen))
        assert (low, high) == pytest.approx(wanted)


@given(st.lists(st.lists(st.tuples(st.floats(0.1, 9), values), max_size=8), max_size=5))
def test_the_mean_goes_on_over_the_runs_that_are_left(steps: list[list[tuple[float, float]]]) -> None:
    paths = [list(zip(np.cumsum([x for x, _ in run]).tolist(), [y for _, y in run], strict=True)) for run in steps]
    mean, band = series_module.mean_and_band(paths)
    longest = max(map(len, paths), default=0)
    assert len(mean) == longest and [x for x, _ in mean] == sorted(x for x, _ in mean)
    for at in range(longest):
        left = [path[at] for path in paths if len(path) > at]
        assert mean[at][1] == pytest.approx(np.mean([y for _, y in left]))
        if len(left) == len(paths):
            assert mean[at][0] == pytest.approx(np.mean([x for x, _ in left]))
    assert len(band) == sum(sum(len(path) > at for path in paths) > 1 for at in range(longest))


def drawn(arm: str, seed: int, accuracies: list[float], **more: object) -> series_module.PlottedRun:
    """A finished run with that accuracy on val after each epoch; `more` goes into its record's `about`, or its plan."""
    about = {"variant": arm, "stage": "main", "budget": "10ep", "fraction": 1.0, **more}
    plan = {"seeding": {"seed": seed}, "recipe": {"lr": about.pop("lr", 0.01), "batch_size": 8, "optimizer": "sgd",
                                                 "epochs": about["budget"], "schedule": "cosine"},
            "data": {"fraction": about["fraction"]}, "arm": {"tuning": "full"},
            "network": {"network": about.pop("network", "resnet18"), "norm": "batch", "shortcut": "on",
                        "stem": "imagenet"},
            "facts": {"class_names": ["a", "b"], "images": {"a": 9, "b": 9}, "counts": {"val": 165}}}  # fmt: skip
    history = History(plan, state="finished")
    for epoch, accuracy in enumerate(accuracies, 1):
        history.take({"kind": "epoch", "step": 40 * epoch, "epoch": epoch, "train": {"loss": 0.1},
                      "val": {"loss": 0.1, "accuracy": accuracy},
                      "speed": {"train_seconds": 1.0, "val_seconds": 0.1, "mfu": 0.1}})  # fmt: skip
    folder = Path("-".join(map(str, (arm, seed, about["budget"], about["fraction"]))))
    run = RunRecord(folder, plan, "hash", about, {"state": "finished"})
    return series_module.PlottedRun(run, f"{arm}, seed {seed}", arm, history=history)


def verdict_on(runs: list[series_module.PlottedRun], chosen: str) -> dict[str, object]:
    """As much of a verdict as the curves ask for; it rests on runs of ten epochs with all labels."""
    arms: dict[str, list[dict[str, object]]] = {}
    for run in runs:
        of_arm = arms.setdefault(run.arm, [])
        if (run.run.about["budget"], run.run.about["fraction"]) == ("10ep", 1.0):
            of_arm.append({"seed": run.run.seed, "run": run.run.folder.name})
    return {"arms": [{"name": name, "seeds": seeds} for name, seeds in arms.items()], "chosen": chosen, "target": 0,
            "n": max(map(len, arms.values())), "metric": "accuracy",
            "evaluation": {"declared": "none", "images": 100}}  # fmt: skip


def learned(slow: list[list[float]], fast: list[list[float]], chosen: str = "imagenet") -> sections.Section:
    runs = [drawn(arm, seed, one) for arm, some in (("imagenet", fast), ("scratch", slow))
            for seed, one in enumerate(some)]  # fmt: skip
    return curves.learning(runs, verdict_on(runs, chosen), {"imagenet": 1, "scratch": 0})


def test_a_run_that_ended_early_does_not_cut_the_mean_of_its_arm_or_the_finding() -> None:
    fast = [[0.505 + 0.01 * epoch for epoch in range(10)]] * 5
    slow = [[0.3 + 0.05 * epoch for epoch in range(10)]] * 4
    whole, cut = learned([*slow, slow[0]], fast), learned([*slow, slow[0][:1]], fast)
    assert whole.finding == cut.finding == "Imagenet, fine-tuned is ahead on val in 6 of 10 epochs"
    assert "ended early" not in whole.figures[0].how
    assert (
        "Where a run ended early, the mean goes on without it: scratch has 4 runs from epoch 2." in cut.figures[0].how
    )
    for figure in cut.figures:
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
def test_what_the_title_of_the_curves_says(slow: list[float], fast: list[float], chosen: str, words: str) -> None:
    name = {"imagenet": "Imagenet, fine-tuned", "scratch": "Scratch"}[chosen]
    assert learned([slow], [fast], chosen).finding == f"{name} {words}"


def test_the_title_of_the_curves_tells_of_arms_that_end_before_the_others() -> None:
    means = {"imagenet": [0.6] * 10, "scratch": [0.9] * 5, "imagenet+frozen": [0.5] * 10}
    runs = [drawn(arm, 0, mean) for arm, mean in means.items()]
    said = curves.learning(runs, verdict_on(runs, "imagenet"), dict.fromkeys(means, 0)).finding
    assert said.endswith("is ahead on val in 5 of 10 epochs (from epoch 6 on against fewer arms)")


def probed(
    run: series_module.PlottedRun, flows: list[dict[str, float | None]], far: float = 0.1
) -> series_module.PlottedRun:
    """The run with a probe for each of `flows`, by the last of which its layers have come `far`."""
    for epoch, flow in enumerate(flows):
        moved = far * epoch / max(len(flows) - 1, 1)
        run.history.take({"kind": "probe", "step": epoch, "epoch": epoch, "loss": 1.0, "flow": flow, "dead": {},
                          "zeros": {}, "distance": {"conv1": moved, "fc": 2 * moved}})  # fmt: skip
    return run


@pytest.mark.parametrize(
    ("long", "short", "words"),
    [
        (1, 9, "No ailment was found in 1 run; of 9 it is too early to say"),
        (2, 1, "No ailment was found in 2 runs; of 1 it is too early to say"),
        (3, 0, "No ailment was found in any of the 3 runs"),
        (1, 0, "No ailment was found in this run"),
        (0, 2, "Too early to say: these runs are too short, have hardly begun to learn, or give all images one answer"),
        (0, 1, "Too early to say: this run is too short, has hardly begun to learn, or gives all images one answer"),
    ],
)
def test_health_counts_the_runs_that_are_long_enough_to_judge(long: int, short: int, words: str) -> None:
    runs = [drawn("a", seed, [0.9] * (5 if seed < long else 1)) for seed in range(long + short)]
    for run in runs[long:]:
        run.history.epochs[0]["step"] = 10
    assert health.health(runs).finding == words


def test_how_far_layers_move_is_of_the_runs_that_the_verdict_rests_on() -> None:
    conditions = [("10ep", 1.0, 0.5), ("1ep", 1.0, 0.1), ("10ep", 0.1, 0.2)]
    runs = [probed(drawn("scratch", seed, [0.5] * 2, budget=budget, fraction=share), [{}, {}], far)
            for seed in range(2) for budget, share, far in conditions]  # fmt: skip
    counted = [run for of_arm in sections.by_arm(runs, verdict_on(runs, "scratch")).values() for run in of_arm]
    section = health.distance(counted, {"scratch": 0})
    assert section is not None and [row[2] for row in section.figures[0].rows] == ["50", "100"]
    loose = health.distance(runs, {"scratch": 0})  # without a verdict each condition has a line of its own
    assert loose is not None
    assert {(row[0], row[2]) for row in loose.figures[0].rows if row[1] == "conv1"} == {
        (f"scratch, {length}, {share} % of the labels", far)
        for length, share, far in (("10 epochs", "100", "50"), ("1 epoch", "100", "10"), ("10 epochs", "10", "20"))
    }


def test_layers_of_two_networks_have_no_mean_in_common() -> None:
    runs = [probed(drawn("scratch", 0, [0.5] * 2, network=network), [{}, {}], far)
            for network, far in (("resnet18", 0.5), ("resnet34", 0.1))]  # fmt: skip
    section = health.distance(runs, {"scratch": 0})
    assert section is not None
    assert {(row[0], row[2]) for row in section.figures[0].rows if row[1] == "conv1"} == {
        ("scratch, resnet18", "50"), ("scratch, resnet34", "10"),
    }  # fmt: skip
    _, other = runs
    other.run.plan["network"]["network"] = "resnet18"  # by its name; its layers are others all the same
    other.history.probes[-1]["distance"]["layer9"] = 0.1
    assert health.distance(runs, {"scratch": 0}) is None


def shades(chart: object) -> list[str]:
    return re.findall(r'class="cell (\w+)"', str(chart))


def flow_of(*flows: dict[str, float | None]) -> sections.Figure:
    (figure,) = health.health([probed(drawn("a", 0, [0.9] * 2), list(flows))]).figures
    return figure


def test_frozen_and_zero_and_not_finite_are_told_apart() -> None:
    figure = flow_of({"layer3": 0.1}, {"layer1": 0.0, "layer2": None, "layer3": 0.1})
    rows = [["layer1", "frozen", "0"], ["layer2", "frozen", "not finite"], ["layer3", "1e-1", "1e-1"]]
    assert [list(row) for row in figure.rows] == rows
    assert {"frozen", "0", "not finite"} <= set(texts(figure.chart))
    alike = shades(figure.chart)[4]
    assert shades(figure.chart) == ["none", "h0", "none", "lost", alike, alike]


def test_in_a_narrow_cell_two_words_stand_in_two_lines() -> None:
    epochs = [{f"layer{at}.0": None if at else 0.1 for at in range(2)}] * 30
    assert {"not", "finite"} <= set(texts(flow_of(*epochs).chart))


@given(st.floats(1e-30, 1e3), st.lists(st.floats(-8, 8), min_size=1, max_size=6))
def test_colours_of_gradients_have_one_scale_for_all_runs(last: float, powers: list[float]) -> None:
    flow = {f"block{at}": last * 10**power for at, power in enumerate(powers)} | {"last": last}
    found = shades(flow_of(flow, flow).chart)
    wanted = [round((min(max(math.log10(value / last), -6), 7.5) + 6) / 1.5) for value in flow.values()]
    assert wanted[-1] == 4
    assert found == [f"h{shade}" for shade in wanted for _ in range(2)]


def test_a_layer_that_was_never_finite_is_not_called_frozen() -> None:
    lost = {"low": 0.0, "high": 0.0, "n": 0, "counts": [], "not_finite": 9}
    found = histograms.ridges([{"step": 1, "epoch": 1, "gradients": {"conv1": lost}}], "gradients")
    assert found == {"conv1": None}


@given(st.integers(2, 2000), st.integers(2, 300))
def test_thinned_lines_keep_their_ends(count: int, most: int) -> None:
    points = [(float(i), float(-i)) for i in range(count)]
    found = charts.subsample(points, most)
    assert found[0] == points[0] and found[-1] == points[-1]
    assert len(found) == min(count, most) and found == sorted(found)


def test_ridges_share_one_scale_and_hold_each_look() -> None:
    narrow = {"low": 0.0, "high": 1.0, "n": 64, "counts": [1] * 64}
    wide = {"low": -1.0, "high": 1.0, "n": 64, "counts": [1] * 64}
    looks = [{"step": 1, "epoch": 1, "weights": {"conv1": narrow}}, {"step": 9, "epoch": 2, "weights": {"conv1": wide}}]
    lost = {"low": 0.0, "high": 0.0, "n": 0, "counts": [], "not_finite": 64}
    looks.append({"step": 19, "epoch": 3, "weights": {"conv1": lost}})
    found = histograms.ridges(looks, "weights")["conv1"]
    assert (found["low"], found["high"], found["steps"], found["epochs"]) == (-1.0, 1.0, [1, 9], [1, 2])
    assert found["lost"] == 1
    rows = np.frombuffer(base64.b64decode(found["rows"]), dtype=np.uint8).reshape(2, histograms.BINS)
    half = histograms.BINS // 2
    assert (rows[0, :half] == 0).all() and (rows[0, half:] == 255).all()  # twice as dense on half of the scale
    assert (rows[1] == round(255 / np.sqrt(2))).all()


def test_what_val_chose_is_blue_and_scratch_grey() -> None:
    found = sections.colours(["scratch", "a", "b", "scratch@adam"], "b")
    assert found == {"scratch": 0, "b": 1, "a": 2, "scratch@adam": 3}
    assert max(sections.colours([f"arm{i}" for i in range(20)], "arm3").values()) < sections.MOST_COLOURS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two arms on photos whose classes have names that a page must not obey."""
    photos = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index, label in enumerate((HOSTILE, "plain", "& \"quoted\" 'too'")):
        (photos / label).mkdir()
        for number in range(24):
            pixels = rng.integers(0, 120, (20, 20, 3)) + 60 * index
            Image.fromarray(pixels.astype(np.uint8)).save(photos / label / f"{HOSTILE}{number}.png")
    plan = {"network": "timm:test_resnet", "image_size": 16, "batch_size": 8, "precision": "fp32", "threads": 1,
            "epochs": "3ep", "seeds": 2, "grid": "0.01,0.001", "survivors": 1, "search_seeds": 1}  # fmt: skip
    wanted = build_study_spec(str(photos), ("scratch", "scratch@adam"), {}, None, None, None, plan)
    folder = study.begin(wanted, tmp_path_factory.mktemp("runs"), NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    return folder


def test_a_study_ends_with_its_report(made: Path) -> None:
    text = (made / "report.html").read_text(encoding="utf-8")
    assert len(text) < 5_000_000
    assert HOSTILE not in text and "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    verdict = read_json(made / "verdict.json")
    assert f"<h1>{verdict['sentences']['headline']}</h1>" in text


def rows_of(text: str, title: str) -> list[list[str]]:
    """The cells of the first table of a page after its title, row by row."""
    table = text.partition(title)[2].partition("</table>")[0]
    cells = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    return [[html.unescape(cell) for cell in row] for row in cells]


def test_the_protocol_and_the_runs_of_the_search_are_on_the_page(made: Path) -> None:
    text = (made / "report.html").read_text(encoding="utf-8")
    declared = dict(rows_of(text, "<h3>What was declared before the first step</h3>"))
    assert declared["arms"] == "scratch; and scratch, with adam"
    assert declared["primary contrast"] == "scratch, with adam against scratch"
    assert declared["metric"].startswith("accuracy;") and declared["target"].startswith("75 %")
    assert declared["margin"].startswith("±1 points") and declared["seeds"] == "2, paired: 0 to 1"
    assert declared["grid of learning rates"].startswith("0.001 and 0.01; the best 1 ")
    assert declared["seeds of the search"] == "1, never used again: 1000000000"
    assert declared["length of a run"] == "3 epochs" and declared["share of the training photos"] == "100 %"
    assert declared["sha256 of the declaration"] == read_json(made / "verdict.json")["study"]
    assert html.escape((made / "study.toml").read_text(encoding="utf-8"), quote=False).replace('"', "&#34;") in text
    for title, place in (("<summary>Every run (4)", "."), ("<summary>Runs of the search (", "search")):
        head, *rows = rows_of(text, title)
        wanted = {os.path.relpath(plan.parent, made) for plan in (made / place).glob("*/plan.json")}
        assert {row[head.index("folder")] for row in rows} == wanted and len(rows) == len(wanted)
    ended = [row[4] for row in rows_of(text, "<summary>Runs of the search (")[1:]]
    assert set(ended) == {"finished", "ended after the rung"}


def test_a_declaration_that_was_changed_is_said_to_be_so(made: Path, tmp_path: Path) -> None:
    for name in ("verdict.json", "study.toml"):
        shutil.copy(made / name, tmp_path)
    for run in made.glob("*-s[01]"):
        shutil.copytree(run, tmp_path / run.name)
    declared = tmp_path / "study.toml"
    declared.write_text(declared.read_text(encoding="utf-8").replace('tie = "1pt"', 'tie = "9pt"'), encoding="utf-8")
    text = page.write(tmp_path).read_text(encoding="utf-8")
    assert "is not what was declared when the study began" in text and "primary contrast" not in text


def test_charts_of_a_study_show_themselves_in_a_notebook(made: Path, tmp_path: Path) -> None:
    plots = headstart.Study(made).plot
    for over, words in curves.UNITS.items():
        assert words in plots.curves(over).html
    drawn = [plots.curves(), plots.grid(), plots.health(), plots.confusion(), plots.mistakes()]
    for chart in drawn:
        shown = chart._repr_html_()
        assert chart.title and 'class="headstart"' in shown and HOSTILE not in shown and "<script" not in shown
        page = chart.save(tmp_path / "chart.html").read_text(encoding="utf-8")
        assert shown in page
    counts = read_json(made / read_json(made / "verdict.json")["exported"]["run"] / "result.json")["test"]["confusion"]
    svg = str(drawn[3].html).partition("<svg")[2].partition("</svg>")[0]
    assert all(str(count) in texts(f"<svg{svg}</svg>") for row in counts for count in row)
    assert all("<summary>Numbers</summary>" in chart.html for chart in drawn[:4])
    cells = re.findall(r"<td>([^<]*)</td>", drawn[3].html)
    assert [int(cell) for cell in cells if cell.isdigit()] == [count for row in counts for count in row]
    assert 'src="data:image/webp' in drawn[4].html
    with pytest.raises(UsageError, match="curves over"):
        plots.curves("weeks")
    verdict = headstart.Study(made).verdict
    assert str(verdict).startswith(verdict["sentences"]["headline"]) and HOSTILE not in verdict._repr_html_()


def test_an_arm_that_diverged_at_once_is_not_the_cheapest(made: Path) -> None:
    verdict = json.loads((made / "verdict.json").read_text(encoding="utf-8"))
    for run in verdict["arms"][0]["seeds"]:
        run["seconds"] = 0.0
    colour = sections.colours([arm["name"] for arm in verdict["arms"]], verdict["winner"])
    assert cost.cost([], verdict, colour).finding.startswith("A run of scratch, with adam is the cheapest")


def test_sections_stand_in_the_order_in_which_one_asks(made: Path) -> None:
    text = (made / "report.html").read_text(encoding="utf-8")
    wanted = ["arms", "curves", "target", "grid", "cost", "rates", "histograms", "health", "distance", "mistakes",
              "how", "limits"]  # fmt: skip
    assert re.findall(r'<section id="([a-z]+)"', text) == wanted
    assert re.findall(r'<li><a href="#([a-z]+)"', text) == wanted


def test_a_study_that_has_not_come_so_far_says_so(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "study.toml", tmp_path)
    for there in ("", "sources", "search"):
        if there:
            shutil.copytree(next(made.glob("*-scratch-s0")), tmp_path / there / "run")
        for ask in (page.write, diagnosis.diagnose):
            with pytest.raises(DataError, match="has not come to its first run") as error:
                ask(tmp_path)
            assert f"headstart resume {tmp_path}" in error.value.hint
            assert error.value.message.endswith(f"are in {tmp_path / there}." if there else "of the comparison.")
    with pytest.raises(DataError, match="has not come to its verdict"):
        _ = headstart.Study(tmp_path).verdict


def test_a_contrast_is_found_by_the_names_in_the_sentences(made: Path) -> None:
    study = headstart.Study(made)
    first, second = study.verdict["primary"]
    asked = [arm_words(first).capitalize(), arm_words(second)]
    assert study.contrast(*asked) == study.contrast(first, second)
    with pytest.raises(UsageError, match="no contrast of 'x' and"):
        study.contrast("x", second)
    study.verdict["arms"] = [{"name": name} for name in ("imagenet", "file:imagenet", "scratch")]
    study.verdict["contrasts"] = [{**study.verdict["contrasts"][0], "first": "file:imagenet", "second": "scratch"}]
    assert study.contrast("file:imagenet", "scratch")["first"] == "file:imagenet"
    with pytest.raises(UsageError, match="no contrast"):  # sentences call two arms so
        study.contrast("imagenet, fine-tuned", "scratch")


def test_cost_is_shown_in_minutes_images_and_use_of_the_machine(made: Path) -> None:
    verdict = read_json(made / "verdict.json")
    colour = sections.colours([arm["name"] for arm in verdict["arms"]], verdict["chosen"])
    runs = [series_module.read(read_run(plan.parent)) for plan in sorted(made.glob("*/plan.json"))]
    section = cost.cost(runs, verdict, colour)
    assert [one.choice for one in section.figures] == ["minutes", "images", "MFU"]
    for row, arm in zip(section.figures[0].rows, verdict["arms"], strict=True):
        of_arm = [run for run in runs if run.arm == arm["name"]]
        shares = [100 * line["speed"]["mfu"] for run in of_arm for line in run.epochs]
        assert float(row[1]) == pytest.approx(np.mean([run["seconds"] for run in arm["seeds"]]) / 60, rel=0.06)
        assert row[2] == f"{np.mean([run['images'] for run in arm['seeds']]):,.0f}"
        assert float(row[3]) == pytest.approx(np.median(shares), rel=0.06)


@pytest.mark.parametrize(("seconds", "words"), [(0.17, "0.17 s"), (75, "75 s"), (600, "10 min"), (9000, "2.5 h")])
def test_a_time_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert cost.time_span(seconds) == words


def searched_twice(groups: tuple[str, ...]) -> dict[str, object]:
    """What a verdict holds of a search at two budgets; rates that were taken lie at the edge in the shorter one."""
    cells = {"scratch": {"0.1": {"rung": 0.5, "whole": [0.6, 0.8]}, "0.01": {"rung": 0.4, "whole": []}},
             "scratch@adam": {"0.1": {"rung": -1.0, "whole": []}, "0.01": {"rung": 0.4, "whole": [0.5]}}}  # fmt: skip
    search = {
        "tried": {budget: dict.fromkeys(groups, cells) for budget in ("1ep", "2ep")},
        "chosen": {
            budget: {group: {"scratch": 0.1, "scratch@adam": 0.01} for group in groups} for budget in ("1ep", "2ep")
        },
        "edges": {"1ep": {groups[0]: {"scratch": 0.1}}, "2ep": {}},
    }
    return {"search": search, "budget": "2ep", "metric": "accuracy", "evaluation": {"declared": "none", "images": 9},
            "grid_rows": []}  # fmt: skip


@pytest.mark.parametrize("groups", [("shared",), ("seed 0", "seed 1")])
def test_every_search_has_a_heat_map(groups: tuple[str, ...]) -> None:
    verdict = searched_twice(groups)
    section = heatmaps.searched(verdict)
    assert section is not None and section.finding == "The best rate of scratch lies at the edge of the grid"
    wanted = [f"{budget}{'' if group == 'shared' else f', {group}'}" for budget in ("2 epochs", "1 epoch")
              for group in groups]  # fmt: skip
    assert [one.choice for one in section.figures] == wanted
    rows = [["scratch", "70.0", "(40)"], ["scratch, with adam", "×", "50.0"]]
    assert all(list(map(list, one.rows)) == rows for one in section.figures)
    assert ["outline edge" in one.chart for one in section.figures].index(True) == len(groups)
    drawn = Plots(Path(), verdict).grid().html
    assert drawn.count("<svg") == len(wanted) and all(f"<h5>{choice}</h5>" in drawn for choice in wanted)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed, a grid of learning rates, two budgets, two shares of the labels, no target."""
    plan = {"network": "timm:test_resnet", "image_size": 16, "batch_size": 8, "precision": "fp32", "threads": 1,
            "seeds": 1, "budgets": "1ep,2ep", "fractions": "0.5,1", "target": 0, "metric": "balanced"}  # fmt: skip
    varied = {"lr": ["0.01", "0.001"]}
    wanted = build_study_spec("digits:0-2", ("scratch",), varied, None, None, None, plan)
    folder = study.begin(wanted, tmp_path_factory.mktemp("runs"), NullReporter())
    study.run_study(folder, LocalEngine(NullReporter()), NullReporter())
    return folder


def test_every_cell_budget_and_share_is_on_the_page(grid: Path) -> None:
    verdict = read_json(grid / "verdict.json")
    text = (grid / "report.html").read_text(encoding="utf-8")
    runs = [path.parent.name for path in grid.glob("*/plan.json")]
    assert len(runs) == 8 and all(run in text for run in runs)
    read = series_module.with_unique_names([series_module.read(read_run(grid / run)) for run in runs])
    assert len({run.name for run in read}) == 8 and any("50 % of the labels" in run.name for run in read)
    section = heatmaps.compared(verdict)
    assert section is not None and section.figures[0].head[1:] == ["0.01", "0.001"]
    assert [f"{100 * arm['test']:.1f}" for arm in verdict["arms"]] == list(section.figures[0].rows[0][1:])
    colour = sections.colours([arm["name"] for arm in verdict["arms"]], verdict["chosen"])
    assert [one.anchor for one in sections.conditions(verdict, colour)] == ["labels", "budgets"]
    assert curves.target([], verdict, colour) is None and heatmaps.searched(verdict) is None
    assert "balanced accuracy" in text and "Undecided." in text
    assert not re.search(r"\b1 seeds|\bthe mean of 1\b", text)
    with pytest.raises(DataError, match="no runs"):
        page.write(grid.parent)  # it holds a study, and no runs of its own


def test_a_run_and_loose_runs_have_a_page_without_a_verdict(made: Path, tmp_path: Path, capsys) -> None:
    runs = [path.parent for path in sorted(made.glob("*/plan.json"))]
    for run in runs:
        shutil.copytree(run, tmp_path / "copied" / run.name)
    main(["report", str(tmp_path / "copied")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "copied" / "report.html")
    text = (tmp_path / "copied" / "report.html").read_text(encoding="utf-8")
    assert "there is no verdict" in text and all(run.name in text for run in runs)
    one = page.write(tmp_path / "copied" / runs[0].name).read_text(encoding="utf-8")
    assert "One run." in one and runs[1].name not in one
    test = read_json(runs[0] / "result.json")["test"]
    name = series_module.read(read_run(runs[0])).name
    assert f"<h1>{name[0].upper()}{name[1:]}: {100 * test['accuracy']:.1f} % on {test['n']} test images.</h1>" in one
    with pytest.raises(DataError, match="no runs"):
        page.write(tmp_path)


@pytest.mark.parametrize("arm", ["scratch", "scratch@adam"])
def test_the_page_of_a_run_has_the_command_that_trains_it_again(made: Path, arm: str, tmp_path: Path, capsys) -> None:
    run = Path(shutil.copytree(next(made.glob(f"*-{arm}-s1")), tmp_path / "run"))
    told = re.search(r"<h3>The same run again</h3><pre[^>]*>(.*?)</pre>", page.write(run).read_text(encoding="utf-8"))
    assert told is not None
    headstart_, *words = shlex.split(html.unescape(told[1]))
    assert headstart_ == "headstart" and words[0] == "train" and len(words) < 40  # what is usual is not said
    main([*words, "--dry-run"])
    plan = read_plan(run)
    assert RunConfig.from_toml(capsys.readouterr().out) == plan.model_copy(update={"facts": ResolvedFacts()})


def test_what_no_flag_can_say_has_no_command(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(next(made.glob("*-scratch-s0")), tmp_path / "run"))
    content = read_json(run / "plan.json")
    for classes in (["a, b", "c"], ["of a later version"]):
        content["plan"]["data"]["classes"] = classes
        content["plan"]["data"] |= {"later": 1} if len(classes) == 1 else {}
        (run / "plan.json").write_text(json.dumps(content), encoding="utf-8")
        assert f">headstart report {run}</pre>" in page.write(run).read_text(encoding="utf-8")


def test_each_chart_says_of_how_many_runs_and_images_it_is(made: Path, tmp_path: Path) -> None:
    verdict, text = read_json(made / "verdict.json"), (made / "report.html").read_text(encoding="utf-8")
    runs = [series_module.read(read_run(plan.parent)) for plan in made.glob("*/plan.json")]
    images = read_plan(runs[0].run.folder).facts.counts
    told = {anchor: re.findall(r'<figcaption class="how">([^<]*)', section)
            for anchor, section in re.findall(r'<section id="([a-z]+)"(.*?)</section>', text, re.DOTALL)}  # fmt: skip
    n, val, test = verdict["n"], f"{images['val']} images", f"{images['test']} test images"
    for anchor, wanted in {
        "arms": (f"the {n} seeds",), "curves": (f"the mean of {n}", val), "target": (f"the {n} seeds", val),
        "cost": ("each arm", test), "rates": (f"each run ({len(runs)})", "No images"),
        "distance": (f"each run ({len(runs)} in all)", "no images"), "health": ("8 fixed photos",),
    }.items():  # fmt: skip
        assert told[anchor] and all(words in how for words in wanted for how in told[anchor]), anchor
    alone = page.write(Path(shutil.copytree(runs[0].run.folder, tmp_path / "run"))).read_text(encoding="utf-8")
    assert f"The run. {val} of val choose the epoch." in alone


def test_an_unfinished_study_says_how_it_goes_on(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "study.toml", tmp_path)
    runs = [Path(shutil.copytree(plan.parent, tmp_path / plan.parent.name)) for plan in made.glob("*/plan.json")]
    (runs[0] / "result.json").unlink()
    with (runs[0] / "metrics.jsonl").open("r+b") as file:
        file.truncate(1500)  # in the midst of a line, before the first epoch's end
    text = page.write(tmp_path).read_text(encoding="utf-8")
    assert f"<h1>{len(runs)} runs of a study that has not come to its verdict.</h1>" in text
    assert f">headstart resume {tmp_path}</pre>" in text and f"{len(runs) - 1} of {len(runs)} runs have come" in text


def test_a_run_that_diverged_at_once_has_a_page(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(next(made.glob("*-scratch-s0")), tmp_path / "run"))
    lines = [line for line in read_lines(run / "metrics.jsonl") if line["kind"] in ("begin", "step")][:2]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    content = read_json(run / "plan.json")
    content["plan"]["recipe"]["lr"] = 1e30
    (run / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    (run / "result.json").write_text(json.dumps({"state": "diverged"}), encoding="utf-8")
    shutil.rmtree(run / "artifacts")
    text = page.write(run).read_text(encoding="utf-8")
    assert "<h1>Scratch, seed 0 has diverged.</h1>" in text
    assert "No run has come to the end of an epoch" in text and 'name="curves"' not in text
    assert "This run has an ailment: learning rate too high" in text and "Try --lr 0.1." in text


@needs_browser
def test_looks_without_a_finite_value_are_counted_beside_the_others(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made / read_json(made / "verdict.json")["exported"]["run"], tmp_path / "run"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["kind"] == "snapshot"][-1]
    first, *_, other = last["weights"]
    last["weights"][first] |= {"counts": [], "n": 0, "not_finite": 9}
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    with visits() as seen:
        tab = seen.open(page.write(run).as_uri(), WIDE)
        assert "Looks without a finite value, which are not drawn: 1." in tab.locator("#ridges").inner_text()
        tab.locator("#pick-layer").select_option(label=other)
        assert tab.locator("#ridges svg").count() and "finite" not in tab.locator("#ridges").inner_text()
        assert seen.wrong == []


def test_loose_runs_have_a_heat_map_of_optimizers_and_rates(made: Path, tmp_path: Path) -> None:
    wanted: dict[tuple[str, str], list[float]] = {}
    for plan in sorted([*made.glob("*/plan.json"), *made.glob("search/*/plan.json")]):
        shutil.copytree(plan.parent, tmp_path / plan.parent.name)
        recipe = read_json(plan)["plan"]["recipe"]
        best = max(line["val"]["accuracy"] for line in read_lines(plan.with_name("metrics.jsonl"))
                   if line["kind"] == "epoch")  # fmt: skip
        wanted.setdefault((recipe["optimizer"], f"{recipe['lr']:g}"), []).append(100 * best)
    assert {"sgd", "adam"} == {optimizer for optimizer, _ in wanted} and len({rate for _, rate in wanted}) > 1
    runs = [series_module.read(run) for run in runs_at(tmp_path)]
    section = heatmaps.loose(runs)
    assert section is not None
    found = {(row, rate): (value, count) for row, rate, value, count in section.figures[0].rows}
    assert found == {at: (f"{np.mean(some):.1f}", str(len(some))) for at, some in wanted.items()}
    highest = max(np.mean(some) for some in wanted.values())
    for (optimizer, rate), some in wanted.items():
        assert (f"{optimizer} at {rate}" in section.finding.lower()) == (np.mean(some) == highest)
    assert section.finding.endswith(f" the highest val accuracy, {highest:.1f} %")
    text = page.write(tmp_path).read_text(encoding="utf-8")
    assert section.finding in text.replace("\u00a0", " ") and f"<summary>Every run ({len(runs)})" in text
    assert heatmaps.loose(runs[:1]) is None


@pytest.mark.parametrize(
    ("row", "taken", "edge"),
    [
        ([1.0, 3.0, 2.0], 1, False),
        ([3.0, None, 2.0], 0, True),
        ([None, 1.0, 2.0], 2, True),
        ([None, 5.0, None], 1, False),
    ],
)
def test_the_best_of_a_row_is_outlined_and_marked_at_an_edge(row: list, taken: int, edge: bool) -> None:
    best, edges = heatmaps.best_of_rows([row])
    assert (best, edges) == ({(0, taken)}, {(0, taken)} if edge else set())


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
def test_a_browser_is_found_by_any_of_its_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser.on_path() is None
    (tmp_path / name).touch(0o755)
    assert browser.on_path() == str(tmp_path / name)


def test_a_browser_that_playwright_has_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    assert not browser.own()
    with sync_api.sync_playwright() as playwright:
        place = Path(playwright.chromium.executable_path)
    assert place.is_relative_to(tmp_path)
    place.parent.mkdir(parents=True)
    place.touch(0o755)
    assert browser.own()


@needs_browser
def test_in_a_browser(made: Path) -> None:
    address = (made / "report.html").as_uri()
    with visits() as seen:
        for width, scheme in itertools.product((WIDE, NARROW), ("light", "dark")):
            tab = seen.open(address, width, scheme)
            assert tab.locator("h1").inner_text() == read_json(made / "verdict.json")["sentences"]["headline"]
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert tab.locator("#curves .legend:visible").count() == (1 if width == NARROW else 0)
            keep(tab, f"report-{width}-{scheme}")
        shown = tab.locator("#curves figure:visible")
        assert shown.count() == 1 and "epochs" in shown.locator("svg.wide").get_attribute("aria-label")
        tab.get_by_text("training images", exact=True).first.click()
        assert shown.count() == 1 and "training images" in shown.locator("svg.wide").get_attribute("aria-label")
        run = read_run(next(path.parent for path in sorted(made.glob("*-s1/plan.json"))))
        tab.locator("#pick-run").select_option(label=series_module.read(run).name)
        tab.locator("#pick-layer").select_option(index=0)
        looks = len(series_module.read(run).looks)
        assert tab.locator("#ridges polygon").count() == looks > 2
        weights = tab.locator("#ridges svg").inner_html()
        layer, last = tab.locator("#pick-layer option:checked").inner_text(), series_module.read(run).looks[-1]
        assert f"epoch {last['epoch']}, step {last['step']}" in tab.locator("#ridges text").all_text_contents()
        tab.locator("#bins summary").click()
        bins = tab.locator("#bins tr").evaluate_all(
            "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
        )
        assert bins[0][:2] == ["from", "to"] and bins[0][-1] == f"epoch {last['epoch']}, step {last['step']}"
        histogram = last["weights"][layer]
        edges = np.linspace(histogram["low"], histogram["high"], len(histogram["counts"]) + 1)
        middle = (edges[:-1] + edges[1:]) / 2 @ np.array(histogram["counts"]) / histogram["n"]
        found = [(float(low) + float(high)) / 2 * float(row[-1]) / 100 for low, high, *row in bins[1:]]
        assert sum(float(row[-1]) for row in bins[1:]) == pytest.approx(100, abs=3)
        assert sum(found) == pytest.approx(middle, abs=float(bins[1][1]) - float(bins[1][0]))
        tab.get_by_text("gradients", exact=True).click()
        assert tab.locator("#ridges polygon").count() == looks and tab.locator("#ridges svg").inner_html() != weights
        assert tab.locator("td.words", has_text=HOSTILE).count()
        tab.locator('[data-cell^="1-"]').first.click()
        assert tab.locator("#cell img").count() and tab.locator("#cell h3").inner_text().startswith(HOSTILE)
        sources = tab.locator("img").evaluate_all("all => all.map(one => [one.src.slice(0, 11), one.naturalWidth])")
        assert sources and all(kind == "data:image/" and width for kind, width in sources)
        assert (seen.asked, seen.wrong) == ([address] * 4, [])


@needs_browser
def test_what_has_no_photo_on_the_page_has_its_path(made: Path, tmp_path: Path) -> None:
    """A model that is wrong for every second image; one photo of each of its cells and one mistake are kept."""
    run = Path(shutil.copytree(made / read_json(made / "verdict.json")["exported"]["run"], tmp_path / "run"))
    archive, predictions = run / "artifacts" / "gallery.zip", run / "artifacts" / "predictions.npz"
    with zipfile.ZipFile(archive) as held:
        members = {name: held.read(name) for name in held.namelist()}
    index = json.loads(members["index.json"])
    with np.load(predictions) as held:
        arrays = dict(held)
    arrays["label"][::2] = (arrays["logits"].argmax(1)[::2] + 1) % 3
    np.savez(predictions, **arrays)
    cells: dict[str, list[str]] = {}
    counts = np.zeros((3, 3), int)
    here = arrays["split"] == index["split"]
    for key, true, logits in zip(*(arrays[name][here] for name in ("image", "label", "logits")), strict=True):
        cells.setdefault(f"{true}-{logits.argmax()}", []).append(str(key))
        counts[true, logits.argmax()] += 1
    place = {photo["key"]: at for at, photo in enumerate(index["photos"])}
    kept = {cell: [place[key] for key in keys if key in place][:1] for cell, keys in cells.items()}
    wrong = {key for one, keys in cells.items() for key in keys if one[0] != one[2]}
    listed = next(place[key] for key in sorted(wrong) if key in place)
    index |= {"cells": kept, "counts": counts.tolist(), "lists": {"mistakes": [listed], "unsure": []}}
    with zipfile.ZipFile(archive, "w") as held:
        for name, content in (members | {"index.json": json.dumps(index).encode()}).items():
            held.writestr(name, content)
    cell = max(cells, key=lambda one: len(cells[one]))
    with visits() as seen:
        tab = seen.open(page.write(run).as_uri(), WIDE)
        tab.locator(f'[data-cell="{cell}"]').click()
        assert tab.locator("#cell summary").inner_text() == f"+{len(cells[cell]) - 1} more"
        shown = tab.locator("#cell .gallery .note").all_text_contents()
        assert sorted([*shown, *tab.locator("#cell .paths li").all_text_contents()]) == sorted(cells[cell])
        worst = tab.locator("#mistakes > details")
        assert worst.locator("summary").inner_text() == f"+{len(wrong) - 1} more"
        assert set(worst.locator("li").all_text_contents()) == wrong - {index["photos"][listed]["key"]}
        assert seen.wrong == []


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark"), (NARROW, "light"), (WIDE, "dark")])
def test_everybody_can_read_the_page(made: Path, grid: Path, tmp_path: Path, width: int, scheme: str) -> None:
    run = shutil.copytree(next(made.glob("*-s0")), tmp_path / "run")
    pages = [made / "report.html", grid / "report.html", page.write(run)]
    with visits() as seen:
        for one in pages:
            assert faults(seen.open(one.as_uri(), width, scheme)) == {}, one
        assert seen.wrong == []


@needs_browser
def test_on_paper_nothing_is_dark_or_folded_or_missing(made: Path) -> None:
    counts = read_json(made / read_json(made / "verdict.json")["exported"]["run"] / "result.json")["test"]["confusion"]
    with visits() as seen:
        tab = seen.open((made / "report.html").as_uri(), WIDE, "dark")
        tab.emulate_media(media="print", color_scheme="dark")
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert tab.locator("details:not([open])").count() == 0
        assert tab.locator("#curves figure:visible").count() == len(curves.UNITS)
        cells = tab.locator("table.confusion td").all_inner_texts()
        assert [int(cell) for cell in cells] == [count for row in counts for count in row]
