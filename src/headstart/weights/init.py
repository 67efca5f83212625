"""Random initialization of the backbone, from (seed, "init"). The head is drawn from (seed, "head")."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from headstart.models.resnet import ResNet
from headstart.models.structure import WEIGHT_LAYERS, WeightLayer, block_names, description_of, head_name, in_part
from headstart.models.timm_config import TimmConfig
from headstart.rng import torch_stream

NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


Initializer = Callable[[nn.Module], None]  # draws the backbone of a network, in place


@torch.no_grad()
def draw_backbone(network: nn.Module, init: Initializer, *, seed: int) -> None:
    """Initialize everything but the head, in place, from (seed, "init").

    Parameters of other networks than a `ResNet` that are neither weights nor norms (position embeddings, layer scales)
    always come from the network's constructor.
    """
    if not isinstance(network, ResNet):
        _construct_again(network, seed)
    with torch_stream(seed, "init"):
        init(network)


def keep_constructed(network: nn.Module) -> None:
    """Leave the weights as the network's constructor has drawn them."""


def kaiming(network: nn.Module) -> None:
    """Draw normal weights with variance 2 / fan-out, as torchvision (He et al. 2015)."""

    def draw(_: str, layer: WeightLayer) -> None:
        """Draw the weights of one layer."""
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        layer.weight.mul_(math.sqrt(_groups(layer)))  # torch computes fan-out over the channels of all groups

    _draw_weights(network, draw)


def xavier(network: nn.Module) -> None:
    """Draw normal weights with variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010)."""
    _draw_weights(network, lambda _, layer: nn.init.xavier_normal_(layer.weight))


def orthogonal(network: nn.Module) -> None:
    """Draw orthogonal weights with gain √2 (Saxe et al. 2013)."""
    _draw_weights(network, lambda _, layer: nn.init.orthogonal_(layer.weight, gain=math.sqrt(2)))


def zero_gamma(network: nn.Module) -> None:
    """Draw weights as `kaiming`, and set the last norm of every block to 0 (Goyal et al. 2017)."""
    kaiming(network)
    for name in block_names(network):
        norms = [m for m in network.get_submodule(name).children() if isinstance(m, nn.BatchNorm2d)]
        nn.init.zeros_(norms[-1].weight)


def layer_defaults(network: nn.Module) -> None:
    """Draw weights and biases as torch's layers do by themselves."""
    for _, layer in _weight_layers(network):
        layer.reset_parameters()
    _reset_norms(network)


def draw_from_statistics(network: nn.Module, *, model: dict[str, Tensor]) -> None:
    """Draw normal weights with the mean and standard deviation of the tensors of that name in `model`.

    This is the "mean-var" initialization of Raghu et al. 2019, "Transfusion", arXiv:1902.07208.
    """

    def draw(name: str, layer: WeightLayer) -> None:
        """Draw the weights of the layer of that name."""
        std, mean = torch.std_mean(model[f"{name}.weight"].double(), correction=0)
        nn.init.normal_(layer.weight, mean.item(), std.item())

    _draw_weights(network, draw)


def _draw_weights(network: nn.Module, draw: Callable[[str, WeightLayer], Tensor | None]) -> None:
    """Draw the weights of every convolution and linear layer; set biases to 0 and norms as constructed."""
    for name, layer in _weight_layers(network):
        draw(name, layer)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    _reset_norms(network)


def _weight_layers(network: nn.Module) -> Iterator[tuple[str, WeightLayer]]:
    head = head_name(network)
    for name, module in network.named_modules():
        if not in_part(name, [head]) and isinstance(module, WEIGHT_LAYERS):
            yield name, module


def _reset_norms(network: nn.Module) -> None:
    head = head_name(network)
    for name, module in network.named_modules():
        if not in_part(name, [head]) and isinstance(module, NORM_LAYERS):
            module.reset_parameters()


def _groups(module: nn.Module) -> int:
    return int(getattr(module, "groups", 1))


def _construct_again(network: nn.Module, seed: int) -> None:
    """Set the backbone of a network to the values of a newly constructed one."""
    head, description = head_name(network), description_of(network)
    if description is not None:
        construct = description.construct
    else:
        import timm

        construct = partial(timm.create_model, TimmConfig.of(network).architecture, pretrained=False)
    with torch_stream(seed, "init"):
        constructed = construct()
    values = {k: v for k, v in constructed.state_dict().items() if not in_part(k, [head])}
    network.load_state_dict(values, strict=False)
