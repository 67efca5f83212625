"""Sections of the page about the result: difference, accuracy of the arms, and conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.headline import headline_contrast
from headstart.analysis.statistics import t_interval
from headstart.analysis.wording import arm_words, counted_images, length_words, metric_words, named_words, splits
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import StudyInputs
from headstart.report.layout import Figure, Section, legend_entries
from headstart.report.series import mean_and_band
from headstart.report.svg import charts
from headstart.report.words import evaluated_images, metric_over, metric_percent
from headstart.storage.schemas.contrast import Contrast
from headstart.storage.schemas.verdict import ArmResult, Condition, Verdict
from headstart.text import format_level, format_points, join_list


def difference_figure(verdict: Verdict, color: Mapping[str, int]) -> Figure | None:
    """Return the contrast of the headline with its interval, its seeds and the margin; None without a contrast."""
    contrast = headline_contrast(verdict)
    if contrast is None:
        return None
    row = contrast_row(verdict, contrast, color[contrast.first])
    arms = {"first": named_words(verdict, contrast.first), "second": named_words(verdict, contrast.second)}
    label = _(
        "{first} minus {second}: {difference} percentage points, from {low} to {high}",
        difference=format_points(contrast.mean, signed=True),
        low=format_points(contrast.low),
        high=format_points(contrast.high),
        **arms,
    )
    unit = _("percentage points, {first} minus {second}", **arms)
    chart = charts.intervals([row], unit=unit, label=label, margin=100 * verdict.margin, zero=True)
    seeds = sorted(run.seed for run in verdict.arm(contrast.first).seeds)
    rows = [[str(seed), f"{value:+.1f}"] for seed, value in zip(seeds, row.dots, strict=True)]
    header = [_("seed"), _("difference in percentage points")]
    return Figure(chart, contrast_caption(verdict, [contrast]), header, rows)


def contrast_row(condition: Condition, contrast: Contrast, color: int) -> charts.IntervalRow:
    """Return a contrast in percentage points with its interval, and the difference of each seed in ascending order."""
    first, second = ({run.seed: run.test for run in condition.arm(name).seeds}
                     for name in (contrast.first, contrast.second))  # fmt: skip
    differences = [100 * (first[seed] - second[seed]) for seed in sorted(first)]
    return charts.IntervalRow("", color, 100 * contrast.mean, 100 * contrast.low, 100 * contrast.high, differences)


def contrast_caption(verdict: Verdict, contrasts: Sequence[Contrast]) -> Message:
    """Return how to read the figure of one contrast or more, which have the same seeds and images."""
    contrast = contrasts[0]
    levels = dict.fromkeys(format_level(level) for level in sorted({contrast.level for contrast in contrasts}))
    marks = ngettext(
        "Large dot: mean difference. Bar: {level} interval. Small dots: the {count} paired seed. Shaded: the "
        "equivalence margin of ±{margin} percentage points.",
        "Large dot: mean difference. Bar: {level} interval. Small dots: the {count} paired seeds. Shaded: the "
        "equivalence margin of ±{margin} percentage points.",
        contrast.n,
        level=join_list(levels),
        margin=format_points(verdict.margin),
    )
    images = counted_images(contrast.m, contrast.g, splits(verdict)[1])
    return join([marks, _("{images}.", images=images)])


def arms_section(inputs: StudyInputs) -> Section:
    """Return the accuracy of each arm, with all seeds."""
    verdict, color = inputs.verdict, inputs.color
    ranked = ranked_arms(verdict)
    rows = [arm_row(arm, color[arm.name], selected=arm.name == verdict.selected) for arm in ranked]
    table = []
    for arm, row in zip(ranked, rows, strict=True):
        several = len(row.dots) > 1
        interval = _("{low:.1f} to {high:.1f}", low=row.low, high=row.high) if several else "–"
        table.append([row.name, f"{row.mean:.1f}", interval, ", ".join(f"{value:.1f}" for value in row.dots),
                      f"{100 * arm.val:.1f}"])  # fmt: skip
    metric = metric_words(verdict)
    finding = _ranking_words(ranked[0], ranked[-1])
    unit = _("{metric} on {images}, %", metric=metric, images=evaluated_images(verdict))
    chart = charts.intervals(rows, unit=unit, label=finding)
    caption = arms_caption(verdict)
    if verdict.n > 1:
        caption = join([caption, _("Differences between arms are paired and have their own intervals, above.")])
    selection = _("{split}, %", split=splits(verdict)[0])
    header = [_("arm"), _("mean, %"), _("95 % over seeds"), _("seeds, %"), selection]
    others = [_("{sentence}.", sentence=sentence) for sentence in inputs.sentences.others]
    return Section(finding, [Figure(chart, caption, header, table)], others)


def ranked_arms(condition: Condition) -> list[ArmResult]:
    """Return the arms by their mean on the evaluation images, the highest first."""
    return sorted(condition.arms, key=lambda arm: -arm.test)


def arm_row(arm: ArmResult, color: int, *, selected: bool) -> charts.IntervalRow:
    """Return the accuracy of an arm in per cent: its seeds, their mean and its 95 % t interval, if it has several."""
    values = [100 * run.test for run in arm.seeds]
    mean = 100 * arm.test
    low, high = t_interval(values) if len(values) > 1 else (mean, mean)
    low, high = max(low, 0.0), min(high, 100.0)  # accuracies are within 0 to 100 %
    return charts.IntervalRow(arm_words(arm.spec), color, mean, low, high, values, selected)


def arms_caption(condition: Condition) -> Message:
    """Return how to read the accuracies of the arms."""
    if condition.n == 1:
        return _("Dot: the only seed. One seed gives no interval.")
    return _(
        "Small dots: each of the {count} seeds. Large dot and bar: the mean with its 95 % t interval over seeds.",
        count=condition.n,
    )


def _ranking_words(best: ArmResult, worst: ArmResult) -> Message:
    """Return the arms with the highest and the lowest mean."""
    high, low = 100 * best.test, 100 * worst.test
    if f"{high:.1f}" == f"{low:.1f}":
        return _("Every arm has a mean of {accuracy:.1f} %", accuracy=high)
    return _(
        "{best} has the highest mean, {highest:.1f} %; {worst} the lowest, {lowest:.1f} %",
        best=arm_words(best.spec),
        highest=high,
        worst=arm_words(worst.spec),
        lowest=low,
    )


def labels_section(inputs: StudyInputs) -> Section | None:
    """Return the accuracy over shares of the labels; None if the study has only one share."""
    verdict = inputs.verdict
    by_share = [condition for condition in verdict.all_conditions if condition.budget == verdict.budget]
    if len(by_share) < 2:
        return None
    xs = [float(condition.counts.train) for condition in by_share]
    range_words = _("From {fewest:.0f} to {most:.0f} training images", fewest=xs[0], most=xs[-1])
    finding = inputs.sentences.labels or range_words
    return Section(finding, [_condition_figure(xs, by_share, inputs, _("training images"))])


def budgets_section(inputs: StudyInputs) -> Section | None:
    """Return the accuracy over budgets; None if the study has only one budget."""
    verdict = inputs.verdict
    by_budget = [condition for condition in verdict.all_conditions if condition.fraction == verdict.fraction]
    if len(by_budget) < 2:
        return None
    images = [sum(run.images for arm in condition.arms for run in arm.seeds) for condition in by_budget]
    runs = [sum(len(arm.seeds) for arm in condition.arms) for condition in by_budget]
    means = [total / count for total, count in zip(images, runs, strict=True)]
    leaders = [
        _(
            "{arm} after {length}",
            arm=named_words(condition, condition.best_on_val),
            length=length_words(condition.budget),
        )
        for condition in by_budget
    ]
    finding = _("Best on {split}: {arms}", split=splits(verdict)[0], arms=join_list(leaders))
    return Section(finding, [_condition_figure(means, by_budget, inputs, _("training images of a run"))])


def _condition_figure(xs: Sequence[float], conditions: Sequence[Condition], inputs: StudyInputs, x: Message) -> Figure:
    """Return the accuracy of each arm over conditions, at `xs` on a logarithmic axis."""
    verdict, metric = inputs.verdict, metric_words(inputs.verdict)
    lines = _("The only seed of each arm.")
    if verdict.n > 1:
        lines = _("Thin: each seed. Thick: the mean with its pointwise 95 % t interval over seeds.")
    caption = join([lines, _("{metric:cap} on {images}.", metric=metric, images=evaluated_images(verdict))])
    series, table = [], []
    for name in (arm.name for arm in conditions[-1].arms):
        by_seed: dict[int, list[tuple[float, float]]] = {}
        for value, condition in zip(xs, conditions, strict=True):
            for run in condition.arm(name).seeds:
                by_seed.setdefault(run.seed, []).append((value, 100 * run.test))
        paths = [path for path in by_seed.values() if len(path) == len(xs)]
        mean, band = mean_and_band(paths)
        series.append(charts.Series(named_words(conditions[-1], name), inputs.color[name], paths, mean, band))
        table += [[named_words(conditions[-1], name), f"{value:,.0f}", f"{accuracy:.1f}"] for value, accuracy in mean]
    percent = metric_percent(metric)
    chart = charts.curves(series, x=x, y=percent, label=metric_over(metric, x), log_x=True, shares=True)
    return Figure(chart, caption, [_("arm"), x, percent], table, legend=legend_entries(series))
