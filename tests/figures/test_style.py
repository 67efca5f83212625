"""Figures are readable in gray, with many arms and classes, with any names, and without fonts for them."""

import os
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axis import Axis, Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from headstart.factories import load_factory
from headstart.figures import fonts
from headstart.figures.canvas import MAX_HEIGHT_IN, PALETTE, TEXT_PT, WIDE_IN, DrawnFigure, arm_style, print_style
from headstart.figures.cells import relative_luminance
from headstart.figures.draw import write_figures
from headstart.figures.fonts import EAST_ASIAN_FAMILIES, find_typeface, installed_fonts
from headstart.figures.heatmaps import COLORS, LIGHT_TO_DARK
from headstart.figures.labels import fit_names, width_in
from headstart.figures.options import MIN_DPI
from headstart.figures.registry import FIGURES
from headstart.i18n import Message
from headstart.report.page import read_inputs
from tests.conftest import environment_for_processes
from tests.figures.made import Made, write_study
from tests.messages import values_of

EAST_ASIAN = "中文字 고양이 日本語"
ARMS = [
    "imagenet", "scratch", "scratch:kaiming+frozen", "imagenet+stages:2+mlp:512", "imagenet@adam", "imagenet@sgd",
    "scratch:orthogonal@adamw,weight-decay=0.0005,label-smoothing=0.1", "scratch@adam", "scratch@sgd,batch-size=64",
    "file:a-rather-long-name-of-a-file-with-weights-of-a-network-v2.safetensors+lp-ft", "scratch@sgd,batch-size=128",
    "scratch@sgd,batch-size=256",
]  # fmt: skip
CLASSES = [*(f"class with the number {number}" for number in range(48)), "a_b$c^d", r"\alpha_{x}$"]


class Heard:
    """A reporter that keeps the sentences."""

    def __init__(self) -> None:
        self.sentences: list[Message] = []

    def say(self, sentence: Message) -> None:
        self.sentences.append(sentence)

    def progress(self, *_values: object) -> None:
        raise AssertionError

    study_status = progress


def drawn(folder: Path) -> dict[str, DrawnFigure]:
    """Return the figures of a folder; call it in `print_style`."""
    inputs, typeface = read_inputs(folder), find_typeface()
    return {row.name: load_factory(row.factory)(inputs, typeface) for row in FIGURES}


def texts_of(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible() and text.get_text()]


def is_inside(axis: Axis, tick: Tick) -> bool:
    """Return whether a tick is drawn: it lies within the limits of its axis."""
    low, high = sorted(axis.get_view_interval())
    return bool(low <= tick.get_loc() <= high)


def boxes_of(figure: Figure) -> list[tuple[str, Bbox]]:
    """Return text and extent in inches of every text that is drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    hidden = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()
              for label in (tick.label1, tick.label2) if not axes.axison or not is_inside(axis, tick)}  # fmt: skip
    boxes = []
    for text in texts_of(figure):
        if text in hidden:
            continue
        box = text.get_window_extent(renderer)
        boxes.append((text.get_text(), Bbox(box.get_points() / figure.dpi)))
    return boxes


def overlap(first: Bbox, second: Bbox) -> float:
    """Return the area in square inches that both boxes cover."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return max(width, 0.0) * max(height, 0.0)


def test_colors_differ_in_lightness() -> None:
    luminances = [relative_luminance(mpl.colors.to_rgb(color)) for color in PALETTE]
    assert len(set(PALETTE)) == 8
    contrasts = [(max(a, b) + 0.05) / (min(a, b) + 0.05) for a, b in combinations(luminances, 2)]
    assert min(contrasts) > 1.02
    first = [(max(a, b) + 0.05) / (min(a, b) + 0.05) for a, b in combinations(luminances[:4], 2)]
    assert min(first) > 1.3


def test_relative_luminance_is_that_of_the_standard() -> None:
    assert relative_luminance((1.0, 1.0, 1.0)) == pytest.approx(1.0) and relative_luminance((0.0, 0.0, 0.0)) == 0.0
    assert relative_luminance(mpl.colors.to_rgb("#777777")) == pytest.approx(0.1845, abs=1e-4)


def test_arms_differ_in_more_than_color() -> None:
    styles = [arm_style(place) for place in range(12)]
    assert len({(arm.color, arm.line, arm.marker) for arm in styles}) == 12
    assert len({(arm.line, arm.marker) for arm in styles}) == 12  # also without color
    assert all(a.line != b.line and a.marker != b.marker for a, b in pairwise(styles))


