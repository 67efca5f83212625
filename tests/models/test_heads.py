"""Heads are what they say, and frozen means frozen: no gradient, no moving statistics, equal hash."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headstart.errors import UsageError
from headstart.models import factory, freezing, heads, structure
from headstart.weights import starts

SWITCHES = {"shortcut": True, "norm": "batch", "stem": "small"}


def resnet(classes: int = 3) -> nn.Module:
    return factory.build("resnet18", classes, **SWITCHES)


def scratch(network: str = "resnet18") -> starts.Start:
    return starts.resolve("scratch", network=network, num_classes=3, **{**SWITCHES, "stem": "imagenet"})


def steps(network: nn.Module, tuning: str, count: int = 1, size: int = 8) -> None:
    """Some steps of SGD on noise, as the loop would take them."""
    names = freezing.trainable(network, tuning)
    freezing.freeze(network, names)
    freezing.train_mode(network, tuning)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(3)
    for _ in range(count):
        optimizer.zero_grad()
        logits = network(torch.randn(4, 3, size, size, generator=generator))
        nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()


def nudge(network: nn.Module, key: str, by: int) -> None:
    tensor = network.state_dict()[key]
    tensor[(0,) * tensor.ndim] += by


def test_linear_head_has_torchvision_keys() -> None:
    network = resnet(10)
    heads.attach(network, "linear", 3, seed=1)
    assert network.fc.weight.shape == (3, 512)
    assert {k for k in network.state_dict() if k.startswith("fc")} == {"fc.weight", "fc.bias"}


def test_mlp_head_has_numbered_keys_and_is_replaced_by_another() -> None:
    network = resnet()
    heads.attach(network, "mlp:16", 3, seed=1)
    shapes = {k: tuple(v.shape) for k, v in network.state_dict().items() if k.startswith("fc")}
    assert shapes == {"fc.0.weight": (16, 512), "fc.0.bias": (16,), "fc.2.weight": (3, 16), "fc.2.bias": (3,)}
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 3)
    assert structure.layer_names(network)[-2:] == ["fc.0", "fc.2"]
    heads.attach(network, "mlp:8", 5, seed=1)
    assert network.fc[2].weight.shape == (5, 8)
    heads.attach(network, "linear", 3, seed=1)
    assert network.fc.weight.shape == (3, 512)


@pytest.mark.parametrize(("name", "key"), [("timm:test_vit", "head"), ("timm:test_convnext", "head.fc")])
def test_timm_heads_are_replaced_in_place(name: str, key: str) -> None:
    network = factory.build(name, 3)
    heads.attach(network, "mlp:8", 4, seed=0)
    assert f"{key}.2.weight" in network.state_dict()
    size = network.pretrained_cfg["input_size"][-1]
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 4)


@pytest.mark.parametrize("head", ["mlp", "mlp:", "mlp:0", "mlp:-4", "mlp:1e3", "mlp:99999999", "conv", ""])
def test_a_bad_head_is_refused(head: str) -> None:
    with pytest.raises(UsageError, match=r"mlp:256"):
        heads.attach(resnet(), head, 3, seed=0)


@pytest.mark.parametrize("head", ["linear", "mlp:16"])
def test_head_values_depend_on_the_seed_and_the_head_alone(head: str) -> None:
    def values(seed: int, name: str = "resnet18") -> list[torch.Tensor]:
        network = factory.build(name, 9)
        heads.attach(network, head, 3, seed=seed)
        return [p.detach().clone() for p in network.fc.parameters()]

    first, again, other, deeper = values(1), values(1), values(2), values(1, "resnet34")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, deeper, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    network = resnet()
    heads.attach(network, head, 3, seed=1)
    starts.initialise(network, scratch(), seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, network.fc.parameters(), strict=True))


def test_trainable_names() -> None:
    network = resnet()
    everything = [n for n, _ in network.named_parameters()]
    assert freezing.trainable(network, "full") == everything
    assert freezing.trainable(network, "frozen") == ["fc.weight", "fc.bias"]
    assert freezing.trainable(network, "stages:1") == [n for n in everything if n.startswith(("layer4", "fc"))]
    assert freezing.trainable(network, "stages:4") == [n for n in everything if not n.startswith(("conv1", "bn1"))]


def test_trainable_names_of_a_timm_network() -> None:
    network = factory.build("timm:test_vit", 3)
    names = freezing.trainable(network, "stages:1")
    assert {n.split(".")[0] for n in names} == {"blocks", "norm", "head"}
    assert all(n.startswith("blocks.5") for n in names if n.startswith("blocks"))


@pytest.mark.parametrize("tuning", ["stages:0", "stages:5", "stages:x", "stages:", "frosen", "lp-ft"])
def test_a_bad_tuning_is_refused_with_the_range(tuning: str) -> None:
    with pytest.raises(UsageError, match="N from 1 to 4"):
        freezing.trainable(resnet(), tuning)


def test_freeze_sets_exactly_these() -> None:
    network = resnet()
    network(torch.zeros(2, 3, 8, 8)).sum().backward()
    freezing.freeze(network, ["layer4.1.bn2.weight", "fc.bias"])
    assert [n for n, p in network.named_parameters() if p.requires_grad] == ["layer4.1.bn2.weight", "fc.bias"]
    assert network.conv1.weight.grad is None
    assert network.fc.bias.grad is not None
    freezing.freeze(network, freezing.trainable(network, "full"))
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(ValueError, match="fc2"):
        freezing.freeze(network, ["fc2.weight"])


@pytest.mark.parametrize(
    ("tuning", "head"), [("frozen", "linear"), ("frozen", "mlp:8"), ("stages:1", "mlp:8"), ("stages:3", "linear")]
)
def test_frozen_stays_frozen_and_the_rest_moves(tuning: str, head: str) -> None:
    network = resnet()
    heads.attach(network, head, 3, seed=0)
    names = freezing.trainable(network, tuning)
    before, digest = {k: v.clone() for k, v in network.state_dict().items()}, freezing.frozen_digest(network, names)
    steps(network, tuning)
    after = network.state_dict()
    assert freezing.frozen_digest(network, names) == digest
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    buffers = {n for n, _ in network.named_buffers() if any(n.startswith(m.split(".")[0]) for m in names)}
    assert moved == set(names) | buffers, "all that is trained moves, statistics included, and nothing else"


def test_a_frozen_batchnorm_left_in_train_mode_is_found_out() -> None:
    network = resnet()
    names = freezing.trainable(network, "frozen")
    digest = freezing.frozen_digest(network, names)
    network.train()
    network(torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert freezing.frozen_digest(network, names) != digest


@pytest.mark.parametrize("key", ["conv1.weight", "layer2.0.downsample.1.running_var", "bn1.num_batches_tracked"])
def test_the_digest_sees_every_frozen_tensor(key: str) -> None:
    network = resnet()
    names = freezing.trainable(network, "stages:1")
    nn.init.zeros_(network.conv1.weight)  # so that adding and taking away is exact
    digest = freezing.frozen_digest(network, names)
    assert freezing.frozen_digest(network.to(memory_format=torch.channels_last), names) == digest
    nudge(network, key, 1)
    assert freezing.frozen_digest(network, names) != digest
    nudge(network, key, -1)
    assert freezing.frozen_digest(network, names) == digest
    for free in ("layer4.1.bn1.running_mean", "layer4.0.conv1.weight", "fc.bias"):
        nudge(network, free, 1)
    assert freezing.frozen_digest(network, names) == digest


def test_the_digest_covers_all_of_a_network_that_is_not_trained_at_all() -> None:
    network = resnet()
    digest = freezing.frozen_digest(network, [])
    network.bn1.running_mean += 1
    assert freezing.frozen_digest(network, []) != digest


def test_train_mode_is_train_where_something_is_trained() -> None:
    network = resnet()
    freezing.train_mode(network, "stages:1")
    assert not network.bn1.training
    assert not network.layer3.training
    assert not network.layer3[0].bn1.training
    assert network.layer4[0].bn1.training
    assert network.training
    freezing.train_mode(network, "full")
    assert all(m.training for m in network.modules())


def test_dropout_of_a_frozen_trunk_is_off() -> None:
    network = factory.build("timm:test_vit", 3)
    network.blocks[0].mlp.drop1 = nn.Dropout(0.5)
    freezing.train_mode(network, "frozen")
    assert not network.blocks[0].mlp.drop1.training
    assert network.head.training


def test_pretrained_names_are_the_trunk_of_a_start_from_a_file() -> None:
    network = resnet()
    assert starts.pretrained_names(network, scratch()) == []
    brought = starts.Start("file:x", {}, "", (0.0,) * 3, (1.0,) * 3, "", "", "", ())
    names = starts.pretrained_names(network, brought)
    assert set(names) == {n for n, _ in network.named_parameters()} - {"fc.weight", "fc.bias"}
