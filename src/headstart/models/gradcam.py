"""Compute Grad-CAM heat maps (Selvaraju et al. 2017, equations 1 and 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def grad_cam(network: nn.Module, layer: str, images: Tensor, classes: Tensor) -> Tensor | None:
    """Return the regions of each image that raise the logit of its class.

    Parameters and their gradients do not change.

    Args:
        network: The network.
        layer: Name of the module whose output [n, c, h', w'] is weighted, usually the last block.
        images: Images [n, 3, h, w].
        classes: One class per image [n].

    Returns:
        Heat maps [n, h, w], each from 0 to 1, or None where the output of `layer` has another shape (transformers, and
        timm networks with channels last).
    """
    outputs: list[Tensor] = []

    def begin_graph(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """Record operations from this output on: nothing before it is differentiated."""
        if outputs or not isinstance(output, Tensor):  # the layer is called twice, or has no feature maps
            outputs.append(output)
            return output
        torch.set_grad_enabled(True)
        outputs.append(output.detach().requires_grad_())
        return outputs[0].clone()  # the next module may work in place

    handle = network.get_submodule(layer).register_forward_hook(begin_graph)
    try:
        with torch.no_grad():
            logits = network(images)
    finally:
        handle.remove()
    features = outputs[0]
    if not isinstance(features, Tensor) or features.ndim != 4 or str(getattr(network, "output_fmt", "NCHW")) == "NHWC":
        return None
    (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), features)
    maps = F.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True)).detach()
    maps = F.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-12)
