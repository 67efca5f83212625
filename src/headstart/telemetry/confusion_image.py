"""Draw confusion matrices as images for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND_RGB, FILL_RGB = np.array([255.0, 255.0, 255.0]), np.array([0.0, 114.0, 178.0])  # share 0 and share 1
MATRIX_SIDE_PX = 512  # approximate side of the matrix without labels
MIN_LABELED_CELL_PX = 24  # smaller cells have no counts
TEXT_PX = 13
MAX_LABEL_PX = 140
SHADE_LEVELS = 40  # steps of a share, from 0 to 1
BLEND_STEPS = 4  # from a cell's color to the color of its count
GRAY_STEPS = 15  # from white to black


def confusion_picture(counts: np.ndarray, names: Sequence[str] = ()) -> Image.Image:
    """Draw a confusion matrix; a darker cell is a larger share of its row.

    With up to 21 classes, the cells contain their counts, and rows and columns have class names. The image uses a
    palette, and the parts that images have in common are cached, because many heads on one backbone produce thousands
    of images.

    Args:
        counts: Integers [classes, classes]: [true, predicted].
        names: Class names. Names of another number than the classes are ignored: classes are numbered then.

    Returns:
        A square palette image.
    """
    classes = len(counts)
    cell = min(48, max(1, MATRIX_SIDE_PX // classes))
    totals = np.maximum(counts.sum(axis=1), 1)
    if cell < MIN_LABELED_CELL_PX:
        levels = np.rint(SHADE_LEVELS * counts / totals[:, None]).astype(np.uint8) * (BLEND_STEPS + 1)
        return _with_palette(levels.repeat(cell, axis=0).repeat(cell, axis=1))
    class_names = names if len(names) == classes else [""] * classes
    labels = tuple(name if _is_drawable(name) else str(index) for index, name in enumerate(class_names))
    frame, margin = _draw_frame(labels, cell)
    picture = frame.copy()
    for row, column in np.ndindex(counts.shape):
        top, left = margin + row * cell, margin + column * cell
        picture[top : top + cell, left : left + cell] = _draw_cell(int(counts[row, column]), int(totals[row]), cell)
    return _with_palette(picture)


def _with_palette(indices: np.ndarray) -> Image.Image:
    picture = Image.fromarray(indices)
    picture.putpalette(_palette())
    return picture


@lru_cache(maxsize=1)
def _palette() -> bytes:
    """Return colors 0 to 204, each level of a share blended in steps with the color of its count; then grays."""
    shares = np.linspace(0, 1, SHADE_LEVELS + 1)[:, None, None]
    colors = BACKGROUND_RGB + (FILL_RGB - BACKGROUND_RGB) * shares
    count_colors = np.where(shares > 0.5, 255.0, 0.0)
    cells = colors + (count_colors - colors) * np.linspace(0, 1, BLEND_STEPS + 1)[None, :, None]
    grays = np.linspace(255, 0, GRAY_STEPS + 1)[:, None].repeat(3, axis=1)
    return np.concatenate([cells.reshape(-1, 3), grays]).round().astype(np.uint8).tobytes()


@lru_cache(maxsize=1024)
def _draw_cell(count: int, total: int, cell: int) -> np.ndarray:
    """Draw one cell [cell, cell] as palette indices, with its count if that fits; cached, so never modify it."""
    text = Image.new("L", (cell, cell))
    if _font().getlength(str(count)) <= cell:
        ImageDraw.Draw(text).text((cell / 2, cell / 2), str(count), fill=255, font=_font(), anchor="mm")
    blend = np.rint(np.asarray(text) * (BLEND_STEPS / 255)).astype(np.uint8)
    return blend + np.uint8(round(SHADE_LEVELS * count / total) * (BLEND_STEPS + 1))


def _is_drawable(name: str) -> bool:
    """Return True if Pillow's default font has all letters (Latin only); other classes are shown by their number."""
    return name.isprintable() and bool(name) and max(map(ord, name)) < 0x180


@lru_cache(maxsize=8)
def _draw_frame(names: tuple[str, ...], cell: int) -> tuple[np.ndarray, int]:
    """Draw labels and border, true classes on the left and predicted ones above; return it with its margin in px."""
    labels = [_draw_label(name) for name in names]
    side = cell * len(names)
    margin = 2 * TEXT_PX + max(label.width for label in labels)
    frame = Image.new("L", (margin + side + 8, margin + side + 8), "white")
    ImageDraw.Draw(frame).rectangle((margin - 1, margin - 1, margin + side, margin + side), outline="gray")
    true, predicted = _draw_label("true").rotate(90, expand=True), _draw_label("predicted")
    frame.paste(true, (2, margin + (side - true.height) // 2))
    frame.paste(predicted, (margin + (side - predicted.width) // 2, 2))
    for index, label in enumerate(labels):
        middle = margin + index * cell + cell // 2
        frame.paste(label, (margin - label.width - 4, middle - label.height // 2))
        upright = label if label.width < cell else label.rotate(90, expand=True)
        frame.paste(upright, (middle - upright.width // 2, margin - upright.height - 4))
    grays = np.rint((255 - np.asarray(frame)) * (GRAY_STEPS / 255)).astype(np.uint8)
    return grays + np.uint8((SHADE_LEVELS + 1) * (BLEND_STEPS + 1)), margin


def _draw_label(text: str) -> Image.Image:
    """Draw one line of text as an image of its own size; text longer than `MAX_LABEL_PX` is cut."""
    font = _font()
    while font.getlength(text) > MAX_LABEL_PX:
        text = text.removesuffix("…")[:-1] + "…"
    label = Image.new("L", (int(font.getlength(text)) + 2, TEXT_PX + 4), "white")
    ImageDraw.Draw(label).text((1, label.height // 2), text, fill="black", font=font, anchor="lm")
    return label


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(TEXT_PX)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  (Pillow's wheels include FreeType)
    return font
