"""Train many heads on one frozen backbone at once: learning rates x optimizers x seeds as batched matrix products.

Each head gets the steps that `loop` would give it alone: the same initial weights, batches, schedule and optimizer, and
the loss of its own rows. Heads do not interact, because the sum of their losses has for each head the gradient of its
own loss, and because the updates of their optimizers are element-wise (`OptimizerSpec.elementwise`). Only the order of
additions inside the products differs, so a head equals the head trained alone up to rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.loader import training_rows
from headstart.errors import DivergedError
from headstart.optim import optimizers, param_groups
from headstart.optim.param_groups import ParameterGroup
from headstart.training import loop, scoring
from headstart.training.events import BatchDone, Epoch
from headstart.training.feature_cache import PLAIN_VIEW, FeatureCache
from headstart.training.objective import Objective, count_correct, is_better, require_finite
from headstart.training.scoring import Score
from headstart.training.state import Phase, TrainingContext

MakeOptimizer = Callable[[list[ParameterGroup]], torch.optim.Optimizer]


@dataclass(frozen=True)
class HeadSpec:
    """One head to train."""

    recipe: str  # equal for heads that differ only in the seed
    context: TrainingContext  # with one phase, and cached features of the backbone
    head: nn.Module  # with its initial weights
    make_optimizer: MakeOptimizer  # takes parameter groups
    weight_decay: float

    @property
    def phase(self) -> Phase:
        """The only phase."""
        return self.context.phases[0]


@dataclass(frozen=True)
class HeadSnapshot:
    """Weights of a head before and after an update, and the unclipped gradients, by name within the head."""

    before: dict[str, Tensor]
    gradients: dict[str, Tensor]
    after: dict[str, Tensor]


@dataclass
class HeadResult:
    """The training of one head: rates and losses of each step, epochs, snapshots by step, and the best weights.

    A head that has diverged has fewer losses than rates.
    """

    rates: list[dict[str, float]]
    losses: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    snapshots: dict[int, HeadSnapshot] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: Epoch | None = None
    diverged: DivergedError | None = None


def is_stackable(head: nn.Module) -> bool:
    """Return True if a head is linear layers with ReLU between them, so that heads can be stacked."""
    layers = list(head) if isinstance(head, nn.Sequential) else [head]
    kinds = [nn.Linear if index % 2 == 0 else nn.ReLU for index in range(len(layers))]
    return len(layers) % 2 == 1 and all(isinstance(layer, kind) for layer, kind in zip(layers, kinds, strict=True))


def train(specs: Sequence[HeadSpec], due: Callable[[int], bool]) -> Iterator[BatchDone | list[HeadResult]]:
    """Train all heads at once.

    A head whose loss is not finite stops; the others continue.

    Args:
        specs: The heads. All have the same backbone, batch size, steps, augmented views and form of head.
        due: Whether a step (from 1) gets a snapshot.

    Yields:
        `BatchDone` where the training may be stopped, and after each epoch the results, in the order of `specs`. The
        list and its results are always the same objects. The consumer may clear `snapshots`.
    """
    stack = HeadStack(specs)
    first = specs[0].context
    per_epoch = first.batches.steps_per_epoch
    for epoch in range(math.ceil(first.steps / per_epoch)):
        start = time.perf_counter()
        view = stack.backbone.view(epoch, specs[0].phase.augmented_views)
        for context in stack.contexts:
            for _ in stack.backbone.fill(view, context.batches.images):
                yield BatchDone()
            for _ in stack.backbone.fill(PLAIN_VIEW, context.val):
                yield BatchDone()
        count = min(per_epoch, first.steps - epoch * per_epoch)
        losses, correct = stack.train_epoch(epoch, view, count, due)
        validation_start = time.perf_counter()
        scores = stack.val_scores()
        seconds = (validation_start - start, time.perf_counter() - validation_start)
        stack.record_epoch(epoch + 1, losses, correct, scores, seconds)
        yield stack.results


class HeadStack:
    """The stacked heads of S seeds x R recipes; each recipe has leaf tensors [S, …] and its own optimizer."""

    def __init__(self, specs: Sequence[HeadSpec]) -> None:
        """Stack the initial weights of all heads and make the optimizers."""
        backbone = specs[0].context.backbone
        assert backbone is not None  # noqa: S101  (required of a spec)
        self.backbone: FeatureCache = backbone
        seeds = list(dict.fromkeys(spec.context.batches.seed for spec in specs))
        recipes = list(dict.fromkeys(spec.recipe for spec in specs))
        self.rates: list[list[dict[str, float]]] = [[] for _ in recipes]
        self.results = [HeadResult(rates=self.rates[recipes.index(spec.recipe)]) for spec in specs]
        self.positions = [(seeds.index(spec.context.batches.seed), recipes.index(spec.recipe)) for spec in specs]
        of_seed = {spec.context.batches.seed: spec for spec in reversed(specs)}
        of_recipe = {spec.recipe: spec for spec in reversed(specs)}
        self.contexts = [of_seed[seed].context for seed in seeds]
        self.recipe_specs = [of_recipe[recipe] for recipe in recipes]
        device = specs[0].context.device
        self.names = [name for name, _ in specs[0].head.named_parameters()]
        # stacks are dense: where a recipe has no run of a seed, an unused head is trained
        states = [dict(of_seed[seed].head.named_parameters()) for seed in seeds]
        initial = {name: torch.stack([s[name].detach().to(device) for s in states]) for name in self.names}
        self.leaves = [{name: nn.Parameter(t.clone()) for name, t in initial.items()} for _ in recipes]
        self.optimizers = [
            _make_optimizer(spec, leaves) for spec, leaves in zip(self.recipe_specs, self.leaves, strict=True)
        ]
        shape = (len(seeds), len(recipes))
        classes = initial[self.names[-1]].shape[1]
        class_weights = torch.ones(*shape, classes, device=device)
        for spec, position in zip(specs, self.positions, strict=True):
            if spec.context.objective.class_weights is not None:
                class_weights[position] = spec.context.objective.class_weights
        smoothing = [float(spec.context.objective.label_smoothing) for spec in self.recipe_specs]
        self.objective = Objective(class_weights, torch.tensor(smoothing, device=device).view(1, -1))
        self.step = 0

    def train_epoch(self, epoch: int, view: str, count: int, due: Callable[[int], bool]) -> tuple[Tensor, Tensor]:
        """Train an epoch of `count` steps; return the losses and the numbers of correct predictions, [steps, S, R]."""
        subsets = [context.batches.images for context in self.contexts]
        rows = []  # of each seed and step
        for images, batches in zip(subsets, (context.batches for context in self.contexts), strict=True):
            size, seed = batches.batch_size, batches.seed
            rows.append([training_rows(len(images), size, seed, epoch, step) for step in range(count)])
        losses, correct = [], []
        for step in range(count):
            batch = [(images, steps[step]) for images, steps in zip(subsets, rows, strict=True)]
            step_losses, step_correct = self._step(
                self.backbone.rows(view, np.concatenate([images.indices[r] for images, r in batch])),
                torch.from_numpy(np.concatenate([images.labels[r] for images, r in batch])),
                due,
            )
            losses.append(step_losses)
            correct.append(step_correct)
        return torch.stack(losses).cpu(), torch.stack(correct).cpu()

    def _step(self, x: Tensor, labels: Tensor, due: Callable[[int], bool]) -> tuple[Tensor, Tensor]:
        """Train one step; return the losses and the numbers of correct predictions, [S, R]."""
        seeds = len(self.contexts)
        x, labels = x.view(seeds, -1, *x.shape[1:]), labels.to(x.device).view(seeds, 1, -1)
        logits = self._logits(x)
        loss = self.objective.loss(logits, labels)
        rates = []
        for spec, optimizer in zip(self.recipe_specs, self.optimizers, strict=True):
            rates.append(spec.phase.rate * spec.phase.schedule(self.step, ()))  # no validation losses: see `stack_key`
            param_groups.set_rates(optimizer, rates[-1])
        loss.sum().backward()
        self.step += 1
        is_due = due(self.step)
        before = self._copy_weights() if is_due else []
        gradients = [{name: leaf.grad.clone() for name, leaf in leaves.items() if leaf.grad is not None}
                     for leaves in self.leaves] if is_due else []  # fmt: skip
        for number, (spec, optimizer) in enumerate(zip(self.recipe_specs, self.optimizers, strict=True)):
            spec.context.objective.clip_gradients(self.leaves[number].values(), stacked=True)
            optimizers.step(optimizer)
            self.rates[number].append(loop.verify_rates(optimizer, rates[number], self.step))
        if is_due:
            self._take_snapshots(before, gradients, self._copy_weights())
        return loss.detach(), count_correct(logits.detach(), labels)

    def _logits(self, x: Tensor, seeds: slice = slice(None)) -> Tensor:
        """Map inputs [S, n, …] of these seeds to logits [S, R, n, classes]; the first layer is one product a seed."""
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

    @torch.no_grad()
    def val_scores(self) -> dict[tuple[int, int], Score]:
        """Return the scores on the validation split of each seed, by (seed, recipe) of the heads that are trained."""
        trained = [place for result, place in zip(self.results, self.positions, strict=True) if not result.diverged]
        scores: dict[tuple[int, int], Score] = {}
        for number, context in enumerate(self.contexts):
            x = self.backbone.rows(PLAIN_VIEW, context.val.indices)
            scorers = {place: scoring.Scorer(context.val.labels) for place in trained if place[0] == number}
            classes = self.leaves[0][self.names[-1]].shape[1]
            for rows in scoring.blocks(len(x), classes * len(self.recipe_specs)):
                logits = self._logits(x[rows].unsqueeze(0), slice(number, number + 1))[0].cpu().numpy()
                for (_seed, recipe), scorer in scorers.items():
                    scorer.add(logits[recipe])
            scores |= {place: scorer.score() for place, scorer in scorers.items()}
        return scores

    def record_epoch(
        self,
        epoch: int,
        losses: Tensor,
        correct: Tensor,
        scores: dict[tuple[int, int], Score],
        seconds: tuple[float, float],
    ) -> None:
        """Add an epoch to the result of each head.

        Args:
            epoch: The epoch, from 1.
            losses: Training losses, [steps, S, R].
            correct: Numbers of correct predictions, [steps, S, R].
            scores: Scores on val, as `val_scores` returns them.
            seconds: Seconds of training and validation; each head gets an equal share.
        """
        size = self.contexts[0].batches.batch_size
        seen = size * len(losses)
        share = (seconds[0] / len(self.results), seconds[1] / len(self.results))
        losses_of = {position: losses[:, position[0], position[1]].tolist() for position in self.positions}
        for result, (seed, recipe) in zip(self.results, self.positions, strict=True):
            if result.diverged is not None:
                continue
            head_losses = losses_of[seed, recipe]
            first_step = self.step - len(head_losses) + 1
            val = scores[seed, recipe]
            try:
                for step, loss in enumerate(head_losses, first_step):
                    require_finite("training", loss, step)
                    result.losses.append(loss)
                require_finite("validation", val.loss, self.step)
            except DivergedError as error:
                result.diverged = error
                continue
            train = Score(sum(head_losses) * size / seen, int(correct[:, seed, recipe].sum()) / seen, seen)
            best = result.best_epoch
            objective = self.contexts[seed].objective
            better = is_better(objective.rank(val), None if best is None else objective.rank(best.val))
            rates = self.rates[recipe][self.step - 1]
            event = Epoch(epoch, self.step, train, val, better, *share, {0: seen}, rates)
            result.epochs.append(event)
            if better:
                result.best_epoch = event
                result.best = {name: leaf.detach()[seed].clone() for name, leaf in self.leaves[recipe].items()}

    def _copy_weights(self) -> list[dict[str, Tensor]]:
        return [{name: leaf.detach().clone() for name, leaf in leaves.items()} for leaves in self.leaves]

    def _take_snapshots(
        self, before: list[dict[str, Tensor]], gradients: list[dict[str, Tensor]], after: list[dict[str, Tensor]]
    ) -> None:
        for result, (seed, recipe) in zip(self.results, self.positions, strict=True):
            if result.diverged is None:
                tensors = ({name: t[seed] for name, t in of[recipe].items()} for of in (before, gradients, after))
                result.snapshots[self.step] = HeadSnapshot(*tensors)


def _make_optimizer(spec: HeadSpec, leaves: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Return an optimizer with the groups of `param_groups.groups`; stacked biases have two dimensions but no decay."""
    biases = [name for name in leaves if name.endswith("bias")]
    return spec.make_optimizer(
        [
            {"name": "head", "params": [leaves[n] for n in leaves if n not in biases],
             "weight_decay": spec.weight_decay, "factor": 1.0},
            {"name": "head-no-decay", "params": [leaves[n] for n in biases], "weight_decay": 0.0, "factor": 1.0},
        ]
    )  # fmt: skip
