"""Audit a data set from a plan to the files that the user asked for, for the command line and the Python API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstart.audit.check import check_data
from headstart.audit.finding import AuditResult
from headstart.audit.fix import require_new_file, write_fixed_manifest
from headstart.config.run_config import RunConfig
from headstart.errors import UsageError
from headstart.i18n import Message, _
from headstart.reporter import Reporter


@dataclass(frozen=True)
class Audit:
    """An audit that is done.

    Attributes:
        result: Its result.
        notes: Sentences on the files that were written.
        next_step: What to do if a check failed.
    """

    result: AuditResult
    notes: tuple[Message, ...]
    next_step: Message


def audit(plan: RunConfig, reporter: Reporter, *, html: Path | None = None, fix: Path | None = None) -> Audit:
    """Check the data of a plan, and write a page and a manifest if files are named.

    Args:
        plan: A draft, as for `check_data`.
        reporter: Receives progress.
        html: File of the page; an earlier one is replaced.
        fix: New file of the manifest.

    Raises:
        UsageError: A file has another suffix, its folder does not exist, or the manifest exists already.
        DataError: The data is missing or cannot be read, or cannot be written as a manifest.
        ResourceError: A file cannot be written.
    """
    if fix is not None:
        require_new_file(fix, ".csv", "--fix")
    if html is not None:
        _require_page(html)
    result, data = check_data(plan, reporter)
    notes: list[Message] = []
    if html is not None:
        from headstart.audit.page import write_audit_page  # jinja2 is slow to import

        write_audit_page(result, data, html)
        notes.append(_("Page: {path}", path=html))
    next_step = _("See the hints above; `--html OUT.html` shows the images.")
    if fix is not None:
        fixed = write_fixed_manifest(data, fix)
        notes += fixed.notes
        next_step = _("Check the new manifest: headstart check {path:shell}", path=fix)
    return Audit(result, tuple(notes), next_step)


def _require_page(path: Path) -> None:
    """Raise UsageError if a page cannot be written to a path."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(_("--html {path} does not end in .html.", path=path), _("Name a file such as check.html."))
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(
            _("--html {path} is a folder, or in a folder that does not exist.", path=path),
            _("Name a file in a folder that exists."),
        )
