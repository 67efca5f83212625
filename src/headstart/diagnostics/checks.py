"""Is the training healthy? Findings from the record of a run: numbers, against thresholds that healthy runs keep to.

A finding says what was measured and where, what that means, and what to try. One cause is told, not its consequences: a
learning rate that is much too high also kills filters, and a network without gradients also has small updates.
docs/health.md says on which runs the thresholds rest.

What is measured: at the output of every block |∂L/∂h|, behind every ReLU the filters that are zero on all probed photos
(`headstart.telemetry.probe`), of every layer |Δw|/|w| of an update, and the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from headstart.diagnostics import gradients, learning_rate
from headstart.diagnostics.finding import Finding, number, share
from headstart.diagnostics.history import HEALTHY, History, Line
from headstart.text import capitalize, pluralize

_CHECKS = (gradients.exploding, gradients.vanishing, gradients.dead)


def findings(history: History) -> list[Finding]:
    """What is noticed: what is frozen by design, and the first cause that explains the rest, if anything is wrong."""
    cause = next(_causes(history), None)
    return [found for found in (_frozen(history), cause) if found is not None]


def _causes(history: History) -> Iterator[Finding]:
    """What is wrong, a cause before what follows from it."""
    last = history.probes[-1] if history.probes else None
    # what was there at first must still be there; what came later must do harm, and may have a rate behind it
    late = history.has_had_time and history.settled and not history.has_learned
    checks: Sequence[Callable[[], Finding | None]] = (
        *(lambda check=check: _lasting(history, check) for check in _CHECKS),
        lambda: learning_rate.too_high(history),
        *(lambda check=check: check(history, last) if late and last else None for check in _CHECKS),
        lambda: learning_rate.too_low(history),
        lambda: gradients.not_learning(history),
    )
    yield from (found for check in checks if (found := check()) is not None)


def unhealthy_findings(history: History) -> list[Finding]:
    """What is wrong."""
    return [found for found in findings(history) if found.unhealthy]


def new_findings(history: History, noticed: set[str]) -> list[dict[str, Any]]:
    """Lines for the record of what is wrong now, and at the end of what is so no more; `noticed` keeps their names.

    What is told while a run trains may pass: a network that explodes at first may learn all the same. What another
    cause hides at the end, since one alone is told, has not passed.
    """
    found = {finding.name: finding for finding in unhealthy_findings(history)}
    lines: list[dict[str, Any]] = [
        {"kind": "finding", "withdrawn": False, **found[name].to_json()} for name in found if name not in noticed
    ]
    if history.ended:
        lasting = {finding.name for finding in _causes(history)}
        if history.probes and gradients.fades(history.probes[-1]):  # also where dead filters are told, which may be why
            lasting.add("vanishing gradients")
        lines += [
            {"kind": "finding", "name": name, "withdrawn": True, "sentence": "It was noticed on the way; at the end of "
             "the run it is not found."} for name in sorted(noticed - lasting)
        ]  # fmt: skip
    noticed |= set(found)
    return lines


def healthy_words(history: History) -> str:
    """What was looked at, for a run in which nothing is wrong."""
    told = [f"{pluralize(len(history.looks), 'look')} in {pluralize(len(history.epochs), 'epoch')}"]
    if updates := history.updates():
        told.append(f"an update is {share(median(u for _, _, u in updates))} of the weights")
    if history.probes and (ends := gradients.ends(history.probes[-1])) is not None:
        (first, _), (last, _), ratio = ends
        told.append(f"|∂L/∂h| behind {first} is {ratio:.2g} of that behind {last}")
    if history.has_hardly_begun:
        told.append(f"the loss is {history.last_loss:.2f}, and one who guesses has {history.prior_entropy:.2f}")
    if history.predicts_one_class:
        told.append("val images all get one answer")
    told += [why for why in (unprobed(history), _unseen(history)) if why]
    told += [] if history.ended else ["the run is not at its end"]
    yet = "" if history.standing == HEALTHY else " yet"
    return f"{capitalize(history.standing)}: nothing was found{yet} ({'; '.join(told)})."


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


def _unseen(history: History) -> str:
    """That dead filters were not looked for, where a network has no module that would show them."""
    blind = history.probes and not any(probe["zeros"] for probe in history.probes)
    return "dead filters were not looked for: the network has no nn.ReLU" if blind else ""


def _lasting(history: History, check: Callable[[History, Line], Finding | None]) -> Finding | None:
    """What the probe before the first step shows, unless a later one, when there was time, shows it no more."""
    if not history.probes or history.probes[0]["step"] != 0:
        return None
    found = check(history, history.probes[0])
    if found is not None and history.has_had_time and check(history, history.probes[-1]) is None:
        return None
    return found


def _frozen(history: History) -> Finding | None:
    tuning = history.plan["arm"]["tuning"]
    if tuning == "full":
        return None
    what = {
        "frozen": "all layers but the head are frozen",
        "lp-ft": "all layers but the head are frozen at first",
    }.get(tuning, f"all but the head and the last {pluralize(int(tuning.partition(':')[2] or 0), 'stage')} are frozen")
    return Finding(
        "frozen by design", "", 0, 0.0, 0.0, f"By design {what} ({tuning}).",
        "They have no gradients because none are wanted.", "",
    )  # fmt: skip


def _norm(value: float | None) -> str:
    return number(math.inf if value is None else value)
