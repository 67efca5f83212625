"""Word a verdict in sentences. Every number in a sentence is a field of the verdict, rounded."""

from __future__ import annotations

from headstart.analysis.headline import beaten_by, flip_contrast, headline_contrast
from headstart.analysis.notes import notes
from headstart.analysis.wording import (
    arm_words,
    evaluation_images,
    interval,
    length_words,
    metric_words,
    named_words,
    splits,
)
from headstart.config.study_config import MIN_DECISIVE_SEEDS
from headstart.storage.schemas.verdict import Contrast, Outcome, Sentences, TimeToTarget, VerdictNumbers
from headstart.text import capitalize, format_level, format_percent, format_points, join_list, pluralize


def verdict_sentences(verdict: VerdictNumbers) -> Sentences:
    """Return the verdict in words."""
    contrast = headline_contrast(verdict)
    rows = rows_words(verdict) if len(verdict.grid_rows) > 1 else None
    if contrast is None:
        return Sentences(
            headline="Undecided.",
            evidence=best_on_val(verdict),
            rows=rows,
            next_steps=_more_seeds(1),
            notes=notes(verdict),
            limits=limits(verdict),
        )
    others = [other for other in verdict.contrasts if other.pair != contrast.pair]
    return Sentences(
        headline=headline(verdict, contrast),
        evidence=evidence(verdict, contrast),
        time=time_words(verdict, contrast),
        interim=interim_words(verdict),
        labels=labels_words(verdict),
        rows=rows,
        budgets=budgets_words(verdict, contrast),
        width=width_words(verdict, contrast),
        next_steps=sample_size_words(verdict, contrast),
        others=[contrast_words(verdict, flip_contrast(other, _leader(other))) for other in others],
        notes=notes(verdict),
        limits=limits(verdict),
    )


def best_on_val(verdict: VerdictNumbers) -> str:
    """Return which arms have the highest mean on val; the evidence of a verdict with one seed."""
    best = max(arm.val for arm in verdict.arms)
    names = [arm_words(arm.spec) for arm in verdict.arms if arm.val == best]
    metric, selection = metric_words(verdict), splits(verdict)[0]
    if len(names) > 1:
        return f"{capitalize(join_list(names))} had the same {metric} on {selection}."
    return f"{capitalize(names[0])} had the highest {metric} on {selection}."


def headline(verdict: VerdictNumbers, contrast: Contrast) -> str:
    """Return the recommendation in one short sentence.

    Args:
        verdict: The verdict.
        contrast: The headline's contrast, with the better arm first.
    """
    first, second, selected = (
        named_words(verdict, name) for name in (contrast.first, contrast.second, verdict.selected)
    )
    selection, evaluation = splits(verdict)
    if losses := _losses(verdict, contrast):
        disagree = f"Selection on {selection} and evaluation on {evaluation} give different arms"
        return f"{disagree}: {selection} selected {selected}; on {evaluation} {'; '.join(losses)}."
    if contrast.outcome is Outcome.BETTER and verdict.selected != contrast.first:
        return f"Use {first}, although {selection} selected {selected}."
    if contrast.outcome is Outcome.BETTER:
        return f"Use {first}."
    if all(len(verdict.arm(name).diverged) == contrast.n for name in contrast.pair):
        return f"Undecided: every run of {first} and of {second} diverged."
    if contrast.outcome is Outcome.EQUIVALENT:
        return f"{capitalize(first)} and {second} are equivalent: they differ by less than the equivalence margin."
    return f"Undecided between {first} and {second}."


def _losses(verdict: VerdictNumbers, contrast: Contrast) -> list[str]:
    """Return which arms were worse than which, if the headline's arm was worse than a third one; else nothing."""
    named = contrast.first if contrast.outcome is Outcome.BETTER else verdict.selected
    better = beaten_by(verdict.contrasts, named)
    if not better:
        return []
    texts = [f"{named_words(verdict, named)} was worse than {join_list(named_words(verdict, name) for name in better)}"]
    if named != verdict.selected:
        texts.insert(0, f"{named_words(verdict, contrast.second)} was worse than {named_words(verdict, named)}")
    return texts


