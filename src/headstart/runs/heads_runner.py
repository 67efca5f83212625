"""Train the heads of many runs on one frozen backbone together; each has its own run folder.

These runs have no checkpoints: they take seconds once the features of the backbone are cached, which happens view by
view. After a stop they start again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call

from headstart.artifacts.model_folder import SharedWeights, write_model
from headstart.config.model_file import BACKBONES_FOLDER
from headstart.config.registry.mixers import MIXERS
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import start_row
from headstart.hardware import precision
from headstart.i18n import _
from headstart.models import freezing, structure
from headstart.optim.registry import OPTIMIZERS, SCHEDULES
from headstart.reporter import NullReporter, Reporter
from headstart.runs import lifecycle
from headstart.runs.job_protocol import RunRequest
from headstart.runs.run_folder import make_run_folder
from headstart.runs.session import RunSession
from headstart.storage import contained
from headstart.storage.schemas.arm import FROZEN, TuningKind
from headstart.storage.schemas.metrics import Histogram
from headstart.storage.schemas.schema import StoredFile
from headstart.storage.schemas.study import RunRole
from headstart.telemetry.cadence import snapshot_is_due
from headstart.telemetry.observer import Observer
from headstart.telemetry.tensor_stats import LayerStatistics, histogram
from headstart.training import batched_heads, events
from headstart.training.batched_heads import HeadResult, HeadSnapshot, HeadSpec
from headstart.training.feature_cache import PLAIN_VIEW, FeatureCache
from headstart.training.scoring import Score, Scorer, head_logits
from headstart.training.setup import TrainingSetup, evaluation_cache, prepare_heads
from headstart.weights.files import tensor_bytes

# The recipe fields in which heads on one backbone may differ, besides the options of optimizers and schedules.
_HEAD_FIELDS = {
    "optimizer", "lr", "weight_decay", "backbone_lr", "schedule", "warmup", "label_smoothing", "class_weights", "clip",
}  # fmt: skip


def head_fields() -> set[str]:
    """Return the recipe fields in which heads on one backbone may differ. All other fields must be equal."""
    optimizers = (spec.options for spec in OPTIMIZERS.values())
    schedules = (spec.options for spec in SCHEDULES.values() if not spec.uses_history)  # others are not stacked
    return _HEAD_FIELDS.union(*optimizers, *schedules)


def stack_key(plan: RunConfig) -> str | None:
    """Return a key that is equal for complete plans whose heads can be trained together; None if they cannot be."""
    recipe = plan.recipe
    if (
        plan.arm.tuning.kind is not TuningKind.FROZEN
        or any(getattr(recipe, name) for name in MIXERS)
        or recipe.ema
        or recipe.patience
    ):
        return None
    if SCHEDULES[recipe.schedule].uses_history:  # each head would need its own rate
        return None
    if not OPTIMIZERS[recipe.optimizer].elementwise:  # each head would need its own optimizer
        return None
    differing = {"recipe": head_fields(), "seeding": {"seed"}, "facts": {"split_counts"}}
    content = plan.model_dump(mode="json", exclude=differing)
    is_random = start_row(plan.arm.start).random  # a random backbone depends on the seed
    return json.dumps(
        [content, plan.facts.split_counts.train, plan.seeding.seed if is_random else None], sort_keys=True
    )


def run_heads(
    requests: Sequence[RunRequest],
    parent: Path,
    reporter: Reporter,
    *,
    done: Collection[str] = (),
    unfinished: Mapping[str, Path],
) -> dict[str, Path]:
    """Train the heads of complete plans that have one `stack_key`. Runs that diverge are recorded like the others.

    Args:
        requests: The runs.
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
    machine = requests[0].plan.machine
    with precision.deterministic(torch.device(machine.device), machine.threads):
        pairs = prepare_heads([request.plan for request in requests], reporter)
        _setup, spec = pairs[0]
        if spec.context.backbone is None or not batched_heads.is_stackable(spec.head):
            return {}
        backbone: dict[str, Histogram] = {}
        sessions = [
            _HeadSession(setup, request.role, spec, backbone)
            for (setup, spec), request in zip(pairs, requests, strict=True)
        ]
        trainer = _HeadsTrainer(sessions, parent, done, unfinished)
        lifecycle.run(trainer, reporter)
    return {session.setup.plan.hash: session.run_logger.folder for session in trainer.sessions}


