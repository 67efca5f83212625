"""The plan of a run: a frozen, complete, typed and hashable configuration.

The plan contains everything that decides the bits of a run; no code reads options from elsewhere. It converts to TOML
or JSON and back without loss. Command-line flags, TOML keys and the documentation are generated from the fields below.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal, TypeAlias, Unpack

import tomli_w
from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo

from headstart.config.device_spec import DEVICE_PATTERN, normalize_device
from headstart.config.duration import Duration
from headstart.config.field_help import Detail
from headstart.config.lists import as_list
from headstart.config.plan_values import PlanValues
from headstart.config.recipe_config import ConfigSection, RecipeConfig
from headstart.config.registry.starts import DEFAULT_START
from headstart.config.start_spec import (
    absolute_source,
    absolute_start,
    content_start,
    describe_forms,
    short_start,
    start_path,
)
from headstart.errors import DataError
from headstart.i18n import _
from headstart.models.user_code import absolute_network, definition, is_user_network, label
from headstart.path_names import name_fault
from headstart.storage.files import JsonData
from headstart.storage.schemas.arm import FULL, TUNING_DESCRIPTION, USUAL_HEAD, ArmSpec, Tuning
from headstart.storage.schemas.schema import Count
from headstart.storage.schemas.split_counts import SplitCounts

Switch = Literal["on", "off"]
Norm = Literal["batch", "none"]
ClassFolders = Literal["auto", "outer", "inner"]
NearDuplicates = Literal["together", "ignore"]
SettingValue: TypeAlias = str | float | bool | Duration | Tuning | tuple[str | Duration, ...]  # of a field of the plan


class DataConfig(ConfigSection):
    """The data set and its subset."""

    source: str = Field("digits", description=_("folder of class folders, manifest, or built-in: digits, digits:0-5"))
    classes: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field((), description=_("subset of the classes"))
    min_per_class: int = Field(
        0,
        ge=0,
        description=_("leave out classes with fewer independent images or groups (with declared splits: in train)"),
    )
    class_folders: ClassFolders = Field(
        "auto",
        description=_("folders that are the classes: those in the data folder, or those in them; auto: by the layout"),
    )
    skip_bad: bool = Field(False, description=_("list images that cannot be decoded and leave them out"))
    allow_outside: bool = Field(False, description=_("allow files outside the data folder in manifests and links"))
    path_column: str = Field("", description=_("column of a table that has the paths, where it is not found by name"))
    label_column: str = Field("", description=_("column of a table that has the labels"))
    split_column: str = Field("", description=_("column of a table that has the splits"))
    group_column: str = Field("", description=_("column of a table whose equal values stay in one split"))
    merge_labels: bool = Field(False, description=_("make one class of labels of a table that differ in spelling"))
    keep_labels: bool = Field(False, description=_("keep the labels of a table as they are written"))
    near_duplicates: NearDuplicates = Field(
        "together",
        description=_("copies of a photo (saved again, resized, flipped, cropped): keep them in one split, or ignore"),
    )
    fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description=_("share of the training images, equal in all classes; smaller shares are subsets of larger ones"),
    )
    evaluate_on_val: bool = Field(
        False, description=_("without a test split: evaluate on the declared val split, and select on a part of train")
    )
    cache_resolution: float = Field(
        1.5,
        ge=1,
        le=8,
        description=_("cache resolution: shorter side of the decoded images, as a factor of the image size"),
    )


COLUMN_FIELDS = ("path_column", "label_column", "split_column", "group_column")
TABLE_FIELDS = (*COLUMN_FIELDS, "merge_labels", "keep_labels")  # how a table is read
PLACE_FIELDS = ("source", "allow_outside")  # what changes if images are moved
# where and how the images are read, which the fingerprint covers
READING_FIELDS = (*PLACE_FIELDS, "min_per_class", "class_folders", "skip_bad", *TABLE_FIELDS)


class NetworkConfig(ConfigSection):
    """The network architecture."""

    network: str = Field(
        "auto",
        description=_(
            "architecture: resnet18, resnet34, resnet50, resnet20 (for images of about 32 px), timm:NAME, or "
            "PATH.py:NAME, a class of your own that takes num_classes; auto: that of the start, or resnet18"
        ),
    )
    shortcut: Switch = Field("on", description=_("residual shortcuts"))
    norm: Norm = Field("batch", description=_("normalization layers"))
    stem: Literal["imagenet", "small"] = Field(
        "imagenet", description=_("first layer: 7x7 stride 2 and pooling, or 3x3 stride 1 for small images")
    )
    head_layer: str = Field(
        "", description=_("own network: name of its last linear layer, where it is not the last one that is defined")
    )
    stage_layers: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (), description=_("own network: a part that stages:N counts, from input to output")
    )

    @property
    def label(self) -> str:
        """Name of the network, without the folder of a user's own."""
        return label(self.network)


