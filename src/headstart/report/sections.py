"""Sections of the page about the result: difference, accuracy of the arms, and conditions.

A section answers one question; its title is the answer. It holds plain values and charts, which `page.html` lays out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from headstart.analysis.headline import headline_contrast
from headstart.analysis.statistics import t_interval
from headstart.analysis.wording import arm_words, evaluation_images, length_words, metric_words, named_words, splits
from headstart.config.start_spec import start_row
from headstart.report.series import PlottedRun, mean_and_band
from headstart.report.svg import charts
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.verdict import Condition, Verdict
from headstart.text import capitalize, format_level, format_points, join_list

COLOR_COUNT = 6
GRAY, BLUE = 0, 1  # the first arm from scratch, and the selected arm


@dataclass(frozen=True)
class Figure:
    """A chart with its caption and its numbers.

    Args:
        chart: SVG markup.
        caption: How to read the chart, and on how many runs and images it rests.
        header: Column names of the table of numbers.
        rows: Rows of this table.
        choice: Name of the figure if the section has several, of which the reader selects one.
        legend: Names and colors of the lines, for screens on which they have no names at their ends.
    """

    chart: Markup
    caption: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    choice: str = ""
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Section:
    """One question and its answer.

    Args:
        anchor: Identifier in the page.
        question: Question in the table of contents.
        finding: Answer, the title of the section.
        figures: Figures; the reader selects one by its `choice` if there are several.
        notes: Sentences after the figures.
        lead: Sentences before the figures.
    """

    anchor: str
    question: str
    finding: str
    figures: Sequence[Figure] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)
    lead: Sequence[str] = field(default_factory=tuple)


def legend_entries(series: Sequence[charts.Series]) -> list[tuple[str, int]]:
    """Return the names and colors of the named lines."""
    return [(line.name, line.color) for line in series if line.name]


def arm_colors(arms: Sequence[ArmSpec], selected: str) -> dict[str, int]:
    """Return the color of each arm, by name.

    The first arm from scratch is gray, the arm `selected` on val is blue. The others take the remaining colors, which
    repeat after the last of `COLOR_COUNT`.
    """
    color: dict[str, int] = {}
    free = 2
    for arm in arms:
        if arm.name == selected:
            color[arm.name] = BLUE
        elif start_row(arm.start).from_scratch and GRAY not in color.values():
            color[arm.name] = GRAY
        else:
            color[arm.name] = free
            free = free + 1 if free + 1 < COLOR_COUNT else 2
    return color


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


def arms_section(verdict: Verdict, color: Mapping[str, int]) -> Section:
    """Return the accuracy of each arm, with all seeds."""
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
    return Section("arms", "How accurate is each arm?", finding, [Figure(chart, caption, header, table)], others)


def condition_sections(verdict: Verdict, color: Mapping[str, int]) -> list[Section]:
    """Return a section over shares of the labels and one over budgets, each if the study has several of them."""
    conditions = verdict.all_conditions
    metric = metric_words(verdict)
    caption = (
        "Thin: each seed. Thick: the mean with its pointwise 95 % t interval over seeds."
        if verdict.n > 1
        else "The only seed of each arm."
    ) + f" {capitalize(metric)} on {verdict.evaluation.images} {evaluation_images(verdict)}."
    sections = []
    by_share = [condition for condition in conditions if condition.budget == verdict.budget]
    if len(by_share) > 1:
        xs = [float(condition.counts["train"]) for condition in by_share]
        figure = _condition_figure(xs, by_share, color, metric, "training images", caption)
        finding = verdict.sentences.labels or f"From {xs[0]:.0f} to {xs[-1]:.0f} training images"
        sections.append(Section("labels", "How many labels are needed?", finding, [figure]))
    by_budget = [condition for condition in conditions if condition.fraction == verdict.fraction]
    if len(by_budget) > 1:
        images = [sum(run.images for arm in condition.arms for run in arm.seeds) for condition in by_budget]
        runs = [sum(len(arm.seeds) for arm in condition.arms) for condition in by_budget]
        means = [total / count for total, count in zip(images, runs, strict=True)]
        figure = _condition_figure(means, by_budget, color, metric, "training images of a run", caption)
        leaders = [
            f"{named_words(condition, condition.selected)} after {length_words(condition.budget)}"
            for condition in by_budget
        ]
        finding = f"Best on {splits(verdict)[0]}: {join_list(leaders)}"
        sections.append(Section("budgets", "Does the result depend on the training length?", finding, [figure]))
    return sections


def _condition_figure(
    xs: Sequence[float],
    conditions: Sequence[Condition],
    color: Mapping[str, int],
    metric: str,
    x: str,
    caption: str,
) -> Figure:
    """Return the accuracy of each arm over conditions, at `xs` on a logarithmic axis."""
    series, table = [], []
    for name in (arm.name for arm in conditions[-1].arms):
        by_seed: dict[int, list[tuple[float, float]]] = {}
        for value, condition in zip(xs, conditions, strict=True):
            for run in condition.arm(name).seeds:
                by_seed.setdefault(run.seed, []).append((value, 100 * run.test))
        paths = [path for path in by_seed.values() if len(path) == len(xs)]
        mean, band = mean_and_band(paths)
        series.append(charts.Series(named_words(conditions[-1], name), color[name], paths, mean, band))
        table += [[named_words(conditions[-1], name), f"{value:,.0f}", f"{accuracy:.1f}"] for value, accuracy in mean]
    chart = charts.curves(
        series, x=x, y=f"{metric}, %", label=f"{capitalize(metric)} over {x}", log_x=True, shares=True
    )
    return Figure(chart, caption, ["arm", x, f"{metric}, %"], table, legend=legend_entries(series))


def group_by_arm(runs: Sequence[PlottedRun], verdict: Verdict) -> dict[str, list[PlottedRun]]:
    """Return the runs of the verdict's condition by arm, in the declared order."""
    of_verdict = {run.run for arm in verdict.arms for run in arm.seeds}
    groups: dict[str, list[PlottedRun]] = {arm.name: [] for arm in verdict.arms}
    for run in runs:
        if run.run.folder.name in of_verdict:
            groups[run.arm].append(run)
    return groups
