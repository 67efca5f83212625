"""The section on misclassified images: the confusion matrix and the photos of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from headstart.analysis.confusion import shown_classes
from headstart.i18n import Message, _, join, ngettext, translated
from headstart.report.inputs import PageInputs
from headstart.report.layout import SectionContent
from headstart.report.photos import Gallery, Tile, fit_gallery, load_gallery
from headstart.report.svg.labels import isolate_bidi
from headstart.storage.files import JsonData
from headstart.storage.schemas.schema import Schema


@dataclass(frozen=True)
class ConfusionCell:
    """A cell of the confusion matrix: a count, and how many of its images have no photo on the page.

    `unlisted` of them have no path on the page either. `share` is that of the row; `right` marks correct predictions.
    """

    id: str
    count: int
    more: int
    unlisted: int
    share: float
    right: bool
    label: Message

    @property
    def heat(self) -> str:
        """Class of the cell's color, by its share in thousandths."""
        return f"share-{round(1000 * self.share)}"


@dataclass(frozen=True)
class ConfusionRow:
    """A row of the confusion matrix: a true class."""

    name: str
    cells: Sequence[ConfusionCell]


@dataclass(frozen=True)
class PhotoList:
    """A list of photos; `more` images have no photo on the page, `paths` are those of the first of them."""

    title: Message
    caption: Message
    tiles: Sequence[Tile]
    more: int
    paths: Sequence[str]


@dataclass(frozen=True)
class FilterPicture:
    """The filters of the first convolution: name and description of the picture, and its data URL."""

    name: Message
    description: Message
    src: str


class CellPhoto(Schema):
    """A photo of a cell, its sentence in the reader's language and its path."""

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

    caption: Message
    classes: Sequence[str]
    left_out: int
    table: Sequence[ConfusionRow]
    pairs: Sequence[Message]
    lists: Sequence[PhotoList]
    filters: Sequence[FilterPicture]
    cells: CellPhotos

    @property
    def data(self) -> Mapping[str, JsonData]:
        """The photos of each cell of the matrix, for the script that shows them."""
        return {"cells": self.cells.model_dump()}  # keeps the numbers of photos, by which they are sorted

    @property
    def style(self) -> str:
        """The colors of the cells of the matrix."""
        shares = {cell.heat: cell.share for row in self.table for cell in row.cells}
        return "\n".join(f".confusion .{name} {{ --share: {share} }}" for name, share in sorted(shares.items()))


def mistakes_section(inputs: PageInputs, max_bytes: int) -> GalleryContent | None:
    """Return the photos of the evaluated run that fit in `max_bytes`; None if it has none."""
    run = inputs.evaluated
    gallery = load_gallery(run) if run is not None else None
    if run is None or gallery is None:
        return None
    return _gallery_content(fit_gallery(gallery, max_bytes), run.name)


def _gallery_content(gallery: Gallery, run: str) -> GalleryContent:
    """Return what the page says about the photos of a run."""
    finding = ngettext(
        "The {count} {split} image is correct", "All {count} {split} images are correct", gallery.total,
        split=gallery.split,
    )  # fmt: skip
    if gallery.pairs:
        finding = ngettext(
            "{wrong} of {count} is wrong; most often {pair}",
            "{wrong} of {count} are wrong; most often {pair}",
            gallery.total,
            wrong=gallery.wrong,
            pair=_pair_words(gallery.pairs[0]),
        )
    shown_indices = shown_classes(gallery.counts)
    return GalleryContent(
        finding=finding,
        caption=_caption(gallery, run),
        classes=[gallery.classes[index] for index in shown_indices],
        left_out=len(gallery.classes) - len(shown_indices),
        table=_confusion_rows(gallery, shown_indices),
        pairs=[_pair_words(pair) for pair in gallery.pairs[:6]],
        lists=[photos for photos in _photo_lists(gallery) if photos.tiles],
        filters=_filter_pictures(gallery),
        cells=_cell_photos(gallery),
    )


