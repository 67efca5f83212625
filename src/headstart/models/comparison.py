"""Compare a network with the most similar one of torchvision: layers, their options, and what is between them.

Layers are aligned by their names (`shortcut` is `downsample`), else by their kinds and shapes. What is between layers
is compared as an expression of the layers before (`models.dataflow`).
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.i18n import Message, _
from headstart.models.dataflow import Flow, flow_fault, mentions
from headstart.models.structure import PROJECTION_NAMES
from headstart.models.tracing import Trace, size_text, trace
from headstart.text import join_first

# Networks of torchvision that are compared with; they differ in their layers.
REFERENCES = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2", "alexnet",
    "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn", "squeezenet1_0",
    "squeezenet1_1", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet1_0",
    "shufflenet_v2_x1_0", "efficientnet_b0", "convnext_tiny",
)  # fmt: skip
MIN_SIMILARITY = 0.5  # share of the weights' shapes that two networks have in common
COMPARED_IMAGES = 2
MAX_PLACES_SHOWN = 4

_DETAILS = ("dilation", "groups", "padding", "eps", "momentum", "affine", "bias")  # left out of short descriptions
_WEIGHT_LAYERS = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True)
class Comparison:
    """A network beside one of torchvision.

    Attributes:
        reference: Name of the network in torchvision.
        differences: What differs, in the order of the layers.
        error: What the network raises for images; None if it works.
        logits: Largest difference of the logits with the same weights; None if the weights do not fit.
    """

    reference: str
    differences: tuple[Message, ...]
    error: Exception | None
    logits: float | None

    @property
    def is_equal(self) -> bool:
        """True if both networks compute the same."""
        return not self.differences and self.error is None and self.logits == 0


def most_similar(network: nn.Module, num_classes: int) -> str | None:
    """Return the network of torchvision whose weights have most shapes in common; None if none is similar."""
    own = _shapes(network)
    best, best_score = None, MIN_SIMILARITY
    for name in REFERENCES:
        with torch.device("meta"):
            other = _shapes(_reference(name, num_classes))
        score = (own & other).total() / max((own | other).total(), 1)
        if score > best_score:
            best, best_score = name, score
    return best


def compare(network: nn.Module, name: str, num_classes: int, size: int) -> Comparison:
    """Compare a network with one of torchvision.

    Args:
        network: The network, which is not changed; it may fail for images.
        name: Name of the network in torchvision.
        num_classes: Number of outputs.
        size: Side of the images in px.
    """
    reference = _reference(name, num_classes).eval()
    pairs, missing, extra = _align(_layers(network), _layers(reference))
    images = torch.rand(COMPARED_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
    was_training = network.training
    try:
        own_trace, other_trace = trace(network.eval(), images), trace(reference, images)
        differences = [
            *(_Difference(n, _("missing ({layer})", layer=_layer_words(reference, n))) for n in missing),
            *(_Difference(n, _("not in {name} ({layer})", name=name, layer=_layer_words(network, n))) for n in extra),
            *_option_differences(network, reference, pairs, name),
            *_flow_differences(own_trace, other_trace, pairs, name, {*missing, *extra}),
        ]
        logits = None if missing or extra else _logits_difference(network, reference, pairs, images)
    finally:
        network.train(was_training)
    return Comparison(name, tuple(_sentences(differences)), own_trace.error, logits)


def _reference(name: str, num_classes: int) -> nn.Module:
    import torchvision

    network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    return network


def _shapes(network: nn.Module) -> Counter[tuple[str, tuple[int, ...]]]:
    """Count the kinds and shapes of weights."""
    return Counter(_key(layer) for layer in _layers(network).values())


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in network.named_modules() if isinstance(module, _WEIGHT_LAYERS)}


def _kind(layer: nn.Module) -> str:
    return next(kind.__name__ for kind in _WEIGHT_LAYERS if isinstance(layer, kind)).removeprefix("_")


def _key(layer: nn.Module) -> tuple[str, tuple[int, ...]]:
    weight = layer.weight
    return _kind(layer), tuple(weight.shape) if isinstance(weight, Tensor) else ()


def _align(
    own: dict[str, nn.Module], other: dict[str, nn.Module]
) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Return pairs of layers in the order of the reference, the missing ones and those that are extra."""
    by_name = {_usual_name(name): name for name in own}
    pairs = {reference: by_name[reference] for reference in other if reference in by_name}
    if 2 * len(pairs) < len(other):  # other names
        pairs = _align_by_shape(own, other)
    _pair_left_layers(pairs, own, other, _key)
    taken = set(pairs.values())
    return (
        [(pairs[reference], reference) for reference in other if reference in pairs],
        [reference for reference in other if reference not in pairs],
        [name for name in own if name not in taken],
    )


def _usual_name(name: str) -> str:
    """Return the name that torchvision would give a layer."""
    return ".".join(PROJECTION_NAMES[0] if part in PROJECTION_NAMES else part for part in name.split("."))


def _align_by_shape(own: dict[str, nn.Module], other: dict[str, nn.Module]) -> dict[str, str]:
    """Return own layers by those of the reference: in order, then those that are left with an equal shape."""
    own_names, other_names = list(own), list(other)
    own_keys, other_keys = [_key(own[n]) for n in own_names], [_key(other[n]) for n in other_names]
    pairs: dict[str, str] = {}
    for a, b, count in difflib.SequenceMatcher(None, own_keys, other_keys, autojunk=False).get_matching_blocks():
        pairs |= {other_names[b + i]: own_names[a + i] for i in range(count)}
    _pair_left_layers(pairs, own, other, _key)
    _pair_left_layers(pairs, own, other, _kind)
    return pairs


