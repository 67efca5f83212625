"""Word arms, numbers and splits for sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from headstart.config.duration import Duration
from headstart.config.run_config import NetworkConfig, RunConfig
from headstart.config.start_spec import start_row, without_kind
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.metrics.registry import METRICS
from headstart.storage.schemas.arm import USUAL_HEAD, ArmSpec, Tuning, TuningKind
from headstart.storage.schemas.contrast import Contrast
from headstart.storage.schemas.metrics import Evaluation
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import TRAIN_AND_VAL, RunRole, Stage
from headstart.storage.schemas.verdict import Condition, VerdictNumbers
from headstart.text import format_level, format_points


def arm_words(arm: ArmSpec) -> Message:
    """Return an arm in words: `file:cifar10+frozen@adam` is "cifar10 (frozen, with adam)"."""
    words: list[str] = []
    if arm.tuning is not None and arm.tuning.kind is not TuningKind.FULL:
        words.append(_tuning_words(arm.tuning))
    elif not start_row(arm.start).random:
        words.append(_("fine-tuned"))
    words += [_("with the head {head}", head=arm.head)] if arm.head not in (None, USUAL_HEAD) else []
    words += [_("with {optimizer}", optimizer=arm.optimizer)] if arm.optimizer else []
    words += [f"{field.replace('_', '-')}={value}" for field, value in arm.varied.items()]
    start = start_words(arm)
    return _("{start} ({details})", start=start, details=join(words, ", ")) if words else verbatim(start)


def role_words(role: RunRole) -> Message:
    """Return the arm of a study's run in words; the run on a source belongs to no arm and is named by its source."""
    return verbatim(role.variant) if role.stage is Stage.SOURCE else arm_words(role.arm)


def named_words(condition: Condition, name: str) -> Message:
    """Return the arm of that name in words."""
    return arm_words(condition.spec(name))


def start_words(arm: ArmSpec) -> str:
    """Return the short name of an arm's initial weights, without the kind if it is the name of a file or folder."""
    return without_kind(arm.label)


def _tuning_words(tuning: Tuning) -> Message:
    """Return a fine-tuning mode other than the full one in words."""
    if tuning.kind is TuningKind.STAGES:
        return ngettext("last {count} stage fine-tuned", "last {count} stages fine-tuned", tuning.stages)
    return _("frozen") if tuning.kind is TuningKind.FROZEN else _("head first, then fine-tuned")


def state_words(state: RunState) -> Message:
    """Return the state of a run in words."""
    match state:
        case RunState.FINISHED:
            return _("finished")
        case RunState.DIVERGED:
            return _("diverged")
    return _("unfinished")


def splits(condition: Condition) -> tuple[Message, Message]:
    """Return the data's names of the selection split and the evaluation split, which runs call val and test."""
    return split_names(condition.evaluation.declared)


def split_names(declared: str) -> tuple[Message, Message]:
    """Return the data's names of the selection split and the evaluation split.

    If the data declares only train and val, val is the evaluation split, and a part of train is the selection split.

    Args:
        declared: Splits that the data has declared.
    """
    if declared == TRAIN_AND_VAL:
        return _("a part of train"), verbatim("val")
    return verbatim("val"), verbatim("test")


def metric_words(verdict: VerdictNumbers) -> Message:
    """Return the name of the metric of the verdict."""
    return METRICS[verdict.metric].label


def evaluation_images(condition: Condition) -> Message:
    """Return what the images of the evaluation split are called: "test images"."""
    return _("{split} images", split=splits(condition)[1])


def counted_images(count: int, units: int, split: Message) -> Message:
    """Return a number of images, and in how many groups they are: "205 test images in 24 groups".

    Args:
        count: Number of images.
        units: Number of their units; equal to `count` if all images are independent.
        split: Name of their split.
    """
    images = ngettext("{count} {split} image", "{count} {split} images", count, split=split)
    return in_groups(images, count, units)


def in_groups(images: Message, count: int, units: int) -> Message:
    """Return images, given in words, with the number of their groups unless all are independent.

    For example "205 images in 24 groups".

    Args:
        images: The images in words.
        count: Number of images.
        units: Number of their units.
    """
    if units == count:
        return images
    return ngettext("{images} in {count} group", "{images} in {count} groups", units, images=images)


def labels_share(fraction: float) -> Message:
    """Return a fraction of the training images in words: "10 % of the labels"."""
    return _("{share:.3g} % of the labels", share=100 * fraction)


def interval(contrast: Contrast) -> Message:
    """Return a contrast's interval in words: "95 % interval 4.0 to 8.2"."""
    return _(
        "{level} interval {low} to {high}",
        level=format_level(contrast.level),
        low=format_points(contrast.low),
        high=format_points(contrast.high),
    )


def length_words(length: str | Duration) -> Message:
    """Return a duration in words: `8ep` is "8 epochs", `1ep` "1 epoch"."""
    duration = Duration.parse(length)
    value, number = duration.value, plural_number(duration.value)
    if duration.unit == "ep":
        return ngettext("{length:.15g} epoch", "{length:.15g} epochs", number, length=value)
    if duration.unit == "st":
        return ngettext("{length:.15g} step", "{length:.15g} steps", number, length=value)
    return verbatim(str(duration))


def plural_number(value: float) -> int:
    """Return the whole number that selects the plural form of a value; a fraction has that of 2."""
    return int(value) if value == int(value) else 2


def data_key(plan: RunConfig) -> str:
    """Return what identifies the images of a run: their fingerprint, or their source in a draft."""
    return plan.facts.fingerprint or plan.data.source


def data_names(plans: Sequence[RunConfig]) -> dict[str, Message]:
    """Return the name of each data set of some runs by `data_key`; equal names have what distinguishes them added."""
    by_key = {data_key(plan): plan for plan in plans}
    names: dict[str, Message] = {key: verbatim(Path(plan.data.source).name) for key, plan in by_key.items()}
    suffixes: dict[str, tuple[Message, ...]] = {
        key: (
            ngettext("{count:,} image", "{count:,} images", sum(plan.facts.class_counts.values())),
            _("fingerprint {start}", start=key[:8]),
        )
        for key, plan in by_key.items()
    }
    for place in range(2):
        count = Counter(names.values())
        names = {
            key: _("{name} ({difference})", name=name, difference=suffixes[key][place]) if count[name] > 1 else name
            for key, name in names.items()
        }
    return names


def network_words(network: NetworkConfig) -> Message:
    """Return a plan's network in words, with its stem if that is small, and the components that are switched off."""
    stem = [_("with a small stem")] if network.stem == "small" else []
    off = [_("without shortcut")] if network.shortcut == "off" else []
    off += [_("without norm")] if network.norm == "none" else []
    return join([network.label, *stem, *off])


def score_note(evaluation: Evaluation) -> Message | None:
    """Return how many images of an evaluation have a copy, and the accuracy without them; None if there are none."""
    score = evaluation.without_copies
    if score is None:
        return None
    if score.accuracy is None:
        return ngettext(
            "{count:,} of these has a copy in another split, equal or nearly so: no image is unseen.",
            "All {count:,} of these have a copy in another split, equal or nearly so: no image is unseen.",
            score.copies,
        )
    return ngettext(
        "{count:,} of these has a copy in another split, equal or nearly so: without it the accuracy is "
        "{accuracy:.1f} % on {n:,}.",
        "{count:,} of these have a copy in another split, equal or nearly so: without them the accuracy is "
        "{accuracy:.1f} % on {n:,}.",
        score.copies,
        accuracy=100 * score.accuracy,
        n=score.n,
    )
