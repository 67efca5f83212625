"""State to folder and back: durable, verified, free of pickle.

A checkpoint is one directory, whole or not there: its files are written and synced under a temporary name, the
manifest with their sha256 last, then the directory is renamed and its parent synced. The two newest are kept. Loading
verifies the manifest and falls back to the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from headstart.errors import ModelFileError, ResourceError
from headstart.storage.files import fsync_folder
from headstart.storage.folders import require_space
from headstart.training.loop import enter
from headstart.training.state import Progress, State, TrainingContext

KEEP = 2
MEMORY = "memory"  # the order of a slot's dimensions, as parts/optimizers.py makes them
SLOTS = 2  # tensors that an optimizer keeps beside each weight, at most


def save_state(folder: Path, state: State, extra: dict[str, Any]) -> Path:
    """Write `folder/step-00000188` with everything that `load_state` needs; `extra` is JSON the caller wants back.

    Raises ResourceError when the disk is full; the checkpoints before stay as they were.
    """
    folder.mkdir(exist_ok=True)
    final = folder / f"step-{state.progress.step:08d}-{state.progress.epoch:04d}"
    if not faults(final):
        return final
    _sweep(folder)
    files = _files(state, extra)
    require_space(folder, int(sum(map(len, files.values())) * 1.05))
    temporary = folder / f"{final.name}.tmp-{os.getpid()}"
    try:
        temporary.mkdir()
        for name, content in files.items():
            _write(temporary / name, content)
        manifest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        _write(temporary / "MANIFEST.json", json.dumps(manifest, indent=1).encode())
        fsync_folder(temporary)
        if final.exists():  # damaged: found so above
            shutil.rmtree(final)
        temporary.rename(final)
        fsync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ResourceError(
            f"The checkpoint {final} could not be written ({error.strerror}); the one before is intact.",
            "Free some space, then resume.",
        ) from error
    _prune(folder, final)
    return final


def room(state: State) -> int:
    """Bytes on disk that a run's checkpoints take at most: those that are kept, and the next one being written."""
    network = sum(tensor.nbytes for tensor in state.network.state_dict().values())
    return (KEEP + 1) * network * (1 + SLOTS + int(state.ema is not None))


def load_state(folder: Path, parts: TrainingContext, state: State) -> tuple[dict[str, Any] | None, list[str]]:
    """Fill `state` from the newest checkpoint that is whole; returns its `extra` and one warning per damaged one.

    Returns None as extra when there is no checkpoint at all. Raises ModelFileError when there are only damaged ones;
    nothing is deleted.
    """
    found = _newest_first(folder)
    warnings: list[str] = []
    for path in found:
        damage = faults(path)
        if not damage:
            return _fill(path, parts, state), warnings
        warnings.append(f"The checkpoint {path.name} is damaged ({'; '.join(damage)}).")
    if found:
        raise ModelFileError(" ".join(warnings), "Start the run anew; nothing was deleted.")
    return None, warnings


def newest_extra(folder: Path) -> dict[str, Any]:
    """The `extra` of the newest checkpoint that is whole; empty when there is none."""
    for path in _newest_first(folder):
        if not faults(path):
            return dict(json.loads((path / "state.json").read_text())["extra"])
    return {}


def faults(path: Path) -> list[str]:
    """What is wrong with a checkpoint directory; empty when every file is what its manifest says."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_text())
        entries = dict(manifest)
    except (OSError, ValueError, TypeError):
        return ["no manifest"]
    wrong = []
    for name, digest in entries.items():
        file = path / name
        if not file.is_file():
            wrong.append(f"{name} is missing")
        elif hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            wrong.append(f"{name} is not what was written")
    return wrong


def remove_all(folder: Path) -> None:
    """A finished run keeps no checkpoints."""
    shutil.rmtree(folder, ignore_errors=True)


def tensor_bytes(tensors: dict[str, Tensor]) -> bytes:
    """A safetensors file of the tensors, on the CPU and in plain order; equal tensors give equal bytes.

    The metadata has one key only: safetensors writes several in an order that changes from call to call.
    """
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return save(plain, metadata={"format": "pt"})


def _files(state: State, extra: dict[str, Any]) -> dict[str, bytes]:
    assert state.optimizer is not None  # noqa: S101
    tensors, numbers = _flatten(state.optimizer)
    content = {"progress": state.progress.to_json(), "optimizer": numbers, "extra": extra}
    files = {
        "model.safetensors": tensor_bytes(state.network.state_dict()),
        "optimizer.safetensors": tensor_bytes(tensors),
        "state.json": json.dumps(content, indent=1, allow_nan=False).encode(),
    }
    if state.ema is not None:
        files["ema.safetensors"] = tensor_bytes(state.ema.state_dict())
    return files


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's slots: tensors named `3.exp_avg`, other values under `slots`, and the groups' rates under `lr`."""
    tensors: dict[str, Tensor] = {}
    slots: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                slots[f"{index}.{name}"] = value
    return tensors, {"slots": slots, "lr": [group["lr"] for group in optimizer.param_groups], "order": MEMORY}


def _fill(path: Path, parts: TrainingContext, state: State) -> dict[str, Any]:
    content = json.loads((path / "state.json").read_text())
    if content["optimizer"].get("order") != MEMORY:
        raise ModelFileError(
            f"The checkpoint {path} was written by an older headstart, which kept the optimizer in another order.",
            "Start the run anew with --force-new.",
        )
    state.network.load_state_dict(load_file(path / "model.safetensors"))
    state.progress = Progress.from_json(content["progress"])
    if state.ema is not None:
        state.ema.load_state_dict(load_file(path / "ema.safetensors"))
    if state.progress.phase >= 0:
        enter(parts, state, state.progress.phase)
        assert state.optimizer is not None  # noqa: S101
        _restore(state.optimizer, load_file(path / "optimizer.safetensors"), content["optimizer"])
    extra: dict[str, Any] = content["extra"]
    return extra


def _restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    """Put the slots back as torch had made them: beside their parameter, but counts of steps only for fused kernels."""
    for group, rate in zip(optimizer.param_groups, numbers["lr"], strict=True):
        group["lr"] = rate
    owners = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    for key, value in {**tensors, **numbers["slots"]}.items():
        index, _, name = key.partition(".")
        parameter, group = owners[int(index)]
        if isinstance(value, Tensor) and (value.ndim or group.get("fused")):
            value = value.to(parameter.device)
        optimizer.state[parameter][name] = value


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sweep(folder: Path) -> None:
    """Remove what an earlier crash left half-made; the run folder is locked, so nobody is writing it."""
    for orphan in folder.glob("*.tmp-*"):
        shutil.rmtree(orphan, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("step-*") if ".tmp-" not in p.name), reverse=True)


def _prune(folder: Path, newest: Path) -> None:
    """Keep the newest checkpoints; a damaged one does not count as kept."""
    kept = 1
    for path in (p for p in _newest_first(folder) if p != newest):
        if kept < KEEP and not faults(path):
            kept += 1
        else:
            shutil.rmtree(path, ignore_errors=True)
