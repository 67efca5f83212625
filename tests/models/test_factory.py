"""The ResNet family is bit-equal to torchvision's, and the structure of timm networks comes from timm."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from headstart.errors import UsageError
from headstart.hardware import benchmark
from headstart.models import factory, freezing, resnet, structure
from tests.messages import fields_of

NAMES = ("resnet18", "resnet34", "resnet50")
TIMM = "timm:test_vit"


def images(count: int = 2, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=NAMES)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    """Return our network and torchvision's with the same state dict and non-trivial BatchNorm statistics."""
    ours = factory.build(request.param, 7)
    theirs = torchvision.models.get_model(request.param, weights=None, num_classes=7)
    generator = torch.Generator().manual_seed(1)
    for name, buffer in theirs.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2, generator=generator)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def test_state_dict_has_torchvision_keys_shapes_and_order(pair: tuple[nn.Module, nn.Module]) -> None:
    ours, theirs = pair
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, v.shape) for k, v in theirs.state_dict().items()
    ]


def test_outputs_statistics_and_gradients_are_bit_equal(pair: tuple[nn.Module, nn.Module]) -> None:
    ours, theirs = pair
    x, y = images(), torch.tensor([0, 3])
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))
    results = []
    for network in (ours.train(), theirs.train()):
        network.zero_grad(set_to_none=True)
        pixels = x.clone().requires_grad_()
        logits = network(pixels)
        nn.functional.cross_entropy(logits, y).backward()
        results.append((logits.detach(), pixels.grad, network))
    (a, a_pixels, _), (b, b_pixels, _) = results
    assert torch.equal(a, b)
    assert torch.equal(a_pixels, b_pixels)
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), name
    for (name, p), (_, q) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert torch.equal(p, q), name


def test_resnet_equals_timms() -> None:
    theirs = timm.create_model("resnet18", num_classes=3).eval()
    ours = factory.build("resnet18", 3).eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(images()), theirs(images()), rtol=1e-4, atol=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(NAMES[:2]), st.booleans(), st.sampled_from(resnet.NORMS), st.sampled_from(resnet.STEMS))
def test_every_combination_of_switches_builds_a_network(name: str, shortcut: bool, norm: str, stem: str) -> None:
    network = factory.build(name, 5, shortcut=shortcut, norm=norm, stem=stem).eval()
    keys = list(network.state_dict())
    assert any("downsample" in k for k in keys) is shortcut
    assert any("bn1" in k for k in keys) is (norm == "batch")
    assert ("conv1.bias" in keys) is (norm == "none")
    assert network.conv1.weight.shape[-1] == (7 if stem == "imagenet" else 3)
    shapes: list[torch.Size] = []
    network.layer4.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    with torch.no_grad():
        assert network(images(1, 32)).shape == (1, 5)
    assert shapes[0][-1] == (1 if stem == "imagenet" else 4)


def test_shortcut_adds_the_input() -> None:
    block = resnet.BasicBlock(4, 4).eval()
    plain = resnet.BasicBlock(4, 4, shortcut=False).eval()
    plain.load_state_dict(block.state_dict())
    nn.init.zeros_(block.bn2.weight)
    nn.init.zeros_(plain.bn2.weight)
    x = images(1, 8)[:, :1].repeat(1, 4, 1, 1)
    with torch.no_grad():
        assert torch.equal(block(x.clone()), x.relu())
        assert torch.equal(plain(x.clone()), torch.zeros_like(x))


def test_bottleneck_strides_on_its_3x3() -> None:
    block = resnet.Bottleneck(8, 4, 2)
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(1, 1), (2, 2), (1, 1)]
    assert block(torch.zeros(2, 8, 6, 6)).shape == (2, 16, 3, 3)


def test_build_is_deterministic_and_does_not_change_the_global_generator() -> None:
    before = torch.get_rng_state()
    first, second = factory.build("resnet18", 3), factory.build("resnet18", 3)
    factory.build(TIMM, 3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "switches", "message", "hint"),
    [
        ("resnet19", {}, {"name": "resnet19"}, {"choice": "resnet18"}),
        ("vgg16", {}, {"name": "vgg16"}, {"name": "vgg16"}),  # timm:vgg16
        ("alexnet", {}, {"name": "alexnet"}, {"names": ", ".join([*resnet.FAMILY, "timm:NAME", "PATH.py:NAME"])}),
        ("timm:test_vot", {}, {"version": timm.__version__, "name": "test_vot"}, {"similar": "test_vit"}),
        (
            "timm:resnet18.a1_in1",
            {},
            {"version": timm.__version__, "tag": "a1_in1", "architecture": "resnet18"},
            {"names": ", ".join(f"timm:{name}" for name in sorted(timm.list_models("resnet18.*", pretrained=True)))},
        ),
        (
            "timm:hf-hub:someone/something",
            {},
            {"version": timm.__version__, "name": "hf-hub:someone/something"},
            {"count": len(timm.list_models())},
        ),
        (
            "timm:deit_tiny_distilled_patch16_224",
            {},
            {"name": "timm:deit_tiny_distilled_patch16_224", "count": 2},
            {},
        ),
        (TIMM, {"shortcut": False}, {"name": TIMM}, {"networks": ", ".join(resnet.FAMILY)}),
        ("resnet18", {"norm": "batsh"}, {"switch": "norm", "value": "batsh"}, {"choice": "batch"}),
        ("resnet18", {"stem": "tiny"}, {"switch": "stem", "value": "tiny"}, {"names": "imagenet, small"}),
    ],
)
def test_unknown_names_raise_usage_error_with_the_nearest_names(
    name: str, switches: dict[str, object], message: dict[str, object], hint: dict[str, object]
) -> None:
    with pytest.raises(UsageError) as caught:
        factory.build(name, 3, **switches)
    assert (fields_of(caught.value.message), fields_of(caught.value.hint)) == (message, hint)


