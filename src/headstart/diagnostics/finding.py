"""A finding on a run's health."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from headstart.diagnostics.history import History
from headstart.storage.schemas.metrics import FindingLine, ProbeLine


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
        """Return the finding as `headstart diagnose --json` prints it."""
        return {**asdict(self), "unhealthy": self.unhealthy, "sentence": self.sentence}

    def line(self, step: int) -> FindingLine:
        """Return the finding as a line of the record after `step` updates."""
        return FindingLine(
            step=step,
            name=self.name,
            layer=self.layer,
            epoch=self.epoch,
            value=self.value,
            threshold=self.threshold,
            evidence=self.evidence,
            meaning=self.meaning,
            advice=self.advice,
            unhealthy=self.unhealthy,
            sentence=self.sentence,
        )


def restoring_flags(history: History) -> list[str]:
    """Return the flags that switch on the norm and the shortcut, where the network is without them."""
    network = history.plan.network
    flags = ["--norm batch"] if network.norm != "batch" else []
    return flags + (["--shortcut on"] if network.shortcut != "on" else [])


def probe_time(probe: ProbeLine) -> str:
    """Return when the probe was made, for the start of a sentence."""
    return "Before the first step" if probe.step == 0 else f"After epoch {probe.epoch}"
