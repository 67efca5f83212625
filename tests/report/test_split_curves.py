"""Curves of train and val: panels with any values, and the numbers of hand-made records."""

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.analysis.run_records import RunRecord
from headstart.analysis.wording import arm_words
from headstart.config.run_config import RunConfig
from headstart.diagnostics.history import History
from headstart.i18n import Message, Value
from headstart.report.inputs import PageInputs, StudyInputs, verdict_colors
from headstart.report.layout import Section
from headstart.report.series import PlottedRun
from headstart.report.split_curves import LOSS_CAP, MAX_PANELS, split_section
from headstart.report.svg.panels import LEFT, PANEL_HEIGHT, Panel, PanelSeries, small_multiples
from headstart.report.svg.sampling import MAX_LINE_POINTS
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import TRAIN_AND_VAL, RunRole, Stage
from tests.handmade import arm_spec, epoch_line, run_result, split_score
from tests.messages import fields_of, values_of
from tests.verdicts import arm_result, changed, seed_result, verdict

Scores = Sequence[tuple[float, float, float, float]]  # loss and accuracy on train, then on val, by epoch
names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"), min_size=1, max_size=40)
curves = st.lists(st.floats(0, 1e30), max_size=5)
FALLING = [(1.5, 0.25, 1.0, 0.5), (0.5, 0.75, 0.75, 0.625)]


def plotted_run(arm: str, seed: int, scores: Scores, best_epoch: int = 1, **settings: object) -> PlottedRun:
    plan = RunConfig().changed(seed=seed, class_names=("a", "b"), **settings)
    history = History(plan, state=RunState.FINISHED)
    for epoch, (train_loss, train, val_loss, val) in enumerate(scores, 1):
        train_score, val_score = split_score(train_loss, train), split_score(val_loss, val)
        history.add(epoch_line(epoch, epoch, train=train_score, val=val_score, best=epoch <= best_epoch))
    role = RunRole(arm=arm_spec(arm), stage=Stage.MAIN, budget="10ep", fraction=1.0)
    record = RunRecord(Path(f"{arm}-{seed}"), plan, "hash", role, run_result(best_epoch=best_epoch))
    return PlottedRun(record, f"{arm} {seed}", arm, history)


def section_of(runs: list[PlottedRun]) -> Section:
    section = split_section(PageInputs(Path(), runs, dict.fromkeys((run.arm for run in runs), 1)))
    assert section is not None
    return section


def study_section(runs: list[PlottedRun], selected: str, declared: str = "none") -> Section:
    arms = dict.fromkeys(run.arm for run in runs)
    results = [
        arm_result(arm, [seed_result(run.run.seed, run=run.run.folder.name) for run in runs if run.arm == arm])
        for arm in arms
    ]
    result = verdict(results, selected=selected)
    result = changed(result, evaluation=changed(result.evaluation, declared=declared))
    section = split_section(StudyInputs(Path(), runs, verdict_colors(result), result))
    assert section is not None
    return section


def numbers_of(section: Section, figure: int) -> list[list[float]]:
    return [[float(cell) for cell in row[1:]] for row in section.figures[figure].rows]


def template_of(message: Message) -> str:
    return message.template


def test_tables_are_the_means_of_the_records() -> None:
    scores = [FALLING, [(2.0, 0.5, 1.25, 0.25), (1.0, 0.5, 1.5, 0.375)]]
    section = section_of([plotted_run("scratch", seed, of, 2) for seed, of in enumerate(scores)])
    means = np.mean(scores, axis=0)
    expected = [[epoch, mean[0], mean[2], 2] for epoch, mean in enumerate(means, 1)]
    assert numbers_of(section, 0) == [pytest.approx(row, rel=1e-3) for row in expected]
    expected = [[epoch, 100 * mean[1], 100 * mean[3], 2] for epoch, mean in enumerate(means, 1)]
    assert numbers_of(section, 1) == [pytest.approx(row, rel=1e-3) for row in expected]


def test_run_that_ends_early_is_counted_where_it_is_missing() -> None:
    section = section_of([plotted_run("scratch", 0, FALLING), plotted_run("scratch", 1, FALLING[:1])])
    assert [row[-1] for row in numbers_of(section, 0)] == [2, 1]
    usual = section_of([plotted_run("scratch", seed, FALLING) for seed in (0, 1)])
    assert "epoch" in fields_of(section.figures[0].caption) and "epoch" not in fields_of(usual.figures[0].caption)


