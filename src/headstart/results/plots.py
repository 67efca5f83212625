"""Charts of the report for notebooks: each displays itself, and its `html` needs no other part of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markupsafe import Markup

from headstart.analysis import confusion
from headstart.analysis.run_records import runs_in
from headstart.analysis.wording import named_words, splits
from headstart.errors import UsageError
from headstart.i18n import Message, _, join, ngettext, translated
from headstart.report import curves, heatmaps, photos, series
from headstart.report.health import health_section
from headstart.report.inputs import StudyInputs, arm_colors
from headstart.report.layout import Figure, Section
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.storage.schemas.result import RunResult
from headstart.storage.schemas.study import Stage
from headstart.storage.schemas.verdict import Verdict

GALLERY = Markup('<ul class="gallery">{}</ul>')
PHOTO = Markup('<li><img src="{src}" width="96" height="96" alt="{text}">{map}<span>{text}</span></li>')
CELL, HEADING = Markup("<td>{}</td>"), Markup('<th scope="col">{}</th>')
FIGURE_HEADING = Markup("<h5>{}</h5>")  # of a figure in a chart with several figures
PARAGRAPH = Markup("<p>{}</p>")
HEAT_MAP = Markup('<img src="{src}" width="96" height="96" alt="{text}">')


@dataclass(frozen=True)
class Chart:
    """A chart with its main result as title and an explanation of how to read it."""

    title: Message
    html: Markup

    def _repr_html_(self) -> str:
        return str(
            Markup('<div class="headstart" style="background: var(--paper); color: var(--ink); max-width: 900px">'
                   "<style>{}</style><h4>{}</h4>{}</div>").format(charts.style(), translated(self.title), self.html)
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write the chart as a separate HTML page; return its path."""
        path = Path(path)
        path.write_text(f'<!doctype html><meta charset="utf-8">{self._repr_html_()}', encoding="utf-8")
        return path


