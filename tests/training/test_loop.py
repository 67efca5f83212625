"""The training loop gives the same weights as plain torch, bit for bit."""

import dataclasses
import json
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from headstart.data import mixing, transforms
from headstart.errors import DivergedError, HeadstartError
from headstart.i18n import verbatim
from headstart.metrics.registry import METRICS, MetricSpec
from headstart.storage.schemas.checkpoint import TrainingProgress
from headstart.training import events, loop, objective, scoring
from tests.handmade import counts_of
from tests.messages import fields_of
from tests.short_runs import prepared

RESNET18 = {"network": "resnet18", "stem": "imagenet", "image_size": 32}


def plain_torch(
    setup, steps: int, *, smoothing: float = 0.0, clip: float = 0.0, ema: float = 0.0, balanced: bool = False
):
    """Train a plan in plain torch on torchvision's network."""
    recipe, batches = setup.plan.recipe, setup.context.batches
    network = torchvision.models.resnet18(num_classes=4)
    network.load_state_dict(setup.network.state_dict())
    network.to(memory_format=torch.channels_last)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    no_decay = [p for p in network.parameters() if p.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": no_decay}], recipe.lr, momentum=0.9
    )
    total = setup.context.steps
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True) if ema else None
    counts = torch.bincount(torch.from_numpy(batches.images.labels)).float()
    weight = counts.sum() / (4 * counts) if balanced else None
    torch.set_num_threads(setup.plan.machine.threads)
    network.train()
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * step / total))
        epoch, within = divmod(step, batches.steps_per_epoch)
        images, labels = batches.batch(epoch, within)
        images = transforms.normalize(images, setup.start.mean, setup.start.std, torch.device("cpu"))
        loss = F.cross_entropy(network(images), labels, weight=weight, label_smoothing=smoothing)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        if average is not None:
            average.update_parameters(network)
        losses.append(float(loss.detach()))
    return (average.module if average is not None else network).state_dict(), losses


def ours(setup):
    state = loop.initial_state(setup.context)
    losses = []
    for event in loop.train(setup.context, state):
        if isinstance(event, events.Step):
            losses.append(event.loss)
    return state, losses


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, {}),
        ({"label_smoothing": 0.1, "clip": 0.5}, {"smoothing": 0.1, "clip": 0.5}),
        ({"ema": 0.9, "class_weights": "balanced"}, {"ema": 0.9, "balanced": True}),
    ],
)
def test_loop_equals_plain_torch(settings, plain) -> None:
    setup = prepared(**RESNET18, epochs="6st", **settings)
    expected, expected_losses = plain_torch(setup, 6, **plain)
    state, losses = ours(setup)
    assert losses == expected_losses
    actual = state.evaluated_network.state_dict()
    assert actual.keys() == expected.keys()
    for key in actual:
        assert torch.equal(actual[key], expected[key]), key


