"""Cells with colors and texts: the part that heat maps have in common."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from headstart.figures.canvas import TEXT_PT
from headstart.figures.labels import width_in

MAX_LUMINANCE_OF_WHITE_TEXT = 0.18  # relative luminance at which black and white text have equal contrast
TEXT_SHARE = 0.94  # of a cell's width that its text may take


def relative_luminance(color: Sequence[float]) -> float:
    """Return the relative luminance of an sRGB color with channels from 0 to 1 (WCAG 2.1)."""
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in color[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def draw_cells(
    axes: Axes,
    values: Sequence[Sequence[float | None]],
    *,
    colors: str,
    scale: tuple[float, float] | None = None,
    log: bool = False,
) -> AxesImage:
    """Draw cells [rows][columns] in colors; None and NaN stay white.

    Args:
        axes: Panel.
        values: Values of the cells.
        colors: Name of a color map whose lightness is monotone.
        scale: Values of the first and the last color. Default: smallest and largest value.
        log: The colors are on a logarithmic scale.
    """
    table = np.ma.masked_invalid(np.array([[np.nan if value is None else value for value in row] for row in values]))
    low, high = scale or (float(table.min()), float(table.max())) if table.count() else (0.0, 1.0)
    high = high if high > low else low + (abs(low) or 1.0)
    color_map = mpl.colormaps[colors].with_extremes(bad="white")
    norm = LogNorm(low, high) if log else Normalize(low, high)
    image = axes.imshow(table, cmap=color_map, norm=norm, aspect="auto")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return image


def write_cells(axes: Axes, image: AxesImage, texts: Sequence[Sequence[str]], cell_in: float) -> None:
    """Write the texts that fit into cells of a width in inches, black or white by the lightness of the cell."""
    shades: npt.NDArray[np.float64] = np.asarray(image.to_rgba(np.ma.asarray(image.get_array())))
    for row, of_row in enumerate(texts):
        for column, text in enumerate(of_row):
            if text and width_in(text) <= TEXT_SHARE * cell_in:
                dark = relative_luminance(shades[row, column]) < MAX_LUMINANCE_OF_WHITE_TEXT
                axes.text(column, row, text, color="white" if dark else "black", ha="center", va="center",
                          fontsize=TEXT_PT)  # fmt: skip


def outline_cells(axes: Axes, outlined: frozenset[tuple[int, int]], edges: frozenset[tuple[int, int]]) -> None:
    """Outline cells (row, column), those of `edges` with a dashed line, such that it shows on dark and light cells."""
    for row, column in sorted(outlined):
        style = (0, (3, 2)) if (row, column) in edges else "-"
        for color, width, line in (("white", 2.6, "-"), ("black", 1.2, style)):
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1.0, 1.0, fill=False, edgecolor=color, linewidth=width,
                          linestyle=line, clip_on=False, zorder=4)
            )  # fmt: skip


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Write the names of the rows."""
    axes.set_yticks(range(len(names)), names)


def name_columns(axes: Axes, names: Sequence[str], *, upright: bool = False) -> None:
    """Write the names of the columns, rotated by 90 degrees if `upright`."""
    axes.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
