"""Parse and name the arms of a study."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import get_args

from headstart.config import start_spec
from headstart.config.run_config import ArmConfig, RecipeConfig
from headstart.config.start_spec import absolute_start, short_start, start_path
from headstart.text import nearest

_OPTIMIZERS = get_args(RecipeConfig.model_fields["optimizer"].annotation)
_TUNING, _HEAD = (re.compile(ArmConfig.model_fields[name].metadata[0].pattern) for name in ("tuning", "head"))


def parse_arm(text: str) -> dict[str, str]:
    """The fields that `START[+TUNING][+HEAD][@OPTIMIZER]` sets. A path may hold + and @: it is read from the right."""
    found: dict[str, str] = {}
    rest, at, last = text.strip().rpartition("@")
    if at and last in _OPTIMIZERS:
        found["optimizer"] = last
    elif at and re.fullmatch(r"[a-z]+", last) and "." not in last and "/" not in last:
        near = nearest(last, _OPTIMIZERS)
        raise ValueError(f"the arm {text!r} names no optimizer after @{near or ': use ' + ', '.join(_OPTIMIZERS)}")
    else:
        rest = text.strip()
    while "+" in rest:
        before, _, last = rest.rpartition("+")
        if _TUNING.fullmatch(last) and "tuning" not in found:
            found["tuning"] = last
        elif _HEAD.fullmatch(last) and "head" not in found:
            found["head"] = last
        elif re.fullmatch(r"(?:file|run|source|stats):.*", rest) and not _cut_short(rest, before):
            break  # part of a path
        else:
            near = nearest(last, ("full", "frozen", "lp-ft", "linear"))
            raise ValueError(f"the arm {text!r} has a part {last!r} that is no tuning and no head{near}")
        rest = before
    if not rest:
        raise ValueError(f"the arm {text!r} names no start")
    if told := start_spec.start_error(rest):
        raise ValueError(told)
    return {"start": rest, **found}


def _cut_short(whole: str, before: str) -> bool:
    """Whether there is nothing at the path of a start, and something at the path before its last `+`."""
    whole_path, path = start_path(whole), start_path(before)
    return whole_path is not None and path is not None and path.exists() and not whole_path.exists()


def _anchored_arm(text: str) -> str:
    """An arm with its path made absolute; what cannot be read stays, and is told later."""
    try:
        start = parse_arm(text)["start"]
    except ValueError:
        return text
    return text.strip().replace(start, absolute_start(start), 1)


def _called(starts: Iterable[str]) -> dict[str, str]:
    """What each start is called: with as much of its path as tells it apart, numbered where all of it does not."""
    shown = dict.fromkeys(starts, 1)
    whole = {start: short_start(start, len(start)) for start in shown}
    while True:
        names = {start: short_start(start, parts) for start, parts in shown.items()}
        alike = [a for a in names for b in names if names[a] == names[b] and whole[a] != whole[b]]
        if not alike:
            break
        for start in set(alike):
            shown[start] += 1
    seen: Counter[str] = Counter()
    for start, name in names.items():
        seen[name] += 1
        names[start] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return names


def arm_text(changes: dict[str, str], start: str) -> str:
    """How a study calls an arm: what its start is called, and `parse_arm`'s fields without what is usual."""
    said = [start]
    said += [changes[name] for name, usual in (("tuning", "full"), ("head", "linear")) if name in changes
             and changes[name] != usual]  # fmt: skip
    return "+".join(said) + (f"@{changes['optimizer']}" if "optimizer" in changes else "")
