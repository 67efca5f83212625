"""Check a data set before training. Importing this module needs no torch."""

from __future__ import annotations

from typing import Unpack

from headstart.api.options import PathLike, given_settings, path_or_none, reporter_for
from headstart.audit.finding import AuditResult
from headstart.config.plan_values import CheckSettings
from headstart.config.resolve import resolve_settings
from headstart.config.start_spec import require_start
from headstart.data.frames import DataSource, LabeledSamples, is_path, temporary_source
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
        fix: write a manifest with groups and without unreadable files to this new file; see `fixed` of the result.
        preset: name of a preset.
        quiet: report no progress, and no notes on the files that were written.
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
        done = audit(plan, reporter, html=path_or_none(html), fix=path_or_none(fix), name=_name_of(data))
        for note in done.notes:
            reporter.say(note)
        return done.result


def _name_of(data: DataSource) -> str:
    """Return the name of data that has no path of its own; "" for a path."""
    if is_path(data):
        return ""
    return str(data.root) if isinstance(data, LabeledSamples) else "data frame"
