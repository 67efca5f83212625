"""Networks of users: which files belong to one, that they are imported in isolation, and how its parts are found."""

import contextlib
import sys
import time
from pathlib import Path

import pytest
import torch
import torchvision

from headstart.config import stored_code
from headstart.errors import DataError, UsageError
from headstart.models import factory, heads, structure, user_code, user_network
from headstart.models.convolution import IndependentConvolution
from headstart.weights.starts import initialize, resolve_start
from tests.messages import fields_of

ROOT = Path(__file__).parents[2]
RN18 = f"{ROOT}/examples/own_network/rn18.py:RN18"

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean((2, 3)))
"""


def write(folder: Path, **files: str) -> str:
    """Write files, named as their modules, and return the network `Net` in `my.py`."""
    for name, text in files.items():
        path = folder / (name.replace("__init__", "#").replace("_", "/").replace("#", "__init__") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"{folder}/my.py:Net"


def built(network: str, classes: int = 4, **layers) -> torch.nn.Module:
    module = factory.build(network, classes, **layers)
    user_network.adapt(module, "Net", 32)
    return module


# files


@pytest.mark.parametrize(
    ("imports", "files"),
    [
        ("import blocks", {"my.py", "blocks.py"}),
        ("from blocks import width", {"my.py", "blocks.py"}),
        ("from .blocks import width", {"my.py", "blocks.py"}),
        ("from . import blocks", {"my.py", "blocks.py"}),
        ("import nets.deep as n", {"my.py", "nets/deep.py", "blocks.py"}),
        ("import nets.deep; nets.deep.width", {"my.py", "nets/deep.py", "blocks.py"}),
        ("from nets import deep", {"my.py", "nets/deep.py", "blocks.py"}),
        ("from nets.deep import *", {"my.py", "nets/deep.py", "blocks.py"}),
        ("import pack", {"my.py", "pack/__init__.py", "pack/part.py"}),
        ("from pack.part import width", {"my.py", "pack/__init__.py", "pack/part.py"}),
        ("import loop", {"my.py", "loop.py"}),
        ("import os, numpy, blocks as b", {"my.py", "blocks.py"}),
        ("try:\n    import missing_module\nexcept ImportError:\n    import blocks", {"my.py", "blocks.py"}),
        ("def later():\n    from blocks import width\n    return width\nlater()", {"my.py", "blocks.py"}),
    ],
)
def test_files_that_a_network_imports_belong_to_it(imports: str, files: set[str], tmp_path: Path) -> None:
    network = write(
        tmp_path,
        my=f"{imports}\n{NETWORK}",
        blocks="width = 8",
        nets_deep="from blocks import width",
        pack___init__="from .part import width",
        pack_part="width = 8",
        loop="import my",
        unused="",
        os="raise RuntimeError('the standard library comes first')",
    )
    code = user_code.code_of(network)
    assert set(code.files) == files
    assert built(network)(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
    assert {"my", "blocks", "nets", "pack", "loop"}.isdisjoint(sys.modules)
    stored_code.write_code(tmp_path, "copy", network)
    assert stored_code.read_copy(tmp_path, "copy", network, code.sha256) == user_code.UserCode(
        "my.py", code.files, tmp_path / "copy"
    )


def test_networks_with_equal_file_names_do_not_meet(tmp_path: Path) -> None:
    networks = [
        write(tmp_path / name, my=NETWORK.replace("8,", "width,").replace("(8)", "(width)").replace("import torch\n",
              "import torch\nfrom blocks import width\n", 1), blocks=f"width = {width}")
        for name, width in (("a", 8), ("b", 12))
    ]  # fmt: skip
    first, second, again = (factory.build(networks[i], 4) for i in (0, 1, 0))
    assert [network.conv1.out_channels for network in (first, second, again)] == [8, 12, 8]
    assert "blocks" not in sys.modules and "my" not in sys.modules
    assert type(first) is type(again) and type(first) is not type(second)


def test_pinned_code_is_read_once(tmp_path: Path) -> None:
    network = write(tmp_path, my=NETWORK)
    with user_code.pinned():
        before = user_code.sha256_of(network)
        write(tmp_path, my=NETWORK.replace("16", "24"))
        assert user_code.sha256_of(network) == before and factory.build(network, 4).fc.in_features == 16
    assert user_code.sha256_of(network) != before and factory.build(network, 4).fc.in_features == 24


@pytest.mark.parametrize("change", ["", "# comment"])
def test_changed_copy_is_refused(change: str, tmp_path: Path) -> None:
    network = write(tmp_path, my=f"import blocks{NETWORK}", blocks="")
    code = user_code.code_of(network)
    stored_code.write_code(tmp_path, "copy", network)
    (tmp_path / "copy" / "blocks.py").write_text(change)
    if not change:
        (tmp_path / "copy" / "blocks.py").unlink()
    with pytest.raises(DataError):
        stored_code.read_copy(tmp_path, "copy", network, code.sha256)


def test_class_in_python_names_its_file(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, my_test_module=NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path / "my" / "test"))
    from module import Net

    assert user_code.network_name(Net) == f"{tmp_path}/my/test/module.py:Net"
    exec(NETWORK, inside := {"__name__": "notebook"})
    for unknown in (inside["Net"], lambda num_classes: None, Net.forward):
        with pytest.raises(UsageError):
            user_code.network_name(unknown)


# faults


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"class Net": "class Other"}, {"file": "my.py", "name": "Net"}),
        ({"def forward": "def forward)"}, {"line": 13}),
        ({"import torch\n": "import torch\nimport no_such_module\n"}, {"file": "my.py"}),
        ({"import torch\n": "import torch\nfrom ..outside import x\n"}, {}),
        ({"num_classes": "classes"}, {"name": "Net"}),
        ({"num_classes)": "num_classes, width, depth)"}, {"name": "Net"}),
        ({"super().__init__()": "super().__init__(); 1 / 0"}, {"name": "Net", "count": 4}),
        ({"nn.Linear(16, num_classes)": "nn.LazyLinear(num_classes)"}, {"name": "Net"}),
        ({"nn.Linear(16, num_classes)": "nn.Linear(16, 7)"}, {"name": "Net", "count": 4}),
        ({"(nn.Module)": "", "super().__init__()": ""}, {"name": "Net", "kind": "Net"}),
        ({"nn.Linear(16, num_classes)": "nn.Linear(16, num_classes, bias=False)"}, {"name": "Net", "layer": "fc"}),
        (
            {"class Net": "class Cosine(nn.Linear): pass\nclass Net", "nn.Linear(16,": "Cosine(16,"},
            {"layer": "fc", "kind": "Cosine"},
        ),
        ({"import torch\n": "import torch\nraise SystemExit(3)\n"}, {"file": "my.py"}),
    ],
)
def test_faulty_files_are_usage_errors(change: dict[str, str], fields: dict, tmp_path: Path) -> None:
    text = NETWORK
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(UsageError) as caught:
        factory.build(write(tmp_path, my=text), 4)
    assert fields.items() <= fields_of(caught.value.message).items()


@pytest.mark.parametrize("name", ["my.py", "nothing.py:Net", "my.py:Nett"])
def test_wrong_names_are_usage_errors(name: str, tmp_path: Path) -> None:
    write(tmp_path, my=NETWORK)
    with pytest.raises(UsageError) as caught:
        factory.build(f"{tmp_path}/{name}", 4)
    hint = fields_of(caught.value.hint)
    assert hint.get("name", "Net") == "Net" and hint.get("names", "Net") == "Net"


def test_error_in_forward_names_the_line_and_a_size_that_works(tmp_path: Path) -> None:
    fixed = NETWORK.replace("nn.Linear(16, num_classes)", "nn.Linear(16 * 15 * 15, num_classes)").replace(
        "x.mean((2, 3))", "torch.flatten(x, 1)"
    )
    network = factory.build(write(tmp_path, my=fixed), 4)
    with pytest.raises(UsageError) as caught:
        user_network.adapt(network, "Net", 128)
    assert fields_of(caught.value.message)["size"] == 128 and "my.py line 15" in str(caught.value.message)
    assert fields_of(caught.value.hint) == {"size": 32}
    user_network.adapt(network, "Net", 32)

    broken = factory.build(write(tmp_path / "b", my=NETWORK.replace("self.conv1(x)", "self.conv9(x)")), 4)
    with pytest.raises(UsageError, match="conv9"):
        user_network.adapt(broken, "Net", 32)


@pytest.mark.parametrize(
    "output",
    [
        "torch.softmax(LOGITS, 1)",
        "(LOGITS, x)",
        "{'logits': LOGITS}",
        "LOGITS * 2",
        "LOGITS.mul_(2)",
        "torch.relu_(LOGITS)",
        "(LOGITS, x) if self.training else LOGITS",
        "x.mean((2, 3))",
    ],
)
def test_output_must_be_that_of_the_head(output: str, tmp_path: Path) -> None:
    text = NETWORK.replace(
        "return self.fc(x.mean((2, 3)))", f"return {output}".replace("LOGITS", "self.fc(x.mean((2, 3)))")
    )
    network = factory.build(write(tmp_path, my=text), 4)
    with pytest.raises(UsageError):
        user_network.adapt(network, "Net", 32)


def test_switches_and_layers_are_refused_where_they_do_not_apply(tmp_path: Path) -> None:
    network = write(tmp_path, my=NETWORK)
    for name, values in (
        (network, {"shortcut": False}),
        (network, {"stem": "small"}),
        ("resnet18", {"head_layer": "fc"}),
    ):
        with pytest.raises(UsageError):
            factory.build(name, 4, **values)
    for values in ({"head_layer": "fcc"}, {"head_layer": "conv1"}, {"stage_layers": ("conv3",)}):
        with pytest.raises(UsageError):
            factory.build(network, 4, **values)


def test_main_file_may_have_the_name_of_a_package_or_no_name_of_a_module(tmp_path: Path) -> None:
    write(tmp_path, my=f"from my.blocks import width\n{NETWORK}", my_blocks="width = 8")
    (tmp_path / "v2.1.py").write_text(f"from my.blocks import width\n{NETWORK}")
    (tmp_path / "star.py").write_text("from v import *")
    (tmp_path / "v.py").write_text(NETWORK)
    for name in ("my.py", "v2.1.py", "star.py"):
        assert built(f"{tmp_path}/{name}:Net")(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


def test_declared_encoding_is_read_and_copied(tmp_path: Path) -> None:
    network = write(tmp_path, my="")
    text = f"# -*- coding: latin-1 -*-\n# größer\n{NETWORK}"
    (tmp_path / "my.py").write_bytes(text.encode("latin-1"))
    code = user_code.code_of(network)
    assert code.files["my.py"] == text
    stored_code.write_code(tmp_path, "copy", network)
    copy = stored_code.read_copy(tmp_path, "copy", network, code.sha256)
    with user_code.pinned({network: copy}):
        assert built(network) is not None


def test_constructor_may_draw_with_any_generator(tmp_path: Path) -> None:
    draws = "import random\nimport numpy as np\n"
    noise = "        self.conv1.weight.data += random.random() + np.random.rand()\n"
    text = NETWORK.replace("        self.fc =", f"{noise}        self.fc =")
    network = write(tmp_path, my=draws + text)
    sums = []
    for seed in (3, 3, 4):
        module = factory.build(network, 4)
        initialize(module, resolve_start("scratch", network=network, shortcut=True, norm="batch", stem="imagenet",
                                         num_classes=4), seed=seed)  # fmt: skip
        sums.append(module.conv1.weight.sum().item())
    assert sums[0] == sums[1] != sums[2]


def test_file_that_trains_when_it_is_imported_is_refused(tmp_path: Path) -> None:
    program = f"import headstart\nheadstart.train('digits:0-1', epochs='1st', runs={str(tmp_path / 'r')!r})\n"
    with pytest.raises(UsageError, match=r"my\.py line"):
        factory.build(write(tmp_path, my=NETWORK + program), 4)
    assert not (tmp_path / "r").exists()
    guarded = program.replace("headstart.train", "if __name__ == '__main__':\n    headstart.train")
    assert factory.build(write(tmp_path / "g", my=NETWORK + guarded), 4) is not None


def test_what_a_file_prints_is_no_result(tmp_path: Path, capsys) -> None:
    factory.build(write(tmp_path, my=f"{NETWORK}\nprint('hello')\n"), 4)
    output = capsys.readouterr()
    assert output.out == "" and output.err == "hello\n"


def test_flattened_maps_need_one_size_in_either_spelling(tmp_path: Path) -> None:
    """`view(-1, features)` gives other rows at other sizes, and no error at some of them."""
    for name, flatten in (("a", "x.view(-1, 16 * 15 * 15)"), ("b", "x.view(x.size(0), -1)")):
        text = NETWORK.replace("nn.Linear(16, num_classes)", "nn.Linear(16 * 15 * 15, num_classes)")
        network = factory.build(write(tmp_path / name, my=text.replace("x.mean((2, 3))", flatten)), 4)
        for size in (28, 61, 128):
            with pytest.raises(UsageError) as caught:
                user_network.adapt(network, "Net", size)
            assert fields_of(caught.value.hint) == {"size": 32}
        user_network.adapt(network, "Net", 32)


def test_instance_and_convolutional_head_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        user_code.network_name(torchvision.models.resnet18())
    assert fields_of(caught.value.hint) == {"name": "ResNet"}
    text = NETWORK.replace("nn.Linear(16, num_classes)", "nn.Conv2d(16, num_classes, 1)")
    for layers in ({}, {"head_layer": "fc"}):
        with pytest.raises(UsageError):
            factory.build(write(tmp_path, my=text), 4, **layers)


# structure


def stage_names(network: torch.nn.Module) -> list[str]:
    return [name for name, _unused in structure.stages(network)]


def parameters_by_stage(network: torch.nn.Module) -> dict[str, list[str]]:
    names = [name for name, _unused in network.named_parameters()]
    return {stage: [n for n in names if structure.in_part(n, parts)] for stage, parts in structure.stages(network)}


def test_structure_of_the_exercise_is_that_of_resnet18() -> None:
    own, ours = built(RN18), factory.build("resnet18", 4)
    assert structure.head_name(own) == "fc" and structure.first_convolution(own) == "conv1"
    assert structure.block_names(own) == structure.block_names(ours)
    renamed = {
        stage: [name.replace("shortcut", "downsample") for name in names]
        for stage, names in parameters_by_stage(own).items()
    }
    assert renamed == parameters_by_stage(ours)


TORCHVISION = """
import torchvision
def Net(num_classes):
    return torchvision.models.{name}(num_classes=num_classes, weights=None{options})
