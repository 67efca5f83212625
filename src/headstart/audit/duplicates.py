"""Checks of equal images and near-duplicates: in one split, across splits, and under different labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headstart.audit.audit_data import AuditData, LoadedData
from headstart.audit.finding import MAX_EXAMPLES, AuditOutcome, Example
from headstart.audit.relations import Relations
from headstart.data.duplicates import MAX_SEARCHED
from headstart.data.thumbnails import MIN_SIDE
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.audit import CheckStatus

_FIX = _("`--fix OUT.csv` gives each set of them one group, which stays in one split.")
_FIX_DECLARED = _("`--fix OUT.csv` leaves the copies in train and val out.")
_NOT_IGNORE = _("Without `--near-duplicates ignore` each set of them stays in one split.")


def labels(data: AuditData) -> AuditOutcome:
    """Return images of equal content under different labels: at least one label of each is wrong."""
    pairs = data.equal_relations.labels
    if not pairs:
        return _passed(_("No image has two labels."))
    sentence = ngettext(
        "{count:,} image is there under two labels or more, as equal files.",
        "{count:,} images are there under two labels or more, as equal files.",
        len(pairs),
    )
    return _result(CheckStatus.FAIL, sentence, _("Keep each under its right label, and remove the others."), pairs)


def across_splits(data: AuditData) -> AuditOutcome:
    """Return images of equal content in two splits: the result on test is too good."""
    hint = _FIX if data.declared == "none" else _FIX_DECLARED
    return _across(data, data.equal_relations, _("equal files"), hint) or _passed(_("No file is in two splits."))


def near_across_splits(data: AuditData) -> AuditOutcome:
    """Return near-duplicates in two splits."""
    copies = data.near_relations
    is_declared = [data.declares(split) for split, pairs in (("test", copies.test), ("val", copies.val)) if pairs]
    hints = [_NOT_IGNORE] if not all(is_declared) and data.plan.data.near_duplicates == "ignore" else []
    hint = join([*hints, *([_FIX_DECLARED] if any(is_declared) else [])]) or _FIX
    return (
        _across(data, copies, _("near-duplicates"), hint, data.similarity)
        or _not_compared(data)
        or _passed(_("No near-duplicates are in two splits."))
    )


def _across(
    data: LoadedData,
    copies: Relations,
    kind: Message,
    hint: Message,
    similarity: Mapping[tuple[int, int], float] | None = None,
) -> AuditOutcome | None:
    """Return the result for copies in two splits; None if there are none."""
    if not copies.test and not copies.val:
        return None
    if copies.test:
        sentence = ngettext(
            "{count:,} test image has a copy in train or val ({kind}): the accuracy on test is too high.",
            "{count:,} test images have a copy in train or val ({kind}): the accuracy on test is too high.",
            len(copies.test),
            kind=kind,
        )
        status = CheckStatus.FAIL if data.declares("test") else CheckStatus.WARN
        return _result(status, sentence, hint, [*copies.test, *copies.val], similarity)
    sentence = ngettext(
        "{count:,} val image has a copy in train ({kind}): val selects an epoch that is too late.",
        "{count:,} val images have a copy in train ({kind}): val selects an epoch that is too late.",
        len(copies.val),
        kind=kind,
    )
    return _result(CheckStatus.WARN, sentence, hint, copies.val, similarity)


def within_splits(data: LoadedData) -> AuditOutcome:
    """Return images of equal content in one split: they count several times."""
    pairs = data.equal_relations.within
    if not pairs:
        return _passed(_("No file is twice in a split."))
    sentence = ngettext(
        "{count:,} image is an equal copy of another of its split, and counts again.",
        "{count:,} images are equal copies of others of their split, and count again.",
        len(pairs),
    )
    return _result(CheckStatus.WARN, sentence, _("Remove the copies, if they are not meant."), pairs)


def near_within_splits(data: AuditData) -> AuditOutcome:
    """Return near-duplicates in one split."""
    pairs = data.near_relations.within
    if not pairs:
        return _not_compared(data) or _passed(_("No near-duplicates are in one split."))
    sentence = ngettext(
        "{count:,} image is a near-duplicate of another of its split: there are fewer different images than files.",
        "{count:,} images are near-duplicates of others of their split: there are fewer different images than files.",
        len(pairs),
    )
    hint = _("Bursts and edited copies of a photo tell little that is new. {fix}", fix=_FIX)
    return _result(CheckStatus.WARN, sentence, hint, pairs, data.similarity)


def near_labels(data: AuditData) -> AuditOutcome:
    """Return near-duplicates under different labels. A small difference may be meant, so it is a warning."""
    pairs = data.near_relations.labels
    if not pairs:
        return _not_compared(data) or _passed(_("No near-duplicates have different labels."))
    sentence = ngettext(
        "{count:,} set of near-duplicates has different labels.",
        "{count:,} sets of near-duplicates have different labels.",
        len(pairs),
    )
    hint = _("Look at them: one of the labels may be wrong.")
    return _result(CheckStatus.WARN, sentence, hint, pairs, data.similarity)


def _not_compared(data: AuditData) -> AuditOutcome | None:
    """Return the result if near-duplicates were not searched; None if they were."""
    if len(set(data.content_hashes)) > MAX_SEARCHED:
        return AuditOutcome(
            CheckStatus.NOT_CHECKED,
            _("There are more than {limit:,} different images, in which none are searched.", limit=MAX_SEARCHED),
        )
    if sum(min(facts.size) >= MIN_SIDE for facts in data.files) > 1:
        return None
    return AuditOutcome(
        CheckStatus.NOT_CHECKED,
        _("The images are too small: only those of {side} x {side} px or more are compared.", side=MIN_SIDE),
    )


def _passed(sentence: Message) -> AuditOutcome:
    return AuditOutcome(CheckStatus.PASS, sentence)


def _result(
    status: CheckStatus,
    sentence: Message,
    hint: Message,
    pairs: Sequence[tuple[int, int]],
    similarity: Mapping[tuple[int, int], float] | None = None,
) -> AuditOutcome:
    """Return a result with its pairs; those of near-duplicates have their similarity, where it was measured."""
    examples = [
        Example(image, other, (similarity or {}).get((min(image, other), max(image, other))))
        for image, other in pairs[:MAX_EXAMPLES]
    ]
    return AuditOutcome(status, sentence, hint, len(pairs), examples)
