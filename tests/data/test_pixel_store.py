"""Every kind of file is decoded to RGB, damaged files are refused, and the pixel store is complete or absent."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from headstart.data import store_builder
from headstart.data.decode import (
    ImageFileError,
    UndecodableError,
    decode,
    suppress_pillow_warnings,
)
from headstart.data.hashing import fingerprint, hash_file, hash_files
from headstart.data.image_formats import FORMATS
from headstart.data.image_index import ImageIndex
from headstart.data.pixel_store import open_store
from headstart.data.pixels import MAX_PIXELS
from headstart.data.sources import read_index
from headstart.errors import DataError, ResourceError
from headstart.i18n import Message
from headstart.storage import cache
from headstart.storage.schemas.cache import UndecodableFiles
from tests.messages import fields_of


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixels"


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image like a photo: blurred shapes with edges and a little noise."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        x, y, r = rng.integers(0, width), rng.integers(0, height), rng.integers(4, max(5, width // 6))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 255, 3).tolist()))
    image = image.filter(ImageFilter.GaussianBlur(0.7))
    return Image.fromarray(np.clip(np.asarray(image) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photos(root: Path, count: int = 12) -> ImageIndex:
    for i in range(count):
        path = root / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(60 + i, 90, seed=i).save(path)
    return read_index(str(root))


# --- decode ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("side", [0, 64])
def test_all_eight_exif_orientations_give_equal_pixels(kind: str, side: int) -> None:
    upright = picture(128, 192)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Image.Transpose that gives the stored image
    shots = []
    for orientation in range(1, 9):
        stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
        shots.append(decode(encoded(stored, kind, exif=exif, **options), side).astype(int))
    limit = 0 if kind != "JPEG" and not side else 16
    assert shots[0].shape == ((96, 64, 3) if side else (192, 128, 3))
    for shot in shots:
        assert np.abs(shot - shots[0]).max() <= limit
        assert np.abs(shot - shots[0]).mean() < 0.5


def test_image_with_damaged_exif_is_decoded() -> None:
    data = encoded(picture(32, 32), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff\xff\xff")
    with suppress_pillow_warnings():
        assert decode(data).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_range(kind: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    result = decode(encoded(Image.fromarray(values), kind))
    assert np.array_equal(result[..., 0], np.rint(values / 257).astype(np.uint8))
    assert np.array_equal(result[..., 0], result[..., 2])


def test_integers_and_floats_are_scaled() -> None:
    ramp = np.linspace(0, 1, 256).reshape(16, 16)
    expected = np.rint(ramp * 255)
    for values in (ramp * 65535).astype(np.int32), ramp.astype(np.float32), (ramp * 255).astype(np.float32):
        assert np.abs(decode(encoded(Image.fromarray(values), "TIFF"))[..., 0] - expected).max() <= 1
    stretched = decode(encoded(Image.fromarray((ramp * 1e6 - 500).astype(np.int32)), "TIFF"))[..., 0]
    assert np.abs(stretched - expected).max() <= 1
    with pytest.raises(UndecodableError) as error:
        decode(encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))
    assert type(error.value.__cause__) is ValueError  # it was read as an image, and its values were refused


def test_gray_binary_palette_and_cmyk_are_converted() -> None:
    image = picture(40, 30)
    for mode in ("L", "1", "P"):
        data = encoded(image.convert(mode))
        assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    for kind in ("JPEG", "TIFF"):
        data = encoded(image.convert("CMYK"), kind)
        assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        assert np.abs(decode(data).astype(int) - np.asarray(image)).mean() < 8


def test_transparency_is_composed_on_white() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:2, :, 3] = 255
    rgba[3, :, 3] = 128
    for image in Image.fromarray(rgba), Image.fromarray(rgba[..., [0, 3]], mode=None):
        result = decode(encoded(image))
        red = (200, 200, 200) if image.mode == "LA" else (200, 0, 0)
        assert (result[:2] == red).all() and (result[2] == 255).all()
        assert np.abs(result[3].astype(int) - (np.array(red) + 255) / 2).max() <= 2
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.paste(1, (0, 0, 4, 2))
    for transparency in (1, bytes([255, 0])):
        result = decode(encoded(palette, transparency=transparency))
        assert (result[:2] == 255).all() and (result[2:] == (200, 0, 0)).all()
    gray = encoded(Image.new("L", (4, 4), 7), transparency=7)
    assert (decode(gray) == 255).all()


def test_first_frame_of_an_animation_is_decoded() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        data = encoded(
            frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
        )
        assert (decode(data) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 300), (64, 85)),
        ((300, 400), (85, 64)),
        ((70, 80), (80, 70)),  # at most an eighth larger: stays
        ((40, 50), (50, 40)),  # never enlarged
        ((1000, 10), (3, 256)),
        ((2000, 100), (13, 256)),
        ((5000, 1), (1, 256)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_images_are_reduced_to_the_side_and_never_enlarged(
    size: tuple[int, int], expected: tuple[int, int], kind: str
) -> None:
    shape = decode(encoded(Image.new("RGB", size, "red"), kind), 64).shape
    near = 1 if kind == "PNG" else 1.125
    assert shape[2] == 3
    assert all(e <= s <= max(e * near, e + 1) for s, e in zip(shape, expected, strict=False))


def test_scaled_decoding_is_as_good_as_full() -> None:
    """The mean difference between DCT-scaled decoding and full decoding with resizing is below 3 of 255."""
    differences = []
    for seed in range(5):
        data = encoded(picture(400, 533, seed), "JPEG", quality=90)
        scaled = decode(data, 192)
        full = decode(data, 0)
        small = np.asarray(Image.fromarray(full).resize(scaled.shape[1::-1], Image.Resampling.BILINEAR))
        assert scaled.shape == (267, 200, 3)
        differences.append(np.abs(scaled.astype(int) - small).mean())
    assert np.mean(differences) < 3
    print(f"mean absolute difference {np.mean(differences):.2f} of 255")


def psd() -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 4, 4, 8, 3) + struct.pack(">III", 0, 0, 0) + bytes(2 + 48)


# fields of the messages
DAMAGED, NO_IMAGE, OTHER_FORMAT = {"name", "format", "text"}, {"name", "formats", "last_format"}, {"name", "format"}


@pytest.mark.parametrize(
    ("name", "data", "names"),
    [
        ("truncated.jpg", encoded(picture(200, 200), "JPEG")[:-2000], DAMAGED),
        ("almost.jpg", encoded(picture(200, 200), "JPEG")[:-40], DAMAGED),
        ("truncated.png", encoded(picture(50, 50))[:-200], DAMAGED),
        ("empty.jpg", b"", {"name"}),
        ("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", OTHER_FORMAT),
        ("layers.png", psd(), OTHER_FORMAT),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n", OTHER_FORMAT),
        ("sky.png", b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800), OTHER_FORMAT),
        ("notes.jpg", b"cat, dog", OTHER_FORMAT),
        ("noise.jpg", b"\x01\xfe noise", NO_IMAGE),
        ("header.png", b"\x89PNG\r\n\x1a\n", {"name", "format"}),
    ],
)
@pytest.mark.parametrize("side", [0, 64])
def test_file_that_is_not_an_image_is_refused_by_name(
    tmp_path: Path, name: str, data: bytes, names: set[str], side: int
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UndecodableError) as caught:
        decode(tmp_path / name, side)
    fields = fields_of(caught.value.message)
    assert fields.keys() == names and fields["name"] == str(tmp_path / name) and caught.value.exit_code == 3
    if names == NO_IMAGE:
        assert (*str(fields["formats"]).split(", "), fields["last_format"]) == FORMATS


def test_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, details in (("gone.jpg", {"reason": os.strerror(errno.ENOENT)}), (".", {}), ("pipe.jpg", {})):
        with pytest.raises(ImageFileError) as error:
            decode(tmp_path / name)
        assert type(error.value) is ImageFileError
        assert fields_of(error.value.message) == {"name": tmp_path / name, **details}


def bomb(side: int) -> bytes:
    """Return a small PNG of side x side pixels of one bit."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    body = zlib.compress(bytes(side * (1 + (side + 7) // 8)), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8001, 10_000, 20_000])