"""


@pytest.mark.parametrize(
    ("name", "options", "head", "stages"),
    [
        ("resnet18", "", "fc", ["stem", "layer1", "layer2", "layer3", "layer4", "head"]),
        ("resnet50", "", "fc", ["stem", "layer1", "layer2", "layer3", "layer4", "head"]),
        ("vgg11_bn", "", "classifier.6", None),
        ("mobilenet_v3_small", "", "classifier.3", None),
        ("squeezenet1_1", "", None, None),
    ],
)
def test_parts_of_torchvision_networks_cover_their_parameters(
    name: str, options: str, head: str | None, stages: list[str] | None, tmp_path: Path
) -> None:
    network = write(tmp_path, my=TORCHVISION.format(name=name, options=options))
    if head is None:  # a convolution as its head
        with pytest.raises(UsageError):
            factory.build(network, 10)
        return
    module = factory.build(network, 10)
    user_network.adapt(module, name, 64)
    assert structure.head_name(module) == head
    parts = parameters_by_stage(module)
    assert sorted(name for names in parts.values() for name in names) == sorted(
        name for name, _unused in module.named_parameters()
    )
    assert stages is None or list(parts) == stages
    assert len(parts) > 3

    reference = getattr(torchvision.models, name)(num_classes=10, weights=None).eval()
    reference.load_state_dict(module.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(module.eval()(images), reference(images))


def test_layers_can_be_named(tmp_path: Path) -> None:
    two_heads = NETWORK.replace("self.fc = ", "self.fc = nn.Linear(16, num_classes); self.other = ")
    module = built(write(tmp_path, my=two_heads), head_layer="fc", stage_layers=("conv2",))
    assert structure.head_name(module) == "fc"
    assert parameters_by_stage(module) == {
        "stem": ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"],
        "conv2": ["conv2.weight", "conv2.bias", "other.weight", "other.bias"],
        "head": ["fc.weight", "fc.bias"],
    }
    with pytest.raises(UsageError):  # the last linear layer is not the output
        built(write(tmp_path, my=two_heads))


def test_network_without_blocks_has_a_stage_for_each_layer(tmp_path: Path) -> None:
    module = built(write(tmp_path, my=NETWORK))
    assert parameters_by_stage(module) == {
        "stem": ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"],
        "conv2": ["conv2.weight", "conv2.bias"],
        "head": ["fc.weight", "fc.bias"],
    }


def test_view_on_feature_maps_gets_contiguous_order(tmp_path: Path) -> None:
    text = NETWORK.replace("nn.Linear(16, num_classes)", "nn.Linear(16 * 15 * 15, num_classes)")
    module = built(write(tmp_path, my=text.replace("x.mean((2, 3))", "x.view(x.size(0), -1)")))
    reference = factory.build(write(tmp_path / "b", my=text.replace("x.mean((2, 3))", "torch.flatten(x, 1)")), 4)
    reference.load_state_dict(module.state_dict())
    assert structure.memory_format(module) is torch.contiguous_format
    assert structure.memory_format(reference) is torch.channels_last
    images = torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.allclose(module.eval()(images), reference.eval()(images), atol=1e-6)


def test_head_is_replaced_and_convolutions_are_ours() -> None:
    network = factory.build(RN18, 7)
    heads.replace_head(network, "mlp:16", 7, seed=0)
    assert [tuple(p.shape) for p in network.fc.parameters()] == [(16, 512), (16,), (7, 16), (7,)]
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) == 20 and {type(module) for module in convolutions} == {IndependentConvolution}


def test_anything_may_follow_a_convolution(monkeypatch) -> None:
    """A convolution that is a matrix product, as with AMX, would be a view, which in-place operations refuse."""
    from headstart.models import convolution

    monkeypatch.setattr(convolution, "product_limits", lambda: convolution.WITH_AMX)
    layer = IndependentConvolution(512, 512, 3, 1, 1, bias=False)
    plain = torch.nn.Conv2d(512, 512, 3, 1, 1, bias=False)
    plain.load_state_dict(layer.state_dict())
    images = torch.randn(4, 512, 2, 2).contiguous(memory_format=torch.channels_last)
    gradients = []
    for module in (layer, plain):
        with torch.autocast("cpu", torch.bfloat16):
            torch.relu_(module(images)).float().sum().backward()
        gradients.append(module.weight.grad)
    assert torch.allclose(*gradients, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "text",
    [
        "x=1\n" * 200_000,
        f"import {'a.' * 200_000}a\n",
        f"import {'a' * 5000}\n",
        f"x = {'(' * 5000}{')' * 5000}\n",
        f"x = {'-' * 200_000}1\n",
        "x = [" * 3000,
    ],
    ids=["lines", "dots", "name", "brackets", "signs", "open"],
)
def test_code_that_is_costly_to_parse(text: str, tmp_path: Path) -> None:
    network = write(tmp_path, my=NETWORK, helper=text)
    (tmp_path / "my.py").write_text(f"import helper\n{NETWORK}")
    begin = time.process_time()
    with contextlib.suppress(UsageError):  # Python decides which of these it can parse
        user_code.code_of(network)
    assert time.process_time() - begin < 10


def test_code_above_the_limit_is_not_parsed(tmp_path: Path) -> None:
    network = write(tmp_path, my=f"import one, two\n{NETWORK}", one="x=1\n" * 100_000, two="x=1\n" * 100_000)
    with pytest.raises(UsageError) as caught:
        user_code.code_of(network)
    assert fields_of(caught.value.message)["limit"] == user_code.MAX_CODE_BYTES
