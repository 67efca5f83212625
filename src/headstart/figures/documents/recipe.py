"""Word the training recipe of plans: one sentence where all plans agree, else one for each group of arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from headstart.analysis.wording import length_words
from headstart.config.duration import Duration
from headstart.config.recipe_config import RecipeConfig
from headstart.config.run_config import RunConfig
from headstart.figures.documents.model import cite
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.metrics.registry import METRICS
from headstart.optim.registry import OPTIMIZERS
from headstart.storage.schemas.arm import TuningKind
from headstart.text import join_list

SentenceOnPlan: TypeAlias = Callable[[RunConfig], Message]
MAX_NAMES = 6  # of arms or runs in a sentence
OPTIMIZER_SOURCES = {
    "sgd": ("robbins1951",),
    "adam": ("kingma2015",),
    "adamw": ("loshchilov2019",),
    "rmsprop": ("tieleman2012",),
    "lion": ("chen2023",),
}


def recipe_sentences(selection: str) -> list[SentenceOnPlan]:
    """Return the sentences on the recipe of a plan, in their order.

    Args:
        selection: Name of the split that selects epochs.
    """
    return [
        optimizer_words,
        partial(schedule_words, selection=selection),
        partial(length_sentence, selection=selection),
        augmentation_words,
        frozen_words,
        loss_words,
    ]


def for_each_group(plans: Mapping[str, RunConfig], words: SentenceOnPlan) -> list[Message]:
    """Return a sentence on the plans, or one with its names for each group of plans with different sentences.

    Args:
        plans: Plans by the name of their arm or run.
        words: Sentence on a plan, or an empty message.
    """
    groups: dict[Message, list[str]] = {}
    for name, plan in plans.items():
        groups.setdefault(words(plan), []).append(name)
    if len(groups) < 2:
        return [sentence for sentence in groups if sentence]
    return [
        _("For {names}: {sentence}", names=_names(names), sentence=sentence)
        for sentence, names in groups.items()
        if sentence
    ]


def _names(names: Sequence[str]) -> Message:
    if len(names) <= MAX_NAMES:
        return join_list(names)
    return ngettext("{names} and {count} more", "{names} and {count} more", len(names) - MAX_NAMES,
                    names=join(names[:MAX_NAMES], ", "))  # fmt: skip


def optimizer_words(plan: RunConfig) -> Message:
    """Return the optimizer with its momentum and weight decay."""
    recipe = plan.recipe
    spec = OPTIMIZERS.get(recipe.optimizer)
    parts: list[Message] = []
    if spec is not None and "momentum" in spec.options and recipe.momentum:
        momentum = _("momentum {value:g}", value=recipe.momentum)
        if recipe.nesterov:
            momentum = _("Nesterov momentum {value:g}", value=recipe.momentum)
        elif recipe.optimizer == "sgd":
            momentum = _("momentum {value:g} {source}", value=recipe.momentum, source=cite("polyak1964"))
        parts.append(momentum)
    parts.append(_("weight decay {value:g}", value=recipe.weight_decay) if recipe.weight_decay
                 else _("no weight decay"))  # fmt: skip
    name = verbatim(spec.label if spec else recipe.optimizer)
    if keys := OPTIMIZER_SOURCES.get(recipe.optimizer):
        name = _("{name} {source}", name=name, source=cite(*keys))
    return _("The optimizer is {optimizer} with {parts}.", optimizer=name, parts=join_list(parts))


def schedule_words(plan: RunConfig, selection: str) -> Message:
    """Return the learning-rate schedule with its options and its warm-up."""
    recipe = plan.recipe
    texts = {
        "constant": _("The learning rate is constant"),
        "cosine": _("The learning rate falls along half a cosine to 0 {source}", source=cite("loshchilov2017")),
        "linear": _("The learning rate falls linearly to 0"),
        "one-cycle": _(
            "The learning rate rises along a cosine in the first 30 % of the steps and then falls along a cosine "
            "(one-cycle schedule {source})",
            source=cite("smith2019"),
        ),
        "step": _(
            "The learning rate is multiplied by {gamma:g} after each {interval}",
            gamma=recipe.gamma,
            interval=_share_words(recipe.step_every),
        ),
        "multistep": _(
            "The learning rate is multiplied by {gamma:g} after {places}",
            gamma=recipe.gamma,
            places=join_list(map(_share_words, recipe.milestones)),
        ),
        "plateau": ngettext(
            "The learning rate is multiplied by {gamma:g} after more than {count} epoch without a lower loss on "
            "{selection}",
            "The learning rate is multiplied by {gamma:g} after more than {count} epochs without a lower loss on "
            "{selection}",
            recipe.plateau_epochs,
            gamma=recipe.gamma,
            selection=selection,
        ),
    }
    text = texts.get(recipe.schedule, _("The learning rate follows the schedule {name}", name=recipe.schedule))
    if not recipe.warmup.value:
        return _("{clause}.", clause=text)
    return _("{clause}, after a linear warm-up of {length}.", clause=text, length=_share_words(recipe.warmup))


def _share_words(length: Duration) -> Message:
    """Return a length that may be a share of the training."""
    if length.unit == "%":
        return _("{share:g} % of the training", share=length.value)
    return length_words(length)


def length_sentence(plan: RunConfig, selection: str) -> Message:
    """Return training length, batch size, image size and early stopping."""
    recipe = plan.recipe
    text = _(
        "Training takes {length} with batches of {batch} images of {side} x {side} px.",
        length=length_words(recipe.epochs),
        batch=recipe.batch_size,
        side=recipe.image_size,
    )
    if not recipe.patience:
        return text
    early = ngettext(
        "It ends early after {count} epoch without improvement on {selection}.",
        "It ends early after {count} epochs without improvement on {selection}.",
        recipe.patience,
        selection=selection,
    )
    return join([text, early])


def augmentation_words(plan: RunConfig) -> Message:
    """Return the augmentation of training images, and how other images are prepared."""
    recipe = plan.recipe
    changes: list[Message] = []
    if recipe.crop != 1:
        changes.append(
            _("random crops of at least {share:.3g} % of the area {source}", share=100 * recipe.smallest_crop,
              source=cite("szegedy2015"))
        )  # fmt: skip
    if recipe.flip == "on":
        changes.append(_("random horizontal flips"))
    if recipe.jitter:
        changes.append(
            _("random changes of brightness, contrast and saturation by up to {share:.3g} %", share=100 * recipe.jitter)
        )
    if recipe.mixup:
        changes.append(_("mixup with alpha {alpha:g} {source}", alpha=recipe.mixup, source=cite("zhang2018")))
    if recipe.cutmix:
        changes.append(_("CutMix with alpha {alpha:g} {source}", alpha=recipe.cutmix, source=cite("yun2019")))
    text = _("Training images are not augmented.")
    if changes:
        text = _("Training images are augmented by {changes}.", changes=join_list(changes))
    others = _(
        "Of all other images the largest centered square is used, resized to {side} x {side} px.",
        side=recipe.image_size,
    )
    return join([text, others])


def loss_words(plan: RunConfig) -> Message:
    """Return what the training changes of plain cross-entropy and of the plain update."""
    recipe = plan.recipe
    parts = [_loss_options(recipe)]
    if recipe.clip:
        parts.append(_("Gradients are clipped to the norm {norm:g}.", norm=recipe.clip))
    if recipe.ema:
        parts.append(_("Evaluations use a moving average of the weights with the decay {decay:g}.", decay=recipe.ema))
    if recipe.backbone_lr != 1:
        parts.append(
            _("A pretrained backbone has {factor:g} times the learning rate of the head.", factor=recipe.backbone_lr)
        )
    return join(parts)


def _loss_options(recipe: RecipeConfig) -> Message:
    options: list[Message] = []
    if recipe.label_smoothing:
        options.append(
            _("label smoothing {value:g} {source}", value=recipe.label_smoothing, source=cite("szegedy2016"))
        )
    if recipe.class_weights == "balanced":
        options.append(_("classes weighted by their inverse frequency"))
    if not options:
        return _("The loss is the cross-entropy.")
    return _("The loss is the cross-entropy with {options}.", options=join_list(options))


def frozen_words(plan: RunConfig) -> Message:
    """Return how a frozen backbone and LP-FT are trained; an empty message for other fine-tuning modes."""
    views = plan.recipe.augmented_views
    if plan.arm.tuning.kind is TuningKind.FROZEN:
        return ngettext(
            "The frozen backbone sees {count} augmented view of each image.",
            "The frozen backbone sees {count} augmented views of each image, in turn.",
            views,
        )
    if plan.arm.tuning.kind is TuningKind.LP_FT:
        return ngettext(
            "The first phase ({length}) trains the head alone, on {count} augmented view of each image; the second "
            "phase trains all layers {source}. Each phase has its own schedule.",
            "The first phase ({length}) trains the head alone, on {count} augmented views of each image; the second "
            "phase trains all layers {source}. Each phase has its own schedule.",
            views,
            length=_share_words(plan.recipe.head_epochs),
            source=cite("kumar2022"),
        )
    return join([])


def selection_words(plan: RunConfig, selection: str) -> Message:
    """Return how the epoch of a run is selected."""
    return _(
        "After each epoch the network is evaluated on {selection}. The epoch with the highest {metric} there is kept, "
        "of equal ones that with the lowest loss.",
        selection=selection,
        metric=METRICS[plan.recipe.select].label,
    )
