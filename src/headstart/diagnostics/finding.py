"""A finding on a run's health."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from headstart.diagnostics.history import History, Line


@dataclass(frozen=True)
class Finding:
    """One finding: `value` against `threshold`, at `layer` in `epoch`.

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
        """False for a note on what the user asked for, such as frozen layers."""
        return self.name != "frozen by design"

    @property
    def sentence(self) -> str:
        """Evidence, meaning and advice in one paragraph."""
        return " ".join(part for part in (self.evidence, self.meaning, self.advice) if part)

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a line of the record has it."""
        return {**asdict(self), "unhealthy": self.unhealthy, "sentence": self.sentence}


def restoring_flags(history: History) -> list[str]:
    """Return the flags that switch on the norm and the shortcut, where the network is without them."""
    usual = (("norm", "batch"), ("shortcut", "on"))
    return [f"--{name} {value}" for name, value in usual if history.plan["network"][name] != value]


def probe_time(probe: Line) -> str:
    """Return when the probe was made, for the start of a sentence."""
    return "Before the first step" if probe["step"] == 0 else f"After epoch {probe['epoch']}"