def evidence(verdict: VerdictNumbers, contrast: Contrast) -> str:
    """Return the difference with its interval, n and m, and on how many paired seeds it had that sign."""
    first, second = named_words(verdict, contrast.first), named_words(verdict, contrast.second)
    images = evaluation_images(verdict)
    mean = f"{format_points(contrast.mean, signed=True)} percentage points"
    difference = f"{mean} ({interval(contrast)}) on {contrast.m} {images}"
    equal_seeds = contrast.n - contrast.wins - contrast.losses
    seeds = f"{contrast.wins} of {pluralize(contrast.n, 'paired seed')}"
    margin = f"±{format_points(verdict.margin)} percentage points"
    if contrast.outcome is Outcome.BETTER:
        is_headline = verdict.selected == contrast.first and not _losses(verdict, contrast)
        text = f"{'It' if is_headline else capitalize(first)} was better than {second} on {seeds}: {difference}"
        if contrast.by_less_than_margin:
            text += f"; possibly by less than the equivalence margin of {margin}"
        return text + "."
    margin = f"the equivalence margin is {margin}"
    inside = -verdict.margin <= contrast.low and contrast.high <= verdict.margin
    if inside and contrast.outcome is Outcome.UNDECIDED and contrast.n >= MIN_DECISIVE_SEEDS:
        margin += f", but so few {images} can miss a larger difference"
    seeds += f", equal on {equal_seeds}" if equal_seeds else ""
    text = f"{capitalize(first)} had higher {metric_words(verdict)} than {second} on {seeds}: {difference}; {margin}"
    if equal_seeds == contrast.n:
        same = f"had the same {metric_words(verdict)} on every seed"
        text = f"{capitalize(first)} and {second} {same}: {difference}; {margin}"
    return f"{text}.{_selected_another(verdict, contrast)}"


def _selected_another(verdict: VerdictNumbers, contrast: Contrast) -> str:
    """Return which arm val selected, if the contrast is undecided and the other arm is ahead."""
    ahead, selected = verdict.arm(contrast.first), verdict.arm(verdict.selected)
    if contrast.outcome is not Outcome.UNDECIDED or ahead.val >= selected.val or _losses(verdict, contrast):
        return ""
    return f" {capitalize(splits(verdict)[0])} selected {arm_words(selected.spec)}."


def rows_words(verdict: VerdictNumbers) -> str:
    """Return the best learning rate for each combination of the other settings."""
    val = {arm.name: arm.val for arm in verdict.arms}
    best = [f"{named_words(verdict, row.variant)} ({format_percent(val[row.variant])})" for row in verdict.grid_rows]
    settings = "for each combination of the other settings"
    return f"Best learning rate on {splits(verdict)[0]} {settings}: {'; '.join(best)}."


def time_words(verdict: VerdictNumbers, contrast: Contrast) -> str | None:
    """Return when each of the two arms reached the target, or None without a target."""
    names = [contrast.first, contrast.second]
    times: dict[str, TimeToTarget] = {}
    for name in names:
        to_target = verdict.arm(name).to_target
        if to_target is None:
            return None
        times[name] = to_target.epochs
    target = f"{100 * verdict.target:.3g} % on {splits(verdict)[0]}"
    if not any(time.reached for time in times.values()):
        arms = " nor ".join(named_words(verdict, name) for name in names)
        return f"Neither {arms} reached {target} on any of {times[names[0]].n} seeds."
    censored = any(time.median is not None and time.reached < time.n for time in times.values())
    texts = {}
    for name, time in times.items():
        texts[name] = f"on {time.reached} of {pluralize(time.n, 'seed')} only" if time.reached else "never"
        if time.median is not None:
            texts[name] = median_words(time, every_run=not censored)
    names.sort(key=lambda name: not times[name].reached)  # an arm that reached the target comes first
    first, second = (named_words(verdict, name) for name in names)
    text = f"{capitalize(first)} reached {target} {texts[names[0]]}, {second} {texts[names[1]]}"
    medians = 0 if censored else sum(time.median is not None for time in times.values())
    return text + {0: ".", 1: " (median over seeds).", 2: " (medians over seeds)."}[medians]


