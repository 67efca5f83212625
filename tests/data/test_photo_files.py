"""Photo files of phones, cameras, scanners, microscopes and browsers are read, or named for what they are."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from headstart.data import image_formats, pixels
from headstart.data.conversion import Conversion
from headstart.data.decode import UndecodableError, decode, suppress_pillow_warnings
from headstart.data.folder import list_images
from headstart.data.hashing import hash_files
from headstart.data.pixel_store import open_store
from headstart.data.sources import read_index
from headstart.errors import DataError
from tests.data.test_pixel_store import encoded, picture
from tests.messages import fields_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values: np.ndarray, *extra: bytes) -> bytes:
    """Return a PNG of 16 bits with the chunks `extra` after its header, written without a library for images."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    body = chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(
    values: np.ndarray,
    photometric: int,
    extra: tuple[int, ...] = (),
    *,
    order: str = "<",
    deflate: bool = False,
    predictor: int = 1,
    orientation: int = 1,
    preview: bool = False,
) -> bytes:
    """Return a TIFF of one strip, uint8 or uint16 [h, w, channels], written without a library for images."""
    height, width, channels = values.shape
    bits = values.dtype.itemsize * 8
    stored = values.copy()
    if predictor == 2:
        stored[:, 1:] = values[:, 1:] - values[:, :-1]
    data = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if deflate else data
    entries = [(256, 4, (width,)), (257, 4, (height,)), (258, 3, (bits,) * channels), (259, 3, (8 if deflate else 1,))]
    entries += [(262, 3, (photometric,)), (274, 3, (orientation,)), (277, 3, (channels,)), (278, 4, (height,))]
    entries += [(279, 4, (len(data),)), (284, 3, (1,)), (317, 3, (predictor,)), (254, 4, (int(preview),))]
    entries += [(338, 3, extra)] if extra else []
    count = len(entries) + 1
    place = 8 + 2 + 12 * count + 4
    blob = b""
    directory = []
    for tag, kind, numbers in [*entries, (273, 4, None)]:
        numbers = numbers or (place + 64,)
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            packed, blob = struct.pack(f"{order}I", place + len(blob)), blob + packed
        directory.append((tag, struct.pack(f"{order}HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, count)
    return head + b"".join(entry for _tag, entry in sorted(directory)) + bytes(4) + blob.ljust(64, b"\0") + data


# --- endings ---------------------------------------------------------------------------------------------------------


def test_jpeg_files_are_listed_under_any_ending(tmp_path: Path) -> None:
    known = ["1.jfif", "2.jpe", "3.pjpeg", "4.jif", "5.mpo", "6.JPG", "7.JFIF", "8.pjp"]
    names = [*known, "9.jpg_large", "a.jpg!d", "b", "c.image"]
    data = encoded(picture(20, 20), "JPEG")
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(data)
        (tmp_path / folder / "notes.txt").write_bytes(data)
        (tmp_path / folder / "1.thm").write_bytes(data)
        (tmp_path / folder / "unknown.dat").write_bytes(b"\xff\xd8")
    images = read_index(str(tmp_path))
    assert sorted(images.keys) == sorted(f"{folder}/{name}" for folder in ("cat", "dog") for name in names)
    assert {path.name for path in list_images(tmp_path / "cat")} == set(names)


@pytest.mark.parametrize("suffix", [".jp2", ".j2k", ".avif", ".heic", ".HEIC", ".hif", ".apng", ".dib"])
def test_other_photo_formats_are_listed(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert [path.suffix for path in list_images(tmp_path)] == [suffix]


# --- JPEG ------------------------------------------------------------------------------------------------------------


def marked(jpeg: bytes, keep: bool) -> bytes:
    """Return a JPEG file with or without its Adobe marker."""
    start = jpeg.index(b"\xff\xee")
    length = struct.unpack_from(">H", jpeg, start + 2)[0]
    assert jpeg[start + 4 : start + 9] == b"Adobe"
    return jpeg if keep else jpeg[:start] + jpeg[start + 2 + length :]


@pytest.mark.parametrize("progressive", [False, True])
def test_cmyk_jpeg_is_inverted_with_an_adobe_marker_only(progressive: bool) -> None:
    ink = Image.merge("CMYK", [Image.new("L", (32, 32), level) for level in (200, 30, 90, 20)])
    expected = np.array(ink.convert("RGB").getpixel((0, 0)))
    with_marker = encoded(ink, "JPEG", quality=95, progressive=progressive)  # Pillow writes inverted values
    inverted = Image.eval(ink, lambda value: 255 - value)
    without_marker = marked(encoded(inverted, "JPEG", quality=95, progressive=progressive), keep=False)
    for data in (marked(with_marker, keep=True), without_marker):
        assert np.abs(decode(data).astype(int) - expected).max() <= 6


def test_first_image_of_mpo_is_read_and_damaged_mpo_data_is_ignored() -> None:
    first, second = Image.new("RGB", (32, 24), "red"), Image.new("RGB", (16, 12), "blue")
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    shown = decode(data)
    assert shown.shape == (24, 32, 3) and np.abs(shown.astype(int) - (254, 0, 0)).max() <= 2
    place = data.index(b"MPF\0") + 4
    damaged = data[:place] + b"\xff" * 40 + data[place + 40 :]
    assert np.array_equal(decode(damaged), shown)


def test_jpeg_with_a_large_profile_and_damaged_exif_is_read() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(300_000)
    image = picture(32, 24)
    plain = decode(encoded(image, "JPEG"))
    for exif in (
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\xff",
    ):
        with suppress_pillow_warnings():
            assert np.array_equal(decode(encoded(image, "JPEG", icc_profile=profile, exif=exif)), plain)


def resized_header(jpeg: bytes, marker: bytes, width: int, height: int) -> bytes:
    """Return a JPEG file whose header declares another size."""
    place = jpeg.index(marker) + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


@pytest.mark.parametrize("size", [(9248, 6936), (12000, 9000)])
def test_large_jpeg_is_decoded_at_a_reduced_scale(size: tuple[int, int]) -> None:
    ramp = np.linspace(30, 220, size[0], dtype=np.float32).astype(np.uint8)
    data = encoded(Image.fromarray(np.broadcast_to(ramp, size[::-1])), "JPEG", quality=30)
    shown = decode(data, 48)
    assert shown.shape == (48, 64, 3)
    expected = np.linspace(30, 220, 64)
    assert np.abs(shown[..., 0].astype(float) - expected).max() < 4


def test_limits_of_jpeg_files_depend_on_how_they_are_decoded() -> None:
    image = picture(64, 48)
    baseline, progressive = encoded(image, "JPEG"), encoded(image, "JPEG", progressive=True)
    for data, side, limit in (
        (resized_header(baseline, b"\xff\xc0", 20_000, 15_000), 48, pixels.MAX_REDUCED_PIXELS),
        (resized_header(baseline, b"\xff\xc0", 9248, 6936), 0, pixels.MAX_PIXELS),
        (resized_header(progressive, b"\xff\xc2", 12_000, 9000), 48, pixels.MAX_PIXELS),
    ):
        with pytest.raises(UndecodableError) as caught:
            decode(data, side)
        assert fields_of(caught.value.message)["megapixels"] == limit // 10**6
    # 200 megapixels, of which libjpeg invents those that the file lacks
    assert decode(resized_header(baseline, b"\xff\xc0", 16_320, 12_240), 48).shape == (48, 64, 3)


def test_large_file_that_is_no_bomb_is_read() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 8001), dtype=np.uint8)
    scan = np.broadcast_to(noise, (8001, 8001)).copy()
    scan[::64] = np.random.default_rng(1).integers(0, 256, (126, 8001), dtype=np.uint8)
    data = encoded(Image.fromarray(scan), "TIFF", compression="tiff_lzw")
    assert len(data) > 8001 * 8001 / 64
    assert decode(data, 48).shape == (48, 48, 3)


# --- PNG metadata ----------------------------------------------------------------------------------------------------


PACKED = zlib.compress(bytes(3_000_000))


@pytest.mark.parametrize(
    "large",
    [
        chunk(b"iCCP", b"monitor\0\0" + PACKED),
        chunk(b"zTXt", b"Raw profile type xmp\0\0" + PACKED),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + PACKED),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 2_000_000),
        chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000))) * 70,
    ],
)
@pytest.mark.parametrize("place", ["start", "end"])
def test_large_png_metadata_does_not_stop_the_pixels(large: bytes, place: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(40, 30), exif=exif)
    at = 33 if place == "start" else len(data) - 12
    assert np.array_equal(decode(data[:at] + large + data[at:]), decode(data))


