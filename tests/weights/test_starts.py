"""Initial weights: which files are read or refused, and a seed always gives the same bits."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from headstart.cli.main import main
from headstart.config import start_spec
from headstart.config.registry.starts import SCHEMES, STARTS, Argument, SchemeSpec, StartSpec
from headstart.config.study_request import build_study_spec
from headstart.errors import (
    DataError,
    HeadstartError,
    MissingWeightsError,
    ModelFileError,
    ResourceError,
    UsageError,
)
from headstart.factories import load_factory
from headstart.models import factory, heads, structure
from headstart.rng import torch_stream
from headstart.weights import download, starts
from tests.messages import fields_of, values_of

SMALL = "timm:test_resnet"  # 0.4 M parameters with a ResNet-18's names: the tests do not depend on the size
DEFAULTS = {"network": SMALL, "shortcut": True, "norm": "batch", "stem": "imagenet", "num_classes": 4}
CIFAR10_WEIGHTS = Path(__file__).parents[3] / "shared" / "weights" / "cifar10-resnet18.safetensors"


def resolve(name: str, **changed: object) -> starts.Start:
    return starts.resolve_start(name, **{**DEFAULTS, **changed})


def filled(name: str | starts.Start, *, seed: int = 0, **changed: object) -> nn.Module:
    """Build a network, attach a head and initialize it, as a run does."""
    options = {**DEFAULTS, **changed}
    classes = options.pop("num_classes")
    network = factory.build(options.pop("network"), classes, **options)
    heads.replace_head(network, "linear", classes, seed=seed)
    starts.initialize(network, resolve(name, **changed) if isinstance(name, str) else name, seed=seed)
    return network


def state(classes: int = 10, name: str = SMALL, **switches: object) -> dict[str, Tensor]:
    """Return a plausible trained state dict: no value is a default, BatchNorm statistics included."""
    generator = torch.Generator().manual_seed(5)
    values = factory.build(name, classes, **switches).state_dict()
    for key, tensor in values.items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + ("var" in key))
        else:
            tensor.fill_(17)
    return values


def notes_of(start: starts.Start) -> list[dict[str, object]]:
    """Return the named values of each note."""
    return [fields_of(note) for note in start.notes]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Block every connection but loopback, and use no cache of the machine's user."""
    original = socket.getaddrinfo

    def getaddrinfo(host: str, *args: object, **kwargs: object) -> object:
        if host not in {"127.0.0.1", "localhost"}:
            raise socket.gaierror(-2, "Name or service not known")
        return original(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)


# --- random starts


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("scratch", SMALL),
        ("scratch:xavier", SMALL),
        ("scratch:orthogonal", SMALL),
        ("scratch:kaiming", "resnet18"),
        ("scratch:torch", SMALL),
        ("scratch:zero-gamma", "resnet18"),
    ],
)
def test_random_starts_depend_only_on_the_seed(name: str, network: str) -> None:
    first, other = filled(name, seed=3, network=network), filled(name, seed=4, network=network)
    used = factory.build(network, 4)
    used.load_state_dict(state(4, network))
    starts.initialize(used, resolve(name, network=network), seed=3)
    assert equal(first.state_dict(), used.state_dict()), "every tensor is overwritten"
    for key in ("layer1.0.conv1.weight", "fc.weight"):
        assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_scratch_is_kaiming_with_torchvisions_scale() -> None:
    ours = filled("scratch", network="resnet18").state_dict()
    assert equal(ours, filled("scratch:kaiming", network="resnet18").state_dict())
    theirs = torchvision.models.resnet18(num_classes=4).state_dict()
    for key, tensor in ours.items():
        if tensor.ndim < 2 and "fc" not in key:
            assert torch.equal(tensor, theirs[key]), key
        elif tensor.ndim == 4:
            assert tensor.std().item() == pytest.approx(theirs[key].std().item(), rel=0.1), key


def test_schemes_follow_their_papers() -> None:
    weight = filled("scratch:orthogonal").layer2[0].conv1.weight.detach().flatten(1)
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(48), rtol=0, atol=1e-4)
    weight = filled("scratch:xavier").layer4[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (2 * 96 * 9)) ** 0.5, rel=0.02)
    zero = filled("scratch:zero-gamma", network="resnet18")
    for name in structure.block_names(zero):
        block = zero.get_submodule(name)
        assert (block.bn2.weight == 0).all()
        assert (block.bn1.weight == 1).all()
    assert (filled("scratch:zero-gamma", network="resnet50").layer4[2].bn3.weight == 0).all()


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_scratch_torch_equals_the_initialisation_of_torchs_layers(norm: str) -> None:
    ours = filled("scratch:torch", network="resnet18", norm=norm, stem="small")
    with torch_stream(0, "init"):
        for name, module in ours.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                channels, in_channels, *size = module.weight.shape
                new = torch.nn.Conv2d(in_channels, channels, size, bias=module.bias is not None)
                assert torch.equal(new.weight, module.weight), name
                assert module.bias is None or torch.equal(new.bias, module.bias)


def test_biases_without_a_norm_are_initialised_to_zero() -> None:
    network = filled("scratch", network="resnet18", norm="none", shortcut=False, stem="small")
    assert (network.conv1.bias == 0).all()
    assert all((p == 0).all() for n, p in network.named_parameters() if n.endswith("bias") and not n.startswith("fc"))


def test_scratch_on_a_timm_network_is_its_own_initialisation() -> None:
    network = filled("scratch", network="timm:test_vit")
    assert network.pos_embed.std().item() == pytest.approx(0.02, rel=0.2), "as timm's constructor draws it"
    orthogonal = filled("scratch:orthogonal", network="timm:test_vit")
    weight = orthogonal.blocks[0].attn.proj.weight.detach()
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(len(weight)), rtol=0, atol=1e-4)
    assert torch.equal(orthogonal.pos_embed, network.pos_embed)


