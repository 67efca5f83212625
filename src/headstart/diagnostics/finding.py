"""Results of health checks: what a check returns, and the finding that is reported."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, computed_field

from headstart.diagnostics.history import History
from headstart.diagnostics.registry import HealthCheck
from headstart.storage.schemas.metrics import FindingCode, FindingLine, ProbeLine
from headstart.storage.schemas.schema import Schema


@dataclass(frozen=True)
class CheckResult:
    """What a check found: `value` against `threshold`, at `layer` in `epoch`.

    `value` is None where it is not finite, or nothing was measured.
    """

    layer: str
    epoch: int
    value: float | None
    threshold: float
    evidence: str
    meaning: str
    advice: str


class Finding(Schema):
    """One finding: the result of a check, with the check's identity."""

    code: FindingCode
    name: str = Field(description="name in texts")
    layer: str
    epoch: int
    value: float | None = Field(description="null if not finite or not measured")
    threshold: float
    evidence: str
    meaning: str
    advice: str
    unhealthy: bool = Field(description="false for a note on what the user asked for, such as frozen layers")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sentence(self) -> str:
        """Evidence, meaning and advice in one paragraph."""
        return " ".join(part for part in (self.evidence, self.meaning, self.advice) if part)

    def line(self, step: int) -> FindingLine:
        """Return the finding as a line of the record after `step` updates."""
        return FindingLine(
            step=step,
            code=self.code,
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


def make_finding(code: str, check: HealthCheck, result: CheckResult) -> Finding:
    """Return the finding of a check from its result."""
    return Finding(
        code=code,
        name=check.name,
        layer=result.layer,
        epoch=result.epoch,
        value=result.value,
        threshold=result.threshold,
        evidence=result.evidence,
        meaning=result.meaning,
        advice=result.advice,
        unhealthy=check.unhealthy,
    )


def restoring_flags(history: History) -> list[str]:
    """Return the flags that switch on the norm and the shortcut, where the network is without them."""
    network = history.plan.network
    flags = ["--norm batch"] if network.norm != "batch" else []
    return flags + (["--shortcut on"] if network.shortcut != "on" else [])


def probe_time(probe: ProbeLine) -> str:
    """Return when the probe was made, for the start of a sentence."""
    return "Before the first step" if probe.step == 0 else f"After epoch {probe.epoch}"
