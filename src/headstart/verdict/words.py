"""A verdict in plain words. Every number in a sentence is one of the verdict's fields, rounded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from headstart.protocol import FEWEST_SEEDS

Verdict = Mapping[str, Any]
MORE = ("budgets", "rows", "looks", "time", "labels", "width", "settle")  # sentences after headline and evidence
SHOWN = 5  # class names in a sentence


def arm_words(name: str) -> str:
    """`file:cifar10+frozen@adam` is "cifar10, frozen, with adam"."""
    name, _, varied = name.partition(",")
    start, *parts = _short(name).split("+")
    start, _, optimizer = start.partition("@") if not parts else (start, "", "")
    if parts:
        parts[-1], _, optimizer = parts[-1].partition("@")
    said = [_part_words(part) for part in parts]
    if all(part.startswith("mlp:") for part in parts) and not start.startswith("scratch"):
        said.insert(0, "fine-tuned")
    said += [f"with {optimizer}"] if optimizer else []
    return ", ".join([start, *said, *(varied.split(",") if varied else ())])


def _short(start: str) -> str:
    return re.sub(r"^(file|run):", "", start)


def _part_words(part: str) -> str:
    """A tuning or a head of an arm."""
    kind, _, number = part.partition(":")
    if kind == "stages":
        return f"last {number} stages fine-tuned"
    return {"frozen": "frozen", "lp-ft": "head first, then fine-tuned"}.get(part, f"with the head {part}")


def enumerated(names: Iterable[str]) -> str:
    """`a, b and c`; where a name has commas of its own, `a, b; c; and d`. Wants one name or more."""
    *before, last = names
    if any("," in name for name in (*before, last)):
        return "; ".join([*before, f"and {last}" if before else last])
    return " and ".join([", ".join(before), last] if before else [last])


def points(value: float, *, signed: bool = False) -> str:
    """A difference of accuracies in points, one decimal."""
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text.replace("-0.0", "0.0").replace("+0.0", "0.0")


def per_cent(value: float) -> str:
    return f"{100 * value:.1f} %"


def key_contrast(verdict: Verdict) -> dict[str, Any] | None:
    """The contrast that the headline rests on: the winner against its rival (the reference), or the primary one."""
    pairs = verdict["contrasts"]
    for wanted in ({verdict["winner"], verdict["rival"]}, set(verdict["primary"])):
        for contrast in pairs:
            if {contrast["first"], contrast["second"]} == wanted:
                return dict(contrast)
    return None


def turned(contrast: dict[str, Any], first: str) -> dict[str, Any]:
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


def headline_contrast(verdict: Verdict) -> dict[str, Any] | None:
    """`key_contrast` as it is told: the winner first, where it is one of the two."""
    contrast = key_contrast(verdict)
    if contrast is None or verdict["winner"] not in (contrast["first"], contrast["second"]):
        return contrast
    return turned(contrast, verdict["winner"])


def sentences(verdict: Verdict) -> dict[str, Any]:
    """`headline` (the recommendation), `evidence`, those of `MORE`, `others`, `notes`, `limits`: where there is
    something to say.
    """
    contrast, seen = key_contrast(verdict), headline_contrast(verdict)
    if contrast is None or seen is None:
        text = f"{capital(arm_words(verdict['winner']))} did best on {splits(verdict)[0]}."
        few = f"One seed decides nothing: {FEWEST_SEEDS - 1} more are needed."
        return {"headline": "Undecided.", "evidence": text, "settle": few, "limits": limits(verdict)}
    found: dict[str, Any] = {"headline": headline(verdict, seen), "evidence": evidence(verdict, seen)}
    if len(verdict["grid_rows"]) > 1:
        found["rows"] = rows_words(verdict)
    if (time := time_words(verdict, seen)) is not None:
        found["time"] = time
    if verdict["looks"]:
        found["looks"] = looks(verdict)
    if (labels := labels_words(verdict)) is not None:
        found["labels"] = labels
    if (budgets := budgets_words(verdict, seen)) is not None:
        found["budgets"] = budgets
    found["width"] = width(verdict, seen)
    if seen["need"] or seen["n"] < FEWEST_SEEDS:
        found["settle"] = settle(verdict, seen)
    found["others"] = [other(turned(c, _leader(c))) for c in verdict["contrasts"] if c is not contrast
                       and {c["first"], c["second"]} != {contrast["first"], contrast["second"]}]  # fmt: skip
    found["notes"] = notes(verdict)
    found["limits"] = limits(verdict)
    return found


def headline(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """The recommendation in one short sentence."""
    first, second = arm_words(seen["first"]), arm_words(seen["second"])
    if seen["outcome"] == "better":
        return f"Start from {first}."
    if seen["outcome"] == "worse":
        return f"Start from {second}, although {first} did better on {splits(verdict)[0]}."
    if seen["outcome"] == "equal":
        return f"It does not matter: {first} and {second} are practically equal here."
    return f"Undecided between {first} and {second}."


def evidence(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """The difference with its interval, n and m, and on how many paired seeds it had that sign."""
    first, second = arm_words(seen["first"]), arm_words(seen["second"])
    wins = seen["wins"]
    about = f"{points(seen['mean'], signed=True)} points ({interval(seen)}) on {seen['m']} {judged(verdict)}"
    if seen["outcome"] in ("better", "worse"):
        verb = "It beat" if seen["outcome"] == "better" else f"{capital(first)} beat"
        text = f"{verb} {second} on {wins} of {seen['n']} paired seeds: {about}"
        if seen["by_less_than_tie"]:
            text += f"; perhaps by less than the tie of {points(verdict['tie'])}"
        return text + "."
    ahead = f"{capital(first)} was ahead of {second} on {wins} of {seen['n']} paired seeds"
    return f"{ahead}: {about}; the tie is ±{points(verdict['tie'])}."


def rows_words(verdict: Verdict) -> str:
    """Of a grid, which learning rate is the best in each row."""
    val = {arm["name"]: arm["val"] for arm in verdict["arms"]}
    best = [f"{arm_words(row['cell'])} ({per_cent(val[row['cell']])})" for row in verdict["grid_rows"]]
    return f"The best learning rate of each row, by {splits(verdict)[0]}: {'; '.join(best)}."


def splits(verdict: Verdict) -> tuple[str, str]:
    """What the data calls the images that chose and those that judged: runs call them val and test.

    Where the data declares train and val alone, val judges, and a part of train chooses.
    """
    return ("a part of train", "val") if verdict["judge"]["declared"] == "train+val" else ("val", "test")


def metric_words(verdict: Verdict) -> str:
    """What the numbers of the arms are."""
    return "balanced accuracy" if verdict["metric"] == "balanced" else "accuracy"


def judged(verdict: Verdict) -> str:
    """What the images that judge are called."""
    return f"{splits(verdict)[1]} images"


def interval(seen: Mapping[str, Any]) -> str:
    """`95 % interval 4.0 to 8.2`."""
    return f"{100 * seen['level']:.3g} % interval {points(seen['low'])} to {points(seen['high'])}"


def time_words(verdict: Verdict, seen: Mapping[str, Any]) -> str | None:
    """When each of the two passed the target; None where none was set."""
    if not verdict["target"]:
        return None
    said = []
    for name in (seen["first"], seen["second"]):
        found = next(arm for arm in verdict["arms"] if arm["name"] == name)["to_target"]["epochs"]
        if found["median"] is not None:
            said.append(f"{arm_words(name)} after {found['median']:g} epoch{'s' if found['median'] != 1 else ''}")
        elif found["reached"]:
            said.append(f"{arm_words(name)} on {found['reached']} of {found['n']} seeds only")
        else:
            said.append(f"{arm_words(name)} never")
    target = f"{100 * verdict['target']:.3g} % on {splits(verdict)[0]}"
    return f"{capital(said[0])} passed {target}, {said[1]} (medians over seeds)."


def labels_words(verdict: Verdict) -> str | None:
    """What the first arm is worth in labels at the smallest share, and where the curves cross; None with one share."""
    found = verdict["labels"]
    if found is None:
        return None
    one = found["worth"][0]
    first, reference = (f"the arm {arm_words(found[role])!r}" for role in ("first", "reference"))
    factor = f"about {one['factor']:.2g}" if one["factor"] is not None else None
    factor = factor or (f"more than {one['most']:.2g}" if one["more"] else f"less than {one['least']:.2g}")
    low = f"{one['low']:.2g}" if one["low"] is not None else f"less than {one['least']:.2g}"
    high = f"{one['high']:.2g}" if one["high"] is not None else f"more than {one['most']:.2g}"
    band = f"{100 * found['level']:.3g} % interval over {found['n']} seeds"
    share = f"{100 * one['fraction']:.3g} % of the labels"
    needs = f"{reference} needs {factor} times as many ({band}: {low} to {high})"
    text = f"With {share}, {first} has the accuracy for which {needs}."
    if (crossing := found["crossover"]) is None:
        return text
    ends = ["beyond the curve" if end is None else f"{100 * end:.3g} %" for end in (crossing["low"], crossing["high"])]
    return f"{text} They are equal at {100 * crossing['fraction']:.3g} % of the labels ({ends[0]} to {ends[1]})."


def budgets_words(verdict: Verdict, seen: Mapping[str, Any]) -> str | None:
    """What came of the same two arms at the other lengths of training; None where there are none."""
    said = []
    for one in verdict["conditions"]:
        pairs = [c for c in one["contrasts"] if {c["first"], c["second"]} == {seen["first"], seen["second"]}]
        if one["fraction"] == verdict["fraction"] and pairs:
            there = turned(pairs[0], seen["first"])
            outcome = {"equal": "practically equal"}.get(there["outcome"], there["outcome"])
            difference = f"{points(there['mean'], signed=True)} points ({interval(there)})"
            said.append(f"After {length_words(one['budget'])} it is {difference}: {outcome}.")
    return " ".join(said) or None


def looks(verdict: Verdict) -> str:
    """At which declared looks the judging photos were opened, and what came of it."""
    taken = verdict["looks"]
    counts = [str(look["n"]) for look in taken]
    opened = f"As declared, the {judged(verdict)} were looked at after {enumerated(counts)} seeds"
    last = taken[-1]
    primary = " against ".join(arm_words(name) for name in verdict["primary"])
    p = f"p {last['p']:.2g}, boundary {last['boundary']:.2g}"
    if last["stopped"]:
        return f"{opened}: there {primary} crossed its boundary ({p}), and the study ended."
    return f"{opened}: {primary} crossed no boundary (last {p})."


def width(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """The two parts of the width: what more seeds would take away, and what they would not."""
    half, endless = (seen["high"] - seen["low"]) / 2, seen["endless_seeds"]
    text = f"With endless seeds it would still be about ±{points(endless)}"
    if endless > 0.7 * half:
        return f"{text}: the {splits(verdict)[1]} set is small."
    text += f" instead of ±{points(half)}"
    return f"{text}: most of the width is the luck of the seeds." if endless < 0.3 * half else f"{text}."


def settle(verdict: Verdict, seen: Mapping[str, Any]) -> str:
    """What would decide it: an interval down to the tie, or to half of it."""
    if (short := FEWEST_SEEDS - seen["n"]) > 0:
        return f"Fewer than {FEWEST_SEEDS} seeds decide nothing: {short} more {'is' if short == 1 else 'are'} needed."
    tie = f"{100 * seen['need']['half_width']:.3g}"
    ways = []
    for what in ("seeds", "images"):
        need = seen["need"][what]
        if need is not None:
            low, high = need
            upto = f"{low:,} to {high:,}" if high is not None and high != low else f"{low:,} or more"
            ways.append(f"{upto} {'seeds' if what == 'seeds' else judged(verdict)}")
    if not ways:
        return f"Neither more seeds alone nor more {judged(verdict)} alone would bring it to ±{tie}: it takes both."
    return f"To know it to ±{tie} it would take about {', or '.join(ways)}."


def other(seen: Mapping[str, Any]) -> str:
    """A contrast of the family in a line."""
    words = {"better": "beat", "worse": "lost to", "equal": "practically equals", "undecided": "undecided against"}
    p = f"declared first, p {seen['p']:.2g}" if seen["primary"] else f"Holm p {seen['p_adjusted']:.2g}"
    return (
        f"{arm_words(seen['first'])} {words[seen['outcome']]} {arm_words(seen['second'])}: "
        f"{points(seen['mean'], signed=True)} points ({interval(seen)}, {p})"
    )


def notes(verdict: Verdict) -> list[str]:
    """What a careful reader must know: optimism, diverged runs, edges of the grid."""
    winner = next(arm for arm in verdict["arms"] if arm["name"] == verdict["winner"])
    chose, judge = splits(verdict)
    said = [
        f"{capital(chose)} chose the epochs and the winner; its mean of {per_cent(winner['val'])} is "
        f"{points(abs(winner['optimism']))} points {'above' if winner['optimism'] >= 0 else 'below'} the {judge} mean "
        f"of {per_cent(winner['test'])}."
    ]
    if verdict["n"] > 1 and verdict.get("one_split"):
        said.append("All seeds have the split of the data: they vary first values, order and augmentation only.")
    said += [
        f"{capital(arm_words(arm['name']))} diverged on seed {', '.join(map(str, arm['diverged']))}: counted as "
        "it was before."
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
        f"{arm_words(row['cell'])}. A better one may lie beyond it."
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
    for name, met in verdict["known"].items():
        start = capital(_short(re.split(r"[+@,]", name)[0]))
        if met["classes"]:
            names, more = met["classes"][:SHOWN], len(met["classes"]) - SHOWN
            told = ", ".join(names) + (f" and {more} more" if more > 0 else "")
            said[f"{start} classes"] = (
                f"{start} was trained on classes of these names: {told}. On classes that are new to it, it may be "
                "worth less."
            )
        if met["images"]:
            said[f"{start} images"] = (
                f"{start} was trained on {met['images']:,} of the {verdict['judge']['images']:,} {judged(verdict)}: "
                "its numbers flatter it."
            )
    return list(said.values())


def limits(verdict: Verdict) -> str:
    """What the verdict does not cover."""
    rates = "learning rates as chosen" if verdict["search"].get("chosen") else "learning rates as given"
    share = f", {100 * verdict['fraction']:.3g} % of the labels" if verdict["fraction"] != 1 else ""
    if verdict["search"].get("chosen") and any(one["fraction"] != verdict["fraction"] for one in verdict["conditions"]):
        rates += f" with {100 * verdict['fraction']:.3g} % of the labels, for the smaller shares too"
    return f"Limits: these photos, {verdict['network']}, {length_words(verdict['budget'])}{share}, {rates}."


def length_words(length: str) -> str:
    """`8ep` is "8 epochs", `1ep` "1 epoch"."""
    words = length.replace("ep", " epochs").replace("st", " steps")
    return words.removesuffix("s") if words.startswith("1 ") else words


def paragraph(said: Mapping[str, Any]) -> str:
    """The verdict as one paragraph, for the terminal."""
    return " ".join(said[key] for key in ("headline", "evidence", *MORE, "limits") if key in said)


def _leader(contrast: Mapping[str, Any]) -> str:
    return str(contrast["first"] if contrast["mean"] >= 0 else contrast["second"])


def capital(text: str) -> str:
    """With a capital first letter, for the beginning of a sentence."""
    return text[:1].upper() + text[1:]
