"""The path from an image to the input of a network, as in validation, test and prediction."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from headstart.artifacts.find_model import find_model
from headstart.config.model_file import read_preprocess
from headstart.data import transforms
from headstart.data.conversion import DEFAULT_CONVERSION, Conversion
from headstart.data.decode import decode, decode_image
from headstart.data.pixels import Pixels
from headstart.errors import UsageError
from headstart.i18n import _

# a file, its content, or pixels
ImageInput: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | np.ndarray"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of a model: a function from an image to the network's input.

    It needs no model in memory and can be pickled, for example as `transform` of a torchvision data set.

    Attributes:
        size: Side of the input in px.
        cache_side: Shorter side in px to which images are first reduced, as in training.
        mean: Mean of the color channels, for pixels in 0 to 1.
        std: Standard deviation of the color channels.
        conversion: Conversion of image files to 8 bits and RGB, as in training.

    Examples:
        >>> run.transform()(Image.new("RGB", (20, 10))).shape
        torch.Size([3, 16, 16])
    """

    size: int
    cache_side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    conversion: Conversion = DEFAULT_CONVERSION

    def __call__(self, image: ImageInput) -> Tensor:
        """Return the input of the network for an image: float32 [3, size, size].

        Args:
            image: File, content of a file, image of Pillow, or uint8 array [h, w, 3].

        Raises:
            DataError: The image cannot be decoded.
            UsageError: The image has another type or shape.
        """
        return self.batch([self.pixels(image)])[0]

    def pixels(self, image: ImageInput) -> Pixels:
        """Return an image reduced as in training: uint8 [h, w, 3]. Raises what `__call__` raises."""
        checked = checked_image(image)
        if isinstance(checked, np.ndarray):
            return decode_image(Image.fromarray(checked), self.cache_side, self.conversion)
        if isinstance(checked, Image.Image):
            return decode_image(checked, self.cache_side, self.conversion)
        return decode(checked, self.cache_side, self.conversion)

    def batch(self, images: Sequence[np.ndarray], device: torch.device = CPU) -> Tensor:
        """Return the inputs of reduced images, uint8 [h, w, 3] of any sizes: float32 [n, 3, size, size] on a device."""
        return transforms.normalize(transforms.plain_batch(images, self.size), self.mean, self.std, device)


def read_preprocessing(path: Path) -> Preprocessing:
    """Return the preprocessing of a run, a model folder or a folder of runs.

    Raises:
        ModelFileError: There is no usable model.
    """
    content = read_preprocess(*find_model(path))
    conversion = Conversion(content.max_value, content.background)
    return Preprocessing(content.size, content.cache_side, content.mean, content.std, conversion)


def image_list(images: ImageInput | Iterable[ImageInput]) -> list[ImageInput]:
    """Return one image, several images, an array [n, h, w, 3], or an array or series of paths, as a list of images.

    Raises:
        UsageError: It is none of these.
    """
    if isinstance(images, np.ndarray):
        is_text = images.dtype.kind in "UOT"
        return images.ravel().tolist() if is_text else list(images) if images.ndim == 4 else [images]
    if isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)):
        return [images]
    # an open file has lines, a mapping and a data frame have names
    is_named = hasattr(images, "read") or hasattr(images, "columns") or isinstance(images, Mapping)
    if is_named or isinstance(images, Tensor) or not isinstance(images, Iterable):
        raise _no_image(images)
    return list(images)


def checked_image(image: ImageInput) -> Path | bytes | Image.Image | np.ndarray:
    """Return the path of an image, the content of a file, or pixels.

    Raises:
        UsageError: It is none of these, or it is empty.
    """
    if isinstance(image, np.ndarray):
        _require_pixels(image)
        return image
    if isinstance(image, Image.Image):
        if not all(image.size):
            raise UsageError(
                _("The image has no pixels: its size is {size}.", size=str(list(image.size))), _("Leave it out.")
            )
        return image
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        if not (path := os.fsdecode(image)):
            raise UsageError(_("The path of an image is empty."), _("Leave it out."))
        return Path(path)
    raise _no_image(image)


def _no_image(value: object) -> UsageError:
    return UsageError(
        _("An image cannot be of type {kind}.", kind=type(value).__name__),
        _("Pass a path, the content of a file, an image of Pillow, a uint8 array [h, w, 3], or several of them."),
    )


def _require_pixels(image: np.ndarray) -> None:
    """Raise UsageError unless an array is an image: uint8 [h, w, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(
            _("An image array must be uint8 [h, w, 3], not {dtype} {shape}.", dtype=image.dtype.name,
              shape=str(list(image.shape))),
            _("Convert it, for example with `np.asarray(Image.fromarray(array).convert('RGB'))`."),
        )  # fmt: skip
