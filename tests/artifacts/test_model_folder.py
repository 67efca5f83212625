"""Tests of the model folder: torchvision and timm can open it, and damaged or malicious folders are refused."""

import html
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import resolve_data_config

from headstart.artifacts import model_card
from headstart.artifacts.find_model import find_model
from headstart.artifacts.model_folder import read_model, saved_epoch
from headstart.config.run_config import NetworkConfig
from headstart.data.sources import read_index
from headstart.errors import ModelFileError
from headstart.inference.predictor import Predictor
from headstart.storage.schemas.schema import UPDATE_HINT, StoredFile
from headstart.storage.seals import BrokenSealError
from tests.memory import cost
from tests.messages import fields_of
from tests.trained import SETTINGS, train, trained

CLASSES = ["0", "1", "2", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory)


def preprocess(path: Path, settings: dict) -> torch.Tensor:
    """Preprocess a small upright image as preprocess.json describes, with Pillow, numpy and torch only.

    Returns float [1, 3, size, size].
    """
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    assert min(height, width) <= settings["cache_side"]  # the first step, reducing, does nothing here
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(pixels[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None]
    square = F.interpolate(square, (settings["size"], settings["size"]), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(settings[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (square / 255 - mean) / std


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> tuple[list[Path], np.ndarray]:
    """The run's test images as files, and the logits in its predictions.npz."""
    arrays = np.load(folder / "artifacts" / "predictions.npz", allow_pickle=False)
    rows = np.flatnonzero(arrays["split"] == "test")
    assert len(rows) > 50
    assert arrays["classes"].tolist() == CLASSES
    index = read_index(SETTINGS["source"])
    path = dict(zip(index.keys, index.paths, strict=True))
    return [path[key] for key in arrays["image"][rows].tolist()], arrays["logits"][rows]


@pytest.fixture(scope="module")
def inputs(folder: Path, evaluated) -> torch.Tensor:
    settings = json.loads((folder / "model" / "preprocess.json").read_text())
    return torch.cat([preprocess(path, settings) for path in evaluated[0]])


@torch.no_grad()
def test_torchvision_loads_the_model_and_gives_equal_logits(folder: Path, evaluated, inputs) -> None:
    """Equal to 1e-5: pixels are divided in another order, and batches are summed in another order."""
    network = torchvision.models.resnet18(num_classes=4)
    network.load_state_dict(load_file(folder / "model" / "model.safetensors"), strict=True)
    logits = network.eval()(inputs).numpy()
    paths, written = evaluated
    predictor = Predictor(folder)
    ours = predictor.logits([predictor.load_image(path) for path in paths])
    assert np.ptp(written, axis=0).min() > 0.1  # the logits depend on the images
    np.testing.assert_allclose(logits, written, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(ours, written, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_torchvision_is_bit_identical_on_the_same_tensor(folder: Path, inputs) -> None:
    network = torchvision.models.resnet18(num_classes=4)
    network.load_state_dict(load_file(folder / "model" / "model.safetensors"), strict=True)
    ours = read_model(folder / "model").network
    assert not ours.training
    assert torch.equal(ours(inputs), network.eval()(inputs))


@torch.no_grad()
def test_timm_opens_the_folder_with_its_configuration(folder: Path, evaluated, inputs) -> None:
    network = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True).eval()
    np.testing.assert_allclose(network(inputs).numpy(), evaluated[1], atol=1e-5, rtol=1e-5)
    settings = json.loads((folder / "model" / "preprocess.json").read_text())
    config = resolve_data_config({}, model=network)
    assert list(config["mean"]) == settings["mean"] and list(config["std"]) == settings["std"]
    assert tuple(config["input_size"]) == (3, 32, 32) and config["crop_pct"] == 1.0
    assert network.pretrained_cfg["label_names"] == CLASSES
    assert network.num_classes == 4


def test_keys_of_other_programs_are_ignored(folder: Path, tmp_path: Path) -> None:
    copy_model(folder / "model", tmp_path / "model")
    for name in ("config.json", "preprocess.json"):
        edit_json(name, added="by another program")(tmp_path / "model")
    assert read_model(tmp_path / "model").config == read_model(folder / "model").config


def test_timm_can_replace_the_head(folder: Path) -> None:
    network = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True, num_classes=7)
    assert network.fc.out_features == 7
    state = load_file(folder / "model" / "model.safetensors")
    assert torch.equal(network.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize(
    ("network", "head", "libraries"),
    [
        ("resnet18", "linear", ["timm", "torchvision"]),
        ("timm:resnet10t", "linear", ["timm"]),
        ("resnet20", "linear", []),
        ("resnet18", "mlp:16", []),
    ],
)
def test_card_has_code_for_the_libraries_that_have_the_network(network: str, head: str, libraries: list[str]) -> None:
    code = model_card.opening_code(NetworkConfig(network=network), head, 4)
    assert re.findall(r"import (timm|torchvision)", code) == libraries


def test_model_is_fp32_and_has_a_card(folder: Path) -> None:
    assert json.loads((folder / "plan.json").read_text())["plan"]["machine"]["precision"] == "bf16"
    state = load_file(folder / "model" / "model.safetensors")
    assert {t.dtype for k, t in state.items() if not k.endswith("num_batches_tracked")} == {torch.float32}
    card = (folder / "model" / "README.md").read_text()
    assert "torchvision.models.resnet18(num_classes=4)" in card and "license" in card


@pytest.mark.parametrize(
    ("names", "differs"),
    [
        ([str(i) for i in range(1, 13)], True),
        (["cat", "dog"], False),
        (["img2", "img10"], True),
        (["Dog", "cat"], False),
        (["002", "10"], False),
        (["é", "z", "a1", "a<b>10", "a<b>9"], True),
    ],
)
def test_card_warns_where_image_folder_has_another_order(names: list[str], differs: bool, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "1.png")
    ours = list(read_index(str(tmp_path)).classes)
    theirs = torchvision.datasets.folder.find_classes(str(tmp_path))[0]
    text = html.unescape(model_card._other_order(ours))
    assert (ours != theirs) == differs == bool(text)
    if differs:
        first = next(i for i, name in enumerate(ours) if name != theirs[i])
        assert f"class {first} is {theirs[first]} there" in text and f"{ours[first]} here" in text


@pytest.mark.parametrize(
    "settings",
    [
        {"head": "mlp:16"},
        {"stem": "small", "image_size": 16, "shortcut": "off", "norm": "none", "lr": 1e-4},
        {"network": "timm:resnet10t", "stem": "imagenet"},
        {"network": "timm:mobilenetv3_small_050", "stem": "imagenet", "tuning": "frozen"},
    ],
    ids=lambda s: "+".join(map(str, s.values())),
)
def test_other_networks_load_and_predict_the_same(settings, tmp_path: Path) -> None:
    folder = train(tmp_path, **{**SETTINGS, "epochs": "2st", **settings})
    predictor = Predictor(folder)
    arrays = np.load(folder / "artifacts" / "predictions.npz", allow_pickle=False)
    index = read_index(SETTINGS["source"])
    path = dict(zip(index.keys, index.paths, strict=True))
    logits = predictor.logits([predictor.load_image(path[key]) for key in arrays["image"].tolist()[:40]])
    np.testing.assert_allclose(logits, arrays["logits"][:40], atol=1e-5, rtol=1e-5)
    if "network" in settings:
        network = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True).eval()
        state = load_file(folder / "model" / "model.safetensors")
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    else:  # not the published architecture: opening it fails
        with pytest.raises(RuntimeError, match="state_dict"):
            timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True)


def edit_json(name: str, **changes):
    def damage(model: Path) -> None:
        content = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**content, **changes}))

    return damage


