"""Cost of a study: time, images and hardware utilization."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from headstart.analysis.wording import evaluation_images, metric_words, named_words
from headstart.report.inputs import StudyInputs
from headstart.report.layout import Figure, Section
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.storage.schemas.verdict import ArmResult, StudyCost
from headstart.text import capitalize, pluralize

COSTS = {
    "minutes": ("minutes of training per run", "the mean minutes of training and validation of a run"),
    "images": ("training images per run", "the mean number of training images of a run, each counted as often as used"),
    "MFU": (
        "MFU, % of this machine's measured matrix-product speed",
        "the median share of this machine's measured matrix-product speed that training reached (MFU)",
    ),
}  # by what the reader selects: name of the axis, and its definition
CACHED_FEATURES_NOTE = (
    "The features of a frozen backbone are computed once for all heads on it and cached. The seconds of most frozen "
    "runs are therefore those of their heads alone."
)


@dataclass(frozen=True)
class MeanCost:
    """Mean minutes and images of an arm's runs, and the median MFU of their epochs in per cent or NaN."""

    minutes: float
    images: float
    mfu: float

    def by_unit(self) -> dict[str, float]:
        """Return the values by what the reader selects."""
        return {"minutes": self.minutes, "images": self.images, "MFU": self.mfu}


def cost_section(inputs: StudyInputs) -> Section:
    """Return the cost of a run of each arm in minutes, images and utilization, against its accuracy."""
    verdict, runs_of = inputs.verdict, inputs.runs_by_arm
    metric = metric_words(verdict)
    costs = {arm.name: _mean_cost(arm, runs_of[arm.name]) for arm in verdict.arms}
    accuracy = {arm.name: 100 * arm.test for arm in verdict.arms}
    # an arm that diverged immediately took no time and does not count as cheap
    trained = [name for name, arm_cost in costs.items() if arm_cost.minutes] or list(costs)
    cheapest = min(trained, key=lambda name: costs[name].minutes)
    span = time_span(60 * costs[cheapest].minutes)
    finding = f"A run of {named_words(verdict, cheapest)} is the cheapest: {span} of training"
    header = ["arm", "minutes a run", "images a run", "MFU, %", f"{metric}, %"]
    table = [
        [named_words(verdict, name), f"{arm_cost.minutes:.2g}", f"{arm_cost.images:,.0f}",
         "–" if math.isnan(arm_cost.mfu) else f"{arm_cost.mfu:.2g}", f"{accuracy[name]:.1f}"]
        for name, arm_cost in costs.items()
    ]  # fmt: skip
    figures = []
    for unit, (words, definition) in COSTS.items():
        values = {name: arm_cost.by_unit()[unit] for name, arm_cost in costs.items()}
        dots = [(named_words(verdict, name), inputs.color[name], max(value, 1e-4), accuracy[name])
                for name, value in values.items() if not math.isnan(value)]  # fmt: skip
        if dots:
            label = f"{capitalize(metric)} over {words}"
            chart = charts.scatter(dots, x=words, y=f"{metric}, %", log=True, label=label)
            images = f"{verdict.evaluation.images} {evaluation_images(verdict)}"
            caption = f"One dot for each arm: {definition}, and the mean {metric} on {images}."
            caption += " The search is not included." if verdict.cost.search.runs else ""
            figures.append(Figure(chart, caption, header, table, unit))
    notes = _stage_notes(verdict.cost)
    if any(run.run.plan.arm.tuning == "frozen" for run in inputs.runs):
        notes.append(CACHED_FEATURES_NOTE)
    return Section(finding, figures, notes)


def _mean_cost(arm: ArmResult, runs: Sequence[PlottedRun]) -> MeanCost:
    """Return the cost of a run of the arm."""
    utilization = [100 * line.speed.mfu for run in runs for line in run.epochs]
    return MeanCost(
        minutes=sum(run.seconds for run in arm.seeds) / len(arm.seeds) / 60,
        images=sum(run.images for run in arm.seeds) / len(arm.seeds),
        mfu=median(utilization) if utilization else math.nan,
    )


def _stage_notes(cost: StudyCost) -> list[str]:
    """Return the total cost of the search, the comparison and the sources, one sentence each."""
    return [
        f"{words}: {pluralize(stage.runs, 'run')}, {stage.images:,} training images, {time_span(stage.seconds)} of "
        "training."
        for stage, words in ((cost.search, "Search"), (cost.main, "Comparison"), (cost.source, "Sources"))
        if stage.runs
    ]


def time_span(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
