"""Photos of the page: the contents of a run's `gallery.zip` as data URLs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import escape
from PIL import Image

from headstart.analysis.confusion import round_robin, shown_cells
from headstart.analysis.correctness import read_predictions
from headstart.analysis.run_records import read_run
from headstart.config.plan_file import PLAN_FILE
from headstart.errors import DataError
from headstart.i18n import Message, _, translated
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.report.svg.labels import isolate_bidi
from headstart.storage import contained
from headstart.storage.archive import read_archive
from headstart.storage.arrays import parse_npy
from headstart.storage.run_files import PREDICTIONS_FILE
from headstart.storage.schemas.gallery import GALLERY_FILE, THUMBNAIL_PX, GalleryIndex, GalleryPhoto

FILTER_COLUMNS, UPSCALE, GAP_PX = 16, 5, 1  # picture of filters: filters per row, enlargement, pixels between them
MAX_PHOTO_BYTES = 2_200_000  # photos on one page
MAX_PATH_BYTES = 300_000  # paths of the images without a photo on the page
PHOTO_MARKUP_BYTES = 500  # markup per photo, without its texts
MAX_FILTER_VALUES = 3_000_000  # of filters; the largest networks have 600,000


@dataclass(frozen=True)
class Photo:
    """One image of a gallery.

    Args:
        key: Path of the image.
        true: Index of its class.
        predicted: Index of the predicted class.
        confidence: Probability of the predicted class.
        src: Data URL of the photo.
        map_src: Data URL of its heat map, or "".
    """

    key: str
    true: int
    predicted: int
    confidence: float
    src: str
    map_src: str = ""


@dataclass(frozen=True)
class Tile:
    """A photo as the page shows it: data URLs of the photo and of its heat map or "", a sentence, and the path."""

    src: str
    map: str
    text: Message
    key: str


@dataclass(frozen=True)
class Gallery:
    """Evaluation images of one model and its confusion matrix; see headstart.artifacts.gallery.

    Args:
        split: Split that the model was evaluated on.
        classes: Names of the classes.
        counts: Confusion counts.
        cells: Photos of each cell "true-predicted", as indices into `photos`.
        mistakes: Worst mistakes, as indices into `photos`.
        least_confident: Least confident predictions, as indices into `photos`.
        photos: Photos of index.json.
        filters: Data URLs of the filters of the first convolution, "before" and "after" training.
        paths: Paths of the images of each cell. After `fit_gallery` only those of images without a photo in the cell.
        mistake_paths: Paths of mistakes that are not in `mistakes`.
    """

    split: str
    classes: list[str]
    counts: ConfusionCounts
    cells: dict[str, list[int]]
    mistakes: list[int]
    least_confident: list[int]
    photos: list[Photo]
    filters: dict[str, str]
    paths: dict[str, list[str]] = field(default_factory=dict)
    mistake_paths: list[str] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[str, str, int, int]]:
        """Confused classes as (true, predicted, count, images of the true class), the most frequent first."""
        totals = self.counts.true_totals.tolist()
        return [
            (isolate_bidi(self.classes[true]), isolate_bidi(self.classes[predicted]), count, totals[true])
            for count, true, predicted in self.counts.errors()
        ]

    @property
    def photo_count(self) -> int:
        """Number of photos in the lists and cells."""
        return len({*self.mistakes, *self.least_confident, *chain(*self.cells.values())})

    @property
    def wrong(self) -> int:
        """Number of wrong predictions."""
        return self.total - self.counts.correct

    @property
    def total(self) -> int:
        """Number of evaluated images."""
        return self.counts.images

    def tile(self, number: int) -> Tile:
        """Return one photo as the page shows it."""
        photo = self.photos[number]
        true, predicted = isolate_bidi(self.classes[photo.true]), isolate_bidi(self.classes[photo.predicted])
        confidence = 100 * photo.confidence
        if true == predicted:
            text = _(
                "predicted {predicted}, {confidence:.0f}\u00a0%; correct", predicted=predicted, confidence=confidence
            )
        else:
            text = _(
                "predicted {predicted}, {confidence:.0f}\u00a0%; true class: {true}",
                predicted=predicted,
                confidence=confidence,
                true=true,
            )
        return Tile(photo.src, photo.map_src, text, photo.key)


def fit_gallery(gallery: Gallery, max_bytes: int) -> Gallery:
    """Return the gallery with as many photos and paths as fit on a page.

    The lists come first, alternately, then the cells in turn, mistakes before correct predictions. Cells that the page
    does not show get no photos.

    Args:
        gallery: All photos of a run.
        max_bytes: Bytes available on the page.
    """

    def size(number: int, *, with_map: bool) -> int:
        """Return the bytes that a photo takes on the page."""
        tile = gallery.tile(number)
        texts = 6 * (2 * len(translated(tile.text)) + len(tile.key))
        return len(tile.src) + with_map * len(tile.map) + texts + PHOTO_MARKUP_BYTES

    mistakes, least_confident = list[int](), list[int]()
    in_cells: dict[str, list[int]] = {cell: [] for cell in gallery.cells}
    selected = {"mistakes": mistakes, "least_confident": least_confident, **in_cells}
    shown = [f"{true}-{predicted}" for true, predicted in shown_cells(gallery.counts)]
    cells = {cell: gallery.cells[cell] for cell in shown if cell in gallery.cells}
    candidates = [
        *round_robin({"mistakes": gallery.mistakes, "least_confident": gallery.least_confident}),
        *round_robin(cells),
    ]
    free = min(max_bytes, MAX_PHOTO_BYTES)
    for name, number in candidates:
        needed = size(number, with_map=name in ("mistakes", "least_confident"))
        if needed > free:
            break
        free, max_bytes = free - needed, max_bytes - needed
        selected[name].append(number)
    fitting = replace(gallery, mistakes=mistakes, least_confident=least_confident, cells=in_cells)
    return _with_paths(fitting, shown, min(max_bytes, MAX_PATH_BYTES))


def _with_paths(gallery: Gallery, shown: Sequence[str], max_bytes: int) -> Gallery:
    """Add the paths of images without a photo: of mistakes in half of `max_bytes`, then cell by cell."""
    listed = {gallery.photos[number].key for number in gallery.mistakes}
    wrong = chain(*(paths for cell, paths in gallery.paths.items() if len(set(cell.split("-"))) > 1))
    mistake_paths = _fitting_paths((path for path in wrong if path not in listed), max_bytes // 2)
    max_bytes -= sum(map(_path_bytes, mistake_paths))
    paths = {}
    for cell in shown:
        with_photo = {gallery.photos[number].key for number in gallery.cells.get(cell, ())}
        paths[cell] = _fitting_paths(
            (path for path in gallery.paths.get(cell, ()) if path not in with_photo), max_bytes
        )
        max_bytes -= sum(map(_path_bytes, paths[cell]))
    paths = {cell: cell_paths for cell, cell_paths in paths.items() if cell_paths}
    return replace(gallery, mistake_paths=mistake_paths, paths=paths)


def _fitting_paths(paths: Iterable[str], max_bytes: int) -> list[str]:
    """Return the first paths that fit in `max_bytes` bytes."""
    fitting = []
    for path in paths:
        max_bytes -= _path_bytes(path)
        if max_bytes < 0:
            break
        fitting.append(path)
    return fitting


def _path_bytes(path: str) -> int:
    """Return the bytes of a path on a page, as JSON or as a list item, whichever is larger."""
    return max(len(htmlsafe_json_dumps(path)), len(str(escape(path)).encode()) + 4) + 6


def load_gallery(run: Path) -> Gallery | None:
    """Return the gallery of a run, None if it has none or a damaged one.

    Raises:
        DataError: The plan, the result or the predictions of the run are damaged or have changed since it ended.
    """
    withholds_test = False
    if contained.is_file(run, PLAN_FILE) and contained.is_file(run, PREDICTIONS_FILE):
        record = read_run(run)
        record.require_intact(PREDICTIONS_FILE)
        withholds_test = record.withholds_test
    try:
        members = read_archive(run, GALLERY_FILE)
        index = GalleryIndex.parse(members["index.json"], "index.json")
        if withholds_test and index.split == "test":
            return None
        photos = [_read_photo(members, number, entry) for number, entry in enumerate(index.photos)]
        filters = {
            name: data_url("png", draw_filters(_filters(members, name)))
            for name in ("before", "after")
            if f"{name}.npy" in members
        }
        gallery = Gallery(index.split, index.classes, index.counts, index.cells, index.lists.mistakes,
                          index.lists.least_confident, photos, filters)  # fmt: skip
        gallery = replace(gallery, paths=_image_paths(run, gallery.split))
        numbers = (
            *range(len(gallery.photos)),
            *gallery.mistakes,
            *gallery.least_confident,
            *chain(*gallery.cells.values()),
        )
        for number in numbers:
            gallery.tile(number)
        gallery.pairs  # noqa: B018 - raises for counts that do not fit the classes
    except Exception:  # a file from elsewhere may be malformed in any way: the page then has no photos
        return None
    return gallery


def _read_photo(members: Mapping[str, bytes], number: int, entry: GalleryPhoto) -> Photo:
    """Return a photo with the data URLs of its members of the archive; `entry` is the one in index.json."""
    heat_map = f"{number}-map.webp"
    return Photo(
        key=entry.key,
        true=entry.true,
        predicted=entry.predicted,
        confidence=entry.confidence,
        src=_thumbnail_url(members[f"{number}.webp"]),
        map_src=_thumbnail_url(members[heat_map]) if heat_map in members else "",
    )


def _thumbnail_url(content: bytes) -> str:
    """Return the data URL of a WebP of the size of thumbnails. Raises ValueError for other content.

    A small file may claim a gigabyte of pixels, which a browser would decode.
    """
    sides = [int.from_bytes(content[at : at + 2], "little") for at in (26, 28)]
    if content[:4] + content[8:16] != b"RIFFWEBPVP8 " or sides != [THUMBNAIL_PX, THUMBNAIL_PX]:
        raise ValueError
    return data_url("webp", content)


def _filters(members: Mapping[str, bytes], name: str) -> npt.NDArray[np.float32]:
    """Return filters [n, 3, k, k]. Raises DataError and ValueError for other content."""
    weights = parse_npy(members[f"{name}.npy"], f"{name}.npy")
    if weights.ndim != 4 or weights.shape[1] != 3 or not 0 < weights.size <= MAX_FILTER_VALUES:
        raise ValueError
    return np.asarray(weights, np.float32)


def _image_paths(run: Path, split: str) -> dict[str, list[str]]:
    """Return the paths of the images of each confusion cell; {} if the run's predictions are missing or damaged."""
    paths: dict[str, list[str]] = {}
    try:
        outputs = read_predictions(run, split)
    except DataError:
        return paths
    for path, true, predicted in zip(outputs.images, outputs.labels.tolist(), outputs.predicted.tolist(), strict=True):
        paths.setdefault(f"{true}-{predicted}", []).append(path)
    return paths


