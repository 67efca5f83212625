"""Learning curves over epochs, images and seconds, and the time to the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.sentences import median_words
from headstart.analysis.wording import arm_words, metric_words, named_words, splits
from headstart.i18n import Message, _, join, ngettext
from headstart.metrics.registry import DEFAULT_METRIC
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.layout import Figure, Section, legend_entries
from headstart.report.series import PlottedRun, mean_and_band
from headstart.report.svg import charts
from headstart.report.words import early_end_words, metric_over, selection_images
from headstart.storage.schemas.verdict import TimesToTarget, Verdict
from headstart.text import join_list

UNITS = {"epochs": _("epochs"), "images": _("training images"), "seconds": _("seconds of training")}
MAX_NAMED_LINES = 12  # standalone runs whose lines all have a name
MAX_TABLE_ROWS = 1000  # epochs in the table of standalone runs


def learning_section(inputs: StudyInputs) -> Section:
    """Return the accuracy on the selection split during training, over epochs, images and seconds."""
    verdict, runs_of = inputs.verdict, inputs.runs_by_arm
    selection, metric = splits(verdict)[0], metric_words(verdict)
    figures = []
    target = 100 * verdict.target if verdict.target else None
    caption = _learning_caption(inputs)
    means: dict[str, list[float]] = {}
    for unit, words in UNITS.items():
        series, table = [], []
        for arm, arm_runs in runs_of.items():
            paths = [run.curve(unit, verdict.metric) for run in arm_runs]
            mean, band = mean_and_band(paths)
            means[arm] = [y for _x, y in mean]
            series.append(charts.Series(named_words(verdict, arm), inputs.color[arm], paths, mean, band))
            table += [[named_words(verdict, arm), f"{x:g}", f"{y:.1f}", str(sum(len(path) > index for path in paths))]
                      for index, (x, y) in enumerate(mean)]  # fmt: skip
        chart = charts.curves(
            series, x=words, y=_("{metric} on {split}, %", metric=metric, split=selection), target=target, shares=True,
            label=metric_over(metric, words),
        )  # fmt: skip
        header = [_("arm"), words, _("{split}, %", split=selection), _("runs")]
        figures.append(Figure(chart, caption, header, table, words, legend_entries(series)))
    return Section(_lead_words(verdict, means), figures)


def _learning_caption(inputs: StudyInputs) -> Message:
    """Return how to read the curves of a study."""
    verdict = inputs.verdict
    evaluation = splits(verdict)[1]
    lines = [_("Thick: the only seed.")]
    if verdict.n > 1:
        mean = _("Thin: each seed. Thick: the mean of {count}, with its pointwise 95 % t interval.", count=verdict.n)
        lines = [mean, *early_end_words({named_words(verdict, arm): runs for arm, runs in inputs.runs_by_arm.items()})]
    used = _(
        "The epoch is selected on {images}; the verdict uses {split}.",
        images=selection_images(inputs.runs, verdict),
        split=evaluation,
    )
    return join([*lines, used])


def _lead_words(verdict: Verdict, means: Mapping[str, Sequence[float]]) -> Message:
    """Return in how many epochs the selected arm's mean is the highest, of those with at least two arms to compare."""
    arm, split = named_words(verdict, verdict.selected), splits(verdict)[0]
    own, others = means[verdict.selected], [mean for name, mean in means.items() if mean and name != verdict.selected]
    if own and not others:
        return _("{arm} is the only arm with a curve", arm=arm)
    longest = max(map(len, others), default=0)
    compared = min(longest, len(own))
    ahead = sum(
        value > max(mean[index] for mean in others if len(mean) > index)
        for index, value in enumerate(own[:compared])
    )  # fmt: skip
    if not ahead:
        return _("{arm} is never ahead on {split}", arm=arm, split=split)
    lead = _("{arm} is ahead on {split}", arm=arm, split=split)
    if ahead < compared:
        lead = ngettext(
            "{arm} is ahead on {split} in {ahead} of {count:,} epoch",
            "{arm} is ahead on {split} in {ahead} of {count:,} epochs",
            compared,
            arm=arm,
            split=split,
            ahead=ahead,
        )
    if len(own) < longest:
        lead = _("{lead}, up to epoch {epoch}, where it ends", lead=lead, epoch=compared)
    elif len(own) > longest:
        lead = _("{lead}, up to epoch {epoch}, where the others end", lead=lead, epoch=compared)
    fewer = min(map(len, others)) + 1
    if fewer <= compared:
        lead = _("{lead} (from epoch {epoch} on against fewer arms)", lead=lead, epoch=fewer)
    return lead


