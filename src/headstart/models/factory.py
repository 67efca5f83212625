"""Build a network by its name: the ResNet family or any timm network.

Images are float tensors (n, 3, height, width); logits are (n, classes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from headstart.errors import UsageError
from headstart.models.resnet import FAMILY, NORMS, STEMS, ResNet
from headstart.rng import torch_stream
from headstart.text import closest, replacement_hint

if TYPE_CHECKING:
    from timm.models import PretrainedCfg


def build(
    name: str, num_classes: int, *, shortcut: bool = True, norm: str = "batch", stem: str = "imagenet"
) -> nn.Module:
    """Return a network with a linear head.

    Its values are torch's defaults and always the same; `starts.initialize` replaces them.

    Args:
        name: resnet18, resnet34, resnet50 or timm:NAME.
        num_classes: Number of outputs.
        shortcut: Whether blocks have their shortcut.
        norm: One of `resnet.NORMS`.
        stem: One of `resnet.STEMS`.

    Raises:
        UsageError: If a name or switch is unknown, or a switch is used on a timm network.
    """
    _check_switch("norm", norm, NORMS)
    _check_switch("stem", stem, STEMS)
    if name.startswith("timm:"):
        timm_config(name)  # report an unknown name first
        if not (shortcut and norm == "batch" and stem == "imagenet"):
            raise UsageError(
                f"{name} does not support the switches shortcut, norm and stem.",
                f"Omit the switches, or use one of {', '.join(FAMILY)}.",
            )
        return _build_timm(name, num_classes)
    if name not in FAMILY:
        raise UsageError(f"There is no network {name!r}.", _nearest(name, [*FAMILY, "timm:NAME"]))
    block, depths = FAMILY[name]
    with torch_stream(0, "build"):
        return ResNet(name, block, depths, num_classes, shortcut=shortcut, norm=norm, stem=stem)


def _check_switch(switch: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"There is no {switch} {value!r}.", _nearest(value, list(allowed)))


def _nearest(name: str, names: list[str]) -> str:
    return replacement_hint(name, names) or f"Use one of {', '.join(names)}."


def timm_config(name: str) -> PretrainedCfg:
    """Return timm's PretrainedCfg of NAME in `timm:NAME`.

    Only names in timm's registry are allowed. The forms `hf-hub:` and `local-dir:` would read a description from
    another place.

    Raises:
        UsageError: If timm has no such network or no weights with that tag.
    """
    import timm
    from timm.models import get_pretrained_cfg

    bare = name.removeprefix("timm:")
    architecture, _, tag = bare.partition(".")
    if not timm.is_model(architecture):
        names = timm.list_models()
        similar = closest(architecture, names, cutoff=0.5)
        raise UsageError(
            f"timm {timm.__version__} has no network {bare!r}.",
            f"Use timm:{similar}." if similar else f"`timm.list_models()` lists its {len(names)} networks.",
        )
    try:
        config = get_pretrained_cfg(bare)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None:
        tagged = sorted(timm.list_models(f"{architecture}.*", pretrained=True))
        raise UsageError(
            f"timm {timm.__version__} has no weights {tag!r} for {architecture}.",
            f"It has {', '.join('timm:' + t for t in tagged)}." if tagged else f"Omit .{tag}.",
        )
    return config


def _build_timm(name: str, num_classes: int) -> nn.Module:
    import timm

    config = timm_config(name)
    with torch_stream(0, "build"):
        network = timm.create_model(name.removeprefix("timm:"), pretrained=False, num_classes=num_classes)
    if not isinstance(config.classifier, str):
        raise UsageError(
            f"{name} has {len(config.classifier or ())} heads; headstart supports one.",
            "Use another network, for example the one without `_distilled` in its name.",
        )
    return network
