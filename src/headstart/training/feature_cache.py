"""A frozen trunk is a fixed function: what it makes of each photo is computed once and kept.

<cache>/features/<key>/view-0.npy    float32 [photos, …], NaN where not computed yet; view e mod k is what epoch e shows
                       plain.npy     the same without augmentation, for validation

The key says everything that decides the numbers: the trunk's tensors, the photos, the augmentation, the precision and
the machine. What a head is fed from here is what the network would feed it, bit for bit where the backend treats each
photo of a batch alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from headstart.data import transforms
from headstart.data.loader import ImageSubset, TrainingBatches, training_rows
from headstart.errors import ResourceError
from headstart.hardware import precision
from headstart.models import freezing, structure
from headstart.storage.cache import cache_root
from headstart.storage.files import fsync_folder, temp_suffix
from headstart.storage.folders import require_space

LARGEST = 65_536  # numbers for each photo; a head that takes more is not worth a cache
PLAIN = "plain"


def head_input(network: nn.Module, images: Tensor) -> Tensor:
    """What `network` in eval mode feeds its head for `images` [n, 3, h, w]: float32 [n, …]; modes stay as they are."""
    caught: list[Tensor] = []
    modes = {module: module.training for module in network.modules()}
    head = network.get_submodule(structure.head_name(network))
    handle = head.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    try:
        with torch.no_grad():
            network.eval()(images)
    finally:
        handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return caught[0].float()


class FeatureCache:
    """The frozen trunk of a network with the photos that it sees: `rows` of what it made of them."""

    def __init__(
        self,
        network: nn.Module,
        batches: TrainingBatches,
        *,
        contents: str,
        how: str,
        device: torch.device,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        machine: tuple[str, ...] = (),
    ) -> None:
        """`contents` identifies the store's photos, `how` is the precision, `machine` is whatever else decides bits."""
        self.network, self.batches = network, batches
        self._how, self._device, self._mean, self._std = how, device, mean, std
        frozen = freezing.frozen_digest(network, freezing.trainable(network, "frozen"))
        key = [frozen, contents, how, str(device), mean, std, batches.batch_size, batches.view_seed]
        text = json.dumps([*key, asdict(batches.how), torch.__version__, *machine])
        self._folder = cache_root() / "features" / hashlib.sha256(text.encode()).hexdigest()[:32]
        self._arrays: dict[str, np.ndarray] = {}
        side = batches.how.size
        self.shape = tuple(head_input(network, torch.zeros(1, 3, side, side, device=device)).shape[1:])

    @property
    def is_cacheable(self) -> bool:
        return int(np.prod(self.shape)) <= LARGEST

    def view(self, epoch: int, augmented_views: int) -> str:
        return f"view-{epoch % augmented_views}"

    def fill(self, view: str, photos: ImageSubset) -> Iterator[int]:
        """Compute what is missing of a view; yields, before each batch, how many photos are left."""
        array = self._open(view, len(photos.store))
        wanted = np.unique(photos.indices)
        missing = wanted[np.isnan(array[wanted].reshape(len(wanted), -1)[:, 0])]
        if not len(missing):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        require_space(self._folder, array.nbytes)
        path = self._folder / f"{view}.npy"
        scratch = path.with_name(f"{path.name}{temp_suffix()}")
        try:
            fresh = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.float32, shape=array.shape)
            fresh[:] = array
            size = self.batches.batch_size
            for begin in range(0, len(missing), size):
                yield len(missing) - begin
                rows = missing[begin : begin + size]
                fresh[rows] = self._compute(view, photos, rows)
            self._join(fresh, path)
            fresh.flush()
            self._arrays[view] = np.load(scratch, mmap_mode="r")  # ours, whatever takes its place at `path`
            scratch.replace(path)
            fsync_folder(self._folder)
        except OSError as error:
            raise ResourceError(
                f"The features of the frozen trunk cannot be kept ({error.strerror}: {self._folder}).",
                "Point HEADSTART_CACHE at a folder that you may write to and that has room.",
            ) from error
        finally:
            scratch.unlink(missing_ok=True)

    def _join(self, fresh: np.ndarray, path: Path) -> None:
        """Add what other processes have computed meanwhile; what is lost all the same is computed again."""
        try:
            theirs = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return
        if theirs.shape == fresh.shape:
            count = len(fresh)
            there = np.isnan(fresh.reshape(count, -1)[:, 0]) & ~np.isnan(theirs.reshape(count, -1)[:, 0])
            fresh[there] = theirs[there]

    def rows(self, view: str, indices: np.ndarray) -> Tensor:
        """What the trunk made of these photos of the store: float32 [n, …] on the device. They must be filled."""
        return torch.from_numpy(np.array(self._arrays[view][indices])).to(self._device)

    def batch(self, batches: TrainingBatches, epoch: int, step: int, augmented_views: int) -> tuple[Tensor, Tensor]:
        """As `batches.batch`, with the trunk's output in the place of photos."""
        photos = batches.photos
        rows = training_rows(len(photos), batches.batch_size, batches.seed, epoch, step)
        return self.rows(self.view(epoch, augmented_views), photos.indices[rows]), torch.from_numpy(photos.labels[rows])

    def _open(self, view: str, count: int) -> np.ndarray:
        if view not in self._arrays:
            try:
                known = np.load(self._folder / f"{view}.npy", mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError):
                known = None
            if known is None or known.shape != (count, *self.shape):
                known = np.full((count, *self.shape), np.nan, dtype=np.float32)
            self._arrays[view] = known
        return self._arrays[view]

    def _compute(self, view: str, photos: ImageSubset, rows: np.ndarray) -> np.ndarray:
        """Of the photos at `rows` of the store, padded to a whole batch: every batch has the one shape."""
        size, how = self.batches.batch_size, self.batches.how
        padded = [int(i) for i in np.resize(rows, size)]
        pixels = [photos.store[i] for i in padded]
        if view == PLAIN:
            images = transforms.plain_batch(pixels, how.size)
        else:
            number = int(view.removeprefix("view-"))
            images = transforms.training_batch(pixels, padded, how, self.batches.view_seed, number)
        normal = transforms.normalise(images, self._mean, self._std, self._device)
        with precision.autocast(self._how, self._device):
            found = head_input(self.network, normal)
        return found[: len(rows)].cpu().numpy()
