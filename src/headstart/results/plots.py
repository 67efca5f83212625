"""Charts of the report for notebooks, by the data of a run or a study."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from markupsafe import Markup

from headstart.analysis.run_records import read_run, runs_in
from headstart.analysis.wording import arm_words, named_words, splits
from headstart.errors import UsageError
from headstart.i18n import Message, _, ngettext, translated, verbatim
from headstart.report import curves, heatmaps, photos, series
from headstart.report.confusion import confusion_grid, shown_evaluation
from headstart.report.health import health_section, rates_section
from headstart.report.histograms import KIND_WORDS, Kind, one_per_arm, ridge_figures
from headstart.report.inputs import PageInputs, StudyInputs, arm_colors, verdict_colors
from headstart.report.layout import Figure, Section
from headstart.report.series import PlottedRun
from headstart.report.split_curves import split_section
from headstart.report.svg import charts
from headstart.results.chart import Chart, figure_html, headed_figures
from headstart.storage import contained
from headstart.storage.schemas.metrics import Evaluation
from headstart.storage.schemas.study import Stage
from headstart.storage.schemas.verdict import Verdict

GALLERY = Markup('<ul class="gallery">{}</ul>')
PHOTO = Markup('<li><img src="{src}" width="96" height="96" alt="{text}">{map}<span>{text}</span></li>')
PARAGRAPH = Markup("<p>{}</p>")
HEAT_MAP = Markup('<img src="{src}" width="96" height="96" alt="{text}">')


class RunPlots:
    """Charts of one run. Every method raises UsageError if the run has no data for the chart."""

    def __init__(self, folder: Path) -> None:
        """Use the run in `folder`."""
        self._run = read_run(folder)

    def curves(self, over: str = "epochs") -> Chart:
        """Draw accuracy on val during training.

        Args:
            over: Unit of the x axis: epochs, images or seconds.
        """
        index = _unit_index(over)
        section = curves.standalone_section(self._inputs)
        if not section.figures:
            raise UsageError(
                _("The run {folder} has no finished epoch.", folder=self._run.folder),
                _("Run `headstart resume {folder:shell}`.", folder=self._run.folder),
            )
        return _chart(section, index)

    def loss(self) -> Chart:
        """Draw the loss on the training and selection images by epoch."""
        return _loss_chart(self._inputs)

    def learning_rate(self) -> Chart:
        """Draw the learning rate of each step."""
        return _chart(rates_section(self._inputs), 0)

    def weights(self, layer: str = "") -> Chart:
        """Draw histograms of a layer's weights over time; by default of the first layer, such as `conv1`."""
        return _ridge_chart(self._inputs.runs, "weights", layer)

    def gradients(self, layer: str = "") -> Chart:
        """Draw histograms of the gradients of a layer's weights over time; by default of the first layer."""
        return _ridge_chart(self._inputs.runs, "gradients", layer)

    def health(self) -> Chart:
        """Draw the findings on the training, and the gradient norm at each block."""
        return _health_chart(self._inputs)

    def confusion(self) -> Chart:
        """Draw the confusion matrix of the best model on the test images.

        Without a test split, and before the verdict of the run's study, these are the val images.
        """
        shown = shown_evaluation(self._run)
        if shown is None:
            raise _not_evaluated(self._run.folder)
        evaluation, split = shown
        names = self._run.plan.facts.class_names
        return _confusion_chart(evaluation, names, verbatim(split), arm_words(self._run.spec))

    def mistakes(self) -> Chart:
        """Show the worst mistakes with the regions that supported them (Grad-CAM), else the least certain images."""
        hint = _("Run `headstart resume {folder:shell}`.", folder=self._run.folder)
        if self._run.done:
            hint = _("Of a study only the run of the exported model has them: use `study.best()`.")
        return _mistakes_chart(self._run.folder, hint)

    @cached_property
    def _inputs(self) -> PageInputs:
        run = series.load_run(self._run)
        return PageInputs(self._run.folder, series.with_unique_names([run]), arm_colors([self._run.spec]))


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
        index = _unit_index(over)
        return _chart(curves.learning_section(self._inputs(self._runs)), index)

    def loss(self) -> Chart:
        """Draw the loss on the training and selection images by epoch, one panel per arm."""
        return _loss_chart(self._inputs(self._runs))

    def learning_rate(self) -> Chart:
        """Draw the learning rate of each step of every run."""
        return _chart(rates_section(self._inputs(self._runs)), 0)

    def weights(self, layer: str = "") -> Chart:
        """Draw histograms of a layer's weights over time, for one run of each arm; by default of the first layer."""
        return _ridge_chart(self._example_runs, "weights", layer)

    def gradients(self, layer: str = "") -> Chart:
        """Draw histograms of the gradients of a layer's weights over time, for one run of each arm."""
        return _ridge_chart(self._example_runs, "gradients", layer)

    def grid(self) -> Chart:
        """Draw accuracy by arm and learning rate: the rates that were compared, or those of each search."""
        inputs = self._inputs([])
        section = heatmaps.compared_rates_section(inputs) or heatmaps.searched_rates_section(inputs)
        if section is None:
            raise UsageError(
                _("No learning rates were searched or compared."), _("Leave --lr out, or use --vary lr=….")
            )
        return Chart(section.finding, headed_figures(section.figures), section.figures)

    def health(self) -> Chart:
        """Draw findings on the training of all runs, and the gradient norm at each block for one run of each arm."""
        return _health_chart(self._inputs(self._runs))

    def confusion(self) -> Chart:
        """Draw the confusion matrix of the exported model on the evaluation images."""
        result = read_run(self._exported).result
        evaluation = None if result is None else result.test
        if evaluation is None:
            raise _not_evaluated(self._folder)
        arm = named_words(self._verdict, self._verdict.selected)
        return _confusion_chart(evaluation, self._verdict.classes, splits(self._verdict)[1], arm)

    def mistakes(self) -> Chart:
        """Show the worst mistakes of the exported model, with the regions that supported its predictions (Grad-CAM).

        If nothing is wrong, the least certain predictions are shown.
        """
        hint = _("Run `headstart resume {folder:shell}`.", folder=self._folder)
        return _mistakes_chart(self._exported, hint)

    @cached_property
    def _runs(self) -> Sequence[PlottedRun]:
        main = [run for run in runs_in(self._folder) if run.stage is Stage.MAIN]
        return series.with_unique_names([series.load_run(run) for run in main])

    @property
    def _example_runs(self) -> Sequence[PlottedRun]:
        """The run of the exported model, and the first run of each other arm."""
        return one_per_arm(self._runs, self._inputs(self._runs).preferred_runs)

    def _inputs(self, runs: Sequence[PlottedRun]) -> StudyInputs:
        color = verdict_colors(self._verdict)
        return StudyInputs(self._folder, runs, color, self._verdict)

    @property
    def _exported(self) -> Path:
        return contained.subfolder(self._folder, self._verdict.exported.run)