def _pair_left_layers(
    pairs: dict[str, str],
    own: dict[str, nn.Module],
    other: dict[str, nn.Module],
    key: Callable[[nn.Module], object],
) -> None:
    """Pair the layers that are left and have equal keys, in order, in place."""
    for reference in other:
        if reference not in pairs:
            taken = set(pairs.values())
            fits = [name for name in own if name not in taken and key(own[name]) == key(other[reference])]
            pairs |= {reference: fits[0]} if fits else {}


def _layer_words(network: nn.Module, name: str) -> str:
    """Return a layer in words: "Conv2d, 64 to 128 channels, kernel 1, stride 2"."""
    layer = network.get_submodule(name)
    options = [f"{option} {value}" for option, value in _options(layer).items() if option not in _DETAILS]
    return ", ".join([_kind(layer), *options])


def _options(layer: nn.Module) -> dict[str, str]:
    """Return the options of a layer that change what it computes, by name."""
    if isinstance(layer, nn.Conv2d):
        return {
            "inputs": str(layer.in_channels),
            "outputs": str(layer.out_channels),
            "kernel": size_text(layer.kernel_size),
            "stride": size_text(layer.stride),
            "padding": size_text(_padding(layer)) + ("" if layer.padding_mode == "zeros" else f" {layer.padding_mode}"),
            "dilation": size_text(layer.dilation),
            "groups": str(layer.groups),
            "bias": "off" if layer.bias is None else "on",
        }
    if isinstance(layer, nn.Linear):
        return {
            "inputs": str(layer.in_features),
            "outputs": str(layer.out_features),
            "bias": "off" if layer.bias is None else "on",
        }
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return {
            "channels": str(layer.num_features),
            "eps": f"{layer.eps:g}",
            "momentum": f"{layer.momentum:g}" if layer.momentum is not None else "mean",
            "affine": "on" if layer.affine else "off",
        }
    return {"weights": size_text(_key(layer)[1])}


@dataclass(frozen=True)
class _Difference:
    """What differs at one place; equal differences of several places become one sentence."""

    place: str
    what: Message


def _sentences(differences: Iterable[_Difference]) -> Iterator[Message]:
    """Yield each difference once, with the places that have it."""
    places: dict[Message, list[str]] = {}
    for difference in differences:
        places.setdefault(difference.what, []).append(difference.place)
    for what, names in places.items():
        yield _("{places}: {what}", places=join_first(names, MAX_PLACES_SHOWN), what=what)


def _padding(layer: nn.Conv2d) -> tuple[int, ...] | str:
    """Return the padding of a convolution in pixels; "same" where it is not equal on both sides."""
    if layer.padding == "valid":
        return (0, 0)
    total = [dilation * (kernel - 1) for dilation, kernel in zip(layer.dilation, layer.kernel_size, strict=True)]
    if layer.padding == "same":
        return "same" if any(size % 2 for size in total) else tuple(size // 2 for size in total)
    return layer.padding


def _option_differences(
    network: nn.Module, reference: nn.Module, pairs: Sequence[tuple[str, str]], name: str
) -> Iterator[_Difference]:
    for own, other in pairs:
        first, second = _options(network.get_submodule(own)), _options(reference.get_submodule(other))
        for option, value in first.items():
            expected = second.get(option, value)
            if value != expected:
                words = _("{option} {value}, in {name} {expected}", option=option, value=value, name=name,
                          expected=expected)  # fmt: skip
                yield _Difference(own, words)


def _flow_differences(
    own: Trace, other: Trace, pairs: Sequence[tuple[str, str]], name: str, unpaired: Collection[str]
) -> Iterator[_Difference]:
    """Yield each layer, and the output, whose input differs from that in the reference.

    What follows from a layer that is missing or extra is left out.
    """
    if other.error is not None:  # the reference does not take such images
        return
    order = [reference for _own, reference in pairs]
    first, second = Flow(own, dict(pairs), order), Flow(other, {}, order)
    for layer, reference in pairs:
        if reference in first.by_name:
            actual, expected = first.input_of(reference), second.input_of(reference)
            if actual != expected and not mentions(f"{actual} {expected}", unpaired):
                yield _Difference(layer, flow_fault(actual, expected, name))
        elif own.error is None:  # else the network failed before this layer
            yield _Difference(layer, _("defined, but not used"))
    if own.error is None and own.output is not None and other.output is not None:
        actual, expected = first.expression(own.output), second.expression(other.output)
        if actual != expected and not mentions(f"{actual} {expected}", unpaired):
            yield _Difference("output", flow_fault(actual, expected, name))


@torch.no_grad()
def _logits_difference(
    network: nn.Module, reference: nn.Module, pairs: Sequence[tuple[str, str]], images: Tensor
) -> float | None:
    """Return the largest difference of the logits after the weights of the reference were copied to the network.

    The network gets its own weights back. None if a shape differs, or the network fails.
    """
    saved = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    for module in reference.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # trained ones are not 0 and 1
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                if isinstance(tensor, Tensor):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    try:
        for own, other in pairs:
            network.get_submodule(own).load_state_dict(reference.get_submodule(other).state_dict())
        actual, expected = network(images), reference(images)
        return float((actual - expected).abs().max()) if actual.shape == expected.shape else None
    except Exception:  # the network is any program
        return None
    finally:
        network.load_state_dict(saved)
