"""What the page of a study, or of runs outside a study, says."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from headstart.analysis.headline import headline_contrast
from headstart.analysis.wording import arm_words, length_words, named_words, splits
from headstart.report.cost import cost_section, time_span
from headstart.report.curves import learning_section, standalone_section, target_section
from headstart.report.health import distance_section, health_section, rates_section
from headstart.report.heatmaps import compared_rates_section, searched_rates_section, standalone_rates_section
from headstart.report.provenance import train_command
from headstart.report.sections import (
    Figure,
    Section,
    arm_colors,
    arms_section,
    condition_sections,
    difference_figure,
    group_by_arm,
)
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
class PageContent:
    """What a page says.

    Args:
        title: Title of the document.
        kind: What `subject` is: "Study of" or "Runs in".
        subject: Name of the data, or of the folder.
        headline: Recommendation, or what the page shows.
        lead: Sentence after the headline, or "".
        how: Question of the section on the protocol.
        protocol: Its answer.
        command_title: What `command` does.
        command: Command that repeats or continues the study or the runs.
        sections: Sections on the results.
        training: Sections on the health of the training.
        difference: Figure of the headline's contrast.
        details: Sentences after `difference`.
        key_figures: Numbers at the top.
        notes: Sentences on the protocol.
        limits: Sentences on what the result is limited to.
    """

    title: str
    kind: str
    subject: str
    headline: str
    lead: str
    how: str
    protocol: str
    command_title: str
    command: str
    sections: Sequence[Section]
    training: Sequence[Section]
    difference: Figure | None = None
    details: Sequence[str] = field(default_factory=tuple)
    key_figures: Sequence[KeyFigure] = field(default_factory=tuple)
    notes: Sequence[str] = field(default_factory=tuple)
    limits: Sequence[str] = field(default_factory=tuple)


def study_content(folder: Path, verdict: Verdict, runs: Sequence[PlottedRun]) -> PageContent:
    """Return the content of the page of a study with a verdict."""
    sentences = verdict.sentences
    color = arm_colors([arm.spec for arm in verdict.arms], verdict.selected)
    sections = [
        arms_section(verdict, color),
        learning_section(runs, verdict, color),
        target_section(runs, verdict, color),
        *condition_sections(verdict, color),
        compared_rates_section(verdict),
        searched_rates_section(verdict),
        cost_section(runs, verdict, color),
        rates_section(runs, color),
    ]
    verdict_runs = list(chain(*group_by_arm(runs, verdict).values()))
    seeds = f"{verdict.n} paired seeds" if verdict.n > 1 else "one seed"
    return PageContent(
        title=f"{sentences.headline} | headstart report",
        kind="Study of",
        subject=Path(verdict.source).name,
        headline=sentences.headline,
        lead=sentences.evidence,
        how="How was the study done?",
        protocol=f"{len(verdict.arms)} arms, {seeds}, {length_words(verdict.budget)}",
        command_title="Repeat the study",
        command=f"headstart compare --study {shlex.quote(str(folder / 'study.toml'))}",
        sections=_drop_missing(sections),
        training=_drop_missing([health_section(runs), distance_section(verdict_runs, color)]),
        difference=difference_figure(verdict, color),
        details=sentences.details,
        key_figures=_key_figures(verdict),
        notes=sentences.notes,
        limits=[sentences.limits],
    )


def standalone_content(folder: Path, runs: Sequence[PlottedRun]) -> PageContent:
    """Return the content of the page of runs without a verdict."""
    color = arm_colors(list({run.arm: run.spec for run in runs}.values()), "")
    headline, lead = f"{len(runs)} runs outside a study, without a verdict", ""
    if unfinished := (folder / "study.toml").exists():
        headline = f"{pluralize(len(runs), 'run')} of a study without a verdict yet"
        lead = "The verdict follows when all runs have ended. The command below continues the study."
    elif len(runs) == 1:
        headline, lead = _outcome_words(runs[0]), "One run."
    if studies := len(list(folder.glob("*/study.toml"))):
        lead += f" Not on this page: {studies} {'study' if studies == 1 else 'studies'} in the same folder."
    command_title, command = "Repeat this page", f"headstart report {shlex.quote(str(folder))}"
    if unfinished:
        command_title, command = "Continue the study", f"headstart resume {shlex.quote(str(folder))}"
    elif len(runs) == 1 and (train := train_command(runs[0].run.folder)):
        command_title, command = "Repeat the run", train
    sections = [standalone_section(runs, color), standalone_rates_section(runs), rates_section(runs, color)]
    return PageContent(
        title=f"{folder.name} | headstart report",
        kind="Runs in",
        subject=folder.name,
        headline=f"{headline}.",
        lead=lead,
        how="How was the study done?" if unfinished else "How were these runs made?",
        protocol="As declared in study.toml" if unfinished else "The settings are in plan.json of each run",
        command_title=command_title,
        command=command,
        sections=_drop_missing(sections),
        training=_drop_missing([health_section(runs), distance_section(runs, color)]),
    )


def _drop_missing(sections: Sequence[Section | None]) -> list[Section]:
    return [section for section in sections if section is not None]


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
