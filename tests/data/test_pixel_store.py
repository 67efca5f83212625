"""One pixel path: every kind of file to the same RGB, damaged ones refused, and a store that is whole or not there."""

from __future__ import annotations

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

from headstart.data import Listing, pixel_store, read
from headstart.data.decode import MAX_PIXELS, decode, quiet
from headstart.data.pixel_store import fingerprint, hash_files, open_store
from headstart.errors import DataError, ResourceError
from headstart.storage import cache


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixels"


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Something like a photo: blurred shapes with edges and a little noise."""
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


def photos(root: Path, count: int = 12) -> Listing:
    for i in range(count):
        path = root / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(60 + i, 90, seed=i).save(path)
    return read(str(root))


# --- decode ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("side", [0, 64])
def test_all_eight_orientations_are_equal(kind: str, side: int) -> None:
    upright = picture(128, 192)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that stores it so, as Image.Transpose
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


def test_damaged_exif_does_not_cost_the_picture() -> None:
    data = encoded(picture(32, 32), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff\xff\xff")
    with quiet():
        assert decode(data).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_range(kind: str) -> None:
    values = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    result = decode(encoded(Image.fromarray(values), kind))
    assert np.array_equal(result[..., 0], np.rint(values / 257).astype(np.uint8))
    assert np.array_equal(result[..., 0], result[..., 2])


def test_integers_and_floats() -> None:
    ramp = np.linspace(0, 1, 256).reshape(16, 16)
    expected = np.rint(ramp * 255)
    for values in (ramp * 65535).astype(np.int32), ramp.astype(np.float32), (ramp * 255).astype(np.float32):
        assert np.abs(decode(encoded(Image.fromarray(values), "TIFF"))[..., 0] - expected).max() <= 1
    stretched = decode(encoded(Image.fromarray((ramp * 1e6 - 500).astype(np.int32)), "TIFF"))[..., 0]
    assert np.abs(stretched - expected).max() <= 1
    with pytest.raises(DataError, match="not finite"):
        decode(encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))


def test_grey_bits_palette_and_cmyk() -> None:
    image = picture(40, 30)
    for mode in ("L", "1", "P"):
        data = encoded(image.convert(mode))
        assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    for kind in ("JPEG", "TIFF"):
        data = encoded(image.convert("CMYK"), kind)
        assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        assert np.abs(decode(data).astype(int) - np.asarray(image)).mean() < 8


def test_transparency_lies_on_white() -> None:
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
    grey = encoded(Image.new("L", (4, 4), 7), transparency=7)
    assert (decode(grey) == 255).all()


def test_first_frame_of_an_animation() -> None:
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
        ((70, 80), (80, 70)),  # within an eighth: stays
        ((40, 50), (50, 40)),  # never enlarged
        ((1000, 10), (3, 256)),
        ((2000, 100), (13, 256)),
        ((5000, 1), (1, 256)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_sizes(size: tuple[int, int], expected: tuple[int, int], kind: str) -> None:
    shape = decode(encoded(Image.new("RGB", size, "red"), kind), 64).shape
    near = 1 if kind == "PNG" else 1.125
    assert shape[2] == 3
    assert all(e <= s <= max(e * near, e + 1) for s, e in zip(shape, expected, strict=False))


def test_scaled_decoding_is_as_good_as_full() -> None:
    """The figure behind DCT-scaled decoding: mean difference to full decoding and resizing below 3 of 255."""
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


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("truncated.jpg", encoded(picture(200, 200), "JPEG")[:-2000], "damaged"),
        ("almost.jpg", encoded(picture(200, 200), "JPEG")[:-40], "damaged"),
        ("truncated.png", encoded(picture(50, 50))[:-200], "damaged"),
        ("empty.jpg", b"", "is empty"),
        ("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "is not a JPEG"),
        ("layers.png", psd(), "is not a JPEG"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n", "is not a JPEG"),
        ("sky.png", b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800), "is not a JPEG"),
        ("header.png", b"\x89PNG\r\n\x1a\n", "is not a JPEG"),
    ],
)
@pytest.mark.parametrize("side", [0, 64])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, name: str, data: bytes, words: str, side: int) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        decode(tmp_path / name, side)
    assert name in caught.value.message and words in caught.value.message and caught.value.exit_code == 3


def test_missing_file_folder_and_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("gone.jpg", ".", "pipe.jpg"):
        with pytest.raises(DataError, match=r"cannot be read|is not a file"):
            decode(tmp_path / name)


def bomb(side: int) -> bytes:
    """A small PNG of side x side pixels in one bit."""

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
def test_bombs_are_refused_before_decoding(side: int) -> None:
    data = bomb(side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=f"more than {MAX_PIXELS // 10**6} megapixels"):
        decode(data, 192)
    assert len(data) < 60_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "kB"


# --- contents --------------------------------------------------------------------------------------------------------


def test_hashes_are_remembered_and_refreshed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = photos(tmp_path / "photos")
    monkeypatch.setattr("headstart.data.hashing._RECENT", -(10**12))  # as if the files were old
    told: list[tuple[int, int]] = []
    first = hash_files(listing, lambda done, total: told.append((done, total)))
    assert told[-1] == (12, 12) and len(set(first)) == 12 and {len(h) for h in first} == {32}
    opened: list[Path] = []
    original = sys.modules["headstart.data.hashing"].opened  # type: ignore[attr-defined]
    monkeypatch.setattr("headstart.data.hashing.opened", lambda path: (opened.append(path), original(path))[1])
    assert hash_files(listing) == first and opened == []
    status = listing.paths[3].stat()
    data = bytearray(listing.paths[3].read_bytes())
    data[-3] ^= 1
    listing.paths[3].write_bytes(data)
    os.utime(listing.paths[3], ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time of change
    second = hash_files(listing)
    assert opened == [listing.paths[3]]
    assert [a == b for a, b in zip(first, second, strict=True)] == [i != 3 for i in range(12)]
    next((tmp_path / "cache/contents").glob("*.npz")).write_bytes(b"damaged")
    assert hash_files(listing) == second


def test_young_files_are_not_trusted(tmp_path: Path) -> None:
    hash_files(photos(tmp_path / "photos"))
    assert not list((tmp_path / "cache").glob("contents/*"))


def test_fingerprint_is_of_what_matters(tmp_path: Path) -> None:
    here, there = photos(tmp_path / "here"), photos(tmp_path / "there")
    contents = hash_files(here)
    value = fingerprint(here, contents)
    assert len(value) == 64 and value == fingerprint(there, hash_files(there))
    assert value != fingerprint(here, contents[::-1])
    assert value != fingerprint(replace(here, groups=("g",) * 12), contents)
    assert value != fingerprint(replace(here, classes=("a", "c")), contents)
    assert value != fingerprint(here.without([0]), contents[1:])


# --- the store -------------------------------------------------------------------------------------------------------


def everything(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_store_holds_what_decode_gives(tmp_path: Path, root: Path) -> None:
    listing = photos(tmp_path / "photos")
    told: list[tuple[int, int]] = []
    store = open_store(listing, hash_files(listing), side=32, threads=2, progress=lambda *a: told.append(a))
    assert told == [(i, 12) for i in range(1, 13)]
    assert len(store) == 12 and store.side == 32 and store.bad == () and store.notes == ()
    for i, path in enumerate(listing.paths):
        assert np.array_equal(store[i], decode(path, 32))
        assert tuple(store.sizes[i]) == store[i].shape[:2]
        assert not store[i].flags.writeable and not store[i].flags.owndata
    told.clear()
    again = open_store(listing, hash_files(listing), side=32, threads=2, progress=lambda *a: told.append(a))
    assert told == [] and np.array_equal(again[5], store[5])
    assert len(list(root.iterdir())) == 1
    open_store(listing, hash_files(listing), side=16, threads=2)
    assert len(list(root.iterdir())) == 2


def test_threads_do_not_change_a_byte(tmp_path: Path, root: Path) -> None:
    listing = photos(tmp_path / "photos", 40)
    contents = hash_files(listing)
    open_store(listing, contents, side=32, threads=1)
    one = everything(root)
    root.rename(tmp_path / "aside")
    open_store(listing, contents, side=32, threads=2)
    assert everything(root) == one and len(one) == 3


def test_equal_files_share_their_pixels(tmp_path: Path, root: Path) -> None:
    listing = photos(tmp_path / "photos", 6)
    single = open_store(listing, hash_files(listing), side=32, threads=1)
    (tmp_path / "photos/b/copy.jpg").write_bytes(listing.paths[0].read_bytes())
    more = read(str(tmp_path / "photos"))
    store = open_store(more, hash_files(more), side=32, threads=1)
    assert len(store) == 7 and len(single) == 6 and len(list(root.iterdir())) == 1
    assert np.array_equal(store[more.keys.index("b/copy.jpg")], store[0])


def test_sixteen_bit_files_are_noted(tmp_path: Path) -> None:
    listing = photos(tmp_path / "photos", 4)
    Image.fromarray(np.full((40, 40), 30000, np.uint16)).save(tmp_path / "photos/a/deep.png")
    listing = read(str(tmp_path / "photos"))
    contents = hash_files(listing)
    for _ in range(2):
        store = open_store(listing, contents, side=32, threads=1)
        assert store.notes == ("1 images of more than 8 bits were scaled to 8 by their range.",)


def spoil(folder: Path) -> Listing:
    (folder / "a/empty.jpg").write_bytes(b"")
    (folder / "b/page.jpg").write_bytes(b"<html>")
    (folder / "b/page2.jpg").write_bytes(b"<html>")
    (folder / "b/short.jpg").write_bytes((folder / "b/1.jpg").read_bytes()[:-300])
    return read(str(folder))


def test_undecodable_files_are_all_named_or_left_out(tmp_path: Path, root: Path) -> None:
    photos(tmp_path / "photos")
    listing = spoil(tmp_path / "photos")
    contents = hash_files(listing)
    told: list[int] = []
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            open_store(listing, contents, side=32, threads=2, progress=lambda done, _: told.append(done))
        assert caught.value.message.startswith("4 of the 16 images of ")
        assert all(name in caught.value.message for name in ("empty.jpg", "page.jpg", "page2.jpg", "short.jpg"))
        assert "--skip-bad" in caught.value.hint
    store = open_store(listing, contents, side=32, threads=2, skip_bad=True, progress=lambda done, _: told.append(done))
    names = ("a/empty.jpg", "b/page.jpg", "b/page2.jpg", "b/short.jpg")
    assert [listing.keys[i] for i in store.bad] == list(names)
    assert max(told) == len(told) == 15, "the whole pass was made once, and what was good is kept"
    with pytest.raises(LookupError):
        store[store.bad[0]]
    rest = listing.without(store.bad)
    smaller = open_store(rest, hash_files(rest), side=32, threads=2, progress=lambda done, _: told.append(done))
    assert len(told) == 15 and smaller.bad == () and len(smaller) == 12
    assert sorted(p.name for p in root.iterdir() if p.is_file()) == ["undecodable.json"]
    assert len(list(root.iterdir())) == 2


def test_a_file_that_was_repaired_or_wrongly_remembered_is_read(tmp_path: Path, root: Path) -> None:
    listing = photos(tmp_path / "photos", 4)
    contents = hash_files(listing)
    root.mkdir(parents=True)
    (root / "undecodable.json").write_text(f'["{contents[0]}"]')
    assert open_store(listing, contents, side=32, threads=1).bad == ()


def test_nothing_but_bad_files(tmp_path: Path, root: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(b"no image")
    listing = read(str(tmp_path / "photos"))
    with pytest.raises(DataError, match="None of the 2 images"):
        open_store(listing, hash_files(listing), side=32, threads=1, skip_bad=True)
    assert [p.name for p in root.iterdir()] == ["undecodable.json"]


def test_a_file_that_vanishes_or_changes_is_named_and_not_remembered(tmp_path: Path, root: Path) -> None:
    listing = photos(tmp_path / "photos", 6)
    contents = hash_files(listing)
    kept = listing.paths[0].read_bytes()
    listing.paths[0].write_bytes(listing.paths[1].read_bytes())
    listing.paths[2].unlink()
    with pytest.raises(DataError, match=r"2 of the 6 .*changed while.*cannot be read"):
        open_store(listing, contents, side=32, threads=2)
    unreadable = hash_files(listing)
    assert unreadable[2].startswith("unreadable-")
    assert open_store(listing, unreadable, side=32, threads=2, skip_bad=True).bad == (2,)
    listing.paths[0].write_bytes(kept)
    listing.paths[2].write_bytes(kept)
    with pytest.raises(DataError, match="a moment ago"):
        open_store(listing, unreadable, side=32, threads=2)
    assert not (root / "undecodable.json").exists()


@pytest.mark.parametrize("blow", [KeyboardInterrupt, RuntimeError])
def test_interrupted_building_leaves_nothing(tmp_path: Path, root: Path, blow: type[BaseException]) -> None:
    listing = photos(tmp_path / "photos")
    contents = hash_files(listing)

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise blow

    with pytest.raises(blow):
        open_store(listing, contents, side=32, threads=2, progress=stop)
    assert list(root.iterdir()) == []
    assert len(open_store(listing, contents, side=32, threads=2)) == 12


def test_killed_building_leaves_nothing_that_counts(tmp_path: Path, root: Path) -> None:
    listing = photos(tmp_path / "photos")
    script = (
        "import os, signal, sys; from headstart.data import read; from headstart.data.pixel_store import *\n"
        "def stop(done, total):\n    if done == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "l = read(sys.argv[1]); open_store(l, hash_files(l), side=32, threads=2, progress=stop)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "photos")], check=False)
    assert done.returncode == -signal.SIGKILL
    left = list(root.iterdir())
    assert [".tmp-" in p.name for p in left] == [True]
    store = open_store(listing, hash_files(listing), side=32, threads=2)
    assert len(store) == 12 and not left[0].exists() and len(list(root.iterdir())) == 1


def test_work_of_the_living_is_left_alone(tmp_path: Path) -> None:
    host = cache.socket.gethostname()
    alive = tmp_path / f"new.tmp-{os.getppid()}-{host}"
    elsewhere = tmp_path / "new.tmp-1-another-host"
    own, dead = tmp_path / f"new.tmp-{os.getpid()}-{host}", tmp_path / f"x.npz.tmp-99999999-{host}"
    for path in (alive, elsewhere, own):
        path.mkdir()
    dead.touch()
    cache.remove_stale(tmp_path)
    assert sorted(tmp_path.glob("*.tmp-*")) == sorted([alive, elsewhere])
    os.utime(elsewhere, (0, 0))
    cache.remove_stale(tmp_path)
    assert list(tmp_path.glob("*.tmp-*")) == [alive]


@pytest.mark.parametrize("name", ["pixels.bin", "index.npz", "MANIFEST.json"])
def test_damaged_store_is_built_again(tmp_path: Path, root: Path, name: str) -> None:
    listing = photos(tmp_path / "photos", 6)
    contents = hash_files(listing)
    open_store(listing, contents, side=32, threads=1)
    whole = everything(root)
    path = next(root.iterdir()) / name
    path.write_bytes(path.read_bytes()[:-7])
    store = open_store(listing, contents, side=32, threads=1)
    assert np.array_equal(store[0], decode(listing.paths[0], 32)) and everything(root) == whole


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_changed_byte_is_told_when_its_picture_is_asked_for(tmp_path: Path, root: Path, place: int) -> None:
    listing = photos(tmp_path / "photos", 6)
    contents = hash_files(listing)
    open_store(listing, contents, side=32, threads=1)
    whole = everything(root)
    path = next(root.iterdir()) / "pixels.bin"
    changed = bytearray(path.read_bytes())
    changed[place] ^= 1
    path.write_bytes(changed)
    store = open_store(listing, contents, side=32, threads=1)
    with pytest.raises(DataError, match="have changed on the disk"):
        [store[index] for index in range(len(store))]
    store = open_store(listing, contents, side=32, threads=1)  # made anew
    assert everything(root) == whole
    assert all(np.array_equal(store[i], decode(path, 32)) for i, path in enumerate(listing.paths))


def test_full_disk_is_told_before_the_work(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = photos(tmp_path / "photos")
    contents = hash_files(listing)
    usage = pixel_store.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pixel_store.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ResourceError, match=r"needs about 0\.1 GB, and .* has 0\.0 GB free"):
        open_store(listing, contents, side=32, threads=2)
    assert list(root.iterdir()) == []


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = photos(tmp_path / "photos", 4)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    contents = hash_files(listing)
    with pytest.raises(ResourceError, match="HEADSTART_CACHE"):
        open_store(listing, contents, side=32, threads=2)


def test_cache_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.cache_root() == tmp_path / "cache"
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_root() == tmp_path / "headstart"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_root() == Path.home() / ".cache/headstart"


def test_no_torch_is_imported() -> None:
    rooms = ", ".join(f"headstart.data.{name}" for name in ("pixels", "split", "manifest", "builtin"))
    script = f"import sys, {rooms}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
