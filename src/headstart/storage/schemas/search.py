"""Schema of search.json: the results of the learning-rate search."""

from __future__ import annotations

from pydantic import Field

from headstart.storage.schemas.schema import Schema, VersionedSchema


class TrialScores(Schema):
    """Scores of one learning rate of an arm on val."""

    lr: float = Field(description="learning rate")
    rung: float = Field(description="score after the first rung; -1 if the run diverged before its end")
    full_runs: list[float] = Field(
        description="scores of the whole runs, one per seed; empty if the rate did not survive"
    )


class ArmSearch(Schema):
    """Result of a search for one arm."""

    arm: str = Field(description="name of the arm")
    selected: float = Field(description="the selected learning rate")
    at_edge: bool = Field(
        description="whether that rate is at an edge of the grid; false if a run with it diverged, so that the edge is "
        "a bound"
    )
    tried: list[TrialScores] = Field(description="one item for each learning rate, ascending")


class SearchGroup(Schema):
    """One search: every arm at one budget, for the runs of one seed or of all seeds."""

    budget: str = Field(description="training length, such as `10ep`")
    seed: int | None = Field(description="seed whose runs have the selected rates; null: those of all seeds")
    grid: list[float] = Field(description="the final grid, ascending")
    arms: list[ArmSearch] = Field(description="one item for each arm")

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
