"""Word the details of a verdict: other budgets, labels, interim analyses, width, sample size, contrasts and limits."""

from __future__ import annotations

from headstart.analysis.contrasts import can_decide
from headstart.analysis.headline import flip_contrast
from headstart.analysis.wording import evaluation_images, interval, labels_share, length_words, named_words, splits
from headstart.config.study_config import MIN_DECISIVE_SEEDS, MIN_DECISIVE_UNITS
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.contrast import Contrast, Outcome, SampleSizeEstimate
from headstart.storage.schemas.verdict import Crossover, DataEfficiency, LabelEquivalence, VerdictNumbers
from headstart.text import format_level, format_percent, format_points, join_list


def rows_words(verdict: VerdictNumbers) -> Message:
    """Return the best learning rate for each combination of the other settings."""
    val = {arm.name: arm.val for arm in verdict.arms}
    best = [
        _("{arm} ({score})", arm=named_words(verdict, row.variant), score=format_percent(val[row.variant]))
        for row in verdict.grid_rows
    ]
    return _(
        "Best learning rate on {selection} for each combination of the other settings: {arms}.",
        selection=splits(verdict)[0],
        arms=join(best, "; "),
    )


def labels_words(verdict: VerdictNumbers) -> Message | None:
    """Return the label equivalence at the smallest fraction and where the curves cross, or None with one fraction."""
    efficiency = verdict.labels
    if efficiency is None:
        return None
    smallest = efficiency.equivalences[0]
    first, reference = named_words(verdict, efficiency.first), named_words(verdict, efficiency.reference)
    share, factors = labels_share(smallest.fraction), _factor_interval(efficiency, smallest)
    if smallest.factor is None and not smallest.more:
        text = _(
            "With {share}, the smallest fraction tested, {first} is less accurate than {reference}. "
            "For the accuracy of {first}, {reference} needs fewer labels {interval}.",
            share=share,
            first=first,
            reference=reference,
            interval=factors,
        )
    else:
        text = _(
            "With {share}, {first} is as accurate as {reference} with {labels} {interval}.",
            share=share,
            first=first,
            reference=reference,
            labels=_times_as_many(smallest),
            interval=factors,
        )
    return join([text, *([_crossing(efficiency, efficiency.crossover)] if efficiency.crossover else [])])


def _factor_interval(efficiency: DataEfficiency, equivalence: LabelEquivalence) -> Message:
    """Return the interval of a label equivalence, as a factor of the labels."""
    low, high = (None if end is None else f"{end:.2g}" for end in (equivalence.low, equivalence.high))
    return ngettext(
        "({level} interval over {count:,} seed: {low} to {high} times)",
        "({level} interval over {count:,} seeds: {low} to {high} times)",
        efficiency.n,
        level=format_level(efficiency.level),
        low=_("less than {factor:.2g}", factor=equivalence.min_factor) if low is None else low,
        high=_("more than {factor:.2g}", factor=equivalence.max_factor) if high is None else high,
    )


def _times_as_many(equivalence: LabelEquivalence) -> Message:
    """Return how many times as many labels the reference needs."""
    factor = equivalence.factor or equivalence.max_factor
    if equivalence.more:
        return _("more than {factor:.2g} times as many", factor=factor)
    if f"{factor:.2g}" == "1":
        return _("about as many")
    return _("about {factor:.2g} times as many", factor=factor)


def _crossing(efficiency: DataEfficiency, crossing: Crossover) -> Message:
    """Return where the learning curves cross."""
    least, most = (100 * efficiency.equivalences[end].fraction for end in (0, -1))
    low, high = (None if end is None else f"{100 * end:.3g} %" for end in (crossing.low, crossing.high))
    return _(
        "Their curves cross at {share} ({low} to {high}).",
        share=labels_share(crossing.fraction),
        low=_("less than {share:.3g} %", share=least) if low is None else low,
        high=_("more than {share:.3g} %", share=most) if high is None else high,
    )


def budgets_words(verdict: VerdictNumbers, contrast: Contrast) -> Message | None:
    """Return the result of the same two arms at the other training lengths, or None if there are none."""
    texts = []
    for condition in verdict.conditions:
        same = [other for other in condition.contrasts if other.pair == contrast.pair]
        if condition.fraction == verdict.fraction and same:
            shown = leader_first(same[0])
            texts.append(
                _(
                    "Exploratory: after {length} {outcome}, {mean} percentage points ({interval}).",
                    length=length_words(condition.budget),
                    outcome=_outcome(verdict, shown),
                    mean=format_points(shown.mean, signed=True),
                    interval=interval(shown),
                )
            )
    return join(texts) if texts else None


