"""What the readers of training logs yield: numbers with their meaning, by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.report.logged_run import LoggedQuantity
from headstart.results.tag_rules import Rate, match_curve


@dataclass(frozen=True)
class LogValue:
    """A number of a log with its name.

    Args:
        meaning: What it is.
        name: Its name in the log.
        number: The number, which may be infinite or NaN. An accuracy is a share of 1 or in per cent.
        is_share: It is known to be a share of 1.
    """

    meaning: LoggedQuantity | Rate
    name: str
    number: float
    is_share: bool = False


@dataclass(frozen=True)
class LogEntry:
    """What one line of a log says.

    Args:
        epoch: Its epoch; None if it names none.
        values: Its numbers with a known meaning.
        saved: It says that a model was saved.
    """

    epoch: int | None
    values: Sequence[LogValue]
    saved: bool = False


def named_value(name: str, number: float) -> LogValue | None:
    """Return the number of a table or an object by its name; None if the name means nothing known."""
    match = match_curve(name)
    return LogValue(match.meaning, name, number) if match else None


def table_entry(fields: Sequence[tuple[str, float]]) -> LogEntry | None:
    """Return the entry of a row or an object; None if it has no epoch."""
    epoch = next((number for name, number in fields if name.strip().lower() == "epoch"), math.nan)
    if not math.isfinite(epoch):
        return None
    return LogEntry(int(epoch), [value for name, number in fields if (value := named_value(name, number))])
