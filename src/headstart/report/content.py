"""The head of the page of a study, or of runs outside a study: its title, main result and key figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headstart.analysis.headline import headline_contrast
from headstart.analysis.wording import arm_words, named_words, splits
from headstart.report.cost import time_span
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.layout import Figure
from headstart.report.sections import difference_figure
from headstart.report.series import PlottedRun
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.verdict import Verdict
from headstart.text import capitalize, format_points, pluralize


@dataclass(frozen=True)
class KeyFigure:
    """A number at the top of the page, with its name and conditions."""

    name: str
    value: str
    conditions: str


@dataclass(frozen=True)
class PageHead:
    """Head of a page.

    Args:
        title: Title of the document.
        kind: What `subject` is: "Study of" or "Runs in".
        subject: Name of the data, or of the folder.
        headline: Recommendation, or what the page shows.
        lead: Sentence after the headline, or "".
        difference: Figure of the headline's contrast.
        details: Sentences after `difference`.
        key_figures: Numbers at the top.
    """

    title: str
    kind: str
    subject: str
    headline: str
    lead: str
    difference: Figure | None = None
    details: Sequence[str] = field(default_factory=tuple)
    key_figures: Sequence[KeyFigure] = field(default_factory=tuple)


def page_head(inputs: PageInputs) -> PageHead:
    """Return the head of the page of a study with a verdict, or of runs without one."""
    return _study_head(inputs) if isinstance(inputs, StudyInputs) else _runs_head(inputs)


def _study_head(inputs: StudyInputs) -> PageHead:
    verdict, sentences = inputs.verdict, inputs.verdict.sentences
    return PageHead(
        title=f"{sentences.headline} | headstart report",
        kind="Study of",
        subject=Path(verdict.source).name,
        headline=sentences.headline,
        lead=sentences.evidence,
        difference=difference_figure(verdict, inputs.color),
        details=sentences.details,
        key_figures=_key_figures(verdict),
    )


def _runs_head(inputs: PageInputs) -> PageHead:
    folder, runs = inputs.folder, inputs.runs
    headline, lead = f"{len(runs)} runs outside a study, without a verdict", ""
    if inputs.is_study:
        headline = f"{pluralize(len(runs), 'run')} of a study without a verdict yet"
        lead = "The verdict follows when all runs have ended. The command below continues the study."
    elif len(runs) == 1:
        headline, lead = _outcome_words(runs[0]), "One run."
    if studies := len(list(folder.glob("*/study.toml"))):
        lead += f" Not on this page: {studies} {'study' if studies == 1 else 'studies'} in the same folder."
    return PageHead(f"{folder.name} | headstart report", "Runs in", folder.name, f"{headline}.", lead)


def _outcome_words(run: PlottedRun) -> str:
    """Return how one run ended, with its accuracy on test, else on val."""
    name, result = capitalize(run.name), run.run.result
    if result is None:
        return f"{name} is not finished"
    if result.state is RunState.DIVERGED:
        return f"{name} diverged"
    split, score = ("test", result.test) if result.test else ("val", result.val)
    return f"{name}: {100 * score.accuracy:.1f} % on {score.n} {split} images"


def _key_figures(verdict: Verdict) -> list[KeyFigure]:
    """Return the figures at the top: difference, epochs to the target, cost."""
    figures = []
    if (contrast := headline_contrast(verdict)) is not None:
        arms = f"{named_words(verdict, contrast.first)} against {named_words(verdict, contrast.second)}"
        conditions = f"percentage points, {arms}, on {contrast.m} images"
        figures.append(KeyFigure("Difference", format_points(contrast.mean, signed=True), conditions))
    selected = verdict.arm(verdict.selected)
    if selected.to_target:
        epochs = selected.to_target.epochs
        not_defined = f"{epochs.reached} of {verdict.n} runs reached it"
        value = not_defined if epochs.median is None else f"{epochs.median:g}"
        target = f"{arm_words(selected.spec)}: {100 * verdict.target:.3g} % on {splits(verdict)[0]}"
        runs_words = f"median of {verdict.n} seeds" if verdict.n > 1 else "one seed"
        if epochs.median is not None and epochs.reached < epochs.n:
            runs_words = f"median; reached on {epochs.reached} of {pluralize(epochs.n, 'seed')}"
        conditions = f"{target}, {runs_words}"
        figures.append(KeyFigure("Epochs to target", value, conditions))
    seconds = sum(stage.seconds for stage in verdict.cost.stages)
    runs = sum(stage.runs for stage in verdict.cost.stages)
    search = ", including the search" if verdict.cost.search.runs else ""
    figures.append(KeyFigure("Cost", time_span(seconds), f"of training in {pluralize(runs, 'run')}{search}"))
    return figures
