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

    Up to 21 classes there is room for the counts in the cells and for the class names at rows and columns.
    """
    classes = len(counts)
    cell = min(48, max(1, SIDE // classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    colours = (PAPER + (INK - PAPER) * shares[..., None]).round().astype(np.uint8)
    matrix = Image.fromarray(colours.repeat(cell, axis=0).repeat(cell, axis=1))
    if cell < LEGIBLE:
        return np.asarray(matrix)
    draw, font = ImageDraw.Draw(matrix), _font()
    for (row, column), count in np.ndenumerate(counts):
        if font.getlength(str(count)) > cell:
            continue
        colour = "white" if shares[row, column] > 0.5 else "black"
        centre = ((column + 0.5) * cell, (row + 0.5) * cell)
        draw.text(centre, str(count), fill=colour, font=font, anchor="mm")
    known = names if len(names) == classes else [""] * classes
    labels = [_label(name if _drawable(name) else str(index)) for index, name in enumerate(known)]
    return np.asarray(_framed(matrix, labels, cell))


def _drawable(name: str) -> bool:
    """Whether Pillow's own font has the letters: Latin ones. Other classes go by their number, as in the record."""
    return name.isprintable() and bool(name) and max(map(ord, name)) < 0x180


def _framed(matrix: Image.Image, labels: list[Image.Image], cell: int) -> Image.Image:
    """The matrix with a thin line around it, true classes on its left, predicted ones above it."""
    margin = 2 * TEXT + max(label.width for label in labels)
    framed = Image.new("RGB", (margin + matrix.width + 8, margin + matrix.height + 8), "white")
    framed.paste(matrix, (margin, margin))
    box = (margin - 1, margin - 1, margin + matrix.width, margin + matrix.height)
    ImageDraw.Draw(framed).rectangle(box, outline="grey")
    true, predicted = _label("true").rotate(90, expand=True), _label("predicted")
    framed.paste(true, (2, margin + (matrix.height - true.height) // 2))
    framed.paste(predicted, (margin + (matrix.width - predicted.width) // 2, 2))
    for index, label in enumerate(labels):
        middle = margin + index * cell + cell // 2
        framed.paste(label, (margin - label.width - 4, middle - label.height // 2))
        upright = label if label.width < cell else label.rotate(90, expand=True)
        framed.paste(upright, (middle - upright.width // 2, margin - upright.height - 4))
    return framed


@lru_cache(maxsize=256)
def _label(text: str) -> Image.Image:
    """A line of text as a picture of its own size, which nobody changes; a long one is cut."""
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
