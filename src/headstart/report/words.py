"""Phrases that several sections of the page share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.analysis.wording import counted_images, splits
from headstart.i18n import Message, _, join, ngettext
from headstart.report.series import PlottedRun
from headstart.storage.schemas.verdict import Condition, Verdict
from headstart.text import join_list


def evaluated_images(condition: Condition) -> Message:
    """Return the number of images of the evaluation split: "360 test images"."""
    evaluation = condition.evaluation
    return counted_images(evaluation.images, evaluation.units, splits(condition)[1])


def metric_percent(metric: Message) -> Message:
    """Return a metric with its unit, as the name of an axis or column: "accuracy, %"."""
    return _("{metric}, %", metric=metric)


def metric_over(metric: Message, axis: Message) -> Message:
    """Return the description of a chart of a metric: "Accuracy over epochs"."""
    return _("{metric:cap} over {axis}", metric=metric, axis=axis)


def run_count(count: int) -> Message:
    """Return a number of runs: "12 runs"."""
    return ngettext("{count:,} run", "{count:,} runs", count)


def time_span(seconds: float) -> Message:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 10:
        return _("{seconds:.2g} s", seconds=seconds)
    if seconds < 120:
        return _("{seconds:.0f} s", seconds=seconds)
    if seconds < 7200:
        return _("{minutes:.0f} min", minutes=seconds / 60)
    return _("{hours:.1f} h", hours=seconds / 3600)


def selection_images(runs: Sequence[PlottedRun], verdict: Verdict | None = None) -> Message:
    """Return the number of images of the selection split, which all runs of a study share: "540 val images".

    Args:
        runs: Runs of the study.
        verdict: Verdict of their study; None outside a study, where runs select on val.
    """
    selection = None if verdict is None or verdict.evaluation.selects_on_val else splits(verdict)[0]
    counts = sorted({run.run.plan.facts.split_counts.val for run in runs} - {0})
    if not counts:
        return _("val images") if selection is None else _("images of {split}", split=selection)
    numbers = join_list(f"{count:,}" for count in counts)
    if selection is None:
        return ngettext("{numbers} val image", "{numbers} val images", sum(counts), numbers=numbers)
    return ngettext(
        "{numbers} image of {split}", "{numbers} images of {split}", sum(counts), numbers=numbers, split=selection
    )


def early_end_words(runs_of: Mapping[Message, Sequence[PlottedRun]]) -> list[Message]:
    """Return a sentence on arms, by name, whose mean has fewer runs from some epoch on; nothing if there are none."""
    shrinking = []
    for name, runs in runs_of.items():
        ends = sorted(len(run.epochs) for run in runs)
        steps = [
            (len(ends) - count, end + 1)
            for count, end in enumerate(ends, 1)
            if end < ends[-1] and ends[count] > end
        ]  # fmt: skip
        if steps:
            since = (
                ngettext(
                    "{count:,} run from epoch {epoch}", "{count:,} runs from epoch {epoch}", remaining, epoch=epoch
                )
                for remaining, epoch in steps
            )
            shrinking.append(_("{arm} has {runs}", arm=name, runs=join_list(since)))
    if not shrinking:
        return []
    return [_("The mean excludes runs that ended early: {arms}.", arms=join(shrinking, "; "))]
