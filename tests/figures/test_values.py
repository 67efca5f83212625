"""Figures draw the numbers of the records: artists are read back and compared with the files."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from safetensors.numpy import load_file
from scipy import stats

from headstart.factories import load_factory
from headstart.figures.canvas import DrawnFigure, print_style
from headstart.figures.fonts import find_typeface
from headstart.figures.registry import FIGURES
from headstart.i18n import Message
from headstart.report.histograms import BINS
from headstart.report.page import read_inputs
from headstart.report.photos import FILTER_COLUMNS, GAP_PX, UPSCALE
from tests.figures.made import STEPS, Made, write_initial_filters, write_study
from tests.files import read_json
from tests.handmade import read_table
from tests.messages import values_of

ARMS = ("imagenet", "scratch")
MADE = Made(ARMS, seeds=2, epochs=3)
Lines = list[dict]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_study(tmp_path_factory.mktemp("figures") / "study", MADE)
    write_initial_filters(run_of(folder, "imagenet", 0))
    return folder


@pytest.fixture(scope="module")
def drawings(study: Path) -> Iterator[dict[str, DrawnFigure]]:
    inputs = read_inputs(study)
    with print_style():
        typeface = find_typeface()
        yield {row.name: load_factory(row.factory)(inputs, typeface) for row in FIGURES}


def run_of(study: Path, arm: str, seed: int) -> Path:
    return next(study.glob(f"*-{arm}-s{seed}"))


def record(run: Path, kind: str) -> Lines:
    """Return the lines of one kind, read without the package."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]


def panels_of(drawing: DrawnFigure) -> list[Axes]:
    return [axes for axes in drawing.figure.axes if axes.get_label() != "<colorbar>"]


def lines_named(axes: Axes, name: str) -> list[np.ndarray]:
    return [np.array(line.get_xydata()) for line in axes.get_lines() if line.get_label() == name]


def test_every_row_has_a_figure(drawings: dict[str, DrawnFigure]) -> None:
    assert all(drawings.values()) and len(drawings) == 9


@pytest.mark.parametrize(("row", "quantity", "factor"), [(0, "loss", 1.0), (1, "accuracy", 100.0)])
@pytest.mark.parametrize(("column", "split"), [(0, "train"), (1, "val")])
def test_learning_curves_are_those_of_the_seeds_and_their_mean(
    study: Path, drawings: dict[str, DrawnFigure], row: int, quantity: str, factor: float, column: int, split: str
) -> None:
    axes = panels_of(drawings["learning-curves"])[2 * row + column]
    seeds = []
    for name, arm in (("imagenet (fine-tuned)", "imagenet"), ("scratch", "scratch")):
        curves = np.array(
            [
                [[line["epoch"], factor * line[split][quantity]] for line in record(run_of(study, arm, seed), "epoch")]
                for seed in range(2)
            ]
        )
        (mean,) = lines_named(axes, name)
        np.testing.assert_allclose(mean, curves.mean(axis=0))
        seeds += list(curves)
    np.testing.assert_allclose(lines_named(axes, "_seed"), seeds)


def test_learning_rates_are_those_of_the_steps(study: Path, drawings: dict[str, DrawnFigure]) -> None:
    (axes,) = panels_of(drawings["learning-rates"])
    steps = record(run_of(study, "scratch", 0), "step")
    expected = [[[line["step"], line["lr"][part]] for line in steps] for part in ("head", "backbone")]
    np.testing.assert_allclose(lines_named(axes, "scratch"), expected)
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize("kind", ["weights", "gradients"])
def test_ridgelines_have_the_shares_of_the_snapshots(study: Path, drawings: dict[str, DrawnFigure], kind: str) -> None:
    for axes, arm in zip(panels_of(drawings[kind]), ARMS, strict=True):
        lines = record(run_of(study, arm, 0), "snapshot")
        histograms = [line[kind]["conv1"] for line in lines if line["step"] == 1 or line["step"] % STEPS == 0]
        low, high = min(h["low"] for h in histograms), max(h["high"] for h in histograms)
        edges = np.linspace(low, high, BINS + 1)
        shares = []
        for h in histograms:
            cumulative = np.append(0, np.cumsum(h["counts"])) / sum(h["counts"])
            own = np.linspace(h["low"], h["high"], len(cumulative))
            shares.append(np.diff(np.interp(edges, own, cumulative)))
        heights = np.sqrt(shares) / np.sqrt(np.max(shares))
        drawn = [np.array(line.get_xydata()) for line in axes.get_lines()]
        tallest = max((line[:, 1] - row).max() for row, line in enumerate(drawn))
        for row, (line, expected) in enumerate(zip(drawn, heights, strict=True)):
            np.testing.assert_allclose(line[:, 0], (edges[:-1] + edges[1:]) / 2)
            np.testing.assert_allclose((line[:, 1] - row) / tallest, expected, atol=1 / 255)
        assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2", "3"]


