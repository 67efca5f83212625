"""Notes on what the user asked for, which are not problems."""

from __future__ import annotations

from headstart.diagnostics.finding import CheckResult
from headstart.diagnostics.history import History
from headstart.text import pluralize


def frozen(history: History) -> CheckResult | None:
    """Return a note on frozen layers, or None if all layers are trained."""
    tuning = history.plan.arm.tuning
    if tuning == "full":
        return None
    layers = {
        "frozen": "all layers but the head are frozen",
        "lp-ft": "all layers but the head are frozen at first",
    }.get(tuning, f"all but the head and the last {pluralize(int(tuning.partition(':')[2] or 0), 'stage')} are frozen")
    return CheckResult("", 0, 0.0, 0.0, f"By design {layers} ({tuning}).", "They need no gradients.", "")