def median_words(time: TimeToTarget, *, every_run: bool) -> str:
    """Return a median time in epochs: "after 7 epochs (median; reached on 3 of 5 seeds)".

    Args:
        time: Median time to the target in epochs, as in the verdict.
        every_run: Every run reached the target, so that the number of those that did is left out.
    """
    text = f"after {time.median:g} epoch{'s' if time.median != 1 else ''}"
    return text if every_run else f"{text} (median; reached on {time.reached} of {pluralize(time.n, 'seed')})"


def labels_words(verdict: VerdictNumbers) -> str | None:
    """Return the label equivalence at the smallest fraction and where the curves cross, or None with one fraction."""
    efficiency = verdict.labels
    if efficiency is None:
        return None
    smallest = efficiency.equivalences[0]
    first, reference = named_words(verdict, efficiency.first), named_words(verdict, efficiency.reference)
    low = f"{smallest.low:.2g}" if smallest.low is not None else f"less than {smallest.min_factor:.2g}"
    high = f"{smallest.high:.2g}" if smallest.high is not None else f"more than {smallest.max_factor:.2g}"
    level = f"{format_level(efficiency.level)} interval over {pluralize(efficiency.n, 'seed')}"
    interval_words = f"({level}: {low} to {high} times)"
    share = f"{100 * smallest.fraction:.3g} % of the labels"
    if smallest.factor is None and not smallest.more:
        text = (
            f"With {share}, the smallest fraction tested, {first} is less accurate than {reference}. "
            f"For the accuracy of {first}, {reference} needs fewer labels {interval_words}."
        )
    else:
        factor = f"{smallest.factor or smallest.max_factor:.2g}"
        labels = f"{'more than' if smallest.more else 'about'} {factor} times as many"
        labels = "about as many" if labels == "about 1 times as many" else labels
        text = f"With {share}, {first} is as accurate as {reference} with {labels} {interval_words}."
    if (crossing := efficiency.crossover) is None:
        return text
    least, most = (f"{100 * efficiency.equivalences[end].fraction:.3g} %" for end in (0, -1))
    low = f"less than {least}" if crossing.low is None else f"{100 * crossing.low:.3g} %"
    high = f"more than {most}" if crossing.high is None else f"{100 * crossing.high:.3g} %"
    return f"{text} Their curves cross at {100 * crossing.fraction:.3g} % of the labels ({low} to {high})."


def budgets_words(verdict: VerdictNumbers, contrast: Contrast) -> str | None:
    """Return the result of the same two arms at the other training lengths, or None if there are none."""
    texts = []
    for condition in verdict.conditions:
        same = [other for other in condition.contrasts if other.pair == contrast.pair]
        if condition.fraction == verdict.fraction and same:
            shown = flip_contrast(same[0], _leader(same[0]))
            difference = f"{format_points(shown.mean, signed=True)} percentage points ({interval(shown)})"
            texts.append(f"After {length_words(condition.budget)} {_outcome(verdict, shown)}: {difference}.")
    return " ".join(texts) or None


def interim_words(verdict: VerdictNumbers) -> str | None:
    """Return which interim analyses were made and their result, or None if there were none."""
    analyses = verdict.interim
    if not analyses:
        return None
    seeds = join_list(str(analysis.n) for analysis in analyses)
    text = f"As declared, the {evaluation_images(verdict)} were analyzed after {seeds} seeds"
    last = analyses[-1]
    primary = " against ".join(named_words(verdict, name) for name in verdict.primary)
    p = f"p {last.p:.2g}, boundary {last.boundary:.2g}"
    if last.stopped:
        return f"{text}: {primary} crossed the stopping boundary ({p}), and the study ended."
    return f"{text}: {primary} did not cross a stopping boundary (last {p})."