def interim_words(verdict: VerdictNumbers) -> Message | None:
    """Return which interim analyses were made and their result, or None if there were none."""
    analyses = verdict.interim
    if not analyses:
        return None
    last = analyses[-1]
    first, second = (named_words(verdict, name) for name in verdict.primary)
    images = evaluation_images(verdict)
    seeds = ngettext("{seeds} seed", "{seeds} seeds", last.n, seeds=join_list(str(analysis.n) for analysis in analyses))
    if last.stopped:
        return _(
            "As declared, the {images} were analyzed after {seeds}: {first} against {second} crossed the stopping "
            "boundary (p {p:.2g}, boundary {boundary:.2g}), and the study ended.",
            images=images,
            seeds=seeds,
            first=first,
            second=second,
            p=last.p,
            boundary=last.boundary,
        )
    return _(
        "As declared, the {images} were analyzed after {seeds}: {first} against {second} did not cross a stopping "
        "boundary (last p {p:.2g}, boundary {boundary:.2g}).",
        images=images,
        seeds=seeds,
        first=first,
        second=second,
        p=last.p,
        boundary=last.boundary,
    )


def width_words(verdict: VerdictNumbers, contrast: Contrast) -> Message:
    """Return how much of the interval's width is due to the seeds and how much to the evaluation images."""
    half, endless = (contrast.high - contrast.low) / 2, contrast.half_width_infinite_seeds
    clipped = contrast.low <= -1 or contrast.high >= 1
    split = splits(verdict)[1]
    if endless > 0.95 * half and not clipped:
        return _(
            "More seeds would hardly narrow the interval: its width is the sampling error of the {split} set.",
            split=split,
        )
    if clipped:
        interval_words = _(
            "With infinitely many seeds the interval would still be about ±{endless} percentage points",
            endless=format_points(endless),
        )
    else:
        interval_words = _(
            "With infinitely many seeds the interval would still be about ±{endless} instead of ±{half} percentage "
            "points",
            endless=format_points(endless),
            half=format_points(half),
        )
    if endless > 0.7 * half:
        return _("{interval}: most of the width is the sampling error of the {split} set.", interval=interval_words,
                 split=split)  # fmt: skip
    if endless < 0.3 * half:
        return _("{interval}: most of the width is the variation between seeds.", interval=interval_words)
    return _("{interval}.", interval=interval_words)


def sample_size_words(verdict: VerdictNumbers, contrast: Contrast) -> Message | None:
    """Return the seeds or images that would decide an undecided contrast; None if it is decided."""
    if not can_decide(contrast.n, contrast.g):
        return undecidable_words(verdict)
    if not contrast.sample_sizes:
        return None
    sizes = contrast.sample_sizes
    if all(size.seeds is None and size.units is None for size in sizes):
        sizes = sizes[:1]  # what is not enough for the margin is not enough for half of it
    return join([_size_words(verdict, contrast, size) for size in sizes])


def _size_words(verdict: VerdictNumbers, contrast: Contrast, size: SampleSizeEstimate) -> Message:
    """Return the seeds or images for one width of the interval of an undecided contrast."""
    ways = [_seed_range(*size.seeds)] if size.seeds is not None else []
    if size.units is not None:
        ways.append(_unit_range(*size.units, _unit_words(contrast, splits(verdict)[1])))
    half_width = 100 * size.half_width
    interval_words = (
        _("An interval of ±{half_width:.3g} percentage points, which always decides,", half_width=half_width)
        if size.half_width < verdict.margin
        else _("An interval of ±{half_width:.3g} percentage points", half_width=half_width)
    )
    if not ways:
        return _(
            "{interval} needs both more seeds and more {images}: neither alone is enough.",
            interval=interval_words,
            images=evaluation_images(verdict),
        )
    needs = ways[0] if len(ways) == 1 else _("{seeds}, or {images}", seeds=ways[0], images=ways[1])
    if size.seeds is None and 2 * contrast.half_width_infinite_seeds < contrast.high - contrast.mean:
        return ngettext(
            "{interval} needs about {needs} with this seed, or far fewer with more seeds.",
            "{interval} needs about {needs} with these {count:,} seeds, or far fewer with more seeds.",
            contrast.n,
            interval=interval_words,
            needs=needs,
        )
    return _("{interval} needs about {needs}.", interval=interval_words, needs=needs)


