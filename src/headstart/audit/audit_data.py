"""What the checks read: the images of a plan as a training would load them, and facts about files and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from headstart.audit.file_facts import FileFacts, read_file_facts
from headstart.audit.pixel_facts import PixelFacts, measure_pixels
from headstart.audit.probable_groups import probable_groups
from headstart.audit.relations import Relations, relations, sets_of
from headstart.config.run_config import RunConfig
from headstart.data import duplicates, hashing, overlaps, pixel_store, sources, splits
from headstart.data.dataset import divide_plan
from headstart.data.image_index import SPLITS, ImageIndex
from headstart.data.near_duplicates import Pairs
from headstart.data.pixel_store import PixelStore
from headstart.errors import DataError
from headstart.hardware import cpu
from headstart.i18n import _
from headstart.reporter import NullReporter, Reporter
from headstart.storage.schemas.split_counts import SplitCounts
from headstart.storage.schemas.study import TRAIN_AND_VAL

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedData:
    """The images of a plan with what every training has loaded before its first step.

    Attributes:
        plan: The plan.
        images: Index of n images.
        content_hashes: Content hash of each image's file.
        store: Decoded pixels.
        near: Pairs of near-duplicates of different content.
        split_of: "train", "val" or "test" of each image; "" for one that is in none.
        declared: Splits that the data declares, as in `Split`.
        evaluation: The split of the reported number: "test" or "val".
        split_error: Why the images cannot be divided; None if they can.
    """

    plan: RunConfig
    images: ImageIndex
    content_hashes: Sequence[str]
    store: PixelStore
    near: Pairs
    split_of: tuple[str, ...]
    declared: str
    evaluation: str
    split_error: DataError | None = None

    @property
    def image_size(self) -> int:
        """Side of the network input in px."""
        return self.plan.recipe.image_size

    @cached_property
    def readable(self) -> Integers:
        """Positions of the images that can be decoded."""
        return np.flatnonzero(self.store.sizes[:, 0] > 0)

    @cached_property
    def content(self) -> Integers:
        """Number of each image's content, int64 [n]: equal for equal files."""
        number: dict[str, int] = {}
        return np.array([number.setdefault(text, len(number)) for text in self.content_hashes], dtype=np.int64)

    @cached_property
    def units(self) -> Integers:
        """Number of each image's unit, int64 [n]: images of one group, equal ones and near-duplicates are one."""
        return splits.unit_numbers(self.images, self.content_hashes, self.near)

    @cached_property
    def equal_relations(self) -> Relations:
        """The relations of images of equal content. Files that cannot be decoded are left out."""
        readable = set(self.readable.tolist())
        sets = [[i for i in members if i in readable] for members in sets_of(self.content)]
        return relations([members for members in sets if len(members) > 1], self.split_of, self.images.labels.tolist())

    @property
    def splits(self) -> SplitCounts | None:
        """Number of images of each split."""
        if self.split_error is not None:
            return None
        return SplitCounts(**{name: self.split_of.count(name) for name in SPLITS})

    def declares(self, split: str) -> bool:
        """Return True if the data declares the images of a split, by the names of `split_of`."""
        if self.plan.data.evaluate_on_val and self.declared == TRAIN_AND_VAL:
            return split == "test"  # the declared val is evaluated, and another val is drawn
        return split in self.declared.split("+")

    def members(self, split: str) -> Integers:
        """Return the positions of the images of a split."""
        return np.flatnonzero(np.asarray(self.split_of) == split)


