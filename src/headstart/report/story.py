"""What the page says, in its order: each section asks one question, is titled by what was found, and has its numbers.

A section is plain values and charts; `page.html` lays them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup
from scipy import stats

from headstart.report import charts
from headstart.report.records import Drawn, mean_and_band, thinned
from headstart.verdict.words import arm_words, headline_contrast, points

UNITS = {"epochs": "epochs", "images": "training images", "seconds": "seconds of training"}
MOST_COLOURS = 6
GREY, BLUE = 0, 1  # scratch, the winner


@dataclass(frozen=True)
class Figure:
    """A chart, a line on how to read it, and its numbers as a table: a head and rows."""

    chart: Markup
    how: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    choice: str = ""  # what this one is called where several take turns


@dataclass(frozen=True)
class Section:
    """One question and its answer. Several figures take turns, by their `choice`."""

    anchor: str
    question: str
    finding: str
    figures: Sequence[Figure] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)


def colours(arms: Sequence[str], winner: str) -> dict[str, int]:
    """Grey for the first arm from scratch, blue for the winner, others in turn; a colour comes again after six."""
    found: dict[str, int] = {}
    free = 2
    for arm in arms:
        if arm == winner:
            found[arm] = BLUE
        elif arm.startswith("scratch") and GREY not in found.values():
            found[arm] = GREY
        else:
            found[arm] = free
            free = free + 1 if free + 1 < MOST_COLOURS else 2
    return found


def difference(verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Figure | None:
    """The contrast of the headline as a picture: its interval, its seeds, the zone of the tie."""
    seen = headline_contrast(verdict)
    if seen is None:
        return None
    of = {arm["name"]: {run["seed"]: run["test"] for run in arm["seeds"]} for arm in verdict["arms"]}
    one, other = of[seen["first"]], of[seen["second"]]
    seeds = [100 * (one[seed] - other[seed]) for seed in sorted(one)]
    row = charts.Row(
        "difference", colour[seen["first"]], 100 * seen["mean"], 100 * seen["low"], 100 * seen["high"], seeds
    )
    words = f"{arm_words(seen['first'])} minus {arm_words(seen['second'])}"
    label = f"{words}: {points(seen['mean'], signed=True)} points, from {points(seen['low'])} to {points(seen['high'])}"
    chart = charts.intervals([row], unit=f"points, {words}", label=label, tie=100 * verdict["tie"], zero=True)
    how = (
        f"Large dot: the mean difference; bar: its {100 * seen['level']:.3g} % interval; small dots: the {seen['n']} "
        f"paired seeds; shaded: ±{points(verdict['tie'])}, inside which arms are practically equal. "
        f"{seen['m']} images judged."
    )
    rows = [[str(seed), f"{value:+.1f}"] for seed, value in zip(sorted(one), seeds, strict=True)]
    return Figure(chart, how, ["seed", "difference in points"], rows)


def arms(verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Section:
    """Accuracy of each arm, with every seed."""
    rows, table = [], []
    for arm in sorted(verdict["arms"], key=lambda arm: -arm["test"]):
        values = [100 * run["test"] for run in arm["seeds"]]
        several = len(values) > 1
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if several else 0.0
        mean = 100 * arm["test"]
        interval = f"{mean - half:.1f} to {mean + half:.1f}" if several else "–"
        rows.append(
            charts.Row(arm_words(arm["name"]), colour[arm["name"]], mean, mean - half, mean + half, values,
                       arm["name"] == verdict["winner"])
        )  # fmt: skip
        table.append([arm_words(arm["name"]), f"{mean:.1f}", interval,
                      ", ".join(f"{value:.1f}" for value in values), f"{100 * arm['val']:.1f}"])  # fmt: skip
    best, worst = rows[0], rows[-1]
    images = verdict["judge"]["images"]
    finding = (
        f"{_capital(best.name)} has the highest mean, {best.mean:.1f} %; {worst.name} the lowest, {worst.mean:.1f} %"
    )
    chart = charts.intervals(rows, unit=f"accuracy on {images} images, %", label=finding)
    how = (
        f"Small dots: each of the {verdict['n']} seeds; large dot and bar: the mean with its 95 % t interval over "
        "seeds (differences between arms are paired and have their own intervals, above)."
    )
    head = ["arm", "mean, %", "95 % over seeds", "seeds, %", "val, %"]
    others = [f"{text[0].upper()}{text[1:]}." for text in verdict["sentences"].get("others", ())]
    return Section("arms", "How good is each arm?", finding, [Figure(chart, how, head, table)], others)


def learning(runs: Sequence[Drawn], verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Section:
    """Val accuracy while training: over epochs, images, seconds."""
    by_arm = _by_arm(runs, verdict)
    figures = []
    target = 100 * verdict["target"] if verdict["target"] else None
    for unit, words in UNITS.items():
        series, table = [], []
        for arm, some in by_arm.items():
            paths = [one.curve(unit, verdict["metric"]) for one in some]
            mean, band = mean_and_band(paths)
            series.append(charts.Series(arm_words(arm), colour[arm], paths, mean, band))
            table += [[arm_words(arm), f"{x:g}", f"{y:.1f}"] for x, y in mean]
        chart = charts.curves(series, x=words, y="val accuracy, %", target=target, label=f"Val accuracy over {words}")
        how = (
            f"Thin: each seed; thick: the mean of {verdict['n']}, with its pointwise 95 % t interval. "
            "The val images choose the epoch; the verdict rests on others."
        )
        figures.append(Figure(chart, how, ["arm", words, "val, %"], table, words))
    winner = verdict["winner"]
    paths_of = {arm: [run.curve("epochs", verdict["metric"]) for run in some] for arm, some in by_arm.items()}
    means = {arm: [y for _, y in mean_and_band(paths)[0]] for arm, paths in paths_of.items()}
    lead = [at[winner] == max(at.values()) for at in _by_epoch(means)] if means[winner] else []
    where = "is ahead in every epoch" if lead and all(lead) else f"is ahead in {sum(lead)} of {len(lead)} epochs"
    return Section("curves", "How does it learn?", f"{_capital(arm_words(winner))} {where}", figures)


def _by_epoch(curves: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Arm by arm, epoch by epoch as far as all go that have begun."""
    known = {arm: values for arm, values in curves.items() if values}
    return [{arm: values[at] for arm, values in known.items()} for at in range(min(map(len, known.values())))]


