"""Read labels: one class for one label in several spellings, where that is certain, else a question to the user."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Context, Decimal

from headstart.data.image_index import natural_key
from headstart.data.tables.options import TableOptions, column_flag
from headstart.data.tables.table import Column, Table, TableSizeError, empty_error, first_row
from headstart.errors import DataError
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.text import join_first, join_list

MAX_LABELS = 100_000  # the largest public sets of photos have 20,000 to 80,000 species
# What programs write for a missing value. Each may also be a name, so that it stays a class.
WORDS_FOR_NOTHING = frozenset(
    {"nan", "-nan", "na", "n/a", "#n/a", "#na", "<na>", "none", "null", "nil", "nat", "undefined", "\\n"}
    | {"#null!", "#ref!", "#value!", "#name?", "#div/0!", "#num!"}  # of Excel
)
_BOOLEANS = frozenset({"true", "false"})
_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")
_THOUSANDS = re.compile(r"-?[1-9][0-9]{0,2}(?:([,.'\u2019\u202f\u00a0 ])[0-9]{3})(?:\1[0-9]{3})*")
_SEPARATORS = re.compile(r"\s*[|;,/+&]\s*|\s+")  # of several labels in one value
_BRACKETS = " []()'\""
_INVISIBLE = re.compile("[\u200b\u2060\ufeff\u00ad\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # also marks of direction
# The joiners U+200C and U+200D are not among them: words and emoji have them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HALF = re.compile("[\ud800-\udfff]")
_SHOWN_GROUPS = 3
_SHOWN_CHARACTERS = 40


def read_labels(table: Table, column: Column, options: TableOptions) -> tuple[list[str], list[Message]]:
    """Return the class name of each row, and notes on what was decided.

    `1` and `1.0`, equal letters in different Unicode forms, and different blanks are one class. Numbers that a column
    with gaps turned into 1.0 and 2.0 are 1 and 2. The booleans are true and false, however they are capitalized.

    Args:
        table: The table, for messages.
        column: The labels.
        options: What the user decided about spellings.

    Raises:
        TableSizeError: There are more labels than classes that can be trained.
        DataError: A label is missing or has a line break, or labels differ in capitals or leading zeros only.
    """
    names = {value: value.strip() for value in dict.fromkeys(column.values)}
    _require_few(table, len(names))
    _require_unicode(table, column.values, "label")
    _require_plain(table, column, names)
    counts: Counter[str] = Counter()
    for value, count in Counter(column.values).items():
        counts[names[value]] += count
    text_only = {name for name in counts if name in column.text_only}
    notes = [] if options.keep_labels else _rename(table, names, _certain(counts, text_only, options), counts)
    counts = Counter(dict.fromkeys(names.values(), 0))
    for value, count in Counter(column.values).items():
        counts[names[value]] += count
    if not options.keep_labels:
        notes += _rename(table, names, _uncertain(table, counts, text_only, options), counts)
    notes += [*_notes_on_text_numbers(table, counts, text_only), *_notes_on_nothing(table, "label", counts)]
    notes += _notes_on_several(table, counts)
    return [names[value] for value in column.values], notes


def read_groups(table: Table, column: Column) -> tuple[list[str], list[Message]]:
    """Return the group of each row, "" for none, and a note on groups that are words for nothing."""
    groups = [value.strip() for value in column.values]
    _require_unicode(table, groups, "group")
    return groups, list(_notes_on_nothing(table, "group", Counter(groups)))


def _require_few(table: Table, labels: int) -> None:
    """Raise TableSizeError for a column of more labels than data of classes have: it has other values."""
    if labels > MAX_LABELS:
        raise TableSizeError(
            _(
                "{manifest} has {count:,} different labels, and at most {limit:,} are read.",
                manifest=table.name,
                count=labels,
                limit=MAX_LABELS,
            ),
            _("Name the column of the classes with {flag}.", flag=column_flag("label")),
        )


def _require_unicode(table: Table, values: Sequence[str], column: str) -> None:
    """Raise DataError for the first value with half of a character, as JSON can have: no file can contain it."""
    halves = {value for value in dict.fromkeys(values) if _HALF.search(value)}
    if halves:
        row = first_row([value in halves for value in values])
        raise DataError(
            _(
                "{place} has half of a character in its {column}: {value!a}.",
                place=table.place(row),
                column=column,
                value=values[row][:_SHOWN_CHARACTERS],
            ),
            _("Write the {column} again.", column=column),
        )


def _require_plain(table: Table, column: Column, names: Mapping[str, str]) -> None:
    """Raise DataError for the first row with an empty label, or with one that no line of text can contain."""
    wrong = {value for value, name in names.items() if not name or _CONTROL.search(name)}
    if not wrong:
        return
    if empty := [row for row, value in enumerate(column.values) if not names[value]]:
        raise empty_error(table, "label", empty)
    row = first_row([value in wrong for value in column.values])
    name = names[column.values[row]]
    shown = name[:_SHOWN_CHARACTERS] + ("…" if len(name) > _SHOWN_CHARACTERS else "")
    raise DataError(
        _(
            "{place} has a line break or control character in its label: {label!r}.",
            place=table.place(row),
            label=shown,
        ),
        _("Correct the label; if it begins with a quote, remove the quote."),
    )


def _rename(
    table: Table, names: dict[str, str], groups: Mapping[str, list[str]], counts: Mapping[str, int]
) -> list[Message]:
    """Give each group of labels its one name in `names`, and return a note on it."""
    renamed = {name: target for target, group in groups.items() for name in group if name != target}
    for value, name in names.items():
        names[value] = renamed.get(name, name)
    merged = {target: group for target, group in groups.items() if len(group) > 1}
    notes = []
    if merged:
        notes.append(
            ngettext(
                "{manifest} has one label in several spellings, which is one class: {spellings} "
                "(--keep-labels keeps them apart).",
                "{manifest} has {count:,} labels in several spellings, each of which is one class: {spellings} "
                "(--keep-labels keeps them apart).",
                len(merged),
                manifest=table.name,
                spellings=_list_groups(merged, counts),
            )
        )
    if single := [group[0] for target, group in groups.items() if len(group) == 1 and group[0] != target]:
        notes.append(
            _(
                "Labels of {manifest} are read without capitals and zero decimals, such as {label!r} as {name!r} "
                "(--keep-labels keeps them).",
                manifest=table.name,
                name=renamed[single[0]],
                label=single[0],
            )
        )
    return notes


def _list_groups(groups: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> Message:
    shown = [
        _(
            "{spellings} as {name!r}",
            spellings=join_list(verbatim(f"{name!r} ({counts[name]:,})") for name in sorted(group, key=natural_key)),
            name=target,
        )
        for target, group in groups.items()
    ]
    return join([*shown[:_SHOWN_GROUPS], *(["…"] if len(shown) > _SHOWN_GROUPS else [])], "; ")


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return list(groups.values())


def _certain(counts: Mapping[str, int], text_only: set[str], options: TableOptions) -> dict[str, list[str]]:
    """Return labels that are certainly the same, by the name of their class."""
    booleans = all(name.casefold() in _BOOLEANS for name in counts)
    numbers = [name for name in counts if _NUMBER.fullmatch(name)]
    all_whole = all(_WHOLE_NUMBER.fullmatch(name) for name in numbers)
    result: dict[str, list[str]] = {}
    for group in _grouped(counts, lambda name: name.casefold() if booleans else _exact_key(name)):
        is_number = _WHOLE_NUMBER.fullmatch(group[0]) is not None
        named = [name for name in group if name in options.classes]
        if len(named) > 1 or _are_text_numbers(group, text_only):
            continue
        if len(group) == 1 and not booleans and not (is_number and all_whole):
            continue  # 0.5, 1.0, 1.5, or a name
        target = group[0].casefold() if booleans else _exact_key(group[0])
        result[named[0] if named else target] = group
    return result


def _are_text_numbers(group: Sequence[str], text_only: set[str]) -> bool:
    """Return True for whole numbers that are text wherever they occur: they are names, such as versions."""
    return text_only.issuperset(group) and all(map(_WHOLE_NUMBER.fullmatch, group))


def _exact_key(name: str) -> str:
    """Return the form that equal labels share: a whole number without decimals, or letters in Unicode form C."""
    if match := _WHOLE_NUMBER.fullmatch(name):
        return match[1]
    return " ".join(_INVISIBLE.sub("", unicodedata.normalize("NFC", name)).split())


def _uncertain(
    table: Table, counts: Mapping[str, int], text_only: set[str], options: TableOptions
) -> dict[str, list[str]]:
    """Return labels that the user merges, by the name of their class: the spelling of most rows.

    Raises:
        DataError: Labels may be the same, and the user has not decided.
    """
    words = [name for name in counts if name.casefold() not in WORDS_FOR_NOTHING or options.merge_labels]
    groups = [
        group
        for group in _grouped(words, _loose_keys(words).__getitem__)
        if len(group) > 1
        and sum(name in options.classes for name in group) < 2
        and (options.merge_labels or not _are_text_numbers(group, text_only))
    ]
    if options.classes:  # other labels are not used
        groups = [group for group in groups if set(group) & set(options.classes)]
    if not groups:
        return {}
    best = {min(group, key=lambda name: (-counts[name], natural_key(name))): group for group in groups}
    if not options.merge_labels:
        listed = [
            join_list(verbatim(f"{name!r} ({counts[name]:,})") for name in sorted(group, key=natural_key))
            for group in groups
        ]
        raise DataError(
            ngettext(
                "{manifest} has labels that may be one class in several spellings: {labels}.",
                "{manifest} has {count:,} sets of labels that may be one class in several spellings: {labels}.",
                len(groups),
                manifest=table.name,
                labels=join([*listed[:_SHOWN_GROUPS], *(["…"] if len(listed) > _SHOWN_GROUPS else [])], "; "),
            ),
            _("Use --merge-labels to make one class of them, or --keep-labels to keep each as a class."),
        )
    return best


def _loose_keys(names: Sequence[str]) -> dict[str, str]:
    """Return the form that labels share which a person may have meant as the same: 01 and 1, Cat and cat, a_b and a b.

    1,000 is 1000 if that is a label too. True and False are 1 and 0 if there are no other labels.
    """
    keys = {name: _loose_key(name) for name in names}
    for name in names:
        if _THOUSANDS.fullmatch(name) and (plain := re.sub("[^0-9-]", "", name)) in keys:
            keys[name] = keys[plain]
    kinds = {*keys.values()}
    if kinds <= {*_BOOLEANS, "0", "1"} and kinds & _BOOLEANS and kinds - _BOOLEANS:
        keys = {name: {"true": "1", "false": "0"}.get(key, key) for name, key in keys.items()}
    return keys


def _loose_key(name: str) -> str:
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", name)).replace("\u2212", "-").strip()
    if _NUMBER.fullmatch(plain):
        exact = Context(prec=len(plain))  # all digits: the default context rounds to 28
        return str(exact.plus(Decimal(plain.replace(",", ".")).normalize(exact)))  # plus: -0 is 0
    return " ".join(
        re.split(r"[\s_-]+", plain.casefold().replace("i\u0307", "i"))
    )  # i with a dot: of the Turkish capital


def _notes_on_several(table: Table, counts: Mapping[str, int]) -> Iterable[Message]:
    """Yield a note on labels that are lists of others: `a|b`, `['a', 'b']`."""
    parts = {name: [part.strip(_BRACKETS) for part in _SEPARATORS.split(name.strip(_BRACKETS))] for name in counts}
    single = {words[0] for words in parts.values() if len(words) == 1}
    if several := [name for name, words in parts.items() if len(words) > 1 and single.issuperset(words)]:
        yield ngettext(
            "{count:,} label of {manifest} is made of others and is a class of its own: {labels}. "
            "headstart trains one class for each image.",
            "{count:,} labels of {manifest} are made of others and are classes of their own: {labels}. "
            "headstart trains one class for each image.",
            len(several),
            manifest=table.name,
            labels=join_first([*map(repr, several)], _SHOWN_GROUPS),
        )


def _notes_on_text_numbers(table: Table, counts: Mapping[str, int], text_only: set[str]) -> Iterable[Message]:
    groups = _grouped((name for name in counts if _WHOLE_NUMBER.fullmatch(name)), _exact_key)
    if shown := [group for group in groups if len(group) > 1 and _are_text_numbers(group, text_only)]:
        yield _(
            "{manifest} has numbers that are text in every row and separate classes: {labels} "
            "(--merge-labels makes one class of them).",
            manifest=table.name,
            labels=join([join_list(map(repr, group)) for group in shown[:_SHOWN_GROUPS]], "; "),
        )


def _notes_on_nothing(table: Table, column: str, counts: Mapping[str, int]) -> Iterable[Message]:
    words = sorted((name for name in counts if name.casefold() in WORDS_FOR_NOTHING), key=natural_key)
    if not words:
        return
    listed = join_first([f"{word!r} ({counts[word]:,})" for word in words], len(WORDS_FOR_NOTHING))
    if column == "label":
        yield _(
            "{manifest} has labels that programs write for a missing value, and they are classes: {words}. "
            "If they mean nothing, remove these rows.",
            manifest=table.name,
            words=listed,
        )
    else:
        yield _(
            "{manifest} has groups that programs write for a missing value, and each is one group: {words}. "
            "If they mean nothing, empty these cells.",
            manifest=table.name,
            words=listed,
        )
