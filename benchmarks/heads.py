"""Benchmark of 60 heads on one frozen backbone: seconds of training and of records, difference to single heads."""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from headstart.config.resolve import resolve_settings
from headstart.hardware import calibration, precision
from headstart.models import structure
from headstart.reporter import NullReporter
from headstart.runs import heads_runner
from headstart.runs.job_protocol import RunRequest
from headstart.storage.schemas.study import RunRole, Stage
from headstart.telemetry.cadence import snapshot_is_due
from headstart.training import batched_heads, events, loop, setup

RATES = (0.05, 0.01, 0.005, 0.001, 0.0001)
OPTIMIZERS = ("sgd", "adam", "rmsprop")
SEEDS = range(4)
PERTURBATION = 1e-6  # relative, of the initial weights


def table(source: str, weights: Path, size: int) -> list[str]:
    """Train 5 learning rates x 3 optimizers x 4 seeds for 20 epochs on cached features; return the rows."""
    settings = {"source": source, "start": f"file:{weights}", "tuning": "frozen", "image_size": size, "epochs": "20ep"}
    draft = calibration.resolve_machine(resolve_settings(settings).plan)
    first = setup.resolve_run(draft, NullReporter())
    plans = []
    for optimizer in OPTIMIZERS:
        for rate in RATES:
            for seed in SEEDS:
                plan = first.plan.changed(optimizer=optimizer, lr=rate, seed=seed)
                plans.append(first.dataset.with_split_counts(plan))
    threads = first.plan.machine.threads
    with (
        precision.deterministic(torch.device(first.plan.machine.device), threads),
        tempfile.TemporaryDirectory() as folder,
    ):
        pairs = setup.prepare_heads(plans, NullReporter())
        parts = pairs[0][0].context
        due = functools.partial(snapshot_is_due, steps_per_epoch=parts.batches.steps_per_epoch, total=parts.steps)
        list(batched_heads.train([head for _, head in pairs], due))  # computes the features
        clock = time.perf_counter()
        trained = list(batched_heads.train([head for _, head in pairs], due))[-1]
        training = time.perf_counter() - clock
        assert isinstance(trained, list)
        clock = time.perf_counter()
        requests = [
            RunRequest(plan=plan, role=RunRole(arm=plan.arm_spec, stage=Stage.MAIN, budget="20ep", fraction=1.0))
            for plan in plans
        ]
        heads_runner.run_heads(requests, Path(folder), NullReporter(), unfinished={})
        total = time.perf_counter() - clock
        sample = range(0, len(pairs), 7)
        distances = {index: _distance_to_single(*pairs[index], trained[index]) for index in sample}
        farthest = max(distances, key=lambda index: distances[index])
        perturbed = _distance_after_perturbation(*pairs[farthest], trained[farthest])
        recipe, median = plans[farthest].recipe, statistics.median(distances.values())
    return [
        f"{len(plans)} heads, {parts.steps} steps each, {size} px, {threads} threads, {os.cpu_count()} cores",
        f"training without records: {training:.2f} s",
        f"with records, from plans to folders: {total:.2f} s, {(total - training) / len(plans):.3f} s a record",
        f"largest relative difference of a weight to the head trained alone, of {len(distances)} heads: median "
        f"{median:.1e}, maximum {distances[farthest]:.1e} ({recipe.optimizer} at {recipe.lr:g}; there the final "
        f"weights of two single heads that start {PERTURBATION:g} apart differ by {perturbed:.1e})",
    ]


def _distance_to_single(
    training_setup: setup.TrainingSetup, spec: batched_heads.HeadSpec, trained: batched_heads.HeadResult
) -> float:
    """Return the largest difference of a final weight to the head trained alone, relative to the largest weight."""
    return _difference(_train_single(training_setup, spec, trained), trained.best)


def _distance_after_perturbation(
    training_setup: setup.TrainingSetup, spec: batched_heads.HeadSpec, trained: batched_heads.HeadResult
) -> float:
    """Return the same distance between two heads trained by the loop, one from perturbed initial weights.

    It shows how much the recipe amplifies rounding errors.
    """
    return _difference(
        _train_single(training_setup, spec, trained), _train_single(training_setup, spec, trained, PERTURBATION)
    )


def _train_single(
    training_setup: setup.TrainingSetup,
    spec: batched_heads.HeadSpec,
    trained: batched_heads.HeadResult,
    perturbation: float = 0.0,
) -> dict[str, torch.Tensor]:
    """Return the weights of the head trained alone by the loop, at the best epoch of the batched training."""
    head = training_setup.network.get_submodule(structure.head_name(training_setup.network))
    head.load_state_dict({name: tensor * (1 + perturbation) for name, tensor in spec.head.state_dict().items()})
    best: dict[str, torch.Tensor] = {}
    for event in loop.train(training_setup.context, loop.initial_state(training_setup.context)):
        if isinstance(event, events.Epoch) and trained.best_epoch and event.epoch == trained.best_epoch.epoch:
            best = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    return best


def _difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return max(float((first[name] - t).abs().max() / first[name].abs().max()) for name, t in second.items())
