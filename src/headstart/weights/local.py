"""Initial weights from this disk: weights files, and the models of finished runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from headstart.config.model_file import HEAD_FILE, MODEL_FILE, read_model_config
from headstart.config.registry.starts import FILE_START
from headstart.config.start_spec import run_start
from headstart.config.stored_code import network_in
from headstart.errors import DataError, ModelFileError
from headstart.i18n import Message, _
from headstart.models.user_code import CODE_FOLDER, is_user_network, label
from headstart.text import join_list
from headstart.weights.adapt import adapt_weights
from headstart.weights.files import WeightsFile, model_weights, read_weights
from headstart.weights.hub import Triple
from headstart.weights.starts import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NetworkTarget,
    Start,
    architecture_of,
    network_of_architecture,
)

PREPROCESSOR_FILE = "preprocessor_config.json"  # of transformers


def from_file(path: str, target: NetworkTarget) -> Start:
    """Return the weights in a file or folder."""
    file = read_weights(Path(path).expanduser())
    license = "unknown: ask whoever made the file"
    _require_usual_strides(file.path.parent)
    return _from_weights_file(f"{FILE_START}:{path}", file, target, license=license, key=target.weights_key)


def from_run(folder: str, target: NetworkTarget) -> Start:
    """Return the weights of the best model of a finished run.

    Raises:
        DataError: The folder has no model.
        ModelFileError: The model is of another network, or does not name its network.
    """
    model = _model_folder(Path(folder).expanduser())
    if model is None:
        raise DataError(
            _("{folder} contains no trained model (model/model.safetensors).", folder=folder),
            _("Name the folder of a finished run."),
        )
    architecture = _architecture(model)
    if not architecture:
        raise ModelFileError(
            _("{file} does not name the architecture of the model.", file=model / "config.json"),
            _("Add it to the file, for example {example}.", example='"architecture": "resnet18"'),
        )
    if architecture != architecture_of(target.network):
        raise ModelFileError(
            _(
                "The model in {folder} is {architecture}, but the network is {network}.",
                folder=folder,
                architecture=architecture,
                network=label(target.network),
            ),
            _("Use --network {network}, or another start.", network=_stored_network(model) or architecture),
        )
    return _from_weights_file(run_start(folder), model_weights(model), target, license="yours")


def network_of_run(folder: str) -> str | None:
    """Return the network of a finished run; None if the folder has no model.

    Raises:
        ModelFileError: It is another user's own network, and its code is not trusted.
    """
    model = _model_folder(Path(folder).expanduser())
    network = _stored_network(model) if model else ""
    if model and is_user_network(network):
        config = read_model_config(model)
        return network_in(model / CODE_FOLDER, config.headstart.network.network, config.headstart.network_sha256)
    return network or None


def _stored_network(model: Path) -> str:
    """Return the network of a model folder; "" if its config.json does not name it."""
    section = _read_json(model / "config.json").get("headstart")
    fields = section.get("network") if isinstance(section, dict) else None
    network = fields.get("network") if isinstance(fields, dict) else None
    if isinstance(network, str) and is_user_network(network):
        return f"{(model / CODE_FOLDER).absolute()}/{label(network)}"
    architecture = _architecture(model)
    return network_of_architecture(architecture) if architecture else ""


def _architecture(model: Path) -> str:
    """Return the architecture that the config.json of a model folder names; "" if it names none."""
    return str(_read_json(model / "config.json").get("architecture") or "")


def _require_usual_strides(folder: Path) -> None:
    """Raise ModelFileError for a ResNet of transformers whose convolutions have other strides than torchvision's."""
    config = _read_json(folder / "config.json")
    if config.get("model_type") != "resnet":
        return
    for field in ("downsample_in_bottleneck", "downsample_in_first_stage"):
        if config.get(field):
            raise ModelFileError(
                _("{file} sets {field}: the network has other strides.", file=folder / "config.json", field=field),
                _("Use a ResNet without {field}.", field=field),
            )


def _from_weights_file(name: str, file: WeightsFile, target: NetworkTarget, *, license: str, key: str = "") -> Start:
    state, notes = adapt_weights(file, target.skeleton(), label=target.label, num_classes=target.num_classes, key=key)
    sources = [_Settings(file.path.name, dict(file.metadata)), *_folder_settings(file.path.parent)]
    mean, std, normalization_notes = _normalization(sources)
    notes += [*normalization_notes, *_size_notes(sources)]
    settings = {key: value for source in reversed(sources) for key, value in source.values.items()}
    license = str(settings.get("license") or settings.get("licence") or license)  # files in use have both spellings
    trained_on = settings.get("trained_on")
    provenance = f"{file.path.name}, trained on {trained_on}" if trained_on else file.path.name
    classes = _class_names(settings.get("label_names") or settings.get("labels") or _id2label(settings))
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
        raise ModelFileError(
            _("{path} cannot be read ({error}).", path=path, error=error), _("Repair it or move it away.")
        ) from error
    if not isinstance(content, dict):
        raise ModelFileError(_("{path} is not a JSON object.", path=path), _("Repair it or move it away."))
    return cast(dict[str, Any], content)


