"""The schedules equal torch.optim.lr_scheduler at every step and have the stated properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from headstart.factories import load_factory
from headstart.optim import schedules
from headstart.optim.registry import SCHEDULES

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
    "constant": (schedules.constant(TOTAL), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    "step": (schedules.step_decay(TOTAL, step_every=20, gamma=0.1), lambda o: lr_scheduler.StepLR(o, 20, 0.1)),
    "multistep": (
        schedules.multistep(TOTAL, milestones=[10, 45], gamma=0.5),
        lambda o: lr_scheduler.MultiStepLR(o, [10, 45], 0.5),
    ),
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
    assert [ours(step, ()) for step in range(TOTAL)] == pytest.approx(torch_factors(theirs), abs=1e-9)


@given(st.sampled_from(sorted(TABLE)), st.integers(0, 2 * TOTAL), st.integers(0, 30))
def test_factors_are_between_0_and_1(name: str, step: int, warm: int) -> None:
    factor = schedules.with_warm_up(warm, TABLE[name][0])(step, ())
    assert 0.0 <= factor <= 1.0
    assert factor == schedules.with_warm_up(warm, TABLE[name][0])(step, ())


@given(st.integers(1, 50))
def test_warm_up_rises_linearly_to_the_schedule(warm: int) -> None:
    factor = schedules.with_warm_up(warm, schedules.constant(TOTAL))
    rises = [factor(step + 1, ()) - factor(step, ()) for step in range(warm)]
    assert rises == pytest.approx([1 / (warm + 1)] * warm)
    assert factor(0, ()) > 0
    assert factor(warm, ()) == 1.0


@given(st.lists(st.floats(0.1, 10), max_size=40), st.integers(0, 5))
def test_plateau_equals_torch(losses: list[float], patience: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, eps=0.0)
    factor = schedules.plateau(TOTAL, gamma=0.5, plateau_epochs=patience)
    for epoch in range(len(losses) + 1):
        assert factor(epoch, losses[:epoch]) == pytest.approx(optimizer.param_groups[0]["lr"])
        if epoch < len(losses):
            scheduler.step(losses[epoch])


def test_every_row_makes_a_schedule_that_is_tested() -> None:
    assert SCHEDULES.keys() == {*TABLE, "plateau"}
    for name, spec in SCHEDULES.items():
        assert load_factory(spec.factory) is getattr(schedules, spec.factory.partition(":")[2]), name
