"""One thing that is noticed of a run's health, and the words that its numbers are told in."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from headstart.diagnostics.history import History, Line


@dataclass(frozen=True)
class Finding:
    """One thing that is noticed: `value` against `threshold`, at `layer` in `epoch`; `name` is what it is called.

    `value` is None where it is not finite, or nothing was measured.
    """

    name: str
    layer: str
    epoch: int
    value: float | None
    threshold: float
    evidence: str
    meaning: str
    advice: str

    @property
    def unhealthy(self) -> bool:
        """Whether something is wrong; what was asked for is only noted."""
        return self.name != "frozen by design"

    @property
    def sentence(self) -> str:
        return " ".join(part for part in (self.evidence, self.meaning, self.advice) if part)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "unhealthy": self.unhealthy, "sentence": self.sentence}


def switches(history: History) -> list[str]:
    """The flags of norm and shortcut that the network is without."""
    usual = (("norm", "batch"), ("shortcut", "on"))
    return [f"--{name} {on}" for name, on in usual if history.plan["network"][name] != on]


def when(probe: Line) -> str:
    return "Before the first step" if probe["step"] == 0 else f"After epoch {probe['epoch']}"


def number(value: float) -> str:
    return "not finite" if not math.isfinite(value) else f"{value:.2g}"


def share(value: float) -> str:
    """A share in per cent with two digits."""
    return f"{100 * value:.2g} %"
