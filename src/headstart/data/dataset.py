"""The data set of a run configuration: read, hashed, decoded and split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from headstart.config.run_config import RunConfig
from headstart.data import duplicates, hashing, overlaps, pixel_store, splits
from headstart.data.duplicates import Clusters
from headstart.data.image_index import ImageIndex, validate_index
from headstart.data.near_duplicates import Pairs
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.reporter import Reporter
from headstart.storage.schemas.overlap import Overlap
from headstart.storage.schemas.split_counts import SplitCounts
from headstart.text import join_first


@dataclass(frozen=True)
class Dataset:
    """The images of a run configuration.

    Attributes:
        images: Index of the images: keys, labels and declared splits.
        content_hashes: Content hash of each image's file, in the order of `images`.
        store: Decoded pixels, in the order of `images`.
        near_duplicates: Pairs of images that show the same photo; none if the configuration ignores them.
        clusters: The groups that these pairs connect.
    """

    images: ImageIndex
    content_hashes: tuple[str, ...]
    store: pixel_store.PixelStore
    near_duplicates: Pairs
    clusters: Clusters

    def split(self, plan: RunConfig) -> splits.Split:
        """Return the split of a run configuration over these images.

        Raises:
            DataError: A class has too few images for its splits, also if near-duplicates are kept together.
        """
        return divide_plan(plan, self.images, self.content_hashes, self.near_duplicates)

    def overlaps(self, split: splits.Split) -> list[Overlap]:
        """Return what is in two parts of a split, or under two labels."""
        return overlaps.overlaps(self.images, split, self.content_hashes, self.clusters.members)

    def with_split_counts(self, plan: RunConfig) -> RunConfig:
        """Return a resolved configuration with the split sizes that its own seed and fraction give."""
        return plan.changed(split_counts=split_counts(self.split(plan)))

    def has_copy(self, split: splits.Split) -> npt.NDArray[np.bool_]:
        """Return for each image whether the model that is evaluated on it has seen a copy (`overlaps.has_copy`)."""
        return overlaps.has_copy(split, duplicates.copy_numbers(self.near_duplicates, self.content_hashes))

    @cached_property
    def units(self) -> npt.NDArray[np.int64]:
        """Number of each image's unit, int64 [n]; see `splits.unit_numbers`."""
        return splits.unit_numbers(self.images, self.content_hashes, self.near_duplicates)

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class, over all splits."""
        counts = np.bincount(self.images.labels, minlength=len(self.images.classes))
        return dict(zip(self.images.classes, counts.tolist(), strict=True))


def load_dataset(plan: RunConfig, images: ImageIndex, reporter: Reporter) -> tuple[Dataset, splits.Split]:
    """Hash, split and decode the images.

    The split is drawn before decoding, so that a class with too few images is reported early, and again after it if
    there are near-duplicates. With `skip_bad` it is drawn after decoding only, without the images that cannot be
    decoded and the classes of which none can.

    Raises:
        DataError: An image cannot be decoded, a class has too few images, or a split is empty.
        ResourceError: The disk is too small or the cache cannot be written.
    """
    content_hashes = hashing.hash_files(images, progress=partial(reporter.progress, _("reading images")))
    split = None if plan.data.skip_bad else divide_plan(plan, images, content_hashes, Pairs.none())
    threads = plan.machine.threads
    store = open_plan_store(plan, images, content_hashes, threads, reporter)
    if store.bad:
        reporter.say(left_out_note([images.keys[i] for i in store.bad], shown=5))
        bad = set(store.bad)
        content_hashes = tuple(content for i, content in enumerate(content_hashes) if i not in bad)
        remaining = images.without(store.bad).without_empty_classes()
        for note in remaining.notes[len(images.notes) :]:
            reporter.say(note)
        images = validate_index(remaining)
        store = open_plan_store(plan, images, content_hashes, threads, reporter)
    pairs = Pairs.none()
    if plan.data.near_duplicates == "together":
        pairs = duplicates.find_near_duplicates(images, content_hashes, threads=threads, reporter=reporter)
    clusters = duplicates.clusters_of(pairs, content_hashes)
    if split is None or len(pairs):
        split = divide_plan(plan, images, content_hashes, pairs)
    if split.is_drawn and (kept := _kept_together_note(clusters, images, split)) is not None:
        reporter.say(kept)
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
    return Dataset(images, content_hashes, store, pairs, clusters), split


def left_out_note(keys: Sequence[str], shown: int) -> Message:
    """Return a sentence on images that cannot be decoded, with the names of the first ones."""
    return ngettext(
        "Left out {count:,} image that cannot be decoded: {names}.",
        "Left out {count:,} images that cannot be decoded: {names}.",
        len(keys),
        names=join_first(keys, shown),
    )


def open_plan_store(
    plan: RunConfig, images: ImageIndex, content_hashes: tuple[str, ...], threads: int, reporter: Reporter
) -> pixel_store.PixelStore:
    """Return the pixel store of a run configuration; see `pixel_store.open_store`."""
    return pixel_store.open_store(
        images,
        content_hashes,
        side=round(plan.recipe.image_size * plan.data.cache_resolution),
        skip_bad=plan.data.skip_bad,
        progress=partial(reporter.progress, _("decoding images")),
        threads=threads,
    )


def _kept_together_note(clusters: Clusters, images: ImageIndex, split: splits.Split) -> Message | None:
    """Return how many near-duplicates are in one split; declared splits may have divided others."""
    split_of = overlaps.split_numbers(split, len(images))
    numbers = [set(split_of[list(members)].tolist()) for members in clusters.members]
    together = [i for i, parts in enumerate(numbers) if len(parts) == 1 and overlaps.UNUSED not in parts]
    if not together:
        return None
    first, second = clusters.examples[together[0]]
    return ngettext(
        "Kept {count:,} group of near-duplicates ({images}) in one split, such as {first} and {second}.",
        "Kept {count:,} groups of near-duplicates ({images}) in one split each, such as {first} and {second}.",
        len(together),
        images=ngettext("{count:,} image", "{count:,} images", sum(len(clusters.members[i]) for i in together)),
        first=images.keys[first],
        second=images.keys[second],
    )


def divide_plan(
    plan: RunConfig, images: ImageIndex, content_hashes: tuple[str, ...], near_duplicates: Pairs
) -> splits.Split:
    """Return the split of a run configuration; see `splits.divide`.

    If there is one only without the near-duplicates, the error says so.
    """
    divide = partial(
        splits.divide,
        images,
        content_hashes=content_hashes,
        seed=plan.seeding.seed,
        test_seed=plan.seeding.test_seed,
        fraction=plan.data.fraction,
        evaluate_on_val=plan.data.evaluate_on_val,
    )
    try:
        return divide(near_duplicates=near_duplicates)
    except DataError as error:
        if len(near_duplicates):
            divide()  # raises if there is another reason
            raise splits.together_error(error) from None
        raise


def split_counts(split: splits.Split) -> SplitCounts:
    """Return the number of images of each split."""
    return SplitCounts(train=len(split.train), val=len(split.val), test=len(split.test))
