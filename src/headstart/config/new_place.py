"""The place that the user names for images that were moved."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.config.run_config import READING_FIELDS, DataConfig, RunConfig


@dataclass(frozen=True)
class NewPlace:
    """A place of images.

    Attributes:
        source: Folder or manifest.
        allow_outside: Allow files outside of its folder, besides what the plan allows.
    """

    source: str
    allow_outside: bool = False


def with_place(plan: RunConfig, data: DataConfig) -> RunConfig:
    """Return a plan with the place of other data and how it is read there."""
    reading = {name: getattr(data, name) for name in READING_FIELDS}
    return plan.model_copy(update={"data": plan.data.model_copy(update=reading)})
