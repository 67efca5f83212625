"""The optimizers equal torch's with the same hyperparameters, and parameter groups are complete."""

import pytest
import torch
from timm.optim.lion import Lion
from torch import nn

from headstart.errors import UsageError
from headstart.optim import optimizers, param_groups
from headstart.optim.registry import OPTIMIZERS, Kernels, OptimizerSpec
from tests.messages import fields_of

PLAIN = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True, foreach=False),
    "adam": lambda p: torch.optim.Adam(p, 0.05, foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, 0.05, weight_decay=0.1, foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.05, momentum=0.8, foreach=False),
    "lion": lambda p: Lion(p, 0.05, foreach=False),
}
OPTIONS = {"momentum": 0.8, "nesterov": True}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, *, by_torch: bool = False) -> dict[str, torch.Tensor]:
    for number in range(3):
        torch.manual_seed(number)
        net(torch.randn(8, 3, 8, 8)).square().sum().backward()
        if by_torch:
            optimizer.step()
            optimizer.zero_grad()
        else:
            optimizers.step(optimizer)
    return net.state_dict()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_equal_torch(name: str) -> None:
    ours, plain = network(), network()
    decay = 0.1 if name == "adamw" else 0.0
    groups = param_groups.groups(ours.named_parameters(), weight_decay=decay, backbone=set(), backbone_factor=1.0)
    optimizer = optimizers.build(name, groups, 0.05, OPTIONS)
    if name == "adamw":  # torch without weight decay for the norm and the biases
        decayed = [p for p in plain.parameters() if p.ndim > 1]
        no_decay = [{"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0}]
        reference = PLAIN[name]([{"params": decayed}, *no_decay])
    else:
        reference = PLAIN[name](plain.parameters())
    actual, expected = train(ours, optimizer), train(plain, reference, by_torch=True)
    assert actual.keys() == expected.keys()
    for key in actual:
        torch.testing.assert_close(actual[key], expected[key], rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_memory_order_gives_the_same_bits(name: str) -> None:
    """Updates on views of channels_last weights equal updates on the weights."""
    states = []
    for by_views in (True, False):
        net = nn.Sequential(*network()[:3], nn.Linear(4 * 36, 2)).to(memory_format=torch.channels_last)
        net.load_state_dict(network().state_dict())
        assert not net[0].weight.is_contiguous()
        groups = param_groups.groups(net.named_parameters(), weight_decay=0.1, backbone=set(), backbone_factor=1.0)
        make = optimizers.make_optimizer if by_views else optimizers.build
        optimizer = make(name, groups, 0.05, OPTIONS)
        states.append(train(net, optimizer, by_torch=not by_views))
        if by_views:
            assert all(p.grad is None for p in net.parameters())
            slots = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
            assert slots and all(p.is_contiguous() for p in [*slots, *optimizer.param_groups[0]["params"]])
            assert {p.data_ptr() for p in net.parameters()} == {
                p.data_ptr() for group in optimizer.param_groups for p in group["params"]
            }
    on_views, on_weights = states
    assert all(torch.equal(on_views[key], on_weights[key]) for key in on_views)


def test_groups_contain_every_parameter_once_and_norms_and_biases_have_no_decay() -> None:
    net = network()
    groups = param_groups.groups(
        net.named_parameters(), weight_decay=0.1, backbone={"0.weight", "1.weight", "1.bias"}, backbone_factor=0.1
    )
    assert [g["name"] for g in groups] == ["backbone", "backbone-no-decay", "head", "head-no-decay"]
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0, 0.1, 0.0]
    ids = [id(p) for g in groups for p in g["params"]]
    assert sorted(ids) == sorted(id(p) for p in net.parameters())
    optimizer = optimizers.build("sgd", groups, 1.0, OPTIONS)
    param_groups.set_rates(optimizer, 0.5)
    assert param_groups.rates(optimizer) == {"backbone": 0.05, "head": 0.5}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_are_elementwise_and_have_the_declared_slots(name: str) -> None:
    """Two weights in one tensor get the bits of two weights alone."""
    gradients = (
        torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0, 1e3])[:, None, None]
    )
    together, alone = nn.Parameter(torch.ones(2, 5, 4)), [nn.Parameter(torch.ones(5, 4)) for _ in range(2)]
    optimizer = optimizers.make_optimizer(name, one_group(together), 0.05, OPTIONS)
    others = [optimizers.make_optimizer(name, one_group(weight), 0.05, OPTIONS) for weight in alone]
    for step in gradients:
        together.grad = step.clone()
        optimizers.step(optimizer)
        for weight, other, gradient in zip(alone, others, step, strict=True):
            weight.grad = gradient.clone()
            optimizers.step(other)
    assert OPTIMIZERS[name].elementwise and torch.equal(together, torch.stack(list(alone)))
    (slots,) = optimizer.state.values()
    assert sum(isinstance(slot, torch.Tensor) and slot.ndim > 0 for slot in slots.values()) == OPTIMIZERS[name].slots


def one_group(*weights: nn.Parameter) -> list[param_groups.ParameterGroup]:
    return [{"name": "head", "params": list(weights), "weight_decay": 0.0, "factor": 1.0}]


def test_optimizer_that_is_not_elementwise_gets_the_weights_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "adafactor", OptimizerSpec("torch.optim:Adafactor", "Adafactor", 0.01, 0.0, 0.1))
    states = []
    for ours in (True, False):
        net = network().to(memory_format=torch.channels_last)
        if ours:
            groups = param_groups.groups(net.named_parameters(), weight_decay=0.0, backbone=set(), backbone_factor=1.0)
            optimizer = optimizers.make_optimizer("adafactor", groups, 0.05, {})
        else:
            optimizer = torch.optim.Adafactor(net.parameters(), 0.05, foreach=False)
        states.append(train(net, optimizer, by_torch=not ours))
        assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


class Recorded(torch.optim.SGD):
    """SGD that keeps the arguments that it was made with."""

    def __init__(self, groups: list[param_groups.ParameterGroup], lr: float, **arguments: object) -> None:
        super().__init__(groups, lr)
        self.arguments = arguments


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [(Kernels.NONE, {}), (Kernels.FOREACH, {"foreach": True}), (Kernels.FUSED, {"fused": True})],
)
def test_factory_gets_the_kernel_arguments_of_its_row(
    kernels: Kernels, expected: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = OptimizerSpec(f"{__name__}:Recorded", "recorded", 0.01, 0.0, 0.1, ("momentum",), kernels=kernels)
    monkeypatch.setitem(OPTIMIZERS, "recorded", row)
    optimizer = optimizers.build("recorded", one_group(nn.Parameter(torch.ones(2))), 0.1, OPTIONS)
    assert isinstance(optimizer, Recorded) and optimizer.arguments == {"momentum": 0.8, **expected}


def test_option_that_is_no_field_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    row = OptimizerSpec("torch.optim:Adagrad", "Adagrad", 0.01, 0.0, 0.1, ("lr_decay",))
    monkeypatch.setitem(OPTIMIZERS, "adagrad", row)
    with pytest.raises(UsageError) as caught:
        optimizers.build("adagrad", one_group(nn.Parameter(torch.ones(2))), 0.1, OPTIONS)
    assert fields_of(caught.value.message) == {"name": "adagrad", "option": "lr_decay"}
