"""Checks of equal images and near-duplicates: in one split, across splits, and under different labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from headstart.audit.audit_data import AuditData, Integers, LoadedData
from headstart.audit.finding import CheckResult, Example
from headstart.i18n import Message, _, ngettext
from headstart.storage.schemas.audit import CheckStatus

_FIX = _("`--fix OUT.csv` gives each set of them one group, which stays in one split.")
_FIX_DECLARED = _("`--fix OUT.csv` leaves the copies in train and val out.")
_MAX_EXAMPLES = 1000  # of one check


@dataclass
class Relations:
    """How sets of alike images lie in splits and classes.

    Attributes:
        within: Copies of an image of the same split: pairs (image, copy).
        test: Test images with a copy in train or val: pairs (test image, copy).
        val: Val images with a copy in train: pairs (val image, copy).
        labels: Sets with several labels: one pair of each.
    """

    within: list[tuple[int, int]] = field(default_factory=list)
    test: list[tuple[int, int]] = field(default_factory=list)
    val: list[tuple[int, int]] = field(default_factory=list)
    labels: list[tuple[int, int]] = field(default_factory=list)


def relations(
    sets: Iterable[Sequence[int]], splits: Sequence[str], labels: Sequence[int], identity: Sequence[int] | None = None
) -> Relations:
    """Return the relations in sets of alike images.

    Args:
        sets: Positions of the images of each set.
        splits: Split of each image; "" for an image that is in none.
        labels: Label of each image.
        identity: Number of each image's content: images of equal content are no pair, because another check reports
            them. None if all images of a set are equal.
    """
    result = Relations()
    for members in sets:
        places: dict[str, list[int]] = defaultdict(list)
        seen: set[tuple[int, str]] = set()
        for i in members:
            key = (i if identity is None else identity[i], splits[i])
            if key not in seen:
                seen.add(key)
                places[splits[i]].append(i)
        for split in places.values():
            result.within += [(split[0], copy) for copy in split[1:]]
        train, val, test = (places.get(name, []) for name in ("train", "val", "test"))
        result.test += _pairs(test, [*train, *val], identity)
        result.val += _pairs(val, train, identity)
        if pair := _conflict(members, labels, identity):
            result.labels.append(pair)
    return result


def _pairs(images: Sequence[int], others: Sequence[int], identity: Sequence[int] | None) -> Iterable[tuple[int, int]]:
    """Yield each image with the first of the others that has another content."""
    for image in images:
        for other in others:
            if identity is None or identity[other] != identity[image]:
                yield image, other
                break


def _conflict(members: Sequence[int], labels: Sequence[int], identity: Sequence[int] | None) -> tuple[int, int] | None:
    """Return two images of a set with different labels; None if there are none."""
    kinds: dict[tuple[int, int], int] = {}
    for i in members:
        kinds.setdefault((labels[i], -1 if identity is None else identity[i]), i)
    for (label, content), i in kinds.items():
        for (other_label, other_content), j in kinds.items():
            if label < other_label and (identity is None or content != other_content):
                return i, j
    return None


def sets_of(numbers: Integers) -> list[list[int]]:
    """Return the positions of each number that occurs twice or more."""
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    return [part.tolist() for part in np.split(order, starts[1:]) if len(part) > 1]


def equal_relations(data: LoadedData) -> Relations:
    """Return the relations of images of equal content. Files that cannot be decoded are left out."""
    readable = set(data.readable.tolist())
    sets = [[i for i in members if i in readable] for members in sets_of(data.content)]
    return relations([members for members in sets if len(members) > 1], data.split_of, data.images.labels.tolist())


def near_relations(data: AuditData) -> Relations:
    """Return the relations of near-duplicates of different content."""
    labels = data.images.labels.tolist()
    return relations(sets_of(data.clusters), data.split_of, labels, data.content.tolist())


def labels(data: AuditData) -> CheckResult:
    """Return images of equal content under different labels: at least one label of each is wrong."""
    found = equal_relations(data).labels
    if not found:
        return _passed(_("No image has two labels."))
    sentence = ngettext(
        "{count:,} image is there under two labels or more, as equal files.",
        "{count:,} images are there under two labels or more, as equal files.",
        len(found),
    )
    return _result(CheckStatus.FAIL, sentence, _("Keep each under its right label, and remove the others."), found)


def across_splits(data: AuditData) -> CheckResult:
    """Return images of equal content in two splits: the result on test is too good."""
    found = equal_relations(data)
    return _across(data, found, _("equal files"), _("No file is in two splits."))


def near_across_splits(data: AuditData) -> CheckResult:
    """Return near-duplicates in two splits."""
    found = near_relations(data)
    return _across(data, found, _("near-duplicates"), _("No near-duplicates are in two splits."), data)


def _across(
    data: LoadedData, found: Relations, kind: Message, passed: Message, audit: AuditData | None = None
) -> CheckResult:
    if not found.test and not found.val:
        return _passed(passed)
    hint = _FIX if data.declared == "none" else _FIX_DECLARED
    if found.test:
        sentence = ngettext(
            "{count:,} test image has a copy in train or val ({kind}): the accuracy on test is too high.",
            "{count:,} test images have a copy in train or val ({kind}): the accuracy on test is too high.",
            len(found.test),
            kind=kind,
        )
        status = CheckStatus.FAIL if data.declares_test else CheckStatus.WARN
        return _result(status, sentence, hint, [*found.test, *found.val], audit)
    sentence = ngettext(
        "{count:,} val image has a copy in train ({kind}): val selects an epoch that is too late.",
        "{count:,} val images have a copy in train ({kind}): val selects an epoch that is too late.",
        len(found.val),
        kind=kind,
    )
    return _result(CheckStatus.WARN, sentence, hint, found.val, audit)


def within_splits(data: LoadedData) -> CheckResult:
    """Return images of equal content in one split: they count several times."""
    found = equal_relations(data).within
    if not found:
        return _passed(_("No file is twice in a split."))
    sentence = ngettext(
        "{count:,} image is an equal copy of another of its split, and counts again.",
        "{count:,} images are equal copies of others of their split, and count again.",
        len(found),
    )
    return _result(CheckStatus.WARN, sentence, _("Remove the copies, if they are not meant."), found)


def near_within_splits(data: AuditData) -> CheckResult:
    """Return near-duplicates in one split."""
    found = near_relations(data).within
    if not found:
        return _passed(_("No near-duplicates are in one split."))
    sentence = ngettext(
        "{count:,} image is a near-duplicate of another of its split: there are fewer different images than files.",
        "{count:,} images are near-duplicates of others of their split: there are fewer different images than files.",
        len(found),
    )
    hint = _("Bursts and edited copies of a photo tell little that is new. {fix}", fix=_FIX)
    return _result(CheckStatus.WARN, sentence, hint, found, data)


def near_labels(data: AuditData) -> CheckResult:
    """Return near-duplicates under different labels. A small difference may be meant, so it is a warning."""
    found = near_relations(data).labels
    if not found:
        return _passed(_("No near-duplicates have different labels."))
    sentence = ngettext(
        "{count:,} set of near-duplicates has different labels.",
        "{count:,} sets of near-duplicates have different labels.",
        len(found),
    )
    return _result(CheckStatus.WARN, sentence, _("Look at them: one of the labels may be wrong."), found, data)


def _passed(sentence: Message) -> CheckResult:
    return CheckResult(CheckStatus.PASS, sentence)


def _result(
    status: CheckStatus,
    sentence: Message,
    hint: Message,
    pairs: Sequence[tuple[int, int]],
    data: AuditData | None = None,
) -> CheckResult:
    """Return a result with its pairs; those of near-duplicates have their similarity, where it was measured."""
    similarity = {} if data is None else _similarities(data)
    examples = [
        Example(image, other, similarity.get((min(image, other), max(image, other))))
        for image, other in pairs[:_MAX_EXAMPLES]
    ]
    return CheckResult(status, sentence, hint, len(pairs), examples)


def _similarities(data: AuditData) -> dict[tuple[int, int], float]:
    near = data.near
    pairs = zip(near.first.tolist(), near.second.tolist(), strict=True)
    return {
        (min(pair), max(pair)): round(value, 3) for pair, value in zip(pairs, near.similarity.tolist(), strict=True)
    }