def test_decompression_bombs_are_refused_before_decoding(side: int) -> None:
    data = bomb(side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UndecodableError) as error:
        decode(data, 192)
    assert fields_of(error.value.message) == {"megapixels": MAX_PIXELS // 10**6}
    assert len(data) < 60_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "kB"


# --- contents --------------------------------------------------------------------------------------------------------


def test_hashes_are_cached_and_refreshed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photos(tmp_path / "photos")
    monkeypatch.setattr("headstart.data.hash_cache._MIN_AGE_NS", -(10**12))  # as if the files were old
    calls: list[tuple[int, int]] = []
    first = hash_files(images, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (12, 12) and len(set(first)) == 12 and {len(h) for h in first} == {32}
    opened: list[str] = []
    monkeypatch.setattr("headstart.data.hashing.hash_file", lambda file: (opened.append(file.name), hash_file(file))[1])
    assert hash_files(images) == first and opened == []
    status = images.paths[3].stat()
    data = bytearray(images.paths[3].read_bytes())
    data[-3] ^= 1
    images.paths[3].write_bytes(data)
    os.utime(images.paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time of change
    second = hash_files(images)
    assert opened == [str(images.paths[3])]
    assert [a == b for a, b in zip(first, second, strict=True)] == [i != 3 for i in range(12)]
    next((tmp_path / "cache/contents").glob("*.npz")).write_bytes(b"damaged")
    assert hash_files(images) == second


def test_hashes_of_files_changed_just_now_are_not_cached(tmp_path: Path) -> None:
    hash_files(photos(tmp_path / "photos"))
    assert not list((tmp_path / "cache").glob("contents/*"))


def test_fingerprint_depends_on_content_and_labels_but_not_on_the_folder(tmp_path: Path) -> None:
    images, copies = photos(tmp_path / "images"), photos(tmp_path / "copies")
    contents = hash_files(images)
    value = fingerprint(images, contents)
    assert len(value) == 64 and value == fingerprint(copies, hash_files(copies))
    assert value != fingerprint(images, contents[::-1])
    assert value != fingerprint(replace(images, groups=("g",) * 12), contents)
    assert value != fingerprint(replace(images, classes=("a", "c")), contents)
    assert value != fingerprint(images.without([0]), contents[1:])


# --- the store -------------------------------------------------------------------------------------------------------


def file_contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_store_contains_what_decode_returns(tmp_path: Path, root: Path) -> None:
    images = photos(tmp_path / "photos")
    calls: list[tuple[int, int]] = []
    store = open_store(images, hash_files(images), side=32, threads=2, progress=lambda *a: calls.append(a))
    assert calls == [(i, 12) for i in range(1, 13)]
    assert len(store) == 12 and store.bad == () and store.notes == ()
    for i, path in enumerate(images.paths):
        assert np.array_equal(store[i], decode(path, 32))
        assert tuple(store.sizes[i]) == store[i].shape[:2]
        assert not store[i].flags.writeable and not store[i].flags.owndata
    calls.clear()
    again = open_store(images, hash_files(images), side=32, threads=2, progress=lambda *a: calls.append(a))
    assert calls == [] and np.array_equal(again[5], store[5])
    assert len(list(root.iterdir())) == 1
    open_store(images, hash_files(images), side=16, threads=2)
    assert len(list(root.iterdir())) == 2


def test_number_of_threads_does_not_change_a_byte(tmp_path: Path, root: Path) -> None:
    images = photos(tmp_path / "photos", 40)
    contents = hash_files(images)
    open_store(images, contents, side=32, threads=1)
    single_thread = file_contents(root)
    root.rename(tmp_path / "aside")
    open_store(images, contents, side=32, threads=2)
    assert file_contents(root) == single_thread and len(single_thread) == 3


def test_equal_files_share_their_pixels(tmp_path: Path, root: Path) -> None:
    images = photos(tmp_path / "photos", 6)
    single = open_store(images, hash_files(images), side=32, threads=1)
    (tmp_path / "photos/b/copy.jpg").write_bytes(images.paths[0].read_bytes())
    more = read_index(str(tmp_path / "photos"))
    store = open_store(more, hash_files(more), side=32, threads=1)
    assert len(store) == 7 and len(single) == 6 and len(list(root.iterdir())) == 1
    assert np.array_equal(store[more.keys.index("b/copy.jpg")], store[0])


def test_sixteen_bit_files_are_noted(tmp_path: Path) -> None:
    images = photos(tmp_path / "photos", 4)
    Image.fromarray(np.full((40, 40), 30000, np.uint16)).save(tmp_path / "photos/a/deep.png")
    images = read_index(str(tmp_path / "photos"))
    contents = hash_files(images)
    for _ in range(2):
        store = open_store(images, contents, side=32, threads=1)
        assert [fields_of(note) for note in store.notes] == [{"count": 1, "top": 32767}]


def spoil(folder: Path) -> ImageIndex:
    (folder / "a/empty.jpg").write_bytes(b"")
    (folder / "b/page.jpg").write_bytes(b"<html>")
    (folder / "b/page2.jpg").write_bytes(b"<html>")
    (folder / "b/short.jpg").write_bytes((folder / "b/1.jpg").read_bytes()[:-300])
    return read_index(str(folder))


def faults_in(error: DataError) -> list[dict[str, object]]:
    """Return the named values of each image that the error lists."""
    faults = error.message.values["faults"]
    assert isinstance(faults, Message)
    return [fields_of(fault) for fault in faults.values.values()]


def test_all_undecodable_files_are_named_or_left_out(tmp_path: Path, root: Path) -> None:
    photos(tmp_path / "photos")
    images = spoil(tmp_path / "photos")
    contents = hash_files(images)
    names = ["a/empty.jpg", "b/page.jpg", "b/page2.jpg", "b/short.jpg"]
    calls: list[int] = []
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            open_store(images, contents, side=32, threads=2, progress=lambda done, _: calls.append(done))
        fields = fields_of(caught.value.message)
        assert (fields["failed"], fields["count"], fields["source"]) == (4, 16, str(tmp_path / "photos"))
        assert [fault["name"] for fault in faults_in(caught.value)] == names
        assert [set(fault) for fault in faults_in(caught.value)] == [{"name"}, OTHER_FORMAT, OTHER_FORMAT, DAMAGED]
        assert "--skip-bad" in caught.value.hint
    store = open_store(images, contents, side=32, threads=2, skip_bad=True, progress=lambda done, _: calls.append(done))
    assert [images.keys[i] for i in store.bad] == names
    assert max(calls) == len(calls) == 15, "every image was decoded once, and the good ones are in the store"
    with pytest.raises(LookupError):
        store[store.bad[0]]
    rest = images.without(store.bad)
    smaller = open_store(rest, hash_files(rest), side=32, threads=2, progress=lambda done, _: calls.append(done))
    assert len(calls) == 15 and smaller.bad == () and len(smaller) == 12
    assert sorted(p.name for p in root.iterdir() if p.is_file()) == ["undecodable.json"]
    assert len(list(root.iterdir())) == 2


def test_file_that_is_wrongly_listed_as_undecodable_is_read(tmp_path: Path, root: Path) -> None:
    images = photos(tmp_path / "photos", 4)
    contents = hash_files(images)
    root.mkdir(parents=True)
    (root / "undecodable.json").write_text(UndecodableFiles(contents=(contents[0],)).model_dump_json())
    assert open_store(images, contents, side=32, threads=1).bad == ()


def test_data_with_only_bad_files_is_refused(tmp_path: Path, root: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(b"\x01no image")
    images = read_index(str(tmp_path / "photos"))
    with pytest.raises(DataError) as error:
        open_store(images, hash_files(images), side=32, threads=1, skip_bad=True)
    fields = fields_of(error.value.message)
    assert (fields["count"], fields["source"], "failed" in fields) == (2, str(tmp_path / "photos"), False)
    assert [fault["name"] for fault in faults_in(error.value)] == ["a/1.jpg", "b/1.jpg"]
    assert fields_of(error.value.hint) == {"formats": ", ".join(FORMATS)}
    assert [p.name for p in root.iterdir()] == ["undecodable.json"]


def test_file_that_vanishes_or_changes_is_named_and_not_listed_as_undecodable(tmp_path: Path, root: Path) -> None:
    images = photos(tmp_path / "photos", 6)
    contents = hash_files(images)
    original = images.paths[0].read_bytes()
    images.paths[0].write_bytes(images.paths[1].read_bytes())
    images.paths[2].unlink()
    with pytest.raises(DataError) as error:
        open_store(images, contents, side=32, threads=2)
    fields = fields_of(error.value.message)
    assert (fields["failed"], fields["count"]) == (2, 6)
    missing = {"name": images.keys[2], "reason": os.strerror(errno.ENOENT)}
    assert faults_in(error.value) == [{"name": images.keys[0]}, missing]
    unreadable = hash_files(images)
    assert unreadable[2].startswith("unreadable-")
    assert open_store(images, unreadable, side=32, threads=2, skip_bad=True).bad == (2,)
    images.paths[0].write_bytes(original)
    images.paths[2].write_bytes(original)
    with pytest.raises(DataError) as error:
        open_store(images, unreadable, side=32, threads=2)
    fields = fields_of(error.value.message)
    assert (fields["failed"], fields["count"]) == (1, 6)
    assert faults_in(error.value) == [{"name": images.keys[2]}], "the file can be read now: no reason is given"
    assert not (root / "undecodable.json").exists()


@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError])
def test_interrupted_building_leaves_no_files(tmp_path: Path, root: Path, exception: type[BaseException]) -> None:
    images = photos(tmp_path / "photos")
    contents = hash_files(images)

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise exception

    with pytest.raises(exception):
        open_store(images, contents, side=32, threads=2, progress=stop)
    assert list(root.iterdir()) == []
    assert len(open_store(images, contents, side=32, threads=2)) == 12


def test_killed_building_leaves_only_a_temporary_folder(tmp_path: Path, root: Path) -> None:
    images = photos(tmp_path / "photos")
    script = (
        "import os, signal, sys\n"
        "from headstart.data.hashing import hash_files\n"
        "from headstart.data.pixel_store import open_store\n"
        "from headstart.data.sources import read_index\n"
        "def stop(done, total):\n    if done == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "l = read_index(sys.argv[1]); open_store(l, hash_files(l), side=32, threads=2, progress=stop)"
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path / "photos")], check=False)
    assert process.returncode == -signal.SIGKILL
    remaining = list(root.iterdir())
    assert [".tmp-" in p.name for p in remaining] == [True]
    store = open_store(images, hash_files(images), side=32, threads=2)
    assert len(store) == 12 and not remaining[0].exists() and len(list(root.iterdir())) == 1


