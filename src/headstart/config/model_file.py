"""The files of a model folder: their names, the schemas of config.json and preprocess.json, and reading them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError

from headstart.config.run_config import NetworkConfig
from headstart.errors import DataError, ModelFileError
from headstart.i18n import Message, _, verbatim
from headstart.storage import contained, repair
from headstart.storage.files import SCHEMA_VERSION, JsonData
from headstart.storage.schemas.schema import (
    UPDATE_HINT,
    Count,
    Positive,
    Schema,
    StoredFile,
    first_fault,
    unsupported_version,
)

CONFIG_FILE, PREPROCESS_FILE = "config.json", "preprocess.json"
BACKBONES_FOLDER = "backbones"  # in a folder of runs
# Weights: one file, or a head and the frozen backbone that several heads share.
MODEL_FILE, HEAD_FILE, BACKBONE_FILE = "model.safetensors", "head.safetensors", "backbone.safetensors"
MAX_SIDE_PX = 4096  # a file with a larger side is damaged; an --image-size is at most 2048
MAX_JSON_BYTES = 64_000_000  # of config.json, which names the classes

Triple = tuple[float, float, float]
Normalization = Literal["mean", "std"]
# far beyond what a network needs, but its inputs are finite and do not vanish
_NORMALIZATION: dict[Normalization, tuple[float, float]] = {"mean": (-1e4, 1e4), "std": (1e-5, 1e5)}
_File = TypeVar("_File", bound=Schema)


class ModelFolder(NamedTuple):
    """A model folder: `name` below `root`, where links are not followed; "" is the root."""

    root: Path
    name: str

    @property
    def path(self) -> Path:
        """The path of the folder."""
        return self.root / self.name

    def contains(self, file: str) -> bool:
        """Return True if there is such a file. Raises UnsafeFileError if it is a link."""
        return contained.is_file(self.root, contained.join(self.name, file))


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError(_("is not a list of unique names"))
    return names


def _three_values(values: object) -> object:
    """Check the number of channels before their values, so that the message names it."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ValueError(_("{values} is not a list of three values", values=repr(values)))
    return values


def is_valid(field: Normalization, values: Triple) -> bool:
    """Return whether `values` can be the mean or the std of channels whose values are about 0 to 1, or 0 to 255."""
    low, high = _NORMALIZATION[field]
    return all(low <= value <= high for value in values)


def _valid_mean(values: Triple) -> Triple:
    if not is_valid("mean", values):
        raise ValueError(_("{values} is not a valid mean of three channels", values=str(list(values))))
    return values


def _valid_std(values: Triple) -> Triple:
    if not is_valid("std", values):
        raise ValueError(_("{values} is not a valid std of three channels", values=str(list(values))))
    return values


def _side(value: object) -> object:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIDE_PX:
        raise ValueError(_("{value} px is not a valid image side", value=repr(value)))
    return value


Mean = Annotated[Triple, BeforeValidator(_three_values), AfterValidator(_valid_mean)]
Std = Annotated[Triple, BeforeValidator(_three_values), AfterValidator(_valid_std)]
Side = Annotated[int, BeforeValidator(_side)]


class _ModelSchema(Schema):
    """Value in a file that other programs write and extend, too: unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class _OriginVersion(_ModelSchema):
    """The version in headstart's section of config.json."""

    schema_version: int


class _ConfigVersion(_ModelSchema):
    """The version of config.json; its other values may be of any version."""

    headstart: _OriginVersion


class _OriginWeights(_ModelSchema):
    """The weight files in headstart's section of config.json."""

    weights: dict[str, StoredFile]


class _ConfigWeights(_ModelSchema):
    """The weight files that config.json names; null in a config.json of another program."""

    headstart: _OriginWeights | None = None


class TrainingData(_ModelSchema):
    """Data that a model was trained on, and what its split depends on."""

    fingerprint: str = Field(description="hash of names, labels, splits, groups and contents of the images")
    seed: int
    test_seed: int
    fraction: float = Field(description="share of the training images that was used")
    evaluate_on_val: bool
    near_duplicates_sha256: str = Field(
        "", description="that of the plan, if a split was drawn: near-duplicates in one split"
    )


