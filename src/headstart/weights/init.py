"""Random initialization of the backbone, from (seed, "init"). The head is drawn from (seed, "head")."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.config.start_spec import SCHEMES
from headstart.models.resnet import ResNet
from headstart.models.structure import WEIGHT_LAYERS, block_names, head_name, in_part
from headstart.models.timm_config import TimmConfig
from headstart.rng import torch_stream

NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@torch.no_grad()
def draw_backbone(network: nn.Module, init: str, model: dict[str, Tensor] | None, *, seed: int) -> None:
    """Initialize everything but the head, in place: weights by a scheme, biases 0, norms as constructed.

    Parameters of timm networks that are neither weights nor norms (position embeddings, layer scales) always come from
    timm's constructor.

    Args:
        network: The network.
        init: One of SCHEMES, "constructor" (that of a timm network), or "stats": every convolution and linear weight is
            normal with the mean and standard deviation of the tensor of that name in `model` (the "mean-var"
            initialization of Raghu et al. 2019, "Transfusion", arXiv:1902.07208).
        model: Tensors for "stats", None otherwise.
        seed: Seed of the random numbers.
    """
    if not isinstance(network, ResNet):
        _construct_again(network, seed)
    if init == "constructor":
        return
    head = head_name(network)
    with torch_stream(seed, "init"):
        for name, module in network.named_modules():
            if in_part(name, [head]):
                continue
            if init == "torch" and isinstance(module, WEIGHT_LAYERS):
                module.reset_parameters()
            elif isinstance(module, WEIGHT_LAYERS):
                _draw(module.weight, init, None if model is None else model[f"{name}.weight"], _groups(module))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, NORM_LAYERS):
                module.reset_parameters()
    if init == "zero-gamma":
        for name in block_names(network):
            norms = [m for m in network.get_submodule(name).children() if isinstance(m, nn.BatchNorm2d)]
            nn.init.zeros_(norms[-1].weight)


def _groups(module: nn.Module) -> int:
    return int(getattr(module, "groups", 1))


def _draw(weight: Tensor, init: str, model: Tensor | None, groups: int) -> None:
    if init == "stats":
        if model is None:
            raise ValueError("init=stats needs the tensors of the model")
        std, mean = torch.std_mean(model.double(), correction=0)
        nn.init.normal_(weight, mean.item(), std.item())
    elif init == "xavier":
        nn.init.xavier_normal_(weight)
    elif init == "orthogonal":
        nn.init.orthogonal_(weight, gain=math.sqrt(2))
    elif init in SCHEMES:
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
        weight.mul_(math.sqrt(groups))  # torch computes fan-out over the channels of all groups
    else:
        raise ValueError(f"{init!r} is not an initialization")


def _construct_again(network: nn.Module, seed: int) -> None:
    """Set the backbone of a timm network to the values of a newly constructed one."""
    import timm

    head = head_name(network)
    with torch_stream(seed, "init"):
        constructed = timm.create_model(TimmConfig.of(network).architecture, pretrained=False)
    values = {k: v for k, v in constructed.state_dict().items() if not in_part(k, [head])}
    network.load_state_dict(values, strict=False)
