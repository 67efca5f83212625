"""Many heads on one frozen trunk, trained at once: learning rates x optimizers x seeds as batched matrix products.

Each head gets the steps that `loop` would give it alone: the same first values, batches, schedule and optimizer, the
loss of its own rows. Heads never meet: the sum of their losses has for each head the gradient of its own. Only the
order of additions inside the products differs, so a head agrees with the one trained alone to rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.loader import training_rows
from headstart.errors import DivergedError
from headstart.optim import param_groups
from headstart.training import loop, scoring
from headstart.training.events import BatchDone, Epoch
from headstart.training.feature_cache import PLAIN, FeatureCache
from headstart.training.scoring import Score
from headstart.training.state import Phase, TrainingContext

MakeOptimizer = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


@dataclass(frozen=True)
class HeadSpec:
    """One run of the many: `recipe` is equal for those that differ in the seed alone; `head` has its first values.

    `parts` has one phase, on a kept trunk; `make_optimizer` takes parameter groups.
    """

    recipe: str
    parts: TrainingContext
    head: nn.Module
    make_optimizer: MakeOptimizer
    weight_decay: float

    @property
    def phase(self) -> Phase:
        return self.parts.phases[0]


@dataclass(frozen=True)
class Moment:
    """A head's values around one update, by name within the head: `before`, its `gradients` unclipped, and `after`."""

    before: dict[str, Tensor]
    gradients: dict[str, Tensor]
    after: dict[str, Tensor]


@dataclass
class HeadResult:
    """How one head goes: the rates and losses of each step, its epochs, the values at each look, the best state.

    A head that has diverged has fewer losses than rates.
    """

    rates: list[dict[str, float]]
    losses: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    moments: dict[int, Moment] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: Epoch | None = None
    diverged: DivergedError | None = None


def stackable(head: nn.Module) -> bool:
    """Whether a head is linear layers with ReLU between them, which is what can be stacked."""
    parts = list(head) if isinstance(head, nn.Sequential) else [head]
    kinds = [nn.Linear if place % 2 == 0 else nn.ReLU for place in range(len(parts))]
    return len(parts) % 2 == 1 and all(isinstance(p, kind) for p, kind in zip(parts, kinds, strict=True))


def train(members: Sequence[HeadSpec], due: Callable[[int], bool]) -> Iterator[BatchDone | list[HeadResult]]:
    """Train all members in step; yields pulses, at which it may be left, and after each epoch how each member stands.

    The list and what is in it are always the same; whoever reads it may empty `moments` and drop an epoch's logits.
    All have the same trunk, batch size, steps, views and head. At steps that are `due` the values are kept for a look.
    A head whose loss is not finite has ended there, the others go on.
    """
    together = HeadStack(members)
    first = members[0].parts
    per_epoch = first.batches.steps_per_epoch
    for epoch in range(math.ceil(first.steps / per_epoch)):
        clock = time.perf_counter()
        view = together.backbone.view(epoch, members[0].phase.augmented_views)
        for parts in together.of_seed:
            for _ in together.backbone.fill(view, parts.batches.photos):
                yield BatchDone()
            for _ in together.backbone.fill(PLAIN, parts.val):
                yield BatchDone()
        count = min(per_epoch, first.steps - epoch * per_epoch)
        losses, correct = together.epoch(epoch, view, count, due)
        trained = time.perf_counter()
        logits = together.val_logits()
        seconds = (trained - clock, time.perf_counter() - trained)
        together.book(epoch + 1, losses, correct, logits, seconds)
        yield together.trained


