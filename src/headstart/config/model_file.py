"""Schemas of config.json and preprocess.json in a model folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from headstart.config.run_config import NetworkConfig
from headstart.i18n import _
from headstart.storage.files import SCHEMA_VERSION
from headstart.storage.schemas.schema import Schema

CONFIG_FILE, PREPROCESS_FILE = "config.json", "preprocess.json"
MAX_SIDE_PX = 100_000  # a file with a larger side is damaged

Triple = tuple[float, float, float]


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError(_("is not a list of unique names"))
    return names


def _three_values(values: object) -> object:
    """Check the number of channels before their values, so that the message names it."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ValueError(_("{values} is not a list of three values", values=repr(values)))
    return values


def _positive(values: Triple) -> Triple:
    if min(values) <= 0:
        raise ValueError(_("{values} is not a valid std of three channels", values=str(list(values))))
    return values


def _side(value: object) -> object:
    if not isinstance(value, int) or not 1 <= value <= MAX_SIDE_PX:
        raise ValueError(_("{value} px is not a valid image side", value=repr(value)))
    return value


Mean = Annotated[Triple, BeforeValidator(_three_values)]
Std = Annotated[Triple, BeforeValidator(_three_values), AfterValidator(_positive)]
Side = Annotated[int, BeforeValidator(_side)]


class _ModelSchema(Schema):
    """Value in a file that other programs write and extend, too: unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class _OriginVersion(_ModelSchema):
    """The version in headstart's section of config.json."""

    schema_version: int


class ConfigVersion(_ModelSchema):
    """The version of config.json; its other values may be of any version."""

    headstart: _OriginVersion


class TrainingData(_ModelSchema):
    """Data that a model was trained on, and what its split depends on."""

    fingerprint: str = Field(description="hash of names, labels, splits, groups and contents of the images")
    seed: int
    test_seed: int
    fraction: float = Field(description="share of the training images that was used")
    evaluate_on_val: bool


class ModelOrigin(_ModelSchema):
    """Values with which headstart builds the network and finds its training images again."""

    schema_version: int = SCHEMA_VERSION
    network: NetworkConfig
    head: str
    start: str = Field(description="start of the run, without the path")
    provenance: str = Field(description="provenance of the initial weights, in English")
    plan: str = Field(description="hash of the plan")
    epoch: int = Field(description="epoch of the weights")
    data: TrainingData


class PretrainedConfig(_ModelSchema):
    """Configuration of a network in timm's form."""

    num_classes: int
    input_size: tuple[int, int, int] = Field(description="channels, height and width")
    fixed_input_size: bool
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: Mean
    std: Std
    first_conv: str | tuple[str, ...] | None
    classifier: str
    license: str


class ModelConfig(_ModelSchema):
    """Content of config.json: timm's hub layout, and headstart's own section."""

    label_names: Annotated[tuple[str, ...], AfterValidator(_unique)]
    architecture: str
    num_classes: int
    pretrained_cfg: PretrainedConfig
    headstart: ModelOrigin


class Preprocess(_ModelSchema):
    """Content of preprocess.json: the path from an image file to the input of the network."""

    steps: tuple[str, ...] = Field(description="the steps in words")
    cache_side: Side = Field(description="shorter side in px to which images are first reduced, as in training")
    size: Side = Field(description="side of the input in px")
    mean: Mean
    std: Std
