"""What the readers of training logs yield: numbers with their meaning, by epoch."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.report.logged_run import LoggedQuantity
from headstart.results.tag_rules import Match, Rate, match_curve

MAX_EPOCH = 10**9


@dataclass(frozen=True)
class LogValue:
    """A number of a log with its meaning.

    Args:
        meaning: What it is.
        number: The number, which may be infinite or NaN. An accuracy is a share of 1 or in per cent.
        is_share: It is known to be a share of 1.
    """

    meaning: LoggedQuantity | Rate
    number: float
    is_share: bool = False


@dataclass(frozen=True)
class LogEntry:
    """What one line of a log says.

    Args:
        epoch: Its epoch; None if it names none.
        values: Its numbers with a known meaning.
        saved: It says that a model was saved.
        late: It names its epoch after its numbers: "highest accuracy 0.8 in epoch 2".
    """

    epoch: int | None
    values: Sequence[LogValue]
    saved: bool = False
    late: bool = False


@functools.lru_cache(maxsize=4096)
def matched(name: str) -> Match | None:
    """Return what a name stands for, as `match_curve`; a log repeats its names in each line."""
    return match_curve(name)


def table_entry(fields: Sequence[tuple[str, float]]) -> LogEntry | None:
    """Return the entry of a row or an object; None if it has no epoch."""
    epoch = next((number for name, number in fields if name.strip().lower() == "epoch"), math.nan)
    if not 0 <= epoch <= MAX_EPOCH:
        return None
    values = {match.meaning: LogValue(match.meaning, number) for name, number in fields if (match := matched(name))}
    return LogEntry(int(epoch), list(values.values()))  # the last number of each meaning, as `LogRun.add` keeps it
