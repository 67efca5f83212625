"""Safetensors files: shapes and texts equal those of the library, and headers are bounded."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from headstart.errors import DataError, ModelFileError
from headstart.storage import tensor_file
from headstart.storage.contained import TooLargeError
from headstart.storage.tensor_file import read_tensor_file


def write(path: Path, header: bytes, more: bytes = b"") -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header + more)


def test_a_file_above_its_limit_is_not_read(tmp_path: Path) -> None:
    save_file({"a": np.zeros(100, np.float32)}, tmp_path / "a.safetensors")
    size = (tmp_path / "a.safetensors").stat().st_size
    assert read_tensor_file(tmp_path, "a.safetensors", size).shapes == {"a": (100,)}
    with pytest.raises(TooLargeError):
        read_tensor_file(tmp_path, "a.safetensors", size - 1)


def test_shapes_and_texts_are_those_that_were_written(tmp_path: Path) -> None:
    arrays = {"a": np.zeros((2, 3, 0)), "b.c": np.ones((4,), np.float32), "d": np.array(1)}
    save_file(arrays, tmp_path / "some.safetensors", {"license": "mit"})
    file = read_tensor_file(tmp_path, "some.safetensors")
    assert dict(file.shapes) == {name: array.shape for name, array in arrays.items()}
    assert file.metadata == {"license": "mit"} and file.content == (tmp_path / "some.safetensors").read_bytes()


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HEADERS = {
    "nested": b"{" + b'"a":' + b"[" * 100_000,
    "a list": b'{"a":[1]}',
    "a negative side": json.dumps({"a": {**ENTRY, "shape": [-1]}}).encode(),
    "a shape of words": json.dumps({"a": {**ENTRY, "shape": ["x"]}}).encode(),
    "texts of numbers": json.dumps({"__metadata__": {"a": 1}}).encode(),
    "no JSON": b"{x",
    "no UTF-8": b'{"\xff": 1}',
    "many tensors": json.dumps({str(number): ENTRY for number in range(30_000)}).encode(),
    "a long shape": json.dumps({"a": {**ENTRY, "shape": [1] * 1_000_000}}).encode(),
}


@pytest.mark.parametrize("name", HEADERS)
def test_other_headers_are_errors_that_name_the_file(name: str, tmp_path: Path) -> None:
    write(tmp_path / "some.safetensors", HEADERS[name], bytes(4))
    with pytest.raises(ModelFileError, match="some"):
        read_tensor_file(tmp_path, "some.safetensors")


@pytest.mark.parametrize("content", [b"", b"x" * 20, (1 << 40).to_bytes(8, "little") + b"{}", b"PK\3\4", b"\x80\4K\1."])
def test_other_files_are_errors_that_name_the_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "some.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match="some"):
        read_tensor_file(tmp_path, "some.safetensors")


def test_links_and_very_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"a": np.zeros(3)}, tmp_path / "some.safetensors")
    (tmp_path / "linked.safetensors").symlink_to("some.safetensors")
    with pytest.raises(DataError, match="linked"):
        read_tensor_file(tmp_path, "linked.safetensors")
    monkeypatch.setattr(tensor_file, "MAX_TENSOR_BYTES", 20)
    with pytest.raises(DataError, match="some"):
        read_tensor_file(tmp_path, "some.safetensors")
