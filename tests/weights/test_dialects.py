"""Checkpoints as tools write them: the logits equal those of the network that was saved, bit for bit."""

from __future__ import annotations

import argparse
import copy
import json
import pathlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from headstart.errors import DataError, ModelFileError, UsageError
from headstart.models import factory
from headstart.weights import starts
from headstart.weights.dialects import rank_of
from tests.messages import fields_of, values_of

STANDARD = {"shortcut": True, "norm": "batch", "stem": "imagenet"}


def trained(seed: int = 0, name: str = "resnet18", classes: int = 7) -> nn.Module:
    """Return a network of torchvision in which no value is a default."""
    network: nn.Module = torchvision.models.get_model(name, num_classes=classes)
    return with_values(network, seed)


def with_values(network: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator) * 0.05
            tensor.copy_(noise.abs() + 0.5 if "var" in key else noise + (tensor.ndim == 1))
        else:
            tensor.fill_(23)
    return network.eval()


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def backbone(network: nn.Module) -> dict[str, Tensor]:
    return {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}


def resolve(path: Path, network: str = "resnet18", key: str = "") -> starts.Start:
    return starts.resolve_start(f"file:{path}", network=network, num_classes=3, weights_key=key, **STANDARD)


def assert_loaded(path: Path, reference: nn.Module, network: str = "resnet18", key: str = "") -> starts.Start:
    """Assert that the network initialized from a file gives the reference's logits, with the reference's head."""
    start = resolve(path, network, key)
    ours = factory.build(network, 3).eval()
    starts.initialize(ours, start, seed=0)
    theirs = copy.deepcopy(reference)
    theirs.fc = copy.deepcopy(ours.get_submodule("fc"))
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))
    return start


def left_out(start: starts.Start) -> list[object]:
    """Return the numbers and names of what was left out."""
    notes = [note for note in start.notes if "kinds" in note.values]
    return [value for note in notes for value in values_of(note.values["kinds"])]  # type: ignore[arg-type]


# --- prefixes and nested keys


