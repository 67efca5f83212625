"""Inspect a network: its layers, shapes, parameters and FLOPs, and where it differs from torchvision's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.artifacts.find_model import find_model
from headstart.artifacts.model_folder import read_model
from headstart.errors import UsageError
from headstart.i18n import Message, _, join, ngettext, translated, verbatim
from headstart.models import comparison, factory, structure, user_network
from headstart.models.tracing import size_text
from headstart.models.user_code import is_user_network, label, pinned
from headstart.printable import printable
from headstart.storage.schemas.inspection import LayerDescription, NetworkInspection, ReferenceComparison
from headstart.text import align_columns

DEFAULT_CLASSES, DEFAULT_SIZE = 1000, 128  # those of ImageNet, and of headstart's images
COLUMNS = (_("layer"), _("kind"), _("output"), _("parameters"), _("MFLOPs"))


class Inspection(NetworkInspection):
    """Result of `inspect`; its text is what the command prints.

    Examples:
        >>> inspection = headstart.inspect("resnet18", num_classes=10)
        >>> inspection.layers[0].name, inspection.layers[0].shape
        ('conv1', (64, 64, 64))
    """

    def __str__(self) -> str:
        return "\n".join(printable(translated(line)) for line in inspection_lines(self))


@dataclass(frozen=True)
class _Subject:
    """A network to inspect; `fault` is why headstart cannot train it."""

    name: str
    network: nn.Module
    num_classes: int
    size: int
    fault: UsageError | None = None


@pinned()
def inspect_network(target: str, *, num_classes: int | None = None, image_size: int | None = None) -> Inspection:
    """Inspect a network, or the model of a run.

    Args:
        target: Name of a network, as for `--network`, or the folder of a run, study or model.
        num_classes: Number of outputs. Default: 1000, or that of the model.
        image_size: Side of the images in px. Default: 128, or that of the model.

    Raises:
        UsageError: There is no such network, or it cannot be constructed.
        ModelFileError: The folder has no usable model.
    """
    for name, value in (("num-classes", num_classes), ("image-size", image_size)):
        if value is not None and value < 1:
            raise UsageError(_("--{name} {value} must be above 0.", name=name, value=value), _("Leave it out."))
    is_folder = not is_user_network(target) and Path(target).is_dir()
    if is_folder and num_classes is not None:
        raise UsageError(_("A model has its own number of classes."), _("Leave out --num-classes."))
    subject = _from_folder(Path(target), image_size) if is_folder else _from_name(target, num_classes, image_size)
    network, classes, size = subject.network.eval(), subject.num_classes, subject.size
    reference = comparison.most_similar(network, classes)
    compared = comparison.compare(network, reference, classes, size) if reference else None
    shapes, error = _output_shapes(network, size)
    flops = None if error else _flops(network, size)
    has_structure = subject.fault is None and error is None
    fault = _size_fault(subject.name, size, error) if error else None
    if subject.fault is not None:
        fault = join([subject.fault.message, subject.fault.hint])
    return Inspection(
        network=subject.name,
        num_classes=classes,
        image_size=size,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        flops=None if flops is None else flops.get("Global", 0.0),
        layers=list(_layers(network, shapes, flops)),
        stages=[name for name, _unused in structure.stages(network)] if has_structure else [],
        head=structure.head_name(network) if has_structure else "",
        fault=None if fault is None else translated(fault),
        comparison=None if compared is None else _comparison(compared),
    )


def _from_folder(path: Path, size: int | None) -> _Subject:
    model = read_model(*find_model(path))
    name = model.config.headstart.network.label
    return _Subject(name, model.network, len(model.classes), size or model.size)


def _from_name(name: str, num_classes: int | None, size: int | None) -> _Subject:
    classes, side = num_classes or DEFAULT_CLASSES, size or DEFAULT_SIZE
    if not is_user_network(name):
        network = factory.build(name, classes)
        return _Subject(name, network, classes, size or structure.fixed_size(network) or DEFAULT_SIZE)
    plain = user_network.construct(name, classes)
    try:
        described = user_network.build(name, classes)
        user_network.build(name, classes + 1)  # fails if the network ignores the number of classes
        user_network.adapt(described, label(name), side)
    except UsageError as fault:
        return _Subject(label(name), plain, classes, side, fault)
    return _Subject(label(name), described, classes, side)


def _size_fault(name: str, size: int, error: Exception) -> Message:
    fault = user_network.fault(error)
    return _("{name} fails on images of {size} px ({fault}).", name=name, size=size, fault=fault)


def _output_shapes(network: nn.Module, size: int) -> tuple[dict[str, tuple[int, ...]], Exception | None]:
    """Return the shapes of the modules' outputs in the order of their first use, and what the network raises."""
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []
    for name, module in network.named_modules():
        if _is_leaf(module):

            def record(_module: nn.Module, _inputs: tuple[Tensor, ...], output: object, name: str = name) -> None:
                """Keep the shape of the first output."""
                if isinstance(output, Tensor):
                    shapes.setdefault(name, tuple(output.shape[1:]))

            handles.append(module.register_forward_hook(record))
    error: Exception | None = None
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    except Exception as fault:  # the network is any program
        error = fault
    finally:
        for handle in handles:
            handle.remove()
    return shapes, error


