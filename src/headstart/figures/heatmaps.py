"""Heat maps: learning rates, the confusion matrix, and the gradient norm at the blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from matplotlib.axes import Axes

from headstart.analysis.wording import arm_words, splits
from headstart.figures.canvas import (
    LINE_IN,
    MAX_HEIGHT_IN,
    NARROW_IN,
    TEXT_PT,
    WIDE_IN,
    DrawnFigure,
    log_ticks,
    new_figure,
    panels,
)
from headstart.figures.cells import draw_cells, name_columns, name_rows, outline_cells, write_cells
from headstart.figures.fonts import Typeface
from headstart.figures.labels import fit_names, line_count, width_in
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.report.confusion import confusion_grid, shown_evaluation
from headstart.report.health import FROZEN_MARKER, GradientNorms, gradient_examples, gradient_norms
from headstart.report.heatmaps import RateGrid, compared_grid, searched_grids, standalone_grid
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.series import PlottedRun
from headstart.report.words import selection_images

COLORS, LIGHT_TO_DARK = "cividis", "gray_r"  # color maps with monotone lightness
MAX_NAME_IN = 2.0  # largest width of the name of a row
MAX_GRIDS, MAX_NORM_PANELS = 6, 12  # panels of a figure
CELL_IN = 0.26  # height of a row of a heat map
MAX_CELL_IN = 0.42  # side of a cell of a confusion matrix
BLOCK_IN, MIN_BLOCKS_IN = 0.12, 1.1  # height of the row of a block with its name, and of a panel of blocks
NORM_COLUMNS, MIN_EPOCH_IN = 3, 0.2  # panels side by side, and least width of the number of an epoch


def learning_rate_grid(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw accuracy by arm or optimizer and learning rate; None if rates were neither searched nor compared."""
    grids = _rate_grids(inputs)
    if not grids:
        return None
    names = [fit_names([typeface.drawable(name) for name in of_one.grid.rows], MAX_NAME_IN) for of_one in grids]
    heights = [_grid_height(rows, titled=bool(of_one.choice)) for rows, of_one in zip(names, grids, strict=True)]
    fitting = sum(height <= MAX_HEIGHT_IN - 0.5 for height in accumulate(heights[:MAX_GRIDS]))
    shown, names, heights = grids[: max(1, fitting)], names[: max(1, fitting)], heights[: max(1, fitting)]
    figure = new_figure(sum(heights) + 0.5)
    cell_in = (
        WIDE_IN - max(width_in(line) for rows in names for name in rows for line in name.split("\n")) - 0.3
    ) / max(len(of_one.grid.columns) for of_one in shown)
    axes = list(figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights).flat)
    values = [value for of_one in shown for row in of_one.grid.values for value in row if value is not None]
    scale = (min(values), max(values)) if values else (0.0, 1.0)
    for panel, rows, of_one in zip(axes, names, shown, strict=True):
        grid = of_one.grid
        image = draw_cells(panel, grid.values, colors=COLORS, scale=scale)
        write_cells(panel, image, [[typeface.drawable(text) for text in row] for row in grid.texts], cell_in)
        outline_cells(panel, grid.outlined, grid.edges)
        name_rows(panel, rows)
        name_columns(panel, grid.columns)
        panel.set_title(typeface.drawable(of_one.choice))
    axes[-1].set_xlabel(typeface.drawable(_("learning rate")))
    parts = [_("{label}.", label=shown[0].label), shown[0].caption, _evaluated_words(inputs)]
    if more := len(grids) - len(shown):
        parts.append(ngettext("{count} more search is not drawn.", "{count} more searches are not drawn.", more))
    return DrawnFigure(figure, _("Accuracy by arm and learning rate"), join(parts))


def _grid_height(names: Sequence[str], *, titled: bool) -> float:
    """Return the height in inches of a heat map with these rows; many rows are lower."""
    row = max(min(CELL_IN, (MAX_HEIGHT_IN - 0.6) / len(names)), line_count(names) * LINE_IN + 0.02)
    return len(names) * row + (LINE_IN + 0.12 if titled else 0.06)


def _rate_grids(inputs: PageInputs) -> list[RateGrid]:
    """Return the compared rates, or else those of each search, or else those of standalone runs."""
    if not isinstance(inputs, StudyInputs):
        grid = standalone_grid(inputs.runs)
        return [grid] if grid is not None else []
    grid = compared_grid(inputs.verdict)
    return [grid] if grid is not None else searched_grids(inputs.verdict)


def _evaluated_words(inputs: PageInputs) -> Message:
    """Return the number of searched runs and of the images that they were evaluated on, if the cells are of val."""
    if not isinstance(inputs, StudyInputs):
        return _("Evaluated on {images}.", images=selection_images(inputs.runs))
    verdict = inputs.verdict
    if verdict.grid_rows:
        return join([])
    images = selection_images(inputs.runs, verdict)
    return ngettext(
        "{count} run of the search, evaluated on {images}.",
        "{count} runs of the search, evaluated on {images}.",
        verdict.cost.search.runs,
        images=images,
    )


