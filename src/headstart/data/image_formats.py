"""Formats of image files: which are read, how a file is opened, and what a file is that is none of them.

The format is detected from the content. Pillow's other readers (EPS, FITS, PSD, …) are never used.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image, JpegImagePlugin, TiffImagePlugin

from headstart.i18n import Message, _, verbatim

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF", "HEIF")
IMAGE_SUFFIXES = frozenset({
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    *(".png", ".apng", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif"),
})  # fmt: skip
_OTHER_SUFFIXES = frozenset({
    *(".thm", ".lrv", ".bak", ".old", ".orig", ".tmp", ".part", ".crdownload", ".download"),
    *(".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".html", ".htm", ".pdf"),
    *(".py", ".ipynb", ".npy", ".npz", ".pt", ".pth", ".pkl", ".mat", ".h5", ".parquet", ".db", ".zip", ".gz", ".tar"),
    *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".psd"),
})  # fmt: skip
HEIF_INSTALL = "pip install pillow-heif"
_PILLOW_FORMATS = tuple(name for name in FORMATS if name != "HEIF")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_JPEG_START, _PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = 512
_SUBFILE_TYPE_TAG, _DNG_VERSION_TAG = 254, 50706
_TEXT_CHUNKS = (b"iCCP", b"zTXt", b"iTXt", b"tEXt")
_MAX_CHUNK_TEXT = 1 << 20  # Pillow refuses a chunk that unpacks to more
_MAX_ALL_TEXT = 32 << 20  # of a file; Pillow refuses more than 64 MiB
_CONVERT = _("Convert it to JPEG or PNG.")

# start of the content, name of the format, what to do
_OTHER_FORMATS: tuple[tuple[bytes, str, Message], ...] = (
    (b"8BPS", "Photoshop (PSD)", _CONVERT),
    (b"%PDF", "PDF", _("Export its images to JPEG or PNG.")),
    (b"%!PS", "PostScript", _CONVERT),
    (b"\xc5\xd0\xd3\xc6", "EPS", _CONVERT),
    (b"\xff\x0a", "JPEG XL", _CONVERT),
    (b"\0\0\0\x0cJXL ", "JPEG XL", _CONVERT),
    (b"\xff\xd8\xff\xf7", "JPEG-LS", _CONVERT),
    (b"II\xbc", "JPEG XR", _CONVERT),
    (b"FUJIFILMCCD-RAW", "camera raw (RAF)", _CONVERT),
    (b"IIRO", "camera raw (ORF)", _CONVERT),
    (b"IIRS", "camera raw (ORF)", _CONVERT),
    (b"IIU\0", "camera raw (RW2)", _CONVERT),
    (b"FOVb", "camera raw (X3F)", _CONVERT),
    (b"gimp xcf", "GIMP (XCF)", _CONVERT),
    (b"SIMPLE  =", "FITS", _CONVERT),
    (b"v/1\x01", "OpenEXR", _CONVERT),
    (b"#?RADIANCE", "Radiance HDR", _CONVERT),
    (b"DDS ", "DDS", _CONVERT),
    (b"qoif", "QOI", _CONVERT),
    (b"\0\0\x01\0", "icon (ICO)", _CONVERT),
    (b"icns", "icon (ICNS)", _CONVERT),
    (b"\x93NUMPY", "NumPy", _("Save its arrays as PNG.")),
    (b"\x89HDF", "HDF5", _("Save its arrays as PNG.")),
    (b"PK\x03\x04", "ZIP", _("Unpack it.")),
    (b"\x1f\x8b", "gzip", _("Unpack it.")),
    (b"Rar!", "RAR", _("Unpack it.")),
    (b"7z\xbc\xaf", "7-Zip", _("Unpack it.")),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video", _("Export frames as JPEG or PNG.")),
    (b"version https://git-lfs", "Git LFS pointer", _("Download the image with git lfs pull.")),
    (b"/annex/objects/", "git-annex pointer", _("Download the image with git annex get.")),
)


class ForeignFormatError(Exception):
    """The file is none of `FORMATS`, or its reader is missing.

    Args:
        message: What is wrong, a clause whose field `name` is the file.
        hint: What to do.
    """

    def __init__(self, message: Message, hint: Message) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def open_image(file: BinaryIO) -> Image.Image:
    """Return the first image of an open file, not decoded yet.

    JPEG files are opened without Pillow's check of the number of pixels and without the other images of an MPO file.

    Raises:
        ForeignFormatError: The file is known to be something else, or needs a reader that is not installed.
        UnidentifiedImageError: The file is none of `FORMATS`.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head.startswith(_JPEG_START) and head[3:4] != b"\xf7":  # 0xf7: JPEG-LS
        return JpegImagePlugin.JpegImageFile(file)
    if format_of(head) == "HEIF":
        return _open_heif(file)
    _reject_foreign(head)
    image = Image.open(file, formats=_PILLOW_FORMATS)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_preview(image):
        raise ForeignFormatError(
            _("{name} is in the format {format}, which is not read", name="", format="camera raw"), _CONVERT
        )
    return image


