"""Read weight files without executing them, and adapt them to a network's keys and shapes.

The format is detected from the content, not from the name: safetensors, or torch's own format through its
`weights_only=True` unpickler, which builds tensors and refuses everything else. Files are not trusted: sizes are
checked before memory is allocated.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from headstart.config.model_file import BACKBONE_FILE, HEAD_FILE, MODEL_FILE
from headstart.config.start_spec import run_start, unreadable_weights_error
from headstart.errors import DataError, ModelFileError
from headstart.i18n import Message, _, ngettext
from headstart.models.structure import PROJECTION_NAMES, head_name
from headstart.text import join_first
from headstart.weights.download import sha256_of
from headstart.weights.torch_file import MAX_NAMES_SHOWN, read_torch

MAX_HEADER_BYTES = 10_000_000  # of JSON in a safetensors file; a ResNet-50 has 30,000
REMOVED_KEY_PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "network.")
HEAD_NAMES = ("fc", "classifier", "head", "last_linear", "linear")
_MATCH_NETWORK = _("Set --network, --shortcut, --norm and --stem as for the network in the file.")


@dataclass(frozen=True)
class WeightsFile:
    """The tensors of a weights file as stored, its metadata (safetensors only) and its SHA-256."""

    path: Path
    state: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str


def read_weights(path: Path) -> WeightsFile:
    """Read a safetensors or .pth file onto the CPU. Nothing in the file is executed.

    Raises:
        DataError: The file does not exist or cannot be opened.
        ModelFileError: The file is damaged, contains more than tensors, or is not a weights file.
    """
    try:
        with path.open("rb") as file:
            start, size = file.read(9), path.stat().st_size
    except IsADirectoryError as error:
        raise DataError(
            _("{path} is a folder.", path=path),
            _("Name a weights file, or write {start:shell} for a model.", start=run_start(path)),
        ) from error
    except OSError as error:
        raise unreadable_weights_error(path, str(error.strerror)) from error
    metadata: dict[str, str] = {}
    # Test for safetensors first (8 bytes of length, the highest 0, then JSON): a length may look like a pickle.
    if start[6:] == b"\0\0{":
        state, metadata = _read_safetensors(path, int.from_bytes(start[:8], "little"), size)
    elif start[:2] != b"PK" and start[:1] != b"\x80":
        raise ModelFileError(
            _("{path} is neither a safetensors nor a PyTorch weights file.", path=path),
            _("Download or copy the file again."),
        )
    elif path.suffix == ".safetensors":
        raise ModelFileError(
            _(
                "{path} is named safetensors but is a pickle, which can contain a program; nothing in it was run.",
                path=path,
            ),
            _("Download it again, or rename it to .pth if torch.save wrote it and you trust its source."),
        )
    else:
        state = read_torch(path)
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
            raise ModelFileError(
                _("{name} in {path} is not a dense array of real numbers.", name=name, path=path),
                _("Save dense, unquantized weights."),
            )
        if tensor.numel() * tensor.element_size() > size:
            raise ModelFileError(
                _("{name} in {path} claims to be larger than the file.", name=name, path=path),
                _("Do not use this file."),
            )
    return WeightsFile(path, state, metadata, sha256_of(path))


def model_weights(folder: Path) -> WeightsFile:
    """Read the weights of a model folder: one file, or a head and the frozen backbone that several heads share.

    The SHA-256 of two files is that of their two hashes. Raises the errors of `read_weights`.
    """
    if (folder / MODEL_FILE).exists() or not (folder / HEAD_FILE).exists():
        return read_weights(folder / MODEL_FILE)
    head, backbone = read_weights(folder / HEAD_FILE), read_weights(folder / BACKBONE_FILE)
    both = hashlib.sha256(f"{head.sha256} {backbone.sha256}".encode()).hexdigest()
    return WeightsFile(head.path, {**backbone.state, **head.state}, head.metadata, both)


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
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            _("{path} is damaged ({error}).", path=path, error=error), _("Download or copy the file again.")
        ) from error


def adapt_weights(
    file: WeightsFile, network: nn.Module, *, label: str, num_classes: int
) -> tuple[dict[str, Tensor], list[Message]]:
    """Return the backbone's tensors in float32 under the network's own keys, and notes on what was changed.

    Prefixes of wrappers (`module.`, `_orig_mod.`, …) are removed, `shortcut.` is read as `downsample.` or the reverse,
    as the network names it, and the file's head is left out. A missing `num_batches_tracked` is 0.

    Args:
        file: The weights file.
        network: Gives names and shapes only; it may be on the meta device.
        label: Name of the network in messages.
        num_classes: Classes of the new head.

    Raises:
        ModelFileError: A tensor is missing, unexpected, of another shape, of integers or not finite.
    """
    head = head_name(network)
    expected = {k: v for k, v in network.state_dict().items() if not k.startswith(head + ".")}
    renamed, notes = _rename(file, [*expected, head + "."])
    in_head = re.compile(rf"({'|'.join(map(re.escape, sorted({head, *HEAD_NAMES})))})\.")
    head_state = {k: v for k, v in renamed.items() if k not in expected and in_head.match(k)}
    state = {k: v for k, v in renamed.items() if k not in head_state}
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    if missing or unexpected:
        raise ModelFileError(
            _(
                "{path} does not fit {network}: {mismatch} of {count} tensors.",
                path=file.path,
                network=label,
                mismatch=_mismatch(missing, unexpected),
                count=len(expected),
            ),
            _MATCH_NETWORK,
        )
    _require_equal_shapes(file.path, state, expected, label)
    if widths := [v.shape[0] for v in head_state.values() if v.ndim >= 2]:
        notes.append(
            ngettext(
                "The head with {count:,} output was replaced by a new one with {outputs}.",
                "The head with {count:,} outputs was replaced by a new one with {outputs}.",
                widths[-1],
                outputs=num_classes,
            )
        )
    counter = torch.zeros((), dtype=torch.long)  # the only tensor that may be missing
    backbone = {k: _as_finite(file.path, k, state.get(k, counter), like) for k, like in expected.items()}
    return backbone, notes


def _require_equal_shapes(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], label: str) -> None:
    shapes = {k: (tuple(v.shape), tuple(expected[k].shape)) for k, v in state.items()}
    different = [
        _("{tensor}: {shape}, not {expected}", tensor=k, shape=str(shape), expected=str(required))
        for k, (shape, required) in shapes.items()
        if shape != required
    ]
    if different:
        message = ngettext(
            "{path} does not fit {network}: {count} tensor has another shape ({mismatches}).",
            "{path} does not fit {network}: {count} tensors have another shape ({mismatches}).",
            len(different),
            path=path,
            network=label,
            mismatches=join_first(different, MAX_NAMES_SHOWN),
        )
        raise ModelFileError(message, _MATCH_NETWORK)


def _mismatch(missing: Sequence[str], unexpected: Sequence[str]) -> Message:
    """Return how many tensors are missing and unexpected, with examples."""
    first = _("{count} missing ({names})", count=len(missing), names=join_first(missing, MAX_NAMES_SHOWN))
    second = _("{count} unexpected ({names})", count=len(unexpected), names=join_first(unexpected, MAX_NAMES_SHOWN))
    if missing and unexpected:
        return _("{first} and {second}", first=first, second=second)
    return first if missing else second


def _rename(file: WeightsFile, expected: list[str]) -> tuple[dict[str, Tensor], list[Message]]:
    """Return the file's tensors under the network's names; a prefix that the network itself has stays."""
    prefixes = tuple(p for p in REMOVED_KEY_PREFIXES if not any(k.startswith(p) for k in expected))
    renamed: dict[str, Tensor] = {}
    own = next((name for name in PROJECTION_NAMES if any(f".{name}." in f".{key}" for key in expected)), "downsample")
    other = next(name for name in PROJECTION_NAMES if name != own)
    for key, tensor in file.state.items():
        name = key
        while prefix := next((p for p in prefixes if name.startswith(p)), ""):
            name = name.removeprefix(prefix)
        if not any(f".{other}." in f".{key}" for key in expected):
            name = re.sub(rf"(^|\.){other}\.", rf"\1{own}.", name)
        if name in renamed:
            raise ModelFileError(
                _("{path} contains {name} twice, once as {key}.", path=file.path, name=name, key=key),
                _("Keep one of the two networks in the file."),
            )
        renamed[name] = tensor
    changed = sum(name not in renamed for name in file.state)
    renaming = ngettext(
        "{count:,} key of {file} was renamed.", "{count:,} keys of {file} were renamed.", changed, file=file.path.name
    )
    notes = [renaming] if changed else []
    dtypes = {str(t.dtype).removeprefix("torch.") for t in renamed.values() if t.is_floating_point()} - {"float32"}
    return renamed, notes + [
        _("Tensors of {file} were converted from {dtype} to float32.", file=file.path.name, dtype=name)
        for name in sorted(dtypes)
    ]


def _as_finite(path: Path, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    """Return a copy in the expected dtype. Raises ModelFileError for another kind of numbers, NaN or infinity."""
    if name.endswith("num_batches_tracked") and tensor.is_floating_point():
        tensor = torch.zeros_like(expected)  # a counter cast to floating point is not exact: treat it as missing
    if tensor.is_floating_point() != expected.is_floating_point():
        raise ModelFileError(
            _(
                "{name} in {path} is {dtype}, but {expected} is required.",
                name=name,
                path=path,
                dtype=str(tensor.dtype),
                expected=str(expected.dtype),
            ),
            _("Save unquantized weights."),
        )
    copied = tensor.to(expected.dtype, copy=True).contiguous()  # the file is memory-mapped and may change
    if copied.is_floating_point() and not torch.isfinite(copied).all():
        raise ModelFileError(
            _("{name} in {path} contains NaN or infinite numbers.", name=name, path=path),
            _("Use an earlier file: this training had diverged."),
        )
    return copied


def tensor_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Return the tensors as a safetensors file; equal tensors give equal bytes.

    The tensors are written from the CPU in contiguous order. The metadata has only one key, because safetensors writes
    several keys in an order that changes from call to call.
    """
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    return save(contiguous, metadata={"format": "pt"})
