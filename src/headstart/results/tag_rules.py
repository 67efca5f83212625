"""Find out what a tag of an event file, or a name in a log, stands for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from headstart.errors import UsageError
from headstart.i18n import _
from headstart.report.histograms import Kind
from headstart.report.logged_run import ACCURACY, LOSS, TEST, TRAIN, UNNAMED, VAL, LoggedQuantity, curve_words
from headstart.results.registry import FILLERS, GRADIENTS, MEASURES, OTHER_MEASURES, RATES, SPLITS, WEIGHTS, WORD_COST
from headstart.text import join_list, replacement_hint

RATE = "learning rate"  # name of the learning rate in `--tag`
QUANTITIES = [LoggedQuantity(measure, split) for measure in (LOSS, ACCURACY) for split in (TRAIN, VAL, TEST)]
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[\u4e00-\u9fff]+|\d+")


@dataclass(frozen=True)
class Rate:
    """A learning rate; `part` names the part of the network, "" if the tag names none."""

    part: str


@dataclass(frozen=True)
class Layer:
    """Histograms of a layer's weights or gradients."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class Match:
    """What a tag stands for, and how many of its words say something else; a word for steps counts more."""

    meaning: LoggedQuantity | Rate
    further_words: float


def parse_tag_rules(texts: Iterable[str]) -> dict[str, LoggedQuantity | Rate]:
    """Return the meaning of each pattern of `QUANTITY=TAG`, such as "val accuracy=holdout/top1".

    A pattern may have the wildcards `*`, `?` and `[…]`.

    Raises:
        UsageError: A text has another form, or the quantity is unknown.
    """
    known: dict[str, LoggedQuantity | Rate] = {str(curve_words(quantity)): quantity for quantity in QUANTITIES}
    known[RATE] = Rate("")
    rules = {}
    for text in texts:
        name, equals, pattern = (part.strip() for part in text.partition("="))
        meaning = known.get(" ".join(name.lower().replace("_", " ").split()))
        if not equals or not pattern:
            raise UsageError(
                _("--tag {text!r} does not name a quantity and a tag.", text=text),
                _('Write for example "val accuracy=TAG". Quantities: {names}.', names=join_list(known)),
            )
        if meaning is None:
            raise UsageError(
                _("There is no quantity {name!r} for --tag.", name=name),
                replacement_hint(name, known) or _("Use one of {names}.", names=join_list(known)),
            )
        rules[pattern] = meaning
    return rules


def match_curve(tag: str, rules: Mapping[str, LoggedQuantity | Rate] | None = None) -> Match | None:
    """Return what a tag of scalars stands for, by the user's rules, else by its words; None if nothing fits.

    A tag with several splits has that of its last part: `train_val_loss/val` is the loss on val.
    """
    for pattern, meaning in (rules or {}).items():
        if tag == pattern or fnmatchcase(tag, pattern):
            return Match(meaning, -1)
    words = tag_words(tag)
    if _first(words, OTHER_MEASURES):
        return None
    if found := _first(words, RATES):
        further = [word for word in without(words, found) if word not in SPLITS]
        return Match(Rate(" ".join(further)), _cost(without(words, found)))
    measure = _first(words, MEASURES)
    if not measure:
        return None
    last = tag_words(tag.rsplit("/", 1)[-1])
    named = {SPLITS[word] for word in words if word in SPLITS}
    if len(named) > 1:
        named = {SPLITS[word] for word in last if word in SPLITS}
    if len(named) > 1:
        return None
    further = [word for word in without(words, measure) if word not in SPLITS]
    return Match(LoggedQuantity(MEASURES[measure], named.pop() if named else UNNAMED), _cost(further))


def _cost(words: Sequence[str]) -> float:
    """Return how little words fit a tag of one value per epoch."""
    return sum(WORD_COST.get(word, 1.0) for word in words)


def match_layer(tag: str) -> Layer:
    """Return the layer whose weights or gradients a tag of histograms stands for.

    `conv1.weight`, `weights/conv1` and `conv1` are the weights of `conv1`; with a word for gradients, its gradients.
    Biases are a layer of their own, such as `conv1.bias`.
    """
    parts = [part for part in re.split(r"[^\w\u4e00-\u9fff]+", tag) if part]
    names: list[str] = []
    kind: Kind = "weights"
    for part in parts:
        words = tag_words(part)
        if any(word in GRADIENTS for word in words):
            kind = "gradients"
            part = re.sub("|".join(sorted(GRADIENTS, key=len, reverse=True)), "", part, flags=re.IGNORECASE).strip("_")
        if part and part.lower() not in WEIGHTS:
            names.append(re.sub(r"_(?:weights?|params?)$", "", part))
    return Layer(kind, ".".join(names) or tag)


def tag_words(tag: str) -> list[str]:
    """Return the words of a tag in lower case: "trainAcc@1/epoch" gives train, acc@1, epoch."""
    words: list[str] = []
    for part in re.split(r"[^\w@]+|_", tag):
        if "@" in part or re.search(r"[a-z]\d+$", part):
            words.append(part.lower())
        else:
            words += [word.lower() for word in WORD.findall(part)]
    return _split_cjk(words)


def _split_cjk(words: Sequence[str]) -> list[str]:
    """Divide words without spaces, such as 训练损失, into the known ones."""
    if all(map(str.isascii, words)):
        return list(words)
    tables = (MEASURES, SPLITS, RATES, GRADIENTS, FILLERS)
    known = sorted((word for table in tables for word in table if not word.isascii()), key=len, reverse=True)
    pattern = re.compile("(" + "|".join(map(re.escape, known)) + ")")
    return [part for word in words for part in (pattern.split(word) if not word.isascii() else [word]) if part]


def _first(words: Sequence[str], known: Collection[str]) -> str:
    """Return the known term that is in the words, the longest one; "" if none is."""
    text = f" {' '.join(words)} "
    return max((term for term in known if f" {term} " in text), key=len, default="")


def without(words: Sequence[str], term: str) -> list[str]:
    """Return the words without those of a term."""
    return f" {' '.join(words)} ".replace(f" {term} ", " ").split()
