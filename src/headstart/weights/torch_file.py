"""Read files that torch.save wrote with its `weights_only=True` unpickler, which builds tensors and nothing else."""

from __future__ import annotations

import pickletools
import sys
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from headstart.errors import DataError, HeadstartError, ModelFileError
from headstart.i18n import _, ngettext
from headstart.text import join_first

STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")
SYSTEM_MODULES = {"__builtin__", "builtins", "ctypes", "importlib", "nt", "os", "posix", "pty", "runpy", "shutil"}
SYSTEM_MODULES |= {"socket", "subprocess", "sys"}
MAX_NAMES_SHOWN = 4
NOT_OWN = {"torch", "torchvision", "timm", "numpy", "__builtin__", "copy_reg"} | sys.stdlib_module_names - {"__main__"}
OWN_FILE = "YOUR_FILE"  # stands for the file of a class that was pickled as __main__.NAME


def read_torch(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file that torch.save wrote.

    Raises:
        DataError: The file cannot be read.
        ModelFileError: The file is damaged, or contains more than tensors.
    """
    if _is_torchscript(path):
        raise ModelFileError(
            _("{path} is a TorchScript program, not weights.", path=path),
            _('Convert it in Python: torch.save(torch.jit.load({path!r}).state_dict(), "weights.pth")', path=str(path)),
        )
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # damaged and hostile files raise many kinds of errors
        raise _load_error(path, error) from error
    for wrapper in STATE_DICT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if isinstance(content, Mapping):
        state_dicts = [value for value in content.values() if _is_state_dict(value)]
        content = state_dicts[0] if len(state_dicts) == 1 else content  # under a name of the user's own
    if not isinstance(content, Mapping) or not content:
        raise ModelFileError(
            _("{path} contains no named tensors.", path=path), _("Save the network's state_dict() with torch.save.")
        )
    others = [str(k) for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if others:
        raise ModelFileError(
            ngettext(
                "{path} contains {count} value that is no tensor ({names}).",
                "{path} contains {count} values that are no tensors ({names}).",
                len(others),
                path=path,
                names=join_first(others, MAX_NAMES_SHOWN),
            ),
            _("Save only the state_dict, or put it under one of {keys}.", keys=", ".join(STATE_DICT_KEYS)),
        )
    return {name: tensor.detach() for name, tensor in content.items()}


def _is_state_dict(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


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
    has_model = any(name.startswith(("torch.nn.", "torchvision.", "timm.")) for name in names)
    if has_model and not any(name.partition(".")[0] in SYSTEM_MODULES for name in names):
        imports = _imports_of_own_classes(names)
        if _is_dict(path):
            return ModelFileError(
                _("{path} is a dict that contains a whole model; opening it could run code from the file.", path=path),
                _(
                    "If you made it yourself, convert it in Python, with the key that the model has there: "
                    "{imports}torch.save(torch.load({path!r}, weights_only=False)"
                    '["model"].state_dict(), "weights.pth")',
                    imports=imports,
                    path=str(path),
                ),
            )
        return ModelFileError(
            _("{path} contains a whole model; opening it could run code from the file.", path=path),
            _(
                "If you made it yourself, convert it in Python and name the new file: "
                '{imports}torch.save(torch.load({path!r}, weights_only=False).state_dict(), "weights.pth")',
                imports=imports,
                path=str(path),
            ),
        )
    return ModelFileError(
        _(
            "{path} contains more than tensors ({names}) and was refused; nothing in it was run.",
            path=path,
            names=join_first(names, MAX_NAMES_SHOWN) or _("code"),
        ),
        _("Ask its author for a safetensors file, or for torch.save(network.state_dict(), PATH)."),
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


def _is_dict(path: Path) -> bool:
    """Return True if the pickle's top-level object is a dict, without running it."""
    with suppress(Exception), zipfile.ZipFile(path) as archive:
        inner = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        codes = (code.name for code, _unused, _unused in pickletools.genops(archive.read(inner)))
        return next(name for name in codes if name not in {"PROTO", "FRAME"}) == "EMPTY_DICT"
    return False


def _is_torchscript(path: Path) -> bool:
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
    return False
