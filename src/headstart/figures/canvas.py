"""Sheets of figures: sizes, style, lines of arms, and rendering without dates. Imports matplotlib, never pyplot."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from headstart.figures.keep import CREATOR
from headstart.i18n import Message, translated
from headstart.report.svg.axes import Axis, tick_label

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

LineStyle: TypeAlias = Literal["-"] | tuple[float, tuple[float, ...]]
WIDE_IN, NARROW_IN, MAX_HEIGHT_IN = 6.3, 3.1, 9.2  # text width of A4, one of two columns, and text height
TEXT_PT = 7.0  # of all text
LINE_IN = 1.25 * TEXT_PT / 72  # height of a line of text
THIN_PT, THICK_PT, MARKER_PT = 0.4, 1.2, 3.2  # lines of a seed and of a mean, and markers
MARKERS_PER_LINE = 8
SHORT_LOG_AXIS = 100.0  # ratio of the ends of a logarithmic axis below which it also has ticks at 2 and 5
# Okabe and Ito 2008, "Color Universal Design". The first ones differ most in lightness.
PALETTE = ("#000000", "#E69F00", "#0072B2", "#009E73", "#56B4E9", "#D55E00", "#CC79A7", "#F0E442")
LINE_STYLES: tuple[LineStyle, ...] = (
    "-",
    (0, (4, 1.5)),
    (0, (1, 1)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (7, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 1)),
)
DATES: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}  # fields left out
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
STYLE: dict[RcKeyType, str | float | bool] = {
    "axes.grid": True,
    "axes.labelsize": TEXT_PT,
    "axes.linewidth": 0.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": TEXT_PT,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "font.size": TEXT_PT,
    "grid.color": "0.88",
    "grid.linewidth": 0.4,
    "image.interpolation": "none",
    "legend.fontsize": TEXT_PT,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "headstart",
    "text.parse_math": False,  # names may contain $, _ and ^
    "xtick.labelsize": TEXT_PT,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.5,
    "ytick.labelsize": TEXT_PT,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.5,
}


@dataclass(frozen=True)
class DrawnFigure:
    """A figure with its title and its caption."""

    figure: Figure
    title: Message
    caption: Message


@dataclass(frozen=True)
class ArmStyle:
    """How the lines and dots of an arm are drawn."""

    color: str
    line: LineStyle
    marker: str


def arm_style(index: int) -> ArmStyle:
    """Return the style of the arm at a place in the declared order; color, line and marker repeat at unequal steps."""
    return ArmStyle(PALETTE[index % len(PALETTE)], LINE_STYLES[index % len(LINE_STYLES)], MARKERS[index % len(MARKERS)])


@contextmanager
def print_style() -> Iterator[None]:
    """Use the style of printed figures, whatever the user's matplotlibrc says, and silence matplotlib's own log."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(STYLE)
            yield
    finally:
        log.setLevel(level)


def render_figure(figure: DrawnFigure, format_name: str, dpi: int) -> bytes:
    """Return a figure as the bytes of a file, without dates.

    Args:
        figure: The figure.
        format_name: png, svg or pdf.
        dpi: Pixels per inch of PNG files.
    """
    metadata = {"Title": translated(figure.title), "Creator": CREATOR, **DATES.get(format_name, {})}
    buffer = io.BytesIO()
    figure.figure.savefig(buffer, format=format_name, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def new_figure(height: float, width: float = WIDE_IN) -> Figure:
    """Return an empty figure of a size in inches."""
    return Figure(figsize=(width, height))


def panels(count: int, *, panel_height: float, columns: int, extra: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of one size; a single panel has the width of one column of text.

    Args:
        count: Number of panels.
        panel_height: Height of a row of panels in inches.
        columns: Largest number of panels side by side.
        extra: Height in inches of what the figure has besides the panels.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(rows * panel_height + extra, WIDE_IN if columns > 1 else NARROW_IN)
    axes = figure.subplots(rows, columns, squeeze=False)
    for unused in list(axes.flat)[count:]:
        unused.remove()
    return figure, list(axes.flat)[:count]


def draw_line(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    arm: ArmStyle,
    name: str,
    *,
    place: tuple[int, int] = (0, 1),
    largest: float = math.inf,
) -> None:
    """Draw the line of an arm.

    Args:
        axes: Panel.
        points: [(x, y), …].
        arm: Style of the arm.
        name: Its name in the legend.
        place: Place of the arm among those of the panel, and their number: lines that coincide have their markers at
            other points, and the dashes of later lines lie on the solid ones of earlier lines.
        largest: Larger values are drawn here.
    """
    number, count = place
    every = max(1, -(-len(points) // MARKERS_PER_LINE))
    xs, ys = [x for x, _y in points], [min(y, largest) for _x, y in points]
    axes.plot(
        xs, ys, color=arm.color, linestyle=arm.line, linewidth=THICK_PT, marker=arm.marker, markersize=MARKER_PT,
        markevery=(number * every // count, every), markeredgewidth=0.4, markeredgecolor="black", label=name,
        zorder=3 + number / count,
    )  # fmt: skip


def draw_thin_line(
    axes: Axes, points: Sequence[tuple[float, float]], arm: ArmStyle, *, largest: float = math.inf
) -> None:
    """Draw the line of one seed."""
    xs, ys = [x for x, _y in points], [min(y, largest) for _x, y in points]
    axes.plot(xs, ys, color=arm.color, linestyle=arm.line, linewidth=THIN_PT, alpha=0.6, label="_seed", zorder=2)


def tick_text(value: float) -> str:
    """Return the label of a tick, with a minus sign instead of a hyphen."""
    return tick_label(value).replace("-", "\N{MINUS SIGN}")


def plain_ticks(axis: XAxis | YAxis, *, whole: bool = False, count: int = 5) -> None:
    """Label the ticks of a linear axis as the report does; `whole` values have ticks at integers only."""
    axis.set_major_locator(MaxNLocator(count, integer=whole, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: tick_text(round(value, 12))))


def log_ticks(axes: Axes, low: float, high: float) -> None:
    """Make the y axis logarithmic from `low` to `high`, with ticks at powers of ten; on a short axis also between."""
    ticks = Axis(low, high, 0.0, 1.0, log=True).ticks()
    if high < SHORT_LOG_AXIS * low:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        between = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        between = [tick for tick in between if low <= tick <= high]
        ticks = between if len(between) > 1 else ticks
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: tick_text(float(f"{value:.12g}"))))
