"""Names in figures: their width, lines that fit, and legends without overlap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D

from headstart.figures.canvas import LINE_IN, MARKER_PT, TEXT_PT, THICK_PT, ArmStyle
from headstart.report.svg.labels import BOLD_LETTER_WIDTH, text_width, truncate_distinct, wrap_names

RULER_DPI = 720  # at which text is measured
MIN_LETTERS = 4  # of a name
HANDLE_IN, COLUMN_GAP_IN = 0.36, 0.18  # sample of a line in a legend with its gap, and gap between two columns


def width_in(text: str, points: float = TEXT_PT, *, bold: bool = False) -> float:
    """Return the width of a text in inches in the present style."""
    properties = FontProperties(size=points, weight="bold" if bold else "normal")
    width, _height, _descent = _ruler().get_text_width_height_descent(text, properties, ismath=False)
    return float(width) / RULER_DPI


@cache
def _ruler() -> RendererAgg:
    renderer: RendererAgg = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=RULER_DPI)).get_renderer()
    return renderer


def fit_names(names: Sequence[str], max_in: float, *, lines: int = 2, bold: bool = False) -> list[str]:
    """Return the names on one line each or on two, truncated to a width such that different names stay different.

    Names that differ only where they are truncated begin with their number.

    Args:
        names: Names as they are drawn.
        max_in: Largest width in inches.
        lines: 1 or 2.
        bold: Measure them in bold type.
    """
    fitted = _fit(names, max_in, lines, bold)
    first = dict(zip(reversed(fitted), reversed(names), strict=True))
    if all(first[short] == name for short, name in zip(fitted, names, strict=True)):
        return fitted
    counts = Counter(dict(zip(names, fitted, strict=True)).values())
    number = {name: place for place, name in enumerate(dict.fromkeys(names), 1)}
    numbered = [
        f"{number[name]}: {name}" if counts[short] > 1 else name for name, short in zip(names, fitted, strict=True)
    ]
    return _fit(numbered, max_in, 1, bold)


def _fit(names: Sequence[str], max_in: float, lines: int, bold: bool) -> list[str]:
    """Return the names truncated to a width, as far as possible such that different names stay different."""
    if all(width_in(name, bold=bold) <= max_in for name in names):
        return list(names)
    letter = max(width_in(name, bold=bold) / max(text_width(name), 1.0) for name in names)  # inches, of the widest name
    letters, fitted = max_in / letter, list(names)
    while letters >= MIN_LETTERS:
        if lines == 1:
            fitted = truncate_distinct(names, letters, 1.0)
        else:
            wrapped = wrap_names(names, letters * BOLD_LETTER_WIDTH, 2 * len(names))
            fitted = ["\n".join(parts) for parts in wrapped]
        if all(width_in(line, bold=bold) <= max_in for name in fitted for line in name.split("\n")):
            break
        letters -= 1  # the letters of this part are wider than those of the whole name
    return fitted


def line_count(names: Sequence[str]) -> int:
    """Return the largest number of lines of a name."""
    return max((name.count("\n") + 1 for name in names), default=0)


def legend_columns(names: Sequence[str], max_in: float) -> tuple[list[str], int]:
    """Return the names of a legend as they fit, and its number of columns, within a width in inches."""
    fitted = fit_names(names, max_in - HANDLE_IN, lines=1)
    column = max(map(width_in, fitted)) + HANDLE_IN + COLUMN_GAP_IN
    return fitted, min(len(fitted), max(1, int((max_in + COLUMN_GAP_IN) / column)))


def legend_height(names: Sequence[str], max_in: float) -> float:
    """Return the height of a legend in inches; a single line needs none."""
    if len(names) < 2:
        return 0.0
    return -(-len(names) // legend_columns(names, max_in)[1]) * 1.2 * LINE_IN + 0.1


def add_legend(figure: Figure, names: Sequence[str], styles: Sequence[ArmStyle], max_in: float) -> None:
    """Put the legend of two arms or more below the panels of a figure, within a width in inches."""
    if len(names) < 2:
        return
    fitted, columns = legend_columns(names, max_in)
    handles = [
        Line2D([], [], color=arm.color, linestyle=arm.line, marker=arm.marker, linewidth=THICK_PT,
               markersize=MARKER_PT, markeredgewidth=0.4, markeredgecolor="black")
        for arm in styles
    ]  # fmt: skip
    figure.legend(
        handles, fitted, loc="outside lower center", ncols=columns, handlelength=3.0, handletextpad=0.5, borderpad=0.0,
        columnspacing=1.5, labelspacing=0.25, borderaxespad=0.2,
    )  # fmt: skip