def _flops(network: nn.Module, size: int) -> dict[str, float]:
    """Return the FLOPs of one image by module, counted by torch; those of the network are "Global"."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.zeros(1, 3, size, size))
    prefix = f"{type(network).__name__}."
    return {
        name.removeprefix(prefix): float(sum(counts.values())) for name, counts in counter.get_flop_counts().items()
    }


def _layers(
    network: nn.Module, shapes: dict[str, tuple[int, ...]], flops: dict[str, float] | None
) -> Iterator[LayerDescription]:
    modules = dict(network.named_modules())
    unused = [
        name
        for name, module in modules.items()
        if name not in shapes and _is_leaf(module) and any(True for _unused in module.parameters())
    ]
    for name in (*shapes, *unused):
        module = modules[name]
        yield LayerDescription(
            name=name,
            kind=_kind(module),
            shape=shapes.get(name),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            flops=None if flops is None else flops.get(name, 0.0),
        )


def _is_leaf(module: nn.Module) -> bool:
    return not any(True for _unused in module.children())


def _kind(module: nn.Module) -> str:
    """Return the class of a module with its main options: "Conv2d 3x3, stride 2"."""
    if isinstance(module, nn.Conv2d):
        kernel = "x".join(map(str, module.kernel_size))
        stride = "" if set(module.stride) == {1} else f", stride {size_text(module.stride)}"
        return f"Conv2d {kernel}{stride}"
    return "Linear" if isinstance(module, nn.Linear) else type(module).__name__


def _comparison(compared: comparison.Comparison) -> ReferenceComparison:
    return ReferenceComparison(
        reference=compared.reference,
        differences=[translated(difference) for difference in compared.differences],
        logits=compared.logits,
        equal=compared.is_equal,
    )


def inspection_lines(inspection: NetworkInspection) -> list[Message]:
    """Return an inspection in lines: the table of layers, the totals, and the comparison."""
    return [
        *map(verbatim, _table(inspection)),
        verbatim(""),
        *_total_sentences(inspection),
        *_comparison_lines(inspection),
    ]


def _table(inspection: NetworkInspection) -> list[str]:
    rows = [[translated(title) for title in COLUMNS]]
    for layer in inspection.layers:
        flops = "" if not layer.flops else f"{layer.flops / 1e6:,.1f}"
        shape = " x ".join(map(str, layer.shape)) if layer.shape is not None else translated(_("not used"))
        rows.append([layer.name, layer.kind, shape, f"{layer.parameters:,}" if layer.parameters else "", flops])
    return align_columns(rows, left=3)


def _total_sentences(inspection: NetworkInspection) -> Iterator[Message]:
    yield ngettext(
        "{network}: {parameters:,} parameters with {count:,} class.",
        "{network}: {parameters:,} parameters with {count:,} classes.",
        inspection.num_classes,
        network=inspection.network,
        parameters=inspection.parameters,
    )
    if inspection.flops is not None:
        yield _(
            "{flops:.2f} GFLOPs for the forward pass of an image of {size} px, with multiplications and additions.",
            flops=inspection.flops / 1e9,
            size=inspection.image_size,
        )
    if inspection.stages:
        yield _("Parts: {stages} ({head}).", stages=", ".join(inspection.stages), head=inspection.head)
    if inspection.fault is not None:
        yield _("It cannot be trained: {fault}", fault=inspection.fault)


def _comparison_lines(inspection: NetworkInspection) -> Iterator[Message]:
    compared = inspection.comparison
    if compared is None:
        yield _("No network of torchvision is similar.")
        return
    if compared.equal:
        yield _(
            "Equal to torchvision's {name}: the same layers with weights and, with its weights, the same logits in "
            "evaluation, bit for bit.",
            name=compared.reference,
        )
        return
    if compared.differences:
        yield _("Different from torchvision's {name}:", name=compared.reference)
        yield from (join([verbatim("  "), difference], "") for difference in compared.differences)
    else:
        yield _("The same layers as torchvision's {name}.", name=compared.reference)
    yield (
        _("Logits with its weights cannot be compared.")
        if compared.logits is None
        else _("With its weights the logits differ by up to {difference:.2g}.", difference=compared.logits)
    )
