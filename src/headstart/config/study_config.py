"""The protocol of a study: what is compared, and by which rules. It is declared before the first step (`declaration`).

An arm is written `START[+TUNING][+HEAD][@OPTIMIZER]`;
`vary` crosses the arms with values of any field of the plan. Each combination is a cell: what a run has in common with
the runs of the other seeds.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from headstart.config.arm_spec import _anchored_arm, _called, arm_text, parse_arm
from headstart.config.duration import Duration, seconds
from headstart.config.run_config import (
    ConfigSection,
    RecipeConfig,
    RunConfig,
    fields,
    split_commas,
    with_absolute_paths,
)
from headstart.text import nearest

GRID = (0.05, 0.01, 0.005, 0.001, 0.0001)
FEWEST_SEEDS = 3  # fewer decide nothing
OF_AN_OPTIMIZER = ("lr", "weight_decay")  # each optimizer has defaults of its own for them
_FIXED = {"source", "classes", "start", "seed", "test_seed", "fraction", "epochs"}  # what `vary` has no say in

_INSTEAD = {"epochs": ": use --budgets", "fraction": ": use --fractions", "start": ": name each with --arm"}


def _points(value: Any) -> Any:
    """`1pt` is 0.01 of accuracy."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*pt", str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is no width in points of accuracy: write 1pt or 0.5pt")
    if float(match[1]) >= 100:
        raise ValueError(f"{value!r} is wider than accuracies can differ: write less than 100pt, such as 1pt")
    return f"{float(match[1]):g}pt"


def _clock(value: Any) -> Any:
    """Time as `units.seconds` reads it; "" is none."""
    if str(value):
        seconds(str(value))
    return str(value)


