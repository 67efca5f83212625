"""Schemas of a study: the role of a run in it, and its inputs."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.overlap import Overlap
from headstart.storage.schemas.schema import Count, Fraction, Schema, VersionedSchema

TRAIN_AND_VAL = "train+val"  # declared splits of data whose val is the test split of the runs


class Stage(StrEnum):
    """Stage of a study that a run belongs to."""

    SOURCE = "source"
    SEARCH = "search"
    MAIN = "main"
    ABLATION = "ablation"


class RunRole(Schema):
    """Role of a run in its study, written beside the plan."""

    arm: ArmSpec = Field(description="the arm, with the values of varied fields")
    stage: Stage = Field(description="stage that the run belongs to")
    budget: str = Field(description="training length, such as `10ep`")
    fraction: Fraction = Field(description="share of the training images")
    rung: Count | None = Field(
        None, description="epochs after which a trial of the search may pause; null outside a search"
    )

    @property
    def variant(self) -> str:
        """Name of the arm."""
        return self.arm.name

    @property
    def awaits_verdict(self) -> bool:
        """True for a run of a study, which ends with a verdict; an ablation has none."""
        return self.stage is not Stage.ABLATION


class InputFingerprints(Schema):
    """Fingerprints of what a variant reads."""

    images: str | None = Field(None, description="fingerprint of the images")
    near_duplicates: str | None = Field(None, description="hash of the near-duplicates in one split; empty without any")
    weights: str | None = Field(None, description="sha256 of the weights; null if the study trains them")
    network: str | None = Field(None, description="sha256 of the code of a user's own network; null for others")
    source_images: str | None = Field(None, description="fingerprint of the images that the study trains them on")


class VariantInputs(InputFingerprints):
    """Inputs of a variant when the study began."""

    arm: ArmSpec = Field(description="the arm of the variant")
    declared: str = Field(description="splits that the data has declared")
    overlaps: list[Overlap] = Field(description="images and groups in two splits, and images under two labels")
    known_classes: list[str] = Field(description="class names that the weights were trained on too")
    known_images: Count | None = Field(
        description="evaluation images that the weights were trained on; null if unknown"
    )


class VariantsFile(VersionedSchema):
    """Content of variants.json: what the variants of a study read when it began."""

    variants: dict[str, VariantInputs] = Field(description="inputs by variant")
