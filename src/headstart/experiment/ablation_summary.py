"""Summarize an ablation: the effect of each factor on accuracy and on gradient flow, and what prevents vanishing.

He et al. 2015 (arXiv:1512.03385) report that plain networks with BatchNorm have healthy gradients. Effects on accuracy
and on gradient flow are therefore separate numbers. Each is a simple effect: of one factor with all others equal.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from headstart.analysis.image_sample import ImageSample
from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.statistics import crossed_interval, paired_t_interval
from headstart.config.run_config import RunConfig
from headstart.experiment.ablation_cell import FactorialCell, read_cell
from headstart.experiment.ablation_grid import ABLATION_FILE, DEPTHS, NORMS, SHORTCUTS, read_ablation
from headstart.experiment.ablation_sentences import (
    EffectNumbers,
    describe_limits,
    describe_networks,
    effect_sentence,
    table_row,
)
from headstart.i18n import Message, translated
from headstart.printable import printable
from headstart.storage.files import JsonData
from headstart.storage.schemas.ablation import AblationCell, AblationEffect, AblationResult
from headstart.storage.schemas.study import Stage

EFFECT_COUNT = len(DEPTHS) * (len(NORMS) + len(SHORTCUTS))  # reported together
EFFECT_CONFIDENCE_LEVEL = 1 - 0.05 / EFFECT_COUNT  # Bonferroni: all intervals together hold with 95 %


@dataclass(frozen=True)
class AblationSummary:
    """The numbers of an ablation, and the sentences that describe them, which are its text.

    Examples:
        >>> summary = headstart.ablate("digits", epochs=1)  # doctest: +SKIP
        >>> summary.result.effects[0].accuracy  # doctest: +SKIP
    """

    result: AblationResult
    sentences: tuple[Message, ...]

    def __str__(self) -> str:
        return "\n".join(printable(translated(sentence)) for sentence in self.sentences)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_json(self) -> dict[str, JsonData]:
        """Return the numbers as JSON data, with the sentences in English."""
        return self.result.to_json()


def read_ablation_result(folder: Path) -> AblationResult | None:
    """Return the result of the ablation in a folder; None if it has none, or not all of its runs have ended.

    Raises:
        DataError: ablation.json, or a file of a run, is damaged.
        UsageError: The ablation cannot be declared any more.
    """
    if not (folder / ABLATION_FILE).is_file():
        return None
    study = read_ablation(folder).study
    by_variant: dict[str, list[RunRecord]] = {variant.name: [] for variant in study.variants}
    for run in sorted(runs_in(folder), key=lambda run: run.seed):
        if run.stage is Stage.ABLATION and run.done and run.seed in study.seed_range:
            by_variant.setdefault(run.arm, []).append(run)
    if any(len(runs) != len(study.seed_range) for runs in by_variant.values()):
        return None
    cells = [read_cell(runs) for runs in by_variant.values()]
    return summarize(cells, next(iter(by_variant.values()))[0].plan, folder).result


def summarize(cells: Sequence[FactorialCell], plan: RunConfig, folder: Path) -> AblationSummary:
    """Return the cells, the effect of each factor in each pair of cells, and sentences that describe them.

    Args:
        cells: All networks of the ablation.
        plan: Resolved configuration of one of the runs.
        folder: Folder of the runs.
    """
    depths = tuple(dict.fromkeys(cell.network for cell in cells))
    pairs = [
        _effect(switch, _find(cells, switch, "on", other), _find(cells, switch, "off", other))
        for switch, others in (("shortcut", NORMS), ("norm", SHORTCUTS))
        for other in product(depths, others)
    ]
    results = [
        AblationCell(
            network=cell.network,
            shortcut=cell.shortcut,
            norm=cell.norm,
            accuracy=cell.accuracy,
            gradient_ratio_before=_finite(cell.gradient_ratios[0]),
            gradient_ratio_after=_finite(cell.gradient_ratios[1]),
            findings=list(cell.findings),
            health=cell.health,
        )
        for cell in cells
    ]
    sentences = (
        describe_networks(cells, plan),
        *map(table_row, cells),
        *(sentence for _numbers, sentence in pairs),
        describe_limits(len(cells[0].correct), plan),
    )
    effects = [numbers for numbers, _sentence in pairs]
    return AblationSummary(
        AblationResult(cells=results, effects=effects, sentences=list(sentences), folder=str(folder)), sentences
    )


def _find(cells: Sequence[FactorialCell], switch: str, state: str, other: tuple[str, str]) -> FactorialCell:
    """Return the cell with a factor on or off; `other` is the depth and the state of the other factor."""
    network, rest = other
    key = (network, state, rest) if switch == "shortcut" else (network, rest, "batch" if state == "on" else "none")
    return next(cell for cell in cells if (cell.network, cell.shortcut, cell.norm) == key)


def _effect(switch: str, on: FactorialCell, off: FactorialCell) -> tuple[AblationEffect, Message]:
    """Return the effect of a factor on accuracy and on the gradient ratio, in numbers and as a sentence."""
    accuracy, low, high = _difference(on.correct.astype(float) - off.correct, on.units)
    before, after = (_decades(*ratios) for ratios in zip(on.gradient_ratios, off.gradient_ratios, strict=True))
    numbers = EffectNumbers(accuracy, low, high, EFFECT_CONFIDENCE_LEVEL, before, after)
    sentence = effect_sentence(switch, on, off, numbers)
    effect = AblationEffect(
        switch=switch,
        network=on.network,
        shortcut=on.shortcut if switch == "norm" else None,
        norm=on.norm if switch == "shortcut" else None,
        accuracy=accuracy,
        low=low,
        high=high,
        ratio_decades_before=_finite(before),
        ratio_decades_after=_finite(after),
        sentence=sentence,
    )
    return effect, sentence


def _difference(difference: np.ndarray, units: np.ndarray | None = None) -> tuple[float, float, float]:
    """Return the mean of [seeds, images] and its interval: over seeds and units, or of one seed over its units."""
    sample = ImageSample.equally_weighted(np.arange(difference.shape[1]) if units is None else units)
    values = sample.unit_values(difference)
    if sample.count < 2:
        return float(values.mean()), -1.0, 1.0
    if len(values) > 1:
        interval = crossed_interval(values, EFFECT_CONFIDENCE_LEVEL, spread=sample.spread)
        return interval.mean, interval.low, interval.high
    return paired_t_interval(values[0], EFFECT_CONFIDENCE_LEVEL, sample.spread)


def _decades(on: float, off: float) -> float:
    """Return the powers of ten from the gradient ratio `off` to `on`; NaN if either is unknown."""
    return math.log10(on / off) if on > 0 and off > 0 else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
