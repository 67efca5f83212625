"""Sections of the page of runs that other programs logged, and of headstart's runs beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from headstart import shell
from headstart.i18n import Message, _, join, ngettext
from headstart.report.curves import MAX_NAMED_LINES, MAX_TABLE_ROWS
from headstart.report.health import MIN_RELATIVE_RATE, health_section
from headstart.report.histograms import MAX_HISTOGRAM_BYTES, HistogramPanel, fit_histograms
from headstart.report.inputs import COLOR_COUNT, GRAY, LoggedInputs
from headstart.report.layout import Figure, Section, legend_entries
from headstart.report.logged_run import (
    ACCURACY,
    LOSS,
    MEASURE_WORDS,
    SPLIT_WORDS,
    TEST,
    TRAIN,
    VAL,
    LoggedQuantity,
    LoggedRun,
)
from headstart.report.protocol import ProtocolContent
from headstart.report.provenance import Table
from headstart.report.split_curves import MAX_PANELS
from headstart.report.svg import charts
from headstart.report.svg.panels import Panel, PanelSeries, small_multiples
from headstart.text import join_first, join_list

MAX_LOSS = 2.0  # largest loss that is drawn, as a multiple of the runs' median first loss
MAX_LISTED_TAGS = 20
MAX_TIME = 1e11  # seconds since 1970 in the year 5138
RUN_HEADER = (
    _("run"),
    _("started"),
    _("epochs"),
    _("best epoch"),
    _("best value"),
    _("model saved in epoch"),
    _("folder"),
)
AXIS_WORDS = {LOSS: _("loss"), ACCURACY: _("accuracy, %")}
Curve = Callable[[LoggedRun, LoggedQuantity], list[tuple[float, float]]]
UNITS: Mapping[Message, Curve] = {_("epochs"): LoggedRun.by_epoch, _("seconds"): LoggedRun.by_second}


def curves_section(inputs: LoggedInputs) -> Section:
    """Return the accuracy of every run over epochs and time; its loss if no run has an accuracy."""
    measure = ACCURACY if any(run.selection(ACCURACY) for run in inputs.logged) else LOSS
    runs = ranked(inputs.logged, measure)
    if not runs:
        return Section(_("No run has an accuracy or a loss under a known tag"), notes=[_tag_advice()])
    axis, figures = AXIS_WORDS[measure], []
    colors = _colors(inputs)
    for words, curve in UNITS.items():
        lines = [(run, quantity, _in_unit(measure, curve(run, quantity))) for run, quantity in runs]
        if not any(points for _run, _quantity, points in lines):
            continue
        series = [
            charts.Series(run.name, color, mean=points)
            if (color := colors[run.folder, run.name])
            else charts.Series("", GRAY, [points])
            for run, _quantity, points in lines
        ]
        label = _("{measure:cap} over {axis}", measure=MEASURE_WORDS[measure], axis=words)
        chart = charts.curves(series, x=words, y=axis, label=label, shares=measure == ACCURACY)
        complete = sum(len(points) for _run, _quantity, points in lines) <= MAX_TABLE_ROWS
        table = [[run.name, SPLIT_WORDS[quantity.split], f"{x:.4g}", _number(measure, y)]
                 for run, quantity, points in lines for x, y in (points if complete else points[-1:])]  # fmt: skip
        caption = _curves_caption(runs, complete=complete)
        header = [_("run"), _("images"), words, axis]
        figures.append(Figure(chart, caption, header, table, words, legend_entries(series)))
    return Section(_best_words(*runs[0]), figures, _missing_notes(inputs.logged, measure))


def ranked(runs: Sequence[LoggedRun], measure: str) -> list[tuple[LoggedRun, LoggedQuantity]]:
    """Return the runs that have a measure, with the quantity by which they are compared, the best one first."""
    known = [(run, quantity) for run in runs if (quantity := run.selection(measure))]
    sign = 1 if measure == LOSS else -1
    return sorted(known, key=lambda item: sign * item[0].best(item[1])[1])


def _in_unit(measure: str, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points with accuracies in per cent."""
    factor = 100 if measure == ACCURACY else 1
    return [(x, factor * y) for x, y in points]


