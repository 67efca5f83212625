"""Predict with a saved model, with the same preprocessing as in training, in fp32."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax

from headstart.artifacts.find_model import find_model
from headstart.artifacts.model_folder import SavedModel, read_model
from headstart.data.decode import ImageFileError, suppress_pillow_warnings
from headstart.data.folder import list_images
from headstart.errors import DataError
from headstart.hardware import devices
from headstart.i18n import Message, _, ngettext, verbatim
from headstart.inference.preprocessing import ImageInput, Preprocessing, checked_image, image_list
from headstart.metrics.top_logits import KEPT_LOGITS, MAX_FULL_CLASSES
from headstart.reporter import NullReporter, Reporter
from headstart.storage.files import JsonData

INFERENCE_BATCH_SIZE = 32
NO_ERROR = verbatim("")


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image.

    Attributes:
        image: Path of the image; of pixels `image N`, their place among the images from 0.
        label: Most probable class; "" after an error.
        confidence: Its probability; 0 after an error.
        probabilities: [classes], with a sum of 1; empty after an error, and if only the most probable classes are kept.
        error: Why the image could not be read, as a sentence without its path; "" without an error.
        top: If only the most probable classes are kept, these and their probabilities, the most probable first.

    Examples:
        >>> (prediction,) = run.predict(Image.new("RGB", (16, 16)))
        >>> prediction.label in ("0", "1") and prediction.confidence == max(prediction.probabilities)
        True
    """

    image: str
    label: str
    confidence: float
    probabilities: tuple[float, ...]
    error: Message = NO_ERROR
    top: tuple[tuple[str, float], ...] = ()

    def to_json(self, classes: Sequence[str]) -> dict[str, JsonData]:
        """Return the prediction as JSON: image and error, or image, label, confidence and the kept probabilities."""
        if self.error:
            return {"image": self.image, "error": self.error}
        probabilities = dict(self.top or zip(classes, self.probabilities, strict=True))
        return {
            "image": self.image,
            "label": self.label,
            "confidence": self.confidence,
            "probabilities": probabilities,
        }


class Predictor:
    """A saved model with its preprocessing, in fp32.

    Examples:
        >>> predictor = headstart.Predictor(run.folder)
        >>> predictor.classes
        ('0', '1')
    """

    def __init__(self, path: str | Path, device: str | int = "cpu") -> None:
        """Open a run, a study, a model folder or a folder of runs.

        Args:
            path: The run, study, model folder or folder of runs.
            device: Where the model runs: cpu, cuda, cuda:N or N, mps, or auto for the first GPU, else cpu.

        Raises:
            ModelFileError: There is no usable model.
            UsageError: The device is not available.
        """
        self.device = devices.pick_device(device)
        model = find_model(Path(path))
        self.path, self.folder = Path(path), model.path
        self.model: SavedModel = read_model(*model)
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

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The path from an image to the input of the network."""
        model = self.model
        return Preprocessing(model.size, model.cache_side, model.mean, model.std, model.conversion)

    def load_image(self, source: Path | bytes) -> np.ndarray:
        """Decode and reduce one image as in training.

        Returns:
            uint8 [h, w, 3].

        Raises:
            ImageFileError: The image cannot be read or decoded.
        """
        return self.preprocessing.pixels(source)

    @torch.no_grad()
    def logits(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the logits of images.

        Args:
            images: uint8 arrays [h, w, 3] of any sizes.

        Returns:
            float32 [n, classes].
        """
        return np.asarray(self.model.network(self.preprocessing.batch(images, self.device)).cpu().numpy())

    def predict(
        self, images: ImageInput | Iterable[ImageInput], reporter: Reporter | None = None, *, top: int | None = None
    ) -> Iterator[Prediction]:
        """Predict each image, in order.

        A file that is missing or unreadable yields a prediction with an `error`; the others are still predicted.

        Args:
            images: Image files, folders that are searched for images recursively, contents of files, images of Pillow,
                and uint8 arrays [h, w, 3]; one or several, or an array [n, h, w, 3].
            reporter: Reports progress.
            top: Keep only this number of most probable classes, see `kept_classes`; None keeps all.

        Raises:
            UsageError: An item is not an image.
        """
        reporter = reporter or NullReporter()
        items = list(_items(image_list(images)))
        for begin in range(0, len(items), INFERENCE_BATCH_SIZE):
            yield from self._predict_batch(items[begin : begin + INFERENCE_BATCH_SIZE], top)
            reporter.progress(_("predicting"), min(begin + INFERENCE_BATCH_SIZE, len(items)), len(items))

    def _predict_batch(self, items: Sequence[_Item | Prediction], top: int | None) -> list[Prediction]:
        pixels: dict[int, np.ndarray] = {}
        names: list[str] = []  # of the images with pixels
        predictions = {index: item for index, item in enumerate(items) if isinstance(item, Prediction)}
        with suppress_pillow_warnings():
            for index, item in enumerate(items):
                if isinstance(item, _Item):
                    try:
                        pixels[index] = self.preprocessing.pixels(item.image)
                        names.append(item.name)
                    except ImageFileError as error:
                        predictions[index] = _failed(item.name, error.reason)
        if pixels:
            rows = softmax(self.logits(list(pixels.values())).astype(np.float64), axis=1)
            predicted = (self._prediction(name, row, top) for name, row in zip(names, rows, strict=True))
            predictions |= dict(zip(pixels, predicted, strict=True))
        return [predictions[index] for index in range(len(items))]

    @property
    def kept_classes(self) -> int | None:
        """Number of classes whose probabilities a prediction keeps if there are many; None if it keeps all."""
        return KEPT_LOGITS if len(self.classes) > MAX_FULL_CLASSES else None

    @property
    def kept_note(self) -> Message | None:
        """Sentence that says how many probabilities are kept; None if it is all of them."""
        if self.kept_classes is None:
            return None
        return _(
            "The model has {classes:,} classes: of each image the {kept} most probable classes are kept.",
            classes=len(self.classes),
            kept=self.kept_classes,
        )

    def _prediction(self, name: str, probabilities: np.ndarray, top: int | None) -> Prediction:
        best = int(probabilities.argmax())
        if top is not None:
            order = np.argsort(-probabilities, kind="stable")[:top].tolist()
            kept = tuple((self.classes[index], float(probabilities[index])) for index in order)
            return Prediction(name, self.classes[best], float(probabilities[best]), (), top=kept)
        values = tuple(float(p) for p in probabilities)
        return Prediction(name, self.classes[best], values[best], values)


@dataclass(frozen=True)
class _Item:
    """An image to predict, and its name in the prediction."""

    name: str
    image: Path | bytes | Image.Image | np.ndarray


def _items(images: Iterable[ImageInput]) -> Iterator[_Item | Prediction]:
    """Yield the images, those of folders included; a folder that cannot be read yields a failed prediction."""
    for position, image in enumerate(images):
        checked = checked_image(image)
        if isinstance(checked, Path):
            yield from _files(checked)
        else:
            yield _Item(str(getattr(checked, "filename", "") or f"image {position}"), checked)


def _files(path: Path) -> list[_Item | Prediction]:
    try:
        return [_Item(str(file), file) for file in list_images(path)]
    except DataError as error:
        return [_failed(str(path), error.message)]  # names a folder or file in the folder `path`
    except (OSError, ValueError) as error:  # a name that is too long, or contains a null character
        return [_failed(str(path), _("It cannot be a path ({reason}).", reason=error))]


def _failed(name: str, reason: Message) -> Prediction:
    return Prediction(name, "", 0.0, (), reason)


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