class _Settings(NamedTuple):
    """Settings in one file that concern its weights."""

    file: str  # name of the file
    values: dict[str, Any]


def _folder_settings(folder: Path) -> list[_Settings]:
    """Return the content of the JSON files in `folder` with preprocessing, with headstart's names.

    timm's `pretrained_cfg` is flattened. transformers' preprocessor_config.json is read only if it exists.
    """
    settings = []
    for name in ("preprocess.json", PREPROCESSOR_FILE, "config.json"):
        content = _read_json(folder / name)
        if name == PREPROCESSOR_FILE:
            if not content:
                continue
            content = _from_preprocessor(content)
        inner = content.get("pretrained_cfg")
        settings.append(_Settings(name, {**content, **(inner if isinstance(inner, dict) else {})}))
    return settings


def _from_preprocessor(content: dict[str, Any]) -> dict[str, Any]:
    """Return the mean, standard deviation and image size of transformers' preprocessor_config.json.

    transformers computes (value * rescale_factor - mean) / std for values from 0 to 255; headstart divides by 255.
    """
    if content.get("do_normalize") is False:
        values: dict[str, Any] = {"mean": [0.0] * 3, "std": [1.0] * 3}
    else:
        renamed = {"mean": content.get("image_mean"), "std": content.get("image_std")}
        values = {key: value for key, value in renamed.items() if value is not None}
    factor = 1.0 if content.get("do_rescale") is False else content.get("rescale_factor")
    if isinstance(factor, int | float) and factor > 0 and abs(255 * factor - 1) > 1e-3:
        values = {k: [v / (255 * factor) for v in numbers] for k, n in values.items() if (numbers := _triple(n))}
    size = content.get("size")
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    if isinstance(size, int) and content.get("do_resize") is not False:
        values["trained_size"] = size
    return values


def _size_notes(sources: Sequence[_Settings]) -> list[Message]:
    """Return a note on the image size of the weights, where a file of transformers gives it."""
    return [
        _(
            "{file}: the weights were trained on images of {size} px; --image-size sets the size.",
            file=source.file,
            size=source.values["trained_size"],
        )
        for source in sources
        if "trained_size" in source.values
    ]


def _id2label(settings: dict[str, Any]) -> list[str]:
    """Return the class names in transformers' config.json, in the order of the outputs."""
    labels = settings.get("id2label")
    if not isinstance(labels, dict) or not all(key.isdigit() for key in labels):
        return []
    return [str(labels[key]) for key in sorted(labels, key=int)]


def _normalization(sources: Sequence[_Settings]) -> tuple[Triple, Triple, list[Message]]:
    """Return the mean and standard deviation of the first source that has a valid one, and notes on the others.

    If one of the two is missing, both are ImageNet's.
    """
    mean, mean_notes = _first_valid("mean", sources)
    std, std_notes = _first_valid("std", sources)
    notes = [*mean_notes, *std_notes]
    if mean is not None and std is not None:
        return mean, std, notes
    found = (("mean", mean, mean_notes), ("std", std, std_notes))
    if missing := [field for field, value, faults in found if value is None and not faults]:
        notes.append(
            _(
                "{file} and its folder give no {fields}, for example in {example}.",
                file=sources[0].file,
                fields=join_list(missing),
                example=sources[-1].file,
            )
        )
    return IMAGENET_MEAN, IMAGENET_STD, [*notes, _("ImageNet's mean and std are used.")]


def _first_valid(field: str, sources: Sequence[_Settings]) -> tuple[Triple | None, list[Message]]:
    """Return the first valid value of `mean` or `std`, and a note on each invalid value before it."""
    notes: list[Message] = []
    for source in (source for source in sources if field in source.values):
        value = source.values[field]
        numbers = _triple(value)
        if numbers is None:
            text = _(
                "The {field} in {file} is not three numbers: {value}.", field=field, file=source.file, value=repr(value)
            )
        elif field == "std" and min(numbers) <= 0:
            text = _(
                "The {field} in {file} is not positive: {value}.", field=field, file=source.file, value=repr(value)
            )
        else:
            return numbers, notes
        notes.append(text)
    return None, notes


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
