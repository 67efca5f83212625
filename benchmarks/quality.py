"""Faster and not worse: paired seeds of our loop and the stock loop from the same pretrained weights.

Both are judged on val and test images by the network of the last epoch, so that nothing is chosen on what judges.
Finished pairs are kept in a file: a benchmark of an hour can be stopped and gone on with.
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
    """Correct answers and number of judged images of one run of our loop."""
    settings = {
        "source": source,
        "device": "cpu",
        "start": f"file:{weights}",
        "image_size": RECIPE["size"],
        "batch_size": RECIPE["batch"],
        "epochs": f"{RECIPE['epochs']}ep",
        "lr": RECIPE["lr"],
        "seed": seed,
    }
    draft = calibration.resolve_machine(resolve_settings(settings).plan)
    with precision.deterministic(torch.device(draft.machine.device), draft.machine.threads):
        made = setup.prepare(draft, NullReporter())
        state = loop.begin(made.parts)
        for _ in loop.train(made.parts, state):
            pass
        correct = judged = 0
        for photos in (made.parts.val, made.test):
            logits = np.concatenate(list(loop.evaluate(state.judged, photos, made.parts, "fp32")))
            correct += int((logits.argmax(1) == photos.labels).sum())
            judged += len(photos)
    return correct, judged


def table(source: str, weights: Path, kept: Path, seeds: int = 10) -> list[str]:
    """Rows: each pair, then the mean difference with its 90 % t interval over pairs, in points."""
    recipe = hashlib.sha256(json.dumps([RECIPE, source, headstart.__version__]).encode() + weights.read_bytes())
    key = recipe.hexdigest()[:16]
    lines = kept.read_text().splitlines() if kept.exists() else []
    done = [pair for pair in map(json.loads, lines) if pair["key"] == key]
    tensors = {name: t.float() for name, t in load_file(weights).items()}
    with tempfile.TemporaryDirectory() as scratch:
        root = stock.as_image_folders(source, Path(scratch) / "photos")
        for seed in range(len(done), seeds):
            *_, last = stock.train(root, **RECIPE, seed=seed, weights=tensors, judge=("val", "test"))
            correct, judged = ours(source, weights, seed)
            done.append(
                {"key": key, "seed": seed, "ours": correct / judged, "stock": last.correct / last.judged, "n": judged}
            )
            with kept.open("a") as file:
                file.write(json.dumps(done[-1]) + "\n")
    rows = [f"seed {d['seed']}: headstart {d['ours']:.4f}, stock {d['stock']:.4f} on {d['n']} images" for d in done]
    differences = np.array([100 * (d["ours"] - d["stock"]) for d in done])
    low, high = stats.t.interval(0.9, len(done) - 1, differences.mean(), stats.sem(differences))
    return [*rows, f"headstart - stock: {differences.mean():+.2f} points, 90 % interval {low:+.2f} to {high:+.2f}"]
