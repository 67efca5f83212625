"""Initial weights ("starts") with their preprocessing, license and provenance.

The idea that weights include their own preprocessing is torchvision's (`models/_api.py: Weights`). `resolve_start`
reads and checks everything before a run begins; `initialize` fills a network from it. The head is never taken from a
file: it is drawn from (seed, "head"), so that arms with different starts have the same initial head.

Call order: `network = build(…)`, `heads.replace_head(network, …)`, `initialize(network, start, seed=…)`.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from headstart.config import start_spec
from headstart.errors import DataError, ModelFileError, UsageError
from headstart.models.factory import build, timm_config
from headstart.models.heads import reset_head
from headstart.models.resnet import FAMILY
from headstart.models.structure import head_name, in_part
from headstart.weights.files import HEAD_FILE, MODEL_FILE, WeightsFile, adapt_weights, model_weights, read_weights
from headstart.weights.hub import PretrainedWeights, Triple, convert_timm_keys, fetch_timm, fetch_torchvision
from headstart.weights.init import draw_backbone

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Start:
    """Initial weights and their metadata.

    Attributes:
        name: The start as the user wrote it.
        state: The backbone's tensors in float32 under the network's keys; None for random starts. A `stats` start has
            them too and counts as pretrained: it is the control of its model and must be treated alike.
        init: The scheme of a random start: one of `start_spec.SCHEMES`, `constructor` (that of a timm network), `stats`
            (drawn from the mean and standard deviation of `state`), or "".
        mean: Mean per color channel, for pixels in [0, 1].
        std: Standard deviation per color channel, for pixels in [0, 1].
        license: Terms of use.
        provenance: Where the weights come from.
        sha256: Hash of the file; "" for random starts.
        notes: What was changed to make the weights fit.
        classes: The classes that the weights were trained on, if known.
    """

    name: str
    state: dict[str, Tensor] | None
    init: str
    mean: Triple
    std: Triple
    license: str
    provenance: str
    sha256: str
    notes: tuple[str, ...]
    classes: tuple[str, ...] = ()


def initialize(network: nn.Module, start: Start, *, seed: int) -> None:
    """Fill every tensor of `network`, in place: the backbone from `start`, the head from (seed, "head").

    Equal (network, start, seed) give equal bits. Random starts are drawn from (seed, "init"). Random and `stats` starts
    have newly constructed norms and zero biases. Raises ModelFileError if the start was resolved for another network.
    """
    shapes = {k: v.shape for k, v in network.state_dict().items() if not in_part(k, [head_name(network)])}
    if start.state is not None and shapes != {k: v.shape for k, v in start.state.items()}:
        raise ModelFileError(
            f"The start {start.name} was resolved for another network.", "Resolve it for this network."
        )
    if start.state is None or start.init:
        draw_backbone(network, start.init, start.state, seed=seed)
    else:
        network.load_state_dict(start.state, strict=False)
    reset_head(network, seed=seed)


@dataclass(frozen=True)
class _Target:
    """The network that a start must fit.

    The fields are the arguments of `models.factory.build`.
    """

    network: str
    shortcut: bool
    norm: str
    stem: str
    num_classes: int

    @property
    def is_standard(self) -> bool:
        """True for the network as published, without changed switches."""
        return self.shortcut and self.norm == "batch" and self.stem == "imagenet"

    @property
    def label(self) -> str:
        """Name of the network and its switches, for messages."""
        if self.is_standard:
            return self.network
        shortcut = "on" if self.shortcut else "off"
        return f"{self.network} (shortcut {shortcut}, norm {self.norm}, stem {self.stem})"

    def skeleton(self) -> nn.Module:
        """Return the network for its names and shapes, on the meta device.

        timm networks are built on the CPU, because their constructors may compute with values.
        """
        switches: dict[str, Any] = {"shortcut": self.shortcut, "norm": self.norm, "stem": self.stem}
        with torch.device("cpu" if self.network.startswith("timm:") else "meta"):
            return build(self.network, self.num_classes, **switches)


def resolve_start(name: str, *, network: str, shortcut: bool, norm: str, stem: str, num_classes: int) -> Start:
    """Read and check a start for a network.

    Args:
        name: The start, such as `scratch`, `imagenet`, `timm:NAME`, `file:PATH`, `run:DIR` or `stats:START`.
        network: The network that it must fit.
        shortcut: Switch of the network (see `models.factory.build`).
        norm: Switch of the network.
        stem: Switch of the network.
        num_classes: Number of classes of the new head.

    Raises:
        UsageError: The start is unknown or not available for the network.
        DataError: The weights do not exist or cannot be downloaded.
        ModelFileError: The file is damaged, hostile or of another network.
    """
    target = _Target(network, shortcut, norm, stem, num_classes)
    kind, colon, rest = name.partition(":")
    if kind == "scratch":
        return _scratch(name, rest, target)
    if name == "imagenet":
        return _imagenet(target)
    if kind in _READERS and colon and rest:
        return _READERS[kind](rest, target)
    raise start_spec.unknown_start_error(start_spec.start_problem(name) or f"there is no start {name!r}")


def default_network(name: str) -> str | None:
    """Return the network of a start if its name or folder says it, else None.

    timm:resnet18.a1_in1k gives resnet18 (headstart's own, with the same keys and outputs); any other timm:NAME gives
    timm:NAME without its tag.
    """
    kind, _, rest = name.partition(":")
    if kind == "stats":
        return default_network(rest)
    if kind == "run":
        folder = _model_folder(Path(rest).expanduser())
        architecture = str(_read_json(folder / "config.json").get("architecture", "")) if folder else ""
    else:
        architecture = rest.partition(".")[0] if kind == "timm" else ""
    if not architecture:
        return None
    return architecture if architecture in FAMILY else f"timm:{architecture}"


def _scratch(name: str, scheme: str, target: _Target) -> Start:
    timm = target.network.startswith("timm:")
    init = scheme or ("constructor" if timm else "kaiming")
    if name.endswith(":") or (scheme and scheme not in start_spec.SCHEMES):
        raise UsageError(
            f"There is no initialization {scheme!r}.", f"Use scratch: with one of {', '.join(start_spec.SCHEMES)}."
        )
    if init == "zero-gamma" and (timm or not target.shortcut or target.norm == "none"):
        raise UsageError(
            f"scratch:zero-gamma needs a ResNet with shortcut and norm on, not {target.label}.",
            "Use scratch, or switch shortcut and norm on.",
        )
    description = start_spec.SCHEMES.get(init)
    scheme_text = f"{init}: {description}" if description else "the network's own initialization in timm"
    return Start(name, None, init, IMAGENET_MEAN, IMAGENET_STD, "yours", f"random weights, {scheme_text}", "", ())


def _imagenet(target: _Target) -> Start:
    if target.network not in FAMILY or not target.is_standard:
        raise UsageError(
            f"The start imagenet has weights for {', '.join(FAMILY)} as published, not for {target.label}.",
            "Use --shortcut on --norm batch --stem imagenet with one of these networks, or a timm:NAME start.",
        )
    weights = fetch_torchvision(target.network)
    return _from_published("imagenet", weights, read_weights(weights.path), target)


def _timm(name: str, target: _Target) -> Start:
    config = timm_config(name)
    if config.architecture != target.network.removeprefix("timm:").partition(".")[0]:
        raise UsageError(
            f"timm:{name} has weights for {config.architecture}, but the network is {target.network}.",
            f"Use --network {default_network('timm:' + name)}.",
        )
    if not target.is_standard:
        raise UsageError(
            f"timm:{name} has weights for the network as published, not for {target.label}.",
            "Leave shortcut, norm and stem as they are.",
        )
    weights = fetch_timm(name)
    file = read_weights(weights.path)
    if target.network.startswith("timm:"):
        file = convert_timm_keys(name, file)
    return _from_published(f"timm:{name}", weights, file, target)


def _from_published(name: str, weights: PretrainedWeights, file: WeightsFile, target: _Target) -> Start:
    state, notes = adapt_weights(file, target.skeleton(), label=target.label, num_classes=target.num_classes)
    return Start(
        name,
        state,
        init="",
        mean=weights.mean,
        std=weights.std,
        license=weights.license,
        provenance=weights.provenance,
        sha256=file.sha256,
        notes=tuple(notes),
        classes=weights.classes,
    )


def _file(path: str, target: _Target) -> Start:
    file = read_weights(Path(path).expanduser())
    return _from_file(f"file:{path}", file, target, license="unknown: ask whoever made the file")


def _run(folder: str, target: _Target) -> Start:
    model = _model_folder(Path(folder).expanduser())
    if model is None:
        raise DataError(
            f"{folder} contains no trained model (model/model.safetensors).", "Name the folder of a finished run."
        )
    architecture = str(_read_json(model / "config.json").get("architecture", ""))
    if architecture != target.network.removeprefix("timm:").partition(".")[0]:
        raise ModelFileError(
            f"The model in {folder} is {architecture or 'of an unknown network'}, but the network is {target.network}.",
            f"Use --network {default_network(f'run:{folder}') or 'NAME'}, or another start.",
        )
    return _from_file(f"run:{folder}", model_weights(model), target, license="yours")


def _from_file(name: str, file: WeightsFile, target: _Target, *, license: str) -> Start:
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
    return Start(name, state, "", mean, std, license, provenance, file.sha256, tuple(notes), classes)


def _stats(name: str, target: _Target) -> Start:
    switches: dict[str, Any] = {"shortcut": target.shortcut, "norm": target.norm, "stem": target.stem}
    model = resolve_start(name, network=target.network, num_classes=target.num_classes, **switches)
    if model.state is None or model.init:
        raise UsageError(
            f"stats:{name} needs a start with weights from a file, but {name} is drawn at random.",
            "Use for example stats:imagenet.",
        )
    provenance = f"random weights, normal with the mean and standard deviation of each tensor of {model.provenance}"
    return replace(model, name=f"stats:{name}", init="stats", provenance=provenance, classes=())


_READERS = {"timm": _timm, "file": _file, "run": _run, "stats": _stats}


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
