"""Where weights come from: a start is values together with their preprocessing, licence and provenance.

The idea that weights carry their own preprocessing is torchvision's (`models/_api.py: Weights`). `resolve` reads and
checks everything before a run begins; `initialise` fills a network from it. The head is never taken from a file: it
is drawn from (seed, "head"), so that arms which differ in their start share the head's first values.

Call order: `network = build(…)`, `heads.attach(network, …)`, `initialise(network, start, seed=…)`.
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
from headstart.models.heads import fresh_head
from headstart.models.resnet import FAMILY
from headstart.models.structure import head_name, in_part
from headstart.weights.files import HEAD, WHOLE, WeightsFile, fit, model_weights, read_weights
from headstart.weights.hub import find_timm, find_torchvision, load_timm
from headstart.weights.init import SCHEMES, draw_backbone

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Start:
    """Weights with what belongs to them.

    `state` holds the trunk's tensors in float32 under the network's keys, None for random starts. `init` is the scheme
    of a random start: one of SCHEMES, `own` (a timm network's own), `stats` (drawn from `state`'s mean and standard
    deviation), or "". `mean` and `std` are per colour channel, for pixels in [0, 1]. `sha256` is the file's, "" for
    random starts; `notes` say what was done to make the weights fit. `classes` are those that the weights learned to
    tell apart, as far as they are known.
    """

    name: str
    state: dict[str, Tensor] | None
    init: str
    mean: Triple
    std: Triple
    licence: str
    provenance: str
    sha256: str
    notes: tuple[str, ...]
    classes: tuple[str, ...] = ()


def initialise(network: nn.Module, start: Start, *, seed: int) -> None:
    """Fill every tensor of `network`, in place: the trunk from `start`, the head fresh from (seed, "head").

    Equal (network, start, seed) give equal bits. Random starts are drawn from (seed, "init"); norms of random and
    `stats` starts are new, and biases 0. Raises ModelFileError where the start was resolved for another network.
    """
    shapes = {k: v.shape for k, v in network.state_dict().items() if not in_part(k, [head_name(network)])}
    if start.state is not None and shapes != {k: v.shape for k, v in start.state.items()}:
        raise ModelFileError(f"The start {start.name} was read for another network.", "Resolve it for this network.")
    if start.state is None or start.init:
        draw_backbone(network, start.init, start.state, seed=seed)
    else:
        network.load_state_dict(start.state, strict=False)
    fresh_head(network, seed=seed)


@dataclass(frozen=True)
class _Target:
    """The network that a start must fit."""

    network: str
    shortcut: bool
    norm: str
    stem: str
    num_classes: int

    @property
    def standard(self) -> bool:
        return self.shortcut and self.norm == "batch" and self.stem == "imagenet"

    @property
    def label(self) -> str:
        if self.standard:
            return self.network
        shortcut = "on" if self.shortcut else "off"
        return f"{self.network} (shortcut {shortcut}, norm {self.norm}, stem {self.stem})"

    def skeleton(self) -> nn.Module:
        """Names and shapes; timm's constructors may compute with values, so theirs is real."""
        switches: dict[str, Any] = {"shortcut": self.shortcut, "norm": self.norm, "stem": self.stem}
        with torch.device("cpu" if self.network.startswith("timm:") else "meta"):
            return build(self.network, self.num_classes, **switches)


def resolve(name: str, *, network: str, shortcut: bool, norm: str, stem: str, num_classes: int) -> Start:
    """Read and check the start `name` for `network` (see `networks.build` for the switches).

    Raises UsageError for an unknown start or one that does not suit the network, DataError for weights that are not
    there or cannot be fetched, ModelFileError for a file that is damaged, hostile or of another network.
    """
    target = _Target(network, shortcut, norm, stem, num_classes)
    kind, colon, rest = name.partition(":")
    if kind == "scratch":
        return _scratch(name, rest, target)
    if name == "imagenet":
        return _imagenet(target)
    if kind in _READERS and colon and rest:
        return _READERS[kind](rest, target)
    raise start_spec.unknown(start_spec.start_error(name) or f"there is no start {name!r}")


