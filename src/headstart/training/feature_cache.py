"""Cache the features of a frozen backbone on disk: a frozen backbone is a fixed function of the image.

<cache>/features/<key>/view-0.npy    float32 [images, features + 1], NaN where not computed yet; the last column has the
                                     CRC-32C of the row, as bits; epoch e uses view e mod k
                       plain.npy     the same without augmentation, for validation

A row whose checksum is wrong counts as not computed. The checksum includes the key, the view and the image.

The key contains everything that changes the features: the tensors of the backbone, the images, the augmentation, the
precision and the machine. The cached features equal those that the network computes, bit for bit where the backend
treats all images of a batch alike.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from headstart.data import transforms
from headstart.data.loader import ImageSubset, TrainingBatches, training_rows
from headstart.errors import DataError, ResourceError
from headstart.hardware.precision import autocast
from headstart.i18n import _
from headstart.models import freezing, structure
from headstart.storage import arrays, contained
from headstart.storage.cache import cache_root, make_cache_folder, remove_stale
from headstart.storage.folders import require_space
from headstart.storage.schemas.arm import FROZEN

MAX_FEATURES_PER_IMAGE = 65_536  # with more features per image a cache is not worth its space
PLAIN_VIEW = "plain"
_CHECKED_ROWS = 1024  # of which the checksums are computed at once
Rows = npt.NDArray[np.float32]


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
        self._cache, self._folder = cache_root(), f"features/{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        self._arrays: dict[str, Rows] = {}
        self._checked: dict[str, npt.NDArray[np.bool_]] = {}  # images whose rows are known to be right, by view
        side = batches.augmentation.size
        self.shape = tuple(head_input(network, torch.zeros(1, 3, side, side, device=self._device)).shape[1:])
        self._width = int(np.prod(self.shape)) + 1

    @property
    def is_cacheable(self) -> bool:
        """True if the features of an image are few enough for a cache."""
        return self._width - 1 <= MAX_FEATURES_PER_IMAGE

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
        self._check(view, array, indices, self._checked[view])
        missing = indices[~self._checked[view][indices]]
        if not len(missing):
            return
        make_cache_folder(self._cache, self._folder)
        remove_stale(self._cache, self._folder)
        require_space(self._cache / self._folder, array.nbytes)
        name, size = f"{self._folder}/{view}.npy", self.batches.batch_size
        checked = self._checked[view].copy()
        try:
            with contained.new_file(self._cache, name) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
                for begin in range(0, len(missing), size):
                    yield
                    rows = missing[begin : begin + size]
                    self._write(file, view, rows, self._compute(view, images, rows))
                    checked[rows] = True
                self._merge(file, view, checked)
                file.flush()
                # another process may replace the file
                self._arrays[view], self._checked[view] = arrays.map_file(file, name), checked
        except OSError as error:
            raise ResourceError(
                _(
                    "The features of the frozen backbone cannot be cached ({reason}: {folder}).",
                    reason=error.strerror,
                    folder=self._cache / self._folder,
                ),
                _("Set HEADSTART_CACHE to a writable folder with free space."),
            ) from error

    def _write(self, file: BinaryIO, view: str, rows: npt.NDArray[np.int64], values: Rows) -> None:
        """Write features with their checksums into a new file of a view."""
        width = self._width * values.itemsize
        begin = file.seek(0, 2) - len(self._checked[view]) * width
        stored = np.empty((len(rows), self._width), dtype=np.float32)
        stored[:, :-1] = values.reshape(len(rows), self._width - 1)
        stored[:, -1] = np.array(self._checksums(view, rows, stored), dtype=np.uint32).view(np.float32)
        starts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]  # of rows one after the other
        for start, end in pairwise(starts):
            if start < end:
                file.seek(begin + int(rows[start]) * width)
                file.write(stored[start:end].data)

    def _check(self, view: str, array: Rows, indices: npt.NDArray[np.int64], checked: npt.NDArray[np.bool_]) -> None:
        """Mark those of the rows at `indices` in `checked` whose checksum is right."""
        places = indices[~checked[indices] & ~np.isnan(array[indices, 0])]
        for begin in range(0, len(places), _CHECKED_ROWS):
            rows = places[begin : begin + _CHECKED_ROWS]
            stored = array[rows]
            checked[rows] = stored[:, -1].copy().view(np.uint32) == np.array(self._checksums(view, rows, stored))

    def _checksums(self, view: str, rows: npt.NDArray[np.int64], stored: Rows) -> list[int]:
        """Return the checksum of each row; the last column is not included."""
        start, extend = zlib.crc32(f"{self._folder} {view}".encode()), google_crc32c.extend
        values = stored[:, :-1]
        return [extend(start ^ row, value) for row, value in zip(rows.tolist(), values, strict=True)]

    def _merge(self, file: BinaryIO, view: str, checked: npt.NDArray[np.bool_]) -> None:
        """Add the features that other processes have computed since; a race loses features, not correctness."""
        stored = self._read(view, len(checked))
        if stored is not None:
            before = checked.copy()
            self._check(view, stored, np.flatnonzero(~before), checked)
            new = np.flatnonzero(checked & ~before)
            self._write(file, view, new, stored[new, :-1])

    def rows(self, view: str, indices: np.ndarray) -> Tensor:
        """Return the features of images of the store, float32 [n, …] on the device; `fill` must have computed them."""
        values = self._arrays[view][indices, :-1].reshape(len(indices), *self.shape)
        return torch.from_numpy(values).to(self._device)

    def batch(self, batches: TrainingBatches, epoch: int, step: int, augmented_views: int) -> tuple[Tensor, Tensor]:
        """Return features and labels of a training batch, with the same images as `batches.batch`."""
        images = batches.images
        rows = training_rows(len(images), batches.batch_size, batches.seed, epoch, step)
        return self.rows(self.view(epoch, augmented_views), images.indices[rows]), torch.from_numpy(images.labels[rows])

    def _open(self, view: str, count: int) -> Rows:
        """Return the stored rows of a view, or NaN where there are none."""
        if view not in self._arrays:
            array = self._read(view, count)
            if array is None:
                array = np.full((count, self._width), np.nan, dtype=np.float32)
            self._arrays[view], self._checked[view] = array, np.zeros(count, dtype=np.bool_)
        return self._arrays[view]

    def _read(self, view: str, count: int) -> Rows | None:
        """Return the stored rows of a view; None if the file is missing or damaged."""
        try:
            array = arrays.map_npy(self._cache, f"{self._folder}/{view}.npy")
        except (OSError, DataError):
            return None
        is_sound = array.dtype == np.float32 and array.shape == (count, self._width) and array.flags.c_contiguous
        return array if is_sound else None

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
