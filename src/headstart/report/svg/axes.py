"""Chart axes: positions of values, and round tick values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

PERCENT_LIMITS = (-2.0, 102.0)  # largest range of an axis in per cent; intervals may extend beyond 0 to 100


@dataclass(frozen=True)
class Axis:
    """Axis that maps values from `low` to `high` to units from `begin` to `end`.

    Args:
        low: Smallest value.
        high: Largest value.
        begin: Position of `low`, in units of the view box.
        end: Position of `high`, in units of the view box.
        log: Use a logarithmic scale.
        whole: Values are integers (epochs, steps, layers), so that ticks are integers too.
    """

    low: float
    high: float
    begin: float
    end: float
    log: bool = False
    whole: bool = False

    def position(self, value: float) -> float:
        """Return the position of a value, clipped to the ends of the axis."""
        low, high, value = self._scaled(self.low), self._scaled(self.high), self._scaled(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.begin + (self.end - self.begin) * min(max(share, 0.0), 1.0), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value

    def ticks(self, max_ticks: int = 6) -> list[float]:
        """Return about `max_ticks` round values within the axis.

        Ticks are multiples of 1, 2 or 5 times a power of ten, or powers of ten on a log axis.
        """
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            if last <= first:  # fewer than two powers of ten: use linear ticks
                return Axis(self.low, self.high, self.begin, self.end).ticks(max_ticks)
            every = max(1, math.ceil((last - first + 1) / max_ticks))
            return [10.0**power for power in range(first, last + 1, every)]
        if self.high <= self.low:
            return [self.low]
        min_step = max((self.high - self.low) / max_ticks, 1.0 if self.whole else 0.0)
        power = 10.0 ** math.floor(math.log10(min_step))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= min_step * (1 - 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(step * number, 12) for number in range(first, last + 1)]


def tick_label(value: float) -> str:
    """Return the shortest label of a tick value."""
    if value and abs(value) < 1e-3:
        mantissa, power = f"{value:.3g}".split("e") if "e" in f"{value:.3g}" else (f"{value:.3g}", "")
        return f"{mantissa}e{int(power)}" if power else mantissa
    if abs(value) >= 1e8:
        return f"{value:.3g}".replace("e+0", "e").replace("e+", "e")
    if abs(value) < 1e4:
        return f"{value:.9g}"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.9g}"


def signed_label(value: float) -> str:
    """Return the value with its sign and one decimal; zero has no sign."""
    return f"{value:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")


def padded_axis(values: Iterable[float], begin: float, end: float) -> Axis:
    """Return an axis over the finite values with 6 % padding at both ends."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    padding = 0.06 * (max(finite) - min(finite)) or 0.5
    return Axis(min(finite) - padding, max(finite) + padding, begin, end)


def clip_to_percent(axis: Axis) -> Axis:
    """Return the axis limited to `PERCENT_LIMITS`, or unchanged if it lies outside of them."""
    low, high = max(axis.low, PERCENT_LIMITS[0]), min(axis.high, PERCENT_LIMITS[1])
    return replace(axis, low=low, high=high) if low < high else axis
