"""The saved model is what torchvision and timm open, and what is damaged or hostile is refused."""

import json
import pickle
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

from headstart.artifacts.model_folder import read_model
from headstart.data import read
from headstart.errors import ModelFileError
from headstart.inference.predictor import Predictor
from tests.trained import SETTINGS, train, trained

CLASSES = ["0", "1", "2", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory)


def pixels_by_hand(path: Path, how: dict) -> torch.Tensor:
    """A small upright photo as preprocess.json says, with Pillow, numpy and torch only: float [1, 3, size, size]."""
    with Image.open(path) as image:
        photo = np.asarray(image.convert("RGB"))
    height, width = photo.shape[:2]
    assert min(height, width) <= how["store_side"]  # the first step, to reduce, does nothing here
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(photo[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None]
    square = F.interpolate(square, (how["size"], how["size"]), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(how[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return (square / 255 - mean) / std


@pytest.fixture(scope="module")
def judged(folder: Path) -> tuple[list[Path], np.ndarray]:
    """The run's test photos as files, and the logits it wrote down for them."""
    found = np.load(folder / "artifacts" / "predictions.npz", allow_pickle=False)
    rows = np.flatnonzero(found["split"] == "test")
    assert len(rows) > 50
    assert found["classes"].tolist() == CLASSES
    listing = read(SETTINGS["source"])
    path = dict(zip(listing.keys, listing.paths, strict=True))
    return [path[key] for key in found["image"][rows].tolist()], found["logits"][rows]


@pytest.fixture(scope="module")
def by_hand(folder: Path, judged) -> torch.Tensor:
    how = json.loads((folder / "model" / "preprocess.json").read_text())
    return torch.cat([pixels_by_hand(path, how) for path in judged[0]])


@torch.no_grad()
def test_torchvision_takes_the_model_and_gives_the_same_logits(folder: Path, judged, by_hand) -> None:
    """Equal to 1e-5: the divisions of the pixels are rounded in another order, and so are sums in other batches."""
    network = torchvision.models.resnet18(num_classes=4)
    network.load_state_dict(load_file(folder / "model" / "model.safetensors"), strict=True)
    logits = network.eval()(by_hand).numpy()
    paths, written = judged
    predictor = Predictor(folder)
    ours = predictor.logits([predictor.photo(path) for path in paths])
    assert np.ptp(written, axis=0).min() > 0.1  # the logits say something about the photos
    np.testing.assert_allclose(logits, written, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(ours, written, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_torchvision_is_bit_equal_on_the_same_tensor(folder: Path, by_hand) -> None:
    network = torchvision.models.resnet18(num_classes=4)
    network.load_state_dict(load_file(folder / "model" / "model.safetensors"), strict=True)
    ours = read_model(folder / "model").network
    assert not ours.training
    assert torch.equal(ours(by_hand), network.eval()(by_hand))


@torch.no_grad()
def test_timm_opens_the_folder_with_its_own_configuration(folder: Path, judged, by_hand) -> None:
    network = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True).eval()
    np.testing.assert_allclose(network(by_hand).numpy(), judged[1], atol=1e-5, rtol=1e-5)
    how = json.loads((folder / "model" / "preprocess.json").read_text())
    config = resolve_data_config({}, model=network)
    assert list(config["mean"]) == how["mean"] and list(config["std"]) == how["std"]
    assert tuple(config["input_size"]) == (3, 32, 32) and config["crop_pct"] == 1.0
    assert network.pretrained_cfg["label_names"] == CLASSES
    assert network.num_classes == 4


def test_timm_can_give_the_folder_another_head(folder: Path) -> None:
    network = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True, num_classes=7)
    assert network.fc.out_features == 7
    state = load_file(folder / "model" / "model.safetensors")
    assert torch.equal(network.conv1.weight, state["conv1.weight"])


def test_the_model_is_fp32_and_says_what_it_is(folder: Path) -> None:
    assert json.loads((folder / "plan.json").read_text())["plan"]["machine"]["precision"] == "bf16"
    state = load_file(folder / "model" / "model.safetensors")
    assert {t.dtype for k, t in state.items() if not k.endswith("num_batches_tracked")} == {torch.float32}
    card = (folder / "model" / "README.md").read_text()
    assert "torchvision.models.resnet18(num_classes=4)" in card and "licence" in card


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
def test_other_networks_come_back_and_predict_the_same(settings, tmp_path: Path) -> None:
    folder = train(tmp_path, **{**SETTINGS, "epochs": "2st", **settings})
    model = Predictor(folder)
    found = np.load(folder / "artifacts" / "predictions.npz", allow_pickle=False)
    listing = read(SETTINGS["source"])
    path = dict(zip(listing.keys, listing.paths, strict=True))
    again = model.logits([model.photo(path[key]) for key in found["image"].tolist()[:40]])
    np.testing.assert_allclose(again, found["logits"][:40], atol=1e-5, rtol=1e-5)
    if "network" in settings:
        network = timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True).eval()
        state = load_file(folder / "model" / "model.safetensors")
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    else:  # not as published: nobody opens it by mistake
        with pytest.raises(RuntimeError, match="state_dict"):
            timm.create_model(f"local-dir:{folder / 'model'}", pretrained=True)


def edited(name: str, **changes):
    def damage(model: Path) -> None:
        content = json.loads((model / name).read_text())
        (model / name).write_text(json.dumps({**content, **changes}))

    return damage


def weights(change):
    def damage(model: Path) -> None:
        state = {name: tensor.clone() for name, tensor in load_file(model / "model.safetensors").items()}
        change(state)
        (model / "model.safetensors").unlink()
        save_file(state, model / "model.safetensors")

    return damage


def rewritten(change):
    """The bytes of the weights file, changed."""

    def damage(model: Path) -> None:
        content = (model / "model.safetensors").read_bytes()
        (model / "model.safetensors").unlink()
        (model / "model.safetensors").write_bytes(change(content))

    return damage


class Canary:
    """A pickle that makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").write_bytes(pickle.dumps(Canary(model / "canary")))


def torch_pickled(model: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save({"state_dict": Canary(model / "canary")}, model / "model.safetensors")


HOSTILE_HEADER = (1 << 60).to_bytes(8, "little") + b'{"a":1}'
DAMAGES = {
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "model.safetensors"),
    "no preprocess": (lambda m: (m / "preprocess.json").unlink(), "preprocess.json is missing"),
    "cut in the header": (rewritten(lambda b: b[:100]), "damaged"),
    "cut in the tensors": (rewritten(lambda b: b[:1_000_000]), "damaged"),
    "empty": (rewritten(lambda b: b[:0]), "neither"),
    "huge header": (rewritten(lambda b: HOSTILE_HEADER), "neither"),
    "trailing bytes": (rewritten(lambda b: b + b"x" * 999), "damaged"),
    "a pickle": (pickled, "pickle"),
    "a torch pickle": (torch_pickled, "pickle"),
    "NaN weight": (weights(lambda s: s["layer1.0.conv1.weight"].fill_(float("nan"))), "not finite"),
    "NaN statistics": (weights(lambda s: s["bn1.running_var"].fill_(float("nan"))), "not finite"),
    "missing tensor": (weights(lambda s: s.pop("layer2.0.bn1.weight")), "layer2.0.bn1.weight"),
    "unexpected tensor": (weights(lambda s: s.update(more=torch.zeros(3))), "more"),
    "wrong shape": (weights(lambda s: s.update({"conv1.weight": torch.zeros(64, 3, 3, 3)})), "conv1.weight"),
    "other class count": (
        weights(lambda s: s.update({"fc.bias": torch.zeros(9), "fc.weight": torch.zeros(9, 512)})),
        "4",
    ),
    "config no JSON": (lambda m: (m / "config.json").write_text("{"), "config.json is damaged"),
    "config a list": (lambda m: (m / "config.json").write_text("[1]"), "holds no settings"),
    "config of another": (lambda m: (m / "config.json").write_text("{}"), "label_names"),
    "names a number": (edited("config.json", label_names=4), "label_names"),
    "names twice": (edited("config.json", label_names=["a", "a", "b", "c"]), "label_names"),
    "a huge head": (
        edited(
            "config.json",
            headstart={
                "network": {"network": "resnet18"},
                "head": "mlp:65536",
                "data": {"fingerprint": "", "seed": 0, "test_seed": 0},
            },
        ),
        "mlp:65536",
    ),
    "unknown network": (
        edited(
            "config.json",
            headstart={
                "network": {"network": "resnet19"},
                "head": "linear",
                "data": {"fingerprint": "", "seed": 0, "test_seed": 0},
            },
        ),
        "resnet19",
    ),
    "size a word": (edited("preprocess.json", size="big"), "big"),
    "size without end": (edited("preprocess.json", size=10**9), "side"),
    "std of nothing": (edited("preprocess.json", std=[0, 1, 1]), "std"),
    "mean of two": (edited("preprocess.json", mean=[0.5, 0.5]), "values"),
}


def copied(source: Path, model: Path) -> None:
    """A model folder with files of its own, the weights as a link to be replaced."""
    shutil.copytree(source, model, ignore=lambda *_: ["model.safetensors"])
    (model / "model.safetensors").symlink_to(source / "model.safetensors")


def test_what_is_not_damaged_is_read(folder: Path, tmp_path: Path) -> None:
    copied(folder / "model", tmp_path / "model")
    assert read_model(tmp_path / "model").classes == tuple(CLASSES)
    weights(lambda s: s)(tmp_path / "model")
    assert read_model(tmp_path / "model").size == 32


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_or_hostile_is_refused_in_one_sentence(name: str, folder: Path, tmp_path: Path) -> None:
    damage, word = DAMAGES[name]
    model = tmp_path / "model"
    copied(folder / "model", model)
    damage(model)
    with pytest.raises(ModelFileError) as caught:
        read_model(model)
    assert caught.value.exit_code == 6
    assert word in caught.value.message
    assert "\n" not in caught.value.message and caught.value.message.endswith(".")
    assert not (model / "canary").exists()


def test_the_canary_of_these_tests_sings(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()
