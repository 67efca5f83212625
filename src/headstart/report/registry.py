"""The sections of the page, one row each, in their order. Factories are import paths."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from headstart.i18n import Message, _


class Page(Enum):
    """The kinds of pages."""

    STUDY = auto()  # of a study with a verdict
    RUNS = auto()  # of runs without a verdict
    LOGGED = auto()  # of runs of which other programs logged some


STUDY, RUNS, LOGGED, OWN = (Page.STUDY,), (Page.RUNS,), (Page.LOGGED,), (Page.STUDY, Page.RUNS)


@dataclass(frozen=True)
class SectionSpec:
    """One section.

    Args:
        id: Identifier in the page. Rows with equal ids are alternatives: the first one with content is shown.
        question: Question that the section answers, its entry in the table of contents.
        factory: Import path of a function that returns the section's content, such as a `Section` with figures, or
            None without content. It is called with `PageInputs`: with `StudyInputs` on the page of a study, with
            `LoggedInputs` on that of logged runs.
        pages: Pages that show the section.
        fit_order: For a section that takes only the space that others leave, the place in which it gets its share,
            from 1. Its factory is also called with the number of bytes. 0 for other sections.
    """

    id: str
    question: Message
    factory: str
    pages: tuple[Page, ...] = OWN
    fit_order: int = 0


SECTIONS = [
    SectionSpec("arms", _("How accurate is each arm?"), "headstart.report.sections:arms_section", STUDY),
    SectionSpec(
        "curves",
        _("How does accuracy develop during training?"),
        "headstart.report.curves:learning_section",
        STUDY,
    ),
    SectionSpec(
        "curves", _("How does accuracy develop during training?"), "headstart.report.curves:standalone_section", RUNS
    ),
    SectionSpec(
        "curves",
        _("How does accuracy develop during training?"),
        "headstart.report.logged_sections:curves_section",
        LOGGED,
    ),
    SectionSpec(
        "splits",
        _("Does the network fit new images as well as those it is trained on?"),
        "headstart.report.split_curves:split_section",
    ),
    SectionSpec(
        "splits",
        _("Does the network fit new images as well as those it is trained on?"),
        "headstart.report.logged_sections:split_section",
        LOGGED,
    ),
    SectionSpec("target", _("How soon is the target reached?"), "headstart.report.curves:target_section", STUDY),
    SectionSpec("labels", _("How many labels are needed?"), "headstart.report.sections:labels_section", STUDY),
    SectionSpec(
        "budgets",
        _("Does the result depend on the training length?"),
        "headstart.report.sections:budgets_section",
        STUDY,
    ),
    SectionSpec("grid", _("Which learning rate?"), "headstart.report.heatmaps:compared_rates_section", STUDY),
    SectionSpec(
        "grid", _("Were the learning rates comparable?"), "headstart.report.heatmaps:searched_rates_section", STUDY
    ),
    SectionSpec(
        "grid", _("Which optimizer and learning rate?"), "headstart.report.heatmaps:standalone_rates_section", RUNS
    ),
    SectionSpec("cost", _("What does it cost?"), "headstart.report.cost:cost_section", STUDY),
    SectionSpec("rates", _("What was the learning rate at each step?"), "headstart.report.health:rates_section"),
    SectionSpec(
        "rates",
        _("What was the learning rate at each step?"),
        "headstart.report.logged_sections:rates_section",
        LOGGED,
    ),
    SectionSpec(
        "histograms",
        _("How do weights and gradients develop?"),
        "headstart.report.histograms:histograms_section",
        fit_order=2,
    ),
    SectionSpec(
        "histograms",
        _("How do weights and gradients develop?"),
        "headstart.report.logged_sections:histograms_section",
        LOGGED,
        fit_order=2,
    ),
    SectionSpec("health", _("Is the training healthy?"), "headstart.report.health:health_section"),
    SectionSpec("health", _("Is the training healthy?"), "headstart.report.logged_sections:own_health_section", LOGGED),
    SectionSpec("distance", _("How far do the layers move?"), "headstart.report.health:distance_section"),
    SectionSpec(
        "mistakes", _("Which images are misclassified?"), "headstart.report.gallery:mistakes_section", fit_order=1
    ),
    SectionSpec("how", _("How was the study done?"), "headstart.report.protocol:study_section"),
    SectionSpec("how", _("How were these runs made?"), "headstart.report.protocol:runs_section", RUNS),
    SectionSpec("how", _("Where are these runs from?"), "headstart.report.logged_sections:sources_section", LOGGED),
    SectionSpec("limits", _("What are the limits?"), "headstart.report.protocol:limits_section", STUDY),
]
