"""Learning curves over epochs, images and seconds, and the time to the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.sentences import median_words
from headstart.analysis.wording import arm_words, metric_words, named_words, splits
from headstart.metrics.registry import DEFAULT_METRIC
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.layout import Figure, Section, legend_entries
from headstart.report.series import PlottedRun, mean_and_band
from headstart.report.svg import charts
from headstart.storage.schemas.verdict import TimesToTarget, Verdict
from headstart.text import capitalize, join_list, pluralize

UNITS = {"epochs": "epochs", "images": "training images", "seconds": "seconds of training"}
MAX_NAMED_LINES = 12  # standalone runs whose lines all have a name
MAX_TABLE_ROWS = 1000  # epochs in the table of standalone runs


def learning_section(inputs: StudyInputs) -> Section:
    """Return the accuracy on the selection split during training, over epochs, images and seconds."""
    verdict, runs_of = inputs.verdict, inputs.runs_by_arm
    (selection, evaluation), metric = splits(verdict), metric_words(verdict)
    figures = []
    target = 100 * verdict.target if verdict.target else None
    lines = f"Thin: each seed. Thick: the mean of {verdict.n}, with its pointwise 95 % t interval."
    lines = "Thick: the only seed." if verdict.n == 1 else lines + _early_end_words(runs_of)
    caption = (
        f"{lines} The epoch is selected on {_selection_images(inputs.runs, selection)}; the verdict uses {evaluation}."
    )
    means: dict[str, list[float]] = {}
    for unit, words in UNITS.items():
        series, table = [], []
        for arm, arm_runs in runs_of.items():
            paths = [run.curve(unit, verdict.metric) for run in arm_runs]
            mean, band = mean_and_band(paths)
            means[arm] = [y for _, y in mean]
            series.append(charts.Series(named_words(verdict, arm), inputs.color[arm], paths, mean, band))
            table += [[named_words(verdict, arm), f"{x:g}", f"{y:.1f}", str(sum(len(path) > index for path in paths))]
                      for index, (x, y) in enumerate(mean)]  # fmt: skip
        chart = charts.curves(
            series, x=words, y=f"{metric} on {selection}, %", target=target, shares=True,
            label=f"{capitalize(metric)} over {words}",
        )  # fmt: skip
        header = ["arm", words, f"{selection}, %", "runs"]
        figures.append(Figure(chart, caption, header, table, words, legend_entries(series)))
    finding = f"{capitalize(named_words(verdict, verdict.selected))} {_lead_words(means, verdict.selected, selection)}"
    return Section(finding, figures)


def _selection_images(runs: Sequence[PlottedRun], selection: str) -> str:
    """Return the number of images of the selection split, which all runs of a study share: "540 val images"."""
    counts = sorted({run.run.plan.facts.split_counts.get("val", 0) for run in runs} - {0})
    images = f"{join_list(f'{count:,}' for count in counts)} " if counts else ""
    return f"{images}val images" if selection == "val" else f"{images}images of {selection}"


def _early_end_words(runs_of: Mapping[str, Sequence[PlottedRun]]) -> str:
    """Return a sentence on arms whose mean rests on fewer runs from some epoch on; "" if there are none."""
    shrinking = []
    for runs in runs_of.values():
        ends = sorted(len(run.epochs) for run in runs)
        steps = [
            (len(ends) - count, end + 1)
            for count, end in enumerate(ends, 1)
            if end < ends[-1] and ends[count] > end
        ]  # fmt: skip
        if steps:
            since = (f"{pluralize(remaining, 'run')} from epoch {epoch}" for remaining, epoch in steps)
            shrinking.append(f"{arm_words(runs[0].spec)} has {join_list(since)}")
    return f" The mean excludes runs that ended early: {'; '.join(shrinking)}." if shrinking else ""


def _lead_words(means: Mapping[str, Sequence[float]], selected: str, selection: str) -> str:
    """Return in how many epochs the selected arm's mean is the highest, of those with at least two arms to compare."""
    own, others = means[selected], [mean for arm, mean in means.items() if mean and arm != selected]
    if own and not others:
        return "is the only arm with a curve"
    longest = max(map(len, others), default=0)
    compared = min(longest, len(own))
    ahead = sum(
        value > max(mean[index] for mean in others if len(mean) > index)
        for index, value in enumerate(own[:compared])
    )  # fmt: skip
    if not ahead:
        return f"is never ahead on {selection}"
    until = f", up to epoch {compared}, where {'it ends' if compared < longest else 'the others end'}"
    until = until if len(own) != longest else ""
    fewer = min(map(len, others)) + 1
    until += f" (from epoch {fewer} on against fewer arms)" if fewer <= compared else ""
    share = f" in {ahead} of {pluralize(compared, 'epoch')}" if ahead < compared else ""
    return f"is ahead on {selection}{share}{until}"


