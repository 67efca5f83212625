"""Types of the plan's fields as keyword arguments, for type checkers and editors.

A test compares the names with the fields of `RunConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from headstart.config.duration import Duration
from headstart.storage.schemas.arm import Tuning
from headstart.storage.schemas.split_counts import SplitCounts


class PlanSettings(TypedDict, total=False):
    """The fields that users set. A duration may be text, such as `10ep`, and one in epochs a number."""

    source: str
    classes: str | Sequence[str]
    skip_bad: bool
    allow_outside: bool
    fraction: float
    evaluate_on_val: bool
    cache_resolution: float
    network: str
    shortcut: str
    norm: str
    stem: str
    start: str
    tuning: Tuning | str
    head: str
    optimizer: str
    lr: float
    momentum: float
    nesterov: bool
    weight_decay: float
    backbone_lr: float
    schedule: str
    warmup: Duration | str
    step_every: Duration | str
    milestones: str | Sequence[Duration | str]
    plateau_epochs: int
    gamma: float
    epochs: Duration | str | float
    head_epochs: Duration | str | float
    batch_size: int
    image_size: int
    crop: float
    flip: str
    jitter: float
    mixup: float
    cutmix: float
    augmented_views: int
    label_smoothing: float
    class_weights: str
    clip: float
    ema: float
    select: str
    patience: int
    device: str
    precision: str
    threads: int
    seed: int
    test_seed: int


class PlanValues(PlanSettings, total=False):
    """The fields that users set, and the facts that the program determines."""

    fingerprint: str
    class_names: Sequence[str]
    split_counts: SplitCounts
    class_counts: Mapping[str, int]
    weights_sha256: str
    mean: Sequence[float]
    std: Sequence[float]
