"""Invalid inputs of runs: exit code, message and hint, no traceback, and no run folder."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from headstart.cli.main import main
from headstart.storage import folders
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


def failure(words: list[str | Path], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a command that must fail; return its exit code, message and hint."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_info:
        main(list(map(str, words)))
    output = capsys.readouterr()
    assert output.out == ""
    assert "Traceback" not in output.err
    message, hint = output.err.splitlines()[-2:]
    assert message.endswith((".", "?")) and hint.endswith((".", "?", ")")), (message, hint)  # ")" ends a line of code
    return exit_info.value.code, message, hint


# name -> (source, further arguments of `train`, exit code, texts in message or hint); `@` is the folder of the files
TRAIN: dict[str, tuple[str, list[str], int, list[str]]] = {
    "missing path": ("@/nowhere", [], 3, ["nowhere does not exist"]),
    "misspelled path": ("@/god", [], 3, ["god does not exist", "good"]),
    "empty folder": ("@/empty", [], 3, ["no class folders"]),
    "one class": ("@/one-class", [], 3, ["only one class", "cat"]),
    "images beside classes": ("@/loose", [], 3, ["0.png", "one folder per class"]),
    "not a manifest": ("@/notes.txt", [], 3, ["neither a folder nor a manifest", ".csv"]),
    "class of one image": ("@/one-image", [], 3, ["'dog' has 1", "--classes"]),
    "undecodable photo": ("@/broken", [], 3, ["cat/cut.png", "--skip-bad"]),
    "manifest with files outside": ("@/manifest/out.csv", [], 3, ["../good/cat/0.png", "--allow-outside"]),
    "manifest without columns": ("@/manifest/bare.csv", [], 3, ["path"]),
    "invalid range of digits": ("digits:8-2", [], 2, ["digits"]),
    "unknown class": ("@/good", ["--classes", "cat,dgo"], 2, ["'dgo'", "dog"]),
    "unknown start": ("@/good", ["--start", "imagenett"], 2, ["'imagenett'", "imagenet"]),
    "unknown initialization": ("@/good", ["--start", "scratch:he"], 2, ["'he'", "kaiming"]),
    "unknown tuning": ("@/good", ["--tuning", "frosen"], 2, ["frosen", "frozen"]),
    "unknown head": ("@/good", ["--head", "quadratic"], 2, ["quadratic", "linear"]),
    "unknown optimizer": ("@/good", ["--optimizer", "adma"], 2, ["adma", "'adam'"]),
    "unknown schedule": ("@/good", ["--schedule", "cosin"], 2, ["cosin", "'cosine'"]),
    "unknown network": ("@/good", ["--network", "resnet19"], 2, ["resnet19", "resnet18"]),
    "unknown timm network": ("@/good", ["--network", "timm:resnet10x", "--stem", "imagenet"], 2, ["timm:resnet10t"]),
    "unknown device": ("@/good", ["--device", "tpu"], 2, ["tpu", "cpu"]),
    "too many stages": ("@/good", ["--tuning", "stages:9"], 2, ["stages:9"]),
    "no stages": ("@/good", ["--tuning", "stages:0"], 2, ["stages:0"]),
    "head of width 0": ("@/good", ["--head", "mlp:0"], 2, ["mlp:0"]),
    "head too wide": ("@/good", ["--head", "mlp:999999999"], 2, ["mlp:999999999"]),
    "missing weights": ("@/good", ["--start", "file:@/none.safetensors"], 3, ["none.safetensors"]),
    "weights that are text": ("@/good", ["--start", "file:@/text.safetensors"], 6, ["text.safetensors"]),
    "incomplete weights": ("@/good", ["--start", "file:@/other.safetensors"], 6, ["bn1.running_mean"]),
    "weights that are a folder": ("@/good", ["--start", "file:@/good"], 3, ["is a folder"]),
    "pickled model": ("@/good", ["--start", "file:@/whole.pth"], 6, ["state_dict()", "torch.save", "torch.load"]),
    "another architecture": (
        "@/good", ["--start", "file:@/resnet34.pth", "--stem", "imagenet"], 6, ["layer1.2.conv1.weight"],
    ),
    "folder without run": ("@/good", ["--start", "run:@/good"], 3, ["good"]),
    "imagenet with another stem": ("@/good", ["--start", "imagenet"], 2, ["stem"]),
    "stats of scratch": ("@/good", ["--start", "stats:scratch"], 2, ["stats:scratch"]),
    "epochs without unit": ("@/good", ["--epochs", "10"], 2, ["'10'", "10ep"]),
    "no epochs": ("@/good", ["--epochs", "0ep"], 2, ["Epochs must be above 0"]),
    "epochs in per cent": ("@/good", ["--epochs", "50%"], 2, ["10ep"]),
    "less than a step": ("@/good", ["--epochs", "0.01ep"], 2, ["0.01ep", "step"]),
    "head alone in lp-ft": ("@/good", ["--tuning", "lp-ft", "--head-epochs", "100%"], 2, ["head-epochs", "100%"]),
    "too few head epochs": ("@/good", ["--tuning", "lp-ft", "--head-epochs", "1%"], 2, ["head-epochs"]),
    "warm-up above 100 %": ("@/good", ["--warmup", "120%"], 2, ["120%"]),
    "negative rate": ("@/good", ["--lr", "-0.1"], 2, ["lr", "-0.1"]),
    "no rate": ("@/good", ["--lr", "0"], 2, ["lr"]),
    "infinite rate": ("@/good", ["--lr", "inf"], 2, ["lr", "inf"]),
    "rate of nan": ("@/good", ["--lr", "nan"], 2, ["lr", "nan"]),
    "tiny images": ("@/good", ["--image-size", "4"], 2, ["image-size", "8"]),
    "half an image": ("@/good", ["--image-size", "16.5"], 2, ["image-size"]),
    "batch of one": ("@/good", ["--batch-size", "1"], 2, ["batch-size", "2"]),
    "nesterov of adam": ("@/good", ["--nesterov", "--optimizer", "adam"], 2, ["Nesterov", "sgd"]),
    "many faults": ("@/good", ["--lr", "-1", "--epochs", "x", "--flip", "no"], 2, ["lr", "epochs", "flip"]),
    "timm with switches": ("@/good", ["--network", "timm:resnet10t"], 2, ["timm:resnet10t", "stem"]),
    "missing settings file": ("@/good", ["--config", "@/none.toml"], 2, ["none.toml"]),
    "invalid TOML": ("@/good", ["--config", "@/bad.toml"], 2, ["bad.toml", "line 1"]),
    "binary settings file": ("@/good", ["--config", "@/binary.toml"], 2, ["binary.toml"]),
    "unknown setting": ("@/good", ["--config", "@/unknown.toml"], 2, ["'optimiser'", "'optimizer'"]),
    "unknown preset": ("@/good", ["--preset", "labb"], 2, ["'labb'", "lab"]),
    "interval without unit": ("@/good", ["--save-every", "10"], 2, ["save-every", "10ep"]),
    "interval of 0 steps": ("@/good", ["--save-every", "0st"], 2, ["save-every"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAIN)
def test_invalid_training_is_an_error(name: str, files: Path, tmp_path: Path, capsys) -> None:
    source, words, expected, texts = TRAIN[name]
    arguments = [word.replace("@", str(files)) for word in [source, *SMALL]]
    for word in words:  # a flag of the case replaces that of SMALL, because repeated flags are an error
        if word in arguments:
            position = arguments.index(word)
            del arguments[position : position + 2]
    arguments += [word.replace("@", str(files)) for word in words]
    code, message, hint = failure(["train", *arguments, "--runs", tmp_path / "runs"], capsys)
    assert code == expected, (message, hint)
    for text in texts:
        assert text in f"{message} {hint}"
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device_is_an_error(files: Path, tmp_path: Path, capsys) -> None:
    code, message, hint = failure(["train", files / "good", "--device", "cuda", "--runs", tmp_path / "runs"], capsys)
    assert code == 2 and "cuda" in message and "--device cpu" in hint
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
    assert code == 2 and "224" in f"{message} {hint}" and "image-size" in f"{message} {hint}"
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
    assert code == 5 and str(runs) in message and "--runs" in hint
    assert not list(runs.iterdir()) if runs.is_dir() else True


def other_commands(files: Path, run: Path, tmp_path: Path) -> dict[str, tuple[list[str | Path], int, str]]:
    photo = files / "good" / "cat" / "0.png"
    return {
        "resume a missing folder": (["resume", tmp_path / "none"], 3, "none does not exist"),
        "resume a folder without run": (["resume", files / "good"], 3, "neither a run nor a study"),
        "resume a finished run": (["resume", run], 2, "finished"),
        "resume with an invalid interval": (["resume", run, "--save-every", "x"], 2, "save-every"),
        "force-new without run": (["resume", files / "good", "--force-new"], 3, "neither a run nor a study"),
        "repair a folder without run": (["repair", files / "good"], 3, "plan.json"),
        "board with an invalid port": (["board", tmp_path, "--port", "70000"], 2, "70000"),
        "board on a missing folder": (["board", tmp_path / "none"], 3, "none"),
        "predict with a missing model": (["predict", tmp_path / "none", photo], 6, "none does not exist"),
        "predict with an invalid model": (["predict", files / "good", photo], 6, "good"),
        "predict with an image as model": (["predict", photo, photo], 6, "0.png"),
        "predict a missing image": (["predict", run, tmp_path / "none.png"], 3, "none.png"),
        "predict an empty folder": (["predict", run, files / "empty"], 3, "no images"),
        "predict a text file": (["predict", run, files / "notes.txt"], 3, "notes.txt"),
        "evaluate with an invalid model": (["evaluate", files / "good", files / "good"], 6, "good"),
        "evaluate on missing data": (["evaluate", run, tmp_path / "none"], 3, "none"),
        "evaluate on other classes": (["evaluate", run, files / "good"], 3, "cat, dog"),
        "evaluate an unknown split": (["evaluate", run, "digits:0-3", "--split", "tset"], 2, "tset"),
        "evaluate an unknown class": (["evaluate", run, "digits:0-3", "--classes", "7"], 2, "'7'"),
    }


@pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")  # raised by an import of TensorBoard
def test_errors_of_other_commands_have_their_exit_code_and_change_nothing(
    files: Path, run: Path, tmp_path: Path, capsys
) -> None:
    before = sorted(run.rglob("*"))
    for name, (words, expected, text) in other_commands(files, run, tmp_path).items():
        code, message, hint = failure(words, capsys)
        assert code == expected, (name, code, message, hint)
        assert text in message, (name, message)
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
    assert "Left out 1 image that cannot be decoded: cat/cut.png" in output.err
    assert "Test accuracy" in output.out and (only_run(tmp_path) / "result.json").exists()


def test_insufficient_disk_space_is_reported_before_the_first_step(
    files: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    real = folders.require_space

    def nearly_full(folder: Path, needed: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
        real(folder, needed)

    monkeypatch.setattr(folders, "require_space", nearly_full)
    code, message, hint = failure(["train", files / "good", *SMALL, "--runs", tmp_path], capsys)
    assert code == 5 and re.search(r"free, but \d+ MB are needed", message) and "Free disk space" in hint
    assert not (only_run(tmp_path) / "metrics.jsonl").exists()
    monkeypatch.undo()
    main(["resume", str(only_run(tmp_path))])
    assert (only_run(tmp_path) / "result.json").exists()


def test_full_disk_during_a_run_is_reported(files: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def full(*_: object) -> Callable[..., None]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("headstart.runs.runner.write_model", full)
    code, message, hint = failure(["train", files / "good", *SMALL, "--runs", tmp_path], capsys)
    assert code == 5 and "space" in message and "resume" in hint