@pytest.mark.parametrize(("name", "sign"), [(COLORS, 1), (LIGHT_TO_DARK, -1)])
def test_color_maps_have_monotone_lightness(name: str, sign: int) -> None:
    luminances = [relative_luminance(mpl.colormaps[name](share)) for share in np.linspace(0, 1, 64)]
    assert np.all(sign * np.diff(luminances) > 0)


def test_many_arms_and_classes_have_no_overlapping_text(tmp_path: Path) -> None:
    folder = write_study(tmp_path, Made(ARMS, seeds=2, epochs=12, classes=CLASSES, blocks=24))
    with print_style():
        for name, drawing in drawn(folder).items():
            width, height = drawing.figure.get_size_inches()
            assert width <= WIDE_IN + 1e-6 and height <= MAX_HEIGHT_IN + 0.2, name
            boxes = boxes_of(drawing.figure)
            assert all(text.get_fontsize() >= TEXT_PT for text in texts_of(drawing.figure)), name
            for text, box in boxes:
                inside = box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01
                assert inside, (name, text, box)
            for (first, box), (second, other) in combinations(boxes, 2):
                limit = 0.2 * min(box.width * box.height, other.width * other.height)
                assert overlap(box, other) <= limit, (name, first, second)


@pytest.mark.parametrize("lines", [1, 2])
def test_names_are_as_wide_as_allowed_and_stay_different(lines: int) -> None:
    names = [f"{'WM' * 20} {number} {'il' * 30}" for number in range(3)]
    with print_style():
        fitted = fit_names(names, 1.5, lines=lines)
        assert len(set(fitted)) == 3
        assert all(width_in(line) <= 1.5 for name in fitted for line in name.split("\n"))
        assert fit_names(["short"], 1.5, lines=lines) == ["short"]


def test_special_characters_are_drawn_as_they_are(tmp_path: Path) -> None:
    folder = write_study(tmp_path, Made(classes=("a_b$c^d", r"\alpha$x$", "$\\frac{"), epochs=1))
    with print_style():
        figure = drawn(folder)["confusion-matrix"].figure
        FigureCanvasAgg(figure).draw()
        (axes,) = figure.axes
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a_b$c^d", r"\alpha$x$", "$\\frac{"]
        assert not any(label.get_parse_math() for label in texts_of(figure))


def test_names_without_a_font_are_escaped_with_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "installed_fonts", lambda: {fonts.FAMILY})
    folder = write_study(tmp_path / "study", Made(classes=(EAST_ASIAN, "b"), epochs=1))
    reporter = Heard()
    write_figures(folder, tmp_path / "out", ["svg"], MIN_DPI, reporter)
    content = (tmp_path / "out" / "confusion-matrix.svg").read_text(encoding="utf-8")
    assert r"\u4e2d\u6587\u5b57" in content and "中" not in content
    (sentence,) = reporter.sentences
    assert set(values_of(sentence)) <= {*EAST_ASIAN, "…"} and "中" not in ascii(sentence.template)
    write_figures(folder, tmp_path / "out", ["svg"], MIN_DPI)  # nobody to tell


@pytest.mark.skipif(
    not set(EAST_ASIAN_FAMILIES) & installed_fonts(), reason="no font for Chinese, Japanese and Korean is installed"
)
def test_installed_font_is_used_for_east_asian_names(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", Made(classes=("中文字", "b"), epochs=1))
    reporter = Heard()
    write_figures(folder, tmp_path / "out", ["svg", "pdf", "png"], MIN_DPI, reporter)
    assert "中文字" in (tmp_path / "out" / "confusion-matrix.svg").read_text(encoding="utf-8")
    assert reporter.sentences == []
    with print_style():
        typeface = find_typeface()
        missing = {"中"}  # what the first font lacks, the second one has
        assert not any(ord(character) in typeface.covered[fonts.FAMILY] for character in missing)
        assert typeface.drawable("中") == "中" and typeface.drawable("a\nb\x1b") == r"a\nb\x1b"


def test_style_of_the_user_is_neither_used_nor_changed() -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        with print_style():
            assert mpl.rcParams["axes.facecolor"] == "white" and mpl.rcParams["font.size"] == TEXT_PT
        assert mpl.rcParams["axes.facecolor"] == "red" and mpl.rcParams["font.size"] == 30


@pytest.mark.parametrize("kind", ["pipe", "settings", "link"])
def test_settings_in_the_working_folder_are_not_read(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "matplotlibrc"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "settings":
        place.write_text("lines.linewidth: 17\n")
    else:
        place.symlink_to("/dev/zero")
    code = (
        "import os; from headstart.figures.settings_file import import_matplotlib; import_matplotlib()\n"
        "import matplotlib; print(matplotlib.rcParams['lines.linewidth'], os.getcwd())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment_for_processes(), capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(mpl.rcParamsDefault["lines.linewidth"]), str(tmp_path)]
