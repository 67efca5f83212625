"""Results of health checks: what a check returns, and the finding that is reported."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headstart.diagnostics.history import History
from headstart.diagnostics.registry import HealthCheck
from headstart.i18n import Message, _, join
from headstart.storage.files import JsonData
from headstart.storage.schemas.metrics import FindingCode, FindingLine, ProbeLine
from headstart.text import format_number


@dataclass(frozen=True)
class CheckResult:
    """What a check found: `value` against `threshold`, at `layer` in `epoch`.

    `value` is None where it is not finite, or nothing was measured.
    """

    layer: str
    epoch: int
    value: float | None
    threshold: float
    evidence: Message
    meaning: Message
    advice: Message


@dataclass(frozen=True)
class Finding:
    """One finding: the result of a check, with the check's identity.

    `name` is its name in texts. `value` is None if it is not finite or not measured. `unhealthy` is False for a note on
    what the user asked for, such as frozen layers.

    Examples:
        >>> for finding in run.diagnose().findings:
        ...     assert finding.evidence in finding.sentence and finding.advice in finding.sentence
    """

    code: FindingCode
    name: Message
    layer: str
    epoch: int
    value: float | None
    threshold: float
    evidence: Message
    meaning: Message
    advice: Message
    unhealthy: bool

    @property
    def sentence(self) -> Message:
        """Evidence, meaning and advice in one paragraph."""
        return join([self.evidence, self.meaning, self.advice])

    def to_json(self) -> dict[str, JsonData]:
        """Return the finding as JSON data, with its texts in English."""
        return {**vars(self), "sentence": self.sentence}

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


def probe_time(probe: ProbeLine) -> Message:
    """Return when the probe was made."""
    return _("before the first step") if probe.step == 0 else _("after epoch {epoch}", epoch=probe.epoch)


def number_words(value: float | None) -> Message:
    """Return a number of the record, in which None is a number that is not finite, with two digits."""
    return format_number(math.inf if value is None else value)
