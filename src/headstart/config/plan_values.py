"""Types of the fields of plans and protocols as keyword arguments, for type checkers and editors.

Tests compare the names with the fields of `RunConfig` and `StudyConfig`, and the listed values with the registries. A
field of a registry also accepts other text, because plugins add rows. None means not set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, TypedDict

from headstart.config.duration import Duration
from headstart.storage.schemas.arm import Tuning
from headstart.storage.schemas.split_counts import SplitCounts

Length: TypeAlias = Duration | str
Epochs: TypeAlias = Length | int  # 10 is 10 epochs
# Values of one field in `vary`; an item that is a list is the value of a field that is a list.
VariedValues: TypeAlias = Sequence[str | float | Duration | Tuning | Sequence[Length]]
OnOff: TypeAlias = Literal["on", "off"] | str
OptimizerName: TypeAlias = Literal["sgd", "adam", "adamw", "rmsprop", "lion"] | str
ScheduleName: TypeAlias = Literal["constant", "step", "multistep", "cosine", "linear", "one-cycle", "plateau"] | str


class DataSettings(TypedDict, total=False):
    """Fields of the plan that say which images are read, and how."""

    classes: str | Sequence[str] | None
    min_per_class: int | None
    class_folders: Literal["auto", "outer", "inner"] | str | None
    skip_bad: bool | None
    allow_outside: bool | None
    path_column: str | None
    label_column: str | None
    split_column: str | None
    group_column: str | None
    merge_labels: bool | None
    keep_labels: bool | None
    near_duplicates: Literal["together", "ignore"] | str | None
    cache_resolution: float | None


class CommonSettings(DataSettings, total=False):
    """Fields of the plan that single runs, studies and ablations take."""

    stem: Literal["imagenet", "small"] | str | None
    head_layer: str | None
    stage_layers: str | Sequence[str] | None
    weights_key: str | None
    optimizer: OptimizerName | None
    lr: float | None
    momentum: float | None
    nesterov: bool | None
    weight_decay: float | None
    backbone_lr: float | None
    schedule: ScheduleName | None
    warmup: Length | None
    step_every: Length | None
    milestones: str | Sequence[Length] | None
    plateau_epochs: int | None
    gamma: float | None
    epochs: Epochs | None
    head_epochs: Epochs | None
    batch_size: int | None
    image_size: int | None
    crop: float | str | None
    flip: Literal["auto", "on", "off"] | str | None
    jitter: float | None
    mixup: float | None
    cutmix: float | None
    augmented_views: int | None
    head_init: Literal["torch", "kaiming", "normal", "zero"] | str | None
    label_smoothing: float | None
    class_weights: Literal["none", "balanced"] | str | None
    clip: float | None
    ema: float | None
    patience: int | None
    device: str | int | None
    precision: Literal["auto", "fp32", "bf16"] | str | None
    threads: int | None
    seed: int | None
    test_seed: int | None


class NetworkSettings(TypedDict, total=False):
    """Fields of the plan that an ablation varies."""

    network: str | Callable[..., object] | None
    shortcut: OnOff | None
    norm: Literal["batch", "none"] | str | None


class RunSettings(TypedDict, total=False):
    """Fields of the plan that a study sets for each of its runs."""

    start: str | None
    head: str | None
    fraction: float | None
    evaluate_on_val: bool | None
    select: str | None


class TrainSettings(CommonSettings, NetworkSettings, RunSettings, total=False):
    """Fields of the plan that `train` takes besides the data.

    Examples:
        >>> settings: headstart.TrainSettings = {"optimizer": "adam", "lr": 0.002, "epochs": "1st"}
        >>> headstart.train("digits:0-1", quiet=True, **settings).plan.recipe.lr
        0.002
    """

    tuning: Tuning | str | None


class AblationSettings(CommonSettings, RunSettings, total=False):
    """Fields of the plan that `ablate` takes besides the data.

    Examples:
        >>> settings: headstart.AblationSettings = {"start": "scratch:torch", "epochs": 5}
    """


class StudySettings(CommonSettings, NetworkSettings, total=False):
    """Fields of the protocol and of the plan that `compare` takes besides data, arms and varied values.

    Examples:
        >>> settings: headstart.StudySettings = {"seeds": 3, "margin": 0.01, "epochs": 5}
        >>> headstart.plan("digits:0-1", arms=["scratch", "scratch@adam"], quiet=True, **settings).spec.protocol.margin
        '1pt'
    """

    seeds: int | None
    interim: str | Sequence[int] | None
    budgets: str | Sequence[Length] | None
    fractions: str | Sequence[float] | None
    metric: str | None
    target: float | None
    margin: str | float | None
    primary: str | None
    primary_share: float | None
    max_seeds: int | None
    first_share: float | None
    search: Literal["shared", "per-seed", "off"] | str | None
    grid: str | Sequence[float] | None
    search_seeds: int | None
    survivors: int | None
    source_epochs: Epochs | None
    time_budget: str | None


class CheckSettings(DataSettings, total=False):
    """Fields of the plan that `check` takes besides the data.

    Examples:
        >>> settings: headstart.CheckSettings = {"image_size": 32, "start": "imagenet"}
        >>> headstart.check("digits:0-1", quiet=True, **settings).image_size
        32
    """

    fraction: float | None
    evaluate_on_val: bool | None
    start: str | None
    image_size: int | None
    threads: int | None
    seed: int | None
    test_seed: int | None


class PlanSettings(TrainSettings, total=False):
    """The fields that users set."""

    source: str | None


class PlanValues(PlanSettings, total=False):
    """The fields that users set, and the facts that the program determines."""

    fingerprint: str
    near_duplicates_sha256: str
    class_names: Sequence[str]
    split_counts: SplitCounts
    class_counts: Mapping[str, int]
    max_value: int
    background: int
    weights_sha256: str
    network_sha256: str
    mean: Sequence[float]
    std: Sequence[float]
