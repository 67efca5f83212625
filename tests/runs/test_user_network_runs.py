"""Runs and studies of a user's own network: the ResNet-18 of the exercise, in every way that a network is used."""

import random
import shutil
import stat
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file

import headstart
from headstart.cli.main import main
from headstart.config.plan_file import read_plan_file
from headstart.engines.processes import ProcessEngine
from headstart.errors import DataError, ModelFileError, UsageError
from headstart.experiment import study
from headstart.reporter import NullReporter
from headstart.storage import run_index
from headstart.storage.files import write_json
from headstart.storage.seals import BrokenSealError
from tests.engines.test_contract import bits, own_cache
from tests.files import read_json
from tests.handmade import seal
from tests.models.test_user_network import NETWORK, RN18, write
from tests.runs.test_resume import kill_and_resume, only_run, outcome, start, train_arguments, wait
from tests.short_runs import SMALL, metrics, prepared

SETTINGS = {
    **{k: v for k, v in SMALL.items() if k not in ("source", "network")},
    "epochs": "6st",
    "image_size": 32,
    "lr": 0.01,
}


def train(runs: Path, network: str, source: str = "digits:0-3", **settings) -> headstart.Run:
    return headstart.train(source, network=network, runs=runs, quiet=True, **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights with torchvision's names."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(3)
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), path)
    return path


@pytest.fixture
def stranger(monkeypatch, tmp_path: Path) -> None:
    """Use an empty index, as that of another user."""
    monkeypatch.setenv("HEADSTART_DATA", str(tmp_path / "other-data"))


@pytest.mark.parametrize("tuning", ["full", "frozen", "lp-ft", "stages:1"])
def test_exercise_trains_like_our_resnet18(tuning: str, weights: Path, tmp_path: Path) -> None:
    """Equal weights, head and structure give equal losses, bit for bit."""
    settings = {"start": f"file:{weights}", "tuning": tuning, "stem": "imagenet", "cutmix": 0.5}
    own, ours = (
        train(tmp_path / name, network, "digits:0-1", **settings)
        for name, network in (("own", RN18), ("ours", "resnet18"))
    )
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    for name in names:
        assert (own.history[name] == ours.history[name]).all(), name
    assert own.test == ours.test
    states = [load_file(run.folder / "model" / "model.safetensors") for run in (own, ours)]
    renamed = {key.replace("shortcut", "downsample"): tensor for key, tensor in states[0].items()}
    assert renamed.keys() == states[1].keys()
    assert all(torch.equal(renamed[key], states[1][key]) for key in renamed)
    tags = {line["tag"] for line in metrics(own.folder) if "tag" in line}
    assert tags == {line["tag"].replace("downsample", "shortcut") for line in metrics(ours.folder) if "tag" in line}


def initialized(network: str, **settings) -> dict[str, torch.Tensor]:
    """Return the weights with which a run begins, under the names of our networks."""
    state = prepared(**{**SETTINGS, "network": network, **settings}).network.state_dict()
    return {key.replace("shortcut", "downsample"): tensor for key, tensor in state.items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("scheme", ["kaiming", "xavier", "orthogonal", "zero-gamma", "torch"])
def test_initializations_are_those_of_our_resnet18(scheme: str) -> None:
    own, ours = (initialized(network, start=f"scratch:{scheme}", stem="imagenet") for network in (RN18, "resnet18"))
    assert equal(own, ours)


def test_own_initialization_depends_on_the_seed_alone() -> None:
    first, same, other = (prepared(**SETTINGS, network=RN18, seed=seed) for seed in (1, 1, 2))
    states = [setup.network.state_dict() for setup in (first, same, other)]
    assert equal(states[0], states[1])
    assert not any(torch.equal(states[0][key], states[2][key]) for key in states[0] if "conv" in key)
    assert first.plan.facts.network_sha256 and first.plan.hash == same.plan.hash != other.plan.hash


def test_saved_weights_of_the_exercise_are_a_start(tmp_path: Path) -> None:
    """`torch.save(model.state_dict())` of the own class, for the own class and for our network."""
    from headstart.models import factory

    torch.manual_seed(5)
    network = factory.build(RN18, 4)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "own.pth")
    start = f"file:{tmp_path}/own.pth"
    own, ours = (initialized(name, start=start, stem="imagenet") for name in (RN18, "resnet18"))
    assert equal(own, ours) and torch.equal(own["layer4.1.conv2.weight"], network.layer4[1].conv2.weight)


