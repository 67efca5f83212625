"""Heads have the requested form, and frozen tensors keep their values and their digest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headstart.config.registry.head_inits import HEAD_INITS
from headstart.errors import UsageError
from headstart.factories import load_factory
from headstart.models import factory, freezing, heads, structure
from headstart.weights import starts
from tests.messages import fields_of

SWITCHES = {"shortcut": True, "norm": "batch", "stem": "small"}


def resnet(classes: int = 3) -> nn.Module:
    return factory.build("resnet18", classes, **SWITCHES)


def scratch_of(classes: int) -> starts.Start:
    return starts.resolve_start("scratch", network="resnet18", num_classes=classes, **SWITCHES)


def scratch(network: str = "resnet18") -> starts.Start:
    return starts.resolve_start("scratch", network=network, num_classes=3, **{**SWITCHES, "stem": "imagenet"})


def steps(network: nn.Module, trained_stages: int | None, count: int = 1, size: int = 8) -> None:
    """Take `count` steps of SGD on noise, with the freezing of the training loop."""
    names = freezing.trainable(network, trained_stages)
    freezing.freeze(network, names)
    freezing.train_mode(network, trained_stages)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        optimizer.zero_grad()
        logits = network(torch.randn(4, 3, size, size, generator=generator))
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()


def add_to(network: nn.Module, key: str, value: int) -> None:
    """Add `value` to the first element of a tensor."""
    tensor = network.state_dict()[key]
    tensor[(0,) * tensor.ndim] += value


def test_linear_head_has_torchvision_keys() -> None:
    network = resnet(10)
    heads.replace_head(network, "linear", 3, seed=1)
    assert network.fc.weight.shape == (3, 512)
    assert {k for k in network.state_dict() if k.startswith("fc")} == {"fc.weight", "fc.bias"}


def test_mlp_head_has_numbered_keys_and_can_be_replaced() -> None:
    network = resnet()
    heads.replace_head(network, "mlp:16", 3, seed=1)
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items() if k.startswith("fc")}
    assert shapes == {"fc.0.weight": (16, 512), "fc.0.bias": (16,), "fc.2.weight": (3, 16), "fc.2.bias": (3,)}
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    assert structure.layer_names(network)[-2:] == ["fc.0", "fc.2"]
    heads.replace_head(network, "mlp:8", 5, seed=1)
    assert network.fc[2].weight.shape == (5, 8)
    heads.replace_head(network, "linear", 3, seed=1)
    assert network.fc.weight.shape == (3, 512)


@pytest.mark.parametrize(("name", "key"), [("timm:test_vit", "head"), ("timm:test_convnext", "head.fc")])
def test_timm_heads_are_replaced_in_place(name: str, key: str) -> None:
    network = factory.build(name, 3)
    heads.replace_head(network, "mlp:8", 4, seed=0)
    assert f"{key}.2.weight" in network.state_dict()
    size = network.pretrained_cfg["input_size"][-1]
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 4)


@pytest.mark.parametrize("head", ["mlp", "mlp:", "mlp:0", "mlp:-4", "mlp:1e3", "mlp:99999999", "conv", ""])
def test_invalid_head_raises_usage_error(head: str) -> None:
    with pytest.raises(UsageError) as error:
        heads.replace_head(resnet(), head, 3, seed=0)
    assert fields_of(error.value.message) == {"head": head}
    assert fields_of(error.value.hint) == {"max_width": heads.MAX_HIDDEN_WIDTH}


@pytest.mark.parametrize("head", ["linear", "mlp:16"])
def test_head_values_depend_only_on_the_seed_and_the_head(head: str) -> None:
    def values(seed: int, name: str = "resnet18") -> list[torch.Tensor]:
        network = factory.build(name, 9)
        heads.replace_head(network, head, 3, seed=seed)
        return [p.detach().clone() for p in network.fc.parameters()]

    first, again, other, deeper = values(1), values(1), values(2), values(1, "resnet34")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, deeper, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    network = resnet()
    heads.replace_head(network, head, 3, seed=1)
    starts.initialize(network, scratch(), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, network.fc.parameters(), strict=True))


def test_trainable_names_of_a_resnet() -> None:
    network = resnet()
    all_names = [n for n, _ in network.named_parameters()]
    assert freezing.trainable(network, None) == all_names
    assert freezing.trainable(network, 0) == ["fc.weight", "fc.bias"]
    assert freezing.trainable(network, 1) == [n for n in all_names if n.startswith(("layer4", "fc"))]
    assert freezing.trainable(network, 4) == [n for n in all_names if not n.startswith(("conv1", "bn1"))]


def test_trainable_names_of_a_timm_network() -> None:
    network = factory.build("timm:test_vit", 3)
    names = freezing.trainable(network, 1)
    assert {n.split(".")[0] for n in names} == {"blocks", "norm", "head"}
    assert all(n.startswith("blocks.5") for n in names if n.startswith("blocks"))


def test_more_stages_than_the_network_has_are_an_error_with_the_range() -> None:
    with pytest.raises(UsageError) as error:
        freezing.trainable(resnet(), 5)
    assert fields_of(error.value.message) == {"number": 5} and fields_of(error.value.hint) == {"last": 4}


def test_freeze_leaves_gradients_to_exactly_the_named_parameters() -> None:
    network = resnet()
    network(torch.zeros(2, 3, 8, 8)).sum().backward()
    freezing.freeze(network, ["layer4.1.bn2.weight", "fc.bias"])
    assert [n for n, p in network.named_parameters() if p.requires_grad] == ["layer4.1.bn2.weight", "fc.bias"]
    assert network.conv1.weight.grad is None
    assert network.fc.bias.grad is not None
    freezing.freeze(network, freezing.trainable(network, None))
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(ValueError, match="fc2"):
        freezing.freeze(network, ["fc2.weight"])


@pytest.mark.parametrize(
    ("name", "std"), [("torch", 512**-0.5 / 3**0.5), ("kaiming", (2 / 512) ** 0.5), ("normal", 0.01), ("zero", 0.0)]
)
def test_initializations_of_the_head_have_their_spread_and_follow_the_seed(name: str, std: float) -> None:
    init = load_factory(HEAD_INITS[name])
    network, again = resnet(40), resnet(40)
    heads.replace_head(network, "linear", 40, seed=1, init=init)
    starts.initialize(again, scratch_of(40), seed=1, head_init=init)
    assert network.fc.weight.std(correction=0).item() == pytest.approx(std, rel=0.02)
    assert torch.equal(network.fc.weight, again.fc.weight) and torch.equal(network.fc.bias, again.fc.bias)
    assert (name == "torch") == bool(network.fc.bias.abs().max() > 0)
    heads.reset_head(again, seed=2, init=init)
    assert torch.equal(network.fc.weight, again.fc.weight) is (name == "zero")


def test_zero_head_with_a_hidden_layer_can_learn() -> None:
    network = resnet()
    heads.replace_head(network, "mlp:8", 3, seed=1, init=heads.draw_zero)
    assert not network.fc[2].weight.any() and network.fc[0].weight.any()
    before = network.fc[0].weight.clone()
    steps(network, 0, 2)
    assert network.fc[2].weight.any() and not torch.equal(network.fc[0].weight, before)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext"])
@pytest.mark.parametrize("init", HEAD_INITS)
def test_every_initialization_draws_the_heads_of_timm(name: str, init: str) -> None:
    network = factory.build(name, 3)
    heads.reset_head(network, seed=0, init=load_factory(HEAD_INITS[init]))
    head = network.get_submodule(structure.head_name(network))
    assert all(torch.isfinite(p).all() for p in head.parameters())


@pytest.mark.parametrize(("trained_stages", "head"), [(0, "linear"), (0, "mlp:8"), (1, "mlp:8"), (3, "linear")])
def test_only_trained_tensors_change(trained_stages: int, head: str) -> None:
    network = resnet()
    heads.replace_head(network, head, 3, seed=0)
    names = freezing.trainable(network, trained_stages)
    before, digest = {k: v.clone() for k, v in network.state_dict().items()}, freezing.frozen_digest(network, names)
    steps(network, trained_stages)
    after = network.state_dict()
    assert freezing.frozen_digest(network, names) == digest
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    buffers = {n for n, _ in network.named_buffers() if any(n.startswith(m.split(".")[0]) for m in names)}
    assert changed == set(names) | buffers, "all trained tensors change, including statistics, and nothing else"


def test_digest_detects_a_frozen_batchnorm_in_train_mode() -> None:
    network = resnet()
    names = freezing.trainable(network, 0)
    digest = freezing.frozen_digest(network, names)
    network.train()
    network(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert freezing.frozen_digest(network, names) != digest


@pytest.mark.parametrize("key", ["conv1.weight", "layer2.0.downsample.1.running_var", "bn1.num_batches_tracked"])
def test_digest_depends_on_every_frozen_tensor(key: str) -> None:
    network = resnet()
    names = freezing.trainable(network, 1)
    nn.init.zeros_(network.conv1.weight)  # so that addition and subtraction are exact
    digest = freezing.frozen_digest(network, names)
    assert freezing.frozen_digest(network.to(memory_format=torch.channels_last), names) == digest
    add_to(network, key, 1)
    assert freezing.frozen_digest(network, names) != digest
    add_to(network, key, -1)
    assert freezing.frozen_digest(network, names) == digest
    for trained in ("layer4.1.bn1.running_mean", "layer4.0.conv1.weight", "fc.bias"):
        add_to(network, trained, 1)
    assert freezing.frozen_digest(network, names) == digest


def test_digest_covers_all_of_a_network_without_trained_parameters() -> None:
    network = resnet()
    digest = freezing.frozen_digest(network, [])
    network.bn1.running_mean += 1
    assert freezing.frozen_digest(network, []) != digest


def test_train_mode_applies_to_modules_with_trained_parameters() -> None:
    network = resnet()
    freezing.train_mode(network, 1)
    assert not network.bn1.training
    assert not network.layer3.training
    assert not network.layer3[0].bn1.training
    assert network.layer4[0].bn1.training
    assert network.training
    freezing.train_mode(network, None)
    assert all(m.training for m in network.modules())


def test_dropout_of_a_frozen_backbone_is_off() -> None:
    network = factory.build("timm:test_vit", 3)
    network.blocks[0].mlp.drop1 = nn.Dropout(0.5)
    freezing.train_mode(network, 0)
    assert not network.blocks[0].mlp.drop1.training
    assert network.head.training