# --- deep and unusual values -----------------------------------------------------------------------------------------


def deep_values(channels: int, top: int) -> np.ndarray:
    values = np.random.default_rng(channels).integers(0, top + 1, (12, 16, channels)).astype(np.uint16)
    values[0, 0] = top
    return values


def expected_rgb(values: np.ndarray, top: int) -> np.ndarray:
    scaled = np.rint(values / (top / 255)).astype(int)
    return np.repeat(scaled, 3, axis=2) if values.shape[2] == 1 else scaled


@pytest.mark.parametrize("top", [1023, 4095, 16383, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_fewer_bits_in_16_bit_files_use_their_own_range(channels: int, top: int) -> None:
    values = deep_values(channels, top)
    expected = expected_rgb(values, top)
    photometric = {1: 1, 3: 2}[channels]
    files = [png(values)]
    for order in "<>":
        files += [tiff(values, photometric, order=order)]
        files += [tiff(values, photometric, order=order, deflate=True, predictor=predictor) for predictor in (1, 2)]
    for data in files:
        assert np.abs(decode(data).astype(int) - expected).max() <= (1 if top == 65535 else 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_tiff_with_alpha_and_spot_colors(order: str, deflate: bool, orientation: int) -> None:
    options = {"order": order, "deflate": deflate, "predictor": 2 if deflate else 1, "orientation": orientation}
    turn = (lambda image: np.rot90(image, -1)) if orientation == 6 else (lambda image: image)
    gray = deep_values(1, 65535)
    half = np.full_like(gray, 32768)
    opaque = np.full_like(gray, 65535)
    on_white = turn(np.rint((gray * (32768 / 65535) + 65535 * (32767 / 65535)) / 257).astype(int))
    for kind, color in ((2, gray), (1, np.rint(gray * (32768 / 65535)).astype(np.uint16))):
        shown = decode(tiff(np.concatenate([color, half], axis=2), 1, (kind,), **options), 0, Conversion())
        assert np.abs(shown.astype(int) - on_white).max() <= 1
    assert np.array_equal(
        decode(tiff(np.concatenate([gray, opaque], axis=2), 1, (2,), **options)), decode(tiff(gray, 1, **options))
    )
    ink = np.random.default_rng(5).integers(0, 256, (12, 16, 4), dtype=np.uint8)
    spot = np.random.default_rng(6).integers(0, 256, (12, 16, 1), dtype=np.uint8)
    four = turn(np.asarray(Image.frombytes("CMYK", (16, 12), ink.tobytes()).convert("RGB")))
    assert np.array_equal(decode(tiff(np.concatenate([ink, spot], axis=2), 5, (0,), **options)), four)
    deep = np.concatenate([ink, spot], axis=2).astype(np.uint16) * 257
    assert np.array_equal(decode(tiff(deep, 5, (0,), **options)), four)


def test_premultiplied_tiff_equals_straight_alpha() -> None:
    color = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    alpha = np.random.default_rng(1).integers(1, 256, (12, 16, 1), dtype=np.uint8)
    straight = decode(tiff(np.concatenate([color, alpha], axis=2), 2, (2,)))
    multiplied = np.rint(color * (alpha / 255)).astype(np.uint8)
    shown = decode(tiff(np.concatenate([multiplied, alpha], axis=2), 2, (1,)))
    assert np.abs(shown.astype(int) - straight).max() <= 2


def test_tiff_of_another_layout_is_refused() -> None:
    with pytest.raises(UndecodableError) as caught:
        decode(tiff(deep_values(2, 100), 3, (0,)))
    assert fields_of(caught.value.message)["photometric"] == 3


def test_jpeg_2000_avif_and_animations_are_read() -> None:
    image = picture(64, 48)
    for suffix in ("jp2", "j2k"):
        assert np.array_equal(decode(encoded(image, "JPEG2000", no_jp2=suffix == "j2k")), np.asarray(image))
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decode(encoded(image, "AVIF", quality=95, exif=exif))
    assert shown.shape == (64, 48, 3)
    assert np.abs(shown.astype(int) - np.rot90(np.asarray(image), -1)).mean() < 8
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    for kind in ("PNG", "AVIF", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(decode(data).astype(int) - (255, 0, 0)).max() <= 3


# --- files that are something else -----------------------------------------------------------------------------------


HEIC_HEAD = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"8BPS\0\1" + bytes(50), "Photoshop (PSD)"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xff\x0a\xfa\x7f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw (CR3)"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "MP4 video"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "camera raw (CR2)"),
        (tiff(np.zeros((4, 4, 3), np.uint8), 2, preview=True), "camera raw"),
        (bytes(128) + b"DICM" + bytes(20), "DICOM"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(30), "ZIP"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF89a", "GIF"),
    ],
)
def test_true_format_of_a_file_is_named(tmp_path: Path, head: bytes, kind: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(head)
    with pytest.raises(UndecodableError) as caught:
        decode(tmp_path / "photo.jpg")
    assert fields_of(caught.value.message) == {"name": str(tmp_path / "photo.jpg"), "format": kind}


def test_heic_without_its_reader_names_the_format_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_formats, "heif_version", lambda: "")
    for name in ("cat/1.jpg", "dog/1.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(encoded(picture(20, 20, seed=len(name)), "JPEG"))
    (tmp_path / "photos/cat/IMG.heic").write_bytes(HEIC_HEAD)
    images = read_index(str(tmp_path / "photos"))
    with pytest.raises(DataError) as caught:
        open_store(images, hash_files(images), side=16, threads=1)
    assert image_formats.HEIF_INSTALL in caught.value.hint and "--skip-bad" in caught.value.hint
    store = open_store(images, hash_files(images), side=16, threads=1, skip_bad=True)
    assert [images.keys[i] for i in store.bad] == ["cat/IMG.heic"]


def test_heic_is_read_upright() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    image = picture(64, 48)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    heif = pillow_heif.from_pillow(image)
    heif.info["exif"] = exif.tobytes()
    heif.save(buffer, quality=95)
    shown = decode(buffer.getvalue())
    assert shown.shape == (64, 48, 3)
    assert np.abs(shown.astype(int) - np.rot90(np.asarray(image), -1)).mean() < 8
    with pytest.raises(UndecodableError):
        decode(buffer.getvalue()[:-200])
    assert "pillow_heif" in sys.modules
