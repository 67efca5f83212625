"""`inspect`: parameters and FLOPs against torchvision's, and planted mistakes in the network of the exercise."""

import json
from pathlib import Path

import pytest
import torch
import torchvision

import headstart
from headstart.cli.main import main
from headstart.errors import UsageError
from headstart.models import comparison
from tests.models.test_user_network import NETWORK, RN18, TORCHVISION, write

TEXT = Path(RN18.rpartition(":")[0]).read_text()
SHORTCUT = """        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))
"""
BLOCK = """        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)
"""
STEM = "self.maxpool(F.relu(self.bn1(self.conv1(x))))"
BLOCK_INPUTS = ["layer1.1.conv1", "layer2.0.conv1", "layer2.1.conv1", "layer3.0.conv1"]


def changed(folder: Path, *changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    write(folder, my=text)
    return f"{folder}/my.py:RN18"


def differences(network: str, **options) -> list[str]:
    inspection = headstart.inspect(network, **{"num_classes": 4, "image_size": 64, **options})
    assert inspection.comparison is not None and inspection.comparison.reference == "resnet18"
    assert not inspection.comparison.equal
    return inspection.comparison.differences


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_parameters_and_flops_are_those_that_torchvision_publishes(name: str) -> None:
    weights = torchvision.models.get_model_weights(name).DEFAULT.meta
    inspection = headstart.inspect(name, image_size=224)
    assert inspection.parameters == weights["num_params"]
    assert inspection.flops is not None  # torchvision counts a multiplication and an addition as one operation
    assert inspection.flops / 2e9 == pytest.approx(weights["_ops"], abs=0.001)
    assert sum(layer.flops for layer in inspection.layers) == inspection.flops
    assert sum(layer.parameters for layer in inspection.layers) == inspection.parameters
    assert inspection.comparison.equal and inspection.comparison.reference == name


def test_exercise_is_equal_to_torchvision(tmp_path: Path) -> None:
    inspection = headstart.inspect(RN18, num_classes=4)
    assert inspection.comparison.equal and inspection.comparison.logits == 0
    assert inspection.parameters == sum(p.numel() for p in torchvision.models.resnet18(num_classes=4).parameters())
    assert (inspection.head, inspection.fault) == ("fc", None)
    shapes = {layer.name: layer.shape for layer in inspection.layers}
    assert shapes["conv1"] == (64, 64, 64) and shapes["layer4.1.conv2"] == (512, 4, 4) and shapes["fc"] == (4,)


def test_equal_networks_may_be_written_in_other_words(tmp_path: Path) -> None:
    """Other names, the shortcut first, modules for functions, two ReLU, flatten, pooling of the whole map."""
    network = changed(
        tmp_path,
        (BLOCK, "        y = self.shortcut(x)\n        x = self.act(self.act(self.norm_a(self.first(x))))\n"
                "        return self.act(torch.add(self.norm_b(self.second(x)), y))\n"),
        ("        self.shortcut: nn.Module", "        self.act = nn.ReLU()\n        self.shortcut: nn.Module"),
        ("self.conv1 = conv3x3", "self.first = conv3x3"), ("self.conv2 = conv3x3", "self.second = conv3x3"),
        ("self.bn1 = nn.BatchNorm2d(out", "self.norm_a = nn.BatchNorm2d(out"), ("self.bn2", "self.norm_b"),
        ("self.layer1", "self.part_one"), ("self.layer2", "self.part_two"),
        ("x.view(x.size(0), -1)", "torch.flatten(x, 1)"), ("nn.AdaptiveAvgPool2d(1)", "nn.AvgPool2d(2)"),
        ("import torch.nn", "import torch\nimport torch.nn"),
    )  # fmt: skip
    assert headstart.inspect(network, num_classes=4, image_size=64).comparison.equal


@pytest.mark.parametrize(
    "changes",
    [
        [("self.shortcut", "self.skip")],
        [("self.fc", "self.classifier")],
        [("self.shortcut", "self.skip"), ("self.fc", "self.classifier"), ("self.bn1", "self.first_norm")],
    ],
)
def test_few_other_names_are_no_difference(changes: list[tuple[str, str]], tmp_path: Path) -> None:
    assert headstart.inspect(changed(tmp_path, *changes), num_classes=4, image_size=64).comparison.equal


def test_consequences_of_a_missing_layer_are_left_out(tmp_path: Path) -> None:
    network = changed(
        tmp_path,
        ("        self.bn2 = nn.BatchNorm2d(out_channels)\n", ""),
        ("out = self.bn2(self.conv2(out))", "out = self.conv2(out)"),
    )
    found = differences(network)
    assert len(found) == 4 and all("bn2" in sentence.partition(":")[0] for sentence in found)


def test_network_that_ignores_the_number_of_classes_is_reported(tmp_path: Path) -> None:
    inspection = headstart.inspect(changed(tmp_path, ("nn.Linear(512, num_classes)", "nn.Linear(512, 1000)")))
    assert inspection.fault is not None and "1001" in inspection.fault


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([(SHORTCUT, "")], [["layer2.0.downsample.0", "missing", "kernel 1", "stride 2"], ["layer2.0.downsample.1"]]),
        ([("(256, 2, 2)", "(256, 2, 1)")], [["layer3.0.conv1, layer3.0.shortcut.0", "stride 1", "resnet18 2"]]),
        (
            [(BLOCK, BLOCK.replace("self.bn2(self.conv2(out))", "F.relu(self.bn2(self.conv2(out)))").replace(
                "return F.relu(out)", "return out"))],
            [[*BLOCK_INPUTS, "before the addition"]],
        ),
        ([("out = F.relu(self.bn1(self.conv1(x)))", "out = self.bn1(self.conv1(x))")],
         [["layer1.0.conv2", "layer1.1.conv2", "a ReLU is missing"]]),
        ([("        return F.relu(out)", "        return out")], [[*BLOCK_INPUTS, "a ReLU is missing"]]),
        ([("        out += self.shortcut(x)\n", "")],
         [["layer1.1.conv1", "the shortcut is not added"], ["layer2.0.shortcut.0", "not used"]]),
        ([("padding=1, bias=False", "padding=1")], [["layer1.0.conv1", "bias on", "resnet18 off"]]),
        ([(STEM, "F.relu(self.bn1(self.conv1(x)))")], [["layer1.0.conv1", "max-pooling"]]),
        ([("kernel_size=3, stride=2, padding=1)", "kernel_size=2, stride=2)")], [["layer1.0.conv1", "kernel 2"]]),
        ([("F.relu(self.bn1(self.conv1(x)))", "self.bn1(F.relu(self.conv1(x)))")],
         [["bn1", "an extra ReLU"], ["layer1.0.conv1", "a ReLU is missing"]]),
        ([("(256, 2, 2)", "(256, 3, 2)")], [["layer3.2.conv1", "not in resnet18"], ["layer3.2.bn1"]]),
        ([("self.bn2 = nn.BatchNorm2d(out_channels)", "self.bn2 = nn.BatchNorm2d(out_channels, eps=1e-3)")],
         [["layer1.0.bn2", "eps 0.001"]]),
        ([("kernel_size=7, stride=2, padding=3", "kernel_size=3, stride=1, padding=1")],
         [["conv1", "kernel 3"], ["conv1", "stride 1"], ["conv1", "padding 1"]]),
        ([("return self.fc(x.view(x.size(0), -1))", "return F.softmax(self.fc(x.view(x.size(0), -1)), 1)")],
         [["output", "softmax"]]),
    ],
)  # fmt: skip
def test_planted_mistakes_are_found(changes: list[tuple[str, str]], expected: list[list[str]], tmp_path: Path) -> None:
    found = differences(changed(tmp_path, *changes))
    for sentence, parts in zip(found, expected, strict=False):
        assert all(part in sentence for part in parts), found
    assert len(found) >= len(expected)


