"""Folders of runs and studies with made-up records, as figures need them: any number of arms, seeds and classes."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from headstart.config.run_config import RunConfig
from headstart.storage.files import write_json
from headstart.storage.journal import Journal
from headstart.storage.schemas.contrast import Outcome
from headstart.storage.schemas.metrics import Evaluation
from headstart.storage.schemas.search import ArmSearch, SearchGroup, TrialScores
from headstart.storage.schemas.verdict import ExportedRun
from tests.handmade import (
    counts_of,
    epoch_line,
    histogram,
    probe_line,
    run_result,
    run_role,
    seal,
    snapshot_line,
    split_score,
    step_line,
    write_run_files,
)
from tests.verdicts import arm_result, contrast, seed_result, verdict

STEPS = 5  # of an epoch
GRID = [0.0001, 0.001, 0.01]


@dataclass(frozen=True)
class Made:
    """What a study is made of."""

    arms: Sequence[str] = ("imagenet", "scratch")
    seeds: int = 2
    epochs: int = 3
    classes: Sequence[str] = ("a", "b", "c")
    blocks: int = 4


def confusion_of(rng: np.random.Generator, classes: int) -> list[list[int]]:
    """Return counts with most images on the diagonal."""
    counts = rng.integers(0, 3, (classes, classes)) * (rng.random((classes, classes)) < 0.2)
    return (counts + np.diag(rng.integers(5, 20, classes))).tolist()


def evaluation_of(counts: list[list[int]]) -> Evaluation:
    correct, n = int(np.trace(counts)), int(np.sum(counts))
    return Evaluation(
        loss=0.5, accuracy=correct / n, n=n, units=n, correct=correct, interval=(0.0, 1.0), confusion=counts_of(counts)
    )


def write_run(folder: Path, made: Made, arm: str, seed: int, *, in_study: bool = True) -> Path:
    """Write a finished run with every kind of line, its model and its initial filters."""
    rng = np.random.default_rng([seed, sum(map(ord, arm))])
    run = folder / f"Jan01_00-00-00_host-{arm.replace('/', '_')}-s{seed}"
    start = arm.split("@")[0].split("+")[0].split(",")[0]
    plan = RunConfig().changed(class_names=tuple(made.classes), seed=seed, crop=0.08).changed(start=start)
    counts = confusion_of(rng, len(made.classes))
    result = run_result(epochs=made.epochs, best_epoch=made.epochs, val=evaluation_of(counts))
    test = evaluation_of(confusion_of(rng, len(made.classes)))
    result = type(result)(**{**dict(result), "test": test, "evaluation_split": "test"})
    role = run_role(arm, budget=f"{made.epochs}ep") if in_study else None
    write_run_files(run, plan, hash=run.name, role=role, result=result)
    names = [f"layer{number // 2 + 1}.{number % 2}" for number in range(made.blocks)]
    with Journal(run / "metrics.jsonl") as journal:
        for epoch in range(made.epochs + 1):
            norms = {name: float(10.0 ** rng.uniform(-4, 0)) for name in names}
            if epoch == 0:
                journal.append(probe_line(0, 0, block_gradient_norm=norms))
                continue
            for step in range(STEPS * (epoch - 1) + 1, STEPS * epoch + 1):
                journal.append(step_line(step, epoch=epoch, lr={"head": 0.01 / step, "backbone": 0.001 / step}))
                if step in (1, 3) or step % STEPS == 0:
                    layers = {
                        name: histogram(-1.0 - 0.1 * step, 1.0, rng.integers(1, 50, 12).tolist())
                        for name in ("conv1", "fc")
                    }
                    journal.append(snapshot_line(step, epoch, weights=layers, gradients=layers))
            journal.append(probe_line(step, epoch, block_gradient_norm=norms))
            scores = [split_score(float(rng.uniform(0.1, 2)), float(rng.uniform(0.2, 1.0)), 40) for _ in range(2)]
            journal.append(epoch_line(step, epoch, train=scores[0], val=scores[1], confusion=counts))
    (run / "model").mkdir()
    filters = rng.normal(size=(20, 3, 3, 3)).astype(np.float32)
    save_file({"conv1.weight": filters, "fc.bias": np.zeros(3, np.float32)}, run / "model" / "model.safetensors")
    seal(run)
    return run


def write_initial_filters(run: Path) -> np.ndarray:
    """Write the part of a gallery that has the initial filters, and return them."""
    filters = np.random.default_rng(5).normal(size=(20, 3, 3, 3)).astype(np.float32)
    buffer = io.BytesIO()
    np.save(buffer, filters)
    (run / "artifacts").mkdir()
    with zipfile.ZipFile(run / "artifacts" / "gallery.zip", "w") as archive:
        archive.writestr("before.npy", buffer.getvalue())
    return filters


def write_runs(folder: Path, made: Made) -> Path:
    """Write the runs of a study without its verdict."""
    folder.mkdir(parents=True, exist_ok=True)
    for arm in made.arms:
        for seed in range(made.seeds):
            write_run(folder, made, arm, seed)
    (folder / "study.toml").write_text("# not read by figures\n", encoding="utf-8")
    return folder


def write_study(folder: Path, made: Made) -> Path:
    """Write a study with a verdict on all pairs of its arms, and with a search."""
    write_runs(folder, made)
    rng = np.random.default_rng(3)
    arms = []
    for arm in made.arms:
        names = [run.name for run in sorted(folder.glob(f"*-{arm.replace('/', '_')}-s*"))]
        seeds = [
            seed_result(seed, run=name, val=float(rng.uniform(0.5, 0.9)), test=float(rng.uniform(0.5, 0.9)))
            for seed, name in enumerate(names)
        ]
        arms.append(arm_result(arm, seeds))
    contrasts = []
    for first, second in combinations(arms, 2) if made.seeds > 1 else ():
        mean = first.test - second.test
        outcome = Outcome.BETTER if mean > 0.1 else Outcome.UNDECIDED
        contrasts.append(
            contrast(first.name, second.name, primary=first is arms[0] and second is arms[-1], outcome=outcome,
                     mean=mean, low=mean - 0.1, high=mean + 0.05, n=made.seeds, m=100, g=100)
        )  # fmt: skip
    searched = [
        ArmSearch(
            arm=arm.name, selected=0.001, at_edge=False,
            tried=[TrialScores(lr=0.0001, rung=0.25, full_runs=[]), TrialScores(lr=0.01, rung=-1.0, full_runs=[]),
                   TrialScores(lr=0.001, rung=0.5, full_runs=[0.5, 1.0])],
        )
        for arm in arms
    ]  # fmt: skip
    group = SearchGroup(budget=f"{made.epochs}ep", seed=None, grid=GRID, arms=searched)
    content = verdict(
        arms, budget=f"{made.epochs}ep", exported=ExportedRun(run=arms[0].seeds[0].run, seed=0), contrasts=contrasts,
        search=[group], classes=list(made.classes), n=made.seeds,
    )  # fmt: skip
    write_json(folder / "verdict.json", content.to_json())
    return folder
