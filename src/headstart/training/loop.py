"""The loop: the only place that trains a network.

It yields what happens and calls nobody back. `Backward` comes when gradients are there and before they are clipped,
`Step` after the update, `Pulse` between batches of an evaluation, `Proof` when a phase with frozen parts ends, `Epoch`
after its validation. After any event but `Backward` the state is whole: it can be saved and gone on with.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from headstart.data import mixup, transforms
from headstart.data.loader import ImageSubset, plain_batches
from headstart.errors import DivergedError, HeadstartError
from headstart.hardware import precision
from headstart.models import freezing, structure
from headstart.optim import param_groups
from headstart.rng import torch_stream
from headstart.training.events import Backward, BatchDone, Epoch, Event, FreezeCheck, Step
from headstart.training.feature_cache import PLAIN
from headstart.training.scoring import Score, score
from headstart.training.state import Progress, State, TrainingContext


def begin(parts: TrainingContext) -> State:
    """The state before the first step."""
    ema = None
    if parts.ema:
        ema = AveragedModel(parts.network, multi_avg_fn=get_ema_multi_avg_fn(parts.ema), use_buffers=True)
    return State(parts.network, ema=ema)


def train(parts: TrainingContext, state: State) -> Iterator[Event]:
    """Go on from `state` to the end of the last phase, or until early stopping.

    Raises DivergedError when a loss is NaN or infinite.
    """
    progress = state.progress
    per_epoch = parts.batches.steps_per_epoch
    seconds, images = 0.0, Counter[int]()
    while not finished(parts, progress):
        if progress.step == min((progress.epoch + 1) * per_epoch, parts.steps):
            yield from _finish_epoch(parts, state, seconds, images)
            seconds, images = 0.0, Counter[int]()
            continue
        yield from _enter_phase(parts, state)
        work = _step(parts, state, progress.step - progress.epoch * per_epoch)
        while True:  # the time between events is the consumer's, not ours
            clock = time.perf_counter()
            event = next(work, None)
            seconds += time.perf_counter() - clock
            if event is None:
                break
            yield event
        images[progress.phase] += parts.batches.batch_size
    yield from _finish_phase(parts, state)


def finished(parts: TrainingContext, progress: Progress) -> bool:
    """Whether every epoch is validated, or early stopping has ended the run."""
    last = math.ceil(parts.steps / parts.batches.steps_per_epoch)
    return progress.epoch == last or (0 < parts.patience <= progress.stale and progress.phase == len(parts.phases) - 1)


def _step(parts: TrainingContext, state: State, step_in_epoch: int) -> Iterator[Event]:
    progress, optimizer, phase = state.progress, state.optimizer, parts.phases[state.progress.phase]
    assert optimizer is not None  # noqa: S101  (entering a phase made it)
    backbone = parts.kept(progress.phase)
    if backbone is not None:
        for _ in backbone.fill(backbone.view(progress.epoch, phase.augmented_views), parts.batches.photos):
            yield BatchDone()
        inputs, labels = backbone.batch(parts.batches, progress.epoch, step_in_epoch, phase.augmented_views)
    else:
        photos, labels = parts.fetch(progress.epoch, step_in_epoch, phase.augmented_views)
        inputs = transforms.normalise(photos, parts.mean, parts.std, parts.device)
    labels = labels.to(parts.device)
    rate = phase.rate * phase.schedule(progress.step - phase.begin)
    param_groups.set_rates(optimizer, rate)

    module = _head(state.network) if backbone is not None else state.network
    loss, logits = _loss(parts, state, module, inputs, labels)
    loss_value = float(loss.detach())
    if not math.isfinite(loss_value):
        raise diverged("training", loss_value, progress.step + 1)
    loss.backward()
    yield Backward(progress.step + 1, state.network)

    if parts.clip:
        nn.utils.clip_grad_norm_(state.network.parameters(), parts.clip)
    optimizer.step()
    rates = rates_used(optimizer, rate, progress.step + 1)
    if state.ema is not None:
        state.ema.update_parameters(state.network)
    progress.step += 1
    progress.loss_sum += loss_value * len(labels)
    progress.correct += int((logits.argmax(1) == labels).sum())
    progress.seen += len(labels)
    yield Step(progress.step, progress.epoch + 1, loss_value, rates, state.network)


def _head(network: nn.Module) -> nn.Module:
    return network.get_submodule(structure.head_name(network))


def _loss(
    parts: TrainingContext, state: State, module: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    progress = state.progress
    mix = None
    if parts.mixup:
        mix = mixup.mixup(len(images), parts.mixup, parts.batches.seed, progress.epoch, progress.step)
        images = images.lerp(images[mix.partner], 1 - mix.share)
    dropout = torch_stream(parts.batches.seed, "dropout", progress.epoch, progress.step)
    with dropout, precision.autocast(parts.precision, parts.device):
        logits = module(images)
    logits = logits.float()

    def against(target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, weight=parts.class_weights, label_smoothing=parts.label_smoothing)

    if mix is None:
        return against(labels), logits.detach()
    return mix.share * against(labels) + (1 - mix.share) * against(labels[mix.partner]), logits.detach()


def rates_used(optimizer: torch.optim.Optimizer, rate: float, step: int) -> dict[str, float]:
    """Read the learning rates back after the update; they must be the plan's."""
    for group in optimizer.param_groups:
        if group["lr"] != rate * group["factor"]:
            raise HeadstartError(
                f"Step {step} used the learning rate {group['lr']} for {group['name']}, "
                f"the plan says {rate * group['factor']}.",
                "Do not change the optimizer from outside.",
            )
    return param_groups.rates(optimizer)


