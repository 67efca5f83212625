"""A seeded sample of the images for checks that fit a classifier, whose time and memory grow with images x classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.audit.audit_data import AuditData, Integers
from headstart.data.splits import unit_numbers
from headstart.i18n import Message, _, join
from headstart.rng import stream


@dataclass(frozen=True)
class Limits:
    """How large data may be for a check.

    Attributes:
        images: Images that are checked at most.
        classes: Classes that are checked at most.
        class_images: Images of a class with which it can be judged; without that of others, a sample leaves it out.
        whole: Images x classes up to which data of more than `images` images is checked as a whole.
        whole_images: The same for the images alone.
    """

    images: int = 20_000
    classes: int = 1_000
    class_images: int = 2
    whole: int = 20_000_000
    whole_images: int = 20_000


@dataclass(frozen=True, eq=False)
class Sample:
    """Images that a check reads.

    Attributes:
        places: Their positions in the index, int64 [n].
        labels: Their classes as numbers without gaps, int64 [n].
        groups: Numbers of groups; images that may not be in two folds have the same one, int64 [n].
        classes: The class of each number, int64 [k].
        note: A sentence if not all images are checked.
    """

    places: Integers
    labels: Integers
    groups: Integers
    classes: Integers
    note: Message


def draw_sample(data: AuditData, limits: Limits, *, seed: int = 0) -> Sample:
    """Return the images that can be decoded, or a random sample of them if they are more than the limits allow."""
    places, labels = data.readable, data.images.labels[data.readable]
    present, counts = np.unique(labels, return_counts=True)
    fits = len(places) <= limits.whole_images and len(places) * len(present) <= limits.whole
    note = join([])
    if not fits or np.count_nonzero(counts >= limits.class_images) > limits.classes:
        kept = _draw(labels, present[counts >= limits.class_images], limits, seed)
        places, labels = places[kept], labels[kept]
        note = _(
            "A random sample was checked: {images:,} of {total:,} images and {classes:,} of {all:,} classes.",
            images=len(places),
            total=len(data.readable),
            classes=len(np.unique(labels)),
            all=len(present),
        )
    classes, numbers = np.unique(labels, return_inverse=True)
    groups = unit_numbers(data.images, data.content_hashes, data.near)[places]
    return Sample(places, numbers, groups, classes, note)


def _draw(labels: Integers, candidates: Integers, limits: Limits, seed: int) -> Integers:
    """Return the sorted positions of a sample of the images of at most `limits.classes` of the candidate classes."""
    draws = stream(seed, "audit-sample")
    chosen = draws.permutation(candidates)[: limits.classes]
    of_chosen = np.flatnonzero(np.isin(labels, chosen))
    return np.sort(draws.permutation(of_chosen)[: limits.images])
