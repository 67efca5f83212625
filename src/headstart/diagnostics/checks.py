"""Find out whether training is healthy: numbers from a run's record, against thresholds that healthy runs stay within.

A finding gives the measured value and where it was measured, its meaning, and what to try. Only the cause is reported,
not its consequences: a learning rate that is much too high also kills filters, and a network without gradients also has
small updates. docs/health.md lists the runs that the thresholds are based on.

Measured are |∂L/∂h| at the output of every block, the filters behind every ReLU that are zero on all probed images
(`headstart.telemetry.probe`), |Δw|/|w| of an update for every layer, and the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from headstart.diagnostics import gradients, learning_rate
from headstart.diagnostics.finding import Finding
from headstart.diagnostics.history import HEALTHY, History
from headstart.storage.schemas.metrics import FindingLine, ProbeLine, WithdrawnLine
from headstart.text import capitalize, format_number, format_share, pluralize

_PROBE_CHECKS = (gradients.exploding, gradients.vanishing, gradients.dead)


def findings(history: History) -> list[Finding]:
    """Return what is frozen by design, and the first unhealthy finding, which explains the others."""
    cause = next(_causes(history), None)
    return [finding for finding in (_frozen(history), cause) if finding is not None]


def _causes(history: History) -> Iterator[Finding]:
    """Yield the unhealthy findings, a cause before its consequences."""
    last = history.probes[-1] if history.probes else None
    # a fault of the initial weights must persist; a later one must do harm, and may be due to the learning rate
    late = history.has_had_time and history.loss_is_flat and not history.has_learned
    checks: Sequence[Callable[[], Finding | None]] = (
        *(lambda check=check: _persistent(history, check) for check in _PROBE_CHECKS),
        lambda: learning_rate.too_high(history),
        *(lambda check=check: check(history, last) if late and last else None for check in _PROBE_CHECKS),
        lambda: learning_rate.too_low(history),
        lambda: gradients.not_learning(history),
    )
    yield from (finding for check in checks if (finding := check()) is not None)


def unhealthy_findings(history: History) -> list[Finding]:
    """Return the findings without notes on what the user asked for."""
    return [finding for finding in findings(history) if finding.unhealthy]


def finding_lines(history: History, noticed: set[str], step: int) -> list[FindingLine | WithdrawnLine]:
    """Return record lines for new findings, and at the end of the run for withdrawn ones.

    A finding during training may pass: a network whose gradients explode at first may learn all the same. A finding
    that is only hidden behind another cause at the end is not withdrawn.

    Args:
        history: The run so far.
        noticed: Names of earlier findings; new names are added.
        step: Updates done.
    """
    current = {finding.name: finding for finding in unhealthy_findings(history)}
    lines: list[FindingLine | WithdrawnLine] = [
        finding.line(step) for name, finding in current.items() if name not in noticed
    ]
    if history.ended:
        persistent = {finding.name for finding in _causes(history)}
        if history.probes and gradients.is_vanishing(history.probes[-1]):  # dead filters may be its cause and hide it
            persistent.add("vanishing gradients")
        sentence = "It was found during training, but not at the end of the run."
        lines += [WithdrawnLine(step=step, name=name, sentence=sentence) for name in sorted(noticed - persistent)]
    noticed |= set(current)
    return lines


def describe_healthy(history: History) -> str:
    """Return what was checked, for a run without unhealthy findings."""
    facts = [f"{pluralize(len(history.snapshots), 'snapshot')} in {pluralize(len(history.epochs), 'epoch')}"]
    if updates := history.updates():
        facts.append(f"an update is {format_share(median(u for _, _, u in updates))} of the weights")
    if history.probes and (ends := gradients.end_gradients(history.probes[-1])) is not None:
        (first, _), (last, _), ratio = ends
        facts.append(f"|∂L/∂h| at {first} is {ratio:.2g} of that at {last}")
    if history.has_barely_learned:
        facts.append(
            f"the loss is {history.last_loss:.2f} (predicting the class frequencies gives {history.prior_entropy:.2f})"
        )
    if history.predicts_one_class:
        facts.append("all val images get the same prediction")
    facts += [reason for reason in (missing_probe_reason(history), _unchecked_filters(history)) if reason]
    facts += [] if history.ended else ["the run has not ended"]
    yet = "" if history.status == HEALTHY else " yet"
    return f"{capitalize(history.status)}: no findings{yet} ({'; '.join(facts)})."


def missing_probe_reason(history: History) -> str:
    """Return why |∂L/∂h| at the blocks is unknown, and what is known instead; "" where it is known."""
    if any(probe.block_gradient_norm for probe in history.probes):
        return ""
    if history.plan.arm.tuning != "frozen":
        return "gradients at the blocks were not probed: the record has no probe lines"
    reason = "gradients at the blocks were not probed, since all blocks are frozen"
    by_step = [(line.step, line.gradient_norm) for line, _ in history.snapshots]
    if norms := [(step, *next(iter(by_layer.items()))) for step, by_layer in by_step if by_layer]:
        (first, name, start), (last, _, end) = norms[0], norms[-1]
        reason += f"; |∂L/∂w| of {name} is {_norm(start)} at step {first} and {_norm(end)} at step {last}"
    return reason


def _unchecked_filters(history: History) -> str:
    """Return why dead filters were not checked, or "" if they were."""
    without_relu = history.probes and not any(probe.zero_activations for probe in history.probes)
    return "dead filters were not checked: the network has no nn.ReLU" if without_relu else ""


def _persistent(history: History, check: Callable[[History, ProbeLine], Finding | None]) -> Finding | None:
    """Return a finding of the probe before the first step, unless the last probe no longer shows it in time."""
    if not history.probes or history.probes[0].step != 0:
        return None
    finding = check(history, history.probes[0])
    if finding is not None and history.has_had_time and check(history, history.probes[-1]) is None:
        return None
    return finding


def _frozen(history: History) -> Finding | None:
    """Return a note on frozen layers, or None if all layers are trained."""
    tuning = history.plan.arm.tuning
    if tuning == "full":
        return None
    layers = {
        "frozen": "all layers but the head are frozen",
        "lp-ft": "all layers but the head are frozen at first",
    }.get(tuning, f"all but the head and the last {pluralize(int(tuning.partition(':')[2] or 0), 'stage')} are frozen")
    return Finding(
        "frozen by design", "", 0, 0.0, 0.0, f"By design {layers} ({tuning}).",
        "They need no gradients.", "",
    )  # fmt: skip


def _norm(value: float | None) -> str:
    return format_number(math.inf if value is None else value)
