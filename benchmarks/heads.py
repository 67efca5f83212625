"""60 heads on one frozen trunk: seconds of their training, seconds of their records, and how alike they are alone."""

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
from headstart.telemetry.cadence import is_due
from headstart.training import batched_heads, events, loop, setup

RATES = (0.05, 0.01, 0.005, 0.001, 0.0001)
OPTIMIZERS = ("sgd", "adam", "rmsprop")
SEEDS = range(4)
NUDGE = 1e-6


def table(source: str, weights: Path, size: int) -> list[str]:
    """Five learning rates x three optimizers x four seeds for 20 epochs, on features that are there already."""
    given = {"source": source, "start": f"file:{weights}", "tuning": "frozen", "image_size": size, "epochs": "20ep"}
    draft = calibration.resolve_machine(resolve_settings(given).plan)
    first = setup.complete(draft, NullReporter())
    plans = []
    for optimizer in OPTIMIZERS:
        for rate in RATES:
            for seed in SEEDS:
                own = first.plan.changed("recipe", optimizer=optimizer, lr=rate).changed("seeding", seed=seed)
                plans.append(first.dataset.recounted(own))
    threads = first.plan.machine.threads
    with (
        precision.deterministic(torch.device(first.plan.machine.device), threads),
        tempfile.TemporaryDirectory() as place,
    ):
        pairs = setup.prepare_heads(plans, NullReporter())
        parts = pairs[0][0].parts
        due = functools.partial(is_due, steps_per_epoch=parts.batches.steps_per_epoch, total=parts.steps)
        list(batched_heads.train([member for _, member in pairs], due))  # the features are computed here
        clock = time.perf_counter()
        trained = list(batched_heads.train([member for _, member in pairs], due))[-1]
        training = time.perf_counter() - clock
        assert isinstance(trained, list)
        clock = time.perf_counter()
        asked = [(plan, {"variant": "frozen", "stage": "main", "budget": "20ep", "fraction": 1.0}) for plan in plans]
        heads_runner.run_heads(asked, Path(place), NullReporter(), left={})
        whole = time.perf_counter() - clock
        chosen = range(0, len(pairs), 7)
        apart = {number: _apart(*pairs[number], trained[number]) for number in chosen}
        far = max(apart, key=lambda number: apart[number])
        nudged = _nudged(*pairs[far], trained[far])
        recipe, usual = plans[far].recipe, statistics.median(apart.values())
    return [
        f"{len(plans)} heads, {parts.steps} steps each, {size} px, {threads} threads, {os.cpu_count()} cores",
        f"training without records: {training:.2f} s",
        f"with records, from plans to folders: {whole:.2f} s, {(whole - training) / len(plans):.3f} s a record",
        f"difference of a weight to the head trained alone, of {len(apart)} heads: median {usual:.1e}, largest "
        f"{apart[far]:.1e} ({recipe.optimizer} at {recipe.lr:g}; there two heads alone that begin {NUDGE:g} apart end "
        f"{nudged:.1e} apart)",
    ]


def _apart(prepared: setup.TrainingSetup, member: batched_heads.HeadSpec, trained: batched_heads.HeadResult) -> float:
    """The largest difference of a final weight, relative to the largest weight, to the head trained by the loop."""
    return _difference(_alone(prepared, member, trained), trained.best)


def _nudged(prepared: setup.TrainingSetup, member: batched_heads.HeadSpec, trained: batched_heads.HeadResult) -> float:
    """The same of two heads trained by the loop, one of which begins a rounding away: what a recipe makes of those."""
    return _difference(_alone(prepared, member, trained), _alone(prepared, member, trained, NUDGE))


def _alone(
    prepared: setup.TrainingSetup, member: batched_heads.HeadSpec, trained: batched_heads.HeadResult, nudge: float = 0.0
) -> dict[str, torch.Tensor]:
    """The head that the loop trains from the same first weights, at the epoch that was best among the many."""
    head = prepared.network.get_submodule(structure.head_name(prepared.network))
    head.load_state_dict({name: tensor * (1 + nudge) for name, tensor in member.head.state_dict().items()})
    best: dict[str, torch.Tensor] = {}
    for event in loop.train(prepared.parts, loop.begin(prepared.parts)):
        if isinstance(event, events.Epoch) and trained.best_epoch and event.epoch == trained.best_epoch.epoch:
            best = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    return best


def _difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - t).abs().max() / one[name].abs().max()) for name, t in other.items())
