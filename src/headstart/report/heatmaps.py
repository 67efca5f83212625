"""Heat maps of learning rates: of the search, of a comparison of rates, and of standalone runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.wording import (
    arm_words,
    evaluation_images,
    length_words,
    metric_words,
    named_words,
    splits,
)
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.layout import Figure, Section
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.storage.schemas.study import TrialScores
from headstart.storage.schemas.verdict import ArmResult, Verdict
from headstart.text import capitalize, join_list, pluralize


def searched_rates_section(inputs: StudyInputs) -> Section | None:
    """Return a heat map for each budget and seed group of the learning-rate search; None without a search."""
    verdict, search = inputs.verdict, inputs.verdict.search
    if search is None:
        return None
    figures = []
    for budget, groups in reversed(search.tried.items()):  # the verdict's budget is the last one and comes first
        for group, results in groups.items():
            choice = [length_words(budget)] if len(search.tried) > 1 else []
            choice += [group] if group != "shared" else []
            selected, edges = search.selected[budget][group], search.edges[budget][group]
            figures.append(_search_figure(verdict, results, selected, edges, ", ".join(choice)))
    at_edge = [
        name for groups in search.edges.values() for edges in groups.values() for name in edges
    ]  # shorter budgets count too, since their rates are part of the comparison
    finding = "The best rate of every arm has a worse or diverged rate on either side"
    if at_edge:
        names = list(dict.fromkeys(at_edge))
        best, where = ("best rate of", "is at the edge") if len(names) == 1 else ("best rates of", "are at an edge")
        finding = f"The {best} {join_list(named_words(verdict, name) for name in names)} {where} of the grid"
        finding += f" in {len(at_edge)} searches" if len(at_edge) > len(names) else ""
    return Section(finding, figures)


def _search_figure(
    verdict: Verdict,
    results: Mapping[str, Mapping[str, TrialScores]],
    selected: Mapping[str, float],
    edges: Mapping[str, float],
    choice: str,
) -> Figure:
    """Return the heat map of one search, arms by rates."""
    names = list(results)
    columns = sorted({rate for by_rate in results.values() for rate in by_rate}, key=float, reverse=True)
    values, texts = [], []
    for name in names:
        row = [results[name].get(rate) for rate in columns]
        means = [
            100 * sum(result.full_runs) / len(result.full_runs) if result and result.full_runs else None
            for result in row
        ]  # fmt: skip
        values.append(means)
        texts.append([_search_text(mean, result) for mean, result in zip(means, row, strict=True)])
    places = {name: (row, columns.index(f"{selected[name]:g}")) for row, name in enumerate(names)}
    grid = charts.Grid([named_words(verdict, name) for name in names], columns, values, texts,
                       frozenset(places.values()), frozenset(places[name] for name in edges))  # fmt: skip
    split, metric = splits(verdict)[0], metric_words(verdict)
    label = f"{capitalize(metric)} on {split} by arm and learning rate" + (f", {choice}" if choice else "")
    chart = charts.heat_map(grid, label=label, columns="learning rate")
    caption = (
        f"Mean {metric} on {split} in per cent over the full runs of the search seeds. In brackets: after the rung "
        "(the first evaluation of the search) only. ×: diverged. Outlined: the selected rate, dashed if it is at the "
        "edge of the grid."
    )
    table = [[name, *row] for name, row in zip(grid.rows, texts, strict=True)]
    return Figure(chart, caption, ["arm", *columns], table, choice)


def _search_text(mean: float | None, result: TrialScores | None) -> str:
    """Return the text of a cell: the mean of full runs, in brackets the accuracy after the rung, or ×."""
    if mean is not None:
        return f"{mean:.1f}"
    return f"({100 * result.rung:.0f})" if result and result.rung >= 0 else "×"


def compared_rates_section(inputs: StudyInputs) -> Section | None:
    """Return all variants of a study that compares learning rates; None for other studies."""
    verdict = inputs.verdict
    if not verdict.grid_rows:
        return None
    split, metric = splits(verdict)[0], metric_words(verdict)
    by_row: dict[str, dict[float, ArmResult]] = {}
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
    at_edge = [named_words(verdict, row.variant) for row in verdict.grid_rows if row.edge]
    finding = (
        f"{capitalize(named_words(verdict, verdict.selected))} is the best of {len(verdict.arms)} variants on {split}"
    )
    if at_edge:
        where = "is at the edge" if len(at_edge) == 1 else "are at an edge"
        finding += f"; {join_list(at_edge)} {where} of the grid"
    caption = (
        f"Mean {metric} on {verdict.evaluation.images} {evaluation_images(verdict)} over "
        f"{pluralize(verdict.n, 'seed')}, "
        f"in per cent. Outlined: the best of its row on {split}, dashed if it is at the edge of the compared rates."
    )
    chart = charts.heat_map(grid, label=finding, columns="learning rate")
    table = [[name, *row] for name, row in zip(by_row, grid.texts, strict=True)]
    return Section(finding, [Figure(chart, caption, ["", *grid.columns], table)])


def standalone_rates_section(inputs: PageInputs) -> Section | None:
    """Return the best val accuracy of standalone runs by optimizer and learning rate.

    Rows also have the arm if it varies. None if optimizer and learning rate are the same in all runs.
    """
    runs = inputs.runs
    arms = {_start_words(run) for run in runs}
    cells: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        row = ", ".join([*([_start_words(run)] if len(arms) > 1 else []), run.run.plan.recipe.optimizer])
        if run.epochs:
            best = max(100 * line.val.accuracy for line in run.epochs)
            cells.setdefault(row, {}).setdefault(run.run.rate, []).append(best)
    rates = sorted({rate for row in cells.values() for rate in row}, reverse=True)
    optimizers = {run.run.plan.recipe.optimizer for run in runs}
    if not cells or (len(rates) < 2 and len(optimizers) < 2):
        return None
    values = [[sum(row[rate]) / len(row[rate]) if rate in row else None for rate in rates] for row in cells.values()]
    best_cells, edges = best_of_rows(values)
    grid = charts.Grid(list(cells), [f"{rate:g}" for rate in rates], values, _value_texts(values), best_cells, edges)
    top = max(value for row in values for value in row if value is not None)
    first = [f"{name} at {rate:g}" for name, row in zip(grid.rows, values, strict=True)
             for rate, value in zip(rates, row, strict=True) if value == top]  # fmt: skip
    share = "has" if len(first) == 1 else "share"
    finding = f"{capitalize(join_list(first))} {share} the highest val accuracy, {top:.1f} %"
    chart = charts.heat_map(grid, label=finding, columns="learning rate")
    caption = (
        f"Best val accuracy of a run in per cent; the mean where several runs have the same optimizer and rate. "
        f"{len(runs)} runs; the table has the number of runs per cell. Outlined: the best of a row, dashed if its row "
        "has no rate beyond it. These numbers are optimistic, since the epochs were selected on val."
    )
    lengths = sorted({len(run.epochs) for run in runs if run.epochs})
    if len(lengths) > 1:
        caption += f" Runs have {lengths[0]} to {lengths[-1]} epochs, which favors the longer ones."
    table = [[row, f"{rate:g}", f"{sum(accuracies) / len(accuracies):.1f}", str(len(accuracies))]
             for row, by_rate in cells.items()
             for rate, accuracies in sorted(by_rate.items(), reverse=True)]  # fmt: skip
    figure = Figure(chart, caption, ["", "learning rate", "val, %", "runs"], table)
    return Section(finding, [figure])


def _start_words(run: PlottedRun) -> str:
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
