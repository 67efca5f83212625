"""Learning rates as heat maps: those that were searched, those that were compared, those that loose runs had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.analysis.wording import arm_words, judged, length_words, metric_words, splits
from headstart.report.sections import Figure, Section
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.text import capitalize, join_list, pluralize


def searched(verdict: Mapping[str, Any]) -> Section | None:
    """The search of learning rates: a heat map for each budget and each group of seeds that was searched."""
    search = verdict["search"]
    tried = {budget: groups for budget, groups in search.get("tried", {}).items() if groups}
    if not tried:
        return None
    figures = []
    for budget, groups in reversed(tried.items()):  # the verdict's budget, which was asked last, comes first
        for group, cells in groups.items():
            choice = [length_words(budget)] if len(tried) > 1 else []
            choice += [group] if group != "shared" else []
            taken, edges = search["chosen"][budget][group], search["edges"].get(budget, {}).get(group, {})
            figures.append(_searched_figure(verdict, cells, taken, edges, ", ".join(choice)))
    ends = [
        name for budget in tried for edges in search["edges"].get(budget, {}).values() for name in edges
    ]  # also of the shorter budgets, whose rates are as much part of the comparison
    finding = "Every arm's best rate has a worse one, or one that diverged, on either side"
    if ends:
        names = list(dict.fromkeys(ends))
        best, where = ("best rate of", "lies at the edge") if len(names) == 1 else ("best rates of", "lie at an edge")
        finding = f"The {best} {join_list(map(arm_words, names))} {where} of the grid"
        finding += f" in {len(ends)} searches" if len(ends) > len(names) else ""
    return Section("grid", "Were the learning rates fair?", finding, figures)


def _searched_figure(
    verdict: Mapping[str, Any],
    cells: Mapping[str, Mapping[str, Any]],
    taken: Mapping[str, float],
    edges: Mapping[str, float],
    choice: str,
) -> Figure:
    """One search: arms by rates."""
    names = list(cells)
    columns = sorted({rate for cell in cells.values() for rate in cell}, key=float, reverse=True)
    values, texts = [], []
    for name in names:
        found = [cells[name].get(rate) for rate in columns]
        means = [100 * sum(f["whole"]) / len(f["whole"]) if f and f["whole"] else None for f in found]
        values.append(means)
        texts.append([
            f"{mean:.1f}" if mean is not None else f"({100 * f['rung']:.0f})" if f and f["rung"] >= 0 else "×"
            for mean, f in zip(means, found, strict=True)
        ])  # fmt: skip
    places = {name: (row, columns.index(f"{taken[name]:g}")) for row, name in enumerate(names)}
    grid = charts.Grid([arm_words(name) for name in names], columns, values, texts,
                       frozenset(places.values()), frozenset(places[name] for name in edges))  # fmt: skip
    chose, metric = splits(verdict)[0], metric_words(verdict)
    label = f"{capitalize(metric)} on {chose} by arm and learning rate" + (f", {choice}" if choice else "")
    chart = charts.heat_map(grid, label=label, columns="learning rate")
    how = (
        f"Mean {metric} on {chose} in per cent of whole runs on the search seeds; in brackets after the rung only, "
        "× where it diverged; outlined: the rate that was taken, dashed where it lies at the edge of the grid."
    )
    table = [[name, *row] for name, row in zip(grid.rows, texts, strict=True)]
    return Figure(chart, how, ["arm", *columns], table, choice)


def compared(verdict: Mapping[str, Any]) -> Section | None:
    """Where learning rates are what is compared: every cell of the grid, never the best alone."""
    if not verdict["grid_rows"]:
        return None
    chose, metric = splits(verdict)[0], metric_words(verdict)
    by_row: dict[str, dict[float, Mapping[str, Any]]] = {}
    for arm in verdict["arms"]:
        by_row.setdefault(_row_words(arm["name"]), {})[arm["seeds"][0]["lr"]] = arm
    rates = sorted({rate for row in by_row.values() for rate in row}, reverse=True)
    values = [[100 * row[rate]["test"] if rate in row else None for rate in rates] for row in by_row.values()]
    place = {
        arm["name"]: (at, rates.index(rate)) for at, row in enumerate(by_row.values()) for rate, arm in row.items()
    }
    taken = frozenset(place[row["variant"]] for row in verdict["grid_rows"])
    edges = frozenset(place[row["variant"]] for row in verdict["grid_rows"] if row["edge"])
    grid = charts.Grid(list(by_row), [f"{rate:g}" for rate in rates], values, _in_cells(values), taken, edges)
    at_edge = [arm_words(row["variant"]) for row in verdict["grid_rows"] if row["edge"]]
    finding = f"By {chose}, {arm_words(verdict['chosen'])} is the best of {len(verdict['arms'])} cells"
    if at_edge:
        where = "lies at the edge" if len(at_edge) == 1 else "lie at an edge"
        finding += f"; {join_list(at_edge)} {where} of the grid"
    how = (
        f"Mean {metric} on {verdict['evaluation']['images']} {judged(verdict)} over {pluralize(verdict['n'], 'seed')}, in per "
        f"cent; outlined: the best of its row by {chose}, dashed where it lies at the edge of what was compared."
    )
    chart = charts.heat_map(grid, label=finding, columns="learning rate")
    table = [[name, *row] for name, row in zip(by_row, grid.texts, strict=True)]
    return Section("grid", "Which learning rate?", finding, [Figure(chart, how, ["", *grid.columns], table)])


def loose(runs: Sequence[PlottedRun]) -> Section | None:
    """Best val accuracy by optimizer (and arm, where they differ) and learning rate; None where all runs are alike."""
    arms = {_start_words(run) for run in runs}
    cells: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        row = ", ".join([*([_start_words(run)] if len(arms) > 1 else []), run.run.plan["recipe"]["optimizer"]])
        if run.epochs:
            best = max(100 * line["val"]["accuracy"] for line in run.epochs)
            cells.setdefault(row, {}).setdefault(run.run.rate, []).append(best)
    rates = sorted({rate for row in cells.values() for rate in row}, reverse=True)
    optimizers = {run.run.plan["recipe"]["optimizer"] for run in runs}
    if not cells or (len(rates) < 2 and len(optimizers) < 2):
        return None
    values = [[sum(row[rate]) / len(row[rate]) if rate in row else None for rate in rates] for row in cells.values()]
    taken, edges = best_of_rows(values)
    grid = charts.Grid(list(cells), [f"{rate:g}" for rate in rates], values, _in_cells(values), taken, edges)
    top = max(value for row in values for value in row if value is not None)
    first = [f"{row} at {rate:g}" for row, line in zip(grid.rows, values, strict=True)
             for rate, value in zip(rates, line, strict=True) if value == top]  # fmt: skip
    share = "has" if len(first) == 1 else "share"
    finding = f"{capitalize(join_list(first))} {share} the highest val accuracy, {top:.1f} %"
    chart = charts.heat_map(grid, label=finding, columns="learning rate")
    how = (
        f"Best val accuracy of a run in per cent, a mean where several have the same optimizer and rate; {len(runs)} "
        "runs, counted in the table. Outlined: the best of a row, dashed where its row has no rate beyond it. Val "
        "chose the epochs, so that these numbers flatter."
    )
    lengths = sorted({len(run.epochs) for run in runs if run.epochs})
    if len(lengths) > 1:
        how += f" Runs have {lengths[0]} to {lengths[-1]} epochs, and the longer ones an advantage."
    table = [[row, f"{rate:g}", f"{sum(some) / len(some):.1f}", str(len(some))]
             for row, of_rate in cells.items() for rate, some in sorted(of_rate.items(), reverse=True)]  # fmt: skip
    figure = Figure(chart, how, ["", "learning rate", "val, %", "runs"], table)
    return Section("grid", "Which optimizer and learning rate?", finding, [figure])


def _start_words(run: PlottedRun) -> str:
    """An arm without its optimizer and learning rate, which have places of their own."""
    first, *varied = run.arm.split(",")
    first = first.removesuffix(f"@{run.run.plan['recipe']['optimizer']}")
    return arm_words(",".join([first, *(part for part in varied if not part.startswith(("lr=", "optimizer=")))]))


def best_of_rows(
    values: Sequence[Sequence[float | None]],
) -> tuple[frozenset[tuple[int, int]], frozenset[tuple[int, int]]]:
    """The highest value of each row, and which of them are at an end of what their row has, if it has several."""
    taken, edges = set(), set()
    for at, row in enumerate(values):
        known = [(value, -column) for column, value in enumerate(row) if value is not None]
        place = (at, -max(known)[1])
        taken.add(place)
        if len(known) > 1 and place[1] in (-known[0][1], -known[-1][1]):
            edges.add(place)
    return frozenset(taken), frozenset(edges)


def _in_cells(values: Sequence[Sequence[float | None]]) -> list[list[str]]:
    return [["" if value is None else f"{value:.1f}" for value in row] for row in values]


def _row_words(name: str) -> str:
    """A cell's name without its learning rate."""
    first, *varied = name.split(",")
    return arm_words(",".join([first, *(part for part in varied if not part.startswith("lr="))]))
