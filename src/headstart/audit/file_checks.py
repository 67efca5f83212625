"""Checks of files: those that cannot be decoded, and those whose suffix is that of another format."""

from __future__ import annotations

from headstart.audit.audit_data import AuditData
from headstart.audit.finding import AuditOutcome, Example
from headstart.data.image_formats import suffix_fits
from headstart.i18n import _, ngettext
from headstart.storage.schemas.audit import CheckStatus

FIX_HINT = _("`--fix OUT.csv` writes a manifest without them.")


def unreadable(data: AuditData) -> AuditOutcome:
    """Return the files that cannot be decoded; each file was decoded as a whole. With --skip-bad it is a warning."""
    store = data.store
    if not store.bad:
        return AuditOutcome(
            CheckStatus.PASS,
            ngettext("The {count:,} image can be decoded.", "All {count:,} images can be decoded.", len(store)),
        )
    return AuditOutcome(
        CheckStatus.WARN if data.plan.data.skip_bad else CheckStatus.FAIL,
        ngettext("{count:,} image cannot be decoded.", "{count:,} images cannot be decoded.", len(store.bad)),
        _("{fix} Or train with --skip-bad.", fix=FIX_HINT),
        len(store.bad),
        [Example(i, detail=fault) for i, fault in zip(store.bad, store.faults, strict=True)],
    )


def mistyped(data: AuditData) -> AuditOutcome:
    """Return the files whose content has another format than their suffix; they are read by their content."""
    examples = [
        Example(i, detail=_("{name} is a {format} file.", name=key, format=facts.format))
        for i, (key, facts) in enumerate(zip(data.images.keys, data.files, strict=True))
        if facts.format and not suffix_fits(key, facts.format) and data.store.sizes[i, 0]
    ]
    if not examples:
        return AuditOutcome(CheckStatus.PASS, _("Every suffix is that of the content."))
    return AuditOutcome(
        CheckStatus.WARN,
        ngettext(
            "{count:,} image has the suffix of another format than its content. It is read by its content.",
            "{count:,} images have the suffix of another format than their content. They are read by their content.",
            len(examples),
        ),
        _("Other programs may refuse them: rename them."),
        len(examples),
        examples,
    )
