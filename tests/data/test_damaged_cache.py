"""Caches of images that contain links, pipes or damage are built again, and nothing is written through a link."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headstart.data import builtin, duplicates, hash_cache
from headstart.data.decode import decode
from headstart.data.frames import stored_source
from headstart.data.hashing import hash_files
from headstart.data.image_index import ImageIndex
from headstart.data.pixel_store import open_store
from headstart.data.sources import read_index
from headstart.errors import DataError, ResourceError
from headstart.reporter import NullReporter
from headstart.storage import arrays
from tests.data.test_pixel_store import photos


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache, beside a folder that nothing may change."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text("key")
    return tmp_path / "cache"


def is_private_intact(cache: Path) -> bool:
    (key,) = (cache.parent / "private").iterdir()
    return key.read_text() == "key"


def linked(path: Path) -> None:
    """Replace a file or folder by a link to a copy of it."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def to_private(path: Path) -> None:
    target = path.parents[len(path.parents) - 1 - path.parts.index("cache") + 1] / "private"
    is_folder = path.is_dir()
    shutil.rmtree(path) if is_folder else path.unlink()
    path.symlink_to(target if is_folder else target / "key")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


SPOILED = [linked, to_private, pipe, flip, shorten, lengthen]


@pytest.mark.parametrize("spoil", SPOILED)
@pytest.mark.parametrize("name", ["pixels.bin", "index.npz", "MANIFEST.json"])
def test_store_is_built_again(tmp_path: Path, cache: Path, name: str, spoil: Callable[[Path], None]) -> None:
    if (spoil, name) == (flip, "pixels.bin"):
        return  # noticed at the first access, see test_pixel_store
    images = photos(tmp_path / "photos", 5)
    contents = hash_files(images)
    open_store(images, contents, side=16, threads=1)
    (folder,) = (cache / "pixels").iterdir()
    intact = {path.name: path.read_bytes() for path in folder.iterdir()}
    spoil(folder / name)
    store = open_store(images, contents, side=16, threads=1)
    assert all(np.array_equal(store[i], decode(path, 16)) for i, path in enumerate(images.paths))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "elsewhere"} == intact
    assert not any(path.is_symlink() for path in folder.iterdir()) and is_private_intact(cache)


@pytest.mark.parametrize("spoil", [linked, to_private])
def test_linked_store_is_built_again(tmp_path: Path, cache: Path, spoil: Callable[[Path], None]) -> None:
    images = photos(tmp_path / "photos", 5)
    contents = hash_files(images)
    open_store(images, contents, side=16, threads=1)
    (folder,) = (cache / "pixels").iterdir()
    spoil(folder)
    store = open_store(images, contents, side=16, threads=1)
    assert np.array_equal(store[4], decode(images.paths[4], 16)) and not folder.is_symlink()
    assert is_private_intact(cache)


def index_columns(count: int = 2) -> dict[str, arrays.Array]:
    return {
        "contents": np.zeros((count, 16), np.uint8),
        "sizes": np.full((count, 2), 2, np.int32),
        "max_values": np.zeros(count, np.int32),
        "visible": np.zeros(count, np.int16),
        "scaled": np.zeros(count, np.bool_),
        "checks": np.zeros(count, np.uint32),
    }


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("sizes", np.full((2, 2), 3, np.int32)),
        ("sizes", np.array([[2, 2], [-2, -2]], np.int32)),
        ("sizes", np.array([[2, 4], [0, 2]], np.int32)),
        ("sizes", np.full((2, 2), 2**31 - 1, np.int32)),
        ("sizes", np.full((2, 2), 2, np.int64)),
        ("sizes", np.full(2, 2, np.int32)),
        ("contents", np.zeros((2, 15), np.uint8)),
        ("contents", np.array(3, np.uint8)),
        ("contents", np.zeros((0, 16), np.uint8)),
        ("checks", np.zeros(3, np.uint32)),
        ("more", np.zeros(2, np.uint32)),
    ],
)
def test_index_that_does_not_fit_the_pixels_is_not_sound(name: str, column: arrays.Array) -> None:
    from headstart.data.store_files import _is_sound

    assert _is_sound(index_columns(), 24)
    assert not _is_sound({**index_columns(), name: column}, 24)


def test_store_that_cannot_be_replaced_is_one_error(tmp_path: Path, cache: Path, monkeypatch) -> None:
    images = photos(tmp_path / "photos", 5)
    contents = hash_files(images)
    open_store(images, contents, side=16, threads=1)
    (folder,) = (cache / "pixels").iterdir()
    pipe(folder / "pixels.bin")
    monkeypatch.setattr("headstart.data.store_builder.contained.remove_folder", lambda *_: None)  # as of another user
    with pytest.raises(ResourceError) as error:
        open_store(images, contents, side=16, threads=1)
    assert error.value.message.values["folder"] == folder


