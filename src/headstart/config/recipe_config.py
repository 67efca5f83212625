"""The training recipe of a plan, and the base class of the sections of a plan."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema

from headstart.config.duration import Duration, EpochDuration
from headstart.config.field_help import Detail
from headstart.config.lists import split_commas
from headstart.config.one_of import OneOf, registered_name
from headstart.config.presets import Setting
from headstart.config.registry.head_inits import DEFAULT_HEAD_INIT, HEAD_INITS
from headstart.config.registry.mixers import MIXERS
from headstart.i18n import _
from headstart.metrics.registry import DEFAULT_METRIC, METRICS, selects_epochs
from headstart.optim.registry import (
    DEFAULT_OPTIMIZER,
    DEFAULT_SCHEDULE,
    OPTIMIZERS,
    SCHEDULES,
    optimizer_defaults,
    optimizers_with,
)
from headstart.storage.bounds import bound_numbers
from headstart.text import join_list

Crop: TypeAlias = float | Literal["auto"]


def _parse_crop(value: Setting) -> Crop:
    """Return a share of the area above 0 and up to 1, or `auto`. Raises ValueError for anything else."""
    if value == "auto":
        return "auto"
    try:
        share = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(_("write auto, or a share of the area above 0 and up to 1, such as 0.35"))
    return share


class ConfigSection(BaseModel):
    """Base class of frozen groups of fields; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        return bound_numbers(handler(source))


class RecipeConfig(ConfigSection):
    """The training recipe."""

    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = Field(DEFAULT_OPTIMIZER, description=_("optimizer"))
    lr: Annotated[float, Detail(lambda: optimizer_defaults("lr"))] = Field(
        gt=0, description=_("peak learning rate of the schedule")
    )
    momentum: Annotated[float, Detail(lambda: optimizers_with("momentum"))] = Field(
        0.9, ge=0, lt=1, description=_("momentum")
    )
    nesterov: Annotated[bool, Detail(lambda: optimizers_with("nesterov"))] = Field(
        False, description=_("Nesterov momentum")
    )
    weight_decay: Annotated[float, Detail(lambda: optimizer_defaults("weight_decay"))] = Field(
        ge=0, description=_("weight decay, except on norms and biases")
    )
    backbone_lr: float = Field(1.0, ge=0, le=1, description=_("factor on the learning rate of the pretrained backbone"))
    schedule: Annotated[str, OneOf(SCHEDULES)] = Field(DEFAULT_SCHEDULE, description=_("learning-rate schedule"))
    warmup: Duration = Field(Duration(0, "ep"), description=_("linear warm-up, e.g. 1ep, 100st, 5%"))
    step_every: Duration = Field(
        Duration(30, "%"), description=_("step schedule: interval between multiplications by gamma")
    )
    milestones: Annotated[tuple[Duration, ...], BeforeValidator(split_commas)] = Field(
        (Duration(50, "%"), Duration(75, "%")),
        description=_("multistep schedule: positions of the multiplications by gamma"),
    )
    plateau_epochs: int = Field(
        3, ge=0, description=_("plateau schedule: epochs without a lower val loss before a multiplication by gamma")
    )
    gamma: float = Field(0.1, gt=0, le=1, description=_("factor of the step, multistep and plateau schedules"))
    epochs: EpochDuration = Field(Duration(10, "ep"), description=_("training length, e.g. 10ep or 500st"))
    head_epochs: EpochDuration = Field(
        Duration(30, "%"), description=_("lp-ft: share of the training for the head alone")
    )
    batch_size: int = Field(32, ge=2, le=2**20, description=_("images per step"))
    image_size: int = Field(128, ge=8, le=2048, description=_("side of the network input in px"))
    crop: Annotated[Crop, BeforeValidator(_parse_crop)] = Field(
        "auto",
        description=_(
            "smallest area of a random resized crop, as a share of the image; 1 keeps the whole image; auto: by the "
            "number of training images"
        ),
    )
    flip: Literal["auto", "on", "off"] = Field(
        "auto", description=_("random horizontal flip; auto: on, unless left and right differ in the data")
    )
    jitter: float = Field(
        0.2, ge=0, le=1, description=_("strength of random changes of brightness, contrast and saturation")
    )
    mixup: float = Field(0.0, ge=0, le=10, description=_("alpha of mixup; 0 turns it off"))
    cutmix: float = Field(0.0, ge=0, le=10, description=_("alpha of CutMix; 0 turns it off"))
    augmented_views: int = Field(
        4, ge=1, le=1000, description=_("frozen backbone: number of augmented views of each image")
    )
    head_init: Annotated[str, OneOf(HEAD_INITS)] = Field(
        DEFAULT_HEAD_INIT, description=_("initialization of the new head")
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description=_("label smoothing"))
    class_weights: Literal["none", "balanced"] = Field(
        "none", description=_("class weights of the loss; balanced: inverse class frequency")
    )
    clip: float = Field(0.0, ge=0, description=_("largest gradient norm; 0 turns clipping off"))
    ema: float = Field(0.0, ge=0, lt=1, description=_("decay of the moving average of the weights; 0 turns it off"))
    select: Annotated[
        str, OneOf(METRICS, selects_epochs, _("the best epoch needs a metric that the confusion counts determine"))
    ] = Field(DEFAULT_METRIC, description=_("metric on val that selects the best epoch"))
    patience: int = Field(0, ge=0, description=_("early stopping: epochs without improvement on val; 0 turns it off"))

    @property
    def smallest_crop(self) -> float:
        """Smallest area of a crop, as a share of the image. Raises ValueError in a draft that leaves it open."""
        if self.crop == "auto":
            raise ValueError("the crop is not resolved")
        return self.crop

    @model_validator(mode="before")
    @classmethod
    def _optimizer_defaults(cls, values: RecipeConfig | dict[str, Setting]) -> RecipeConfig | dict[str, Setting]:
        if isinstance(values, dict):
            name = registered_name(str(values.get("optimizer")), OPTIMIZERS)
            spec = OPTIMIZERS.get(name, OPTIMIZERS[DEFAULT_OPTIMIZER])
            values = {"lr": spec.lr, "weight_decay": spec.weight_decay, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> RecipeConfig:
        for name in ("epochs", "head_epochs", "step_every"):
            if getattr(self, name).value <= 0:
                raise ValueError(_("{name} must be above 0", name=name))
        if self.epochs.unit == "%":
            raise ValueError(_("epochs must be a duration such as 10ep or 500st, not a share"))
        if len(mixers := [name for name in MIXERS if getattr(self, name)]) > 1:
            raise ValueError(_("{mixers} cannot be combined", mixers=join_list(mixers)))
        if self.nesterov and ("nesterov" not in OPTIMIZERS[self.optimizer].options or self.momentum == 0):
            raise ValueError(
                _("nesterov needs the optimizer {optimizers} with momentum", optimizers=optimizers_with("nesterov"))
            )
        return self
