"""The recipes that `benchmarks.recipes` compares, declared before the first measurement.

All have the number of epochs, the batch size, the image size and the linear head of `COMMON`. A warm-up is the share of
the training that it has in its program. `differences` names what a program does and headstart does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headstart.config.plan_values import CommonSettings

EPOCHS, BATCH, SIZE = 8, 32, 64
COMMON: CommonSettings = {"epochs": f"{EPOCHS}ep", "batch_size": BATCH, "image_size": SIZE, "threads": 1}
RATE_FACTORS = (1 / 3, 1.0, 3.0)  # of the documented rate
REFERENCE = "headstart"


@dataclass(frozen=True)
class Candidate:
    """One recipe.

    Attributes:
        settings: Its fields, except the learning rate.
        rate: Returns its documented learning rate for a number of classes.
        source: Where its values are documented.
        differences: What else its program does.
    """

    settings: CommonSettings
    rate: Callable[[int], float]
    source: str
    differences: str = ""


def _headstart(**changes: float) -> CommonSettings:
    """Return the defaults of headstart at the declaration, written out, with another crop."""
    settings: CommonSettings = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-4,
        "schedule": "cosine",
        "warmup": "0ep",
        "crop": 0.08,
        "flip": "auto",
        "jitter": 0.0,
        "head_init": "torch",
        "label_smoothing": 0.0,
    }
    return {**settings, **changes}  # type: ignore[typeddict-item]


_HEADSTART = "headstart, config/recipe_config.py and optim/registry.py"

CANDIDATES = {
    REFERENCE: Candidate(_headstart(), lambda classes: 0.01, _HEADSTART),
    "headstart, crop 0.35": Candidate(_headstart(crop=0.35), lambda classes: 0.01, _HEADSTART),
    "headstart, crop 0.6": Candidate(_headstart(crop=0.6), lambda classes: 0.01, _HEADSTART),
    "bag of tricks": Candidate(
        {
            **_headstart(crop=0.35, label_smoothing=0.1, weight_decay=5e-4),
            "nesterov": True,
            "warmup": "5%",
        },
        lambda classes: 0.01,
        "He et al. 2019, arXiv:1812.01187: warm-up, cosine schedule, label smoothing; with crops from 0.35",
    ),
    "fastai": Candidate(
        {
            "optimizer": "adamw",
            "weight_decay": 0.01,
            "schedule": "one-cycle",
            "warmup": "0ep",
            "crop": 0.75,
            "flip": "on",
            "jitter": 0.2,
            "head_init": "kaiming",
            "label_smoothing": 0.0,
        },
        lambda classes: 1e-3,
        "docs.fast.ai: vision.augment (aug_transforms with min_scale=0.75), vision.learner (vision_learner), "
        "callback.schedule (fit_one_cycle), optimizer (Adam)",
        "The peak is at 25 % of the steps (here 30 %), momentum cycles between 0.95 and 0.85, eps is 1e-5, images are "
        "rotated, zoomed and warped, saturation is not changed, the head has concatenated pooling, two layers, batch "
        "norm and dropout, the backbone is frozen first, and its early layers can have lower rates",
    ),
    "timm": Candidate(
        {
            "optimizer": "sgd",
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 2e-5,
            "schedule": "cosine",
            "warmup": f"{500 / 300:.4f}%",
            "crop": 0.08,
            "flip": "on",
            "jitter": 0.4,
            "head_init": "torch",
            "label_smoothing": 0.1,
        },
        lambda classes: 0.1 * BATCH / 256,
        "timm 1.0.31: train.py (defaults), data/transforms_factory.py, optim/_optim_factory.py",
        "Crops are resized with a random interpolation, and the last norm of each block starts at 0 from scratch",
    ),
    "Ultralytics classify": Candidate(
        {
            "optimizer": "adamw",
            "weight_decay": 5e-4,
            "schedule": "linear",
            "warmup": "3%",
            "crop": 0.5,
            "flip": "on",
            "jitter": 0.0,
            "head_init": "torch",
            "label_smoothing": 0.0,
        },
        lambda classes: round(0.002 * 5 / (4 + classes), 6),
        "docs.ultralytics.com: usage/cfg, tasks/classify; engine/trainer.py (optimizer auto), data/augment.py "
        "(classify_augmentations)",
        "RandAugment, random erasing with probability 0.4, a moving average of the weights, gradients of 64 images "
        "accumulated for each step, a last rate of 1 % of the first, a warm-up of at least 100 steps",
    ),
}
