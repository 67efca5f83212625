"""Histograms of weights and gradients over time as ridgelines, limited to the space on a page."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from headstart.errors import UsageError
from headstart.i18n import Message, _, join, ngettext, translated
from headstart.report.inputs import PageInputs
from headstart.report.layout import Figure, SectionContent
from headstart.report.series import PlottedRun
from headstart.report.svg.ridgelines import Ridge, ridgelines
from headstart.report.svg.sampling import subsample
from headstart.storage.files import JsonData
from headstart.storage.schemas.metrics import Histogram, SnapshotLine
from headstart.storage.schemas.schema import Schema
from headstart.text import replacement_hint

Kind = Literal["weights", "gradients"]
KINDS: tuple[Kind, ...] = ("weights", "gradients")
RunT = TypeVar("RunT", bound="WithSnapshots")
KIND_WORDS = {"weights": _("weights"), "gradients": _("gradients")}
RIDGE_CAPTION = _(
    "From bottom (first snapshot) to top (last), all on one scale. Heights are square roots of shares, so that tails "
    "are visible."
)
BATCH_GRADIENTS = _("Gradients are those of the batch at that step, before clipping. Frozen layers have no gradients.")
BINS = 48
MAX_SNAPSHOTS, MIN_SNAPSHOTS = 24, 2  # histograms drawn per layer
ENOUGH_SNAPSHOTS = 8  # below this, fewer runs are shown instead
MAX_HISTOGRAM_BYTES = 2_000_000  # JSON of all histograms on a page
LAYER_JSON_BYTES, SNAPSHOT_JSON_BYTES, RUN_JSON_BYTES = 124, 18, 64  # JSON without the heights and names


class WithSnapshots(Protocol):
    """A run with histograms: one of headstart's, or one that another program logged."""

    @property
    def name(self) -> Message:
        """Name on the page."""

    @property
    def arm(self) -> str:
        """Name of its arm."""

    @property
    def folder(self) -> Path:
        """Folder of its files."""

    @property
    def snapshots(self) -> Sequence[SnapshotLine]:
        """Lines with its histograms."""


class Ridges(Schema):
    """Histograms of one layer on a common scale."""

    low: float = Field(description="lower end of the scale")
    high: float = Field(description="upper end of the scale")
    steps: list[int] = Field(description="of the snapshots")
    epochs: list[int] = Field(description="of the snapshots; 0 if unknown")
    rows: str = Field(
        description="`BINS` heights for each snapshot as bytes in base64, where 255 is the highest of the layer"
    )
    non_finite: int = Field(description="number of snapshots without a finite value")


class RunHistograms(Schema):
    """Histograms of one run by layer; null for a layer without any finite value. Frozen layers have no gradients."""

    name: str = Field(description="name of the run in the reader's language")
    weights: dict[str, Ridges | None]
    gradients: dict[str, Ridges | None]


@dataclass(frozen=True)
class HistogramPanel(SectionContent):
    """Histograms on the page.

    Args:
        runs: The runs that are shown.
        omitted: Sentences on the runs without histograms, or None.
        gradients: Which gradients the histograms have.
    """

    template = "histograms.html"

    runs: Sequence[RunHistograms]
    omitted: Message | None = None
    gradients: Message = BATCH_GRADIENTS

    @property
    def data(self) -> Mapping[str, JsonData]:
        """The histograms, for the script that draws them."""
        return {"snapshots": [run.to_json() for run in self.runs]}


def histograms_section(inputs: PageInputs, max_bytes: int) -> HistogramPanel | None:
    """Return the histograms that fit in `max_bytes`; None if no run has histograms."""
    panel = fit_histograms(inputs.runs, inputs.preferred_runs, min(MAX_HISTOGRAM_BYTES, max_bytes))
    return panel if panel.runs or panel.omitted else None


def ridge_figures(runs: Sequence[PlottedRun], kind: Kind, layer: str = "") -> tuple[str, list[Figure]]:
    """Return the name of a layer, and what `layer_ridges` returns of it as figures."""
    layer, drawn = layer_ridges(runs, kind, layer)
    return layer, [_ridge_figure(run, kind, layer, of_layer) for run, of_layer in drawn]


