"""Schema of an arm of a study. Its name is rendered from it and never parsed back."""

from __future__ import annotations

from pydantic import Field

from headstart.storage.schemas.schema import Schema

USUAL = ("full", "linear")  # fine-tuning mode and head that names and words leave out


class ArmSpec(Schema):
    """An arm, with one combination of the values that its study varies."""

    start: str = Field(description="initial weights, with the whole path")
    label: str = Field(description="short name of the initial weights, unique in the study")
    tuning: str | None = Field(None, description="fine-tuning mode; null if the arm names none: full")
    head: str | None = Field(None, description="head; null if the arm names none: linear")
    optimizer: str | None = Field(None, description="optimizer; null if the arm names none")
    varied: dict[str, str] = Field(default_factory=dict, description="values by varied field of the plan")

    @property
    def parts(self) -> tuple[str, ...]:
        """Fine-tuning mode and head, if they are not the usual ones."""
        return tuple(part for part in (self.tuning, self.head) if part is not None and part not in USUAL)

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
        return {field: value for field, value in named.items() if value is not None} | self.varied

    def without(self, *fields: str) -> ArmSpec:
        """Return the arm without the optimizer, if it is among the fields, and without these varied fields."""
        varied = {field: value for field, value in self.varied.items() if field not in fields}
        optimizer = None if "optimizer" in fields else self.optimizer
        return self.model_copy(update={"varied": varied, "optimizer": optimizer})
