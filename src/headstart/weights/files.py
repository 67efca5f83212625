"""Read weight files without executing them.

The format is detected from the content, not from the name: safetensors, or torch's own format through its
`weights_only=True` unpickler, which builds tensors and refuses everything else. Files are not trusted: sizes are
checked before memory is allocated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from headstart.config.start_spec import unreadable_weights_error
from headstart.errors import ModelFileError
from headstart.i18n import _
from headstart.storage.tensor_file import MAX_TENSORS, pickle_error
from headstart.weights.download import sha256_of
from headstart.weights.json_files import read_json
from headstart.weights.other_formats import INDEX_SUFFIX, folder_error, format_error
from headstart.weights.torch_file import read_torch

MAX_HEADER_BYTES = 10_000_000  # of JSON in a safetensors file; a ResNet-50 has 30,000


@dataclass(frozen=True)
class WeightsFile:
    """A weights file.

    Attributes:
        path: The file.
        state: Its tensors by their names; those in nested dicts have the keys before their names, joined by dots.
        metadata: Its texts (safetensors only).
        sha256: Its hash.
        containers: Names of the dicts that contain tensors; "" is the file itself.
    """

    path: Path
    state: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str
    containers: tuple[str, ...] = ("",)


def read_weights(path: Path) -> WeightsFile:
    """Read a safetensors or .pth file onto the CPU. Nothing in the file is executed.

    Raises:
        DataError: The file does not exist or cannot be opened.
        ModelFileError: The file is damaged, contains more than tensors, or is not a weights file.
    """
    if path.name.endswith(INDEX_SUFFIX) and path.is_file():
        return _read_parts(path)
    try:
        with path.open("rb") as file:
            start, size = file.read(64), path.stat().st_size
    except IsADirectoryError as error:
        raise folder_error(path) from error
    except OSError as error:
        raise unreadable_weights_error(path, str(error.strerror)) from error
    metadata: dict[str, str] = {}
    containers: tuple[str, ...] = ("",)
    # Test for safetensors first (8 bytes of length, the highest 0, then JSON): a length may look like a pickle.
    if start[6:9] == b"\0\0{":
        state, metadata = _read_safetensors(path, int.from_bytes(start[:8], "little"), size)
    elif start[:2] != b"PK" and start[:1] != b"\x80":
        raise format_error(path, start)
    elif path.suffix == ".safetensors":
        raise pickle_error(path)
    else:
        state, containers = read_torch(path)
    _require_few_tensors(path, len(state))
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > size:
            raise ModelFileError(
                _("{name} in {path} claims to be larger than the file.", name=name, path=path),
                _("Do not use this file."),
            )
    return WeightsFile(path, state, metadata, sha256_of(path), containers)


def _read_parts(path: Path) -> WeightsFile:
    """Return the tensors of a model in several files, which a JSON file beside them lists.

    The SHA-256 is that of the hashes of the files. Only files in the same folder are read.
    """
    table = read_json(path).get("weight_map")
    names = sorted({str(name) for name in table.values()}) if isinstance(table, dict) else []
    if not names or any(Path(name).name != name or name.endswith(INDEX_SUFFIX) for name in names):
        raise ModelFileError(
            _("{path} does not list the files of a model.", path=path), _("Download or copy the file again.")
        )
    parts: list[WeightsFile] = []
    for name in names:
        parts.append(read_weights(path.with_name(name)))
        _require_few_tensors(path, sum(len(part.state) for part in parts))
    state = {name: tensor for part in parts for name, tensor in part.state.items()}
    return WeightsFile(
        path, state, parts[0].metadata, hashlib.sha256(" ".join(p.sha256 for p in parts).encode()).hexdigest()
    )


def _read_safetensors(path: Path, header: int, size: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if header > min(MAX_HEADER_BYTES, size - 8):
        raise ModelFileError(
            _(
                "{path} is damaged: its header claims {header:,} bytes in a file of {size:,}.",
                path=path,
                header=header,
                size=size,
            ),
            _("Download or copy the file again."),
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            _require_few_tensors(path, len(file.keys()))
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            _("{path} is damaged ({error}).", path=path, error=error), _("Download or copy the file again.")
        ) from error


def _require_few_tensors(path: Path, count: int) -> None:
    """Raise ModelFileError for far more tensors than networks have: matching their names would take minutes."""
    if count > MAX_TENSORS:
        raise ModelFileError(
            _("{path} has {count:,} tensors, and at most {limit:,} are read.", path=path, count=count,
              limit=MAX_TENSORS),
            _("Use the weights of one network."),
        )  # fmt: skip


def tensor_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Return the tensors as a safetensors file; equal tensors give equal bytes.

    The tensors are written from the CPU in contiguous order. The metadata has only one key, because safetensors writes
    several keys in an order that changes from call to call.
    """
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return save(contiguous, metadata={"format": "pt"})
