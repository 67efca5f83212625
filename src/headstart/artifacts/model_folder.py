"""The best model as a folder that torchvision and timm can open.

`model.safetensors` has torchvision's keys, `config.json` follows timm's hub layout (so `local-dir:` opens it),
`preprocess.json` says in full how pixels become input, `README.md` is the card.
"""

from __future__ import annotations

import html
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headstart.config.run_config import NetworkConfig
from headstart.config.start_spec import short_start
from headstart.errors import DataError, ModelFileError, UsageError
from headstart.models import structure
from headstart.storage.files import link, write_atomic, write_json
from headstart.training.checkpoint import tensor_bytes
from headstart.training.events import Epoch
from headstart.training.setup import TrainingSetup, make_network
from headstart.weights.files import BACKBONE, HEAD, WHOLE, model_weights

NOT_WHOLE = """
The weights lie in two files, `backbone.safetensors` (frozen) and `head.safetensors`; together they are the state dict.
"""
LARGEST_SIDE = 100_000  # px; a file that asks for more is damaged


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


def write_model(
    folder: Path, state: dict[str, Tensor], prepared: TrainingSetup, event: Epoch, backbone: Path | None = None
) -> None:
    """Write or replace the model folder; each file is replaced whole.

    With `trunk`, a file of the frozen tensors, `state` is the head alone: it becomes `head.safetensors`, beside
    `backbone.safetensors`, which is a link to that file where links can be made. `make_whole` puts the two together.
    """
    folder.mkdir(exist_ok=True)
    write_atomic(folder / (WHOLE if backbone is None else HEAD), tensor_bytes(state))
    if backbone is not None:
        (folder / WHOLE).unlink(missing_ok=True)
        (folder / BACKBONE).unlink(missing_ok=True)
        link(backbone, folder / BACKBONE)
    write_json(folder / "config.json", _config(prepared, event.epoch))
    write_json(folder / "preprocess.json", _preprocess(prepared))
    write_atomic(folder / "README.md", _card(prepared, event, whole=backbone is None))


def make_whole(folder: Path) -> None:
    """Turn a model folder with a shared trunk into one with all its weights in one file."""
    if not (folder / WHOLE).exists():
        write_atomic(folder / WHOLE, tensor_bytes(model_weights(folder).state))
        config = _read_object(folder / "config.json")
        spec, card = config["headstart"], (folder / "README.md").read_text(encoding="utf-8")
        opens = _opens(NetworkConfig(**spec["network"]), spec["head"], config["num_classes"])
        write_atomic(folder / "README.md", card.replace(NOT_WHOLE, opens))
        (folder / HEAD).unlink()
        (folder / BACKBONE).unlink()


def epoch_of(folder: Path) -> int:
    """The epoch whose weights lie in a model folder; 0 where there are none."""
    path = folder / "config.json"
    return int(_read_object(path)["headstart"].get("epoch", 0)) if path.exists() else 0


def read_model(folder: Path) -> Model:
    """Open a model folder. Raises ModelFileError for one that is missing something, damaged, hostile or does not fit.

    Nothing in the folder is executed, and no more memory is taken than its files are large.
    """
    config, how = (_read_object(folder / name) for name in ("config.json", "preprocess.json"))
    try:
        classes = _classes(config["label_names"])
        spec = config["headstart"]
        wanted = NetworkConfig(**spec["network"])
        head, trained_on = str(spec["head"]), spec["data"]
        for key in ("fingerprint", "seed", "test_seed"):
            _ = trained_on[key]
        size, side = _side(how["size"]), _side(how["store_side"])
        mean, std = _triple(how["mean"], -math.inf), _triple(how["std"], 0)
    except (LookupError, TypeError, ValueError) as error:
        raise _unfit(folder, f"its settings do not fit: {_first_line(error)}") from None
    network = _network(folder, wanted, head, len(classes))
    return Model(network.eval(), classes, size, side, mean, std, config)


