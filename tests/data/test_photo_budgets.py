"""Refuse photos of too many parts, or whose decoders would take too much memory, before they are decoded."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import BmpImagePlugin, Image, ImageFile

from headstart.data import decoder_memory, image_parts, jpeg2000, pixels, row_bands, samples
from headstart.data.conversion import stretched
from headstart.data.decode import UndecodableError, decode
from headstart.data.decoder_memory import pixel_limit
from headstart.data.image_parts import MAX_READS, MAX_TAG_VALUES, MAX_TILE_BYTES
from tests.messages import fields_of

SIDE = 12


def saved(image_format: str, mode: str = "RGB", side: int = SIDE, **options: object) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 4), np.uint8)
    Image.fromarray(noise).convert(mode).save(file, image_format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(before: bytes = b"", after: bytes = b"") -> bytes:
    content = saved("PNG")
    return content[:33] + before + content[33:-12] + after + content[-12:]


def gif(blocks: bytes) -> bytes:
    content = saved("GIF", "L")
    start = 13 + (3 << ((content[10] & 7) + 1))
    return content[:start] + blocks + content[start:]


def jp2(boxes: bytes) -> bytes:
    content = saved("JPEG2000")
    start = content.index(b"jp2h") - 4
    return content[:start] + boxes + content[start:]


PARTS: dict[str, Callable[[int], bytes]] = {
    "chunks of PNG": lambda count: png(chunk(b"abCd") * count),
    "chunks behind the pixels": lambda count: png(after=chunk(b"tEXt", b"a\0") * count),
    "empty pixels of PNG": lambda count: png(chunk(b"IDAT") * count),
    "comments of GIF": lambda count: gif(b"!\xfe" + b"\1a" * count + b"\0"),
    "extensions of GIF": lambda count: gif(b"!\1" + b"\1a" * count + b"\0"),
    "bytes of GIF": lambda count: gif(b"\0" * count),
    "boxes of JPEG 2000": lambda count: jp2(struct.pack(">I4s", 8, b"free") * count),
}


@pytest.mark.parametrize("make", PARTS.values(), ids=PARTS)
def test_files_of_too_many_parts_are_refused(make: Callable[[int], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_parts, "MAX_READS", 1000)
    assert np.array_equal(decode(make(100)), decode(make(1)))
    with pytest.raises(UndecodableError):
        decode(make(1001))


def test_a_million_chunks_are_refused() -> None:
    with pytest.raises(UndecodableError):
        decode(png(chunk(b"abCd") * (MAX_READS // 2)))


def test_large_files_may_have_more_parts() -> None:
    file = io.BytesIO(b"a" * 10)
    counted = image_parts.CountedFile(file, (MAX_READS + 1) * image_parts.MIN_BYTES_PER_READ)
    assert sum(len(counted.read(0)) for _number in range(MAX_READS + 1)) == 0
    with pytest.raises(image_parts.ForeignFormatError):
        counted.read(1)


# --- TIFF ------------------------------------------------------------------------------------------------------------


def tiff(width: int, height: int, *entries: tuple[int, int, int, int], big: bool = False) -> bytes:
    """Return a TIFF file of the entries (tag, type, number of values, value or place) beside the usual ones."""
    tags = {tag: (3, 1, value) for tag, value in ((258, 8), (259, 1), (262, 1), (277, 1))}
    tags |= {256: (4, 1, width), 257: (4, 1, height)} | {tag: rest for tag, *rest in entries}  # type: ignore[misc]
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
    layout = ("<Q", "<HHQQ", "<Q") if big else ("<H", "<HHII", "<I")
    body = b"".join(struct.pack(layout[1], tag, *tags[tag]) for tag in sorted(tags))
    return head + struct.pack(layout[0], len(tags)) + body + struct.pack(layout[2], 0)


def in_strips(count: int, *, big: bool = False) -> bytes:
    start = len(tiff(1, count, (273, 4, count, 0), (278, 4, 1, 1), (279, 4, count, 0), big=big))
    strips = (273, 4, count, start), (278, 4, 1, 1), (279, 4, count, start + 4 * count)
    return tiff(1, count, *strips, big=big) + struct.pack("<I", 8) * count + struct.pack("<I", 1) * count


@pytest.fixture
def unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Pillow fail if it is asked to open a file."""

    def fail(*_arguments: object, **_named: object) -> None:
        raise AssertionError("the file was opened")

    monkeypatch.setattr(Image, "open", fail)


