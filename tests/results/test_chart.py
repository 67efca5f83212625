"""Charts of runs and studies: their numbers are those of the records, and they are saved as valid files."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.errors import UsageError
from headstart.report.svg.standalone import plain_style
from headstart.results.chart import Chart
from headstart.storage.journal import read_lines
from headstart.storage.schemas.metrics import SnapshotLine, StepLine
from tests.messages import values_of
from tests.trained import trained

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    return headstart.Run(trained(tmp_path_factory))


def rows_of(chart: Chart, figure: int = 0) -> list[list[float]]:
    return [[float(cell) for cell in row if re.fullmatch(r"[-\d.e+]+", cell)] for row in chart.figures[figure].rows]


def test_loss_chart_has_the_losses_of_the_history(run: headstart.Run) -> None:
    history = run.history
    expected = np.column_stack([history.epoch, history.train_loss, history.val_loss, np.ones(len(history))])
    np.testing.assert_allclose(rows_of(run.plot.loss()), expected, rtol=1e-3)


def test_learning_rate_chart_has_the_rates_of_all_steps(run: headstart.Run) -> None:
    steps = [line for line in read_lines(run.folder / "metrics.jsonl") if isinstance(line, StepLine)]
    root = ElementTree.fromstring(str(run.plot.learning_rate().figures[0].chart))
    longest = max(len(line.get("points", "").split()) for line in root.iter("polyline"))
    assert 1 < longest <= len(steps)


@pytest.mark.parametrize("kind", ["weights", "gradients"])
def test_histogram_chart_has_the_shares_of_the_snapshots(run: headstart.Run, kind: str) -> None:
    chart: Chart = getattr(run.plot, kind)("conv1")
    lines = [line for line in read_lines(run.folder / "metrics.jsonl") if isinstance(line, SnapshotLine)]
    table = np.array(rows_of(chart))
    shares = table[:, 2:]
    assert shares.shape[1] == len(lines)
    np.testing.assert_allclose(shares.sum(axis=0), 100, atol=3)
    centers = table[:, :2].mean(axis=1)
    for column, line in enumerate(lines):
        histogram = getattr(line, kind)["conv1"]
        mean = histogram.sum / histogram.n
        spread = np.sqrt(histogram.sum_squares / histogram.n - mean**2)
        tolerance = max(0.5 * spread, table[0, 1] - table[0, 0])  # half the spread, or one bin
        assert abs((shares[:, column] * centers).sum() / shares[:, column].sum() - mean) < tolerance
    assert getattr(run.plot, kind)().title == chart.title  # conv1 is the first layer


def test_unknown_layer_is_an_error_that_names_a_similar_one(run: headstart.Run) -> None:
    with pytest.raises(UsageError) as error:
        run.plot.weights("conv")
    assert "conv" in values_of(error.value.message) and "conv1" in error.value.hint


def test_chart_is_saved_as_svg_without_values_that_only_browsers_compute(run: headstart.Run, tmp_path: Path) -> None:
    for name in ("loss", "learning_rate", "weights", "gradients", "curves", "health", "confusion"):
        chart: Chart = getattr(run.plot, name)()
        path = chart.save(tmp_path / f"{name}.svg")
        root = ElementTree.parse(path).getroot()
        charts = [element for element in root.iter(f"{SVG}svg") if element.get("role") == "img"]
        assert root.tag == f"{SVG}svg" and len(charts) == len(chart.figures)
        tops = [float(element.get("y", 0)) for element in charts]
        ends = [top + float(element.get("height", 0)) for top, element in zip(tops, charts, strict=True)]
        assert all(end <= top for end, top in zip(ends, tops[1:], strict=False))
        assert ends[-1] <= float(root.get("height", 0))
        style = root.find(f"{SVG}style")
        assert style is not None and not re.search(r"var\(|calc\(|@media", style.text or "")


def test_plain_style_has_the_colors_of_the_light_page() -> None:
    assert "stroke: #0072b2" in plain_style() and "fill: rgb(0, 114, 178)" in plain_style()


def test_chart_is_saved_as_html_and_other_names_are_refused(run: headstart.Run, tmp_path: Path) -> None:
    chart = run.plot.confusion()
    assert "</table>" in chart.save(tmp_path / "chart.html").read_text(encoding="utf-8")
    photos = run.plot.mistakes()
    for name, of in (("chart.gif", chart), ("chart", chart), ("photos.svg", photos), ("photos.png", photos)):
        with pytest.raises(UsageError) as error:
            of.save(tmp_path / name)
        assert name in values_of(error.value.message) and not (tmp_path / name).exists()


@pytest.mark.parametrize("dpi", [96, 240])
def test_chart_is_saved_as_png_of_its_svg(run: headstart.Run, tmp_path: Path, dpi: int) -> None:
    """The picture has the size of the drawing at this resolution, and the colors and texts that it draws."""
    chart = run.plot.confusion()
    root = ElementTree.parse(chart.save(tmp_path / "chart.svg")).getroot()
    with Image.open(chart.save(tmp_path / "chart.png", dpi=dpi)) as image:
        width, height = (float(root.get(name, 0)) * dpi / 96 for name in ("width", "height"))
        assert image.format == "PNG"
        assert image.size == pytest.approx((width, height), abs=1)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert (pixels[0, 0] == 255).all()
    dark = (pixels.max(axis=2) < 90).any(axis=1)  # rows of pixels with text
    lines = np.flatnonzero(np.diff(dark.astype(int)) == 1)
    assert len(lines) >= len(chart.figures[0].rows)


@pytest.mark.parametrize("dpi", [0, -1, 5000])
def test_png_of_an_impossible_resolution_is_refused(run: headstart.Run, tmp_path: Path, dpi: int) -> None:
    with pytest.raises(UsageError):
        run.plot.confusion().save(tmp_path / "chart.png", dpi=dpi)


def test_png_without_its_package_is_refused(
    run: headstart.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UsageError) as error:
        run.plot.confusion().save(tmp_path / "chart.png")
    assert "figures" in error.value.hint
    assert not list(tmp_path.iterdir())