def test_head_is_the_same_for_every_start(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "w.safetensors")
    names = ("scratch", "scratch:xavier", f"file:{tmp_path}/w.safetensors", f"stats:file:{tmp_path}/w.safetensors")
    heads_of = [filled(name, seed=9).fc.state_dict() for name in names]
    assert all(equal(heads_of[0], other) for other in heads_of[1:])


@pytest.mark.parametrize(
    ("name", "fields", "form"),
    [
        ("imagnet", {"name": "imagnet", "choice": "imagenet"}, "imagenet"),
        ("source:photos", {"name": "source:photos", "suggestion": ""}, "stats:START"),
        ("", {"name": ""}, "scratch"),
        ("file:", {"name": "file:", "choice": "file:PATH"}, "file:PATH"),
        ("timm", {"name": "timm", "choice": "timm:NAME"}, "timm:NAME"),
        ("scratch:", {"name": ""}, "scratch:zero-gamma"),
        ("scratch:kaimin", {"name": "kaimin", "choice": "kaiming"}, "scratch:kaiming"),
    ],
)
def test_unknown_starts_are_refused_with_the_known_forms(name: str, fields: dict[str, object], form: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(name, network="resnet18")
    assert fields_of(caught.value.message) == fields
    assert form in str(fields_of(caught.value.hint)["forms"]).split(", ")


NO_SHORTCUT, NO_NORM, SMALL_STEM = (
    f"resnet18 (shortcut {shortcut}, norm {norm}, stem {stem})"
    for shortcut, norm, stem in (("off", "batch", "imagenet"), ("on", "none", "imagenet"), ("on", "batch", "small"))
)
FOR_FAMILY = {"start": "imagenet", "networks": "resnet18, resnet34, resnet50"}


@pytest.mark.parametrize(
    ("name", "changed", "fields", "hint"),
    [
        ("scratch:zero-gamma", {"norm": "none"}, {"start": "scratch:zero-gamma", "network": NO_NORM}, "scratch"),
        ("scratch:zero-gamma", {"shortcut": False}, {"start": "scratch:zero-gamma", "network": NO_SHORTCUT}, "scratch"),
        ("stats:scratch", {}, {"start": "stats:scratch", "name": "scratch"}, "stats:imagenet"),
        ("imagenet", {"shortcut": False}, {**FOR_FAMILY, "network": NO_SHORTCUT}, "--shortcut on"),
        ("imagenet", {"norm": "none"}, {**FOR_FAMILY, "network": NO_NORM}, "--norm batch"),
        ("imagenet", {"stem": "small"}, {**FOR_FAMILY, "network": SMALL_STEM}, "--stem imagenet"),
        ("imagenet", {"network": "resnet20"}, {**FOR_FAMILY, "network": "resnet20"}, "--network resnet18"),
        ("imagenet", {"network": "timm:test_vit"}, {**FOR_FAMILY, "network": "timm:test_vit"}, "timm:NAME"),
        (
            "timm:resnet34.a1_in1k",
            {},
            {"start": "timm:resnet34.a1_in1k", "architecture": "resnet34", "network": "resnet18"},
            "--network resnet34",
        ),
        ("timm:resnet18.a1_in1k", {"stem": "small"}, {"start": "timm:resnet18.a1_in1k", "network": SMALL_STEM}, "stem"),
        (
            "timm:resnet18.a9",
            {},
            {"version": importlib.metadata.version("timm"), "tag": "a9", "architecture": "resnet18"},
            "timm:resnet18.a1_in1k",
        ),
        (
            "timm:test_vit3",
            {"network": "timm:test_vit"},
            {"start": "timm:test_vit3", "architecture": "test_vit3", "network": "timm:test_vit"},
            "--network timm:test_vit3",
        ),
    ],
)
def test_unsuitable_starts_are_refused(
    name: str, changed: dict[str, object], fields: dict[str, object], hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(name, **{"network": "resnet18", **changed})
    assert fields_of(caught.value.message) == fields
    assert hint in caught.value.hint


def test_default_network_of_each_start(tmp_path: Path) -> None:
    assert starts.default_network("timm:resnet18.a1_in1k") == "resnet18"
    assert starts.default_network("timm:resnet50d.ra2_in1k") == "timm:resnet50d"
    assert starts.default_network("stats:timm:test_vit.r160_in1k") == "timm:test_vit"
    assert [starts.default_network(s) for s in ("scratch", "imagenet", "file:x.pth", "run:nowhere")] == [None] * 4
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architecture": "resnet34"}')
    assert starts.default_network(f"run:{tmp_path}") == "resnet34"


# --- weight files


def written(folder: Path, values: dict[str, Tensor], form: str) -> Path:
    path = folder / f"weights{'.safetensors' if form == 'safetensors' else '.pth'}"
    if form == "safetensors":
        save_file(values, path)
    elif form == "old":
        torch.save(values, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(values if form == "pth" else {form: values, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("form", ["safetensors", "pth", "old", "state_dict", "model", "model_state_dict"])
def test_every_form_of_file_gives_the_backbone_and_a_new_head(tmp_path: Path, form: str) -> None:
    values = state()
    path = written(tmp_path, values, form)
    start = resolve(f"file:{path}")
    network = filled(start, seed=2)
    for key, tensor in network.state_dict().items():
        assert key.startswith("fc") or torch.equal(tensor, values[key]), key
    assert equal(network.fc.state_dict(), filled("scratch", seed=2).fc.state_dict())
    assert start.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {"count": 10, "outputs": 4} in notes_of(start)


def test_head_of_the_same_size_is_replaced_too(tmp_path: Path) -> None:
    save_file(state(4), tmp_path / "w.safetensors")
    network = filled(f"file:{tmp_path}/w.safetensors", seed=1)
    assert equal(network.fc.state_dict(), filled("scratch", seed=1).fc.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast(tmp_path: Path, dtype: torch.dtype) -> None:
    values = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state().items()}
    save_file(values, tmp_path / "w.safetensors")
    start = resolve(f"file:{tmp_path}/w.safetensors")
    assert start.state is not None
    assert {t.dtype for t in start.state.values()} == {torch.float32, torch.int64}
    assert torch.equal(start.state["conv1.0.weight"], values["conv1.0.weight"].float())
    assert {"file": "w.safetensors", "dtype": str(dtype).removeprefix("torch.")} in notes_of(start)


def test_counters_that_were_cast_to_float_are_treated_as_missing(tmp_path: Path) -> None:
    start = resolve(f"file:{written(tmp_path, {k: v.half() for k, v in state().items()}, 'pth')}")
    assert start.state is not None
    assert start.state["bn1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(start.state["conv1.0.weight"], state()["conv1.0.weight"].half().float())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "backbone.", "model."])
def test_prefixes_and_shortcut_keys_are_renamed(tmp_path: Path, prefix: str) -> None:
    values = state()
    renamed = {prefix + k.replace("downsample.", "shortcut."): v for k, v in values.items()}
    path = written(tmp_path, renamed, "pth")
    start = resolve(f"file:{path}")
    assert start.state is not None
    assert equal(start.state, {k: v for k, v in values.items() if not k.startswith("fc")})
    assert {"count": len(values), "file": path.name} in notes_of(start)


def test_missing_counters_and_other_head_names_are_accepted(tmp_path: Path) -> None:
    values = {k: v for k, v in state().items() if "num_batches" not in k and not k.startswith("fc")}
    values |= {"classifier.weight": torch.ones(6, 96), "classifier.bias": torch.ones(6)}
    start = resolve(f"file:{written(tmp_path, values, 'safetensors')}")
    assert start.state is not None
    assert start.state["bn1.num_batches_tracked"] == 0
    assert {"count": 6, "outputs": 4} in notes_of(start)


def refused_values(folder: Path, spoil: Callable[[dict[str, Tensor]], object]) -> tuple[ModelFileError, Path]:
    """Write a file whose tensors `spoil` has changed; return the error of reading it, and its path."""
    values = state()
    spoil(values)
    path = written(folder, values, "safetensors")
    with pytest.raises(ModelFileError) as caught:
        resolve(f"file:{path}")
    assert caught.value.exit_code == 6
    return caught.value, path


@pytest.mark.parametrize(
    ("missing", "unexpected"),
    [("layer1.0.conv1", ""), ("", "extra"), ("layer4", ""), ("layer2.0.conv1", "extra")],
    ids=lambda name: name or "none",
)
def test_missing_and_unexpected_tensors_are_counted_and_named(tmp_path: Path, missing: str, unexpected: str) -> None:
    backbone = [key for key in state() if not key.startswith("fc")]
    left_out = [key for key in backbone if missing and key.startswith(missing)]
    needed = [key for key in left_out if not key.endswith("num_batches_tracked")]

    def spoil(values: dict[str, Tensor]) -> None:
        for key in left_out:
            del values[key]
        if unexpected:
            values[unexpected] = torch.zeros(1)

    error, path = refused_values(tmp_path, spoil)
    expected: list[object] = []
    for names in (needed, [unexpected] if unexpected else []):
        if names:
            expected += [len(names), *names[:4]]
        if len(names) > 4:
            expected.append("…")
    assert values_of(error.message) == [path, SMALL, *expected, len(backbone)]


@pytest.mark.parametrize(
    ("spoil", "fields"),
    [
        (lambda s: s["bn1.running_var"].fill_(torch.nan), {"name": "bn1.running_var"}),
        (lambda s: s["conv1.0.weight"].fill_(torch.inf), {"name": "conv1.0.weight"}),
        (
            lambda s: s.update({"conv1.0.weight": torch.zeros(16, 3, 5, 5)}),
            {
                "network": SMALL,
                "count": 1,
                "tensor": "conv1.0.weight",
                "shape": "(16, 3, 5, 5)",
                "expected": "(16, 3, 3, 3)",
            },
        ),
        (
            lambda s: s.update({"conv1.0.weight": torch.zeros(16, 3, 3, 3, dtype=torch.int8)}),
            {"name": "conv1.0.weight", "dtype": "torch.int8", "expected": "torch.float32"},
        ),
        (
            lambda s: s.update({"module.conv1.0.weight": torch.zeros(16, 3, 3, 3)}),
            {"name": "conv1.0.weight", "key": "module.conv1.0.weight"},
        ),
    ],
)
def test_tensor_that_does_not_fit_is_named(
    tmp_path: Path, spoil: Callable[[dict[str, Tensor]], object], fields: dict[str, object]
) -> None:
    error, path = refused_values(tmp_path, spoil)
    assert fields_of(error.message) == {"path": path, **fields}


@pytest.mark.parametrize(
    ("changed", "label"),
    [
        ({"network": "resnet34"}, "resnet34"),
        ({"network": "resnet50"}, "resnet50"),
        ({"shortcut": False}, NO_SHORTCUT),
        ({"norm": "none"}, NO_NORM),
        ({"stem": "small"}, SMALL_STEM),
    ],
)
def test_file_of_another_network_is_refused_quickly(tmp_path: Path, changed: dict[str, object], label: str) -> None:
    path = written(tmp_path, state(name="resnet18"), "safetensors")
    with pytest.raises(ModelFileError) as error:
        resolve(f"file:{path}", **{"network": "resnet18", **changed})
    fields = fields_of(error.value.message)
    assert (fields["path"], fields["network"]) == (path, label)


def test_weights_of_a_network_without_norm_and_shortcut_are_read(tmp_path: Path) -> None:
    switches = {"shortcut": False, "norm": "none", "stem": "small"}
    values = state(name="resnet18", **switches)
    network = filled(f"file:{written(tmp_path, values, 'safetensors')}", network="resnet18", **switches)
    assert all(torch.equal(v, values[k]) for k, v in network.state_dict().items() if not k.startswith("fc"))


class Canary:
    """A pickle that writes a file if it is loaded without weights_only."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_pickle_is_refused_and_never_run(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path, canary = tmp_path / f"weights{suffix}", tmp_path / "canary"
    torch.save({"conv1.0.weight": Canary(canary), "net": nn.ReLU()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelFileError) as caught:
        resolve(f"file:{path}")
    named_path, *names = values_of(caught.value.message)
    assert named_path == path and ("posix.system" in names) == (suffix != ".safetensors")
    assert "weights_only=False" not in str(caught.value), "the hint does not advise to open it"
    assert not canary.exists()
    torch.load(path.rename(tmp_path / "trusted.pth"), weights_only=False)
    assert canary.exists(), "the canary works"


def code_in(error: ModelFileError, path: Path) -> str:
    """Return the program at the end of the hint of an error about a file."""
    assert fields_of(error.message)["path"] == path and fields_of(error.hint)["path"] == str(path)
    return error.hint[error.hint.index(fields_of(error.hint).get("imports", "torch.save(")) :]


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_model_is_refused_with_code_that_converts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    path = tmp_path / "whole.pth"
    torch.save(torchvision.models.resnet18(num_classes=10), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ModelFileError) as caught:
        resolve(f"file:{path}")
    monkeypatch.chdir(tmp_path)
    exec(code_in(caught.value, path), {"torch": torch})
    assert resolve("file:weights.pth", network="resnet18").state is not None


def test_whole_model_in_a_dict_is_refused_with_code_that_converts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "whole.pth"
    torch.save({"model": torchvision.models.resnet18(num_classes=10)}, path)
    with pytest.raises(ModelFileError) as caught:
        resolve(f"file:{path}")
    monkeypatch.chdir(tmp_path)
    exec(code_in(caught.value, path), {"torch": torch})
    assert resolve("file:weights.pth", network="resnet18").state is not None


@pytest.mark.parametrize("saved_by", ["python -m course.train", "python course/train.py"])
@pytest.mark.parametrize("zipped", [True, False])
def test_whole_model_of_an_own_class_is_refused_with_code_that_converts_it(
    saved_by: str, zipped: bool, tmp_path: Path
) -> None:
    """The class is in a module of the user, or in the program that saved the model."""
    (tmp_path / "course").mkdir()
    text = Path("examples/own_network/rn18.py").read_text()
    save = f"torch.save(RN18(4), 'whole.pth', _use_new_zipfile_serialization={zipped})"
    if "-m" in saved_by:
        (tmp_path / "course" / "nets.py").write_text(text)
        text, module = "from course.nets import RN18", "course.nets"
    else:
        module = "course.train"
    (tmp_path / "course" / "train.py").write_text(f"{text}\nimport torch\nif __name__ == '__main__':\n    {save}\n")
    subprocess.run([sys.executable, "-W", "ignore", *saved_by.split()[1:]], cwd=tmp_path, check=True)
    with pytest.raises(ModelFileError) as caught:
        resolve(f"file:{tmp_path}/whole.pth")
    program = code_in(caught.value, tmp_path / "whole.pth")
    assert ("YOUR_FILE" in program) == ("-m" not in saved_by)
    subprocess.run([sys.executable, "-c", program.replace("YOUR_FILE", module)], cwd=tmp_path, check=True)
    assert resolve(f"file:{tmp_path}/weights.pth", network="resnet18").state is not None


def test_only_state_dict_of_a_checkpoint_is_found_under_any_name(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(num_classes=10).state_dict()
    torch.save(
        {"net": state, "acc": 81.5, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}, tmp_path / "a.pth"
    )
    assert resolve(f"file:{tmp_path}/a.pth", network="resnet18").state is not None
    torch.save({"first": state, "second": {k: v + 1 for k, v in state.items()}}, tmp_path / "b.pth")
    with pytest.raises(ModelFileError) as caught:
        resolve(f"file:{tmp_path}/b.pth", network="resnet18")
    assert values_of(caught.value.message) == [2, tmp_path / "b.pth", "resnet18", "first", "second"]
    key = str(fields_of(caught.value.hint)["key"])
    assert resolve(f"file:{tmp_path}/b.pth", network="resnet18", weights_key=key).state is not None


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_is_refused_with_code_that_converts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.script(torchvision.models.resnet18(num_classes=10)), path)
    with pytest.raises(ModelFileError) as caught:
        resolve(f"file:{path}", network="resnet18")
    monkeypatch.chdir(tmp_path)
    exec(code_in(caught.value, path), {"torch": torch})
    assert resolve("file:weights.pth", network="resnet18").state is not None


def test_pickles_without_named_tensors_are_refused(tmp_path: Path) -> None:
    for content in (
        [1, 2],
        {},
        {"conv1.0.weight": 3},
        {"a": {"b": torch.zeros(1)}},
        {"args": Path("x")},
        {3: torch.zeros(1)},
    ):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ModelFileError):
            resolve(f"file:{tmp_path}/w.pth")


def test_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    values = {"conv1.0.weight": torch.zeros(1).expand(10**11)}
    torch.save(values, tmp_path / "w.pth")
    with pytest.raises(ModelFileError) as error:
        resolve(f"file:{tmp_path}/w.pth")
    assert fields_of(error.value.message) == {"name": "conv1.0.weight", "path": tmp_path / "w.pth"}


def _with_header(header: dict[str, object], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(start: int, end: int, count: int = 2) -> dict[str, object]:
    return {"dtype": "F32", "shape": [count], "data_offsets": [start, end]}


DAMAGED = {
    "oversized header": struct.pack("<Q", 2**40) + b'{"a": 1}',
    "header past the end": struct.pack("<Q", 100) + b'{"a"',
    "no JSON": struct.pack("<Q", 8) + b"{garbage" + bytes(8),
    "deep JSON": struct.pack("<Q", 50_000) + b'{"a":' * 10_000,
    "overlap": _with_header({"a": _tensor(0, 8), "b": _tensor(4, 12)}, bytes(12)),
    "hole": _with_header({"a": _tensor(0, 8), "b": _tensor(16, 24)}, bytes(24)),
    "wrong shape": _with_header({"a": _tensor(0, 8, 3)}, bytes(8)),
    "huge shape": _with_header({"a": _tensor(0, 8, 2**62)}, bytes(8)),
    "trailing bytes": _with_header({"a": _tensor(0, 8)}, bytes(9)),
    "truncated": _with_header({"a": _tensor(0, 8)}, bytes(7)),
    "empty": b"",
    "short": b"\x01",
    "text": b"<html>404 not found</html>",
    "broken zip": b"PK\x03\x04" + bytes(200),
    "broken pickle": b"\x80\x02}q\x00(X",
}


@pytest.mark.parametrize("length", [0x4B50, 0x4B80])
def test_safetensors_header_whose_length_looks_like_a_pickle_is_read(tmp_path: Path, length: int) -> None:
    path = written(tmp_path, state(), "safetensors")
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    assert size <= length
    path.write_bytes(struct.pack("<Q", length) + content[8 : 8 + size].ljust(length) + content[8 + size :])
    assert resolve(f"file:{path}").state is not None


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files_are_refused_quickly(tmp_path: Path, damage: str, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(DAMAGED[damage])
    start = time.process_time()
    with pytest.raises(ModelFileError) as caught:
        resolve(f"file:{path}")
    assert time.process_time() - start < 0.5
    assert fields_of(caught.value.message)["path"] == path


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    for form, reason in (("safetensors", "error"), ("pth", "kind")):
        path = written(tmp_path, state(), form)
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(ModelFileError) as error:
            resolve(f"file:{path}")
        fields = fields_of(error.value.message)
        assert fields.keys() == {"path", reason} and fields["path"] == path


def test_missing_files_are_named(tmp_path: Path) -> None:
    for name, fields in {
        f"file:{tmp_path}/none.pth": {"path": tmp_path / "none.pth", "reason": os.strerror(errno.ENOENT)},
        f"file:{tmp_path}": {"path": tmp_path},
        f"run:{tmp_path}": {"folder": str(tmp_path)},
        f"run:{tmp_path}/none": {"folder": f"{tmp_path}/none"},
    }.items():
        with pytest.raises(DataError) as caught:
            resolve(name)
        assert fields_of(caught.value.message) == fields


# --- preprocessing and provenance


@pytest.mark.parametrize("key", ["license", "licence"])
def test_metadata_and_json_files_of_the_folder_are_read(tmp_path: Path, key: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(), path, metadata={key: "CC0", "trained_on": "CIFAR-10"})
    start = resolve(f"file:{path}")
    assert (start.license, start.mean, start.std) == ("CC0", starts.IMAGENET_MEAN, starts.IMAGENET_STD)
    assert "CIFAR-10" in start.provenance
    assert [note["file"] for note in notes_of(start) if "example" in note] == [path.name], "no mean and std"
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.5, 0.4, 0.3], "std": [1, 1, 2]}}))
    start = resolve(f"file:{path}")
    assert (start.mean, start.std) == ((0.5, 0.4, 0.3), (1.0, 1.0, 2.0))
    assert not any("example" in note for note in notes_of(start))
    (tmp_path / "preprocess.json").write_text(json.dumps({"mean": [0, 0, 0], "std": [0.5, 0.5, 0.5]}))
    assert resolve(f"file:{path}").std == (0.5, 0.5, 0.5)
    (tmp_path / "preprocess.json").write_text("{")
    with pytest.raises(ModelFileError) as error:
        resolve(f"file:{path}")
    assert fields_of(error.value.message)["path"] == tmp_path / "preprocess.json"


def test_mean_and_std_in_metadata_take_precedence_unless_invalid(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(), path, metadata={"mean": "[0.49, 0.48, 0.44]", "std": "0.2,0.21,0.22"})
    assert resolve(f"file:{path}").mean == (0.49, 0.48, 0.44) and resolve(f"file:{path}").std == (0.2, 0.21, 0.22)
    (tmp_path / "config.json").write_text(json.dumps({"mean": [0.1, 0.2, 0.3], "std": [1, 1, 2]}))
    assert resolve(f"file:{path}").mean == (0.49, 0.48, 0.44)  # the file's metadata take precedence
    save_file(state(), path, metadata={"mean": "gray"})
    start = resolve(f"file:{path}")
    assert start.mean == (0.1, 0.2, 0.3)
    assert ["mean", path.name, "'gray'"] in [values_of(note) for note in start.notes]
    (tmp_path / "config.json").write_text(json.dumps({"mean": [0.1, 0.2, 0.3]}))
    start = resolve(f"file:{path}")
    notes = [values_of(note) for note in start.notes]
    assert start.mean == starts.IMAGENET_MEAN and ["mean", path.name, "'gray'"] in notes
    assert [path.name, "std", "config.json"] in notes  # no file has a std


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    save_file(state(3), model / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": {"mean": [0.1] * 3, "std": [0.2] * 3}}
    (model / "config.json").write_text(json.dumps(config))
    return model.parent


def test_run_has_its_own_preprocessing(run_folder: Path) -> None:
    for folder in (run_folder, run_folder / "model"):
        start = resolve(f"run:{folder}")
        assert (start.mean, start.std, start.license) == ((0.1,) * 3, (0.2,) * 3, "yours")
        assert start.sha256
        assert torch.equal(filled(start).bn1.bias, state(3)["bn1.bias"])
    with pytest.raises(ModelFileError) as caught:
        resolve(f"run:{run_folder}", network="resnet34")
    fields = {"folder": str(run_folder), "architecture": "test_resnet", "network": "resnet34"}
    assert fields_of(caught.value.message) == fields
    assert f"--network {SMALL}" in caught.value.hint


def test_stats_draws_each_tensor_with_the_scale_of_its_model(tmp_path: Path) -> None:
    path = written(tmp_path, state(), "safetensors")
    model, start = resolve(f"file:{path}"), resolve(f"stats:file:{path}")
    assert (start.sha256, start.mean) == (model.sha256, model.mean) and start.init is not None
    network = filled(start, seed=1)
    assert equal(network.state_dict(), filled(start, seed=1).state_dict())
    for name in structure.layer_names(network)[:-1]:
        drawn, reference = network.get_submodule(name).weight, model.state[f"{name}.weight"]
        error = 5 / reference.numel() ** 0.5
        assert drawn.mean().item() == pytest.approx(reference.mean().item(), abs=error * reference.std().item())
        assert drawn.std().item() == pytest.approx(reference.std().item(), rel=error)
        assert not torch.equal(drawn, reference)
    new = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
    norms = {k: v for k, v in network.state_dict().items() if v.ndim < 2 and not k.startswith("fc")}
    assert all((v == new[k.rpartition(".")[2]]).all() for k, v in norms.items())


def test_initialise_refuses_a_start_of_another_network(tmp_path: Path) -> None:
    start = resolve(f"file:{written(tmp_path, state(), 'safetensors')}")
    with pytest.raises(ModelFileError) as error:
        starts.initialize(factory.build("resnet18", 4), start, seed=0)
    assert fields_of(error.value.message) == {"start": start.name}


@pytest.mark.photos
@pytest.mark.skipif(not CIFAR10_WEIGHTS.exists(), reason="the CIFAR-10 weights are not available")
def test_features_of_the_cifar10_weights_equal_torchvisions() -> None:
    from safetensors.torch import load_file

    start = resolve(f"file:{CIFAR10_WEIGHTS}", network="resnet18")
    assert start.license == "weights: CC0"
    theirs = torchvision.models.resnet18(num_classes=10)
    theirs.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in load_file(CIFAR10_WEIGHTS).items()}
    )
    ours = filled(start, network="resnet18")
    theirs.fc, ours.fc = nn.Identity(), nn.Identity()
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))


# --- published weights


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path, *, right: bool) -> Path:
    """Write a file to torch's cache under a name with its own hash, or with another one."""
    folder.mkdir(parents=True)
    torch.save(state(1000, "resnet18"), folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()[:8] if right else "0badc0de"
    weights = torchvision.models.ResNet18_Weights.DEFAULT
    monkeypatch.setattr(weights.value, "url", f"https://download.pytorch.org/models/resnet18-{digest}.pth")
    return (folder / "new.pth").rename(folder / f"resnet18-{digest}.pth")


def hashes(path: Path, expected: str) -> dict[str, str]:
    """Return the named values of the hashes in the error of a file that has not the expected one."""
    return {"actual": hashlib.sha256(path.read_bytes()).hexdigest()[:16], "expected": expected[:16]}


def test_imagenet_is_read_from_torchs_cache_if_its_hash_is_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = plant(monkeypatch, tmp_path / "torch" / "hub" / "checkpoints", right=True)
    start = resolve("imagenet", network="resnet18")
    assert start.state is not None
    assert torch.equal(start.state["conv1.weight"], state(1000, "resnet18")["conv1.weight"])
    assert start.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert start.mean == (0.485, 0.456, 0.406)
    assert "IMAGENET1K_V1" in start.provenance
    assert resolve("stats:imagenet", network="resnet18").sha256 == start.sha256


def test_imagenet_with_a_wrong_hash_is_refused_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = plant(monkeypatch, tmp_path / "torch" / "hub" / "checkpoints", right=False)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was read"))
    with pytest.raises(ModelFileError) as caught:
        resolve("imagenet", network="resnet18")
    assert fields_of(caught.value.message) == {"path": path, **hashes(path, "0badc0de")}


@pytest.mark.parametrize(
    ("name", "network", "url", "hash_source", "target"),
    [
        (
            "imagenet",
            "resnet18",
            "https://download.pytorch.org/models/resnet18-f37072fd.pth",
            {"sha256": "f37072fd"},
            "torch/hub/checkpoints/resnet18-f37072fd.pth",
        ),
        (
            "imagenet",
            "resnet50",
            "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
            {"sha256": "11ad3fa6"},
            "torch/hub/checkpoints/resnet50-11ad3fa6.pth",
        ),
        (
            "timm:resnet18.a1_in1k",
            "resnet18",
            "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
            {"page": "https://huggingface.co/timm/resnet18.a1_in1k/blob/main/model.safetensors"},
            "cache/weights/timm/resnet18.a1_in1k.safetensors",
        ),
        (
            "timm:test_vit",
            "timm:test_vit",
            "https://huggingface.co/timm/test_vit.r160_in1k/resolve/main/model.safetensors",
            {"page": "https://huggingface.co/timm/test_vit.r160_in1k/blob/main/model.safetensors"},
            "cache/weights/timm/test_vit.r160_in1k.safetensors",
        ),
    ],
)
def test_offline_error_names_what_to_copy_and_where(
    tmp_path: Path, name: str, network: str, url: str, hash_source: dict[str, str], target: str
) -> None:
    with pytest.raises(MissingWeightsError) as caught:
        resolve(name, network=network)
    assert fields_of(caught.value.message)["url"] == url
    assert fields_of(caught.value.hint) == {"path": tmp_path / target, **hash_source, "start": "file:PATH"}
    assert "--start file:PATH" in caught.value.hint


def test_timm_weights_copied_into_the_cache_are_used(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "weights" / "timm"
    folder.mkdir(parents=True)
    save_file(state(1000, "resnet18"), folder / "resnet18.a1_in1k.safetensors")
    for name in ("timm:resnet18.a1_in1k", "timm:resnet18"):
        start = resolve(name, network="resnet18")
        assert torch.equal(filled(start, network="resnet18").conv1.weight, state(1000, "resnet18")["conv1.weight"])
        assert (start.license, start.mean) == ("apache-2.0", (0.485, 0.456, 0.406))
    (folder / "resnet18.a1_in1k.safetensors").write_bytes(b"<html>")
    with pytest.raises(ModelFileError) as error:
        resolve("timm:resnet18", network="resnet18")
    assert fields_of(error.value.message) == {"path": folder / "resnet18.a1_in1k.safetensors"}


def test_downloaded_timm_weights_are_hashed_before_each_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_fetch(url: str, path: Path, *, sha256: str = "") -> str:
        path.parent.mkdir(parents=True)
        save_file(state(1000), path)
        return download.sha256_of(path)

    monkeypatch.setattr("headstart.weights.hub.fetch", fake_fetch)
    first = resolve(SMALL)
    assert resolve(SMALL).sha256 == first.sha256
    (path,) = (tmp_path / "cache" / "weights" / "timm").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as error:
        resolve(SMALL)
    assert fields_of(error.value.message) == {"path": path, **hashes(path, first.sha256)}


@pytest.mark.parametrize("right", [True, False])
def test_hugging_faces_cache_is_used_and_hashed(tmp_path: Path, right: bool) -> None:
    folder = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    for name in ("refs", "blobs", "snapshots/abc"):
        (folder / name).mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    save_file(state(1000), folder / "blobs" / "new")
    digest = hashlib.sha256((folder / "blobs" / "new").read_bytes()).hexdigest() if right else "0" * 64
    (folder / "blobs" / "new").rename(folder / "blobs" / digest)
    link = folder / "snapshots" / "abc" / "model.safetensors"
    link.symlink_to(folder / "blobs" / digest)
    if right:
        assert resolve(SMALL).sha256 == digest
    else:
        with pytest.raises(ModelFileError) as error:
            resolve(SMALL)
        assert fields_of(error.value.message) == {"path": link, **hashes(link, digest)}


def test_timm_network_is_initialised_with_its_timm_weights(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "weights" / "timm"
    folder.mkdir(parents=True)
    values = state(1000, "timm:test_vit")
    save_file(values, folder / "test_vit.r160_in1k.safetensors")
    start = resolve("timm:test_vit", network="timm:test_vit")
    network = filled(start, network="timm:test_vit")
    assert all(torch.equal(v, values[k]) for k, v in network.state_dict().items() if not k.startswith("head"))
    assert start.mean == (0.5, 0.5, 0.5)
    del values["blocks.3.attn.qkv.weight"]
    save_file(values, folder / "test_vit.r160_in1k.safetensors")
    with pytest.raises(ModelFileError):
        resolve("timm:test_vit", network="timm:test_vit")


# --- downloads, from a server on loopback


class _FileServer(BaseHTTPRequestHandler):
    """Serves `content` at /file, redirects /named to it with its hash, and sends too little at /short."""

    content = b"weights"
    tag = hashlib.sha256(content).hexdigest()

    def do_GET(self) -> None:
        if self.path.startswith("/named"):
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("X-Linked-Etag", f'"{self.tag if self.path == "/named" else "0" * 64}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(len(self.content) + (self.path == "/short")))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _FileServer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("page", "sha256"), [("/file", _FileServer.tag[:8]), ("/file", ""), ("/named", "")])
def test_download_is_complete_and_hashed(server_url: str, tmp_path: Path, page: str, sha256: str) -> None:
    path = tmp_path / "deep" / "w.pth"
    assert download.fetch(server_url + page, path, sha256=sha256) == _FileServer.tag
    assert path.read_bytes() == _FileServer.content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("page", "sha256", "error"),
    [
        ("/file", "0badc0de", ModelFileError),
        ("/named-otherwise", "", ModelFileError),
        ("/short", "", DataError),
        ("/none", "", DataError),
    ],
)
def test_failed_download_leaves_no_files(
    server_url: str, tmp_path: Path, page: str, sha256: str, error: type[HeadstartError]
) -> None:
    with pytest.raises(error):
        download.fetch(server_url + page, tmp_path / "w.pth", sha256=sha256)
    assert not list(tmp_path.glob("w.pth*"))


def test_missing_file_on_the_server_has_its_own_hint(server_url: str, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError) as error:
        download.fetch(f"{server_url}/none", tmp_path / "w.pth")
    assert fields_of(error.value.message) == {"url": f"{server_url}/none", "text": "HTTP 404 Not Found"}
    assert fields_of(error.value.hint) == {"page": f"{server_url}/none"}


def test_silent_server_times_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download, "OFFLINE_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(MissingWeightsError) as error:
        download.fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/file", tmp_path / "w.pth")
    reason = error.value.__cause__
    assert reason is not None and isinstance(reason.__cause__, TimeoutError)
    assert fields_of(error.value.message)["text"] == str(reason.__cause__)


def test_cache_that_cannot_be_written_is_named(server_url: str, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ResourceError) as error:
        download.fetch(f"{server_url}/file", tmp_path / "cache" / "w.pth")
    assert fields_of(error.value.message)["path"] == tmp_path / "cache" / "w.pth"
    assert "HEADSTART_CACHE" in error.value.hint


def test_hf_hub_offline_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeightsError) as error:
        resolve("timm:test_resnet")
    assert fields_of(error.value.message)["variable"] == "HF_HUB_OFFLINE"


def test_import_paths_of_all_rows_exist() -> None:
    for path in (path for row in STARTS.values() for path in (row.factory, row.check, row.network) if path):
        assert callable(load_factory(path)), path
    assert all(callable(load_factory(row.factory)) for row in SCHEMES.values())
    assert [kind for kind, row in STARTS.items() if not row.factory] == ["source"]


def test_forms_of_starts_are_valid_starts() -> None:
    *plain, timm, file, run, stats, source = start_spec.start_forms()
    assert plain == ["scratch", *(f"scratch:{scheme}" for scheme in SCHEMES), "imagenet"]
    assert [timm, file, run, stats, source] == ["timm:NAME", "file:PATH", "run:DIR", "stats:START", "source:DATA"]
    valid = [*plain, timm, file, run, source, "stats:imagenet", "stats:file:w.pth"]
    assert not any(map(start_spec.start_problem, valid))
    assert start_spec.random_starts() == tuple(plain[:-1])


def small_start(value: str, target: starts.NetworkTarget) -> starts.Start:
    """Return weights that all have one value: the factory of a kind of start that a plugin adds."""
    values = target.skeleton().state_dict()
    weights = {k: torch.full(v.shape, float(value)).to(v.dtype) for k, v in values.items() if not k.startswith("fc.")}
    third = (0.5, 0.5, 0.5)
    return starts.Start(f"mine:{value}", weights, None, third, third, "yours", "made by a test", "0" * 64, ())


def require_number(value: str) -> None:
    """Raise DataError for a text that is no number: the check of that kind."""
    if not value.replace(".", "").isdigit():
        raise DataError(f"{value} is no number.", "Write a number.")


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    row = StartSpec(f"{__name__}:small_start", Argument.NAME, check=f"{__name__}:require_number")
    monkeypatch.setitem(STARTS, "mine", row)


@pytest.mark.usefixtures("mine")
def test_start_added_at_run_time_is_resolved() -> None:
    network = filled("mine:0.5")
    values = {k: v for k, v in network.state_dict().items() if v.is_floating_point() and not k.startswith("fc.")}
    assert values and all((value == 0.5).all() for value in values.values())
    assert all((value == 0.5).all() for value in filled("stats:mine:0.5").state_dict().values() if value.ndim == 4)
    assert "mine:NAME" in start_spec.start_forms() and starts.default_network("mine:0.5") is None
    with pytest.raises(UsageError) as error:
        resolve("mine:")
    assert fields_of(error.value.message) == {"name": "mine:", "choice": "mine:NAME"}
    start_spec.require_start("mine:0.5")
    for name in ("mine:half", "stats:mine:half"):
        with pytest.raises(DataError):
            start_spec.require_start(name)


@pytest.mark.usefixtures("mine")
def test_start_added_at_run_time_is_a_start_of_runs_and_arms(tmp_path: Path) -> None:
    spec = build_study_spec("digits", ("scratch", "mine:0.01+frozen"), None, None, None, None, {})
    arm = spec.variants[1].plan(spec.plan).arm
    assert (spec.variants[1].name, arm.start, str(arm.tuning)) == ("mine:0.01+frozen", "mine:0.01", "frozen")
    options = ["--network", SMALL, "--image-size", "16", "--epochs", "2st", "--precision", "fp32", "--threads", "1"]
    arguments = ["digits:0-1", "--start", "mine:0.01", "--tuning", "frozen", *options]
    main(["train", *arguments, "--runs", str(tmp_path / "runs")])
    folder = next((tmp_path / "runs").iterdir())
    weights = [v for v in load_file(folder / "model" / "model.safetensors").values() if v.ndim == 4]
    assert weights and all((weight == 0.01).all() for weight in weights)
    with pytest.raises(SystemExit) as stop:
        main(["train", "digits:0-1", "--start", "mine:half", "--runs", str(tmp_path)])
    assert stop.value.code == DataError.exit_code


def test_scheme_added_at_run_time_is_an_initialization(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEMES, "constant", SchemeSpec(f"{__name__}:fill_with_threes", "three everywhere"))
    weights = {k: v for k, v in filled("scratch:constant").state_dict().items() if v.ndim == 4}
    assert weights and all((weight == 3).all() for weight in weights.values())
    assert "scratch:constant" in start_spec.random_starts()


def fill_with_threes(network: nn.Module) -> None:
    """Set all parameters to 3: the factory of a scheme that a plugin adds."""
    for parameter in network.parameters():
        nn.init.constant_(parameter, 3)


def test_each_invalid_mean_and_std_is_noted_with_its_own_file_and_value(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(state(), path)
    (tmp_path / "preprocess.json").write_text(json.dumps({"std": [1, 0, 1]}))
    (tmp_path / "config.json").write_text(json.dumps({"mean": [1, 2], "std": "gray"}))
    start = resolve(f"file:{path}")
    fields = [fields_of(note) for note in start.notes]
    assert [note for note in fields if "field" in note] == [
        {"field": "mean", "file": "config.json", "value": "[1, 2]"},
        {"field": "std", "file": "preprocess.json", "value": "[1, 0, 1]"},
        {"field": "std", "file": "config.json", "value": "'gray'"},
    ]
    assert not any("example" in note for note in fields)  # the note that nothing is given
    assert (start.mean, start.std) == (starts.IMAGENET_MEAN, starts.IMAGENET_STD)
    (tmp_path / "preprocess.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"std": [1, 1, 1]}))
    (missing,) = [note for note in resolve(f"file:{path}").notes if "example" in fields_of(note)]
    assert values_of(missing) == ["w.pth", "mean", "config.json"]


def test_model_without_architecture_is_not_compared_with_the_network(run_folder: Path) -> None:
    (run_folder / "model" / "config.json").write_text("{}")
    with pytest.raises(ModelFileError) as caught:
        resolve(f"run:{run_folder}")
    assert fields_of(caught.value.message) == {"file": run_folder / "model" / "config.json"}
    assert "--network" not in caught.value.hint
