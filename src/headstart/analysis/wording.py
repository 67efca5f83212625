"""Word arms, numbers and splits for sentences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headstart.text import format_level, format_points

VerdictContent = Mapping[str, Any]  # content of verdict.json
# sentences after headline and evidence, in order
DETAIL_KEYS = ("budgets", "rows", "interim", "time", "labels", "width", "next_steps")


def arm_words(name: str) -> str:
    """Return an arm's name in words: `file:cifar10+frozen@adam` is "cifar10, frozen, with adam"."""
    name, _, varied = name.partition(",")
    start, *parts = bare_start(name).split("+")
    start, _, optimizer = start.partition("@") if not parts else (start, "", "")
    if parts:
        parts[-1], _, optimizer = parts[-1].partition("@")
    words = [_part_words(part) for part in parts]
    if all(part.startswith("mlp:") for part in parts) and not start.startswith("scratch"):
        words.insert(0, "fine-tuned")
    words += [f"with {optimizer}"] if optimizer else []
    return ", ".join([start, *words, *(varied.split(",") if varied else ())])


def bare_start(start: str) -> str:
    """Return the name of initial weights without the prefix `file:` or `run:`."""
    return re.sub(r"^(file|run):", "", start)


def _part_words(part: str) -> str:
    """Return a fine-tuning mode or a head in words."""
    kind, _, number = part.partition(":")
    if kind == "stages":
        return f"last {number} stages fine-tuned"
    return {"frozen": "frozen", "lp-ft": "head first, then fine-tuned"}.get(part, f"with the head {part}")


def splits(verdict: VerdictContent) -> tuple[str, str]:
    """Return the data's names of the selection split and the evaluation split, which runs call val and test.

    If the data declares only train and val, val is the evaluation split, and a part of train is the selection split.
    """
    return ("a part of train", "val") if verdict["evaluation"]["declared"] == "train+val" else ("val", "test")


def metric_words(verdict: VerdictContent) -> str:
    """Return the name of the metric of the verdict."""
    return "balanced accuracy" if verdict["metric"] == "balanced" else "accuracy"


def evaluation_images(verdict: VerdictContent) -> str:
    """Return what the images of the evaluation split are called: "test images"."""
    return f"{splits(verdict)[1]} images"


def interval(contrast: Mapping[str, Any]) -> str:
    """Return a contrast's interval in words: "95 % interval 4.0 to 8.2"."""
    low, high = format_points(contrast["low"]), format_points(contrast["high"])
    return f"{format_level(contrast['level'])} interval {low} to {high}"


def length_words(length: str) -> str:
    """Return a duration in words: `8ep` is "8 epochs", `1ep` "1 epoch"."""
    words = length.replace("ep", " epochs").replace("st", " steps")
    return words.removesuffix("s") if words.startswith("1 ") else words


def paragraph(sentences: Mapping[str, Any]) -> str:
    """Return the verdict's sentences as one paragraph, for the terminal."""
    keys = ("headline", "evidence", *DETAIL_KEYS, "limits")
    return " ".join(sentences[key] for key in keys if key in sentences)


def network_words(network: Mapping[str, Any]) -> str:
    """Return a plan's network in words, with its stem if that is small, and the components that are switched off."""
    stem = ["with a small stem"] if network["stem"] == "small" else []
    off = [
        f"without {component}"
        for component, value in (("shortcut", "off"), ("norm", "none"))
        if network[component] == value
    ]
    return " ".join([network["network"], *stem, *off])
