"""The head of the page of a study, or of runs outside a study: its title, main result and key figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headstart.analysis.headline import headline_contrast
from headstart.analysis.wording import arm_words, counted_images, named_words, splits
from headstart.i18n import Message, _, join, ngettext
from headstart.report.inputs import LoggedInputs, PageInputs, StudyInputs
from headstart.report.layout import Figure
from headstart.report.sections import difference_figure
from headstart.report.series import PlottedRun
from headstart.report.words import time_span
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.verdict import ArmResult, TimeToTarget, Verdict
from headstart.text import format_points


@dataclass(frozen=True)
class KeyFigure:
    """A number at the top of the page, with its name and conditions."""

    name: Message
    value: str
    conditions: Message


@dataclass(frozen=True)
class PageHead:
    """Head of a page.

    Args:
        title: Title of the document.
        origin: The data of the study, or the folder of the runs.
        headline: Recommendation, or what the page shows.
        lead: Sentence after the headline, or "".
        difference: Figure of the headline's contrast.
        details: Sentences after `difference`.
        key_figures: Numbers at the top.
    """

    title: Message
    origin: Message
    headline: Message
    lead: Message
    difference: Figure | None = None
    details: Sequence[Message] = field(default_factory=tuple)
    key_figures: Sequence[KeyFigure] = field(default_factory=tuple)


def page_head(inputs: PageInputs) -> PageHead:
    """Return the head of the page of a study with a verdict, or of runs without one."""
    if isinstance(inputs, StudyInputs):
        return _study_head(inputs)
    return _logged_head(inputs) if isinstance(inputs, LoggedInputs) else _runs_head(inputs)


def _study_head(inputs: StudyInputs) -> PageHead:
    verdict, sentences = inputs.verdict, inputs.sentences
    return PageHead(
        title=_("{headline} | headstart report", headline=sentences.headline),
        origin=_("Study of {data}", data=Path(verdict.source).name),
        headline=sentences.headline,
        lead=join([sentences.evidence, inputs.absent] if inputs.absent else [sentences.evidence]),
        difference=difference_figure(verdict, inputs.color),
        details=sentences.details,
        key_figures=_key_figures(verdict),
    )


def _runs_head(inputs: PageInputs) -> PageHead:
    folder, runs = inputs.folder, inputs.runs
    lead: list[Message] = []
    if inputs.is_study:
        headline = ngettext(
            "{count:,} run of a study without a verdict yet.",
            "{count:,} runs of a study without a verdict yet.",
            len(runs),
        )
        lead.append(_("The verdict follows when all runs have ended. The command below continues the study."))
        lead += [inputs.absent] if inputs.absent else []
    elif len(runs) == 1:
        headline = _outcome_words(runs[0])
        lead.append(_("One run."))
    else:
        headline = ngettext(
            "{count} run outside a study, without a verdict.",
            "{count} runs outside a study, without a verdict.",
            len(runs),
        )
    return _head_of_runs(folder, headline, lead)


def _logged_head(inputs: LoggedInputs) -> PageHead:
    count, own = len(inputs.logged), len(inputs.runs)
    headline = ngettext("{count} run, without a verdict.", "{count} runs, without a verdict.", count)
    lead = [
        ngettext(
            "{count} was logged by another program, and has no plan.",
            "{count} were logged by other programs, and have no plan.",
            count - own,
        )
    ]
    if count > 1:
        lead.append(
            _(
                "Without a common plan their difference does not show its cause: seeds, images, training lengths and "
                "rates may differ too."
            )
        )
    return _head_of_runs(inputs.folder, headline, lead)


def _head_of_runs(folder: Path, headline: Message, lead: Sequence[Message]) -> PageHead:
    """Return the head of a page of runs in a folder, with the number of studies that it does not show."""
    studies = len(list(folder.glob("*/study.toml")))
    others = ngettext(
        "Not on this page: {count} study in the same folder.",
        "Not on this page: {count} studies in the same folder.",
        studies,
    )
    return PageHead(
        title=_("{folder} | headstart report", folder=folder.name),
        origin=_("Runs in {folder}", folder=folder.name),
        headline=headline,
        lead=join([*lead, others] if studies else lead),
    )


def _outcome_words(run: PlottedRun) -> Message:
    """Return how one run ended, with its accuracy on test, else on val."""
    result = run.run.result
    if result is None:
        return _("{run} is not finished.", run=run.name)
    if result.state is RunState.DIVERGED:
        return _("{run} diverged.", run=run.name)
    split, score = ("test", result.test) if result.test else ("val", result.val)
    return ngettext(
        "{run}: {accuracy:.1f} % on {count} {split} image.",
        "{run}: {accuracy:.1f} % on {count} {split} images.",
        score.n,
        run=run.name,
        accuracy=100 * score.accuracy,
        split=split,
    )


def _key_figures(verdict: Verdict) -> list[KeyFigure]:
    """Return the figures at the top: difference, epochs to the target, cost."""
    figures = []
    if (contrast := headline_contrast(verdict)) is not None:
        conditions = _(
            "percentage points, {first} against {second}, on {images}",
            first=named_words(verdict, contrast.first),
            second=named_words(verdict, contrast.second),
            images=counted_images(contrast.m, contrast.g, splits(verdict)[1]),
        )
        figures.append(KeyFigure(_("Difference"), format_points(contrast.mean, signed=True), conditions))
    selected = verdict.arm(verdict.selected)
    if selected.to_target:
        figures.append(_target_figure(verdict, selected, selected.to_target.epochs))
    return [*figures, _cost_figure(verdict)]


def _target_figure(verdict: Verdict, arm: ArmResult, epochs: TimeToTarget) -> KeyFigure:
    """Return the median number of epochs in which an arm reached the target."""
    value: str = ngettext(
        "{reached} of {count} run reached it",
        "{reached} of {count} runs reached it",
        verdict.n,
        reached=epochs.reached,
    )
    seeds = ngettext("one seed", "median of {count} seeds", verdict.n)
    if epochs.median is not None:
        value = f"{epochs.median:g}"
        if epochs.reached < epochs.n:
            seeds = ngettext(
                "median; reached on {reached} of {count:,} seed",
                "median; reached on {reached} of {count:,} seeds",
                epochs.n,
                reached=epochs.reached,
            )
    conditions = _(
        "{arm}: {target:.3g} % on {split}, {seeds}",
        arm=arm_words(arm.spec),
        target=100 * verdict.target,
        split=splits(verdict)[0],
        seeds=seeds,
    )
    return KeyFigure(_("Epochs to target"), value, conditions)


def _cost_figure(verdict: Verdict) -> KeyFigure:
    """Return the time of training of all stages."""
    stages = verdict.cost.stages
    runs = sum(stage.runs for stage in stages)
    conditions = (
        ngettext(
            "of training in {count:,} run, including the search",
            "of training, the sum of {count:,} runs, including the search",
            runs,
        )
        if verdict.cost.search.runs
        else ngettext("of training in {count:,} run", "of training, the sum of {count:,} runs", runs)
    )
    return KeyFigure(_("Cost"), time_span(sum(stage.seconds for stage in stages)), conditions)
