"""Crop, augment and normalize images.

The augmentation of an image is a pure function of (seed, epoch, index). Images are uint8 arrays [h, w, 3] of any size;
batches are uint8 tensors [n, 3, size, size] in channels_last order, which `normalize` converts to floats on the device.
Every image has its own draw (torchvision's v2 transforms draw one crop for a whole batch, vision#8484), and the draw is
the same in every arm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from headstart.config.recipe_config import RecipeConfig
from headstart.rng import stream

Box = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of training images.

    Attributes:
        size: Output side in px.
        crop: Smallest crop, as a share of the area.
        flip: Flip half of the images left to right.
        jitter: Largest relative change of brightness, contrast and saturation.
    """

    size: int
    crop: float = 0.08
    flip: bool = True
    jitter: float = 0.0

    @classmethod
    def of(cls, recipe: RecipeConfig) -> Augmentation:
        """Return the augmentation of a resolved recipe."""
        return cls(recipe.image_size, recipe.smallest_crop, recipe.flip == "on", recipe.jitter)


def random_box(height: int, width: int, smallest: float, draws: np.random.Generator) -> Box:
    """Draw the box of a random resized crop.

    As torchvision's RandomResizedCrop (Szegedy et al. 2015): ten tries, then the largest centered box with an aspect
    ratio in 3/4 to 4/3. `smallest` is the smallest share of the area.
    """
    area = height * width
    low, high = math.log(3 / 4), math.log(4 / 3)
    for share, log_ratio, down, right in draws.random((10, 4)):
        target = area * (smallest + share * (1 - smallest))
        ratio = math.exp(low + log_ratio * (high - low))
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(down * (height - h + 1)), int(right * (width - w + 1)), h, w
    w = min(width, max(1, round(height * 4 / 3)))
    h = min(height, max(1, round(width * 4 / 3)))
    return (height - h) // 2, (width - w) // 2, h, w


def center_box(height: int, width: int) -> Box:
    """Return the largest centered square: its side is the shorter side of the image."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def crop_and_resize(image: np.ndarray, box: Box, size: int) -> Tensor:
    """Return the box of an image [h, w, 3], resized with antialiasing to uint8 [1, 3, size, size]."""
    top, left, height, width = box
    region = np.array(image[top : top + height, left : left + width])  # a copy: the store is read-only
    tensor = torch.from_numpy(region).permute(2, 0, 1).unsqueeze(0)
    if (height, width) == (size, size):
        return tensor
    return F.interpolate(tensor, (size, size), mode="bilinear", antialias=True)


def augmented_image(pixels: np.ndarray, augmentation: Augmentation, seed: int, epoch: int, index: int) -> Tensor:
    """Return the augmented view of an image, whose pixels are [h, w, 3], in `epoch`: uint8 [1, 3, size, size]."""
    draws = stream(seed, "augment", epoch, index)
    flip, brightness, contrast, saturation = draws.random(4)
    box = random_box(pixels.shape[0], pixels.shape[1], augmentation.crop, draws)
    image = crop_and_resize(pixels, box, augmentation.size)
    if augmentation.flip and flip < 0.5:
        image = image.flip(-1)
    if augmentation.jitter:
        image = _jitter(image, 1 + augmentation.jitter * (2 * np.array([brightness, contrast, saturation]) - 1))
    return image


def _jitter(image: Tensor, factors: npt.NDArray[np.float64]) -> Tensor:
    """Return an image with its brightness, contrast and saturation multiplied by the factors.

    As `adjust_brightness`, `adjust_contrast` and `adjust_saturation` of torchvision, whose import takes as long as many
    steps of a training.
    """
    brightness, contrast, saturation = map(float, factors)
    image = image.mul(brightness).clamp_(0, 255).to(torch.uint8)
    image = _blend(image, _gray(image).mean(dim=(-3, -2, -1), keepdim=True), contrast)
    return _blend(image, _gray(image), saturation)


def _gray(image: Tensor) -> Tensor:
    """Return the luma of an image [..., 3, h, w], rounded down, as float32 [..., 1, h, w]."""
    red, green, blue = image.unbind(dim=-3)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_().unsqueeze(-3)


def _blend(image: Tensor, other: Tensor, share: float) -> Tensor:
    """Return share * image + (1 - share) * other as uint8."""
    return image.mul(share).add_(other, alpha=1 - share).clamp_(0, 255).to(torch.uint8)


def training_batch(
    images: Sequence[np.ndarray], indices: Sequence[int], augmentation: Augmentation, seed: int, epoch: int
) -> Tensor:
    """Return the augmented images of a batch: uint8 [n, 3, size, size], channels_last."""
    return _stack(
        [augmented_image(pixels, augmentation, seed, epoch, int(i)) for pixels, i in zip(images, indices, strict=True)]
    )


def plain_batch(images: Sequence[np.ndarray], size: int) -> Tensor:
    """Return the centered squares of images, as validation, test and prediction use: uint8 [n, 3, size, size]."""
    return _stack([crop_and_resize(image, center_box(image.shape[0], image.shape[1]), size) for image in images])


def _stack(images: list[Tensor]) -> Tensor:
    """Return one batch, in channels_last order whatever the order of the images."""
    return torch.cat([image.permute(0, 2, 3, 1) for image in images]).permute(0, 3, 1, 2)


def normalize(batch: Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> Tensor:
    """Return a batch uint8 [n, 3, h, w] as float32 on `device`, normalized.

    `mean` and `std` are those of the initial weights, per color channel, for pixels in 0 to 1.
    """
    shift = torch.tensor(mean, device=device).mul(255).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=device).mul(255).view(1, 3, 1, 1)
    on_device = batch.to(device)
    return on_device.to(torch.float32, memory_format=torch.channels_last).sub_(shift).div_(scale)