def test_plan_and_hash_follow_the_code_not_its_place(tmp_path: Path) -> None:
    first = write(tmp_path / "a", my=NETWORK)
    second = write(tmp_path / "b", my=NETWORK)
    third = write(tmp_path / "c", my=f"{NETWORK}\n# changed\n")
    hashes = [train(tmp_path / "runs", network).plan.hash for network in (first, second, third)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_killed_run_resumes_bit_for_bit_after_its_file_was_changed(tmp_path: Path) -> None:
    own = write(tmp_path / "lab", my=f"from blocks import width\n{NETWORK.replace('8', 'width')}", blocks="width = 8")
    settings = {"network": own, "mixup": 0, "ema": 0, "save_every": "1st", "epochs": "140st"}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    log = tmp_path / "whole" / "log"
    assert wait(start(train_arguments(tmp_path / "whole", **settings), log), log) == 0, log.read_text()
    expected = outcome(only_run(tmp_path / "whole"))

    arguments = train_arguments(tmp_path / "killed", **settings)
    original = Path(own.partition(":")[0])

    class Changing(random.Random):
        """Changes the file of the network when the first kill is planned."""

        def uniform(self, a: float, b: float) -> float:
            original.write_text("raise RuntimeError('the file has changed')")
            return super().uniform(a, b)

    folder, kills = kill_and_resume(arguments, tmp_path / "killed", 2, Changing(0))
    assert kills == 2 and original.read_text().startswith("raise")
    assert outcome(folder) == expected


def test_study_is_the_same_in_worker_processes_whose_files_were_changed(tmp_path: Path) -> None:
    own = write(tmp_path / "lab", my=NETWORK)
    arms = ("scratch", "scratch@adam", "scratch+stages:1")
    settings = {**SETTINGS, "network": own, "seeds": 2, "search": "off"}
    with own_cache(tmp_path / "cache"):
        whole = headstart.compare(
            "digits:0-3", arms=arms, runs=tmp_path / "local", engine="local", quiet=True, **settings
        )
    with own_cache(tmp_path / "other"):
        spec = headstart.plan("digits:0-3", arms=arms, engine="local", quiet=True, **settings).spec
        folder = study.begin(spec, tmp_path / "processes", NullReporter())
        Path(own.partition(":")[0]).write_text("raise RuntimeError('the file has changed')")
        engine = ProcessEngine(2, NullReporter())
        try:
            study.run_study(folder, engine, NullReporter())
        finally:
            engine.close()
    assert bits(folder) == bits(whole.folder) and len(bits(folder)["runs"]) == 6
    assert headstart.Study(folder).best().predict("examples/photos/t-shirt/t-shirt_100.jpg")
    (code,) = (folder / "code").iterdir()
    (code / "my.py").write_text(f"{NETWORK}\n# changed\n")
    shutil.rmtree(folder / "model")
    (folder / "verdict.json").unlink()
    with pytest.raises(DataError):
        study.run_study(folder, engine, NullReporter())


def test_class_is_a_network_in_python(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, labnetworks=NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    from labnetworks import Net

    run = train(tmp_path / "runs", Net)
    assert run.plan.network.label == "labnetworks.py:Net"


# code that came with a folder


def test_foreign_code_is_executed_only_on_request(stranger, tmp_path: Path, monkeypatch, capsys) -> None:
    marker = tmp_path / "executed"
    own = write(tmp_path / "lab", my=f"{NETWORK}\nfrom pathlib import Path\nPath({str(marker)!r}).touch()\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_DATA", str(tmp_path / "author"))
        run = train(tmp_path / "runs", own)
        assert marker.exists() and run.predict("examples/photos")
    marker.unlink()
    import sys

    for name in [name for name in sys.modules if name.startswith("headstart_user_")]:
        monkeypatch.delitem(sys.modules, name)
    photo, folder = "examples/photos/t-shirt/t-shirt_100.jpg", run.folder
    for attempt in (
        lambda: headstart.predict(folder, photo),
        lambda: headstart.Predictor(folder / "model"),
        lambda: headstart.evaluate(folder, "digits:0-3"),
        lambda: headstart.Run(folder).model(),
        lambda: train(tmp_path / "more", "auto", start=f"run:{folder}", stem="imagenet"),
    ):
        with pytest.raises(ModelFileError):
            attempt()
    for arguments in (["predict", str(folder), photo], ["resume", str(folder), "--force-new"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 6 and "--trust" in capsys.readouterr().err
    assert not marker.exists()
    (prediction,) = headstart.predict(folder, photo, trust=True)
    assert marker.exists() and prediction.label
    assert headstart.predict(folder, photo) == [prediction]  # trusted from now on
    assert stat.S_IMODE((tmp_path / "other-data").stat().st_mode) == 0o700


def test_changed_code_of_an_own_run_is_refused(tmp_path: Path) -> None:
    run = train(tmp_path / "runs", write(tmp_path / "lab", my=NETWORK))
    config, file = run.folder / "model" / "config.json", run.folder / "model" / "code" / "my.py"
    file.write_text(f"{NETWORK}\nraise RuntimeError\n")
    with pytest.raises(DataError):
        headstart.Predictor(run.folder)
    from headstart.models.user_code import read_code

    content = read_json(config)
    content["headstart"]["network_sha256"] = read_code(file).sha256
    write_json(config, content)
    with pytest.raises(BrokenSealError):
        headstart.Predictor(run.folder)
    seal(run.folder)
    with pytest.raises(ModelFileError):
        headstart.Predictor(run.folder)


def test_moved_run_keeps_its_model(tmp_path: Path) -> None:
    own = write(tmp_path / "lab", my=NETWORK)
    run = train(tmp_path / "runs", own)
    expected = run.predict("examples/photos/t-shirt")
    shutil.rmtree(tmp_path / "lab")
    run.folder.rename(tmp_path / "moved")
    assert headstart.Run(tmp_path / "moved").predict("examples/photos/t-shirt") == expected
    again = train(tmp_path / "more", "auto", start=f"run:{tmp_path / 'moved'}", epochs="1st", stem="imagenet")
    assert again.plan.network.label == "my.py:Net"


def test_index_lists_the_runs_that_were_begun(stranger, tmp_path: Path) -> None:
    run = train(tmp_path / "runs", "timm:test_resnet")
    with (tmp_path / "other-data" / run_index.INDEX_FILE).open("a") as index:
        index.write("damaged\n")
    own = train(tmp_path / "runs", write(tmp_path / "lab", my=NETWORK))
    lines = (tmp_path / "other-data" / run_index.INDEX_FILE).read_text().splitlines()
    first, ended, last, last_ended = (run_index.IndexLine.model_validate_json(lines[i]) for i in (0, 1, -2, -1))
    assert (ended.seal, last_ended.seal) == (run.result.seal.digest, own.result.seal.digest)
    assert run_index.knows_seal(ended.seal) and not run_index.knows_seal("0" * 64) and first.seal == ""
    assert (first.folder, first.plan, first.code) == (run.folder.absolute(), run.plan.hash, "")
    assert (last.folder, last.plan) == (own.folder.absolute(), own.plan.hash)
    assert last.code == read_plan_file(own.folder).plan.facts.network_sha256
    assert run_index.knows_code(last.code) and not run_index.knows_code("0" * 64)


def test_pretrained_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        headstart.compare(
            "digits:0-3", network=RN18, runs=tmp_path, quiet=True, image_size=32, arms=["scratch", "imagenet"]
        )
    assert "file:" in caught.value.hint
