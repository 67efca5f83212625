"""Heat maps of learning rates: of the search, of a comparison of rates, and of standalone runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.analysis.wording import arm_words, length_words, metric_words, named_words, splits
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.layout import Figure, Section
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.report.words import evaluated_images
from headstart.storage.schemas.search import SearchGroup, TrialScores
from headstart.storage.schemas.verdict import ArmResult, Verdict
from headstart.text import join_list


@dataclass(frozen=True)
class RateGrid:
    """Cells of a heat map of learning rates.

    Args:
        grid: The cells; its columns are learning rates.
        label: What the cells show.
        caption: How to read the cells.
        choice: Which of several searches it shows, or "".
        search: The search that it shows; None for other rates.
    """

    grid: charts.Grid
    label: Message
    caption: Message
    choice: Message
    search: SearchGroup | None = None


def searched_rates_section(inputs: StudyInputs) -> Section | None:
    """Return a heat map for each budget and seed group of the learning-rate search; None without a search."""
    verdict, search = inputs.verdict, inputs.verdict.search
    if not search:
        return None
    figures = []
    for searched in searched_grids(verdict):
        grid = searched.grid
        label = join([searched.label, searched.choice], ", ")
        chart = charts.heat_map(grid, label=label, columns=_("learning rate"))
        table = [[name, *row] for name, row in zip(grid.rows, grid.texts, strict=True)]
        figures.append(Figure(chart, searched.caption, [_("arm"), *grid.columns], table, searched.choice))
    # shorter budgets count too, since their rates are part of the comparison
    at_edge = [arm.arm for group in search for arm in group.arms if arm.at_edge]
    return Section(_edge_words(verdict, at_edge), figures)


def searched_grids(verdict: Verdict) -> list[RateGrid]:
    """Return the cells of each search, those of the verdict's budget first."""
    budgets = list(dict.fromkeys(group.budget for group in verdict.search))
    grids = []
    for group in sorted(verdict.search, key=lambda group: -budgets.index(group.budget)):
        choice = [length_words(group.budget)] if len(budgets) > 1 else []
        choice += [_("seed {seed}", seed=group.seed)] if group.seed is not None else []
        grids.append(_search_grid(verdict, group, join(choice, ", ")))
    return grids


def _edge_words(verdict: Verdict, at_edge: Sequence[str]) -> Message:
    """Return which arms have their best rate at the edge of the grid.

    Args:
        verdict: The verdict.
        at_edge: Name of the arm for each search with its best rate at the edge.
    """
    if not at_edge:
        return _("No arm has its best rate at an edge of the grid")
    names = list(dict.fromkeys(at_edge))
    finding = ngettext(
        "The best rate of {arms} is at the edge of the grid",
        "The best rates of {arms} are at an edge of the grid",
        len(names),
        arms=join_list(named_words(verdict, name) for name in names),
    )
    if len(at_edge) == len(names):
        return finding
    return ngettext("{finding} in {count} search", "{finding} in {count} searches", len(at_edge), finding=finding)


def _search_grid(verdict: Verdict, group: SearchGroup, choice: Message) -> RateGrid:
    """Return the cells of one search, arms by rates."""
    rates = sorted(group.grid, reverse=True)
    columns = [f"{rate:g}" for rate in rates]
    values, texts = [], []
    for arm in group.arms:
        scores = {trial.lr: trial for trial in arm.tried}
        row = [scores.get(rate) for rate in rates]
        means = [
            100 * sum(trial.full_runs) / len(trial.full_runs) if trial and trial.full_runs else None for trial in row
        ]
        values.append(means)
        texts.append([_search_text(mean, trial) for mean, trial in zip(means, row, strict=True)])
    places = [(row, rates.index(arm.selected)) for row, arm in enumerate(group.arms)]
    edges = frozenset(place for place, arm in zip(places, group.arms, strict=True) if arm.at_edge)
    names = [named_words(verdict, arm.arm) for arm in group.arms]
    grid = charts.Grid(names, columns, values, texts, frozenset(places), edges)
    split, metric = splits(verdict)[0], metric_words(verdict)
    label = _("{metric:cap} on {split} by arm and learning rate", metric=metric, split=split)
    caption = _(
        "Mean {metric} on {split} in per cent over the full runs of the search. In brackets: after the rung "
        "(the first evaluation of the search) only. ×: diverged. Outlined: the selected rate, dashed if it is at the "
        "edge of the grid.",
        metric=metric,
        split=split,
    )
    return RateGrid(grid, label, caption, choice, group)