def test_rates_are_the_means_of_the_full_runs_of_the_search(study: Path, drawings: dict[str, DrawnFigure]) -> None:
    (axes,) = panels_of(drawings["learning-rate-grid"])
    verdict = read_json(study / "verdict.json")
    table = np.ma.asarray(axes.images[0].get_array())
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.01", "0.001", "0.0001"]
    for row, arm in enumerate(verdict["search"][0]["arms"]):
        for trial in arm["tried"]:
            column = [0.01, 0.001, 0.0001].index(trial["lr"])
            if trial["full_runs"]:
                assert table[row, column] == pytest.approx(100 * np.mean(trial["full_runs"]))
            else:
                assert table.mask[row, column]
    assert {text.get_text() for text in axes.texts} == {"×", "75.0", "(25)"}


def test_verdict_has_the_seeds_intervals_and_contrasts(study: Path, drawings: dict[str, DrawnFigure]) -> None:
    arms_panel, contrasts_panel = panels_of(drawings["verdict"])
    verdict = read_json(study / "verdict.json")
    ranked = sorted(verdict["arms"], key=lambda arm: -arm["test"])
    for place, arm in enumerate(ranked):
        tests = [100 * run["test"] for run in arm["seeds"]]
        low, high = stats.t.interval(0.95, len(tests) - 1, np.mean(tests), stats.sem(tests))
        assert lines_named(arms_panel, f"_mean {place}")[0][:, 0] == pytest.approx([100 * arm["test"]])
        np.testing.assert_allclose(lines_named(arms_panel, f"_seeds {place}")[0][:, 0], tests)
        ends = [max(low, 0.0), min(high, 100.0)]
        np.testing.assert_allclose(lines_named(arms_panel, f"_interval {place}")[0][:, 0], ends)
    by_name = {arm["name"]: [run["test"] for run in arm["seeds"]] for arm in verdict["arms"]}
    (contrast,) = verdict["contrasts"]
    differences = 100 * (np.array(by_name[contrast["first"]]) - by_name[contrast["second"]])
    np.testing.assert_allclose(lines_named(contrasts_panel, "_seeds 0")[0][:, 0], differences)
    np.testing.assert_allclose(
        lines_named(contrasts_panel, "_interval 0")[0][:, 0], [100 * contrast["low"], 100 * contrast["high"]]
    )
    assert lines_named(contrasts_panel, "_mean 0")[0][:, 0] == pytest.approx([100 * contrast["mean"]])
    (band,) = contrasts_panel.patches
    assert band.get_x() == pytest.approx(-100 * verdict["margin"])  # type: ignore[attr-defined]
    assert band.get_width() == pytest.approx(200 * verdict["margin"])  # type: ignore[attr-defined]
    assert any(set(line.get_xdata()) == {0.0} for line in contrasts_panel.get_lines())


def test_confusion_matrix_has_the_counts_of_the_exported_run(study: Path, drawings: dict[str, DrawnFigure]) -> None:
    (axes,) = panels_of(drawings["confusion-matrix"])
    exported = read_json(study / "verdict.json")["exported"]["run"]
    counts = np.array(read_table(study / exported))
    np.testing.assert_allclose(axes.images[0].get_array(), counts / counts.sum(axis=1, keepdims=True))
    written = {text.get_position(): text.get_text() for text in axes.texts}
    expected = {(column, row): str(counts[row, column]) for row, column in zip(*np.nonzero(counts), strict=True)}
    assert written == expected


def test_filters_are_those_of_the_model_and_of_the_start(study: Path, drawings: dict[str, DrawnFigure]) -> None:
    panels = panels_of(drawings["first-filters"])
    before, after, nothing, other = [np.asarray(axes.images[0].get_array()) if axes.images else None for axes in panels]
    assert nothing is None
    run = run_of(study, "imagenet", 0)
    pictures = [
        (before, np.random.default_rng(5).normal(size=(20, 3, 3, 3)).astype(np.float32)),
        (after, load_file(run / "model" / "model.safetensors")["conv1.weight"]),
        (other, load_file(run_of(study, "scratch", 0) / "model" / "model.safetensors")["conv1.weight"]),
    ]
    side = 3 * UPSCALE + GAP_PX
    for picture, filters in pictures:
        assert picture is not None
        for number in (0, FILTER_COLUMNS + 1):
            top, left = side * (number // FILTER_COLUMNS), side * (number % FILTER_COLUMNS)
            pixels = picture[top : top + 3 * UPSCALE : UPSCALE, left : left + 3 * UPSCALE : UPSCALE]
            colors = np.round((filters[number] / np.abs(filters).max() + 1) * 127.5)
            np.testing.assert_array_equal(pixels, colors.transpose(1, 2, 0))


def test_gradient_flow_has_the_norms_of_the_probes(study: Path, drawings: dict[str, DrawnFigure]) -> None:
    for axes, arm in zip(panels_of(drawings["gradient-flow"]), ARMS, strict=True):
        probes = record(run_of(study, arm, 0), "probe")
        norms = [list(probe["block_gradient_norm"].values()) for probe in probes]
        np.testing.assert_allclose(axes.images[0].get_array(), np.transpose(norms))
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "3"]


def test_captions_have_the_numbers_of_seeds_and_images(drawings: dict[str, DrawnFigure]) -> None:
    assert {2, 100} <= set(values_of(drawings["verdict"].caption))
    assert 2 in values_of(drawings["learning-curves"].caption)
    assert 4 in values_of(drawings["learning-rates"].caption)  # runs
    for drawing in drawings.values():
        assert isinstance(drawing.title, Message) and drawing.caption.endswith(".")