def layer_ridges(
    runs: Sequence[PlottedRun], kind: Kind, layer: str = ""
) -> tuple[str, list[tuple[PlottedRun, Ridges]]]:
    """Return the name of a layer, and its histograms in each run on a common scale; runs without any are left out.

    Args:
        runs: Runs with snapshots.
        kind: "weights" or "gradients".
        layer: Name of the layer; "" is the first one, from the input, of which some run has histograms.

    Raises:
        UsageError: No run has a layer of that name.
    """
    by_run = {run.folder: ridges(run.snapshots, kind) for run in runs}
    # runs of arms with frozen layers have the gradients of some layers only, so that the weights give the order
    weights = [list(dict.fromkeys(name for line in run.snapshots for name in line.weights)) for run in runs]
    order = max(weights, key=len, default=[])
    layers = list(dict.fromkeys(name for of_run in by_run.values() for name, drawn in of_run.items() if drawn))
    layers.sort(key=lambda name: order.index(name) if name in order else len(order))
    if not layers:
        return layer, []
    layer = layer or layers[0]
    if layer not in layers:
        raise UsageError(
            _("There are no {kind} of a layer {layer!r}.", kind=KIND_WORDS[kind], layer=layer),
            replacement_hint(layer, layers) or _("Use one of {layers}.", layers=", ".join(layers)),
        )
    return layer, [(run, drawn) for run in runs if (drawn := by_run[run.folder].get(layer)) is not None]


def ridge_heights(of_layer: Ridges) -> npt.NDArray[np.float64]:
    """Return the heights [snapshots, `BINS`] of histograms, from 0 to 1: square roots of shares, on one scale."""
    return np.frombuffer(base64.b64decode(of_layer.rows), np.uint8).reshape(-1, BINS) / 255


def _ridge_figure(run: PlottedRun, kind: Kind, layer: str, of_layer: Ridges) -> Figure:
    """Return the histograms of a layer with their numbers: the share of the values in each bin, in per cent."""
    heights = ridge_heights(of_layer)
    times = [
        _("epoch {epoch}, step {step}", epoch=epoch, step=step)
        for epoch, step in zip(of_layer.epochs, of_layer.steps, strict=True)
    ]
    label = _("{kind:cap} of {layer} in {run}, by snapshot", kind=KIND_WORDS[kind], layer=layer, run=run.name)
    drawn = [Ridge(time, row.tolist()) for time, row in zip(times, heights, strict=True)]
    chart = ridgelines(drawn, low=of_layer.low, high=of_layer.high, label=label)
    edges = np.linspace(of_layer.low, of_layer.high, BINS + 1)
    shares = heights**2 / np.maximum((heights**2).sum(axis=1, keepdims=True), 1e-12)
    rows = [
        [f"{edges[index]:.3g}", f"{edges[index + 1]:.3g}", *(f"{100 * share:.1f}" for share in shares[:, index])]
        for index in range(BINS)
    ]
    return Figure(chart, RIDGE_CAPTION, [_("from"), _("to"), *times], rows, run.name)


def fit_histograms(
    runs: Sequence[WithSnapshots], first: Sequence[str] = (), max_bytes: int = MAX_HISTOGRAM_BYTES
) -> HistogramPanel:
    """Return histograms that fit on a page.

    If the histograms of all runs do not fit, each layer gets fewer snapshots. If fewer than `ENOUGH_SNAPSHOTS` fit,
    only one run per arm is shown.

    Args:
        runs: Runs of the page.
        first: Folder names of the runs that represent their arm, in order of preference. The first one starts the
            list.
        max_bytes: Bytes of JSON available.
    """
    preferred = first[0] if first else ""
    runs = sorted((run for run in runs if run.snapshots), key=lambda run: run.folder.name != preferred)
    count = _fitting_snapshots(runs, max_bytes)
    if count >= min(ENOUGH_SNAPSHOTS, max((len(run.snapshots) for run in runs), default=0)):
        return HistogramPanel(
            _("Each layer of each run, from the first step to the last"), [_histograms(run, count) for run in runs]
        )
    selected = one_per_arm(runs, first)
    while selected and not (count := _fitting_snapshots(selected, max_bytes)):
        selected.pop()
    finding = _("Each layer of some runs, from the first step to the last")
    return HistogramPanel(finding, [_histograms(run, count) for run in selected], _omitted_words(runs, selected))


def _omitted_words(runs: Sequence[WithSnapshots], selected: Sequence[WithSnapshots]) -> Message:
    """Return of which runs the page has histograms, if not of all."""
    arms = len({run.arm for run in runs})
    if not selected:
        shown = _("This page has the histograms of no run, to limit its size.")
    elif len(selected) == arms:
        shown = _("This page has the histograms of one run of each arm.")
    else:
        shown = ngettext(
            "This page has the histograms of one run of each of {shown} of {count} arm.",
            "This page has the histograms of one run of each of {shown} of {count} arms.",
            arms,
            shown=len(selected),
        )
    records = ngettext(
        "Those of all {count} run are in its record, for TensorBoard.",
        "Those of all {count} runs are in their records, for TensorBoard.",
        len(runs),
    )
    return join([shown, records])


