"""Axes of charts: where a value lies, and round values to mark."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

SHARES = (-2.0, 102.0)  # ends of an axis of per cent: an interval may reach beyond what can be


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` on units from `begin` to `end`; with `log` by their logarithm.

    Those that are `whole` have no mark between two numbers: epochs, steps, layers.
    """

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    whole: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, cut at the ends of the axis."""
        low, high, value = self._scaled(self.low), self._scaled(self.high), self._scaled(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.begin + (self.end - self.begin) * min(max(share, 0.0), 1.0), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value

    def ticks(self, most: int = 6) -> list[float]:
        """Round values between the ends: 1, 2 or 5 times a power of ten, or powers of ten on a log axis."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            if last <= first:  # less than two powers of ten: as on any axis
                return Axis(self.low, self.high, self.begin, self.end).ticks(most)
            every = max(1, math.ceil((last - first + 1) / most))
            return [10.0**power for power in range(first, last + 1, every)]
        if self.high <= self.low:
            return [self.low]
        rough = max((self.high - self.low) / most, 1.0 if self.whole else 0.0)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(step * number, 12) for number in range(first, last + 1)]


def number(value: float) -> str:
    """A tick's label, as short as it can be."""
    if value and abs(value) < 1e-3:
        mantissa, power = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else (f"{value:.3g}", "")
        return f"{mantissa}e{int(power)}" if power else mantissa
    if abs(value) >= 1e8:
        return f"{value:.3g}".replace("e+0", "e").replace("e+", "e")
    if abs(value) < 1e4:
        return f"{value:.9g}"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.9g}"


def padded(values: Iterable[float], begin: float, end: float) -> Axis:
    """An axis over the values, with some room at both ends."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    room = 0.06 * (max(known) - min(known)) or 0.5
    return Axis(min(known) - room, max(known) + room, begin, end)


def of_shares(axis: Axis) -> Axis:
    """The axis without what is not between 0 and 100 %, where it shows any of that."""
    low, high = max(axis.low, SHARES[0]), min(axis.high, SHARES[1])
    return replace(axis, low=low, high=high) if low < high else axis
