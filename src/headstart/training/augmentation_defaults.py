"""Resolve the augmentation that a plan leaves to the data: the flip, and the smallest crop.

Small crops change an image more than large ones. With few images and few steps a network may not learn from them, and
this decides a comparison with pretrained weights.
"""

from __future__ import annotations

from headstart.config.run_config import RunConfig
from headstart.data.dataset import Dataset
from headstart.data.splits import Split
from headstart.i18n import ngettext
from headstart.reporter import Reporter

MANY_IMAGES = 100_000  # training images from which a data set has `CROP_OF_MANY`
CROP_OF_FEW = 0.75  # smallest area of a crop with fewer training images, as a share of the image
CROP_OF_MANY = 0.08  # as torchvision's RandomResizedCrop (Szegedy et al. 2015)


def resolve_augmentation(plan: RunConfig, dataset: Dataset, split: Split, reporter: Reporter) -> RunConfig:
    """Return the plan with its flip and its crop resolved.

    The crop is decided by the training images of the whole data set, so that every fraction of them has the same.

    Args:
        plan: A plan whose flip or crop may be `auto`.
        dataset: Its images.
        split: Their split.
        reporter: Receives the crop that was decided, with the number of images.
    """
    if plan.recipe.flip == "auto":
        plan = plan.changed(flip="on" if dataset.images.flip else "off")
    if plan.recipe.crop == "auto":
        whole = split if plan.data.fraction == 1 else dataset.split(plan.changed(fraction=1.0))
        count = len(whole.train)
        plan = plan.changed(crop=CROP_OF_FEW if count < MANY_IMAGES else CROP_OF_MANY)
        reporter.say(
            ngettext(
                "Random crops have at least {share:.3g} % of the area (--crop), for {count:,} training image.",
                "Random crops have at least {share:.3g} % of the area (--crop), for {count:,} training images.",
                count,
                share=100 * plan.recipe.smallest_crop,
            )
        )
    return plan