def confusion_matrix(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw the confusion matrix of the exported model of a study, or of a run's best model; None without one."""
    run = next((run.run for run in inputs.runs if run.run.folder == inputs.evaluated), None)
    evaluated = None if run is None else shown_evaluation(run)
    if run is None or evaluated is None:
        return None
    evaluation, split = evaluated
    words: Message = verbatim(split)
    if isinstance(inputs, StudyInputs):
        words = splits(inputs.verdict)[split == "test"]
    drawn = confusion_grid(evaluation, run.plan.facts.class_names, words, arm_words(run.spec))
    count = len(drawn.grid.rows)
    names = fit_names([typeface.drawable(name) for name in drawn.grid.rows], 1.2, lines=1)
    widest = max(map(width_in, names))
    width = NARROW_IN if count <= 6 and widest <= 1.0 else WIDE_IN
    cell = min(MAX_CELL_IN, (width - widest - 0.45) / count)
    upright = widest > cell - 0.05
    figure = new_figure(count * cell + (widest if upright else LINE_IN) + 0.5, widest + count * cell + 0.45)
    axes = figure.subplots()
    image = draw_cells(axes, drawn.grid.values, colors=LIGHT_TO_DARK, scale=(0.0, 1.0))
    texts = [["" if text == "0" else text for text in row] for row in drawn.grid.texts]
    write_cells(axes, image, texts, cell)
    name_rows(axes, names)
    name_columns(axes, names, upright=upright)
    axes.set_ylabel(typeface.drawable(_("true class")))
    axes.set_xlabel(typeface.drawable(_("predicted class")))
    empty = _("Numbers are images; a cell without a number has none, or too little space for it.")
    return DrawnFigure(figure, _("Confusion matrix"), join([_("{title}.", title=drawn.title), drawn.caption, empty]))


def gradient_flow(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw the norm of the loss's gradient at the output of each block by epoch, for one run of each arm."""
    measured = [(run, norms) for run in gradient_examples(inputs.compared_runs) if (norms := gradient_norms(run))]
    if not measured:
        return None
    shown = measured[:MAX_NORM_PANELS]
    values = [
        norm for _run, norms in shown for of_epoch in norms.norms for norm in of_epoch if norm is not None and norm > 0
    ]
    if not values:
        return None
    columns = min(NORM_COLUMNS, len(shown))
    width = (WIDE_IN - 1.4) / columns - 0.1 if columns > 1 else NARROW_IN - 1.4
    names = fit_names([typeface.drawable(run.name) for run, _norms in shown], width)
    rows = -(-len(shown) // columns)
    around = line_count(names) * LINE_IN + 0.4  # title, ticks and name of the axis
    most = max(len(norms.blocks) for _run, norms in shown)
    height = max(MIN_BLOCKS_IN, min(BLOCK_IN * most, MAX_HEIGHT_IN / rows - around))
    figure, axes = panels(
        len(shown), panel_height=height + around, columns=NORM_COLUMNS
    )  # fmt: skip
    same_blocks = len({tuple(norms.blocks) for _run, norms in shown}) == 1
    for place, (panel, name, (_run, norms)) in enumerate(zip(axes, names, shown, strict=True)):
        _draw_norms(panel, norms, (min(values), max(values)), width, height)
        panel.tick_params("y", labelleft=not same_blocks or place % NORM_COLUMNS == 0)
        panel.set_title(name)
        panel.set_xlabel(typeface.drawable(_("epoch")))
    bar = figure.colorbar(axes[0].images[0], ax=axes, shrink=1 / rows, anchor=(0.0, 1.0), aspect=15, pad=0.02)
    log_ticks(bar.ax, *bar.mappable.get_clim())
    bar.outline.set_linewidth(0.5)
    bar.set_label("|∂L/∂h|")
    return DrawnFigure(figure, _("Gradient norm at the output of each block"), _flow_caption(shown, len(measured)))


def _draw_norms(axes: Axes, norms: GradientNorms, scale: tuple[float, float], width: float, height: float) -> None:
    """Draw the norms of one run, with the input at the top, in a panel of about this size in inches."""
    table = list(zip(*norms.norms, strict=True))  # [blocks][epochs]
    values = [[norm if norm is not None and norm > 0 else None for norm in of_block] for of_block in table]
    image = draw_cells(axes, values, colors=COLORS, scale=scale, log=True)
    texts = [[_mark(norm) for norm in of_block] for of_block in table]
    write_cells(axes, image, texts, math.inf)
    every = math.ceil(len(norms.blocks) * 1.15 * TEXT_PT / 72 / height)
    axes.set_yticks(range(0, len(norms.blocks), every), norms.blocks[::every])
    every = math.ceil(MIN_EPOCH_IN * len(norms.epochs) / width)
    axes.set_xticks(range(0, len(norms.epochs), every), [str(epoch) for epoch in norms.epochs[::every]])


def _mark(norm: float | None) -> str:
    """Return the text of a cell without a color."""
    return "×" if norm is None else "–" if norm == FROZEN_MARKER else "0" if norm == 0 else ""


def _flow_caption(shown: Sequence[tuple[PlottedRun, GradientNorms]], arms: int) -> Message:
    """Return how to read the panels."""
    parts = [
        ngettext(
            "The norm of ∂L/∂h at the output h of each block, input at the top, on 8 fixed training images, in one "
            "run.",
            "The norm of ∂L/∂h at the output h of each block, input at the top, on 8 fixed training images, in one run "
            "of each of {count} arms.",
            len(shown),
        ),
        _("Epoch 0 is before the first step. The colors are on one logarithmic scale."),
    ]
    marks = {_mark(norm) for _run, norms in shown for of_epoch in norms.norms for norm in of_epoch}
    parts += [_("×: not finite.")] if "×" in marks else []
    parts += [_("–: everything up to the block is frozen.")] if "–" in marks else []
    if more := arms - len(shown):
        parts.append(ngettext("{count} more arm is not drawn.", "{count} more arms are not drawn.", more))
    return join(parts)
