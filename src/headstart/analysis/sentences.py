"""Word a verdict in sentences. Every number in a sentence is a field of the verdict, rounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.analysis.headline import arm_of, beaten_by, flip_contrast, headline_contrast
from headstart.analysis.notes import notes
from headstart.analysis.wording import (
    VerdictContent,
    arm_words,
    evaluation_images,
    interval,
    length_words,
    metric_words,
    splits,
)
from headstart.config.study_config import MIN_DECISIVE_SEEDS
from headstart.text import capitalize, format_level, format_percent, format_points, join_list, pluralize


def verdict_sentences(verdict: VerdictContent) -> dict[str, Any]:
    """Return the sentences of a verdict by key.

    Returns:
        `headline` (the recommendation), `evidence`, the keys of `DETAIL_KEYS` that apply, `others` (one line for each
        other contrast), `notes` and `limits`.
    """
    contrast = headline_contrast(verdict)
    texts: dict[str, Any] = {"headline": "Undecided.", "evidence": best_on_val(verdict)}
    if contrast is not None:
        texts = {"headline": headline(verdict, contrast), "evidence": evidence(verdict, contrast)}
    if len(verdict["grid_rows"]) > 1:
        texts["rows"] = rows_words(verdict)
    if contrast is None:
        texts["next_steps"] = _more_seeds(1)
    else:
        texts |= _of_contrast(verdict, contrast)
    return {**texts, "notes": notes(verdict), "limits": limits(verdict)}


def _of_contrast(verdict: VerdictContent, contrast: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sentences that need a contrast, except headline and evidence."""
    undecided = contrast["sample_size"] or contrast["n"] < MIN_DECISIVE_SEEDS
    optional = {
        "time": time_words(verdict, contrast),
        "interim": interim_words(verdict),
        "labels": labels_words(verdict),
        "budgets": budgets_words(verdict, contrast),
        "width": width_words(verdict, contrast),
        "next_steps": sample_size_words(verdict, contrast) if undecided else None,
    }
    texts: dict[str, Any] = {name: text for name, text in optional.items() if text is not None}
    pair = {contrast["first"], contrast["second"]}
    others = [c for c in verdict["contrasts"] if {c["first"], c["second"]} != pair]
    return {**texts, "others": [contrast_words(flip_contrast(c, _leader(c))) for c in others]}


def best_on_val(verdict: VerdictContent) -> str:
    """Return which arms have the highest mean on val; the evidence of a verdict with one seed."""
    best = max(arm["val"] for arm in verdict["arms"])
    names = [arm_words(arm["name"]) for arm in verdict["arms"] if arm["val"] == best]
    metric, selection = metric_words(verdict), splits(verdict)[0]
    if len(names) > 1:
        return f"{capitalize(join_list(names))} had the same {metric} on {selection}."
    return f"{capitalize(names[0])} had the highest {metric} on {selection}."


def headline(verdict: VerdictContent, contrast: Mapping[str, Any]) -> str:
    """Return the recommendation in one short sentence.

    Args:
        verdict: The verdict.
        contrast: The headline's contrast, with the better arm first.
    """
    first, second, selected = (arm_words(name) for name in (contrast["first"], contrast["second"], verdict["selected"]))
    selection, evaluation = splits(verdict)
    if losses := _losses(verdict, contrast):
        disagree = f"Selection on {selection} and evaluation on {evaluation} give different arms"
        return f"{disagree}: {selection} selected {selected}; on {evaluation} {'; '.join(losses)}."
    if contrast["outcome"] == "better" and verdict["selected"] != contrast["first"]:
        return f"Use {first}, although {selection} selected {selected}."
    if contrast["outcome"] == "better":
        return f"Use {first}."
    if all(len(arm_of(verdict, contrast[side])["diverged"]) == contrast["n"] for side in ("first", "second")):
        return f"Undecided: every run of {first} and of {second} diverged."
    if contrast["outcome"] == "equivalent":
        return f"{capitalize(first)} and {second} are equivalent: they differ by less than the equivalence margin."
    return f"Undecided between {first} and {second}."


