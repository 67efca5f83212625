"""The health checks, one row each, by the code of their finding. A cause comes before its consequences."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from headstart.i18n import Message, _, verbatim


class Moment(Enum):
    """When a check is made. Checks of an earlier moment come first: they find causes."""

    BEFORE_TRAINING = auto()  # on the probe before the first step; the last probe must confirm it in time
    ANY_TIME = auto()
    LOSS_FLAT = auto()  # on the last probe, while the loss has stopped falling and nothing was learned
    AFTER_MIN_LENGTH = auto()  # when the run can be expected to have learned something
    END = auto()  # when the run has ended

    @property
    def uses_probe(self) -> bool:
        """True if the check is made on a probe."""
        return self in (Moment.BEFORE_TRAINING, Moment.LOSS_FLAT)


PROBED = (Moment.BEFORE_TRAINING, Moment.LOSS_FLAT)


@dataclass(frozen=True)
class HealthCheck:
    """One check.

    Args:
        name: Name of the finding in texts. Code compares the finding's code.
        factory: Import path of a function that returns a `CheckResult`, or None without a finding. It is called with
            the `History`, and with a `ProbeLine` at moments that use a probe.
        moments: When the check is made. All moments of a check use a probe, or none does.
        unhealthy: False for a note on what the user asked for. Of unhealthy findings only the first is reported.
        gradients_comparable: The gradients of a run with this finding can be compared with those of another run.
        may_hold: Import path of a function from the last probe to whether the finding may still hold, although the
            check attributes it to another cause. Such a finding is not withdrawn.
    """

    name: Message
    factory: str
    moments: tuple[Moment, ...]
    unhealthy: bool = True
    gradients_comparable: bool = True
    may_hold: str = ""


HEALTH_CHECKS = {
    "exploding-gradients": HealthCheck(
        _("exploding gradients"), "headstart.diagnostics.gradients:exploding", PROBED, gradients_comparable=False
    ),
    "vanishing-gradients": HealthCheck(
        _("vanishing gradients"),
        "headstart.diagnostics.gradients:vanishing",
        PROBED,
        may_hold="headstart.diagnostics.gradients:is_vanishing",  # dead filters may be its cause and hide it
    ),
    "dead-filters": HealthCheck(_("dead filters"), "headstart.diagnostics.gradients:dead", PROBED),
    "learning-rate-too-high": HealthCheck(
        _("learning rate too high"), "headstart.diagnostics.learning_rate:too_high", (Moment.ANY_TIME,)
    ),
    "learning-rate-too-low": HealthCheck(
        _("learning rate too low"), "headstart.diagnostics.learning_rate:too_low", (Moment.AFTER_MIN_LENGTH,)
    ),
    "degradation-without-vanishing": HealthCheck(
        _("degradation without vanishing"), "headstart.diagnostics.gradients:not_learning", (Moment.END,)
    ),
    "augmentation-too-strong": HealthCheck(
        _("augmentation too strong"), "headstart.diagnostics.augmentation:too_strong", (Moment.END,)
    ),
    "frozen-by-design": HealthCheck(
        _("frozen by design"), "headstart.diagnostics.notes:frozen", (Moment.ANY_TIME,), unhealthy=False
    ),
}


def finding_name(code: str) -> Message:
    """Return the name of a finding, in words of its code if no check has this code."""
    return HEALTH_CHECKS[code].name if code in HEALTH_CHECKS else verbatim(code.replace("-", " "))
