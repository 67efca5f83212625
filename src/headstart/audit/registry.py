"""The checks of a data set, one row each, in the order of `headstart check`. Factories are import paths."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.i18n import Message, _


@dataclass(frozen=True)
class AuditCheck:
    """One check.

    Args:
        name: Name of the check in texts. Code compares its code.
        factory: Import path of a function that returns a `AuditOutcome`. It is called with the `AuditData`.
        fixed: `--fix` corrects what the check reports, as far as a manifest can.
        quick: The function reads only what `LoadedData` has, so that `train` and `compare` can make the check too.
    """

    name: Message
    factory: str
    fixed: bool = False
    quick: bool = False


AUDIT_CHECKS = {
    "unreadable": AuditCheck(_("unreadable files"), "headstart.audit.file_checks:unreadable", fixed=True),
    "mistyped": AuditCheck(_("suffixes of files"), "headstart.audit.file_checks:mistyped"),
    "splits": AuditCheck(_("splits"), "headstart.audit.class_checks:splits"),
    "duplicate-labels": AuditCheck(_("one image under two labels"), "headstart.audit.duplicates:labels"),
    "duplicates-across-splits": AuditCheck(
        _("duplicates across splits"), "headstart.audit.duplicates:across_splits", fixed=True
    ),
    "duplicates": AuditCheck(_("duplicates in a split"), "headstart.audit.duplicates:within_splits", quick=True),
    "near-duplicate-labels": AuditCheck(
        _("near-duplicates under two labels"), "headstart.audit.duplicates:near_labels"
    ),
    "near-duplicates-across-splits": AuditCheck(
        _("near-duplicates across splits"), "headstart.audit.duplicates:near_across_splits", fixed=True
    ),
    "near-duplicates": AuditCheck(
        _("near-duplicates in a split"), "headstart.audit.duplicates:near_within_splits", fixed=True
    ),
    "groups": AuditCheck(
        _("probable groups across splits"), "headstart.audit.group_checks:groups_across_splits", fixed=True
    ),
    "balance": AuditCheck(_("class balance"), "headstart.audit.class_checks:balance", quick=True),
    "small-classes": AuditCheck(_("small classes"), "headstart.audit.class_checks:small_classes", quick=True),
    "test-size": AuditCheck(
        _("size of the evaluation split"), "headstart.audit.evaluation_size:evaluation_size", quick=True
    ),
    "image-size": AuditCheck(_("image sizes"), "headstart.audit.picture_checks:image_size", quick=True),
    "flat": AuditCheck(_("images without content"), "headstart.audit.picture_checks:flat"),
    "gray": AuditCheck(_("gray images"), "headstart.audit.picture_checks:gray"),
    "deep": AuditCheck(_("images of 16 bits"), "headstart.audit.picture_checks:deep"),
    "transparent": AuditCheck(_("transparent images"), "headstart.audit.picture_checks:transparent"),
    "pretraining-classes": AuditCheck(
        _("classes of the pretraining"), "headstart.audit.pretraining:pretraining_classes"
    ),
    "shortcuts": AuditCheck(_("shortcuts"), "headstart.audit.shortcut_check:find_shortcuts"),
    "label-errors": AuditCheck(_("probable label errors"), "headstart.audit.label_check:find_label_errors"),
}
