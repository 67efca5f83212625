"""Filters of the first convolution as images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from headstart.analysis.wording import arm_words
from headstart.config.model_file import BACKBONE_FILE, MODEL_FILE
from headstart.config.sealed_run import require_intact_model
from headstart.figures.canvas import LINE_IN, NARROW_IN, WIDE_IN, DrawnFigure, panels
from headstart.figures.fonts import Typeface
from headstart.figures.labels import fit_names, line_count
from headstart.i18n import Message, _, join, ngettext
from headstart.report.histograms import one_per_arm
from headstart.report.inputs import PageInputs
from headstart.report.photos import filter_mosaic, initial_filters
from headstart.storage import contained
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.tensor_file import TensorFile, damaged, read_tensor_file

MAX_RUNS = 6  # with filters
COLUMNS = 2  # panels side by side
Filters = npt.NDArray[np.float32]


def first_filters(inputs: PageInputs, typeface: Typeface) -> DrawnFigure | None:
    """Draw the filters of one run of each arm; None if no model has a convolution of RGB images."""
    pairs: list[tuple[Message, Filters | None, Filters]] = []
    runs = one_per_arm(inputs.compared_runs, inputs.preferred_runs)
    for run in runs[:MAX_RUNS]:
        after = trained_filters(run.run.folder)
        if after is None:
            continue
        before = initial_filters(run.run.folder)
        pairs.append(
            (arm_words(run.spec), before if before is not None and before.shape == after.shape else None, after)
        )
    if not pairs:
        return None
    pictures = _pictures(sorted(pairs, key=lambda pair: pair[1] is None))
    mosaics = [None if picture is None else filter_mosaic(picture[1]) for picture in pictures]
    width = (WIDE_IN / COLUMNS if len(pictures) > 1 else NARROW_IN) - 0.15
    names = fit_names(["" if picture is None else typeface.drawable(picture[0]) for picture in pictures], width)
    height = max(width * mosaic.shape[0] / mosaic.shape[1] for mosaic in mosaics if mosaic is not None)
    figure, axes = panels(
        len(pictures), panel_height=height + line_count(names) * LINE_IN + 0.1, columns=COLUMNS
    )  # fmt: skip
    for panel, name, mosaic in zip(axes, names, mosaics, strict=True):
        panel.set_axis_off()
        panel.set_title(name)
        if mosaic is not None:
            panel.imshow(mosaic)
    caption = ngettext(
        "The filters of the best epoch of one run.",
        "The filters of the best epoch of one run of each of {count} arms.",
        len(pairs),
    )
    scale = _("In each picture gray is 0, and the largest absolute weight has full color.")
    more = max(0, len(runs) - MAX_RUNS)
    left_out = (
        ngettext("{count} more arm is not drawn.", "{count} more arms are not drawn.", more) if more else join([])
    )
    return DrawnFigure(figure, _("Filters of the first convolution"), join([caption, scale, left_out]))


def _pictures(pairs: Sequence[tuple[Message, Filters | None, Filters]]) -> list[tuple[Message, Filters] | None]:
    """Return the named pictures of arms, filters before and after training side by side if some arm has both."""
    if all(before is None for _arm, before, _after in pairs):
        return [(_("{arm}, after training", arm=arm), after) for arm, _before, after in pairs]
    pictures: list[tuple[Message, Filters] | None] = []
    for arm, before, after in pairs:
        pictures.append(None if before is None else (_("{arm}, before training", arm=arm), before))
        pictures.append((_("{arm}, after training", arm=arm), after))
    return pictures


def trained_filters(run: Path) -> Filters | None:
    """Return the weights [n, 3, k, k] of the first convolution of RGB images in the model of a run, or None.

    Raises:
        ModelFileError: The file is damaged.
        UnsafeFileError: The file, or its folder, is a link.
        BrokenSealError: The model has changed since the run ended.
    """
    require_intact_model(run)
    for path in (f"{MODEL_FOLDER}/{file}" for file in (MODEL_FILE, BACKBONE_FILE)):
        if not contained.is_file(run, path):
            continue
        file = read_tensor_file(run, path)
        for name, shape in file.shapes.items():
            if len(shape) == 4 and shape[1] == 3:
                return _tensor(file, name)
    return None


def _tensor(file: TensorFile, name: str) -> Filters:
    """Return a tensor of a safetensors file. Raises ModelFileError if the file is damaged."""
    try:
        return np.asarray(load(file.content)[name], np.float32)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise damaged(file.path, str(error)) from error
