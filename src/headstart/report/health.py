"""Sections of the page about training: learning rates, health, and how far the layers move."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from headstart.analysis.wording import arm_words
from headstart.diagnostics.checks import findings, missing_probe_reason
from headstart.diagnostics.finding import Finding
from headstart.diagnostics.history import HealthStatus
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import PageInputs
from headstart.report.layout import Figure, Section, legend_entries
from headstart.report.series import PlottedRun, group_by_recipe, mean_and_band
from headstart.report.svg import charts
from headstart.report.svg.sampling import subsample
from headstart.report.words import run_count
from headstart.text import join_list

MIN_RELATIVE_RATE = 1e-3  # smallest learning rate drawn, as a share of the base rate
MAX_FIGURES, MAX_EPOCH_COLUMNS = 12, 12  # runs with a figure of their gradients, and epochs of each
GRADIENT_SCALE = (-6.0, 7.5)  # powers of ten relative to the last block; ten shades of 1.5, 0 in the middle of one
FROZEN_MARKER = -1.0  # stands for |∂L/∂h| of blocks without one because everything up to them is frozen
MAX_NOTES = 6  # arms with a note on why they have no figure of their gradients


def rates_section(inputs: PageInputs) -> Section:
    """Return the learning rate of every run at each step."""
    runs, series = inputs.runs, []
    named: set[str] = set()
    for run in runs:
        paths = rate_paths(run)
        series.append(charts.Series("" if run.arm in named else arm_words(run.spec), inputs.color[run.arm], paths))
        named |= {run.arm} if any(paths) else set()
    label = _("Learning rate of every run, by step")
    chart = charts.curves(series, x=_("step"), y=_("learning rate"), log=True, label=label)
    base_rates = sorted({run.run.rate for run in runs})
    finding = ngettext(
        "{runs} with the base rate {rates}",
        "{runs} with the base rates {rates}",
        len(base_rates),
        runs=run_count(len(runs)),
        rates=join_list(f"{rate:g}" for rate in base_rates),
    )
    table = [[run.name, f"{run.run.rate:g}", run.run.plan.recipe.optimizer, run.run.plan.recipe.schedule]
             for run in runs]  # fmt: skip
    caption = _(
        "One line for each run ({count}), in the color of its arm, on a logarithmic axis: the rate that the "
        "optimizer had at each step.",
        count=len(runs),
    )
    header = [_("run"), _("rate"), _("optimizer"), _("schedule")]
    return Section(finding, [Figure(chart, caption, header, table, legend=legend_entries(series))])


def rate_paths(run: PlottedRun) -> list[list[tuple[int, float]]]:
    """Return the distinct learning rates [(step, rate), …] of a run, without rates below `MIN_RELATIVE_RATE`."""
    distinct: list[list[tuple[int, float]]] = []  # parts of a network often have the same rates
    for path in run.rates.values():
        distinct += [path] if path not in distinct else []
    min_rate = MIN_RELATIVE_RATE * run.run.rate  # a cosine ends near 0, which would stretch the log axis
    return [[point for point in path if point[1] >= min_rate] for path in distinct]


def health_section(inputs: PageInputs) -> Section:
    """Return the unhealthy findings of all runs, and the gradient norm of each block by epoch."""
    runs = inputs.runs
    unhealthy = _unhealthy_findings(runs)
    title = _unhealthy_words(runs, unhealthy) if unhealthy else _no_findings_words(runs)
    by_arm = {
        run.arm: figure for run in gradient_examples(runs, unhealthy) if (figure := _gradient_figure(run)) is not None
    }
    figures = list(by_arm.values())[:MAX_FIGURES]
    return Section(title, figures, _missing_figure_notes(runs, by_arm), _finding_sentences(unhealthy))


def _unhealthy_findings(runs: Sequence[PlottedRun]) -> list[tuple[PlottedRun, Finding]]:
    return [(run, finding) for run in runs for finding in findings(run.history) if finding.unhealthy]


def _finding_sentences(unhealthy: Sequence[tuple[PlottedRun, Finding]]) -> list[Message]:
    """Return a sentence on each kind of finding, with the first affected run as an example."""
    sentences = []
    for code in dict.fromkeys(finding.code for _run, finding in unhealthy):
        affected = [(run, finding) for run, finding in unhealthy if finding.code == code]
        run, finding = affected[0]
        if len(affected) == 1:
            head = _("{finding:cap}: {run}.", finding=finding.name, run=run.name)
        else:
            head = ngettext(
                "{finding:cap}: {run} and {count:,} more run.",
                "{finding:cap}: {run} and {count:,} more runs.",
                len(affected) - 1,
                finding=finding.name,
                run=run.name,
            )
        sentences.append(join([head, finding.sentence]))
    return sentences


def _unhealthy_words(runs: Sequence[PlottedRun], unhealthy: Sequence[tuple[PlottedRun, Finding]]) -> Message:
    """Return the title if there are findings: the number of unhealthy runs, and the names of the findings."""
    names = join(sorted({finding.name for _run, finding in unhealthy}), ", ")
    if len(runs) == 1:
        return _("This run is unhealthy: {findings}", findings=names)
    return ngettext(
        "{count} of {runs} runs is unhealthy: {findings}",
        "{count} of {runs} runs are unhealthy: {findings}",
        len({run.name for run, _finding in unhealthy}),
        runs=len(runs),
        findings=names,
    )


def _no_findings_words(runs: Sequence[PlottedRun]) -> Message:
    """Return the title if there are no findings: the number of healthy runs, and of runs too short to say."""
    healthy = sum(run.history.status is HealthStatus.HEALTHY for run in runs)
    if not healthy:
        if len(runs) == 1:
            return _("Too early to say: this run is too short, has hardly begun to learn, or predicts only one class")
        return _("Too early to say: these runs are too short, have hardly begun to learn, or predict only one class")
    if healthy < len(runs):
        return ngettext(
            "No findings in {count:,} run; too early to say for {others}",
            "No findings in {count:,} runs; too early to say for {others}",
            healthy,
            others=len(runs) - healthy,
        )
    return ngettext("No findings in this run", "No findings in any of the {count} runs", healthy)


def _missing_figure_notes(runs: Sequence[PlottedRun], with_figure: Collection[str]) -> list[Message]:
    """Return why some arms have no figure of their gradients, with the first run of each arm as an example."""
    without_figure: dict[str, PlottedRun] = {}
    for run in runs:
        if run.arm not in with_figure:
            without_figure.setdefault(run.arm, run)
    short = _("gradients at the blocks were probed less than twice, which is too few for a figure")
    notes = [
        _("{run}: {reason}.", run=run.name, reason=missing_probe_reason(run.history) or short)
        for run in without_figure.values()
    ]
    if (more := len(notes) - MAX_NOTES) > 1:
        notes[MAX_NOTES:] = [
            ngettext(
                "{count} more arm has no figure of its gradients either.",
                "{count} more arms have no figure of their gradients either.",
                more,
            )
        ]
    if len(with_figure) > MAX_FIGURES:
        shown = ngettext(
            "Shown are runs of {shown} of {count} arm; `headstart diagnose` checks all.",
            "Shown are runs of {shown} of {count} arms; `headstart diagnose` checks all.",
            len(with_figure),
            shown=MAX_FIGURES,
        )
        notes.append(shown)
    return notes


def gradient_examples(
    runs: Sequence[PlottedRun], unhealthy: Sequence[tuple[PlottedRun, Finding]] | None = None
) -> list[PlottedRun]:
    """Return one run of each arm that was probed twice or more, preferably an unhealthy one.

    Args:
        runs: Runs of the page.
        unhealthy: The unhealthy findings of these runs. Default: they are determined from the records.
    """
    unhealthy = _unhealthy_findings(runs) if unhealthy is None else unhealthy
    examples: dict[str, PlottedRun] = {}
    for run in (*(run for run, _finding in unhealthy), *runs):
        if len(run.history.probes) > 1:
            examples.setdefault(run.arm, run)
    order = list(dict.fromkeys(run.arm for run in runs))
    return sorted(examples.values(), key=lambda run: order.index(run.arm))


@dataclass(frozen=True)
class GradientNorms:
    """|∂L/∂h| at the outputs of the blocks of one run.

    Args:
        blocks: Names of the blocks, the input first.
        epochs: Epochs of the probes; 0 before the first step.
        norms: Norms [epochs][blocks]. None: not finite; `FROZEN_MARKER`: everything up to the block is frozen.
    """

    blocks: Sequence[str]
    epochs: Sequence[int]
    norms: Sequence[Sequence[float | None]]


def gradient_norms(run: PlottedRun) -> GradientNorms | None:
    """Return the gradient norms of a run in at most `MAX_EPOCH_COLUMNS` epochs; None with fewer than two probes."""
    probes = [probe for probe in run.history.probes if probe.block_gradient_norm]
    probes = subsample(probes, MAX_EPOCH_COLUMNS)
    if len(probes) < 2:
        return None
    blocks = list(max(probes, key=lambda probe: len(probe.block_gradient_norm)).block_gradient_norm)
    norms = [[probe.block_gradient_norm.get(block, FROZEN_MARKER) for block in blocks] for probe in probes]
    return GradientNorms(blocks, [probe.epoch for probe in probes], norms)


def _gradient_figure(run: PlottedRun) -> Figure | None:
    """Return |∂L/∂h| at the outputs of the blocks by epoch, colored relative to the last block."""
    measured = gradient_norms(run)
    if measured is None:
        return None
    blocks, norms = measured.blocks, measured.norms
    columns = [str(epoch) if epoch else _("start") for epoch in measured.epochs]
    texts = [[_norm_words(norm) for norm in by_block] for by_block in zip(*norms, strict=True)]
    values = list(zip(*map(_relative_to_last, norms), strict=True))
    grid = charts.Grid(blocks, columns, values, texts, scale=GRADIENT_SCALE)
    label = _("|∂L/∂h| by block and epoch, {run}", run=run.name)
    chart = charts.heat_map(grid, label=label, columns=_("epoch"))
    caption = _(
        "{run}: the norm of ∂L/∂h at the output of each block, input at the top, on 8 fixed images. "
        "Color: relative to the last block in the same epoch, on the same scale for all runs. One shade darker is "
        "about 30 times as large. Healthy gradients have nearly one shade per column.",
        run=run.name,
    )
    table = [[block, *row] for block, row in zip(blocks, texts, strict=True)]
    return Figure(chart, caption, [_("block"), *columns], table, run.name)


def _relative_to_last(norms: Sequence[float | None]) -> list[float | None]:
    """Return the norms relative to the last positive one as powers of ten, for the colors of `charts.Grid`."""
    last = next((norm for norm in reversed(norms) if norm is not None and norm > 0), 1.0)
    return [
        math.nan if norm is None else None if norm == FROZEN_MARKER else math.log10(norm / last) if norm else -math.inf
        for norm in norms
    ]


def _norm_words(norm: float | None) -> str:
    return _("not finite") if norm is None else _("frozen") if norm == FROZEN_MARKER else _one_digit(norm)


def _one_digit(value: float) -> str:
    """Return the value with one digit: 0.09, 4, 30, or with a power of ten below 0.001 and from 1,000 on."""
    rounded = float(f"{value:.0e}")
    if 1e-3 <= rounded < 1e3:
        return f"{rounded:g}"
    return f"{value:.0e}".replace("e+00", "").replace("e-0", "e-").replace("e+0", "e")


def distance_section(inputs: PageInputs) -> Section | None:
    """Return how far each layer is from its initial weights after training, as the mean over the runs of an arm.

    Runs of one arm that differ in more than their seed have separate lines. None if no layer has a distance.
    """
    series, table = [], []
    medians: dict[Message, float] = {}
    for name, group in group_by_recipe([run for run in inputs.compared_runs if len(run.history.probes) > 1]).items():
        distances = [run.history.probes[-1].distance_from_init for run in group]
        if len(set(map(tuple, distances))) > 1:
            continue  # layers of different networks have no common mean
        paths = [path for by_layer in distances if (path := _distance_path(by_layer))]
        if not paths:
            continue
        finite = set.intersection(*({index for index, _percent in path} for path in paths))  # layers finite in all runs
        mean, _band = mean_and_band([[point for point in path if point[0] in finite] for path in paths])
        if not mean:
            continue
        layers = list(distances[0])
        series.append(charts.Series(name, inputs.color[group[0].arm], paths, mean))
        medians[name] = median(y for _layer, y in mean)
        table += [[name, layers[int(index) - 1], _percent_number(percent), str(len(paths))]
                  for index, percent in mean]  # fmt: skip
    if not series:
        return None
    finding = _distance_words(medians)
    chart = charts.curves(
        series, x=_("layer, from the input to the output"), y="|w - w₀| / |w₀|, %", log=True, label=finding
    )
    caption = _(
        "Thin: each run ({count} in all). Thick: the mean of an arm. Distance of each layer's weights from their "
        "initial values after the last epoch. Frozen layers have no point. The table has the names of the layers.",
        count=sum(len(line.paths) for line in series),
    )
    header = [_("arm"), _("layer"), "%", _("runs")]
    return Section(finding, [Figure(chart, caption, header, table, legend=legend_entries(series))])


def _distance_words(medians: Mapping[Message, float]) -> Message:
    """Return the names of the lines with the largest and the smallest median distance, and these distances."""
    farthest, nearest = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
    if farthest == nearest:
        return _(
            "The layers of {farthest} move by {distance} % of their weights in the median",
            farthest=farthest,
            distance=_percent_number(medians[farthest]),
        )
    return _(
        "The layers of {farthest} move by {distance} % of their weights in the median, those of {nearest} by "
        "{small_distance} %",
        farthest=farthest,
        distance=_percent_number(medians[farthest]),
        nearest=nearest,
        small_distance=_percent_number(medians[nearest]),
    )


def _distance_path(by_layer: Mapping[str, float | None]) -> list[tuple[int, float]]:
    """Return (number of the layer, distance in per cent) of the layers that moved by a finite distance."""
    return [(number, 100 * distance) for number, distance in enumerate(by_layer.values(), 1) if distance]


def _percent_number(percent: float) -> str:
    return f"{percent:,.0f}" if percent >= 10 else f"{percent:.2g}"
