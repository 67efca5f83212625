"""Checkpoints are complete or absent, are verified, and resume bit for bit."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import safetensors.torch
import torch

from headstart.config.run_config import RunConfig
from headstart.errors import ModelFileError, ResourceError
from headstart.optim.registry import OPTIMIZERS
from headstart.storage import contained
from headstart.storage.contained import UnsafeFileError
from headstart.storage.files import SCHEMA_VERSION
from headstart.storage.schemas.checkpoint import FILES, MANIFEST_FILE, Manifest
from headstart.storage.schemas.result import RunSeconds
from headstart.storage.schemas.schema import StoredFile
from headstart.training import checkpoint, loop
from headstart.training.events import BatchDone, Epoch, FreezeCheck, Step
from headstart.training.state import State, TrainingContext
from tests.messages import fields_of, values_of
from tests.short_runs import prepared

POSITION = checkpoint.RunPosition(
    bytes=7, seconds=RunSeconds(training=1.0, logging=0.1), plan=RunConfig(), best_epoch=0
)
# 62 steps an epoch
SETTINGS = {"network": "resnet20", "epochs": "70st", "ema": 0.9, "mixup": 0.2, "optimizer": "adam", "lr": 1e-3}


def states_equal(a: State, b: State) -> bool:
    pairs = [(a.network.state_dict(), b.network.state_dict())]
    if a.ema is not None and b.ema is not None:
        pairs.append((a.ema.state_dict(), b.ema.state_dict()))
    for x, y in pairs:
        if x.keys() != y.keys() or not all(torch.equal(x[k], y[k]) for k in x):
            return False
    left, right = (s.optimizer.state_dict() for s in (a, b))
    slots = all(torch.equal(left["state"][i][n], right["state"][i][n]) for i in left["state"] for n in left["state"][i])
    numbers = [[{key: group[key] for key in group if key != "weights"} for group in side["param_groups"]]
               for side in (left, right)]  # fmt: skip
    return slots and numbers[0] == numbers[1] and a.progress == b.progress


def events(context: TrainingContext, state: State) -> list[tuple]:
    """Return the events of a training without times."""
    lines = []
    for event in loop.train(context, state):
        if isinstance(event, Step):
            lines.append((event.step, event.epoch, event.loss, tuple(event.rates.items())))
        elif isinstance(event, Epoch):
            lines.append((event.epoch, event.train, event.val.loss, event.val.accuracy, event.best))
        elif isinstance(event, FreezeCheck):
            lines.append((event.phase, event.before, event.after))
    return lines


@pytest.mark.parametrize("position", ["mid-epoch", "last step of epoch", "before validation", "after epoch", "the end"])
def test_resumed_training_is_bit_identical(tmp_path: Path, position: str) -> None:
    settings = {**SETTINGS, "source": "digits:0-1", "batch_size": 16, "epochs": "24st", "tuning": "lp-ft"}
    unbroken = prepared(**settings)
    state = loop.initial_state(unbroken.context)
    whole = events(unbroken.context, state)
    per_epoch = unbroken.context.batches.steps_per_epoch
    assert per_epoch == 16

    first = prepared(**settings)
    half = loop.initial_state(first.context)
    for event in loop.train(first.context, half):
        step, epoch = half.progress.step, half.progress.epoch
        stop = {
            "mid-epoch": isinstance(event, Step) and step == 5,
            "last step of epoch": isinstance(event, Step) and step == per_epoch,
            "before validation": isinstance(event, BatchDone) and step == per_epoch,
            "after epoch": isinstance(event, Epoch) and epoch == 1,
            "the end": isinstance(event, Epoch) and epoch == 2,
        }[position]
        if stop:
            checkpoint.save_state(tmp_path, half, POSITION)
            break

    second = prepared(**settings)
    resumed = loop.initial_state(second.context)
    position, warnings = checkpoint.load_state(tmp_path, second.context, resumed)
    assert (position, warnings) == (POSITION, [])
    assert states_equal(half, resumed)
    rest = events(second.context, resumed)
    assert states_equal(state, resumed)
    assert rest == whole[len(whole) - len(rest) :]
    assert len(rest) < len(whole)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_resume_is_bit_identical_for_every_optimizer(tmp_path: Path, optimizer: str) -> None:
    settings = {"optimizer": optimizer, "epochs": "6st"}
    unbroken, broken = prepared(**settings), prepared(**settings)
    a, b = loop.initial_state(unbroken.context), loop.initial_state(broken.context)
    events(unbroken.context, a)
    for event in loop.train(broken.context, b):
        if isinstance(event, Step) and event.step == 3:
            checkpoint.save_state(tmp_path, b, POSITION)
            break
    again = prepared(**settings)
    c = loop.initial_state(again.context)
    checkpoint.load_state(tmp_path, again.context, c)
    events(again.context, c)
    assert states_equal(a, c)


@pytest.fixture(scope="module")
def small():
    """Return a context and a state in the middle of a run."""
    return after_two_steps()


def after_two_steps(**settings: Any) -> tuple[TrainingContext, State]:
    setup = prepared(network="resnet20", epochs="9st", **settings)
    state = loop.initial_state(setup.context)
    for event in loop.train(setup.context, state):
        if isinstance(event, Step) and event.step == 2:
            break
    return setup.context, state


def at(state: State, step: int) -> State:
    progress = state.progress.model_copy(update={"step": step, "seen": 8 * step, "correct": 0})
    return State(state.network, state.optimizer, state.ema, progress)


def load(folder: Path, context: TrainingContext) -> tuple[int | None, list[str]]:
    state = loop.initial_state(context)
    position, warnings = checkpoint.load_state(folder.parent, context, state)
    return (None if position is None else state.progress.step), warnings


def test_two_checkpoints_are_kept_and_temporary_folders_removed(tmp_path: Path, small) -> None:
    context, state = small
    folder = tmp_path / "checkpoints"
    for step in range(2, 8):
        (folder / f"step-00000099-0000.{step:016x}.tmp-{step}-host").mkdir(parents=True)  # left by a crash
        checkpoint.save_state(folder.parent, at(state, step), POSITION)
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000006-0000", "step-00000007-0000"]
    assert load(folder, context) == (7, [])


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "no manifest", "missing file"])
def test_damaged_checkpoint_is_reported_and_the_previous_one_loaded(tmp_path: Path, small, damage: str) -> None:
    context, state = small
    folder = tmp_path / "checkpoints"
    for step in (2, 3):
        checkpoint.save_state(folder.parent, at(state, step), POSITION)
    newest = folder / "step-00000003-0000"
    file = newest / "model.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "flipped":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "missing file":
        file.unlink()
    else:
        (newest / "MANIFEST.json").unlink()
    step, warnings = load(folder, context)
    assert step == 2
    assert [fields_of(warning)["checkpoint"] for warning in warnings] == [newest]
    checkpoint.save_state(folder.parent, at(state, 4), POSITION)  # the damaged checkpoint does not count
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000002-0000", "step-00000004-0000"]


def test_only_damaged_checkpoints_raise_with_exit_code_6_and_are_not_deleted(tmp_path: Path, small) -> None:
    context, state = small
    folder = tmp_path / "checkpoints"
    for step in (2, 3):
        checkpoint.save_state(folder.parent, at(state, step), POSITION)
    for path in folder.iterdir():
        (path / "state.json").write_text("{}")
    before = sorted(folder.rglob("*"))
    with pytest.raises(ModelFileError) as caught:
        load(folder, context)
    assert caught.value.exit_code == 6
    assert {str(folder / f"step-0000000{step}-0000") for step in (2, 3)} <= set(
        map(str, values_of(caught.value.message))
    )
    assert fields_of(caught.value.hint) == {"checkpoints": folder, "folder": tmp_path}
    assert sorted(folder.rglob("*")) == before


class Crash(BaseException):
    """Stand for the death of the process."""


def count_calls(monkeypatch: pytest.MonkeyPatch, fail_at: int | None, error: type[BaseException]) -> list[str]:
    """Record the calls that change the disk while saving; the call number `fail_at` raises before it does anything."""
    calls: list[str] = []

    def recorded(name: str, original):
        def call(*args, **kwargs):
            if name == "open" and not args[1] & os.O_CREAT:
                return original(*args, **kwargs)
            calls.append(name)
            if len(calls) == fail_at:
                raise error(28, "No space left on device")
            return original(*args, **kwargs)

        return call

    for owner, name in ((os, "fsync"), (os, "mkdir"), (os, "rename"), (os, "open"), (shutil, "rmtree")):
        monkeypatch.setattr(owner, name, recorded(name, getattr(owner, name)))
    return calls


@pytest.mark.parametrize("error", [OSError, Crash])
def test_crash_at_any_call_leaves_a_loadable_checkpoint(tmp_path: Path, small, error) -> None:
    context, state = small
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path / "count" / "checkpoints"
        folder.parent.mkdir()
        for step in (2, 3):
            checkpoint.save_state(folder.parent, at(state, step), POSITION)
        total = (
            len(calls := count_calls(patch, None, error))
            or (checkpoint.save_state(folder.parent, at(state, 4), POSITION), len(calls))[1]
        )
    assert total > 8
    for nth in range(1, total + 1):
        folder = tmp_path / f"{nth}" / "checkpoints"
        folder.parent.mkdir()
        for step in (2, 3):
            checkpoint.save_state(folder.parent, at(state, step), POSITION)
        with pytest.MonkeyPatch.context() as patch:
            count_calls(patch, nth, error)
            with contextlib.suppress(ResourceError, OSError, Crash):
                checkpoint.save_state(folder.parent, at(state, 4), POSITION)
        step, _ = load(folder, context)
        assert step in (3, 4), nth
        whole = [
            p
            for p in folder.glob("step-*")
            if ".tmp-" not in p.name and not checkpoint.find_damage(folder.parent, p.name)
        ]
        assert len(whole) >= 2, nth
        checkpoint.save_state(folder.parent, at(state, 5), POSITION)
        assert not list(folder.glob("*.tmp-*"))
        shutil.rmtree(folder)


def test_full_disk_raises_with_exit_code_5_and_the_previous_checkpoint_is_intact(
    tmp_path: Path, small, monkeypatch
) -> None:
    context, state = small
    folder = tmp_path / "checkpoints"
    checkpoint.save_state(folder.parent, at(state, 2), POSITION)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ResourceError) as caught:
        checkpoint.save_state(folder.parent, at(state, 3), POSITION)
    assert caught.value.exit_code == 5
    assert load(folder, context) == (2, [])


def test_checkpoint_contains_no_pickle(tmp_path: Path, small) -> None:
    _, state = small
    path = checkpoint.save_state(tmp_path, state, POSITION)
    assert {p.suffix for p in path.iterdir()} == {".safetensors", ".json"}
    manifest = json.loads((path / "MANIFEST.json").read_text())
    assert set(manifest["files"]) | {"MANIFEST.json"} == {p.name for p in path.iterdir()}


def test_invalid_manifest_is_told_from_a_missing_one(tmp_path: Path, small) -> None:
    context, state = small
    folder = tmp_path / "checkpoints"
    manifest = checkpoint.save_state(folder.parent, at(state, 2), POSITION) / "MANIFEST.json"
    content = manifest.read_text()

    def error() -> ModelFileError:
        with pytest.raises(ModelFileError) as caught:
            load(folder, context)
        return caught.value

    manifest.write_text(content.replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
    other_version = error()
    assert (fields_of(other_version.message)["schema"], fields_of(other_version.message)["supported"]) == (
        99,
        SCHEMA_VERSION,
    )
    manifest.write_text(content[:20])
    damaged = error()
    assert fields_of(damaged.message)["name"] == str(manifest)
    manifest.unlink()
    missing = error()
    assert "name" not in fields_of(missing.message)
    assert other_version.hint != damaged.hint == missing.hint


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_checkpoints_fit_into_the_space_that_is_required(tmp_path: Path, optimizer: str) -> None:
    setup = prepared(network="resnet20", optimizer=optimizer, lr=1e-4, epochs="9st")
    state = loop.initial_state(setup.context)
    next(event for event in loop.train(setup.context, state) if isinstance(event, Step))
    folder = checkpoint.save_state(tmp_path, state, POSITION)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    assert 0.9 * checkpoint.checkpoint_bytes(setup.context, state) < size
    assert size < 1.1 * checkpoint.checkpoint_bytes(setup.context, state)


def test_a_checkpoint_is_read_only_with_exactly_its_files(tmp_path: Path, small) -> None:
    context, state = small
    for step in (2, 3):
        checkpoint.save_state(tmp_path, at(state, step), POSITION)
    newest = tmp_path / "checkpoints" / "step-00000003-0000"
    content = json.loads((newest / "MANIFEST.json").read_text())
    model = bytearray((newest / "model.safetensors").read_bytes())
    model[-1] ^= 1
    outside = {**content["files"], "../step-00000002-0000/model.safetensors": content["files"]["model.safetensors"]}
    no_model = {name: stored for name, stored in content["files"].items() if name != "model.safetensors"}
    for files in (no_model, outside, {}, {**content["files"], "other": content["files"]["state.json"]}):
        (newest / "model.safetensors").write_bytes(model)  # no manifest below lets it pass
        (newest / "MANIFEST.json").write_text(json.dumps({**content, "files": files}))
        assert load(tmp_path / "checkpoints", context)[0] == 2
    for text in ("{}", "[" * 1_000_000, '{"files":' * 100_000, "", "null"):
        (newest / "MANIFEST.json").write_text(text)
        assert load(tmp_path / "checkpoints", context)[0] == 2
    (newest / "MANIFEST.json").write_text(json.dumps(content))
    assert load(tmp_path / "checkpoints", context)[0] == 2  # the flipped bit
    model[-1] ^= 1
    (newest / "model.safetensors").write_bytes(model)
    assert load(tmp_path / "checkpoints", context) == (3, [])


def test_a_checkpoint_with_a_header_of_many_tensors_is_damaged(
    tmp_path: Path, small, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = small
    checkpoint.save_state(tmp_path, at(state, 2), POSITION)
    folder = tmp_path / "checkpoints" / "step-00000002-0000"
    empty = {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(100_000)}
    header = json.dumps(empty).encode()
    content = len(header).to_bytes(8, "little") + header
    (folder / "model.safetensors").write_bytes(content)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["files"]["model.safetensors"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    loaded: list[bytes] = []
    monkeypatch.setattr(checkpoint.safetensors.torch, "load", loaded.append)
    with pytest.raises(ModelFileError):
        load(tmp_path / "checkpoints", context)
    assert not loaded


Slot = Callable[[torch.Tensor], torch.Tensor]


def forge(folder: Path, tensors: Mapping[str, Slot | None] = MappingProxyType({}), **progress: Any) -> None:
    """Change slots of the optimizer in a checkpoint, None removes one, and the progress; the manifest fits."""
    slots = safetensors.torch.load_file(folder / "optimizer.safetensors")
    for name, change in tensors.items():
        slot = slots.pop(name, torch.zeros(1))
        if change is not None:
            slots[name] = change(slot)
    safetensors.torch.save_file(slots, folder / "optimizer.safetensors")
    content = json.loads((folder / "state.json").read_text())
    content["progress"] |= progress
    (folder / "state.json").write_text(json.dumps(content))
    files = {file: StoredFile.of((folder / file).read_bytes()) for file in FILES}
    (folder / MANIFEST_FILE).write_text(json.dumps(Manifest(files=files).to_json()))


FORGED: dict[str, dict[str, Any]] = {
    "shape": {"tensors": {"0.exp_avg": lambda slot: slot.reshape(-1)}},
    "small": {"tensors": {"0.exp_avg": lambda slot: slot[:1].clone()}},
    "scalar": {"tensors": {"0.exp_avg_sq": lambda slot: slot.sum()}},
    "type": {"tensors": {"0.exp_avg": lambda slot: slot.to(torch.int8)}},
    "complex": {"tensors": {"0.late": lambda _: torch.tensor(1j)}},
    "step": {"tensors": {"0.step": lambda _: torch.tensor(-1.0)}},
    "missing": {"tensors": {"0.exp_avg": None}},
    "odd slot": {"tensors": {"0.other": lambda slot: torch.zeros(1)}},
    "parameter": {"tensors": {"9999.exp_avg": lambda slot: slot}},
    "negative parameter": {"tensors": {"-1.exp_avg": lambda slot: slot}},
    "no parameter": {"tensors": {"exp_avg": lambda slot: slot}},
    "NaN step": {"tensors": {"0.step": lambda slot: slot * float("nan")}},
    "vector of steps": {"tensors": {"0.step": lambda slot: torch.zeros(2)}},
    "last step": {"step": 2**53},
    "no step": {"step": 0},
    "no phase": {"phase": -1},
    "phase": {"phase": 1},
    "epoch": {"epoch": 5},
    "seen": {"seen": 0},
    "correct": {"correct": 2**53},
    "best": {"best_epoch": 1},
    "losses": {"val_losses": [1.0] * 3},
}


@pytest.fixture(scope="module")
def adam():
    """Return a context and a state after two steps of Adam."""
    return after_two_steps(optimizer="adam")


@pytest.mark.parametrize("name", FORGED)
def test_a_checkpoint_of_another_optimizer_or_position_is_refused(tmp_path: Path, adam, name: str) -> None:
    context, state = adam
    folder = checkpoint.save_state(tmp_path, state, POSITION)
    forge(folder)
    checkpoint.load_state(tmp_path, context, loop.initial_state(context))
    forge(folder, **FORGED[name])
    with pytest.raises(ModelFileError):
        checkpoint.load_state(tmp_path, context, loop.initial_state(context))


def test_a_linked_checkpoint_is_neither_read_nor_changed(tmp_path: Path, small) -> None:
    context, state = small
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    checkpoint.save_state(run, at(state, 2), POSITION)
    (outside / "important.tmp-backup").mkdir(parents=True)
    checkpoints = run / "checkpoints"
    file = checkpoints / "step-00000002-0000" / "state.json"
    shutil.copy(file, outside / "state.json")
    file.unlink()
    file.symlink_to(outside / "state.json")
    with pytest.raises(ModelFileError):
        load(checkpoints, context)
    shutil.rmtree(checkpoints)
    checkpoints.symlink_to(outside)
    for call in (
        lambda: load(checkpoints, context),
        lambda: checkpoint.save_state(run, at(state, 3), POSITION),
        lambda: checkpoint.newest_position(run),
    ):
        with pytest.raises(UnsafeFileError):
            call()
    checkpoint.remove_all(run)
    assert sorted(path.name for path in outside.iterdir()) == ["important.tmp-backup", "state.json"]
    assert not checkpoints.is_symlink()


def test_folders_of_others_are_not_removed(tmp_path: Path, small) -> None:
    _, state = small
    names = ["important.tmp-backup", "step-00000099-0000.tmp-7", "step-1.tmp-1-host"]
    for name in names:
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    checkpoint.save_state(tmp_path, at(state, 2), POSITION)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {*names, "step-00000002-0000"}


def test_a_trained_weight_without_slots_is_refused(tmp_path: Path, adam) -> None:
    _context, state = adam
    again = prepared(network="resnet20", epochs="9st", optimizer="adam").context
    folder = checkpoint.save_state(tmp_path, state, POSITION)
    checkpoint.load_state(tmp_path, again, loop.initial_state(again))
    forge(folder, tensors={"0.exp_avg": None, "0.exp_avg_sq": None, "0.step": None})
    again = prepared(network="resnet20", epochs="9st", optimizer="adam").context
    with pytest.raises(ModelFileError):
        checkpoint.load_state(tmp_path, again, loop.initial_state(again))


def test_a_weight_that_never_had_a_gradient_has_no_slots(tmp_path: Path) -> None:
    """Such as one that the network of a user does not use; the optimizer makes its slots with the first gradient."""
    setup = prepared(network="resnet20", epochs="9st", optimizer="adam")
    state = loop.initial_state(setup.context)
    for event in loop.train(setup.context, state):
        if isinstance(event, Step):
            break
    view = state.optimizer.param_groups[0]["params"][0]
    del state.optimizer.state[view]
    weight = state.optimizer.param_groups[0].get("weights", state.optimizer.param_groups[0]["params"])[0]
    again = prepared(network="resnet20", epochs="9st", optimizer="adam").context
    names = {id(parameter): name for name, parameter in state.network.named_parameters()}
    with torch.no_grad():
        weight.copy_(dict(again.network.named_parameters())[names[id(weight)]])
    checkpoint.save_state(tmp_path, state, POSITION)
    resumed = loop.initial_state(again)
    assert checkpoint.load_state(tmp_path, again, resumed)[1] == []
    assert len(resumed.optimizer.state) == len(state.optimizer.state)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_a_file_that_is_larger_than_its_network_needs_is_not_read(
    tmp_path: Path, small, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, state = small
    folder = checkpoint.save_state(tmp_path, state, POSITION)
    size = 4_000_000_000
    with (folder / file).open("r+b") as content:
        content.truncate(size)  # a hole
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"][file]["size"] = size
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    read: list[str] = []
    original = contained.read_bytes

    def recorded(root: Path, name: str, *limit: int) -> bytes:
        read.append(name)
        assert not name.endswith(f"{folder.name}/{file}")  # it would take all of the memory
        return original(root, name, *limit)

    monkeypatch.setattr(contained, "read_bytes", recorded)
    with pytest.raises(ModelFileError) as error:
        load(tmp_path / "checkpoints", context)
    assert fields_of(error.value.message)["file"] == file
    assert checkpoint.newest_position(tmp_path) == POSITION  # for which no tensors are read
    assert checkpoint.newest_position(tmp_path, context) is None
    checkpoint.save_state(tmp_path, at(state, 3), POSITION)
    assert read and not folder.exists()
