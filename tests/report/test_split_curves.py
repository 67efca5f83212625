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
from headstart.config.run_config import RunConfig
from headstart.diagnostics.history import History
from headstart.report.inputs import PageInputs
from headstart.report.series import PlottedRun
from headstart.report.split_curves import MAX_PANELS, split_section
from headstart.report.svg.panels import PANEL_HEIGHT, Panel, PanelLine, panels
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import RunRole, Stage
from tests.handmade import arm_spec, epoch_line, run_result, split_score
from tests.messages import values_of

Scores = Sequence[tuple[float, float, float, float]]  # loss and accuracy on train, then on val, by epoch
names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="￾￿"), min_size=1, max_size=40)
curves = st.lists(st.floats(0, 1e4) | st.just(math.inf), max_size=5)


def plotted_run(arm: str, seed: int, scores: Scores, best_epoch: int) -> PlottedRun:
    plan = RunConfig().changed(seed=seed)
    history = History(plan, state=RunState.FINISHED)
    for epoch, (train_loss, train, val_loss, val) in enumerate(scores, 1):
        line = epoch_line(
            epoch, epoch, train=split_score(train_loss, train), val=split_score(val_loss, val), best=epoch <= best_epoch
        )
        history.add(line)
    role = RunRole(arm=arm_spec(arm), stage=Stage.MAIN, budget="10ep", fraction=1.0)
    return PlottedRun(RunRecord(Path(f"{arm}-{seed}"), plan, "hash", role, run_result()), f"{arm} {seed}", arm, history)


def inputs_of(runs: list[PlottedRun]) -> PageInputs:
    return PageInputs(Path(), runs, dict.fromkeys((run.arm for run in runs), 1))


def test_tables_are_the_means_of_the_records() -> None:
    scores = [[(1.5, 0.25, 1.0, 0.5), (0.5, 0.75, 0.75, 0.625)], [(2.0, 0.5, 1.25, 0.25), (1.0, 0.5, 1.5, 0.375)]]
    section = split_section(inputs_of([plotted_run("scratch", seed, of, 2) for seed, of in enumerate(scores)]))
    assert section is not None
    loss, accuracy = section.figures
    means = np.mean(scores, axis=0)
    assert [[float(cell) for cell in row[1:]] for row in loss.rows] == [
        [epoch, mean[0], mean[2]] for epoch, mean in enumerate(means, 1)
    ]
    expected = [[epoch, pytest.approx(100 * mean[1], abs=0.051), pytest.approx(100 * mean[3], abs=0.051)]
                for epoch, mean in enumerate(means, 1)]  # fmt: skip
    assert [[float(cell) for cell in row[1:]] for row in accuracy.rows] == expected


@pytest.mark.parametrize(("best_epoch", "points"), [(1, "25.0"), (2, "12.5")])
def test_title_is_the_difference_at_the_selected_epoch(best_epoch: int, points: str) -> None:
    scores = [(1.5, 0.25, 1.0, 0.5), (0.5, 0.75, 0.75, 0.625)]
    section = split_section(inputs_of([plotted_run("scratch", 0, scores, best_epoch)]))
    assert section is not None and points in values_of(section.finding)


def test_note_counts_the_runs_whose_val_loss_rose() -> None:
    rising, falling = [(1.0, 0.5, 1.0, 0.5), (0.5, 0.5, 2.0, 0.5)], [(1.0, 0.5, 1.0, 0.5), (0.5, 0.5, 0.5, 0.5)]
    runs = [plotted_run("scratch", seed, scores, 2) for seed, scores in enumerate([rising, falling, rising])]
    section = split_section(inputs_of(runs))
    assert section is not None and values_of(section.notes[0]) == [3, 2]


def test_runs_without_an_epoch_have_no_section() -> None:
    assert split_section(inputs_of([plotted_run("scratch", 0, [], 0)])) is None


def test_more_arms_than_panels_are_counted() -> None:
    scores = [(1.0, 0.5, 1.0, 0.5)]
    arms = [f"timm:network{index}" for index in range(MAX_PANELS + 3)]
    section = split_section(inputs_of([plotted_run(arm, 0, scores, 1) for arm in arms]))
    assert section is not None and values_of(section.notes[-1]) == [3]
    assert len({row[0] for row in section.figures[0].rows}) == MAX_PANELS


@given(st.lists(st.tuples(names, curves, curves), min_size=1, max_size=5), st.booleans())
def test_panels_are_valid_svg_with_equal_axes(
    content: list[tuple[str, list[float], list[float]]], shares: bool
) -> None:
    parts = [
        Panel(name, index, [PanelLine("train", [list(enumerate(train))], list(enumerate(train)), dashed=True),
                            PanelLine("val", [], list(enumerate(val)))])
        for index, (name, train, val) in enumerate(content)
    ]  # fmt: skip
    markup = panels(parts, x="epochs", y="loss", label="label", shares=shares)
    if not any(math.isfinite(value) for _name, *both in content for curve in both for value in curve):
        assert not markup
        return
    root = ElementTree.fromstring(str(markup).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))
    texts = list(root.iter("{http://www.w3.org/2000/svg}text"))
    ticks_of: dict[float, list[str]] = {}
    for text in texts:
        if text.get("text-anchor") == "end":
            ticks_of.setdefault(float(text.get("x", 0)), []).append(text.text or "")
    columns = min(2, len(parts))
    assert len(ticks_of) == columns
    rows = math.ceil(len(parts) / columns)
    first = next(iter(ticks_of.values()))
    assert all(ticks[: len(first) // rows] == first[: len(first) // rows] for ticks in ticks_of.values())
    assert float(root.get("viewBox", "").split()[3]) == PANEL_HEIGHT * rows + 6
