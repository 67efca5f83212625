"""The whole table of optimizers against torch's plain ones with the same numbers, and the groups."""

import pytest
import torch
from torch import nn

from headstart.optim import optimizers, param_groups

PLAIN = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True, foreach=False),
    "adam": lambda p: torch.optim.Adam(p, 0.05, foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1, foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.05, momentum=0.8, foreach=False),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


def train(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    for step in range(3):
        torch.manual_seed(step)
        net(torch.randn(8, 3, 8, 8)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net.state_dict()


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_the_table_is_torchs(name: str) -> None:
    ours, plain = network(), network()
    decay = 0.1 if name == "adamw" else 0.0
    found = param_groups.groups(ours.named_parameters(), weight_decay=decay, backbone=set(), backbone_factor=1.0)
    made = optimizers.OPTIMIZERS[name](found, optimizers.OptimizerParams(0.05, 0.8, nesterov=True))
    if name == "adamw":  # plain torch, told by hand to spare the norm and the biases
        decayed = [p for p in plain.parameters() if p.ndim > 1]
        spared = [{"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0}]
        other = PLAIN[name]([{"params": decayed}, *spared])
    else:
        other = PLAIN[name](plain.parameters())
    one, two = train(ours, made), train(plain, other)
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_the_order_of_memory_gives_the_same_bits(name: str) -> None:
    """Weights in channels_last stepped through by views, beside the table's optimizer on the weights themselves."""
    states = []
    for by_views in (True, False):
        net = nn.Sequential(*network()[:3], nn.Linear(4 * 36, 2)).to(memory_format=torch.channels_last)
        net.load_state_dict(network().state_dict())
        assert not net[0].weight.is_contiguous()
        found = param_groups.groups(net.named_parameters(), weight_decay=0.1, backbone=set(), backbone_factor=1.0)
        numbers = optimizers.OptimizerParams(0.05, 0.8, nesterov=True)
        made = optimizers.make(name, found, numbers) if by_views else optimizers.OPTIMIZERS[name](found, numbers)
        states.append(train(net, made))
        if by_views:
            assert all(p.grad is None for p in net.parameters())
            slots = [v for state in made.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
            assert slots and all(p.is_contiguous() for p in [*slots, *made.param_groups[0]["params"]])
            assert {p.data_ptr() for p in net.parameters()} == {
                p.data_ptr() for group in made.param_groups for p in group["params"]
            }
    one, two = states
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_groups_hold_every_parameter_once_and_spare_norms_and_biases() -> None:
    net = network()
    found = param_groups.groups(
        net.named_parameters(), weight_decay=0.1, backbone={"0.weight", "1.weight", "1.bias"}, backbone_factor=0.1
    )
    assert [g["name"] for g in found] == ["backbone", "backbone-no-decay", "head", "head-no-decay"]
    assert [g["weight_decay"] for g in found] == [0.1, 0.0, 0.1, 0.0]
    together = [id(p) for g in found for p in g["params"]]
    assert sorted(together) == sorted(id(p) for p in net.parameters())
    optimizer = optimizers.OPTIMIZERS["sgd"](found, optimizers.OptimizerParams(1.0))
    param_groups.set_rates(optimizer, 0.5)
    assert param_groups.rates(optimizer) == {"backbone": 0.05, "head": 0.5}