@pytest.mark.usefixtures("unopened")
@pytest.mark.parametrize(
    "content",
    [
        in_strips(MAX_TAG_VALUES + 1),
        in_strips(MAX_TAG_VALUES + 1, big=True),
        tiff(3, 3, (282, 5, MAX_TAG_VALUES + 1, 8)),
        tiff(3, 3, (322, 4, 1, MAX_TILE_BYTES // 1000 + 1), (323, 4, 1, 1000), (324, 4, 1, 8), (325, 4, 1, 8)),
    ],
    ids=["strips", "strips of BigTIFF", "resolutions", "tile"],
)
def test_costly_tiff_files_are_refused(content: bytes) -> None:
    with pytest.raises(UndecodableError):
        decode(content)


@pytest.mark.parametrize("big", [False, True])
def test_tiff_files_of_many_strips_are_decoded(big: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_parts, "MAX_TAG_VALUES", 300)
    assert decode(in_strips(300, big=big)).shape == (300, 1, 3)
    with pytest.raises(UndecodableError):
        decode(in_strips(301, big=big))


# --- JPEG 2000 -------------------------------------------------------------------------------------------------------


def codestream(
    size: tuple[int, int],
    tile: tuple[int, int],
    *,
    channels: int = 3,
    layers: int = 1,
    levels: int = 0,
    style: str = "",
) -> bytes:
    """Return the header of a JPEG 2000 file; `style` is the sizes of precincts in hexadecimal digits."""
    sizes = struct.pack(">HIIIIIIIIH", 0, *size, 0, 0, *tile, 0, 0, channels) + b"\7\1\1" * channels
    precincts = bytes.fromhex(style)
    default = bytes([bool(precincts), 0]) + struct.pack(">HBBBBBB", layers, 0, 0, 4, 4, 0, 1) + precincts
    segments = ((b"\xff\x51", sizes), (b"\xff\x52", default))
    return b"\xff\x4f" + b"".join(marker + struct.pack(">H", len(body) + 2) + body for marker, body in segments)


@pytest.mark.usefixtures("unopened")
@pytest.mark.parametrize(
    "content",
    [
        codestream((8000, 8000), (8000, 8000)),
        codestream((16_500, 1), (1, 1)),
        codestream((100, 100), (2, 2), channels=40),
        codestream((2000, 2000), (2000, 2000), style="00"),
        codestream((3000, 3000), (3000, 3000), layers=65_535, style="55"),
        codestream((3000, 3000), (3000, 3000)).replace(b"\0\4\4\0\1", b"\0\0\0\0\1"),
    ],
    ids=["large tile", "tiles", "channels of tiles", "precincts", "layers", "blocks"],
)
@pytest.mark.parametrize("in_box", [False, True])
def test_costly_jpeg_2000_files_are_refused(content: bytes, in_box: bool) -> None:
    if in_box:
        content = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s", 0, b"jp2c") + content
    with pytest.raises(UndecodableError):
        decode(content + bytes(100))


def test_styles_in_the_headers_of_tiles_count() -> None:
    content = saved("JPEG2000", no_jp2=True)
    start, data = content.index(b"\xff\x90"), content.index(b"\xff\x93")
    style = codestream((1, 1), (1, 1), layers=65_535, style="00")[-15:]
    length = struct.unpack_from(">I", content, start + 6)[0] + len(style)
    tile = content[start : start + 6] + struct.pack(">I", length) + content[start + 10 : data] + style
    assert style[:2] == b"\xff\x52" and decode(content).shape == (SIDE, SIDE, 3)
    with pytest.raises(UndecodableError) as caught:
        decode(content[:start] + tile + content[data:])
    assert isinstance(caught.value.__cause__, type(None))  # refused, not damaged


OPTIONS = {"tile_size": (8, 8), "precinct_size": (4, 4), "quality_layers": [4, 2, 0], "num_resolutions": 1}


@pytest.mark.parametrize(
    ("limit", "count"),
    [
        ("MAX_TILE_SAMPLES", 8 * 8 * 3),
        ("MAX_TILES", 16),
        ("MAX_CHANNELS_OF_TILES", 16 * 3),
        ("MAX_TILE_BLOCKS", 3 * (4 + 4)),
        ("MAX_PACKETS", 16 * 3 * 4 * 3),
    ],
)
def test_parts_of_jpeg_2000_files_are_counted(limit: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved("JPEG2000", side=32, **OPTIONS)
    monkeypatch.setattr(jpeg2000, "MAX_SAMPLES_PER_BYTE", 0)
    monkeypatch.setattr(jpeg2000, limit, count)
    assert np.array_equal(decode(content), np.asarray(Image.open(io.BytesIO(content))))
    monkeypatch.setattr(jpeg2000, limit, count - 1)
    with pytest.raises(UndecodableError):
        decode(content)


# --- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image_format", "mode"), [("WEBP", "RGB"), ("WEBP", "RGBA"), ("AVIF", "RGBA"), ("PNG", "LA"), ("TIFF", "F")]
)
def test_pixels_are_limited_by_the_memory_of_decoders(
    image_format: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(image_format, mode)
    with Image.open(io.BytesIO(content)) as image:
        cost = decoder_memory._extra_bytes(image)
        assert pixel_limit(image, len(content)) == decoder_memory.MAX_EXTRA_BYTES // cost
        assert pixel_limit(image, 10**9) == 10**9 * decoder_memory.EXTRA_BYTES_PER_FILE_BYTE // cost
    monkeypatch.setattr(pixels, "MAX_RUN_PIXELS", 0)
    monkeypatch.setattr(decoder_memory, "EXTRA_BYTES_PER_FILE_BYTE", 0)
    monkeypatch.setattr(decoder_memory, "MAX_EXTRA_BYTES", cost * SIDE**2)
    assert decode(content).shape == (SIDE, SIDE, 3)
    monkeypatch.setattr(decoder_memory, "MAX_EXTRA_BYTES", cost * SIDE**2 - 1)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("the image was decoded"))
    with pytest.raises(UndecodableError):
        decode(content)


def test_bmp_files_in_runs_have_few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_runs(width: int, height: int) -> bytes:
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 0, 0)
        start = 14 + len(head) + 1024
        return b"BM" + struct.pack("<IHHI", start + 4, 0, 0, start) + head + bytes(1024) + b"\3\1\0\1"

    assert decode(in_runs(3, 1)).shape == (1, 3, 3)
    monkeypatch.setattr(BmpImagePlugin.BmpRleDecoder, "decode", lambda *_: pytest.fail("the image was decoded"))
    with pytest.raises(UndecodableError):
        decode(in_runs(4000, 2001))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 60_000), (-5, 7), (0, 100_000)])
