"""Pictures of what a model gets wrong, for the report: photos of each cell of its confusion, and where it looked.

`evidence/gallery.zip` holds WebP thumbnails and `index.json`; nothing in it is executed. It is made once, from the
predictions that the run has left, its model and its photos.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from headstart.analysis import confusion
from headstart.analysis.correctness import predictions
from headstart.artifacts.model_folder import Model, read_model
from headstart.config.run_config import RunConfig, read_plan
from headstart.data import transforms
from headstart.errors import as_headstart_error
from headstart.hardware.devices import place
from headstart.hardware.precision import deterministic
from headstart.models import structure
from headstart.models.gradcam import grad_cam
from headstart.reporter import NullReporter, Reporter
from headstart.storage.files import read_json, write_atomic
from headstart.training import setup

SIDE = 96  # px of a thumbnail
OF_CELL, OF_LIST = 12, 24  # pictures of a cell of the confusion; of the worst mistakes, and of the least sure
MOST = 360  # pictures of cells in all, unless that many are wrong in their way: each kind of mistake has one
BATCH = 16
CPU = torch.device("cpu")
Rows = npt.NDArray[np.int64]


def illustrate(run: Path, reporter: Reporter) -> None:
    """As `write`, where the run is finished; a run stands without its pictures, so what goes wrong is only told.

    Ctrl-C leaves them out: the run is done.
    """
    if not (run / "result.json").exists():
        return
    try:
        write(run)
    except KeyboardInterrupt:
        reporter.say(f"Stopped: {run} is finished, and its report has no pictures.")
    except Exception as error:  # whatever a network of timm's or a file may come up with
        reporter.say(f"There are no pictures for the report of {run}: {as_headstart_error(error).message}")


def write(run: Path) -> None:
    """Leave `evidence/gallery.zip` in the folder of a finished run. Raises what reading its model or photos raises."""
    plan = read_plan(run)
    with deterministic(CPU, plan.machine.threads):  # equal runs leave equal bytes
        write_atomic(run / "artifacts" / "gallery.zip", _made(run, plan))


def _made(run: Path, plan: RunConfig) -> bytes:
    found = setup.complete(plan, NullReporter())
    result = read_json(run / "result.json")
    judge = result["evaluation_split"]
    judged = predictions(run, judge)
    keys, labels, logits = judged.images, judged.labels, judged.logits
    place_of = {key: index for index, key in enumerate(found.dataset.listing.keys)}
    photos = [found.dataset.store[place_of[key]] for key in keys]
    lists = chosen(labels, logits)
    wanted = sorted(
        {int(row) for rows in (*lists["cells"].values(), lists["mistakes"], lists["unsure"]) for row in rows}
    )
    looked = sorted({int(row) for name in ("mistakes", "unsure") for row in lists[name]})
    model = read_model(run / "model")
    maps = _maps(model, [photos[row] for row in looked], logits[looked].argmax(1))
    chances = torch.from_numpy(logits).double().softmax(1).numpy()
    index: dict[str, Any] = {
        "split": judge,
        "classes": list(found.plan.facts.class_names),
        "lists": {name: _ids(rows, wanted) for name, rows in lists.items() if name != "cells"},
        "cells": {f"{true}-{said}": _ids(rows, wanted) for (true, said), rows in lists["cells"].items()},
        "counts": result[judge]["confusion"],
        "photos": [],
    }
    files: dict[str, bytes] = {}
    for number, row in enumerate(wanted):
        thumbnail = transforms.plain_batch([photos[row]], model.size)[0].permute(1, 2, 0).numpy()
        files[f"{number}.webp"] = _webp(thumbnail)
        said = int(logits[row].argmax())
        about = {
            "key": keys[row],
            "true": int(labels[row]),
            "said": said,
            "sure": round(float(chances[row, said]), 4),
        }
        if maps is not None and row in looked:
            files[f"{number}-map.webp"] = _webp(_over(thumbnail, maps[looked.index(row)]))
        index["photos"].append(about)
    filters = _filters(found.network, model.network)
    return _zipped(index, files, filters)


def chosen(labels: Rows, logits: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Which rows are shown: of each cell (true, said) the surest, the worst mistakes, and the least sure.

    `logits` [n, classes] are those of the images with `labels` [n]. Cells are those that a page has room for: with
    many classes, those of the classes that are confused most.
    """
    chances = torch.from_numpy(logits).double().softmax(1).numpy()
    said = logits.argmax(1)
    sure = chances[np.arange(len(said)), said]
    ordered = np.sort(chances, axis=1)
    counts = np.zeros((logits.shape[1], logits.shape[1]), dtype=np.int64)
    np.add.at(counts, (labels, said), 1)
    of_cell: dict[tuple[int, int], Rows] = {}
    for true, guess in confusion.shown_cells(counts.tolist()):
        rows = np.flatnonzero((labels == true) & (said == guess))
        of_cell[true, guess] = rows[np.argsort(-sure[rows], kind="stable")][:OF_CELL]
    in_turn = confusion.in_turn({cell: rows.tolist() for cell, rows in of_cell.items()})
    mistaken = sum(true != guess for true, guess in of_cell)
    most = Counter(cell for cell, _ in islice(in_turn, max(MOST, mistaken)))
    wrong = np.flatnonzero(said != labels)
    right_chance = chances[np.arange(len(said)), labels]
    return {
        "cells": {cell: rows[: most[cell]] for cell, rows in of_cell.items() if most[cell]},
        "mistakes": wrong[np.argsort(right_chance[wrong], kind="stable")][:OF_LIST],
        "unsure": np.argsort(ordered[:, -1] - ordered[:, -2], kind="stable")[:OF_LIST],
    }


def _ids(rows: Sequence[int] | Rows, wanted: list[int]) -> list[int]:
    return [wanted.index(int(row)) for row in rows]


def _maps(model: Model, photos: Sequence[npt.NDArray[np.uint8]], classes: Rows) -> npt.NDArray[np.float32] | None:
    """Grad-CAM of the classes that the model named; None where it has no maps to weigh."""
    blocks = structure.block_names(model.network)
    if not blocks or not photos:
        return None
    place(model.network, CPU)
    found = []
    for begin in range(0, len(photos), BATCH):
        batch = transforms.plain_batch(photos[begin : begin + BATCH], model.size)
        images = transforms.normalise(batch, model.mean, model.std, CPU)
        maps = grad_cam(model.network, blocks[-1], images, torch.from_numpy(classes[begin : begin + BATCH]))
        if maps is None:
            return None
        found.append(maps.numpy())
    return np.concatenate(found)


def _over(photo: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The photo darkened where the model did not look, and orange where it did."""
    share = heat[..., None]
    mixed = photo * (0.35 + 0.35 * share) + np.array([230.0, 110.0, 0.0]) * 0.45 * share
    return np.asarray(mixed.clip(0, 255).astype(np.uint8))


def _webp(picture: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=75)
    return buffer.getvalue()


def _filters(before: nn.Module, after: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """The first convolution's weights [n, 3, k, k] before and after training; nothing where it does not see colours."""
    found = {}
    for name, network in (("before", before), ("after", after)):
        first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
        if first is None or first.in_channels != 3:
            return {}
        found[name] = first.weight.detach().float().cpu().contiguous().numpy()
    return found


def _zipped(index: dict[str, Any], files: dict[str, bytes], filters: dict[str, npt.NDArray[np.float32]]) -> bytes:
    """Equal content gives equal bytes: the zip carries no dates."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("index.json"), json.dumps(index))
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
        for name, array in filters.items():
            held = io.BytesIO()
            np.save(held, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), held.getvalue())
    return buffer.getvalue()