@pytest.mark.parametrize(
    "prefix",
    [
        "module.", "_orig_mod.", "model.", "backbone.", "network.", "encoder.", "module._orig_mod.encoder.",
        "net.resnet.", "module.model.backbone.", "_fsdp_wrapped_module.module.", "timm_model.", "a.b.c.d.",
        "model._orig_mod.module.trunk._feature_blocks.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("container", ["", "net"])
def test_network_is_found_below_any_prefix(tmp_path: Path, prefix: str, container: str) -> None:
    network = trained()
    state = prefixed(network.state_dict(), prefix)
    torch.save({container: state, "epoch": 3, "best": torch.tensor(0.5)} if container else state, tmp_path / "w.pth")
    start = assert_loaded(tmp_path / "w.pth", network)
    assert {"count": 122, "file": "w.pth"} in [fields_of(note) for note in start.notes]
    wrappers = {"module", "_orig_mod", "_fsdp_wrapped_module"}
    inner = [part for part in prefix.split(".") if part and part not in wrappers]
    shown = [note.values["prefix"] for note in start.notes if "prefix" in note.values]
    assert shown == ([".".join([container, *inner]).strip(".")] if inner else [])


def test_network_is_found_in_deeply_nested_dicts(tmp_path: Path) -> None:
    network = trained()
    trunk = prefixed(backbone(network), "_feature_blocks.")  # VISSL
    model = {"trunk": trunk, "heads": {"0.clf.0.weight": torch.ones(9, 512)}}
    torch.save({"classy_state_dict": {"base_model": {"model": model}}, "iteration": 5}, tmp_path / "w.torch")
    assert_loaded(tmp_path / "w.torch", network)


def test_compiled_and_parallel_modules_write_these_names(tmp_path: Path) -> None:
    network = trained()
    wrapped = nn.DataParallel(torch.compile(network))
    assert all(key.startswith("module._orig_mod.") for key in wrapped.state_dict())
    torch.save(wrapped.state_dict(), tmp_path / "w.pth")
    assert_loaded(tmp_path / "w.pth", network)


def test_compiled_blocks_inside_of_a_network_are_found(tmp_path: Path) -> None:
    network = trained()
    partly = copy.deepcopy(network)
    partly.layer1 = torch.compile(partly.layer1)
    assert "layer1._orig_mod.0.conv1.weight" in partly.state_dict()
    torch.save(partly.state_dict(), tmp_path / "w.pth")
    assert_loaded(tmp_path / "w.pth", network)


# --- tools


def fastai_body(network: nn.Module) -> nn.Sequential:
    """Return what fastai's `vision_learner` builds: the children up to the pooling, and a head."""
    body = nn.Sequential(*list(network.children())[:-2])
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(512), nn.Dropout(), nn.Linear(512, 7, bias=False)
    )
    return nn.Sequential(body, head)


def transformers_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors under the names of transformers' ResNetForImageClassification."""
    renamed = {}
    for key, value in network.state_dict().items():
        key = re.sub(r"^conv1\.", "resnet.embedder.embedder.convolution.", key)
        key = re.sub(r"^bn1\.", "resnet.embedder.embedder.normalization.", key)
        if match := re.match(r"layer(\d)\.(\d+)\.(.*)", key):
            stage, block, rest = int(match[1]) - 1, match[2], match[3]
            rest = rest.replace("downsample.0", "shortcut.convolution").replace(
                "downsample.1", "shortcut.normalization"
            )
            for i in (1, 2, 3):
                rest = re.sub(rf"^conv{i}\.", f"layer.{i - 1}.convolution.", rest)
                rest = re.sub(rf"^bn{i}\.", f"layer.{i - 1}.normalization.", rest)
            key = f"resnet.encoder.stages.{stage}.layers.{block}.{rest}"
        renamed[re.sub(r"^fc\.", "classifier.1.", key)] = value
    return renamed


ADAM = {"state": {i: {"exp_avg": torch.ones(4), "step": torch.tensor(3.0)} for i in range(5)}, "param_groups": []}
PROJECTION = {"0.weight": torch.ones(64, 512), "1.weight": torch.ones(64), "2.weight": torch.ones(16, 64)}


def tools(network: nn.Module, other: nn.Module) -> dict[str, object]:
    """Return what tools write for a network; `other` is a second one in the file that is not the usual choice."""
    state, body, second = network.state_dict(), backbone(network), backbone(other)
    head = prefixed(PROJECTION, "fc.")
    return {
        "Lightning": {"state_dict": prefixed(state, "model."), "optimizer_states": [ADAM], "loops": {}},
        "Lightning, loss": {
            "state_dict": {
                **prefixed(state, "model."),
                "criterion.pos_weight": torch.ones(7),
                "loss_fn.w": torch.ones(2),
            },
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
        },
        "Lightning's feature extractor": {
            "state_dict": {
                **prefixed(nn.Sequential(*list(network.children())[:-1]).state_dict(), "feature_extractor."),
                "classifier.weight": torch.ones(7, 512),
            }
        },
        "Lightning's averages": {
            "state_dict": prefixed(state, "model."),
            "current_model_state": prefixed(other.state_dict(), "model."),
            "averaging_state": {"n_averaged": torch.tensor(4)},
        },
        "timm": {"state_dict": other.state_dict(), "state_dict_ema": state, "optimizer": ADAM, "arch": "resnet18"},
        "torchvision's references": {
            "model": other.state_dict(),
            "model_ema": {"n_averaged": torch.tensor(7), **prefixed(state, "module.")},
            "optimizer": ADAM,
            "lr_scheduler": {"last_epoch": 3},
            "epoch": 3,
        },
        "fastai": fastai_body(network).state_dict(),
        "fastai, optimizer": {"model": fastai_body(network).state_dict(), "opt": {"state": [ADAM], "hypers": []}},
        "MMPretrain": {
            "meta": {"epoch": 3},
            "state_dict": {
                **prefixed(body, "backbone."),
                "head.fc.weight": torch.ones(7, 512),
                "head.fc.bias": torch.ones(7),
            },
            "optimizer": ADAM,
        },
        "MMPretrain's average": {
            "state_dict": {**prefixed(body, "backbone."), "head.fc.weight": torch.ones(7, 512)},
            "ema_state_dict": {"steps": torch.tensor(3), **prefixed(second, "module.backbone.")},
        },
        "transformers": transformers_state(network),
        "transformers, no head": {
            key.removeprefix("resnet."): value
            for key, value in transformers_state(network).items()
            if not key.startswith("classifier")
        },
        "MoCo": {
            "arch": "resnet18",
            "state_dict": {
                **prefixed({**body, **head}, "module.encoder_q."),
                **prefixed({**second, **head}, "module.encoder_k."),
                "module.queue": torch.ones(16, 32),
                "module.queue_ptr": torch.zeros(1, dtype=torch.long),
            },
        },
        "MoCo v3": {
            "state_dict": {
                **prefixed({**body, **head}, "module.base_encoder."),
                **prefixed({**second, **head}, "module.momentum_encoder."),
                **prefixed(PROJECTION, "module.predictor."),
            },
        },
        "SimSiam": {
            "state_dict": {
                **prefixed({**body, **head}, "module.encoder."),
                **prefixed(PROJECTION, "module.predictor."),
            },
        },
        "SimCLR (backbone and fc)": {"state_dict": prefixed({**body, **head}, "backbone.")},
        "SimCLR (encoder and projector)": {**prefixed(body, "encoder."), **prefixed(PROJECTION, "projector.")},
        "SimCLR (f and g)": {
            **prefixed(
                nn.Sequential(
                    *[c for c in network.children() if not isinstance(c, nn.MaxPool2d | nn.Linear)]
                ).state_dict(),
                "f.",
            ),
            **prefixed(PROJECTION, "g."),
        },
        "BYOL (Bolts)": {
            "state_dict": {
                **prefixed(body, "online_network.encoder."),
                **prefixed(PROJECTION, "online_network.projector.model."),
                **prefixed(second, "target_network.encoder."),
                **prefixed(PROJECTION, "target_network.projector.model."),
                **prefixed(PROJECTION, "predictor.model."),
            }
        },
        "BYOL (byol-pytorch)": {
            **prefixed(state, "net."),
            **prefixed(state, "online_encoder.net."),
            **prefixed(PROJECTION, "online_encoder.projector."),
            **prefixed(other.state_dict(), "target_encoder.net."),
            **prefixed(PROJECTION, "online_predictor."),
        },
        "DINO": {
            "student": {**prefixed(second, "module.backbone."), "module.head.mlp.0.weight": torch.ones(8, 512)},
            "teacher": {**prefixed(body, "backbone."), "head.mlp.0.weight": torch.ones(8, 512)},
            "optimizer": ADAM,
            "dino_loss": {"center": torch.ones(1, 8)},
        },
        "VICReg": {
            "model": {**prefixed(body, "module.backbone."), **prefixed(PROJECTION, "module.projector.")},
            "optimizer": ADAM,
        },
        "Barlow Twins": {
            "model": {
                **prefixed(body, "module.backbone."),
                **prefixed(PROJECTION, "module.projector."),
                "module.bn.running_mean": torch.ones(16),
            }
        },
        "SwAV": {
            "state_dict": {
                **prefixed(body, "module."),
                **prefixed(PROJECTION, "module.projection_head."),
                "module.prototypes.weight": torch.ones(30, 16),
            }
        },
        "lightly": {
            **prefixed(nn.Sequential(*list(network.children())[:-1]).state_dict(), "backbone."),
            **prefixed(nn.Sequential(*list(other.children())[:-1]).state_dict(), "backbone_momentum."),
            **prefixed(PROJECTION, "projection_head.layers."),
            **prefixed(PROJECTION, "prediction_head.layers."),
        },
        "solo-learn": {
            "state_dict": {
                **prefixed(body, "backbone."),
                **prefixed(second, "momentum_backbone."),
                **prefixed(PROJECTION, "projector."),
                **prefixed(PROJECTION, "momentum_projector."),
                "classifier.weight": torch.ones(7, 512),
            }
        },
        "thop": {**state, "total_ops": torch.ones(1), "layer1.0.conv1.total_ops": torch.ones(1)},
        "AveragedModel": {"n_averaged": torch.tensor(9), **prefixed(state, "module.")},
        "DeepSpeed": {"module": state, "optimizer": None, "global_steps": 3},
        "optimizer in the state dict": {**state, "optimizer": ADAM, "epoch": 3},
        "kuangliu": {
            "net": {k.replace("downsample", "shortcut").replace("fc.", "linear."): v for k, v in state.items()}
        },
    }


TOOLS = list(tools(trained(), trained()))


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, nn.Module]:
    return trained(1), trained(2)


