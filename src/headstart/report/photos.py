"""Pictures of the page: what a run's `gallery.zip` holds, as addresses that need no network."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import escape
from PIL import Image

from headstart.analysis.confusion import _confused, in_turn, shown_cells
from headstart.analysis.correctness import predictions
from headstart.errors import DataError
from headstart.report.svg.labels import isolated

COLUMNS, LARGER, GAP = 16, 5, 1  # of the picture of filters: how many in a row, how much enlarged, px between them
MOST_BYTES, MOST_PATHS = 2_200_000, 300_000  # of all photos on a page, and of the paths of others
OF_PHOTO = 500  # bytes on a page beside a photo and its words
LARGEST = 20_000_000  # bytes that are read of one member: a hostile archive does not fill the memory


@dataclass(frozen=True)
class Gallery:
    """Photos that a model was judged on, some of them, as `photos` with an address each;
    see headstart.artifacts.gallery.

    `keys` are the paths of all images of each cell, as far as the run has them; on a page, of those without a photo
    there, and `more` those of mistakes that are not in their list.
    """

    split: str
    classes: list[str]
    counts: list[list[int]]
    cells: dict[str, list[int]]
    mistakes: list[int]
    unsure: list[int]
    photos: list[dict[str, Any]]
    filters: dict[str, str]
    keys: dict[str, list[str]] = field(default_factory=dict)
    more: list[str] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[str, str, int, int]]:
        """(true, said, how many, of how many), the most confused first; right answers are no pairs."""
        return [
            (isolated(self.classes[true]), isolated(self.classes[said]), count, sum(self.counts[true]))
            for count, true, said in _confused(self.counts)
        ]

    @property
    def kept(self) -> int:
        """How many photos stand in a list or a cell."""
        return len({*self.mistakes, *self.unsure, *chain(*self.cells.values())})

    @property
    def wrong(self) -> int:
        return sum(count for _, _, count, _ in self.pairs)

    @property
    def total(self) -> int:
        return sum(map(sum, self.counts))

    def shown(self, number: int) -> dict[str, Any]:
        """One photo as the page shows it: address, address of its heat map or "", and its words."""
        photo = self.photos[number]
        true, said = (isolated(self.classes[photo[which]]) for which in ("true", "said"))
        text = f"said {said}, {100 * photo['sure']:.0f}\u00a0%: " + ("right" if true == said else f"it is {true}")
        return {"src": photo["src"], "map": photo.get("map_src", ""), "text": text, "key": photo["key"]}


def that_fit(found: Gallery, room: int) -> Gallery:
    """As many of the photos as `room` bytes of a page hold: the lists first, the worst of each, then cell by cell.

    Of cells that the page does not show none is kept, and mistakes come before what is right.
    """

    def size(number: int, *, with_map: bool) -> int:
        one = found.shown(number)
        return len(one["src"]) + with_map * len(one["map"]) + 6 * (2 * len(one["text"]) + len(one["key"])) + OF_PHOTO

    kept: dict[str, list[int]] = {name: [] for name in ("mistakes", "unsure", *found.cells)}
    shown = [f"{true}-{said}" for true, said in shown_cells(found.counts)]
    cells = {cell: found.cells[cell] for cell in shown if cell in found.cells}
    wanted = [*in_turn({"mistakes": found.mistakes, "unsure": found.unsure}), *in_turn(cells)]
    left = min(room, MOST_BYTES)
    for name, number in wanted:
        taken = size(number, with_map=name in ("mistakes", "unsure"))
        if taken > left:
            break
        left, room = left - taken, room - taken
        kept[name].append(number)
    cells = {cell: kept[cell] for cell in found.cells}
    fitting = replace(found, mistakes=kept["mistakes"], unsure=kept["unsure"], cells=cells)
    return _with_paths(fitting, shown, min(room, MOST_PATHS))


def _with_paths(found: Gallery, shown: Sequence[str], room: int) -> Gallery:
    """The paths of what has no photo, in `room` bytes: of mistakes for their list, in half of it, then cell by cell."""
    listed = {found.photos[number]["key"] for number in found.mistakes}
    wrong = chain(*(keys for cell, keys in found.keys.items() if len(set(cell.split("-"))) > 1))
    more = _that_fit_in((key for key in wrong if key not in listed), room // 2)
    room -= sum(map(_size_of, more))
    keys = {}
    for cell in shown:
        seen = {found.photos[number]["key"] for number in found.cells.get(cell, ())}
        keys[cell] = _that_fit_in((key for key in found.keys.get(cell, ()) if key not in seen), room)
        room -= sum(map(_size_of, keys[cell]))
    return replace(found, more=more, keys={cell: some for cell, some in keys.items() if some})


def _that_fit_in(keys: Iterable[str], room: int) -> list[str]:
    """The first of the keys that `room` bytes hold."""
    found = []
    for key in keys:
        room -= _size_of(key)
        if room < 0:
            break
        found.append(key)
    return found


def _size_of(key: str) -> int:
    """Bytes of a path on a page: as JSON, or as an item of a list."""
    return max(len(htmlsafe_json_dumps(key)), len(str(escape(key)).encode()) + 4) + 6


def read(run: Path) -> Gallery | None:
    """What the run has left; None where it has left none, or one that cannot be read."""
    try:
        with zipfile.ZipFile(run / "artifacts" / "gallery.zip") as archive:
            index = json.loads(_member(archive, "index.json"))
            names = set(archive.namelist())
            for number, photo in enumerate(index["photos"]):
                photo.pop("map_src", None)
                photo["src"] = _address("webp", _member(archive, f"{number}.webp"))
                if f"{number}-map.webp" in names:
                    photo["map_src"] = _address("webp", _member(archive, f"{number}-map.webp"))
            filters = {
                name: _address("png", filter_picture(np.load(io.BytesIO(_member(archive, f"{name}.npy")))))
                for name in ("before", "after")
                if f"{name}.npy" in names
            }
            lists = index["lists"]
            found = Gallery(index["split"], index["classes"], index["counts"], index["cells"], lists["mistakes"],
                            lists["unsure"], index["photos"], filters)  # fmt: skip
            found = replace(found, keys=_keys(run, found.split))
            for number in (*range(len(found.photos)), *found.mistakes, *found.unsure, *chain(*found.cells.values())):
                found.shown(number)
            _ = found.pairs
            return found
    except Exception:  # a file that somebody else made may be wrong in any way: the page has no pictures then
        return None


def _keys(run: Path, split: str) -> dict[str, list[str]]:
    """The paths of the images of each cell, from what the run has left of its judgement; none where that is damaged."""
    found: dict[str, list[str]] = {}
    try:
        told = predictions(run, split)
    except DataError:
        return found
    for key, true, guess in zip(told.images, told.labels.tolist(), told.said.tolist(), strict=True):
        found.setdefault(f"{true}-{guess}", []).append(key)
    return found


def filter_picture(weights: npt.NDArray[np.float32]) -> bytes:
    """Filters [n, 3, k, k] as one PNG: grey is 0, and the largest weight of all is full colour."""
    scaled = weights / max(float(np.abs(weights).max()), 1e-12)
    tiles = ((scaled + 1) * 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)
    tiles = np.pad(tiles.repeat(LARGER, 1).repeat(LARGER, 2), ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    columns = min(COLUMNS, len(tiles))
    tiles = np.concatenate([tiles, np.full((-len(tiles) % columns, *tiles.shape[1:]), 255, np.uint8)])
    rows = [np.concatenate(list(tiles[i : i + columns]), axis=1) for i in range(0, len(tiles), columns)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, "PNG")
    return buffer.getvalue()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LARGEST:
        raise ValueError(f"{name} is too large")
    return archive.read(name)


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
