"""Is the training healthy? Findings from the record of a run: numbers, against thresholds that healthy runs keep to.

A finding says what was measured and where, what that means, and what to try. One cause is told, not its consequences: a
learning rate that is much too high also kills filters, and a network without gradients also has small updates.
docs/health.md says on which runs the thresholds rest.

What is measured: at the output of every block |∂L/∂h|, behind every ReLU the filters that are zero on all probed photos
(`headstart.watch.probe`), of every layer |Δw|/|w| of an update, and the loss. "|g| of the weights is small" is
no measure of vanishing: it follows the scale of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from headstart.verdict.history import FALLING, History, Line
from headstart.verdict.words import capital, counted

VANISHED = 1e-3  # |∂L/∂h| behind the first block, of that behind the last one
EXPLODED = 1e4
DEAD = 0.5  # of the filters of a layer
HEALTHY_UPDATE = 1e-3  # |Δw|/|w| per step, the median over layers, that healthy runs have more or less
SMALL_UPDATE = 3e-5
LARGE_UPDATE = 3e-2
HEAD_TIMES = 10  # a head alone may have updates so many times as large
FAR = 1.0  # |w - w₀|/|w₀|, the median over layers
TOO_LARGE, MONSTROUS = 3.0, 1e3  # times the loss of guessing before the first step, without a norm and with one
BLOWN_UP = 1.1  # of the loss of one who guesses: what a first epoch that does harm has on the mean
STUCK = 0.8  # of the loss of one who guesses: what has not come below it has learned next to nothing
HARDLY = 0.95  # of the same: has learned nothing
BOLD = {"sgd": 0.1, "adam": 0.01}  # the highest rate that is advised, whatever was tried; others as Adam
REACHED = 0.1  # of the gradient at the last block: with less at the first, small updates are not for want of a rate


@dataclass(frozen=True)
class Finding:
    """One thing that is noticed: `value` against `threshold`, at `layer` in `epoch`; `name` is what it is called.

    `value` is None where it is not finite, or nothing was measured.
    """

    name: str
    layer: str
    epoch: int
    value: float | None
    threshold: float
    evidence: str
    meaning: str
    advice: str

    @property
    def ailment(self) -> bool:
        """Whether something is wrong; what was asked for is only noted."""
        return self.name != "frozen by design"

    @property
    def sentence(self) -> str:
        return " ".join(part for part in (self.evidence, self.meaning, self.advice) if part)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ailment": self.ailment, "sentence": self.sentence}


def findings(history: History) -> list[Finding]:
    """What is noticed: what is frozen by design, and the first cause that explains the rest, if anything is wrong."""
    # what was there at first must still be there; what came later must do harm, and may have a rate behind it
    late = history.has_had_time and history.settled and not history.has_learned
    causes: Sequence[Callable[[], Finding | None]] = (
        lambda: _lasting(history, _exploding),
        lambda: _lasting(history, _vanishing),
        lambda: _lasting(history, _dead),
        lambda: _rate_too_high(history),
        lambda: _exploding(history, history.probes[-1]) if late and history.probes else None,
        lambda: _vanishing(history, history.probes[-1]) if late and history.probes else None,
        lambda: _dead(history, history.probes[-1]) if late and history.probes else None,
        lambda: _rate_too_low(history),
        lambda: _not_learning(history),
    )
    cause = next((found for cause in causes if (found := cause()) is not None), None)
    return [found for found in (_frozen(history), cause) if found is not None]


def ailments(history: History, known: Collection[str] = ()) -> list[Finding]:
    """What is wrong, less what is `known` by its name."""
    return [found for found in findings(history) if found.ailment and found.name not in known]


def healthy_words(history: History) -> str:
    """What was looked at, for a run in which nothing is wrong."""
    told = [f"{counted(len(history.looks), 'look')} in {counted(len(history.epochs), 'epoch')}"]
    if updates := history.updates():
        told.append(f"an update is {_share(median(u for _, _, u in updates))} of the weights")
    if history.probes and (ends := _ends(history.probes[-1])) is not None:
        (first, _), (last, _), ratio = ends
        told.append(f"|∂L/∂h| behind {first} is {ratio:.2g} of that behind {last}")
    if why := unprobed(history):
        told.append(why)
    return (
        f"{capital(history.standing)}: nothing was found{'' if history.has_had_time else ' yet'} ({'; '.join(told)})."
    )


def unprobed(history: History) -> str:
    """Why no |∂L/∂h| is known at the blocks, and what is known instead; "" where it is known."""
    if any(probe["flow"] for probe in history.probes):
        return ""
    if history.plan["arm"]["tuning"] != "frozen":
        return "gradients at the blocks were not probed: the record has no line of it"
    told = "gradients at the blocks were not probed, since all blocks are frozen"
    looks = [(look["step"], look.get("gradient_norm")) for look, _ in history.looks]
    if norms := [(step, *next(iter(found.items()))) for step, found in looks if found]:
        (first, name, begun), (last, _, ended) = norms[0], norms[-1]
        told += f"; |∂L/∂w| of {name} is {_norm(begun)} at step {first} and {_norm(ended)} at step {last}"
    return told


def _lasting(history: History, check: Callable[[History, Line], Finding | None]) -> Finding | None:
    """What the probe before the first step shows, unless a later one, when there was time, shows it no more."""
    if not history.probes or history.probes[0]["step"] != 0:
        return None
    found = check(history, history.probes[0])
    if found is not None and history.has_had_time and check(history, history.probes[-1]) is None:
        return None
    return found


def _ends(probe: Line) -> tuple[tuple[str, float], tuple[str, float], float] | None:
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
    ends = _ends(probe)
    return ends[2] if ends is not None else None


def _exploding(history: History, probe: Line) -> Finding | None:
    ends, loss = _ends(probe), probe["loss"]
    if ends is not None and ends[2] >= EXPLODED:
        (first, low), (last, high), ratio = ends
        evidence = (
            f"{_when(probe)} the gradient grows towards the input: |∂L/∂h| is {_number(high)} behind {last} and "
            f"{_number(low)} behind {first}, {_number(ratio)} times as large (healthy runs stay below {EXPLODED:,.0f})."
        )
        return _exploded(history, first, probe, ratio, EXPLODED, evidence)
    plain = history.plan["network"]["norm"] == "none"
    most = (TOO_LARGE if plain else MONSTROUS) * history.guessing
    if probe["step"] == 0 and (loss is None or loss > most):
        told = "is not finite" if loss is None else f"is {_number(loss)}"
        evidence = f"Before the first step the loss {told}; one who guesses has {history.guessing:.2f}."
        return _exploded(history, "", probe, loss, most, evidence)
    return None


def _exploded(
    history: History, layer: str, probe: Line, value: float | None, threshold: float, evidence: str
) -> Finding:
    ways = [*(way for way in _switches(history) if way.startswith("--norm")), "a start with smaller weights"]
    return Finding(
        "exploding gradients", layer, probe["epoch"], value, threshold, evidence,
        "Each layer enlarges what passes through it, so that no rate suits all of them.",
        f"Try {' or '.join(ways)}; --clip 1 hides the symptom.",
    )  # fmt: skip


def _switches(history: History) -> list[str]:
    """The flags of norm and shortcut that the network is without."""
    usual = (("norm", "batch"), ("shortcut", "on"))
    return [f"--{name} {on}" for name, on in usual if history.plan["network"][name] != on]


def _vanishing(history: History, probe: Line) -> Finding | None:
    ends = _ends(probe)
    if ends is None or ends[2] > VANISHED:
        return None
    (first, low), (last, high), ratio = ends
    evidence = (
        f"{_when(probe)} the gradient fades towards the input: |∂L/∂h| is {_number(high)} behind {last} and "
        f"{_number(low)} behind {first}, {-math.log10(ratio):.1f} orders of magnitude less (limit: "
        f"{-math.log10(VANISHED):.0f})."
    )
    return Finding(
        "vanishing gradients", first, probe["epoch"], ratio, VANISHED, evidence,
        "The early layers hardly learn, whatever the learning rate is.",
        f"Try {' or '.join(_switches(history)) or 'a shallower network'}.",
    )  # fmt: skip


def _dead(history: History, probe: Line) -> Finding | None:
    layer = max(probe["dead"], key=probe["dead"].__getitem__, default="")
    if not layer or probe["dead"][layer] < DEAD:
        return None
    share = probe["dead"][layer]
    more = sum(value >= DEAD for value in probe["dead"].values()) - 1
    also = f" (and {100 * DEAD:.0f} % or more in {counted(more, 'more layer')})" if more else ""
    evidence = (
        f"{_when(probe)} {100 * share:.0f} % of the filters of {layer} give 0 on every probed photo{also}; in healthy "
        f"runs it is less than {100 * DEAD:.0f} %."
    )
    return Finding(
        "dead filters", layer, probe["epoch"], share, DEAD, evidence,
        "Behind a ReLU that is never open no gradient passes: these filters stay as they are.",
        "Try another start, a lower learning rate or --warmup 1ep, and look for large negative biases.",
    )  # fmt: skip


def _rate_too_high(history: History) -> Finding | None:
    diverged = history.state == "diverged"
    updates = history.updates()
    epoch, layer, largest = max(updates, key=lambda found: found[2], default=(0, "", 0.0))
    alone = history.plan["arm"]["tuning"] == "frozen"  # a head begins small, and moves far without harm
    large = largest >= (HEAD_TIMES if alone else 1) * LARGE_UPDATE
    if not diverged and not _does_harm(history, wild=large or history.distance() >= FAR):
        return None
    recipe = history.plan["recipe"]
    times = max(10.0, 10.0 ** round(math.log10(max(largest, HEALTHY_UPDATE) / HEALTHY_UPDATE)))
    told = [f"{_optimizer(recipe['optimizer'])} at {recipe['lr']:g}:"]
    if updates:
        told.append(
            f"updates are {_share(largest)} of the weights per step in epoch {epoch} ({layer} moves most), "
            f"{largest / HEALTHY_UPDATE:.0f} times the usual {_share(HEALTHY_UPDATE)};"
        )
    killed = _dead(history, history.probes[-1]) if history.probes else None
    if diverged:
        told.append("the loss is no longer finite.")
    elif killed is not None:
        told.append(f"{100 * (killed.value or 0):.0f} % of the filters of {killed.layer} are dead by now.")
    else:
        told.append(
            f"after {counted(len(history.epochs), 'epoch')} the loss is {history.last_loss:.2f}, and one who guesses "
            f"has {history.guessing:.2f}."
        )
    return Finding(
        "learning rate too high", layer, epoch, largest if updates else None, LARGE_UPDATE, " ".join(told),
        "Steps are so long that they throw away what the ones before have learned.",
        f"Try --lr {min(recipe['lr'] / times, _bold(recipe)):g}.",
    )  # fmt: skip


def _bold(recipe: Mapping[str, Any]) -> float:
    """The highest rate that is advised with an optimizer."""
    return BOLD.get(recipe["optimizer"], BOLD["adam"])


def _higher(recipe: Mapping[str, Any], times: float) -> str:
    """The advice to raise the rate so many times, as far as one dares."""
    if recipe["lr"] >= _bold(recipe):
        return (
            "The rate itself is not low: see whether a schedule, a warm-up or --clip makes it so, or try another start."
        )
    return f"Try --lr {min(recipe['lr'] * times, _bold(recipe)):g}."


def _does_harm(history: History, *, wild: bool) -> bool:
    """Whether training has had `wild` steps, has little to show for them, and has stopped getting better."""
    if not (wild and history.has_had_time and history.settled) or history.has_learned:
        return False
    blown_up = history.epochs[0]["train"]["loss"] > BLOWN_UP * history.guessing
    killed = bool(history.probes) and _dead(history, history.probes[-1]) is not None
    return blown_up or killed or history.last_loss >= STUCK * history.guessing


def _rate_too_low(history: History) -> Finding | None:
    updates = history.updates()
    if not updates or not history.has_had_time or history.last_loss < STUCK * history.guessing:
        return None
    usual = median(update for _, _, update in updates)
    kept = flow_kept(history.probes[-1]) if history.probes else None
    if usual >= SMALL_UPDATE or (kept is not None and kept < REACHED and _switches(history)):
        return None
    epoch, layer, _ = max(updates, key=lambda found: found[2])
    recipe = history.plan["recipe"]
    times = 10.0 ** round(math.log10(HEALTHY_UPDATE / max(usual, 1e-9)))
    evidence = (
        f"{_optimizer(recipe['optimizer'])} at {recipe['lr']:g}: updates are {_share(usual)} of the weights per step, "
        f"a {_round(HEALTHY_UPDATE / max(usual, 1e-12))}th of the usual {_share(HEALTHY_UPDATE)}; the loss was "
        f"{history.first_loss:.2f} at the first step and is {history.last_loss:.2f} after "
        f"{counted(len(history.epochs), 'epoch')}."
    )
    return Finding(
        "learning rate too low", layer, epoch, usual, SMALL_UPDATE, evidence,
        "The weights stay where they started.", _higher(recipe, min(times, 1000)),
    )  # fmt: skip


def _not_learning(history: History) -> Finding | None:
    trained = (
        history.plan["arm"]["tuning"] != "frozen" and len(history.probes[-1]["flow"] if history.probes else ()) > 1
    )
    if not (trained and history.ended and history.has_had_time) or history.last_loss < HARDLY * history.guessing:
        return None
    if history.epochs[-1]["train"]["loss"] < FALLING * history.epochs[0]["train"]["loss"]:
        return None  # slow, but it learns
    switches = _switches(history)
    evidence = (
        f"After {counted(len(history.epochs), 'epoch')} the loss is {history.last_loss:.2f}, and one who guesses has "
        f"{history.guessing:.2f}; gradients reach the first block, and updates are neither large nor tiny."
    )
    return Finding(
        "degradation without vanishing", "", history.epochs[-1]["epoch"], history.last_loss / history.guessing, HARDLY,
        evidence,
        "The network has not begun to learn, and not for want of gradients.",
        f"Try {' and '.join(switches)}." if switches else "Look at the labels, and try another learning rate.",
    )  # fmt: skip


def _frozen(history: History) -> Finding | None:
    tuning = history.plan["arm"]["tuning"]
    if tuning == "full":
        return None
    what = {
        "frozen": "all layers but the head are frozen",
        "lp-ft": "all layers but the head are frozen at first",
    }.get(tuning, f"all but the head and the last {counted(int(tuning.partition(':')[2] or 0), 'stage')} are frozen")
    return Finding(
        "frozen by design", "", 0, 0.0, 0.0, f"By design {what} ({tuning}).",
        "They have no gradients because none are wanted.", "",
    )  # fmt: skip


def _when(probe: Line) -> str:
    return "Before the first step" if probe["step"] == 0 else f"After epoch {probe['epoch']}"


def _number(value: float) -> str:
    return "not finite" if not math.isfinite(value) else f"{value:.2g}"


def _norm(value: float | None) -> str:
    return _number(math.inf if value is None else value)


def _share(value: float) -> str:
    """A share in per cent with two digits."""
    return f"{100 * value:.2g} %"


def _round(value: float) -> str:
    """A large number with one digit."""
    return f"{float(f'{value:.1g}'):,.0f}"


def _optimizer(name: str) -> str:
    return {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW"}.get(name, name)
