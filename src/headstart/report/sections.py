"""Sections of the page about the result: difference, accuracy of the arms, and conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.headline import headline_contrast
from headstart.analysis.statistics import t_interval
from headstart.analysis.wording import arm_words, length_words, metric_words, named_words, splits
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import StudyInputs
from headstart.report.layout import Figure, Section, legend_entries
from headstart.report.series import mean_and_band
from headstart.report.svg import charts
from headstart.report.words import evaluated_images, metric_over, metric_percent
from headstart.storage.schemas.verdict import ArmResult, Condition, Contrast, Verdict
from headstart.text import format_level, format_points, join_list


def difference_figure(verdict: Verdict, color: Mapping[str, int]) -> Figure | None:
    """Return the contrast of the headline with its interval, its seeds and the margin; None without a contrast."""
    contrast = headline_contrast(verdict)
    if contrast is None:
        return None
    accuracy = {arm.name: {run.seed: run.test for run in arm.seeds} for arm in verdict.arms}
    first, second = accuracy[contrast.first], accuracy[contrast.second]
    differences = [100 * (first[seed] - second[seed]) for seed in sorted(first)]
    mean, low, high = (100 * value for value in (contrast.mean, contrast.low, contrast.high))
    row = charts.IntervalRow("", color[contrast.first], mean, low, high, differences)
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
    rows = [[str(seed), f"{value:+.1f}"] for seed, value in zip(sorted(first), differences, strict=True)]
    header = [_("seed"), _("difference in percentage points")]
    return Figure(chart, _difference_caption(verdict, contrast), header, rows)


def _difference_caption(verdict: Verdict, contrast: Contrast) -> Message:
    """Return how to read the figure of a contrast."""
    marks = ngettext(
        "Large dot: mean difference. Bar: {level} interval. Small dots: the {count} paired seed. Shaded: the "
        "equivalence margin of ±{margin} percentage points.",
        "Large dot: mean difference. Bar: {level} interval. Small dots: the {count} paired seeds. Shaded: the "
        "equivalence margin of ±{margin} percentage points.",
        contrast.n,
        level=format_level(contrast.level),
        margin=format_points(verdict.margin),
    )
    images = ngettext("{count} {split} image.", "{count} {split} images.", contrast.m, split=splits(verdict)[1])
    return join([marks, images])


def arms_section(inputs: StudyInputs) -> Section:
    """Return the accuracy of each arm, with all seeds."""
    verdict, color = inputs.verdict, inputs.color
    rows, table = [], []
    ranked = sorted(verdict.arms, key=lambda arm: -arm.test)
    for arm in ranked:
        values = [100 * run.test for run in arm.seeds]
        several = len(values) > 1
        mean = 100 * arm.test
        low, high = t_interval(values) if several else (mean, mean)
        low, high = max(low, 0.0), min(high, 100.0)  # accuracies are within 0 to 100 %
        interval = _("{low:.1f} to {high:.1f}", low=low, high=high) if several else "–"
        rows.append(
            charts.IntervalRow(arm_words(arm.spec), color[arm.name], mean, low, high, values,
                               arm.name == verdict.selected)
        )  # fmt: skip
        table.append([arm_words(arm.spec), f"{mean:.1f}", interval,
                      ", ".join(f"{value:.1f}" for value in values), f"{100 * arm.val:.1f}"])  # fmt: skip
    metric = metric_words(verdict)
    finding = _ranking_words(ranked[0], ranked[-1])
    unit = _("{metric} on {images}, %", metric=metric, images=evaluated_images(verdict))
    chart = charts.intervals(rows, unit=unit, label=finding)
    caption = _("Dot: the only seed. One seed gives no interval.")
    if verdict.n > 1:
        caption = _(
            "Small dots: each of the {count} seeds. Large dot and bar: the mean with its 95 % t interval over "
            "seeds. Differences between arms are paired and have their own intervals, above.",
            count=verdict.n,
        )
    selection = _("{split}, %", split=splits(verdict)[0])
    header = [_("arm"), _("mean, %"), _("95 % over seeds"), _("seeds, %"), selection]
    others = [_("{sentence}.", sentence=sentence) for sentence in inputs.sentences.others]
    return Section(finding, [Figure(chart, caption, header, table)], others)


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
            arm=named_words(condition, condition.selected),
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
