"""Weight files: read without running them, and fitted to a network's keys and shapes.

Formats by content, never by name: safetensors, or torch's own through its `weights_only=True` unpickler, which builds
tensors and refuses everything else. The file is a stranger: sizes are checked before memory is taken.
"""

from __future__ import annotations

import hashlib
import pickletools
import re
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.config.start_spec import not_there
from headstart.errors import DataError, HeadstartError, ModelFileError
from headstart.models.structure import head_name
from headstart.weights.download import sha256_of

WHOLE, HEAD, BACKBONE = "model.safetensors", "head.safetensors", "backbone.safetensors"  # of a model folder
LARGEST_HEADER = 10_000_000  # bytes of JSON in a safetensors file; a ResNet-50 has 30,000
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "network.")
HEADS = ("fc", "classifier", "head", "last_linear", "linear")
SYSTEM = {"__builtin__", "builtins", "ctypes", "importlib", "nt", "os", "posix", "pty", "runpy", "shutil", "socket"}
SYSTEM |= {"subprocess", "sys"}
SHOWN = 4


@dataclass(frozen=True)
class WeightsFile:
    """Tensors as they lie in the file, its metadata (safetensors only) and its SHA-256."""

    path: Path
    state: dict[str, Tensor]
    metadata: dict[str, str]
    sha256: str


def read_weights(path: Path) -> WeightsFile:
    """Read a safetensors or .pth file onto the CPU.

    Raises DataError for a file that is not there or cannot be opened; ModelFileError for one that is damaged, that
    holds more than tensors, or that is no weights file at all. Nothing in the file is executed.
    """
    try:
        with path.open("rb") as file:
            start, size = file.read(9), path.stat().st_size
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder.", f"Name a weights file, or write run:{path} for a model.") from error
    except OSError as error:
        raise not_there(path, str(error.strerror)) from error
    metadata: dict[str, str] = {}
    # First the form of safetensors (8 bytes of length, the highest 0, then JSON): a length may look like a pickle.
    if start[6:] == b"\0\0{":
        state, metadata = _read_safetensors(path, int.from_bytes(start[:8], "little"), size)
    elif start[:2] != b"PK" and start[:1] != b"\x80":
        raise ModelFileError(
            f"{path} is neither a safetensors nor a PyTorch weights file.",
            "Get it again: it is damaged, or something else.",
        )
    elif path.suffix == ".safetensors":
        raise ModelFileError(
            f"{path} is called safetensors but is a pickle, which can carry a program; nothing in it was run.",
            "Get it again from where it came, or call it .pth if torch.save wrote it and you trust who made it.",
        )
    else:
        state = _read_torch(path)
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
            raise ModelFileError(
                f"{name} in {path} is not a plain array of real numbers.", "Save dense, unquantised weights."
            )
        if tensor.numel() * tensor.element_size() > size:
            raise ModelFileError(f"{name} in {path} claims to be larger than the file.", "Do not use this file.")
    return WeightsFile(path, state, metadata, sha256_of(path))


def model_weights(folder: Path) -> WeightsFile:
    """The weights of a model folder: one whole file, or a head and the frozen trunk that many heads share.

    Raises what `read_weights` raises; the SHA-256 of two files is that of their two.
    """
    if (folder / WHOLE).exists() or not (folder / HEAD).exists():
        return read_weights(folder / WHOLE)
    head, backbone = read_weights(folder / HEAD), read_weights(folder / BACKBONE)
    both = hashlib.sha256(f"{head.sha256} {backbone.sha256}".encode()).hexdigest()
    return WeightsFile(head.path, {**backbone.state, **head.state}, head.metadata, both)


