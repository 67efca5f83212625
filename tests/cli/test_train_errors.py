"""Invalid inputs of runs: exit code, message and hint, no traceback, and no run folder."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from headstart.cli.main import main
from headstart.config.plan_file import PlanFile
from headstart.i18n import Message, Value
from headstart.models.resnet import FAMILY, PUBLISHED
from headstart.optim.registry import OPTIMIZERS, SCHEDULES
from headstart.storage import folders
from headstart.storage.schemas.arm import TUNING_FORMS
from tests.cli.test_main import fails
from tests.messages import values_of
from tests.trained import trained

SMALL = ["--image-size", "16", "--stem", "small", "--epochs", "1st", "--batch-size", "4", "--threads", "1"]
SMALL += ["--precision", "fp32", "--cache-resolution", "1"]


def write_images(root: Path, **counts: int) -> Path:
    """Write class folders with the given numbers of random images."""
    draws = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.fromarray(draws.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of the table: valid images, invalid images, and files that are not weights."""
    root = tmp_path_factory.mktemp("bad")
    write_images(root / "good", cat=6, dog=6)
    write_images(root / "one-class", cat=6)
    write_images(root / "one-image", cat=6, dog=1)
    write_images(root / "broken", cat=6, dog=6)
    (root / "broken" / "cat" / "cut.png").write_bytes((root / "good" / "cat" / "0.png").read_bytes()[:200])
    (root / "loose").mkdir()
    shutil.copy(root / "good" / "cat" / "0.png", root / "loose")
    (root / "empty").mkdir()
    (root / "manifest").mkdir()
    (root / "manifest" / "out.csv").write_text("path,label\n../good/cat/0.png,cat\n../good/dog/0.png,dog\n")
    (root / "manifest" / "bare.csv").write_text("name,class\nx,y\n")
    (root / "notes.txt").write_text("nothing of use")
    (root / "notes.md").write_text("nothing of use")
    (root / "text.safetensors").write_text("nothing of use, and longer than a header")
    torch.save(torchvision.models.resnet18(), root / "whole.pth")
    save_file({"conv1.weight": torch.zeros(3, 3)}, root / "other.safetensors")
    state = torchvision.models.resnet34().state_dict()
    torch.save(state, root / "resnet34.pth")
    (root / "bad.toml").write_text("lr = = 3\n")
    (root / "unknown.toml").write_text("optimiser = 'adam'\n")
    (root / "binary.toml").write_bytes(b"\xff\xfe\x00")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory)


