"""What a section of the page contains, which a template lays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from markupsafe import Markup

from headstart.i18n import Message
from headstart.report.svg import charts
from headstart.storage.files import JsonData


@dataclass(frozen=True)
class Figure:
    """A chart with its caption and its numbers.

    Args:
        chart: SVG markup.
        caption: How to read the chart, and on how many runs and images it rests.
        header: Column names of the table of numbers.
        rows: Rows of this table.
        choice: Name of the figure if the section has several, of which the reader selects one.
        legend: Names and colors of the lines, for screens on which they have no names at their ends.
    """

    chart: Markup
    caption: Message
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    choice: str = ""
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class SectionContent:
    """Content of a section. Subclasses say which template in `templates/` lays it out.

    Args:
        finding: Answer to the section's question, its title.
    """

    template: ClassVar[str]

    finding: Message

    @property
    def data(self) -> Mapping[str, JsonData]:
        """JSON data for the scripts of the page, by the id of its element."""
        return {}

    @property
    def style(self) -> str:
        """CSS rules of values that are in no style sheet: the policy of the page allows no style attributes."""
        return ""


@dataclass(frozen=True)
class Section(SectionContent):
    """Text and charts.

    Args:
        figures: Figures; the reader selects one by its `choice` if there are several.
        notes: Sentences after the figures.
        lead: Sentences before the figures.
    """

    template = "section.html"

    figures: Sequence[Figure] = field(default_factory=tuple)
    notes: Sequence[Message] = field(default_factory=tuple)
    lead: Sequence[Message] = field(default_factory=tuple)


def legend_entries(series: Sequence[charts.Series]) -> list[tuple[str, int]]:
    """Return the names and colors of the named lines."""
    return [(line.name, line.color) for line in series if line.name]