@pytest.mark.parametrize("tool", TOOLS)
def test_checkpoint_gives_the_logits_of_its_network(
    tmp_path: Path, networks: tuple[nn.Module, nn.Module], tool: str
) -> None:
    content = tools(*networks)[tool]
    torch.save(content, tmp_path / "w.pth")
    start = assert_loaded(tmp_path / "w.pth", networks[0])
    used = 120
    numbers = [value for value in left_out(start) if isinstance(value, int)]
    head = [note for note in start.notes if "outputs" in note.values]
    tensors = count_tensors(content)
    assert used + sum(numbers) + count_head(content, tool) == tensors, "every tensor is used, the head, or in a note"
    assert bool(head) == bool(count_head(content, tool))


def count_tensors(content: object) -> int:
    if isinstance(content, Tensor):
        return 1
    values = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return sum(map(count_tensors, values))


def count_head(content: object, tool: str, name: str = "") -> int:
    """Count the tensors of the head beside the network that is used."""
    if isinstance(content, dict):
        return sum(count_head(value, tool, f"{name}.{key}".strip(".")) for key, value in content.items())
    second = r"(target_encoder|online_encoder|encoder_k|momentum_encoder|student)\."
    if tool in {"timm", "torchvision's references", "Lightning's averages"}:
        second = r"^(state_dict|model|current_model_state)\." if tool != "Lightning's averages" else r"^current_model"
    pattern = (
        r"(^|\.)(fc|classifier|head|linear)\.|^(model\.)?1\."
        if "fastai" in tool
        else (r"(^|\.)(fc|classifier|head|linear)\.")
    )
    return int(isinstance(content, Tensor) and bool(re.search(pattern, name)) and not re.search(second, name))