@pytest.mark.parametrize("spoil", SPOILED)
def test_list_of_bad_files_is_written_again(tmp_path: Path, cache: Path, spoil: Callable[[Path], None]) -> None:
    images = photos(tmp_path / "photos", 5)
    images.paths[2].write_bytes(b"no image")
    contents = hash_files(images)
    listed = cache / "pixels" / "undecodable.json"
    for _ in range(2):
        store = open_store(images, contents, side=16, threads=1, skip_bad=True)
        assert store.bad == (2,)
    intact = listed.read_bytes()
    spoil(listed)
    shutil.rmtree(next(path for path in (cache / "pixels").iterdir() if path.is_dir()))
    assert open_store(images, contents, side=16, threads=1, skip_bad=True).bad == (2,)
    assert not listed.is_symlink() and (listed.read_bytes() == intact or spoil == flip)
    assert is_private_intact(cache)


@pytest.fixture
def hashed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> ImageIndex:
    """Return images whose hashes are in the cache."""
    monkeypatch.setattr(hash_cache, "_MIN_AGE_NS", -(10**12))  # as if the files were old
    images = photos(tmp_path / "photos", 5)
    hash_files(images)
    return images


@pytest.mark.parametrize("spoil", SPOILED)
def test_hashes_are_computed_again(
    hashed: ImageIndex, cache: Path, spoil: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = hash_files(hashed)
    (file,) = (cache / "contents").iterdir()
    intact = file.read_bytes()
    spoil(file)
    assert hash_files(hashed) == expected
    assert file.read_bytes() == intact and not file.is_symlink() and is_private_intact(cache)
    monkeypatch.setattr("headstart.data.hashing.hash_file", None)
    assert hash_files(hashed) == expected  # from the cache


def test_hashes_are_computed_without_their_cache(hashed: ImageIndex, cache: Path) -> None:
    expected = hash_files(hashed)
    to_private(cache / "contents")
    assert hash_files(hashed) == expected and is_private_intact(cache)


@pytest.mark.parametrize("spoil", SPOILED)
def test_near_duplicates_are_searched_again(
    hashed: ImageIndex, cache: Path, spoil: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = hash_files(hashed)

    def pairs() -> list[list[float]]:
        found = duplicates.find_near_duplicates(hashed, contents, threads=1, reporter=NullReporter())
        return [found.first.tolist(), found.second.tolist(), found.similarity.tolist()]

    expected = pairs()
    (file,) = (cache / "near-duplicates").iterdir()
    intact = file.read_bytes()
    spoil(file)
    assert pairs() == expected
    assert file.read_bytes() == intact and not file.is_symlink() and is_private_intact(cache)
    monkeypatch.setattr(duplicates, "read_thumbnails", None)
    assert pairs() == expected  # from the cache


def test_built_in_digits_are_written_again(cache: Path) -> None:
    images = read_index("digits")
    contents = hash_files(images)
    folder, checksum = cache / "builtin" / "digits-1", cache / "builtin" / "digits-1.sha256"
    image = folder / "7" / images.paths[images.labels.tolist().index(1)].name
    places: dict[Path, list[Callable[[Path], None]]] = {
        image: [pipe, flip],
        folder: [to_private],
        checksum: [linked],
    }
    for path, spoils in places.items():
        for spoil in spoils:
            spoil(path)
            shutil.rmtree(cache / "contents", ignore_errors=True)
            assert hash_files(read_index("digits")) == contents, (path, spoil)
            assert is_private_intact(cache) and not path.is_symlink()
            for left in cache.rglob("elsewhere"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    (folder / "6" / "9999.png").write_bytes(image.read_bytes())
    assert hash_files(read_index("digits")) == contents
    assert builtin.read_digits("digits").keys == images.keys


@pytest.mark.parametrize("spoil", SPOILED)
def test_manifest_of_a_data_frame_is_written_again(tmp_path: Path, cache: Path, spoil: Callable[[Path], None]) -> None:
    import pandas as pd

    frame = pd.DataFrame({"path": ["a.png", "b.png"], "label": ["x", "y"]})
    cache.mkdir()
    file = Path(stored_source(frame, cache))
    intact = file.read_bytes()
    spoil(file)
    assert stored_source(frame, cache) == str(file) and file.read_bytes() == intact
    assert [json.loads(line)["label"] for line in intact.splitlines()] == ["x", "y"]
    assert not file.is_symlink() and is_private_intact(cache)
    to_private(cache / "manifests")
    with pytest.raises(DataError):
        stored_source(frame, cache)
    assert is_private_intact(cache)
