"""Save and load the training state: durable, verified and without pickle.

A checkpoint is one directory that is either complete or absent. Its files are written and synced under a temporary
name, the manifest with their SHA-256 last. Then the directory is renamed and its parent synced. The two newest
checkpoints are kept. Loading verifies the manifest and falls back to the previous checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor

from headstart.config.run_config import RunConfig
from headstart.errors import DataError, ModelFileError, ResourceError
from headstart.i18n import Message, _, join
from headstart.storage.files import fsync_folder
from headstart.storage.folders import require_space
from headstart.storage.schemas.checkpoint import MANIFEST_FILE, STATE_FILE, Manifest, OptimizerNumbers, TrainingProgress
from headstart.storage.schemas.result import RunSeconds
from headstart.storage.schemas.schema import Schema, VersionedSchema
from headstart.text import end_sentence
from headstart.training.loop import enter_phase
from headstart.training.state import State, TrainingContext
from headstart.weights.files import tensor_bytes

MAX_CHECKPOINTS = 2
_START_AGAIN = _("Start the run again; nothing was deleted.")


class RunPosition(Schema):
    """State of a run besides that of the training, from which it continues."""

    bytes: int = Field(description="length of the record")
    seconds: RunSeconds = Field(description="duration of the run so far")
    plan: RunConfig = Field(description="the plan")
    best_epoch: int = Field(description="epoch of the best model; 0 before the first")


class CheckpointState(VersionedSchema):
    """The content of state.json."""

    progress: TrainingProgress = Field(description="progress of the training")
    optimizer: OptimizerNumbers = Field(description="numbers of the optimizer that are no tensors")
    position: RunPosition = Field(description="state of the run besides that of the training")


def save_state(folder: Path, state: State, position: RunPosition) -> Path:
    """Write a checkpoint and delete the old ones.

    Args:
        folder: The folder of all checkpoints of the run.
        state: The state to save.
        position: The position of the run, which `load_state` returns.

    Returns:
        The folder of the checkpoint, such as `folder/step-00000188-0002` (steps and epochs done).

    Raises:
        ResourceError: If the checkpoint cannot be written, for example on a full disk. Earlier checkpoints remain.
    """
    folder.mkdir(exist_ok=True)
    final = folder / f"step-{state.progress.step:08d}-{state.progress.epoch:04d}"
    if not find_damage(final):
        return final
    _remove_temporary(folder)
    files = _files(state, position)
    require_space(folder, int(sum(map(len, files.values())) * 1.05))
    temporary = folder / f"{final.name}.tmp-{os.getpid()}"
    try:
        temporary.mkdir()
        for name, content in files.items():
            _write(temporary / name, content)
        manifest = Manifest(files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
        _write(temporary / MANIFEST_FILE, _json_bytes(manifest))
        fsync_folder(temporary)
        if final.exists():  # damaged, see above
            shutil.rmtree(final)
        temporary.rename(final)
        fsync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ResourceError(
            _(
                "The checkpoint {checkpoint} could not be written ({reason}). The previous checkpoint is intact.",
                checkpoint=final,
                reason=error.strerror,
            ),
            _("Free disk space, then resume."),
        ) from error
    _prune(folder, final)
    return final


def checkpoint_bytes(context: TrainingContext, state: State) -> int:
    """Return the most bytes that a checkpoint of a run takes."""
    network: int = sum(tensor.nbytes for tensor in state.network.state_dict().values())
    slots = max(phase.slots for phase in context.phases)
    return network * (1 + slots + int(state.ema is not None))


def load_state(folder: Path, context: TrainingContext, state: State) -> tuple[RunPosition | None, list[Message]]:
    """Fill `state` from the newest intact checkpoint.

    Args:
        folder: The folder of all checkpoints of the run.
        context: The context of the training.
        state: The initial state; it is changed in place.

    Returns:
        The position in the checkpoint, or None if there is no checkpoint, and one warning per damaged checkpoint.

    Raises:
        ModelFileError: If all checkpoints are damaged or of another version. Nothing is deleted.
    """
    checkpoints = _newest_first(folder)
    warnings: list[Message] = []
    for path in checkpoints:
        damage = find_damage(path)
        if not damage:
            return _fill(path, context, state), warnings
        warnings.append(
            end_sentence(
                _(
                    "The checkpoint {checkpoint} cannot be used: {damage}",
                    checkpoint=path.name,
                    damage=join(damage, "; "),
                )
            )
        )
    if checkpoints:
        error = _manifest_error(checkpoints[0])
        raise ModelFileError(join(warnings), error.hint if error is not None else _START_AGAIN)
    return None, warnings


def newest_position(folder: Path) -> RunPosition | None:
    """Return the position in the newest intact checkpoint, or None if there is none."""
    for path in _newest_first(folder):
        if not find_damage(path):
            return CheckpointState.read(path / STATE_FILE).position
    return None


def find_damage(path: Path) -> list[Message]:
    """Return what is wrong with a checkpoint directory; an intact one has all files of its manifest, unchanged."""
    if not (path / MANIFEST_FILE).exists():
        return [_("it has no manifest")]
    if (error := _manifest_error(path)) is not None:
        return [error.message]
    damage = []
    manifest = Manifest.read(path / MANIFEST_FILE)
    for name, digest in manifest.files.items():
        file = path / name
        if not file.is_file():
            damage.append(_("{file} is missing", file=name))
        elif hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            damage.append(_("{file} differs from its checksum", file=name))
    return damage


def _manifest_error(path: Path) -> DataError | None:
    """Return the error of a checkpoint's manifest that cannot be read or has another version; None if it is valid."""
    try:
        Manifest.read(path / MANIFEST_FILE, _START_AGAIN)
    except DataError as error:
        return error if (path / MANIFEST_FILE).exists() else None
    return None


