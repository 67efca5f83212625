"""Schema of search.json: the results of the learning-rate search."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from headstart.i18n import _
from headstart.storage.schemas.schema import Count, Difference, Positive, Schema, Share, VersionedSchema


class TrialScores(Schema):
    """Scores of one learning rate of an arm on val."""

    lr: Positive = Field(description="learning rate")
    rung: Difference = Field(description="score after the first rung; -1 if the run diverged before its end")
    full_runs: list[Share] = Field(
        description="scores of the whole runs, one per seed; empty if the rate did not survive"
    )


class ArmSearch(Schema):
    """Result of a search for one arm."""

    arm: str = Field(description="name of the arm")
    selected: Positive = Field(description="the selected learning rate")
    at_edge: bool = Field(
        description="whether that rate is at an edge of the grid; false if a run with it diverged, so that the edge is "
        "a bound"
    )
    tried: list[TrialScores] = Field(description="one item for each learning rate, ascending")


class SearchGroup(Schema):
    """One search: every arm at one budget, for the runs of one seed or of all seeds."""

    budget: str = Field(description="training length, such as `10ep`")
    seed: Count | None = Field(description="seed whose runs have the selected rates; null: those of all seeds")
    grid: list[Positive] = Field(min_length=1, description="the final grid, ascending")
    arms: list[ArmSearch] = Field(min_length=1, description="one item for each arm")

    @model_validator(mode="after")
    def _require_rates_of_grid(self) -> Self:
        """Raise ValueError unless every arm is there once, and has one of the rates of the grid."""
        if len({arm.arm for arm in self.arms}) != len(self.arms):
            raise ValueError(_("two searches are for one arm"))
        if any(arm.selected not in self.grid for arm in self.arms):
            raise ValueError(_("a selected learning rate is not in the grid"))
        return self

    def arm(self, name: str) -> ArmSearch:
        """Return the result for an arm. Raises KeyError for an unknown name."""
        for arm in self.arms:
            if arm.arm == name:
                return arm
        raise KeyError(name)


class SearchResults(VersionedSchema):
    """Results of the learning-rate search of a study."""

    groups: list[SearchGroup] = Field(
        default_factory=list, description="one item for each budget and group of seeds; empty if nothing was searched"
    )

    def selected_rate(self, arm: str, budget: str, seed: int) -> float | None:
        """Return the selected learning rate of a run; None if nothing was searched.

        Raises:
            KeyError: No search was for such a run.
        """
        for group in self.groups:
            if group.budget == budget and group.seed in (None, seed):
                return group.arm(arm).selected
        if self.groups:
            raise KeyError(f"{arm} with seed {seed} at {budget}")
        return None
