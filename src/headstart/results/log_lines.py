"""Read lines of text that a training script printed: epochs, and numbers after names of accuracy and loss."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from headstart.report.logged_run import ACCURACY, UNNAMED, LoggedQuantity
from headstart.results.log_values import LogEntry, LogValue, matched
from headstart.results.registry import FILLERS, MEASURES, OPEN_WORDS, RATES, SPLITS
from headstart.results.tag_rules import Match, Rate, match_curve, tag_words

# Not `epochs: 30`, which is a setting.
EPOCH = re.compile(r"(?:\bepoch\b|\bep\b|轮次|周期|轮)[^\w\n]{0,6}(\d+)|第\s*(\d+)\s*(?:轮|个)", re.IGNORECASE)
COUNTED = re.compile(r"^\s*[\[(]\s*(\d+)\s*/\s*\d+\s*[\])]")  # [3/30], in logs without a word for epochs
NUMBER = re.compile(
    r"(?<![\w.@\-])([-+]?(?:\d{1,3}(?:,\d{3})+(?![\d.])|\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|inf)"
    r"(?:\s*(%)|\s*/\s*(\d[\d,]*))?(?!\w)",
    re.IGNORECASE,
)
AVERAGE = re.compile(rf"\s*\(\s*{NUMBER.pattern}\s*\)", re.IGNORECASE)  # after the value of a batch
SAVED = re.compile(r"\bsav(?:ed|ing)\b", re.IGNORECASE)
SAVED_CHINESE = "保存"
SAVED_THING = re.compile(r"\b(?:model|checkpoint|weights|best)\b", re.IGNORECASE)
NOT_SAVED = re.compile(r"\b(?:not|without)\s+sav|未保存|不保存", re.IGNORECASE)
BEST = r"\bbest\b|最佳|最好"
COMPARED = re.compile(BEST, re.IGNORECASE)  # such numbers may be of another epoch
IMPROVED = re.compile(r"\b(?:improv|decreas|increas)(?:ed?|ing)\b|提升", re.IGNORECASE)  # "from 0.4 to 0.5"
LOADED = re.compile(rf"\b(?:load(?:ed|ing)?|restor(?:ed|ing))\b|加载|{BEST}", re.IGNORECASE)
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colors and movements of the cursor
LETTER = re.compile(r"[^\W\d_]")
STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?|\b\d\d:\d\d:\d\d\b")  # date and time


MAX_LINE = 4000  # characters that are read of a line: of a longer one the first and the last
MAX_START = 500
MAX_LABEL = 300  # characters of the text before a number that may be its name


def text_lines(text: str) -> list[str]:
    """Return the lines of a text as a terminal shows them one after the other, without empty ones.

    Lines that are far longer than programs print them are cut in the middle: the last values of an epoch count, such as
    those behind a bar of progress that was drawn again and again.
    """
    lines = [part for line in text.splitlines() for part in ESCAPES.sub("", line).split("\r") if part.strip()]
    return [f"{line[:MAX_START]} {line[MAX_START - MAX_LINE :]}" if len(line) > MAX_LINE else line for line in lines]


def read_lines_of_text(lines: Iterable[str]) -> Iterator[LogEntry]:
    """Yield what each line says.

    A line without an epoch belongs to the one before it. A name without a split has that of the last word for one, in
    the line or, in the same epoch, in a line before it.
    """
    lines = [STAMP.sub(" ", line) for line in lines]
    pattern = EPOCH if any(EPOCH.search(line) for line in lines) else COUNTED
    split = UNNAMED
    for line in lines:
        found = pattern.search(line)
        if found and LOADED.search(line[: found.start()]):  # "Loaded best model from epoch 3"
            found = None
        epoch = int(next(filter(None, found.groups()))) if found else None
        late = bool(found and found.start() and _values(line[: found.start()], UNNAMED)[0])
        if found:
            line = line[: found.start()] + " " + line[found.end() :]
            split = UNNAMED
        saved = None if NOT_SAVED.search(line) else _saved_place(line)
        values: list[LogValue] = []
        if not IMPROVED.search(line):
            values, split = _values(line[:saved], split)
        if epoch is not None or values or saved is not None:
            yield LogEntry(epoch, values, saved is not None, late)


def _saved_place(line: str) -> int | None:
    """Return where a line begins to say that a model was saved, at the name of what was; None if it does not."""
    places = [place] if (place := line.find(SAVED_CHINESE)) >= 0 else []
    if word := SAVED.search(line):
        begin = max(line.rfind(sign, 0, word.start()) for sign in ",;|") + 1
        thing = SAVED_THING.search(line, begin, word.start())
        places.append((thing or word).start())
    return min(places, default=None)


def _values(line: str, split: str) -> tuple[list[LogValue], str]:
    """Return the numbers of a line with a known meaning, and the last split that it names, else the given one."""
    values: list[LogValue] = []
    label, end = "", 0
    if not LETTER.search(line):  # no name
        return values, split
    for found in NUMBER.finditer(line):
        if found.start() < end:
            continue  # the average of the number before it
        part, end = line[end : found.start()], found.end()
        split = _last_split(part) or split
        label = (label + part)[-MAX_LABEL:]
        match = _match(label)
        if match is None:
            label = label if _is_open(label) and matched(label) else ""
            continue
        average = AVERAGE.match(line, found.end())
        if average and not found[2] and not found[3] and average[1][0] not in "+-":  # not a change, (+0.1)
            end = average.end()
        shown = average if average and end == average.end() else found
        number, is_share = _number(shown, match)
        meaning = match.meaning
        if isinstance(meaning, LoggedQuantity) and meaning.split == UNNAMED:
            meaning = LoggedQuantity(meaning.measure, split)
        if not COMPARED.search(label):
            values.append(LogValue(meaning, number, is_share))
        label = ""
    return values, _last_split(line[end:]) or split


def _number(found: re.Match[str], match: Match) -> tuple[float, bool]:
    """Return a number, and whether it is a share: per cent, or of an accuracy the correct images of all."""
    number = float(found[1].replace(",", ""))
    if found[2]:
        return number / 100, True
    if found[3] and isinstance(match.meaning, LoggedQuantity) and match.meaning.measure == ACCURACY:
        return number / max(float(found[3].replace(",", "")), 1.0), True
    return number, False


@functools.lru_cache(maxsize=4096)
def _match(label: str) -> Match | None:
    """Return what the text before a number says that it is; None if other words stand between name and number."""
    words = tag_words(label)
    if any(f" {' '.join(words)}".endswith(f" {term}") for term in RATES):
        return Match(Rate(""), 0)
    match = matched(label)
    if match is None or isinstance(match.meaning, Rate) or _is_open(label):
        return None
    known = FILLERS | SPLITS.keys()
    own = [part for part in label.split() if match_curve(part)]  # loss_box is not the loss
    further = set(tag_words(own[-1])) - known if own else set()
    further = {word for word in further if word not in MEASURES}
    if further or set(_words_after_name(words)) - known:
        return None
    named = match.meaning.split != UNNAMED
    return match if named or not _is_qualified(tag_words(_name(label)), known) else None


def _is_qualified(words: Sequence[str], known: Collection[str]) -> bool:
    """Return whether a word before the name of a measure restricts it: "cat accuracy" is not that of all images."""
    count = next((count for count in range(1, len(words) + 1) if match_curve(" ".join(words[:count]))), 0)
    return any(word not in known and word not in MEASURES for word in words[: count - 1])


def _is_open(label: str) -> bool:
    """Return whether the number is not that of the name yet: "Accuracy on the 10000 test images: 55 %"."""
    words = label.split()
    return bool(words) and words[-1].lower() in OPEN_WORDS


def _words_after_name(words: Sequence[str]) -> list[str]:
    """Return the words after the name of a measure."""
    count = len(words)
    while count and match_curve(" ".join(words[:count])):
        count -= 1
    return list(words[count + 1 :])


@functools.lru_cache(maxsize=4096)
def _last_split(text: str) -> str:
    """Return the split that the last part of a text names without a measure; "" if none does. `val_loss` names none."""
    named = ""
    for part in re.split(r"[\s:：，,|;]+", text):
        words = [word for word in tag_words(part) if word not in FILLERS]
        named = SPLITS[words[0]] if len(words) == 1 and words[0] in SPLITS else named
    return named


def _name(label: str) -> str:
    """Return the name before a number without what is before it on the line."""
    return re.split(r"[|,;>\])}:：]|\s-\s", label.rstrip(" :=：(["))[-1]
