"""The gradient probe agrees with plain torch and changes no state."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from headstart.data import transforms
from headstart.models import structure
from headstart.telemetry.probe import Probe
from tests.short_runs import prepared


@pytest.mark.parametrize("settings", [{}, {"norm": "none"}, {"shortcut": "off"}, {"network": "timm:test_resnet"}])
def test_probe_equals_plain_torch(settings: dict[str, Any]) -> None:
    context = prepared(image_size=24, **settings).context
    probe = Probe(context)
    copied = copy.deepcopy(context.network)
    first = structure.layer_names(copied)[0]
    with torch.no_grad():
        context.network.get_submodule(first).weight.mul_(1.5)
        copied.get_submodule(first).weight.mul_(1.5)
    line = probe.line(3, 1)
    photos = context.batches.images
    rows = np.linspace(0, len(photos) - 1, 8).round().astype(int)
    images = transforms.normalize(
        transforms.plain_batch(photos.pixels(rows), 24), context.mean, context.std, context.device
    )
    outputs: dict[str, torch.Tensor] = {}
    for name in structure.block_names(copied):
        copied.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: outputs.setdefault(name, out))
    loss = F.cross_entropy(copied(images), torch.from_numpy(photos.labels[rows]))
    for output in outputs.values():
        output.retain_grad()
    loss.backward()
    assert line.loss == pytest.approx(loss.item(), rel=1e-5)
    assert list(line.block_gradient_norm) == list(outputs) and len(outputs) > 3
    for name, output in outputs.items():
        assert line.block_gradient_norm[name] == pytest.approx(float(output.grad.norm()), rel=1e-3)
    assert line.distance_from_init.pop(first) == pytest.approx(0.5) and set(line.distance_from_init.values()) == {0.0}
    assert all(0 < share < 1 for share in line.zero_activations.values()) and set(line.dead_channels) <= set(
        line.zero_activations
    )


def test_probe_counts_zeros_and_dead_filters_of_each_relu() -> None:
    context = prepared(network="resnet18", image_size=24).context
    with torch.no_grad():
        context.network.layer2[0].bn1.bias[
            :32
        ] = -20  # a quarter of its 128 filters, before the first ReLU of the block
    line = Probe(context).line(0, 0)
    assert line.dead_channels["layer2.0.conv1"] == pytest.approx(0.25)
    assert line.zero_activations["layer2.0.conv1"] > 0.25
    assert line.dead_channels["layer2.0.conv2"] == line.dead_channels["layer1.0.conv1"] == 0
    relus = sum(isinstance(module, torch.nn.ReLU) for module in context.network.modules())
    assert len(line.zero_activations) == 2 * (relus - 1) + 1  # each block uses its ReLU twice


def test_probe_changes_no_state() -> None:
    context = prepared(image_size=24, head="mlp:8").context
    probe = Probe(context)
    before = {name: tensor.clone() for name, tensor in context.network.state_dict().items()}
    generator = torch.get_rng_state()
    first = probe.line(0, 0)
    assert probe.line(0, 0) == first
    assert all(torch.equal(tensor, before[name]) for name, tensor in context.network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in context.network.parameters()) and context.network.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_hooks for module in context.network.modules())
