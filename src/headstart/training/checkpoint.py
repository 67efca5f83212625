"""Save and load the training state: durable, verified and without pickle.

A checkpoint is one directory that is either complete or absent. Its files are written and synced under a temporary
name, the manifest with their sizes and SHA-256 last. Then the directory is renamed and its parent synced. The two
newest checkpoints are kept. Loading verifies the bytes that it uses, and falls back to the previous checkpoint.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType

import safetensors.torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from headstart.config.run_config import RunConfig
from headstart.errors import DataError, ModelFileError, ResourceError
from headstart.i18n import Message, _, join
from headstart.storage import contained, repair
from headstart.storage.folders import require_space
from headstart.storage.schemas.checkpoint import (
    EMA_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    OPTIMIZER_FILE,
    STATE_FILE,
    Manifest,
    OptimizerNumbers,
    TrainingProgress,
)
from headstart.storage.schemas.result import RunSeconds
from headstart.storage.schemas.schema import MAX_JSON_BYTES, Count, Schema, StoredFile, VersionedSchema
from headstart.storage.tensor_file import MAX_HEADER_BYTES, MAX_TENSOR_BYTES, parse_tensor_file
from headstart.text import end_sentence
from headstart.training import optimizer_slots
from headstart.training.loop import enter_phase
from headstart.training.state import State, TrainingContext
from headstart.weights.files import tensor_bytes

MAX_CHECKPOINTS = 2
_MAX_GROWTH = 4  # of a file of an earlier checkpoint of the same run, against the present one
FOLDER = repair.CHECKPOINTS_FOLDER
_NAME = re.compile(r"step-\d{8,}-\d{4,}")
_UNFINISHED = re.compile(rf"{_NAME.pattern}\.[0-9a-f]{{16}}\.tmp-\d+-.+")
_START_AGAIN = _("Train the run again from its start.")  # `load_state` names its folder


class RunPosition(Schema):
    """State of a run besides that of the training, from which it continues."""

    bytes: Count = Field(description="length of the record")
    seconds: RunSeconds = Field(description="duration of the run so far")
    plan: RunConfig = Field(description="the plan")
    best_epoch: Count = Field(description="epoch of the best model; 0 before the first")


class CheckpointState(VersionedSchema):
    """The content of state.json."""

    progress: TrainingProgress = Field(description="progress of the training")
    optimizer: OptimizerNumbers = Field(description="numbers of the optimizer that are no tensors")
    position: RunPosition = Field(description="state of the run besides that of the training")


def save_state(run: Path, state: State, position: RunPosition) -> Path:
    """Write a checkpoint and delete the old ones.

    Args:
        run: The folder of the run.
        state: The state to save.
        position: The position of the run, which `load_state` returns.

    Returns:
        The folder of the checkpoint, such as `run/checkpoints/step-00000188-0002` (steps and epochs done).

    Raises:
        ResourceError: If the checkpoint cannot be written, for example on a full disk. Earlier checkpoints remain.
        UnsafeFileError: The folder of the checkpoints is a link.
    """
    folder = contained.make_folder(run, FOLDER)
    name = f"step-{state.progress.step:08d}-{state.progress.epoch:04d}"
    files = _files(state, position)
    limits = {file: _MAX_GROWTH * len(content) + MAX_HEADER_BYTES for file, content in files.items()}
    if not find_damage(run, name, limits):
        return folder / name
    _remove_unfinished(run)
    require_space(folder, int(sum(map(len, files.values())) * 1.05))
    temporary = f"{FOLDER}/{name}.{secrets.token_hex(8)}{contained.temp_suffix()}"
    try:
        contained.make_folder(run, temporary, exist_ok=False)
        for file, content in files.items():
            contained.create(run, f"{temporary}/{file}", content)
        manifest = Manifest(files={file: StoredFile.of(content) for file, content in files.items()})
        contained.create(run, f"{temporary}/{MANIFEST_FILE}", _json_bytes(manifest))
        contained.sync_folder(run, temporary)
        contained.remove_folder(run, f"{FOLDER}/{name}")  # a damaged one, see above
        contained.rename(run, temporary, f"{FOLDER}/{name}")
        contained.sync_folder(run, FOLDER)
    except OSError as error:
        contained.remove_folder(run, temporary)
        raise ResourceError(
            _(
                "The checkpoint {checkpoint} could not be written ({reason}). The previous checkpoint is intact.",
                checkpoint=folder / name,
                reason=error.strerror,
            ),
            _("Free disk space, then resume."),
        ) from error
    _prune(run, name, limits)
    return folder / name


def checkpoint_bytes(context: TrainingContext, state: State) -> int:
    """Return the most bytes that a checkpoint of a run takes."""
    network: int = sum(tensor.nbytes for tensor in state.network.state_dict().values())
    slots = max(phase.slots for phase in context.phases)
    return network * (1 + slots + int(state.ema is not None))


def load_state(run: Path, context: TrainingContext, state: State) -> tuple[RunPosition | None, list[Message]]:
    """Fill `state` from the newest intact checkpoint.

    Args:
        run: The folder of the run.
        context: The context of the training.
        state: The initial state; it is changed in place.

    Returns:
        The position in the checkpoint, or None if there is no checkpoint, and one warning per damaged checkpoint.

    Raises:
        ModelFileError: If all checkpoints are damaged or of another version. Nothing is deleted.
        UnsafeFileError: The folder of the checkpoints is a link.
    """
    checkpoints = _newest_first(run)
    warnings: list[Message] = []
    errors: list[DataError] = []
    initial = optimizer_slots.weight_digests(state.network) if checkpoints else {}
    for name in checkpoints:
        try:
            return _fill(_verified(run, name, _limits(context, state.network)), context, state, initial), warnings
        except DataError as error:
            errors.append(error)
            damage = error.message
            warnings.append(
                end_sentence(
                    _(
                        "The checkpoint {checkpoint} cannot be used: {damage}",
                        checkpoint=run / FOLDER / name,
                        damage=damage,
                    )
                )
            )
    if errors:
        hint = errors[0].hint  # another one if the checkpoint is of another version
        raise ModelFileError(join(warnings), repair.checkpoints_hint(run) if hint == _START_AGAIN else hint)
    return None, warnings


def newest_position(run: Path, context: TrainingContext | None = None) -> RunPosition | None:
    """Return the position in the newest intact checkpoint, or None if there is none.

    Args:
        run: The folder of the run.
        context: The context of the training, which bounds the tensors. Without it only state.json is verified.
    """
    limits = {} if context is None else _limits(context, context.network)
    names = (STATE_FILE,) if context is None else None
    for name in _newest_first(run):
        try:
            return _content(_verified(run, name, limits, names)).position
        except DataError:
            continue
    return None


def find_damage(run: Path, name: str, limits: Mapping[str, int] = MappingProxyType({})) -> Message | None:
    """Return what is wrong with a checkpoint; None if it has exactly the files of its manifest, unchanged.

    `limits` has the largest size of some files.
    """
    try:
        _verified(run, name, limits)
    except DataError as error:
        return error.message
    return None


def _limits(context: TrainingContext, network: nn.Module) -> dict[str, int]:
    """Return the most bytes that each file with tensors has: a few times what the network and its optimizer need."""
    weights: int = sum(tensor.nbytes for tensor in network.state_dict().values())
    slots = max(phase.slots for phase in context.phases)
    # an optimizer of a plug-in may have more slots than it says, and wider ones than its weights
    factors = {MODEL_FILE: 1, EMA_FILE: 1, OPTIMIZER_FILE: 2 * (slots + 1)}
    return {name: factor * weights + MAX_HEADER_BYTES for name, factor in factors.items()}


def _verified(
    run: Path, name: str, limits: Mapping[str, int], names: Collection[str] | None = None
) -> dict[str, bytes]:
    """Return the files of a checkpoint, whose content is that of its manifest.

    Args:
        run: The folder of the run.
        name: Name of the checkpoint.
        limits: Largest size of some files; a larger one is not read.
        names: Names of the files that are read. Default: all.

    Raises:
        DataError: A file is missing, changed, too large or a link, or the manifest is damaged or of another version.
    """
    place = f"{FOLDER}/{name}"
    if not contained.is_file(run, f"{place}/{MANIFEST_FILE}"):
        raise DataError(_("it has no manifest"), _START_AGAIN)
    manifest = Manifest.read(run / place / MANIFEST_FILE, _START_AGAIN, root=run)
    files = {}
    for file in manifest.files if names is None else names:
        stored = manifest.files[file]
        entry = contained.find(run, f"{place}/{file}")
        if entry is None:
            raise DataError(_("{file} is missing", file=file), _START_AGAIN)
        limit = limits.get(file, MAX_TENSOR_BYTES if file != STATE_FILE else MAX_JSON_BYTES)
        if stored.size > limit:
            raise DataError(_("{file} is larger than {limit:,} bytes", file=file, limit=limit), _START_AGAIN)
        content = contained.read_bytes(run, f"{place}/{file}", stored.size) if entry.size == stored.size else b""
        if StoredFile.of(content) != stored:
            raise DataError(_("{file} differs from its checksum", file=file), _START_AGAIN)
        files[file] = content
    return files


def remove_all(run: Path) -> None:
    """Remove the checkpoints of a finished run."""
    contained.remove_folder(run, FOLDER)


def _files(state: State, position: RunPosition) -> dict[str, bytes]:
    """Return the content of each file of a checkpoint by name."""
    assert state.optimizer is not None  # noqa: S101
    tensors, numbers = optimizer_slots.flatten(state.optimizer)
    content = CheckpointState(progress=state.progress, optimizer=numbers, position=position)
    files = {
        MODEL_FILE: tensor_bytes(state.network.state_dict()),
        OPTIMIZER_FILE: tensor_bytes(tensors),
        STATE_FILE: _json_bytes(content),
    }
    if state.ema is not None:
        files |= {EMA_FILE: tensor_bytes(state.ema.state_dict())}
    return files


def _json_bytes(value: Schema) -> bytes:
    return json.dumps(value.to_json(), indent=1, allow_nan=False).encode()


def _content(files: dict[str, bytes]) -> CheckpointState:
    return CheckpointState.parse(files[STATE_FILE], STATE_FILE, _START_AGAIN)


def _fill(files: dict[str, bytes], context: TrainingContext, state: State, initial: Mapping[int, bytes]) -> RunPosition:
    """Load the verified files of a checkpoint into `state` and return its position; `initial` is of its first weights.

    Raises:
        DataError: They do not fit the state.
    """
    content = _content(files)
    if (EMA_FILE in files) != (state.ema is not None):
        raise DataError(_("its weight averages are not those of the plan"), _START_AGAIN)
    _require_position(content.progress, context)
    try:
        state.progress = content.progress
        enter_phase(context, state, state.progress.phase)
        assert state.optimizer is not None  # noqa: S101
        expected = optimizer_slots.slots_after_a_step(context.phases[state.progress.phase], state.network)
        state.network.load_state_dict(_tensors(files, MODEL_FILE))
        if state.ema is not None:
            state.ema.load_state_dict(_tensors(files, EMA_FILE))
        optimizer_slots.restore(state.optimizer, _tensors(files, OPTIMIZER_FILE), content.optimizer, expected)
        if state.progress.step > context.phases[state.progress.phase].begin:
            optimizer_slots.require_slots_of_trained(state.optimizer, expected, initial)
    except (ModelFileError, SafetensorError, RuntimeError, LookupError, ValueError) as error:
        # files that were made with a manifest
        raise DataError(_("it is not of this network ({reason})", reason=error), _START_AGAIN) from None
    return content.position


def _tensors(files: dict[str, bytes], name: str) -> dict[str, Tensor]:
    return safetensors.torch.load(parse_tensor_file(Path(name), files[name]).content)


def _require_position(progress: TrainingProgress, context: TrainingContext) -> None:
    """Raise DataError unless the training of the plan comes to a position."""
    per_epoch, images = context.batches.steps_per_epoch, context.batches.batch_size
    begun = progress.step - min(progress.epoch * per_epoch, context.steps)  # steps of the current epoch
    phase = context.phases[progress.phase] if 0 <= progress.phase < len(context.phases) else None
    is_possible = (
        phase is not None
        and phase.begin <= progress.step <= phase.end
        and 0 <= begun <= per_epoch
        and progress.correct <= progress.seen <= begun * images
        and (begun > 0) == (progress.seen > 0)
        and max(progress.best_epoch, progress.stale, len(progress.val_losses)) <= progress.epoch
    )
    if not is_possible:
        raise DataError(_("it is at a step that the plan does not have"), _START_AGAIN)


def _remove_unfinished(run: Path) -> None:
    """Remove the incomplete checkpoints of an earlier crash; the run folder is locked, so no process writes them."""
    for entry in contained.entries(run, FOLDER):
        if _UNFINISHED.fullmatch(entry.name):
            contained.remove_folder(run, f"{FOLDER}/{entry.name}")


def _newest_first(run: Path) -> list[str]:
    """Return the names of the checkpoints of a run, the newest first."""
    if not contained.is_folder(run, FOLDER):
        return []
    return sorted((entry.name for entry in contained.entries(run, FOLDER) if _NAME.fullmatch(entry.name)), reverse=True)


def _prune(run: Path, newest: str, limits: Mapping[str, int]) -> None:
    """Keep the newest intact checkpoints and remove the others."""
    intact = 1
    for name in (name for name in _newest_first(run) if name != newest):
        if intact < MAX_CHECKPOINTS and not find_damage(run, name, limits):
            intact += 1
        else:
            contained.remove_folder(run, f"{FOLDER}/{name}")
