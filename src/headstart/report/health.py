"""What the page says of the training itself: learning rates, health, how far the layers move."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import median

from headstart.analysis.wording import arm_words, length_words, network_words
from headstart.diagnostics.checks import findings, unprobed
from headstart.diagnostics.finding import Finding
from headstart.diagnostics.history import HEALTHY
from headstart.report.sections import Figure, Section, legend
from headstart.report.series import PlottedRun, mean_and_band
from headstart.report.svg import charts
from headstart.report.svg.charts import subsample
from headstart.text import capitalize, join_list, pluralize

SMALLEST_RATE = 1e-3  # of the base rate; below, a rate is not drawn
MOST_EXAMPLES, MOST_COLUMNS = 12, 12  # runs whose gradients are drawn, and epochs of each
SCALE = (-6.0, 7.5)  # powers of ten between a gradient and the last block's: 0 lies in the middle of a shade of 1.5
FROZEN = -1.0  # stands for the |∂L/∂h| of a block up to which everything is frozen: none is recorded
MOST_NOTES = 6  # on arms whose gradients are not


def rates(runs: Sequence[PlottedRun], colour: Mapping[str, int]) -> Section:
    """The learning rate of every run, step by step."""
    series = []
    named: set[str] = set()
    for run in runs:
        apart = [path for part, path in run.rates.items() if part == "head" or path != run.rates.get("head")]
        least = SMALLEST_RATE * run.run.rate  # a cosine's end would stretch the axis down to nothing
        paths = [[point for point in path if point[1] >= least] for path in apart]
        series.append(charts.Series("" if run.arm in named else arm_words(run.arm), colour[run.arm], paths))
        named |= {run.arm} if any(paths) else set()
    chart = charts.curves(series, x="step", y="learning rate", log=True, label="Learning rate of every run, by step")
    used = sorted({run.run.rate for run in runs})
    many = f"{len(runs)} run{'s' if len(runs) != 1 else ''}"
    finding = f"{many} with the base rate{'s' if len(used) != 1 else ''} {join_list(f'{rate:g}' for rate in used)}"
    table = [[run.name, f"{run.run.rate:g}", run.run.plan["recipe"]["optimizer"], run.run.plan["recipe"]["schedule"]]
             for run in runs]  # fmt: skip
    how = (
        f"A line for each run ({len(runs)}), in the colour of its arm, on a logarithmic axis: what was read back from "
        "the optimizer at each step. No images are in it."
    )
    figure = Figure(chart, how, ["run", "rate", "optimizer", "schedule"], table, legend=legend(series))
    return Section("rates", "What was the learning rate at each step?", finding, [figure])


def health(runs: Sequence[PlottedRun]) -> Section:
    """What is wrong with any run, in words; and how much of the gradient reaches each block, epoch by epoch."""
    found = [(run, one) for run in runs for one in findings(run.history) if one.unhealthy]
    notes = []
    for name in dict.fromkeys(one.name for _, one in found):
        having = [(run, one) for run, one in found if one.name == name]
        first, one = having[0]
        more = f" and {len(having) - 1} more run{'s' if len(having) > 2 else ''}" if len(having) > 1 else ""
        notes.append(f"{capitalize(name)}: {first.name}{more}. {one.sentence}")
    finding = _sound_words(runs)
    if found:
        ill = len({run.name for run, _ in found})
        which = f"{ill} of {len(runs)} runs" if len(runs) > 1 else "This run"
        named = ", ".join(sorted({one.name for _, one in found}))
        finding = f"{which} {'has' if ill == 1 else 'have'} an ailment: {named}"
    drawn = {run.arm: figure for run in _examples(runs, found) if (figure := _flow(run)) is not None}
    figures = list(drawn.values())[:MOST_EXAMPLES]
    return Section("health", "Is the training healthy?", finding, figures, _without_flow(runs, drawn), notes)


def _sound_words(runs: Sequence[PlottedRun]) -> str:
    """What is said where nothing was found: of how many runs, since of some it is too early to say."""
    judged = sum(run.history.standing == HEALTHY for run in runs)
    if not judged:
        if len(runs) == 1:
            return "Too early to say: this run is too short, has hardly begun to learn, or gives all images one answer"
        return "Too early to say: these runs are too short, have hardly begun to learn, or give all images one answer"
    if judged < len(runs):
        return f"No ailment was found in {pluralize(judged, 'run')}; of {len(runs) - judged} it is too early to say"
    return f"No ailment was found in any of the {judged} runs" if judged > 1 else "No ailment was found in this run"


def _without_flow(runs: Sequence[PlottedRun], drawn: Collection[str]) -> list[str]:
    """Why some arms have no picture of their gradients, each arm told by its first run."""
    left: dict[str, PlottedRun] = {}
    for run in runs:
        if run.arm not in drawn:
            left.setdefault(run.arm, run)
    short = "gradients at the blocks were probed less than twice, so that there is no course of them to draw"
    notes = [f"{capitalize(run.name)}: {unprobed(run.history) or short}." for run in left.values()]
    if (more := len(notes) - MOST_NOTES) > 1:
        notes[MOST_NOTES:] = [f"{more} more arms have no picture of their gradients either."]
    if len(drawn) > MOST_EXAMPLES:
        notes.append(f"Shown are runs of {MOST_EXAMPLES} arms of {len(drawn)}; `headstart diagnose` reads all.")
    return notes


def _examples(runs: Sequence[PlottedRun], found: Sequence[tuple[PlottedRun, Finding]]) -> list[PlottedRun]:
    """A run of each arm to look at: one with an ailment where there is one."""
    chosen: dict[str, PlottedRun] = {}
    for run in (*(run for run, _ in found), *runs):
        if len(run.history.probes) > 1:
            chosen.setdefault(run.arm, run)
    order = list(dict.fromkeys(run.arm for run in runs))
    return sorted(chosen.values(), key=lambda run: order.index(run.arm))


def _flow(run: PlottedRun) -> Figure | None:
    """Blocks by epochs: |∂L/∂h| at their outputs, coloured by how it compares with the last block's."""
    probes = [probe for probe in run.history.probes if probe["flow"]]
    probes = subsample(probes, MOST_COLUMNS)
    if len(probes) < 2:
        return None
    blocks = list(max(probes, key=lambda probe: len(probe["flow"]))["flow"])
    by_epoch = [_against_last([probe["flow"].get(block, FROZEN) for block in blocks]) for probe in probes]
    texts = [[_flow_words(probe["flow"].get(block, FROZEN)) for probe in probes] for block in blocks]
    columns = ["start" if not probe["epoch"] else str(probe["epoch"]) for probe in probes]
    values = list(zip(*by_epoch, strict=True))
    grid = charts.Grid(blocks, columns, values, texts, scale=SCALE)
    chart = charts.heat_map(grid, label=f"|∂L/∂h| by block and epoch, {run.name}", columns="epoch")
    how = (
        f"{capitalize(run.name)}: the norm of ∂L/∂h at the output of each block, input at the top, on 8 fixed photos. "
        "Colour: how it compares with the last block of its epoch, the same in every run: a shade for one and a half "
        "powers of ten, fainter is less and stronger is more. Healthy gradients give a column nearly one shade."
    )
    return Figure(chart, how, ["block", *columns], [[b, *row] for b, row in zip(blocks, texts, strict=True)], run.name)


