"""Schema of verdict.json. Accuracies and differences are shares (0 to 1), whatever the metric is."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from headstart.storage.files import SCHEMA_VERSION
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.base import Schema
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import SearchResults


class Outcome(StrEnum):
    """Decision on the difference of two arms, first minus second."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"


class RunLength(Schema):
    """Length of a run, or of its part up to the target."""

    epochs: int
    images: int = Field(description="training images, each counted as often as used")
    seconds: float = Field(description="of training and validation")

    def by_unit(self) -> dict[str, float]:
        """Return the length by unit."""
        return {"epochs": self.epochs, "images": self.images, "seconds": self.seconds}


class TimeToTarget(Schema):
    """Median time of n runs to the target; runs that did not reach it count."""

    median: float | None = Field(description="null if fewer than half of the runs reached the target")
    reached: int = Field(description="number of runs that reached the target")
    n: int = Field(description="number of runs")


class TimesToTarget(Schema):
    """Time to the target in three units."""

    epochs: TimeToTarget
    images: TimeToTarget
    seconds: TimeToTarget

    def by_unit(self) -> dict[str, TimeToTarget]:
        """Return the times by unit."""
        return {"epochs": self.epochs, "images": self.images, "seconds": self.seconds}


class SeedResult(RunLength):
    """One run of an arm."""

    seed: int
    run: str = Field(description="folder of the run")
    state: RunState
    lr: float
    best_epoch: int = Field(description="0 if no epoch was validated")
    val: float
    test: float
    to_target: RunLength | None = Field(description="null if the run did not reach the target, or there is none")


class ArmResult(Schema):
    """One arm over all seeds."""

    name: str = Field(description="rendered from `spec`; other parts of the verdict refer to the arm by it")
    spec: ArmSpec
    val: float = Field(description="mean over seeds")
    test: float = Field(description="mean over seeds")
    test_sd: float | None = Field(description="standard deviation over seeds; null with one seed")
    optimism: float = Field(description="val minus test")
    diverged: list[int] = Field(description="seeds")
    to_target: TimesToTarget | None = Field(description="null without a target")
    rates: dict[str, float] = Field(description="learning rate by group of seeds, if they were searched")
    seeds: list[SeedResult]


class SampleSizeEstimate(Schema):
    """Seeds or images for an interval of ± half_width, from low to high; null where no number is enough."""

    half_width: float
    seeds: tuple[int, int | None] | None
    images: tuple[int, int | None] | None


class Contrast(Schema):
    """Difference of two arms, first minus second."""

    first: str
    second: str
    primary: bool
    outcome: Outcome
    by_less_than_margin: bool = Field(description="better or worse, but possibly by less than the margin")
    mean: float
    low: float = Field(description="at least -1")
    high: float = Field(description="at most 1")
    level: float = Field(description="confidence level of the interval")
    p: float
    p_adjusted: float = Field(description="Holm 1979")
    p_sign_flip: float | None = Field(description="null above 20 seeds")
    half_width_infinite_seeds: float = Field(description="half-width with infinitely many seeds, at most 1")
    degrees_of_freedom: float
    wins: int = Field(description="number of seeds on which first was better")
    losses: int = Field(description="number of seeds on which second was better")
    n: int = Field(description="number of paired seeds")
    m: int = Field(description="number of evaluation images")
    sample_size: SampleSizeEstimate | None = Field(description="null if decided, or with too few seeds")

    @property
    def pair(self) -> frozenset[str]:
        """Names of the two arms."""
        return frozenset((self.first, self.second))


class InterimAnalysis(Schema):
    """One interim analysis of the primary contrast."""

    n: int = Field(description="number of seeds of each arm")
    p: float
    boundary: float = Field(description="p at or below which the study stops")
    stopped: bool


Edge = Literal["low", "high"]


class GridRow(Schema):
    """Best learning rate on val among variants that differ in nothing else."""

    variant: str
    lr: float
    edge: Edge | None = Field(description="edge of the row where the rate lies")


class EvaluationImages(Schema):
    """The images of the final evaluation."""

    split: str
    images: int
    declared: str = Field(description="splits that the data has declared; with `train+val` its val is the runs' test")


class ExportedRun(Schema):
    """The run whose model is exported."""

    run: str = Field(description="folder of the run")
    seed: int


