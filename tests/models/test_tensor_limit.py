"""The construction of a network cannot take far more memory than its weights."""

import pytest
import torch
from torch import nn

from headstart.models.tensor_limit import TensorLimitError, limited_tensors
from tests.memory import cost

FREE = 128_000_000  # bytes that small networks may take


@pytest.mark.parametrize("call", ["ones(N)", "zeros((20_000, 20_000))", "empty(size=[N]).fill_(1)", "rand(N)"])
def test_memory_is_counted_before_it_is_taken(call: str) -> None:
    setup = "import torch; from headstart.models.tensor_limit import limited_tensors; N = 400_000_000"
    taken = cost(setup, f"with limited_tensors(1000): torch.{call}")
    assert taken.error == "TensorLimitError" and taken.megabytes < 100


def test_all_tensors_count_together() -> None:
    with limited_tensors(1000):
        for _ in range(30):
            torch.zeros(1_000_000)
    with pytest.raises(TensorLimitError), limited_tensors(1000):
        for _ in range(FREE // 4_000_000 + 1):
            torch.zeros(1_000_000)


def test_the_values_of_a_network_are_the_same() -> None:
    def network() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4))

    expected, state = network().state_dict(), torch.get_rng_state()
    with limited_tensors(1_000_000):
        actual = network().state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(actual[name], value) for name, value in expected.items())