def _is_preview(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return True if the first image of a TIFF file is only a preview, as in the raw files of cameras."""
    kind = image.tag_v2.get(_SUBFILE_TYPE_TAG, 0)
    return _DNG_VERSION_TAG in image.tag_v2 or (isinstance(kind, int) and bool(kind & 1))


def has_image_name(path: str) -> bool:
    """Return True for a file with a suffix of `IMAGE_SUFFIXES`, or a JPEG under a suffix that is not known.

    Some sites and programs name JPEG files so. Previews, backups, downloads in progress and files with the suffix of
    another format are not meant.
    """
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in _OTHER_SUFFIXES or path.endswith("~"):
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(3) == _JPEG_START
    except OSError:
        return False


def format_of(head: bytes) -> str:
    """Return the format of a file that begins with `head`, one of `FORMATS`; "" if it is none of them."""
    if head[4:8] == b"ftyp":
        brands = {head[i : i + 4] for i in range(8, min(len(head), int.from_bytes(head[:4])), 4)}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        return "HEIF" if brands & _HEIF_BRANDS else ""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    starts = (
        (_JPEG_START, "JPEG"),
        (_PNG_START, "PNG"),
        (b"BM", "BMP"),
        (b"GIF8", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
        (b"\xff\x4f\xff\x51", "JPEG2000"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    )
    return next((name for start, name in starts if head.startswith(start)), "")


def heif_version() -> str:
    """Return the version of pillow-heif; "" if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # its import takes longer than a small store

    try:
        return version("pillow-heif")
    except PackageNotFoundError:
        return ""


def _open_heif(file: BinaryIO) -> Image.Image:
    if not heif_version():
        raise ForeignFormatError(
            _("{name} is a {format} image, and pillow-heif is not installed", name="", format="HEIC"),
            _("Install it with {command}, or convert the image to JPEG.", command=HEIF_INSTALL),
        )
    from pillow_heif import HeifImageFile

    image: Image.Image = HeifImageFile(file)
    return image


def _reject_foreign(head: bytes) -> None:
    """Raise ForeignFormatError if a file that begins with `head` is known to be no image that is read."""
    if head and not head.strip(b"\0"):
        raise ForeignFormatError(
            _("{name} begins with zeros, so it was not saved completely", name=""), _("Copy it again.")
        )
    name, hint = _foreign_format(head)
    if name:
        raise ForeignFormatError(_("{name} is in the format {format}, which is not read", name="", format=name), hint)
    if format_of(head) == "AVIF" and not _reads_avif():
        raise ForeignFormatError(
            _("{name} is an {format} image, which this installation of Pillow does not read", name="", format="AVIF"),
            _("Install Pillow from PyPI, or convert the image to JPEG."),
        )


def _foreign_format(head: bytes) -> tuple[str, Message]:
    """Return the name of a known format that is not read, and what to do; "" if it is not known."""
    for start, name, hint in _OTHER_FORMATS:
        if head.startswith(start):
            return name, hint
    if head[4:8] == b"ftyp" and not format_of(head):
        is_raw = head[8:12] == b"crx "
        return ("camera raw (CR3)", _CONVERT) if is_raw else ("MP4 video", _("Export frames as JPEG or PNG."))
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "AVI video", _("Export frames as JPEG or PNG.")
    if head[:4] == b"II*\0" and head[8:10] == b"CR":
        return "camera raw (CR2)", _CONVERT
    if head[128:132] == b"DICM":
        return "DICOM", _("Export its images to PNG.")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "HTML", _("Download the image again: this is a web page.")
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!doctype svg")) and b"<svg" in text):
        return "SVG", _CONVERT
    return "", verbatim("")


def _reads_avif() -> bool:
    from PIL import features

    return features.check("avif") is True


def is_text_limit(error: Exception) -> bool:
    """Return True for Pillow's error about text or a profile of a PNG file that unpacks to too many bytes."""
    return isinstance(error, ValueError) and "MAX_TEXT_" in str(error)


def without_large_text(file: BinaryIO) -> io.BytesIO:
    """Return a PNG file without the text and profiles that are too large for Pillow; they do not change pixels.

    Nothing is unpacked beyond the limits.
    """
    file.seek(0)
    kept, unpacked = [file.read(len(_PNG_START))], 0
    for kind, chunk in _png_chunks(file):
        if kind in _TEXT_CHUNKS:
            size = _unpacked_bytes(kind, chunk[8:-4])
            if size > _MAX_CHUNK_TEXT or unpacked + size > _MAX_ALL_TEXT:
                continue
            unpacked += size
        kept.append(chunk)
    return io.BytesIO(b"".join(kept))


def _png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, whole chunk) of each chunk of a PNG file, from the position after its signature."""
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        yield kind, header + file.read(length + 4)


def _unpacked_bytes(kind: bytes, body: bytes) -> int:
    """Return the size of the unpacked text of a chunk; one more than the limit stands for all above it."""
    if kind == b"tEXt" or (kind == b"iTXt" and body.partition(b"\0")[2][:1] == b"\0"):
        return len(body)
    packed = body.partition(b"\0")[2][1:]  # after the keyword and the method of compression
    if kind == b"iTXt":
        packed = packed[1:].split(b"\0", 2)[-1]  # after the method, the language and the translated keyword
    try:
        return len(zlib.decompressobj().decompress(packed, _MAX_CHUNK_TEXT + 1))
    except zlib.error:
        return len(body)
