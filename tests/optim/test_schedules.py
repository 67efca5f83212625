"""The schedules equal torch.optim.lr_scheduler at every step and have the stated properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from headstart.optim import schedules

TOTAL = 60


def torch_factors(make) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for step in range(TOTAL):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < TOTAL - 1:  # OneCycleLR raises for a step after the last
            scheduler.step()
    return factors


TABLE = {
    "constant": (schedules.constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    "step": (schedules.step_decay(20, 0.1), lambda o: lr_scheduler.StepLR(o, 20, 0.1)),
    "multistep": (schedules.multistep([10, 45], 0.5), lambda o: lr_scheduler.MultiStepLR(o, [10, 45], 0.5)),
    "cosine": (schedules.cosine(TOTAL), lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL)),
    "linear": (schedules.linear(TOTAL), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, TOTAL)),
    "one-cycle": (
        schedules.one_cycle(TOTAL),
        lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=TOTAL, cycle_momentum=False),
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_schedules_equal_torch(name: str) -> None:
    ours, theirs = TABLE[name]
    assert [ours(step) for step in range(TOTAL)] == pytest.approx(torch_factors(theirs), abs=1e-9)


@given(st.sampled_from(sorted(TABLE)), st.integers(0, 2 * TOTAL), st.integers(0, 30))
def test_factors_are_between_0_and_1(name: str, step: int, warm: int) -> None:
    factor = schedules.warm_up(warm, TABLE[name][0])(step)
    assert 0.0 <= factor <= 1.0
    assert factor == schedules.warm_up(warm, TABLE[name][0])(step)


@given(st.integers(1, 50))
def test_warm_up_rises_linearly_to_the_schedule(warm: int) -> None:
    factor = schedules.warm_up(warm, schedules.constant())
    rises = [factor(step + 1) - factor(step) for step in range(warm)]
    assert rises == pytest.approx([1 / (warm + 1)] * warm)
    assert factor(0) > 0
    assert factor(warm) == 1.0
