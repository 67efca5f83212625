"""The training objective equals torch, for one head and for stacked heads."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from headstart.errors import DivergedError
from headstart.training.objective import Objective, count_correct, require_finite
from headstart.training.scoring import Score
from tests.handmade import counts_of
from tests.messages import fields_of

SHAPE = (2, 3)  # seeds, recipes


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("weights", "smoothing"), [(False, 0.0), (True, 0.0), (False, 0.2), (True, 0.2)])
def test_loss_equals_torch(weights: bool, smoothing: float) -> None:
    logits, labels = torch.randn(*SHAPE, 8, 4), torch.randint(4, (2, 1, 8))
    class_weights = torch.rand(*SHAPE, 4) + 0.1 if weights else None
    stacked = Objective(class_weights, torch.full((1, 3), smoothing)).loss(logits, labels)
    for seed in range(2):
        for recipe in range(3):
            own = class_weights[seed, recipe] if class_weights is not None else None
            expected = cross_entropy(logits[seed, recipe], labels[seed, 0], weight=own, label_smoothing=smoothing)
            single = Objective(own, smoothing).loss(logits[seed, recipe], labels[seed, 0])
            assert torch.equal(single, expected)
            assert torch.allclose(stacked[seed, recipe], expected, atol=1e-6)


@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_gradients_of_stacked_heads_are_clipped_like_single_ones(scale: float) -> None:
    gradients = [scale * torch.randn(3, 5, 4), scale * torch.randn(3, 5)]
    stack = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for parameter, gradient in zip(stack, gradients, strict=True):
        parameter.grad = gradient.clone()
    Objective(clip=0.5).clip_gradients(stack, stacked=True)
    for head in range(3):
        single = [nn.Parameter(torch.zeros_like(gradient[head])) for gradient in gradients]
        for parameter, gradient in zip(single, gradients, strict=True):
            parameter.grad = gradient[head].clone()
        nn.utils.clip_grad_norm_(single, 0.5)
        for parameter, other in zip(single, stack, strict=True):
            assert parameter.grad is not None and other.grad is not None
            assert torch.allclose(parameter.grad, other.grad[head], rtol=1e-5)


def test_zero_clip_leaves_gradients_unchanged() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.full((3,), 1e6)
    Objective().clip_gradients([parameter])
    assert parameter.grad.tolist() == [1e6] * 3


def test_correct_predictions_are_counted_per_head() -> None:
    logits, labels = torch.randn(*SHAPE, 8, 4), torch.randint(4, (2, 1, 8))
    counts = count_correct(logits, labels)
    assert counts.shape == SHAPE
    assert counts[1, 2] == sum(
        int(row.argmax()) == int(label) for row, label in zip(logits[1, 2], labels[1, 0], strict=True)
    )


def test_epochs_are_ranked_by_the_metric_and_then_by_the_loss() -> None:
    first = Score(loss=0.5, accuracy=0.8, n=10, confusion=counts_of([[7, 1], [1, 1]]))
    second = Score(loss=0.4, accuracy=0.8, n=10, confusion=counts_of([[8, 0], [2, 0]]))
    assert Objective(select="accuracy").rank(second) > Objective(select="accuracy").rank(first)
    assert Objective(select="balanced").rank(first) > Objective(select="balanced").rank(second)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_is_divergence(loss: float) -> None:
    require_finite("training", 1e30, 7)
    with pytest.raises(DivergedError) as error:
        require_finite("training", loss, 7)
    assert fields_of(error.value.message) == {"loss": pytest.approx(loss, nan_ok=True), "step": 7}