def _unit_index(unit: str) -> int:
    """Return the place of the figure with this x axis. Raises UsageError for an unknown unit."""
    if unit not in curves.UNITS:
        raise UsageError(
            _("There are no curves over {over!r}.", over=unit),
            _("Choose one of {units}.", units=", ".join(curves.UNITS)),
        )
    return list(curves.UNITS).index(unit)


def _not_evaluated(folder: Path) -> UsageError:
    return UsageError(_("The model was not evaluated."), _("Run `headstart resume {folder:shell}`.", folder=folder))


def _health_chart(inputs: PageInputs) -> Chart:
    section = health_section(inputs)
    lead, notes = (
        Markup("").join(PARAGRAPH.format(translated(text)) for text in texts) for texts in (section.lead, section.notes)
    )
    return Chart(section.finding, lead + Markup("").join(map(figure_html, section.figures)) + notes, section.figures)


def _confusion_chart(evaluation: Evaluation, classes: Sequence[str], split: Message, arm: Message) -> Chart:
    """Draw the confusion counts of a model; `split` names the images and `arm` the model, in words."""
    drawn = confusion_grid(evaluation, classes, split, arm)
    grid = drawn.grid
    chart = charts.heat_map(grid, label=drawn.title, columns=_("predicted"))
    table = [[name, *texts] for name, texts in zip(grid.rows, grid.texts, strict=True)]
    figure = Figure(chart, drawn.caption, ["", *grid.rows], table)
    return Chart(drawn.title, figure_html(figure), [figure])


def _mistakes_chart(run: Path, hint: Message) -> Chart:
    """Show the worst mistakes in the gallery of a run; `hint` is that of the error if there is none."""
    gallery = photos.load_gallery(run)
    if gallery is None:
        raise UsageError(_("There are no images of mistakes."), hint)
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


def _heat_map(src: str) -> Markup:
    """Return the heat map of a photo, if it has one."""
    return HEAT_MAP.format(src=src, text=translated(_("Grad-CAM heat map"))) if src else Markup("")


def _loss_chart(inputs: PageInputs) -> Chart:
    section = split_section(inputs)
    if section is None:
        raise UsageError(
            _("No run in {folder} has finished an epoch.", folder=inputs.folder),
            _("Run `headstart resume {folder:shell}`.", folder=inputs.folder),
        )
    return Chart(section.notes[0], figure_html(section.figures[0]), [section.figures[0]])


def _ridge_chart(runs: Sequence[PlottedRun], kind: Kind, layer: str) -> Chart:
    layer, figures = ridge_figures(runs, kind, layer)
    if not figures:
        raise UsageError(
            _("The records have no histograms of {kind}.", kind=KIND_WORDS[kind]),
            _("Frozen layers have no gradients; a run that diverged at once has no histograms."),
        )
    title = ngettext(
        "{kind:cap} of {layer} in {count} run",
        "{kind:cap} of {layer} in {count} runs",
        len(figures),
        kind=KIND_WORDS[kind],
        layer=layer,
    )
    return Chart(title, headed_figures(figures), figures)


def _chart(section: Section, index: int) -> Chart:
    return Chart(section.finding, figure_html(section.figures[index]), [section.figures[index]])
