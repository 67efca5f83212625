"""Predict with a saved model, with the same preprocessing as in training, in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from headstart.artifacts.model_folder import SavedModel, read_model
from headstart.data import transforms
from headstart.data.decode import ImageFileError, decode, suppress_pillow_warnings
from headstart.data.folder import list_images
from headstart.errors import DataError
from headstart.hardware import devices
from headstart.i18n import Message, _, ngettext, verbatim
from headstart.reporter import NullReporter, Reporter
from headstart.results.run import find_model
from headstart.storage.files import JsonData

INFERENCE_BATCH_SIZE = 32
NO_ERROR = verbatim("")


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image.

    Attributes:
        image: Path of the image.
        label: Most probable class; "" after an error.
        confidence: Its probability; 0 after an error.
        probabilities: [classes], with a sum of 1; empty after an error.
        error: Why the image could not be read, as a sentence without its path; "" without an error.
    """

    image: str
    label: str
    confidence: float
    probabilities: tuple[float, ...]
    error: Message = NO_ERROR

    def to_json(self, classes: Sequence[str]) -> dict[str, JsonData]:
        """Return the prediction as JSON: image and error, or image, label, confidence and each class's probability."""
        if self.error:
            return {"image": self.image, "error": self.error}
        probabilities = dict(zip(classes, self.probabilities, strict=True))
        return {
            "image": self.image,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": probabilities,
        }


class Predictor:
    """A saved model with its preprocessing, in fp32."""

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        """Open a run, a model folder or a folder of runs.

        Args:
            path: The run, model folder or folder of runs.
            device: Where the model runs: cpu, cuda, cuda:N, mps, or auto for the first GPU, else cpu.

        Raises:
            ModelFileError: There is no usable model.
            UsageError: The device is not available.
        """
        self.device = devices.pick_device(device)
        self.path, self.folder = Path(path), find_model(Path(path))
        self.model: SavedModel = read_model(self.folder)
        devices.place(self.model.network, self.device)

    @property
    def selection_note(self) -> Message | None:
        """Sentence that names the selected run if the path is a folder of runs; else None."""
        run = self.folder.parent
        if run.parent.absolute() != self.path.absolute():
            return None
        return _("Using {run}, the best run on val in {folder}.", run=run.name, folder=self.path)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.model.classes

    def load_image(self, source: Path | bytes) -> np.ndarray:
        """Decode and reduce one image as in training.

        Returns:
            uint8 [h, w, 3].

        Raises:
            ImageFileError: The image cannot be read or decoded.
        """
        return decode(source, self.model.cache_side)

    @torch.no_grad()
    def logits(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the logits of images.

        Args:
            images: uint8 arrays [h, w, 3] of any sizes.

        Returns:
            float32 [n, classes].
        """
        pixels = transforms.plain_batch(images, self.model.size)
        batch = transforms.normalize(pixels, self.model.mean, self.model.std, self.device)
        return np.asarray(self.model.network(batch).cpu().numpy())

    def predict(self, paths: Sequence[Path], reporter: Reporter | None = None) -> Iterator[Prediction]:
        """Predict each image file, in order.

        A file that is missing or unreadable yields a prediction with an `error`; the others are still predicted.

        Args:
            paths: Image files, and folders that are searched for images recursively.
            reporter: Reports progress.
        """
        reporter = reporter or NullReporter()
        files = [file for path in paths for file in _images(path)]
        for begin in range(0, len(files), INFERENCE_BATCH_SIZE):
            yield from self._predict_batch(files[begin : begin + INFERENCE_BATCH_SIZE])
            reporter.progress(_("predicting"), min(begin + INFERENCE_BATCH_SIZE, len(files)), len(files))

    def _predict_batch(self, files: Sequence[Path | Prediction]) -> list[Prediction]:
        images: dict[int, np.ndarray] = {}
        predictions = {index: file for index, file in enumerate(files) if isinstance(file, Prediction)}
        with suppress_pillow_warnings():
            for index, file in enumerate(files):
                if isinstance(file, Path):
                    try:
                        images[index] = self.load_image(file)
                    except ImageFileError as error:
                        predictions[index] = _failed(file, error.reason)
        if images:
            rows = softmax(self.logits(list(images.values())).astype(np.float64), axis=1)
            predictions |= {index: self._prediction(files[index], row) for index, row in zip(images, rows, strict=True)}
        return [predictions[index] for index in range(len(files))]

    def _prediction(self, file: object, probabilities: np.ndarray) -> Prediction:
        best = int(probabilities.argmax())
        values = tuple(float(p) for p in probabilities)
        return Prediction(str(file), self.classes[best], values[best], values)


def _images(path: Path) -> list[Path | Prediction]:
    try:
        return [*list_images(path)]
    except DataError as error:
        return [_failed(path, error.message)]  # names a folder or file in the folder `path`


def _failed(path: Path, reason: Message) -> Prediction:
    return Prediction(str(path), "", 0.0, (), reason)


def require_predictions(predictions: Sequence[Prediction]) -> None:
    """Raise DataError if there are no images or none could be read."""
    if not predictions:
        raise DataError(_("There are no images to predict."), _("Name image files, or folders that contain images."))
    if all(p.error for p in predictions):
        message = ngettext(
            "{image}: {error}",
            "None of the {count:,} images could be read. The first, {image}: {error}",
            len(predictions),
            image=predictions[0].image,
            error=predictions[0].error,
        )
        raise DataError(message, _("Check the path and the file."))