def _losses(verdict: VerdictContent, contrast: Mapping[str, Any]) -> list[str]:
    """Return which arms were worse than which, if the headline's arm was worse than a third one; else nothing."""
    named = contrast["first"] if contrast["outcome"] == "better" else verdict["selected"]
    better = beaten_by(verdict, named)
    texts = [f"{arm_words(named)} was worse than {join_list(map(arm_words, better))}"] if better else []
    if texts and named != verdict["selected"]:
        texts.insert(0, f"{arm_words(contrast['second'])} was worse than {arm_words(named)}")
    return texts


def evidence(verdict: VerdictContent, contrast: Mapping[str, Any]) -> str:
    """Return the difference with its interval, n and m, and on how many paired seeds it had that sign."""
    first, second = arm_words(contrast["first"]), arm_words(contrast["second"])
    images = evaluation_images(verdict)
    mean = f"{format_points(contrast['mean'], signed=True)} percentage points"
    difference = f"{mean} ({interval(contrast)}) on {contrast['m']} {images}"
    equal_seeds = contrast["n"] - contrast["wins"] - contrast["losses"]
    seeds = f"{contrast['wins']} of {pluralize(contrast['n'], 'paired seed')}"
    margin = f"±{format_points(verdict['margin'])} percentage points"
    if contrast["outcome"] == "better":
        is_headline = verdict["selected"] == contrast["first"] and not _losses(verdict, contrast)
        text = f"{'It' if is_headline else capitalize(first)} was better than {second} on {seeds}: {difference}"
        if contrast["by_less_than_margin"]:
            text += f"; possibly by less than the equivalence margin of {margin}"
        return text + "."
    margin = f"the equivalence margin is {margin}"
    inside = -verdict["margin"] <= contrast["low"] and contrast["high"] <= verdict["margin"]
    if inside and contrast["outcome"] == "undecided" and contrast["n"] >= MIN_DECISIVE_SEEDS:
        margin += f", but so few {images} can miss a larger difference"
    seeds += f", equal on {equal_seeds}" if equal_seeds else ""
    text = f"{capitalize(first)} had higher {metric_words(verdict)} than {second} on {seeds}: {difference}; {margin}"
    if equal_seeds == contrast["n"]:
        same = f"had the same {metric_words(verdict)} on every seed"
        text = f"{capitalize(first)} and {second} {same}: {difference}; {margin}"
    return f"{text}.{_selected_another(verdict, contrast)}"


def _selected_another(verdict: VerdictContent, contrast: Mapping[str, Any]) -> str:
    """Return which arm val selected, if the contrast is undecided and the other arm is ahead."""
    ahead, selected = arm_of(verdict, contrast["first"]), arm_of(verdict, verdict["selected"])
    if contrast["outcome"] != "undecided" or ahead["val"] >= selected["val"] or _losses(verdict, contrast):
        return ""
    return f" {capitalize(splits(verdict)[0])} selected {arm_words(selected['name'])}."


def rows_words(verdict: VerdictContent) -> str:
    """Return the best learning rate for each combination of the other settings."""
    val = {arm["name"]: arm["val"] for arm in verdict["arms"]}
    best = [f"{arm_words(row['variant'])} ({format_percent(val[row['variant']])})" for row in verdict["grid_rows"]]
    settings = "for each combination of the other settings"
    return f"Best learning rate on {splits(verdict)[0]} {settings}: {'; '.join(best)}."


def time_words(verdict: VerdictContent, contrast: Mapping[str, Any]) -> str | None:
    """Return when each of the two arms reached the target, or None without a target."""
    if not verdict["target"]:
        return None
    target = f"{100 * verdict['target']:.3g} % on {splits(verdict)[0]}"
    names = [contrast["first"], contrast["second"]]
    times = {name: arm_of(verdict, name)["to_target"]["epochs"] for name in names}
    if not any(time["reached"] for time in times.values()):
        arms = " nor ".join(map(arm_words, names))
        return f"Neither {arms} reached {target} on any of {times[names[0]]['n']} seeds."
    censored = any(time["median"] is not None and time["reached"] < time["n"] for time in times.values())
    texts = {}
    for name, time in times.items():
        texts[name] = f"on {time['reached']} of {pluralize(time['n'], 'seed')} only" if time["reached"] else "never"
        if time["median"] is not None:
            texts[name] = median_words(time, every_run=not censored)
    names.sort(key=lambda name: not times[name]["reached"])  # an arm that reached the target comes first
    first, second = map(arm_words, names)
    text = f"{capitalize(first)} reached {target} {texts[names[0]]}, {second} {texts[names[1]]}"
    medians = 0 if censored else sum(time["median"] is not None for time in times.values())
    return text + {0: ".", 1: " (median over seeds).", 2: " (medians over seeds)."}[medians]


