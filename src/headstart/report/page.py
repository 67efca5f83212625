"""The report of a study or of runs as one self-contained page, laid out by `page.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from pathlib import Path

import jinja2

from headstart.analysis.confusion import shown_classes
from headstart.analysis.run_records import runs_at
from headstart.analysis.status import read_verdict
from headstart.report.content import PageContent, standalone_content, study_content
from headstart.report.histograms import MAX_HISTOGRAM_BYTES, HistogramPanel, fit_histograms
from headstart.report.photos import Gallery, Tile, fit_gallery, load_gallery
from headstart.report.provenance import DeclaredProtocol, Table, declared_protocol, environment_rows, run_tables
from headstart.report.series import PlottedRun, load_run, with_unique_names
from headstart.report.svg import charts
from headstart.report.svg.labels import isolate_bidi
from headstart.storage.files import write_atomic
from headstart.storage.schemas.study import Stage
from headstart.storage.schemas.verdict import Verdict

PAGE_NAME = "report.html"
MAX_BYTES = 5_000_000  # size of a page
RESERVED_BYTES = 100_000  # part of it that stays free, since sizes are estimated


@dataclass(frozen=True)
class Provenance:
    """How the runs were made: the declared protocol, tables of all runs, and the origin of data and weights."""

    declared: DeclaredProtocol | None
    tables: Sequence[Table]
    environment: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ConfusionCell:
    """A cell of the confusion matrix: a count, and how many of its images have no photo on the page.

    `share` is that of the row; `right` marks correct predictions.
    """

    id: str
    count: int
    more: int
    share: float
    right: bool
    label: str


@dataclass(frozen=True)
class ConfusionRow:
    """A row of the confusion matrix: a true class."""

    name: str
    cells: Sequence[ConfusionCell]


@dataclass(frozen=True)
class PhotoList:
    """A list of photos; `more` images have no photo on the page, `paths` are those of the first of them."""

    title: str
    caption: str
    tiles: Sequence[Tile]
    more: int
    paths: Sequence[str]


@dataclass(frozen=True)
class GalleryContent:
    """The confusion matrix of the most confused classes, and the lists of photos.

    `left_out` is the number of classes that the matrix does not have.
    """

    finding: str
    caption: str
    classes: Sequence[str]
    left_out: int
    table: Sequence[ConfusionRow]
    pairs: Sequence[str]
    lists: Sequence[PhotoList]
    filters: Mapping[str, str]


def write_page(folder: Path) -> Path:
    """Write `report.html` of a study, of a run, or of several runs into their folder.

    The page of a study without a verdict shows its runs.

    Args:
        folder: Folder of a study, of a run, or of several runs.

    Returns:
        Path of the page.

    Raises:
        DataError: The folder has no runs.
    """
    records = runs_at(folder)
    main = [run for run in records if run.stage in (None, Stage.MAIN)]
    records = main if main and (folder / "study.toml").exists() else records
    runs = with_unique_names([load_run(run) for run in records])
    verdict = read_verdict(folder) if (folder / "verdict.json").exists() else None
    content = study_content(folder, verdict, runs) if verdict else standalone_content(folder, runs)
    provenance = Provenance(declared_protocol(folder), run_tables(runs, folder), environment_rows(runs))
    evaluated = folder / verdict.exported.run if verdict else records[0].folder
    gallery = load_gallery(evaluated) if verdict or len(records) == 1 else None
    template = PageTemplate(content, provenance, evaluated.name)
    page = _render_within_limit(template, gallery, runs, _preferred_runs(verdict))
    write_atomic(folder / PAGE_NAME, page)
    return folder / PAGE_NAME


@dataclass(frozen=True)
class PageTemplate:
    """The page before photos and histograms are added; `run` is the name of the run that the photos are of."""

    content: PageContent
    provenance: Provenance
    run: str

    def render(self, gallery: Gallery | None, histograms: HistogramPanel) -> str:
        """Return the page with these photos and histograms."""
        shown = sorted(set(chain(*gallery.cells.values()))) if gallery else ()
        photos = {number: gallery.tile(number) for number in shown} if gallery else {}
        return _template().render(
            page=self.content,
            provenance=self.provenance,
            style=charts.style(),
            gallery=_gallery_content(gallery, self.run) if gallery else None,
            cells={
                "cells": gallery.cells if gallery else {},
                "more": gallery.paths if gallery else {},
                "photos": {
                    number: {"src": tile.src, "text": tile.text, "key": tile.key} for number, tile in photos.items()
                },
            },
            histograms=histograms,
        )


def _render_within_limit(
    template: PageTemplate, gallery: Gallery | None, runs: Sequence[PlottedRun], first: Sequence[str]
) -> str:
    """Render the page with as many images, and then histograms, as `MAX_BYTES` allows."""
    page = template.render(None, HistogramPanel([]))
    if gallery:
        gallery = fit_gallery(gallery, MAX_BYTES - RESERVED_BYTES - len(page.encode()))
        page = template.render(gallery, HistogramPanel([]))
    max_bytes = min(MAX_HISTOGRAM_BYTES, MAX_BYTES - RESERVED_BYTES - len(page.encode()))
    return template.render(gallery, fit_histograms(runs, first, max_bytes))


def _preferred_runs(verdict: Verdict | None) -> list[str]:
    """Return the folders of the runs that represent their arm: that of the exported model, then the verdict's."""
    if verdict is None:
        return []
    return [verdict.exported.run, *(run.run for arm in verdict.arms for run in arm.seeds)]


