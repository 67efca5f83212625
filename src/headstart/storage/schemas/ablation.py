"""Schemas of an ablation's result, which `headstart ablate --json` prints."""

from __future__ import annotations

from pydantic import Field

from headstart.storage.schemas.schema import Schema, VersionedSchema


class AblationCell(Schema):
    """One network of an ablation, over its seeds."""

    network: str = Field(description="name of the network")
    shortcut: str = Field(description="on or off")
    norm: str = Field(description="batch or none")
    accuracy: float = Field(description="mean over seeds, 0 to 1")
    gradient_ratio_before: float | None = Field(
        description="gradient norm behind the first block over that behind the last, before training; null if unknown"
    )
    gradient_ratio_after: float | None = Field(description="the same after training")
    findings: list[str] = Field(description="codes of the findings in any of its runs")
    health: str = Field(description="the findings in words, or the health of runs without findings")


class AblationEffect(Schema):
    """Effect of one factor in one pair of networks."""

    switch: str = Field(description="the factor: shortcut or norm")
    network: str = Field(description="name of the network")
    shortcut: str | None = Field(description="of both networks; null if it is the factor")
    norm: str | None = Field(description="of both networks; null if it is the factor")
    accuracy: float = Field(description="difference of accuracies, 0 to 1: with the factor minus without it")
    low: float = Field(description="lower end of its interval")
    high: float = Field(description="upper end of its interval")
    ratio_decades_before: float | None = Field(
        description="powers of ten between the gradient ratios with and without the factor, before training"
    )
    ratio_decades_after: float | None = Field(description="the same after training")
    sentence: str = Field(description="the effect in words")


class AblationResult(VersionedSchema):
    """Networks of an ablation, the effect of each factor, and sentences that describe both."""

    cells: list[AblationCell] = Field(description="one item for each network")
    effects: list[AblationEffect] = Field(description="one item for each factor and pair of networks")
    sentences: list[str] = Field(description="the result in words")
    folder: str = Field(description="folder of the runs")