def test_only_stale_temporary_files_are_removed(tmp_path: Path) -> None:
    host = cache.socket.gethostname()
    alive = tmp_path / f"new.tmp-{os.getppid()}-{host}"
    elsewhere = tmp_path / "new.tmp-1-another-host"
    own, dead = tmp_path / f"new.tmp-{os.getpid()}-{host}", tmp_path / f"x.npz.tmp-99999999-{host}"
    current = tmp_path / f"y.npz.tmp-{os.getpid()}-{host}"
    for path in (alive, elsewhere, own, current):
        path.mkdir()
    os.utime(own, (0, 0))  # of an earlier process with the same number
    dead.touch()
    cache.remove_stale(tmp_path)
    assert sorted(tmp_path.glob("*.tmp-*")) == sorted([alive, elsewhere, current])
    os.utime(elsewhere, (0, 0))
    cache.remove_stale(tmp_path)
    assert sorted(tmp_path.glob("*.tmp-*")) == sorted([alive, current])


@pytest.mark.parametrize("name", ["pixels.bin", "index.npz", "MANIFEST.json"])
def test_damaged_store_is_built_again(tmp_path: Path, root: Path, name: str) -> None:
    images = photos(tmp_path / "photos", 6)
    contents = hash_files(images)
    open_store(images, contents, side=32, threads=1)
    intact = file_contents(root)
    path = next(root.iterdir()) / name
    path.write_bytes(path.read_bytes()[:-7])
    store = open_store(images, contents, side=32, threads=1)
    assert np.array_equal(store[0], decode(images.paths[0], 32)) and file_contents(root) == intact


