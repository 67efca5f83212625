"""Durations with a unit: `10ep` (epochs), `500st` (steps), `20%` (of another length).

They are converted to steps once, when the training is set up, so that no other code has to know the unit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic_core import core_schema

from headstart.i18n import _

Unit = Literal["ep", "st", "%"]
MAX_LENGTH = 10**9  # epochs or steps
_PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*(ep|st|%)")


@dataclass(frozen=True, slots=True)
class Duration:
    """A length of training: `value` in epochs, steps, or per cent of another length."""

    value: float
    unit: Unit

    @classmethod
    def parse(cls, text: str | Duration) -> Duration:
        """Parse `10ep`, `500st` or `20%`.

        Raises:
            ValueError: It is anything else. A number without a unit is rejected, because a wrong guess would waste a
                whole sweep; only where the name of a field says epochs it is accepted (`EpochDuration`).
        """
        if isinstance(text, Duration):
            return text
        match = _PATTERN.fullmatch(str(text).strip())
        if match is None:
            raise ValueError(
                _(
                    "{text!r} is not a duration: write 10ep (epochs), 500st (steps), or 20% for a share of another "
                    "length",
                    text=text,
                )
            )
        value, unit = float(match[1]), match[2]
        if value > MAX_LENGTH:
            raise ValueError(_("{text!r} is longer than any training", text=text))
        if unit == "st" and value != int(value):
            raise ValueError(_("{text!r} is not a whole number of steps", text=text))
        if unit == "%" and value > 100:
            raise ValueError(_("{text!r} is more than 100%, the whole", text=text))
        return cls(value, unit)  # type: ignore[arg-type]

    def steps(self, steps_per_epoch: int, whole: int | None = None) -> int:
        """Return the number of steps, rounded to the nearest.

        Args:
            steps_per_epoch: number of steps in one epoch.
            whole: length in steps to which a percentage refers.

        Raises:
            ValueError: the duration is a percentage and `whole` is None.
        """
        if self.unit == "st":
            return int(self.value)
        if self.unit == "ep":
            return math.floor(self.value * steps_per_epoch + 0.5)
        if whole is None:
            raise ValueError(f"{self} is a share of an unknown length")
        return math.floor(self.value / 100 * whole + 0.5)

    def __str__(self) -> str:
        return f"{self.value:.15g}{self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Duration], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=core_schema.to_string_ser_schema())


T = TypeVar("T")
_NUMBER = re.compile(r"\s*\d+(?:\.\d+)?\s*")


def in_epochs(value: T) -> T | str:
    """Return a number without a unit as epochs, as text: `10` becomes `10ep`. Other values are returned unchanged."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{str(value).strip()}ep" if is_number or _NUMBER.fullmatch(str(value)) else value


EpochDuration = Annotated[Duration, BeforeValidator(in_epochs)]  # of fields whose name says epochs

_CLOCK = re.compile(r"(?:(\d+(?:\.\d+)?)\s*h)?\s*(?:(\d+(?:\.\d+)?)\s*m(?:in)?)?\s*(?:(\d+(?:\.\d+)?)\s*s)?")


def parse_seconds(text: str) -> float:
    """Parse `90s`, `20m`, `2h` or `1h30m` to seconds. Raises ValueError for anything else, and for 0 seconds."""
    match = _CLOCK.fullmatch(text.strip())
    total = sum(float(part) * unit for part, unit in zip(match.groups("0"), (3600, 60, 1), strict=True)) if match else 0
    if total <= 0:
        raise ValueError(_("{text!r} is not a time: write 90s, 20m, 2h or 1h30m", text=text))
    return total


def head_steps(epochs: Duration, head_epochs: Duration, per_epoch: int) -> int:
    """Return the steps of the head alone at the beginning of an LP-FT training.

    Args:
        epochs: Length of the training.
        head_epochs: Length of the part of the head; a share is one of the training.
        per_epoch: Steps of an epoch.
    """
    return head_epochs.steps(per_epoch, whole=epochs.steps(per_epoch))
