"""The verdict: accuracy of each arm on the evaluation images, and the contrasts with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from headstart.analysis.wording import metric_words, named_words, splits
from headstart.figures.canvas import LINE_IN, MAX_HEIGHT_IN, ArmStyle, DrawnFigure, new_figure, plain_ticks
from headstart.figures.fonts import Typeface
from headstart.figures.groups import arm_styles
from headstart.figures.labels import fit_names, line_count
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.sections import arm_row, arms_caption, contrast_caption, contrast_row, ranked_arms
from headstart.report.svg.charts import IntervalRow
from headstart.report.words import evaluated_images
from headstart.storage.schemas.contrast import Contrast
from headstart.storage.schemas.verdict import Verdict
from headstart.text import format_points

MAX_CONTRASTS = 12  # of one figure
NAME_IN, ROW_IN = 2.1, 0.27  # largest width of a name, and least height of a row
ROW_GAP_IN, AROUND_IN = 0.08, 0.45  # between the names of two rows, and around the rows of a panel
PAIR_IN = 2 * LINE_IN + ROW_GAP_IN  # height of the row of a contrast
SEED_OFFSET, SEED_STEP, MAX_SEED_STEPS = 0.24, 0.09, 3  # of the dots of seeds below their mean, in rows
SAME_DOT = 1e-9  # difference below which two dots coincide
CONTRAST_STYLE = ArmStyle("black", "-", "o")


def verdict_figure(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw the accuracy of each arm and the contrasts; None without a verdict."""
    if not isinstance(inputs, StudyInputs):
        return None
    verdict, styles = inputs.verdict, arm_styles(inputs)
    ranked = ranked_arms(verdict)
    rows = [arm_row(arm, 0, selected=arm.name == verdict.selected) for arm in ranked]
    names = fit_names([typeface.drawable(row.name) for row in rows], NAME_IN, bold=True)
    contrasts = shown_contrasts(verdict, int((MAX_HEIGHT_IN - _height(names) - AROUND_IN) / PAIR_IN))
    pairs = _pair_names(verdict, contrasts, typeface)
    heights = [_height(names), *([_height(pairs)] if pairs else [])]
    figure = new_figure(sum(heights))
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights).flat
    _draw_rows(axes[0], rows, names, [styles[arm.name] for arm in ranked], [f"{row.mean:.1f}" for row in rows])
    axes[0].set_xlabel(
        typeface.drawable(
            _("{metric} on {images}, %", metric=metric_words(verdict), images=evaluated_images(verdict))
        )
    )  # fmt: skip
    if contrasts:
        _draw_contrasts(axes[1], verdict, contrasts, pairs)
        axes[1].set_xlabel(typeface.drawable(_("difference, percentage points")))
    return DrawnFigure(figure, _("Accuracy of the arms and their differences"), _caption(verdict, contrasts))


def shown_contrasts(verdict: Verdict, fitting: int) -> list[Contrast]:
    """Return the primary contrast, those of the selected arm, and the others: at most `fitting`, and at least one."""
    ordered = sorted(
        verdict.contrasts, key=lambda contrast: (not contrast.primary, verdict.selected not in contrast.pair)
    )
    return ordered[: max(1, min(fitting, MAX_CONTRASTS))]


def _pair_names(verdict: Verdict, contrasts: Sequence[Contrast], typeface: Typeface) -> list[str]:
    """Return the two arms of each contrast on two lines."""
    arms = list(dict.fromkeys(name for contrast in contrasts for name in (contrast.first, contrast.second)))
    lines = fit_names(
        [typeface.drawable(named_words(verdict, arm)) for arm in arms], NAME_IN - 0.15, lines=1, bold=True
    )
    short = dict(zip(arms, lines, strict=True))
    return [f"{short[contrast.first]}\n\N{MINUS SIGN} {short[contrast.second]}" for contrast in contrasts]


def _height(names: Sequence[str]) -> float:
    """Return the height of a panel with these names, in inches."""
    return len(names) * max(ROW_IN, line_count(names) * LINE_IN + ROW_GAP_IN) + AROUND_IN