def _seed_range(low: int, high: int | None) -> Message:
    """Return a number of seeds: "12 seeds", "12 or more seeds" or "12 to 18 seeds"."""
    if high is None:
        return ngettext("{count:,} or more seeds", "{count:,} or more seeds", low)
    if low == high:
        return ngettext("{count:,} seed", "{count:,} seeds", low)
    return ngettext("{low:,} to {count:,} seed", "{low:,} to {count:,} seeds", high, low=low)


def _unit_range(low: int, high: int | None, units: Message) -> Message:
    """Return a number of units, which are several: "120 test images", "120 or more" or "120 to 180"."""
    if high is None:
        return _("{low:,} or more {units}", low=low, units=units)
    if low == high:
        return _("{low:,} {units}", low=low, units=units)
    return _("{low:,} to {high:,} {units}", low=low, high=high, units=units)


def _unit_words(contrast: Contrast, split: Message) -> Message:
    """Return what the units of the evaluation images are called: "test images", or "groups of test images"."""
    images = _("{split} images", split=split)
    return images if contrast.g == contrast.m else _("groups of {images}", images=images)


def undecidable_words(verdict: VerdictNumbers) -> Message:
    """Return what is missing for any decision: seeds, units of evaluation images, or both."""
    texts = [_more_seeds_words(verdict.n)] if verdict.n < MIN_DECISIVE_SEEDS else []
    if verdict.evaluation.units < MIN_DECISIVE_UNITS:
        texts.append(
            ngettext(
                "A decision needs at least {least} independent evaluation images or groups: there is {count}.",
                "A decision needs at least {least} independent evaluation images or groups: there are {count}.",
                verdict.evaluation.units,
                least=MIN_DECISIVE_UNITS,
            )
        )
    return join(texts)


def _more_seeds_words(n: int) -> Message:
    """Return how many seeds a decision needs.

    Args:
        n: Number of seeds of the study.
    """
    return ngettext(
        "A decision needs at least {count} seed: run at least {missing} more.",
        "A decision needs at least {count} seeds: run at least {missing} more.",
        MIN_DECISIVE_SEEDS,
        missing=MIN_DECISIVE_SEEDS - n,
    )


def contrast_words(verdict: VerdictNumbers, contrast: Contrast) -> Message:
    """Return a contrast in one line."""
    outcome, mean = _outcome(verdict, contrast), format_points(contrast.mean, signed=True)
    if contrast.primary:
        return _("{outcome}: {mean} percentage points ({interval}, primary, adjusted p {p:.2g})", outcome=outcome,
                 mean=mean, interval=interval(contrast), p=contrast.p_adjusted)  # fmt: skip
    return _("{outcome}: {mean} percentage points ({interval}, adjusted p {p:.2g})", outcome=outcome, mean=mean,
             interval=interval(contrast), p=contrast.p_adjusted)  # fmt: skip


def _outcome(verdict: VerdictNumbers, contrast: Contrast) -> Message:
    """Return the decision of a contrast in words: "a is better than b"."""
    first, second = named_words(verdict, contrast.first), named_words(verdict, contrast.second)
    return outcome_words(first, second, contrast.outcome)


def outcome_words(first: Message, second: Message, outcome: Outcome) -> Message:
    """Return a decision on two arms, which are given in words: "a is better than b"."""
    if outcome is Outcome.BETTER:
        return _("{first} is better than {second}", first=first, second=second)
    if outcome is Outcome.WORSE:
        return _("{first} is worse than {second}", first=first, second=second)
    if outcome is Outcome.EQUIVALENT:
        return _("{first} is equivalent to {second}", first=first, second=second)
    return _("undecided between {first} and {second}", first=first, second=second)


def limits(verdict: VerdictNumbers) -> Message:
    """Return what the verdict is limited to."""
    share = labels_share(verdict.fraction)
    if verdict.pooled:
        rates = _("the learning rates of the runs")
    elif not verdict.search:
        rates = _("the given learning rates")
    elif any(condition.fraction != verdict.fraction for condition in verdict.conditions):
        rates = _(
            "the learning rates that the search selected with {share}, which are also those of the smaller fractions",
            share=share,
        )
    else:
        rates = _("the learning rates that the search selected")
    network, length = verdict.network, length_words(verdict.budget)
    if verdict.fraction != 1:
        return _("This result holds for these images, {share}, {network}, {length} and {rates}.", share=share,
                 network=network, length=length, rates=rates)  # fmt: skip
    return _("This result holds for these images, {network}, {length} and {rates}.", network=network, length=length,
             rates=rates)  # fmt: skip


def leader_first(contrast: Contrast) -> Contrast:
    """Return the contrast with the arm that is ahead first."""
    return flip_contrast(contrast, contrast.first if contrast.mean >= 0 else contrast.second)
