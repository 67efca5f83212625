"""Sections of the page about the result: difference, accuracy of the arms, and conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.headline import headline_contrast
from headstart.analysis.statistics import t_interval
from headstart.analysis.wording import arm_words, evaluation_images, length_words, metric_words, named_words, splits
from headstart.report.inputs import StudyInputs
from headstart.report.layout import Figure, Section, legend_entries
from headstart.report.series import mean_and_band
from headstart.report.svg import charts
from headstart.storage.schemas.verdict import Condition, Verdict
from headstart.text import capitalize, format_level, format_points, join_list


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
    words = f"{named_words(verdict, contrast.first)} minus {named_words(verdict, contrast.second)}"
    limits = f"from {format_points(contrast.low)} to {format_points(contrast.high)}"
    label = f"{words}: {format_points(contrast.mean, signed=True)} percentage points, {limits}"
    margin = 100 * verdict.margin
    chart = charts.intervals([row], unit=f"percentage points, {words}", label=label, margin=margin, zero=True)
    caption = (
        f"Large dot: mean difference. Bar: {format_level(contrast.level)} interval. Small dots: the {contrast.n} "
        f"paired seeds. Shaded: the equivalence margin of ±{format_points(verdict.margin)} percentage points. "
        f"{contrast.m} {evaluation_images(verdict)}."
    )
    rows = [[str(seed), f"{value:+.1f}"] for seed, value in zip(sorted(first), differences, strict=True)]
    return Figure(chart, caption, ["seed", "difference in percentage points"], rows)


def arms_section(inputs: StudyInputs) -> Section:
    """Return the accuracy of each arm, with all seeds."""
    verdict, color = inputs.verdict, inputs.color
    rows, table = [], []
    for arm in sorted(verdict.arms, key=lambda arm: -arm.test):
        values = [100 * run.test for run in arm.seeds]
        several = len(values) > 1
        mean = 100 * arm.test
        low, high = t_interval(values) if several else (mean, mean)
        low, high = max(low, 0.0), min(high, 100.0)  # accuracies are within 0 to 100 %
        interval = f"{low:.1f} to {high:.1f}" if several else "–"
        rows.append(
            charts.IntervalRow(arm_words(arm.spec), color[arm.name], mean, low, high, values,
                               arm.name == verdict.selected)
        )  # fmt: skip
        table.append([arm_words(arm.spec), f"{mean:.1f}", interval,
                      ", ".join(f"{value:.1f}" for value in values), f"{100 * arm.val:.1f}"])  # fmt: skip
    best, worst = rows[0], rows[-1]
    images, metric = f"{verdict.evaluation.images} {evaluation_images(verdict)}", metric_words(verdict)
    finding = (
        f"{capitalize(best.name)} has the highest mean, {best.mean:.1f} %; {worst.name} the lowest, {worst.mean:.1f} %"
    )
    if f"{best.mean:.1f}" == f"{worst.mean:.1f}":
        finding = f"Every arm has a mean of {best.mean:.1f} %"
    chart = charts.intervals(rows, unit=f"{metric} on {images}, %", label=finding)
    caption = (
        f"Small dots: each of the {verdict.n} seeds. Large dot and bar: the mean with its 95 % t interval over "
        "seeds. Differences between arms are paired and have their own intervals, above."
    )
    if verdict.n == 1:
        caption = "Dot: the only seed. One seed gives no interval."
    header = ["arm", "mean, %", "95 % over seeds", "seeds, %", f"{splits(verdict)[0]}, %"]
    others = [f"{text[0].upper()}{text[1:]}." for text in verdict.sentences.others]
    return Section(finding, [Figure(chart, caption, header, table)], others)


def labels_section(inputs: StudyInputs) -> Section | None:
    """Return the accuracy over shares of the labels; None if the study has only one share."""
    verdict = inputs.verdict
    by_share = [condition for condition in verdict.all_conditions if condition.budget == verdict.budget]
    if len(by_share) < 2:
        return None
    xs = [float(condition.counts["train"]) for condition in by_share]
    finding = verdict.sentences.labels or f"From {xs[0]:.0f} to {xs[-1]:.0f} training images"
    return Section(finding, [_condition_figure(xs, by_share, inputs, "training images")])


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
        f"{named_words(condition, condition.selected)} after {length_words(condition.budget)}"
        for condition in by_budget
    ]
    finding = f"Best on {splits(verdict)[0]}: {join_list(leaders)}"
    return Section(finding, [_condition_figure(means, by_budget, inputs, "training images of a run")])


def _condition_figure(xs: Sequence[float], conditions: Sequence[Condition], inputs: StudyInputs, x: str) -> Figure:
    """Return the accuracy of each arm over conditions, at `xs` on a logarithmic axis."""
    verdict, metric = inputs.verdict, metric_words(inputs.verdict)
    caption = (
        "Thin: each seed. Thick: the mean with its pointwise 95 % t interval over seeds."
        if verdict.n > 1
        else "The only seed of each arm."
    ) + f" {capitalize(metric)} on {verdict.evaluation.images} {evaluation_images(verdict)}."
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
    chart = charts.curves(
        series, x=x, y=f"{metric}, %", label=f"{capitalize(metric)} over {x}", log_x=True, shares=True
    )
    return Figure(chart, caption, ["arm", x, f"{metric}, %"], table, legend=legend_entries(series))