def median_words(time: Mapping[str, Any], *, every_run: bool) -> str:
    """Return a median time in epochs: "after 7 epochs (median; reached on 3 of 5 seeds)".

    Args:
        time: Median time to the target in epochs, as in the verdict.
        every_run: Every run reached the target, so that the number of those that did is left out.
    """
    text = f"after {time['median']:g} epoch{'s' if time['median'] != 1 else ''}"
    return text if every_run else f"{text} (median; reached on {time['reached']} of {pluralize(time['n'], 'seed')})"


def labels_words(verdict: VerdictContent) -> str | None:
    """Return the label equivalence at the smallest fraction and where the curves cross, or None with one fraction."""
    efficiency = verdict["labels"]
    if efficiency is None:
        return None
    smallest = efficiency["equivalences"][0]
    first, reference = (arm_words(efficiency[key]) for key in ("first", "reference"))
    low = f"{smallest['low']:.2g}" if smallest["low"] is not None else f"less than {smallest['min_factor']:.2g}"
    high = f"{smallest['high']:.2g}" if smallest["high"] is not None else f"more than {smallest['max_factor']:.2g}"
    level = f"{format_level(efficiency['level'])} interval over {pluralize(efficiency['n'], 'seed')}"
    interval_words = f"({level}: {low} to {high} times)"
    share = f"{100 * smallest['fraction']:.3g} % of the labels"
    if smallest["factor"] is None and not smallest["more"]:
        text = (
            f"With {share}, the smallest fraction tested, {first} is less accurate than {reference}. "
            f"For the accuracy of {first}, {reference} needs fewer labels {interval_words}."
        )
    else:
        factor = f"{smallest['factor'] or smallest['max_factor']:.2g}"
        labels = f"{'more than' if smallest['more'] else 'about'} {factor} times as many"
        labels = "about as many" if labels == "about 1 times as many" else labels
        text = f"With {share}, {first} is as accurate as {reference} with {labels} {interval_words}."
    if (crossing := efficiency["crossover"]) is None:
        return text
    least, most = (f"{100 * efficiency['equivalences'][end]['fraction']:.3g} %" for end in (0, -1))
    low = f"less than {least}" if crossing["low"] is None else f"{100 * crossing['low']:.3g} %"
    high = f"more than {most}" if crossing["high"] is None else f"{100 * crossing['high']:.3g} %"
    return f"{text} Their curves cross at {100 * crossing['fraction']:.3g} % of the labels ({low} to {high})."


def budgets_words(verdict: VerdictContent, contrast: Mapping[str, Any]) -> str | None:
    """Return the result of the same two arms at the other training lengths, or None if there are none."""
    texts = []
    pair = {contrast["first"], contrast["second"]}
    for condition in verdict["conditions"]:
        same = [c for c in condition["contrasts"] if {c["first"], c["second"]} == pair]
        if condition["fraction"] == verdict["fraction"] and same:
            shown = flip_contrast(same[0], _leader(same[0]))
            difference = f"{format_points(shown['mean'], signed=True)} percentage points ({interval(shown)})"
            texts.append(f"After {length_words(condition['budget'])} {_outcome(shown)}: {difference}.")
    return " ".join(texts) or None


def interim_words(verdict: VerdictContent) -> str | None:
    """Return which interim analyses were made and their result, or None if there were none."""
    analyses = verdict["interim"]
    if not analyses:
        return None
    seeds = join_list(str(analysis["n"]) for analysis in analyses)
    text = f"As declared, the {evaluation_images(verdict)} were analyzed after {seeds} seeds"
    last = analyses[-1]
    primary = " against ".join(arm_words(name) for name in verdict["primary"])
    p = f"p {last['p']:.2g}, boundary {last['boundary']:.2g}"
    if last["stopped"]:
        return f"{text}: {primary} crossed the stopping boundary ({p}), and the study ended."
    return f"{text}: {primary} did not cross a stopping boundary (last {p})."


