"""Schemas of contrasts: differences of two arms. Accuracies and differences are shares (0 to 1)."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from headstart.storage.schemas.schema import Count, Difference, Positive, Schema, Share


class Outcome(StrEnum):
    """Decision on the difference of two arms, first minus second."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"


class SampleSizeEstimate(Schema):
    """Seeds or units for an interval of ± half_width, from low to high; null where no number is enough."""

    half_width: Positive = Field(description="half-width of the interval")
    seeds: tuple[Count, Count | None] | None = Field(description="number of seeds, from and to")
    units: tuple[Count, Count | None] | None = Field(
        description="number of units of the evaluation images, from and to: groups, or images if all are independent"
    )


class Contrast(Schema):
    """Difference of two arms, first minus second."""

    first: str = Field(description="name of the first arm")
    second: str = Field(description="name of the second arm")
    primary: bool = Field(description="whether it is the primary contrast")
    outcome: Outcome = Field(description="the decision")
    by_less_than_margin: bool = Field(description="whether it is better or worse, but possibly by less than the margin")
    mean: Difference = Field(description="mean difference over seeds and images")
    low: Difference = Field(description="lower end of the interval, at least -1")
    high: Difference = Field(description="upper end of the interval, at most 1")
    level: Share = Field(description="confidence level of the interval")
    p: Share = Field(description="p-value of a mean difference of 0")
    p_adjusted: Share = Field(
        description="p-value adjusted for all contrasts: at most 0.05 exactly if the interval does not contain 0"
    )
    p_sign_flip: Share | None = Field(description="p-value of the sign-flip test; null above 20 seeds")
    half_width_infinite_seeds: Positive = Field(description="half-width with infinitely many seeds, at most 1")
    degrees_of_freedom: Positive = Field(description="degrees of freedom of the t distribution of the interval")
    wins: Count = Field(description="number of seeds on which first was better")
    losses: Count = Field(description="number of seeds on which second was better")
    n: Count = Field(description="number of paired seeds")
    m: Count = Field(description="number of evaluation images")
    g: Count = Field(description="number of their units: images in one group or nearly equal are one unit")
    sample_sizes: list[SampleSizeEstimate] = Field(
        description="what would narrow the interval of an undecided contrast to ± the margin, if it is wider, and to ± "
        "half of it, which always decides; empty if decided, or with too few seeds or units"
    )

    @property
    def pair(self) -> frozenset[str]:
        """Names of the two arms."""
        return frozenset((self.first, self.second))


class WithoutCopies(Schema):
    """The result on the evaluation images that have no copy in another split."""

    copies: Count = Field(description="evaluation images with a copy, equal or a near-duplicate; they are left out")
    images: Count = Field(description="evaluation images without a copy")
    scores: dict[str, Share] = Field(description="by arm, mean score on these over seeds; empty if there are none")
    contrast: Contrast | None = Field(description="the primary contrast on these; null with one seed or one image")


class Dependence(StrEnum):
    """Whether the decisions at the values of a varied field differ."""

    DEPENDS = "depends"
    INDEPENDENT = "independent"
    UNDECIDED = "undecided"


class ValueContrast(Schema):
    """The primary contrast at one value of a varied field."""

    value: str = Field(description="value of the field")
    first: str = Field(description="name of the first arm")
    second: str = Field(description="name of the second arm")


class VariedField(Schema):
    """Whether the verdict depends on a varied field in which the arms of the primary contrast agree."""

    field: str = Field(description="name of the field")
    values: list[ValueContrast] = Field(description="one item for each value; `contrasts` has the contrast of each")
    dependence: Dependence = Field(
        description="`depends` if two decisions differ, `undecided` if one is undecided and the others agree, else "
        "`independent`"
    )