def remove_all(folder: Path) -> None:
    """Remove the checkpoints of a finished run."""
    shutil.rmtree(folder, ignore_errors=True)


def _files(state: State, position: RunPosition) -> dict[str, bytes]:
    """Return the content of each file of a checkpoint by name."""
    assert state.optimizer is not None  # noqa: S101
    tensors, numbers = _flatten(state.optimizer)
    content = CheckpointState(progress=state.progress, optimizer=numbers, position=position)
    files = {
        "model.safetensors": tensor_bytes(state.network.state_dict()),
        "optimizer.safetensors": tensor_bytes(tensors),
        STATE_FILE: _json_bytes(content),
    }
    if state.ema is not None:
        files |= {"ema.safetensors": tensor_bytes(state.ema.state_dict())}
    return files


def _json_bytes(value: Schema) -> bytes:
    return json.dumps(value.to_json(), indent=1, allow_nan=False).encode()


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], OptimizerNumbers]:
    """Return an optimizer's slots that are tensors, named `3.exp_avg`, and its numbers."""
    tensors: dict[str, Tensor] = {}
    slots: dict[str, bool | int | float] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        for name, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                slots[f"{index}.{name}"] = value
    return tensors, OptimizerNumbers(slots=slots, lr=[group["lr"] for group in optimizer.param_groups])


def _fill(path: Path, context: TrainingContext, state: State) -> RunPosition:
    """Load the checkpoint `path` into `state` and return its position."""
    content = CheckpointState.read(path / STATE_FILE)
    state.network.load_state_dict(load_file(path / "model.safetensors"))
    state.progress = content.progress
    if state.ema is not None:
        state.ema.load_state_dict(load_file(path / "ema.safetensors"))
    if state.progress.phase >= 0:
        enter_phase(context, state, state.progress.phase)
        assert state.optimizer is not None  # noqa: S101
        _restore(state.optimizer, load_file(path / "optimizer.safetensors"), content.optimizer)
    return content.position


def _restore(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: OptimizerNumbers) -> None:
    """Restore the slots on their parameter's device; step counts stay on the CPU except for fused kernels."""
    for group, rate in zip(optimizer.param_groups, numbers.lr, strict=True):
        group["lr"] = rate
    parameters = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    for key, value in {**tensors, **numbers.slots}.items():
        index, _unused, name = key.partition(".")
        parameter, group = parameters[int(index)]
        if isinstance(value, Tensor) and (value.ndim or group.get("fused")):
            value = value.to(parameter.device)
        optimizer.state[parameter][name] = value


def _write(path: Path, content: bytes) -> None:
    """Write a file and sync it to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _remove_temporary(folder: Path) -> None:
    """Remove the incomplete checkpoints of an earlier crash; the run folder is locked, so no process writes them."""
    for temporary in folder.glob("*.tmp-*"):
        shutil.rmtree(temporary, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("step-*") if ".tmp-" not in p.name), reverse=True)


def _prune(folder: Path, newest: Path) -> None:
    """Keep the newest intact checkpoints and remove the others."""
    intact = 1
    for path in (p for p in _newest_first(folder) if p != newest):
        if intact < MAX_CHECKPOINTS and not find_damage(path):
            intact += 1
        else:
            shutil.rmtree(path, ignore_errors=True)