class ArmConfig(ConfigSection):
    """The arm: initial weights, fine-tuning mode and head."""

    start: Annotated[str, Detail(describe_forms)] = Field(DEFAULT_START, description=_("initial weights"))
    tuning: Tuning = Field(FULL, description=TUNING_DESCRIPTION)
    weights_key: str = Field(
        "", description=_("key of the weights in a file with several, such as state_dict_ema, teacher or encoder_k")
    )
    head: str = Field(USUAL_HEAD, pattern=r"^(linear|mlp:\d+)$", description=_("head: linear or mlp:WIDTH"))


class MachineConfig(ConfigSection):
    """The machine. `auto` and 0 are resolved by measurement before the plan is hashed."""

    device: Annotated[str, BeforeValidator(normalize_device)] = Field(
        "auto", pattern=DEVICE_PATTERN, description=_("device: cpu, cuda, cuda:N or N, mps, or auto")
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description=_("precision; auto: the faster one, known for the processor or measured")
    )
    threads: int = Field(
        0, ge=0, le=1024, description=_("number of compute threads; 0: all cores that this process may use")
    )


class SeedConfig(ConfigSection):
    """Seeds, from which all random numbers are derived."""

    seed: int = Field(
        0, ge=0, lt=2**31, description=_("seed of the train/val split, head initialization, order and augmentation")
    )
    test_seed: int = Field(
        0,
        ge=0,
        lt=2**31,
        description=_("seed of the test split, of data fractions and of the augmented views of a frozen backbone"),
    )


class ResolvedFacts(ConfigSection):
    """Facts about data and weights, determined before the first step; empty in a draft."""

    fingerprint: str = Field(
        "", description="sha256 over the class names and each image's name, label, split, group and content"
    )
    near_duplicates_sha256: str = Field(
        "",
        description="sha256 over the contents of near-duplicates, which are one unit in intervals and which a drawn "
        "split keeps together; empty without any",
    )
    class_names: tuple[str, ...] = Field((), description="class names, in the order of the logits")
    split_counts: SplitCounts = Field(default_factory=SplitCounts, description="number of images of each split")
    class_counts: dict[str, Count] = Field(default_factory=dict, description="number of images by class, of all splits")
    max_value: int = Field(
        65535, ge=1, le=65535, description="16-bit value that becomes 255, found from the images with 16 bits"
    )
    background: int = Field(
        255, ge=0, le=255, description="gray level behind transparent pixels, found from the images"
    )
    weights_sha256: str = Field("", description="sha256 of the weights file; empty without one")
    network_sha256: str = Field("", description="sha256 of the source files of a user's own network; empty for others")
    mean: tuple[float, ...] = Field((), description="mean of the input channels, which the weights may set")
    std: tuple[float, ...] = Field((), description="standard deviation of the input channels, likewise")


