"""Accuracy of headstart and of the stock loop on paired seeds, from the same pretrained weights.

Both are evaluated on the val and test images with the network of the last epoch, so that no evaluation image selects
anything. Finished pairs are stored in a file, so that this benchmark of an hour can be resumed.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import stats

import headstart
from benchmarks import stock
from headstart.config.resolve import resolve_settings
from headstart.hardware import calibration, precision
from headstart.reporter import NullReporter
from headstart.training import loop, setup

RECIPE = {"size": 96, "batch": 32, "epochs": 8, "lr": 0.01}


def ours(source: str, weights: Path, seed: int) -> tuple[int, int]:
    """Return the number of correct and of evaluated images of one run of headstart."""
    settings = {
        "source": source,
        "device": "cpu",
        "start": f"file:{weights}",
        "image_size": RECIPE["size"],
        "batch_size": RECIPE["batch"],
        "epochs": f"{RECIPE['epochs']}ep",
        **stock.SETTINGS,
        "lr": RECIPE["lr"],
        "seed": seed,
    }
    draft = calibration.resolve_machine(resolve_settings(settings).plan)
    with precision.deterministic(torch.device(draft.machine.device), draft.machine.threads):
        training_setup = setup.prepare(draft, NullReporter())
        state = loop.initial_state(training_setup.context)
        for _ in loop.train(training_setup.context, state):
            pass
        correct = evaluated = 0
        for photos in (training_setup.context.val, training_setup.test):
            logits = np.concatenate(
                list(loop.iter_logits(state.evaluated_network, photos, training_setup.context, "fp32"))
            )
            correct += int((logits.argmax(1) == photos.labels).sum())
            evaluated += len(photos)
    return correct, evaluated


def table(source: str, weights: Path, results: Path, seeds: int = 10) -> list[str]:
    """Return a row per pair, and the mean difference in percentage points with its 90 % t interval over pairs."""
    recipe = hashlib.sha256(json.dumps([RECIPE, source, headstart.__version__]).encode() + weights.read_bytes())
    key = recipe.hexdigest()[:16]
    lines = results.read_text().splitlines() if results.exists() else []
    pairs = [pair for pair in map(json.loads, lines) if pair["key"] == key]
    tensors = {name: t.float() for name, t in load_file(weights).items()}
    with tempfile.TemporaryDirectory() as scratch:
        root = stock.as_image_folders(source, Path(scratch) / "photos")
        for seed in range(len(pairs), seeds):
            *_, last = stock.train(root, **RECIPE, seed=seed, weights=tensors, evaluation_splits=("val", "test"))
            correct, evaluated = ours(source, weights, seed)
            pairs.append(
                {
                    "key": key,
                    "seed": seed,
                    "ours": correct / evaluated,
                    "stock": last.correct / last.evaluated,
                    "n": evaluated,
                }
            )
            with results.open("a") as file:
                file.write(json.dumps(pairs[-1]) + "\n")
    rows = [f"seed {d['seed']}: headstart {d['ours']:.4f}, stock {d['stock']:.4f} on {d['n']} images" for d in pairs]
    differences = np.array([100 * (d["ours"] - d["stock"]) for d in pairs])
    low, high = stats.t.interval(0.9, len(pairs) - 1, differences.mean(), stats.sem(differences))
    return [
        *rows,
        f"headstart - stock: {differences.mean():+.2f} percentage points, 90 % interval {low:+.2f} to {high:+.2f}",
    ]
