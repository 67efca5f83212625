"""Read the safetensors files of headstart's own folders, with bounds on what their headers may claim."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import ModelFileError
from headstart.i18n import Message, _
from headstart.storage import contained
from headstart.storage.files import JsonData

MAX_TENSOR_BYTES = 16_000_000_000  # of a file; the largest networks of timm have 10 GB
MAX_HEADER_BYTES = 10_000_000  # of JSON; a ResNet-50 has 30,000
MAX_TENSORS = 20_000  # a ResNet-152 has 900
MAX_COMMAS = 40 * MAX_TENSORS  # between the values of the header
_PREFIX = 8  # bytes of the header's length


@dataclass(frozen=True)
class TensorFile:
    """The content of a safetensors file.

    Attributes:
        path: The file.
        content: Its bytes; they are loaded, and not the file again.
        shapes: Shapes of its tensors by their names.
        metadata: Its texts.
    """

    path: Path
    content: bytes
    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]


def read_tensor_file(root: Path, name: str, limit: int | None = None) -> TensorFile:
    """Read a safetensors file below a root; its header is bounded before it is parsed.

    Args:
        root: The folder that the user has named.
        name: Name of the file below it.
        limit: Largest size of the file in bytes; MAX_TENSOR_BYTES in any case.

    Raises:
        ModelFileError: The header is damaged, or claims more than the file can have.
        TooLargeError: The file is larger than `limit`.
        DataError: The file is a link.
        OSError: The file is missing or cannot be read.
    """
    largest = MAX_TENSOR_BYTES if limit is None else min(limit, MAX_TENSOR_BYTES)
    return parse_tensor_file(root / name, contained.read_bytes(root, name, largest))


def parse_tensor_file(path: Path, content: bytes) -> TensorFile:
    """Return the content of a safetensors file, of which the header is bounded before it is parsed.

    Args:
        path: The file, for messages.
        content: Its bytes.

    Raises:
        ModelFileError: The header is damaged, or claims more than the file can have.
    """
    if content[6:9] != b"\0\0{":  # 8 bytes of length, the highest 0, then JSON: a length may look like a pickle
        raise pickle_error(path) if content[:2] == b"PK" or content[:1] == b"\x80" else _other_format(path)
    length = int.from_bytes(content[:_PREFIX], "little")
    if length > min(MAX_HEADER_BYTES, len(content) - _PREFIX):
        raise ModelFileError(
            _(
                "{path} is damaged: its header claims {header:,} bytes in a file of {size:,}.",
                path=path,
                header=length,
                size=len(content),
            ),
            _("Download or copy the file again."),
        )
    header = content[_PREFIX : _PREFIX + length]
    if header.count(b"{") > MAX_TENSORS + 2 or header.count(b",") > MAX_COMMAS:
        raise damaged(path, _("its header has more than {count:,} tensors", count=MAX_TENSORS))
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from None
    metadata = entries.pop("__metadata__", {}) if isinstance(entries, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise damaged(path, _("its header is not that of tensors"))
    if not all(_is_tensor(entry) for entry in entries.values()):
        raise damaged(path, _("its header is not that of tensors"))
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    return TensorFile(path, content, shapes, metadata)


def pickle_error(path: Path) -> ModelFileError:
    """Return the error on a pickle with the name of a safetensors file."""
    return ModelFileError(
        _(
            "{path} is named safetensors but is a pickle, which can contain a program; nothing in it was run.",
            path=path,
        ),
        _("Download it again, or rename it to .pth if torch.save wrote it and you trust its source."),
    )


def _other_format(path: Path) -> ModelFileError:
    return ModelFileError(_("{path} is not a safetensors file.", path=path), _("Download or copy the file again."))


def damaged(path: Path, reason: Message | str) -> ModelFileError:
    """Return the error on a safetensors file that cannot be read."""
    return ModelFileError(
        _("{path} is damaged ({error}).", path=path, error=reason), _("Download or copy the file again.")
    )


def _is_tensor(entry: JsonData) -> bool:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    return isinstance(shape, list) and all(isinstance(side, int) and side >= 0 for side in shape)
