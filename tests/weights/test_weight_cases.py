"""Weights of public fault reports, and more of the same kinds; what is read is compared with the saved network."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from headstart.errors import DataError, HeadstartError, ModelFileError
from tests.messages import fields_of, values_of
from tests.weights.test_dialects import (
    PROJECTION,
    assert_loaded,
    backbone,
    left_out,
    prefixed,
    resolve,
    trained,
    transformers_state,
)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return trained(1)


def refused(path: Path, network: str = "resnet18") -> HeadstartError:
    with pytest.raises((ModelFileError, DataError)) as caught:
        resolve(path, network)
    return caught.value


def started(hint: str) -> Path:
    """Return the path in the start that a hint names."""
    match = re.search(r"file:([^' ]+?)'?\.$", hint)
    assert match is not None, hint
    return Path(match[1])


# --- tensors that do no harm, losses, and self-supervised encoders


def extras(network: nn.Module) -> dict[str, tuple[dict[str, object], int]]:
    """Return what is saved, and how many tensors of it no layer needs."""
    state, body = network.state_dict(), backbone(network)
    layers = [f"{name}." if name else "" for name, module in network.named_modules() if not list(module.children())]
    counters = {f"{layer}{name}": torch.zeros(1) for layer in layers for name in ("total_ops", "total_params")}
    projector = prefixed({**body, **prefixed(PROJECTION, "fc.")}, "module.encoder.")
    queue = {"module.queue": torch.ones(4, 4), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    key = {**projector, **prefixed(backbone(trained(2)), "module.encoder_k."), **queue}
    return {
        "profiler in every layer": ({**state, **counters}, len(counters) - 2),  # two are of the head
        "average": ({"n_averaged": torch.tensor(4), **prefixed(state, "module.")}, 1),
        "ema_pytorch": ({"initted": torch.tensor(True), "step": torch.tensor(4), **prefixed(state, "ema_model.")}, 2),
        "flops": ({**state, "layer1.0.conv1.__flops__": torch.zeros(1)}, 1),
        "Lightning, loss": ({"state_dict": {**prefixed(state, "net."), "criterion.weight": torch.ones(7)}}, 1),
        "Lightning, metrics": ({"state_dict": {**prefixed(state, "net."), "val_acc.tp": torch.ones(7)}}, 1),
        "catalyst": ({"model_state_dict": state, "criterion_state_dict": {"weight": torch.ones(7)}}, 1),
        "SimSiam": ({"state_dict": {**projector, **prefixed(PROJECTION, "module.predictor.")}}, 3),
        "MoCo": ({"state_dict": {k.replace("encoder.", "encoder_q."): v for k, v in key.items()}}, 122),
        "Barlow Twins": ({"model": {**prefixed(body, "module.backbone."), "module.lambd": torch.tensor(1.0)}}, 1),
        "DeepCluster": (
            {"state_dict": {**prefixed(body, "features.module."), "top_layer.weight": torch.ones(5, 512)}},
            1,
        ),
        "encoder only": (prefixed(body, "encoder."), 0),
    }


@pytest.mark.parametrize("case", [*extras(trained())])
def test_what_no_layer_needs_is_left_out_with_its_number(tmp_path: Path, network: nn.Module, case: str) -> None:
    content, number = extras(network)[case]
    torch.save(content, tmp_path / "w.pth")
    start = assert_loaded(tmp_path / "w.pth", network)
    assert sum(value for value in left_out(start) if isinstance(value, int)) == number


def test_path_in_a_lightning_checkpoint_is_refused_with_code_that_converts_it(
    tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"state_dict": prefixed(network.state_dict(), "model."), "hyper_parameters": {"dir": pathlib.Path("/a")}}
    torch.save(content, tmp_path / "epoch=09-val_acc=0.91.ckpt")
    hint = refused(tmp_path / "epoch=09-val_acc=0.91.ckpt").hint
    monkeypatch.chdir(tmp_path)
    exec(hint[hint.index("import torch") :], {})
    assert_loaded(tmp_path / "weights.pth", network)


# --- heads


@pytest.mark.parametrize("name", ["logits", "output", "new_fc", "_fc", "top", "fc1", "classification_head"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_only_linear_layer_on_the_features_is_the_head(
    tmp_path: Path, network: nn.Module, name: str, prefix: str
) -> None:
    head = {f"{name}.weight": torch.ones(9, 512), f"{name}.bias": torch.ones(9)}
    torch.save(prefixed({**backbone(network), **head}, prefix), tmp_path / "w.pth")
    start = assert_loaded(tmp_path / "w.pth", network)
    assert {"count": 9, "outputs": 3} in [fields_of(note) for note in start.notes]


@pytest.mark.parametrize(
    "extra",
    [
        {"neck.weight": torch.ones(9, 256)},
        {"neck.weight": torch.ones(9, 512), "neck.scale": torch.ones(9)},
        {"neck.weight": torch.ones(9, 512), "neck.bias": torch.ones(3)},
        {"a.weight": torch.ones(9, 512), "b.weight": torch.ones(9, 512)},
        {"layer1.0.se.weight": torch.ones(9, 512)},
        {"attention.q.weight": torch.ones(9, 512)},
    ],
)
def test_other_layers_are_not_taken_for_the_head(tmp_path: Path, network: nn.Module, extra: dict[str, Tensor]) -> None:
    torch.save({**backbone(network), **extra}, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth").message
    assert [name for name in values_of(message) if name in extra] == list(extra)


# --- several files, and folders


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_model_in_several_files_is_read_from_its_index(tmp_path: Path, network: nn.Module, ending: str) -> None:
    state = transformers_state(network)
    parts = {f"model-0000{part}-of-00002.{ending}": list(state)[part - 1 :: 2] for part in (1, 2)}
    for name, keys in parts.items():
        content = {key: state[key].contiguous() for key in keys}
        save_file(content, tmp_path / name) if ending == "safetensors" else torch.save(content, tmp_path / name)
    index = tmp_path / f"model.{ending}.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, keys in parts.items() for key in keys}}))
    assert_loaded(index, network)
    path = started(refused(tmp_path).hint)
    assert path == index
    fields = fields_of(refused(tmp_path / min(parts)).message)
    assert fields["network"] == "resnet18" and "found" not in fields, "a part is not called another network"
    index.write_text(json.dumps({"weight_map": {"conv1.weight": "../w.pth"}}))
    assert fields_of(refused(index).message) == {"path": index}


FOLDERS: dict[str, tuple[str, ...]] = {
    "accelerate": ("model.safetensors", "optimizer.bin"),
    "one file": ("best.pth",),
    "DeepSpeed": ("global_step3/mp_rank_00_model_states.pt", "latest"),
}


@pytest.mark.parametrize("tool", FOLDERS)
def test_folder_is_refused_with_the_start_to_use(tmp_path: Path, network: nn.Module, tool: str) -> None:
    first, *others = FOLDERS[tool]
    (tmp_path / first).parent.mkdir(exist_ok=True)
    state = network.state_dict()
    save_file(state, tmp_path / first) if first.endswith("safetensors") else torch.save(state, tmp_path / first)
    for name in others:
        (tmp_path / name).write_text("x")
    assert_loaded(started(refused(tmp_path).hint), network)


def test_distributed_checkpoint_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, network: nn.Module
) -> None:
    from torch.distributed import checkpoint

    folder = tmp_path / "dcp"
    with pytest.warns(UserWarning):
        checkpoint.save({"model": network.state_dict()}, checkpoint_id=str(folder))
    hints = {str(refused(path).hint) for path in (folder, folder / ".metadata", next(folder.glob("*.distcp")))}
    (hint,) = hints
    match = re.search("`(.*)`", hint)
    assert match is not None
    command = match[1].replace("python", sys.executable, 1).split()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert_loaded(tmp_path / "weights.pth", network)


@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed")
@pytest.mark.parametrize("name", ["w", "my model", "-0 best", "it's $HOME"])
def test_unpacked_file_is_refused_with_the_command_that_packs_it(tmp_path: Path, network: nn.Module, name: str) -> None:
    torch.save(network.state_dict(), tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        archive.extractall(tmp_path / "x")
    (tmp_path / "x" / "w").rename(tmp_path / "x" / name)
    match = re.search("`(.*)`", refused(tmp_path / "x" / name).hint)
    assert match is not None
    subprocess.run(match[1], cwd=tmp_path / "x", shell=True, check=True, capture_output=True)
    assert_loaded(tmp_path / "x" / f"{name}.pth", network)


# --- other formats


def zip_of(*names: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
        return path

    return make


def tar(path: Path) -> Path:
    (path.parent / "inner.pth").write_bytes(b"x")
    with tarfile.open(path, "w") as archive:
        archive.add(path.parent / "inner.pth", "inner.pth")
    return path


def raw(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


@pytest.mark.parametrize(
    ("name", "make", "what"),
    [
        ("w.zip", zip_of("a/w.pth"), "archive"),
        ("w.pth", zip_of("model.safetensors"), "archive"),
        ("w.pth.tar", tar, "archive"),
        ("m.keras", zip_of("config.json", "model.weights.h5"), "Keras"),
        ("m.npz", zip_of("conv1.npy"), "NumPy"),
        ("m.onnx", raw(b"\x08\x08\x12\x07pytorch"), "ONNX"),
        ("m.ckpt.index", raw(b"\0" * 99), "TensorFlow"),
        ("m.pth", raw(b"<?xml version='1.0'?><Error/>"), "server"),
        ("m.bin", raw(b"GGUF\3\0\0\0"), "language model"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, name: str, make: Callable[[Path], Path], what: str) -> None:
    message = refused(make(tmp_path / name)).message
    assert what in message and fields_of(message)["path"] == tmp_path / name


def test_program_of_torch_export_is_refused_with_code_that_converts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = torch.export.export(nn.Linear(2, 2), (torch.rand(1, 2),))
    torch.export.save(program, tmp_path / "m.pt2")
    code = str(fields_of(refused(tmp_path / "m.pt2").hint)["code"])
    monkeypatch.chdir(tmp_path)
    exec(code, {"torch": torch})
    assert torch.load("weights.pth", weights_only=True).keys() == program.state_dict.keys()


def arrays_of(network: nn.Module) -> dict[str, object]:
    """Return files with arrays of NumPy: beside other values, in other dicts, and together with tensors."""
    state = network.state_dict()
    arrays: dict[str, object] = {key: value.numpy() for key, value in state.items()}
    some = {key: value.numpy() if key.startswith("layer") else value for key, value in state.items()}
    scalars = {key: value.item() if value.ndim == 0 else value.numpy() for key, value in state.items()}
    return {
        "alone": arrays,
        "nested": {"model": arrays, "epoch": 3},
        "deep": {"a": {"b": [arrays]}, "classes": ["x"]},
        "some": {"state_dict": some, "accuracy": np.float64(0.5)},
        "named": {**arrays, "name": "resnet18"},
        "scalars": {"model": {**scalars, "bn1.num_batches_tracked": np.int64(1)}},
        "optimizer": {"model": arrays, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        "path": {"model": arrays, "path": pathlib.PurePosixPath("x")},
    }


@pytest.mark.parametrize("case", [*arrays_of(trained(1))])
def test_arrays_of_numpy_are_refused_with_code_that_converts_them(
    tmp_path: Path, network: nn.Module, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    torch.save(arrays_of(network)[case], tmp_path / "w.pth")
    code = str(fields_of(refused(tmp_path / "w.pth").hint)["code"])
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert_loaded(tmp_path / "weights.pth", network)


def test_arrays_without_names_are_refused_without_code(tmp_path: Path) -> None:
    torch.save({"model": [np.ones(3), np.ones(2)]}, tmp_path / "w.pth")
    error = refused(tmp_path / "w.pth")
    assert "NumPy" in error.message and "state_dict()" in error.hint


# --- other networks


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_refused_with_code_that_converts_the_tensor(
    tmp_path: Path, network: nn.Module, channels: int
) -> None:
    state = network.state_dict()
    first = state["conv1.weight"][:, :1].repeat(1, channels, 1, 1)
    torch.save({**state, "conv1.weight": first}, tmp_path / "w.pth")
    error = refused(tmp_path / "w.pth")
    assert fields_of(error.hint)["count"] == channels
    made = eval(str(fields_of(error.hint)["code"]), {"w": first})
    torch.save({**state, "conv1.weight": made}, tmp_path / "w.pth")
    assert resolve(tmp_path / "w.pth").state is not None


@pytest.mark.parametrize("channels", [2, 5, 6, 13])
def test_channels_of_no_known_order_are_refused_without_code(tmp_path: Path, network: nn.Module, channels: int) -> None:
    torch.save({**network.state_dict(), "conv1.weight": torch.rand(64, channels, 7, 7)}, tmp_path / "w.pth")
    assert fields_of(refused(tmp_path / "w.pth").hint) == {"count": channels}


@pytest.mark.parametrize("name", ["regnet_y_400mf", "regnet_x_400mf"])
def test_regnets_of_torchvision_are_named(tmp_path: Path, name: str) -> None:
    torch.save(torchvision.models.get_model(name, num_classes=5).state_dict(), tmp_path / "w.pth")
    assert name in refused(tmp_path / "w.pth").message


def test_resnet_with_attention_is_named_and_never_called_the_same_without_it(tmp_path: Path) -> None:
    torch.save(timm.create_model("seresnet18", num_classes=5).state_dict(), tmp_path / "w.pth")
    error = refused(tmp_path / "w.pth")
    assert "timm:seresnet18" in error.hint
    assert resolve(tmp_path / "w.pth", "timm:seresnet18").state is not None


def test_no_tensor_is_called_missing_and_unexpected(tmp_path: Path) -> None:
    names = ("conv1.weight", "bn1.weight", "conv2.weight", "conv3.pointwise.weight")
    torch.save({name: torch.ones(2, 2) for name in names}, tmp_path / "w.pth")
    listed = [value for value in values_of(refused(tmp_path / "w.pth").message) if isinstance(value, str)]
    assert "conv2.weight" in listed and "conv1.weight" not in listed


def test_flat_parameters_of_fsdp_are_named(tmp_path: Path) -> None:
    torch.save({"_fsdp_wrapped_module.flat_param": torch.ones(99)}, tmp_path / "w.pth")
    assert "FULL_STATE_DICT" in refused(tmp_path / "w.pth").hint
