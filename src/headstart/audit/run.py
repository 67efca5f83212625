"""Audit a data set from a plan to the files that the user asked for, for the command line and the Python API."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from headstart.audit.check import check_data
from headstart.audit.finding import AuditResult
from headstart.audit.fix import require_new_file, write_fixed_manifest
from headstart.audit.registry import AUDIT_CHECKS
from headstart.config.run_config import RunConfig
from headstart.data.builtin import is_builtin
from headstart.errors import UsageError
from headstart.i18n import Message, _
from headstart.reporter import Reporter
from headstart.storage.schemas.audit import CheckStatus
from headstart.text import join_list


@dataclass(frozen=True)
class Audit:
    """An audit that is done.

    Attributes:
        result: Its result.
        notes: Sentences on the files that were written.
        next_step: What to do if a check failed, for a reader of the printed rows.
        next_step_of_json: The same for a reader of the JSON.
    """

    result: AuditResult
    notes: tuple[Message, ...]
    next_step: Message
    next_step_of_json: Message


def audit(
    plan: RunConfig, reporter: Reporter, *, html: Path | None = None, fix: Path | None = None, name: str = ""
) -> Audit:
    """Check the data of a plan, and write a page and a manifest if files are named.

    Args:
        plan: A draft, as for `check_data`.
        reporter: Receives progress.
        html: File of the page; an earlier one is replaced.
        fix: New file of the manifest.
        name: Name of data that has no path of its own, as for `check_data`.

    Raises:
        UsageError: A file has another suffix, its folder does not exist, or the manifest exists already; or the data is
            built in, and cannot be written as a manifest.
        DataError: The data is missing or cannot be read, or cannot be written as a manifest.
        ResourceError: A file cannot be written.
    """
    if fix is not None:
        require_new_file(fix, ".csv", "--fix")
        if is_builtin(plan.data.source):
            raise UsageError(
                _("--fix is for your own images, and {source} is built in.", source=plan.data.source),
                _("Leave --fix out."),
            )
    if html is not None:
        _require_page(html)
    result, data = check_data(plan, reporter, name)
    notes: list[Message] = []
    if html is not None:
        from headstart.audit.page import write_audit_page  # jinja2 is slow to import

        write_audit_page(result, data, html)
        notes.append(_("Page: {path}", path=html))
    if fix is None:
        steps = (
            _("See the hints above; `--html OUT.html` shows the images."),
            _("See `hint` of the rows that fail; `--html OUT.html` shows the images."),
        )
        return Audit(result, tuple(notes), *steps)
    fixed = write_fixed_manifest(data, fix)
    uses = (
        _("Train with: {command}", command=fixed.command("train")),
        _("Compare with: {command}", command=fixed.command("compare")),
    )
    fixed = replace(fixed, notes=(*fixed.notes, *_open_notes(result), *uses))
    step = _("Check the new manifest: {command}", command=fixed.command("check"))
    return Audit(replace(result, fixed=fixed), (*notes, *fixed.notes), step, step)


def _open_notes(result: AuditResult) -> list[Message]:
    """Return a sentence on the checks that fail or warn, and that a manifest does not correct."""
    names = [
        row.name
        for row in result.rows
        if row.status in (CheckStatus.FAIL, CheckStatus.WARN) and not AUDIT_CHECKS[row.check].fixed
    ]
    return [_("Not corrected, because you have to decide: {names}.", names=join_list(names))] if names else []


def _require_page(path: Path) -> None:
    """Raise UsageError if a page cannot be written to a path."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(_("--html {path} does not end in .html.", path=path), _("Name a file such as check.html."))
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(
            _("--html {path} is a folder, or in a folder that does not exist.", path=path),
            _("Name a file in a folder that exists."),
        )
