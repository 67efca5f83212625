"""Compare two trees of JSON data, leaf by leaf."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Tree: TypeAlias = dict[str, Any]  # JSON data with the fields of a schema
RELATIVE, ABSOLUTE = 1e-8, 1e-11  # differences of numbers up to these are rounding
RELATIVE_LOSS = 1e-4  # of losses, which runs add up in single precision


@dataclass(frozen=True)
class Leaf:
    """A value of the verdict with the recomputed one; `absent` where only one of the two exists."""

    where: str
    stated: Any
    recomputed: Any
    absent: bool = False

    @property
    def is_number(self) -> bool:
        """True if the stated value is a number, or the recomputed one where there is none."""
        return is_number(self.stated) or (not self.stated and is_number(self.recomputed))

    @property
    def distance(self) -> float:
        """Absolute difference of two numbers; 0 for other values."""
        both = is_number(self.stated) and is_number(self.recomputed)
        return abs(self.stated - self.recomputed) if both else 0.0

    @property
    def differs(self) -> bool:
        """True if the values differ by more than rounding."""
        if self.absent:
            return True
        if is_number(self.stated) and is_number(self.recomputed):
            relative = RELATIVE_LOSS if self.where.endswith(".loss") else RELATIVE
            return not math.isclose(self.stated, self.recomputed, rel_tol=relative, abs_tol=ABSOLUTE)
        return type(self.stated) is not type(self.recomputed) or bool(self.stated != self.recomputed)


def is_number(value: object) -> bool:
    """Return True for integers and floats, but not for truth values."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def leaves(stated: Any, recomputed: Any, where: str = "") -> Iterator[Leaf]:
    """Yield every leaf of two trees; a list or a table that only one of them has is a leaf without a counterpart."""
    if isinstance(stated, dict) and isinstance(recomputed, dict):
        for key in [*stated, *(key for key in recomputed if key not in stated)]:
            inner = f"{where}.{key}" if where else key
            if key in stated and key in recomputed:
                yield from leaves(stated[key], recomputed[key], inner)
            else:
                yield Leaf(inner, stated.get(key), recomputed.get(key), absent=True)
    elif isinstance(stated, list) and isinstance(recomputed, list):
        common = min(len(stated), len(recomputed))
        for place in range(common):
            yield from leaves(stated[place], recomputed[place], f"{where}[{place}]")
        for place, value in enumerate(stated[common:], common):
            yield Leaf(f"{where}[{place}]", value, None, absent=True)
        for place, value in enumerate(recomputed[common:], common):
            yield Leaf(f"{where}[{place}]", None, value, absent=True)
    else:
        yield Leaf(where, stated, recomputed)


def text(value: Any) -> str:
    """Return a value as JSON, without the middle of a long one."""
    content = json.dumps(value)
    return content if len(content) <= 120 else f"{content[:80]}…{content[-30:]}"
