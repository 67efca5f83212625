"""Write the gallery of a run for the report: example images of each confusion cell, with Grad-CAM heat maps.

`artifacts/gallery.zip` contains WebP thumbnails and `index.json`; nothing in it is executed. It is written once, from
the run's predictions, its model and its images.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from headstart.analysis import confusion
from headstart.analysis.run_records import read_run
from headstart.artifacts.model_folder import SavedModel, read_model
from headstart.config.plan_file import read_plan_file
from headstart.config.run_config import RunConfig
from headstart.data import transforms
from headstart.data.loader import ImageStore
from headstart.data.parallel import ordered_map
from headstart.errors import as_headstart_error
from headstart.hardware.devices import place
from headstart.hardware.precision import deterministic
from headstart.i18n import _
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.metrics.top_logits import Logits, TopLogits, predicted_classes
from headstart.models import structure
from headstart.models.gradcam import grad_cam
from headstart.reporter import NullReporter, Reporter
from headstart.storage import contained
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.gallery import GALLERY_FILE, THUMBNAIL_PX, GalleryIndex, GalleryLists, GalleryPhoto
from headstart.storage.schemas.result import RESULT_FILE
from headstart.training import setup

WEBP_METHOD = 2  # of 0 to 6: half the time of the default, 4, for files that are a few per cent larger
MAX_PER_CELL = 12  # images of one confusion cell
MAX_PER_LIST = 24  # images of the worst mistakes, and of the least certain predictions
MAX_CELL_IMAGES = 360  # images of all cells together, unless there are more kinds of mistakes: each has one image
INFERENCE_BATCH_SIZE = 16
CPU = torch.device("cpu")
Rows = npt.NDArray[np.int64]


def write_if_possible(run: Path, reporter: Reporter, trained: setup.TrainingSetup | None = None) -> None:
    """Write the gallery of a finished run; report errors instead of raising them, because the run is valid without it.

    Ctrl-C stops writing the gallery. `trained` as in `write_gallery`.
    """
    try:
        if not contained.is_file(run, RESULT_FILE):
            return
        write_gallery(run, trained)
    except KeyboardInterrupt:
        reporter.say(_("Interrupted. {run} is finished; its report has no images.", run=run))
    except Exception as error:  # timm networks and damaged files may raise anything
        reporter.say(
            _(
                "Cannot write images for the report of {run}: {message}",
                run=run,
                message=as_headstart_error(error).message,
            )
        )


def write_gallery(run: Path, trained: setup.TrainingSetup | None = None) -> None:
    """Write `artifacts/gallery.zip` in the folder of a finished run.

    Args:
        run: Folder of the run.
        trained: The setup with which the run was trained; by default its inputs are read again.

    Raises:
        HeadstartError: The data, the predictions or the model cannot be read, or no longer match the run.
    """
    plan = read_plan_file(run).plan
    with deterministic(CPU, plan.machine.threads):  # equal runs write equal bytes
        inputs = _read_inputs(plan) if trained is None else _inputs_of(trained)
        contained.write(run, GALLERY_FILE, _render(run, plan, inputs))


@dataclass(frozen=True)
class _Inputs:
    """What a gallery shows of the inputs of a run.

    Attributes:
        keys: Names of the images.
        store: Pixels of the images, in the order of `keys`.
        filters: Initial weights of the first convolution, [n, 3, k, k]; None if its input is not RGB.
    """

    keys: tuple[str, ...]
    store: ImageStore
    filters: npt.NDArray[np.float32] | None


def _read_inputs(plan: RunConfig) -> _Inputs:
    run = setup.resolve_run(plan, NullReporter())
    return _Inputs(run.dataset.images.keys, run.dataset.store, structure.first_filters(run.network))


def _inputs_of(trained: setup.TrainingSetup) -> _Inputs:
    return _Inputs(trained.dataset.images.keys, trained.context.val.store, trained.initial_filters)


def _render(run: Path, plan: RunConfig, inputs: _Inputs) -> bytes:
    record = read_run(run)
    result = record.result
    assert result is not None  # noqa: S101 - it has ended
    split = result.evaluation_split
    predictions = record.predictions(split)
    keys, labels, predicted = predictions.images, predictions.labels, predictions.predicted
    index_of = {key: index for index, key in enumerate(inputs.keys)}
    lists = select_images(labels, predictions.logits)
    mapped = sorted({int(row) for rows in (lists.mistakes, lists.least_confident) for row in rows})
    selected = sorted({*mapped, *(int(row) for rows in lists.cells.values() for row in rows)})
    model = read_model(run, MODEL_FOLDER)
    images = {row: inputs.store[index_of[keys[row]]] for row in selected}
    maps = _heat_maps(model, [images[row] for row in mapped], predicted[mapped])
    confidence = _confidences(labels, predictions.logits).predicted
    pictures: dict[str, npt.NDArray[np.uint8]] = {}
    photos = []
    for number, row in enumerate(selected):
        thumbnail = transforms.plain_batch([images[row]], model.size)[0].permute(1, 2, 0).numpy()
        pictures[f"{number}.webp"] = thumbnail
        photos.append(
            GalleryPhoto(
                key=keys[row],
                true=int(labels[row]),
                predicted=int(predicted[row]),
                confidence=round(float(confidence[row]), 4),
            )
        )
        if maps is not None and row in mapped:
            pictures[f"{number}-map.webp"] = _overlay(thumbnail, maps[mapped.index(row)])
    index = GalleryIndex(
        split=split,
        classes=list(plan.facts.class_names),
        lists=GalleryLists(
            mistakes=_positions(lists.mistakes, selected), least_confident=_positions(lists.least_confident, selected)
        ),
        cells={f"{true}-{guess}": _positions(rows, selected) for (true, guess), rows in lists.cells.items()},
        counts=result.final.confusion,
        photos=photos,
    )
    files = dict(zip(pictures, ordered_map(_webp, pictures.values(), plan.machine.threads), strict=True))
    before, after = inputs.filters, structure.first_filters(model.network)
    filters = {"before": before, "after": after} if before is not None and after is not None else {}
    return _zip(index, files, filters)


@dataclass(frozen=True)
class SelectedImages:
    """Rows of the images that are shown.

    Attributes:
        cells: The most confident predictions of each cell (true, predicted).
        mistakes: The worst mistakes, those with the lowest probability of the true class.
        least_confident: The predictions with the smallest margin between the two most probable classes.
    """

    cells: dict[tuple[int, int], Rows]
    mistakes: Rows
    least_confident: Rows


@dataclass(frozen=True)
class _Confidences:
    """Probabilities of m images: of the predicted class, of the true class, and the lead over the second class."""

    predicted: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]
    lead: npt.NDArray[np.float64]


def _confidences(labels: Rows, logits: Logits) -> _Confidences:
    if isinstance(logits, TopLogits):
        top = logits.top_probabilities
        return _Confidences(top[:, 0], logits.label_probabilities, top[:, 0] - top[:, 1])
    probabilities, rows = torch.from_numpy(logits).double().softmax(1).numpy(), np.arange(len(labels))
    ordered = np.sort(probabilities, axis=1)
    confidence = probabilities[rows, predicted_classes(logits)]
    return _Confidences(confidence, probabilities[rows, labels], ordered[:, -1] - ordered[:, -2])


def select_images(labels: Rows, logits: Logits) -> SelectedImages:
    """Select the rows of the images that are shown.

    Only cells that a page shows are included: with many classes, the cells of the most confused classes.

    Args:
        labels: True labels, [n].
        logits: Logits of the same images.
    """
    predicted, confidences = predicted_classes(logits), _confidences(labels, logits)
    classes = logits.class_count if isinstance(logits, TopLogits) else logits.shape[1]
    counts = ConfusionCounts.of_labels(labels, predicted, classes)
    cells: dict[tuple[int, int], Rows] = {}
    for true, guess in confusion.shown_cells(counts):
        rows = np.flatnonzero((labels == true) & (predicted == guess))
        cells[true, guess] = rows[np.argsort(-confidences.predicted[rows], kind="stable")][:MAX_PER_CELL]
    in_turn = confusion.round_robin({cell: rows.tolist() for cell, rows in cells.items()})
    wrong_cells = sum(true != guess for true, guess in cells)
    limits = Counter(cell for cell, _unused in islice(in_turn, max(MAX_CELL_IMAGES, wrong_cells)))
    wrong = np.flatnonzero(predicted != labels)
    return SelectedImages(
        cells={cell: rows[: limits[cell]] for cell, rows in cells.items() if limits[cell]},
        mistakes=wrong[np.argsort(confidences.true[wrong], kind="stable")][:MAX_PER_LIST],
        least_confident=np.argsort(confidences.lead, kind="stable")[:MAX_PER_LIST],
    )


def _positions(rows: Sequence[int] | Rows, selected: list[int]) -> list[int]:
    return [selected.index(int(row)) for row in rows]


def _heat_maps(
    model: SavedModel, images: Sequence[npt.NDArray[np.uint8]], classes: Rows
) -> npt.NDArray[np.float32] | None:
    """Return Grad-CAM maps of the predicted classes; None for a network without feature maps."""
    blocks = structure.block_names(model.network)
    if not blocks or not images:
        return None
    place(model.network, CPU)
    batches = []
    for begin in range(0, len(images), INFERENCE_BATCH_SIZE):
        pixels = transforms.plain_batch(images[begin : begin + INFERENCE_BATCH_SIZE], model.size)
        batch = transforms.normalize(pixels, model.mean, model.std, CPU)
        maps = grad_cam(
            model.network, blocks[-1], batch, torch.from_numpy(classes[begin : begin + INFERENCE_BATCH_SIZE])
        )
        if maps is None:
            return None
        batches.append(maps.numpy())
    return np.concatenate(batches)


def _overlay(image: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Darken the image where the heat map is low and tint it orange where the heat map is high."""
    share = heat[..., None]
    mixed = image * (0.35 + 0.35 * share) + np.array([230.0, 110.0, 0.0]) * 0.45 * share
    return np.asarray(mixed.clip(0, 255).astype(np.uint8))


def _webp(picture: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS).save(
        buffer, "WEBP", quality=75, method=WEBP_METHOD
    )
    return buffer.getvalue()


def _zip(index: GalleryIndex, files: dict[str, bytes], filters: dict[str, npt.NDArray[np.float32]]) -> bytes:
    """Return a zip without dates, so that equal content gives equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("index.json"), json.dumps(index.to_json()))
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        for name, array in filters.items():
            array_file = io.BytesIO()
            np.save(array_file, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array_file.getvalue())
    return buffer.getvalue()
