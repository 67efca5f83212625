"""The charts of the report for a notebook: each shows itself, and its `html` stands alone in any page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from headstart.analysis import confusion
from headstart.analysis.run_records import runs_in
from headstart.analysis.wording import arm_words, splits
from headstart.errors import UsageError
from headstart.report import curves, heatmaps, sections, series
from headstart.report import health as health_module
from headstart.report import photos as photos_module
from headstart.report.sections import Section
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.storage.files import read_json

GALLERY = Markup('<ul class="gallery">{}</ul>')
PHOTO = Markup('<li><img src="{src}" width="96" height="96" alt="{text}">{map}<span>{text}</span></li>')
CELL, HEADING = Markup("<td>{}</td>"), Markup('<th scope="col">{}</th>')
HEADING_OF = Markup("<h5>{}</h5>")  # a figure's, where a chart has several
HEAT = Markup('<img src="{}" width="96" height="96" alt="where it looked">')


@dataclass(frozen=True)
class Chart:
    """A chart with its finding as title and a line on how to read it."""

    title: str
    html: Markup

    def _repr_html_(self) -> str:
        return str(
            Markup('<div class="headstart" style="background: var(--paper); color: var(--ink); max-width: 900px">'
                   "<style>{}</style><h4>{}</h4>{}</div>").format(charts.style(), self.title, self.html)
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the chart as a page of its own; returns the path."""
        path = Path(path)
        path.write_text(f'<!doctype html><meta charset="utf-8">{self._repr_html_()}', encoding="utf-8")
        return path


class Plots:
    """The charts of one finished study. Every method raises UsageError where the study has nothing to draw."""

    def __init__(self, folder: Path, verdict: Mapping[str, Any]) -> None:
        self._folder, self._verdict = folder, verdict

    def curves(self, over: str = "epochs") -> Chart:
        """Accuracy while training: every seed, the mean and its band. `over` is epochs, images or seconds."""
        if over not in curves.UNITS:
            raise UsageError(f"There are no curves over {over!r}.", f"Choose one of {', '.join(curves.UNITS)}.")
        section = curves.learning(self._runs, self._verdict, self._colours)
        return _chart(section, list(curves.UNITS).index(over))

    def grid(self) -> Chart:
        """Accuracy by arm and learning rate: the rates that were compared, or those of every search, one by one."""
        section = heatmaps.compared(self._verdict) or heatmaps.searched(self._verdict)
        if section is None:
            raise UsageError("No learning rates were searched or compared.", "Leave --lr out, or use --vary lr=….")
        drawn = [
            HEADING_OF.format(one.choice) + _figure(one) if one.choice else _figure(one) for one in section.figures
        ]
        return Chart(section.finding, Markup("").join(drawn))

    def health(self) -> Chart:
        """What is wrong with the training of any run, and how gradients reach each block of a run of each arm."""
        section = health_module.health(self._runs)
        lead, notes = (Markup("").join(map(Markup("<p>{}</p>").format, some)) for some in (section.lead, section.notes))
        return Chart(section.finding, lead + Markup("").join(map(_figure, section.figures)) + notes)

    def confusion(self) -> Chart:
        """What the exported model takes for what, on the images that judge."""
        counts = read_json(self._exported / "result.json")["test"]["confusion"]
        shown = confusion.shown_classes(counts)
        names = [self._verdict["classes"][at] for at in shown]
        rows = [([counts[true][said] for said in shown], max(sum(counts[true]), 1)) for true in shown]
        shares = [[count / total for count in row] for row, total in rows]
        grid = charts.Grid(names, names, shares, [[str(count) for count in row] for row, _ in rows])
        right, of = sum(row[at] for at, row in enumerate(counts)), sum(map(sum, counts))
        title = f"{right} of {of} {splits(self._verdict)[1]} images are right ({arm_words(self._verdict['chosen'])})"
        how = "Rows: what they are; columns: what the model says. Darker: a larger share of the row."
        if len(shown) < len(counts):
            how += f" Shown are the classes that are confused most; {len(counts) - len(shown)} others are left out."
        chart = charts.heat_map(grid, label=title, columns="predicted")
        table = [[name, *texts] for name, texts in zip(names, grid.texts, strict=True)]
        return Chart(title, _figure(sections.Figure(chart, how, ["", *names], table)))

    def mistakes(self) -> Chart:
        """The worst mistakes of the exported model, with what spoke for its answers (Grad-CAM).

        Where nothing is wrong, what it was least sure of.
        """
        found = photos_module.read(self._exported)
        if found is None:
            raise UsageError("The study has kept no pictures.", f"Resume it: headstart resume {self._folder}.")
        photos = [found.shown(index) for index in found.mistakes or found.unsure]
        drawn = [PHOTO.format(src=one["src"], text=one["text"], map=HEAT.format(one["map"]) if one["map"] else "")
                 for one in photos]  # fmt: skip
        title = f"{found.wrong} of {found.total} are wrong"
        title += "" if found.mistakes else "; what it was least sure of"
        return Chart(title, GALLERY.format(Markup("").join(drawn)))

    @cached_property
    def _runs(self) -> Sequence[PlottedRun]:
        main = [run for run in runs_in(self._folder) if run.about.get("stage") == "main"]
        return series.with_unique_names([series.read(run) for run in main])

    @property
    def _colours(self) -> Mapping[str, int]:
        return sections.colours([arm["name"] for arm in self._verdict["arms"]], self._verdict["chosen"])

    @property
    def _exported(self) -> Path:
        return self._folder / str(self._verdict["exported"]["run"])


def _chart(section: Section, at: int) -> Chart:
    return Chart(section.finding, _figure(section.figures[at]))


def _figure(figure: sections.Figure) -> Markup:
    return Markup('<figure><div class="scroll">{}</div><figcaption>{}</figcaption>{}</figure>').format(
        figure.chart, figure.how, _numbers(figure.head, figure.rows) if figure.rows else ""
    )


def _numbers(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """What a chart draws, for whoever cannot see it."""
    lines = [Markup("<tr>{}</tr>").format(_cells(CELL, row)) for row in rows]
    return Markup("<details><summary>Numbers</summary><table><tr>{}</tr>{}</table></details>").format(
        _cells(HEADING, head), Markup("").join(lines)
    )


def _cells(how: Markup, row: Sequence[str]) -> Markup:
    return Markup("").join(map(how.format, row))
