"""Schema of what `headstart verify --json` prints."""

from __future__ import annotations

from pydantic import Field

from headstart.storage.schemas.schema import Count, Positive, Schema, VersionedSchema


class VerifiedPart(Schema):
    """One part of a verdict."""

    part: str = Field(description="name of the part")
    numbers: Count = Field(description="number of recomputed numbers")
    others: Count = Field(description="number of other values, such as names and decisions")
    differ: Count = Field(description="values that differ")
    largest_difference: Positive = Field(description="largest difference of two numbers, rounding included")


class DifferentValue(Schema):
    """A value that differs from the recomputed one."""

    field: str = Field(
        description="place in verdict.json; `runs.NAME` is a run, and `sentences.KIND` a number in a sentence"
    )
    stated: str = Field(description="its value as JSON; `null` if it is missing")
    recomputed: str = Field(description="the recomputed value as JSON; `null` if nothing has this value")


class VerificationResult(VersionedSchema):
    """What was recomputed of a verdict, and what differs."""

    study: str = Field(description="folder of the study")
    confirmed: bool = Field(description="whether nothing differs, and there are no faults")
    numbers: Count = Field(description="number of recomputed numbers")
    others: Count = Field(description="number of other values, such as names and decisions")
    differ: Count = Field(description="values that differ")
    parts: list[VerifiedPart] = Field(description="one item for each part of the verdict")
    differences: list[DifferentValue] = Field(description="one item for each value that differs")
    faults: list[str] = Field(description="what else is wrong, such as a broken seal of the verdict, in words")
    not_recomputed: dict[str, str] = Field(description="by field that is not recomputed, why")
    scope: str = Field(description="what this shows, in words")
