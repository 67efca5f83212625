"""Format numbers, lists and names for sentences."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from headstart.i18n import Message, _, join, ngettext, verbatim


def join_list(names: Iterable[str]) -> Message:
    """Join one name or more as `a, b and c`; if some contain commas outside of parentheses as `a, b; c; and d`."""
    *first, last = names
    if not first:
        return join([last])
    if any("," in re.sub(r"\([^()]*\)", "", name) for name in (*first, last)):
        return _("{first}; and {last}", first=join(first, "; "), last=last)
    return _("{first} and {last}", first=join(first, ", "), last=last)


def join_first(names: Sequence[str], count: int) -> Message:
    """Join the first `count` names as `a, b, …`; the ellipsis stands for the others, if any."""
    return join([*names[:count], *(["…"] if len(names) > count else [])], ", ")


def align_columns(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Return rows as lines of equal columns: the first `left` columns are aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def end_sentence(clause: Message) -> Message:
    """Return a clause with a full stop, or unchanged if it already ends as a sentence or question."""
    return clause if clause.endswith((".", "?")) else _("{clause}.", clause=clause)


def message_of(error: Exception) -> Message:
    """Return the message that an error was raised with; the text of another program's error is not translated."""
    content = error.args[0] if error.args else ""
    return content if isinstance(content, Message) else verbatim(str(error))


def format_points(value: float, *, signed: bool = False) -> str:
    """Format a difference of accuracies (-1 to 1) in percentage points with one decimal."""
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text.replace("-0.0", "0.0").replace("+0.0", "0.0")


def format_level(level: float) -> Message:
    """Format a confidence level: 0.95 as `95 %`, with as many digits as needed to stay below 100."""
    digits = 3
    while float(f"{100 * level:.{digits}g}") >= 100 and digits < 12:
        digits += 1
    percent = f"{100 * level:.{digits}g}"
    return _("{percent} %", percent=percent)


def format_percent(value: float) -> Message:
    """Format an accuracy (0 to 1) in per cent with one decimal."""
    return _("{percent:.1f} %", percent=100 * value)


def format_number(value: float) -> Message:
    """Format a number with two digits."""
    return verbatim(f"{value:.2g}") if math.isfinite(value) else _("not finite")


def format_bytes(count: int) -> Message:
    """Format a number of bytes in kB, MB or GB: `12 MB`, `3.4 GB`."""
    if count >= 1e9:
        return _("{size:.1f} GB", size=count / 1e9)
    if count >= 1e6:
        return _("{size:.0f} MB", size=count / 1e6)
    return _("{size:.0f} kB", size=count / 1e3)


def format_remaining(seconds: float | None, now: datetime) -> Message:
    """Format the remaining time as `about 12 min left (until 14:32)`, empty if nothing is left or it is unknown."""
    if not seconds:
        return join([])
    if seconds < 60:
        return _("less than a minute left")
    end = (now + timedelta(seconds=seconds)).strftime("%H:%M" if seconds < 12 * 3600 else "%b %d %H:%M")
    return _("about {duration} left (until {end})", duration=format_duration(seconds), end=end)


def format_duration(seconds: float) -> Message:
    """Format a rounded duration as `45 s`, `12 min` or `2 h 05 min`."""
    if seconds < 99.5:
        return _("{seconds:.0f} s", seconds=seconds)
    minutes = round(seconds / 60)
    if minutes < 100:
        return _("{minutes} min", minutes=minutes)
    return _("{hours} h {minutes:02d} min", hours=minutes // 60, minutes=minutes % 60)


def relative_path(path: str) -> str:
    """Return a path relative to the working directory if it is in it, otherwise the path."""
    try:
        inside = Path(path).relative_to(Path.cwd())
    except (ValueError, OSError):  # elsewhere, or the working directory was removed
        return path
    return str(inside) if inside.parts else path


_FORMULA_SIGNS = tuple("=+-@＝＋－＠")  # spreadsheets in East Asian languages read the wide ones too


def _begins_formula(text: str) -> bool:
    if not text.startswith(_FORMULA_SIGNS):
        return False
    try:
        float(text)  # -1 and +1 are numbers there too
    except ValueError:
        return True
    return False


def formula_notes(names: Iterable[str]) -> list[Message]:
    """Return a note on names in a CSV that a spreadsheet may run as formulas; none if there are no such names.

    The names stay as they are: the table is read back, and joined with names of files and classes.
    """
    count = sum(map(_begins_formula, set(names)))
    note = ngettext(
        "{count} name begins with =, +, - or @: a spreadsheet may run it as a formula. Import the columns as text.",
        "{count} names begin with =, +, - or @: a spreadsheet may run them as formulas. Import the columns as text.",
        count,
    )
    return [note] if count else []


def closest(name: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the choice that is most similar to a name, or "" if none is similar; case, - and _ do not count.

    Args:
        name: The name, such as a misspelled flag.
        choices: Valid names.
        cutoff: Smallest similarity (0 to 1).
    """
    folded = {_fold(choice): choice for choice in choices}
    close = difflib.get_close_matches(_fold(name), folded, n=1, cutoff=cutoff)
    return folded[close[0]] if close else ""


def _fold(name: str) -> str:
    return name.casefold().replace("-", "_")


def suggestion(name: str, choices: Iterable[str]) -> Message:
    """Return `; did you mean 'optimizer'?` if a choice is similar to the name, else an empty string."""
    choice = closest(name, choices)
    return did_you_mean(choice) if choice else join([])


def did_you_mean(choice: str) -> Message:
    """Return `; did you mean 'optimizer'?`, which ends a sentence."""
    return _("; did you mean {choice!r}?", choice=choice)


def replacement_hint(name: str, choices: Iterable[str]) -> Message:
    """Return the hint `Use 'optimizer'.` if a choice is similar to the name, else an empty string."""
    choice = closest(name, choices)
    return _("Use {choice!r}.", choice=choice) if choice else join([])
