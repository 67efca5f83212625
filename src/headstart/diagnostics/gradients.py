"""What a probe shows of gradients and filters: do they explode, vanish, or die on the way to the input?

Vanishing is measured as |∂L/∂h| at the output of the blocks. "|g| of the weights is small" is no measure of it: that
follows the scale of the weights.
"""

from __future__ import annotations

import math

from headstart.diagnostics.finding import Finding, number, switches, when
from headstart.diagnostics.history import MAX_UNLEARNED_LOSS_RATIO, History, Line
from headstart.text import pluralize

VANISHED = 1e-3  # |∂L/∂h| behind the first block, of that behind the last one
EXPLODED = 1e4
DEAD = 0.5  # of the filters of a layer
CLOSED = 0.9  # of the same: hardly a gradient passes, and the layer is the cause
TOO_LARGE, MONSTROUS = 3.0, 1e3  # times the loss of guessing, without a norm and with one


def ends(probe: Line) -> tuple[tuple[str, float], tuple[str, float], float] | None:
    """The first and the last block with their |∂L/∂h|, and first over last; None where there is no flow to speak of.

    The smallest float32 stands for a gradient that has become 0, and the largest for one that is not finite.
    """
    known = {name: math.inf if value is None else value for name, value in probe["flow"].items()}
    if len(known) < 2:
        return None
    (first, low), *_, (last, high) = known.items()
    if not (high > 0 and math.isfinite(high)):
        return None
    return (first, low), (last, high), min(max(low, 1e-45) / high, 1e38)


def flow_kept(probe: Line) -> float | None:
    """|∂L/∂h| behind the first block over that behind the last; None where there is no flow to speak of."""
    found = ends(probe)
    return found[2] if found is not None else None


def exploding(history: History, probe: Line) -> Finding | None:
    """A gradient that grows towards the input, or a loss that no network has which has learned nothing."""
    found, loss = ends(probe), probe["loss"]
    if found is not None and found[2] >= EXPLODED:
        (first, low), (last, high), ratio = found
        evidence = (
            f"{when(probe)} the gradient grows towards the input: |∂L/∂h| is {number(high)} behind {last} and "
            f"{number(low)} behind {first}, {number(ratio)} times as large (healthy runs stay below {EXPLODED:,.0f})."
        )
        return _exploded(history, first, probe, ratio, EXPLODED, evidence)
    plain = history.plan["network"]["norm"] == "none"
    most = (TOO_LARGE if plain else MONSTROUS) * history.prior_entropy
    if loss is None or loss > most:
        told = "is not finite" if loss is None else f"is {number(loss)}"
        evidence = f"{when(probe)} the loss {told}; one who guesses has {history.prior_entropy:.2f}."
        return _exploded(history, "", probe, loss, most, evidence)
    return None


def _exploded(
    history: History, layer: str, probe: Line, value: float | None, threshold: float, evidence: str
) -> Finding:
    ways = [*(way for way in switches(history) if way.startswith("--norm")), "a start with smaller weights"]
    return Finding(
        "exploding gradients", layer, probe["epoch"], value, threshold, evidence,
        "Each layer enlarges what passes through it, so that no rate suits all of them.",
        f"Try {' or '.join(ways)}; --clip 1 hides the symptom.",
    )  # fmt: skip


def fades(probe: Line) -> bool:
    """Whether the gradient fades towards the input, whatever the cause."""
    found = ends(probe)
    return found is not None and found[2] <= VANISHED


def vanishing(history: History, probe: Line) -> Finding | None:
    """A gradient that fades towards the input, unless a layer of dead filters is what stops it."""
    found = ends(probe)
    if found is None or not fades(probe) or _worst(probe)[1] >= CLOSED:
        return None
    (first, low), (last, high), ratio = found
    evidence = (
        f"{when(probe)} the gradient fades towards the input: |∂L/∂h| is {number(high)} behind {last} and "
        f"{number(low)} behind {first}, {-math.log10(ratio):.1f} orders of magnitude less (limit: "
        f"{-math.log10(VANISHED):.0f})."
    )
    return Finding(
        "vanishing gradients", first, probe["epoch"], ratio, VANISHED, evidence,
        "The early layers hardly learn, whatever the learning rate is.",
        f"Try {' or '.join(switches(history)) or 'a shallower network'}.",
    )  # fmt: skip


def dead(history: History, probe: Line) -> Finding | None:
    """Filters that no probed photo opens."""
    layer, share = _worst(probe)
    if share < DEAD:
        return None
    more = sum(value >= DEAD for value in probe["dead"].values()) - 1
    also = f" (and {100 * DEAD:.0f} % or more in {pluralize(more, 'more layer')})" if more else ""
    evidence = (
        f"{when(probe)} {100 * share:.0f} % of the filters of {layer} give 0 on every probed photo{also}; in healthy "
        f"runs it is less than {100 * DEAD:.0f} %."
    )
    return Finding(
        "dead filters", layer, probe["epoch"], share, DEAD, evidence,
        "Behind a ReLU that is never open no gradient passes: these filters stay as they are.",
        "Try another start, a lower learning rate or --warmup 1ep, and look for large negative biases.",
    )  # fmt: skip


def _worst(probe: Line) -> tuple[str, float]:
    """The layer with the largest share of dead filters."""
    layer = max(probe["dead"], key=probe["dead"].__getitem__, default="")
    return layer, probe["dead"].get(layer, 0.0)


def not_learning(history: History) -> Finding | None:
    """A network that has not begun to learn, though its gradients and its updates are sound."""
    trained = (
        history.plan["arm"]["tuning"] != "frozen" and len(history.probes[-1]["flow"] if history.probes else ()) > 1
    )
    if not (trained and history.ended and history.has_hardly_begun and history.has_had_plenty_of_time):
        return None
    if not history.predicts_one_class and history.is_falling:
        return None  # slow, but it learns
    kept = flow_kept(history.probes[-1])
    evidence = [
        f"After {pluralize(len(history.epochs), 'epoch')} the loss is {history.last_loss:.2f}, and one who guesses has "
        f"{history.prior_entropy:.2f}",
        *(["val images all get one answer"] if history.predicts_one_class else []),
        *([f"|∂L/∂h| behind the first block is {number(kept)} of that behind the last"] if kept is not None else []),
    ]
    ways = switches(history)
    return Finding(
        "degradation without vanishing", "", history.epochs[-1]["epoch"], history.last_loss / history.prior_entropy,
        MAX_UNLEARNED_LOSS_RATIO, "; ".join(evidence) + ".",
        "The network has not begun to learn, though gradients do not vanish and updates are neither large nor tiny.",
        f"Try {' and '.join(ways)}." if ways else "Look at the labels, train longer, or try another learning rate.",
    )  # fmt: skip