@pytest.mark.parametrize(
    ("tool", "key"),
    [
        ("timm", "state_dict"), ("torchvision's references", "model"), ("MoCo", "encoder_k"),
        ("MoCo", "state_dict.module.encoder_k"), ("MoCo v3", "momentum_encoder"), ("DINO", "student"),
        ("BYOL (Bolts)", "target_network"), ("MMPretrain's average", "ema_state_dict"),
        ("Lightning's averages", "current_model_state"), ("lightly", "backbone_momentum"),
    ],
)  # fmt: skip
def test_weights_key_selects_the_other_network(
    tmp_path: Path, networks: tuple[nn.Module, nn.Module], tool: str, key: str
) -> None:
    torch.save(tools(*networks)[tool], tmp_path / "w.pth")
    start = assert_loaded(tmp_path / "w.pth", networks[0])
    (other,) = [fields_of(note)["other"] for note in start.notes if "other" in note.values]
    assert_loaded(tmp_path / "w.pth", networks[1], key=key)
    assert_loaded(tmp_path / "w.pth", networks[1], key=str(other))


def test_network_without_a_prefix_is_selected_by_a_dot(tmp_path: Path, networks: tuple[nn.Module, nn.Module]) -> None:
    first, second = networks
    torch.save({**first.state_dict(), **prefixed(second.state_dict(), "ema.")}, tmp_path / "w.pth")
    assert_loaded(tmp_path / "w.pth", second)
    assert_loaded(tmp_path / "w.pth", first, key=".")


def test_unknown_key_is_refused_with_the_keys_of_the_file(tmp_path: Path) -> None:
    torch.save({"state_dict": trained().state_dict(), "optimizer": ADAM}, tmp_path / "w.pth")
    with pytest.raises(UsageError) as caught:
        resolve(tmp_path / "w.pth", key="teacher")
    assert fields_of(caught.value.message) == {"path": tmp_path / "w.pth", "key": "teacher", "network": "resnet18"}
    assert {"state_dict", "optimizer"} <= set(values_of(caught.value.hint))


@pytest.mark.parametrize(
    ("name", "rank"),
    [("state_dict", 1), ("state_dict_ema", 0), ("ema_state_dict", 2), ("state_dict.encoder_k", 2), ("teacher", 0)],
)
def test_ranks(name: str, rank: int) -> None:
    assert rank_of(name) == rank


