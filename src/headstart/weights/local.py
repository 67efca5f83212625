"""Initial weights from this disk: weights files, and the models of finished runs."""

from __future__ import annotations

from pathlib import Path

from headstart.config.model_file import HEAD_FILE, MODEL_FILE, read_model_config
from headstart.config.registry.starts import FILE_START
from headstart.config.start_spec import run_start
from headstart.config.stored_code import network_in
from headstart.errors import DataError, ModelFileError
from headstart.i18n import _
from headstart.models.user_code import CODE_FOLDER, is_user_network, label
from headstart.path_names import expanded
from headstart.weights.adapt import adapt_weights
from headstart.weights.files import WeightsFile, model_weights, read_weights
from headstart.weights.folder_settings import (
    Settings,
    class_names,
    folder_settings,
    normalization,
    size_notes,
)
from headstart.weights.json_files import read_json
from headstart.weights.starts import (
    NetworkTarget,
    Start,
    architecture_of,
    network_of_architecture,
)


def from_file(path: str, target: NetworkTarget) -> Start:
    """Return the weights in a file or folder."""
    file = read_weights(expanded(path))
    license = "unknown: ask whoever made the file"
    _require_usual_strides(file.path.parent)
    return _from_weights_file(f"{FILE_START}:{path}", file, target, license=license, key=target.weights_key)


def from_run(folder: str, target: NetworkTarget) -> Start:
    """Return the weights of the best model of a finished run.

    Raises:
        DataError: The folder has no model.
        ModelFileError: The model is of another network, or does not name its network.
    """
    model = _model_folder(expanded(folder))
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
    model = _model_folder(expanded(folder))
    network = _stored_network(model) if model else ""
    if model and is_user_network(network):
        config = read_model_config(model)
        return network_in(model / CODE_FOLDER, config.headstart.network.network, config.headstart.network_sha256)
    return network or None


def _stored_network(model: Path) -> str:
    """Return the network of a model folder; "" if its config.json does not name it."""
    section = read_json(model / "config.json").get("headstart")
    fields = section.get("network") if isinstance(section, dict) else None
    network = fields.get("network") if isinstance(fields, dict) else None
    if isinstance(network, str) and is_user_network(network):
        return f"{(model / CODE_FOLDER).absolute()}/{label(network)}"
    architecture = _architecture(model)
    return network_of_architecture(architecture) if architecture else ""


def _architecture(model: Path) -> str:
    """Return the architecture that the config.json of a model folder names; "" if it names none."""
    return str(read_json(model / "config.json").get("architecture") or "")


def _require_usual_strides(folder: Path) -> None:
    """Raise ModelFileError for a ResNet of transformers whose convolutions have other strides than torchvision's."""
    config = read_json(folder / "config.json")
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
    sources = [Settings(file.path.name, dict(file.metadata)), *folder_settings(file.path.parent)]
    mean, std, normalization_notes = normalization(sources)
    notes += [*normalization_notes, *size_notes(sources)]
    settings = {key: value for source in reversed(sources) for key, value in source.values.items()}
    license = str(settings.get("license") or settings.get("licence") or license)  # files in use have both spellings
    trained_on = settings.get("trained_on")
    provenance = f"{file.path.name}, trained on {trained_on}" if trained_on else file.path.name
    classes = class_names(settings)
    return Start(name, state, None, mean, std, license, provenance, file.sha256, tuple(notes), classes)


def _model_folder(folder: Path) -> Path | None:
    candidates = (folder / "model", folder)
    return next((f for f in candidates if any((f / name).is_file() for name in (MODEL_FILE, HEAD_FILE))), None)
