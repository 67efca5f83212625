"""Plan to parts: the only file that knows both.

`prepare` reads the data, settles what the plan left open by measurement, and assembles what the loop works with.
Everything that can be wrong with a plan comes up here, before the first step.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from headstart import data
from headstart.config.run_config import NetworkConfig, RunConfig
from headstart.data import pixel_store, splits
from headstart.data.dataset import Dataset, counts, take
from headstart.data.image_index import ImageIndex
from headstart.data.loader import ImageSubset, Prefetcher, TrainingBatches
from headstart.data.transforms import Augmentation
from headstart.errors import UsageError
from headstart.hardware import benchmark, devices, precision
from headstart.hardware.calibration import batch_shape, measure, warm
from headstart.hardware.environment import environment
from headstart.models import factory, freezing, heads, structure
from headstart.models.heads import fresh_head
from headstart.optim import optimizers
from headstart.reporter import Reporter
from headstart.training.batched_heads import HeadSpec
from headstart.training.feature_cache import FeatureCache
from headstart.training.phases import make_phases, numbers
from headstart.training.state import TrainingContext
from headstart.weights import starts


@dataclass(frozen=True)
class TrainingSetup:
    """A complete plan and everything that was made from it."""

    plan: RunConfig
    parts: TrainingContext
    start: starts.Start
    listing: ImageIndex
    split: splits.Split
    test: ImageSubset
    flops: tuple[float, ...]  # of one training photo, per phase
    peak: float  # FLOP/s of this machine in the plan's precision
    blind: bool = False  # test stays closed: a trial of a search

    @property
    def network(self) -> nn.Module:
        return self.parts.network

    @property
    def judging(self) -> dict[str, ImageSubset]:
        """What the best model is judged on, by split: val, and test where there is one."""
        return {"val": self.parts.val} | ({"test": self.test} if len(self.test) and not self.blind else {})


@dataclass(frozen=True)
class ResolvedRun:
    """A plan with nothing open, and what was read to close it. The network has the start's values."""

    plan: RunConfig
    start: starts.Start
    dataset: Dataset
    split: splits.Split
    network: nn.Module
    peak: float  # FLOP/s of this machine in the plan's precision
    step_seconds: float  # of one training step, measured


def load_inputs(draft: RunConfig) -> tuple[RunConfig, ImageIndex, starts.Start]:
    """Read what a draft names: the photos' list and the start, which settles the network. No photo is decoded."""
    plan = draft
    listing = data.read(plan.data.source, classes=plan.data.classes, allow_outside=plan.data.allow_outside)
    if plan.network.network == "auto":
        plan = plan.changed("network", network=starts.default_network(plan.arm.start) or "resnet18")
    start = starts.resolve(
        plan.arm.start,
        network=plan.network.network,
        shortcut=plan.network.shortcut == "on",
        norm=plan.network.norm,
        stem=plan.network.stem,
        num_classes=len(listing.classes),
    )
    return plan, listing, start


def complete(draft: RunConfig, reporter: Reporter) -> ResolvedRun:
    """Settle what a draft leaves open. Everything that can be wrong with a plan comes up here, before the first step.

    `draft` has been through `machine.settle`, and its threads are set.
    """
    plan, listing, start = load_inputs(draft)
    for sentence in (*listing.describe().splitlines(), *listing.notes):
        reporter.say(sentence)
    network = make_network(plan.network, plan.arm.head, len(listing.classes), plan.seeding.seed)
    plan = _trainable(plan, network, reporter)
    freezing.trainable(network, plan.arm.tuning.replace("lp-ft", "frozen"))  # a tuning this network lacks is told now
    starts.initialise(network, start, seed=plan.seeding.seed)

    if start.state is None and plan.arm.tuning == "frozen":
        reporter.say("The trunk is random and stays so: only a head is trained on top. Is --start missing?")
    dataset, parted = take(plan, listing, reporter)
    for note in (*start.notes, *dataset.store.notes, *splits.overlaps(dataset.listing, parted, dataset.contents)):
        reporter.say(note)
    plan = plan.changed("recipe", flip=_flip(plan, dataset.listing))
    plan = _with_facts(plan, dataset, parted, start)
    device = torch.device(plan.machine.device)
    devices.place(network, device)
    plan, peak, seconds = measure(plan, network, batch_shape(plan), device, reporter)
    return ResolvedRun(plan, start, dataset, parted, network, peak, seconds)