def _search_text(mean: float | None, result: TrialScores | None) -> str:
    """Return the text of a cell: the mean of full runs, in brackets the accuracy after the rung, × or ""."""
    if mean is not None:
        return f"{mean:.1f}"
    if result is None:  # a rate that this seed did not try
        return ""
    return f"({100 * result.rung:.0f})" if result.rung >= 0 else "×"


def compared_rates_section(inputs: StudyInputs) -> Section | None:
    """Return all variants of a study that compares learning rates; None for other studies."""
    compared = compared_grid(inputs.verdict)
    if compared is None:
        return None
    grid = compared.grid
    chart = charts.heat_map(grid, label=compared.label, columns=_("learning rate"))
    table = [[name, *row] for name, row in zip(grid.rows, grid.texts, strict=True)]
    return Section(compared.label, [Figure(chart, compared.caption, ["", *grid.columns], table)])


def compared_grid(verdict: Verdict) -> RateGrid | None:
    """Return the cells of all variants of a study that compares learning rates; None for other studies."""
    if not verdict.grid_rows:
        return None
    by_row: dict[Message, dict[float, ArmResult]] = {}
    for arm in verdict.arms:
        by_row.setdefault(arm_words(arm.spec.without("lr")), {})[arm.seeds[0].lr] = arm
    rates = sorted({rate for row in by_row.values() for rate in row}, reverse=True)
    values = [[100 * row[rate].test if rate in row else None for rate in rates] for row in by_row.values()]
    place = {
        arm.name: (index, rates.index(rate)) for index, row in enumerate(by_row.values()) for rate, arm in row.items()
    }
    best = frozenset(place[row.variant] for row in verdict.grid_rows)
    edges = frozenset(place[row.variant] for row in verdict.grid_rows if row.edge)
    grid = charts.Grid(list(by_row), [f"{rate:g}" for rate in rates], values, _value_texts(values), best, edges)
    caption = ngettext(
        "Mean {metric} on {images} over {count:,} seed, in per cent. Outlined: the best of its row on {split}, dashed "
        "if it is at the edge of the compared rates.",
        "Mean {metric} on {images} over {count:,} seeds, in per cent. Outlined: the best of its row on {split}, dashed "
        "if it is at the edge of the compared rates.",
        verdict.n,
        metric=metric_words(verdict),
        images=evaluated_images(verdict),
        split=splits(verdict)[0],
    )
    return RateGrid(grid, _best_variant_words(verdict), caption, join([]))


def _best_variant_words(verdict: Verdict) -> Message:
    """Return which variant is the best one, and which rows have their best rate at the edge of the grid."""
    finding = ngettext(
        "{arm} is the best of {count} variant on {split}",
        "{arm} is the best of {count} variants on {split}",
        len(verdict.arms),
        arm=named_words(verdict, verdict.best_on_val),
        split=splits(verdict)[0],
    )
    at_edge = [named_words(verdict, row.variant) for row in verdict.grid_rows if row.edge]
    if not at_edge:
        return finding
    return ngettext(
        "{finding}; {arms} is at the edge of the grid",
        "{finding}; {arms} are at an edge of the grid",
        len(at_edge),
        finding=finding,
        arms=join_list(at_edge),
    )


def standalone_rates_section(inputs: PageInputs) -> Section | None:
    """Return the best val accuracy of standalone runs by optimizer and learning rate.

    Rows also have the arm if it varies. None if optimizer and learning rate are the same in all runs.
    """
    cells = _standalone_cells(inputs.runs)
    standalone = standalone_grid(inputs.runs)
    if standalone is None:
        return None
    chart = charts.heat_map(standalone.grid, label=standalone.label, columns=_("learning rate"))
    table = [[row, f"{rate:g}", f"{sum(accuracies) / len(accuracies):.1f}", str(len(accuracies))]
             for row, by_rate in cells.items()
             for rate, accuracies in sorted(by_rate.items(), reverse=True)]  # fmt: skip
    header = ["", _("learning rate"), _("val, %"), _("runs")]
    caption = join([standalone.caption, _("The table has the number of runs of each cell.")])
    return Section(standalone.label, [Figure(chart, caption, header, table)])


