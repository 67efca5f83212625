"""The life of many runs at once: heads on one frozen trunk, trained together, each with a folder like any other run.

They have no checkpoints: all of them take seconds once the trunk's output is kept, which it is view by view. Stopped in
between, they begin again.
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
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from headstart.artifacts import predictions
from headstart.artifacts.model_folder import write_model
from headstart.config.run_config import RunConfig
from headstart.diagnostics import checks
from headstart.diagnostics.history import History
from headstart.errors import InterruptedRunError
from headstart.hardware import precision
from headstart.models import freezing, structure
from headstart.reporter import Reporter
from headstart.runs import result as result_module
from headstart.runs import runner
from headstart.signals import SignalGuard
from headstart.storage import files, locks
from headstart.telemetry.cadence import is_due
from headstart.telemetry.observer import Observer, proof_line
from headstart.telemetry.run_logger import RunLogger
from headstart.telemetry.tensor_stats import Lines, histogram, measure_gradient, measure_update, no_lines
from headstart.training import batched_heads, events, scoring, setup
from headstart.training.batched_heads import HeadResult, HeadSpec, Moment
from headstart.training.checkpoint import tensor_bytes
from headstart.training.feature_cache import PLAIN, FeatureCache
from headstart.training.setup import TrainingSetup

# What heads on one trunk may differ in; everything else must be equal.
OWN = {"optimizer", "lr", "momentum", "nesterov", "weight_decay", "backbone_lr", "schedule", "warmup", "step_every",
       "milestones", "gamma", "label_smoothing", "class_weights", "clip"}  # fmt: skip


def group(plan: RunConfig) -> str | None:
    """A text that is equal for complete plans whose heads can be trained together; None where none can be."""
    recipe = plan.recipe
    if plan.arm.tuning != "frozen" or recipe.mixup or recipe.ema or recipe.patience:
        return None
    value = plan.model_dump(mode="json")
    value["recipe"] = {name: own for name, own in value["recipe"].items() if name not in OWN}
    value["seeding"].pop("seed")
    counts = value["facts"].pop("counts")
    drawn = plan.arm.start.partition(":")[0] in ("scratch", "stats")  # a random trunk is that of its seed
    return json.dumps([value, counts["train"], plan.seeding.seed if drawn else None], sort_keys=True)


@dataclass(frozen=True)
class _Head:
    """One run of the many, and what became of it."""

    prepared: TrainingSetup
    member: HeadSpec
    trained: HeadResult
    lines: _Lines


def run_heads(
    asked: Sequence[tuple[RunConfig, dict[str, Any]]],
    parent: Path,
    reporter: Reporter,
    *,
    done: Collection[str] = (),
    left: Mapping[str, Path],
) -> dict[str, Path]:
    """Train the heads of these complete plans, which have one `group`; returns their new folders in `parent` by hash.

    The hashes in `done` are trained with the rest and not written. `left` holds folders by hash that a stopped attempt
    has left: they are written anew. Nothing is made, and {} returned, where the head cannot be stacked or the trunk is
    not kept. Runs that diverge are recorded like the others. Raises InterruptedRunError, and every error that a plan or
    the data meets.
    """
    machine = asked[0][0].machine
    with precision.deterministic(torch.device(machine.device), machine.threads), SignalGuard() as guard:
        raise_if_stop_requested = functools.partial(_raise_if_stop_requested, guard)
        pairs = setup.prepare_heads([plan for plan, _ in asked], reporter)
        first, member = pairs[0]
        if member.parts.backbone is None or not batched_heads.stackable(member.head):
            return {}
        per_epoch, steps = member.parts.batches.steps_per_epoch, member.parts.steps
        names = freezing.trainable(first.network, "frozen")
        before = freezing.frozen_digest(first.network, names)
        due = functools.partial(is_due, steps_per_epoch=per_epoch, total=steps)
        backbone: dict[str, Any] = {}
        lines = [_Lines(prepared, backbone) for prepared, _ in pairs]
        trained = _train(batched_heads.train([m for _, m in pairs], due), lines, raise_if_stop_requested)
        found = [
            _Head(replace(p, blind=runner.is_blind(about)), m, t, made)
            for (p, m), t, made, (_, about) in zip(pairs, trained, lines, asked, strict=True)
        ]
        judge = _Evaluator(found, raise_if_stop_requested)
        proof = events.FreezeCheck("frozen", steps, len(names), before, freezing.frozen_digest(first.network, names))
        shared = _Shared(parent, proof, _backbone_file(parent, first, before))
        folders: dict[str, Path] = {}
        for (_, about), head in zip(asked, found, strict=True):
            plan = head.prepared.plan
            if plan.hash not in done:
                raise_if_stop_requested()
                if (begun := left.get(plan.hash)) is not None:
                    for part in ("model", "artifacts", "checkpoints"):
                        shutil.rmtree(begun / part, ignore_errors=True)
                folder = folders[plan.hash] = begun or runner.make_folder(plan, parent, about)
                shared.write(folder, head, judge.scores(head))
    return folders


class _Lines:
    """The lines of one head's record, in the order in which the loop's events would have given them.

    They are made epoch by epoch: tensors of looks and logits of all epochs would fill the memory.
    """

    def __init__(self, prepared: TrainingSetup, backbone: dict[str, Any]) -> None:
        """`trunk` holds the histograms of the frozen layers, which all heads share."""
        parts = prepared.parts
        self.made: list[dict[str, Any]] = []
        self._history = History(prepared.plan.model_dump(mode="json"))
        self._noticed: set[str] = set()  # names of findings that have a line
        self._network, self._backbone, self._last = prepared.network, backbone, parts.steps
        self._per_epoch, self._steps, self._epochs = parts.batches.steps_per_epoch, 0, 0
        self._observer = Observer(
            [],
            labels=parts.val.labels,
            steps_per_epoch=self._per_epoch,
            total=parts.steps,
            flops=prepared.flops,
            peak=prepared.peak,
        )

    def take(self, trained: HeadResult) -> None:
        """Make lines of what is new in `trained`, and let go of what they hold."""
        losses = trained.losses[self._steps :]
        for step, loss in enumerate(losses, self._steps + 1):
            epoch = (step - 1) // self._per_epoch + 1
            event = events.Step(step, epoch, loss, trained.rates[step - 1], self._network)
            self._add(*self._observer.lines(event))
            if step in trained.moments:
                look = self._look(trained.moments[step], whole=step in (1, self._last))
                self._add({"kind": "snapshot", "step": step, "epoch": epoch, **look})
        self._steps += len(losses)
        trained.moments.clear()
        for number in range(self._epochs, len(trained.epochs)):
            done = trained.epochs[number]
            self._add(*self._observer.lines(done))
            self.made += self.notice()
            trained.epochs[number] = replace(done, val=replace(done.val, logits=None))
        self._epochs = len(trained.epochs)

    def notice(self, state: str = "") -> list[dict[str, Any]]:
        """Lines of findings that are new; `state` is `finished` or `diverged` at the end."""
        self._history.state = state
        return [{**line, "step": self._steps} for line in checks.new_findings(self._history, self._noticed)]

    def _add(self, *lines: dict[str, Any]) -> None:
        self.made += lines
        for line in lines:
            self._history.take(line)

    def _look(self, moment: Moment, *, whole: bool) -> Lines:
        """With `whole` also the trunk's weights: it stands still, and is shown at both ends."""
        name, lines = structure.head_name(self._network), no_lines()
        modules = dict(self._network.named_modules())
        for layer in structure.layer_names(self._network):
            if structure.in_part(layer, [name]):
                key = f"{layer.removeprefix(name).lstrip('.')}.weight".lstrip(".")
                measure_gradient(lines, layer, moment.gradients[key])
                lines["weights"][layer] = histogram(moment.after[key])
                measure_update(lines, layer, moment.before[key], moment.after[key])
            elif whole:
                if layer not in self._backbone:
                    self._backbone[layer] = histogram(_weight(modules[layer]))
                lines["weights"][layer] = self._backbone[layer]
        return lines