def _gallery_content(gallery: Gallery, run: str) -> GalleryContent:
    """Return what the page says about the photos of a run."""
    finding = f"All {gallery.total} {gallery.split} images are correct"
    if gallery.pairs:
        finding = f"{gallery.wrong} of {gallery.total} are wrong; most often {_pair_words(gallery.pairs[0])}"
    lists = [
        _photo_list(
            gallery,
            "Worst mistakes",
            "The images with the lowest probability of the true class. Below each: the regions that support the "
            "prediction (Grad-CAM).",
            gallery.mistakes,
            gallery.wrong - len(gallery.mistakes),
            gallery.mistake_paths,
        ),
        _photo_list(
            gallery,
            "Least confident",
            f"Of all {gallery.total} images those with the smallest difference between the two most probable classes, "
            "whether correct or wrong.",
            gallery.least_confident,
        ),
    ]
    caption = f"The model of {run}, on {gallery.total} {gallery.split} images."
    if gallery.photo_count < len(gallery.photos):
        shown = f"{gallery.photo_count} of the {len(gallery.photos)} images"
        caption += f" The page shows {shown} in artifacts/gallery.zip of the run."
    shown_indices = shown_classes(gallery.counts)
    return GalleryContent(
        finding=finding,
        caption=caption,
        classes=[gallery.classes[index] for index in shown_indices],
        left_out=len(gallery.classes) - len(shown_indices),
        table=_confusion_rows(gallery, shown_indices),
        pairs=[_pair_words(pair) for pair in gallery.pairs[:6]],
        lists=[photos for photos in lists if photos.tiles],
        filters=gallery.filters,
    )


def _photo_list(
    gallery: Gallery, title: str, caption: str, numbers: Sequence[int], more: int = 0, paths: Sequence[str] = ()
) -> PhotoList:
    return PhotoList(title, caption, [gallery.tile(number) for number in numbers], more, paths)


def _confusion_rows(gallery: Gallery, classes: Sequence[int]) -> list[ConfusionRow]:
    """Return the rows of the confusion matrix over these classes, with the cells of each row."""
    rows = []
    for true in classes:
        counts, name = gallery.counts[true], isolate_bidi(gallery.classes[true])
        total = max(sum(counts), 1)
        cells = [
            ConfusionCell(
                id=f"{true}-{predicted}",
                count=counts[predicted],
                more=counts[predicted] - len(gallery.cells.get(f"{true}-{predicted}", ())),
                share=round(counts[predicted] / total, 3),
                right=true == predicted,
                label=f"{name}, predicted as {isolate_bidi(gallery.classes[predicted])}: {counts[predicted]} of "
                f"{total}",
            )
            for predicted in classes
        ]
        rows.append(ConfusionRow(gallery.classes[true], cells))
    return rows


def _pair_words(pair: tuple[str, str, int, int]) -> str:
    true, predicted, count, total = pair
    return f"{true} is taken for {predicted}, {count} of {total}"


def _template() -> jinja2.Template:
    """Return `page.html` with automatic escaping."""
    text = resources.files("headstart.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(text)
