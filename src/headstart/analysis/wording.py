"""What arms, numbers and splits are called: the words of which sentences are made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headstart.text import level_words, points

Verdict = Mapping[str, Any]
MORE = ("budgets", "rows", "interim", "time", "labels", "width", "next_steps")  # sentences after headline and evidence


def arm_words(name: str) -> str:
    """`file:cifar10+frozen@adam` is "cifar10, frozen, with adam"."""
    name, _, varied = name.partition(",")
    start, *parts = bare_start(name).split("+")
    start, _, optimizer = start.partition("@") if not parts else (start, "", "")
    if parts:
        parts[-1], _, optimizer = parts[-1].partition("@")
    said = [_part_words(part) for part in parts]
    if all(part.startswith("mlp:") for part in parts) and not start.startswith("scratch"):
        said.insert(0, "fine-tuned")
    said += [f"with {optimizer}"] if optimizer else []
    return ", ".join([start, *said, *(varied.split(",") if varied else ())])


def bare_start(start: str) -> str:
    """A start without the kind that its name needs no more: `file:a` is "a"."""
    return re.sub(r"^(file|run):", "", start)


def _part_words(part: str) -> str:
    """A tuning or a head of an arm."""
    kind, _, number = part.partition(":")
    if kind == "stages":
        return f"last {number} stages fine-tuned"
    return {"frozen": "frozen", "lp-ft": "head first, then fine-tuned"}.get(part, f"with the head {part}")


def splits(verdict: Verdict) -> tuple[str, str]:
    """What the data calls the images that chose and those that judged: runs call them val and test.

    Where the data declares train and val alone, val judges, and a part of train chooses.
    """
    return ("a part of train", "val") if verdict["evaluation"]["declared"] == "train+val" else ("val", "test")


def metric_words(verdict: Verdict) -> str:
    """What the numbers of the arms are."""
    return "balanced accuracy" if verdict["metric"] == "balanced" else "accuracy"


def judged(verdict: Verdict) -> str:
    """What the images that judge are called."""
    return f"{splits(verdict)[1]} images"


def interval(seen: Mapping[str, Any]) -> str:
    """`95 % interval 4.0 to 8.2`."""
    return f"{level_words(seen['level'])} interval {points(seen['low'])} to {points(seen['high'])}"


def length_words(length: str) -> str:
    """`8ep` is "8 epochs", `1ep` "1 epoch"."""
    words = length.replace("ep", " epochs").replace("st", " steps")
    return words.removesuffix("s") if words.startswith("1 ") else words


def paragraph(said: Mapping[str, Any]) -> str:
    """The verdict as one paragraph, for the terminal."""
    return " ".join(said[key] for key in ("headline", "evidence", *MORE, "limits") if key in said)


def network_words(network: Mapping[str, Any]) -> str:
    """A plan's network with what it is without, and its stem where that is small."""
    stem = ["with a small stem"] if network["stem"] == "small" else []
    without = [f"without {what}" for what, off in (("shortcut", "off"), ("norm", "none")) if network[what] == off]
    return " ".join([network["network"], *stem, *without])
