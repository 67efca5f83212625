"""A verdict in plain words. Every number in a sentence is one of the verdict's fields, rounded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headstart.analysis.headline import beaten_by, flip_contrast, headline_contrast
from headstart.analysis.wording import (
    Verdict,
    arm_words,
    bare_start,
    interval,
    judged,
    length_words,
    metric_words,
    splits,
)
from headstart.config.study_config import FEWEST_SEEDS
from headstart.text import capitalize, join_list, level_words, percent, pluralize, points

SHOWN = 5  # class names in a sentence


def sentences(verdict: Verdict) -> dict[str, Any]:
    """`headline` (the recommendation), `evidence`, those of `MORE`, `others`, `notes`, `limits`: where there is
    something to say.
    """
    seen = headline_contrast(verdict)
    found: dict[str, Any] = {"headline": "Undecided.", "evidence": best_on_val(verdict)}
    if seen is not None:
        found = {"headline": headline(verdict, seen), "evidence": evidence(verdict, seen)}
    if len(verdict["grid_rows"]) > 1:
        found["rows"] = rows_words(verdict)
    if seen is None:
        found["next_steps"] = f"One seed decides nothing: {FEWEST_SEEDS - 1} more are needed."
    else:
        found |= _of_contrast(verdict, seen)
    return {**found, "notes": notes(verdict), "limits": limits(verdict)}


def _of_contrast(verdict: Verdict, seen: Mapping[str, Any]) -> dict[str, Any]:
    """What is said beside headline and evidence where there are seeds to compare."""
    said = {
        "time": time_words(verdict, seen),
        "interim": looks(verdict),
        "labels": labels_words(verdict),
        "budgets": budgets_words(verdict, seen),
        "width": width(verdict, seen),
        "next_steps": settling_sentence(verdict, seen) if seen["need"] or seen["n"] < FEWEST_SEEDS else None,
    }
    found: dict[str, Any] = {name: text for name, text in said.items() if text is not None}
    pair = {seen["first"], seen["second"]}
    rest = [c for c in verdict["contrasts"] if {c["first"], c["second"]} != pair]
    return {**found, "others": [other(flip_contrast(c, _leader(c))) for c in rest]}


def best_on_val(verdict: Verdict) -> str:
    """Which arm val chose, or that it is the first of several that are equal there; of one seed."""
    best = max(arm["val"] for arm in verdict["arms"])
    names = [arm_words(arm["name"]) for arm in verdict["arms"] if arm["val"] == best]
    if len(names) > 1:
        return f"{capitalize(join_list(names))} did equally well on {splits(verdict)[0]}."
    return f"{capitalize(names[0])} did best on {splits(verdict)[0]}."


def headline(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """The recommendation in one short sentence. `seen` is the headline's contrast, the arm that is ahead first."""
    first, second, chosen = (arm_words(name) for name in (seen["first"], seen["second"], verdict["chosen"]))
    chose, judge = splits(verdict)
    if lost := _lost(verdict, seen):
        return f"{capitalize(chose)} and {judge} disagree: {chose} chose {chosen}; on {judge} {'; '.join(lost)}."
    if seen["outcome"] == "better" and verdict["chosen"] != seen["first"]:
        return f"Start from {first}, although {chose} chose {chosen}: {chose} and {judge} disagree."
    if seen["outcome"] == "better":
        return f"Start from {first}."
    if all(len(_arm(verdict, seen[side])["diverged"]) == seen["n"] for side in ("first", "second")):
        return f"Undecided: every run of {first} and of {second} diverged."
    if seen["outcome"] == "equal":
        return f"It does not matter: {first} and {second} are practically equal here."
    return f"Undecided between {first} and {second}."


def _lost(verdict: Verdict, seen: Mapping[str, Any]) -> list[str]:
    """Who lost to whom, where the arm that the headline would name lost to a third one; else nothing."""
    named = seen["first"] if seen["outcome"] == "better" else verdict["chosen"]
    better = beaten_by(verdict, named)
    told = [f"{arm_words(named)} lost to {join_list(map(arm_words, better))}"] if better else []
    if told and named != verdict["chosen"]:
        told.insert(0, f"{arm_words(seen['second'])} lost to {arm_words(named)}")
    return told


