"""What the page says, in its order: each section asks one question, is titled by what was found, and has its numbers.

A section is plain values and charts; `page.html` lays them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup
from scipy import stats

from headstart.analysis.headline import headline_contrast
from headstart.analysis.wording import arm_words, judged, length_words, metric_words, splits
from headstart.report.series import PlottedRun, mean_and_band
from headstart.report.svg import charts
from headstart.text import capitalize, join_list, level_words, points

MOST_COLOURS = 6
GREY, BLUE = 0, 1  # scratch, the arm that val chose


@dataclass(frozen=True)
class Figure:
    """A chart, a line on how to read it, and its numbers as a table: a head and rows."""

    chart: Markup
    how: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    choice: str = ""  # what this one is called where several take turns
    legend: Sequence[tuple[str, int]] = ()  # names and colours of lines, for where there is no room at their ends


@dataclass(frozen=True)
class Section:
    """One question and its answer. Several figures take turns, by their `choice`; `lead` is said before them."""

    anchor: str
    question: str
    finding: str
    figures: Sequence[Figure] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)
    lead: Sequence[str] = field(default_factory=tuple)


def legend(series: Sequence[charts.Series]) -> list[tuple[str, int]]:
    """The lines that have a name, with their colours."""
    return [(one.name, one.colour) for one in series if one.name]


def colours(arms: Sequence[str], chosen: str) -> dict[str, int]:
    """Grey for the first arm from scratch, blue for what val chose, others in turn; a colour comes again after six."""
    found: dict[str, int] = {}
    free = 2
    for arm in arms:
        if arm == chosen:
            found[arm] = BLUE
        elif arm.startswith("scratch") and GREY not in found.values():
            found[arm] = GREY
        else:
            found[arm] = free
            free = free + 1 if free + 1 < MOST_COLOURS else 2
    return found


def difference(verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Figure | None:
    """The contrast of the headline as a picture: its interval, its seeds, the zone of the tie."""
    seen = headline_contrast(verdict)
    if seen is None:
        return None
    of = {arm["name"]: {run["seed"]: run["test"] for run in arm["seeds"]} for arm in verdict["arms"]}
    one, other = of[seen["first"]], of[seen["second"]]
    seeds = [100 * (one[seed] - other[seed]) for seed in sorted(one)]
    row = charts.Row("", colour[seen["first"]], 100 * seen["mean"], 100 * seen["low"], 100 * seen["high"], seeds)
    words = f"{arm_words(seen['first'])} minus {arm_words(seen['second'])}"
    label = f"{words}: {points(seen['mean'], signed=True)} points, from {points(seen['low'])} to {points(seen['high'])}"
    chart = charts.intervals([row], unit=f"points, {words}", label=label, margin=100 * verdict["margin"], zero=True)
    how = (
        f"Large dot: the mean difference; bar: its {level_words(seen['level'])} interval; small dots: the {seen['n']} "
        f"paired seeds; shaded: ±{points(verdict['margin'])}, inside which arms are practically equal. "
        f"{seen['m']} {judged(verdict)}."
    )
    rows = [[str(seed), f"{value:+.1f}"] for seed, value in zip(sorted(one), seeds, strict=True)]
    return Figure(chart, how, ["seed", "difference in points"], rows)


def arms(verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Section:
    """Accuracy of each arm, with every seed."""
    rows, table = [], []
    for arm in sorted(verdict["arms"], key=lambda arm: -arm["test"]):
        values = [100 * run["test"] for run in arm["seeds"]]
        several = len(values) > 1
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if several else 0.0
        mean = 100 * arm["test"]
        low, high = max(mean - half, 0.0), min(mean + half, 100.0)  # no accuracy lies beyond
        interval = f"{low:.1f} to {high:.1f}" if several else "–"
        rows.append(
            charts.Row(arm_words(arm["name"]), colour[arm["name"]], mean, low, high, values,
                       arm["name"] == verdict["chosen"])
        )  # fmt: skip
        table.append([arm_words(arm["name"]), f"{mean:.1f}", interval,
                      ", ".join(f"{value:.1f}" for value in values), f"{100 * arm['val']:.1f}"])  # fmt: skip
    best, worst = rows[0], rows[-1]
    images, metric = f"{verdict['evaluation']['images']} {judged(verdict)}", metric_words(verdict)
    finding = (
        f"{capitalize(best.name)} has the highest mean, {best.mean:.1f} %; {worst.name} the lowest, {worst.mean:.1f} %"
    )
    if f"{best.mean:.1f}" == f"{worst.mean:.1f}":
        finding = f"Every arm has a mean of {best.mean:.1f} %"
    chart = charts.intervals(rows, unit=f"{metric} on {images}, %", label=finding)
    how = (
        f"Small dots: each of the {verdict['n']} seeds; large dot and bar: the mean with its 95 % t interval over "
        "seeds (differences between arms are paired and have their own intervals, above)."
    )
    if verdict["n"] == 1:
        how = "Dot: the one seed, of which no interval can be told."
    head = ["arm", "mean, %", "95 % over seeds", "seeds, %", f"{splits(verdict)[0]}, %"]
    others = [f"{text[0].upper()}{text[1:]}." for text in verdict["sentences"].get("others", ())]
    return Section("arms", "How good is each arm?", finding, [Figure(chart, how, head, table)], others)


def conditions(verdict: Mapping[str, Any], colour: Mapping[str, int]) -> list[Section]:
    """Every budget and every share of the labels that was asked for: a chart for each of the two questions."""
    every = [*verdict["conditions"], verdict]
    metric = metric_words(verdict)
    how = (
        "Thin: each seed; thick: the mean, with its pointwise 95 % t interval over seeds"
        if verdict["n"] > 1
        else "The one seed of each arm"
    ) + f"; {metric} on {verdict['evaluation']['images']} {judged(verdict)}."
    found = []
    by_share = [one for one in every if one["budget"] == verdict["budget"]]
    if len(by_share) > 1:
        xs = [float(one["counts"]["train"]) for one in by_share]
        figure = _over(xs, by_share, colour, metric, "training photos", how)
        finding = verdict["sentences"].get("labels") or f"From {xs[0]:.0f} to {xs[-1]:.0f} training photos"
        found.append(Section("labels", "How many labels does it need?", finding, [figure]))
    by_budget = [one for one in every if one["fraction"] == verdict["fraction"]]
    if len(by_budget) > 1:
        xs = [sum(run["images"] for arm in one["arms"] for run in arm["seeds"]) for one in by_budget]
        runs = [sum(len(arm["seeds"]) for arm in one["arms"]) for one in by_budget]
        means = [images / count for images, count in zip(xs, runs, strict=True)]
        figure = _over(means, by_budget, colour, metric, "training images of a run", how)
        led = [f"{arm_words(one['chosen'])} after {length_words(one['budget'])}" for one in by_budget]
        finding = f"Ahead on {splits(verdict)[0]}: {join_list(led)}"
        found.append(Section("budgets", "Does it depend on how long one trains?", finding, [figure]))
    return found


def _over(
    xs: Sequence[float],
    conditions: Sequence[Mapping[str, Any]],
    colour: Mapping[str, int],
    metric: str,
    x: str,
    how: str,
) -> Figure:
    """Accuracy of each arm over conditions, which lie at `xs` on a logarithmic axis."""
    series, table = [], []
    for name in (arm["name"] for arm in conditions[-1]["arms"]):
        by_seed: dict[int, list[tuple[float, float]]] = {}
        for at, one in zip(xs, conditions, strict=True):
            for run in next(arm for arm in one["arms"] if arm["name"] == name)["seeds"]:
                by_seed.setdefault(run["seed"], []).append((at, 100 * run["test"]))
        paths = [path for path in by_seed.values() if len(path) == len(xs)]
        mean, band = mean_and_band(paths)
        series.append(charts.Series(arm_words(name), colour[name], paths, mean, band))
        table += [[arm_words(name), f"{at:,.0f}", f"{value:.1f}"] for at, value in mean]
    chart = charts.curves(
        series, x=x, y=f"{metric}, %", label=f"{capitalize(metric)} over {x}", log_x=True, shares=True
    )
    return Figure(chart, how, ["arm", x, f"{metric}, %"], table, legend=legend(series))


def by_arm(runs: Sequence[PlottedRun], verdict: Mapping[str, Any]) -> dict[str, list[PlottedRun]]:
    """Runs of the verdict's condition, by arm in the declared order."""
    of_verdict = {run["run"] for arm in verdict["arms"] for run in arm["seeds"]}
    found: dict[str, list[PlottedRun]] = {arm["name"]: [] for arm in verdict["arms"]}
    for run in runs:
        if run.run.folder.name in of_verdict:
            found[run.arm].append(run)
    return found