@pytest.mark.parametrize(
    ("extra", "number"),
    [("se.fc1.weight", 1), ("layer1.0.se.weight", 1), ("layer1.2.conv1.weight", 1), ("neck.weight", 1)],
)
def test_tensors_that_a_layer_may_need_are_not_left_out(tmp_path: Path, extra: str, number: int) -> None:
    torch.save({**trained().state_dict(), extra: torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(ModelFileError) as caught:
        resolve(tmp_path / "w.pth")
    assert values_of(caught.value.message) == [tmp_path / "w.pth", "resnet18", number, extra, 120]


def test_missing_tensor_below_a_prefix_is_named_without_it(tmp_path: Path) -> None:
    state = prefixed(trained().state_dict(), "module.encoder_q.")
    del state["module.encoder_q.layer3.1.conv2.weight"]
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(ModelFileError) as caught:
        resolve(tmp_path / "w.pth")
    assert values_of(caught.value.message) == [tmp_path / "w.pth", "resnet18", 1, "layer3.1.conv2.weight", 120]


# --- other networks


def fields_of_refusal(path: Path, network: str) -> tuple[str, str]:
    with pytest.raises(ModelFileError) as caught:
        resolve(path, network)
    return str(caught.value.message), str(caught.value.hint)


@pytest.mark.parametrize(
    ("saved", "title", "network"),
    [
        ("resnet50", "ResNet-50", "resnet50"),
        ("resnet34", "ResNet-34", "resnet34"),
        ("resnet101", "ResNet-101", "timm:resnet101"),
        ("resnext50_32x4d", "resnext50_32x4d", "timm:resnext50_32x4d"),
    ],
)
@pytest.mark.parametrize("prefix", ["module.encoder_q."])
def test_other_resnets_are_named_and_the_advice_works(
    tmp_path: Path, saved: str, title: str, network: str, prefix: str
) -> None:
    state = torchvision.models.get_model(saved, num_classes=5).state_dict()
    torch.save(prefixed(state, prefix), tmp_path / "w.pth")
    message, hint = fields_of_refusal(tmp_path / "w.pth", "resnet18")
    assert title in message and f"--network {network}," in hint
    assert resolve(tmp_path / "w.pth", network).state is not None


def test_resnet_of_transformers_is_named(tmp_path: Path) -> None:
    save_file(transformers_state(trained(name="resnet50")), tmp_path / "model.safetensors")
    message, hint = fields_of_refusal(tmp_path / "model.safetensors", "resnet18")
    assert "ResNet-50" in message and "--network resnet50," in hint
    assert_loaded(tmp_path / "model.safetensors", trained(name="resnet50"), "resnet50")


def test_switches_of_a_resnet_are_named(tmp_path: Path) -> None:
    torch.save(factory.build("resnet34", 4, shortcut=False, stem="small").state_dict(), tmp_path / "w.pth")
    _message, hint = fields_of_refusal(tmp_path / "w.pth", "resnet18")
    assert "--network resnet34 --stem small --shortcut off," in hint


@pytest.mark.parametrize(
    ("wanted", "flags"),
    [
        ({"stem": "small"}, "--network resnet18 --stem imagenet"),
        ({"norm": "none"}, "--network resnet18 --norm batch"),
        ({"shortcut": False}, "--network resnet18 --shortcut on"),
        ({"stem": "small", "shortcut": False}, "--network resnet18 --stem imagenet --shortcut on"),
    ],
)
def test_switches_of_the_wanted_network_are_set_back(tmp_path: Path, wanted: dict[str, Any], flags: str) -> None:
    torch.save(factory.build("resnet18", 4).state_dict(), tmp_path / "w.pth")
    settings = {**STANDARD, **wanted}
    with pytest.raises(ModelFileError) as caught:
        starts.resolve_start(f"file:{tmp_path / 'w.pth'}", network="resnet18", num_classes=3, **settings)
    assert fields_of(caught.value.hint) == {"flags": flags}


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224", "convnext_atto", "efficientnet_b0", "swin_tiny_patch4_window7_224", "regnety_004",
        "mobilenetv3_small_100", "resnet50d", "densenet121",
    ],
)  # fmt: skip
def test_networks_of_timm_are_named_and_the_advice_works(tmp_path: Path, name: str) -> None:
    torch.save({"state_dict": timm.create_model(name, num_classes=5).state_dict()}, tmp_path / "w.pth")
    message, hint = fields_of_refusal(tmp_path / "w.pth", "resnet18")
    assert name in message and f"--network timm:{name}," in hint
    assert resolve(tmp_path / "w.pth", f"timm:{name}").state is not None


