"""Features of images from a pretrained network, for the audit of labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.audit.cross_validation import Features
from headstart.data import transforms
from headstart.data.loader import ImageStore
from headstart.errors import MissingWeightsError
from headstart.hardware import devices
from headstart.hardware.precision import autocast, deterministic
from headstart.models.factory import build
from headstart.models.processor import multiplies_bf16
from headstart.models.resnet import ResNet
from headstart.models.structure import fixed_size
from headstart.reporter import ProgressCallback
from headstart.training.feature_cache import head_input
from headstart.weights.download import no_downloads
from headstart.weights.starts import Start, initialize, resolve_start

BATCH_SIZE = 64
MAX_FEATURES = 2560  # of a view: the cross-validation solves a system of this size for each fold
_GRID = 2  # cells per side over which the maps before the last stage are averaged
_STAGES = 3  # the last ones of a ResNet, which are concatenated


@dataclass(frozen=True)
class View:
    """How images are shown to the network.

    Attributes:
        size: Side in px.
        whole: Squeeze the whole image to a square; else its largest centered square.
    """

    size: int
    whole: bool = False


# Of 64 to 128 px, 64 was best with weights trained at 64 px. A second view at another size errs on other images.
VIEWS = (View(64), View(80, whole=True))


def local_start(name: str, network: str, stem: str = "imagenet") -> Start | None:
    """Return a start whose weights are on this disk; None if they would have to be downloaded.

    Raises what `resolve_start` raises for other faults.
    """
    try:
        with no_downloads():
            return resolve_start(name, network=network, shortcut=True, norm="batch", stem=stem, num_classes=2)
    except MissingWeightsError:
        return None


def image_features(
    network: str,
    start: Start,
    store: ImageStore,
    *,
    stem: str = "imagenet",
    views: Sequence[View] = VIEWS,
    threads: int,
    progress: ProgressCallback | None = None,
) -> list[Features]:
    """Return the features of all images in a store, float32 [n, d] for each view.

    Those of a ResNet are the square roots of its last three stages' outputs. The square root makes averages of
    rectified activations less skewed, as a linear classifier needs it. The last stage is averaged over the image, the
    others over 2 x 2 cells if that gives at most MAX_FEATURES features. Other networks have the inputs of their head.

    Args:
        network: Name of the network.
        start: Its weights, from `local_start`.
        store: The decoded images.
        stem: Stem of a network of the family.
        views: How the images are shown.
        threads: Number of threads.
        progress: Called with (images done, all images); each view counts.
    """
    device = torch.device("cpu")
    model = build(network, 2, stem=stem)
    initialize(model, start, seed=0)
    model = devices.place(model, device).eval()
    precision = "bf16" if multiplies_bf16() else "fp32"
    results: list[Features] = []
    with deterministic(device, threads), torch.inference_mode(), autocast(precision, device):
        for number, view in enumerate(views):
            parts = []
            for begin in range(0, len(store), BATCH_SIZE):
                end = min(begin + BATCH_SIZE, len(store))
                batch = _batch([store[i] for i in range(begin, end)], view, fixed_size(model))
                parts.append(_features(model, transforms.normalize(batch, start.mean, start.std, device)))
                if progress:
                    progress(number * len(store) + end, len(views) * len(store))
            results.append(np.concatenate(parts))
    return results


def _batch(images: list[np.ndarray], view: View, fixed: int | None) -> Tensor:
    size = fixed or view.size
    if not view.whole:
        return transforms.plain_batch(images, size)
    whole = [transforms.crop_and_resize(image, (0, 0, *image.shape[:2]), size) for image in images]
    return torch.cat(whole).contiguous(memory_format=torch.channels_last)


def _features(model: nn.Module, inputs: Tensor) -> Features:
    if not isinstance(model, ResNet):
        return head_input(model, inputs).flatten(1).float().numpy()
    with _outputs(model, model.stage_names[-_STAGES:]) as maps:
        model(inputs)
    *earlier, last = (values.float() for values in maps)
    cells = _GRID if _GRID**2 * sum(m.shape[1] for m in earlier) + last.shape[1] <= MAX_FEATURES else 1
    pooled = [F.adaptive_avg_pool2d(values, cells).flatten(1) for values in earlier]
    return torch.cat([*pooled, last.mean((2, 3))], 1).clamp(min=0).sqrt().numpy()


@contextmanager
def _outputs(model: nn.Module, names: Sequence[str]) -> Iterator[list[Tensor]]:
    """Collect the outputs of the modules `names` of a network that runs in the block."""
    outputs: list[Tensor] = []
    modules = [model.get_submodule(name) for name in names]
    handles = [module.register_forward_hook(lambda _module, _inputs, out: outputs.append(out)) for module in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
