"""The data set of a run configuration: read, hashed, split and decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from headstart.config.run_config import RunConfig
from headstart.data import hashing, pixel_store, splits
from headstart.data.image_index import ImageIndex, validate_index
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.reporter import Reporter
from headstart.storage.schemas.split_counts import SplitCounts
from headstart.text import join_first


@dataclass(frozen=True)
class Dataset:
    """The images of a run configuration.

    Attributes:
        images: Index of the images: keys, labels and declared splits.
        content_hashes: Content hash of each image's file, in the order of `images`.
        store: Decoded pixels, in the order of `images`.
    """

    images: ImageIndex
    content_hashes: tuple[str, ...]
    store: pixel_store.PixelStore

    def split(self, plan: RunConfig) -> splits.Split:
        """Return the split of a run configuration over these images."""
        return _divide(plan, self.images, self.content_hashes)

    def with_split_counts(self, plan: RunConfig) -> RunConfig:
        """Return a resolved configuration with the split sizes that its own seed and fraction give."""
        return plan.changed(split_counts=split_counts(self.split(plan)))

    def has_copy(self, split: splits.Split) -> npt.NDArray[np.bool_]:
        """Return for each image whether the model that is evaluated on it has seen a copy (`splits.has_copy`)."""
        return splits.has_copy(split, np.unique(self.content_hashes, return_inverse=True)[1])

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class, over all splits."""
        counts = np.bincount(self.images.labels, minlength=len(self.images.classes))
        return dict(zip(self.images.classes, counts.tolist(), strict=True))


def load_dataset(plan: RunConfig, images: ImageIndex, reporter: Reporter) -> tuple[Dataset, splits.Split]:
    """Hash, split and decode the images.

    The split is drawn before decoding, so that a class with too few images is reported early. With `skip_bad` it is
    drawn after it, without the images that cannot be decoded and the classes of which none can.

    Raises:
        DataError: An image cannot be decoded, a class has too few images, or a split is empty.
        ResourceError: The disk is too small or the cache cannot be written.
    """
    content_hashes = hashing.hash_files(images, progress=partial(reporter.progress, _("reading images")))
    split = None if plan.data.skip_bad else _divide(plan, images, content_hashes)
    open_store = partial(
        pixel_store.open_store,
        side=round(plan.recipe.image_size * plan.data.cache_resolution),
        skip_bad=plan.data.skip_bad,
        progress=partial(reporter.progress, _("decoding images")),
        threads=plan.machine.threads,
    )
    store = open_store(images, content_hashes)
    if store.bad:
        reporter.say(left_out_note([images.keys[i] for i in store.bad], shown=5))
        bad = set(store.bad)
        content_hashes = tuple(content for i, content in enumerate(content_hashes) if i not in bad)
        remaining = images.without(store.bad).without_empty_classes()
        for note in remaining.notes[len(images.notes) :]:
            reporter.say(note)
        images = validate_index(remaining)
        store = open_store(images, content_hashes)
    split = split or _divide(plan, images, content_hashes)
    for name, indices in (("train", split.train), ("val", split.val)):
        if not len(indices):
            raise DataError(
                _("There are no {split} images.", split=name),
                _("Add {split} images, or let headstart make the split.", split=name),
            )
    sizes = ", ".join(f"{count} {name}" for name, count in split_counts(split))
    reporter.say(
        _("Split: {sizes} (drawn).", sizes=sizes)
        if split.declared == "none"
        else _("Split: {sizes} (declared: {declared}).", sizes=sizes, declared=split.declared)
    )
    if split.evaluation == "val":
        reporter.say(_("There is no test split: this run is evaluated on val, which also selects the epoch."))
    return Dataset(images, content_hashes, store), split


def left_out_note(keys: Sequence[str], shown: int) -> Message:
    """Return a sentence on images that cannot be decoded, with the names of the first ones."""
    return ngettext(
        "Left out {count:,} image that cannot be decoded: {names}.",
        "Left out {count:,} images that cannot be decoded: {names}.",
        len(keys),
        names=join_first(keys, shown),
    )


def _divide(plan: RunConfig, images: ImageIndex, content_hashes: tuple[str, ...]) -> splits.Split:
    return splits.divide(
        images,
        content_hashes=content_hashes,
        seed=plan.seeding.seed,
        test_seed=plan.seeding.test_seed,
        fraction=plan.data.fraction,
        evaluate_on_val=plan.data.evaluate_on_val,
    )


def split_counts(split: splits.Split) -> SplitCounts:
    """Return the number of images of each split."""
    return SplitCounts(train=len(split.train), val=len(split.val), test=len(split.test))