def test_network_that_fails_is_inspected_up_to_its_error(tmp_path: Path) -> None:
    inspection = headstart.inspect(changed(tmp_path, (SHORTCUT, "")), num_classes=4, image_size=64)
    assert inspection.flops is None and inspection.stages == [] and inspection.comparison.logits is None
    assert inspection.fault is not None and "my.py line" in inspection.fault
    shapes = {layer.name: layer.shape for layer in inspection.layers}
    assert shapes["layer1.1.bn2"] == (64, 16, 16) and shapes["layer4.0.conv1"] is None


@pytest.mark.parametrize("name", ["vgg11", "mobilenet_v2", "densenet121", "shufflenet_v2_x1_0"])
def test_networks_of_torchvision_are_equal_to_themselves(name: str, tmp_path: Path) -> None:
    inspection = headstart.inspect(write(tmp_path, my=TORCHVISION.format(name=name, options="")), image_size=64)
    assert inspection.comparison.reference == name and inspection.comparison.equal


def test_padding_in_words_is_the_same(tmp_path: Path) -> None:
    network = changed(tmp_path, ("stride=stride, padding=1", "stride=stride, padding='same' if stride == 1 else 1"))
    assert headstart.inspect(network, num_classes=4, image_size=64).comparison.equal


def test_network_that_takes_smaller_images_than_the_reference_is_inspected(tmp_path: Path) -> None:
    text = (
        TORCHVISION.format(name="alexnet", options="").replace("    return ", "    network = ")
        + "    network.features[0].stride = (1, 1)\n    return network\n"
    )
    inspection = headstart.inspect(write(tmp_path, my=text), image_size=32)
    assert inspection.fault is None and inspection.comparison.logits is None
    assert any("stride 1" in sentence for sentence in inspection.comparison.differences)


@pytest.mark.parametrize("options", [{"num_classes": -1}, {"image_size": 0}])
def test_options_out_of_range_are_usage_errors(options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        headstart.inspect("resnet18", **options)


def test_network_of_a_fixed_size_is_inspected_at_its_size() -> None:
    inspection = headstart.inspect("timm:vit_tiny_patch16_224")
    assert inspection.image_size == 224 and inspection.fault is None and inspection.head == "head"


def test_comparison_leaves_the_network_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=4)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    assert comparison.compare(network, "resnet18", 4, 64).is_equal and network.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_command_inspects_networks_runs_and_classes(tmp_path: Path, capsys, monkeypatch) -> None:
    network = write(tmp_path, inspectednetworks=NETWORK).replace("my.py", "inspectednetworks.py")
    run = headstart.train("digits:0-3", network=network, epochs="2st", image_size=32, runs=tmp_path / "r", quiet=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    from inspectednetworks import Net

    main(["inspect", network, "--num-classes", "4", "--image-size", "32", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed == headstart.inspect(Net, num_classes=4, image_size=32).to_json()
    assert printed["comparison"] is None and printed["parameters"] == 224 + 16 + 1168 + 68
    of_run = headstart.inspect(run).to_json()
    assert {**of_run, "layers": []} == {**printed, "layers": []}
    main(["inspect", str(run.folder)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["conv1", "bn1", "conv2", "fc"]
    with pytest.raises(UsageError):
        headstart.inspect("resnet9")