@pytest.mark.parametrize("offset", [0, 40, -1])
def test_changed_byte_is_reported_at_the_first_access(tmp_path: Path, root: Path, offset: int) -> None:
    images = photos(tmp_path / "photos", 6)
    contents = hash_files(images)
    open_store(images, contents, side=32, threads=1)
    intact = file_contents(root)
    path = next(root.iterdir()) / "pixels.bin"
    changed = bytearray(path.read_bytes())
    changed[offset] ^= 1
    path.write_bytes(changed)
    store = open_store(images, contents, side=32, threads=1)
    with pytest.raises(DataError) as error:
        [store[index] for index in range(len(store))]
    assert fields_of(error.value.message) == {"folder": path.parent, "index": 5 if offset < 0 else 0}
    store = open_store(images, contents, side=32, threads=1)  # built again
    assert file_contents(root) == intact
    assert all(np.array_equal(store[i], decode(path, 32)) for i, path in enumerate(images.paths))


def test_full_disk_is_reported_before_decoding(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photos(tmp_path / "photos")
    contents = hash_files(images)
    usage = store_builder.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store_builder.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ResourceError) as error:
        open_store(images, contents, side=32, threads=2)
    assert error.value.message.values == {"needed": "67 MB", "folder": root, "free": "1 kB"}
    assert list(root.iterdir()) == []


def test_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photos(tmp_path / "photos", 4)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    contents = hash_files(images)
    with pytest.raises(ResourceError) as error:
        open_store(images, contents, side=32, threads=2)
    assert fields_of(error.value.message)["folder"] == tmp_path / "file" / "pixels"
    assert "HEADSTART_CACHE" in error.value.hint


def test_cache_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.cache_root() == tmp_path / "cache"
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_root() == tmp_path / "headstart"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_root() == Path.home() / ".cache/headstart"


def test_torch_is_not_imported() -> None:
    modules = ", ".join(f"headstart.data.{name}" for name in ("pixel_store", "splits", "manifest", "builtin"))
    script = f"import sys, {modules}; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"
