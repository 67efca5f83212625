"""Read the weights of a model folder of headstart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from headstart.config.model_file import BACKBONE_FILE, HEAD_FILE, MODEL_FILE, read_weight_files, unusable_model
from headstart.config.start_spec import unreadable_weights_error
from headstart.errors import ModelFileError
from headstart.i18n import _
from headstart.storage import contained
from headstart.storage.contained import TooLargeError
from headstart.storage.repair import model_hint
from headstart.storage.schemas.schema import StoredFile
from headstart.storage.tensor_file import damaged, read_tensor_file
from headstart.weights.files import WeightsFile


def model_weights(root: Path, name: str = "") -> WeightsFile:
    """Read the weights of a model folder: one file, or a head and the frozen backbone that several heads share.

    The files must be those that headstart's config.json names, by size and hash. The SHA-256 of two files is that of
    their two hashes.

    Args:
        root: The folder that the user has named.
        name: Name of the model folder below it; "" for the root.

    Raises:
        DataError: A file is missing, is a link or cannot be opened.
        ModelFileError: A file is damaged or not that of config.json, or config.json is damaged.
    """
    expected = read_weight_files(root, name)
    has_model, has_head = (contained.is_file(root, contained.join(name, file)) for file in (MODEL_FILE, HEAD_FILE))
    if has_model or not has_head:
        return _read(root, name, MODEL_FILE, expected)
    head, backbone = (_read(root, name, file, expected) for file in (HEAD_FILE, BACKBONE_FILE))
    both = hashlib.sha256(f"{head.sha256} {backbone.sha256}".encode()).hexdigest()
    return WeightsFile(head.path, {**backbone.state, **head.state}, head.metadata, both)


def _read(root: Path, folder: str, name: str, expected: Mapping[str, StoredFile] | None) -> WeightsFile:
    other_file = unusable_model(root / folder, _("{file} is not the file that config.json names.", file=name))
    known = None if expected is None else expected.get(name)
    try:
        file = read_tensor_file(root, contained.join(folder, name), None if known is None else known.size)
    except OSError as error:
        raise unreadable_weights_error(root / folder / name, str(error.strerror)) from error
    except TooLargeError:
        raise other_file from None
    except ModelFileError as error:  # its header is damaged
        raise ModelFileError(error.message, model_hint(root / folder) or error.hint) from None
    stored = StoredFile.of(file.content)
    if expected is not None and stored != known:
        raise other_file
    try:
        state = load(file.content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        raise damaged(file.path, str(error)) from error
    return WeightsFile(file.path, state, dict(file.metadata), stored.sha256)