def standalone_section(inputs: PageInputs) -> Section:
    """Return the val accuracy of runs outside a study, one line per run."""
    runs, color = inputs.runs, inputs.color
    figures = []
    all_named = len(runs) <= MAX_NAMED_LINES
    all_epochs = sum(len(run.epochs) for run in runs) <= MAX_TABLE_ROWS
    first = {run.arm: run for run in reversed(runs)}  # of many runs only the first of each arm has a name
    plotted = sum(bool(run.epochs) for run in runs)
    caption = f"One line per run ({plotted})" if plotted > 1 else "The run"
    caption += "." if all_named else ", in the color of its arm."
    caption += f" Without a finished epoch: {len(runs) - plotted} more." if plotted < len(runs) else ""
    caption += f" The epoch is selected on {_selection_images(runs, 'val')}."
    caption += "" if all_epochs else " The table has the last epoch of each run; metrics.jsonl of a run has all."
    for unit, words in UNITS.items():
        curves = [(run, run.curve(unit, DEFAULT_METRIC)) for run in runs]
        series = [
            charts.Series(run.name, color[run.arm], [], curve) if all_named
            else charts.Series(arm_words(run.spec) if first[run.arm] is run else "", color[run.arm], [curve])
            for run, curve in curves
        ]  # fmt: skip
        chart = charts.curves(series, x=words, y="val accuracy, %", label=f"Val accuracy over {words}", shares=True)
        table = [[run.name, f"{x:g}", f"{y:.1f}"]
                 for run, curve in curves for x, y in (curve if all_epochs else curve[-1:])]  # fmt: skip
        figures.append(Figure(chart, caption, ["run", words, "val, %"], table, words, legend_entries(series)))
    finished = sum(bool(run.run.result) for run in runs)
    finding = f"{finished} of {len(runs)} runs have ended"
    if len(runs) == 1:
        finding = best_epoch_words(runs[0])
    if not any(run.epochs for run in runs):
        finding, figures = "No run has finished an epoch", []
    return Section(finding, figures)


def best_epoch_words(run: PlottedRun) -> str:
    """Return a sentence on the epoch with the highest accuracy on val, the first of equal ones."""
    epoch, best = max(run.curve("epochs", DEFAULT_METRIC), key=lambda point: (point[1], -point[0]), default=(0, 0.0))
    return f"Epoch {epoch:g} of {len(run.epochs)} has the highest val accuracy, {best:.1f} %"


def target_section(inputs: StudyInputs) -> Section | None:
    """Return when runs reached the target on the selection split; None without a target.

    Runs that never reached it are shown where they ended.
    """
    verdict = inputs.verdict
    times = {arm.name: arm.to_target for arm in verdict.arms if arm.to_target is not None}
    if not times:
        return None
    figures = []
    percent = f"{100 * verdict.target:.3g} %"
    images = _selection_images(inputs.runs, splits(verdict)[0])
    for unit, words in UNITS.items():
        rows, table = [], []
        for arm in verdict.arms:
            reached = [run.to_target.by_unit()[unit] for run in arm.seeds if run.to_target]
            censored = [run.by_unit()[unit] for run in arm.seeds if not run.to_target]
            median = times[arm.name].by_unit()[unit].median
            rows.append(charts.EventRow(arm_words(arm.spec), inputs.color[arm.name], reached, censored, median))
            table.append([arm_words(arm.spec), "not reached" if median is None else f"{median:g}",
                          f"{len(reached)} of {len(arm.seeds)}"])  # fmt: skip
        chart = charts.events(rows, x=words, label=f"{words} to {percent} on {splits(verdict)[0]}")
        caption = (
            f"One dot for each of the {pluralize(verdict.n, 'seed')} of an arm, evaluated on {images}. Filled: "
            "reached the target. Open: ended before it. Bar: the median of all."
        )
        figures.append(Figure(chart, caption, ["arm", f"median {words}", "reached"], table, words))
    return Section(_target_words(verdict, times, percent), figures)


def _target_words(verdict: Verdict, times_of: Mapping[str, TimesToTarget], percent: str) -> str:
    """Return a sentence on the arms whose median run reaches the target first."""
    times = {name: of_arm.epochs for name, of_arm in times_of.items()}
    medians = {name: time.median for name, time in times.items() if time.median is not None}
    if not medians:
        return f"No arm's median run reaches {percent}"
    earliest = min(medians.values())
    first_times = [times[name] for name, median in medians.items() if median == earliest]
    fewest = min(first_times, key=lambda time: time.reached)
    when = median_words(fewest, every_run=len(first_times) > 1 or fewest.reached == fewest.n)
    first = [named_words(verdict, name) for name, median in medians.items() if median == earliest]
    if len(first) == len(times):
        return f"The median run of every arm reaches {percent} {when}"
    return f"{capitalize(join_list(first))} reach{'es' if len(first) == 1 else ''} {percent} first, {when}"