def default_network(name: str) -> str | None:
    """The network that the start `name` was made for, where the name or its folder says so; else None.

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
    init = scheme or ("own" if timm else "kaiming")
    if name.endswith(":") or (scheme and scheme not in SCHEMES):
        raise UsageError(f"There is no initialisation {scheme!r}.", f"Use scratch: with one of {', '.join(SCHEMES)}.")
    if init == "zero-gamma" and (timm or not target.shortcut or target.norm == "none"):
        raise UsageError(
            f"scratch:zero-gamma needs a ResNet with shortcut and norm on, not {target.label}.",
            "Use scratch, or switch shortcut and norm on.",
        )
    words = f"{init}: {SCHEMES[init]}" if init in SCHEMES else "the network's own initialisation in timm"
    return Start(name, None, init, IMAGENET_MEAN, IMAGENET_STD, "yours", f"random weights, {words}", "", ())


def _imagenet(target: _Target) -> Start:
    if target.network not in FAMILY or not target.standard:
        raise UsageError(
            f"imagenet is torchvision's weights for {', '.join(FAMILY)} as published, not for {target.label}.",
            "Use --shortcut on --norm batch --stem imagenet with one of these networks, or a timm:NAME start.",
        )
    found = find_torchvision(target.network)
    state, notes = fit(read_weights(found.path), target.skeleton(), label=target.label, num_classes=target.num_classes)
    about = (found.mean, found.std, found.licence, found.provenance, found.sha256)
    return Start("imagenet", state, "", *about, tuple(notes), found.classes)


def _timm(name: str, target: _Target) -> Start:
    config = timm_config(name)
    if config.architecture != target.network.removeprefix("timm:").partition(".")[0]:
        raise UsageError(
            f"timm:{name} is weights for {config.architecture}, and the network is {target.network}.",
            f"Use --network {default_network('timm:' + name)}.",
        )
    if not target.standard:
        raise UsageError(
            f"timm:{name} is weights for the network as published, not for {target.label}.",
            "Leave shortcut, norm and stem as they are.",
        )
    found = find_timm(name)
    file = read_weights(found.path)
    if target.network.startswith("timm:"):
        file = load_timm(name, file)
    state, notes = fit(file, target.skeleton(), label=target.label, num_classes=target.num_classes)
    about = (found.mean, found.std, found.licence, found.provenance, file.sha256)
    return Start(f"timm:{name}", state, "", *about, tuple(notes), found.classes)


def _file(path: str, target: _Target) -> Start:
    file = read_weights(Path(path).expanduser())
    return _from_file(f"file:{path}", file, target, licence="unknown: ask whoever made the file")


def _run(folder: str, target: _Target) -> Start:
    model = _model_folder(Path(folder).expanduser())
    if model is None:
        raise DataError(
            f"{folder} holds no trained model (model/model.safetensors).", "Name the folder of a finished run."
        )
    architecture = str(_read_json(model / "config.json").get("architecture", ""))
    if architecture != target.network.removeprefix("timm:").partition(".")[0]:
        raise ModelFileError(
            f"The model in {folder} is {architecture or 'of an unknown network'}, and the network is {target.network}.",
            f"Use --network {default_network(f'run:{folder}') or 'NAME'}, or another start.",
        )
    return _from_file(f"run:{folder}", model_weights(model), target, licence="yours")


def _from_file(name: str, file: WeightsFile, target: _Target, *, licence: str) -> Start:
    state, notes = fit(file, target.skeleton(), label=target.label, num_classes=target.num_classes)
    beside = _beside(file.path.parent)
    told = {**beside, **file.metadata}
    odd = [key for key in ("mean", "std") if key in told and _triple(told[key]) is None]
    told |= {key: beside[key] for key in odd if key in beside}
    mean, std = _triple(told.get("mean")), _triple(told.get("std"))
    if odd:
        notes.append(f"the {' and '.join(odd)} that it names ({told[odd[0]]!r}) is no three numbers")
    if mean is None or std is None or min(std) <= 0:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        notes.append(
            "nothing beside the file says its mean and std (a config.json with both would): ImageNet's are used"
        )
    licence = str(told.get("licence") or told.get("license") or licence)
    trained_on = told.get("trained_on")
    provenance = f"{file.path.name}, trained on {trained_on}" if trained_on else file.path.name
    classes = _names(told.get("label_names") or told.get("labels"))
    return Start(name, state, "", mean, std, licence, provenance, file.sha256, tuple(notes), classes)


def _stats(name: str, target: _Target) -> Start:
    switches: dict[str, Any] = {"shortcut": target.shortcut, "norm": target.norm, "stem": target.stem}
    model = resolve(name, network=target.network, num_classes=target.num_classes, **switches)
    if model.state is None or model.init:
        raise UsageError(
            f"stats:{name} needs a start whose weights lie in a file, and {name} is drawn at random.",
            "Use for example stats:imagenet.",
        )
    provenance = f"random weights, normal with the mean and standard deviation of each tensor of {model.provenance}"
    return replace(model, name=f"stats:{name}", init="stats", provenance=provenance, classes=())


_READERS = {"timm": _timm, "file": _file, "run": _run, "stats": _stats}


def _model_folder(folder: Path) -> Path | None:
    candidates = (folder / "model", folder)
    return next((f for f in candidates if any((f / name).is_file() for name in (WHOLE, HEAD))), None)


def _read_json(path: Path) -> dict[str, Any]:
    """The object in `path`, {} where there is no file; raises ModelFileError for anything else in it."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read ({error}).", "Repair it or move it away.") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} holds no settings.", "Repair it or move it away.")
    return cast(dict[str, Any], content)


def _beside(folder: Path) -> dict[str, Any]:
    """What config.json and preprocess.json in `folder` say, the inner table `pretrained_cfg` (timm's) laid open."""
    told: dict[str, Any] = {}
    for name in ("config.json", "preprocess.json"):
        content = _read_json(folder / name)
        inner = content.get("pretrained_cfg")
        told |= {**content, **(inner if isinstance(inner, dict) else {})}
    return told


def _names(told: Any) -> tuple[str, ...]:
    """Class names as timm's config.json has them, a list, or as a file's metadata, with commas."""
    found = told.split(",") if isinstance(told, str) else told
    return tuple(str(name).strip() for name in found) if isinstance(found, list) else ()


def _triple(values: Any) -> Triple | None:
    """Three numbers: a list, or as the metadata of a file has it, text."""
    if isinstance(values, str):
        with suppress(ValueError):
            values = [float(part) for part in values.strip(" []()").split(",")]
    if not isinstance(values, list | tuple) or len(values) != 3:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    return float(values[0]), float(values[1]), float(values[2])


def pretrained_names(network: nn.Module, start: Start) -> list[str]:
    """Names of the parameters that `start` brought, for a learning rate of their own: all but the head, or none.

    A `stats:` start counts as bringing them: it is the control of its model and must be treated alike.
    """
    if start.state is None:
        return []
    head = [head_name(network)]
    return [name for name, _ in network.named_parameters() if not in_part(name, head)]
