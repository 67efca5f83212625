"""Schema of an arm of a study. Its name is rendered from it and never parsed back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import core_schema

from headstart.i18n import _
from headstart.storage.schemas.schema import Schema

USUAL_HEAD = "linear"  # which names and words leave out


class TuningKind(StrEnum):
    """Kind of a fine-tuning mode."""

    FULL = "full"
    FROZEN = "frozen"
    LP_FT = "lp-ft"
    STAGES = "stages"


TUNING_FORMS = tuple(f"{kind}:N" if kind is TuningKind.STAGES else str(kind) for kind in TuningKind)
TUNING_DESCRIPTION = _(
    "fine-tuning mode: {full}, {frozen} (linear probe), {lp_ft} (head first, then all) or {stages} (partial)",
    full=TuningKind.FULL,
    frozen=TuningKind.FROZEN,
    lp_ft=TuningKind.LP_FT,
    stages=f"{TuningKind.STAGES}:N",
)
_TUNING = re.compile(rf"({'|'.join(TuningKind)})(?::([1-9][0-9]{{0,8}}))?")


@dataclass(frozen=True, slots=True)
class Tuning:
    """A fine-tuning mode; its text is `full`, `frozen`, `lp-ft` or `stages:N`.

    Attributes:
        kind: Kind of the mode.
        stages: Number of the last stages that are trained besides the head, for partial fine-tuning; 0 for other kinds.
    """

    kind: TuningKind
    stages: int = 0

    @classmethod
    def parse(cls, text: str | Tuning) -> Tuning:
        """Return the mode of a text. Raises ValueError for any other text."""
        if isinstance(text, Tuning):
            return text
        match = _TUNING.fullmatch(str(text))
        if match is None or (match[1] == TuningKind.STAGES) != (match[2] is not None):
            raise ValueError(_("expected {description}", description=TUNING_DESCRIPTION))
        return cls(TuningKind(match[1]), int(match[2] or 0))

    @property
    def trained_stages(self) -> int | None:
        """Number of the last stages that are trained besides the head; None if all layers are, at the end at least."""
        return None if self.kind in (TuningKind.FULL, TuningKind.LP_FT) else self.stages

    def __str__(self) -> str:
        return f"{self.kind}:{self.stages}" if self.kind is TuningKind.STAGES else str(self.kind)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Tuning], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=core_schema.to_string_ser_schema())


FULL, FROZEN = Tuning(TuningKind.FULL), Tuning(TuningKind.FROZEN)


class ArmSpec(Schema):
    """An arm, with one combination of the values that its study varies."""

    start: str = Field(description="initial weights, with the whole path")
    label: str = Field(description="short name of the initial weights, unique in the study")
    tuning: Tuning | None = Field(None, description="fine-tuning mode; null if the arm names none: full")
    head: str | None = Field(None, description="head; null if the arm names none: linear")
    optimizer: str | None = Field(None, description="optimizer; null if the arm names none")
    varied: dict[str, str] = Field(default_factory=dict, description="values by varied field of the plan")

    @property
    def parts(self) -> tuple[str, ...]:
        """Fine-tuning mode and head, if they are not the usual ones."""
        tuning = None if self.tuning == FULL else self.tuning
        head = None if self.head == USUAL_HEAD else self.head
        return tuple(str(part) for part in (tuning, head) if part is not None)

    @property
    def name(self) -> str:
        """Name: `LABEL[+TUNING][+HEAD][@OPTIMIZER][,FIELD=VALUE...]`."""
        optimizer = f"@{self.optimizer}" if self.optimizer else ""
        varied = (f"{field.replace('_', '-')}={value}" for field, value in self.varied.items())
        return ",".join(["+".join([self.label, *self.parts]) + optimizer, *varied])

    @property
    def settings(self) -> dict[str, str]:
        """Fields of the plan that the arm sets."""
        named = {"start": self.start, "tuning": self.tuning, "head": self.head, "optimizer": self.optimizer}
        return {field: str(value) for field, value in named.items() if value is not None} | self.varied

    def without(self, *fields: str) -> ArmSpec:
        """Return the arm without the optimizer, if it is among the fields, and without these varied fields."""
        varied = {field: value for field, value in self.varied.items() if field not in fields}
        optimizer = None if "optimizer" in fields else self.optimizer
        return self.model_copy(update={"varied": varied, "optimizer": optimizer})
