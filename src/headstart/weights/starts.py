"""Initial weights ("starts") with their preprocessing, license and provenance.

The idea that weights include their own preprocessing is torchvision's (`models/_api.py: Weights`). `resolve_start`
reads and checks everything before a run begins; `initialize` fills a network from it. The head is never taken from a
file: it is drawn from (seed, "head"), so that arms with different starts have the same initial head.

Call order: `network = build(…)`, `heads.replace_head(network, …)`, `initialize(network, start, seed=…)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from headstart.config import start_spec
from headstart.config.registry.starts import (
    DEFAULT_SCHEME,
    DEFAULT_START,
    FILE_START,
    PRETRAINED_START,
    SCHEMES,
    STARTS,
    STATISTICS_START,
    TIMM_START,
)
from headstart.errors import ModelFileError, UsageError
from headstart.factories import load_factory
from headstart.i18n import Message, _
from headstart.models.factory import build, pretrained_cfg
from headstart.models.heads import HeadInitializer, draw_uniform, reset_head
from headstart.models.resnet import FAMILY, PUBLISHED
from headstart.models.structure import head_name, in_part
from headstart.models.user_code import definition, is_user_network, label
from headstart.weights.adapt import adapt_weights
from headstart.weights.files import WeightsFile, read_weights
from headstart.weights.hub import PretrainedWeights, Triple, convert_timm_keys, fetch_timm, fetch_torchvision
from headstart.weights.init import Initializer, draw_backbone, draw_from_statistics, keep_constructed

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Start:
    """Initial weights and their metadata.

    Attributes:
        name: The start as the user wrote it.
        state: The backbone's tensors in float32 under the network's keys; None for random starts. A `stats` start has
            them too and counts as pretrained: it is the control of its model and must be treated alike.
        init: Draws the weights of a random start; None for the weights in `state`.
        mean: Mean per color channel, for pixels in [0, 1].
        std: Standard deviation per color channel, for pixels in [0, 1].
        license: Terms of use, in English: they become part of a model folder.
        provenance: Where the weights come from, likewise in English.
        sha256: Hash of the file; "" for random starts.
        notes: What was changed to make the weights fit.
        classes: The classes that the weights were trained on, if known.
    """

    name: str
    state: dict[str, Tensor] | None
    init: Initializer | None
    mean: Triple
    std: Triple
    license: str
    provenance: str
    sha256: str
    notes: tuple[Message, ...]
    classes: tuple[str, ...] = ()


def initialize(network: nn.Module, start: Start, *, seed: int, head_init: HeadInitializer = draw_uniform) -> None:
    """Fill every tensor of `network`, in place: the backbone from `start`, the head from (seed, "head").

    Equal (network, start, seed) give equal bits. Random starts are drawn from (seed, "init"). Random and `stats` starts
    have newly constructed norms and zero biases. Raises ModelFileError if the start was resolved for another network.
    """
    shapes = {k: v.shape for k, v in network.state_dict().items() if not in_part(k, [head_name(network)])}
    if start.state is not None and shapes != {k: v.shape for k, v in start.state.items()}:
        raise ModelFileError(
            _("The start {start} was resolved for another network.", start=start.name),
            _("Resolve it for this network."),
        )
    if start.init is not None:
        draw_backbone(network, start.init, seed=seed)
    elif start.state is not None:
        network.load_state_dict(start.state, strict=False)
    reset_head(network, seed=seed, init=head_init)


@dataclass(frozen=True)
class NetworkTarget:
    """The network that a start must fit.

    The fields are the arguments of `models.factory.build`, and the key of the weights in a file with several.
    """

    network: str
    shortcut: bool
    norm: str
    stem: str
    num_classes: int
    head_layer: str = ""
    stage_layers: tuple[str, ...] = ()
    weights_key: str = ""

    @property
    def is_standard(self) -> bool:
        """True for the network as published, without changed switches."""
        return self.shortcut and self.norm == "batch" and self.stem == "imagenet"

    @property
    def label(self) -> str:
        """Name of the network and its switches, for messages."""
        if self.is_standard:
            return label(self.network)
        shortcut = "on" if self.shortcut else "off"
        return f"{self.network} (shortcut {shortcut}, norm {self.norm}, stem {self.stem})"

    def skeleton(self) -> nn.Module:
        """Return the network for its names and shapes, on the meta device.

        Networks outside the family are built on the CPU, because their constructors may compute with values.
        """
        with torch.device("meta" if self.network in FAMILY else "cpu"):
            return build(
                self.network,
                self.num_classes,
                shortcut=self.shortcut,
                norm=self.norm,
                stem=self.stem,
                head_layer=self.head_layer,
                stage_layers=self.stage_layers,
            )


def resolve_start(
    name: str,
    *,
    network: str,
    shortcut: bool,
    norm: str,
    stem: str,
    num_classes: int,
    head_layer: str = "",
    stage_layers: tuple[str, ...] = (),
    weights_key: str = "",
) -> Start:
    """Read and check a start for a network.

    Args:
        name: The start, `KIND` or `KIND:ARGUMENT` with a kind of `config.registry.starts.STARTS`.
        network: The network that it must fit.
        shortcut: Switch of the network (see `models.factory.build`).
        norm: Switch of the network.
        stem: Switch of the network.
        num_classes: Number of classes of the new head.
        head_layer: Name of the head's module in a user's own network.
        stage_layers: Names of the modules of the stages in a user's own network.
        weights_key: Key of the weights in a weights file with several; "" for the usual ones.

    Raises:
        UsageError: The start is unknown or not available for the network.
        DataError: The weights do not exist or cannot be downloaded.
        ModelFileError: The file is damaged, hostile or of another network.
    """
    target = NetworkTarget(network, shortcut, norm, stem, num_classes, head_layer, stage_layers, weights_key)
    return _resolve(name, target)


def _resolve(name: str, target: NetworkTarget) -> Start:
    kind, argument = start_spec.split_start(name)
    fault = start_spec.start_problem(name)
    if fault or STARTS[kind].needs_training:  # a study trains these weights, and then has a finished run
        raise start_spec.unknown_start_error(fault or start_spec.no_start(name))
    start: Start = load_factory(STARTS[kind].factory)(argument, target)
    return start


def default_network(name: str) -> str | None:
    """Return the network of a start if its name or folder says it, else None."""
    start = start_spec.inner_start(name)
    path = start_spec.start_row(start).network
    network: str | None = load_factory(path)(start_spec.split_start(start)[1]) if path else None
    return network


def network_of_timm_weights(name: str) -> str:
    """Return the network of weights of timm.

    resnet18.a1_in1k gives resnet18 (headstart's own, with the same keys and outputs); any other NAME gives timm:NAME
    without its tag.
    """
    return network_of_architecture(name.partition(".")[0])


def network_of_architecture(architecture: str) -> str:
    """Return the network of an architecture: headstart's own if there is one, else timm's."""
    return architecture if architecture in FAMILY else f"timm:{architecture}"


def architecture_of(network: str) -> str:
    """Return the architecture of a network, as config.json names it: `resnet18`, or NAME of PATH.py:NAME."""
    return definition(network) if is_user_network(network) else network.removeprefix("timm:").partition(".")[0]


def from_scheme(scheme: str, target: NetworkTarget) -> Start:
    """Return random weights of a scheme; "" is the default of the network.

    Raises:
        UsageError: The network has nothing that the scheme initializes.
    """
    name = f"{DEFAULT_START}:{scheme}" if scheme else DEFAULT_START
    timm = target.network.startswith("timm:")
    if not scheme and (timm or is_user_network(target.network)):
        provenance = "random weights, the network's own initialization" + " in timm" * timm
        return Start(name, None, keep_constructed, IMAGENET_MEAN, IMAGENET_STD, "yours", provenance, "", ())
    spec = SCHEMES[scheme or DEFAULT_SCHEME]
    if spec.needs_residual_norms and (timm or not target.shortcut or target.norm == "none"):
        raise UsageError(
            _("{start} needs a ResNet with shortcut and norm on, not {network}.", start=name, network=target.label),
            _("Use {start}, or switch shortcut and norm on.", start=DEFAULT_START),
        )
    provenance = f"random weights, {scheme or DEFAULT_SCHEME}: {spec.description}"
    init = load_factory(spec.factory)
    return Start(name, None, init, IMAGENET_MEAN, IMAGENET_STD, "yours", provenance, "", ())


def from_torchvision(_unused: str, target: NetworkTarget) -> Start:
    """Return torchvision's weights, trained on ImageNet-1k.

    Raises:
        UsageError: The network is none for which torchvision has weights.
    """
    if is_user_network(target.network):
        raise UsageError(
            _("The start {start} has no weights for {network}.", start=PRETRAINED_START, network=target.label),
            _(
                "Use the starts {scratch} and {form}, with a weights file that has its keys.",
                scratch=DEFAULT_START,
                form=start_spec.start_form(FILE_START),
            ),
        )
    if target.network not in PUBLISHED:
        raise UsageError(
            _(
                "The start {start} has weights for {networks}, not for {network}.",
                start=PRETRAINED_START,
                networks=", ".join(PUBLISHED),
                network=target.network,
            ),
            _(
                "Use --network {network}, the start {scratch}, or a start {form}.",
                network=PUBLISHED[0],
                scratch=DEFAULT_START,
                form=start_spec.start_form(TIMM_START),
            ),
        )
    if not target.is_standard:
        raise UsageError(
            _(
                "The start {start} has weights for {networks} as published, not for {network}.",
                start=PRETRAINED_START,
                networks=", ".join(PUBLISHED),
                network=target.label,
            ),
            _(
                "Use --shortcut on --norm batch --stem imagenet with one of these networks, or a start {start}.",
                start=start_spec.start_form(TIMM_START),
            ),
        )
    weights = fetch_torchvision(target.network)
    return _from_published(PRETRAINED_START, weights, read_weights(weights.path), target)


def from_timm(name: str, target: NetworkTarget) -> Start:
    """Return weights that timm publishes.

    Raises:
        UsageError: There are no such weights, or they are for another network.
    """
    start, config = f"{TIMM_START}:{name}", pretrained_cfg(name)
    if config.architecture != architecture_of(target.network):
        raise UsageError(
            _(
                "{start} has weights for {architecture}, but the network is {network}.",
                start=start,
                architecture=config.architecture,
                network=label(target.network),
            ),
            _("Use --network {network}.", network=network_of_timm_weights(name)),
        )
    if not target.is_standard:
        raise UsageError(
            _(
                "{start} has weights for the network as published, not for {network}.",
                start=start,
                network=target.label,
            ),
            _("Leave shortcut, norm and stem as they are."),
        )
    weights = fetch_timm(name)
    file = read_weights(weights.path)
    if target.network.startswith("timm:"):
        file = convert_timm_keys(name, file)
    return _from_published(start, weights, file, target)


def _from_published(name: str, weights: PretrainedWeights, file: WeightsFile, target: NetworkTarget) -> Start:
    state, notes = adapt_weights(file, target.skeleton(), label=target.label, num_classes=target.num_classes)
    return Start(
        name,
        state,
        init=None,
        mean=weights.mean,
        std=weights.std,
        license=weights.license,
        provenance=weights.provenance,
        sha256=file.sha256,
        notes=tuple(notes),
        classes=weights.classes,
    )


def from_statistics(name: str, target: NetworkTarget) -> Start:
    """Return random weights with the mean and standard deviation of each tensor of another start.

    Raises:
        UsageError: The other start is random.
    """
    model = _resolve(name, target)
    start = f"{STATISTICS_START}:{name}"
    if model.state is None or model.init is not None:
        raise UsageError(
            _("{start} needs a start with weights from a file, but {name} is drawn at random.", start=start, name=name),
            _("Use for example {start}.", start=f"{STATISTICS_START}:{PRETRAINED_START}"),
        )
    provenance = f"random weights, normal with the mean and standard deviation of each tensor of {model.provenance}"
    init = partial(draw_from_statistics, model=model.state)
    return replace(model, name=start, init=init, provenance=provenance, classes=())
