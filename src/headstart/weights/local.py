"""Initial weights from this disk: weights files, and the models of finished runs."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from headstart.config.start_spec import run_start
from headstart.errors import DataError, ModelFileError
from headstart.weights.files import HEAD_FILE, MODEL_FILE, WeightsFile, adapt_weights, model_weights, read_weights
from headstart.weights.hub import Triple
from headstart.weights.starts import IMAGENET_MEAN, IMAGENET_STD, NetworkTarget, Start, network_of_architecture


def from_file(path: str, target: NetworkTarget) -> Start:
    """Return the weights in a file or folder."""
    file = read_weights(Path(path).expanduser())
    return _from_weights_file(f"file:{path}", file, target, license="unknown: ask whoever made the file")


def from_run(folder: str, target: NetworkTarget) -> Start:
    """Return the weights of the best model of a finished run.

    Raises:
        DataError: The folder has no model.
        ModelFileError: The model is of another network.
    """
    model = _model_folder(Path(folder).expanduser())
    if model is None:
        raise DataError(
            f"{folder} contains no trained model (model/model.safetensors).", "Name the folder of a finished run."
        )
    architecture = str(_read_json(model / "config.json").get("architecture", ""))
    if architecture != target.network.removeprefix("timm:").partition(".")[0]:
        raise ModelFileError(
            f"The model in {folder} is {architecture or 'of an unknown network'}, but the network is {target.network}.",
            f"Use --network {network_of_run(folder) or 'NAME'}, or another start.",
        )
    return _from_weights_file(run_start(folder), model_weights(model), target, license="yours")


def network_of_run(folder: str) -> str | None:
    """Return the network of a finished run; None if the folder has no model."""
    model = _model_folder(Path(folder).expanduser())
    architecture = str(_read_json(model / "config.json").get("architecture", "")) if model else ""
    return network_of_architecture(architecture) if architecture else None


def _from_weights_file(name: str, file: WeightsFile, target: NetworkTarget, *, license: str) -> Start:
    state, notes = adapt_weights(file, target.skeleton(), label=target.label, num_classes=target.num_classes)
    folder_settings = _read_settings(file.path.parent)
    settings = {**folder_settings, **file.metadata}
    invalid = [key for key in ("mean", "std") if key in settings and _triple(settings[key]) is None]
    invalid_value = settings[invalid[0]] if invalid else None
    settings |= {key: folder_settings[key] for key in invalid if key in folder_settings}
    mean, std = _triple(settings.get("mean")), _triple(settings.get("std"))
    if invalid:
        notes.append(f"The {' and '.join(invalid)} of {file.path.name} ({invalid_value!r}) is not three numbers.")
    if mean is None or std is None or min(std) <= 0:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        notes.append(
            f"{file.path.name} and its folder give no mean and std, for example in config.json: ImageNet's are used."
        )
    license = str(settings.get("license") or settings.get("licence") or license)  # files in use have both spellings
    trained_on = settings.get("trained_on")
    provenance = f"{file.path.name}, trained on {trained_on}" if trained_on else file.path.name
    classes = _class_names(settings.get("label_names") or settings.get("labels"))
    return Start(name, state, None, mean, std, license, provenance, file.sha256, tuple(notes), classes)


def _model_folder(folder: Path) -> Path | None:
    candidates = (folder / "model", folder)
    return next((f for f in candidates if any((f / name).is_file() for name in (MODEL_FILE, HEAD_FILE))), None)


def _read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`, or {} if there is no file. Raises ModelFileError for other content."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read ({error}).", "Repair it or move it away.") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} is not a JSON object.", "Repair it or move it away.")
    return cast(dict[str, Any], content)


def _read_settings(folder: Path) -> dict[str, Any]:
    """Return the content of config.json and preprocess.json in `folder`, with timm's `pretrained_cfg` flattened."""
    settings: dict[str, Any] = {}
    for name in ("config.json", "preprocess.json"):
        content = _read_json(folder / name)
        inner = content.get("pretrained_cfg")
        settings |= {**content, **(inner if isinstance(inner, dict) else {})}
    return settings


def _class_names(value: Any) -> tuple[str, ...]:
    """Return class names from a list (timm's config.json) or a text with commas (a file's metadata)."""
    names = value.split(",") if isinstance(value, str) else value
    return tuple(str(name).strip() for name in names) if isinstance(names, list) else ()


def _triple(values: Any) -> Triple | None:
    """Return three numbers from a list, or from a text as in a file's metadata; None for anything else."""
    if isinstance(values, str):
        with suppress(ValueError):
            values = [float(part) for part in values.strip(" []()").split(",")]
    if not isinstance(values, list | tuple) or len(values) != 3:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    return float(values[0]), float(values[1]), float(values[2])
