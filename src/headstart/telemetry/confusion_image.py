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
LEVELS, BLENDS, GREYS = 40, 4, 15  # steps of a share, from a cell's colour to its number's, from white to black


def confusion_picture(counts: np.ndarray, names: Sequence[str] = ()) -> Image.Image:
    """A confusion matrix [true, predicted] as a picture: darker is a larger share of its row.

    Up to 21 classes there is room for the counts in the cells and for the class names at rows and columns. The picture
    has a palette, and what pictures have in common is drawn once: many heads on one trunk leave thousands of them.
    """
    classes = len(counts)
    cell = min(48, max(1, SIDE // classes))
    totals = np.maximum(counts.sum(axis=1), 1)
    if cell < LEGIBLE:
        levels = np.rint(LEVELS * counts / totals[:, None]).astype(np.uint8) * (BLENDS + 1)
        return _with_palette(levels.repeat(cell, axis=0).repeat(cell, axis=1))
    known = names if len(names) == classes else [""] * classes
    labels = tuple(name if _drawable(name) else str(index) for index, name in enumerate(known))
    framed, margin = _frame(labels, cell)
    picture = framed.copy()
    for row, column in np.ndindex(counts.shape):
        top, left = margin + row * cell, margin + column * cell
        picture[top : top + cell, left : left + cell] = _tile(int(counts[row, column]), int(totals[row]), cell)
    return _with_palette(picture)


def _with_palette(indices: np.ndarray) -> Image.Image:
    picture = Image.fromarray(indices)
    picture.putpalette(_palette())
    return picture


@lru_cache(maxsize=1)
def _palette() -> bytes:
    """Colours 0 to 204: each level of a share, as it is and in steps towards the colour of its number; then greys."""
    shares = np.linspace(0, 1, LEVELS + 1)[:, None, None]
    colours = PAPER + (INK - PAPER) * shares
    numbers = np.where(shares > 0.5, 255.0, 0.0)
    cells = colours + (numbers - colours) * np.linspace(0, 1, BLENDS + 1)[None, :, None]
    greys = np.linspace(255, 0, GREYS + 1)[:, None].repeat(3, axis=1)
    return np.concatenate([cells.reshape(-1, 3), greys]).round().astype(np.uint8).tobytes()


@lru_cache(maxsize=1024)
def _tile(count: int, total: int, cell: int) -> np.ndarray:
    """One cell [cell, cell] of the palette with its number, where that has room; nobody changes it."""
    text = Image.new("L", (cell, cell))
    if _font().getlength(str(count)) <= cell:
        ImageDraw.Draw(text).text((cell / 2, cell / 2), str(count), fill=255, font=_font(), anchor="mm")
    blend = np.rint(np.asarray(text) * (BLENDS / 255)).astype(np.uint8)
    return blend + np.uint8(round(LEVELS * count / total) * (BLENDS + 1))


def _drawable(name: str) -> bool:
    """Whether Pillow's own font has the letters: Latin ones. Other classes go by their number, as in the record."""
    return name.isprintable() and bool(name) and max(map(ord, name)) < 0x180


@lru_cache(maxsize=8)
def _frame(names: tuple[str, ...], cell: int) -> tuple[np.ndarray, int]:
    """Everything around the cells, true classes on the left and predicted ones above, and where the cells begin."""
    labels = [_label(name) for name in names]
    side = cell * len(names)
    margin = 2 * TEXT + max(label.width for label in labels)
    framed = Image.new("L", (margin + side + 8, margin + side + 8), "white")
    ImageDraw.Draw(framed).rectangle((margin - 1, margin - 1, margin + side, margin + side), outline="grey")
    true, predicted = _label("true").rotate(90, expand=True), _label("predicted")
    framed.paste(true, (2, margin + (side - true.height) // 2))
    framed.paste(predicted, (margin + (side - predicted.width) // 2, 2))
    for index, label in enumerate(labels):
        middle = margin + index * cell + cell // 2
        framed.paste(label, (margin - label.width - 4, middle - label.height // 2))
        upright = label if label.width < cell else label.rotate(90, expand=True)
        framed.paste(upright, (middle - upright.width // 2, margin - upright.height - 4))
    greys = np.rint((255 - np.asarray(framed)) * (GREYS / 255)).astype(np.uint8)
    return greys + np.uint8((LEVELS + 1) * (BLENDS + 1)), margin


def _label(text: str) -> Image.Image:
    """A line of text as a picture of its own size; a long one is cut."""
    font = _font()
    while font.getlength(text) > LONGEST_NAME:
        text = text.removesuffix("…")[:-1] + "…"
    label = Image.new("L", (int(font.getlength(text)) + 2, TEXT + 4), "white")
    ImageDraw.Draw(label).text((1, label.height // 2), text, fill="black", font=font, anchor="lm")
    return label


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(TEXT)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  (Pillow's wheels bring FreeType)
    return font