def prepare(draft: RunConfig, reporter: Reporter) -> TrainingSetup:
    """Everything before the first step; see `complete`."""
    found = complete(draft, reporter)
    plan, dataset = found.plan, found.dataset
    warm(plan, found.network)
    parts = _parts(plan, found.network, found.start, dataset.store, dataset.listing, found.split)
    test = _photos(dataset.store, dataset.listing, found.split.test)
    return TrainingSetup(
        plan, parts, found.start, dataset.listing, found.split, test, _flops(parts, plan, found.network), found.peak
    )


def prepare_heads(plans: Sequence[RunConfig], reporter: Reporter) -> list[tuple[TrainingSetup, HeadSpec]]:
    """As `prepare`, for complete plans of heads on one frozen trunk: it is read and placed once."""
    found = complete(plans[0], reporter)
    network, name = found.network, structure.head_name(found.network)
    made: list[tuple[TrainingSetup, HeadSpec]] = []
    backbone: FeatureCache | None = None
    for plan in plans:
        own = found.dataset.recounted(plan.changed("facts", **found.plan.facts.model_dump()))
        parted = found.dataset.split(own)
        parts = _parts(own, network, found.start, found.dataset.store, found.dataset.listing, parted, backbone)
        backbone = parts.backbone
        fresh_head(network, seed=own.seeding.seed)
        head = copy.deepcopy(network.get_submodule(name))
        test = _photos(found.dataset.store, found.dataset.listing, parted.test)
        prepared = TrainingSetup(
            own, parts, found.start, found.dataset.listing, parted, test, _flops(parts, own, network), found.peak
        )
        recipe = own.recipe.model_dump_json()
        make = partial(optimizers.OPTIMIZERS[own.recipe.optimizer], n=numbers(own.recipe))
        made.append((prepared, HeadSpec(recipe, parts, head, make, own.recipe.weight_decay)))
    return made


def evaluation_cache(prepared: TrainingSetup) -> FeatureCache:
    """A frozen trunk in fp32: what its heads are judged on, as they will be used."""
    plan = prepared.plan.changed("machine", precision="fp32")
    return _backbone(plan, prepared.network, prepared.parts.batches, prepared.start)


def _trainable(plan: RunConfig, network: nn.Module, reporter: Reporter) -> RunConfig:
    """The plan with fp32 where bf16 would train on garbage. Raises UsageError for a size that the network refuses."""
    size, name, machine = plan.recipe.image_size, plan.network.network, plan.machine
    if structure.fixed_size(network) not in (None, size):
        wanted = structure.fixed_size(network)
        what = f"{name} takes images of {wanted} px only, the plan says {size}."
        raise UsageError(what, f"Use --image-size {wanted}, or another network.")
    try:
        broken = precision.strided_on_a_pixel(network, size)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"{name} cannot take images of {size} px ({reason}).", "Choose a larger --image-size, or another network."
        ) from error
    if not broken or machine.precision == "fp32" or torch.device(machine.device).type != "cpu":
        return plan
    if machine.precision == "bf16":
        raise UsageError(
            f"At {size} px {name} cannot be trained in bf16: {broken} takes strides over a single pixel.",
            "Use --precision fp32, or a larger --image-size.",
        )
    reporter.say(f"At {size} px {name} is trained in fp32: {broken} takes strides over a single pixel.")
    return plan.changed("machine", precision="fp32")


def make_network(network: NetworkConfig, head: str, num_classes: int, seed: int) -> nn.Module:
    """The network of a plan with its head, not yet initialised from a start."""
    made = factory.build(
        network.network,
        num_classes,
        shortcut=network.shortcut == "on",
        norm=network.norm,
        stem=network.stem,
    )
    heads.attach(made, head, num_classes, seed=seed)
    return made


