"""Random streams depend only on their arguments."""

import numpy as np
import pytest
import torch

from headstart.rng import stream, torch_stream


def test_streams_depend_only_on_their_arguments() -> None:
    a = stream(1, "order", 2, 3).random(4)
    stream(1, "order", 2, 4).random(100)
    assert np.array_equal(a, stream(1, "order", 2, 3).random(4))
    others = [stream(2, "order", 2, 3), stream(1, "augment", 2, 3), stream(1, "order", 3, 3), stream(1, "order", 2, 4)]
    assert not any(np.array_equal(a, other.random(4)) for other in others)
    with pytest.raises(ValueError, match=str(1 << 24)):
        stream(1, "order", 1 << 24)


def test_torch_streams_do_not_change_torchs_own_generator() -> None:
    before = torch.get_rng_state()
    with torch_stream(1, "init"):
        a = torch.rand(3)
    with torch_stream(1, "init"):
        b = torch.rand(3)
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(()):
        torch.manual_seed(int(stream(1, "init").integers(2**63)))
        assert torch.equal(a, torch.rand(3))
