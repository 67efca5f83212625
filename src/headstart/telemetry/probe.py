"""What flows through a network: a few fixed photos forward and back, in fp32, on the side.

At the output of every block the gradient of the loss (|∂L/∂h|: whether anything reaches the early layers), behind every
ReLU what it lets through, and of every layer how far its weights have come. The network's values, statistics and
gradients, and every generator of random numbers, are afterwards as they were before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from headstart.data import transforms
from headstart.models import structure
from headstart.rng import torch_stream
from headstart.telemetry.tensor_stats import relative_change
from headstart.training.state import TrainingContext

PHOTOS = 8
SIDE_PATH = "downsample"  # ResNets call the convolution on a shortcut so; what follows it belongs to the block


class Probe:
    """Looks at one network, always with the same photos: the same share of the way through the training split."""

    def __init__(self, parts: TrainingContext) -> None:
        """`parts.network` has the values that it starts with: distances are measured from them."""
        photos = parts.batches.photos
        rows = np.linspace(0, len(photos) - 1, min(PHOTOS, len(photos))).round().astype(int)
        plain = transforms.plain_batch(photos.pixels(rows), parts.batches.how.size)
        self._images = transforms.normalise(plain, parts.mean, parts.std, parts.device)
        self._labels = torch.from_numpy(photos.labels[rows]).to(parts.device)
        self._network = parts.network
        self._modules = dict(parts.network.named_modules())
        self._layers = structure.layer_names(parts.network)
        self._blocks = structure.block_names(parts.network) or self._layers
        self._origin = {name: self._weight(name).clone() for name in self._layers}

    def line(self, step: int, epoch: int) -> dict[str, Any]:
        """A line of the record: `loss`, by block `flow`, by activation `zeros` and `dead`, by layer `distance`.

        `flow` is the norm of ∂L/∂h over all photos, L being their mean cross-entropy; blocks up to which everything is
        frozen have none. `zeros` is the share of zeros behind a ReLU, `dead` that of channels of a map which are zero
        everywhere on all photos. `distance` is |w - w₀|/|w₀|. What is not finite is None.
        """
        outputs: dict[str, Tensor] = {}
        zeros: dict[str, float] = {}
        dead: dict[str, float] = {}
        buffers = {name: buffer.clone() for name, buffer in self._network.named_buffers()}
        with self._listening(outputs, zeros, dead), torch.enable_grad(), torch_stream(0, "probe"):
            loss = F.cross_entropy(functional_call(self._network, buffers, (self._images,)).float(), self._labels)
            reached = {name: output for name, output in outputs.items() if output.requires_grad}
            flows = torch.autograd.grad(loss, list(reached.values()), allow_unused=True) if reached else ()
        flow = {name: _norm(flow) for name, flow in zip(reached, flows, strict=True) if flow is not None}
        with torch.no_grad():
            distance = {name: self._distance(name) for name in self._layers}
        value = float(loss.detach())
        return {
            "kind": "probe",
            "step": step,
            "epoch": epoch,
            "loss": _finite(value),
            "flow": flow,
            "zeros": zeros,
            "dead": dead,
            "distance": distance,
        }

    @contextmanager
    def _listening(self, outputs: dict[str, Tensor], zeros: dict[str, float], dead: dict[str, float]) -> Iterator[None]:
        """Within the block a forward pass leaves its blocks' outputs and its ReLUs' zeros in these."""
        last = [""]  # the layer that has just been at work: one ReLU module serves several of a block

        def heard(name: str) -> Any:
            def hook(module: nn.Module, _: Any, output: Any) -> None:
                if name in self._layers and SIDE_PATH not in name:
                    last[0] = name
                if name in self._blocks and isinstance(output, Tensor):
                    outputs[name] = output
                if isinstance(module, nn.ReLU) and last[0] not in zeros:
                    values = output.detach()
                    zeros[last[0]] = 1 - int(torch.count_nonzero(values)) / values.numel()
                    if values.ndim == 4 and values[0, 0].numel() > 1:  # one value a photo says little of a filter
                        dead[last[0]] = float((values.amax(dim=(0, 2, 3)) == 0).float().mean())

            return hook

        handles = [module.register_forward_hook(heard(name)) for name, module in self._modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _distance(self, layer: str) -> float | None:
        return relative_change(self._origin[layer], self._weight(layer))

    def _weight(self, layer: str) -> Tensor:
        weight = self._modules[layer].weight
        assert isinstance(weight, Tensor)  # noqa: S101  (layers are convolutions and linear layers)
        return weight.detach()


def _norm(tensor: Tensor) -> float | None:
    """In float64, since 1e-30 squared is no float32; not every device has it."""
    here = tensor.detach() if tensor.device.type in ("cpu", "cuda") else tensor.detach().cpu()
    return _finite(float(torch.linalg.vector_norm(here, dtype=torch.float64)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
