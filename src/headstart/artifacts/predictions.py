"""What a run leaves behind to be looked at: predictions, pictures, and the judgement of the best model.

Plain arrays and pictures under `evidence/`; nothing there is a pickle.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from headstart.analysis.statistics import wilson
from headstart.data.loader import ImageSubset
from headstart.storage.files import write_atomic
from headstart.training.loop import evaluate
from headstart.training.scoring import Score, confusion, score, score_line
from headstart.training.setup import TrainingSetup
from headstart.training.state import TrainingContext

SAMPLES = 32  # photos in the picture of training samples
LEGIBLE = 64  # px of a photo in it, at least


def samples(parts: TrainingContext) -> bytes:
    """The first training photos as the network sees them, before mixup and normalisation, as one JPEG picture.

    Small photos are enlarged, pixel by pixel.
    """
    photos, _ = parts.batches.batch(0, 0)
    larger = max(1, LEGIBLE // photos.shape[-1])
    tiles = photos[:SAMPLES].permute(0, 2, 3, 1).numpy().repeat(larger, axis=1).repeat(larger, axis=2)
    tiles = np.pad(tiles, ((0, 0), (0, 2), (0, 2), (0, 0)), constant_values=255)  # a white gap between photos
    columns = min(8, len(tiles))
    rows = [np.concatenate(list(tiles[i : i + columns]), axis=1) for i in range(0, len(tiles) - columns + 1, columns)]
    buffer = io.BytesIO()
    # a fifth of a PNG, and it lies in the run's folder and in its event file
    Image.fromarray(np.concatenate(rows)).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def write_samples(folder: Path, picture: bytes) -> str:
    """Keep that picture; returns its path within the run."""
    (folder / "artifacts").mkdir(exist_ok=True)
    write_atomic(folder / "artifacts" / "samples.jpg", picture)
    return "evidence/samples.jpg"


def judge(network: nn.Module, photos: ImageSubset, parts: TrainingContext) -> Iterator[Score | None]:
    """Evaluate in fp32, as the exported model will be used; yields None after each batch and the score at the end."""
    logits = []
    for batch in evaluate(network, photos, parts, "fp32"):
        logits.append(batch)
        yield None
    yield score(np.concatenate(logits), photos.labels)


def write_predictions(folder: Path, prepared: TrainingSetup, scores: dict[str, Score]) -> None:
    """`evidence/predictions.npz`: image id, split, label and logits (float32 [n, classes]) of what was judged."""
    ids, splits, labels, logits = [], [], [], []
    for name, found in scores.items():
        photos = prepared.parts.val if name == "val" else prepared.test
        ids += [prepared.listing.keys[int(i)] for i in photos.indices]
        splits += [name] * len(photos)
        labels.append(photos.labels)
        logits.append(found.logits)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        image=np.array(ids, dtype=np.str_),
        split=np.array(splits, dtype=np.str_),
        label=np.concatenate(labels),
        logits=np.concatenate([x for x in logits if x is not None]),
        classes=np.array(prepared.plan.facts.class_names, dtype=np.str_),
    )
    write_atomic(folder / "artifacts" / "predictions.npz", buffer.getvalue())


def summary(found: Score, labels: np.ndarray) -> dict[str, Any]:
    """A score as JSON: loss, accuracy, n, its 95 % interval, and the confusion counts [true][predicted]."""
    counts = confusion(found, labels)
    correct = sum(counts[i][i] for i in range(len(counts)))
    return {**score_line(found), "correct": correct, "interval": list(wilson(correct, found.n)), "confusion": counts}
