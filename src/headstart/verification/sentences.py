"""Explain every number in the sentences of a verdict as the rounding of a recomputed value.

A sentence is not written again. Each number in it must be the rounding of a value that its kind of sentence may show,
so that a number that follows from nothing is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from headstart.verification.sentence_values import NamedValue, candidates_of, pair_values
from headstart.verification.tree import Tree

_NUMBER = re.compile(r"[+-]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[+-]?\d+)?")
_MAX_CHARACTERS = 100_000  # of one sentence


class ShownNumber(NamedTuple):
    """A number in a sentence, with the name and the value that it is the rounding of; None: of none."""

    kind: str
    shown: str
    name: str | None
    value: float | None


def shown_numbers(sentences: Tree, verdict: Tree) -> list[ShownNumber]:
    """Return every number in the sentences of a verdict with its origin.

    Args:
        sentences: `sentences` of verdict.json.
        verdict: The recomputed verdict.
    """
    words = {arm["name"]: in_words(arm["name"]) for arm in verdict["arms"]}
    candidates = candidates_of(verdict)
    everything = [named for values in candidates.values() for named in values]
    names = re.compile("|".join(map(re.escape, sorted(_names(verdict, words), key=len, reverse=True))), re.IGNORECASE)
    rows: list[ShownNumber] = []
    for kind, texts in sentences.items():
        for text in [texts] if isinstance(texts, str) else texts or []:
            values = _of_others(text, verdict, words) if kind == "others" else candidates.get(kind, everything)
            rows += _explained(kind, text[:_MAX_CHARACTERS], values, names)
    return rows


def in_words(name: str) -> str:
    """Return an arm's name in a sentence: `file:a+lp-ft@adam` is "a (head first, then fine-tuned, with adam)"."""
    name, _comma, varied = name.partition(",")
    name, _at, optimizer = name.partition("@")
    start, *parts = re.sub(r"^(file|run):", "", name).split("+")
    tunings = {"frozen": "frozen", "lp-ft": "head first, then fine-tuned"}
    words = [tunings.get(part) or re.sub(r"^stages:(\d+)$", r"last \1 stages fine-tuned", part) for part in parts]
    words = [w if w in tunings.values() or w.startswith("last ") else f"with the head {w}" for w in words]
    if all(w.startswith("with the head") for w in words) and not start.startswith(("scratch", "stats:")):
        words = ["fine-tuned", *words]
    words += [*([f"with {optimizer}"] if optimizer else []), *filter(None, varied.split(","))]
    return f"{start} ({', '.join(words)})" if words else start


def _names(verdict: Tree, words: dict[str, str]) -> list[str]:
    """Return names in sentences, whose digits are no numbers."""
    starts = [re.split("[+@,]", name)[0].removeprefix("file:") for name in words]
    classes = [name for exposure in verdict["exposure"].values() for name in exposure["classes"]]
    examples = [name for overlap in verdict["overlaps"] for name in overlap["examples"]]
    return [name for name in [*words.values(), verdict["network"], *starts, *classes, *examples] if name]


def _of_others(text: str, verdict: Tree, words: dict[str, str]) -> list[NamedValue]:
    """Return the values of the contrast in a sentence on a further pair, found by the names of its two arms."""
    for row in verdict["contrasts"]:
        for sign, (a, b) in ((1, (row["first"], row["second"])), (-1, (row["second"], row["first"]))):
            first, second = words[a], words[b]
            pattern = rf"(undecided between )?{re.escape(first)} [a-z ]+ {re.escape(second)}: [+-]?\d"
            if first in text and second in text and re.match(pattern, text):
                return pair_values(row, sign)
    return []


def _explained(kind: str, text: str, candidates: Sequence[NamedValue], names: re.Pattern[str]) -> list[ShownNumber]:
    """Return each number of a sentence with the nearest value that it is the rounding of."""
    text = names.sub("·", text)
    rows = []
    for shown in _NUMBER.findall(text):
        plain = shown.replace(",", "")
        mantissa, _e, power = plain.partition("e")
        step = 10.0 ** (max(min(int(power or 0), 300), -300) - len(mantissa.partition(".")[2]))
        fits = [named for named in candidates if abs(float(plain) - named.value) <= step / 2 * (1 + 1e-9)]
        fits = [named for named in fits if isinstance(named.value, float) or "." not in plain]  # a count: no decimals
        best = min(fits, key=lambda named: abs(float(plain) - named.value), default=None)
        rows.append(ShownNumber(kind, shown, *(best or (None, None))))
    return rows
