"""The check of shortcuts: properties beside the content that give the class of an image away."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable

import numpy as np

from headstart.audit import shortcuts as properties
from headstart.audit.audit_data import AuditData, Integers
from headstart.audit.cross_validation import Features
from headstart.audit.finding import CheckResult, Example
from headstart.audit.shortcuts import GivenAway, Property
from headstart.data.parallel import ordered_map
from headstart.data.pixels import Pixels
from headstart.data.splits import unit_numbers
from headstart.hardware import cpu
from headstart.i18n import Message, _, ngettext
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import format_percent, join_first

_OF_PIXELS: dict[Property, Callable[[Pixels], Features]] = {
    Property.BORDER: properties.border_features,
    Property.CORNERS: properties.corner_features,
    Property.THUMBNAIL: properties.thumbnail_features,
    Property.COLORS: properties.color_features,
}
_NAMES = {
    Property.BORDER: _("the borders"),
    Property.CORNERS: _("the corners"),
    Property.THUMBNAIL: _("thumbnails of 8 x 8 px"),
    Property.COLORS: _("the range of the colors"),
    Property.FILE: _("size and format of the files"),
}
_SHOWN_CLASSES = 5
_EXAMPLES_PER_CLASS = 6


def shortcuts(data: AuditData) -> CheckResult:
    """Return the classes that borders, corners, thumbnails, colors or facts about the files give away."""
    places = data.readable
    labels, groups = data.images.labels[places], fold_groups(data)
    found: list[tuple[Property, GivenAway]] = []
    for kind, features in _features(data).items():
        result = properties.probe(kind, features, labels, groups, classes=len(data.images.classes))
        found += [(kind, given) for given in result.given_away]
    if not found:
        return CheckResult(
            CheckStatus.PASS, _("No class is known from the borders, colors, tiny thumbnails or files of its images.")
        )
    sentence = ngettext(
        "{count:,} class can be recognized without its content: {classes}.",
        "Classes can be recognized without their content in {count:,} ways: {classes}.",
        len(found),
        classes=join_first([_given_words(data, kind, given) for kind, given in found], _SHOWN_CLASSES),
    )
    hint = _("Look at what its images have in common besides the content, and remove it, or take other images.")
    shown = {given.label for _kind, given in found}
    examples = [Example(int(i)) for label in sorted(shown) for i in places[labels == label][:_EXAMPLES_PER_CLASS]]
    return CheckResult(CheckStatus.WARN, sentence, hint, len(examples), examples)


def _given_words(data: AuditData, kind: Property, given: GivenAway) -> Message:
    return _(
        "{name!r} by {property} ({share} of its images found)",
        name=data.images.classes[given.label],
        property=_NAMES[kind],
        share=format_percent(given.recall),
    )


def fold_groups(data: AuditData) -> Integers:
    """Return the number of the group of each image that can be decoded: what is alike is in one fold."""
    return unit_numbers(data.images, data.content_hashes, data.near)[data.readable]


def _features(data: AuditData) -> dict[Property, Features]:
    """Return the features of the properties that can be checked, of the images that can be decoded."""
    places = data.readable
    sizes = data.store.sizes[places]
    kinds = [kind for kind in _OF_PIXELS if properties.is_checkable(kind, sizes)]
    threads = data.plan.machine.threads or cpu.usable_cores()

    def of_image(place: int) -> list[Features]:
        pixels = data.store[place]
        return [_OF_PIXELS[kind](pixels) for kind in kinds]

    with contextlib.closing(ordered_map(of_image, places.tolist(), threads)) as results:
        rows = list(results)
    features = {kind: np.stack([row[k] for row in rows]) for k, kind in enumerate(kinds)}
    facts = [data.files[i] for i in places]
    suffixes = [posixpath.splitext(data.images.keys[i])[1].lower() for i in places]
    features[Property.FILE] = properties.file_features(
        [fact.bytes for fact in facts],
        np.array([fact.size[0] for fact in facts], dtype=np.int64),
        np.array([fact.size[1] for fact in facts], dtype=np.int64),
        [f"{fact.format} {fact.mode} {suffix}" for fact, suffix in zip(facts, suffixes, strict=True)],
    )
    return features
