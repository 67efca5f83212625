"""Checks on probes of gradients and filters: exploding and vanishing gradients, dead filters.

Vanishing is measured as |∂L/∂h| at the output of the blocks. Small gradients of the weights do not show it: they follow
the scale of the weights.
"""

from __future__ import annotations

import math

from headstart.diagnostics.finding import CheckResult, number_words, probe_time, restoring_flags
from headstart.diagnostics.history import MAX_UNLEARNED_LOSS_RATIO, History
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.schemas.metrics import ProbeLine

MAX_VANISHED_RATIO = 1e-3  # |∂L/∂h| at the first block over that at the last
MIN_EXPLODED_RATIO = 1e4  # the same
MIN_DEAD_SHARE = 0.5  # of the filters of a layer
MIN_BLOCKING_DEAD_SHARE = 0.9  # of the same: hardly any gradient passes, and the layer is the cause
MAX_LOSS_RATIO_WITHOUT_NORM, MAX_LOSS_RATIO_WITH_NORM = 3.0, 1e3  # of the prior entropy


def end_gradients(probe: ProbeLine) -> tuple[tuple[str, float], tuple[str, float], float] | None:
    """Return the first and the last block with their |∂L/∂h|, and the ratio of the first to the last.

    The smallest float32 stands for a gradient that is 0, and the largest for one that is not finite.

    Returns:
        None if fewer than two blocks were probed, or the gradient at the last block is 0 or not finite.
    """
    norms = {name: math.inf if value is None else value for name, value in probe.block_gradient_norm.items()}
    if len(norms) < 2:
        return None
    (first, low), *_between, (last, high) = norms.items()
    if not (high > 0 and math.isfinite(high)):
        return None
    return (first, low), (last, high), min(max(low, 1e-45) / high, 1e38)


def first_to_last_ratio(probe: ProbeLine) -> float | None:
    """Return |∂L/∂h| at the first block over that at the last, or None as `end_gradients`."""
    gradients = end_gradients(probe)
    return gradients[2] if gradients is not None else None


def exploding(history: History, probe: ProbeLine) -> CheckResult | None:
    """Return a finding if the gradient grows towards the input, or the loss is far above the prior entropy."""
    gradients, loss = end_gradients(probe), probe.loss
    if gradients is not None and gradients[2] >= MIN_EXPLODED_RATIO:
        (first, low), (last, high), ratio = gradients
        evidence = _(
            "{moment:cap} the gradient grows towards the input: |∂L/∂h| is {last_norm} at {last} and {first_norm} at "
            "{first}, {ratio} times as large (healthy runs stay below {limit:,.0f}).",
            moment=probe_time(probe),
            last_norm=number_words(high),
            last=last,
            first_norm=number_words(low),
            first=first,
            ratio=number_words(ratio),
            limit=MIN_EXPLODED_RATIO,
        )
        return _exploded(history, first, probe, ratio, MIN_EXPLODED_RATIO, evidence)
    without_norm = history.plan.network.norm == "none"
    max_ratio = MAX_LOSS_RATIO_WITHOUT_NORM if without_norm else MAX_LOSS_RATIO_WITH_NORM
    max_loss = max_ratio * history.prior_entropy
    if loss is None or loss > max_loss:
        evidence = _(
            "{moment:cap} the loss is {loss} (predicting the class frequencies gives {prior_loss:.2f}).",
            moment=probe_time(probe),
            loss=number_words(loss),
            prior_loss=history.prior_entropy,
        )
        return _exploded(history, "", probe, loss, max_loss, evidence)
    return None


def _exploded(
    history: History, layer: str, probe: ProbeLine, value: float | None, threshold: float, evidence: Message
) -> CheckResult:
    advice = (
        _("Try --norm batch or initial weights of smaller scale; --clip 1 only hides the symptom.")
        if history.plan.network.norm == "none"
        else _("Try initial weights of smaller scale; --clip 1 only hides the symptom.")
    )
    return CheckResult(
        layer, probe.epoch, value, threshold, evidence,
        _("Each layer amplifies its input, so that no learning rate suits all of them."), advice,
    )  # fmt: skip


def is_vanishing(probe: ProbeLine) -> bool:
    """Return whether the gradient vanishes towards the input, whatever the cause."""
    gradients = end_gradients(probe)
    return gradients is not None and gradients[2] <= MAX_VANISHED_RATIO


