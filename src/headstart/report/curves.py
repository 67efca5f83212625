"""How runs learn, and how soon they are good enough: curves over epochs, images and seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.analysis.wording import arm_words, metric_words, splits
from headstart.report.sections import Figure, Section, by_arm, legend
from headstart.report.series import PlottedRun, mean_and_band
from headstart.report.svg import charts
from headstart.text import capitalize, join_list, pluralize

UNITS = {"epochs": "epochs", "images": "training images", "seconds": "seconds of training"}
MOST_NAMES, MOST_ROWS = 12, 1000  # lines that each have a name, and rows of a table of loose runs


def learning(runs: Sequence[PlottedRun], verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Section:
    """Accuracy while training, on the images that choose: over epochs, images, seconds."""
    runs_of = by_arm(runs, verdict)
    (chose, judge), metric = splits(verdict), metric_words(verdict)
    figures = []
    target = 100 * verdict["target"] if verdict["target"] else None
    thick = f"Thin: each seed; thick: the mean of {verdict['n']}, with its pointwise 95 % t interval."
    thick = "Thick: the one seed." if verdict["n"] == 1 else thick + _fewer(runs_of)
    means: dict[str, list[float]] = {}
    for unit, words in UNITS.items():
        series, table = [], []
        for arm, some in runs_of.items():
            paths = [one.curve(unit, verdict["metric"]) for one in some]
            mean, band = mean_and_band(paths)
            means[arm] = [y for _, y in mean]
            series.append(charts.Series(arm_words(arm), colour[arm], paths, mean, band))
            table += [[arm_words(arm), f"{x:g}", f"{y:.1f}", str(sum(len(path) > at for path in paths))]
                      for at, (x, y) in enumerate(mean)]  # fmt: skip
        chart = charts.curves(
            series, x=words, y=f"{metric} on {chose}, %", target=target, shares=True,
            label=f"{capitalize(metric)} over {words}",
        )  # fmt: skip
        how = f"{thick} {_val_images(runs)}, {chose}, choose the epoch; the verdict rests on {judge}."
        figures.append(Figure(chart, how, ["arm", words, f"{chose}, %", "runs"], table, words, legend(series)))
    finding = f"{capitalize(arm_words(verdict['chosen']))} {_lead_words(means, verdict['chosen'], chose)}"
    return Section("curves", "How does it learn?", finding, figures)


def _val_images(runs: Sequence[PlottedRun]) -> str:
    """How many images choose, as a beginning of a sentence; they are as many in every run of a study."""
    counts = sorted({run.run.plan["facts"]["counts"].get("val", 0) for run in runs} - {0})
    return f"{join_list(f'{count:,}' for count in counts)} images" if counts else "These images"


def _fewer(runs_of: Mapping[str, Sequence[PlottedRun]]) -> str:
    """Which means are of fewer runs from some epoch on, since others ended before; "" where none is."""
    told = []
    for arm, runs in runs_of.items():
        ends = sorted(len(run.epochs) for run in runs)
        steps = [(len(ends) - at, end + 1) for at, end in enumerate(ends, 1) if end < ends[-1] and ends[at] > end]
        if steps:
            since = (f"{pluralize(left, 'run')} from epoch {epoch}" for left, epoch in steps)
            told.append(f"{arm_words(arm)} has {join_list(since)}")
    return f" Where a run ended early, the mean goes on without it: {'; '.join(told)}." if told else ""


def _lead_words(means: Mapping[str, Sequence[float]], chosen: str, chose: str) -> str:
    """At how many epochs the chosen arm's mean is the highest, of those at which there are two to compare."""
    own, others = means[chosen], [mean for arm, mean in means.items() if mean and arm != chosen]
    if own and not others:
        return "is the only arm with a curve"
    longest = max(map(len, others), default=0)
    compared = min(longest, len(own))
    ahead = sum(value > max(mean[at] for mean in others if len(mean) > at) for at, value in enumerate(own[:compared]))
    if not ahead:
        return f"is never ahead on {chose}"
    until = f", up to epoch {compared}, where {'it ends' if compared < longest else 'the others end'}"
    until = until if len(own) != longest else ""
    fewer = min(map(len, others)) + 1
    until += f" (from epoch {fewer} on against fewer arms)" if fewer <= compared else ""
    share = f" in {ahead} of {pluralize(compared, 'epoch')}" if ahead < compared else ""
    return f"is ahead on {chose}{share}{until}"


