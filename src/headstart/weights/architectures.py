"""Name the network whose weights are in a file, from the names and shapes of its tensors.

A network is named only if all its tensors are there and nothing else; then the advice to use it is right. Others are
named by their kind, from names that only this kind has.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.i18n import Message, _, verbatim
from headstart.models.factory import build
from headstart.models.resnet import FAMILY, ResNet
from headstart.models.structure import head_name
from headstart.weights.dialects import DIALECTS
from headstart.weights.matching import find_fits, has_shapes, is_complete, surroundings

TITLES = {"resnet18": "ResNet-18", "resnet34": "ResNet-34", "resnet50": "ResNet-50", "resnet20": "ResNet-20"}
TITLES |= {"resnet101": "ResNet-101", "resnet152": "ResNet-152"}


@dataclass(frozen=True)
class Identity:
    """The network that a file has the weights of, in words, and what to do."""

    title: Message
    hint: Message


@dataclass(frozen=True)
class Kind:
    """A kind of networks.

    Attributes:
        title: Its name in English.
        patterns: Patterns of names; a file of this kind has a name for each.
        torchvision: Networks of torchvision to compare with.
        timm: Networks of timm to compare with.
    """

    title: str
    patterns: tuple[str, ...]
    torchvision: tuple[str, ...] = ()
    timm: tuple[str, ...] = ()


_PUBLISHED = "imagenet", "batch", "on"  # switches of the published ResNets: --stem, --norm, --shortcut
_RESNETS = (
    "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
    "resnet18d", "resnet34d", "resnet50d", "resnet101d", "seresnet50", "seresnext50_32x4d", "resnet26", "resnet10t",
    "seresnet18", "seresnet34", "resnet26d",
)  # fmt: skip
_VITS = (
    "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_large_patch16_224",
    "vit_small_patch32_224", "vit_base_patch32_224", "vit_large_patch32_224", "vit_small_patch8_224",
    "vit_base_patch8_224", "vit_large_patch14_224", "deit_tiny_distilled_patch16_224",
    "deit_small_distilled_patch16_224", "deit_base_distilled_patch16_224",
)  # fmt: skip
_CONVNEXTS = ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large")

KINDS = (
    Kind("a ResNet", (r"(^|\.)layer1\.0\.conv1\.weight",), timm=_RESNETS),
    Kind("a ResNet of transformers", (r"(^|\.)encoder\.stages\.0\.layers\.0\.layer\.0\.convolution\.",), timm=_RESNETS),
    Kind("a ResNet", (r"(^|\.)4\.0\.conv1\.weight", r"(^|\.)7\.0\.conv1\.weight"), timm=_RESNETS),
    Kind(
        "a Swin transformer",
        (r"relative_position_bias_table$", r"(^|\.)layers\.0\.blocks\.0\."),
        timm=tuple(f"swin_{size}_patch4_window7_224" for size in ("tiny", "small", "base", "large")),
    ),
    Kind(
        "a Swin transformer",
        (r"relative_position_bias_table$", r"(^|\.)features\.1\.0\.attn\."),
        torchvision=("swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b"),
    ),
    Kind("a vision transformer (ViT)", (r"(^|\.)patch_embed\.proj\.", r"(^|\.)blocks\.\d+\.attn\.qkv"), timm=_VITS),
    Kind(
        "a vision transformer (ViT)",
        (r"(^|\.)conv_proj\.", r"encoder_layer_0\."),
        torchvision=("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32"),
    ),
    Kind("a vision transformer (ViT)", (r"patch_embeddings\.projection\.", r"encoder\.layer\.0\.attention\.")),
    Kind("CLIP", (r"(^|\.)visual\.", r"(^|\.)(transformer\.resblocks|text_model|text)\.")),
    Kind(
        "a ConvNeXt",
        (r"(^|\.)stages\.0\.blocks\.0\.conv_dw\.", r"(^|\.)stem\.0\."),
        timm=tuple(f"convnext{version}_{size}" for version in ("", "v2") for size in _CONVNEXTS),
    ),
    Kind(
        "a ConvNeXt",
        (r"(^|\.)features\.1\.0\.layer_scale$",),
        torchvision=("convnext_tiny", "convnext_small", "convnext_base", "convnext_large"),
    ),
    Kind("a ConvNeXt", (r"(^|\.)downsample_layers\.0\.0\.", r"(^|\.)stages\.0\.0\.dwconv\.")),
    Kind("a ConvNeXt", (r"convnext.*\.dwconv\.",)),
    Kind(
        "an EfficientNet",
        (r"(^|\.)conv_stem\.", r"(^|\.)blocks\.0\.0\.conv_dw\.", r"(^|\.)blocks\.1\.0\.se\.conv_reduce\."),
        timm=(*(f"efficientnet_b{i}" for i in range(8)), "mobilenetv3_small_100", "mobilenetv3_large_100"),
    ),
    Kind("an EfficientNet", (r"(^|\.)_conv_stem\.", r"(^|\.)_blocks\.0\._depthwise_conv\.")),
    Kind(
        "an EfficientNet",
        (r"(^|\.)features\.1\.0\.block\.", r"(^|\.)features\.0\.0\.weight"),
        torchvision=(*(f"efficientnet_b{i}" for i in range(8)), *(f"efficientnet_v2_{size}" for size in "sml")),
    ),
    Kind(
        "a MobileNet",
        (r"(^|\.)conv_stem\.", r"(^|\.)blocks\.0\.0\.conv_dw\."),
        timm=("mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv2_050"),
    ),
    Kind("a MobileNet", (r"(^|\.)features\.1\.conv\.0\.0\.weight",), torchvision=("mobilenet_v2",)),
    Kind(
        "a MobileNet",
        (r"(^|\.)features\.1\.block\.0\.0\.weight",),
        torchvision=("mobilenet_v3_small", "mobilenet_v3_large"),
    ),
    Kind(
        "a DenseNet",
        (r"(^|\.)features\.denseblock1\.denselayer1\.",),
        torchvision=("densenet121", "densenet169", "densenet201", "densenet161"),
        timm=("densenet121", "densenet169", "densenet201", "densenet161"),
    ),
    Kind("a SqueezeNet", (r"\.squeeze\.weight$", r"\.expand3x3\.")),
    Kind(
        "a ShuffleNet",
        (r"(^|\.)stage2\.0\.branch1\.",),
        torchvision=tuple(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    ),
    Kind("a RegNet", (r"(^|\.)trunk_output\.block1\.",), torchvision=("regnet_y_400mf", "regnet_x_400mf")),
    Kind(
        "a RegNet",
        (r"(^|\.)s1\.b1\.conv1\.", r"(^|\.)stem\.conv\."),
        timm=("regnety_004", "regnety_008", "regnety_016"),
    ),
    Kind("GoogLeNet", (r"(^|\.)inception3a\.branch1\.",)),
    Kind("Inception v3", (r"(^|\.)Mixed_5b\.",)),
    Kind("an MNASNet", (r"(^|\.)layers\.8\.0\.layers\.0\.weight",), torchvision=("mnasnet1_0", "mnasnet0_5")),
    Kind("an MLP-Mixer", (r"mlp_tokens\.fc1\.",)),
    Kind("a YOLO detector", (r"(^|\.)model\.\d+\.(conv|cv1\.conv)\.weight", r"(^|\.)model\.\d+\.(m|cv2)\.")),
    Kind("a U-Net", (r"(^|\.)(down1|inc|encoder1|downs\.0)\.", r"(^|\.)(up1|decoder1|ups\.0)\.")),
    Kind("a language model", (r"word_embeddings\.weight|(^|\.)(wte|tok_embeddings|embed_tokens)\.weight",)),
    Kind(
        "AlexNet or a VGG",
        (r"(^|\.)features\.0\.weight", r"(^|\.)classifier\.[16]\.weight"),
        torchvision=("alexnet", *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn"))),
        timm=tuple(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    ),
)


def identify(state: Mapping[str, Tensor], target: Mapping[str, torch.Size]) -> Identity | None:
    """Return the network in a file; None if it is not known or of the target's kind.

    Args:
        state: Tensors by their names, without the parts that wrappers insert.
        target: Shapes of the tensors of the network that was wanted.
    """
    kind = next((kind for kind in KINDS if _has(kind, state)), None)
    if kind is None or kind.title == "a ResNet" or kind.timm is _RESNETS:
        for member in _family():
            if _is(member.network, state):
                wanted = next((other.switches for other in _family() if other.has_shapes(target)), _PUBLISHED)
                flags = " ".join([f"--network {member.name}", *member.flags(wanted)])
                return Identity(
                    _("a {network}", network=member.title), _("Use {flags}, or other weights.", flags=flags)
                )
    if kind is None:
        return None
    for name in kind.timm:
        if _is(_timm(name), state):
            title = _("a {network}", network=TITLES[name]) if name in TITLES else _("timm's {name}", name=name)
            return Identity(title, _("Use --network timm:{name}, or other weights.", name=name))
    for name in kind.torchvision:
        if _is(_torchvision(name), state):
            return Identity(_("torchvision's {name}", name=name), _own_network_hint(name))
    if _has(kind, target) or (kind.timm is _RESNETS and _has(KINDS[0], target)):
        return None  # an incomplete one
    return Identity(
        verbatim(kind.title),
        _("Use weights of the network that is trained, or --network PATH.py:NAME with a network of these tensors."),
    )


def _own_network_hint(name: str) -> Message:
    return _(
        "Use weights of another network, or write my.py with {code} and use --network my.py:net.",
        code=f'"import torchvision; net = lambda num_classes: torchvision.models.{name}(num_classes=num_classes)"',
    )


def _has(kind: Kind, names: Mapping[str, object]) -> bool:
    """Return True if a file has the names of a kind."""
    return all(any(re.search(pattern, name) for name in names) for pattern in kind.patterns)


@dataclass(frozen=True)
class _Member:
    """A ResNet with values of its switches."""

    name: str
    switches: tuple[str, str, str]  # values of --stem, --norm and --shortcut
    network: nn.Module

    def flags(self, wanted: tuple[str, str, str] = _PUBLISHED) -> list[str]:
        """Return the flags of the switches that are not as published, or not as those of the wanted network."""
        values = zip(("--stem", "--norm", "--shortcut"), self.switches, _PUBLISHED, wanted, strict=True)
        return [f"{flag} {value}" for flag, value, usual, other in values if not value == usual == other]

    @property
    def title(self) -> str:
        """Name of the network, with the switches that are not as published."""
        changed = self.flags()
        return TITLES[self.name] + (f" ({' '.join(changed)})" if changed else "")

    def has_shapes(self, target: Mapping[str, torch.Size]) -> bool:
        """Return True if the tensors of the network, without its head, have these names and shapes."""
        shapes = {name: tensor.shape for name, tensor in self.network.state_dict().items()}
        return all(shapes.get(name) == shape for name, shape in target.items()) and all(
            name in target or name.startswith("fc.") for name in shapes
        )


def _family() -> Iterator[_Member]:
    """Return each ResNet with each combination of its switches; those as published first."""
    for stem, norm, shortcut in itertools.product(("imagenet", "small"), ("batch", "none"), ("on", "off")):
        for name in FAMILY:
            with torch.device("meta"):
                network = build(name, 2, shortcut=shortcut == "on", norm=norm, stem=stem)
            yield _Member(name, (stem, norm, shortcut), network)


def _timm(name: str) -> nn.Module | None:
    import timm

    if not timm.is_model(name):
        return None
    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, num_classes=2)
    return network


def _torchvision(name: str) -> nn.Module:
    import torchvision

    for device in ("meta", "cpu"):  # RegNets compute with values while they are built
        with suppress(NotImplementedError), torch.device(device):
            network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=2)
            return network
    raise AssertionError("networks are built on the CPU")


def _is(network: nn.Module | None, state: Mapping[str, Tensor]) -> bool:
    """Return True if a file has all tensors of a network, and none that the network lacks."""
    if network is None:
        return False
    head = _head(network)
    expected = {k: v.shape for k, v in network.state_dict().items() if not k.startswith(head + ".")}
    fits = find_fits(state, expected, DIALECTS)
    for fit in fits:
        if is_complete(fit, expected) and has_shapes(fit, expected, state):
            others = [other for other in fits if other is not fit and is_complete(other, expected)]
            return not surroundings(fit, state, head=head, expected=expected, others=others).unexpected
    return False


def _head(network: nn.Module) -> str:
    """Return the name of the head's module, also of a network of torchvision."""
    if isinstance(network, ResNet) or hasattr(network, "pretrained_cfg"):
        return head_name(network)
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1]
