"""The training loop.

It yields events and has no callbacks. `Backward` comes when the gradients exist and before they are clipped, `Step`
after the update, `BatchDone` between batches of an evaluation, `FreezeCheck` at the end of a phase with frozen
parameters, and `Epoch` after its validation. After each event except `Backward` the state is consistent: it can be
saved, and the training can continue from it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from headstart.data import transforms
from headstart.data.loader import ImageSubset, plain_batches
from headstart.data.mixing import MixedBatch
from headstart.errors import HeadstartError
from headstart.hardware.precision import autocast
from headstart.i18n import _
from headstart.models import freezing, structure
from headstart.optim import optimizers, param_groups
from headstart.rng import torch_stream
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.schemas.checkpoint import TrainingProgress
from headstart.training.events import Backward, BatchDone, Epoch, Event, FreezeCheck, Step
from headstart.training.feature_cache import PLAIN_VIEW
from headstart.training.objective import count_correct, is_better, require_finite
from headstart.training.scoring import Score, Scorer, head_logits
from headstart.training.state import State, TrainingContext


def initial_state(context: TrainingContext) -> State:
    """Return the state before the first step."""
    ema = None
    if context.ema:
        ema = AveragedModel(context.network, multi_avg_fn=get_ema_multi_avg_fn(context.ema), use_buffers=True)
    return State(context.network, ema=ema)


def train(context: TrainingContext, state: State) -> Iterator[Event]:
    """Train from `state` to the end of the last phase or until early stopping.

    Args:
        context: The context of the training.
        state: The state to start from; it is changed in place.

    Yields:
        The events of the training.

    Raises:
        DivergedError: If a loss is NaN or infinite.
        HeadstartError: If a learning rate or a frozen tensor was changed from outside.
    """
    progress = state.progress
    per_epoch = context.batches.steps_per_epoch
    seconds, images = 0.0, Counter[int]()
    while not is_finished(context, progress):
        if progress.step == min((progress.epoch + 1) * per_epoch, context.steps):
            yield from _finish_epoch(context, state, seconds, images)
            seconds, images = 0.0, Counter[int]()
            continue
        yield from _enter_next_phase(context, state)
        work = _step(context, state, progress.step - progress.epoch * per_epoch)
        while True:  # do not count the time that the consumer takes between events
            start = time.perf_counter()
            event = next(work, None)
            seconds += time.perf_counter() - start
            if event is None:
                break
            yield event
        images[progress.phase] += context.batches.batch_size
    yield from _finish_phase(context, state)


def is_finished(context: TrainingContext, progress: TrainingProgress) -> bool:
    """Return True if all epochs are validated or early stopping has ended the run."""
    last = math.ceil(context.steps / context.batches.steps_per_epoch)
    return progress.epoch == last or (
        0 < context.patience <= progress.stale and progress.phase == len(context.phases) - 1
    )


def _step(context: TrainingContext, state: State, step_in_epoch: int) -> Iterator[Event]:
    """Train one step and yield its events."""
    progress, optimizer, phase = state.progress, state.optimizer, context.phases[state.progress.phase]
    assert optimizer is not None  # noqa: S101  (made by `enter_phase`)
    backbone = context.cached_backbone(progress.phase)
    if backbone is not None:
        for _unused in backbone.fill(backbone.view(progress.epoch, phase.augmented_views), context.batches.images):
            yield BatchDone()
        inputs, labels = backbone.batch(context.batches, progress.epoch, step_in_epoch, phase.augmented_views)
    else:
        images, labels = context.fetch(progress.epoch, step_in_epoch, phase.augmented_views)
        inputs = transforms.normalize(images, context.mean, context.std, context.device)
    labels = labels.to(context.device)
    rate = phase.rate * phase.schedule(progress.step - phase.begin, progress.val_losses)
    param_groups.set_rates(optimizer, rate)

    module = _head(state.network) if backbone is not None else state.network
    loss, logits = _loss(context, state, module, inputs, labels)
    loss_value = float(loss.detach())
    require_finite("training", loss_value, progress.step + 1)
    loss.backward()
    yield Backward(progress.step + 1, state.network)

    context.objective.clip_gradients(state.network.parameters())
    optimizers.step(optimizer)
    rates = verify_rates(optimizer, rate, progress.step + 1)
    if state.ema is not None:
        state.ema.update_parameters(state.network)
    progress.step += 1
    progress.loss_sum += loss_value * len(labels)
    progress.correct += int(count_correct(logits, labels))
    progress.seen += len(labels)
    yield Step(progress.step, progress.epoch + 1, loss_value, rates, state.network)


def _head(network: nn.Module) -> nn.Module:
    return network.get_submodule(structure.head_name(network))


def _loss(
    context: TrainingContext, state: State, module: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch, with mixed images if the recipe has them, and its logits [n, classes]."""
    progress, seed, objective = state.progress, context.batches.seed, context.objective
    mix: MixedBatch | None = None
    if context.mixer is not None:
        mix = context.mixer(images, seed=seed, epoch=progress.epoch, step=progress.step)
        images = mix.images
    with torch_stream(seed, "dropout", progress.epoch, progress.step), autocast(context.precision, context.device):
        logits = module(images)
    logits = logits.float()
    loss = objective.loss(logits, labels)
    if mix is not None:
        loss = mix.share * loss + (1 - mix.share) * objective.loss(logits, labels[mix.partner])
    return loss, logits.detach()


