"""The check of shortcuts: properties beside the content that give the class of an image away."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable

import numpy as np

from headstart.audit import shortcuts
from headstart.audit.audit_data import AuditData, Integers
from headstart.audit.cross_validation import Features
from headstart.audit.finding import AuditOutcome, Example
from headstart.audit.sample import Limits, draw_sample
from headstart.audit.shortcuts import GivenAway, Property
from headstart.data.parallel import ordered_map
from headstart.data.pixels import Pixels
from headstart.hardware import cpu
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import format_percent, join_first

_OF_PIXELS: dict[Property, Callable[[Pixels], Features]] = {
    Property.BORDER: shortcuts.border_features,
    Property.CORNERS: shortcuts.corner_features,
    Property.THUMBNAIL: shortcuts.thumbnail_features,
    Property.COLORS: shortcuts.color_features,
}
_NAMES = {
    Property.BORDER: _("the borders"),
    Property.CORNERS: _("the corners"),
    Property.THUMBNAIL: _("thumbnails of 8 x 8 px"),
    Property.COLORS: _("the range of the colors"),
    Property.FILE: _("size and format of the files"),
}
_LIMITS = Limits(class_images=shortcuts.MIN_IMAGES)
_SHOWN_CLASSES = 5
_EXAMPLES_PER_CLASS = 6
_PER_TASK = 64


def find_shortcuts(data: AuditData) -> AuditOutcome:
    """Return the classes that borders, corners, thumbnails, colors or facts about the files give away."""
    counts = np.bincount(data.images.labels[data.readable])
    if np.count_nonzero(counts) < shortcuts.MIN_CLASSES:
        return AuditOutcome(CheckStatus.NOT_CHECKED, _("Fewer than two classes have images that can be decoded."))
    if counts.max() < shortcuts.MIN_IMAGES:
        sentence = _("No class has {count} images, which this needs.", count=shortcuts.MIN_IMAGES)
        return AuditOutcome(CheckStatus.NOT_CHECKED, sentence)
    sample = draw_sample(data, _LIMITS)
    given: list[tuple[Property, GivenAway]] = []
    for kind, features in _features(data, sample.places).items():
        result = shortcuts.probe(kind, features, sample.labels, sample.groups, classes=len(sample.classes))
        given += [(kind, one) for one in result.given_away]
    if not given:
        sentence = _("No class is known from the borders, colors, tiny thumbnails or files of its images.")
        return AuditOutcome(CheckStatus.PASS, join([sentence, sample.note]))
    names = [data.images.classes[label] for label in sample.classes]
    sentence = ngettext(
        "{count:,} class can be recognized without its content: {classes}.",
        "Classes can be recognized without their content in {count:,} ways: {classes}.",
        len(given),
        classes=join_first([_given_words(names[one.label], kind, one) for kind, one in given], _SHOWN_CLASSES),
    )
    hint = _("Look at what its images have in common besides the content, and remove it, or take other images.")
    examples = [
        Example(int(place))
        for label in sorted({one.label for _kind, one in given})
        for place in sample.places[sample.labels == label][:_EXAMPLES_PER_CLASS]
    ]
    return AuditOutcome(CheckStatus.WARN, join([sentence, sample.note]), hint, len(examples), examples)


def _given_words(name: str, kind: Property, given: GivenAway) -> Message:
    share = format_percent(given.recall)
    return _("{name!r} by {property} ({share} of its images found)", name=name, property=_NAMES[kind], share=share)


def _features(data: AuditData, places: Integers) -> dict[Property, Features]:
    """Return the features of the properties that can be checked, of the images at `places`."""
    kinds = [kind for kind in _OF_PIXELS if shortcuts.is_checkable(kind, data.store.sizes[places])]
    threads = data.plan.machine.threads or cpu.usable_cores()

    def of_images(batch: Integers) -> list[Features]:
        rows = [[_OF_PIXELS[kind](pixels) for kind in kinds] for pixels in map(data.store.__getitem__, batch.tolist())]
        return [np.stack(columns) for columns in zip(*rows, strict=True)]

    batches = [places[i : i + _PER_TASK] for i in range(0, len(places), _PER_TASK)]
    with contextlib.closing(ordered_map(of_images, batches, threads)) as results:
        parts = list(results)
    features = {kind: np.concatenate([part[k] for part in parts]) for k, kind in enumerate(kinds)}
    facts = [data.files[i] for i in places]
    suffixes = [posixpath.splitext(data.images.keys[i])[1].lower() for i in places]
    features[Property.FILE] = shortcuts.file_features(
        [fact.bytes for fact in facts],
        np.array([fact.size[0] for fact in facts], dtype=np.int64),
        np.array([fact.size[1] for fact in facts], dtype=np.int64),
        [f"{fact.format} {fact.mode} {suffix}" for fact, suffix in zip(facts, suffixes, strict=True)],
    )
    return features
