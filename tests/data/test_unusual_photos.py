"""Photos that are often misread: deep and planar TIFF, PNG with damaged metadata, and files of other formats."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.conversion import Conversion
from headstart.data.decode import UndecodableError, decode
from headstart.data.folder import list_images
from tests.conftest import environment_for_processes
from tests.data.test_photo_files import chunk, deep_values, expected_rgb, png
from tests.data.test_pixel_store import encoded, picture
from tests.messages import fields_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def tiff_file(
    values: np.ndarray,
    tags: dict[int, tuple[int, ...]],
    *,
    order: str = "<",
    big: bool = False,
    planar: bool = False,
    tile: int = 0,
    rows: int = 0,
    deflate: bool = False,
) -> bytes:
    """Return a TIFF or BigTIFF file of strips or tiles, written without a library for images."""
    height, width, channels = values.shape
    stored = values.astype(values.dtype.newbyteorder(order))
    layers = [stored[..., [i]] for i in range(channels)] if planar else [stored]
    parts = [part for layer in layers for part in (_tiles(layer, tile) if tile else _strips(layer, rows or height))]
    parts = [zlib.compress(part) for part in parts] if deflate else parts
    integers = {
        256: (width,), 257: (height,), 258: (values.dtype.itemsize * 8,) * channels, 259: (8 if deflate else 1,),
        277: (channels,), 284: (2 if planar else 1,), **tags,
    }  # fmt: skip
    integers |= {322: (tile,), 323: (tile,), 324: (), 325: tuple(map(len, parts))} if tile else {}
    integers |= {} if tile else {278: (rows or height,), 273: (), 279: tuple(map(len, parts))}
    places, word, inline = (324 if tile else 273), "Q" if big else "I", 8 if big else 4
    integers[places] = (0,) * len(parts)
    begin = (24 if big else 10) + (20 if big else 12) * len(integers) + inline
    size = sum(4 * len(numbers) for numbers in integers.values() if 4 * len(numbers) > inline)
    starts = np.cumsum([begin + size, *map(len, parts)])[:-1]
    integers[places] = tuple(map(int, starts))
    directory, blob = b"", b""
    for tag, numbers in sorted(integers.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(packed) > inline:
            packed, blob = struct.pack(order + word, begin + len(blob)), blob + packed
        directory += struct.pack(f"{order}HH{word}", tag, 4, len(numbers)) + packed.ljust(inline, b"\0")
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(integers)) if big else struct.pack(
        f"{order}HIH", 42, 8, len(integers)
    )  # fmt: skip
    return mark + head + directory + bytes(inline) + blob + b"".join(parts)


def _strips(layer: np.ndarray, rows: int) -> list[bytes]:
    return [layer[y : y + rows].tobytes() for y in range(0, len(layer), rows)]


def _tiles(layer: np.ndarray, tile: int) -> list[bytes]:
    height, width, channels = layer.shape
    padded = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile, channels), layer.dtype)
    padded[:height, :width] = layer
    return [
        padded[y : y + tile, x : x + tile].tobytes()
        for y in range(0, len(padded), tile)
        for x in range(0, padded.shape[1], tile)
    ]


# --- TIFF ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"big": True},
        {"big": True, "planar": True, "rows": 5},
        {"planar": True},
        {"planar": True, "deflate": True, "order": ">"},
        {"planar": True, "rows": 5, "order": ">"},
        {"planar": True, "tile": 16},
        {"tile": 16, "deflate": True, "big": True},
        {"rows": 5},
    ],
)
@pytest.mark.parametrize(("channels", "extra"), [(1, {}), (2, {338: (0,)}), (3, {}), (4, {338: (0,)})])
def test_twelve_bits_of_all_layouts(
    options: dict[str, object], channels: int, extra: dict[int, tuple[int, ...]]
) -> None:
    values = deep_values(channels, 4095)
    colors = values[..., : 3 if channels > 2 else 1].copy()
    colors[0, 0] = values[0, 0] = 4095
    tags = {262: (2 if channels > 2 else 1,), **extra}
    shown = decode(tiff_file(values, tags, **options))  # type: ignore[arg-type]
    assert np.array_equal(shown, np.broadcast_to(expected_rgb(colors, 4095), shown.shape))


@pytest.mark.parametrize("highest", [65535, 4095])
@pytest.mark.parametrize("order", ["<", ">"])
def test_gray_of_16_bits_whose_zero_is_white(highest: int, order: str) -> None:
    values = deep_values(1, highest)
    values[0, 1] = 0
    tags = {262: (0,), **({281: (highest,)} if highest < 65535 else {})}
    shown = decode(tiff_file(values, tags, order=order))
    assert np.array_equal(shown, np.broadcast_to(expected_rgb(highest - values, highest), shown.shape)) or (
        np.abs(shown.astype(int) - expected_rgb(highest - values, highest)).max() <= 1
    )
    assert shown[0, 1, 0] == 255 and shown[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("dtype", "tags"),
    [
        (np.float64, {339: (3,)}), (np.float16, {339: (3,)}), (np.uint16, {262: (32845,)}), (np.uint16, {262: (3,)}),
    ],
)  # fmt: skip
def test_other_layouts_are_no_damage(dtype: type, tags: dict[int, tuple[int, ...]]) -> None:
    data = tiff_file(deep_values(1, 255).astype(dtype), {262: (1,), **tags})
    with pytest.raises(UndecodableError) as caught:
        decode(data)
    fields = fields_of(caught.value.message)
    assert (fields["channels"], fields["bits"]) == (1, np.dtype(dtype).itemsize * 8) and "format" not in fields


@pytest.mark.parametrize(
    "options", [{}, {"planar": True}, {"big": True}, {"order": ">"}, {"tile": 16, "deflate": True}]
)
@pytest.mark.parametrize(("channels", "photometric", "dtype"), [
    (65, 1, np.uint16), (70, 1, np.uint16), (70, 2, np.uint8), (300, 1, np.uint8), (128, 5, np.uint16),
])  # fmt: skip
def test_more_channels_than_are_read_are_no_damage(
    options: dict[str, object], channels: int, photometric: int, dtype: type
) -> None:
    colors = {1: 1, 2: 3, 5: 4}[photometric]
    values = np.broadcast_to(deep_values(1, 255), (*deep_values(1, 255).shape[:2], channels)).astype(dtype)
    tags = {262: (photometric,), 338: (0,) * (channels - colors), 339: (1,) * channels}
    with pytest.raises(UndecodableError) as caught:
        decode(tiff_file(values, tags, **options))  # type: ignore[arg-type]
    fields = fields_of(caught.value.message)
    assert (fields["channels"], fields["bits"]) == (channels, np.dtype(dtype).itemsize * 8) and "format" not in fields


@pytest.mark.parametrize("channels", [8, 64])
def test_many_bands_are_read_without_a_line_of_pillow(channels: int, tmp_path: Path) -> None:
    values = deep_values(channels, 4095)
    values[0, 0] = 4095
    tags = {262: (1,), 338: (0,) * (channels - 1)}
    (tmp_path / "bands.tif").write_bytes(data := tiff_file(values, tags))
    shown = decode(data)
    assert np.array_equal(shown, np.broadcast_to(expected_rgb(values[..., :1], 4095), shown.shape))
    code = "import sys; from pathlib import Path; from headstart.data.decode import decode; decode(Path(sys.argv[1]))"
    process = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bands.tif"], capture_output=True, check=False,
        env=environment_for_processes(),
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize(("kinds", "alpha"), [((0,) * 40, 0), ((0, 2, 0), 4), ((2, 0, 2), 3), ((0, 0, 1), 5)])
@pytest.mark.parametrize("options", [{}, {"tile": 16}, {"rows": 5, "order": ">"}])
def test_planes_that_are_not_shown_are_not_unpacked(
    kinds: tuple[int, ...], alpha: int, options: dict[str, object]
) -> None:
    channels = 3 + len(kinds)
    values = deep_values(channels, 65535)
    if alpha:
        values[..., alpha] = 65535  # opaque
    data = tiff_file(values, {262: (2,), 338: kinds}, planar=True, deflate=True, **options)  # type: ignore[arg-type]
    unused = [i for i in range(3, channels) if i != alpha]
    order, tile, rows = (options.get(name, usual) for name, usual in (("order", "<"), ("tile", 0), ("rows", 0)))
    for layer in (values[..., [i]].astype(f"{order}u2") for i in unused):
        for part in _tiles(layer, tile) if tile else _strips(layer, rows or len(layer)):  # type: ignore[call-overload, arg-type]
            packed = zlib.compress(part)
            assert packed in data
            data = data.replace(packed, b"\xff" * len(packed))
    shown = decode(data, 0, Conversion(65535))
    assert np.array_equal(shown, expected_rgb(values[..., :3], 65535))


@pytest.mark.parametrize("photometric", [32803, 34892])
def test_photometric_of_sensors_is_camera_raw(photometric: int) -> None:
    with pytest.raises(UndecodableError) as caught:
        decode(tiff_file(deep_values(1, 4095), {262: (photometric,)}))
    assert fields_of(caught.value.message)["format"] == "camera raw"


# --- PNG -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damaged",
    [
        chunk(b"cHRM", b"\0"), chunk(b"gAMA", b""), chunk(b"sRGB", b""), chunk(b"pHYs", b"\0"), chunk(b"acTL", b"\0"),
        struct.pack(">I", 3) + b"tEXta\0b" + b"\0\0\0\0", struct.pack(">I", 1) + b"sRGB\0" + b"none",
        chunk(b"iCCP", b"x\0\0no profile"), chunk(b"iTXt", b"k\0\1\0\0\0no text"),
        chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff"),
    ],
)  # fmt: skip
def test_damaged_png_metadata_does_not_stop_the_pixels(damaged: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = b"eXIf" not in damaged
    data = encoded(picture(40, 30), **({"exif": exif} if upright else {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, on EXIF data
        shown = decode(data[:33] + damaged + data[33:])
    pixels = np.asarray(picture(40, 30))
    assert np.array_equal(shown, np.rot90(pixels, -1) if upright else pixels)


def gray_png(values: np.ndarray, bits: int, *extra: bytes) -> bytes:
    """Return a gray PNG of 1, 2, 4 or 8 bits, written without a library for images."""
    height, width = values.shape
    packed = np.packbits((values[..., None] >> np.arange(bits - 1, -1, -1) & 1).reshape(height, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return SIGNATURE + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("is_white", [False, True])
def test_transparent_level_of_few_bits(bits: int, is_white: bool) -> None:
    top = 2**bits - 1
    values = np.random.default_rng(bits).integers(0, top + 1, (12, 16), dtype=np.uint8)
    level = top if is_white else 0
    shown = decode(gray_png(values, bits, chunk(b"tRNS", struct.pack(">H", level))), 0, Conversion(background=77))
    assert np.array_equal(shown[..., 0], np.where(values == level, 77, values.astype(int) * 255 // top))


@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_color_of_16_bits(channels: int) -> None:
    values = deep_values(channels, 4095)
    values[3] = values[0, 5]
    color = tuple(map(int, values[0, 5]))
    shown = decode(png(values, chunk(b"tRNS", struct.pack(f">{channels}H", *color))), 0, Conversion(4095, 0))
    is_hidden = (values == values[0, 5]).all(axis=2, keepdims=True)
    assert is_hidden.sum() >= 16
    assert np.array_equal(shown, np.broadcast_to(np.where(is_hidden, 0, expected_rgb(values, 4095)), shown.shape))


# --- something else --------------------------------------------------------------------------------------------------


def jpeg_with_frame(marker: int, bits: int = 8) -> bytes:
    data = encoded(picture(20, 20), "JPEG")
    place = data.index(b"\xff\xc0")
    return data[: place + 1] + bytes([marker]) + data[place + 2 : place + 4] + bytes([bits]) + data[place + 5 :]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (jpeg_with_frame(0xC1, 12), "JPEG of 12 bits"),
        (jpeg_with_frame(0xC3), "lossless JPEG"),
        (jpeg_with_frame(0xC5), "hierarchical JPEG"),
        (b"\xff\xd8\xff\xf7" + bytes(40), "JPEG-LS"),
        (SIGNATURE + chunk(b"CgBI", b"\x50\0\x20\6") + encoded(picture(8, 8))[8:], "PNG of iOS apps (CgBI)"),
        (encoded(picture(8, 8), "PPM"), "Netpbm (PBM, PGM, PPM or PAM)"),
        (b"MM\0+\0\x08\0\0" + bytes(40), "big-endian BigTIFF"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(50), "AppleDouble"),
        (b"<!-- saved --><html><body>404</body></html>", "HTML"),
        ("<!DOCTYPE html><p>404</p>".encode("utf-16"), "HTML"),
        (b"<?xml version='1.0'?><!--" + b"x" * 600 + b"--><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>", "XML"),
        (b'{"error": "not found"}', "plain text"),
        ("nicht gefunden: Übersicht".encode(), "plain text"),
        (b"data:image/jpeg;base64,/9j/4AAQSkZJRg==", "Base64 text"),
        (b"outs:\n- md5: d8e8fca2\n  path: x.jpg\n", "DVC pointer"),
        (b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(50), "QuickTime video"),
        (bytes(257) + b"ustar" + bytes(9), "tar"),
        (struct.pack("<i", 348) + bytes(340) + b"n+1\0", "NIfTI"),
    ],
)  # fmt: skip
def test_files_of_other_kinds_are_named(data: bytes, kind: str) -> None:
    data = b"ustar.jpg".ljust(257, b"\0") + data[257:] if kind == "tar" else data
    with pytest.raises(UndecodableError) as caught:
        decode(data)
    assert fields_of(caught.value.message)["format"] == kind


def test_images_without_a_suffix_are_listed_by_their_content(tmp_path: Path) -> None:
    image = picture(16, 16)
    kinds = {"a": "JPEG", "b": "PNG", "c.webp@w": "WEBP", "d.php": "GIF", "e.image": "AVIF"}
    for name, kind in kinds.items():
        (tmp_path / name).write_bytes(encoded(image, kind))
    (tmp_path / "f").write_bytes(encoded(image, "BMP"))
    (tmp_path / "g.txt").write_bytes(encoded(image, "PNG"))
    assert [path.name for path in list_images(tmp_path)] == list(kinds)


@pytest.mark.parametrize("tail", [b"\0\0\0\x18ftypmp42" + bytes(500), b"SEFT" + bytes(40), b"\xff\xd8\xff\xe0"])
def test_bytes_after_the_image_are_ignored(tail: bytes) -> None:
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        data = encoded(picture(20, 20), kind)
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(decode(data + tail), expected)
