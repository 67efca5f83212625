"""Checks that train a probe: shortcuts that give the class away, and probable label errors."""

from __future__ import annotations

from headstart.audit.audit_data import AuditData
from headstart.audit.finding import CheckResult
from headstart.i18n import _
from headstart.storage.schemas.audit import CheckStatus


def shortcuts(data: AuditData) -> CheckResult:
    """Return whether borders, small thumbnails or facts about the files give the class away."""
    return CheckResult(CheckStatus.NOT_CHECKED, _("Shortcuts are not searched yet."))


def label_errors(data: AuditData) -> CheckResult:
    """Return the images whose label a cross-validated probe contradicts."""
    return CheckResult(CheckStatus.NOT_CHECKED, _("Labels are not checked yet."))
