"""What differs between the kinds of studies: a comparison of arms, and an ablation of the network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headstart.config.run_config import RunConfig
from headstart.errors import DataError
from headstart.i18n import Message, _, ngettext
from headstart.storage.schemas.study import Stage


@dataclass(frozen=True)
class StudyKind:
    """How a kind of study evaluates its runs.

    Attributes:
        name: Name in messages.
        stage: Stage of the runs that are compared.
        evaluates_on_val: If the data declares only train and val, val is used for the evaluation, and a part of train
            for the selection.
        require_images: Raises DataError if the evaluation split of a resolved configuration has too few images.
    """

    name: Message
    stage: Stage
    evaluates_on_val: bool
    require_images: Callable[[RunConfig], None]

    def with_evaluation_split(self, plan: RunConfig) -> RunConfig:
        """Return the configuration with the evaluation split that this kind of study needs."""
        return plan.changed(evaluate_on_val=True) if self.evaluates_on_val else plan


def require_test_image_per_class(plan: RunConfig) -> None:
    """Raise DataError if the test split has fewer images than classes."""
    count, classes = plan.facts.split_counts.test, len(plan.facts.class_names)
    if count < classes:
        raise DataError(
            _(
                "The test split has {images} for {classes}.",
                images=ngettext("{count:,} image", "{count:,} images", count),
                classes=ngettext("{count} class", "{count} classes", classes),
            ),
            _("Add test images, or leave the split to headstart."),
        )


def resume_hint(folder: Path) -> Message:
    """Return how to resume the stopped study or ablation in a folder."""
    return _("Resume with `headstart resume {folder:shell}`.", folder=folder)


COMPARISON = StudyKind(
    name=_("study"),
    stage=Stage.MAIN,
    evaluates_on_val=True,
    require_images=require_test_image_per_class,
)
