"""Cache the features of a frozen backbone on disk: a frozen backbone is a fixed function of the image.

<cache>/features/<key>/view-0.npy    float32 [images, …], NaN where not computed yet; epoch e uses view e mod k
                       plain.npy     the same without augmentation, for validation

The key contains everything that changes the features: the tensors of the backbone, the images, the augmentation, the
precision and the machine. The cached features equal those that the network computes, bit for bit where the backend
treats all images of a batch alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from headstart.data import transforms
from headstart.data.loader import ImageSubset, TrainingBatches, training_rows
from headstart.errors import ResourceError
from headstart.hardware.precision import autocast
from headstart.i18n import _
from headstart.models import freezing, structure
from headstart.storage.cache import cache_root, remove_stale
from headstart.storage.contained import sync_folder, temp_suffix
from headstart.storage.folders import require_space
from headstart.storage.schemas.arm import FROZEN

MAX_FEATURES_PER_IMAGE = 65_536  # with more features per image a cache is not worth its space
PLAIN_VIEW = "plain"


def head_input(network: nn.Module, images: Tensor) -> Tensor:
    """Return the input of the head for `images` [n, 3, h, w] in eval mode: float32 [n, …].

    The modes of the network's modules do not change.
    """
    head_inputs: list[Tensor] = []
    modes = {module: module.training for module in network.modules()}
    head = network.get_submodule(structure.head_name(network))
    handle = head.register_forward_pre_hook(lambda _unused, inputs: head_inputs.append(inputs[0]))
    try:
        with torch.no_grad():
            network.eval()(images)
    finally:
        handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return head_inputs[0].float()


@dataclass(frozen=True)
class FeatureSettings:
    """What changes the features of images, besides the backbone and the augmentation.

    Args:
        contents: Fingerprint of the images in the store.
        precision: `fp32` or `bf16`.
        device: Device of the network.
        mean: Mean of the normalization.
        std: Standard deviation of the normalization.
        machine: Other properties that change the bits of the features.
    """

    contents: str
    precision: str
    device: torch.device
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    machine: tuple[str, ...] = ()


class FeatureCache:
    """Features of images, computed by the frozen backbone of a network."""

    def __init__(
        self,
        network: nn.Module,
        batches: TrainingBatches,
        settings: FeatureSettings,
    ) -> None:
        """Compute the key and the shape of the features.

        Args:
            network: The network with the frozen backbone.
            batches: The training batches, with their augmentation and the seed of the augmented views.
            settings: What else changes the features.
        """
        self.network, self.batches = network, batches
        self._settings, self._device = settings, settings.device
        frozen = freezing.frozen_digest(network, freezing.trainable(network, FROZEN.trained_stages))
        key = [frozen, settings.contents, settings.precision, str(self._device), settings.mean, settings.std]
        text = json.dumps(
            [
                *key,
                batches.batch_size,
                batches.view_seed,
                asdict(batches.augmentation),
                torch.__version__,
                *settings.machine,
            ]
        )
        self._folder = cache_root() / "features" / hashlib.sha256(text.encode()).hexdigest()[:32]
        self._arrays: dict[str, np.ndarray] = {}
        side = batches.augmentation.size
        self.shape = tuple(head_input(network, torch.zeros(1, 3, side, side, device=self._device)).shape[1:])

    @property
    def is_cacheable(self) -> bool:
        """True if the features of an image are few enough for a cache."""
        return int(np.prod(self.shape)) <= MAX_FEATURES_PER_IMAGE

    def view(self, epoch: int, augmented_views: int) -> str:
        """Return the name of the view of an epoch."""
        return f"view-{epoch % augmented_views}"

    def fill(self, view: str, images: ImageSubset) -> Iterator[None]:
        """Compute the missing features of a view.

        Yields:
            None before each batch.

        Raises:
            ResourceError: If the features cannot be written.
        """
        array = self._open(view, len(images.store))
        indices = np.unique(images.indices)
        missing = indices[np.isnan(array[indices].reshape(len(indices), -1)[:, 0])]
        if not len(missing):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_stale(self._folder)
        require_space(self._folder, array.nbytes)
        path = self._folder / f"{view}.npy"
        temporary = path.with_name(f"{path.name}{temp_suffix()}")
        try:
            features = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=array.shape)
            features[:] = array
            size = self.batches.batch_size
            for begin in range(0, len(missing), size):
                yield
                rows = missing[begin : begin + size]
                features[rows] = self._compute(view, images, rows)
            self._merge(features, path)
            features.flush()
            self._arrays[view] = np.load(temporary, mmap_mode="r")  # another process may replace `path`
            temporary.replace(path)
            sync_folder(self._folder)
        except OSError as error:
            raise ResourceError(
                _(
                    "The features of the frozen backbone cannot be cached ({reason}: {folder}).",
                    reason=error.strerror,
                    folder=self._folder,
                ),
                _("Set HEADSTART_CACHE to a writable folder with free space."),
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _merge(self, features: np.ndarray, path: Path) -> None:
        """Add the features that other processes have computed since; a race loses features, not correctness."""
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return
        if stored.shape == features.shape:
            count = len(features)
            new = np.isnan(features.reshape(count, -1)[:, 0]) & ~np.isnan(stored.reshape(count, -1)[:, 0])
            features[new] = stored[new]

    def rows(self, view: str, indices: np.ndarray) -> Tensor:
        """Return the features of images of the store, float32 [n, …] on the device; `fill` must have computed them."""
        return torch.from_numpy(np.array(self._arrays[view][indices])).to(self._device)

    def batch(self, batches: TrainingBatches, epoch: int, step: int, augmented_views: int) -> tuple[Tensor, Tensor]:
        """Return features and labels of a training batch, with the same images as `batches.batch`."""
        images = batches.images
        rows = training_rows(len(images), batches.batch_size, batches.seed, epoch, step)
        return self.rows(self.view(epoch, augmented_views), images.indices[rows]), torch.from_numpy(images.labels[rows])

    def _open(self, view: str, count: int) -> np.ndarray:
        """Return the stored features of a view, or NaN where there are none."""
        if view not in self._arrays:
            try:
                array = np.load(self._folder / f"{view}.npy", mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError):
                array = None
            if array is None or array.shape != (count, *self.shape):
                array = np.full((count, *self.shape), np.nan, dtype=np.float32)
            self._arrays[view] = array
        return self._arrays[view]

    def _compute(self, view: str, images: ImageSubset, rows: np.ndarray) -> np.ndarray:
        """Compute the features of the images at `rows` of the store, padded to a full batch for one shape."""
        size, augmentation = self.batches.batch_size, self.batches.augmentation
        padded = [int(i) for i in np.resize(rows, size)]
        pixels = [images.store[i] for i in padded]
        if view == PLAIN_VIEW:
            batch = transforms.plain_batch(pixels, augmentation.size)
        else:
            number = int(view.removeprefix("view-"))
            batch = transforms.training_batch(pixels, padded, augmentation, self.batches.view_seed, number)
        inputs = transforms.normalize(batch, self._settings.mean, self._settings.std, self._device)
        with autocast(self._settings.precision, self._device):
            features = head_input(self.network, inputs)
        return features[: len(rows)].cpu().numpy()