class _HeadSession(RunSession):
    """The run of one head.

    Lines are made after each epoch: the tensors and logits of all epochs would not fit in memory.
    """

    def __init__(self, setup: TrainingSetup, role: RunRole, spec: HeadSpec, backbone: dict[str, Histogram]) -> None:
        """Start without lines.

        Args:
            setup: The setup of the run.
            role: The role of the run in a study.
            spec: The head.
            backbone: Histograms of the frozen layers, which all heads share.
        """
        super().__init__(setup, role, Observer(setup), NullReporter())
        self.spec = spec
        self.best: dict[str, Tensor] = {}  # weights of the best epoch, by name within the head
        self.best_event: events.Epoch | None = None
        self._network, self._backbone, self._last = setup.network, backbone, setup.context.steps
        self._per_epoch = setup.context.batches.steps_per_epoch

    def add_results(self, result: HeadResult) -> None:
        """Make lines of what is new in `result`, and release its tensors."""
        for step, loss in enumerate(result.losses[self.step :], self.step + 1):
            epoch = (step - 1) // self._per_epoch + 1
            self.observe(events.Step(step, epoch, loss, result.rates[step - 1], self._network))
            if step in result.snapshots:
                with self.logging_time():
                    statistics = self._statistics(result.snapshots[step], whole=step in (1, self._last))
                    self.write(statistics.line(step, epoch))
        result.snapshots.clear()
        for index in range(self.epoch, len(result.epochs)):
            event = result.epochs[index]
            self.observe(event)
        self.best, self.best_event, self.diverged = result.best, result.best_epoch, result.diverged

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


class _HeadsTrainer:
    """Trains heads on one frozen backbone together, without checkpoints."""

    checkpoints = None
    resume_hint = _("Run the same command again: computed features are cached.")

    def __init__(
        self, heads: Sequence[_HeadSession], parent: Path, done: Collection[str], unfinished: Mapping[str, Path]
    ) -> None:
        """Prepare the training; see `run_heads` for the arguments."""
        self.sessions = [session for session in heads if session.setup.plan.hash not in done]
        self._heads, self._parent, self._unfinished = heads, parent, unfinished
        self._setup = heads[0].setup
        self._trained_names = freezing.trainable(self._setup.network, FROZEN.trained_stages)
        self._digest = freezing.frozen_digest(self._setup.network, self._trained_names)
        self._evaluation_features: FeatureCache = evaluation_cache(self._setup)

    def folder(self, session: _HeadSession) -> Path:
        """Return a new folder, or that of a stopped attempt without its files."""
        plan = session.setup.plan
        existing = self._unfinished.get(plan.hash)
        if existing is None:
            return make_run_folder(plan, self._parent, session.role)
        for name in ("model", "artifacts", "checkpoints"):
            contained.remove_folder(existing, name)
        return existing

    def train(self) -> Iterator[events.Event]:
        """Train the heads; see `Trainer`."""
        context, network = self._setup.context, self._setup.network
        due = functools.partial(snapshot_is_due, steps_per_epoch=context.batches.steps_per_epoch, total=context.steps)
        for event in batched_heads.train([session.spec for session in self._heads], due):
            if isinstance(event, list):
                for session, result in zip(self._heads, event, strict=True):
                    session.add_results(result)
            yield events.BatchDone()
        after = freezing.frozen_digest(network, self._trained_names)
        check = events.FreezeCheck(str(FROZEN), context.steps, len(self._trained_names), self._digest, after)
        for session in self.sessions:
            if session.diverged is None:
                session.observe(check)

    def evaluate(self, session: _HeadSession) -> Iterator[tuple[str, Score | None]]:
        """Evaluate the best head in fp32 on the cached features of the backbone; see `Trainer`."""
        features = self._evaluation_features
        for name, images in session.setup.evaluation_images.items():
            for _unused in features.fill(PLAIN_VIEW, images):
                yield name, None
            rows = features.rows(PLAIN_VIEW, images.indices)
            head = functools.partial(functional_call, session.spec.head.to(rows.device), session.best)
            scorer = Scorer(images.labels, keep=True)
            with torch.no_grad():
                for logits in head_logits(head, rows, len(session.setup.dataset.images.classes)):
                    scorer.add(logits)
            yield name, scorer.score()

    def write_model(self, session: _HeadSession) -> None:
        """Write the best head, with a link to the backbone, which is stored once."""
        if session.best_event is not None:
            name = structure.head_name(session.setup.network)
            tensors = {f"{name}.{key}": tensor for key, tensor in session.best.items()}
            write_model(session.run_logger.folder, tensors, session.setup, session.best_event, self._stored_backbone)

    @functools.cached_property
    def _stored_backbone(self) -> SharedWeights:
        """The file of the frozen tensors, which do not change: it is written and hashed once for all heads."""
        return _backbone_file(self._parent, self._setup, self._digest)


def _backbone_file(parent: Path, setup: TrainingSetup, digest: str) -> SharedWeights:
    """Return the file below `parent` with the frozen tensors, which the models of all heads share."""
    name = f"{BACKBONES_FOLDER}/{digest[:32]}.safetensors"
    head = [structure.head_name(setup.network)]
    content = tensor_bytes({k: t for k, t in setup.network.state_dict().items() if not structure.in_part(k, head)})
    contained.make_folder(parent, BACKBONES_FOLDER)
    entry = contained.find(parent, name)
    is_stored = entry is not None and entry.is_file and entry.size == len(content)
    # one that is damaged, or that came with a copied folder, is replaced
    if not is_stored or contained.read_bytes(parent, name, len(content)) != content:
        contained.write(parent, name, content)
    return SharedWeights(parent, name, StoredFile.of(content))


def _weight(module: torch.nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)  # noqa: S101  (layers are convolutions and linear layers)
    return weight
