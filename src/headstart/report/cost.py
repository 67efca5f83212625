"""What an experiment takes: time, images and use of the machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from headstart.analysis.wording import arm_words, judged, metric_words
from headstart.report.sections import Figure, Section, by_arm
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.text import capitalize, pluralize

COSTS = {
    "minutes": ("minutes of training per run", "mean minutes that a run trained and validated"),
    "images": ("training images per run", "mean number of images that a run was trained on, each as often as it came"),
    "MFU": (
        "MFU, % of this machine's measured matrix-product speed",
        "median share of this machine's measured matrix-product speed that training reached (MFU)",
    ),
}  # by what the reader chooses: the axis, and how to read it
KEPT = (
    "What a frozen trunk puts out is computed once for all heads on it, and kept: the seconds of most frozen runs are "
    "those of their heads alone."
)


def cost(runs: Sequence[PlottedRun], verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Section:
    """What a run of each arm takes, in minutes, images or use of the machine, against its accuracy."""
    runs_of, metric = by_arm(runs, verdict), metric_words(verdict)
    spent = {arm["name"]: _spent(arm, runs_of[arm["name"]]) for arm in verdict["arms"]}
    accuracy = {arm["name"]: 100 * arm["test"] for arm in verdict["arms"]}
    # what diverged at once costs nothing, and is not called cheap
    trained = [name for name, one in spent.items() if one["minutes"]] or list(spent)
    cheapest = min(trained, key=lambda name: spent[name]["minutes"])
    span = time_span(60 * spent[cheapest]["minutes"])
    finding = f"A run of {arm_words(cheapest)} is the cheapest: {span} of training"
    head = ["arm", "minutes a run", "images a run", "MFU, %", f"{metric}, %"]
    table = [
        [arm_words(name), f"{one['minutes']:.2g}", f"{one['images']:,.0f}",
         "–" if math.isnan(one["MFU"]) else f"{one['MFU']:.2g}", f"{accuracy[name]:.1f}"]
        for name, one in spent.items()
    ]  # fmt: skip
    figures = []
    for unit, (words, how) in COSTS.items():
        dots = [(arm_words(name), colour[name], max(one[unit], 1e-4), accuracy[name])
                for name, one in spent.items() if not math.isnan(one[unit])]  # fmt: skip
        if dots:
            label = f"{capitalize(metric)} over {words}"
            chart = charts.scatter(dots, x=words, y=f"{metric}, %", log=True, label=label)
            told = f"One dot for each arm: {how}, and mean {metric} on {verdict['evaluation']['images']} {judged(verdict)}."
            told += " Searches come on top." if verdict["cost"]["search"]["runs"] else ""
            figures.append(Figure(chart, told, head, table, unit))
    notes = _stages(verdict["cost"])
    if any(run.run.plan["arm"]["tuning"] == "frozen" for run in runs):
        notes.append(KEPT)
    return Section("cost", "What does it cost?", finding, figures, notes)


def _spent(arm: Mapping[str, Any], runs: Sequence[PlottedRun]) -> dict[str, float]:
    """What a run of the arm takes on the mean; `MFU` in per cent is the median of its epochs, NaN if unknown."""
    busy = [100 * line["speed"]["mfu"] for run in runs for line in run.epochs]
    return {
        "minutes": sum(run["seconds"] for run in arm["seeds"]) / len(arm["seeds"]) / 60,
        "images": sum(run["images"] for run in arm["seeds"]) / len(arm["seeds"]),
        "MFU": median(busy) if busy else math.nan,
    }


def _stages(spent: Mapping[str, Any]) -> list[str]:
    """What the search, the comparison and the sources took altogether."""
    return [
        f"{words}: {pluralize(spent[stage]['runs'], 'run')}, "
        f"{spent[stage]['images']:,} training images, {time_span(spent[stage]['seconds'])} of training."
        for stage, words in (("search", "Search"), ("main", "Comparison"), ("source", "Sources"))
        if spent[stage]["runs"]
    ]


def time_span(seconds: float) -> str:
    """A length of time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