def _flip(plan: RunConfig, listing: ImageIndex) -> str:
    if plan.recipe.flip != "auto":
        return plan.recipe.flip
    return "on" if listing.flip else "off"


def _with_facts(plan: RunConfig, dataset: Dataset, parted: splits.Split, start: starts.Start) -> RunConfig:
    return plan.changed(
        "facts",
        fingerprint=pixel_store.fingerprint(dataset.listing, dataset.contents),
        class_names=dataset.listing.classes,
        counts=counts(parted),
        images=dataset.per_class(),
        weights_sha256=start.sha256,
        mean=start.mean,
        std=start.std,
    )


def _photos(store: pixel_store.PixelStore, listing: ImageIndex, indices: np.ndarray) -> ImageSubset:
    return ImageSubset(store, indices, listing.labels[indices])


def _parts(
    plan: RunConfig,
    network: nn.Module,
    start: starts.Start,
    store: pixel_store.PixelStore,
    listing: ImageIndex,
    parted: splits.Split,
    backbone: FeatureCache | None = None,
) -> TrainingContext:
    """`trunk` is one that is there already and fits."""
    recipe, device = plan.recipe, torch.device(plan.machine.device)
    how = Augmentation(recipe.image_size, recipe.crop, recipe.flip == "on", recipe.jitter)
    train = _photos(store, listing, parted.train)
    batches = TrainingBatches(train, recipe.batch_size, how, plan.seeding.seed, plan.seeding.test_seed)
    weights = None
    if recipe.class_weights == "balanced":
        counts = torch.from_numpy(np.bincount(train.labels, minlength=len(listing.classes)))
        weights = (len(train) / (len(counts) * counts.float())).to(device)
    phases = make_phases(plan, batches.steps_per_epoch, start)
    if backbone is None and any(phase.augmented_views for phase in phases) and not recipe.mixup:
        made = _backbone(plan, network, batches, start)
        backbone = made if made.is_cacheable else None
    return TrainingContext(
        network=network,
        device=device,
        precision=plan.machine.precision,
        phases=phases,
        batches=batches,
        fetch=batches.batch if device.type == "cpu" else Prefetcher(batches, plan.machine.threads).batch,
        val=_photos(store, listing, parted.val),
        mean=start.mean,
        std=start.std,
        class_weights=weights,
        label_smoothing=recipe.label_smoothing,
        mixup=recipe.mixup,
        clip=recipe.clip,
        ema=recipe.ema,
        patience=recipe.patience,
        select=recipe.select,
        backbone=backbone,
    )


def _backbone(plan: RunConfig, network: nn.Module, batches: TrainingBatches, start: starts.Start) -> FeatureCache:
    device = torch.device(plan.machine.device)
    return FeatureCache(
        network,
        batches,
        contents=plan.facts.fingerprint,
        how=plan.machine.precision,
        device=device,
        mean=start.mean,
        std=start.std,
        machine=(json.dumps(environment(str(device))), str(plan.machine.threads), str(plan.data.cache_resolution)),
    )


_counted: dict[tuple[str, ...], float] = {}


def _flops(parts: TrainingContext, plan: RunConfig, network: nn.Module) -> tuple[float, ...]:
    """FLOPs of a training photo in each phase: a frozen trunk has no backward pass. Counted once in a process."""
    found = []
    for number, phase in enumerate(parts.phases):
        if parts.kept(number) is not None:  # the head alone: two products for each of its weights
            head = network.get_submodule(structure.head_name(network))
            found.append(4.0 * sum(p.numel() for p in head.parameters() if p.ndim > 1))
            continue
        about = (plan.network.model_dump_json(), plan.arm.head, str(len(plan.facts.class_names)))
        key = (*about, str(parts.batches.how.size), phase.tuning)
        if key not in _counted:
            freezing.freeze(network, freezing.trainable(network, phase.tuning))
            _counted[key] = benchmark.training_flops(network, parts.batches.how.size)
        found.append(_counted[key])
    freezing.freeze(network, freezing.trainable(network, "full"))
    return tuple(found)