class Condition(Schema):
    """One budget and one fraction of the training images."""

    budget: str
    fraction: float
    counts: dict[str, int] = Field(description="images of each split, of the first seed")
    evaluation: EvaluationImages
    n: int = Field(description="number of paired seeds")
    one_split: bool = Field(description="whether all seeds have the same split")
    arms: list[ArmResult]
    primary: tuple[str, str] = Field(description="arms of the primary contrast, first minus second")
    selected: str = Field(description="arm with the best mean on val, whatever its result on test")
    comparator: str = Field(description="arm that the headline compares `selected` with")
    grid_rows: list[GridRow] = Field(description="empty unless learning rates are compared")
    exported: ExportedRun = Field(description="best run of `selected` on val")
    contrasts: list[Contrast]
    interim: list[InterimAnalysis]
    winner: str | None = Field(
        description="the better of `selected` and `comparator` on test, if worse than no other arm"
    )

    def arm(self, name: str) -> ArmResult:
        """Return the result of an arm. Raises KeyError for an unknown name."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise KeyError(name)

    def spec(self, name: str) -> ArmSpec:
        """Return the arm of that name. Raises KeyError for an unknown name."""
        return self.arm(name).spec


class LabelEquivalence(Schema):
    """Labels that the reference needs for the accuracy of the first arm at `fraction`, as a factor of that fraction."""

    fraction: float
    factor: float | None = Field(description="null outside the reference's curve")
    low: float | None = Field(description="null where the interval is open because the curve ends")
    high: float | None = Field(description="null where the interval is open because the curve ends")
    min_factor: float = Field(description="factor at the lower end of the reference's curve")
    max_factor: float = Field(description="factor at its upper end")
    more: bool = Field(description="the factor is above `max_factor`")


class Crossover(Schema):
    """Share of the labels at which the two arms are equal."""

    fraction: float
    low: float | None
    high: float | None


class DataEfficiency(Schema):
    """Labels and learning curves of the primary pair."""

    first: str
    reference: str
    level: float = Field(description="confidence level of the intervals")
    n: int = Field(description="number of seeds")
    equivalences: list[LabelEquivalence]
    crossover: Crossover | None


class Exposure(Schema):
    """What the weights of a variant were trained on."""

    classes: list[str] = Field(description="class names of the data that the weights were trained on too")
    images: int | None = Field(description="evaluation images that they were trained on; null if unknown")


class StageCost(Schema):
    """Cost of a stage of the study."""

    runs: int
    images: int
    seconds: float = Field(description="of training and validation")


class StudyCost(Schema):
    """Cost of the study by stage."""

    search: StageCost
    main: StageCost
    source: StageCost

    @property
    def stages(self) -> tuple[StageCost, StageCost, StageCost]:
        """Costs of all stages."""
        return self.search, self.main, self.source


class Sentences(Schema):
    """The verdict in words; a key that does not apply is null."""

    headline: str
    evidence: str
    time: str | None = None
    interim: str | None = None
    labels: str | None = None
    rows: str | None = None
    budgets: str | None = None
    width: str | None = None
    next_steps: str | None = None
    others: list[str] = Field(default_factory=list, description="one sentence for each other contrast")
    notes: list[str] = Field(default_factory=list)
    limits: str

    @property
    def details(self) -> list[str]:
        """Sentences after headline and evidence that apply, in order."""
        texts = (self.budgets, self.rows, self.interim, self.time, self.labels, self.width, self.next_steps)
        return [text for text in texts if text is not None]


class VerdictNumbers(Condition):
    """What the sentences of a verdict word: the last budget with the largest fraction, and what concerns all."""

    schema_version: int = SCHEMA_VERSION
    study: str = Field(description="sha256 of what was declared")
    metric: str
    margin: float
    target: float
    source: str
    fingerprint: str
    network: str
    classes: list[str]
    conditions: list[Condition] = Field(description="every other budget and fraction")
    labels: DataEfficiency | None = Field(description="null with one fraction")
    search: SearchResults | None = Field(description="content of search.json; null if nothing was searched")
    exposure: dict[str, Exposure] = Field(description="by variant")
    overlaps: list[str] = Field(description="sentences on images in two splits, or under two labels")
    cost: StudyCost

    @property
    def all_conditions(self) -> list[Condition]:
        """Every condition; the one of the verdict is the last."""
        return [*self.conditions, self]


class Verdict(VerdictNumbers):
    """The verdict of a study."""

    sentences: Sentences
