"""What a verdict comes to: the contrast that its headline rests on, and the winner, where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart.analysis.statistics import ROUNDING
from headstart.analysis.wording import Verdict
from headstart.errors import DataError
from headstart.storage.files import read_json


def flip_contrast(contrast: dict[str, Any], first: str) -> dict[str, Any]:
    """The same contrast as `first` minus the other."""
    if contrast["first"] == first:
        return contrast
    other = {"better": "worse", "worse": "better"}
    return {
        **contrast,
        "first": contrast["second"],
        "second": contrast["first"],
        "outcome": other.get(contrast["outcome"], contrast["outcome"]),
        "mean": -contrast["mean"],
        "low": -contrast["high"],
        "high": -contrast["low"],
        "wins": contrast["losses"],
        "losses": contrast["wins"],
    }


def key_contrast(verdict: Verdict) -> dict[str, Any] | None:
    """The contrast that the headline rests on: the arm that val chose, and its rival. None with one seed."""
    wanted = {verdict["chosen"], verdict["rival"]}
    return next((dict(c) for c in verdict["contrasts"] if {c["first"], c["second"]} == wanted), None)


def headline_contrast(verdict: Verdict) -> dict[str, Any] | None:
    """`key_contrast` as it is told: the arm that is ahead comes first, of equals the one that val chose."""
    contrast = key_contrast(verdict)
    if contrast is None:
        return None
    mine = flip_contrast(contrast, verdict["chosen"])
    return mine if mine["mean"] >= -ROUNDING else flip_contrast(contrast, mine["second"])


def beaten_by(verdict: Verdict, arm: str) -> list[str]:
    """The arms that did better than `arm` on the images that judge, by contrasts that are decided."""
    seen = [flip_contrast(dict(c), arm) for c in verdict["contrasts"] if arm in (c["first"], c["second"])]
    return [one["second"] for one in seen if one["outcome"] == "worse"]


def winner_of(verdict: Verdict) -> str | None:
    """The arm that beat the other one of the headline's contrast and lost to none; None where there is no such arm."""
    seen = headline_contrast(verdict)
    if seen is None or seen["outcome"] != "better" or beaten_by(verdict, seen["first"]):
        return None
    return str(seen["first"])


def read_verdict(folder: Path) -> dict[str, Any]:
    """verdict.json of the study in `folder`, also one from before `chosen`. Raises DataError where there is none."""
    if (folder / "study.toml").exists() and not (folder / "verdict.json").exists():
        raise DataError(f"{folder} has not come to its verdict.", f"Go on with it: `headstart resume {folder}`.")
    content: dict[str, Any] = read_json(folder / "verdict.json")
    if "chosen" in content:
        return content
    conditions = [_with_chosen(condition) for condition in content.get("conditions", ())]
    return {**_with_chosen(content), "conditions": conditions}


def _with_chosen(condition: Verdict) -> dict[str, Any]:
    """A verdict, or another of its conditions, in which `winner` was what val had chosen, whatever came of it."""
    chosen, (first, second) = condition["winner"], condition["primary"]
    rival = condition["rival"] if condition["rival"] != chosen else first if chosen == second else second
    found = {**condition, "chosen": chosen, "rival": rival}
    return {**found, "winner": winner_of(found)}
