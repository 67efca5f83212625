"""Say what a file or folder is that is no weights file, and how to get weights from it."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path

from headstart.config.registry.starts import FILE_START
from headstart.config.start_spec import run_start
from headstart.errors import DataError, ModelFileError
from headstart.i18n import Message, _

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # of a folder from the Hugging Face Hub
INDEX_SUFFIX = ".index.json"  # of the table of a model in several files
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
_DCP_FILES = (".metadata", ".distcp")  # of torch.distributed.checkpoint
_AGAIN = _("Download or copy the file again.")
_OTHER_PROGRAM = _("Use weights that PyTorch or safetensors saved.")
_UNPACK = _("Unpack it, and name the weights file in it.")
_FORMATS = (  # first bytes in lower case, what the file is, what to do
    (b"version https://git-lfs", _("the pointer of Git LFS to the weights"), _("Run `git lfs pull` in its folder.")),
    (b"<!doctype", _("a web page"), _("Download the file itself, not the page about it.")),
    (b"<html", _("a web page"), _("Download the file itself, not the page about it.")),
    (b"<?xml", _("the answer of a server"), _AGAIN),
    (b"\x89hdf", _("an HDF5 file, as Keras writes it"), _OTHER_PROGRAM),
    (b"\x93numpy", _("an array of NumPy"), _OTHER_PROGRAM),
    (b"gguf", _("a GGUF file of a language model"), _OTHER_PROGRAM),
    (b"\x1f\x8b", _("compressed"), _UNPACK),
    (b"7z\xbc\xaf", _("compressed"), _UNPACK),
    (b"bzh", _("compressed"), _UNPACK),
    (b"\xfd7zxz", _("compressed"), _UNPACK),
    (b"rar!", _("compressed"), _UNPACK),
)
_SUFFIXES = {  # formats without typical first bytes
    ".onnx": (_("an ONNX file"), _OTHER_PROGRAM),
    ".tflite": (_("a file of TensorFlow Lite"), _OTHER_PROGRAM),
    ".pb": (_("a file of TensorFlow"), _OTHER_PROGRAM),
    ".index": (_("a part of a checkpoint of TensorFlow"), _OTHER_PROGRAM),
    ".mlmodel": (_("a file of Core ML"), _OTHER_PROGRAM),
    ".engine": (_("a program of TensorRT"), _OTHER_PROGRAM),
}
_MEMBERS = (  # ends of names in archives
    ("model.weights.h5", _("a model of Keras"), _OTHER_PROGRAM),
    (".npy", _("an archive of NumPy"), _OTHER_PROGRAM),
    *((suffix, _("an archive that contains a weights file"), _UNPACK) for suffix in WEIGHTS_SUFFIXES),
)


def format_error(path: Path, start: bytes) -> ModelFileError:
    """Return the error of a file of another format, which its first bytes or its suffix show."""
    text = start.lstrip().lower()
    kind = next(((what, hint) for first, what, hint in _FORMATS if text.startswith(first)), None)
    if kind is None and _is_tar(path):
        kind = _("an archive"), _UNPACK
    kind = kind or _SUFFIXES.get(path.suffix.lower())
    if kind:
        return _error(path, *kind)
    return ModelFileError(_("{path} is neither a safetensors nor a PyTorch weights file.", path=path), _AGAIN)


def archive_error(path: Path) -> ModelFileError | None:
    """Return the error of a part of a checkpoint, or of a zip archive of another program; None for others."""
    if path.name.endswith(_DCP_FILES):
        return _distributed_error(path, path.parent)
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("/data.pkl") for name in names) and not any(
            name.endswith("/archive_format") for name in names
        ):
            return None
        if any(name.endswith(("/archive_format", "serialized_exported_program.json")) for name in names):
            code = f'torch.save(torch.export.load({str(path)!r}).state_dict, "weights.pth")'
            return _error(
                path, _("a program of torch.export"), _("Convert it in Python: import torch; {code}", code=code)
            )
        for end, what, hint in _MEMBERS:
            if any(name.endswith(end) for name in names):
                return _error(path, what, hint)
    return None


def folder_error(path: Path) -> DataError | ModelFileError:
    """Return the error of a folder in the place of a weights file, with what to name instead."""
    names = sorted(entry.name for entry in path.iterdir())
    if any(name.endswith(_DCP_FILES) for name in names):
        return _distributed_error(path, path)
    if "saved_model.pb" in names:
        return DataError(_("{path} is a model of TensorFlow.", path=path), _OTHER_PROGRAM)
    if "data.pkl" in names:
        return DataError(
            _("{path} is an unpacked file of torch.save.", path=path),
            _(
                "Pack it again, in its parent folder: `zip -0 -r {packed:shell} {name:shell}`.",
                packed=Path(f"{path.name}.pth"),
                name=Path(path.name),
            ),
        )
    files = [name for name in names if name.endswith((*WEIGHTS_SUFFIXES, INDEX_SUFFIX))]
    best = next((name for name in HUB_FILES if name in names), "")
    best = best or next((name for name in files if name.endswith(INDEX_SUFFIX)), "")
    best = best or (files[0] if len(files) == 1 else "")
    if not best:  # DeepSpeed
        states = sorted(path.glob("*/mp_rank_00_model_states.pt"))
        best = states[-1].relative_to(path).as_posix() if states else ""
    if best:
        hint = _("Use {start:shell}.", start=f"{FILE_START}:{path / best}")
    elif (path / "model").is_dir() or "config.json" in names:
        hint = _("Name a weights file, or write {start:shell} for a model.", start=run_start(path))
    elif files:
        hint = _("Use a weights file in it, such as {start:shell}.", start=f"{FILE_START}:{path / files[0]}")
    else:
        hint = _("Name a weights file: it ends in .safetensors or .pth.")
    return DataError(_("{path} is a folder.", path=path), hint)


def _error(path: Path, what: Message, hint: Message) -> ModelFileError:
    return ModelFileError(_("{path} is {what}, not weights of PyTorch.", path=path, what=what), hint)


def _distributed_error(path: Path, folder: Path) -> ModelFileError:
    return ModelFileError(
        _("{path} is a checkpoint of torch.distributed.", path=path),
        _(
            "Convert it: `python -m torch.distributed.checkpoint.format_utils "
            "dcp_to_torch {folder:shell} weights.pth`.",
            folder=str(folder),
        ),
    )


def _is_tar(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(257)
        return file.read(5) == b"ustar"