def _read_safetensors(path: Path, header: int, size: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if header > min(LARGEST_HEADER, size - 8):
        raise ModelFileError(
            f"{path} is damaged: its header claims {header:,} bytes in a file of {size:,}.", "Get the file again."
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"{path} is damaged ({error}).", "Get the file again.") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    if _is_torchscript(path):
        raise ModelFileError(
            f"{path} is a TorchScript program, not weights.",
            f'Convert it in Python: torch.save(torch.jit.load({str(path)!r}).state_dict(), "weights.pth")',
        )
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever a damaged or hostile file provokes
        raise _refusal(path, error) from error
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ModelFileError(f"{path} holds no named tensors.", "Save the network's state_dict() with torch.save.")
    strange = [str(k) for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if strange:
        raise ModelFileError(
            f"{path} holds other things than tensors ({_some(strange)}).",
            f"Save only the state_dict, or put it under one of {', '.join(WRAPPERS)}.",
        )
    return {name: tensor.detach() for name, tensor in content.items()}


def _refusal(path: Path, error: Exception) -> HeadstartError:
    """The right words for a file that torch's safe unpickler would not read."""
    if isinstance(error, OSError) and error.errno:
        return DataError(f"{path} cannot be read ({error.strerror}).", "Check the file and its disk.")
    names = _foreign_names(path)
    if not names and "Unsupported" not in str(error):
        return ModelFileError(
            f"{path} is damaged or was not written by torch.save ({type(error).__name__}).", "Get the file again."
        )
    whole = any(name.startswith(("torch.nn.", "torchvision.", "timm.")) for name in names)
    if whole and not any(name.partition(".")[0] in SYSTEM for name in names):
        if _is_dict(path):
            return ModelFileError(
                f"{path} is a dict with a whole model in it, which only a pickle that may run programs can open.",
                "If you made it yourself, convert it in Python, with the key that the model has there: "
                f'torch.save(torch.load({str(path)!r}, weights_only=False)["model"].state_dict(), "weights.pth")',
            )
        return ModelFileError(
            f"{path} is a whole model saved by torch.save(model), which only a pickle that may run programs can open.",
            "If you made it yourself, convert it in Python and name the new file: "
            f'torch.save(torch.load({str(path)!r}, weights_only=False).state_dict(), "weights.pth")',
        )
    return ModelFileError(
        f"{path} holds more than tensors ({_some(names) or 'code'}) and was refused; nothing in it was run.",
        "Ask its maker for a safetensors file, or for torch.save(network.state_dict(), PATH).",
    )


def _foreign_names(path: Path) -> list[str]:
    """The classes and functions that the pickle asks for beyond torch's allowed ones; read statically, never run."""
    found: set[str] = set()
    with suppress(Exception):  # a damaged pickle can be read only so far
        if zipfile.is_zipfile(path):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
        with path.open("rb") as file:
            for _ in range(4):  # the old format: magic number, protocol, system, content
                for code, value, _position in pickletools.genops(file):
                    if code.name == "GLOBAL":
                        found.add(str(value).replace(" ", "."))
    return sorted(found - {"__builtin__.set", "builtins.set"})


def _is_dict(path: Path) -> bool:
    """Whether what the pickle holds is a dict at the top; read statically."""
    with suppress(Exception), zipfile.ZipFile(path) as archive:
        inner = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        codes = (code.name for code, _, _ in pickletools.genops(archive.read(inner)))
        return next(name for name in codes if name not in {"PROTO", "FRAME"}) == "EMPTY_DICT"
    return False


def _is_torchscript(path: Path) -> bool:
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
    return False


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def fit(file: WeightsFile, network: nn.Module, *, label: str, num_classes: int) -> tuple[dict[str, Tensor], list[str]]:
    """The trunk's tensors in float32 under the network's own keys, and notes on what was done to get there.

    `network` gives names and shapes only (it may be on the meta device); `label` names it in messages. Prefixes that
    wrappers leave (`module.`, `_orig_mod.`, …) are dropped, `shortcut.` is read as `downsample.`, the file's head is
    left out. A missing `num_batches_tracked` is 0. Raises ModelFileError for missing, unexpected, misshapen, integer
    or non-finite tensors.
    """
    head = head_name(network)
    expected = {k: v for k, v in network.state_dict().items() if not k.startswith(head + ".")}
    renamed, notes = _rename(file, [*expected, head + "."])
    in_head = re.compile(rf"({'|'.join(map(re.escape, sorted({head, *HEADS})))})\.")
    top = {k: v for k, v in renamed.items() if k not in expected and in_head.match(k)}
    state = {k: v for k, v in renamed.items() if k not in top}
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    if missing or unexpected:
        parts = [f"{len(ks)} {w} ({_some(ks)})" for w, ks in (("missing", missing), ("unexpected", unexpected)) if ks]
        raise ModelFileError(
            f"{file.path} does not fit {label}: {' and '.join(parts)} of {len(expected)} tensors.",
            "Name the network and the switches it was made with, or rename its keys.",
        )
    shapes = {k: (tuple(v.shape), tuple(expected[k].shape)) for k, v in state.items()}
    if odd := [f"{k}: {found}, not {wanted}" for k, (found, wanted) in shapes.items() if found != wanted]:
        raise ModelFileError(
            f"{file.path} does not fit {label}: {_some(odd)}.", "Name the network and the stem it was made with."
        )
    if widths := [v.shape[0] for v in top.values() if v.ndim >= 2]:
        notes.append(f"head of {widths[-1]} classes replaced by a fresh one of {num_classes}")
    counter = torch.zeros((), dtype=torch.long)  # the only tensor that may be missing
    backbone = {k: _as_plain(file.path, k, state.get(k, counter), like) for k, like in expected.items()}
    return backbone, notes


def _rename(file: WeightsFile, expected: list[str]) -> tuple[dict[str, Tensor], list[str]]:
    """The file's tensors under the network's spelling; a prefix that the network itself has is kept."""
    prefixes = tuple(p for p in PREFIXES if not any(k.startswith(p) for k in expected))
    renamed: dict[str, Tensor] = {}
    for key, tensor in file.state.items():
        name = key
        while prefix := next((p for p in prefixes if name.startswith(p)), ""):
            name = name.removeprefix(prefix)
        if not any("shortcut" in k for k in expected):
            name = re.sub(r"(^|\.)shortcut\.", r"\1downsample.", name)
        if name in renamed:
            raise ModelFileError(
                f"{file.path} holds {name} twice, once as {key}.", "Keep one of the two networks in the file."
            )
        renamed[name] = tensor
    changed = sum(name not in renamed for name in file.state)
    notes = [f"{changed} keys renamed"] if changed else []
    halves = {str(t.dtype).removeprefix("torch.") for t in renamed.values() if t.is_floating_point()} - {"float32"}
    return renamed, notes + [f"{name} cast to float32" for name in sorted(halves)]


def _as_plain(path: Path, name: str, tensor: Tensor, expected: Tensor) -> Tensor:
    if name.endswith("num_batches_tracked") and tensor.is_floating_point():
        tensor = torch.zeros_like(expected)  # cast with all the rest, it no longer counts; as good as missing
    if tensor.is_floating_point() != expected.is_floating_point():
        raise ModelFileError(
            f"{name} in {path} is {tensor.dtype}, where {expected.dtype} belongs.", "Save unquantised weights."
        )
    plain = tensor.to(expected.dtype, copy=True).contiguous()  # safetensors are mapped: the file may change or go
    if plain.is_floating_point() and not torch.isfinite(plain).all():
        raise ModelFileError(
            f"{name} in {path} holds NaN or infinite numbers.", "Use an earlier file: this training had diverged."
        )
    return plain
