"""Parse and name the arms of a study."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from headstart.config.run_config import ArmConfig
from headstart.config.start_spec import absolute_start, inner_start, short_start, start_path, start_problem, start_row
from headstart.optim.registry import OPTIMIZERS
from headstart.text import suggestion

_TUNING, _HEAD = (re.compile(ArmConfig.model_fields[name].metadata[0].pattern) for name in ("tuning", "head"))


def parse_arm(text: str) -> dict[str, str]:
    """Parse `START[+TUNING][+HEAD][@OPTIMIZER]` to the plan fields that it sets.

    The text is parsed from the right, because a path may contain + and @.

    Raises:
        ValueError: the text is not an arm.
    """
    settings: dict[str, str] = {}
    rest, at, last = text.strip().rpartition("@")
    if at and last in OPTIMIZERS:
        settings["optimizer"] = last
    elif at and re.fullmatch(r"[a-z]+", last) and "." not in last and "/" not in last:
        hint = suggestion(last, OPTIMIZERS) or ": use " + ", ".join(OPTIMIZERS)
        raise ValueError(f"the arm {text!r} has no valid optimizer after @{hint}")
    else:
        rest = text.strip()
    while "+" in rest:
        before, _, last = rest.rpartition("+")
        if _TUNING.fullmatch(last) and "tuning" not in settings:
            settings["tuning"] = last
        elif _HEAD.fullmatch(last) and "head" not in settings:
            settings["head"] = last
        elif start_row(inner_start(rest)).argument.is_path and not _exists_without_part(rest, before):
            break  # part of a path
        else:
            hint = suggestion(last, ("full", "frozen", "lp-ft", "linear"))
            raise ValueError(f"the arm {text!r} has a part {last!r} that is neither a tuning nor a head{hint}")
        rest = before
    if not rest:
        raise ValueError(f"the arm {text!r} has no start")
    if fault := start_problem(rest):
        raise ValueError(fault)
    return {"start": rest, **settings}


def _exists_without_part(whole: str, before: str) -> bool:
    """Return whether only the path before the last `+` of a start exists."""
    whole_path, path = start_path(whole), start_path(before)
    return whole_path is not None and path is not None and path.exists() and not whole_path.exists()


def absolute_arm(text: str) -> str:
    """Return an arm with its path made absolute; an invalid arm stays, and validation reports it later."""
    try:
        start = parse_arm(text)["start"]
    except ValueError:
        return text
    return text.strip().replace(start, absolute_start(start), 1)


def start_names(starts: Iterable[str]) -> dict[str, str]:
    """Return the name of each start: the shortest distinct path ends, numbered where whole paths give equal names."""
    parts = dict.fromkeys(starts, 1)
    whole = {start: short_start(start, len(start)) for start in parts}
    while True:
        names = {start: short_start(start, count) for start, count in parts.items()}
        ambiguous = [a for a in names for b in names if names[a] == names[b] and whole[a] != whole[b]]
        if not ambiguous:
            break
        for start in set(ambiguous):
            parts[start] += 1
    uses: Counter[str] = Counter()
    for start, name in names.items():
        uses[name] += 1
        names[start] = name if uses[name] == 1 else f"{name}-{uses[name]}"
    return names


def arm_name(changes: dict[str, str], start: str) -> str:
    """Return the name of an arm in a study: the name of its start, and the fields that differ from the defaults."""
    parts = [start]
    for name, default in (("tuning", "full"), ("head", "linear")):
        if changes.get(name, default) != default:
            parts.append(changes[name])
    return "+".join(parts) + (f"@{changes['optimizer']}" if "optimizer" in changes else "")


@dataclass(frozen=True)
class ArmName:
    """Parts of the name of an arm or of a variant, `START[+TUNING][+HEAD][@OPTIMIZER][,FIELD=VALUE…]`.

    Attributes:
        start: Short name of the initialization.
        tuning: Fine-tuning mode, or "" if the name has none: full.
        head: Head, or "" if the name has none: linear.
        optimizer: Optimizer, or "" if the name has none.
        varied: `FIELD=VALUE` of each field that the study varies.
    """

    start: str
    tuning: str = ""
    head: str = ""
    optimizer: str = ""
    varied: tuple[str, ...] = ()

    def without_varied(self, *fields: str) -> ArmName:
        """Return the name without the values of these varied fields."""
        prefixes = tuple(f"{field}=" for field in fields)
        return replace(self, varied=tuple(value for value in self.varied if not value.startswith(prefixes)))


def parse_arm_name(name: str) -> ArmName:
    """Return the parts of the name of an arm or of a variant."""
    arm, *varied = name.split(",")
    before, at, optimizer = arm.rpartition("@")
    rest, parts = before if at else arm, {"tuning": "", "head": ""}
    while "+" in rest:
        before, _, last = rest.rpartition("+")
        kind = "tuning" if _TUNING.fullmatch(last) else "head" if _HEAD.fullmatch(last) else ""
        if not kind or parts[kind]:
            break  # part of the name of a file
        rest, parts[kind] = before, last
    return ArmName(rest, parts["tuning"], parts["head"], optimizer if at else "", tuple(varied))