class StudyConfig(ConfigSection):
    """The rules of a study."""

    arms: tuple[str, ...] = Field(description="START[+TUNING][+HEAD][@OPTIMIZER]")
    vary: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="fields of the plan and their values: the grid that the arms are crossed with"
    )
    seeds: int = Field(5, ge=1, le=1000, description="paired seeds of each arm")
    interim: Annotated[tuple[int, ...], BeforeValidator(split_commas)] = Field(
        (),
        description="numbers of seeds after which the test photos are looked at, e.g. 3,5,8 with --seeds 8: a clear "
        "difference of the primary contrast (O'Brien-Fleming) ends the study there",
    )
    budgets: Annotated[tuple[Duration, ...], BeforeValidator(split_commas)] = Field(
        (),
        description="lengths of training to report at, e.g. 3ep,10ep: separate runs, each searched [default: epochs]",
    )
    fractions: Annotated[tuple[float, ...], BeforeValidator(split_commas)] = Field(
        (1.0,), description="shares of the training photos to report at, e.g. 0.1,0.25,0.5,1"
    )
    metric: Literal["accuracy", "balanced"] = Field("accuracy", description="accuracy, or the mean of the classes'")
    target: float = Field(0.75, ge=0, lt=1, description="accuracy on val whose first passing is timed; 0 is off")
    margin: Annotated[str, BeforeValidator(_points)] = Field(
        "1pt", description="differences inside this width are practically equal"
    )
    primary: str = Field("", description="the contrast that is declared first: A vs B [default: the first arm with B]")
    search: Literal["shared", "per-seed", "off"] = Field(
        "shared", description="shared: a learning rate for each arm; per-seed: for each seed too; off: the plan's"
    )
    grid: Annotated[tuple[float, ...], BeforeValidator(split_commas)] = Field(
        GRID, description="learning rates to search"
    )
    search_seeds: int = Field(2, ge=1, le=100, description="seeds of the search, never used again")
    survivors: int = Field(2, ge=1, le=100, description="learning rates that the rung keeps in each arm")
    held: Annotated[tuple[Literal["lr", "weight_decay"], ...], BeforeValidator(split_commas)] = Field(
        (), description="fields of the plan that keep their value whatever an arm's optimizer: those that were given"
    )
    source_epochs: Duration | None = Field(
        None, description="source: starts: length of their training [default: as long as the runs, of the last budget]"
    )

    time_budget: Annotated[str, BeforeValidator(_clock)] = Field(
        "", description="e.g. 20m or 2h: it sets the seeds (3 to 10), and epochs (2 or more) where 3 seeds take longer"
    )

    @field_validator("arms")
    @classmethod
    def _from_anywhere(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        """With absolute paths: what a study calls its arms must not depend on where one stands."""
        return tuple(map(_anchored_arm, arms))

    @field_validator("grid", "fractions")
    @classmethod
    def _in_order(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not values or min(values) <= 0:
            raise ValueError("needs numbers above 0")
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _sound(self) -> StudyConfig:
        if max(self.fractions) > 1:
            raise ValueError("fractions are shares: none is above 1")
        for budget in self.budgets:
            if budget.unit == "%" or budget.value <= 0:
                raise ValueError(f"budgets takes 10ep or 500st, not {budget}")
        if len(set(self.budgets)) < len(self.budgets):
            raise ValueError("budgets names a length twice")
        if self.interim and self.search == "per-seed":
            raise ValueError(
                "interim saves nothing with search = per-seed, which trains every seed before the first analysis; "
                "use search = shared"
            )
        if self.interim and not (
            self.interim[0] >= FEWEST_SEEDS and list(self.interim) == sorted(set(self.interim))
            and self.interim[-1] == self.seeds
        ):  # fmt: skip
            raise ValueError(
                f"interim takes increasing numbers of seeds from {FEWEST_SEEDS} to seeds, e.g. {FEWEST_SEEDS},"
                f"{max(self.seeds, FEWEST_SEEDS + 1)}: the last one is seeds = {self.seeds}"
            )
        made, faults = _cells(self)
        names = [cell.name for cell in made]
        if len(self.arms) * math.prod(map(len, self.vary.values())) < 2:
            faults.append("a comparison needs two arms or more: add --arm or --vary")
        if faults:
            raise ValueError("; ".join(faults))
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the arm {twice[0]} is there twice")
        self.contrast(names)
        if self.interim and "lr" in self.vary and not self.primary:
            raise ValueError(
                "interim ends the study at a contrast that is declared before: say which with primary = A vs B, "
                "since val chooses what a grid of learning rates is about"
            )
        return self

    @property
    def margin_width(self) -> float:
        """In accuracy, 0 to 1."""
        return float(self.margin.removesuffix("pt")) / 100

    def contrast(self, names: list[str]) -> tuple[str, str]:
        """The primary contrast: the first arm that is not scratch against scratch, unless declared otherwise."""
        if self.primary:
            pair = tuple(part.strip() for part in self.primary.split(" vs "))
            if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(names):
                raise ValueError(f"primary = {self.primary!r} is not A vs B with two of {', '.join(names)}")
            return pair[0], pair[1]
        reference = next((name for name in names if name.startswith("scratch")), names[0])
        others = [name for name in names if name != reference]
        return next((name for name in others if not name.startswith("scratch")), others[0]), reference


@dataclass(frozen=True)
class ArmVariant:
    """One arm of a study, or one cell of its grid: its name and the fields of the plan that it sets."""

    name: str
    changes: dict[str, Any] = field(hash=False)
    held: tuple[str, ...] = ()  # fields that keep the base's value under any optimizer

    def plan(self, base: RunConfig) -> RunConfig:
        """The plan of this cell. An optimizer brings its own rate and weight decay where nobody has said others."""
        by_section: dict[str, dict[str, Any]] = {}
        for name, value in self.changes.items():
            by_section.setdefault(fields()[name][0], {})[name] = value
        recipe = by_section.get("recipe", {})
        if recipe.get("optimizer", base.recipe.optimizer) != base.recipe.optimizer:
            usual = RecipeConfig.model_validate({"optimizer": base.recipe.optimizer})
            own = RecipeConfig.model_validate({"optimizer": recipe["optimizer"]})
            for name in OF_AN_OPTIMIZER:
                if name not in self.held and getattr(base.recipe, name) == getattr(usual, name):
                    recipe.setdefault(name, getattr(own, name))
            if base.recipe.nesterov and recipe["optimizer"] != "sgd":
                recipe.setdefault("nesterov", False)
        for section, values in by_section.items():
            base = base.changed(section, **values)
        return with_absolute_paths(base)


def cells(protocol: StudyConfig) -> tuple[ArmVariant, ...]:
    """Every arm crossed with every combination of the values in `vary`, in the order in which they are written."""
    return tuple(_cells(protocol)[0])


def _cells(protocol: StudyConfig) -> tuple[list[ArmVariant], list[str]]:
    """The cells of the arms that can be read, and what is wrong with the others, each name once."""
    for name in protocol.vary:
        if name not in fields() or name in _FIXED:
            near = _INSTEAD.get(name) or nearest(name, [known for known in fields() if known not in _FIXED])
            raise ValueError(f"vary: {name!r} is not a field that can be varied{near}")
    parsed: list[dict[str, str]] = []
    faults: list[str] = []
    for arm in protocol.arms:
        try:
            parsed.append(parse_arm(arm))
        except ValueError as error:
            faults.append(str(error))
    made: list[ArmVariant] = []
    called = _called(changes["start"] for changes in parsed)
    for changes in parsed:
        arm_name = arm_text(changes, called[changes["start"]])
        if clash := set(changes) & set(protocol.vary):
            raise ValueError(f"the arm {arm_name!r} sets {sorted(clash)[0]}, which is varied")
        for values in itertools.product(*protocol.vary.values()):
            varied = dict(zip(protocol.vary, values, strict=True))
            name = ",".join([arm_name, *(f"{key.replace('_', '-')}={value}" for key, value in varied.items())])
            made.append(ArmVariant(name, {**changes, **varied}, protocol.held))
    return made, list(dict.fromkeys(faults))
