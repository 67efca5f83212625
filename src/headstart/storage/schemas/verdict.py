"""Schema of verdict.json. Accuracies and differences are shares (0 to 1), whatever the metric is."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import Field

from headstart.errors import DataError
from headstart.i18n import Message, _
from headstart.storage.files import JsonData
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.contrast import Contrast, VariedField, WithoutCopies
from headstart.storage.schemas.overlap import Overlap
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.schema import (
    RESTORE_HINT,
    Count,
    Difference,
    Fraction,
    Positive,
    Schema,
    Share,
    VersionedSchema,
)
from headstart.storage.schemas.search import SearchGroup
from headstart.storage.schemas.split_counts import SplitCounts
from headstart.storage.schemas.study import TRAIN_AND_VAL
from headstart.storage.schemas.verdict_names import name_fault

LENGTH = r"^\d{1,17}(\.\d{1,17})?(e[-+]?\d{1,2})?(ep|st|%)$"  # of a training, as `config.duration` writes it


class RunLength(Schema):
    """Length of a run, or of its part up to the target."""

    epochs: Count = Field(description="number of epochs")
    images: Count = Field(description="training images, each counted as often as used")
    seconds: Positive = Field(description="seconds of training and validation")

    def by_unit(self) -> dict[str, float]:
        """Return the length by unit."""
        return {"epochs": self.epochs, "images": self.images, "seconds": self.seconds}


class TimeToTarget(Schema):
    """Median time of n runs to the target; runs that did not reach it count."""

    median: Positive | None = Field(description="median time; null if fewer than half of the runs reached the target")
    reached: Count = Field(description="number of runs that reached the target")
    n: Count = Field(description="number of runs")


class TimesToTarget(Schema):
    """Time to the target in three units."""

    epochs: TimeToTarget = Field(description="time in epochs")
    images: TimeToTarget = Field(description="time in training images")
    seconds: TimeToTarget = Field(description="time in seconds of training and validation")

    def by_unit(self) -> dict[str, TimeToTarget]:
        """Return the times by unit."""
        return {"epochs": self.epochs, "images": self.images, "seconds": self.seconds}


class SeedResult(RunLength):
    """One run of an arm."""

    seed: Count = Field(description="seed of the run")
    run: str = Field(description="folder of the run")
    state: RunState = Field(description="state of the run")
    lr: Positive = Field(description="peak learning rate")
    best_epoch: Count = Field(description="epoch of the best model; 0 if no epoch was validated")
    val: Share = Field(description="score of the best epoch on val")
    test: Share = Field(description="score on the evaluation images")
    to_target: RunLength | None = Field(description="length up to the target; null if it was not reached")


class ArmResult(Schema):
    """One arm over all seeds."""

    name: str = Field(description="rendered from `spec`; other parts of the verdict refer to the arm by it")
    spec: ArmSpec = Field(description="the arm")
    val: Share = Field(description="mean score on val over seeds")
    test: Share = Field(description="mean score on the evaluation images over seeds")
    test_sd: Share | None = Field(description="standard deviation of `test` over seeds; null with one seed")
    optimism: Difference = Field(description="`val` minus `test`")
    diverged: list[Count] = Field(description="seeds of the runs that diverged")
    too_augmented: list[Count] = Field(
        default_factory=list,
        description="seeds of the runs whose accuracy on augmented training images stayed far below val",
    )
    to_target: TimesToTarget | None = Field(description="time to the target; null without a target")
    seeds: list[SeedResult] = Field(description="one item for each run")


class InterimAnalysis(Schema):
    """One interim analysis of the primary contrast."""

    n: Count = Field(description="number of seeds of each arm")
    p: Share = Field(description="p-value of the primary contrast")
    boundary: Share = Field(description="p at or below which the study stops")
    stopped: bool = Field(description="whether it ended the study")


Edge = Literal["low", "high"]


class GridRow(Schema):
    """Best learning rate on val among variants that differ in nothing else."""

    variant: str = Field(description="name of the variant")
    lr: Positive = Field(description="its learning rate")
    edge: Edge | None = Field(description="edge of the row where the rate lies")


class EvaluationImages(Schema):
    """The images of the final evaluation."""

    split: str = Field(description="name of the split")
    images: Count = Field(description="number of images")
    units: Count = Field(description="number of their units: images in one group or nearly equal are one unit")
    declared: str = Field(description="splits that the data has declared; with `train+val` its val is the runs' test")

    @property
    def selects_on_val(self) -> bool:
        """True if the data has the name val for the split on which runs select."""
        return self.declared != TRAIN_AND_VAL


class ExportedRun(Schema):
    """The run whose model is exported."""

    run: str = Field(description="folder of the run")
    seed: Count = Field(description="seed of the run")


class Condition(Schema):
    """One budget and one fraction of the training images."""

    budget: Annotated[str, Field(pattern=LENGTH)] = Field(description="training length, such as `10ep`")
    fraction: Fraction = Field(description="share of the training images")
    counts: SplitCounts = Field(description="images of each split, of the first seed")
    evaluation: EvaluationImages = Field(description="images of the final evaluation")
    n: Count = Field(description="number of paired seeds")
    one_split: bool = Field(description="whether all seeds have the same split")
    arms: list[ArmResult] = Field(description="one item for each arm")
    primary: tuple[str, str] = Field(description="arms of the primary contrast, first minus second")
    question: tuple[str, str] = Field(
        description="arms of the contrast that the headline answers: the primary ones or, with varied learning rates, "
        "the best on val and its comparator"
    )
    not_worse: list[str] = Field(description="arms that no other arm is better than, by the contrasts")
    selected: str = Field(description="arm with the best mean on val among `not_worse`; its model is exported")
    grid_rows: list[GridRow] = Field(description="rows of a grid of learning rates; empty unless they are compared")
    exported: ExportedRun = Field(description="run whose model is exported: the best run of `selected` on val")
    contrasts: list[Contrast] = Field(description="one item for each pair of arms that is compared")
    without_copies: WithoutCopies | None = Field(
        None,
        description="the result without evaluation images that have a copy in another split; null if there are none",
    )
    varied: list[VariedField] = Field(
        default_factory=list, description="one item for each varied field on which the verdict may depend"
    )
    interim: list[InterimAnalysis] = Field(description="one item for each interim analysis that was done")
    winner: str | None = Field(description="the arm in `not_worse`, if it is the only one")

    @property
    def best_on_val(self) -> str:
        """Name of the arm with the highest mean on val; of equal ones the first."""
        return max(self.arms, key=lambda arm: arm.val).name

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

    fraction: Fraction = Field(description="share of the training images of the first arm")
    factor: Positive | None = Field(description="the factor; null outside the reference's curve")
    low: Positive | None = Field(description="lower end of the interval; null where the curve ends before it")
    high: Positive | None = Field(description="upper end of the interval; null where the curve ends before it")
    min_factor: Positive = Field(description="factor at the lower end of the reference's curve")
    max_factor: Positive = Field(description="factor at its upper end")
    more: bool = Field(description="whether the factor is above `max_factor`")


class Crossover(Schema):
    """Share of the labels at which the two arms are equal."""

    fraction: Fraction = Field(description="share of the training images")
    low: Positive | None = Field(description="lower end of the interval; null outside the fractions of the study")
    high: Positive | None = Field(description="upper end of the interval; null outside the fractions of the study")


class DataEfficiency(Schema):
    """Labels and learning curves of the primary pair."""

    first: str = Field(description="name of the first arm")
    reference: str = Field(description="name of the arm that it is compared with")
    level: Share = Field(description="confidence level of the intervals")
    n: Count = Field(description="number of seeds")
    equivalences: list[LabelEquivalence] = Field(min_length=1, description="one item for each fraction")
    crossover: Crossover | None = Field(description="where the two curves cross; null if they do not")


class Exposure(Schema):
    """What the weights of a variant were trained on."""

    classes: list[str] = Field(description="class names of the data that the weights were trained on too")
    images: Count | None = Field(description="evaluation images that they were trained on; null if unknown")


class StageCost(Schema):
    """Cost of a stage of the study."""

    runs: Count = Field(description="number of runs")
    images: Count = Field(description="number of training images, each counted as often as used")
    seconds: Positive = Field(description="seconds of training and validation")


class StudyCost(Schema):
    """Cost of the study by stage."""

    search: StageCost = Field(description="learning-rate search")
    main: StageCost = Field(description="runs of the comparison")
    source: StageCost = Field(description="training of `source:` starts")

    @property
    def stages(self) -> tuple[StageCost, StageCost, StageCost]:
        """Costs of all stages."""
        return self.search, self.main, self.source


class Sentences(Schema):
    """The verdict in words; a key that does not apply is null."""

    headline: str = Field(description="the decision")
    evidence: str = Field(description="the numbers of the decision")
    time: str | None = Field(None, description="time to the target")
    interim: str | None = Field(None, description="interim analyses")
    labels: str | None = Field(None, description="label equivalence")
    rows: str | None = Field(None, description="rows of a grid of learning rates")
    budgets: str | None = Field(None, description="other budgets")
    varied: str | None = Field(None, description="whether it depends on varied fields")
    width: str | None = Field(None, description="half-width of the interval")
    next_steps: str | None = Field(None, description="what would decide the contrast")
    others: list[str] = Field(default_factory=list, description="one sentence for each other contrast")
    notes: list[str] = Field(default_factory=list, description="further remarks")
    limits: str = Field(description="what the verdict does not cover")


class VerdictNumbers(VersionedSchema, Condition):
    """What the sentences of a verdict word: the last budget with the largest fraction, and what concerns all."""

    pooled: bool = Field(False, description="whether the runs were pooled after their training")
    of_others: Count = Field(
        0, description="number of pooled runs that are not in the index of the user who pooled them"
    )
    left_out: Count = Field(
        0, description="number of runs that were named for pooling and do not fit, without trials of searches"
    )
    study: str = Field(description="sha256 of what was declared")
    studies_on_test_set: Count | None = Field(
        None,
        description="place of this study among the studies that used the same test images, by the user's ledger: 3 for "
        "the third; null if it is unknown",
    )
    metric: str = Field(description="metric that is compared")
    margin: Positive = Field(description="equivalence margin as a difference of accuracies")
    max_seeds: Count = Field(0, description="declared most seeds with those that may be added; 0 if none may be added")
    further: list[Count] = Field(
        default_factory=list, description="numbers of seeds of the analyses after added seeds; the last one is `n`"
    )
    target: Share = Field(description="accuracy on val used for time-to-target; 0 without a target")
    source: str = Field(description="the data set")
    fingerprint: str = Field(description="fingerprint of the images of the first run")
    network: str = Field(description="network architecture")
    classes: list[str] = Field(description="class names")
    conditions: list[Condition] = Field(description="every other budget and fraction")
    labels: DataEfficiency | None = Field(
        description="label equivalence of the primary pair; null with one fraction or fewer than two seeds"
    )
    search: list[SearchGroup] = Field(description="`groups` of search.json; empty if nothing was searched")
    exposure: dict[str, Exposure] = Field(description="by variant, what its weights were trained on")
    overlaps: list[Overlap] = Field(description="images and groups in two splits, and images under two labels")
    cost: StudyCost = Field(description="cost of the study")

    @property
    def all_conditions(self) -> list[Condition]:
        """Every condition; the one of the verdict is the last."""
        return [*self.conditions, self]


class VerdictSeal(Schema):
    """Hashes of a verdict and its runs when it was written. They show damage and careless edits, not forgery."""

    content: str = Field("", description="sha256 of the verdict without this value; only in the file")
    runs: dict[str, str] = Field(
        default_factory=dict, description="sha256 of the seal by folder of a run that the verdict is about"
    )


class Verdict(VerdictNumbers):
    """The verdict of a study."""

    sentences: Sentences = Field(description="the verdict in words")
    seal: VerdictSeal = Field(default_factory=VerdictSeal, description="hashes of the verdict and its runs")

    def to_json(self) -> dict[str, JsonData]:
        """Return the verdict as JSON data with the seal of its content."""
        content = super().to_json()
        content["seal"] = {"content": self._digest(), "runs": self.seal.runs}
        return content

    @classmethod
    def parse(cls, text: str | bytes, name: str, hint: Message = RESTORE_HINT) -> Self:
        """Return the verdict in a JSON text. Raises DataError as `Schema.parse`, and if its content has changed."""
        verdict = super().parse(text, name, hint)
        if verdict.seal.content != verdict._digest():
            raise DataError(_("{name} has changed since the study ended.", name=name), hint)
        if (fault := name_fault(verdict)) is not None:
            raise DataError(_("{name} is damaged ({fault}).", name=name, fault=fault), hint)
        return verdict.model_copy(update={"seal": VerdictSeal(runs=verdict.seal.runs)})  # equal to the one written

    def _digest(self) -> str:
        content = {**super().to_json(), "seal": self.seal.runs}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
