"""The command `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from headstart.cli.app import DATA_FORMS, Json, Preset, command, is_debug, reporter
from headstart.cli.common_flags import CHECK
from headstart.cli.foreign_flags import ALIASES
from headstart.cli.options import DATA, RUNNING, CheckFlags, parameter
from headstart.cli.render import print_audit
from headstart.config.resolve import resolve_settings
from headstart.config.start_spec import require_start
from headstart.errors import DataError
from headstart.i18n import _, ngettext
from headstart.text import join_list


@command(
    _("Check the data before training: files, duplicates, groups, classes, sizes. Exit code 3 if a check fails."),
    sort_key=1,
    common=CHECK,
    examples=(
        "headstart check photos/ --html check.html",
        "headstart check photos/ --fix fixed.csv",
        "headstart train fixed.csv",
    ),
)
def check(
    source: Annotated[
        str | None,
        parameter(_("{forms:cap} [default: digits].", forms=DATA_FORMS), group=DATA, alias=ALIASES["source"]),
    ] = None,
    *,
    preset: Preset = None,
    html: Annotated[
        Path | None, parameter(_("Write a page with the pictures of the examples to this file."), group=RUNNING)
    ] = None,
    fix: Annotated[
        Path | None,
        parameter(_("Write a manifest with groups and without unreadable files to this new file."), group=RUNNING),
    ] = None,
    json: Json = False,
    settings: CheckFlags = None,
) -> None:
    """Check the data before training: files, duplicates, groups, classes, sizes. Exit code 3 if a check fails."""
    plan = resolve_settings({"source": source, **(settings or {})}, preset=preset).plan
    from headstart.data.sources import require_source

    require_source(plan.data.source)
    require_start(plan.arm.start)
    from headstart.audit.run import audit

    with reporter() as output:
        if source is None:
            output.say(_("No data was named: the built-in {data} are checked.", data=plan.data.source))
        done = audit(plan, output, html=html, fix=fix)
        if json:
            for note in done.notes:
                output.say(note)
    print_audit(done.result, done.notes, json, tracebacks=is_debug())
    if failed := done.result.failed:
        raise DataError(
            ngettext(
                "{count} check failed: {names}.",
                "{count} checks failed: {names}.",
                len(failed),
                names=join_list(row.name for row in failed),
            ),
            done.next_step_of_json if json else done.next_step,
        )