class Plots:
    """Charts of one finished study. Every method raises UsageError if the study has no data for the chart."""

    def __init__(self, folder: Path, verdict: Verdict) -> None:
        """Use the study in `folder`, with its verdict."""
        self._folder, self._verdict = folder, verdict

    def curves(self, over: str = "epochs") -> Chart:
        """Draw accuracy during training: every seed, the mean and its band.

        Args:
            over: Unit of the x axis: epochs, images or seconds.
        """
        if over not in curves.UNITS:
            raise UsageError(
                _("There are no curves over {over!r}.", over=over),
                _("Choose one of {units}.", units=", ".join(curves.UNITS)),
            )
        section = curves.learning_section(self._inputs(self._runs))
        return _chart(section, list(curves.UNITS).index(over))

    def grid(self) -> Chart:
        """Draw accuracy by arm and learning rate: the rates that were compared, or those of each search."""
        inputs = self._inputs([])
        section = heatmaps.compared_rates_section(inputs) or heatmaps.searched_rates_section(inputs)
        if section is None:
            raise UsageError(
                _("No learning rates were searched or compared."), _("Leave --lr out, or use --vary lr=….")
            )
        figures = [
            FIGURE_HEADING.format(translated(figure.choice)) + _figure(figure) if figure.choice else _figure(figure)
            for figure in section.figures
        ]
        return Chart(section.finding, Markup("").join(figures))

    def health(self) -> Chart:
        """Draw findings on the training of all runs, and the gradient norm at each block for one run of each arm."""
        section = health_section(self._inputs(self._runs))
        lead, notes = (
            Markup("").join(PARAGRAPH.format(translated(text)) for text in texts)
            for texts in (section.lead, section.notes)
        )
        return Chart(section.finding, lead + Markup("").join(map(_figure, section.figures)) + notes)

    def confusion(self) -> Chart:
        """Draw the confusion matrix of the exported model on the evaluation images."""
        evaluation = RunResult.read(self._exported / "result.json").test
        if evaluation is None:
            raise UsageError(
                _("The exported model was not evaluated."),
                _("Run `headstart resume {folder:shell}`.", folder=self._folder),
            )
        counts = evaluation.confusion
        shown = confusion.shown_classes(counts)
        names = [self._verdict.classes[index] for index in shown]
        rows = [([counts[true][predicted] for predicted in shown], max(sum(counts[true]), 1)) for true in shown]
        shares = [[count / total for count in row] for row, total in rows]
        grid = charts.Grid(names, names, shares, [[str(count) for count in row] for row, _unused in rows])
        correct, total = sum(row[index] for index, row in enumerate(counts)), sum(map(sum, counts))
        arm = named_words(self._verdict, self._verdict.selected)
        title = ngettext(
            "{correct} of {count} {split} image is correct ({arm})",
            "{correct} of {count} {split} images are correct ({arm})",
            total,
            correct=correct,
            split=splits(self._verdict)[1],
            arm=arm,
        )
        explanation = _("Rows: true class; columns: predicted class. Darker: a larger share of the row.")
        if others := len(counts) - len(shown):
            left_out = ngettext(
                "Shown: the most confused classes; {count} other is left out.",
                "Shown: the most confused classes; {count} others are left out.",
                others,
            )
            explanation = join([explanation, left_out])
        chart = charts.heat_map(grid, label=title, columns=_("predicted"))
        table = [[name, *texts] for name, texts in zip(names, grid.texts, strict=True)]
        return Chart(title, _figure(Figure(chart, explanation, ["", *names], table)))

    def mistakes(self) -> Chart:
        """Show the worst mistakes of the exported model, with the regions that supported its predictions (Grad-CAM).

        If nothing is wrong, the least certain predictions are shown.
        """
        gallery = photos.load_gallery(self._exported)
        if gallery is None:
            raise UsageError(
                _("The study has no images of mistakes."),
                _("Run `headstart resume {folder:shell}`.", folder=self._folder),
            )
        images = [gallery.tile(index) for index in gallery.mistakes or gallery.least_confident]
        items = [PHOTO.format(src=image.src, text=translated(image.text), map=_heat_map(image.map)) for image in images]
        if gallery.mistakes:
            title = ngettext(
                "{wrong} of {count} image is wrong",
                "{wrong} of {count} images are wrong",
                gallery.total,
                wrong=gallery.wrong,
            )
        else:
            title = ngettext(
                "{wrong} of {count} image is wrong; the least certain predictions are shown",
                "{wrong} of {count} images are wrong; the least certain predictions are shown",
                gallery.total,
                wrong=gallery.wrong,
            )
        return Chart(title, GALLERY.format(Markup("").join(items)))

    @cached_property
    def _runs(self) -> Sequence[PlottedRun]:
        main = [run for run in runs_in(self._folder) if run.stage is Stage.MAIN]
        return series.with_unique_names([series.load_run(run) for run in main])

    def _inputs(self, runs: Sequence[PlottedRun]) -> StudyInputs:
        color = arm_colors([arm.spec for arm in self._verdict.arms], self._verdict.selected)
        return StudyInputs(self._folder, runs, color, self._verdict)

    @property
    def _exported(self) -> Path:
        return self._folder / self._verdict.exported.run


def _heat_map(src: str) -> Markup:
    """Return the heat map of a photo, if it has one."""
    return HEAT_MAP.format(src=src, text=translated(_("Grad-CAM heat map"))) if src else Markup("")


def _chart(section: Section, index: int) -> Chart:
    return Chart(section.finding, _figure(section.figures[index]))


def _figure(figure: Figure) -> Markup:
    return Markup('<figure><div class="scroll">{}</div><figcaption>{}</figcaption>{}</figure>').format(
        figure.chart, translated(figure.caption), _numbers(figure.header, figure.rows) if figure.rows else ""
    )


def _numbers(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Return the values of a chart as a table, for readers who cannot see the chart."""
    lines = [Markup("<tr>{}</tr>").format(_cells(CELL, row)) for row in rows]
    return Markup("<details><summary>{}</summary><table><tr>{}</tr>{}</table></details>").format(
        translated(_("Numbers")), _cells(HEADING, head), Markup("").join(lines)
    )


def _cells(template: Markup, row: Sequence[str]) -> Markup:
    return Markup("").join(template.format(translated(text)) for text in row)
