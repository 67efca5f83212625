"""The best model as a folder that torchvision and timm can open.

`model.safetensors` has torchvision's keys, `config.json` follows timm's hub layout (so `local-dir:` opens it),
`preprocess.json` says in full how pixels become input, `README.md` is the card.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from headstart.build import Prepared, make_network
from headstart.checkpoint import tensor_bytes
from headstart.errors import ModelFileError
from headstart.loop import Epoch
from headstart.plan import Network
from headstart.record import write_atomic, write_json


@dataclass(frozen=True)
class Model:
    """A trained network and what it needs to be used: class names and the way pixels become its input."""

    network: nn.Module
    classes: tuple[str, ...]
    size: int  # side of the input in px
    store_side: int  # shorter side that photos are first reduced to, as in training
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    config: dict[str, Any]


def write_model(folder: Path, network: nn.Module, prepared: Prepared, event: Epoch) -> None:
    """Write or replace the model folder; each file is replaced whole."""
    folder.mkdir(exist_ok=True)
    config = _config(prepared)
    write_atomic(folder / "model.safetensors", tensor_bytes(network.state_dict()))
    write_json(folder / "config.json", config)
    write_json(folder / "preprocess.json", _preprocess(prepared))
    write_atomic(folder / "README.md", _card(prepared, event))


def read_model(folder: Path) -> Model:
    """Open a model folder. Raises ModelFileError for one that is missing something, damaged, or does not fit."""
    cure = "Name a run, its model folder, or a study that headstart wrote."
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        how = json.loads((folder / "preprocess.json").read_text(encoding="utf-8"))
        classes = tuple(config["label_names"])
        spec = config["headstart"]
        network = make_network(Network(**spec["network"]), spec["head"], len(classes), 0)
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{folder} is not a whole model: {Path(str(error.filename)).name} is missing.", cure
        ) from None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelFileError(f"The model in {folder} cannot be opened ({first}).", cure) from None
    if not all(torch.isfinite(p).all() for p in network.parameters()):
        raise ModelFileError(
            f"The model in {folder} has weights that are not finite.", "Take it from a copy, or train it again."
        )
    return Model(network.eval(), classes, how["size"], how["store_side"], tuple(how["mean"]), tuple(how["std"]), config)


def _config(prepared: Prepared) -> dict[str, Any]:
    plan, size = prepared.plan, prepared.plan.recipe.image_size
    return {
        "architecture": plan.network.network.removeprefix("timm:"),
        "num_classes": len(plan.facts.class_names),
        "label_names": list(plan.facts.class_names),
        "pretrained_cfg": {
            "num_classes": len(plan.facts.class_names),
            "input_size": [3, size, size],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(prepared.start.mean),
            "std": list(prepared.start.std),
            "license": prepared.start.licence,
        },
        "headstart": {
            "network": plan.network.model_dump(),
            "head": plan.arm.head,
            "start": plan.arm.start,
            "provenance": prepared.start.provenance,
            "plan": plan.hash,
            "data": {"fingerprint": plan.facts.fingerprint, **plan.chance.model_dump()},
        },
    }


def _preprocess(prepared: Prepared) -> dict[str, Any]:
    recipe = prepared.plan.recipe
    return {
        "steps": [
            "decode; apply the EXIF orientation; convert to RGB, transparency on white",
            "reduce so that the shorter side is store_side px (never enlarge)",
            "cut out the centred square",
            "resize to size x size, bilinear with antialiasing",
            "divide by 255, subtract mean, divide by std",
        ],
        "store_side": round(recipe.image_size * prepared.plan.data.store_scale),
        "size": recipe.image_size,
        "mean": list(prepared.start.mean),
        "std": list(prepared.start.std),
    }


def _card(prepared: Prepared, event: Epoch) -> str:
    plan = prepared.plan
    plain = plan.arm.head == "linear" and plan.network.shortcut == "on" and plan.network.norm == "batch"
    opens = ""
    if plain and plan.network.stem == "imagenet" and not plan.network.network.startswith("timm:"):
        opens = f"""
    import torchvision
    from safetensors.torch import load_file
    model = torchvision.models.{plan.network.network}(num_classes={len(plan.facts.class_names)})
    model.load_state_dict(load_file("model.safetensors"))
"""
    return f"""# {plan.network.network} for {", ".join(plan.facts.class_names)}

Arm `{plan.arm_name}`, seed {plan.chance.seed}, epoch {event.epoch}: accuracy {event.val.accuracy:.3f} on {event.val.n}
validation images, which also chose this epoch. {plan.facts.counts["train"]} training images.

- start: {prepared.start.provenance}
- licence of the starting weights: {prepared.start.licence}
- input: {plan.recipe.image_size} x {plan.recipe.image_size} px, as `preprocess.json` says

    headstart predict . photo.jpg
{opens}"""