@pytest.mark.parametrize(("best_epoch", "points"), [(1, "25.0"), (2, "12.5")])
def test_title_is_the_difference_at_the_selected_epoch(best_epoch: int, points: str) -> None:
    assert points in values_of(section_of([plotted_run("scratch", 0, FALLING, best_epoch)]).finding)


def test_title_has_another_template_for_each_direction_and_none() -> None:
    def title(train: float, val: float) -> str:
        return template_of(section_of([plotted_run("scratch", 0, [(1.0, train, 1.0, val)])]).finding)

    templates = [title(0.5, 0.25), title(0.25, 0.5), title(0.5, 0.5)]
    assert len(set(templates)) == 3
    assert title(0.5, 0.4999) == title(0.4999, 0.5) == templates[2]  # decided on the rounded value
    below, above = title(0.9, 0.1), title(0.1, 0.9)
    assert (below, above) == (templates[0], templates[1])


def test_title_without_a_verdict_is_about_the_arm_with_the_largest_difference() -> None:
    runs = [plotted_run("scratch", 0, [(1.0, 0.5, 1.0, 0.375)]), plotted_run("imagenet", 0, [(1.0, 0.25, 1.0, 0.5)])]
    values: list[Value] = values_of(section_of(runs).finding)
    assert {"25.0", "imagenet"} <= set(map(str, values))


def test_title_of_a_study_is_about_the_selected_arm() -> None:
    runs = [plotted_run("scratch", 0, [(1.0, 0.5, 1.0, 0.375)]), plotted_run("imagenet", 0, [(1.0, 0.25, 1.0, 0.5)])]
    assert "12.5" in values_of(study_section(runs, "scratch").finding)
    assert "25.0" in values_of(study_section(runs, "imagenet").finding)


def test_selection_images_have_the_name_of_their_split() -> None:
    runs = [plotted_run("scratch", 0, FALLING)]
    usual = study_section(runs, "scratch").figures[0].header
    declared = study_section(runs, "scratch", TRAIN_AND_VAL).figures[0].header
    assert usual[3] == "val" and declared[3] != "val"


def test_note_counts_the_runs_whose_loss_rose() -> None:
    rising, constant = [(1.0, 0.5, 1.0, 0.5), (0.5, 0.5, 2.0, 0.5)], [(1.0, 0.5, 1.0, 0.5), (0.5, 0.5, 1.0, 0.5)]
    runs = [plotted_run("scratch", seed, scores) for seed, scores in enumerate([rising, constant, FALLING, rising])]
    assert values_of(section_of(runs).notes[0]) == [4, 2]


def test_runs_without_an_epoch_have_no_section() -> None:
    runs = [plotted_run("scratch", 0, [])]
    assert split_section(PageInputs(Path(), runs, {"scratch": 1})) is None


def test_runs_with_other_rates_are_not_averaged() -> None:
    section = section_of([plotted_run("scratch", 0, FALLING, lr=0.01), plotted_run("scratch", 0, FALLING, lr=0.1)])
    assert len({row[0] for row in section.figures[0].rows}) == 2
    assert len(numbers_of(section, 0)) == 4


def test_more_arms_than_panels_are_in_the_table_and_the_selected_arm_has_a_panel() -> None:
    arms = [f"timm:network{index}" for index in range(MAX_PANELS + 3)]
    section = study_section([plotted_run(arm, 0, FALLING) for arm in arms], arms[-1])
    assert values_of(section.notes[-1]) == [3]
    assert {row[0] for row in section.figures[0].rows} == {str(arm_words(arm_spec(arm))) for arm in arms}
    assert str(arm_words(arm_spec(arms[-1]))) in texts_of(str(section.figures[0].chart))


def test_table_of_many_epochs_has_the_last_one() -> None:
    section = section_of([plotted_run("scratch", 0, [(1.0, 0.5, 1.0, 0.5)] * 1200)])
    assert [row[0] for row in numbers_of(section, 0)] == [1200]