def _raise_if_stop_requested(guard: SignalGuard) -> None:
    if (number := guard.heard()) is not None:
        raise InterruptedRunError(number, "Ask for the same again: what the trunk has computed is kept.")


def _train(
    events: Iterator[events.BatchDone | list[HeadResult]],
    lines: Sequence[_Lines],
    raise_if_stop_requested: Callable[[], None],
) -> list[HeadResult]:
    """Follow the training to its end; returns what became of the heads."""
    found: list[HeadResult] = []
    for event in events:
        raise_if_stop_requested()
        if isinstance(event, list):
            found = event
            for made, trained in zip(lines, found, strict=True):
                made.take(trained)
    return found


def _backbone_file(parent: Path, prepared: TrainingSetup, digest: str) -> Path:
    """The frozen tensors as a file that the models of all heads share."""
    path = parent / "trunks" / f"{digest[:32]}.safetensors"
    if not path.exists():
        head = [structure.head_name(prepared.network)]
        state = {k: t for k, t in prepared.network.state_dict().items() if not structure.in_part(k, head)}
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, tensor_bytes(state))
    return path


class _Evaluator:
    """Scores of the best heads in fp32, on what the frozen trunk made of val and test."""

    def __init__(self, found: Sequence[_Head], raise_if_stop_requested: Callable[[], None]) -> None:
        self._backbone: FeatureCache = setup.evaluation_cache(found[0].prepared)
        for head in found:
            for photos in head.prepared.judging.values():
                for _ in self._backbone.fill(PLAIN, photos):
                    raise_if_stop_requested()

    def scores(self, head: _Head) -> dict[str, scoring.Score] | None:
        """By split; None where the head has no epoch, or numbers that are not finite."""
        if head.trained.best_epoch is None:
            return None
        found = {}
        for name, photos in head.prepared.judging.items():
            rows = self._backbone.rows(PLAIN, photos.indices)
            with torch.no_grad():
                logits = functional_call(head.member.head.to(rows.device), head.trained.best, (rows,))
            found[name] = scoring.score(logits.float().cpu().numpy(), photos.labels)
        return found if all(math.isfinite(score.loss) for score in found.values()) else None


