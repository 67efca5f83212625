"""Checks of pictures: their size, and those that are flat, gray, transparent or have 16 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstart.audit.audit_data import AuditData, LoadedData
from headstart.audit.finding import MAX_EXAMPLES, AuditOutcome, Example
from headstart.i18n import NOTHING, Message, _, join, ngettext
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import format_percent

MAX_SMALL_SHARE = 0.01  # of the images that are enlarged
SMALL_INPUT = 64  # px; at such a size it is usual to enlarge all images
MIN_IMAGES = 5  # of a kind, before its share in a class counts
MAX_SHARE_DIFFERENCE = 0.3  # between the share of a kind in a class and in the other classes
_LARGE_FACTOR = 4
_MIN_SIDE = 8  # px; networks need no larger input


def image_size(data: LoadedData) -> AuditOutcome:
    """Return whether images are smaller than the input of the network, and are enlarged."""
    sides = data.store.sizes.min(axis=1)
    side = data.image_size
    small = data.readable[sides[data.readable] < side]
    if not len(small):
        sentence = _("No image is smaller than --image-size {side}.", side=side)
        return AuditOutcome(CheckStatus.PASS, join([sentence, _larger(data)]))
    median = int(np.median(sides[small]))
    sentence = ngettext(
        "{count:,} image has a shorter side below --image-size {side} ({median} px), and is enlarged.",
        "{count:,} images have a shorter side below --image-size {side} (median {median} px), and are enlarged.",
        len(small),
        side=side,
        median=median,
    )
    examples = [Example(int(i), value=float(sides[i])) for i in small[np.argsort(sides[small], kind="stable")]]
    share = len(small) / len(data.readable)
    if share <= MAX_SMALL_SHARE or (len(small) == len(data.readable) and side <= SMALL_INPUT):
        return AuditOutcome(CheckStatus.PASS, sentence, count=len(small), examples=examples[:MAX_EXAMPLES])
    hint = _("Enlarging adds cost and no detail: --image-size {side} fits most of them.", side=_usual_side(median))
    return AuditOutcome(CheckStatus.WARN, sentence, hint, len(small), examples[:MAX_EXAMPLES])


def _usual_side(side: int) -> int:
    """Return the next multiple of 32 px that is not larger; of less than 32 px the side itself, at least 8."""
    return side // 32 * 32 if side >= 32 else max(_MIN_SIDE, side)


def _larger(data: LoadedData) -> Message:
    """Return a sentence on photos whose files are much larger than the input; "" if it is not known."""
    if not isinstance(data, AuditData):
        return NOTHING
    sides = [min(facts.size) for facts in data.files if min(facts.size)]
    median = float(np.median(sides)) if sides else 0.0
    if median < _LARGE_FACTOR * data.image_size:
        return NOTHING
    return _(
        "Their shorter sides have {median:.0f} px (median): a larger --image-size shows more detail and takes longer.",
        median=median,
    )


def flat(data: AuditData) -> AuditOutcome:
    """Return images without content: all their pixels are about equal."""
    places = np.flatnonzero(data.pixels.is_flat).tolist()
    if not places:
        return AuditOutcome(CheckStatus.PASS, _("No image is of one color."))
    sentence = ngettext("{count:,} image is of one color.", "{count:,} images are of one color.", len(places))
    return AuditOutcome(
        CheckStatus.WARN,
        sentence,
        _("Remove them, unless they belong to their class."),
        len(places),
        [Example(i) for i in places[:MAX_EXAMPLES]],
    )


def gray(data: AuditData) -> AuditOutcome:
    """Return gray images, and whether they give a class away."""
    return _kind(
        data,
        data.pixels.is_gray & (data.store.sizes[:, 0] > 0),
        _("gray"),
        _("Take pictures of all classes alike, or make all images gray."),
    )


def deep(data: AuditData) -> AuditOutcome:
    """Return images with more than 8 bits per value, and whether they give a class away."""
    return _kind(
        data, data.store.is_deep, _("of more than 8 bits per value"), _("Save the images of all classes alike.")
    )


def transparent(data: AuditData) -> AuditOutcome:
    """Return images with transparent pixels, and whether they give a class away."""
    hint = _("Place the images of all classes on the same background.")
    return _kind(data, data.store.is_transparent, _("transparent"), hint)


def _kind(data: AuditData, mask: npt.NDArray[np.bool_], kind: Message, hint: Message) -> AuditOutcome:
    """Return the result for images of a kind: a warning if a class has many of them and the others have not."""
    places = np.flatnonzero(mask)
    total = len(data.readable)
    if not len(places):
        return AuditOutcome(CheckStatus.PASS, _("No image is {kind}.", kind=kind))
    sentence = ngettext(
        "{count:,} of {total:,} images is {kind}.", "{count:,} of {total:,} images are {kind}.", len(places),
        total=total, kind=kind,
    )  # fmt: skip
    classes = len(data.images.classes)
    images = np.bincount(data.images.labels[data.readable], minlength=classes)
    of_kind = np.bincount(data.images.labels[places], minlength=classes)
    share = of_kind / np.maximum(images, 1)
    others = (len(places) - of_kind) / np.maximum(total - images, 1)
    label = int((share - others).argmax())
    if len(places) < MIN_IMAGES or share[label] - others[label] < MAX_SHARE_DIFFERENCE:
        return AuditOutcome(CheckStatus.PASS, sentence, count=len(places))
    sentence = _(
        "{sentence} They are {share} of {name!r} and {others} of the other classes, so that a network can tell the "
        "class without its content.",
        sentence=sentence,
        share=format_percent(share[label]),
        others=format_percent(others[label]),
        name=data.images.classes[label],
    )
    of_class = places[data.images.labels[places] == label]
    examples = [Example(int(i)) for i in of_class[:MAX_EXAMPLES]]
    return AuditOutcome(CheckStatus.WARN, sentence, hint, len(places), examples)