def one_per_arm(runs: Sequence[RunT], first: Sequence[str]) -> list[RunT]:
    """Return one run of each arm, in the order of the arms."""
    rank = {name: index for index, name in enumerate(dict.fromkeys(first))}
    by_arm: dict[str, RunT] = {}
    for run in sorted(runs, key=lambda run: rank.get(run.folder.name, len(rank))):
        by_arm.setdefault(run.arm, run)
    return [by_arm[arm] for arm in dict.fromkeys(run.arm for run in runs)]


def _fitting_snapshots(runs: Sequence[WithSnapshots], max_bytes: int) -> int:
    """Return how many snapshots of each layer fit: at most `MAX_SNAPSHOTS`, and 0 if fewer than `MIN_SNAPSHOTS` fit."""
    names = [
        layer
        for run in runs
        for kind in KINDS
        for layer in {name for line in run.snapshots for name in _by_layer(line, kind)}
    ]
    fixed = sum(LAYER_JSON_BYTES + _json_bytes(name) for name in names)
    fixed += sum(RUN_JSON_BYTES + _json_bytes(translated(run.name)) for run in runs)
    count = int((max_bytes - fixed) / max(len(names) * (4 * -(-BINS // 3) + SNAPSHOT_JSON_BYTES), 1))
    return 0 if count < MIN_SNAPSHOTS else min(MAX_SNAPSHOTS, count)


def _json_bytes(text: str) -> int:
    """Return an upper bound of a text's bytes in the page's JSON, where a special character takes up to 12."""
    return sum(1 if (character.isalnum() and character.isascii()) or character in "., -_" else 12 for character in text)


def _histograms(run: WithSnapshots, count: int) -> RunHistograms:
    return RunHistograms(
        name=translated(run.name),
        weights=ridges(run.snapshots, "weights", count),
        gradients=ridges(run.snapshots, "gradients", count),
    )


def _by_layer(line: SnapshotLine, kind: Kind) -> dict[str, Histogram]:
    return line.weights if kind == "weights" else line.gradients


def ridges(
    snapshots: Sequence[SnapshotLine], kind: Kind, max_snapshots: int = MAX_SNAPSHOTS
) -> dict[str, Ridges | None]:
    """Return the histograms of each layer on a common scale.

    Args:
        snapshots: Snapshot lines of a run's record.
        kind: "weights" or "gradients".
        max_snapshots: Maximum number of histograms per layer.

    Returns:
        By layer; None for a layer without any finite value. Frozen layers have no gradients and are missing.
    """
    by_layer: dict[str, list[tuple[SnapshotLine, Histogram]]] = {}
    non_finite = Counter[str]()
    for line in snapshots:
        for layer, histogram in _by_layer(line, kind).items():
            rows = by_layer.setdefault(layer, [])
            if histogram.counts:
                rows.append((line, histogram))
            else:
                non_finite[layer] += 1
    return {
        layer: _ridges(subsample(rows, max_snapshots), non_finite[layer]) if rows else None
        for layer, rows in by_layer.items()
    }


def _shares(histogram: Histogram, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the share of the values in each of the bins between `edges`, which contain all values."""
    if histogram.low == histogram.high:
        return np.histogram([histogram.low], edges)[0].astype(np.float64)
    own_edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(histogram.counts)]) / histogram.n
    return np.diff(np.interp(edges, own_edges, cumulative))


def _ridges(rows: Sequence[tuple[SnapshotLine, Histogram]], non_finite: int) -> Ridges:
    """Return the histograms of one layer, from its (snapshot, histogram) pairs."""
    low = min(histogram.low for _line, histogram in rows)
    high = max(histogram.high for _line, histogram in rows)
    if low == high:
        margin = max(1e-3 * abs(low), 1e-12)
        low, high = low - margin, high + margin
    edges = np.linspace(low, high, BINS + 1)
    shares = [_shares(histogram, edges) for _line, histogram in rows]
    heights = np.sqrt(np.array(shares))  # square roots make the tails visible
    scaled = np.round(255 * heights / max(heights.max(), 1e-12)).astype(np.uint8)
    return Ridges(
        low=low,
        high=high,
        steps=[line.step for line, _histogram in rows],
        epochs=[line.epoch for line, _histogram in rows],
        rows=base64.b64encode(scaled.tobytes()).decode(),
        non_finite=non_finite,
    )
