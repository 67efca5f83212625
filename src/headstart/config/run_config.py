"""The plan: a frozen, complete, typed, hashable value of what is to be done.

A plan says everything that decides a run's bits; nothing in the house asks for an option anywhere else. It goes out
as TOML or JSON and comes back equal. Command-line flags, TOML keys and the documentation are made from the fields
below: one list, never three.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from headstart.config.duration import Duration
from headstart.config.start_spec import _absolute, absolute_start, short_start
from headstart.errors import DataError
from headstart.storage.files import SCHEMA, read_json

Switch = Literal["on", "off"]

# What each optimizer gets when nobody says otherwise: (learning rate, weight decay).
OPTIMIZER_DEFAULTS: dict[str, tuple[float, float]] = {
    "sgd": (0.01, 1e-4),
    "adam": (0.001, 0.0),
    "adamw": (0.001, 0.01),
    "rmsprop": (0.001, 0.0),
}


def split_commas(value: Any) -> Any:
    """`a,b` on the command line is the list ["a", "b"] in a file."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class ConfigSection(BaseModel):
    """A frozen group of fields; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(ConfigSection):
    """Which photos, and which of them."""

    source: str = Field("digits", description="folder of class folders, manifest, or built-in: digits, digits:0-5")
    classes: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = Field(
        (), description="only these classes: a,b,c"
    )
    skip_bad: bool = Field(False, description="list photos that cannot be decoded and go on without them")
    allow_outside: bool = Field(False, description="let a manifest or a link name files outside its own folder")
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the training photos, of each class alike; smaller ones lie within larger"
    )
    evaluate_on_val: bool = Field(
        False, description="without a test split: let the declared val judge, and choose on a part of train"
    )
    cache_resolution: float = Field(
        1.5, ge=1, le=8, description="shorter side of the stored photos, as a factor of the image size"
    )


class NetworkConfig(ConfigSection):
    """What is trained."""

    network: str = Field(
        "auto", description="resnet18, resnet34, resnet50 or timm:NAME; auto: the start's, or resnet18"
    )
    shortcut: Switch = Field("on", description="the residual shortcut")
    norm: Literal["batch", "none"] = Field("batch", description="normalisation layers")
    stem: Literal["imagenet", "small"] = Field("imagenet", description="7x7/2 and pooling, or 3x3/1 for small pictures")


class ArmConfig(ConfigSection):
    """What a comparison compares: where the weights come from, and what is trained."""

    start: str = Field(
        "scratch",
        description="scratch[:kaiming|xavier|orthogonal|zero-gamma|torch], imagenet, timm:NAME, file:PATH, run:DIR, "
        "stats:START",
    )
    tuning: str = Field(
        "full", pattern=r"^(full|frozen|lp-ft|stages:\d+)$", description="full, frozen, lp-ft or stages:N"
    )
    head: str = Field("linear", pattern=r"^(linear|mlp:\d+)$", description="linear or mlp:WIDTH")


class RecipeConfig(ConfigSection):
    """How it is trained."""

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = Field("sgd", description="optimizer")
    lr: float = Field(gt=0, description="learning rate at the schedule's peak (default: sgd 0.01, others 0.001)")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd and rmsprop")
    nesterov: bool = Field(False, description="Nesterov momentum (sgd)")
    weight_decay: float = Field(
        ge=0, description="weight decay; norms and biases are spared (default: sgd 1e-4, adamw 0.01, others 0)"
    )
    backbone_lr: float = Field(1.0, ge=0, le=1, description="factor on the learning rate of what is pretrained")
    schedule: Literal["constant", "step", "multistep", "cosine", "linear", "one-cycle"] = Field(
        "cosine", description="learning-rate schedule"
    )
    warmup: Duration = Field(Duration(0, "ep"), description="linear warm-up, e.g. 1ep, 100st, 5%")
    step_every: Duration = Field(Duration(30, "%"), description="step schedule: multiply by gamma this often")
    milestones: Annotated[tuple[Duration, ...], BeforeValidator(split_commas)] = Field(
        (Duration(50, "%"), Duration(75, "%")), description="multistep schedule: multiply by gamma here"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor of the step and multistep schedules")
    epochs: Duration = Field(Duration(10, "ep"), description="length of training, e.g. 10ep or 500st")
    head_epochs: Duration = Field(Duration(30, "%"), description="lp-ft: the head's share of the training")
    batch_size: int = Field(32, ge=2, description="photos per step")
    image_size: int = Field(128, ge=8, le=2048, description="side of the network's input in px")
    crop: float = Field(
        0.08, gt=0, le=1, description="smallest share of a photo's area in a random resized crop; 1 keeps the whole"
    )
    flip: Literal["auto", "on", "off"] = Field(
        "auto", description="random horizontal flip; auto: on, unless left and right differ in the data"
    )
    jitter: float = Field(0.0, ge=0, le=1, description="strength of random brightness, contrast and saturation")
    mixup: float = Field(0.0, ge=0, le=10, description="mixup's alpha; 0 is off")
    augmented_views: int = Field(
        4, ge=1, le=1000, description="frozen trunk: number of different augmented views of each photo"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: weigh the loss by inverse class frequency"
    )
    clip: float = Field(0.0, ge=0, description="clip the gradient's norm to this; 0 is off")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average; 0 is off")
    select: Literal["accuracy", "balanced"] = Field(
        "accuracy", description="what val picks the best epoch by: accuracy, or the mean of the classes'"
    )
    patience: int = Field(0, ge=0, description="stop after so many epochs without a better one on val; 0 is off")

    @model_validator(mode="before")
    @classmethod
    def _optimizer_defaults(cls, values: Any) -> Any:
        if isinstance(values, dict):
            chosen = str(values.get("optimizer", "sgd"))
            lr, decay = OPTIMIZER_DEFAULTS.get(chosen, OPTIMIZER_DEFAULTS["sgd"])
            values = {"lr": lr, "weight_decay": decay, **values}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> RecipeConfig:
        for name in ("epochs", "head_epochs", "step_every"):
            if getattr(self, name).value <= 0:
                raise ValueError(f"{name} must be longer than nothing")
        if self.epochs.unit == "%":
            raise ValueError("epochs takes 10ep or 500st: a share has nothing here to be a share of")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise ValueError("nesterov needs the optimizer sgd with momentum")
        return self


class MachineConfig(ConfigSection):
    """Where it runs. `auto` and 0 are settled by measurement before the plan is hashed."""

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="cpu, cuda, cuda:N, mps, or auto")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="fp32, bf16, or whichever is measured faster"
    )
    threads: int = Field(0, ge=0, le=1024, description="compute threads; 0: all cores that this process may use")


class SeedConfig(ConfigSection):
    """What the random numbers are derived from."""

    seed: int = Field(
        0, ge=0, lt=2**31, description="seed of the train/val split, the head's init, the order and the augmentation"
    )
    test_seed: int = Field(0, ge=0, lt=2**31, description="seed of the test split, where the data declares none")


class ResolvedFacts(ConfigSection):
    """What was found out before the first step; empty in a draft."""

    fingerprint: str = ""
    class_names: tuple[str, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    images: dict[str, int] = Field(default_factory=dict)  # of each class, in all splits together
    weights_sha256: str = ""
    mean: tuple[float, ...] = ()  # of the start's preprocessing: files beside the weights may decide it
    std: tuple[float, ...] = ()


class RunConfig(ConfigSection):
    """One run: data, network, arm, recipe, machine, seeding, and the facts they met."""

    data: DataConfig = Field(default_factory=DataConfig)
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    arm: ArmConfig = Field(default_factory=ArmConfig)
    recipe: RecipeConfig = Field(default_factory=lambda: RecipeConfig.model_validate({}))
    machine: MachineConfig = Field(default_factory=MachineConfig)
    seeding: SeedConfig = Field(default_factory=SeedConfig)
    facts: ResolvedFacts = Field(default_factory=ResolvedFacts)

    def changed(self, section: str, **values: Any) -> RunConfig:
        """A copy in which fields of one section have other values, validated again."""
        fields = {**getattr(self, section).model_dump(), **values}
        return RunConfig.model_validate({**self.model_dump(), section: fields})

    @property
    def open_fields(self) -> tuple[str, ...]:
        """The fields that still wait for a measurement; a plan with any of them has no hash."""
        waiting = {
            "network.network": self.network.network == "auto",
            "machine.device": self.machine.device == "auto",
            "machine.precision": self.machine.precision == "auto",
            "machine.threads": self.machine.threads == 0,
            "recipe.flip": self.recipe.flip == "auto",
            "facts.fingerprint": not self.facts.fingerprint,
        }
        return tuple(name for name, is_open in waiting.items() if is_open)

    def identity(self) -> dict[str, Any]:
        """What decides the bits: the plan with content in the place of paths."""
        value = self.model_dump(mode="json")
        for path_like in ("source", "skip_bad", "allow_outside"):  # the fingerprint says what was read
            del value["data"][path_like]
        if self.facts.weights_sha256:
            value["arm"]["start"] = self.arm.start.partition(":")[0]
        return value

    @property
    def hash(self) -> str:
        """sha256 (hex) of the identity. Raises ValueError while fields are open."""
        if self.open_fields:
            raise ValueError(f"the plan is not complete: {', '.join(self.open_fields)}")
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        return tomli_w.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_toml(cls, text: str) -> RunConfig:
        return cls.model_validate(tomllib.loads(text))

    @property
    def arm_name(self) -> str:
        """`START[+TUNING][+HEAD]@OPTIMIZER`, as a comparison names it."""
        parts = [short_start(self.arm.start)]
        parts += [self.arm.tuning] if self.arm.tuning != "full" else []
        parts += [self.arm.head] if self.arm.head != "linear" else []
        return "+".join(parts) + f"@{self.recipe.optimizer}"


def with_absolute_paths(plan: RunConfig) -> RunConfig:
    """The plan with absolute paths: a run can be gone on with from any folder."""
    plan = plan.changed("data", source=_absolute(plan.data.source))
    return plan.changed("arm", start=absolute_start(plan.arm.start))


# The sections a user fills; facts are found, never set.
SECTIONS: dict[str, type[ConfigSection]] = {
    "data": DataConfig, "network": NetworkConfig, "arm": ArmConfig, "recipe": RecipeConfig, "machine": MachineConfig, "seeding": SeedConfig,
}  # fmt: skip


def fields() -> dict[str, tuple[str, Any]]:
    """Every field a user may set, by its (unique) name: (section, pydantic field)."""
    return {name: (section, field) for section, model in SECTIONS.items() for name, field in model.model_fields.items()}


def read_plan(folder: Path) -> RunConfig:
    """The plan of a run folder. Raises DataError for one that is missing, damaged, or of a later schema."""
    content = read_json(folder / "plan.json")
    try:
        schema, value = content["schema"], content["plan"]
        plan = RunConfig.model_validate(value)
    except (ValueError, KeyError, TypeError) as error:  # pydantic's errors are ValueErrors
        reason = "; ".join(e["msg"] for e in error.errors()) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"The plan in {folder} is not one ({reason}).", "Take plan.json from a copy.") from None
    if schema != SCHEMA:
        raise DataError(f"The run {folder} has schema {schema}, this version reads {SCHEMA}.", "Update headstart.")
    return plan


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Lines `section.field: old -> new` for two plans dumped as dictionaries."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines
