"""Schema of what a study will take, the output of `compare --dry-run --json`."""

from __future__ import annotations

from pydantic import Field

from headstart.storage.schemas.schema import VersionedSchema


class ForecastResult(VersionedSchema):
    """What a study will do, and how long it takes on this machine."""

    arms: list[str] = Field(description="names of the arms, crossed with the varied values")
    seeds: int = Field(description="number of paired seeds")
    budgets: list[str] = Field(description="training lengths")
    rates: list[float] = Field(description="grid of the learning-rate search; empty without a search")
    seconds: float = Field(description="predicted duration")
    training_images: int = Field(description="images that pass through training, of all arms and sources")
    evaluation_images: int = Field(description="number of test images, or of val images without a test split")
    evaluation_units: int = Field(description="number of their units: images in one group or nearly equal are one unit")
    reusable_runs: int = Field(
        description="least number of runs that are done already and are reused; `seconds` excludes them"
    )
