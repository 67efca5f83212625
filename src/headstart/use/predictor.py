"""Predict with a saved model: the same pixel path as in training, in fp32."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.data import pixels
from headstart.data.folder import images_in
from headstart.errors import DataError, HeadstartError
from headstart.model_folder import Model, read_model
from headstart.parts import augment
from headstart.use.opened import find_model

BATCH = 32


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
        """Open a run, a model folder or a study. Raises ModelFileError when there is no usable model."""
        self.model: Model = read_model(find_model(Path(path)))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes

    def photo(self, source: Path | bytes) -> np.ndarray:
        """One image as the store would hold it: uint8 [h, w, 3]."""
        return pixels.decode(source, self.model.store_side)

    @torch.no_grad()
    def logits(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Logits, float32 [n, classes], of photos uint8 [h, w, 3]."""
        batch = augment.plain_batch(photos, self.model.size)
        images = augment.normalise(batch, self.model.mean, self.model.std, torch.device("cpu"))
        return np.asarray(self.model.network(images).numpy())

    def predict(self, paths: Sequence[Path]) -> Iterator[Prediction]:
        """A prediction for each image file, in order; folders are searched for images.

        An unreadable image gives a prediction with an `error`, so that one bad file does not lose the others.
        """
        files = [file for path in paths for file in images_in(path)]
        for begin in range(0, len(files), BATCH):
            yield from self._batch(files[begin : begin + BATCH])

    def _batch(self, files: Sequence[Path]) -> list[Prediction]:
        photos: dict[int, np.ndarray] = {}
        errors: dict[int, str] = {}
        for index, file in enumerate(files):
            try:
                photos[index] = self.photo(file)
            except HeadstartError as error:
                errors[index] = error.what
        found = iter(softmax(self.logits(list(photos.values()))) if photos else ())
        return [
            Prediction(str(file), "", 0.0, (), errors[index]) if index in errors else self._name(file, next(found))
            for index, file in enumerate(files)
        ]

    def _name(self, file: Path, probabilities: np.ndarray) -> Prediction:
        best = int(probabilities.argmax())
        values = tuple(float(p) for p in probabilities)
        return Prediction(str(file), self.classes[best], values[best], values)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits [n, classes], float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def as_table(predictions: Sequence[Prediction]) -> str:
    """Plain columns: image, label, confidence."""
    width = max(len(p.image) for p in predictions)
    rows = [f"{p.image:<{width}}  {p.error or f'{100 * p.confidence:5.1f} %  {p.label}'}\n" for p in predictions]
    return "".join(rows)


def as_csv(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    """CSV with a header: image, label, confidence, one column per class, error."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["image", "label", "confidence", *classes, "error"])
    for p in predictions:
        shares = p.probabilities or [""] * len(classes)
        writer.writerow([p.image, p.label, p.confidence if p.probabilities else "", *shares, p.error])
    return buffer.getvalue()


def require_images(predictions: Sequence[Prediction]) -> None:
    """Raise DataError when no image could be read at all."""
    if not predictions:
        raise DataError("There are no images to predict.", "Name image files, or folders that hold some.")
    if all(p.error for p in predictions):
        raise DataError(
            f"None of {len(predictions)} images could be read ({predictions[0].error}).", "Check the files."
        )
