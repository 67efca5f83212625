"""Build a network by its name: the ResNet family, any timm network, or a user's own.

Images are float tensors (n, 3, height, width); logits are (n, classes).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from headstart.errors import UsageError
from headstart.i18n import Message, _
from headstart.models.resnet import FAMILY, NORMS, STEMS, ResNet
from headstart.models.user_code import is_user_network, label
from headstart.rng import torch_stream
from headstart.text import closest, replacement_hint

if TYPE_CHECKING:
    from timm.models import PretrainedCfg


def build(
    name: str,
    num_classes: int,
    *,
    shortcut: bool = True,
    norm: str = "batch",
    stem: str = "imagenet",
    head_layer: str = "",
    stage_layers: Sequence[str] = (),
) -> nn.Module:
    """Return a network with a linear head.

    Its values are torch's defaults and always the same; `starts.initialize` replaces them.

    Args:
        name: A name in `resnet.FAMILY`, timm:NAME, or PATH.py:NAME of a user's own network.
        num_classes: Number of outputs.
        shortcut: Whether blocks have their shortcut.
        norm: One of `resnet.NORMS`.
        stem: One of `resnet.STEMS`.
        head_layer: Name of the head's module in a user's own network; "" to find it.
        stage_layers: Names of the modules of the stages in a user's own network; empty to find them.

    Raises:
        UsageError: If a name or switch is unknown, a switch is used on another network than one of the family, or the
            user's own network fails.
    """
    _check_switch("norm", norm, NORMS)
    _check_switch("stem", stem, STEMS)
    is_own = is_user_network(name)
    if name.startswith("timm:"):
        pretrained_cfg(name)  # report an unknown name first
    if (is_own or name.startswith("timm:")) and not (shortcut and norm == "batch" and stem == "imagenet"):
        raise UsageError(
            _("{name} does not support the switches shortcut, norm and stem.", name=label(name)),
            _("Omit the switches, or use one of {networks}.", networks=", ".join(FAMILY)),
        )
    if is_own:
        from headstart.models import user_network

        return user_network.build(name, num_classes, head_layer=head_layer, stage_layers=stage_layers)
    if head_layer or stage_layers:
        raise UsageError(
            _("{name} has its own head and stages.", name=name),
            _("Leave out --head-layer and --stage-layers, which are for a network of your own."),
        )
    if name.startswith("timm:"):
        return _build_timm(name, num_classes)
    if name not in FAMILY:
        raise UsageError(
            _("There is no network {name!r}.", name=name),
            _in_timm(name) or _nearest(name, [*FAMILY, "timm:NAME", "PATH.py:NAME"]),
        )
    device = torch.get_default_device()  # meta within a block for the shapes alone
    return copy.deepcopy(_template(name, num_classes, shortcut, norm, stem, device))


@lru_cache(maxsize=1)
def _template(name: str, num_classes: int, shortcut: bool, norm: str, stem: str, device: torch.device) -> ResNet:
    """Return a network of the family, which a process keeps: copying it is faster than drawing the weights again."""
    del device  # part of the key
    with torch_stream(0, "build"):
        return ResNet(FAMILY[name], num_classes, shortcut=shortcut, norm=norm, stem=stem)


def _check_switch(switch: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(
            _("There is no {switch} {value!r}.", switch=switch, value=value), _nearest(value, list(allowed))
        )


def _nearest(name: str, names: list[str]) -> Message:
    return replacement_hint(name, names) or _("Use one of {names}.", names=", ".join(names))


def _in_timm(name: str) -> Message | None:
    """Return the hint for a name of timm without its prefix; None for other names."""
    import timm

    return _("Use timm:{name}.", name=name) if timm.is_model(name.partition(".")[0]) else None


def pretrained_cfg(name: str) -> PretrainedCfg:
    """Return timm's PretrainedCfg of NAME in `timm:NAME`.

    Only names in timm's registry are allowed. The forms `hf-hub:` and `local-dir:` would read a description from
    another place.

    Raises:
        UsageError: If timm has no such network or no weights with that tag.
    """
    import timm
    from timm.models import get_pretrained_cfg

    bare = name.removeprefix("timm:")
    architecture, _unused, tag = bare.partition(".")
    if not timm.is_model(architecture):
        names = timm.list_models()
        similar = closest(architecture, names, cutoff=0.5)
        raise UsageError(
            _("timm {version} has no network {name!r}.", version=timm.__version__, name=bare),
            _("Use timm:{similar}.", similar=similar)
            if similar
            else _("`timm.list_models()` lists its {count} networks.", count=len(names)),
        )
    try:
        config = get_pretrained_cfg(bare)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None:
        tagged = sorted(timm.list_models(f"{architecture}.*", pretrained=True))
        raise UsageError(
            _(
                "timm {version} has no weights {tag!r} for {architecture}.",
                version=timm.__version__,
                tag=tag,
                architecture=architecture,
            ),
            _("It has {names}.", names=", ".join("timm:" + t for t in tagged))
            if tagged
            else _("Omit .{tag}.", tag=tag),
        )
    return config


def _build_timm(name: str, num_classes: int) -> nn.Module:
    import timm

    config = pretrained_cfg(name)
    with torch_stream(0, "build"):
        network = timm.create_model(name.removeprefix("timm:"), pretrained=False, num_classes=num_classes)
    if not isinstance(config.classifier, str):
        raise UsageError(
            _("{name} has {count} heads; headstart supports one.", name=name, count=len(config.classifier or ())),
            _("Use another network, for example the one without `_distilled` in its name."),
        )
    return network