def _number(measure: str, value: float) -> str:
    """Return a value in the unit of the measure."""
    return f"{value:.1f}" if measure == ACCURACY else f"{value:.4g}"


def _colors(inputs: LoggedInputs) -> dict[tuple[Path, Message], int]:
    """Return the color of each run on the whole page; of many runs only the best have a color that is not gray."""
    best = [run for measure in (ACCURACY, LOSS) for run, _quantity in ranked(inputs.logged, measure)]
    keys = list(dict.fromkeys((run.folder, run.name) for run in (*best, *inputs.logged)))
    colors = range(1, COLOR_COUNT)
    if len(keys) <= MAX_NAMED_LINES:
        return {key: colors[index % len(colors)] for index, key in enumerate(keys)}
    return {key: colors[index] if index < len(colors) else GRAY for index, key in enumerate(keys)}


def _curves_caption(runs: Sequence[tuple[LoggedRun, LoggedQuantity]], *, complete: bool) -> Message:
    """Return how to read the curves."""
    count = len(runs)
    parts = [ngettext("The run.", "One line per run ({count}).", count)]
    if count > MAX_NAMED_LINES:
        parts.append(_("The best {shown} have a name and a color.", shown=COLOR_COUNT - 1))
    splits = sorted({quantity.split for _run, quantity in runs})
    parts.append(_("Images: {splits}.", splits=join_list(SPLIT_WORDS[split] for split in splits)))
    parts.append(_("An epoch is one evaluation that a run logged."))
    if any(run.saved for run, _quantity in runs):
        parts.append(_("The table of runs has the epoch of the last model that was saved."))
    if not complete:
        parts.append(_("The table has the last epoch of each run."))
    return join(parts)


def _best_words(run: LoggedRun, quantity: LoggedQuantity) -> Message:
    """Return the best value of all runs, with its run and epoch."""
    epoch, value = run.best(quantity)
    if quantity.measure == ACCURACY:
        return _(
            "The highest accuracy on {images} is {value:.1f} %: epoch {epoch:g} of {run}",
            images=SPLIT_WORDS[quantity.split],
            value=100 * value,
            run=run.name,
            epoch=round(epoch, 1),
        )
    return _(
        "The lowest loss on {images} is {value:.4g}: epoch {epoch:g} of {run}",
        images=SPLIT_WORDS[quantity.split],
        value=value,
        run=run.name,
        epoch=round(epoch, 1),
    )


def _missing_notes(runs: Sequence[LoggedRun], measure: str) -> list[Message]:
    """Return how many runs have no curve, and how to name their tags."""
    missing = [run for run in runs if not run.selection(measure)]
    if not missing:
        return []
    words = ngettext(
        "{count} run has no {measure} under a known tag: {runs}.",
        "{count} runs have no {measure} under a known tag: {runs}.",
        len(missing),
        measure=MEASURE_WORDS[measure],
        runs=join_first([run.name for run in missing], 3),
    )
    return [join([words, _tag_advice()])]


def _tag_advice() -> Message:
    return _('Name a tag with --tag "val accuracy=TAG"; the last section has the tags of the runs.')


def split_section(inputs: LoggedInputs) -> Section | None:
    """Return loss and accuracy on all images, one panel per run; None if no run has either."""
    figures = [figure for measure in (LOSS, ACCURACY) if (figure := _split_figure(inputs, measure))]
    if not figures:
        return None
    return Section(_split_words(inputs.logged), figures)


