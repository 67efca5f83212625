"""Read files that torch.save wrote with its `weights_only=True` unpickler, which builds tensors and nothing else."""

from __future__ import annotations

import pickletools
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from headstart.errors import DataError, HeadstartError, ModelFileError
from headstart.i18n import Message, _
from headstart.text import format_bytes, join_first
from headstart.weights.other_formats import archive_error
from headstart.weights.pickle_outline import Outline, outline

# Modules of the standard library whose objects are data. A file that names others gets no advice to open it.
DATA_MODULES = {"argparse", "collections", "copyreg", "copy_reg", "datetime", "decimal", "enum", "fractions"}
DATA_MODULES |= {"functools", "numbers", "pathlib", "random", "uuid", "zoneinfo", "_codecs", "__main__"}
SYSTEM_MODULES = {"__builtin__", "nt", "posix"} | (sys.stdlib_module_names - DATA_MODULES)
USUAL_NAMES = ("torch._utils.", "torch.storage.", "collections.OrderedDict")  # of every state dict
MAX_NAMES_SHOWN = 4
MAX_DEPTH = 12  # of dicts in dicts
MAX_UNPACKED_BYTES = 100_000_000  # of the members of an archive beyond its own size; torch.save does not compress
MAX_UNPACKED_RATIO = 20
MAX_PACKED_PICKLE_BYTES = 10_000_000
MAX_PICKLE_SAMPLE = 64 << 20  # bytes of a pickle that are looked through
MAX_CONTAINERS = 4_000_000  # lists, dicts and tuples of a pickle; each takes one byte, and about 100 in memory
CONTAINER_CODES = b"]})(\x85\x86\x87"
NOT_OWN = {"torch", "torchvision", "timm", "numpy", "__builtin__", "copy_reg"} | sys.stdlib_module_names - {"__main__"}
OWN_FILE = "YOUR_FILE"  # stands for the file of a class that was pickled as __main__.NAME


