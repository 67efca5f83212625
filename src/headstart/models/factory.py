"""The ResNet family on one page, and any timm network by its name.

He et al. 2015, "Deep residual learning for image recognition" (arXiv:1512.03385); the bottleneck carries its stride on
the 3x3 convolution ("v1.5"), as torchvision's does. Module and state-dict names are torchvision's, and with the
shortcut, BatchNorm and the ImageNet stem on, outputs and gradients in fp32 are bit-equal to torchvision's.

Images are float tensors (n, 3, height, width); logits are (n, classes).
"""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from headstart.errors import UsageError
from headstart.models.resnet import FAMILY, NORMS, STEMS, ResNet
from headstart.rng import torch_stream


def build(
    name: str, num_classes: int, *, shortcut: bool = True, norm: str = "batch", stem: str = "imagenet"
) -> nn.Module:
    """The network `name` (resnet18, resnet34, resnet50 or timm:NAME) with a linear head of `num_classes`.

    Its values are torch's defaults and always the same; `starts.initialise` fills in the real ones. Raises UsageError
    for an unknown name or switch, and for switches on a timm network.
    """
    _check_switch("norm", norm, NORMS)
    _check_switch("stem", stem, STEMS)
    if name.startswith("timm:"):
        timm_config(name)  # an unknown name is told before what it could not do
        if not (shortcut and norm == "batch" and stem == "imagenet"):
            raise UsageError(
                f"Shortcut, norm and stem can be switched in headstart's own networks only, not in {name}.",
                f"Leave the switches out, or use one of {', '.join(FAMILY)}.",
            )
        return _build_timm(name, num_classes)
    if name not in FAMILY:
        raise UsageError(f"There is no network {name!r}.", _nearest(name, [*FAMILY, "timm:NAME"]))
    block, depths = FAMILY[name]
    with torch_stream(0, "build"):
        return ResNet(name, block, depths, num_classes, shortcut=shortcut, norm=norm, stem=stem)


def _check_switch(switch: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{value!r} is no {switch}.", _nearest(value, list(known)))


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Use one of {', '.join(known)}."


def timm_config(name: str) -> Any:
    """timm's own description (a PretrainedCfg) of NAME in `timm:NAME`; raises UsageError if timm has no such network.

    Only names in timm's registry are taken: its `hf-hub:` and `local-dir:` forms would fetch a description from
    elsewhere.
    """
    import timm
    from timm.models import get_pretrained_cfg

    bare = name.removeprefix("timm:")
    architecture, _, tag = bare.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        close = difflib.get_close_matches(architecture, known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join('timm:' + c for c in close)}?" if close else ""
        raise UsageError(
            f"timm {timm.__version__} has no network {bare!r}.",
            hint or f"`timm.list_models()` lists its {len(known)} networks.",
        )
    try:
        config = get_pretrained_cfg(bare)
    except RuntimeError:  # an unknown tag
        config = None
    if config is None:
        tagged = sorted(timm.list_models(f"{architecture}.*", pretrained=True))
        raise UsageError(
            f"timm {timm.__version__} has no weights {tag!r} for {architecture}.",
            f"It has {', '.join('timm:' + t for t in tagged)}." if tagged else f"Leave .{tag} out.",
        )
    return config


def _build_timm(name: str, num_classes: int) -> nn.Module:
    import timm

    config = timm_config(name)
    with torch_stream(0, "build"):
        network = timm.create_model(name.removeprefix("timm:"), pretrained=False, num_classes=num_classes)
    if not isinstance(config.classifier, str):
        raise UsageError(
            f"{name} has {len(config.classifier or ())} heads, and headstart trains exactly one.",
            "Use another network, for example the same without `_distilled` in its name.",
        )
    return network