def _split_figure(inputs: LoggedInputs, measure: str) -> Figure | None:
    """Return the panels of a measure, or None if no run has it."""
    runs = [run for run, _quantity in ranked(inputs.logged, measure)]
    if not runs:
        return None
    panels, table = [], []
    colors = _colors(inputs)
    for run in runs:
        known = [LoggedQuantity(measure, split) for split in SPLIT_WORDS]
        curves = [(quantity, _in_unit(measure, run.by_epoch(quantity))) for quantity in known if quantity in run.curves]
        panels.append(
            Panel(
                run.name,
                colors[run.folder, run.name],
                [PanelSeries(SPLIT_WORDS[quantity.split], [], points, dashed=quantity.split == TRAIN)
                 for quantity, points in curves],
            )
        )  # fmt: skip
        table += [[run.name, SPLIT_WORDS[quantity.split], f"{points[-1][0]:.4g}", _number(measure, points[-1][1])]
                  for quantity, points in curves]  # fmt: skip
    cap = _loss_cap(runs) if measure == LOSS else math.inf
    label = _("{measure:cap} of every run, by epoch", measure=MEASURE_WORDS[measure])
    chart = small_multiples(
        panels[:MAX_PANELS], x=_("epochs"), y=AXIS_WORDS[measure], label=label, shares=measure == ACCURACY, cap=cap
    )
    parts = [_("Dashed: train. Solid: other images. The table has the last values.")]
    if len(panels) > MAX_PANELS:
        parts.append(_("The best {count} runs have a panel.", count=MAX_PANELS))
    if any(series.mean and max(y for _x, y in series.mean) > cap for panel in panels for series in panel.series):
        parts.append(_("Losses above {limit:.3g} are drawn at the top.", limit=cap))
    header = [_("run"), _("images"), _("epoch"), AXIS_WORDS[measure]]
    return Figure(chart, join(parts), header, table, MEASURE_WORDS[measure])


def _loss_cap(runs: Sequence[LoggedRun]) -> float:
    """Return the largest loss that is drawn."""
    first = [points[0].value for run in runs for quantity, points in run.curves.items() if quantity.measure == LOSS]
    return MAX_LOSS * median(first) if median(first) > 0 else math.inf


def _split_words(runs: Sequence[LoggedRun]) -> Message:
    """Return in how many runs the loss on images that are not trained on rose again; what is shown without such."""
    losses = [run.curves[other] for run, other in ranked(runs, LOSS) if other.split in (VAL, TEST)]
    if not losses:
        return _("No run has a loss on images that are not trained on")
    early = sum(min(point.value for point in points) < points[-1].value for points in losses)
    return ngettext(
        "The loss on images that are not trained on was lowest before the last epoch in {early} of {count} run",
        "The loss on images that are not trained on was lowest before the last epoch in {early} of {count} runs",
        len(losses),
        early=early,
    )


def rates_section(inputs: LoggedInputs) -> Section | None:
    """Return the learning rate of every run at each step; None if no run logged one."""
    runs = [run for run in inputs.logged if run.rates]
    if not runs:
        return None
    series, table = [], []
    colors = _colors(inputs)
    for run in runs:
        peak = max(point.value for points in run.rates.values() for point in points)
        paths = [
            [(float(point.step), point.value) for point in points if point.value > MIN_RELATIVE_RATE * peak]
            for points in run.rates.values()
        ]  # a schedule that ends near 0 would stretch the log axis
        series.append(
            charts.Series(run.name if colors[run.folder, run.name] else "", colors[run.folder, run.name], paths)
        )
        first, last = (f"{points[index].value:.3g}" for points in [next(iter(run.rates.values()))] for index in (0, -1))
        table.append([run.name, first, f"{peak:.3g}", last])
    label = _("Learning rate of every run, by step")
    chart = charts.curves(series, x=_("step"), y=_("learning rate"), log=True, label=label)
    peaks = sorted({row[2] for row in table}, key=float)
    finding = ngettext(
        "The highest learning rate is {rates}", "The highest learning rates are {rates}", len(peaks),
        rates=join_first(peaks, 6),
    )  # fmt: skip
    caption = ngettext(
        "The learning rate of {count} run at each step that was logged, on a logarithmic axis.",
        "The learning rates of {count} runs at each step that was logged, on a logarithmic axis.",
        len(runs),
    )
    header = [_("run"), _("first rate"), _("highest rate"), _("last rate")]
    return Section(finding, [Figure(chart, caption, header, table, legend=legend_entries(series))])


