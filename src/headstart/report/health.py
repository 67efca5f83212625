"""Sections of the page about training: learning rates, health, and how far the layers move."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import median

from headstart.analysis.wording import arm_words, length_words, network_words
from headstart.diagnostics.checks import findings, missing_probe_reason
from headstart.diagnostics.finding import Finding
from headstart.diagnostics.history import HEALTHY
from headstart.report.inputs import PageInputs
from headstart.report.layout import Figure, Section, legend_entries
from headstart.report.series import PlottedRun, mean_and_band
from headstart.report.svg import charts
from headstart.report.svg.charts import subsample
from headstart.text import capitalize, join_list, pluralize

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
        distinct: list[list[tuple[int, float]]] = []  # parts of a network often have the same rates
        for path in run.rates.values():
            distinct += [path] if path not in distinct else []
        min_rate = MIN_RELATIVE_RATE * run.run.rate  # a cosine ends near 0, which would stretch the log axis
        paths = [[point for point in path if point[1] >= min_rate] for path in distinct]
        series.append(charts.Series("" if run.arm in named else arm_words(run.spec), inputs.color[run.arm], paths))
        named |= {run.arm} if any(paths) else set()
    chart = charts.curves(series, x="step", y="learning rate", log=True, label="Learning rate of every run, by step")
    base_rates = sorted({run.run.rate for run in runs})
    finding = (
        f"{pluralize(len(runs), 'run')} with the base rate{'s' if len(base_rates) != 1 else ''} "
        f"{join_list(f'{rate:g}' for rate in base_rates)}"
    )
    table = [[run.name, f"{run.run.rate:g}", run.run.plan.recipe.optimizer, run.run.plan.recipe.schedule]
             for run in runs]  # fmt: skip
    caption = (
        f"One line for each run ({len(runs)}), in the color of its arm, on a logarithmic axis: the rate that the "
        "optimizer had at each step."
    )
    figure = Figure(chart, caption, ["run", "rate", "optimizer", "schedule"], table, legend=legend_entries(series))
    return Section(finding, [figure])


def health_section(inputs: PageInputs) -> Section:
    """Return the unhealthy findings of all runs, and the gradient norm of each block by epoch."""
    runs = inputs.runs
    unhealthy = [(run, finding) for run in runs for finding in findings(run.history) if finding.unhealthy]
    sentences = []
    for code in dict.fromkeys(finding.code for _, finding in unhealthy):
        affected = [(run, finding) for run, finding in unhealthy if finding.code == code]
        run, finding = affected[0]
        more = f" and {pluralize(len(affected) - 1, 'more run')}" if len(affected) > 1 else ""
        sentences.append(f"{capitalize(finding.name)}: {run.name}{more}. {finding.sentence}")
    title = _no_findings_words(runs)
    if unhealthy:
        count = len({run.name for run, _ in unhealthy})
        which = f"{count} of {len(runs)} runs" if len(runs) > 1 else "This run"
        names = ", ".join(sorted({finding.name for _, finding in unhealthy}))
        title = f"{which} {'is' if count == 1 else 'are'} unhealthy: {names}"
    by_arm = {
        run.arm: figure for run in _example_runs(runs, unhealthy) if (figure := _gradient_figure(run)) is not None
    }
    figures = list(by_arm.values())[:MAX_FIGURES]
    return Section(title, figures, _missing_figure_notes(runs, by_arm), sentences)


def _no_findings_words(runs: Sequence[PlottedRun]) -> str:
    """Return the title if there are no findings: the number of healthy runs, and of runs too short to say."""
    healthy = sum(run.history.status == HEALTHY for run in runs)
    if not healthy:
        if len(runs) == 1:
            return "Too early to say: this run is too short, has hardly begun to learn, or predicts only one class"
        return "Too early to say: these runs are too short, have hardly begun to learn, or predict only one class"
    if healthy < len(runs):
        return f"No findings in {pluralize(healthy, 'run')}; too early to say for {len(runs) - healthy}"
    return f"No findings in any of the {healthy} runs" if healthy > 1 else "No findings in this run"


def _missing_figure_notes(runs: Sequence[PlottedRun], with_figure: Collection[str]) -> list[str]:
    """Return why some arms have no figure of their gradients, with the first run of each arm as an example."""
    without_figure: dict[str, PlottedRun] = {}
    for run in runs:
        if run.arm not in with_figure:
            without_figure.setdefault(run.arm, run)
    short = "gradients at the blocks were probed less than twice, which is too few for a figure"
    notes = [
        f"{capitalize(run.name)}: {missing_probe_reason(run.history) or short}." for run in without_figure.values()
    ]
    if (more := len(notes) - MAX_NOTES) > 1:
        notes[MAX_NOTES:] = [f"{more} more arms have no figure of their gradients either."]
    if len(with_figure) > MAX_FIGURES:
        notes.append(f"Shown are runs of {MAX_FIGURES} of {len(with_figure)} arms; `headstart diagnose` checks all.")
    return notes


def _example_runs(runs: Sequence[PlottedRun], unhealthy: Sequence[tuple[PlottedRun, Finding]]) -> list[PlottedRun]:
    """Return one run of each arm that was probed twice or more, preferably an unhealthy one."""
    examples: dict[str, PlottedRun] = {}
    for run in (*(run for run, _ in unhealthy), *runs):
        if len(run.history.probes) > 1:
            examples.setdefault(run.arm, run)
    order = list(dict.fromkeys(run.arm for run in runs))
    return sorted(examples.values(), key=lambda run: order.index(run.arm))


def _gradient_figure(run: PlottedRun) -> Figure | None:
    """Return |∂L/∂h| at the outputs of the blocks by epoch, colored relative to the last block."""
    probes = [probe for probe in run.history.probes if probe.block_gradient_norm]
    probes = subsample(probes, MAX_EPOCH_COLUMNS)
    if len(probes) < 2:
        return None
    blocks = list(max(probes, key=lambda probe: len(probe.block_gradient_norm)).block_gradient_norm)
    norms = [[probe.block_gradient_norm.get(block, FROZEN_MARKER) for block in blocks] for probe in probes]
    texts = [[_norm_words(norm) for norm in by_block] for by_block in zip(*norms, strict=True)]
    columns = ["start" if not probe.epoch else str(probe.epoch) for probe in probes]
    values = list(zip(*map(_relative_to_last, norms), strict=True))
    grid = charts.Grid(blocks, columns, values, texts, scale=GRADIENT_SCALE)
    chart = charts.heat_map(grid, label=f"|∂L/∂h| by block and epoch, {run.name}", columns="epoch")
    caption = (
        f"{capitalize(run.name)}: the norm of ∂L/∂h at the output of each block, input at the top, on 8 fixed images. "
        "Color: relative to the last block in the same epoch, on the same scale for all runs. One shade is one and a "
        "half powers of ten; stronger is larger. Healthy gradients have nearly one shade per column."
    )
    table = [[block, *row] for block, row in zip(blocks, texts, strict=True)]
    return Figure(chart, caption, ["block", *columns], table, run.name)


def _relative_to_last(norms: Sequence[float | None]) -> list[float | None]:
    """Return the norms relative to the last positive one as powers of ten, for the colors of `charts.Grid`."""
    last = next((norm for norm in reversed(norms) if norm is not None and norm > 0), 1.0)
    return [
        math.nan if norm is None else None if norm == FROZEN_MARKER else math.log10(norm / last) if norm else -math.inf
        for norm in norms
    ]


def _norm_words(norm: float | None) -> str:
    return "not finite" if norm is None else "frozen" if norm == FROZEN_MARKER else _one_digit(norm)


def _one_digit(value: float) -> str:
    """Return the value with one digit and a power of ten."""
    return f"{value:.0e}".replace("e+00", "").replace("e-0", "e-").replace("e+0", "e")


def distance_section(inputs: PageInputs) -> Section | None:
    """Return how far each layer is from its initial weights after training, as the mean over the runs of an arm.

    Runs of one arm that differ in more than their seed have separate lines. None if no layer has a distance.
    """
    series, table = [], []
    medians: dict[str, float] = {}
    for name, group in _group_by_recipe([run for run in inputs.compared_runs if len(run.history.probes) > 1]).items():
        distances = [run.history.probes[-1].distance_from_init for run in group]
        if len(set(map(tuple, distances))) > 1:
            continue  # layers of different networks have no common mean
        paths = [path for by_layer in distances if (path := _distance_path(by_layer))]
        if not paths:
            continue
        finite = set.intersection(*({index for index, _ in path} for path in paths))  # layers finite in all runs
        mean, _ = mean_and_band([[point for point in path if point[0] in finite] for path in paths])
        if not mean:
            continue
        layers = list(distances[0])
        series.append(charts.Series(name, inputs.color[group[0].arm], paths, mean))
        medians[name] = median(y for _, y in mean)
        table += [[name, layers[int(index) - 1], _percent_words(percent).removesuffix(" %"), str(len(paths))]
                  for index, percent in mean]  # fmt: skip
    if not series:
        return None
    farthest, nearest = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
    finding = f"The layers of {farthest} move by {_percent_words(medians[farthest])} of their weights in the median"
    if farthest != nearest:
        finding += f", those of {nearest} by {_percent_words(medians[nearest])}"
    chart = charts.curves(
        series, x="layer, from the input to the output", y="|w - w₀| / |w₀|, %", log=True, label=finding
    )
    caption = (
        f"Thin: each run ({sum(len(line.paths) for line in series)} in all). Thick: the mean of an arm. Distance of "
        "each layer's weights from their initial values after the last epoch. Frozen layers have no point. "
        "The table has the names of the layers."
    )
    figure = Figure(chart, caption, ["arm", "layer", "%", "runs"], table, legend=legend_entries(series))
    return Section(finding, [figure])


def _distance_path(by_layer: Mapping[str, float | None]) -> list[tuple[int, float]]:
    """Return (number of the layer, distance in per cent) of the layers that moved by a finite distance."""
    return [(number, 100 * distance) for number, distance in enumerate(by_layer.values(), 1) if distance]


def _group_by_recipe(runs: Sequence[PlottedRun]) -> dict[str, list[PlottedRun]]:
    """Return the runs by arm and by what varies between the runs of this arm other than the seed."""
    recipes: dict[str, list[tuple[str, ...]]] = {}
    for run in runs:
        recipes.setdefault(run.arm, []).append(_recipe_words(run))
    groups: dict[str, list[PlottedRun]] = {}
    for run in runs:
        varies = [len(set(words)) > 1 for words in zip(*recipes[run.arm], strict=True)]
        suffixes = [words for words, differs in zip(_recipe_words(run), varies, strict=True) if differs]
        groups.setdefault(", ".join([arm_words(run.spec), *suffixes]), []).append(run)
    return groups


def _recipe_words(run: PlottedRun) -> tuple[str, ...]:
    """Return network, learning rate, length and share of the labels of a run."""
    plan = run.run.plan
    return (
        network_words(plan.network),
        f"at {run.run.rate:g}",
        length_words(str(plan.recipe.epochs)),
        f"{100 * plan.data.fraction:.3g} % of the labels",
    )


def _percent_words(percent: float) -> str:
    return f"{percent:,.0f} %" if percent >= 10 else f"{percent:.2g} %"
