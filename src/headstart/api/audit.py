"""Check a data set before training. Importing this module needs no torch."""

from __future__ import annotations

from typing import Unpack

from headstart.api.options import PathLike, given_settings, path_or_none, reporter_for
from headstart.audit.finding import AuditResult
from headstart.config.plan_values import CheckSettings
from headstart.config.resolve import resolve_settings
from headstart.config.start_spec import require_start
from headstart.data.frames import DataSource, temporary_source
from headstart.data.tables.options import TableOptions


def check(
    data: DataSource = "digits",
    *,
    html: PathLike | None = None,
    fix: PathLike | None = None,
    preset: str | None = None,
    quiet: bool = False,
    **settings: Unpack[CheckSettings],
) -> AuditResult:
    """Check a data set before training: files, duplicates, groups, classes, sizes; a notebook shows the table.

    Args:
        data: images, as in `train`.
        html: write a page with the pictures of the examples to this file.
        fix: write a manifest with groups and without unreadable files to this new file.
        preset: name of a preset.
        quiet: report no progress.
        **settings: fields of the plan by name: those of the data, `image_size`, `start`, seeds and `threads`.

    Raises:
        UsageError: a setting is invalid, or a file cannot be written at this place.
        DataError: the data is missing or cannot be read as a labeled set.
        ResourceError: disk space or permissions are insufficient.

    Examples:
        >>> result = headstart.check("photos", quiet=True)
        >>> result.row("unreadable").status.value, result.failed
        ('pass', ())
    """
    from headstart.audit.run import audit

    flags = given_settings(settings, data)
    table = TableOptions.of(resolve_settings({**flags, "source": "images"}, preset=preset).plan.data)
    with temporary_source(data, table) as source, reporter_for(quiet) as reporter:
        plan = resolve_settings({**flags, "source": source}, preset=preset).plan
        require_start(plan.arm.start)
        return audit(plan, reporter, html=path_or_none(html), fix=path_or_none(fix)).result