def histograms_section(inputs: LoggedInputs, max_bytes: int) -> HistogramPanel | None:
    """Return the histograms that fit in `max_bytes`; None if no run has histograms."""
    runs = [run for run in inputs.logged if run.snapshots]
    best = [run.folder.name for run, _quantity in ranked(runs, ACCURACY)]
    panel = fit_histograms(runs, best, min(MAX_HISTOGRAM_BYTES, max_bytes))
    panel = replace(panel, gradients=_("Gradients are as the program of each run logged them."))
    return panel if panel.runs or panel.omitted else None


def own_health_section(inputs: LoggedInputs) -> Section | None:
    """Return the health of headstart's own runs, which needs their records; None without such runs."""
    if not inputs.runs:
        return None
    section = health_section(inputs)
    note = ngettext(
        "Of the {count} run of headstart: other programs do not log what the checks need.",
        "Of the {count} runs of headstart: other programs do not log what the checks need.",
        len(inputs.runs),
    )
    return replace(section, lead=[note, *section.lead])


def sources_section(inputs: LoggedInputs) -> ProtocolContent:
    """Return which files and tags the runs were read from."""
    runs = inputs.logged
    tables = [
        Table(_("All runs ({count})", count=len(runs)), RUN_HEADER, [_run_row(run) for run in runs]),
        Table(_("Tags that were read"), (_("shown as"), _("tag"), _("runs")), _source_rows(runs)),
    ]
    settings = [[run.name, name, value] for run in runs for name, value in run.settings.items()]
    if settings:
        tables.append(Table(_("Hyperparameters"), (_("run"), _("name"), _("value")), settings))
    notes = [join([_("{run}:", run=run.name), note]) for run in runs for note in run.notes]
    if others := sorted({tag for run in runs for tag in run.other_tags}):
        notes.append(
            ngettext(
                "{count} tag fits no rule and is not shown: {tags}. Name it with --tag.",
                "{count} tags fit no rule and are not shown: {tags}. Name them with --tag.",
                len(others),
                tags=join_first(others, MAX_LISTED_TAGS),
            )
        )
    flags = [f"--tag {shell.quote(tag)}" for tag in inputs.tags]
    command = " ".join(["headstart report", shell.quote_path(inputs.folder), *flags])
    return ProtocolContent(
        _("The files and tags that were read"), _("Repeat this page"), command, notes, None, tables, []
    )


def _date(seconds: float) -> str:
    """Return a time in UTC; "" if it is unknown or no time, such as one in milliseconds."""
    if not 0 < seconds < MAX_TIME:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _run_row(run: LoggedRun) -> list[str]:
    quantity = run.selection(ACCURACY) or run.selection(LOSS)
    started = _date(run.started)
    if quantity is None:
        return [run.name, started, "", "", "", "", run.folder.name]
    epoch, value = run.best(quantity)
    shown = f"{100 * value:.1f} %" if quantity.measure == ACCURACY else f"{value:.4g}"
    words = _("{measure} on {images}: {value}", measure=MEASURE_WORDS[quantity.measure],
              images=SPLIT_WORDS[quantity.split], value=shown)  # fmt: skip
    count = f"{max(x for x, _y in run.by_epoch(quantity)):g}"
    saved = f"{run.epoch_of(run.saved[-1]):g}" if run.saved else ""
    return [run.name, started, count, f"{epoch:.4g}", words, saved, run.folder.name]


def _source_rows(runs: Sequence[LoggedRun]) -> list[list[str]]:
    """Return what was read from which tag, and in how many runs."""
    counts: dict[tuple[str, str], int] = {}
    for run in runs:
        for shown, tag in run.sources.items():
            counts[shown, tag] = counts.get((shown, tag), 0) + 1
    return [[shown, tag, str(count)] for (shown, tag), count in sorted(counts.items())]