class _Shared:
    """Writes the folders; what all heads have in common is made once."""

    def __init__(self, parent: Path, proof: events.FreezeCheck, backbone: Path) -> None:
        self._proof, self._backbone = proof_line(proof), backbone
        self._samples: dict[int, bytes] = {}

    def write(self, folder: Path, head: _Head, scores: dict[str, scoring.Score] | None) -> None:
        """Everything that a run leaves behind."""
        prepared, trained = head.prepared, head.trained
        clock = time.perf_counter()
        seconds = {"training": sum(e.train_seconds + e.val_seconds for e in trained.epochs), "logging": 0.0}
        with locks.locked(folder), RunLogger(folder, prepared.plan, 0) as run_logger:
            run_logger.write({"kind": "begin", "step": 0, "time": time.time()})
            picture = predictions.write_samples(folder, self._picture(prepared))
            run_logger.write({"kind": "image", "step": 0, "tag": "samples/train", "file": picture})
            for line in head.lines.made:
                run_logger.write(line)
            if trained.diverged is None:
                run_logger.write(self._proof)
            failed = trained.diverged is not None or scores is None
            for line in head.lines.notice("diverged" if failed else "finished"):
                run_logger.write(line)
            best = trained.best_epoch
            if best is not None:
                name = structure.head_name(prepared.network)
                state = {f"{name}.{key}": value for key, value in trained.best.items()}
                write_model(folder / "model", state, prepared, best, self._backbone)
            result = result_module.judged(
                run_logger,
                prepared,
                scores or result_module.zero_logit_scores(prepared),
                len(trained.losses),
                len(trained.epochs),
                best.epoch if best is not None else 0,
            )
            state_words = {"state": "finished"}
            if failed:
                reason = trained.diverged.message if trained.diverged else "The best model's loss is not finite."
                state_words = {"state": "diverged", "reason": reason}
            seconds["logging"] = time.perf_counter() - clock
            result_module.conclude(run_logger, prepared.plan, {**state_words, **result}, len(trained.epochs), seconds)

    def _picture(self, prepared: TrainingSetup) -> bytes:
        seed = prepared.plan.seeding.seed
        if seed not in self._samples:
            self._samples[seed] = predictions.samples(prepared.parts)
        return self._samples[seed]


def _weight(module: torch.nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)  # noqa: S101  (layers are convolutions and linear layers)
    return weight