def standalone_section(inputs: PageInputs) -> Section:
    """Return the val accuracy of runs outside a study, one line per run."""
    runs, color = inputs.runs, inputs.color
    figures = []
    all_named = len(runs) <= MAX_NAMED_LINES
    all_epochs = sum(len(run.epochs) for run in runs) <= MAX_TABLE_ROWS
    first = {run.arm: run for run in reversed(runs)}  # of many runs only the first of each arm has a name
    caption = _standalone_caption(runs, all_named=all_named, all_epochs=all_epochs)
    for unit, words in UNITS.items():
        curves = [(run, run.curve(unit, DEFAULT_METRIC)) for run in runs]
        series = [
            charts.Series(run.name, color[run.arm], [], curve) if all_named
            else charts.Series(arm_words(run.spec) if first[run.arm] is run else "", color[run.arm], [curve])
            for run, curve in curves
        ]  # fmt: skip
        label = _("Val accuracy over {axis}", axis=words)
        chart = charts.curves(series, x=words, y=_("val accuracy, %"), label=label, shares=True)
        table = [[run.name, f"{x:g}", f"{y:.1f}"]
                 for run, curve in curves for x, y in (curve if all_epochs else curve[-1:])]  # fmt: skip
        header = [_("run"), words, _("val, %")]
        figures.append(Figure(chart, caption, header, table, words, legend_entries(series)))
    finished = sum(bool(run.run.result) for run in runs)
    finding = ngettext(
        "{finished} of {count} run has ended", "{finished} of {count} runs have ended", len(runs), finished=finished
    )
    if len(runs) == 1:
        finding = best_epoch_words(runs[0])
    if not any(run.epochs for run in runs):
        finding, figures = _("No run has finished an epoch"), []
    return Section(finding, figures)


def _standalone_caption(runs: Sequence[PlottedRun], *, all_named: bool, all_epochs: bool) -> Message:
    """Return how to read the curves of runs outside a study.

    Args:
        runs: Runs of the page.
        all_named: Every line has a name.
        all_epochs: The table has every epoch of every run.
    """
    plotted = sum(bool(run.epochs) for run in runs)
    if plotted > 1:
        lines = _("One line per run ({count}).", count=plotted)
        in_color = _("One line per run ({count}), in the color of its arm.", count=plotted)
    else:
        lines, in_color = _("The run."), _("The run, in the color of its arm.")
    parts = [lines if all_named else in_color]
    if plotted < len(runs):
        parts.append(_("Without a finished epoch: {count} more.", count=len(runs) - plotted))
    parts.append(_("The epoch is selected on {images}.", images=selection_images(runs)))
    if not all_epochs:
        parts.append(_("The table has the last epoch of each run; metrics.jsonl of a run has all."))
    return join(parts)


def best_epoch_words(run: PlottedRun) -> Message:
    """Return a sentence on the epoch with the highest accuracy on val, the first of equal ones."""
    epoch, best = max(run.curve("epochs", DEFAULT_METRIC), key=lambda point: (point[1], -point[0]), default=(0, 0.0))
    return _(
        "Epoch {epoch:g} of {epochs} has the highest val accuracy, {accuracy:.1f} %",
        epoch=epoch,
        epochs=len(run.epochs),
        accuracy=best,
    )


def target_section(inputs: StudyInputs) -> Section | None:
    """Return when runs reached the target on the selection split; None without a target.

    Runs that never reached it are shown where they ended.
    """
    verdict = inputs.verdict
    times = {arm.name: arm.to_target for arm in verdict.arms if arm.to_target is not None}
    if not times:
        return None
    figures = []
    selection, target = splits(verdict)[0], 100 * verdict.target
    caption = ngettext(
        "One dot for each of the {count:,} seed of an arm, evaluated on {images}. Filled: reached the target. Open: "
        "ended before it. Bar: the median of all.",
        "One dot for each of the {count:,} seeds of an arm, evaluated on {images}. Filled: reached the target. Open: "
        "ended before it. Bar: the median of all.",
        verdict.n,
        images=selection_images(inputs.runs, verdict),
    )
    for unit, words in UNITS.items():
        rows, table = [], []
        for arm in verdict.arms:
            reached = [run.to_target.by_unit()[unit] for run in arm.seeds if run.to_target]
            censored = [run.by_unit()[unit] for run in arm.seeds if not run.to_target]
            median = times[arm.name].by_unit()[unit].median
            rows.append(charts.EventRow(arm_words(arm.spec), inputs.color[arm.name], reached, censored, median))
            table.append([arm_words(arm.spec), _("not reached") if median is None else f"{median:g}",
                          _("{reached} of {runs}", reached=len(reached), runs=len(arm.seeds))])  # fmt: skip
        label = _("{unit} to {target:.3g} % on {split}", unit=words, target=target, split=selection)
        header = [_("arm"), _("median {unit}", unit=words), _("reached")]
        figures.append(Figure(charts.events(rows, x=words, label=label), caption, header, table, words))
    return Section(_target_words(verdict, times), figures)


def _target_words(verdict: Verdict, times_of: Mapping[str, TimesToTarget]) -> Message:
    """Return a sentence on the arms whose median run reaches the target first."""
    target = 100 * verdict.target
    times = {name: of_arm.epochs for name, of_arm in times_of.items()}
    medians = {name: time.median for name, time in times.items() if time.median is not None}
    if not medians:
        return _("No arm's median run reaches {target:.3g} %", target=target)
    earliest = min(medians.values())
    first_times = [times[name] for name, median in medians.items() if median == earliest]
    fewest = min(first_times, key=lambda time: time.reached)
    when = median_words(fewest, every_run=len(first_times) > 1 or fewest.reached == fewest.n)
    first = [named_words(verdict, name) for name, median in medians.items() if median == earliest]
    if len(first) == len(times):
        return _("The median run of every arm reaches {target:.3g} % {time}", target=target, time=when)
    return ngettext(
        "{arms} reaches {target:.3g} % first, {time}",
        "{arms} reach {target:.3g} % first, {time}",
        len(first),
        arms=join_list(first),
        target=target,
        time=when,
    )
