"""Initial weights from this disk: weights files, and the models of finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from headstart.config.model_file import CONFIG_FILE, HEAD_FILE, MODEL_FILE, ModelFolder, read_model_config
from headstart.config.registry.starts import FILE_START
from headstart.config.sealed_run import require_intact_model
from headstart.config.start_spec import run_start
from headstart.config.stored_code import network_in
from headstart.errors import DataError, ModelFileError
from headstart.i18n import _
from headstart.models.user_code import CODE_FOLDER, is_user_network, label
from headstart.path_names import expanded
from headstart.storage import contained
from headstart.storage.files import JsonData
from headstart.storage.run_files import MODEL_FOLDER
from headstart.weights.adapt import adapt_weights
from headstart.weights.files import WeightsFile, read_weights
from headstart.weights.folder_settings import (
    Settings,
    class_names,
    folder_settings,
    normalization,
    size_notes,
)
from headstart.weights.json_files import read_inner_json, read_json
from headstart.weights.model_weights import model_weights
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
    sources = folder_settings(lambda name: read_json(file.path.parent / name))
    name = f"{FILE_START}:{path}"
    return _from_weights_file(name, file, target, sources, license=license, key=target.weights_key)


def from_run(folder: str, target: NetworkTarget) -> Start:
    """Return the weights of the best model of a finished run.

    Raises:
        DataError: The folder has no model, or its model has changed since the run ended.
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
            _("{file} does not name the architecture of the model.", file=model.root / model.name / CONFIG_FILE),
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
    sources = folder_settings(partial(_read_json, model))
    file = model_weights(model.root, model.name)
    return _from_weights_file(run_start(folder), file, target, sources, license="yours")


def network_of_run(folder: str) -> str | None:
    """Return the network of a finished run; None if the folder has no model.

    Raises:
        ModelFileError: It is another user's own network, and its code is not trusted.
    """
    model = _model_folder(expanded(folder))
    network = _stored_network(model) if model else ""
    if model and is_user_network(network):
        origin = read_model_config(model.root, model.name).headstart
        code = contained.join(model.name, CODE_FOLDER)
        return network_in(model.root, code, origin.network.network, origin.network_sha256)
    return network or None


def _stored_network(model: ModelFolder) -> str:
    """Return the network of a model folder; "" if its config.json does not name it."""
    section = _read_json(model, CONFIG_FILE).get("headstart")
    fields = section.get("network") if isinstance(section, dict) else None
    network = fields.get("network") if isinstance(fields, dict) else None
    if isinstance(network, str) and is_user_network(network):
        return f"{(model.root / model.name / CODE_FOLDER).absolute()}/{label(network)}"
    architecture = _architecture(model)
    return network_of_architecture(architecture) if architecture else ""


def _architecture(model: ModelFolder) -> str:
    """Return the architecture that the config.json of a model folder names; "" if it names none."""
    return str(_read_json(model, CONFIG_FILE).get("architecture") or "")


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


def _from_weights_file(
    name: str, file: WeightsFile, target: NetworkTarget, beside: Sequence[Settings], *, license: str, key: str = ""
) -> Start:
    state, notes = adapt_weights(file, target.skeleton(), label=target.label, num_classes=target.num_classes, key=key)
    sources = [Settings(file.path.name, dict(file.metadata)), *beside]
    mean, std, normalization_notes = normalization(sources)
    notes += [*normalization_notes, *size_notes(sources)]
    settings = {key: value for source in reversed(sources) for key, value in source.values.items()}
    license = str(settings.get("license") or settings.get("licence") or license)  # files in use have both spellings
    trained_on = settings.get("trained_on")
    provenance = f"{file.path.name}, trained on {trained_on}" if trained_on else file.path.name
    classes = class_names(settings)
    return Start(name, state, None, mean, std, license, provenance, file.sha256, tuple(notes), classes)


def _read_json(model: ModelFolder, file: str) -> Mapping[str, JsonData]:
    """Return the JSON object in a file of a model folder, {} without the file."""
    return read_inner_json(model.root, contained.join(model.name, file))


def _model_folder(folder: Path) -> ModelFolder | None:
    """Return the model folder in a folder; None without one. Raises BrokenSealError if its run has changed."""
    candidates = [ModelFolder(folder, name) for name in (MODEL_FOLDER, "")]
    model = next((model for model in candidates if any(map(model.contains, (MODEL_FILE, HEAD_FILE)))), None)
    if model is not None:
        require_intact_model(model.root, model.name)
    return model