def verify_rates(optimizer: torch.optim.Optimizer, rate: float, step: int) -> dict[str, float]:
    """Return the optimizer's learning rates by part of the network.

    Raises:
        HeadstartError: If a group does not have `rate` times its factor.
    """
    for group in optimizer.param_groups:
        if group["lr"] != rate * group["factor"]:
            raise HeadstartError(
                _(
                    "Step {step} used the learning rate {learning_rate} for {part}, but the plan has {planned_rate}.",
                    step=step,
                    learning_rate=group["lr"],
                    part=group["name"],
                    planned_rate=rate * group["factor"],
                ),
                _("Do not change the optimizer from outside."),
            )
    return param_groups.rates(optimizer)


def _enter_next_phase(context: TrainingContext, state: State) -> Iterator[Event]:
    """Enter the phase of the next step if it is a new one."""
    progress = state.progress
    index = next(i for i, phase in enumerate(context.phases) if progress.step < phase.end)
    if index != progress.phase:
        yield from _finish_phase(context, state)
        enter_phase(context, state, index)
        progress.stale = 0
        progress.val_losses = []
        tuning = context.phases[index].tuning
        if tuning.kind is not TuningKind.FULL:
            names = freezing.trainable(state.network, tuning.trained_stages)
            progress.frozen_digest = freezing.frozen_digest(state.network, names)
    elif not state.network.training:  # a validation has just put it in eval mode
        freezing.train_mode(state.network, context.phases[index].tuning.trained_stages)


def enter_phase(context: TrainingContext, state: State, index: int) -> None:
    """Enter phase `index`: freeze parameters, set the mode of each layer and make a new optimizer."""
    phase = context.phases[index]
    freezing.freeze(state.network, freezing.trainable(state.network, phase.tuning.trained_stages))
    freezing.train_mode(state.network, phase.tuning.trained_stages)
    state.optimizer = phase.make_optimizer(state.network)
    state.progress.phase = index


def _finish_phase(context: TrainingContext, state: State) -> Iterator[Event]:
    """Verify that the tensors that were frozen in the current phase have not changed."""
    progress = state.progress
    if not progress.frozen_digest:
        return
    phase = context.phases[progress.phase]
    names = freezing.trainable(state.network, phase.tuning.trained_stages)
    before, after = progress.frozen_digest, freezing.frozen_digest(state.network, names)
    if after != before:
        raise HeadstartError(
            _("A frozen tensor changed in the phase {phase}.", phase=str(phase.tuning)),
            _("Report this bug in headstart."),
        )
    progress.frozen_digest = ""
    yield FreezeCheck(str(phase.tuning), progress.step, len(names), before, after)


def _finish_epoch(context: TrainingContext, state: State, seconds: float, images: dict[int, int]) -> Iterator[Event]:
    """Validate the network, update the best epoch and yield the `Epoch`."""
    progress = state.progress
    start = time.perf_counter()
    scorer = Scorer(context.val.labels)
    backbone = context.cached_backbone(progress.phase)
    if backbone is not None:
        for _unused in backbone.fill(PLAIN_VIEW, context.val):
            yield BatchDone()
        with torch.no_grad():
            features = backbone.rows(PLAIN_VIEW, context.val.indices)
            head = _head(state.evaluated_network.eval())
            for batch in head_logits(head, features, len(list(head.parameters())[-1])):
                scorer.add(batch)
    else:
        for batch in iter_logits(state.evaluated_network, context.val, context, context.precision):
            scorer.add(batch)
            yield BatchDone()
    val = scorer.score()
    require_finite("validation", val.loss, progress.step)
    train_score = Score(progress.loss_sum / progress.seen, progress.correct / progress.seen, progress.seen)
    rank = context.objective.rank(val)
    best = None if progress.best_score is None else (progress.best_score, -progress.best_loss)
    better = is_better(rank, best)
    progress.epoch += 1
    progress.val_losses.append(val.loss)
    progress.stale = 0 if better else progress.stale + 1
    if better:
        progress.best_score, progress.best_loss, progress.best_epoch = rank[0], val.loss, progress.epoch
    progress.loss_sum, progress.correct, progress.seen = 0.0, 0, 0
    val_seconds = time.perf_counter() - start
    rates = param_groups.rates(state.optimizer) if state.optimizer is not None else {}
    yield Epoch(progress.epoch, progress.step, train_score, val, better, seconds, val_seconds, images, rates)


def iter_logits(
    network: nn.Module, images: ImageSubset, context: TrainingContext, precision: str
) -> Iterator[np.ndarray]:
    """Yield the logits of a split in its own order, float32 [n, classes] for each batch, in `precision`."""
    network.eval()
    for batch, count in plain_batches(images, context.batches.batch_size, context.batches.augmentation.size):
        inputs = transforms.normalize(batch, context.mean, context.std, context.device)
        with torch.no_grad(), autocast(precision, context.device):
            logits = network(inputs)
        yield logits[:count].float().cpu().numpy()
