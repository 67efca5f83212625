"""The section on misclassified images: the confusion matrix and the photos of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from headstart.analysis.confusion import shown_classes
from headstart.report.inputs import PageInputs
from headstart.report.layout import SectionContent
from headstart.report.photos import Gallery, Tile, fit_gallery, load_gallery
from headstart.report.svg.labels import isolate_bidi
from headstart.storage.files import JsonData
from headstart.storage.schemas.schema import Schema


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


class CellPhoto(Schema):
    """A photo of a cell, its sentence and its path."""

    src: str
    text: str
    key: str


class CellPhotos(Schema):
    """Photos of the cells of the confusion matrix, and paths of the images without a photo."""

    cells: Mapping[str, Sequence[int]]
    more: Mapping[str, Sequence[str]]
    photos: Mapping[int, CellPhoto]


@dataclass(frozen=True)
class GalleryContent(SectionContent):
    """The confusion matrix of the most confused classes, and the lists of photos.

    `left_out` is the number of classes that the matrix does not have.
    """

    template = "mistakes.html"

    caption: str
    classes: Sequence[str]
    left_out: int
    table: Sequence[ConfusionRow]
    pairs: Sequence[str]
    lists: Sequence[PhotoList]
    filters: Mapping[str, str]
    cells: CellPhotos

    @property
    def data(self) -> Mapping[str, JsonData]:
        """The photos of each cell of the matrix, for the script that shows them."""
        return {"cells": self.cells.model_dump()}  # keeps the numbers of photos, by which they are sorted


def mistakes_section(inputs: PageInputs, max_bytes: int) -> GalleryContent | None:
    """Return the photos of the evaluated run that fit in `max_bytes`; None if it has none."""
    run = inputs.evaluated
    gallery = load_gallery(run) if run is not None else None
    if run is None or gallery is None:
        return None
    return _gallery_content(fit_gallery(gallery, max_bytes), run.name)


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
        cells=_cell_photos(gallery),
    )


def _cell_photos(gallery: Gallery) -> CellPhotos:
    tiles = {number: gallery.tile(number) for number in sorted(set(chain(*gallery.cells.values())))}
    photos = {number: CellPhoto(src=tile.src, text=tile.text, key=tile.key) for number, tile in tiles.items()}
    return CellPhotos(cells=gallery.cells, more=gallery.paths, photos=photos)


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
