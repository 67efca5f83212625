"""Write the artifacts of a run: predictions, training samples, and scores of the best model.

Everything under `artifacts/` is a plain array or an image, never a pickle.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import nn

from headstart.data.loader import ImageSubset
from headstart.metrics.accuracy import effective_size, wilson_interval
from headstart.metrics.top_logits import ARRAYS, TOP_PREFIX, Logits, TopLogits, concatenate, predicted_classes
from headstart.storage import contained
from headstart.storage.arrays import write_npz
from headstart.storage.run_files import PREDICTIONS_FILE
from headstart.storage.schemas.metrics import Evaluation, ScoreWithoutCopies
from headstart.training.loop import iter_logits
from headstart.training.scoring import Score, Scorer
from headstart.training.setup import TrainingSetup
from headstart.training.state import TrainingContext

SAMPLES_FILE = "artifacts/samples.jpg"
SAMPLE_IMAGES = 32  # images in the picture of training samples
MIN_SAMPLE_PX = 64  # side of an image in that picture


def render_samples(context: TrainingContext) -> bytes:
    """Return the first training images, as the network sees them before mixup and normalisation, as one JPEG.

    Small images are enlarged by repeating pixels.
    """
    images, _ = context.batches.batch(0, 0)
    scale = max(1, MIN_SAMPLE_PX // images.shape[-1])
    tiles = images[:SAMPLE_IMAGES].permute(0, 2, 3, 1).numpy().repeat(scale, axis=1).repeat(scale, axis=2)
    tiles = np.pad(tiles, ((0, 0), (0, 2), (0, 2), (0, 0)), constant_values=255)  # a white gap between images
    columns = min(8, len(tiles))
    rows = [np.concatenate(list(tiles[i : i + columns]), axis=1) for i in range(0, len(tiles) - columns + 1, columns)]
    buffer = io.BytesIO()
    # A JPEG has a fifth of the size of a PNG, and it is stored in the run's folder and in its event file.
    Image.fromarray(np.concatenate(rows)).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def write_samples(folder: Path, picture: bytes) -> str:
    """Write the picture of training samples; return its path within the run."""
    contained.make_folder(folder, "artifacts")
    contained.write(folder, SAMPLES_FILE, picture)
    return SAMPLES_FILE


def score_split(network: nn.Module, images: ImageSubset, context: TrainingContext) -> Iterator[Score | None]:
    """Evaluate in fp32, as the exported model is used.

    Yields:
        None after each batch, then the score.
    """
    scorer = Scorer(images.labels, keep=True)
    for batch in iter_logits(network, images, context, "fp32"):
        scorer.add(batch)
        yield None
    yield scorer.score()


def write_predictions(folder: Path, setup: TrainingSetup, scores: dict[str, Score]) -> None:
    """Write `artifacts/predictions.npz`: image id, content hash, split, label, copy, unit and logits of scored images.

    The logits are float32 [n, classes] or, with more than `MAX_FULL_CLASSES` classes, the arrays of `TopLogits`.

    Args:
        folder: The run's folder.
        setup: The setup of the run.
        scores: Scores with logits, by split (val, test).
    """
    ids, contents, splits, labels, logits, copies, units = [], [], [], [], [], [], []
    for name, split_score in scores.items():
        images = split_images(setup, name)
        ids += [setup.dataset.images.keys[int(i)] for i in images.indices]
        contents += [setup.dataset.content_hashes[int(i)] for i in images.indices]
        splits += [name] * len(images)
        labels.append(images.labels)
        copies.append(setup.has_copy[images.indices])
        units.append(setup.dataset.units[images.indices])
        assert split_score.logits is not None  # noqa: S101  (a score of an evaluation)
        logits.append(split_score.logits)
    arrays: dict[str, npt.NDArray[Any]] = {
        "image": np.array(ids, dtype=np.str_),
        "content": np.array(contents, dtype=np.str_),
        "split": np.array(splits, dtype=np.str_),
        "label": np.concatenate(labels),
        "copy": np.concatenate(copies),
        "unit": np.concatenate(units),
        "classes": np.array(setup.plan.facts.class_names, dtype=np.str_),
        **_logit_arrays(logits),
    }
    write_npz(folder, PREDICTIONS_FILE, arrays)


def split_images(setup: TrainingSetup, name: str) -> ImageSubset:
    """Return the images of val or test."""
    return setup.context.val if name == "val" else setup.test


def _logit_arrays(parts: Sequence[Logits]) -> dict[str, np.ndarray]:
    """Return the arrays of the logits of several splits, by their names in the file."""
    top = [part for part in parts if isinstance(part, TopLogits)]
    if not top:
        return {"logits": np.concatenate([part for part in parts if not isinstance(part, TopLogits)])}
    return {TOP_PREFIX + name: getattr(concatenate(top), name) for name in ARRAYS}


def evaluation(score: Score, units: npt.NDArray[np.int64]) -> Evaluation:
    """Return a score with the 95 % interval of the accuracy and the confusion counts.

    Args:
        score: The score of an evaluation.
        units: Number of each image's unit, in the order of the score.
    """
    correct = score.counts.correct
    assert score.correct is not None  # noqa: S101  (a score of an evaluation)
    return Evaluation(
        loss=score.loss,
        accuracy=score.accuracy,
        n=score.n,
        units=len(np.unique(units)),
        correct=correct,
        interval=wilson_interval(correct, score.n, size=effective_size(score.correct, units)),
        confusion=score.counts,
    )


def split_evaluation(score: Score, setup: TrainingSetup, name: str) -> Evaluation:
    """Return the evaluation of a run on its val or test, with the accuracy without copies.

    Args:
        score: A score with confusion counts and logits.
        setup: The setup of the run.
        name: Name of the split.
    """
    images = split_images(setup, name)
    without_copies = score_without_copies(score, images.labels, setup.has_copy[images.indices])
    units = setup.dataset.units[images.indices]
    return evaluation(score, units).model_copy(update={"without_copies": without_copies})


def score_without_copies(
    score: Score, labels: npt.NDArray[np.int64], has_copy: npt.NDArray[np.bool_]
) -> ScoreWithoutCopies | None:
    """Return the accuracy on the images that have no copy; None if all are such images.

    Args:
        score: A score with logits.
        labels: Label of each image, in the order of the score.
        has_copy: Whether the image has a copy.
    """
    kept = ~has_copy
    if kept.all():
        return None
    assert score.logits is not None  # noqa: S101  (a score of an evaluation)
    correct = (predicted_classes(score.logits) == labels)[kept]
    accuracy = float(correct.mean()) if len(correct) else None
    return ScoreWithoutCopies(copies=int(len(kept) - kept.sum()), n=len(correct), accuracy=accuracy)
