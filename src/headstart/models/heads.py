"""Replace and initialize the head of a network."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from headstart.errors import UsageError
from headstart.i18n import _
from headstart.models.structure import WEIGHT_LAYERS, WeightLayer, head_name
from headstart.rng import torch_stream

MAX_HIDDEN_WIDTH = 65_536

HeadInitializer = Callable[[nn.Module], None]  # draws the values of a head, in place


class Linear(nn.Linear):
    """A linear layer that computes in fp32 under autocast too.

    Heads are cheap and their logits are the result. A head gives the same logits for cached backbone features as for
    features that have just been computed.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map x [n, inputs] to logits [n, outputs] in fp32."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def draw_uniform(head: nn.Module) -> None:
    """Draw weights and biases as torch's layers do by themselves: uniform, ±1/√fan-in."""
    for layer in _weight_layers(head):
        layer.reset_parameters()


def draw_kaiming(head: nn.Module) -> None:
    """Draw normal weights with variance 2 / fan-in (He et al. 2015), as fastai; biases are 0."""
    for layer in _weight_layers(head):
        nn.init.kaiming_normal_(layer.weight)
        _zero_bias(layer)


def draw_normal(head: nn.Module) -> None:
    """Draw normal weights with standard deviation 0.01, as torchvision's classifiers; biases are 0."""
    for layer in _weight_layers(head):
        nn.init.normal_(layer.weight, std=0.01)
        _zero_bias(layer)


def draw_zero(head: nn.Module) -> None:
    """Set the last layer to 0, so that all classes begin equal (Kolesnikov et al. 2020); draw others as torch does."""
    draw_uniform(head)
    last = _weight_layers(head)[-1]
    nn.init.zeros_(last.weight)
    _zero_bias(last)


def _weight_layers(head: nn.Module) -> list[WeightLayer]:
    return [module for module in head.modules() if isinstance(module, WEIGHT_LAYERS)]


def _zero_bias(layer: WeightLayer) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def replace_head(
    network: nn.Module, head: str, num_classes: int, *, seed: int, init: HeadInitializer = draw_uniform
) -> None:
    """Replace the head of `network`, in place.

    Its values are drawn from (seed, "head"). `starts.initialize` draws the same values again, so the order of the two
    calls does not matter.

    Args:
        network: The network.
        head: `linear`, or `mlp:WIDTH` (linear, ReLU, linear; keys fc.0 and fc.2).
        num_classes: Number of outputs.
        seed: Seed of the values.
        init: Draws the values.

    Raises:
        UsageError: If `head` has another form, or is an mlp and the head of a timm network is not a linear layer.
    """
    width = _width(head)
    name = head_name(network)
    old = network.get_submodule(name)
    first = old[0] if isinstance(old, nn.Sequential) else old
    if isinstance(first, nn.Linear):
        inputs = first.in_features
        with torch_stream(seed, "head"):
            if width is None:
                new: nn.Module = Linear(inputs, num_classes)
            else:
                new = nn.Sequential(Linear(inputs, width), nn.ReLU(), Linear(width, num_classes))
        network.set_submodule(name, new)
    elif width is not None or getattr(old, "out_channels", None) != num_classes:
        raise UsageError(
            _("The head of this network is a {kind}, not a linear layer.", kind=type(old).__name__),
            _("Use --head linear."),
        )
    reset_head(network, seed=seed, init=init)


def _width(head: str) -> int | None:
    """Return the hidden width of `mlp:WIDTH`, or None for `linear`."""
    if head == "linear":
        return None
    match = re.fullmatch(r"mlp:(\d{1,9})", head)
    if match is None or not 1 <= int(match[1]) <= MAX_HIDDEN_WIDTH:
        raise UsageError(
            _("There is no head {head!r}.", head=head),
            _(
                "Use linear, or mlp:WIDTH with 1 to {max_width}, as in mlp:256.",
                max_width=MAX_HIDDEN_WIDTH,
            ),
        )
    return int(match[1])


def reset_head(network: nn.Module, *, seed: int, init: HeadInitializer = draw_uniform) -> None:
    """Draw the head's values, in place, from (seed, "head").

    The values depend on the seed, `init` and the shape of the head only, so all arms with the same head share its
    initial values, on any device.
    """
    head = network.get_submodule(head_name(network))
    drawn = copy.deepcopy(head).cpu()  # each device has its own random generator
    with torch_stream(seed, "head"):
        init(drawn)
    head.load_state_dict(drawn.state_dict())
