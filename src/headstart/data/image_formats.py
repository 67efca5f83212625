"""Formats of image files: which are read, and how a file is opened.

The format is detected from the content. Pillow's other readers (EPS, FITS, PSD, …) are never used.
"""

from __future__ import annotations

import io
import logging
import os
from typing import BinaryIO, cast

from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from headstart.data.foreign_formats import ForeignFormatError, foreign_format, reject_foreign, reject_tiff_variant
from headstart.data.image_parts import CountedFile, require_small_directory
from headstart.data.jpeg2000 import require_few_blocks
from headstart.data.jpeg_scans import require_few_scans
from headstart.i18n import _

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF", "HEIF")
_SUFFIXES = {  # of each format; HEIF names its container, which AVIF has too
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif", ".avifs", ".heif", ".heifs", ".hif"),
    "HEIF": (".heic", ".heics", ".heif", ".heifs", ".hif"),
}
IMAGE_SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
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
_JPEG_LS_START = b"\xff\xd8\xff\xf7"
_JPEG_START, _PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = 1024
_UNNAMED_FORMATS = frozenset({"JPEG", "PNG", "WEBP", "GIF", "JPEG2000", "AVIF", "HEIF"})  # found by their content
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else it prints errors that are reported here
_SUBFILE_TYPE_TAG, _DNG_VERSION_TAG = 254, 50706


def open_image(file: BinaryIO) -> Image.Image:
    """Return the first image of an open file, not decoded yet.

    JPEG files are opened without Pillow's check of the number of pixels and without the other images of an MPO file.

    Raises:
        ForeignFormatError: The file is known to be something else, or needs a reader that is not installed.
        UnidentifiedImageError: The file is none of `FORMATS`.
    """
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if format_of(head) == "JPEG":
        require_few_scans(file, head)
        file.seek(0)
        return JpegImagePlugin.JpegImageFile(file)
    if format_of(head) == "HEIF":
        return _open_heif(file)
    _reject_foreign(head)
    image = Image.open(_bounded(file, format_of(head)), formats=_PILLOW_FORMATS)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_preview(image):
        raise foreign_format("camera raw")
    if isinstance(image, PngImagePlugin.PngImageFile):
        if head[12:16] == b"CgBI":
            raise foreign_format("PNG of iOS apps (CgBI)")
        _scale_transparent_level(image)
    return image


def _bounded(file: BinaryIO, kind: str) -> BinaryIO:
    """Return a file for Pillow of which not too many parts can be read; refuse what its decoder cannot bear."""
    size = file.seek(0, io.SEEK_END)
    if kind == "TIFF":
        require_small_directory(file)
    elif kind == "JPEG2000":
        require_few_blocks(file, size)
    file.seek(0)
    return file if kind == "BMP" else cast(BinaryIO, CountedFile(file, size))  # each run of BMP is a part


def _scale_transparent_level(image: PngImagePlugin.PngImageFile) -> None:
    """Scale the transparent level of a gray image of 2 or 4 bits to 8 bits, as Pillow scales its pixels."""
    level = image.info.get("transparency")
    rawmode = image.tile[0].args if image.tile else ""
    if isinstance(level, int) and rawmode in ("L;2", "L;4"):
        image.info["transparency"] = level * 255 // (2 ** int(str(rawmode)[-1]) - 1)


def _is_preview(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Return True if the first image of a TIFF file is only a preview, as in the raw files of cameras."""
    kind = image.tag_v2.get(_SUBFILE_TYPE_TAG, 0)
    return _DNG_VERSION_TAG in image.tag_v2 or (isinstance(kind, int) and bool(kind & 1))


def has_image_name(path: str) -> bool:
    """Return True for a file with a suffix of `IMAGE_SUFFIXES`, or an image under another suffix or none.

    Some sites and programs name images so. Previews, backups, downloads in progress and files with the suffix of
    another format are not meant. BMP and TIFF files need a suffix: other files begin alike.
    """
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in _OTHER_SUFFIXES or path.endswith("~"):
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return format_of(file.read(64)) in _UNNAMED_FORMATS
    except OSError:
        return False


def format_of(head: bytes) -> str:
    """Return the format of a file that begins with `head`, one of `FORMATS`; "" if it is none of them."""
    if head.startswith(_JPEG_LS_START):
        return ""
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


def suffix_fits(path: str, image_format: str) -> bool:
    """Return False for a file with a suffix of other formats than its content has, one of `FORMATS`."""
    suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
    return suffix not in IMAGE_SUFFIXES or suffix in _SUFFIXES[image_format]


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
    if not format_of(head):
        reject_foreign(head)
    reject_tiff_variant(head)
    if format_of(head) == "AVIF" and not _reads_avif():
        raise ForeignFormatError(
            _("{name} is an {format} image, which this installation of Pillow does not read", name="", format="AVIF"),
            _("Install Pillow from PyPI, or convert the image to JPEG."),
        )


def _reads_avif() -> bool:
    from PIL import features

    return features.check("avif") is True
