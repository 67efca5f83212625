"""The lifecycle of many runs at once: heads on one frozen backbone, trained together, each with its own run folder.

These runs have no checkpoints: they take seconds once the features of the backbone are cached, which happens view by
view. After a stop they start again.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call

from headstart.artifacts import predictions
from headstart.artifacts.model_folder import write_model
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import start_row
from headstart.data.mixing import MIXERS
from headstart.diagnostics import checks
from headstart.diagnostics.history import History
from headstart.errors import InterruptedRunError
from headstart.hardware import precision
from headstart.models import freezing, structure
from headstart.optim.registry import SCHEDULES
from headstart.reporter import Reporter
from headstart.runs.result import evaluation_result, write_result, zero_logit_scores
from headstart.runs.run_folder import begin_record, is_blind, make_folder
from headstart.signals import SignalGuard
from headstart.storage import files, locks
from headstart.storage.schemas.metrics import FindingLine, Histogram, Line, WithdrawnLine
from headstart.storage.schemas.result import RunSeconds, RunState
from headstart.storage.schemas.study import RunRole
from headstart.telemetry.cadence import snapshot_is_due
from headstart.telemetry.observer import Observer, freeze_check_line
from headstart.telemetry.run_logger import RunLogger
from headstart.telemetry.tensor_stats import LayerStatistics, histogram
from headstart.training import batched_heads, events, scoring
from headstart.training.batched_heads import HeadResult, HeadSnapshot, HeadSpec
from headstart.training.feature_cache import PLAIN_VIEW, FeatureCache
from headstart.training.setup import TrainingSetup, evaluation_cache, prepare_heads
from headstart.weights.files import tensor_bytes

# The recipe fields in which heads on one backbone may differ. All other fields must be equal.
HEAD_FIELDS = {
    "optimizer", "lr", "momentum", "nesterov", "weight_decay", "backbone_lr", "schedule", "warmup", "step_every",
    "milestones", "gamma", "label_smoothing", "class_weights", "clip",
}  # fmt: skip


def stack_key(plan: RunConfig) -> str | None:
    """Return a key that is equal for complete plans whose heads can be trained together; None if they cannot be."""
    recipe = plan.recipe
    if plan.arm.tuning != "frozen" or any(getattr(recipe, name) for name in MIXERS) or recipe.ema or recipe.patience:
        return None
    if SCHEDULES[recipe.schedule].uses_history:  # each head would need its own rate
        return None
    content = plan.to_json()
    content["recipe"] = {name: value for name, value in content["recipe"].items() if name not in HEAD_FIELDS}
    content["seeding"].pop("seed")
    counts = content["facts"].pop("split_counts")
    is_random = start_row(plan.arm.start).random  # a random backbone depends on the seed
    return json.dumps([content, counts["train"], plan.seeding.seed if is_random else None], sort_keys=True)


@dataclass(frozen=True)
class _Head:
    """One of the runs, and the result of its training."""

    setup: TrainingSetup
    spec: HeadSpec
    result: HeadResult
    lines: _HeadLines


def run_heads(
    requests: Sequence[tuple[RunConfig, RunRole]],
    parent: Path,
    reporter: Reporter,
    *,
    done: Collection[str] = (),
    unfinished: Mapping[str, Path],
) -> dict[str, Path]:
    """Train the heads of complete plans that have one `stack_key`. Runs that diverge are recorded like the others.

    Args:
        requests: Each run's complete plan and role.
        parent: The parent of the run folders.
        reporter: Receives progress.
        done: Hashes of runs that are trained with the others, but not written.
        unfinished: Folders by hash of a stopped attempt, which are written again.

    Returns:
        The written folders by hash; empty if the head cannot be stacked or the features cannot be cached.

    Raises:
        InterruptedRunError: A signal stopped the runs.
        HeadstartError: A plan or the data are invalid.
    """
    machine = requests[0][0].machine
    with precision.deterministic(torch.device(machine.device), machine.threads), SignalGuard() as guard:
        raise_if_stop_requested = functools.partial(_raise_if_stop_requested, guard)
        pairs = prepare_heads([plan for plan, _ in requests], reporter)
        first, spec = pairs[0]
        if spec.context.backbone is None or not batched_heads.is_stackable(spec.head):
            return {}
        per_epoch, steps = spec.context.batches.steps_per_epoch, spec.context.steps
        names = freezing.trainable(first.network, "frozen")
        digest = freezing.frozen_digest(first.network, names)
        due = functools.partial(snapshot_is_due, steps_per_epoch=per_epoch, total=steps)
        backbone: dict[str, Histogram] = {}
        lines = [_HeadLines(setup, backbone) for setup, _ in pairs]
        results = _train(batched_heads.train([spec for _, spec in pairs], due), lines, raise_if_stop_requested)
        heads = [
            _Head(replace(setup, blind=is_blind(role)), spec, result, head_lines)
            for (setup, spec), result, head_lines, (_, role) in zip(pairs, results, lines, requests, strict=True)
        ]
        evaluator = _Evaluator(heads, raise_if_stop_requested)
        check = events.FreezeCheck("frozen", steps, len(names), digest, freezing.frozen_digest(first.network, names))
        writer = _FolderWriter(check, _backbone_file(parent, first, digest))
        folders: dict[str, Path] = {}
        for (_, role), head in zip(requests, heads, strict=True):
            plan = head.setup.plan
            if plan.hash not in done:
                raise_if_stop_requested()
                if (existing := unfinished.get(plan.hash)) is not None:
                    for name in ("model", "artifacts", "checkpoints"):
                        shutil.rmtree(existing / name, ignore_errors=True)
                folder = folders[plan.hash] = existing or make_folder(plan, parent, role)
                writer.write(folder, head, evaluator.scores(head))
    return folders


class _HeadLines:
    """The lines of one head's record, in the order in which the events of the training loop give them.

    Lines are made after each epoch: the tensors and logits of all epochs would not fit in memory.
    """

    def __init__(self, setup: TrainingSetup, backbone: dict[str, Histogram]) -> None:
        """Start without lines.

        Args:
            setup: The setup of the run.
            backbone: Histograms of the frozen layers, which all heads share.
        """
        context = setup.context
        self.lines: list[Line] = []
        self._history = History(setup.plan)
        self._reported: set[str] = set()  # names of findings that have a line
        self._network, self._backbone, self._last = setup.network, backbone, context.steps
        self._per_epoch, self._steps, self._epochs = context.batches.steps_per_epoch, 0, 0
        self._observer = Observer(
            [],
            labels=context.val.labels,
            steps_per_epoch=self._per_epoch,
            total=context.steps,
            flops=setup.flops,
            peak=setup.peak,
        )

    def add_results(self, result: HeadResult) -> None:
        """Make lines of what is new in `result`, and release its tensors."""
        losses = result.losses[self._steps :]
        for step, loss in enumerate(losses, self._steps + 1):
            epoch = (step - 1) // self._per_epoch + 1
            event = events.Step(step, epoch, loss, result.rates[step - 1], self._network)
            self._add(*self._observer.lines(event))
            if step in result.snapshots:
                statistics = self._statistics(result.snapshots[step], whole=step in (1, self._last))
                self._add(statistics.line(step, epoch))
        self._steps += len(losses)
        result.snapshots.clear()
        for index in range(self._epochs, len(result.epochs)):
            epoch_event = result.epochs[index]
            self._add(*self._observer.lines(epoch_event))
            self.lines += self.new_findings()
            result.epochs[index] = replace(epoch_event, val=replace(epoch_event.val, logits=None))
        self._epochs = len(result.epochs)

    def new_findings(self, state: RunState = RunState.UNFINISHED) -> list[FindingLine | WithdrawnLine]:
        """Return lines of new findings; `state` is that of the run."""
        self._history.state = state
        return checks.finding_lines(self._history, self._reported, self._steps)

    def _add(self, *lines: Line) -> None:
        self.lines += lines
        for line in lines:
            self._history.add(line)

    def _statistics(self, moment: HeadSnapshot, *, whole: bool) -> LayerStatistics:
        """Return the statistics of the head around one update.

        Args:
            moment: Weights and gradients of the head around the update.
            whole: Include the weights of the backbone. They do not change, so the first and last snapshots suffice.
        """
        name, statistics = structure.head_name(self._network), LayerStatistics()
        modules = dict(self._network.named_modules())
        for layer in structure.layer_names(self._network):
            if structure.in_part(layer, [name]):
                key = f"{layer.removeprefix(name).lstrip('.')}.weight".lstrip(".")
                statistics.measure_gradient(layer, moment.gradients[key])
                statistics.measure_weight(layer, moment.after[key])
                statistics.measure_update(layer, moment.before[key], moment.after[key])
            elif whole:
                if layer not in self._backbone:
                    self._backbone[layer] = histogram(_weight(modules[layer]))
                statistics.weights[layer] = self._backbone[layer]
        return statistics


def _raise_if_stop_requested(guard: SignalGuard) -> None:
    if (number := guard.pending()) is not None:
        raise InterruptedRunError(number, "Run the same command again: computed features are cached.")


def _train(
    training: Iterator[events.BatchDone | list[HeadResult]],
    lines: Sequence[_HeadLines],
    raise_if_stop_requested: Callable[[], None],
) -> list[HeadResult]:
    """Consume the events of the training to its end, and return the results of the heads."""
    results: list[HeadResult] = []
    for event in training:
        raise_if_stop_requested()
        if isinstance(event, list):
            results = event
            for head_lines, result in zip(lines, results, strict=True):
                head_lines.add_results(result)
    return results


def _backbone_file(parent: Path, setup: TrainingSetup, digest: str) -> Path:
    """Return the file with the frozen tensors, which the models of all heads share."""
    path = parent / "backbones" / f"{digest[:32]}.safetensors"
    if not path.exists():
        head = [structure.head_name(setup.network)]
        state = {k: t for k, t in setup.network.state_dict().items() if not structure.in_part(k, head)}
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, tensor_bytes(state))
    return path


class _Evaluator:
    """Scores the best heads in fp32 on the cached features of val and test."""

    def __init__(self, heads: Sequence[_Head], raise_if_stop_requested: Callable[[], None]) -> None:
        self._backbone: FeatureCache = evaluation_cache(heads[0].setup)
        for head in heads:
            for images in head.setup.evaluation_images.values():
                for _ in self._backbone.fill(PLAIN_VIEW, images):
                    raise_if_stop_requested()

    def scores(self, head: _Head) -> dict[str, scoring.Score] | None:
        """Return the scores by split; None if the head has no epoch or a score is not finite."""
        if head.result.best_epoch is None:
            return None
        scores = {}
        for name, images in head.setup.evaluation_images.items():
            rows = self._backbone.rows(PLAIN_VIEW, images.indices)
            with torch.no_grad():
                logits = functional_call(head.spec.head.to(rows.device), head.result.best, (rows,))
            scores[name] = scoring.score(logits.float().cpu().numpy(), images.labels)
        return scores if all(math.isfinite(score.loss) for score in scores.values()) else None


class _FolderWriter:
    """Writes the run folders. Content that heads share is made once."""

    def __init__(self, check: events.FreezeCheck, backbone: Path) -> None:
        self._freeze_line, self._backbone = freeze_check_line(check), backbone
        self._samples: dict[int, bytes] = {}

    def write(self, folder: Path, head: _Head, scores: dict[str, scoring.Score] | None) -> None:
        """Write all files of a finished run."""
        setup, result = head.setup, head.result
        clock = time.perf_counter()
        training_seconds = sum(e.train_seconds + e.val_seconds for e in result.epochs)
        with locks.locked(folder), RunLogger(folder, setup.plan, 0) as run_logger:
            begin_record(run_logger, self._samples_picture(setup))
            for line in head.lines.lines:
                run_logger.write(line)
            if result.diverged is None:
                run_logger.write(self._freeze_line)
            failed = result.diverged is not None or scores is None
            for line in head.lines.new_findings(RunState.DIVERGED if failed else RunState.FINISHED):
                run_logger.write(line)
            best = result.best_epoch
            if best is not None:
                name = structure.head_name(setup.network)
                tensors = {f"{name}.{key}": tensor for key, tensor in result.best.items()}
                write_model(folder / "model", tensors, setup, best, self._backbone)
            evaluation = evaluation_result(
                run_logger,
                setup,
                scores or zero_logit_scores(setup),
                len(result.losses),
                len(result.epochs),
                best.epoch if best is not None else 0,
            )
            reason = None
            if failed:
                reason = result.diverged.message if result.diverged else "The best model's loss is not finite."
            seconds = RunSeconds(training=training_seconds, logging=time.perf_counter() - clock)
            write_result(run_logger, setup.plan, evaluation, seconds, reason)

    def _samples_picture(self, setup: TrainingSetup) -> bytes:
        seed = setup.plan.seeding.seed
        if seed not in self._samples:
            self._samples[seed] = predictions.render_samples(setup.context)
        return self._samples[seed]


def _weight(module: torch.nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)  # noqa: S101  (layers are convolutions and linear layers)
    return weight