@pytest.mark.parametrize("name", ["convnext_tiny", "efficientnet_b0", "swin_t", "mobilenet_v2"])
def test_networks_of_torchvision_are_named_and_the_advice_works(tmp_path: Path, name: str) -> None:
    torch.save(torchvision.models.get_model(name, num_classes=5).state_dict(), tmp_path / "w.pth")
    message, hint = fields_of_refusal(tmp_path / "w.pth", "resnet18")
    assert name in message
    code = re.search(r'my\.py with "(import .*)" and use', hint)
    assert code is not None and "--network my.py:net" in hint
    (tmp_path / "my.py").write_text(code[1])
    assert resolve(tmp_path / "w.pth", f"{tmp_path}/my.py:net").state is not None


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (
            ["vit.embeddings.patch_embeddings.projection.weight", "vit.encoder.layer.0.attention.output.dense.weight"],
            "ViT",
        ),
        (["_conv_stem.weight", "_blocks.0._depthwise_conv.weight"], "EfficientNet"),
        (["downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"], "ConvNeXt"),
        (["bert.embeddings.word_embeddings.weight"], "language model"),
        (["visual.conv1.weight", "transformer.resblocks.0.ln_1.weight"], "CLIP"),
        (["model.0.conv.weight", "model.2.cv1.conv.weight", "model.2.m.0.cv1.conv.weight"], "YOLO"),
    ],
)
def test_kinds_of_networks_are_named_by_their_names(tmp_path: Path, names: list[str], title: str) -> None:
    torch.save({name: torch.ones(2, 2) for name in names}, tmp_path / "w.pth")
    assert title in fields_of_refusal(tmp_path / "w.pth", "resnet18")[0]


def test_incomplete_network_of_the_wanted_kind_is_not_called_another_one(tmp_path: Path) -> None:
    state = timm.create_model("test_vit", num_classes=5).state_dict()
    del state["blocks.1.attn.qkv.weight"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ModelFileError) as caught:
        resolve(tmp_path / "w.pth", "timm:test_vit")
    assert values_of(caught.value.message)[:4] == [tmp_path / "w.pth", "timm:test_vit", 1, "blocks.1.attn.qkv.weight"]


def test_pruned_weights_are_refused_with_what_to_do(tmp_path: Path) -> None:
    from torch.nn.utils import prune

    network = trained()
    prune.l1_unstructured(network.layer1[0].conv1, "weight", amount=0.5)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert "torch.nn.utils.prune.remove" in fields_of_refusal(tmp_path / "w.pth", "resnet18")[1]
    prune.remove(network.layer1[0].conv1, "weight")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    assert_loaded(tmp_path / "w.pth", network)


# --- objects