def _network(folder: Path, wanted: NetworkConfig, head: str, num_classes: int) -> nn.Module:
    """The network with the weights that lie in the folder."""
    try:
        state = model_weights(folder).state
        if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            raise _unfit(folder, "it has weights that are not finite")
        widths = [num_classes, *(int(n) for n in head.partition(":")[2:] if n.isdecimal())]
        if not all(any(t.ndim and t.shape[0] == width for t in state.values()) for width in widths):
            raise _unfit(folder, f"its weights are not those of {num_classes} classes and the head {head}")
        network = make_network(wanted, head, num_classes, 0)
        network.load_state_dict(state)
    except DataError as error:
        raise _unfit(folder, _first_line(error.message)) from None
    except UsageError as error:
        raise _unfit(folder, f"its settings do not fit: {_first_line(error.message)}") from None
    except RuntimeError as error:  # load_state_dict's list of what does not fit
        faults = [line.strip() for line in str(error).splitlines()[1:]]
        raise _unfit(folder, faults[0].rstrip(".") if faults else _first_line(error)) from None
    return network


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _unfit(path.parent, f"{path.name} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _unfit(path.parent, f"{path.name} is damaged: {_first_line(error)}") from None
    if not isinstance(content, dict):
        raise _unfit(path.parent, f"{path.name} holds no settings")
    return content


def _classes(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len({*names}) != len(names):
        raise ValueError("label_names is no list of different names")
    return tuple(names)


def _side(value: Any) -> int:
    if not isinstance(value, int) or not 1 <= value <= LARGEST_SIDE:
        raise ValueError(f"{value!r} px is no side of an image")
    return value


def _triple(values: Any, above: float) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    if not all(above < v < math.inf for v in (red, green, blue)):
        raise ValueError(f"{values} is no mean or std of three colours")
    return red, green, blue


def _unfit(folder: Path, why: str) -> ModelFileError:
    return ModelFileError(
        f"The model in {folder} cannot be used ({why.rstrip('.')}).", "Take it from a copy, or train it again."
    )


def _first_line(error: object) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(":.") if text else type(error).__name__


def _config(prepared: TrainingSetup, epoch: int) -> dict[str, Any]:
    plan, size = prepared.plan, prepared.plan.recipe.image_size
    published = getattr(prepared.network, "pretrained_cfg", None) or {"first_conv": "conv1"}
    return {
        "architecture": plan.network.network.removeprefix("timm:").partition(".")[0],
        "num_classes": len(plan.facts.class_names),
        "label_names": list(plan.facts.class_names),
        "pretrained_cfg": {
            "num_classes": len(plan.facts.class_names),
            "input_size": [3, size, size],
            "fixed_input_size": structure.fixed_size(prepared.network) is not None,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(prepared.start.mean),
            "std": list(prepared.start.std),
            "first_conv": published.get("first_conv"),
            "classifier": structure.head_name(prepared.network),
            "license": prepared.start.licence,
        },
        "headstart": {
            "network": plan.network.model_dump(),
            "head": plan.arm.head,
            "start": short_start(plan.arm.start),
            "provenance": prepared.start.provenance,
            "plan": plan.hash,
            "epoch": epoch,
            "data": {
                "fingerprint": plan.facts.fingerprint,
                **plan.seeding.model_dump(),
                **plan.data.model_dump(include={"fraction", "evaluate_on_val"}),
            },
        },
    }


def _preprocess(prepared: TrainingSetup) -> dict[str, Any]:
    recipe = prepared.plan.recipe
    return {
        "steps": [
            "decode; apply the EXIF orientation; convert to RGB, transparency on white",
            "reduce so that the shorter side is store_side px and the longer at most four times that; "
            "never enlarge, and leave what is, or decodes to, at most an eighth more",
            "cut out the centred square",
            "resize to size x size, bilinear with antialiasing",
            "divide by 255, subtract mean, divide by std",
        ],
        "store_side": round(recipe.image_size * prepared.plan.data.cache_resolution),
        "size": recipe.image_size,
        "mean": list(prepared.start.mean),
        "std": list(prepared.start.std),
    }


def _card(prepared: TrainingSetup, event: Epoch, *, whole: bool) -> str:
    plan = prepared.plan
    return f"""# {plan.network.network} for {_plain(", ".join(plan.facts.class_names))}

Arm {_plain(plan.arm_name)}, seed {plan.seeding.seed}, epoch {event.epoch}: accuracy {event.val.accuracy:.3f} on
{event.val.n} validation images, which also chose this epoch. {plan.facts.counts["train"]} training images.

- start: {_plain(prepared.start.provenance)}
- licence of the starting weights: {_plain(prepared.start.licence)}
- input: {plan.recipe.image_size} x {plan.recipe.image_size} px, as `preprocess.json` says

    headstart predict . photo.jpg
{_opens(plan.network, plan.arm.head, len(plan.facts.class_names)) if whole else NOT_WHOLE}"""


def _plain(text: str) -> str:
    """Names from strangers as text of one line, never as HTML."""
    return html.escape(" ".join(text.split()), quote=False)


def _opens(network: NetworkConfig, head: str, classes: int) -> str:
    """How others open it, where they can: as published but for the number of classes."""
    if head != "linear" or network.shortcut == "off" or network.norm != "batch" or network.stem != "imagenet":
        return ""
    text = """
    import timm
    model = timm.create_model("local-dir:.", pretrained=True)
"""
    if not network.network.startswith("timm:"):
        text += f"""
    import torchvision
    from safetensors.torch import load_file
    model = torchvision.models.{network.network}(num_classes={classes})
    model.load_state_dict(load_file("model.safetensors"))
"""
    return text
