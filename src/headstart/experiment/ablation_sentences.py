"""The sentences of an ablation, from its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.analysis.wording import length_words
from headstart.config.run_config import RunConfig
from headstart.config.study_config import MIN_DECISIVE_SEEDS
from headstart.experiment.ablation_cell import ALWAYS, NEVER, FactorialCell
from headstart.i18n import Message, Value, _, join, ngettext, verbatim
from headstart.text import format_points

MIN_RATIO_DECADES = 1.0  # powers of ten between two gradient ratios on either side of the limit for vanishing
_VANISHING_WORDS = {
    ALWAYS: _("before and after training"),
    (True, False): _("before training only"),
    (False, True): _("after training only"),
    NEVER: _("neither before nor after training"),
}


@dataclass(frozen=True)
class EffectNumbers:
    """Effect of a factor in two networks.

    Attributes:
        accuracy: Difference of accuracies, 0 to 1: with the factor minus without it.
        low: Lower end of its interval.
        high: Upper end of its interval.
        level: Confidence level of the interval.
        decades_before: Powers of ten between the gradient ratios before training; NaN if unknown.
        decades_after: The same after training.
    """

    accuracy: float
    low: float
    high: float
    level: float
    decades_before: float
    decades_after: float


def describe_networks(cells: Sequence[FactorialCell], plan: RunConfig) -> Message:
    """Return sentences on the networks, their training and evaluation, and on the gradient ratio."""
    seeds, images = cells[0].correct.shape
    values: dict[str, Message] = {
        "networks": ngettext("{count:,} network", "{count:,} networks", len(cells)),
        "seeds": ngettext("{count:,} seed", "{count:,} seeds", seeds),
        "length": length_words(str(plan.recipe.epochs)),
        "images": ngettext("{count} image", "{count} images", images),
    }
    networks = (
        _("{networks}, {seeds}, {length}, evaluated on {images}.", **values)
        if plan.facts.split_counts.test
        else _(
            "{networks}, {seeds}, {length}, evaluated on {images} of val, which also selected each network's epoch.",
            **values,
        )
    )
    ratio = _("Gradient ratio: |∂L/∂h| behind the first block over that behind the last, before and after training.")
    return join([networks, ratio])


def table_row(cell: FactorialCell) -> Message:
    """Return the row of a network in the printed table."""
    return _(
        "  {network:9} norm {norm:6} shortcut {shortcut:4} {accuracy:5.1f} %   gradient ratio {before:.1e}  {after:.1e}"
        "  {health}",
        network=cell.network,
        norm=cell.norm,
        shortcut=cell.shortcut,
        accuracy=100 * cell.accuracy,
        before=cell.gradient_ratios[0],
        after=cell.gradient_ratios[1],
        health=cell.health,
    )


def describe_limits(seeds: int, plan: RunConfig) -> Message:
    """Return sentences on the conditions to which the results are limited."""
    values: dict[str, Value] = {
        "length": length_words(str(plan.recipe.epochs)),
        "optimizer": plan.recipe.optimizer,
        "learning_rate": plan.recipe.lr,
        "start": plan.arm.start,
    }
    limits = (
        _(
            "Limits: these images, {length}, {optimizer} at {learning_rate:g}, and initial weights {start}, for all "
            "networks; one seed: intervals contain the sampling error of the images, not that of the seed.",
            **values,
        )
        if seeds == 1
        else _(
            "Limits: these images, {length}, {optimizer} at {learning_rate:g}, and initial weights {start}, for all "
            "networks.",
            **values,
        )
    )
    if seeds >= MIN_DECISIVE_SEEDS:
        return limits
    return join([limits, _("Accuracies with fewer than {seeds} seeds are undecided.", seeds=MIN_DECISIVE_SEEDS)])


def effect_sentence(switch: str, on: FactorialCell, off: FactorialCell, numbers: EffectNumbers) -> Message:
    """Return a sentence on the effect of a factor on accuracy and on the gradient ratio."""
    decades = min(numbers.decades_before, numbers.decades_after)
    adds = numbers.low > 0 and len(on.correct) >= MIN_DECISIVE_SEEDS
    return _(
        "{networks}: with {factor} accuracy differs by {difference} percentage points ({level:.3g} % interval {low} to "
        "{high}), and the gradient ratio by {before} before training and {after} after it. {meaning}",
        networks=_compared_networks(switch, on),
        factor=_factor_name(switch),
        difference=format_points(numbers.accuracy, signed=True),
        level=100 * numbers.level,
        low=format_points(numbers.low),
        high=format_points(numbers.high),
        before=_decades_words(numbers.decades_before),
        after=_decades_words(numbers.decades_after),
        meaning=_meaning(switch, on, off, decades=decades, adds=adds),
    )


def _factor_name(switch: str) -> Message:
    return _("shortcuts") if switch == "shortcut" else verbatim("BatchNorm")


def _compared_networks(switch: str, cell: FactorialCell) -> Message:
    """Return what two networks have in common that differ in a factor."""
    if switch == "shortcut":
        if cell.norm == "batch":
            return _("Depth {depth}, with BatchNorm", depth=cell.depth)
        return _("Depth {depth}, without a norm", depth=cell.depth)
    if cell.shortcut == "on":
        return _("Depth {depth}, with shortcuts", depth=cell.depth)
    return _("Depth {depth}, without shortcuts", depth=cell.depth)


def _meaning(switch: str, on: FactorialCell, off: FactorialCell, *, decades: float, adds: bool) -> Message:
    """Return a sentence on the gradients of two networks, with and without a factor.

    `decades` are the powers of ten between their gradient ratios; `adds`: the factor improves accuracy significantly.
    """
    factor = _factor_name(switch)
    failure, other_failure = on.failure(factor, present=True), off.failure(factor, present=False)
    if failure and other_failure:
        return _("{first:cap} and {second}: gradients are not compared.", first=failure, second=other_failure)
    if failure or other_failure:
        return _("{failure:cap}: gradients are not compared.", failure=failure or other_failure)
    if off.vanishing == ALWAYS and on.vanishing == NEVER and decades >= MIN_RATIO_DECADES:
        return _prevention(switch)
    if off.vanishing == on.vanishing == ALWAYS:
        return _("The gradient vanishes with and without {factor}.", factor=factor)
    if not off.vanishing == on.vanishing == NEVER:
        return _(
            "With {factor} the gradient vanishes {when_with}; without {factor}, {when_without}.",
            factor=factor,
            when_with=_VANISHING_WORDS[on.vanishing],
            when_without=_VANISHING_WORDS[off.vanishing],
        )
    if adds:
        return _(
            "It does not vanish without {factor} either: the gain in accuracy with {factor} has another cause.",
            factor=factor,
        )
    if switch == "shortcut":
        return _("It does not vanish without shortcuts either: shortcuts make no difference to vanishing here.")
    return _("It does not vanish without BatchNorm either: BatchNorm makes no difference to vanishing here.")


def _prevention(switch: str) -> Message:
    """Return the sentence on a factor that prevents vanishing."""
    if switch == "shortcut":
        return _(
            "Without shortcuts the gradient vanishes, with shortcuts it does not: shortcuts prevent vanishing here."
        )
    return _("Without BatchNorm the gradient vanishes, with BatchNorm it does not: BatchNorm prevents vanishing here.")


def _decades_words(decades: float) -> Message:
    if math.isnan(decades):
        return _("an unknown factor")
    return _("a factor of 10^{exponent:.1f}", exponent=round(decades, 1) + 0)