def _enter_phase(parts: TrainingContext, state: State) -> Iterator[Event]:
    """Freeze, make the optimizer and put layers in their mode, where the next step belongs to a new phase."""
    progress = state.progress
    index = next(i for i, phase in enumerate(parts.phases) if progress.step < phase.end)
    if index != progress.phase:
        yield from _finish_phase(parts, state)
        enter(parts, state, index)
        progress.stale = 0
        tuning = parts.phases[index].tuning
        if tuning != "full":
            progress.frozen_digest = freezing.frozen_digest(state.network, freezing.trainable(state.network, tuning))
    elif not state.network.training:  # it has just been validated
        freezing.train_mode(state.network, parts.phases[index].tuning)


def enter(parts: TrainingContext, state: State, index: int) -> None:
    """Make phase `index` the current one: what is trained, the mode of each layer, and a new optimizer."""
    phase = parts.phases[index]
    freezing.freeze(state.network, freezing.trainable(state.network, phase.tuning))
    freezing.train_mode(state.network, phase.tuning)
    state.optimizer = phase.make_optimizer(state.network)
    state.progress.phase = index


def _finish_phase(parts: TrainingContext, state: State) -> Iterator[Event]:
    """Prove that what was frozen in the phase that ends here has not moved."""
    progress = state.progress
    if not progress.frozen_digest:
        return
    phase = parts.phases[progress.phase]
    names = freezing.trainable(state.network, phase.tuning)
    before, after = progress.frozen_digest, freezing.frozen_digest(state.network, names)
    if after != before:
        raise HeadstartError(
            f"A frozen tensor changed in the phase {phase.name}.", "Please report this: it is a fault of headstart."
        )
    progress.frozen_digest = ""
    yield FreezeCheck(phase.name, progress.step, len(names), before, after)


def _finish_epoch(parts: TrainingContext, state: State, seconds: float, images: dict[int, int]) -> Iterator[Event]:
    progress = state.progress
    clock = time.perf_counter()
    logits: list[np.ndarray] = []
    backbone = parts.kept(progress.phase)
    if backbone is not None:
        for _ in backbone.fill(PLAIN, parts.val):
            yield BatchDone()
        with torch.no_grad():
            logits.append(_head(state.judged.eval())(backbone.rows(PLAIN, parts.val.indices)).float().cpu().numpy())
    else:
        for batch in evaluate(state.judged, parts.val, parts, parts.precision):
            logits.append(batch)
            yield BatchDone()
    val = score(np.concatenate(logits), parts.val.labels)
    if not math.isfinite(val.loss):
        raise diverged("validation", val.loss, progress.step)
    train_score = Score(progress.loss_sum / progress.seen, progress.correct / progress.seen, progress.seen)
    rank = val.rank(parts.select)
    better = rank > (progress.best_score, -progress.best_loss)
    progress.epoch += 1
    progress.stale = 0 if better else progress.stale + 1
    if better:
        progress.best_score, progress.best_loss, progress.best_epoch = rank[0], val.loss, progress.epoch
    progress.loss_sum, progress.correct, progress.seen = 0.0, 0, 0
    val_seconds = time.perf_counter() - clock
    rates = param_groups.rates(state.optimizer) if state.optimizer is not None else {}
    yield Epoch(progress.epoch, progress.step, train_score, val, better, seconds, val_seconds, images, rates)


def evaluate(network: nn.Module, photos: ImageSubset, parts: TrainingContext, how: str) -> Iterator[np.ndarray]:
    """Logits of a split in its own order, float32 [n, classes] batch by batch, in precision `how`."""
    network.eval()
    for batch, count in plain_batches(photos, parts.batches.batch_size, parts.batches.how.size):
        images = transforms.normalise(batch, parts.mean, parts.std, parts.device)
        with torch.no_grad(), precision.autocast(how, parts.device):
            logits = network(images)
        yield logits[:count].float().cpu().numpy()


def diverged(where: str, value: float, step: int) -> DivergedError:
    return DivergedError(
        f"The {where} loss became {value} at step {step}.",
        "Try a learning rate ten times lower, a warm-up (--warmup 1ep) or --clip 1.",
    )
