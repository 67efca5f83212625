"""Options that several functions share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, cast

from headstart.config.plan_values import AblationSettings, CheckSettings, StudySettings, TrainSettings
from headstart.config.presets import Setting
from headstart.console import ConsoleReporter
from headstart.data.frames import DataSource, is_path
from headstart.engines.registry import EngineChoice
from headstart.errors import UsageError
from headstart.i18n import _
from headstart.models.user_code import network_name
from headstart.reporter import NullReporter, Reporter
from headstart.streams import occupy_descriptors
from headstart.telemetry.trackers.registry import require_trackers

PathLike: TypeAlias = "str | os.PathLike[str]"


def given_settings(
    settings: TrainSettings | StudySettings | AblationSettings | CheckSettings, data: DataSource | None
) -> dict[str, Setting]:
    """Return the settings that are not None. Files of a data frame may be in any folder.

    Raises:
        UsageError: A setting repeats or contradicts the data.
    """
    values = cast(Mapping[str, Setting], settings)
    given: dict[str, Setting] = {name: value for name, value in values.items() if value is not None}
    if callable(network := values.get("network")):
        given["network"] = network_name(network)
    if data is not None and "source" in given:
        raise UsageError(_("The data is given twice, as data and as source."), _("Leave source out."))
    if not is_path(data):
        if given.get("allow_outside", True) is not True:
            raise UsageError(
                _("allow_outside=False does not apply to a data frame or an ImageFolder, whose files may be anywhere."),
                _("Leave it out."),
            )
        given["allow_outside"] = True
    return given


def engine_choice(engine: str | EngineChoice) -> EngineChoice:
    """Return an engine by its name, or the choice itself."""
    return EngineChoice(engine) if isinstance(engine, str) else engine


def tracker_names(log: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of trackers. Raises UsageError if one is unknown or not installed."""
    return require_trackers([log] if isinstance(log, str) else log)


def path_or_none(path: PathLike | None) -> Path | None:
    """Return a path; None for None."""
    return None if path is None else Path(path)


@contextmanager
def reporter_for(quiet: bool) -> Iterator[Reporter]:
    """Yield a reporter to the terminal, or a silent one. Closed descriptors of standard streams are opened before."""
    occupy_descriptors()
    if quiet:
        yield NullReporter()
    else:
        with ConsoleReporter() as reporter:
            yield reporter