class Learner:
    """Stands for fastai's Learner: an object with a network."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.cbs = model, [pathlib.PurePosixPath("a")]


OBJECTS: dict[str, Callable[[nn.Module], object]] = {
    '["state_dict"]': lambda n: {"state_dict": n.state_dict(), "args": argparse.Namespace(lr=0.1)},
    '["state_dict_ema"]': lambda n: {
        "state_dict": n.state_dict(), "state_dict_ema": n.state_dict(), "args": argparse.Namespace(lr=0.1),
    },
    '["model"]': lambda n: {"optimizer": ADAM, "model": n.state_dict(), "best": np.float64(0.5)},
    '["nets"][0]': lambda n: {"nets": [n.state_dict()], "path": pathlib.PurePosixPath("x")},
    '["net"].state_dict()': lambda n: {"net": n, "epoch": 3},
    ".model.state_dict()": Learner,
    '["a"]["b"].state_dict()': lambda n: {"a": {"b": nn.DataParallel(n)}, "optimizer": ADAM},
    "": lambda n: {**n.state_dict(), "saved": pathlib.PurePosixPath("x")},
}  # fmt: skip


@pytest.mark.parametrize("key", OBJECTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_objects_are_refused_with_their_place_and_code_that_converts_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, zipped: bool
) -> None:
    network, path = trained(), tmp_path / "w.pth"
    torch.save(OBJECTS[key](network), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelFileError) as caught:
        resolve(path)
    assert fields_of(caught.value.hint)["key"] == key
    monkeypatch.chdir(tmp_path)
    code = caught.value.hint[caught.value.hint.index("import torch") :]
    exec(code, {})
    if not key:  # the object is still there; it is no weight
        torch.save(
            {k: v for k, v in torch.load("weights.pth", weights_only=False).items() if k != "saved"}, "weights.pth"
        )
    assert_loaded(tmp_path / "weights.pth", network)


def test_class_of_the_objects_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": trained().state_dict(), "hyper": {"p": pathlib.PurePosixPath("x")}}, tmp_path / "w.pth")
    with pytest.raises(ModelFileError) as caught:
        resolve(tmp_path / "w.pth")
    assert {"pathlib.PurePosixPath", '["hyper"]["p"]', '["state_dict"]'} <= set(values_of(caught.value.message))


@pytest.mark.parametrize("extra", [{}, {"path": pathlib.PurePosixPath("x")}])
def test_contents_that_contain_themselves_are_read_once(tmp_path: Path, extra: dict[str, object]) -> None:
    network = trained()
    loop: list[object] = []
    loop += [loop] * 50
    torch.save({"state_dict": network.state_dict(), "loop": loop, **extra}, tmp_path / "w.pth")
    if extra:
        with pytest.raises(ModelFileError) as caught:
            resolve(tmp_path / "w.pth")
        assert fields_of(caught.value.hint)["key"] == '["state_dict"]'
    else:
        assert_loaded(tmp_path / "w.pth", network)


# --- other files


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "Download"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "safetensors"),
        (b"\x1f\x8b\x08" + bytes(99), "Unpack"),
    ],
)
def test_files_that_are_no_weights_are_named(tmp_path: Path, content: bytes, word: str) -> None:
    (tmp_path / "w.bin").write_bytes(content)
    assert word in fields_of_refusal(tmp_path / "w.bin", "resnet18")[1]


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folder_from_the_hub_is_refused_with_its_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        resolve(tmp_path)
    assert values_of(caught.value.hint) == [f"file:{tmp_path / name}"]


# --- transformers' configuration


def hub_folder(folder: Path, processor: dict[str, object], config: dict[str, object]) -> Path:
    save_file(transformers_state(trained()), folder / "model.safetensors")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "config.json").write_text(json.dumps({"model_type": "resnet", **config}))
    return folder / "model.safetensors"


def test_preprocessor_config_gives_mean_std_size_and_classes(tmp_path: Path) -> None:
    processor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "size": {"shortest_edge": 288}}
    labels = {str(i): f"class {i}" for i in reversed(range(12))}
    start = resolve(hub_folder(tmp_path, processor, {"id2label": labels}))
    assert (start.mean, start.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert start.classes == tuple(f"class {i}" for i in range(12))
    assert {"file": "preprocessor_config.json", "size": 288} in [fields_of(note) for note in start.notes]
    assert not any("example" in note.values for note in start.notes), "mean and std are given"


@pytest.mark.parametrize(
    ("processor", "mean", "std"),
    [
        ({"do_normalize": False, "image_mean": [0.5] * 3}, 0.0, 1.0),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255}, 0.5, 0.5),
        ({"image_mean": [1.0] * 3, "image_std": [1.0] * 3, "rescale_factor": 2 / 255}, 0.5, 0.5),
        ({"image_mean": [127.5] * 3, "image_std": [51.0] * 3, "do_rescale": False}, 0.5, 0.2),
    ],
)
def test_scale_of_the_preprocessor_is_converted(
    tmp_path: Path, processor: dict[str, object], mean: float, std: float
) -> None:
    """transformers computes (value * factor - mean) / std for values from 0 to 255."""
    start = resolve(hub_folder(tmp_path, processor, {}))
    assert start.mean == pytest.approx((mean,) * 3) and start.std == pytest.approx((std,) * 3)


def test_resnet_with_other_strides_is_refused(tmp_path: Path) -> None:
    path = hub_folder(tmp_path, {}, {"downsample_in_bottleneck": True})
    with pytest.raises(ModelFileError) as caught:
        resolve(path)
    assert fields_of(caught.value.message)["field"] == "downsample_in_bottleneck"


# --- own networks


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "module._orig_mod.encoder."])
@pytest.mark.parametrize("spelling", ["downsample", "shortcut"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_own_network_takes_both_spellings_and_any_prefix(
    tmp_path: Path, prefix: str, spelling: str, wrapped: bool
) -> None:
    source = Path("examples/own_network/rn18.py").read_text()
    assert "self.shortcut" in source
    (tmp_path / "my.py").write_text(source)
    network = f"{tmp_path}/my.py:RN18"
    values = with_values(factory.build(network, 5), 3).state_dict()
    renamed = {prefix + key.replace("shortcut.", f"{spelling}."): value for key, value in values.items()}
    torch.save({"state_dict": renamed} if wrapped else renamed, tmp_path / "w.pth")
    start = resolve(tmp_path / "w.pth", network)
    assert start.state is not None
    assert all(torch.equal(tensor, values[key]) for key, tensor in start.state.items())
