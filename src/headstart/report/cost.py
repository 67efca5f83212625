"""Cost of a study: time, images and hardware utilization."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup

from headstart.analysis.wording import metric_words, named_words
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import StudyInputs
from headstart.report.layout import Figure, Section
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.report.words import evaluated_images, metric_over, metric_percent, run_count, time_span
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.schemas.verdict import ArmResult, StudyCost, Verdict
from headstart.text import join_list


@dataclass(frozen=True)
class CostUnit:
    """A unit of cost: its name for the reader's choice, the name of its axis, and its definition."""

    choice: Message
    axis: Message
    definition: Message


COST_UNITS = {
    "minutes": CostUnit(
        _("minutes"),
        _("minutes of training per run"),
        _("the mean minutes of training and validation of a run"),
    ),
    "images": CostUnit(
        _("images"),
        _("training images per run"),
        _("the mean number of training images of a run, each counted as often as used"),
    ),
    "mfu": CostUnit(
        _("MFU"),
        _("MFU, % of this machine's measured matrix-product speed"),
        _("the median share of this machine's measured matrix-product speed that training reached (MFU)"),
    ),
}
CACHED_FEATURES_NOTE = _(
    "The features of a frozen backbone are computed once for all heads on it and cached. The seconds of most frozen "
    "runs are therefore those of their heads alone."
)


@dataclass(frozen=True)
class MeanCost:
    """Mean minutes and images of an arm's runs, and the median MFU of their epochs in per cent or NaN."""

    minutes: float
    images: float
    mfu: float

    @property
    def shown_minutes(self) -> str:
        """Minutes as they are shown."""
        return f"{self.minutes:.2g}"

    def by_unit(self) -> dict[str, float]:
        """Return the values by the keys of `COST_UNITS`."""
        return {"minutes": self.minutes, "images": self.images, "mfu": self.mfu}


def cost_section(inputs: StudyInputs) -> Section:
    """Return the cost of a run of each arm in minutes, images and utilization, against its accuracy."""
    verdict, runs_of = inputs.verdict, inputs.runs_by_arm
    metric = metric_words(verdict)
    costs = {arm.name: _mean_cost(arm, runs_of[arm.name]) for arm in verdict.arms}
    accuracy = {arm.name: 100 * arm.test for arm in verdict.arms}
    header = [_("arm"), _("minutes a run"), _("images a run"), _("MFU, %"), metric_percent(metric)]
    table = [
        [named_words(verdict, name), arm_cost.shown_minutes, f"{arm_cost.images:,.0f}",
         "–" if math.isnan(arm_cost.mfu) else f"{arm_cost.mfu:.2g}", f"{accuracy[name]:.1f}"]
        for name, arm_cost in costs.items()
    ]  # fmt: skip
    figures = []
    for key, unit in COST_UNITS.items():
        values = {name: arm_cost.by_unit()[key] for name, arm_cost in costs.items()}
        if (chart := _cost_chart(inputs, unit, values, accuracy)) is not None:
            figures.append(Figure(chart, _caption(inputs, unit), header, table, unit.choice))
    notes = _stage_notes(verdict.cost)
    if any(run.run.plan.arm.tuning.kind is TuningKind.FROZEN for run in inputs.runs):
        notes.append(CACHED_FEATURES_NOTE)
    return Section(_cheapest_words(verdict, costs), figures, notes)


def _cheapest_words(verdict: Verdict, costs: Mapping[str, MeanCost]) -> Message:
    """Return which arms have the runs with the fewest minutes, as they are shown."""
    # an arm that diverged immediately took no time and does not count as cheap
    trained = {name: arm_cost for name, arm_cost in costs.items() if arm_cost.minutes} or costs
    least = min(trained.values(), key=lambda arm_cost: arm_cost.minutes)
    cheapest = [name for name, arm_cost in trained.items() if arm_cost.shown_minutes == least.shown_minutes]
    duration = time_span(60 * least.minutes)
    if len(cheapest) == 1:
        return _(
            "A run of {arm} is the cheapest: {duration} of training",
            arm=named_words(verdict, cheapest[0]),
            duration=duration,
        )
    if len(cheapest) == len(costs):
        return _("The runs of all arms cost about the same: {duration} of training", duration=duration)
    return _(
        "The runs of {arms} are the cheapest and cost about the same: {duration} of training",
        arms=join_list(named_words(verdict, name) for name in cheapest),
        duration=duration,
    )


def _cost_chart(
    inputs: StudyInputs, unit: CostUnit, costs: Mapping[str, float], accuracy: Mapping[str, float]
) -> Markup | None:
    """Return accuracy over cost, with a dot for each arm; None if the cost of every arm is unknown."""
    verdict, metric = inputs.verdict, metric_words(inputs.verdict)
    dots = [(named_words(verdict, name), inputs.color[name], max(cost, 1e-4), accuracy[name])
            for name, cost in costs.items() if not math.isnan(cost)]  # fmt: skip
    if not dots:
        return None
    label = metric_over(metric, unit.axis)
    return charts.scatter(dots, x=unit.axis, y=metric_percent(metric), log=True, label=label)


def _caption(inputs: StudyInputs, unit: CostUnit) -> Message:
    verdict = inputs.verdict
    caption = _(
        "One dot for each arm: {definition}, and the mean {metric} on {images}.",
        definition=unit.definition,
        metric=metric_words(verdict),
        images=evaluated_images(verdict),
    )
    return join([caption, _("The search is not included.")]) if verdict.cost.search.runs else caption


def _mean_cost(arm: ArmResult, runs: Sequence[PlottedRun]) -> MeanCost:
    """Return the cost of a run of the arm."""
    utilization = [100 * line.speed.mfu for run in runs for line in run.epochs]
    return MeanCost(
        minutes=sum(run.seconds for run in arm.seeds) / len(arm.seeds) / 60,
        images=sum(run.images for run in arm.seeds) / len(arm.seeds),
        mfu=median(utilization) if utilization else math.nan,
    )


def _stage_notes(cost: StudyCost) -> list[Message]:
    """Return the total cost of the search, the comparison and the sources, one sentence each."""
    stages = ((cost.search, _("Search")), (cost.main, _("Comparison")), (cost.source, _("Sources")))
    return [
        _(
            "{stage}: {runs}, {images}, {duration} of training.",
            stage=name,
            runs=run_count(stage.runs),
            images=ngettext("{count:,} training image", "{count:,} training images", stage.images),
            duration=time_span(stage.seconds),
        )
        for stage, name in stages
        if stage.runs
    ]