def width_words(verdict: VerdictNumbers, contrast: Contrast) -> str:
    """Return how much of the interval's width is due to the seeds and how much to the evaluation images."""
    half, endless = (contrast.high - contrast.low) / 2, contrast.half_width_infinite_seeds
    clipped = contrast.low <= -1 or contrast.high >= 1
    sampling = f"the sampling error of the {splits(verdict)[1]} set"
    if endless > 0.95 * half and not clipped:
        return f"More seeds would hardly narrow the interval: its width is {sampling}."
    text = f"With infinitely many seeds the interval would still be about ±{format_points(endless)}"
    text += " percentage points" if clipped else f" instead of ±{format_points(half)} percentage points"
    if endless > 0.7 * half:
        return f"{text}: most of the width is {sampling}."
    return f"{text}: most of the width is the variation between seeds." if endless < 0.3 * half else f"{text}."


def sample_size_words(verdict: VerdictNumbers, contrast: Contrast) -> str | None:
    """Return the seeds or images that would decide an undecided contrast; None if it is decided."""
    if contrast.n < MIN_DECISIVE_SEEDS:
        return _more_seeds(contrast.n)
    size = contrast.sample_size
    if size is None:
        return None
    images = evaluation_images(verdict)
    half_width = f"±{100 * size.half_width:.3g} percentage points"
    ways = []
    for need, name in ((size.seeds, "seeds"), (size.images, images)):
        if need is not None:
            low, high = need
            count = f"{low:,}" if high == low else f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
            ways.append(f"{count} {name}")
    if not ways:
        return f"An interval of {half_width} needs both more seeds and more {images}: neither alone is enough."
    text = f"An interval of {half_width} needs about {', or '.join(ways)}"
    if size.seeds is None and 2 * contrast.half_width_infinite_seeds < contrast.high - contrast.mean:
        return f"{text} with these {pluralize(contrast.n, 'seed')}, or far fewer with more seeds."
    return f"{text}."


def _more_seeds(n: int) -> str:
    return f"A decision needs at least {MIN_DECISIVE_SEEDS} seeds: run at least {MIN_DECISIVE_SEEDS - n} more."


def contrast_words(verdict: VerdictNumbers, contrast: Contrast) -> str:
    """Return a contrast in one line."""
    p = f"primary, p {contrast.p:.2g}" if contrast.primary else f"Holm p {contrast.p_adjusted:.2g}"
    mean = f"{format_points(contrast.mean, signed=True)} percentage points"
    return f"{_outcome(verdict, contrast)}: {mean} ({interval(contrast)}, {p})"


def _outcome(verdict: VerdictNumbers, contrast: Contrast) -> str:
    """Return the decision in words: "a is better than b"."""
    words = {
        Outcome.BETTER: "better than",
        Outcome.WORSE: "worse than",
        Outcome.EQUIVALENT: "equivalent to",
        Outcome.UNDECIDED: "undecided against",
    }
    return (
        f"{named_words(verdict, contrast.first)} is {words[contrast.outcome]} {named_words(verdict, contrast.second)}"
    )


def limits(verdict: VerdictNumbers) -> str:
    """Return what the verdict is limited to."""
    searched = verdict.search is not None
    rates = "the learning rates that the search selected" if searched else "the given learning rates"
    percentage = f"{100 * verdict.fraction:.3g} % of the labels"
    share = f", {percentage}" if verdict.fraction != 1 else ""
    if searched and any(condition.fraction != verdict.fraction for condition in verdict.conditions):
        rates += f" with {percentage}, which are also those of the smaller fractions"
    conditions = f"these images{share}, {verdict.network}, {length_words(verdict.budget)}"
    return f"This result holds for {conditions} and {rates}."


def _leader(contrast: Contrast) -> str:
    return contrast.first if contrast.mean >= 0 else contrast.second
