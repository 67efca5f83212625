"""Make the training context from a plan.

`prepare` reads the data, resolves the open fields of the plan, by measurement where needed, and assembles the inputs
of the training loop. All errors in a plan are raised here, before the first step.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from headstart.config.recipe_config import RecipeConfig
from headstart.config.registry.head_inits import HEAD_INITS
from headstart.config.run_config import NetworkConfig, ResolvedFacts, RunConfig
from headstart.data import hashing, sources, splits
from headstart.data.dataset import Dataset, load_dataset, split_counts
from headstart.data.decode import DECODER_VERSION
from headstart.data.image_index import ImageIndex
from headstart.data.loader import ImageSubset, Prefetcher, TrainingBatches
from headstart.data.mixing import mixer_of
from headstart.data.transforms import Augmentation
from headstart.factories import load_factory
from headstart.hardware import calibration, devices
from headstart.hardware.calibration import MatmulPeak, choose_precision, measure_machine
from headstart.hardware.environment import environment
from headstart.i18n import _, ngettext
from headstart.models import factory, freezing, heads, structure, user_code
from headstart.optim import optimizers
from headstart.reporter import ProgressCallback, Reporter
from headstart.storage.cache import cache_note
from headstart.storage.schemas.arm import TuningKind
from headstart.text import format_duration
from headstart.training.augmentation_defaults import resolve_augmentation
from headstart.training.batched_heads import HeadSpec
from headstart.training.feature_cache import FeatureCache, FeatureSettings
from headstart.training.flops import flops_per_image
from headstart.training.network_checks import check_image_size_and_precision
from headstart.training.objective import Objective
from headstart.training.phases import make_phases
from headstart.training.state import TrainingContext
from headstart.weights import starts


@dataclass(frozen=True)
class TrainingSetup:
    """A resolved plan and the objects that were made from it."""

    plan: RunConfig
    context: TrainingContext
    start: starts.Start
    dataset: Dataset
    split: splits.Split
    test: ImageSubset
    flops: tuple[float, ...]  # of one training image, per phase
    peak: MatmulPeak  # of this machine in the plan's precision
    initial_filters: np.ndarray | None  # weights of the first convolution, [n, 3, k, k]; None if its input is not RGB
    blind: bool = False  # no evaluation on test: a trial of a search

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.context.network

    @cached_property
    def has_copy(self) -> npt.NDArray[np.bool_]:
        """Whether the model that is evaluated on an image has seen a copy of it, for each image of the index."""
        return self.dataset.has_copy(self.split)

    @property
    def evaluation_images(self) -> dict[str, ImageSubset]:
        """The images on which the best model is evaluated, by split: val, and test if there is one."""
        return {"val": self.context.val} | ({"test": self.test} if len(self.test) and not self.blind else {})


@dataclass(frozen=True)
class LoadedRun:
    """A plan and its inputs; what depends on measurements of the machine is open. The network has initial weights."""

    plan: RunConfig
    start: starts.Start
    dataset: Dataset
    split: splits.Split
    network: nn.Module


@dataclass(frozen=True)
class ResolvedRun(LoadedRun):
    """A plan without open fields, and its inputs. The network has its initial weights."""

    peak: MatmulPeak  # of this machine in the plan's precision
    step_seconds: float  # of one training step, measured


def with_network(draft: RunConfig) -> RunConfig:
    """Return the draft with its network resolved: `auto` is that of its start, or resnet18."""
    if draft.network.network != "auto":
        return draft
    return draft.changed(network=starts.default_network(draft.arm.start) or "resnet18")


def load_inputs(
    draft: RunConfig, progress: ProgressCallback | None = None
) -> tuple[RunConfig, ImageIndex, starts.Start]:
    """Read the inputs of a draft without decoding an image; `progress` is that of `read_index`.

    Returns:
        The draft with its network resolved, the index of its images and its start.
    """
    plan = with_network(draft)
    index = sources.read_data(plan.data, progress)
    return plan, index, _resolve_start(plan, len(index.classes))


def _resolve_start(plan: RunConfig, num_classes: int) -> starts.Start:
    return starts.resolve_start(
        plan.arm.start,
        network=plan.network.network,
        shortcut=plan.network.shortcut == "on",
        norm=plan.network.norm,
        stem=plan.network.stem,
        num_classes=num_classes,
        head_layer=plan.network.head_layer,
        stage_layers=plan.network.stage_layers,
        weights_key=plan.arm.weights_key,
    )


def resolve_run(draft: RunConfig, reporter: Reporter) -> ResolvedRun:
    """Resolve the open fields of a draft.

    Args:
        draft: A plan that `calibration.resolve_machine` has returned.
        reporter: Receives notes about the data, the start and the machine.

    Raises:
        HeadstartError: If anything in the plan is wrong.
    """
    run = _load(draft, reporter)
    device = torch.device(run.plan.machine.device)
    devices.place(run.network, device)
    plan, peak, seconds = measure_machine(run.plan, run.network, device, reporter)
    return ResolvedRun(plan, run.start, run.dataset, run.split, run.network, peak, seconds)


def check_plan(draft: RunConfig, reporter: Reporter) -> LoadedRun:
    """Return a checked draft and its inputs. Raise every error of a training before its first step; measure nothing.

    Args:
        draft: As for `resolve_run`.
        reporter: Receives notes on data and start, the number of steps, and the duration if the speed is known.

    Raises:
        HeadstartError: If anything in the plan is wrong.
    """
    run = _load(draft, reporter)
    images = _subset(run.dataset, run.split.train)
    steps = TrainingBatches(images, run.plan.recipe.batch_size, Augmentation.of(run.plan.recipe), 0, 0).steps_per_epoch
    total = make_phases(run.plan, steps, run.start)[-1].end
    reporter.say(
        ngettext(
            "{count:,} step of {images}.",
            "{count:,} steps of {images}.",
            total,
            images=ngettext("{count:,} image", "{count:,} images", run.plan.recipe.batch_size),
        )
    )
    if seconds := calibration.known_step_seconds(run.plan):
        reporter.say(
            _("The training steps take about {duration} on this machine.", duration=format_duration(seconds * total))
        )
    return run


def _load(draft: RunConfig, reporter: Reporter) -> LoadedRun:
    """Read the inputs of a draft and check it. Arguments and errors are those of `resolve_run`."""
    plan, index, start = load_inputs(draft, partial(reporter.progress, _("finding images")))
    for sentence in (*index.summary(), *index.notes, cache_note()):
        if sentence is not None:
            reporter.say(sentence)
    network = _initialized_network(plan, start, len(index.classes))
    plan = check_image_size_and_precision(plan, network, reporter)

    if start.state is None and plan.arm.tuning.kind is TuningKind.FROZEN:
        reporter.say(_("The backbone is random and frozen: only the head is trained. Is --start missing?"))
    dataset, split = load_dataset(plan, index, reporter)
    if (count := len(dataset.images.classes)) < len(index.classes):  # no image of a class could be decoded
        start = _resolve_start(plan, count)
        network = _initialized_network(plan, start, count)
    overlaps = (overlap.sentence for overlap in dataset.overlaps(split))
    for note in (*start.notes, *dataset.store.notes, *overlaps):
        reporter.say(note)
    plan = resolve_augmentation(plan, dataset, split, reporter)
    return LoadedRun(_with_facts(plan, dataset, split, start), start, dataset, split, network)


def _initialized_network(plan: RunConfig, start: starts.Start, num_classes: int) -> nn.Module:
    network = make_network(plan.network, plan.arm.head, num_classes, plan.seeding.seed)
    freezing.trainable(network, plan.arm.tuning.trained_stages)  # raises if the network has fewer stages
    starts.initialize(network, start, seed=plan.seeding.seed, head_init=_head_init(plan.recipe))
    return network


def _head_init(recipe: RecipeConfig) -> heads.HeadInitializer:
    init: heads.HeadInitializer = load_factory(HEAD_INITS[recipe.head_init])
    return init


def prepare(draft: RunConfig, reporter: Reporter) -> TrainingSetup:
    """Resolve a draft and make all objects that the training needs; see `resolve_run`."""
    run = _load(draft, reporter)
    device = torch.device(run.plan.machine.device)
    devices.place(run.network, device)
    plan, peak = choose_precision(run.plan, run.network, device, reporter)
    context = _make_context(plan, run, run.split)
    test = _subset(run.dataset, run.split.test)
    flops = flops_per_image(context, plan, run.network)
    filters = structure.first_filters(run.network)
    return TrainingSetup(plan, context, run.start, run.dataset, run.split, test, flops, peak, filters)


def prepare_heads(plans: Sequence[RunConfig], reporter: Reporter) -> list[tuple[TrainingSetup, HeadSpec]]:
    """Prepare resolved plans of heads on one frozen backbone, which is read and placed on the device once."""
    resolved = resolve_run(plans[0], reporter)
    dataset, network = resolved.dataset, resolved.network
    name, filters = structure.head_name(network), structure.first_filters(network)
    pairs: list[tuple[TrainingSetup, HeadSpec]] = []
    backbone: FeatureCache | None = None
    for resolved_plan in plans:
        plan = dataset.with_split_counts(resolved_plan.with_facts(resolved.plan.facts))
        split = dataset.split(plan)
        context = _make_context(plan, resolved, split, backbone)
        backbone = context.backbone
        heads.reset_head(network, seed=plan.seeding.seed, init=_head_init(plan.recipe))
        head = copy.deepcopy(network.get_submodule(name))
        test, flops = _subset(dataset, split.test), flops_per_image(context, plan, network)
        setup = TrainingSetup(plan, context, resolved.start, dataset, split, test, flops, resolved.peak, filters)
        make_optimizer = partial(
            optimizers.build, plan.recipe.optimizer, lr=plan.recipe.lr, options=plan.recipe.model_dump()
        )
        recipe = plan.recipe.model_dump_json()
        pairs.append((setup, HeadSpec(recipe, context, head, make_optimizer, plan.recipe.weight_decay)))
    return pairs


def evaluation_cache(setup: TrainingSetup) -> FeatureCache:
    """Return the feature cache of the frozen backbone in fp32, the precision in which a model is evaluated and used."""
    plan = setup.plan.changed(precision="fp32")
    return _make_cache(plan, setup.network, setup.context.batches, setup.start)


def make_network(config: NetworkConfig, head: str, num_classes: int, seed: int) -> nn.Module:
    """Return the network of a plan with its head, not yet initialized from a start."""
    network = factory.build(
        config.network,
        num_classes,
        shortcut=config.shortcut == "on",
        norm=config.norm,
        stem=config.stem,
        head_layer=config.head_layer,
        stage_layers=config.stage_layers,
    )
    heads.replace_head(network, head, num_classes, seed=seed)
    return network


def _with_facts(plan: RunConfig, dataset: Dataset, split: splits.Split, start: starts.Start) -> RunConfig:
    facts = ResolvedFacts(
        fingerprint=hashing.fingerprint(dataset.images, dataset.content_hashes),
        near_duplicates_sha256=dataset.clusters.digest,
        class_names=dataset.images.classes,
        split_counts=split_counts(split),
        class_counts=dataset.class_counts(),
        max_value=dataset.store.conversion.max_value,
        background=dataset.store.conversion.background,
        weights_sha256=start.sha256,
        network_sha256=user_code.sha256_of(plan.network.network),
        mean=start.mean,
        std=start.std,
    )
    return plan.with_facts(facts)


def _subset(dataset: Dataset, indices: np.ndarray) -> ImageSubset:
    return ImageSubset(dataset.store, indices, dataset.images.labels[indices])


def _make_context(
    plan: RunConfig, resolved: LoadedRun, split: splits.Split, backbone: FeatureCache | None = None
) -> TrainingContext:
    """Return the context of a plan; `backbone` is the feature cache of an earlier plan with the same backbone."""
    dataset, network, start = resolved.dataset, resolved.network, resolved.start
    recipe, device = plan.recipe, torch.device(plan.machine.device)
    augmentation = Augmentation.of(recipe)
    train = _subset(dataset, split.train)
    batches = TrainingBatches(train, recipe.batch_size, augmentation, plan.seeding.seed, plan.seeding.test_seed)
    weights = None
    if recipe.class_weights == "balanced":
        counts = torch.from_numpy(np.bincount(train.labels, minlength=len(dataset.images.classes)))
        weights = (len(train) / (len(counts) * counts.float())).to(device)
    mixer = mixer_of(recipe)
    phases = make_phases(plan, batches.steps_per_epoch, start)
    if backbone is None and any(phase.augmented_views for phase in phases) and mixer is None:
        cache = _make_cache(plan, network, batches, start)
        backbone = cache if cache.is_cacheable else None
    return TrainingContext(
        network=network,
        device=device,
        precision=plan.machine.precision,
        phases=phases,
        batches=batches,
        fetch=batches.batch if device.type == "cpu" else Prefetcher(batches, plan.machine.threads).batch,
        val=_subset(dataset, split.val),
        mean=start.mean,
        std=start.std,
        objective=Objective(weights, recipe.label_smoothing, recipe.clip, recipe.select),
        mixer=mixer,
        ema=recipe.ema,
        patience=recipe.patience,
        backbone=backbone,
    )


def _make_cache(plan: RunConfig, network: nn.Module, batches: TrainingBatches, start: starts.Start) -> FeatureCache:
    device = torch.device(plan.machine.device)
    settings = FeatureSettings(
        contents=plan.facts.fingerprint,
        precision=plan.machine.precision,
        device=device,
        mean=start.mean,
        std=start.std,
        machine=(
            json.dumps(environment(str(device))),
            str(plan.machine.threads),
            str(plan.data.cache_resolution),
            str(DECODER_VERSION),
        ),
    )
    return FeatureCache(network, batches, settings)