def test_network_without_timm_groups_has_a_backbone_and_a_head() -> None:
    network = factory.build("timm:poolformer_s12", 3)
    (_, backbone), (name, head) = structure.stages(network)
    names = [name for name, _ in network.named_parameters()]
    assert name == "head" and all(structure.in_part(n, backbone) != structure.in_part(n, head) for n in names)
    assert freezing.trainable(network, 0) == [n for n in names if n.startswith("head.fc.")]
    with pytest.raises(UsageError) as caught:
        freezing.trainable(network, 1)
    assert fields_of(caught.value.message) == {"number": 1}
    assert fields_of(caught.value.hint) == {}  # no range of stages


@pytest.mark.parametrize("name", [*NAMES, TIMM, "timm:test_convnext", "timm:test_efficientnet", "timm:test_resnet"])
def test_stages_contain_every_parameter_once_and_end_with_the_head(name: str) -> None:
    network = factory.build(name, 3)
    parts = structure.stages(network)
    labels = [label for label, _ in parts]
    assert labels[0] == "stem"
    assert labels[-1] == "head"
    assert len(set(labels)) == len(labels) > 3
    assert parts[-1][1] == [structure.head_name(network)]
    for parameter, _ in network.named_parameters():
        assert sum(structure.in_part(parameter, prefixes) for _, prefixes in parts) == 1, parameter


@pytest.mark.parametrize("name", [*NAMES, TIMM, "timm:test_convnext", "timm:test_efficientnet", "timm:test_resnet"])
def test_named_parts_are_those_of_the_network(name: str) -> None:
    """The first convolution reads the image, and the head is the last linear layer of the network."""
    network = factory.build(name, 3)
    convolutions = [part for part, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    linear = [part for part, module in network.named_modules() if isinstance(module, nn.Linear)]
    assert structure.first_convolution(network) == convolutions[0]
    assert linear[-1] == structure.head_name(network)


def test_fixed_size_is_the_only_one_that_the_network_accepts() -> None:
    network = factory.build("timm:vit_tiny_patch16_224", 3).eval()
    size = structure.fixed_size(network)
    assert size == 224
    assert network(torch.zeros(1, 3, size, size)).shape == (1, 3)
    with pytest.raises(AssertionError):
        network(torch.zeros(1, 3, size + 32, size + 32))
    assert structure.fixed_size(factory.build("resnet18", 3)) is None


def test_structure_of_a_resnet_is_in_network_order() -> None:
    network = factory.build("resnet18", 3)
    assert [s for s, _ in structure.stages(network)] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    layers = structure.layer_names(network)
    assert layers[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert layers[-1] == "fc"
    assert len(layers) == 20 + 1
    assert structure.block_names(network) == [f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)]
    assert len(structure.block_names(factory.build("resnet50", 3))) == 16


def test_structure_of_a_timm_network_comes_from_timm() -> None:
    network = factory.build(TIMM, 3)
    assert structure.head_name(network) == "head"
    assert structure.block_names(network) == [f"blocks.{i}" for i in range(6)]
    assert structure.layer_names(network)[0] == "patch_embed.proj"
    assert structure.layer_names(network)[-1] == "head"
    assert "norm.weight" in dict(structure.stages(network))["blocks.5"], "modules after the last block belong to it"


def test_resnet20_has_the_published_size() -> None:
    """He et al. 2015, table 6: 0.27 million parameters, and 40.8 million products at 32 px (Idelbayev 2018)."""
    network = factory.build("resnet20", 10, stem="small")
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == 0.27
    assert [name for name, _ in structure.stages(network)] == ["stem", "layer1", "layer2", "layer3", "head"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(images(1, 32))
    assert counter.get_total_flops() / 2 == pytest.approx(40.8e6, rel=0.02)
    assert network(images(2, 16)).shape == (2, 10)


@pytest.mark.parametrize("trained", ["", "fc", "layer4"])
@pytest.mark.parametrize("stem", resnet.STEMS)
def test_training_flops_equal_those_of_torch(stem: str, trained: str) -> None:
    network = factory.build("resnet18", 7, stem=stem)
    for name, parameter in network.named_parameters():
        parameter.requires_grad = name >= trained
    with FlopCounterMode(display=False) as counter:
        network.train()(images(2, 64)).sum().backward()
    assert benchmark.training_flops(network, 64) == counter.get_total_flops() / 2