def initial_filters(run: Path) -> npt.NDArray[np.float32] | None:
    """Return the initial filters [n, 3, k, k] of the first convolution from a run's gallery, None if it has none."""
    try:
        return _filters(read_archive(run, GALLERY_FILE), "before")
    except (DataError, OSError, KeyError, ValueError):  # missing, or damaged in any way
        return None


def draw_filters(weights: npt.NDArray[np.float32]) -> bytes:
    """Return filters [n, 3, k, k] as one PNG."""
    buffer = io.BytesIO()
    Image.fromarray(filter_mosaic(weights)).save(buffer, "PNG")
    return buffer.getvalue()


def filter_mosaic(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return filters [n, 3, k, k] in rows as pixels: gray is 0, and the largest absolute weight has full color."""
    scaled = weights / max(float(np.abs(weights).max()), 1e-12)
    tiles = ((scaled + 1) * 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)
    tiles = np.pad(
        tiles.repeat(UPSCALE, 1).repeat(UPSCALE, 2), ((0, 0), (0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255
    )
    columns = min(FILTER_COLUMNS, len(tiles))
    tiles = np.concatenate([tiles, np.full((-len(tiles) % columns, *tiles.shape[1:]), 255, np.uint8)])
    rows = [np.concatenate(list(tiles[i : i + columns]), axis=1) for i in range(0, len(tiles), columns)]
    return np.asarray(np.concatenate(rows), np.uint8)


def data_url(kind: str, content: bytes) -> str:
    """Return the data URL of an image of a kind such as "webp"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
