"""Checks of classes: whether they can be divided into splits, their balance, and their size."""

from __future__ import annotations

import numpy as np

from headstart.audit.audit_data import LoadedData
from headstart.audit.finding import AuditOutcome
from headstart.data.image_index import SPLITS
from headstart.i18n import _, ngettext
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import format_percent, join_first

MAX_RATIO = 10.0  # of the largest to the smallest class
MIN_SCORED = 5  # images of a class in val and in test; with fewer, one image is more than 20 points of its accuracy
_SHOWN_CLASSES = 5


def splits(data: LoadedData) -> AuditOutcome:
    """Return whether the images can be divided into splits, each with every class."""
    if data.split_error is not None:
        return AuditOutcome(CheckStatus.FAIL, data.split_error.message, data.split_error.hint)
    for name in ("train", "val"):
        if not len(data.members(name)):
            return AuditOutcome(
                CheckStatus.FAIL,
                _("There are no {split} images.", split=name),
                _("Add {split} images, or let headstart make the split.", split=name),
            )
    counts = ", ".join(f"{name} {len(data.members(name)):,}" for name in SPLITS)
    if data.declared == "none":
        sentence = _("{sizes} (drawn with seed {seed}).", sizes=counts, seed=data.plan.seeding.seed)
        return AuditOutcome(CheckStatus.PASS, sentence)
    return AuditOutcome(CheckStatus.PASS, _("{sizes} (declared: {declared}).", sizes=counts, declared=data.declared))


def balance(data: LoadedData) -> AuditOutcome:
    """Return whether one class has far more images than another."""
    counts = np.bincount(data.images.labels[data.readable], minlength=len(data.images.classes))
    present = np.flatnonzero(counts)
    if len(present) < 2:
        return AuditOutcome(CheckStatus.PASS, _("Only one class has images."))
    smallest, largest = present[counts[present].argmin()], int(counts.argmax())
    ratio = counts[largest] / counts[smallest]
    if ratio == 1:
        sentence = ngettext(
            "Each of the {classes} has {count:,} image.",
            "Each of the {classes} has {count:,} images.",
            int(counts[largest]),
            classes=ngettext("{count} class", "{count} classes", len(present)),
        )
        return AuditOutcome(CheckStatus.PASS, sentence)
    values = {
        "large": data.images.classes[largest],
        "many": f"{counts[largest]:,}",
        "small": data.images.classes[smallest],
        "few": f"{counts[smallest]:,}",
        "share": format_percent(counts[largest] / counts.sum()),
    }
    sentence = _(
        "{large!r} has {many} images, {small!r} has {few}. Always predicting {large!r} gives {share} accuracy.",
        **values,
    )
    if ratio <= MAX_RATIO:
        return AuditOutcome(CheckStatus.PASS, sentence)
    hint = _(
        "Compare with --metric balanced, select with --select balanced, and try --class-weights balanced, which counts "
        "images of small classes more."
    )
    return AuditOutcome(CheckStatus.WARN, sentence, hint, 1)


def small_classes(data: LoadedData) -> AuditOutcome:
    """Return classes with few images in val or test: their accuracy is hardly measured."""
    names = [name for name in SPLITS[1:] if len(data.members(name))]
    if data.split_error is not None or not names:
        return AuditOutcome(CheckStatus.NOT_CHECKED, _("There are no splits."))
    counts = {
        name: np.bincount(data.images.labels[data.members(name)], minlength=len(data.images.classes)) for name in names
    }
    fewest = np.min(list(counts.values()), axis=0)
    small = np.flatnonzero(fewest < MIN_SCORED)
    if not len(small):
        sentence = ngettext(
            "Every class has {count:,} image or more in {splits}.",
            "Every class has {count:,} images or more in {splits}.",
            int(fewest.min()),
            splits=names[0] if len(names) == 1 else _("{first} and {second} each", first=names[0], second=names[1]),
        )
        return AuditOutcome(CheckStatus.PASS, sentence)
    listed = [f"{data.images.classes[i]!r} ({fewest[i]})" for i in small[np.argsort(fewest[small], kind="stable")]]
    sentence = ngettext(
        "{count:,} class has fewer than {limit} images in {splits}: {classes}.",
        "{count:,} classes have fewer than {limit} images in {splits}: {classes}.",
        len(small),
        limit=MIN_SCORED,
        splits=names[0] if len(names) == 1 else _("{first} or {second}", first=names[0], second=names[1]),
        classes=join_first(listed, _SHOWN_CLASSES),
    )
    hint = _("Add images, or leave such classes out with --min-per-class; their own accuracy is not known well.")
    return AuditOutcome(CheckStatus.WARN, sentence, hint, len(small))
