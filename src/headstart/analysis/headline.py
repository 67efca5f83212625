"""Select the contrast that the headline of a verdict rests on, and the winner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.analysis.statistics import ROUNDING_ERROR
from headstart.analysis.wording import VerdictContent


def flip_contrast(contrast: dict[str, Any], first: str) -> dict[str, Any]:
    """Return the contrast as `first` minus the other arm."""
    if contrast["first"] == first:
        return contrast
    opposite = {"better": "worse", "worse": "better"}
    return {
        **contrast,
        "first": contrast["second"],
        "second": contrast["first"],
        "outcome": opposite.get(contrast["outcome"], contrast["outcome"]),
        "mean": -contrast["mean"],
        "low": -contrast["high"],
        "high": -contrast["low"],
        "wins": contrast["losses"],
        "losses": contrast["wins"],
    }


def key_contrast(verdict: VerdictContent) -> dict[str, Any] | None:
    """Return the contrast of the arm selected on val with its comparator, or None with one seed."""
    pair = {verdict["selected"], verdict["comparator"]}
    return next((dict(c) for c in verdict["contrasts"] if {c["first"], c["second"]} == pair), None)


def headline_contrast(verdict: VerdictContent) -> dict[str, Any] | None:
    """Return `key_contrast` with the better arm first; of equal arms the one that was selected on val."""
    contrast = key_contrast(verdict)
    if contrast is None:
        return None
    contrast = flip_contrast(contrast, verdict["selected"])
    return contrast if contrast["mean"] >= -ROUNDING_ERROR else flip_contrast(contrast, contrast["second"])


def arm_of(verdict: VerdictContent, name: str) -> Mapping[str, Any]:
    """Return the results of the arm `name`."""
    arm: Mapping[str, Any] = next(arm for arm in verdict["arms"] if arm["name"] == name)
    return arm


def beaten_by(verdict: VerdictContent, arm: str) -> list[str]:
    """Return the arms that are better than `arm` on the evaluation images, by decided contrasts."""
    contrasts = [flip_contrast(dict(c), arm) for c in verdict["contrasts"] if arm in (c["first"], c["second"])]
    return [contrast["second"] for contrast in contrasts if contrast["outcome"] == "worse"]


def winner_of(verdict: VerdictContent) -> str | None:
    """Return the arm that is better in the headline's contrast and worse in none, or None."""
    contrast = headline_contrast(verdict)
    if contrast is None or contrast["outcome"] != "better" or beaten_by(verdict, contrast["first"]):
        return None
    return str(contrast["first"])