def test_bands_stretch_as_the_whole_image(
    kind: type[np.generic], low: int, high: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).uniform(low, high, (40, 7)).astype(kind)
    whole = stretched(values)
    monkeypatch.setattr(row_bands, "MAX_VALUES", 30)
    assert np.array_equal(stretched(values), whole)


@pytest.mark.parametrize(("depth", "top"), [(8, 255), (16, 65_535), (16, 4095)])
def test_bands_divide_by_alpha_as_the_whole_image(depth: int, top: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(0, top + 1, (30, 7, 4)).astype(f"u{depth // 8}")
    whole = samples._divided(values[..., :3], values[..., 3:])
    monkeypatch.setattr(row_bands, "MAX_VALUES", 60)
    assert np.array_equal(samples._divided(values[..., :3], values[..., 3:]), whole)


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_samples_of_tiff_files_are_limited_by_their_bytes(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (9, 7, channels)).astype("<u2")
    kind = 2 if channels > 2 else 1
    tags = [(258, 3, 1, 16), (262, 3, 1, kind), (277, 3, 1, channels), (278, 4, 1, 9), (279, 4, 1, rows.nbytes)]
    start = len(tiff(7, 9, *tags, (273, 4, 1, 0)))
    content = tiff(7, 9, *tags, (273, 4, 1, start)) + rows.tobytes()
    monkeypatch.setattr(decoder_memory, "EXTRA_BYTES_PER_FILE_BYTE", 0)
    monkeypatch.setattr(decoder_memory, "MAX_EXTRA_BYTES", math.ceil(rows.nbytes * 4.6))
    assert decode(content).shape == (9, 7, 3)
    monkeypatch.setattr(decoder_memory, "MAX_EXTRA_BYTES", rows.nbytes * 4)
    with pytest.raises(UndecodableError) as caught:
        decode(content)
    assert fields_of(caught.value.fault)["megapixels"] == 0