def loose(runs: Sequence[Drawn], colour: Mapping[str, int]) -> Section:
    """Val accuracy of runs that belong to no study, each by itself."""
    figures = []
    for unit, words in UNITS.items():
        series = [charts.Series(run.name, colour[run.arm], [], run.curve(unit, "accuracy")) for run in runs]
        chart = charts.curves(series, x=words, y="val accuracy, %", label=f"Val accuracy over {words}")
        table = [[run.name, f"{x:g}", f"{y:.1f}"] for run in runs for x, y in run.curve(unit, "accuracy")]
        figures.append(Figure(chart, "A line for each run.", ["run", words, "val, %"], table, words))
    finished = sum(bool(run.run.result) for run in runs)
    return Section("curves", "How does it learn?", f"{finished} of {len(runs)} runs have come to their end", figures)


def target(verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Section | None:
    """When runs passed the target on val; those that never did are shown where they ended."""
    if not verdict["target"]:
        return None
    figures = []
    for unit, words in UNITS.items():
        rows, table = [], []
        for arm in verdict["arms"]:
            got = [run["to_target"][unit] for run in arm["seeds"] if run["to_target"]]
            never = [run[unit] for run in arm["seeds"] if not run["to_target"]]
            median = arm["to_target"][unit]["median"]
            rows.append(charts.Event(arm_words(arm["name"]), colour[arm["name"]], got, never, median))
            table.append([arm_words(arm["name"]), "not reached" if median is None else f"{median:g}",
                          f"{len(got)} of {len(arm['seeds'])}"])  # fmt: skip
        chart = charts.events(rows, x=words, label=f"{words} to {100 * verdict['target']:.3g} % on val")
        how = (
            "Filled: a run that passed the target; open: a run that ended before it did; bar: the Kaplan-Meier median."
        )
        figures.append(Figure(chart, how, ["arm", f"median {words}", "reached"], table, words))
    medians = {arm["name"]: arm["to_target"]["epochs"]["median"] for arm in verdict["arms"]}
    reached = {name: median for name, median in medians.items() if median is not None}
    if not reached:
        finding = f"No arm's median run passes {100 * verdict['target']:.3g} %"
    else:
        first = min(reached, key=lambda name: reached[name])
        passed = f"passes {100 * verdict['target']:.3g} % first, after {reached[first]:g} epochs"
        finding = f"{_capital(arm_words(first))} {passed}"
    return Section("target", "How soon is it good enough?", finding, figures)


def rates(runs: Sequence[Drawn], colour: Mapping[str, int]) -> Section:
    """The learning rate of every run, step by step."""
    series = []
    for run in runs:
        paths = [thinned(path) for part, path in run.rates.items() if part == "head" or path != run.rates.get("head")]
        series.append(charts.Series("", colour[run.arm], paths))
    chart = charts.curves(series, x="step", y="learning rate", log=True, label="Learning rate of every run, by step")
    used = sorted({run.run.rate for run in runs})
    finding = f"{len(runs)} runs with the base rates {', '.join(f'{rate:g}' for rate in used)}"
    table = [[run.name, f"{run.run.rate:g}", run.run.plan["recipe"]["optimizer"], run.run.plan["recipe"]["schedule"]]
             for run in runs]  # fmt: skip
    how = (
        "A line for each run, in the colour of its arm, on a logarithmic axis: what was read back from the optimizer "
        "at each step."
    )
    figure = Figure(chart, how, ["run", "rate", "optimizer", "schedule"], table)
    return Section("rates", "Which learning rates?", finding, [figure])


def rate_grid(verdict: Mapping[str, Any]) -> Section | None:
    """The search of learning rates, or the grid that was compared, as a heat map."""
    tried = verdict["search"].get("tried", {}).get(verdict["budget"], {})
    if not tried:
        return None
    figures = []
    for group, cells in tried.items():
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
        chosen = verdict["search"]["chosen"][verdict["budget"]][group]
        edges = verdict["search"]["edges"].get(verdict["budget"], {}).get(group, {})
        taken = {name: (row, columns.index(f"{chosen[name]:g}")) for row, name in enumerate(names)}
        at_edge = frozenset(place for name, place in taken.items() if name in edges)
        grid = charts.Grid([arm_words(name) for name in names], columns, values, texts,
                           frozenset(taken.values()), at_edge)  # fmt: skip
        chart = charts.heat_map(grid, label="Val accuracy by arm and learning rate", columns="learning rate")
        how = (
            "Mean val accuracy in per cent of whole runs on the search seeds; in brackets after the rung only, × where "
            "it diverged; outlined: the rate that was taken, dashed where it lies at the edge of the grid."
        )
        table = [[arm_words(name), *row] for name, row in zip(names, texts, strict=True)]
        figures.append(Figure(chart, how, ["arm", *columns], table, "" if group == "shared" else group))
    of_groups = verdict["search"]["edges"].get(verdict["budget"], {}).values()
    ends = sorted({name for edges in of_groups for name in edges})
    finding = "Every arm's best rate lies inside the grid"
    if ends:
        finding = f"The best rate of {', '.join(map(arm_words, ends))} lies at the edge of the grid"
    return Section("grid", "Were the learning rates fair?", finding, figures)


def cost(verdict: Mapping[str, Any], colour: Mapping[str, int]) -> Section:
    """Minutes of training against accuracy."""
    rows, table = [], []
    for arm in verdict["arms"]:
        seconds = sum(run["seconds"] for run in arm["seeds"]) / len(arm["seeds"])
        rows.append((arm_words(arm["name"]), colour[arm["name"]], max(seconds / 60, 1e-4), 100 * arm["test"]))
        images = sum(run["images"] for run in arm["seeds"]) / len(arm["seeds"])
        table.append([arm_words(arm["name"]), f"{seconds / 60:.2f}", f"{images:,.0f}", f"{100 * arm['test']:.1f}"])
    cheapest = min(rows, key=lambda row: row[2])
    finding = f"A run of {cheapest[0]} is the cheapest, {cheapest[2]:.2g} minutes of training"
    chart = charts.scatter(rows, x="minutes of training per run", y="accuracy, %", log=True, label=finding)
    how = (
        "One dot for each arm: mean minutes that a run trained and validated, and mean accuracy. Searches come on top."
    )
    spent = verdict["cost"]
    notes = [
        f"{words}: {spent[stage]['runs']} runs, {spent[stage]['images']:,} training images, "
        f"{spent[stage]['seconds'] / 60:.1f} minutes of training."
        for stage, words in (("search", "Search"), ("main", "Comparison"), ("source", "Sources"))
        if spent[stage]["runs"]
    ]
    head = ["arm", "minutes a run", "images a run", "accuracy, %"]
    return Section("cost", "What does it cost?", finding, [Figure(chart, how, head, table)], notes)


def _by_arm(runs: Sequence[Drawn], verdict: Mapping[str, Any]) -> dict[str, list[Drawn]]:
    """Runs of the verdict's condition, by arm in the declared order."""
    counted = {run["run"] for arm in verdict["arms"] for run in arm["seeds"]}
    found: dict[str, list[Drawn]] = {arm["name"]: [] for arm in verdict["arms"]}
    for run in runs:
        if run.run.folder.name in counted:
            found[run.arm].append(run)
    return found


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