def loose(runs: Sequence[PlottedRun], colour: Mapping[str, int]) -> Section:
    """Val accuracy of runs that belong to no study, each by itself."""
    figures = []
    few, whole = len(runs) <= MOST_NAMES, sum(len(run.epochs) for run in runs) <= MOST_ROWS
    first = {run.arm: run for run in reversed(runs)}  # of many runs the first of each arm has a name
    drawn = sum(bool(run.epochs) for run in runs)
    how = f"A line for each run ({drawn})" if drawn > 1 else "The run"
    how += "." if few else ", in the colour of its arm."
    how += f" Not yet at the end of an epoch: {len(runs) - drawn} more." if drawn < len(runs) else ""
    how += f" {_val_images(runs)} of val choose the epoch."
    how += "" if whole else " The table has the last epoch of each; metrics.jsonl of a run has all."
    for unit, words in UNITS.items():
        curves = [(run, run.curve(unit, "accuracy")) for run in runs]
        series = [
            charts.Series(run.name, colour[run.arm], [], curve) if few
            else charts.Series(arm_words(run.arm) if first[run.arm] is run else "", colour[run.arm], [curve])
            for run, curve in curves
        ]  # fmt: skip
        chart = charts.curves(series, x=words, y="val accuracy, %", label=f"Val accuracy over {words}", shares=True)
        table = [[run.name, f"{x:g}", f"{y:.1f}"] for run, curve in curves for x, y in (curve if whole else curve[-1:])]
        figures.append(Figure(chart, how, ["run", words, "val, %"], table, words, legend(series)))
    finished = sum(bool(run.run.result) for run in runs)
    finding = f"{finished} of {len(runs)} runs have come to their end"
    if len(runs) == 1:
        finding = best_epoch(runs[0])
    if not any(run.epochs for run in runs):
        finding, figures = "No run has come to the end of an epoch", []
    return Section("curves", "How does it learn?", finding, figures)


def best_epoch(run: PlottedRun) -> str:
    """The epoch with the highest accuracy on val, the first of equal ones, among those that there are."""
    at, best = max(run.curve("epochs", "accuracy"), key=lambda point: (point[1], -point[0]), default=(0, 0.0))
    return f"Epoch {at:g} of {len(run.epochs)} has the highest val accuracy, {best:.1f} %"


def target(runs: Sequence[PlottedRun], verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Section | None:
    """When runs passed the target on val; those that never did are shown where they ended."""
    if not verdict["target"]:
        return None
    figures = []
    images = f"{_val_images(runs)} of {splits(verdict)[0]}".replace("These images", "the images")
    for unit, words in UNITS.items():
        rows, table = [], []
        for arm in verdict["arms"]:
            got = [run["to_target"][unit] for run in arm["seeds"] if run["to_target"]]
            never = [run[unit] for run in arm["seeds"] if not run["to_target"]]
            median = arm["to_target"][unit]["median"]
            rows.append(charts.Event(arm_words(arm["name"]), colour[arm["name"]], got, never, median))
            table.append([arm_words(arm["name"]), "not reached" if median is None else f"{median:g}",
                          f"{len(got)} of {len(arm['seeds'])}"])  # fmt: skip
        goal = f"{100 * verdict['target']:.3g} % on {splits(verdict)[0]}"
        chart = charts.events(rows, x=words, label=f"{words} to {goal}")
        how = (
            f"A dot for each of the {pluralize(verdict['n'], 'seed')} of an arm, judged on {images}. Filled: it passed "
            "the target; open: it ended before it did; bar: the median of all."
        )
        figures.append(Figure(chart, how, ["arm", f"median {words}", "reached"], table, words))
    medians = {arm["name"]: arm["to_target"]["epochs"]["median"] for arm in verdict["arms"]}
    reached = {name: median for name, median in medians.items() if median is not None}
    if not reached:
        finding = f"No arm's median run passes {100 * verdict['target']:.3g} %"
    else:
        soonest = min(reached.values())
        when = f"after {soonest:g} epoch{'s' if soonest != 1 else ''}"
        first = [arm_words(name) for name, median in reached.items() if median == soonest]
        passed = f"pass{'es' if len(first) == 1 else ''} {100 * verdict['target']:.3g} % first"
        finding = f"{capitalize(join_list(first))} {passed}, {when}"
        if len(first) == len(medians):
            finding = f"The median run of every arm passes {100 * verdict['target']:.3g} % {when}"
    return Section("target", "How soon is it good enough?", finding, figures)