def edit_network(network: str, head: str):
    """Change the names of the network and of the head in config.json."""

    def damage(model: Path) -> None:
        content = json.loads((model / "config.json").read_text())
        content["headstart"] |= {"network": {"network": network}, "head": head}
        (model / "config.json").write_text(json.dumps(content))

    return damage


def edit_weights(change):
    def damage(model: Path) -> None:
        state = {name: tensor.clone() for name, tensor in load_file(model / "model.safetensors").items()}
        change(state)
        (model / "model.safetensors").unlink()
        save_file(state, model / "model.safetensors")
        name_weights(model)

    return damage


def name_weights(model: Path) -> None:
    """Write the hash of the weights to config.json, as whoever makes a folder on purpose does."""
    content = json.loads((model / "config.json").read_text())
    weights = StoredFile.of((model / "model.safetensors").read_bytes())
    content["headstart"]["weights"] = {"model.safetensors": weights.to_json()}
    (model / "config.json").write_text(json.dumps(content))


def edit_bytes(change):
    """Change the bytes of the weights file."""

    def damage(model: Path) -> None:
        content = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").unlink()
        (model / "model.safetensors").write_bytes(change(content))
        name_weights(model)

    return damage


class Canary:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def write_pickle(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").write_bytes(pickle.dumps(Canary(model / "canary")))


def write_torch_pickle(model: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save({"state_dict": Canary(model / "canary")}, model / "model.safetensors")


HOSTILE_HEADER = (1 << 60).to_bytes(8, "little") + b'{"a":1}'
WEIGHTS = {"path": "model.safetensors"}
OF_OTHERS = ("text", "error", "reason")  # values with the text of another program or error, of which a part is expected
DAMAGES = {
    "no weights": (lambda m: (m / "model.safetensors").unlink(), {**WEIGHTS, "folder": "", "reason": ""}),
    "no preprocess": (lambda m: (m / "preprocess.json").unlink(), {"file": "preprocess.json"}),
    "cut in the header": (edit_bytes(lambda b: b[:100]), {**WEIGHTS, "size": 100, "header": None}),
    "cut in the tensors": (edit_bytes(lambda b: b[:1_000_000]), {**WEIGHTS, "error": ""}),
    "empty": (edit_bytes(lambda b: b[:0]), WEIGHTS),
    "huge header": (edit_bytes(lambda b: HOSTILE_HEADER), WEIGHTS),
    "trailing bytes": (edit_bytes(lambda b: b + b"x" * 999), {**WEIGHTS, "error": ""}),
    "a pickle": (write_pickle, WEIGHTS),
    "a torch pickle": (write_torch_pickle, WEIGHTS),
    "NaN weight": (edit_weights(lambda s: s["layer1.0.conv1.weight"].fill_(float("nan"))), {}),
    "NaN statistics": (edit_weights(lambda s: s["bn1.running_var"].fill_(float("nan"))), {}),
    "missing tensor": (edit_weights(lambda s: s.pop("layer2.0.bn1.weight")), {"text": "layer2.0.bn1.weight"}),
    "unexpected tensor": (edit_weights(lambda s: s.update(more=torch.zeros(3))), {"text": '"more"'}),
    "wrong shape": (
        edit_weights(lambda s: s.update({"conv1.weight": torch.zeros(64, 3, 3, 3)})),
        {"text": "conv1.weight"},
    ),
    "other class count": (
        edit_weights(lambda s: s.update({"fc.bias": torch.zeros(9), "fc.weight": torch.zeros(9, 512)})),
        {"count": 4, "head": "linear"},
    ),
    "config no JSON": (lambda m: (m / "config.json").write_text("{"), {"file": "config.json", "text": ""}),
    "config a list": (lambda m: (m / "config.json").write_text("[1]"), {"file": "config.json"}),
    "config of another": (lambda m: (m / "config.json").write_text("{}"), {"place": "headstart", "text": ""}),
    "names a number": (edit_json("config.json", label_names=4), {"place": "label_names", "text": ""}),
    "names twice": (edit_json("config.json", label_names=["a", "a", "b", "c"]), {"place": "label_names"}),
    "a huge head": (edit_network("resnet18", "mlp:65536"), {"count": 4, "head": "mlp:65536"}),
    "unknown network": (edit_network("resnet19", "linear"), {"name": "resnet19"}),
    "no section of headstart": (edit_json("config.json", headstart=None), {"place": "headstart", "text": ""}),
    "no training data": (
        edit_json("config.json", headstart={"schema_version": 1, "head": "linear"}),
        {"place": "headstart.network", "text": ""},
    ),
    "size a word": (edit_json("preprocess.json", size="big"), {"place": "size", "value": "'big'"}),
    "size without end": (edit_json("preprocess.json", size=10**9), {"place": "size", "value": "1000000000"}),
    "std of nothing": (edit_json("preprocess.json", std=[0, 1, 1]), {"place": "std", "values": "[0.0, 1.0, 1.0]"}),
    "std that vanishes": (
        edit_json("preprocess.json", std=[1e-300, 1, 1]),
        {"place": "std", "values": "[1e-300, 1.0, 1.0]"},
    ),
    "std of a number that is too large": (
        edit_json("preprocess.json", std=[1, 1, 1e80]),
        {"place": "std", "values": "[1.0, 1.0, 1e+80]"},
    ),
    "mean that is too large": (
        edit_json("preprocess.json", mean=[1e80, 0, 0]),
        {"place": "mean", "values": "[1e+80, 0.0, 0.0]"},
    ),
    "mean beyond numbers": (edit_json("preprocess.json", mean=[10**400, 0, 0]), {"place": "mean.0", "text": ""}),
    "side of a nested type": (edit_json("preprocess.json", size=[[64]]), {"place": "size", "value": "[[64]]"}),
    "mean of two": (edit_json("preprocess.json", mean=[0.5, 0.5]), {"place": "mean", "values": "[0.5, 0.5]"}),
    "mean not finite": (
        edit_json("preprocess.json", mean=[0.5, 0.5, float("nan")]),
        {"place": "mean.2", "text": ""},
    ),
    "std a number": (edit_json("preprocess.json", std=0.5), {"place": "std", "values": "0.5"}),
}


def copy_model(source: Path, model: Path) -> None:
    """Copy a model folder; the weights are another name of the file, which tests replace."""
    shutil.copytree(source, model, ignore=lambda *_: ["model.safetensors"])
    os.link(source / "model.safetensors", model / "model.safetensors")


def test_undamaged_folder_is_read(folder: Path, tmp_path: Path) -> None:
    copy_model(folder / "model", tmp_path / "model")
    assert read_model(tmp_path / "model").classes == tuple(CLASSES)
    edit_weights(lambda s: s)(tmp_path / "model")
    assert read_model(tmp_path / "model").size == 32


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_or_malicious_folder_is_refused_in_one_sentence(name: str, folder: Path, tmp_path: Path) -> None:
    damage, fields = DAMAGES[name]
    model = tmp_path / "model"
    copy_model(folder / "model", model)
    header = int.from_bytes((model / "model.safetensors").read_bytes()[:8], "little")
    damage(model)
    with pytest.raises(ModelFileError) as caught:
        read_model(model)
    assert caught.value.exit_code == 6
    expected = {**fields, "path": model / fields["path"]} if "path" in fields else {**fields}
    if "path" not in fields or "folder" in fields:
        expected["folder"] = model
    if "header" in fields:
        expected["header"] = header
    found = fields_of(caught.value.message)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert value in str(found[key]) if key in OF_OTHERS else value == found[key], key
    assert (".pth" in caught.value.hint) == ("pickle" in name)
    assert "\n" not in caught.value.message and caught.value.message.endswith(".")
    assert not (model / "canary").exists()


def test_canary_is_executed_by_pickle(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


def test_model_of_another_schema_version_is_refused_whatever_else_it_has(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "model" / "config.json"
    copy_model(folder / "model", tmp_path / "model")
    content = json.loads(config.read_text())
    for version in (0, 99):
        config.write_text(json.dumps({"headstart": {"schema_version": version}}))
        for read in (read_model, saved_epoch):
            with pytest.raises(ModelFileError) as error:
                read(tmp_path / "model")
            fields = fields_of(error.value.message)
            assert (fields["name"], fields["schema"], fields["supported"]) == (config, version, 1)
            assert error.value.hint == UPDATE_HINT
    del content["headstart"]["schema_version"]
    config.write_text(json.dumps(content))
    with pytest.raises(ModelFileError) as error:
        read_model(tmp_path / "model")
    assert fields_of(error.value.message)["place"] == "headstart.schema_version"


@pytest.mark.parametrize("place", [-1, -1000])
def test_a_flipped_bit_of_the_weights_is_noticed(folder: Path, tmp_path: Path, place: int) -> None:
    model = shutil.copytree(folder / "model", tmp_path / "model")
    content = bytearray((model / "model.safetensors").read_bytes())
    content[place] ^= 1
    (model / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_model(model)
    assert fields_of(caught.value.message)["file"] == "model.safetensors"


def test_weights_larger_than_config_json_says_are_not_read(folder: Path, tmp_path: Path) -> None:
    """A file with holes takes no space on disk, and would take all memory."""
    model = shutil.copytree(folder / "model", tmp_path / "model")
    os.truncate(model / "model.safetensors", 15_000_000_000)
    setup = "from pathlib import Path; from headstart.artifacts.model_folder import read_model"
    taken = cost(setup, f"read_model(Path({str(model)!r}))")
    assert taken.error == "ModelFileError" and taken.megabytes < 500


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"label_names": [CLASSES[1], CLASSES[0], *CLASSES[2:]]}),
        ("preprocess.json", {"mean": [0.9, 0.9, 0.9]}),
        ("preprocess.json", {"size": 48}),
        ("preprocess.json", {"background": 0}),
    ],
)
def test_changed_settings_of_a_model_that_was_copied_alone_are_noticed(
    folder: Path, tmp_path: Path, file: str, changes: dict[str, object]
) -> None:
    copy_model(folder / "model", tmp_path / "model")
    read_model(tmp_path / "model")
    edit_json(file, **changes)(tmp_path / "model")
    with pytest.raises(ModelFileError) as caught:
        read_model(tmp_path / "model")
    assert fields_of(caught.value.message)["folder"] == tmp_path / "model"


@pytest.mark.parametrize("file", ["config.json", "preprocess.json", "model.safetensors"])
def test_the_model_of_a_run_is_the_one_that_the_run_wrote(folder: Path, tmp_path: Path, file: str) -> None:
    run = shutil.copytree(folder, tmp_path / "run")
    assert find_model(run).path == run / "model"
    path = run / "model" / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BrokenSealError) as caught:
        find_model(run)
    assert fields_of(caught.value.message)["path"] == path
