"""Pictures for TensorBoard, drawn from numbers of the record."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK = np.array([255.0, 255.0, 255.0]), np.array([0.0, 114.0, 178.0])
SIDE = 512  # px of the matrix itself, more or less
LEGIBLE = 24  # px of the smallest cell with a number in it
TEXT = 13  # px
LONGEST_NAME = 140  # px


def confusion_picture(counts: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """A confusion matrix [true, predicted] as an RGB picture uint8 [h, w, 3]: darker is a larger share of its row.

    Up to 21 classes there is room for the counts in the cells and for the class names at rows and columns. What
    pictures have in common is drawn once: many heads on one trunk leave thousands of them.
    """
    classes = len(counts)
    cell = min(48, max(1, SIDE // classes))
    totals = np.maximum(counts.sum(axis=1), 1)
    if cell < LEGIBLE:
        return _colours(counts / totals[:, None]).repeat(cell, axis=0).repeat(cell, axis=1)
    known = names if len(names) == classes else [""] * classes
    labels = tuple(name if _drawable(name) else str(index) for index, name in enumerate(known))
    framed, margin = _frame(labels, cell)
    picture = framed.copy()
    for row, column in np.ndindex(counts.shape):
        top, left = margin + row * cell, margin + column * cell
        picture[top : top + cell, left : left + cell] = _tile(int(counts[row, column]), int(totals[row]), cell)
    return picture


def _colours(shares: np.ndarray) -> np.ndarray:
    """From white to blue, uint8 [..., 3]."""
    colours: np.ndarray = (PAPER + (INK - PAPER) * shares[..., None]).round().astype(np.uint8)
    return colours


@lru_cache(maxsize=1024)
def _tile(count: int, total: int, cell: int) -> np.ndarray:
    """One cell [cell, cell, 3] with its number, where that has room; nobody changes it."""
    share = count / total
    tile = Image.new("RGB", (cell, cell), tuple(map(int, _colours(np.array(share)))))
    if _font().getlength(str(count)) <= cell:
        colour = "white" if share > 0.5 else "black"
        ImageDraw.Draw(tile).text((cell / 2, cell / 2), str(count), fill=colour, font=_font(), anchor="mm")
    return np.asarray(tile)


def _drawable(name: str) -> bool:
    """Whether Pillow's own font has the letters: Latin ones. Other classes go by their number, as in the record."""
    return name.isprintable() and bool(name) and max(map(ord, name)) < 0x180


@lru_cache(maxsize=8)
def _frame(names: tuple[str, ...], cell: int) -> tuple[np.ndarray, int]:
    """Everything around the cells, true classes on the left and predicted ones above, and where the cells begin."""
    labels = [_label(name) for name in names]
    side = cell * len(names)
    margin = 2 * TEXT + max(label.width for label in labels)
    framed = Image.new("RGB", (margin + side + 8, margin + side + 8), "white")
    ImageDraw.Draw(framed).rectangle((margin - 1, margin - 1, margin + side, margin + side), outline="grey")
    true, predicted = _label("true").rotate(90, expand=True), _label("predicted")
    framed.paste(true, (2, margin + (side - true.height) // 2))
    framed.paste(predicted, (margin + (side - predicted.width) // 2, 2))
    for index, label in enumerate(labels):
        middle = margin + index * cell + cell // 2
        framed.paste(label, (margin - label.width - 4, middle - label.height // 2))
        upright = label if label.width < cell else label.rotate(90, expand=True)
        framed.paste(upright, (middle - upright.width // 2, margin - upright.height - 4))
    return np.asarray(framed), margin


def _label(text: str) -> Image.Image:
    """A line of text as a picture of its own size; a long one is cut."""
    font = _font()
    while font.getlength(text) > LONGEST_NAME:
        text = text.removesuffix("…")[:-1] + "…"
    label = Image.new("RGB", (int(font.getlength(text)) + 2, TEXT + 4), "white")
    ImageDraw.Draw(label).text((1, label.height // 2), text, fill="black", font=font, anchor="lm")
    return label


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(TEXT)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  (Pillow's wheels bring FreeType)
    return font
