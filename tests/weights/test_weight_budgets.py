"""Weights files that would take far more memory than their size are refused before they are read."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from headstart.errors import ModelFileError
from headstart.weights import files, torch_file
from headstart.weights.files import read_weights


def packed(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def saved(state: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """Return the members of the file of a state dict."""
    file = io.BytesIO()
    torch.save(state, file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torch fail if it is asked to read a file."""

    def fail(*_arguments: object, **_named: object) -> None:
        raise AssertionError("the file was read")

    monkeypatch.setattr(torch, "load", fail)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    "pickle",
    [
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02(" + b"]" * (torch_file.MAX_CONTAINERS + 1) + b"t.",
        b"\x80\x02)" + b"\x85" * (torch_file.MAX_CONTAINERS + 1) + b".",
    ],
    ids=["bytearray", "lists", "nested tuples"],
)
def test_pickles_that_grow_are_refused(pickle: bytes, tmp_path: Path) -> None:
    (tmp_path / "old.pth").write_bytes(pickle)
    new = packed(tmp_path / "new.pth", {"archive/data.pkl": pickle}, zipfile.ZIP_STORED)
    for path in (tmp_path / "old.pth", new):
        with pytest.raises(ModelFileError):
            read_weights(path)


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    "members",
    [
        {"archive/data/0": bytes(torch_file.MAX_UNPACKED_BYTES + (1 << 20))},
        {"archive/data.pkl": bytes(torch_file.MAX_PACKED_PICKLE_BYTES + 1)},
    ],
    ids=["tensor", "pickle"],
)
def test_archives_that_unpack_to_much_more_are_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        read_weights(packed(tmp_path / "a.pth", members))


def many_tensors(path: Path, count: int) -> Path:
    state = {f"{number}": torch.zeros(0) for number in range(count)}
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.suffix == ".pth":
        torch.save(state, path)
    else:
        names = ("a.safetensors", "b.safetensors")
        for name, part in zip(names, (list(state)[:5], list(state)[5:]), strict=True):
            save_file({key: state[key] for key in part}, path.with_name(name))
        path.write_text(json.dumps({"weight_map": dict(zip("ab", names, strict=True))}))
    return path


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "model.safetensors.index.json"])
def test_files_of_too_many_tensors_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_TENSORS", 10)
    assert len(read_weights(many_tensors(tmp_path / name, 10)).state) == 10
    path = many_tensors(tmp_path / name, 11)
    with pytest.raises(ModelFileError):
        read_weights(path)


def test_compressed_archive_of_weights_is_read(tmp_path: Path) -> None:
    state = {"a": torch.rand(1000), "b": torch.rand(3, 3)}
    weights = read_weights(packed(tmp_path / "a.pth", saved(state)))
    assert weights.state.keys() == state.keys()
    assert all(torch.equal(weights.state[name], state[name]) for name in state)
