"""Draw confusion matrices as images for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headstart.analysis.confusion import shown_classes
from headstart.i18n import ngettext, translated
from headstart.metrics.confusion_counts import ConfusionCounts

BACKGROUND_RGB, FILL_RGB = np.array([255.0, 255.0, 255.0]), np.array([0.0, 114.0, 178.0])  # share 0 and share 1
MATRIX_SIDE_PX = 512  # approximate side of the matrix without labels
MAX_CELL_PX = 48
TEXT_PX = 13
MAX_LABEL_PX = 140
MAX_NOTE_PX = 640
SHADE_LEVELS = 40  # steps of a share, from 0 to 1
BLEND_STEPS = 4  # from a cell's color to the color of its count
GRAY_STEPS = 15  # from white to black


def confusion_picture(counts: ConfusionCounts, names: Sequence[str] = ()) -> Image.Image:
    """Draw a confusion matrix; a darker cell is a larger share of its row.

    Of more than `MAX_SHOWN_CLASSES` classes the most confused ones are drawn, as in the report; a line below says how
    many are not shown. The image uses a palette, and the parts that images have in common are cached, because many
    heads on one backbone produce thousands of images.

    Args:
        counts: The counts.
        names: Class names. Names of another number than the classes are ignored: classes are numbered then.

    Returns:
        A palette image.
    """
    shown = shown_classes(counts)
    cell = min(MAX_CELL_PX, MATRIX_SIDE_PX // max(len(shown), 1))
    known = len(names) == counts.classes
    labels = tuple(names[index] if known and _is_drawable(names[index]) else str(index) for index in shown)
    frame, margin = _draw_frame(labels, cell, counts.classes)
    picture, totals = frame.copy(), np.maximum(counts.true_totals, 1)
    block = counts.block(shown)
    for row, column in np.ndindex(block.shape):
        top, left = margin + row * cell, margin + column * cell
        total = int(totals[shown[row]])
        picture[top : top + cell, left : left + cell] = _draw_cell(int(block[row, column]), total, cell)
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
def _draw_frame(names: tuple[str, ...], cell: int, classes: int) -> tuple[np.ndarray, int]:
    """Draw labels and border, true classes on the left and predicted ones above; return it with its margin in px.

    If there are more classes than names, a line below the matrix says so.
    """
    labels = [_draw_label(name) for name in names]
    side = cell * len(names)
    margin = 2 * TEXT_PX + max(label.width for label in labels)
    note = _draw_label(_shown_note(len(names), classes), MAX_NOTE_PX) if classes > len(names) else None
    below = 8 if note is None else note.height + 12
    frame = Image.new("L", (max(margin + side, note.width + 8 if note else 0) + 8, margin + side + below), "white")
    if note is not None:
        frame.paste(note, (8, margin + side + 4))
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


def _shown_note(shown: int, classes: int) -> str:
    """Return how many classes are not drawn, in the reader's language if the font has its letters."""
    note = ngettext(
        "The {shown} most confused of {classes:,} classes; {count:,} is not shown.",
        "The {shown} most confused of {classes:,} classes; {count:,} are not shown.",
        classes - shown,
        shown=shown,
        classes=classes,
    )
    text = translated(note)
    return text if _is_drawable(text) else str(note)


def _draw_label(text: str, max_px: int = MAX_LABEL_PX) -> Image.Image:
    """Draw one line of text as an image of its own size; text longer than `max_px` is cut."""
    font = _font()
    while font.getlength(text) > max_px:
        text = text.removesuffix("…")[:-1] + "…"
    label = Image.new("L", (int(font.getlength(text)) + 2, TEXT_PX + 4), "white")
    ImageDraw.Draw(label).text((1, label.height // 2), text, fill="black", font=font, anchor="lm")
    return label


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(TEXT_PX)
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  (Pillow's wheels include FreeType)
    return font