def test_equal_plans_give_equal_bits_and_another_seed_does_not() -> None:
    first, second, other = (ours(prepared(epochs="4st", seed=seed)) for seed in (0, 0, 1))
    assert first[1] == second[1] != other[1]
    for a, b in zip(first[0].network.state_dict().values(), second[0].network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_arms_share_batches_and_initial_head() -> None:
    """Common random numbers: order, crops and initial head are equal for all arms."""
    a, b = prepared(start="scratch:xavier", optimizer="adam"), prepared(start="scratch:orthogonal")
    for epoch in range(2):
        for step in range(3):
            for x, y in zip(a.context.batches.batch(epoch, step), b.context.batches.batch(epoch, step), strict=True):
                assert torch.equal(x, y)
    assert torch.equal(a.network.fc.weight, b.network.fc.weight)
    assert not torch.equal(a.network.conv1.weight, b.network.conv1.weight)


def test_mixup_loss_matches_its_definition() -> None:
    setup = prepared(mixup=0.4, epochs="1st")
    images, labels = setup.context.batches.batch(0, 0)
    images = transforms.normalize(images, setup.start.mean, setup.start.std, torch.device("cpu"))
    mix = mixing.mixup(images, alpha=0.4, seed=0, epoch=0, step=0)
    targets = mix.share * F.one_hot(labels, 4) + (1 - mix.share) * F.one_hot(labels[mix.partner], 4)
    mixed = mix.share * images + (1 - mix.share) * images[mix.partner]
    setup.network.train()
    with torch.no_grad():
        state = {k: v.clone() for k, v in setup.network.state_dict().items()}
        expected = F.cross_entropy(setup.network(mixed.contiguous(memory_format=torch.channels_last)), targets)
        setup.network.load_state_dict(state)
    _, losses = ours(setup)
    assert losses[0] == pytest.approx(float(expected), rel=1e-5)


def test_reported_rates_follow_the_schedule() -> None:
    setup = prepared(epochs="10st", schedule="cosine", warmup="2st", backbone_lr=0.5)
    rates = [
        e.rates for e in loop.train(setup.context, loop.initial_state(setup.context)) if isinstance(e, events.Step)
    ]
    lr = setup.plan.recipe.lr
    expected = [lr / 3, 2 * lr / 3] + [lr * 0.5 * (1 + math.cos(math.pi * s / 8)) for s in range(8)]
    assert [r["head"] for r in rates] == pytest.approx(expected)
    assert [r["backbone"] for r in rates] == pytest.approx(expected)  # the factor applies to a pretrained backbone only


def test_learning_rate_changed_from_outside_raises() -> None:
    setup = prepared(epochs="3st")
    state = loop.initial_state(setup.context)
    with pytest.raises(HeadstartError) as caught:
        for event in loop.train(setup.context, state):
            if isinstance(event, events.Backward) and event.step == 2:
                state.optimizer.param_groups[0]["lr"] = 0.5
    planned = setup.plan.recipe.lr * 0.5 * (1 + math.cos(math.pi / 3))  # cosine, after 1 of 3 steps
    part = state.optimizer.param_groups[0]["name"]
    assert fields_of(caught.value.message) == {
        "step": 2, "learning_rate": 0.5, "part": part, "planned_rate": pytest.approx(planned)
    }  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_raises_diverged_error(value: float) -> None:
    setup = prepared(epochs="5st")
    state = loop.initial_state(setup.context)
    with pytest.raises(DivergedError) as caught:
        for event in loop.train(setup.context, state):
            if isinstance(event, events.Step) and event.step == 2:
                with torch.no_grad():
                    state.network.fc.bias.fill_(value)
    assert caught.value.exit_code == 4 and fields_of(caught.value.message)["step"] == 3


def test_nan_in_validation_raises_diverged_error() -> None:
    setup = prepared(epochs="3st")
    state = loop.initial_state(setup.context)
    with pytest.raises(DivergedError) as caught:
        for event in loop.train(setup.context, state):
            if isinstance(event, events.Step) and event.step == 3:
                state.network.bn1.running_var.fill_(float("nan"))
    assert torch.isnan(state.network.bn1.running_var).all()  # after the last step, so that only validation is left
    assert fields_of(caught.value.message) == {"loss": pytest.approx(math.nan, nan_ok=True), "step": 3}


def scripted(monkeypatch: pytest.MonkeyPatch, accuracies: list[float]) -> None:
    """Replace the validation accuracies of the epochs."""
    correct = iter(round(100 * accuracy) for accuracy in accuracies)
    original = scoring.Scorer.score

    def score(scorer: scoring.Scorer) -> scoring.Score:
        right = next(correct)
        return dataclasses.replace(original(scorer), confusion=counts_of([[right, 100 - right], [0, 0]]))

    monkeypatch.setattr(scoring.Scorer, "score", score)


def test_early_stopping_ends_after_patience_epochs_without_improvement(monkeypatch) -> None:
    setup = prepared(epochs="8ep", patience=2, source="digits:0-1", batch_size=64, network="timm:test_resnet")
    scripted(monkeypatch, [0.5, 0.6, 0.6, 0.7, 0.5, 0.6, 0.9, 0.9])
    epochs = [e for e in loop.train(setup.context, loop.initial_state(setup.context)) if isinstance(e, events.Epoch)]
    assert len(epochs) == 6
    assert max(e.epoch for e in epochs if e.best) == 4


def test_early_stopping_never_skips_the_second_phase_of_lp_ft(monkeypatch) -> None:
    settings = {"source": "digits:0-1", "batch_size": 64, "network": "timm:test_resnet"}
    setup = prepared(epochs="8ep", patience=1, tuning="lp-ft", head_epochs="50%", **settings)
    scripted(monkeypatch, [0.9, 0.5, 0.5, 0.5, 0.6, 0.5, 0.5, 0.5])
    state = loop.initial_state(setup.context)
    epochs = [e for e in loop.train(setup.context, state) if isinstance(e, events.Epoch)]
    assert state.progress.phase == 1
    assert 5 <= len(epochs) < 8


def test_dropout_depends_on_the_seed_and_the_step() -> None:
    """timm's ghostnet has a dropout of 0.2 by default; earlier random numbers must not change it."""
    settings = {"network": "timm:ghostnet_050", "image_size": 32, "epochs": "3st", "source": "digits:0-1"}
    losses = ours(prepared(**settings))[1]
    torch.rand(5)
    assert ours(prepared(**settings))[1] == losses
    assert ours(prepared(**settings, seed=1))[1] != losses


def test_milestones_count_from_the_start_of_the_phase() -> None:
    """The warm-up counts: a milestone of 20 steps is at step 20."""
    setup = prepared(epochs="40st", schedule="multistep", milestones="20st,30st", warmup="10st")
    factors = [setup.context.phases[0].schedule(step, ()) for step in range(40)]
    assert factors[9] < 1.0 and factors[10:20] == [1.0] * 10
    assert factors[20:30] == pytest.approx([0.1] * 10) and factors[30:] == pytest.approx([0.01] * 10)
    setup = prepared(epochs="40st", schedule="step", step_every="15st", warmup="5st")
    factors = [setup.context.phases[0].schedule(step, ()) for step in range(40)]
    assert factors[14] == 1.0 and factors[15] == pytest.approx(0.1) and factors[30] == pytest.approx(0.01)


def test_pretrained_backbone_has_its_own_rate(tmp_path) -> None:
    source = prepared()
    from safetensors.torch import save_file

    save_file({k: v.contiguous() for k, v in source.network.state_dict().items()}, tmp_path / "w.safetensors")
    setup = prepared(start=f"file:{tmp_path / 'w.safetensors'}", backbone_lr=0.1, epochs="2st", schedule="constant")
    state = loop.initial_state(setup.context)
    (first, _) = [e.rates for e in loop.train(setup.context, state) if isinstance(e, events.Step)]
    assert first == {"backbone": pytest.approx(0.001), "head": pytest.approx(0.01)}
    in_head = {p.data_ptr() for p in setup.network.fc.parameters()}  # the optimizer's parameters are views of them
    for group in state.optimizer.param_groups:
        assert all((p.data_ptr() in in_head) == group["name"].startswith("head") for p in group["params"])


@pytest.mark.parametrize("tuning", ["frozen", "stages:1", "lp-ft"])
def test_frozen_tensors_do_not_change(tuning: str) -> None:
    setup = prepared(tuning=tuning, epochs="6st", head_epochs="50%")
    before = {k: v.clone() for k, v in setup.network.state_dict().items()}
    freeze_checks = []
    state = loop.initial_state(setup.context)
    after_head = None
    for event in loop.train(setup.context, state):
        if isinstance(event, events.FreezeCheck):
            freeze_checks.append(event)
        if isinstance(event, events.Step) and event.step == 3:
            after_head = {k: v.clone() for k, v in setup.network.state_dict().items()}
    assert [p.before == p.after for p in freeze_checks] == [True]
    changed = {k for k, v in setup.network.state_dict().items() if not torch.equal(v, before[k])}
    if tuning == "frozen":
        assert changed == {"fc.weight", "fc.bias"}
    elif tuning == "stages:1":
        assert changed and all(k.startswith(("layer3.", "fc.")) for k in changed)
    else:
        assert {k for k, v in after_head.items() if not torch.equal(v, before[k])} == {"fc.weight", "fc.bias"}
        assert "conv1.weight" in changed and freeze_checks[0].step == 3


def test_changed_frozen_tensor_raises() -> None:
    setup = prepared(tuning="frozen", epochs="3st")
    with pytest.raises(HeadstartError) as caught:
        for event in loop.train(setup.context, loop.initial_state(setup.context)):
            if isinstance(event, events.Step) and event.step == 2:
                setup.network.bn1.running_mean.add_(1e-7)
    assert fields_of(caught.value.message) == {"phase": "frozen"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [([-1.0, -1.0, 0.5], 3), ([-1.0], 1), ([0.9, -1.0], 1), ([math.nan, -1.0, -0.5], 3), ([math.nan], 0)],
)
def test_any_value_of_a_metric_can_be_that_of_the_best_epoch(values: list[float], expected: int, monkeypatch) -> None:
    remaining = iter(values)
    metric = MetricSpec(verbatim("metric"), verbatim(""), of_counts="tests:unused")
    monkeypatch.setitem(METRICS, "metric", metric)
    monkeypatch.setattr(objective, "counts_value", lambda name, counts: next(remaining))
    small = {"source": "digits:0-1", "batch_size": 128, "network": "timm:test_resnet"}
    setup = prepared(**small, epochs=f"{len(values)}ep", select="metric")
    state = loop.initial_state(setup.context)
    epochs = [event for event in loop.train(setup.context, state) if isinstance(event, events.Epoch)]
    assert [event.epoch for event in epochs if event.best][-1:] == ([expected] if expected else [])
    assert state.progress.best_epoch == expected
    saved = json.loads(json.dumps(state.progress.to_json(), allow_nan=False))
    assert saved["best_score"] == (values[expected - 1] if expected else None)
    assert TrainingProgress.model_validate(saved) == state.progress
