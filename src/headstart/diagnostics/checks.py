"""Find out whether training is healthy: numbers from a run's record, against thresholds that healthy runs stay within.

A finding gives the measured value and where it was measured, its meaning, and what to try. Only the cause is reported,
not its consequences: a learning rate that is much too high also kills filters, and a network without gradients also has
small updates. docs/health.md lists the runs that the thresholds are based on.

Measured are |∂L/∂h| at the output of every block, the filters behind every ReLU that are zero on all probed images
(`headstart.telemetry.probe`), |Δw|/|w| of an update for every layer, and the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from headstart.diagnostics import gradients
from headstart.diagnostics.finding import CheckResult, Finding, make_finding, number_words
from headstart.diagnostics.history import HealthStatus, History
from headstart.diagnostics.registry import HEALTH_CHECKS, HealthCheck, Moment, finding_name
from headstart.factories import load_factory
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.schemas.metrics import FindingLine, ProbeLine, WithdrawnLine

ProbeCheck = Callable[[History, ProbeLine], CheckResult | None]
HistoryCheck = Callable[[History], CheckResult | None]


def findings(history: History) -> list[Finding]:
    """Return notes on what the user asked for, and the first unhealthy finding, which explains the others."""
    notes = list(_findings(history, unhealthy=False))
    cause = next(_findings(history, unhealthy=True), None)
    return notes if cause is None else [*notes, cause]


def _findings(history: History, *, unhealthy: bool) -> Iterator[Finding]:
    """Yield the unhealthy findings or the notes, a cause before its consequences."""
    for moment in Moment:
        for code, check in HEALTH_CHECKS.items():
            if check.unhealthy is unhealthy and moment in check.moments:
                result = _on_probe(check, moment, history) if moment.uses_probe else _on_history(check, moment, history)
                if result is not None:
                    yield make_finding(code, check, result)


def _on_probe(check: HealthCheck, moment: Moment, history: History) -> CheckResult | None:
    """Return the result of a check on a probe, or None before its moment."""
    function: ProbeCheck = load_factory(check.factory)
    if moment is Moment.BEFORE_TRAINING:
        return _persistent(history, function)
    # a fault of the initial weights must persist; a later one must do harm, and may be due to the learning rate
    late = history.has_had_time and history.loss_is_flat and not history.has_learned
    return function(history, history.probes[-1]) if late and history.probes else None


def _on_history(check: HealthCheck, moment: Moment, history: History) -> CheckResult | None:
    """Return the result of a check on the whole history, or None before its moment."""
    too_early = (moment is Moment.AFTER_MIN_LENGTH and not history.has_had_time) or (
        moment is Moment.END and not history.ended
    )
    function: HistoryCheck = load_factory(check.factory)
    return None if too_early else function(history)


def unhealthy_findings(history: History) -> list[Finding]:
    """Return the findings without notes on what the user asked for."""
    return [finding for finding in findings(history) if finding.unhealthy]


@dataclass(frozen=True)
class Notice:
    """A new or withdrawn finding, as a line of the record and as a message."""

    line: FindingLine | WithdrawnLine
    message: Message


def new_notices(history: History, noticed: set[str], step: int) -> list[Notice]:
    """Return notices of new findings, and at the end of the run of withdrawn ones.

    A finding during training may pass: a network whose gradients explode at first may learn all the same. A finding
    that is only hidden behind another cause at the end is not withdrawn.

    Args:
        history: The run so far.
        noticed: Codes of earlier findings; new codes are added.
        step: Updates done.
    """
    current = {finding.code: finding for finding in unhealthy_findings(history)}
    notices = [
        Notice(finding.line(step), _("{finding:cap}: {sentence}", finding=finding.name, sentence=finding.sentence))
        for code, finding in current.items()
        if code not in noticed
    ]
    if history.ended:
        persistent = {finding.code for finding in _findings(history, unhealthy=True)}
        persistent |= {code for code in noticed if _may_hold(code, history)}
        notices += [_withdrawal(code, step) for code in sorted(noticed - persistent)]
    noticed |= set(current)
    return notices


def _withdrawal(code: str, step: int) -> Notice:
    """Return the notice of a finding that no longer holds at the end of the run."""
    name, sentence = finding_name(code), _("It was found during training, but not at the end of the run.")
    line = WithdrawnLine(step=step, code=code, name=name, sentence=sentence)
    return Notice(line, _("{finding:cap}: {sentence}", finding=name, sentence=sentence))


def _may_hold(code: str, history: History) -> bool:
    """Return whether a finding may still hold at the last probe, although its check names another cause."""
    path = HEALTH_CHECKS[code].may_hold if code in HEALTH_CHECKS else ""
    if not path or not history.probes:
        return False
    may_hold: Callable[[ProbeLine], bool] = load_factory(path)
    return may_hold(history.probes[-1])


def healthy_words(history: History) -> Message:
    """Return what was checked, for a run without unhealthy findings."""
    facts = [
        _(
            "{snapshots} in {epochs}",
            snapshots=ngettext("{count:,} snapshot", "{count:,} snapshots", len(history.snapshots)),
            epochs=ngettext("{count:,} epoch", "{count:,} epochs", len(history.epochs)),
        )
    ]
    if updates := history.updates():
        share = 100 * median(ratio for _epoch, _layer, ratio in updates)
        facts.append(_("an update is {share:.2g} % of the weights", share=share))
    if history.probes and (ends := gradients.end_gradients(history.probes[-1])) is not None:
        (first, _low), (last, _high), ratio = ends
        facts.append(_("|∂L/∂h| at {first} is {ratio:.2g} times that at {last}", first=first, ratio=ratio, last=last))
    if history.has_barely_learned:
        facts.append(
            _(
                "the loss is {loss:.2f} (predicting the class frequencies gives {prior_loss:.2f})",
                loss=history.last_loss,
                prior_loss=history.prior_entropy,
            )
        )
    if history.predicts_one_class:
        facts.append(_("all val images get the same prediction"))
    facts += [missing_probe_reason(history), _unchecked_filters(history)]
    facts += [] if history.ended else [_("the run has not ended")]
    if history.status is HealthStatus.HEALTHY:
        return _("Healthy: no findings ({facts})", facts=join(facts, "; "))
    return _("Too early to say: no findings yet ({facts})", facts=join(facts, "; "))


def missing_probe_reason(history: History) -> Message:
    """Return why |∂L/∂h| at the blocks is unknown, and what is known instead; "" where it is known."""
    if any(probe.block_gradient_norm for probe in history.probes):
        return join([])
    if history.plan.arm.tuning.kind is not TuningKind.FROZEN:
        return _("gradients at the blocks were not probed: the record has no probe lines")
    by_step = [(line.step, line.gradient_norm) for line, _rate in history.snapshots]
    norms = [(step, *next(iter(by_layer.items()))) for step, by_layer in by_step if by_layer]
    if not norms:
        return _("gradients at the blocks were not probed, since all blocks are frozen")
    (first_step, layer, first_norm), (last_step, _layer, last_norm) = norms[0], norms[-1]
    return _(
        "gradients at the blocks were not probed, since all blocks are frozen; |∂L/∂w| of {layer} is {first_norm} at "
        "step {first_step} and {last_norm} at step {last_step}",
        layer=layer,
        first_norm=number_words(first_norm),
        first_step=first_step,
        last_norm=number_words(last_norm),
        last_step=last_step,
    )


def _unchecked_filters(history: History) -> Message:
    """Return why dead filters were not checked, or "" if they were."""
    without_relu = history.probes and not any(probe.zero_activations for probe in history.probes)
    return _("dead filters were not checked: the network has no nn.ReLU") if without_relu else join([])


def _persistent(history: History, check: ProbeCheck) -> CheckResult | None:
    """Return the result for the probe before the first step, unless the last probe no longer shows it in time."""
    if not history.probes or history.probes[0].step != 0:
        return None
    result = check(history, history.probes[0])
    if result is not None and history.has_had_time and check(history, history.probes[-1]) is None:
        return None
    return result
