"""Build a user's own network, `PATH.py:NAME`, and find its head, stages and first convolution.

Its convolutions are those of `models.convolution`, which have the same parameters and, in fp32, the same values.
"""

from __future__ import annotations

import copy
import inspect
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from headstart.errors import UsageError
from headstart.i18n import Message, _, ngettext
from headstart.models import structure
from headstart.models.convolution import IndependentConvolution
from headstart.models.user_code import MAX_NAMES_SHOWN, UserCode, code_of, definition, importing
from headstart.models.user_modules import import_main, is_user_file
from headstart.rng import torch_stream
from headstart.text import join_first, suggestion

CHECKED_IMAGES = 2
USUAL_SIZES = (28, 32, 48, 64, 96, 128, 160, 192, 224, 227, 256, 299, 384)  # px, of published networks
_NEEDS_NUM_CLASSES = _("Write it as NAME(num_classes): the number of outputs of its last layer.")

Constructor = Callable[..., nn.Module]


def build(network: str, num_classes: int, *, head_layer: str = "", stage_layers: Sequence[str] = ()) -> nn.Module:
    """Return a user's own network, with its structure attached.

    Its values are those of its constructor with a fixed seed.

    Args:
        network: `PATH.py:NAME`.
        num_classes: Number of outputs.
        head_layer: Name of the head's module; "" for the last linear layer with `num_classes` outputs.
        stage_layers: Names of the modules of its stages, from input to output; empty to find them.

    Raises:
        UsageError: The file fails, or what it defines is no network with a linear head.
    """
    code, name = code_of(network), definition(network)
    again = partial(_construct, code, name, num_classes)
    with torch_stream(0, "build"):
        module = again()
    for layer in module.modules():
        if type(layer) is nn.Conv2d:  # a subclass computes something else
            layer.__class__ = IndependentConvolution
    head = _head(module, name, num_classes, head_layer)
    stages = _given_stages(module, name, stage_layers) if stage_layers else _found_stages(module, head)
    structure.describe(module, structure.Description(head, tuple(stages), again))
    return module


def construct(network: str, num_classes: int) -> nn.Module:
    """Return what a user's own network constructs, as it is.

    Raises:
        UsageError: The file fails, or what it defines is no network.
    """
    with torch_stream(0, "build"):
        return _construct(code_of(network), definition(network), num_classes)


def fault(error: BaseException) -> Message:
    """Return an error in a user's code, with the last line of that code in its traceback."""
    reason = " ".join(str(error).split()) or type(error).__name__
    text = _("{kind}: {reason}", kind=type(error).__name__, reason=reason)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_file(frame.filename)]
    if not frames:
        return text
    return _("{text}, {file} line {line}", text=text, file=Path(frames[-1].filename).name, line=frames[-1].lineno or 0)