def read_torch(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors in a file that torch.save wrote, and the names of the dicts that contain them.

    The names of tensors in nested dicts begin with the keys of the dicts, joined by dots.

    Raises:
        DataError: The file cannot be read.
        ModelFileError: The file is damaged, or contains more than tensors.
    """
    if _is_torchscript(path):
        raise ModelFileError(
            _("{path} is a TorchScript program, not weights.", path=path),
            _('Convert it in Python: torch.save(torch.jit.load({path!r}).state_dict(), "weights.pth")', path=str(path)),
        )
    if error := archive_error(path):
        raise error
    _require_unpacked_size(path)
    _require_plain_pickle(path)
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # damaged and hostile files raise many kinds of errors
        raise _load_error(path, error) from error
    items = list(_tensors(content, "", 0, set()))
    if not isinstance(content, Mapping) or not items:
        raise ModelFileError(
            _("{path} contains no named tensors.", path=path), _("Save the network's state_dict() with torch.save.")
        )
    containers = dict.fromkeys(container for container, _key, _tensor in items)
    return {f"{container}.{key}" if container else key: tensor for container, key, tensor in items}, tuple(containers)


def _require_unpacked_size(path: Path) -> None:
    """Raise ModelFileError for an archive whose members are far larger than the file."""
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        members, size = archive.infolist(), path.stat().st_size
        unpacked = sum(member.file_size for member in members)
        is_large_pickle = any(
            member.compress_type != zipfile.ZIP_STORED
            and member.filename.endswith("data.pkl")
            and member.file_size > MAX_PACKED_PICKLE_BYTES
            for member in members
        )
        if is_large_pickle or unpacked > max(size + MAX_UNPACKED_BYTES, size * MAX_UNPACKED_RATIO):
            raise ModelFileError(
                _(
                    "{path} unpacks from {size} to {unpacked}, far more than weights need.",
                    path=path,
                    size=format_bytes(size),
                    unpacked=format_bytes(unpacked),
                ),
                _("Do not use this file."),
            )


def _require_plain_pickle(path: Path) -> None:
    """Raise ModelFileError for a pickle that takes far more memory than the file, also in torch's safe unpickler.

    It may consist of empty lists, or ask for a `bytearray` of any length, which state dicts do not have.
    """
    content = b""
    with suppress(OSError, zipfile.BadZipFile, StopIteration, NotImplementedError, zlib.error):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                with archive.open(name) as member:
                    content = member.read(MAX_PICKLE_SAMPLE)
        else:
            with path.open("rb") as file:
                content = file.read(MAX_PICKLE_SAMPLE)
    containers = sum(content.count(code) for code in CONTAINER_CODES)
    if b"bytearray" in content or (containers > MAX_CONTAINERS and containers > len(content) / 4):
        raise ModelFileError(
            _("{path} contains objects that take far more memory than weights of this size.", path=path),
            _("Do not use this file."),
        )


def _tensors(content: object, name: str, depth: int, seen: set[int]) -> Iterator[tuple[str, str, Tensor]]:
    """Return the name of the dict or list of each tensor, its key and the tensor.

    Each dict and list is visited once: in a hostile file they contain each other many times.
    """
    if depth < MAX_DEPTH and id(content) not in seen and isinstance(content, Mapping | list | tuple):
        seen.add(id(content))
        for key, value in content.items() if isinstance(content, Mapping) else enumerate(content):
            if isinstance(value, Tensor):
                yield name, str(key), value.detach()
            else:
                yield from _tensors(value, f"{name}.{key}" if name else str(key), depth + 1, seen)


def _load_error(path: Path, error: Exception) -> HeadstartError:
    """Return the error to raise for a file that torch's safe unpickler does not read."""
    if isinstance(error, OSError) and error.errno:
        return DataError(
            _("{path} cannot be read ({reason}).", path=path, reason=error.strerror), _("Check the file and its disk.")
        )
    names = _foreign_names(path)
    if not names and "Unsupported" not in str(error):
        return ModelFileError(
            _("{path} is damaged or was not written by torch.save ({kind}).", path=path, kind=type(error).__name__),
            _("Download or copy the file again."),
        )
    content = outline(path)
    is_data = not any(name.partition(".")[0] in SYSTEM_MODULES for name in names)
    unusual = [name for name in names if not name.startswith(USUAL_NAMES)]
    if is_data and (content.has_arrays or (names and not content.weights and _are_of_numpy(unusual))):
        return _arrays_error(path, content, names)
    if not content.weights or not is_data:
        return ModelFileError(
            _(
                "{path} contains more than tensors ({names}) and was refused; nothing in it was run.",
                path=path,
                names=join_first(names, MAX_NAMES_SHOWN) or _("code"),
            ),
            _("Ask its author for a safetensors file, or for torch.save(network.state_dict(), PATH)."),
        )
    return ModelFileError(
        _(
            "{path} contains {content}; opening it could run code from the file.",
            path=path,
            content=_content(content, names),
        ),
        _(
            "If you made it or trust its source, convert it in Python where its classes are installed, and use "
            "file:weights.pth: {imports}weights = torch.load({path!r}, weights_only=False){key}; torch.save(weights, "
            '"weights.pth")',
            imports=_imports_of_own_classes(names),
            path=str(path),
            key=content.weights[0],
        ),
    )


def _are_of_numpy(names: list[str]) -> bool:
    return all(name.startswith("numpy.") for name in names)


def _arrays_error(path: Path, content: Outline, names: list[str]) -> ModelFileError:
    """Return the error on a file with arrays of NumPy, some of which may be tensors or belong to other objects."""
    message = _("{path} contains arrays of NumPy, not tensors.", path=path)
    if not content.weights:  # they have no names
        return ModelFileError(message, _("Save the network's state_dict() with torch.save."))
    return ModelFileError(
        message,
        _(
            "If you made it or trust its source, convert it in Python: {code}",
            code=f"{_imports_of_own_classes(names)}arrays = torch.load({str(path)!r}, weights_only=False)"
            f"{content.weights[0]}; "
            'torch.save({k: torch.as_tensor(v) for k, v in arrays.items() if hasattr(v, "shape")}, "weights.pth")',
        ),
    )


def _content(content: Outline, names: list[str]) -> Message:
    """Return what a file contains that torch's safe unpickler does not read, and where its weights are."""
    unusual = [n for n in names if not n.startswith(USUAL_NAMES) and not n.endswith("Storage")]
    classes, key = join_first(unusual, MAX_NAMES_SHOWN), content.weights[0].removesuffix(".state_dict()")
    if content.is_network and not key:
        return _("a whole network with its code ({classes})", classes=classes)
    if content.is_network:
        return _("a whole network with its code under {key} ({classes})", key=key, classes=classes)
    others = content.weights[1:]
    weights = _("{key}, others under {others}", key=key, others=join_first(others, MAX_NAMES_SHOWN)) if others else key
    return _(
        "objects ({classes}) under {objects}, besides its weights under {weights}",
        classes=classes,
        objects=join_first(content.objects, MAX_NAMES_SHOWN),
        weights=weights,
    )


def _imports_of_own_classes(names: list[str]) -> str:
    """Return the imports that make a user's own classes known, before the line that loads a model of them.

    A class that was defined in the program itself is looked for in the program that loads it: the file has to be named.
    """
    by_module: dict[str, list[str]] = {}
    for name in names:
        module, _unused, definition = name.rpartition(".")
        is_importable = all(part.isidentifier() for part in name.split("."))  # the text is to be pasted
        if is_importable and module and module.partition(".")[0] not in NOT_OWN:
            by_module.setdefault(OWN_FILE if module == "__main__" else module, []).append(definition)
    if not by_module:
        return "import torch; "
    imports = "; ".join(f"from {module} import {', '.join(classes)}" for module, classes in by_module.items())
    return f"import torch; {imports}; "


def _foreign_names(path: Path) -> list[str]:
    """Return the classes and functions that the pickle needs beyond torch's allowed ones, without running it."""
    names: set[str] = set()
    with suppress(Exception):  # a damaged pickle is read up to the damage
        if zipfile.is_zipfile(path):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
        with path.open("rb") as file:
            for _unused in range(4):  # the old format: magic number, protocol, system, content
                for code, value, _position in pickletools.genops(file):
                    if code.name == "GLOBAL":
                        names.add(str(value).replace(" ", "."))
    return sorted(names - {"__builtin__.set", "builtins.set"})


def _is_torchscript(path: Path) -> bool:
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
    return False
