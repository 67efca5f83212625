"""Predict with a saved model: the same pixel path as in training, in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.artifacts.model_folder import Model, read_model
from headstart.data import pixel_store, transforms
from headstart.data.decode import quiet
from headstart.data.folder import images_in
from headstart.errors import DataError, HeadstartError
from headstart.hardware import devices
from headstart.reporter import NullReporter, Reporter
from headstart.results.run import find_model

BATCH = 32
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image: probabilities [classes] that sum to 1, or why it could not look."""

    image: str
    label: str
    confidence: float
    probabilities: tuple[float, ...]
    error: str = ""

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """As JSON: image and error, or image, label, confidence and every class's probability."""
        if self.error:
            return {"image": self.image, "error": self.error}
        shares = dict(zip(classes, self.probabilities, strict=True))
        return {"image": self.image, "label": self.label, "confidence": self.confidence, "probabilities": shares}


class Predictor:
    """A model and its pixel path."""

    def __init__(self, path: str | Path) -> None:
        """Open a run, a model folder or a folder of runs. Raises ModelFileError when there is no usable model."""
        self.named, self.folder = Path(path), find_model(Path(path))
        self.model: Model = read_model(self.folder)
        devices.place(self.model.network, CPU)

    @property
    def who(self) -> str:
        """Which run answers, where a folder of runs was named; else ""."""
        run = self.folder.parent
        if run.parent.absolute() != self.named.absolute():
            return ""
        return f"{run.name} answers: of the runs in {self.named} the best by val."

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes

    def photo(self, source: Path | bytes) -> np.ndarray:
        """One image as the store would hold it: uint8 [h, w, 3]. Raises DataError for one that cannot be decoded."""
        return pixel_store.decode(source, self.model.store_side)

    @torch.no_grad()
    def logits(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Logits, float32 [n, classes], of photos uint8 [h, w, 3] of any sizes."""
        batch = transforms.plain_batch(photos, self.model.size)
        images = transforms.normalise(batch, self.model.mean, self.model.std, CPU)
        return np.asarray(self.model.network(images).numpy())

    def predict(self, paths: Sequence[Path], reporter: Reporter | None = None) -> Iterator[Prediction]:
        """A prediction for each image file, in order; folders are searched for images, nested ones too.

        A file that is missing or unreadable gives a prediction with an `error`, so that one does not lose the others.
        """
        reporter = reporter or NullReporter()
        files = [found for path in paths for found in _images(path)]
        for begin in range(0, len(files), BATCH):
            yield from self._batch(files[begin : begin + BATCH])
            reporter.progress("predicting", min(begin + BATCH, len(files)), len(files))

    def _batch(self, files: Sequence[Path | Prediction]) -> list[Prediction]:
        photos: dict[int, np.ndarray] = {}
        found = {index: file for index, file in enumerate(files) if isinstance(file, Prediction)}
        with quiet():
            for index, file in enumerate(files):
                if isinstance(file, Path):
                    try:
                        photos[index] = self.photo(file)
                    except HeadstartError as error:
                        found[index] = _unread(file, error)
        if photos:
            rows = softmax(self.logits(list(photos.values())))
            found |= {index: self._name(files[index], row) for index, row in zip(photos, rows, strict=True)}
        return [found[index] for index in range(len(files))]

    def _name(self, file: object, probabilities: np.ndarray) -> Prediction:
        best = int(probabilities.argmax())
        values = tuple(float(p) for p in probabilities)
        return Prediction(str(file), self.classes[best], values[best], values)


def _images(path: Path) -> list[Path | Prediction]:
    try:
        return [*images_in(path)]
    except DataError as error:
        return [_unread(path, error)]


def _unread(path: Path, error: HeadstartError) -> Prediction:
    return Prediction(str(path), "", 0.0, (), error.message)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits [n, classes], float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def require_read(predictions: Sequence[Prediction]) -> None:
    """Raise DataError when no image could be read at all."""
    if not predictions:
        raise DataError("There are no images to predict.", "Name image files, or folders that hold some.")
    if all(p.error for p in predictions):
        count = f"None of the {len(predictions)} images could be read: " if len(predictions) > 1 else ""
        raise DataError(f"{count}{predictions[0].error}", "Check the path and the file.")