def evidence(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """The difference with its interval, n and m, and on how many paired seeds it had that sign."""
    first, second = arm_words(seen["first"]), arm_words(seen["second"])
    about = f"{points(seen['mean'], signed=True)} points ({interval(seen)}) on {seen['m']} {judged(verdict)}"
    level = seen["n"] - seen["wins"] - seen["losses"]
    seeds = f"{seen['wins']} of {pluralize(seen['n'], 'paired seed')}"
    if seen["outcome"] == "better":
        plain = verdict["chosen"] == seen["first"] and not _lost(verdict, seen)
        text = f"{'It' if plain else capitalize(first)} beat {second} on {seeds}: {about}"
        if seen["by_less_than_margin"]:
            text += f"; perhaps by less than the tie, ±{points(verdict['margin'])} points"
        return text + "."
    margin = f"the tie is ±{points(verdict['margin'])}"
    inside = -verdict["margin"] <= seen["low"] and seen["high"] <= verdict["margin"]
    if inside and seen["outcome"] == "undecided" and seen["n"] >= FEWEST_SEEDS:
        margin += f", but so few {judged(verdict)} may hide a difference that is larger"
    seeds += f", level with it on {level}" if level else ""
    text = f"{capitalize(first)} was ahead of {second} on {seeds}: {about}; {margin}"
    if level == seen["n"]:
        text = f"{capitalize(first)} and {second} had the same {metric_words(verdict)} on every seed: {about}; {margin}"
    return f"{text}.{_chose_another(verdict, seen)}"


def _chose_another(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """What val chose, where nothing is decided and the arm that is ahead is another."""
    ahead, chosen = _arm(verdict, seen["first"]), _arm(verdict, verdict["chosen"])
    if seen["outcome"] != "undecided" or ahead["val"] >= chosen["val"] or _lost(verdict, seen):
        return ""
    return f" {capitalize(splits(verdict)[0])} chose {arm_words(chosen['name'])}."


def _arm(verdict: Verdict, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(arm for arm in verdict["arms"] if arm["name"] == name)
    return found


def rows_words(verdict: Verdict) -> str:
    """Of a grid, which learning rate is the best in each row."""
    val = {arm["name"]: arm["val"] for arm in verdict["arms"]}
    best = [f"{arm_words(row['variant'])} ({percent(val[row['variant']])})" for row in verdict["grid_rows"]]
    return f"The best learning rate of each row, by {splits(verdict)[0]}: {'; '.join(best)}."


def time_words(verdict: Verdict, seen: Mapping[str, Any]) -> str | None:
    """When each of the two passed the target; None where none was set."""
    if not verdict["target"]:
        return None
    target = f"{100 * verdict['target']:.3g} % on {splits(verdict)[0]}"
    names = [seen["first"], seen["second"]]
    times = {name: _arm(verdict, name)["to_target"]["epochs"] for name in names}
    if not any(time["reached"] for time in times.values()):
        return f"Neither {' nor '.join(map(arm_words, names))} passed {target} on any of {times[names[0]]['n']} seeds."
    said = {}
    for name, time in times.items():
        said[name] = f"on {time['reached']} of {pluralize(time['n'], 'seed')} only" if time["reached"] else "never"
        if time["median"] is not None:
            said[name] = f"after {time['median']:g} epoch{'s' if time['median'] != 1 else ''}"
    names.sort(key=lambda name: not times[name]["reached"])  # what never got there cannot begin the sentence
    text = f"{capitalize(arm_words(names[0]))} passed {target} {said[names[0]]}, {arm_words(names[1])} {said[names[1]]}"
    medians = sum(time["median"] is not None for time in times.values())
    return text + {0: ".", 1: " (median over seeds).", 2: " (medians over seeds)."}[medians]


def labels_words(verdict: Verdict) -> str | None:
    """What the first arm is worth in labels at the smallest share, and where the curves cross; None with one share."""
    found = verdict["labels"]
    if found is None:
        return None
    one = found["worth"][0]
    first, reference = (f"the arm {arm_words(found[role])!r}" for role in ("first", "reference"))
    if one["factor"] is None:
        needed = f"more than {one['most']:.2g} times as many" if one["more"] else "fewer"
    else:
        needed = f"about {one['factor']:.2g} times as many" if f"{one['factor']:.2g}" != "1" else "about as many"
    low = f"{one['low']:.2g}" if one["low"] is not None else f"less than {one['least']:.2g}"
    high = f"{one['high']:.2g}" if one["high"] is not None else f"more than {one['most']:.2g}"
    band = f"{level_words(found['level'])} interval over {pluralize(found['n'], 'seed')}"
    share = f"{100 * one['fraction']:.3g} % of the labels"
    needs = f"{reference} needs {needed} ({band}: {low} to {high} times as many)"
    text = f"With {share}, {first} has the accuracy for which {needs}."
    if (crossing := found["crossover"]) is None:
        return text
    least, most = (f"{100 * found['worth'][end]['fraction']:.3g} %" for end in (0, -1))
    low = f"less than {least}" if crossing["low"] is None else f"{100 * crossing['low']:.3g} %"
    high = f"more than {most}" if crossing["high"] is None else f"{100 * crossing['high']:.3g} %"
    return f"{text} They are equal at {100 * crossing['fraction']:.3g} % of the labels ({low} to {high})."


def budgets_words(verdict: Verdict, seen: Mapping[str, Any]) -> str | None:
    """What came of the same two arms at the other lengths of training; None where there are none."""
    said = []
    for one in verdict["conditions"]:
        pairs = [c for c in one["contrasts"] if {c["first"], c["second"]} == {seen["first"], seen["second"]}]
        if one["fraction"] == verdict["fraction"] and pairs:
            there = flip_contrast(pairs[0], _leader(pairs[0]))
            difference = f"{points(there['mean'], signed=True)} points ({interval(there)})"
            said.append(f"After {length_words(one['budget'])} {_compared(there)}: {difference}.")
    return " ".join(said) or None


def looks(verdict: Verdict) -> str | None:
    """At which declared looks the judging photos were opened, and what came of it; None where none were taken."""
    taken = verdict["interim"]
    if not taken:
        return None
    counts = [str(look["n"]) for look in taken]
    opened = f"As declared, the {judged(verdict)} were looked at after {join_list(counts)} seeds"
    last = taken[-1]
    primary = " against ".join(arm_words(name) for name in verdict["primary"])
    p = f"p {last['p']:.2g}, boundary {last['boundary']:.2g}"
    if last["stopped"]:
        return f"{opened}: there {primary} crossed its boundary ({p}), and the study ended."
    return f"{opened}: {primary} crossed no boundary (last {p})."


def width(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """The two parts of the width: what more seeds would take away, and what they would not."""
    half, endless = (seen["high"] - seen["low"]) / 2, seen["endless_seeds"]
    cut = seen["low"] <= -1 or seen["high"] >= 1
    if endless > 0.95 * half and not cut:
        return f"More seeds would hardly make the interval narrower: its width is the luck of the {judged(verdict)}."
    text = f"With endless seeds the interval would still be about ±{points(endless)}"
    text += "" if cut else f" instead of ±{points(half)}"  # what was cut has no half-width
    if endless > 0.7 * half:
        return f"{text}: most of the width is the luck of the {judged(verdict)}."
    return f"{text}: most of the width is the luck of the seeds." if endless < 0.3 * half else f"{text}."


def settling_sentence(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """What would decide it: an interval down to the tie, or to half of it."""
    if (short := FEWEST_SEEDS - seen["n"]) > 0:
        more = f"{short} more {'is' if short == 1 else 'are'} needed"
        return f"Fewer than {FEWEST_SEEDS} seeds decide nothing: at least {more}."
    margin = f"{100 * seen['need']['half_width']:.3g}"
    ways = []
    for what in ("seeds", "images"):
        need = seen["need"][what]
        if need is not None:
            low, high = need
            upto = f"{low:,}" if high == low else f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
            ways.append(f"{upto} {'seeds' if what == 'seeds' else judged(verdict)}")
    if not ways:
        return f"Neither more seeds alone nor more {judged(verdict)} alone would bring it to ±{margin}: it takes both."
    text = f"To know it to ±{margin} it would take about {', or '.join(ways)}"
    if seen["need"]["seeds"] is None and 2 * seen["endless_seeds"] < seen["high"] - seen["mean"]:
        return f"{text} with these {pluralize(seen['n'], 'seed')}, or far fewer with more seeds."
    return f"{text}."


def other(seen: Mapping[str, Any]) -> str:
    """A contrast of the family in a line."""
    p = f"declared first, p {seen['p']:.2g}" if seen["primary"] else f"Holm p {seen['p_adjusted']:.2g}"
    return f"{_compared(seen)}: {points(seen['mean'], signed=True)} points ({interval(seen)}, {p})"


def _compared(seen: Mapping[str, Any]) -> str:
    """`a beat b`, as it is decided."""
    words = {"better": "beat", "worse": "lost to", "equal": "practically equals", "undecided": "is undecided against"}
    return f"{arm_words(seen['first'])} {words[seen['outcome']]} {arm_words(seen['second'])}"


def notes(verdict: Verdict) -> list[str]:
    """What a careful reader must know: optimism, diverged runs, edges of the grid."""
    chosen = _arm(verdict, verdict["chosen"])
    chose, judge = splits(verdict)
    apart = points(abs(chosen["optimism"]))
    gap = f"{apart} points {'above' if chosen['optimism'] > 0 else 'below'} the {judge} mean of"
    said = [
        f"{capitalize(chose)} chose the epochs and the arm, {arm_words(chosen['name'])}: its mean of "
        f"{percent(chosen['val'])} there is {gap if apart != '0.0' else f'about the {judge} mean,'} "
        f"{percent(chosen['test'])}."
    ]
    if verdict["n"] > 1 and verdict.get("one_split"):
        said.append("All seeds have the split of the data: they vary first values, order and augmentation only.")
    said += [
        f"{capitalize(arm_words(arm['name']))} diverged on seed{'s' if len(arm['diverged']) > 1 else ''} "
        f"{join_list(map(str, arm['diverged']))}: counted as it was before."
        for arm in verdict["arms"]
        if arm["diverged"]
    ]
    for group, edges in verdict["search"].get("edges", {}).get(verdict["budget"], {}).items():
        where = "" if group == "shared" else f" on {group}"
        said += [
            f"The best learning rate of {arm_words(name)}{where}, {edge:g}, lies at the edge of the grid."
            for name, edge in edges.items()
        ]
    said += [
        f"The {'lowest' if row['edge'] == 'low' else 'highest'} learning rate compared is the best of its row: "
        f"{arm_words(row['variant'])}. A better one may lie beyond it."
        for row in verdict["grid_rows"]
        if row["edge"]
    ]
    contrast = headline_contrast(verdict)
    if contrast is not None and contrast["n"] >= FEWEST_SEEDS and contrast["p_sign_flip"] is not None:
        pair = f"{arm_words(contrast['first'])} against {arm_words(contrast['second'])}"
        said.append(
            f"By the seeds alone, the exact sign-flip p of {pair} is {contrast['p_sign_flip']:.2g}; "
            f"{contrast['n']} seeds cannot bring it below {2 / 2 ** contrast['n']:.2g}."
        )
    return [*said, *verdict["overlaps"], *known(verdict)]


def known(verdict: Verdict) -> list[str]:
    """Which weights had seen these classes, or these very images, before."""
    said: dict[str, str] = {}
    unknown = []
    for name, met in verdict["known"].items():
        own_name = bare_start(re.split(r"[+@,]", name)[0])
        start = capitalize(own_name)
        if met["classes"]:
            names, more = met["classes"][:SHOWN], len(met["classes"]) - SHOWN
            told = ", ".join(names) + (f" and {more} more" if more > 0 else "")
            said[f"{start} classes"] = (
                f"{start} was trained on classes of these names: {told}. On classes that are new to it, it may be "
                "worth less."
            )
        if met["images"]:
            said[f"{start} images"] = (
                f"{start} was trained on {met['images']:,} of the {verdict['evaluation']['images']:,} {judged(verdict)}: "
                "its numbers flatter it."
            )
        if met["images"] is None and own_name not in unknown:
            unknown.append(own_name)
    if unknown:
        said["unknown"] = (
            f"Whether {join_list(unknown)} had seen any of the {judged(verdict)} is not known: the photos of "
            f"{'its' if len(unknown) == 1 else 'their'} training are not at hand."
        )
    return list(said.values())


def limits(verdict: Verdict) -> str:
    """What the verdict does not cover."""
    rates = "learning rates as chosen" if verdict["search"].get("chosen") else "learning rates as given"
    share = f", {100 * verdict['fraction']:.3g} % of the labels" if verdict["fraction"] != 1 else ""
    if verdict["search"].get("chosen") and any(one["fraction"] != verdict["fraction"] for one in verdict["conditions"]):
        rates += f" with {100 * verdict['fraction']:.3g} % of the labels, for the smaller shares too"
    return f"Limits: these photos, {verdict['network']}, {length_words(verdict['budget'])}{share}, {rates}."


def _leader(contrast: Mapping[str, Any]) -> str:
    return str(contrast["first"] if contrast["mean"] >= 0 else contrast["second"])
