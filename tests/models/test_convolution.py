"""The convolution computes the same as torch and uses products only within its limits."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from headstart.models import convolution, factory
from headstart.models.convolution import WITH_AMX, WITHOUT_AMX, Convolution, unfold, weight_gradient


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
def test_weight_gradient_matches_autograd(n, channels, size, kernel, stride, padding, last) -> None:
    x = channels_last(n, channels[0], *size, seed=1)
    x = x if last else x.contiguous()
    weight = channels_last(channels[1], channels[0], *kernel, seed=2).requires_grad_()
    y = F.conv2d(x, weight, stride=stride, padding=padding)
    gradient = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, weight, gradient)
    columns = unfold(x, kernel, stride, padding)
    torch.testing.assert_close(weight_gradient(columns, gradient, weight.shape), expected)


def gradients(layer: nn.Module, x: Tensor, precision: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output, ∂/∂x and ∂/∂weight of the mean of squares."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        y = layer(x)
    y.float().square().mean().backward()
    assert x.grad is not None
    return y.detach(), x.grad, layer.weight.grad


@pytest.fixture
def backward_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Collect the name and the output channels of each backward pass."""
    calls: list[tuple[str, int]] = []
    for function in (convolution._Unfolding, convolution._Products):
        original = function.backward

        def backward(ctx, gradient, original=original, name=function.__name__):
            calls.append((name, gradient.shape[1]))
            return original(ctx, gradient)

        monkeypatch.setattr(function, "backward", staticmethod(backward))
    return calls


CASES = [
    # inputs, outputs, side, stride, limits of the processor, autograd function
    (128, 64, 3, 1, WITHOUT_AMX, "_Unfolding"),
    (128, 64, 8, 2, WITHOUT_AMX, "_Unfolding"),
    (128, 64, 12, 1, WITHOUT_AMX, ""),
    (128, 64, 12, 1, WITH_AMX, "_Unfolding"),
    (512, 512, 3, 1, WITH_AMX, "_Products"),
    (512, 512, 3, 1, WITHOUT_AMX, "_Unfolding"),
    (512, 512, 6, 2, WITH_AMX, "_Unfolding"),
    (64, 64, 3, 1, WITH_AMX, ""),
]


@pytest.mark.parametrize(("inputs", "outputs", "size", "stride", "limits", "function"), CASES)
def test_bf16_error_is_not_larger_than_torchs(
    inputs, outputs, size, stride, limits, function, monkeypatch: pytest.MonkeyPatch, backward_calls
) -> None:
    monkeypatch.setattr(convolution, "product_limits", lambda: limits)
    torch.manual_seed(0)
    ours = Convolution(inputs, outputs, 3, stride, padding=1, bias=False).to(memory_format=torch.channels_last)
    torchs = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    torchs.load_state_dict(ours.state_dict())
    torchs = torchs.to(memory_format=torch.channels_last)
    x = channels_last(8, inputs, size, size + 1, seed=3, dtype=torch.float32)
    exact = gradients(copy.deepcopy(torchs).double(), x.double(), "fp64")
    actual, reference = gradients(ours, x, "bf16"), gradients(torchs, x, "bf16")
    assert [name for name, _ in backward_calls] == ([function] if function else [])
    if function != "_Products":
        assert torch.equal(actual[0], reference[0]) and torch.equal(actual[1], reference[1])
    for true, our, their in zip(exact, actual, reference, strict=True):
        our_error, their_error = ((tensor.double() - true).norm() / true.norm() for tensor in (our, their))
        assert our_error <= 1.2 * their_error and their_error < 0.01
        assert our.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("frozen_below", [True, False])
def test_input_gradient_is_computed_only_when_needed(frozen_below: bool, monkeypatch) -> None:
    monkeypatch.setattr(convolution, "product_limits", lambda: WITH_AMX)
    layer = Convolution(512, 512, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    x = channels_last(2, 512, 3, 3, seed=3, dtype=torch.float32).requires_grad_(not frozen_below)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x).float().sum()
    unfoldings = []
    original = convolution.unfold
    monkeypatch.setattr(convolution, "unfold", lambda *a: unfoldings.append(a) or original(*a))
    y.backward()
    assert len(unfoldings) == (0 if frozen_below else 1)
    assert layer.weight.grad is not None and (x.grad is None) == frozen_below


def test_fp32_and_evaluation_are_bit_equal_to_torch() -> None:
    ours = Convolution(128, 32, 3, padding=1, bias=False)
    torchs = nn.Conv2d(128, 32, 3, padding=1, bias=False)
    torchs.load_state_dict(ours.state_dict())
    x = channels_last(4, 128, 4, 4, seed=5, dtype=torch.float32)
    for our, their in zip(gradients(ours, x, "fp32"), gradients(torchs, x, "fp32"), strict=True):
        assert torch.equal(our, their)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(x), torchs(x))


@pytest.mark.parametrize("limits", [WITHOUT_AMX, WITH_AMX])
def test_bf16_step_uses_products_for_outputs_with_few_positions(limits, monkeypatch, backward_calls) -> None:
    monkeypatch.setattr(convolution, "product_limits", lambda: limits)
    network = factory.build("resnet18", 3).to(memory_format=torch.channels_last).train()
    x = channels_last(8, 3, 64, 64, seed=6, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(x).float().square().mean()
    loss.backward()
    # the backward pass of layer4: three convolutions without a stride, then one with a stride
    last = ["_Products" if limits is WITH_AMX else "_Unfolding"] * 3 + ["_Unfolding"]
    expected = [(function, 512) for function in last] + [("_Unfolding", 256)] * 4 + [("_Unfolding", 128)] * 3
    assert backward_calls == expected  # 64 channels are too few
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