class RunConfig(ConfigSection):
    """Configuration of one run: data, network, arm, recipe, machine, seeds, and the resolved facts."""

    data: DataConfig = Field(default_factory=DataConfig, description="data set")
    network: NetworkConfig = Field(default_factory=NetworkConfig, description="network architecture")
    arm: ArmConfig = Field(default_factory=ArmConfig, description="initial weights, fine-tuning mode and head")
    recipe: RecipeConfig = Field(default_factory=lambda: RecipeConfig.model_validate({}), description="training recipe")
    machine: MachineConfig = Field(default_factory=MachineConfig, description="device, precision and threads")
    seeding: SeedConfig = Field(default_factory=SeedConfig, description="seeds")
    facts: ResolvedFacts = Field(default_factory=ResolvedFacts, description="facts about data and weights")

    def changed(self, **values: Unpack[PlanValues]) -> RunConfig:
        """Return a validated copy with other values; None keeps a value. Names of fields are unique in a plan."""
        content = self.model_dump()
        for name, value in values.items():
            if value is not None:
                content[_SECTION_OF[name]][name] = value
        return RunConfig.model_validate(content)

    def value(self, name: str) -> SettingValue:
        """Return the value of a field that users set, by its name."""
        value: SettingValue = getattr(getattr(self, _SECTION_OF[name]), name)
        return value

    def with_facts(self, facts: ResolvedFacts) -> RunConfig:
        """Return a copy with other facts."""
        return self.model_copy(update={"facts": facts})

    @property
    def unresolved_fields(self) -> tuple[str, ...]:
        """Fields that are not resolved yet; a plan with such fields has no hash."""
        unresolved = {
            "network.network": self.network.network == "auto",
            "machine.device": self.machine.device == "auto",
            "machine.precision": self.machine.precision == "auto",
            "machine.threads": self.machine.threads == 0,
            "recipe.crop": self.recipe.crop == "auto",
            "recipe.flip": self.recipe.flip == "auto",
            "facts.fingerprint": not self.facts.fingerprint,
        }
        return tuple(name for name, is_unresolved in unresolved.items() if is_unresolved)

    def identity(self) -> dict[str, JsonData]:
        """Return what decides the bits of a run: the plan with content hashes instead of paths."""
        arm, network = self.arm, self.network
        if self.facts.weights_sha256:
            arm = arm.model_copy(update={"start": content_start(arm.start)})
        if self.facts.network_sha256:
            network = network.model_copy(update={"network": definition(network.network)})
        content = self.model_copy(update={"arm": arm, "network": network})
        unset = set() if self.facts.near_duplicates_sha256 else {"near_duplicates_sha256"}
        excluded = {"data": {*READING_FIELDS, "near_duplicates"}, "facts": unset}
        return content.model_dump(mode="json", exclude=excluded)

    @property
    def hash(self) -> str:
        """Sha256 (hex) of the identity. Raises ValueError while fields are not resolved."""
        if self.unresolved_fields:
            raise ValueError(f"the plan is not complete: {', '.join(self.unresolved_fields)}")
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, JsonData]:
        """Return the plan as JSON data."""
        return self.model_dump(mode="json")

    def settings(self) -> dict[str, JsonData]:
        """Return what users set as JSON data, without the facts."""
        return self.model_dump(mode="json", exclude={"facts"})

    def to_toml(self) -> str:
        """Return the settings as TOML, and the facts if they are known."""
        return tomli_w.dumps(self.to_json() if self.facts.fingerprint else self.settings())

    @property
    def arm_name(self) -> str:
        """Name of the arm, `START[+TUNING][+HEAD]@OPTIMIZER`."""
        return self.arm_spec.name

    @property
    def arm_spec(self) -> ArmSpec:
        """The arm of a run outside a study."""
        arm = self.arm
        return ArmSpec(
            start=arm.start,
            label=short_start(arm.start),
            tuning=arm.tuning,
            head=arm.head,
            optimizer=self.recipe.optimizer,
        )


def with_absolute_paths(plan: RunConfig) -> RunConfig:
    """Return the plan with absolute paths, so that a run can be resumed from any working directory.

    Raises:
        DataError: A path is not UTF-8, and the plan could not be written.
    """
    source, start = absolute_source(plan.data.source), absolute_start(plan.arm.start)
    network = absolute_network(plan.network.network)
    network_file = network.removesuffix(f":{definition(network)}") if is_user_network(network) else ""
    for path in (source, start_path(start) or "", network_file):
        if fault := name_fault(path):
            raise DataError(*fault)
    return plan.changed(source=source, start=start, network=network)


# The sections that users set; facts are determined by the program.
SECTIONS: dict[str, type[ConfigSection]] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "arm": ArmConfig,
    "recipe": RecipeConfig,
    "machine": MachineConfig,
    "seeding": SeedConfig,
}

_ALL_SECTIONS: dict[str, type[ConfigSection]] = {**SECTIONS, "facts": ResolvedFacts}
_SECTION_OF = {name: section for section, model in _ALL_SECTIONS.items() for name in model.model_fields}

FACTORIAL_FIELDS = ("network", "shortcut", "norm", "tuning")  # set by an ablation for each of its networks
CHECK_FIELDS = (*DataConfig.model_fields, "image_size", "start", "seed", "test_seed", "threads")  # what an audit reads
STUDY_FIELDS = {  # set by a study for each of its runs; and what its users do instead
    **dict.fromkeys(("start", "tuning", "head"), _("Use --arm or --vary.")),
    "fraction": _("Use --fractions."),
    "evaluate_on_val": _("Leave it out: a study evaluates on val if the data declares only train and val."),
    "select": _("Use --metric."),
}


def plan_fields() -> dict[str, tuple[str, FieldInfo]]:
    """Return (section, pydantic field) of every field that users set, by its unique name."""
    return {name: (section, field) for section, model in SECTIONS.items() for name, field in model.model_fields.items()}
