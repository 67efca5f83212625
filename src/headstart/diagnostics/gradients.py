"""Checks on probes of gradients and filters: exploding and vanishing gradients, dead filters.

Vanishing is measured as |∂L/∂h| at the output of the blocks. Small gradients of the weights do not show it: they follow
the scale of the weights.
"""

from __future__ import annotations

import math

from headstart.diagnostics.finding import CheckResult, probe_time, restoring_flags
from headstart.diagnostics.history import MAX_UNLEARNED_LOSS_RATIO, History
from headstart.storage.schemas.metrics import ProbeLine
from headstart.text import format_number, pluralize

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
    (first, low), *_, (last, high) = norms.items()
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
        evidence = (
            f"{probe_time(probe)} the gradient grows towards the input: |∂L/∂h| is {format_number(high)} at {last} and "
            f"{format_number(low)} at {first}, {format_number(ratio)} times as large (healthy runs stay below "
            f"{MIN_EXPLODED_RATIO:,.0f})."
        )
        return _exploded(history, first, probe, ratio, MIN_EXPLODED_RATIO, evidence)
    without_norm = history.plan.network.norm == "none"
    max_ratio = MAX_LOSS_RATIO_WITHOUT_NORM if without_norm else MAX_LOSS_RATIO_WITH_NORM
    max_loss = max_ratio * history.prior_entropy
    if loss is None or loss > max_loss:
        value = "not finite" if loss is None else format_number(loss)
        evidence = (
            f"{probe_time(probe)} the loss is {value} (predicting the class frequencies gives "
            f"{history.prior_entropy:.2f})."
        )
        return _exploded(history, "", probe, loss, max_loss, evidence)
    return None


def _exploded(
    history: History, layer: str, probe: ProbeLine, value: float | None, threshold: float, evidence: str
) -> CheckResult:
    norm_flags = [flag for flag in restoring_flags(history) if flag.startswith("--norm")]
    ways = [*norm_flags, "initial weights of smaller scale"]
    return CheckResult(
        layer, probe.epoch, value, threshold, evidence,
        "Each layer amplifies its input, so that no learning rate suits all of them.",
        f"Try {' or '.join(ways)}; --clip 1 only hides the symptom.",
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
    evidence = (
        f"{probe_time(probe)} the gradient vanishes towards the input: |∂L/∂h| is {format_number(high)} at {last} and "
        f"{format_number(low)} at {first}, {-math.log10(ratio):.1f} orders of magnitude less (limit: "
        f"{-math.log10(MAX_VANISHED_RATIO):.0f})."
    )
    return CheckResult(
        first, probe.epoch, ratio, MAX_VANISHED_RATIO, evidence,
        "The early layers hardly learn at any learning rate.",
        f"Try {' or '.join(restoring_flags(history)) or 'a shallower network'}.",
    )  # fmt: skip


def dead(history: History, probe: ProbeLine) -> CheckResult | None:
    """Return a finding if many filters of a layer are 0 on all probed images."""
    layer, share = _most_dead_layer(probe)
    if share < MIN_DEAD_SHARE:
        return None
    more = sum(value >= MIN_DEAD_SHARE for value in probe.dead_channels.values()) - 1
    also = f" (and {100 * MIN_DEAD_SHARE:.0f} % or more in {pluralize(more, 'more layer')})" if more else ""
    evidence = (
        f"{probe_time(probe)} {100 * share:.0f} % of the filters of {layer} are 0 on all probed images{also}; in "
        f"healthy runs it is less than {100 * MIN_DEAD_SHARE:.0f} %."
    )
    return CheckResult(
        layer, probe.epoch, share, MIN_DEAD_SHARE, evidence,
        "No gradient passes a ReLU whose output is always 0: these filters cannot change.",
        "Try other initial weights, a lower learning rate or --warmup 1ep, and check for large negative biases.",
    )  # fmt: skip


def _most_dead_layer(probe: ProbeLine) -> tuple[str, float]:
    """Return the layer with the largest share of dead filters, and that share."""
    layer = max(probe.dead_channels, key=probe.dead_channels.__getitem__, default="")
    return layer, probe.dead_channels.get(layer, 0.0)


def not_learning(history: History) -> CheckResult | None:
    """Return a finding if the network has not learned at the end although its gradients and updates are normal."""
    trained = (
        history.plan.arm.tuning != "frozen"
        and len(history.probes[-1].block_gradient_norm if history.probes else ()) > 1
    )
    if not (trained and history.has_barely_learned and history.has_had_long_time):
        return None
    if not history.predicts_one_class and history.is_falling:
        return None  # slow, but it learns
    ratio = first_to_last_ratio(history.probes[-1])
    evidence = [
        f"After {pluralize(len(history.epochs), 'epoch')} the loss is {history.last_loss:.2f} (predicting the class "
        f"frequencies gives {history.prior_entropy:.2f})",
        *(["all val images get the same prediction"] if history.predicts_one_class else []),
        *([f"|∂L/∂h| at the first block is {format_number(ratio)} of that at the last"] if ratio is not None else []),
    ]
    flags = restoring_flags(history)
    return CheckResult(
        "", history.epochs[-1].epoch, history.last_loss / history.prior_entropy,
        MAX_UNLEARNED_LOSS_RATIO, "; ".join(evidence) + ".",
        "The network has not started to learn, although gradients do not vanish and updates are of normal size.",
        f"Try {' and '.join(flags)}." if flags else "Check the labels, train longer, or try another learning rate.",
    )  # fmt: skip
