"""How much work a study is, and how long what is left of it will take. Pure functions of plain values.

Work is counted in images that pass through training: the one measure that rungs of an epoch, whole runs and fractions
of the photos have in common. What an image costs is measured, for each arm by itself: frozen ones are cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from headstart.protocol import Declared
from headstart.units import Duration

EPOCH = Duration(1, "ep")


@dataclass(frozen=True)
class Workload:
    """Training images of one arm over a whole study: rungs of the search, its whole runs, and the comparison."""

    rungs: int
    whole: int
    main: int

    @property
    def total(self) -> int:
        return self.rungs + self.whole + self.main


def workload(declared: Declared, photos: int, batch_size: int) -> Workload:
    """What each arm will do, `photos` being the train split; without points that the grid's edge might add.

    A run that a rung began goes on from there: its first epoch counts as the rung's.
    """
    protocol = declared.protocol
    kept = min(protocol.keep, len(protocol.grid))
    groups, seeds = (protocol.seeds, 1) if protocol.search == "per-seed" else (1, protocol.search_seeds)
    found = Workload(0, 0, 0)
    for budget in declared.budgets:
        length = run_images(budget, photos, batch_size)
        rung = min(length, run_images(EPOCH, photos, batch_size)) if declared.searched else 0
        rungs = groups * len(protocol.grid) * rung
        whole = groups * kept * (seeds * length - rung) if declared.searched else 0
        parts = [run_images(budget, max(1, round(photos * share)), batch_size) for share in protocol.fractions]
        found = Workload(found.rungs + rungs, found.whole + whole, found.main + protocol.seeds * sum(parts))
    return found


def run_images(length: Duration, photos: int, batch_size: int) -> int:
    """Training images of a run of this length on `photos` photos."""
    return length.steps(-(-photos // batch_size)) * batch_size


@dataclass(frozen=True)
class Spent:
    """What an arm has done so far: training images, and the seconds of wall clock that they took."""

    images: float = 0.0
    seconds: float = 0.0


def seconds_left(spent: Mapping[str, Spent], left: Mapping[str, float]) -> float | None:
    """Seconds for the images that are `left` of each arm; None while nothing has been measured.

    An arm costs what its own images have cost; one that has not begun costs what an image cost on average. Exact where
    every image takes the same time, never below 0, and 0 when nothing is left.
    """
    if not any(left.values()):
        return 0.0
    images = sum(arm.images for arm in spent.values())
    if images <= 0:
        return None
    average = sum(arm.seconds for arm in spent.values()) / images
    rates = {name: arm.seconds / arm.images for name, arm in spent.items() if arm.images > 0}
    return sum(count * rates.get(name, average) for name, count in left.items())


def left_words(seconds: float | None, now: datetime) -> str:
    """`about 12 min left (until 14:32)`; nothing while nothing is known, or nothing is left."""
    if not seconds:
        return ""
    if seconds < 60:
        return "less than a minute left"
    end = (now + timedelta(seconds=seconds)).strftime("%H:%M" if seconds < 12 * 3600 else "%b %d %H:%M")
    return f"about {span_words(seconds)} left (until {end})"


def span_words(seconds: float) -> str:
    """`45 s`, `12 min` or `2 h 05 min`, rounded."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