def width_words(verdict: VerdictContent, contrast: Mapping[str, Any]) -> str:
    """Return how much of the interval's width is due to the seeds and how much to the evaluation images."""
    half, endless = (contrast["high"] - contrast["low"]) / 2, contrast["half_width_infinite_seeds"]
    clipped = contrast["low"] <= -1 or contrast["high"] >= 1
    sampling = f"the sampling error of the {splits(verdict)[1]} set"
    if endless > 0.95 * half and not clipped:
        return f"More seeds would hardly narrow the interval: its width is {sampling}."
    text = f"With infinitely many seeds the interval would still be about ±{format_points(endless)}"
    text += " percentage points" if clipped else f" instead of ±{format_points(half)} percentage points"
    if endless > 0.7 * half:
        return f"{text}: most of the width is {sampling}."
    return f"{text}: most of the width is the variation between seeds." if endless < 0.3 * half else f"{text}."


def sample_size_words(verdict: VerdictContent, contrast: Mapping[str, Any]) -> str:
    """Return the seeds or images that would decide an undecided contrast."""
    if contrast["n"] < MIN_DECISIVE_SEEDS:
        return _more_seeds(contrast["n"])
    images = evaluation_images(verdict)
    half_width = f"±{100 * contrast['sample_size']['half_width']:.3g} percentage points"
    ways = []
    for unit, name in (("seeds", "seeds"), ("images", images)):
        need = contrast["sample_size"][unit]
        if need is not None:
            low, high = need
            count = f"{low:,}" if high == low else f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
            ways.append(f"{count} {name}")
    if not ways:
        return f"An interval of {half_width} needs both more seeds and more {images}: neither alone is enough."
    text = f"An interval of {half_width} needs about {', or '.join(ways)}"
    if (
        contrast["sample_size"]["seeds"] is None
        and 2 * contrast["half_width_infinite_seeds"] < contrast["high"] - contrast["mean"]
    ):
        return f"{text} with these {pluralize(contrast['n'], 'seed')}, or far fewer with more seeds."
    return f"{text}."


def _more_seeds(n: int) -> str:
    return f"A decision needs at least {MIN_DECISIVE_SEEDS} seeds: run at least {MIN_DECISIVE_SEEDS - n} more."


def contrast_words(contrast: Mapping[str, Any]) -> str:
    """Return a contrast in one line."""
    p = f"primary, p {contrast['p']:.2g}" if contrast["primary"] else f"Holm p {contrast['p_adjusted']:.2g}"
    mean = f"{format_points(contrast['mean'], signed=True)} percentage points"
    return f"{_outcome(contrast)}: {mean} ({interval(contrast)}, {p})"


def _outcome(contrast: Mapping[str, Any]) -> str:
    """Return the decision in words: "a is better than b"."""
    words = {
        "better": "better than",
        "worse": "worse than",
        "equivalent": "equivalent to",
        "undecided": "undecided against",
    }
    return f"{arm_words(contrast['first'])} is {words[contrast['outcome']]} {arm_words(contrast['second'])}"


def limits(verdict: VerdictContent) -> str:
    """Return what the verdict is limited to."""
    searched = verdict["search"].get("selected")
    rates = "the learning rates that the search selected" if searched else "the given learning rates"
    percentage = f"{100 * verdict['fraction']:.3g} % of the labels"
    share = f", {percentage}" if verdict["fraction"] != 1 else ""
    if searched and any(condition["fraction"] != verdict["fraction"] for condition in verdict["conditions"]):
        rates += f" with {percentage}, which are also those of the smaller fractions"
    conditions = f"these images{share}, {verdict['network']}, {length_words(verdict['budget'])}"
    return f"This result holds for {conditions} and {rates}."


def _leader(contrast: Mapping[str, Any]) -> str:
    return str(contrast["first"] if contrast["mean"] >= 0 else contrast["second"])