def failure(words: list[str | Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, Message, Message]:
    """Run a command that must fail; return its exit code, message and hint."""
    code, message, hint, before = fails(list(map(str, words)), capsys)
    assert not any("Traceback" in line for line in before)
    assert message.endswith((".", "?")) and hint.endswith((".", "?", ")")), (message, hint)  # ")" ends a line of code
    return code, message, hint


def as_texts(values: Iterable[Value], root: Path) -> list[str]:
    """Return values of a message as text, with `@` in place of the folder of the files."""
    return [str(value).replace(str(root), "@") for value in values]


with torch.device("meta"):
    RESNET18 = [name for name in torchvision.models.resnet18().state_dict() if not name.startswith("fc.")]
TENSORS = [name for name in RESNET18 if not name.endswith("num_batches_tracked")]
MODULES_OF_RESNET = ("activation.ReLU", "batchnorm.BatchNorm2d", "container.Sequential", "conv.Conv2d")
CLASSES_OF_RESNET = [*(f"torch.nn.modules.{name}" for name in MODULES_OF_RESNET), "…"]
ENOENT = os.strerror(errno.ENOENT)
OPTIMIZER_NAMES, SCHEDULE_NAMES, FAMILY_NAMES = (", ".join(rows) for rows in (OPTIMIZERS, SCHEDULES, FAMILY))
PUBLISHED_NAMES = ", ".join(PUBLISHED)
# name -> (source, further arguments of `train`, exit code, values of the message, flags and names in message or hint);
# `@` is the folder of the files, and ANY a text of another program
TRAIN: dict[str, tuple[str, list[str], int, list[str], list[str]]] = {
    "missing path": ("@/nowhere", [], 3, ["@/nowhere"], []),
    "misspelled path": ("@/god", [], 3, ["@/god"], ["'good'"]),
    "empty folder": ("@/empty", [], 3, ["@/empty"], ["@/empty/cat/1.jpg"]),
    "one class": ("@/one-class", [], 3, ["@/one-class", "cat"], []),
    "images beside classes": ("@/loose", [], 3, ["1", "@/loose", "0.png"], ["@/loose/cat/1.jpg"]),
    "not a manifest": ("@/notes.md", [], 3, ["@/notes.md"], [".csv"]),
    "class of one image": ("@/one-image", [], 3, ["1", "'dog' (1)", "3"], ["--min-per-class 3", "--classes"]),
    "undecodable photo": ("@/broken", [], 3, ["13", "1", "@/broken", "cat/cut.png", ANY, ANY], ["--skip-bad"]),
    "manifest with files outside": (
        "@/manifest/out.csv", [], 3, ["2", "out.csv", "../good/cat/0.png"], ["--allow-outside"],
    ),
    "manifest without columns": ("@/manifest/bare.csv", [], 3, ["bare.csv", "path"], ["name, class"]),
    "invalid range of digits": ("digits:8-2", [], 2, ["digits:8-2"], ["digits:0-5"]),
    "unknown class": ("@/good", ["--classes", "cat", "--classes", "dgo"], 2, ["dgo", "@/good"], ["'dog'"]),
    "unknown start": ("@/good", ["--start", "imagenett"], 2, ["imagenett", "imagenet"], ["file:PATH"]),
    "unknown initialization": ("@/good", ["--start", "scratch:he"], 2, ["he"], ["scratch:kaiming"]),
    "unknown tuning": ("@/good", ["--tuning", "frosen"], 2, ["tuning", "frosen", *TUNING_FORMS], []),
    "unknown head": ("@/good", ["--head", "quadratic"], 2, ["head", "quadratic"], ["linear", "mlp:WIDTH"]),
    "unknown optimizer": ("@/good", ["--optimizer", "adma"], 2, ["optimizer", "adma", OPTIMIZER_NAMES, "adam"], []),
    "unknown schedule": ("@/good", ["--schedule", "cosin"], 2, ["schedule", "cosin", SCHEDULE_NAMES, "cosine"], []),
    "unknown network": ("@/good", ["--network", "resnet19"], 2, ["resnet19"], ["'resnet18'"]),
    "unknown timm network": (
        "@/good", ["--network", "timm:resnet10x", "--stem", "imagenet"], 2, [version("timm"), "resnet10x"],
        ["timm:resnet10t"],
    ),
    "unknown device": ("@/good", ["--device", "tpu"], 2, ["device", "tpu"], ["cpu"]),
    "too many stages": ("@/good", ["--tuning", "stages:9"], 2, ["9"], ["stages:N"]),
    "no stages": ("@/good", ["--tuning", "stages:0"], 2, ["tuning", "stages:0", *TUNING_FORMS], []),
    "head of width 0": ("@/good", ["--head", "mlp:0"], 2, ["mlp:0"], ["mlp:WIDTH"]),
    "head too wide": ("@/good", ["--head", "mlp:999999999"], 2, ["mlp:999999999"], ["mlp:WIDTH"]),
    "missing weights": ("@/good", ["--start", "file:@/none.safetensors"], 3, ["@/none.safetensors", ENOENT], []),
    "weights that are text": ("@/good", ["--start", "file:@/text.safetensors"], 6, ["@/text.safetensors"], []),
    "incomplete weights": (
        "@/good", ["--start", "file:@/other.safetensors"], 6,
        [
            "@/other.safetensors", "resnet18 (shortcut on, norm batch, stem small)", str(len(TENSORS) - 1),
            *TENSORS[1:5], "…", str(len(RESNET18)),
        ],
        ["--network"],
    ),
    "weights that are a folder": ("@/good", ["--start", "file:@/good"], 3, ["@/good"], [".safetensors"]),
    "pickled model": (
        "@/good", ["--start", "file:@/whole.pth"], 6, ["@/whole.pth", *CLASSES_OF_RESNET],
        ["state_dict()", "torch.save", "torch.load"],
    ),
    "another architecture": (
        "@/good", ["--start", "file:@/resnet34.pth", "--stem", "imagenet"], 6,
        ["@/resnet34.pth", "ResNet-34", "resnet18"], ["--network resnet34"],
    ),
    "folder without run": ("@/good", ["--start", "run:@/good"], 3, ["@/good"], ["model/model.safetensors"]),
    "imagenet with another stem": (
        "@/good", ["--start", "imagenet"], 2,
        ["imagenet", PUBLISHED_NAMES, "resnet18 (shortcut on, norm batch, stem small)"], ["--stem imagenet"],
    ),
    "stats of scratch": ("@/good", ["--start", "stats:scratch"], 2, ["stats:scratch", "scratch"], ["stats:imagenet"]),
    "classes with commas": (
        "@/good", ["--classes", "cat,dog"], 2, ["cat,dog", "@/good"], ["--classes cat --classes dog"],
    ),
    "warm-up without unit": ("@/good", ["--warmup", "10"], 2, ["warmup", "10", "10"], ["10ep"]),
    "several rates": (
        "@/good", ["--lr", "0.1,0.01"], 2, ["--lr", "0.1, 0.01"], ["headstart compare", "--vary lr=0.1,0.01"],
    ),
    "several lengths": ("@/good", ["--epochs", "3,10"], 2, ["--epochs", "3, 10"], ["--budgets 3ep,10ep"]),
    "repeated flag": ("@/good", ["--head", "linear", "--head", "mlp:8"], 2, ["--head", "linear, mlp:8"], ["--vary"]),
    "several seeds": ("@/good", ["--seed", "1,2"], 2, ["--seed", "1, 2"], []),
    "no epochs": ("@/good", ["--epochs", "0ep"], 2, ["epochs"], []),
    "epochs in per cent": ("@/good", ["--epochs", "50%"], 2, [], ["10ep"]),
    "less than a step": ("@/good", ["--epochs", "0.01ep"], 2, ["0.01ep", "2"], ["--epochs 1ep"]),
    "head alone in lp-ft": (
        "@/good", ["--tuning", "lp-ft", "--head-epochs", "100%"], 2, ["100%", "1st"], ["--head-epochs 100%"],
    ),
    "too few head epochs": (
        "@/good", ["--tuning", "lp-ft", "--head-epochs", "1%"], 2, ["1%", "1st"], ["--head-epochs 1%"],
    ),
    "warm-up above 100 %": ("@/good", ["--warmup", "120%"], 2, ["warmup", "120%", "120%"], []),
    "negative rate": ("@/good", ["--lr", "-0.1"], 2, ["lr", "-0.1", ANY], []),
    "no rate": ("@/good", ["--lr", "0"], 2, ["lr", "0", ANY], []),
    "infinite rate": ("@/good", ["--lr", "inf"], 2, ["lr", "inf", ANY], []),
    "rate of nan": ("@/good", ["--lr", "nan"], 2, ["lr", "nan", ANY], []),
    "tiny images": ("@/good", ["--image-size", "4"], 2, ["image-size", "4", ANY], [" 8"]),
    "half an image": ("@/good", ["--image-size", "16.5"], 2, ["image-size", "16.5", ANY], []),
    "batch of one": ("@/good", ["--batch-size", "1"], 2, ["batch-size", "1", ANY], [" 2"]),
    "nesterov of adam": ("@/good", ["--nesterov", "--optimizer", "adam"], 2, ["sgd"], ["Nesterov"]),
    "many faults": (
        "@/good", ["--lr", "-1", "--epochs", "x", "--flip", "no"], 2,
        ["lr", "-1", ANY, "epochs", "x", "x", "flip", "no", "auto, on, off"], [],
    ),
    "timm with switches": ("@/good", ["--network", "timm:resnet10t"], 2, ["timm:resnet10t"], ["stem", FAMILY_NAMES]),
    "missing settings file": ("@/good", ["--config", "@/none.toml"], 2, ["@/none.toml", ENOENT], []),
    "invalid TOML": ("@/good", ["--config", "@/bad.toml"], 2, ["@/bad.toml", ANY], ["line 1", "TOML"]),
    "binary settings file": ("@/good", ["--config", "@/binary.toml"], 2, ["@/binary.toml", ANY], ["UTF-8"]),
    "unknown setting": ("@/good", ["--config", "@/unknown.toml"], 2, ["optimiser", "optimizer"], []),
    "unknown preset": ("@/good", ["--preset", "labb"], 2, ["labb", "lab"], []),
    "interval without unit": ("@/good", ["--save-every", "10"], 2, ["10"], ["save-every", "10ep"]),
    "interval of 0 steps": ("@/good", ["--save-every", "0st"], 2, ["0st"], ["save-every"]),
    "unknown tracker": ("@/good", ["--log", "wandbb"], 2, ["wandbb"], ["wandb, mlflow"]),
    "unknown tracker in a dry run": ("@/good", ["--dry-run", "--log", "wandbb"], 2, ["wandbb"], ["wandb, mlflow"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAIN)
def test_invalid_training_is_an_error(name: str, files: Path, tmp_path: Path, capsys) -> None:
    source, words, expected, values, texts = TRAIN[name]
    arguments = [word.replace("@", str(files)) for word in [source, *SMALL]]
    for word in words:  # a flag of the case replaces that of SMALL, because repeated flags are an error
        if word.startswith("--") and word in arguments:
            position = arguments.index(word)
            del arguments[position : position + 2]
    arguments += [word.replace("@", str(files)) for word in words]
    code, message, hint = failure(["train", *arguments, "--runs", tmp_path / "runs"], capsys)
    assert code == expected, (message, hint)
    assert as_texts(values_of(message), files) == values
    for text in texts:
        assert text.replace("@", str(files)) in f"{message} {hint}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device_is_an_error(files: Path, tmp_path: Path, capsys) -> None:
    code, message, hint = failure(["train", files / "good", "--device", "cuda", "--runs", tmp_path / "runs"], capsys)
    assert code == 2 and values_of(message) == ["cuda"] and "--device cpu" in hint
    for device, name in (("0", "cuda:0"), ("256", "cuda:256"), ("cuda:007", "cuda:007")):
        code, message, _ = failure(["train", files / "good", "--device", device, "--runs", tmp_path / "runs"], capsys)
        assert code == 2 and values_of(message) == [name]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("start", ["imagenet", "timm:resnet10t"])
def test_published_weights_without_internet_name_the_manual_download(
    start: str, files: Path, tmp_path: Path, capsys
) -> None:
    """Without network access the error describes the manual download."""
    words = ["train", files / "good", "--start", start, "--epochs", "1st", "--image-size", "32", "--threads", "1"]
    code, message, hint = failure([*words, "--runs", tmp_path / "runs"], capsys)
    assert code == 3
    assert "https://" in message and "sha256" in hint and os.sep in hint and "--start file:" in hint
    if start == "imagenet":
        assert "f37072fd" in hint and "resnet18-f37072fd.pth" in hint
    assert not (tmp_path / "runs").exists()


def test_image_size_is_refused_for_a_network_with_a_fixed_size(files: Path, tmp_path: Path, capsys) -> None:
    words = ["--network", "timm:vit_tiny_patch16_224", "--image-size", "32", "--epochs", "1st", "--threads", "1"]
    code, message, hint = failure(["train", files / "good", *words, "--runs", tmp_path / "runs"], capsys)
    assert code == 2 and values_of(message) == ["timm:vit_tiny_patch16_224", 224, 32]
    assert values_of(hint) == [224] and "--image-size" in hint
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", ["a file", "a virtual file system", "read-only"])
def test_unwritable_runs_folder_is_an_error(kind: str, files: Path, tmp_path: Path, capsys) -> None:
    runs = tmp_path / "runs"
    if kind == "a file":
        runs.touch()
    elif kind == "read-only":
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere")
        runs.mkdir(mode=0o500)
    else:
        runs = Path("/proc/headstart")
    code, message, hint = failure(["train", files / "good", *SMALL, "--runs", runs], capsys)
    folder, *reason = values_of(message)
    assert code == 5 and "--runs" in hint
    if kind == "a virtual file system":  # which the system reports when the run's folder is made
        assert isinstance(folder, Path) and folder.parent == runs and reason == [ENOENT]
    else:
        assert folder == runs and reason == []
    assert not list(runs.iterdir()) if runs.is_dir() else True


def other_commands(files: Path, run: Path, tmp_path: Path) -> dict[str, tuple[list[str | Path], int, list[str]]]:
    """Return words, exit code and values of the message of invalid commands; `@` is the folder of the files."""
    photo, missing = files / "good" / "cat" / "0.png", tmp_path / "none"
    return {
        "resume a missing folder": (["resume", missing], 3, [str(missing)]),
        "resume a folder without run": (["resume", files / "good"], 3, ["@/good"]),
        "resume a finished run": (["resume", run], 2, [str(run)]),
        "resume with an invalid interval": (["resume", run, "--save-every", "x"], 2, ["x"]),
        "force-new without run": (["resume", files / "good", "--force-new"], 3, ["@/good"]),
        "rebuild a folder without run": (["rebuild", files / "good"], 3, ["@/good/plan.json"]),
        "TensorBoard with an invalid port": (["tensorboard", tmp_path, "--port", "70000"], 2, ["70000"]),
        "TensorBoard on a missing folder": (["tensorboard", missing], 3, [str(missing)]),
        "predict on a missing device": (["predict", run, photo, "--device", "tpu"], 2, ["tpu"]),
        "evaluate on a missing device": (["evaluate", run, "digits:0-3", "--device", "cuda:99"], 2, ["cuda:99"]),
        "predict with a missing model": (["predict", missing, photo], 6, [str(missing)]),
        "predict with an invalid model": (["predict", files / "good", photo], 6, ["@/good"]),
        "predict with an image as model": (["predict", photo, photo], 6, ["@/good/cat/0.png"]),
        "predict a missing image": (["predict", run, tmp_path / "none.png"], 3, [str(tmp_path / "none.png")]),
        "predict an empty folder": (["predict", run, files / "empty"], 3, []),
        "predict a text file": (
            ["predict", run, files / "notes.txt"], 3, ["1", "@/notes.txt", "plain text"],
        ),
        "evaluate with an invalid model": (["evaluate", files / "good", files / "good"], 6, ["@/good"]),
        "evaluate on missing data": (["evaluate", run, missing], 3, [str(missing)]),
        "evaluate on other classes": (["evaluate", run, files / "good"], 3, ["cat", "dog", "0", "1", "2", "3"]),
        "evaluate an unknown split": (["evaluate", run, "digits:0-3", "--split", "tset"], 2, ["tset"]),
        "evaluate an unknown class": (["evaluate", run, "digits:0-3", "--classes", "7"], 2, ["7", "digits:0-3"]),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")  # raised by an import of TensorBoard
def test_errors_of_other_commands_have_their_exit_code_and_change_nothing(
    files: Path, run: Path, tmp_path: Path, capsys
) -> None:
    before = sorted(run.rglob("*"))
    for name, (words, expected, values) in other_commands(files, run, tmp_path).items():
        code, message, hint = failure(words, capsys)
        assert code == expected, (name, code, message, hint)
        assert as_texts(values_of(message), files) == values, name
    assert sorted(run.rglob("*")) == before


def only_run(runs: Path) -> Path:
    (folder,) = runs.iterdir()
    return folder


def test_batch_may_be_larger_than_the_data(files: Path, tmp_path: Path, capsys) -> None:
    words = [*SMALL, "--runs", str(tmp_path)]
    words[words.index("--batch-size") + 1] = "16"
    main(["train", str(files / "good"), *words])
    assert (only_run(tmp_path) / "model" / "model.safetensors").exists()


def test_skip_bad_lists_and_leaves_out_undecodable_photos(files: Path, tmp_path: Path, capsys) -> None:
    main(["train", str(files / "broken"), *SMALL, "--skip-bad", "--runs", str(tmp_path)])
    output = capsys.readouterr()
    (line,) = (line for line in output.err.splitlines() if "cat/cut.png" in line)
    assert re.findall(r"\d+", line) == ["1"]
    assert PlanFile.read(only_run(tmp_path) / "plan.json").plan.facts.class_counts == {"cat": 6, "dog": 6}
    assert (only_run(tmp_path) / "result.json").exists()


def test_insufficient_disk_space_is_reported_before_the_first_step(
    files: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    real = folders.require_space
    required: list[int] = []

    def nearly_full(folder: Path, needed: int) -> None:
        required.append(needed)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
        real(folder, needed)

    monkeypatch.setattr(folders, "require_space", nearly_full)
    code, message, hint = failure(["train", files / "good", *SMALL, "--runs", tmp_path], capsys)
    assert code == 5 and hint.values == {}
    megabytes = [pytest.approx(size / 1e6) for size in (required[0] - 1, required[0])]
    assert values_of(message) == [only_run(tmp_path), *megabytes]
    assert not (only_run(tmp_path) / "metrics.jsonl").exists()
    monkeypatch.undo()
    main(["resume", str(only_run(tmp_path))])
    assert (only_run(tmp_path) / "result.json").exists()


def test_full_disk_during_a_run_is_reported(files: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def full(*_: object) -> Callable[..., None]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("headstart.runs.runner.write_model", full)
    code, message, hint = failure(["train", files / "good", *SMALL, "--runs", tmp_path], capsys)
    assert code == 5 and values_of(message) == ["No space left on device"]
    assert "--runs" not in hint  # another folder is the advice where access is denied