def _draw_contrasts(axes: Axes, verdict: Verdict, contrasts: Sequence[Contrast], names: Sequence[str]) -> None:
    rows = [contrast_row(verdict, contrast, 0) for contrast in contrasts]
    margin = 100 * verdict.margin
    axes.axvspan(-margin, margin, color="0.87", linewidth=0.0, zorder=1)
    axes.axvline(0.0, color="black", linewidth=0.6, zorder=2)
    values = [
        f"{format_points(contrast.mean, signed=True)} [{format_points(contrast.low)}, {format_points(contrast.high)}]"
        for contrast in contrasts
    ]
    values = [value.replace("-", "\N{MINUS SIGN}") for value in values]
    _draw_rows(axes, rows, names, [CONTRAST_STYLE] * len(rows), values, [contrast.primary for contrast in contrasts])


def _draw_rows(
    axes: Axes,
    rows: Sequence[IntervalRow],
    names: Sequence[str],
    styles: Sequence[ArmStyle],
    values: Sequence[str],
    strong: Sequence[bool] = (),
) -> None:
    """Draw intervals with their means and seeds, the first row at the top.

    Args:
        axes: Panel.
        rows: Intervals.
        names: Names of the rows as they are drawn.
        styles: Styles of the dots of the rows.
        values: Texts at the right end of the rows.
        strong: Rows with a name in bold type. Default: those that the rows name.
    """
    strong = strong or [row.strong for row in rows]
    for place, (row, arm) in enumerate(zip(rows, styles, strict=True)):
        axes.plot(
            [row.low, row.high], [place, place], color="black", linewidth=1.0, label=f"_interval {place}", zorder=3
        )
        axes.plot([row.mean], [place], color=arm.color, marker=arm.marker, markersize=5.5, markeredgecolor="black",
                  markeredgewidth=0.5, label=f"_mean {place}", zorder=4)  # fmt: skip
        heights = [place + offset for offset in _seed_offsets(row.dots)]
        axes.plot(row.dots, heights, linestyle="", marker="o", markersize=2.6, markerfacecolor="white",
                  markeredgecolor="black", markeredgewidth=0.5, label=f"_seeds {place}", zorder=4)  # fmt: skip
        axes.annotate(values[place], (1.0, place), xycoords=("axes fraction", "data"), xytext=(4, 0),
                      textcoords="offset points", va="center", ha="left")  # fmt: skip
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), names)
    for label, is_strong in zip(axes.get_yticklabels(), strong, strict=True):
        label.set_fontweight("bold" if is_strong else "normal")
    axes.tick_params("y", length=0)
    axes.grid(visible=False, axis="y")
    plain_ticks(axes.xaxis, count=7)


def _seed_offsets(dots: Sequence[float]) -> list[float]:
    """Return the distances of the dots from their row; dots with equal values are below each other."""
    offsets = []
    for place, dot in enumerate(dots):
        equal = sum(abs(dot - other) < SAME_DOT for other in dots[:place])
        offsets.append(SEED_OFFSET + SEED_STEP * min(equal, MAX_SEED_STEPS))
    return offsets


def _caption(verdict: Verdict, contrasts: Sequence[Contrast]) -> Message:
    """Return how to read both panels, with the numbers of seeds and images."""
    selected = _("Bold: the arm that was selected on {split}.", split=splits(verdict)[0])
    if not contrasts:
        return join([arms_caption(verdict), _("{images}.", images=evaluated_images(verdict)), selected])
    parts = [
        _("Top: {caption}", caption=arms_caption(verdict)),
        selected,
        _("Bottom: {caption}", caption=contrast_caption(verdict, contrasts)),
        _("Bold: the primary contrast."),
    ]
    if more := len(verdict.contrasts) - len(contrasts):
        parts.append(
            ngettext("{count} more contrast is in verdict.json.", "{count} more contrasts are in verdict.json.", more)
        )
    return join(parts)
