"""Gradient probe: measure signal flow through a network on a few fixed images, in fp32, without side effects.

The probe measures the gradient of the loss at the output of every block (|∂L/∂h|: whether gradients reach the early
layers), the share of zeros after every ReLU, and the distance of every layer's weights from their initial values. It
leaves the network's weights, statistics and gradients, and every random number generator, unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from headstart.data import transforms
from headstart.models import structure
from headstart.rng import torch_stream
from headstart.storage.schemas.metrics import ProbeLine
from headstart.telemetry.tensor_stats import relative_change
from headstart.training.objective import Objective
from headstart.training.state import TrainingContext

ForwardHook = Callable[[nn.Module, tuple[Tensor, ...], Tensor | tuple[Tensor, ...]], None]
PROBE_IMAGES = 8
SHORTCUT_MODULE = "downsample"  # ResNets' name of the convolution on a shortcut; a ReLU after it belongs to the block


class Probe:
    """Measures one network, always on the same images, which are evenly spaced in the training split."""

    def __init__(self, context: TrainingContext) -> None:
        """Select the images and copy the initial weights, from which distances are measured.

        Args:
            context: Its `network` must still have its initial weights.
        """
        images = context.batches.images
        rows = np.linspace(0, len(images) - 1, min(PROBE_IMAGES, len(images))).round().astype(int)
        pixels = transforms.plain_batch(images.pixels(rows), context.batches.augmentation.size)
        self._images = transforms.normalize(pixels, context.mean, context.std, context.device)
        self._labels = torch.from_numpy(images.labels[rows]).to(context.device)
        self._network = context.network
        self._modules = dict(context.network.named_modules())
        self._layers = structure.layer_names(context.network)
        self._blocks = structure.block_names(context.network) or self._layers
        self._initial_weights = {name: self._weight(name).clone() for name in self._layers}

    def line(self, step: int, epoch: int) -> ProbeLine:
        """Probe the network and return a line of the record.

        Values that are not finite are None.

        Args:
            step: Updates done.
            epoch: Number of the epoch; 0 before the first step.

        Returns:
            The measurements. Blocks up to which everything is frozen have no gradient norm.
        """
        outputs: dict[str, Tensor] = {}
        zeros: dict[str, float] = {}
        dead: dict[str, float] = {}
        buffers = {name: buffer.clone() for name, buffer in self._network.named_buffers()}
        with self._forward_hooks(outputs, zeros, dead), torch.enable_grad(), torch_stream(0, "probe"):
            logits = functional_call(self._network, buffers, (self._images,)).float()
            loss = Objective().loss(logits, self._labels)  # without class weights and label smoothing
            trainable = {name: output for name, output in outputs.items() if output.requires_grad}
            gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True) if trainable else ()
        norms = {name: _norm(tensor) for name, tensor in zip(trainable, gradients, strict=True) if tensor is not None}
        with torch.no_grad():
            distance = {name: self._distance(name) for name in self._layers}
        return ProbeLine(
            step=step,
            epoch=epoch,
            loss=_finite(float(loss.detach())),
            block_gradient_norm=norms,
            zero_activations=zeros,
            dead_channels=dead,
            distance_from_init=distance,
        )

    @contextmanager
    def _forward_hooks(
        self, outputs: dict[str, Tensor], zeros: dict[str, float], dead: dict[str, float]
    ) -> Iterator[None]:
        """Record block outputs and shares of zeros during a forward pass into the three dictionaries."""
        last = [""]  # the last layer that ran: a block may use one ReLU module several times

        def make_hook(name: str) -> ForwardHook:
            """Return the forward hook of the module called `name`."""

            def hook(module: nn.Module, _: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
                """Record the output of a block or the zeros after a ReLU."""
                if name in self._layers and SHORTCUT_MODULE not in name:
                    last[0] = name
                if not isinstance(output, Tensor):
                    return
                if name in self._blocks:
                    outputs[name] = output
                if isinstance(module, nn.ReLU) and last[0] not in zeros:
                    values = output.detach()
                    zeros[last[0]] = 1 - int(torch.count_nonzero(values)) / values.numel()
                    if values.ndim == 4 and values[0, 0].numel() > 1:  # one value per image says little about a filter
                        dead[last[0]] = float((values.amax(dim=(0, 2, 3)) == 0).float().mean())

            return hook

        handles = [module.register_forward_hook(make_hook(name)) for name, module in self._modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _distance(self, layer: str) -> float | None:
        return relative_change(self._initial_weights[layer], self._weight(layer))

    def _weight(self, layer: str) -> Tensor:
        weight = self._modules[layer].weight
        assert isinstance(weight, Tensor)  # noqa: S101  (layers are convolutions and linear layers)
        return weight.detach()


def _norm(tensor: Tensor) -> float | None:
    """Return the norm in float64, because 1e-30 squared underflows in float32; not every device has float64."""
    values = tensor.detach() if tensor.device.type in ("cpu", "cuda") else tensor.detach().cpu()
    return _finite(float(torch.linalg.vector_norm(values, dtype=torch.float64)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
