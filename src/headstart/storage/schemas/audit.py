"""Schema of what `headstart check` finds in a data set."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from headstart.storage.schemas.schema import Schema, VersionedSchema
from headstart.storage.schemas.split_counts import SplitCounts


class CheckStatus(StrEnum):
    """Result of a check, from the best to the worst."""

    PASS = "pass"  # noqa: S105
    NOT_CHECKED = "not-checked"
    WARN = "warn"
    FAIL = "fail"


class AuditExample(Schema):
    """An image, or a pair of images, that a check reports."""

    image: str = Field(description="path of the image, relative to the folder of the data")
    label: str = Field(description="its class")
    split: str = Field(description="its split: train, val or test; empty if it is in none")
    other: str = Field(description="path of the other image of a pair; empty without one")
    other_label: str = Field(description="its class; empty without one")
    other_split: str = Field(description="its split; empty without one")
    value: float | None = Field(description="number of the check, such as a similarity; null without one")
    detail: str = Field(description="sentence on the image; empty if that of the check says all")


class AuditRow(Schema):
    """Result of one check."""

    check: str = Field(description="code of the check")
    name: str = Field(description="name of the check in words")
    status: CheckStatus = Field(description="result")
    sentence: str = Field(description="what was found")
    hint: str = Field(description="what to do; empty if there is nothing to do")
    count: int = Field(description="number of images, pairs or groups that it concerns; examples may be fewer")
    examples: list[AuditExample] = Field(description="images that it concerns, the most important ones first")


class AuditFix(Schema):
    """The manifest that `--fix` has written."""

    path: str = Field(description="the manifest")
    flags: list[str] = Field(description="flags that `train` and `check` need to read it, such as --allow-outside")
    left_out: list[str] = Field(
        description="images of the data that it does not have, as paths relative to the folder of the data"
    )
    notes: list[str] = Field(description="sentences on what is in it, on what was left out, and on how to use it")


class AuditFile(VersionedSchema):
    """Result of `headstart check --json`."""

    data: str = Field(description='the data, as it was named; "data frame" for one')
    images: int = Field(description="number of images, with those that cannot be decoded")
    classes: dict[str, int] = Field(description="number of images by class")
    declared: str = Field(description='splits that the data declares, such as "train+test"; "none" without any')
    splits: SplitCounts | None = Field(
        description="number of images by split, as declared or as a run with `seed` draws it; null if that fails"
    )
    seed: int = Field(description="seed with which splits that are not declared were drawn")
    image_size: int = Field(description="side of the network input in px for which the images were checked")
    notes: list[str] = Field(description="sentences about how the data is read")
    rows: list[AuditRow] = Field(description="one row for each check")
    fixed: AuditFix | None = Field(description="the manifest that was written; null without --fix")
