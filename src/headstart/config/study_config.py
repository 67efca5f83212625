"""The protocol of a study: its arms and rules, declared before the first training step.

An arm is written `START[+TUNING][+HEAD][@OPTIMIZER]`. `vary` crosses the arms with values of any field of the plan.
Each combination is a variant, which is what runs of different seeds have in common.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, cast, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headstart.config.arm_spec import absolute_arm, parse_arm, start_names
from headstart.config.duration import Duration, EpochDuration, parse_seconds
from headstart.config.field_help import Detail
from headstart.config.lists import split_commas
from headstart.config.one_of import OneOf, registered_name
from headstart.config.plan_values import PlanSettings
from headstart.config.presets import Setting
from headstart.config.recipe_config import ConfigSection, RecipeConfig
from headstart.config.run_config import RunConfig, plan_fields, with_absolute_paths
from headstart.config.start_spec import start_row
from headstart.i18n import Message, _, join
from headstart.metrics.registry import DEFAULT_METRIC, METRICS, describe_metrics, is_study_metric
from headstart.optim.registry import OPTIMIZERS
from headstart.storage.schemas.arm import ArmSpec
from headstart.text import message_of, suggestion

DEFAULT_LR_GRID = (0.05, 0.01, 0.005, 0.001, 0.0001)  # learning rates to search
DEFAULT_PRIMARY_SHARE = 0.5  # of the error of all contrasts
DEFAULT_FIRST_SHARE = 0.8  # of the error of a contrast, if further seeds are declared
MIN_DECISIVE_SEEDS = 3  # with fewer seeds every verdict is undecided
MIN_DECISIVE_UNITS = 20  # groups of test images, or independent ones; with fewer every verdict is undecided
OptimizerField = Literal["lr", "weight_decay"]
OPTIMIZER_FIELDS: tuple[OptimizerField, ...] = get_args(OptimizerField)  # fields with a default per optimizer
# `vary` rejects these fields
NOT_VARIABLE = frozenset(["source", "classes", "start", "seed", "test_seed", "fraction", "epochs", "device"])
MAX_VARIANTS = 1000  # of a study; a few values for each of a few fields make billions
FLAGS_INSTEAD_OF_VARY = {"epochs": "--budgets", "fraction": "--fractions"}


def _parse_margin(value: Setting) -> str:
    """Check and normalize a width in percentage points: `1pt`, or 0.01 as a difference of accuracies."""
    if (value == 0 and not isinstance(value, bool)) or value in ("0", "0.0"):
        value = 0.0  # the same in both units, unlike 1
    if isinstance(value, float) and 0 <= value < 1:
        value = f"{100 * value:.12g}pt"
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*pt", str(value).strip())
    if match is None:
        raise ValueError(_("{value} is not a width in percentage points: write 1pt or 0.5pt", value=repr(value)))
    if float(match[1]) >= 100:
        raise ValueError(
            _(
                "{value} is wider than any difference of accuracies: write less than 100pt, such as 1pt",
                value=repr(value),
            )
        )
    return f"{float(match[1]):g}pt"


def _check_time(value: Setting) -> str:
    """Check a time such as `20m`; "" means no time budget."""
    if str(value):
        parse_seconds(str(value))
    return str(value)


def _registered(name: str, value: str) -> str:
    """Return the value of a plan field, as registered if it is the name of a row in a registry."""
    metadata = plan_fields()[name][1].metadata if name in plan_fields() else []
    registry = next((item.registry for item in metadata if isinstance(item, OneOf)), {})
    return registered_name(value, registry)


class StudyConfig(ConfigSection):
    """The arms and rules of a study."""

    arms: tuple[str, ...] = Field(description=_("arms as START[+TUNING][+HEAD][@OPTIMIZER]"))
    vary: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description=_("values by field of the plan, with which the arms are crossed")
    )
    seeds: int = Field(5, ge=1, le=1000, description=_("number of paired seeds per arm"))
    interim: Annotated[tuple[int, ...], BeforeValidator(split_commas)] = Field(
        (),
        description=_(
            "interim analyses on the test images, as numbers of seeds, e.g. 3,5,8 with --seeds 8: a clear "
            "difference in the primary contrast (O'Brien-Fleming bounds) ends the study early"
        ),
    )
    max_seeds: int = Field(
        0, ge=0, le=1000, description=_("most seeds with those that `resume --more-seeds` adds; 0 if none may be added")
    )
    first_share: float = Field(
        DEFAULT_FIRST_SHARE,
        gt=0,
        lt=1,
        description=_("share of the error that the analyses up to `seeds` have; seeds that are added have the rest"),
    )
    further: Annotated[tuple[int, ...], BeforeValidator(split_commas)] = Field(
        (), description=_("numbers of seeds of the analyses after added seeds; empty in a declared study")
    )
    budgets: Annotated[tuple[Duration, ...], BeforeValidator(split_commas)] = Field(
        (),
        description=_("training lengths to report, e.g. 3ep,10ep, as separate runs, each searched [default: epochs]"),
    )
    fractions: Annotated[tuple[float, ...], BeforeValidator(split_commas)] = Field(
        (1.0,), description=_("shares of the training images to report, e.g. 0.1,0.25,0.5,1")
    )
    metric: Annotated[
        str,
        OneOf(METRICS, is_study_metric, _("a study needs a mean over images that the confusion counts determine")),
        Detail(lambda: describe_metrics(is_study_metric)),
    ] = Field(DEFAULT_METRIC, description=_("metric by which arms are compared"))
    target: float = Field(
        0.75, ge=0, lt=1, description=_("validation accuracy (0 to 1) used for time-to-target; 0 turns it off")
    )
    margin: Annotated[str, BeforeValidator(_parse_margin)] = Field(
        "1pt", description=_("equivalence margin in percentage points: smaller differences count as equal")
    )
    primary: str = Field(
        "", description=_("primary contrast: A vs B [default: the first arm that is not scratch vs scratch]")
    )
    primary_share: float = Field(
        DEFAULT_PRIMARY_SHARE,
        gt=0,
        lt=1,
        description=_("share of the 5 % error that the primary contrast has; the other contrasts divide the rest"),
    )
    search: Literal["shared", "per-seed", "off"] = Field(
        "per-seed",
        description=_(
            "learning-rate search; per-seed: one rate per arm and seed; shared: one per arm, which leaves the error "
            "of the search out of the interval; off: no search, the rate is --lr (the default when --lr is given)"
        ),
    )
    grid: Annotated[tuple[float, ...], BeforeValidator(split_commas)] = Field(
        DEFAULT_LR_GRID, description=_("learning rates to search")
    )
    search_seeds: int = Field(
        2, ge=1, le=100, description=_("number of seeds of a shared search, used for nothing else")
    )
    survivors: int = Field(
        2,
        ge=1,
        le=100,
        description=_("learning rates per arm that survive the first rung of the search (successive halving)"),
    )
    fixed_fields: Annotated[tuple[OptimizerField, ...], BeforeValidator(split_commas)] = Field(
        (), description=_("fields of the plan that keep their value with every optimizer, because the user set them")
    )
    source_epochs: EpochDuration | None = Field(
        None, description=_("training length of source: starts [default: the last budget]")
    )

    pooled_seeds: Annotated[tuple[int, ...], BeforeValidator(split_commas)] = Field(
        (), description=_("seeds of runs that were pooled after their training; empty in a declared study")
    )
    pooled_left_out: int = Field(
        0, ge=0, description=_("number of runs that were named for pooling and do not fit; 0 in a declared study")
    )
    time_budget: Annotated[str, BeforeValidator(_check_time)] = Field(
        "",
        description=_(
            "time budget, e.g. 20m or 2h: sets seeds (3 to 10), and epochs (at least 2) if 3 seeds take longer"
        ),
    )

    @field_validator("arms")
    @classmethod
    def _absolute_paths(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        """Make paths absolute: the names of arms must not depend on the working directory."""
        return tuple(map(absolute_arm, arms))

    @field_validator("vary")
    @classmethod
    def _registered_names(cls, vary: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Write the names of optimizers, schedules and metrics as they are registered: they are in names of arms."""
        return {name: tuple(_registered(name, value) for value in values) for name, values in vary.items()}

    @field_validator("grid", "fractions")
    @classmethod
    def _sort(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values or min(values) <= 0:
            raise ValueError(_("needs numbers above 0"))
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _check(self) -> StudyConfig:
        if max(self.fractions) > 1:
            raise ValueError(_("fractions must not be above 1"))
        for budget in self.budgets:
            if budget.unit == "%" or budget.value <= 0:
                raise ValueError(_("budgets must be durations such as 10ep or 500st, not {budget}", budget=str(budget)))
        if len(set(self.budgets)) < len(self.budgets):
            raise ValueError(_("budgets contains a length twice"))
        if self.interim and not (
            self.interim[0] >= MIN_DECISIVE_SEEDS and list(self.interim) == sorted(set(self.interim))
            and self.interim[-1] == self.seeds
        ):  # fmt: skip
            raise ValueError(
                _(
                    "interim needs increasing numbers of seeds from {first} to seeds = {seeds}, e.g. {first},{last}",
                    first=MIN_DECISIVE_SEEDS,
                    seeds=self.seeds,
                    last=max(self.seeds, MIN_DECISIVE_SEEDS + 1),
                )
            )
        if self.max_seeds and self.max_seeds <= self.seeds:
            raise ValueError(_("max-seeds must be above seeds = {seeds}", seeds=self.seeds))
        analyses = [self.seeds, *self.further]
        if analyses != sorted(set(analyses)) or analyses[-1] > max(self.seeds, self.max_seeds):
            raise ValueError(_("further needs increasing numbers of seeds, above seeds and up to max-seeds"))
        variants, faults = _cross(self)
        arms = [variant.arm for variant in variants]
        names = [arm.name for arm in arms]
        if len(self.arms) * math.prod(map(len, self.vary.values())) < 2:
            faults.append(_("a study needs at least two arms: add --arm or --vary"))
        if faults:
            raise ValueError(join(faults, "; "))
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(_("the arm {arm} is declared twice", arm=duplicates[0]))
        self.contrast(arms)
        if self.interim and "lr" in self.vary and not self.primary:
            raise ValueError(
                _(
                    "interim needs a declared primary contrast: set primary = A vs B, "
                    "because val selects the contrast of a grid of learning rates"
                )
            )
        return self

    @property
    def all_seeds(self) -> int:
        """Number of paired seeds, with those that were added."""
        return self.further[-1] if self.further else self.seeds

    @property
    def margin_width(self) -> float:
        """Equivalence margin as a difference of accuracies, 0 to 1."""
        return float(self.margin.removesuffix("pt")) / 100

    def contrast(self, arms: Sequence[ArmSpec]) -> tuple[str, str]:
        """Return the names of the primary contrast (A, B) among the variants `arms`.

        Default: the first variant that does not start from scratch, against the first that does.

        Raises:
            ValueError: the declared contrast does not name two variants.
        """
        names = [arm.name for arm in arms]
        if self.primary:
            pair = tuple(part.strip() for part in self.primary.split(" vs "))
            if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(names):
                raise ValueError(
                    _(
                        "primary = {primary!r} must be A vs B with two of {arms}",
                        primary=self.primary,
                        arms=", ".join(names),
                    )
                )
            return pair[0], pair[1]
        from_scratch = [arm.name for arm in arms if start_row(arm.start).from_scratch]
        reference = (from_scratch or names)[0]
        others = [name for name in names if name != reference]
        return next((name for name in others if name not in from_scratch), others[0]), reference


@dataclass(frozen=True)
class ArmVariant:
    """An arm of a study, with one combination of the varied values, and how it changes the plan.

    Attributes:
        arm: the arm.
        fixed_fields: fields that keep the value of the base plan with every optimizer.
    """

    arm: ArmSpec
    fixed_fields: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the arm, unique in the study."""
        return self.arm.name

    def plan(self, base: RunConfig) -> RunConfig:
        """Return the plan of this variant.

        Another optimizer than that of `base` sets its default learning rate and weight decay, unless the user set them.
        """
        settings: dict[str, Setting] = {**self.arm.settings}
        optimizer = str(settings.get("optimizer", base.recipe.optimizer))
        if optimizer != base.recipe.optimizer:
            base_defaults = RecipeConfig.model_validate({"optimizer": base.recipe.optimizer})
            defaults = RecipeConfig.model_validate({"optimizer": optimizer})
            for name in OPTIMIZER_FIELDS:
                if name not in self.fixed_fields and getattr(base.recipe, name) == getattr(base_defaults, name):
                    settings.setdefault(name, getattr(defaults, name))
            if base.recipe.nesterov and "nesterov" not in OPTIMIZERS[optimizer].options:
                settings.setdefault("nesterov", False)
        return with_absolute_paths(base.changed(**cast(PlanSettings, settings)))


def arm_variants(protocol: StudyConfig) -> tuple[ArmVariant, ...]:
    """Return every arm crossed with every combination of the values in `vary`, in the order of declaration."""
    return tuple(_cross(protocol)[0])


def _not_variable(name: str) -> Message:
    """Return that a field cannot be varied, and what to use instead."""
    if name in FLAGS_INSTEAD_OF_VARY:
        flag = FLAGS_INSTEAD_OF_VARY[name]
        return _("vary: {name!r} is not a field that can be varied: use {flag}", name=name, flag=flag)
    if name == "start":
        return _("vary: {name!r} is not a field that can be varied: name each with --arm", name=name)
    similar = suggestion(name, [field for field in plan_fields() if field not in NOT_VARIABLE])
    return _("vary: {name!r} is not a field that can be varied{suggestion}", name=name, suggestion=similar)


def _cross(protocol: StudyConfig) -> tuple[list[ArmVariant], list[Message]]:
    """Return the variants of the valid arms, and the faults of the others without duplicates."""
    for name in protocol.vary:
        if name not in plan_fields() or name in NOT_VARIABLE:
            raise ValueError(_not_variable(name))
    count = len(protocol.arms) * math.prod(map(len, protocol.vary.values()))
    if count > MAX_VARIANTS:  # before they are made
        message = _("the arms and vary make {count:,} variants, more than {limit:,}", count=count, limit=MAX_VARIANTS)
        raise ValueError(message)
    parsed: list[ArmSpec] = []
    faults: list[Message] = []
    for text in protocol.arms:
        try:
            parsed.append(parse_arm(text))
        except ValueError as error:
            faults.append(message_of(error))
    variants: list[ArmVariant] = []
    labels = start_names(arm.start for arm in parsed)
    for arm in (spec.model_copy(update={"label": labels[spec.start]}) for spec in parsed):
        if clash := set(arm.settings) & set(protocol.vary):
            raise ValueError(_("the arm {arm!r} sets {field}, which is varied", arm=arm.name, field=sorted(clash)[0]))
        for values in itertools.product(*protocol.vary.values()):
            varied = dict(zip(protocol.vary, values, strict=True))
            variants.append(ArmVariant(arm.model_copy(update={"varied": varied}), protocol.fixed_fields))
    return variants, list(dict.fromkeys(faults))