def _construct(code: UserCode, name: str, num_classes: int) -> nn.Module:
    """Call the class or function `name`; raise UsageError for whatever it raises."""
    try:
        with importing():
            constructor = getattr(import_main(code), name)
    except (Exception, SystemExit) as error:  # any statement of the file may fail, or end the program
        raise UsageError(
            _("{file} cannot be imported ({fault}).", file=code.main, fault=fault(error)),
            _("Correct the file. It is imported once for each process, without the code under `__main__`."),
        ) from error
    _require_num_classes(constructor, name)
    try:
        with importing(), _seeded_generators():
            module = constructor(num_classes=num_classes)
    except (Exception, SystemExit) as error:
        raise UsageError(
            _(
                "{name}(num_classes={count}) fails ({fault}).",
                name=name,
                count=num_classes,
                fault=fault(error),
            ),
            _("Correct the file: `python -i {file:shell}` lets you try it.", file=code.main),
        ) from error
    if not isinstance(module, nn.Module):
        raise UsageError(
            _("{name} returns a {kind}, not a torch.nn.Module.", name=name, kind=type(module).__name__),
            _NEEDS_NUM_CLASSES,
        )
    if any(nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
        raise UsageError(
            _("{name} has lazy layers, whose shapes are not known before an image.", name=name),
            _("Give each layer the number of its inputs, for example after nn.AdaptiveAvgPool2d(1)."),
        )
    return module


@contextmanager
def _seeded_generators() -> Iterator[None]:
    """Seed the generators of Python and NumPy from that of torch within the block, and restore them after it."""
    states = random.getstate(), np.random.get_state()
    random.seed(torch.initial_seed())
    np.random.seed(torch.initial_seed() % 2**32)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def _require_num_classes(constructor: Constructor, name: str) -> None:
    """Raise UsageError if a constructor cannot be called with `num_classes` alone."""
    try:
        parameters = inspect.signature(constructor).parameters.values()
    except (TypeError, ValueError):  # no signature: the call shows it
        return
    takes = any(p.name == "num_classes" or p.kind is p.VAR_KEYWORD for p in parameters)
    others = [
        p.name
        for p in parameters
        if p.default is p.empty and p.name != "num_classes" and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if not takes:
        raise UsageError(_("{name} takes no num_classes.", name=name), _NEEDS_NUM_CLASSES)
    if others:
        raise UsageError(
            _("{name} needs more than num_classes: {names}.", name=name, names=join_first(others, MAX_NAMES_SHOWN)),
            _("Give the other parameters a default, or name a function that takes num_classes and returns it."),
        )


def _head(network: nn.Module, name: str, num_classes: int, layer: str) -> str:
    """Return the name of the head's module. Raises UsageError if there is none."""
    linear: dict[str, nn.Linear] = {n: module for n, module in network.named_modules() if isinstance(module, nn.Linear)}
    if layer:
        _require_module(network, name, layer)
        if layer in linear:
            return _plain_head(network, name, layer)
        raise UsageError(
            _("The layer {layer} of {name} is not linear, so it cannot be the head.", layer=layer, name=name),
            _("Name its last linear layer with --head-layer."),
        )
    heads = [n for n, module in linear.items() if n and module.out_features == num_classes]
    if heads:
        return _plain_head(network, name, heads[-1])
    if any(isinstance(m, nn.Conv2d) and m.out_channels == num_classes for m in network.modules()):
        raise UsageError(
            _("{name} has a convolution as its last layer, and headstart needs a linear one.", name=name),
            _("End it with global average pooling and nn.Linear(channels, num_classes)."),
        )
    if "" in linear:
        raise UsageError(
            _("{name} is one linear layer, without a backbone.", name=name), _("Use a network with layers before it.")
        )
    raise UsageError(
        ngettext(
            "{name}(num_classes={count}) has no linear layer with {count} output.",
            "{name}(num_classes={count}) has no linear layer with {count} outputs.",
            num_classes,
            name=name,
        ),
        _NEEDS_NUM_CLASSES,
    )


def _plain_head(network: nn.Module, name: str, layer: str) -> str:
    """Return the name of a head. Raises UsageError for a layer that a plain linear layer cannot replace."""
    head = network.get_submodule(layer)
    if type(head) is nn.Linear and head.bias is not None:
        return layer
    kind = type(head).__name__ if type(head) is not nn.Linear else _("linear layer without bias")
    raise UsageError(
        _("The head {layer} of {name} is a {kind}.", layer=layer, name=name, kind=kind),
        _("Use nn.Linear with a bias: it is replaced by a head with other initial values."),
    )


def _require_module(network: nn.Module, name: str, layer: str) -> None:
    names = [n for n, _unused in network.named_modules() if n]
    if layer not in names:
        raise UsageError(
            _(
                "{name} has no layer {layer!r}{suggestion}.",
                name=name,
                layer=layer,
                suggestion=suggestion(layer, names),
            ),
            _("Its parts are {names}.", names=", ".join(n for n, _unused in network.named_children())),
        )


def _given_stages(network: nn.Module, name: str, layers: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the stages that the user names; what is before the first of them is the stem."""
    for layer in layers:
        _require_module(network, name, layer)
    return _with_stem(network, [(layer, (layer,)) for layer in layers])


def _found_stages(network: nn.Module, head: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the parts of the backbone, from input to output; the first is the stem.

    Lists of blocks, such as `layer1` of a ResNet, are the stages. A network without them has a stage for each layer
    with weights but the first, with the norms that follow it.
    """
    blocks = structure.block_names(network)
    lists = list(dict.fromkeys(block.rpartition(".")[0] for block in blocks))
    if lists:
        return _with_stem(network, [(name, (name,)) for name in lists if not structure.in_part(head, [name])])
    layers = [name for name in structure.layer_names(network) if name != head]
    return _with_stem(network, [(name, (name,)) for name in layers[1:]])


def _with_stem(network: nn.Module, stages: list[tuple[str, tuple[str, ...]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the stages with their stem; each parameter belongs to the last part that begins before it."""
    begins = [name for name, _unused in stages]
    parts: dict[str, list[str]] = {"stem": [], **{name: [] for name in begins}}
    current = "stem"
    for name, _unused in network.named_parameters():
        current = next((begin for begin in begins if structure.in_part(name, [begin])), current)
        parts[current].append(name)
    return [(name, tuple(names)) for name, names in parts.items() if names]


def adapt(network: nn.Module, name: str, size: int) -> None:
    """Check a user's own network on images of `size` px, and prepare it for them, in place.

    A network that uses `view` on feature maps, which channels_last order does not allow, gets contiguous order.

    Args:
        network: The network, with its head.
        name: Its name, for messages.
        size: Side of the images in px.

    Raises:
        UsageError: It fails for such images, or its output is not that of its head.
    """
    try:
        output, logits = _outputs(network, size)
    except Exception:
        try:
            output, logits = _outputs(network, size, order=torch.contiguous_format)
        except Exception as error:
            raise _failure(network, name, size, error) from error
        structure.use_contiguous(network)
    if not isinstance(output, Tensor):
        raise UsageError(
            _("{name} returns a {kind}, not a tensor of logits.", name=name, kind=type(output).__name__),
            _("Return the output of the last linear layer: one row per image, one column per class."),
        )
    if logits is None or output.shape != logits.shape or not torch.equal(output, logits):
        raise UsageError(
            _(
                "The output of {name} is not that of its last linear layer, {head}.",
                name=name,
                head=structure.head_name(network),
            ),
            _("Return the output of the layer as it is: the loss applies softmax. --head-layer names another layer."),
        )
    _check_training(network, name, size)


def _check_training(network: nn.Module, name: str, size: int) -> None:
    """Raise UsageError if a network does not give the logits alone in training mode too."""
    try:
        output, logits = _outputs(network, size, training=True)
    except Exception as error:
        raise _failure(network, name, size, error) from error
    if not isinstance(output, Tensor) or logits is None or not torch.equal(output, logits):
        raise UsageError(
            _("In training mode {name} does not return the output of its last linear layer.", name=name),
            _("Return the same output in training and evaluation."),
        )


@torch.no_grad()
def _outputs(
    network: nn.Module, size: int, *, training: bool = False, order: torch.memory_format | None = None
) -> tuple[object, Tensor | None]:
    """Return the output of the network, and that of its head, for images of noise in eval or training mode.

    Raises what the network raises, and RuntimeError if the logits do not have a row for each image.
    """
    logits: list[Tensor] = []
    order = order or structure.memory_format(network)
    trial = copy.deepcopy(network).to(memory_format=order).train(training)
    trial.get_submodule(structure.head_name(trial)).register_forward_hook(
        lambda _module, _inputs, output: logits.append(output.clone())  # an operation in place may follow
    )
    images = torch.rand(CHECKED_IMAGES, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch_stream(0, "check"):
        output = trial(images.contiguous(memory_format=order))
    if isinstance(output, Tensor) and output.shape[:1] != (CHECKED_IMAGES,):
        raise RuntimeError(f"logits of shape {tuple(output.shape)} for {CHECKED_IMAGES} images")
    return output, logits[-1] if logits else None


def _failure(network: nn.Module, name: str, size: int, error: Exception) -> UsageError:
    """Return the error of a network that fails on images of `size` px, with a size at which it does not."""
    message = _("{name} fails on images of {size} px ({fault}).", name=name, size=size, fault=fault(error))
    other = next((other for other in USUAL_SIZES if _takes(network, other)), None)
    if other is not None:
        return UsageError(message, _("It takes images of {size} px: use --image-size {size}.", size=other))
    return UsageError(message, _("Correct its forward, which takes images (n, 3, height, width)."))


def _takes(network: nn.Module, size: int) -> bool:
    for order in (torch.channels_last, torch.contiguous_format):
        try:
            _outputs(network, size, order=order)
        except Exception:  # noqa: S112 - the next order is tried
            continue
        return True
    return False