def _against_last(flow: Sequence[float | None]) -> list[float | None]:
    """Powers of ten between each block's |∂L/∂h| and the last one's that is known, for `charts.Grid`."""
    last = next((value for value in reversed(flow) if value is not None and value > 0), 1.0)
    return [
        math.nan if value is None else None if value == FROZEN else math.log10(value / last) if value else -math.inf
        for value in flow
    ]


def _flow_words(value: float | None) -> str:
    return "not finite" if value is None else "frozen" if value == FROZEN else _power(value)


def _power(value: float) -> str:
    """One digit and a power of ten."""
    return f"{value:.0e}".replace("e+00", "").replace("e-0", "e-").replace("e+0", "e")


def distance(runs: Sequence[PlottedRun], colour: Mapping[str, int]) -> Section | None:
    """How far each layer has come from where it started, at the end of training; a mean over the runs of an arm.

    Runs of one arm that differ in more than their seed are told apart.
    """
    series, table = [], []
    medians: dict[str, float] = {}
    for name, some in _by_recipe([run for run in runs if len(run.history.probes) > 1]).items():
        ends = [run.history.probes[-1]["distance"] for run in some]
        if len(set(map(tuple, ends))) > 1:
            continue  # layers of different networks have no mean
        paths = [path for one in ends if (path := [(at, 100 * far) for at, far in enumerate(one.values(), 1) if far])]
        if not paths:
            continue
        shared = set.intersection(*({at for at, _ in path} for path in paths))  # where all are finite
        mean, _ = mean_and_band([[point for point in path if point[0] in shared] for path in paths])
        if not mean:
            continue
        layers = list(ends[0])
        series.append(charts.Series(name, colour[some[0].arm], paths, mean))
        medians[name] = median(y for _, y in mean)
        table += [[name, layers[int(at) - 1], _share(far).removesuffix(" %"), str(len(paths))] for at, far in mean]
    if not series:
        return None
    farthest, nearest = max(medians, key=medians.__getitem__), min(medians, key=medians.__getitem__)
    finding = f"{capitalize(farthest)} moves its layers by {_share(medians[farthest])} of their weights in the median"
    if farthest != nearest:
        finding += f", {nearest} by {_share(medians[nearest])}"
    chart = charts.curves(
        series, x="layer, from the input to the output", y="|w - w₀| / |w₀|, %", log=True, label=finding
    )
    how = (
        f"Thin: each run ({sum(len(one.paths) for one in series)} in all); thick: the mean of an arm. How far the "
        "weights of each layer are from where they started, after the last epoch; no images are in it, and frozen "
        "layers have no point. The names of the layers are in the table."
    )
    figure = Figure(chart, how, ["arm", "layer", "%", "runs"], table, legend=legend(series))
    return Section("distance", "How far do the layers move?", finding, [figure])


def _by_recipe(runs: Sequence[PlottedRun]) -> dict[str, list[PlottedRun]]:
    """The runs by their arm and, where those of an arm differ in more than their seed, by what they differ in."""
    recipes: dict[str, list[tuple[str, ...]]] = {}
    for run in runs:
        recipes.setdefault(run.arm, []).append(_recipe_words(run))
    found: dict[str, list[PlottedRun]] = {}
    for run in runs:
        differ = [len(set(words)) > 1 for words in zip(*recipes[run.arm], strict=True)]
        more = [words for words, told in zip(_recipe_words(run), differ, strict=True) if told]
        found.setdefault(", ".join([arm_words(run.arm), *more]), []).append(run)
    return found


def _recipe_words(run: PlottedRun) -> tuple[str, ...]:
    """In what runs of an arm may differ but for their seed."""
    plan = run.run.plan
    return (
        network_words(plan["network"]),
        f"at {run.run.rate:g}",
        length_words(str(plan["recipe"]["epochs"])),
        f"{100 * plan['data']['fraction']:.3g} % of the labels",
    )


def _share(per_cent: float) -> str:
    return f"{per_cent:,.0f} %" if per_cent >= 10 else f"{per_cent:.2g} %"
