"""The convolution is torch's in all it computes, and takes the unfolding way only where it is meant to."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from headstart.models import convolution, factory
from headstart.models.convolution import PLAIN, TILES, Convolution, unfolded, weight_gradient


def channels_last(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    numbers = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=numbers, dtype=dtype).contiguous(memory_format=torch.channels_last)


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    last=st.booleans(),
)
def test_the_weight_gradient_is_autograds(n, channels, size, kernel, stride, padding, last) -> None:
    x = channels_last(n, channels[0], *size, seed=1)
    x = x if last else x.contiguous()
    weight = channels_last(channels[1], channels[0], *kernel, seed=2).requires_grad_()
    y = F.conv2d(x, weight, stride=stride, padding=padding)
    gradient = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, weight, gradient)
    columns = unfolded(x, kernel, stride, padding)
    torch.testing.assert_close(weight_gradient(columns, gradient, weight.shape), expected)


def gradients(layer: nn.Module, x: Tensor, how: str) -> tuple[Tensor, Tensor, Tensor]:
    """Output, ∂/∂x and ∂/∂weight of the sum of squares."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "bf16"):
        y = layer(x)
    y.float().square().mean().backward()
    assert x.grad is not None
    return y.detach(), x.grad, layer.weight.grad


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What ways are taken back, and the output channels of each."""
    ways: list[tuple[str, int]] = []
    for way in (convolution._Unfolding, convolution._Products):
        real = way.backward

        def backward(ctx, gradient, real=real, name=way.__name__):
            ways.append((name, gradient.shape[1]))
            return real(ctx, gradient)

        monkeypatch.setattr(way, "backward", staticmethod(backward))
    return ways


CASES = [
    # inputs, outputs, side, stride, kind of processor, way
    (128, 64, 3, 1, PLAIN, "_Unfolding"),
    (128, 64, 8, 2, PLAIN, "_Unfolding"),
    (128, 64, 12, 1, PLAIN, ""),
    (128, 64, 12, 1, TILES, "_Unfolding"),
    (512, 512, 3, 1, TILES, "_Products"),
    (512, 512, 3, 1, PLAIN, "_Unfolding"),
    (512, 512, 6, 2, TILES, "_Unfolding"),
    (64, 64, 3, 1, TILES, ""),
]


@pytest.mark.parametrize(("inputs", "outputs", "size", "stride", "kind", "way"), CASES)
def test_bf16_is_no_further_from_the_truth_than_torchs(
    inputs, outputs, size, stride, kind, way, monkeypatch: pytest.MonkeyPatch, counted
) -> None:
    monkeypatch.setattr(convolution, "reach", lambda: kind)
    torch.manual_seed(0)
    ours = Convolution(inputs, outputs, 3, stride, padding=1, bias=False).to(memory_format=torch.channels_last)
    torchs = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    torchs.load_state_dict(ours.state_dict())
    torchs = torchs.to(memory_format=torch.channels_last)
    x = channels_last(8, inputs, size, size + 1, seed=3, dtype=torch.float32)
    true = gradients(copy.deepcopy(torchs).double(), x.double(), "fp64")
    found, plain = gradients(ours, x, "bf16"), gradients(torchs, x, "bf16")
    assert [name for name, _ in counted] == ([way] if way else [])
    if way != "_Products":
        assert torch.equal(found[0], plain[0]) and torch.equal(found[1], plain[1])
    for right, mine, its in zip(true, found, plain, strict=True):
        error, usual = ((one.double() - right).norm() / right.norm() for one in (mine, its))
        assert error <= 1.2 * usual and usual < 0.01
        assert mine.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("frozen_below", [True, False])
def test_no_gradient_is_computed_for_an_input_that_has_none(frozen_below: bool, monkeypatch) -> None:
    monkeypatch.setattr(convolution, "reach", lambda: TILES)
    layer = Convolution(512, 512, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    x = channels_last(2, 512, 3, 3, seed=3, dtype=torch.float32).requires_grad_(not frozen_below)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x).float().sum()
    unfoldings = []
    real = convolution.unfolded
    monkeypatch.setattr(convolution, "unfolded", lambda *a: unfoldings.append(a) or real(*a))
    y.backward()
    assert len(unfoldings) == (0 if frozen_below else 1)
    assert layer.weight.grad is not None and (x.grad is None) == frozen_below


def test_fp32_and_evaluation_are_torchs_to_the_bit() -> None:
    ours = Convolution(128, 32, 3, padding=1, bias=False)
    torchs = nn.Conv2d(128, 32, 3, padding=1, bias=False)
    torchs.load_state_dict(ours.state_dict())
    x = channels_last(4, 128, 4, 4, seed=5, dtype=torch.float32)
    for one, other in zip(gradients(ours, x, "fp32"), gradients(torchs, x, "fp32"), strict=True):
        assert torch.equal(one, other)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), torchs(x))


@pytest.mark.parametrize("kind", [PLAIN, TILES])
def test_a_step_of_a_network_in_bf16_uses_it_where_few_positions_are_left(kind, monkeypatch, counted) -> None:
    monkeypatch.setattr(convolution, "reach", lambda: kind)
    network = factory.build("resnet18", 3).to(memory_format=torch.channels_last).train()
    x = channels_last(8, 3, 64, 64, seed=6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(x).float().square().mean()
    loss.backward()
    last = ["_Products" if kind is TILES else "_Unfolding"] * 3 + ["_Unfolding"]  # backwards: three plain, one strided
    expected = [(way, 512) for way in last] + [("_Unfolding", 256)] * 4 + [("_Unfolding", 128)] * 3
    assert counted == expected  # 64 channels are too few
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