def _caption(gallery: Gallery, run: str) -> Message:
    """Return which model and images the photos are of, and how many of them the page shows."""
    caption = ngettext(
        "The model of {run}, on {count} {split} image.",
        "The model of {run}, on {count} {split} images.",
        gallery.total,
        run=run,
        split=gallery.split,
    )
    if gallery.photo_count >= len(gallery.photos):
        return caption
    shown = ngettext(
        "The page shows {shown} of the {count} image in artifacts/gallery.zip of the run.",
        "The page shows {shown} of the {count} images in artifacts/gallery.zip of the run.",
        len(gallery.photos),
        shown=gallery.photo_count,
    )
    return join([caption, shown])


def _photo_lists(gallery: Gallery) -> list[PhotoList]:
    return [
        _photo_list(
            gallery,
            _("Worst mistakes"),
            _(
                "The images with the lowest probability of the true class. Below each: the regions that support the "
                "prediction (Grad-CAM)."
            ),
            gallery.mistakes,
            gallery.wrong - len(gallery.mistakes),
            gallery.mistake_paths,
        ),
        _photo_list(
            gallery,
            _("Least confident"),
            ngettext(
                "Of all {count} image those with the smallest difference between the two most probable classes, "
                "whether correct or wrong.",
                "Of all {count} images those with the smallest difference between the two most probable classes, "
                "whether correct or wrong.",
                gallery.total,
            ),
            gallery.least_confident,
        ),
    ]


def _filter_pictures(gallery: Gallery) -> list[FilterPicture]:
    """Return the pictures of the filters that the gallery has."""
    words = {
        "before": (_("before"), _("filters of the first convolution before training")),
        "after": (_("after"), _("filters of the first convolution after training")),
    }
    return [FilterPicture(*words[name], src) for name, src in gallery.filters.items()]


def _cell_photos(gallery: Gallery) -> CellPhotos:
    tiles = {number: gallery.tile(number) for number in sorted(set(chain(*gallery.cells.values())))}
    photos = {
        number: CellPhoto(src=tile.src, text=translated(tile.text), key=tile.key) for number, tile in tiles.items()
    }
    return CellPhotos(cells=gallery.cells, more=gallery.paths, photos=photos)


def _photo_list(
    gallery: Gallery, title: Message, caption: Message, numbers: Sequence[int], more: int = 0, paths: Sequence[str] = ()
) -> PhotoList:
    return PhotoList(title, caption, [gallery.tile(number) for number in numbers], more, paths)


def _confusion_rows(gallery: Gallery, classes: Sequence[int]) -> list[ConfusionRow]:
    """Return the rows of the confusion matrix over these classes, with the cells of each row."""
    rows, totals = [], gallery.counts.true_totals
    for true, counts in zip(classes, gallery.counts.block(classes).tolist(), strict=True):
        total = max(int(totals[true]), 1)
        cells = [
            _confusion_cell(gallery, true, predicted, count, total)
            for predicted, count in zip(classes, counts, strict=True)
        ]
        rows.append(ConfusionRow(gallery.classes[true], cells))
    return rows


def _confusion_cell(gallery: Gallery, true: int, predicted: int, count: int, total: int) -> ConfusionCell:
    """Return one cell; `total` is the number of images of the true class."""
    cell = f"{true}-{predicted}"
    more = count - len(gallery.cells.get(cell, ()))
    return ConfusionCell(
        id=cell,
        count=count,
        more=more,
        unlisted=max(0, more - len(gallery.paths.get(cell, ()))),
        share=round(count / total, 3),
        right=true == predicted,
        label=_(
            "{true}, predicted as {predicted}: {count} of {total}",
            true=isolate_bidi(gallery.classes[true]),
            predicted=isolate_bidi(gallery.classes[predicted]),
            count=count,
            total=total,
        ),
    )


def _pair_words(pair: tuple[str, str, int, int]) -> Message:
    true, predicted, count, total = pair
    return _(
        "{true} is taken for {predicted}, {count} of {total}",
        true=true,
        predicted=predicted,
        count=count,
        total=total,
    )