class ModelOrigin(_ModelSchema):
    """Values with which headstart builds the network and finds its training images again."""

    schema_version: int = SCHEMA_VERSION
    network: NetworkConfig
    network_sha256: str = Field("", description="sha256 of the source files of a user's own network, in `code`")
    head: str
    start: str = Field(description="start of the run, without the path")
    provenance: str = Field(description="provenance of the initial weights, in English")
    plan: str = Field(description="hash of the plan")
    epoch: int = Field(description="epoch of the weights")
    weights: dict[str, StoredFile] = Field(description="size and sha256 by name of a weight file in the folder")
    settings: str = Field("", description="sha256 of the other values of this file, and of those of preprocess.json")
    data: TrainingData


class PretrainedConfig(_ModelSchema):
    """Configuration of a network in timm's form."""

    num_classes: Count
    input_size: tuple[Count, Side, Side] = Field(description="channels, height and width")
    fixed_input_size: bool
    interpolation: str
    crop_pct: Positive
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
    num_classes: Count
    pretrained_cfg: PretrainedConfig
    headstart: ModelOrigin


class Preprocess(_ModelSchema):
    """Content of preprocess.json: the path from an image file to the input of the network."""

    steps: tuple[str, ...] = Field(description="the steps in words")
    cache_side: Side = Field(description="shorter side in px to which images are first reduced, as in training")
    size: Side = Field(description="side of the input in px")
    max_value: int = Field(ge=1, le=65535, description="16-bit value that becomes 255")
    background: int = Field(ge=0, le=255, description="gray level behind transparent pixels")
    mean: Mean
    std: Std


def settings_digest(config: ModelConfig, preprocess: Preprocess) -> str:
    """Return the sha256 (hex) of the settings of a model but the weight files, which have hashes of their own."""
    content = config.model_dump(mode="json", exclude={"headstart": {"weights", "settings"}})
    text = json.dumps([content, preprocess.to_json()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_model_config(root: Path, name: str = "") -> ModelConfig:
    """Read config.json of a model folder; its version is checked before its other values.

    Args:
        root: The folder that the user has named.
        name: Name of the model folder below it; "" for the root.

    Raises:
        ModelFileError: It is missing, damaged, a link, or of another schema version.
    """
    content = _read(root, name, CONFIG_FILE)
    version = _validated(root / name, content, _ConfigVersion).headstart.schema_version
    if version != SCHEMA_VERSION:
        raise ModelFileError(unsupported_version(root / name / CONFIG_FILE, version), UPDATE_HINT)
    return _validated(root / name, content, ModelConfig)


def read_weight_files(root: Path, name: str = "") -> Mapping[str, StoredFile] | None:
    """Return size and hash of the weight files by their names in a model folder, as config.json has them.

    None for a config.json of another program, or without one. Raises ModelFileError as `read_model_config`.
    """
    if not contained.is_file(root, contained.join(name, CONFIG_FILE)):
        return None
    origin = _validated(root / name, _read(root, name, CONFIG_FILE), _ConfigWeights).headstart
    return None if origin is None else origin.weights


def read_preprocess(root: Path, name: str = "") -> Preprocess:
    """Read preprocess.json of a model folder, as `read_model_config`. Raises ModelFileError."""
    return _validated(root / name, _read(root, name, PREPROCESS_FILE), Preprocess)


def _read(root: Path, name: str, file: str) -> JsonData:
    """Return the JSON object in a file of a model folder."""
    folder = root / name
    try:
        content: JsonData = json.loads(contained.read_text(root, contained.join(name, file), MAX_JSON_BYTES))
    except FileNotFoundError:
        raise unusable_model(folder, _("{file} is missing.", file=file)) from None
    except DataError as error:
        raise unusable_model(folder, error.message) from None
    except (OSError, ValueError, RecursionError) as error:
        raise unusable_model(folder, _("{file} is damaged: {reason}.", file=file, reason=first_line(error))) from None
    if not isinstance(content, dict):
        raise unusable_model(folder, _("{file} is not a JSON object.", file=file))
    return content


def _validated(folder: Path, content: JsonData, schema: type[_File]) -> _File:
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        reason = _("its settings are invalid: {reason}.", reason=first_fault(error))
        raise unusable_model(folder, reason) from None


def unusable_model(folder: Path, reason: Message) -> ModelFileError:
    """Return the error for a model folder that cannot be used; the reason ends with a full stop."""
    return ModelFileError(
        _("The model in {folder} cannot be used: {reason}", folder=folder, reason=reason),
        repair.model_hint(folder) or _("Restore it from a backup, or train it again."),
    )


def first_line(error: Exception | str) -> Message:
    """Return the first line of the text of another program's error, which is not translated."""
    text = str(error).strip()
    return verbatim(text.splitlines()[0].rstrip(":.") if text else type(error).__name__)
