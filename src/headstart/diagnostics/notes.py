"""Notes on what the user asked for, which are not problems."""

from __future__ import annotations

from headstart.diagnostics.finding import CheckResult
from headstart.diagnostics.history import History
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.arm import Tuning, TuningKind


def frozen(history: History) -> CheckResult | None:
    """Return a note on frozen layers, or None if all layers are trained."""
    tuning = history.plan.arm.tuning
    if tuning.kind is TuningKind.FULL:
        return None
    return CheckResult("", 0, 0.0, 0.0, _frozen_layers(tuning), _("They need no gradients."), join([]))


def _frozen_layers(tuning: Tuning) -> Message:
    """Return which layers a fine-tuning mode freezes, as a sentence."""
    if tuning.kind is TuningKind.FROZEN:
        return _("By design all layers but the head are frozen ({mode}).", mode=str(tuning))
    if tuning.kind is TuningKind.LP_FT:
        return _("By design all layers but the head are frozen at first ({mode}).", mode=str(tuning))
    return ngettext(
        "By design all but the head and the last {count:,} stage are frozen ({mode}).",
        "By design all but the head and the last {count:,} stages are frozen ({mode}).",
        tuning.stages,
        mode=str(tuning),
    )
