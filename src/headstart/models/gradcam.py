"""Where a network looks: Grad-CAM (Selvaraju et al. 2017, equations 1 and 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def grad_cam(network: nn.Module, layer: str, images: Tensor, classes: Tensor) -> Tensor | None:
    """What in `images` [n, 3, h, w] speaks for `classes` [n]: heat maps [n, h, w], each from 0 to 1.

    `layer` is the module whose output [n, c, h', w'] is weighed, usually the last block. None where its output is not
    of that shape (transformers, and networks of timm's that keep channels last). Parameters and their gradients stay as
    they are.
    """
    kept: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda module, given, output: kept.append(output))
    try:
        with torch.enable_grad():
            logits = network(images.detach().requires_grad_())
    finally:
        handle.remove()
    seen = kept[0]
    if not isinstance(seen, Tensor) or seen.ndim != 4 or str(getattr(network, "output_fmt", "NCHW")) == "NHWC":
        return None
    (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), seen)
    maps = F.relu((gradient.mean((2, 3), keepdim=True) * seen).sum(1, keepdim=True)).detach()
    maps = F.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
