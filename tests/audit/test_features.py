"""Features: those of a ResNet equal slices of the network run by hand; starts are never downloaded."""

import numpy as np
import pytest
import torch

from headstart.audit import features
from headstart.audit.features import View, image_features, local_start
from headstart.data import transforms
from headstart.models.factory import build
from headstart.training.feature_cache import head_input
from headstart.weights.starts import initialize, resolve_start

SWITCHES = {"shortcut": True, "norm": "batch", "stem": "imagenet", "num_classes": 2}


@pytest.fixture
def images():
    draws = np.random.default_rng(0)
    return [draws.integers(0, 256, (40 + 3 * i, 50, 3), dtype=np.uint8) for i in range(5)]


def by_hand(name, start, batch):
    model = build(name, 2)
    initialize(model, start, seed=0)
    model.eval()
    x = transforms.normalize(batch, start.mean, start.std, torch.device("cpu"))
    with torch.no_grad():
        x = model.relu(model.maxpool(model.bn1(model.conv1(x))))
        maps = []
        for stage in model.stage_names:
            x = model.get_submodule(stage)(x)
            maps.append(x)
    return maps


def quarters(values):
    half = values.shape[2] // 2
    cells = [values[:, :, a, b].mean((2, 3)) for a in halves(half) for b in halves(half)]
    return torch.stack(cells, 2).flatten(1)


def halves(half):
    return slice(None, half), slice(half, None)


def test_resnet18_has_the_roots_of_its_last_stages(images, monkeypatch):
    monkeypatch.setattr(features, "multiplies_bf16", lambda: False)
    monkeypatch.setattr(features, "BATCH_SIZE", 2)
    start = resolve_start("scratch", network="resnet18", **SWITCHES)
    seen = []
    center, whole = image_features(
        "resnet18",
        start,
        images,
        views=(View(32), View(64, whole=True)),
        threads=1,
        progress=lambda *done: seen.append(done),
    )
    assert center.shape == whole.shape == (5, 4 * (128 + 256) + 512)
    assert seen == [(2, 10), (4, 10), (5, 10), (7, 10), (9, 10), (10, 10)]
    _, second, third, last = by_hand("resnet18", start, transforms.plain_batch(images, 32))
    expected = torch.cat([quarters(second), quarters(third), last.mean((2, 3))], 1).sqrt().numpy()
    np.testing.assert_allclose(center, expected, rtol=1e-3, atol=1e-3)
    squeezed = torch.cat([transforms.crop_and_resize(image, (0, 0, *image.shape[:2]), 64) for image in images])
    last = by_hand("resnet18", start, squeezed)[-1]
    np.testing.assert_allclose(whole[:, -512:], last.mean((2, 3)).sqrt().numpy(), rtol=1e-3, atol=1e-3)


def test_wide_stages_are_averaged_over_the_image(images, monkeypatch):
    monkeypatch.setattr(features, "MAX_FEATURES", 1000)
    start = resolve_start("scratch", network="resnet18", **SWITCHES)
    (view,) = image_features("resnet18", start, images, views=(View(32),), threads=1)
    assert view.shape == (5, 128 + 256 + 512)
    assert np.isfinite(view).all()


def test_other_networks_have_the_inputs_of_their_head(images, monkeypatch):
    monkeypatch.setattr(features, "multiplies_bf16", lambda: False)
    name = "timm:mobilenetv3_small_050"
    start = resolve_start("scratch", network=name, **SWITCHES)
    (view,) = image_features(name, start, images, views=(View(32),), threads=1)
    model = build(name, 2)
    initialize(model, start, seed=0)
    inputs = transforms.normalize(transforms.plain_batch(images, 32), start.mean, start.std, torch.device("cpu"))
    np.testing.assert_allclose(view, head_input(model, inputs).flatten(1).numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "network"), [("imagenet", "resnet18"), ("timm:resnet18.a1_in1k", "resnet18")])
def test_weights_that_are_not_on_the_disk_are_not_downloaded(name, network, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("urllib.request.OpenerDirector.open", lambda *_, **__: pytest.fail("a download"))
    assert local_start(name, network) is None


def test_weights_of_a_file_are_local(tmp_path):
    from safetensors.torch import save_file

    network = build("resnet18", 3)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, tmp_path / "w.safetensors")
    start = local_start(f"file:{tmp_path}/w.safetensors", "resnet18")
    assert start is not None
    torch.testing.assert_close(start.state["conv1.weight"], network.conv1.weight.detach())