@dataclass(frozen=True, eq=False, kw_only=True)
class AuditData(LoadedData):
    """The images of a plan with all facts that the checks read.

    Attributes:
        files: Facts in the headers of the files.
        pixels: Facts about the decoded pixels.
        reporter: Receives the progress of slow checks.
    """

    files: tuple[FileFacts, ...]
    pixels: PixelFacts
    reporter: Reporter = field(default_factory=NullReporter)

    @cached_property
    def clusters(self) -> Integers:
        """Number of each image's cluster, int64 [n]: equal files and near-duplicates, directly or through others."""
        return duplicates.copy_numbers(self.near, self.content_hashes)

    @cached_property
    def near_relations(self) -> Relations:
        """The relations of near-duplicates of different content."""
        return relations(sets_of(self.clusters), self.split_of, self.images.labels.tolist(), self.content.tolist())

    @cached_property
    def similarity(self) -> dict[tuple[int, int], float]:
        """Similarity of each pair of near-duplicates that was measured, the smaller position first."""
        pairs = zip(self.near.first.tolist(), self.near.second.tolist(), strict=True)
        return {
            (min(pair), max(pair)): round(s, 3) for pair, s in zip(pairs, self.near.similarity.tolist(), strict=True)
        }

    @cached_property
    def probable_groups(self) -> Integers:
        """Number of each image's probable group, int64 [n]; -1 for an image that is in none."""
        return probable_groups(self.images, self.files)


def load_audit_data(plan: RunConfig, reporter: Reporter) -> AuditData:
    """Read, hash, decode and divide the images of a plan, and measure what the checks need.

    Images are decoded into the pixel store of a later training, so that each is decoded once. Images that cannot be
    decoded stay in the index.

    Raises:
        DataError: The data is missing or not usable, or no image can be decoded.
        ResourceError: The disk is too small or the cache cannot be written.
    """
    threads = plan.machine.threads or cpu.usable_cores()
    images = sources.read_data(plan.data, partial(reporter.progress, _("finding images")))
    content_hashes = hashing.hash_files(images, progress=partial(reporter.progress, _("reading images")))
    store = pixel_store.open_store(
        images,
        content_hashes,
        side=round(plan.recipe.image_size * plan.data.cache_resolution),
        skip_bad=True,
        progress=partial(reporter.progress, _("decoding images")),
        threads=threads,
    )
    readable = np.flatnonzero(store.sizes[:, 0] > 0)  # a training searches among these
    near = duplicates.find_near_duplicates(
        images.without(store.bad), [content_hashes[i] for i in readable], threads=threads, reporter=reporter
    ).at(readable)
    split_of, declared, evaluation, error = _split(plan, images, content_hashes, store, near)
    return AuditData(
        plan=plan,
        images=images,
        content_hashes=content_hashes,
        store=store,
        near=near,
        split_of=split_of,
        declared=declared,
        evaluation=evaluation,
        split_error=error,
        files=read_file_facts(images, threads, partial(reporter.progress, _("reading headers"))),
        pixels=measure_pixels(store, threads, partial(reporter.progress, _("measuring images"))),
        reporter=reporter,
    )


def _split(
    plan: RunConfig, images: ImageIndex, content_hashes: tuple[str, ...], store: PixelStore, near: Pairs
) -> tuple[tuple[str, ...], str, str, DataError | None]:
    """Return the split of each image that can be decoded, as a run draws it, or why there is none."""
    kept = np.flatnonzero(store.sizes[:, 0] > 0)
    place = np.full(len(images), -1)
    place[kept] = np.arange(len(kept))
    pairs = Pairs(place[near.first], place[near.second], near.similarity)
    try:
        split = divide_plan(
            plan,
            images.without(store.bad).without_empty_classes(),
            tuple(content_hashes[i] for i in kept),
            pairs if plan.data.near_duplicates == "together" else Pairs.none(),
        )
    except DataError as error:
        declared = "+".join(name for name in SPLITS if name in images.splits) or "none"
        return images.splits, declared, "test", error
    split_of = [""] * len(images)
    for position, name in zip(kept.tolist(), split_names(split, len(kept)), strict=True):
        split_of[position] = name
    return tuple(split_of), split.declared, split.evaluation, None


def split_names(split: splits.Split, count: int) -> tuple[str, ...]:
    """Return the name of the split of each of `count` images; "" for one that is in none."""
    names = {**dict(enumerate(SPLITS)), overlaps.UNUSED: ""}
    return tuple(names[number] for number in overlaps.split_numbers(split, count).tolist())