def test_huge_loss_does_not_flatten_the_others() -> None:
    section = section_of([plotted_run("scratch", 0, FALLING), plotted_run("imagenet", 0, [(1e30, 0.5, 1e30, 0.5)] * 2)])
    ticks = [float(text) for panel in ticks_of(str(section.figures[0].chart)) for text, _y in panel]
    assert max(ticks) <= 1.1 * LOSS_CAP * math.log(2)
    assert all(len(cell) < 12 for row in section.figures[0].rows for cell in row[1:])


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"crop": 1.0, "flip": "off", "jitter": 0.0}, 0),
        ({"crop": 1.0, "flip": "on", "jitter": 0.0}, 1),
        ({"crop": 0.5, "flip": "on", "mixup": 0.2, "label_smoothing": 0.1, "class_weights": "balanced"}, 4),
    ],
)
def test_caption_names_what_distinguishes_the_scores_of_training_images(
    settings: dict[str, object], count: int
) -> None:
    caption = str(section_of([plotted_run("scratch", 0, FALLING, **settings)]).figures[0].caption)
    words = ["augmentation", "mixed images", "label smoothing", "class weights"]
    assert sum(word in caption for word in words) == count


def parse(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))


def texts_of(markup: str) -> list[str]:
    return ["".join(text.itertext()) for text in parse(markup).iter("{http://www.w3.org/2000/svg}text")]


def ticks_of(markup: str, anchor: str = "end") -> list[list[tuple[str, float]]]:
    """Return the labels of the ticks of each panel with their position in the panel: y for "end", x for "middle"."""
    panels: dict[tuple[int, int], list[tuple[str, float]]] = {}
    root = parse(markup)
    width = 720.0
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        x, y = float(text.get("x", 0)), float(text.get("y", 0))
        row, column = int(y // PANEL_HEIGHT), int(x > width / 2)
        if text.get("text-anchor") == anchor:
            key = (row, column)
            position = y - row * PANEL_HEIGHT if anchor == "end" else x - column * (width / 2 + 7)
            panels.setdefault(key, []).append((text.text or "", round(position, 1)))
    return list(panels.values())


@given(st.lists(st.tuples(names, curves, curves), min_size=2, max_size=5), st.booleans())
def test_panels_are_valid_svg_with_equal_axes(
    content: list[tuple[str, list[float], list[float]]], shares: bool
) -> None:
    panels = [
        Panel(name, index, [PanelSeries("train", [list(enumerate(train))], list(enumerate(train)), dashed=True),
                            PanelSeries("val", [], list(enumerate(val)), [(x, y, y) for x, y in enumerate(val)])])
        for index, (name, train, val) in enumerate(content)
    ]  # fmt: skip
    markup = str(small_multiples(panels, x="epochs", y="loss", label="label", shares=shares))
    if not any(curve for _name, *both in content for curve in both):
        assert not markup
        return
    for anchor in ("end", "middle"):
        ticks = ticks_of(markup, anchor)
        assert len(ticks) == len(panels) and all(of_panel == ticks[0] for of_panel in ticks)
    rows = math.ceil(len(panels) / 2)
    assert float(parse(markup).get("viewBox", "").split()[3]) == PANEL_HEIGHT * rows + 6


@pytest.mark.parametrize("seeds", [1, 200])
def test_panels_have_a_limited_number_of_points(seeds: int) -> None:
    line = [(float(x), 1.0 + x % 7) for x in range(5000)]
    panel = Panel("arm", 1, [PanelSeries("val", [line] * seeds, line)])
    root = parse(str(small_multiples([panel], x="epochs", y="loss", label="")))
    counts = [len(line.get("points", "").split()) for line in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(counts) == seeds + 1 and max(counts) <= MAX_LINE_POINTS and sum(counts) <= 12_200


def test_name_of_a_series_leaves_most_of_the_panel_to_the_lines() -> None:
    panel = Panel("arm", 1, [PanelSeries("a long name of a split", [], [(0.0, 1.0), (1.0, 2.0)])])
    root = parse(str(small_multiples([panel, panel], x="epochs", y="loss", label="")))
    ends = [
        float(line.get("x2", 0))
        for line in root.iter("{http://www.w3.org/2000/svg}line")
        if line.get("class") == "axis"
    ]
    assert ends[0] - LEFT > 0.4 * 353