def vanishing(history: History, probe: ProbeLine) -> CheckResult | None:
    """Return a finding if the gradient vanishes towards the input, unless a layer of dead filters is the cause."""
    gradients = end_gradients(probe)
    if gradients is None or not is_vanishing(probe) or _most_dead_layer(probe)[1] >= MIN_BLOCKING_DEAD_SHARE:
        return None
    (first, low), (last, high), ratio = gradients
    evidence = _(
        "{moment:cap} the gradient vanishes towards the input: |∂L/∂h| is {last_norm} at {last} and {first_norm} at "
        "{first}, {decades:.1f} orders of magnitude less (limit: {limit:.0f}).",
        moment=probe_time(probe),
        last_norm=number_words(high),
        last=last,
        first_norm=number_words(low),
        first=first,
        decades=-math.log10(ratio),
        limit=-math.log10(MAX_VANISHED_RATIO),
    )
    match restoring_flags(history):
        case [first_flag, second_flag]:
            advice = _("Try {first_flag} or {second_flag}.", first_flag=first_flag, second_flag=second_flag)
        case [flag]:
            advice = _("Try {flag}.", flag=flag)
        case _unused:
            advice = _("Try a shallower network.")
    return CheckResult(
        first, probe.epoch, ratio, MAX_VANISHED_RATIO, evidence,
        _("The early layers hardly learn at any learning rate."), advice,
    )  # fmt: skip


def dead(history: History, probe: ProbeLine) -> CheckResult | None:
    """Return a finding if many filters of a layer are 0 on all probed images."""
    layer, share = _most_dead_layer(probe)
    if share < MIN_DEAD_SHARE:
        return None
    return CheckResult(
        layer, probe.epoch, share, MIN_DEAD_SHARE, _dead_evidence(probe, layer, share),
        _("No gradient passes a ReLU whose output is always 0: these filters cannot change."),
        _("Try other initial weights, a lower learning rate or --warmup 1ep, and check for large negative biases."),
    )  # fmt: skip


def _dead_evidence(probe: ProbeLine, layer: str, share: float) -> Message:
    """Return the share of dead filters of the layer with most of them, and how many other layers have many."""
    moment, limit = probe_time(probe), 100 * MIN_DEAD_SHARE
    more = sum(value >= MIN_DEAD_SHARE for value in probe.dead_channels.values()) - 1
    if not more:
        return _(
            "{moment:cap} {share:.0f} % of the filters of {layer} are 0 on all probed images; in healthy runs it is "
            "less than {limit:.0f} %.",
            moment=moment,
            share=100 * share,
            layer=layer,
            limit=limit,
        )
    return ngettext(
        "{moment:cap} {share:.0f} % of the filters of {layer} are 0 on all probed images (and {limit:.0f} % or more in "
        "{count:,} more layer); in healthy runs it is less than {limit:.0f} %.",
        "{moment:cap} {share:.0f} % of the filters of {layer} are 0 on all probed images (and {limit:.0f} % or more in "
        "{count:,} more layers); in healthy runs it is less than {limit:.0f} %.",
        more,
        moment=moment,
        share=100 * share,
        layer=layer,
        limit=limit,
    )


def _most_dead_layer(probe: ProbeLine) -> tuple[str, float]:
    """Return the layer with the largest share of dead filters, and that share."""
    layer = max(probe.dead_channels, key=probe.dead_channels.__getitem__, default="")
    return layer, probe.dead_channels.get(layer, 0.0)


def not_learning(history: History) -> CheckResult | None:
    """Return a finding if the network has not learned at the end although its gradients and updates are normal."""
    trained = (
        history.plan.arm.tuning.kind is not TuningKind.FROZEN
        and len(history.probes[-1].block_gradient_norm if history.probes else ()) > 1
    )
    if not (trained and history.has_barely_learned and history.has_had_long_time):
        return None
    if not history.predicts_one_class and history.is_falling:
        return None  # slow, but it learns
    match restoring_flags(history):
        case [first_flag, second_flag]:
            advice = _("Try {first_flag} and {second_flag}.", first_flag=first_flag, second_flag=second_flag)
        case [flag]:
            advice = _("Try {flag}.", flag=flag)
        case _unused:
            advice = _("Check the labels, train longer, or try another learning rate.")
    return CheckResult(
        "", history.epochs[-1].epoch, history.last_loss / history.prior_entropy,
        MAX_UNLEARNED_LOSS_RATIO, _not_learning_evidence(history),
        _("The network has not started to learn, although gradients do not vanish and updates are of normal size."),
        advice,
    )  # fmt: skip


def _not_learning_evidence(history: History) -> Message:
    """Return the loss at the end, and what else is known about a network that has not learned."""
    loss = ngettext(
        "after {count:,} epoch the loss is {loss:.2f} (predicting the class frequencies gives {prior_loss:.2f})",
        "after {count:,} epochs the loss is {loss:.2f} (predicting the class frequencies gives {prior_loss:.2f})",
        len(history.epochs),
        loss=history.last_loss,
        prior_loss=history.prior_entropy,
    )
    facts = [loss, *([_("all val images get the same prediction")] if history.predicts_one_class else [])]
    if (ratio := first_to_last_ratio(history.probes[-1])) is not None:
        facts.append(_("|∂L/∂h| at the first block is {ratio} times that at the last", ratio=number_words(ratio)))
    return _("{facts:cap}.", facts=join(facts, "; "))