class HeadStack:
    """The stacked heads: S seeds x R recipes, recipe by recipe a leaf tensor [S, …] for its own optimizer."""

    def __init__(self, members: Sequence[HeadSpec]) -> None:
        backbone = members[0].parts.backbone
        assert backbone is not None  # noqa: S101  (what makes a member)
        self.backbone: FeatureCache = backbone
        seeds = list(dict.fromkeys(m.parts.batches.seed for m in members))
        recipes = list(dict.fromkeys(m.recipe for m in members))
        self.rates: list[list[dict[str, float]]] = [[] for _ in recipes]
        self.trained = [HeadResult(rates=self.rates[recipes.index(m.recipe)]) for m in members]
        self.places = [(seeds.index(m.parts.batches.seed), recipes.index(m.recipe)) for m in members]
        of_seed = {m.parts.batches.seed: m for m in reversed(members)}
        of_recipe = {m.recipe: m for m in reversed(members)}
        self.of_seed = [of_seed[seed].parts for seed in seeds]
        self.of_recipe = [of_recipe[recipe] for recipe in recipes]
        device = members[0].parts.device
        self.names = [name for name, _ in members[0].head.named_parameters()]
        # a recipe without a run of some seed trains one more head, which nobody asks about: stacks have no holes
        states = [dict(of_seed[seed].head.named_parameters()) for seed in seeds]
        firsts = {name: torch.stack([s[name].detach().to(device) for s in states]) for name in self.names}
        self.leaves = [{name: nn.Parameter(t.clone()) for name, t in firsts.items()} for _ in recipes]
        self.optimizers = [_optimizer(m, leaves) for m, leaves in zip(self.of_recipe, self.leaves, strict=True)]
        shape = (len(seeds), len(recipes))
        classes = firsts[self.names[-1]].shape[1]
        self.weights = torch.ones(*shape, classes, device=device)
        for member, place in zip(members, self.places, strict=True):
            if member.parts.class_weights is not None:
                self.weights[place] = member.parts.class_weights
        smoothing = [m.parts.label_smoothing for m in self.of_recipe]
        self.smoothing = torch.tensor(smoothing, device=device).view(1, -1, 1)
        self.step = 0

    def epoch(self, epoch: int, view: str, count: int, due: Callable[[int], bool]) -> tuple[Tensor, Tensor]:
        """One epoch of `count` steps; returns the losses and the number of right answers, both [steps, S, R]."""
        rows = []
        for parts in self.of_seed:
            photos, size = parts.batches.photos, parts.batches.batch_size
            rows.append([training_rows(len(photos), size, parts.batches.seed, epoch, step) for step in range(count)])
        losses, correct = [], []
        for step in range(count):
            chosen = [(parts.batches.photos, of_seed[step]) for parts, of_seed in zip(self.of_seed, rows, strict=True)]
            found = self._step(
                self.backbone.rows(view, np.concatenate([photos.indices[r] for photos, r in chosen])),
                torch.from_numpy(np.concatenate([photos.labels[r] for photos, r in chosen])),
                due,
            )
            losses.append(found[0])
            correct.append(found[1])
        return torch.stack(losses).cpu(), torch.stack(correct).cpu()

    def _step(self, x: Tensor, labels: Tensor, due: Callable[[int], bool]) -> tuple[Tensor, Tensor]:
        seeds = len(self.of_seed)
        x, labels = x.view(seeds, -1, *x.shape[1:]), labels.to(x.device).view(seeds, 1, -1)
        logits = self._logits(x)
        loss = self._loss(logits, labels)
        rates = []
        for member, optimizer in zip(self.of_recipe, self.optimizers, strict=True):
            rates.append(member.phase.rate * member.phase.schedule(self.step))
            param_groups.set_rates(optimizer, rates[-1])
        loss.sum().backward()
        self.step += 1
        looked = due(self.step)
        before = self._values() if looked else []
        gradients = [{name: leaf.grad.clone() for name, leaf in leaves.items() if leaf.grad is not None}
                     for leaves in self.leaves] if looked else []  # fmt: skip
        for number, (member, optimizer) in enumerate(zip(self.of_recipe, self.optimizers, strict=True)):
            if member.parts.clip:
                _clip(self.leaves[number], member.parts.clip)
            optimizer.step()
            self.rates[number].append(loop.rates_used(optimizer, rates[number], self.step))
            optimizer.zero_grad(set_to_none=True)
        if looked:
            self._keep(before, gradients, self._values())
        return loss.detach(), (logits.detach().argmax(-1) == labels).sum(-1)

    def _logits(self, x: Tensor, seeds: slice = slice(None)) -> Tensor:
        """[S, n, inputs] of these seeds to [S, R, n, classes]. The first layer is one product for a seed's heads."""
        values = x.flatten(2).unsqueeze(1)
        for depth in range(0, len(self.names), 2):
            weight = torch.stack([leaves[self.names[depth]][seeds] for leaves in self.leaves], 1)
            bias = torch.stack([leaves[self.names[depth + 1]][seeds] for leaves in self.leaves], 1)
            if depth == 0:
                wide = values.squeeze(1) @ weight.flatten(1, 2).transpose(1, 2)
                values = wide.unflatten(2, weight.shape[1:3]).transpose(1, 2)
            else:
                values = F.relu(values) @ weight.transpose(2, 3)
            values = values + bias.unsqueeze(2)
        return values

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """torch's cross-entropy with class weights w and label smoothing e for each head: [S, R].

        (1 - e) Σ w[y] (-log p[y]) / Σ w[y]  +  e / C · Σ Σ_c w[c] (-log p[c]) / Σ w[y], sums over the batch's rows.
        """
        logs = F.log_softmax(logits, -1)
        wanted = labels.unsqueeze(-1).expand(*logs.shape[:3], 1)
        weights = self.weights.unsqueeze(2).expand_as(logs)
        of_label = weights.gather(-1, wanted).squeeze(-1)
        whole = of_label.sum(-1)
        loss = -(of_label * logs.gather(-1, wanted).squeeze(-1)).sum(-1) / whole
        if bool(self.smoothing.any()):
            smoothing = self.smoothing.squeeze(-1)
            spread = -(weights * logs).sum((-1, -2)) / logs.shape[-1] / whole
            loss = (1 - smoothing) * loss + smoothing * spread
        return loss

    @torch.no_grad()
    def val_logits(self) -> list[np.ndarray]:
        """Of each seed's own validation split: [R, n, classes]."""
        found = []
        for number, parts in enumerate(self.of_seed):
            x = self.backbone.rows(PLAIN, parts.val.indices)
            found.append(self._logits(x.unsqueeze(0), slice(number, number + 1))[0].cpu().numpy())
        return found

    def book(
        self,
        epoch: int,
        losses: Tensor,
        correct: Tensor,
        logits: list[np.ndarray],
        seconds: tuple[float, float],
    ) -> None:
        """Note for each head how the epoch went; the seconds of all are shared equally."""
        size = self.of_seed[0].batches.batch_size
        seen = size * len(losses)
        share = (seconds[0] / len(self.trained), seconds[1] / len(self.trained))
        steps = {place: losses[:, place[0], place[1]].tolist() for place in self.places}
        for trained, (seed, recipe) in zip(self.trained, self.places, strict=True):
            if trained.diverged is not None:
                continue
            own = steps[seed, recipe]
            bad = next((i for i, value in enumerate(own) if not math.isfinite(value)), None)
            trained.losses += own[:bad]
            if bad is not None:
                trained.diverged = loop.diverged("training", own[bad], self.step - len(own) + bad + 1)
                continue
            val = scoring.score(logits[seed][recipe], self.of_seed[seed].val.labels)
            if not math.isfinite(val.loss):
                trained.diverged = loop.diverged("validation", val.loss, self.step)
                continue
            train = Score(sum(own) * size / seen, int(correct[:, seed, recipe].sum()) / seen, seen)
            best = trained.best_epoch
            select = self.of_seed[seed].select
            better = best is None or val.rank(select) > best.val.rank(select)
            made = Epoch(epoch, self.step, train, val, better, *share, {0: seen}, self.rates[recipe][self.step - 1])
            trained.epochs.append(made)
            if better:
                trained.best_epoch = made
                trained.best = {name: leaf.detach()[seed].clone() for name, leaf in self.leaves[recipe].items()}

    def _values(self) -> list[dict[str, Tensor]]:
        return [{name: leaf.detach().clone() for name, leaf in leaves.items()} for leaves in self.leaves]

    def _keep(
        self, before: list[dict[str, Tensor]], gradients: list[dict[str, Tensor]], after: list[dict[str, Tensor]]
    ) -> None:
        for trained, (seed, recipe) in zip(self.trained, self.places, strict=True):
            if trained.diverged is None:
                parts = ({name: t[seed] for name, t in of[recipe].items()} for of in (before, gradients, after))
                trained.moments[self.step] = Moment(*parts)


def _optimizer(member: HeadSpec, leaves: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    """The groups of `parts.optimizers.groups`: biases, here of two dimensions, are spared from weight decay."""
    spared = [name for name in leaves if name.endswith("bias")]
    return member.make_optimizer(
        [
            {"name": "head", "params": [leaves[n] for n in leaves if n not in spared],
             "weight_decay": member.weight_decay, "factor": 1.0},
            {"name": "head-no-decay", "params": [leaves[n] for n in spared], "weight_decay": 0.0, "factor": 1.0},
        ]
    )  # fmt: skip


@torch.no_grad()
def _clip(leaves: dict[str, nn.Parameter], largest: float) -> None:
    """`torch.nn.utils.clip_grad_norm_` for each head of a stack by itself."""
    grads = [leaf.grad for leaf in leaves.values() if leaf.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in grads])
    factors = (largest / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factors.view(-1, *[1] * (grad.ndim - 1)))
