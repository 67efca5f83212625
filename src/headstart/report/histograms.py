"""Histograms over time as ridgelines, as many as a page has room for."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.report.series import PlottedRun
from headstart.report.svg.charts import subsample

KINDS = ("weights", "gradients")
BINS = 48
MOST_LOOKS, ENOUGH_LOOKS, FEWEST_LOOKS = 24, 8, 2  # of a layer that are drawn; below enough, fewer runs are shown
MOST_BYTES = 2_000_000  # of all histograms on a page
OF_LAYER, OF_LOOK, OF_RUN = 124, 18, 64  # bytes of JSON beside the heights: ends of the scale, steps and epochs, names


@dataclass(frozen=True)
class HistogramPanel:
    """What is on the page: a `name` and, by kind, the layers of each run; `left_out` is "" or says what is not."""

    runs: Sequence[Mapping[str, Any]]
    left_out: str = ""


def shown(runs: Sequence[PlottedRun], first: Sequence[str] = (), room: int = MOST_BYTES) -> HistogramPanel:
    """The histograms of every run, in `room` bytes of JSON: with fewer looks, then of one run of each arm alone.

    `first` names folders of runs that stand for their arm, the most wanted first: that one begins the list.
    """
    wanted = first[0] if first else ""
    runs = sorted((run for run in runs if run.looks), key=lambda run: run.run.folder.name != wanted)
    looks = _looks_that_fit(runs, room)
    if looks >= min(ENOUGH_LOOKS, max((len(run.looks) for run in runs), default=0)):
        return HistogramPanel([_histograms(run, looks) for run in runs])
    chosen = _one_of_each(runs, first)
    while chosen and not (looks := _looks_that_fit(chosen, room)):
        chosen.pop()
    arms = len({run.arm for run in runs})
    told = "one run of each arm" if len(chosen) == arms else f"{len(chosen)} of {arms} arms, one run of each"
    left = f"There is room for {told}. The records of all {len(runs)} runs hold theirs; TensorBoard shows them."
    return HistogramPanel([_histograms(run, looks) for run in chosen], left)


def _one_of_each(runs: Sequence[PlottedRun], first: Sequence[str]) -> list[PlottedRun]:
    """A run of each arm, in the order of the arms."""
    order = {name: at for at, name in enumerate(dict.fromkeys(first))}
    found: dict[str, PlottedRun] = {}
    for run in sorted(runs, key=lambda run: order.get(run.run.folder.name, len(order))):
        found.setdefault(run.arm, run)
    return [found[arm] for arm in dict.fromkeys(run.arm for run in runs)]


def _looks_that_fit(runs: Sequence[PlottedRun], room: int) -> int:
    """How many looks of each layer the room has: `MOST_LOOKS` or fewer, 0 where there are not even `FEWEST_LOOKS`."""
    names = [layer for run in runs for kind in KINDS for layer in {name for look in run.looks for name in look[kind]}]
    fixed = sum(OF_LAYER + _length(name) for name in names) + sum(OF_RUN + _length(run.name) for run in runs)
    looks = int((room - fixed) / max(len(names) * (4 * -(-BINS // 3) + OF_LOOK), 1))
    return 0 if looks < FEWEST_LOOKS else min(MOST_LOOKS, looks)


def _length(text: str) -> int:
    """Of a text in the page's JSON at most: what is not ASCII, or would be markup, stands there as `\\u003c`."""
    return sum(1 if (one.isalnum() and one.isascii()) or one in "., -_" else 12 for one in text)


def _histograms(run: PlottedRun, looks: int) -> dict[str, Any]:
    return {"name": run.name, **{kind: ridges(run.looks, kind, looks) for kind in KINDS}}


def ridges(looks: Sequence[Mapping[str, Any]], kind: str, most: int = MOST_LOOKS) -> dict[str, dict[str, Any] | None]:
    """By layer: histograms of `most` looks on one scale, as bytes in base64, with the scale's ends, steps and epochs.

    Each look is one row of `BINS` heights, 255 being the highest of the layer; `lost` counts looks without a finite
    value. A layer that never had one is None; one that is frozen has no gradients and is not there.
    """
    by_layer: dict[str, list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    lost = Counter[str]()
    for look in looks:
        for layer, histogram in look[kind].items():
            rows = by_layer.setdefault(layer, [])
            if histogram["counts"]:
                rows.append((look, histogram))
            else:
                lost[layer] += 1
    return {
        layer: _ridge(subsample(rows, most)) | {"lost": lost[layer]} if rows else None
        for layer, rows in by_layer.items()
    }


def _ridge(rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, Any]:
    low, high = min(h["low"] for _, h in rows), max(h["high"] for _, h in rows)
    edges = np.linspace(low, high if high > low else low + 1e-12, BINS + 1)
    drawn = []
    for _, histogram in rows:
        own = np.linspace(histogram["low"], histogram["high"], len(histogram["counts"]) + 1)
        share = np.concatenate([[0.0], np.cumsum(histogram["counts"])]) / histogram["n"]
        drawn.append(np.diff(np.interp(edges, own, share)))  # a histogram's share between the edges
    heights = np.sqrt(np.array(drawn))  # the tails are what one looks for
    scaled = np.round(255 * heights / max(heights.max(), 1e-12)).astype(np.uint8)
    return {
        "low": float(low),
        "high": float(high),
        "steps": [look["step"] for look, _ in rows],
        "epochs": [look["epoch"] for look, _ in rows],
        "rows": base64.b64encode(scaled.tobytes()).decode(),
    }