def _standalone_cells(runs: Sequence[PlottedRun]) -> dict[Message, dict[float, list[float]]]:
    """Return the best val accuracy of each run in per cent, by row and learning rate."""
    arms = {_start_words(run) for run in runs}
    cells: dict[Message, dict[float, list[float]]] = {}
    for run in runs:
        row = join([*([_start_words(run)] if len(arms) > 1 else []), run.run.plan.recipe.optimizer], ", ")
        if run.epochs:
            best = max(100 * line.val.accuracy for line in run.epochs)
            cells.setdefault(row, {}).setdefault(run.run.rate, []).append(best)
    return cells


def standalone_grid(runs: Sequence[PlottedRun]) -> RateGrid | None:
    """Return the cells of standalone runs; None if optimizer and learning rate are the same in all runs."""
    cells = _standalone_cells(runs)
    rates = sorted({rate for row in cells.values() for rate in row}, reverse=True)
    optimizers = {run.run.plan.recipe.optimizer for run in runs}
    if not cells or (len(rates) < 2 and len(optimizers) < 2):
        return None
    values = [[sum(row[rate]) / len(row[rate]) if rate in row else None for rate in rates] for row in cells.values()]
    best_cells, edges = best_of_rows(values)
    grid = charts.Grid(list(cells), [f"{rate:g}" for rate in rates], values, _value_texts(values), best_cells, edges)
    top = max(value for row in values for value in row if value is not None)
    first = [_("{row} at {rate:g}", row=name, rate=rate) for name, row in zip(grid.rows, values, strict=True)
             for rate, value in zip(rates, row, strict=True) if value == top]  # fmt: skip
    finding = ngettext(
        "{cells} has the highest val accuracy, {accuracy:.1f} %",
        "{cells} share the highest val accuracy, {accuracy:.1f} %",
        len(first),
        cells=join_list(first),
        accuracy=top,
    )
    return RateGrid(grid, finding, _standalone_caption(runs), join([]))


def _standalone_caption(runs: Sequence[PlottedRun]) -> Message:
    """Return how to read the heat map of standalone runs."""
    parts = [
        ngettext(
            "Best val accuracy of a run in per cent; the mean where several runs have the same optimizer and rate. "
            "{count} run. Outlined: the best of a row, dashed if its row "
            "has no rate beyond it. These numbers are optimistic, since the epochs were selected on val.",
            "Best val accuracy of a run in per cent; the mean where several runs have the same optimizer and rate. "
            "{count} runs. Outlined: the best of a row, dashed if its row "
            "has no rate beyond it. These numbers are optimistic, since the epochs were selected on val.",
            len(runs),
        )
    ]
    lengths = sorted({len(run.epochs) for run in runs if run.epochs})
    if len(lengths) > 1:
        favored = ngettext(
            "Runs have {shortest} to {count} epoch, which favors the longer ones.",
            "Runs have {shortest} to {count} epochs, which favors the longer ones.",
            lengths[-1],
            shortest=lengths[0],
        )
        parts.append(favored)
    return join(parts)


def _start_words(run: PlottedRun) -> Message:
    """Return the name of a run's arm without its optimizer and learning rate."""
    return arm_words(run.spec.without("lr", "optimizer"))


def best_of_rows(
    values: Sequence[Sequence[float | None]],
) -> tuple[frozenset[tuple[int, int]], frozenset[tuple[int, int]]]:
    """Return the cells with the highest value of each row, and those of them at an end of their row.

    A row with a single value has no ends.

    Args:
        values: Values [rows][columns], None where there is no cell; each row has at least one value.

    Returns:
        Two sets of (row, column).
    """
    best, edges = set(), set()
    for index, row in enumerate(values):
        present = [(value, -column) for column, value in enumerate(row) if value is not None]
        place = (index, -max(present)[1])
        best.add(place)
        if len(present) > 1 and place[1] in (-present[0][1], -present[-1][1]):
            edges.add(place)
    return frozenset(best), frozenset(edges)


def _value_texts(values: Sequence[Sequence[float | None]]) -> list[list[str]]:
    return [["" if value is None else f"{value:.1f}" for value in row] for row in values]
