"""Name the format of a file that is no image that this program reads, and say what to do with it."""

from __future__ import annotations

import codecs
import io
import string
import struct
from typing import BinaryIO

from headstart.i18n import Message, _

_CONVERT = _("Convert it to JPEG or PNG.")
_UNPACK = _("Unpack it.")
_FRAMES = _("Export frames as JPEG or PNG.")
_REPLACE = _("Replace or remove it.")
_ARRAYS = _("Save its arrays as PNG.")
_DOWNLOAD = _("Download the image again.")

# start of the content, name of the format, what to do
_STARTS: tuple[tuple[bytes, str, Message], ...] = (
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
    (b"FLIF", "FLIF", _CONVERT),
    (b"BPG\xfb", "BPG", _CONVERT),
    (b"\x8aMNG", "MNG", _CONVERT),
    (b"\x8bJNG", "JNG", _CONVERT),
    (b"AT&TFORM", "DjVu", _CONVERT),
    (b"\xd7\xcd\xc6\x9a", "Windows metafile (WMF)", _CONVERT),
    (b"\0\0\x01\0", "icon (ICO)", _CONVERT),
    (b"icns", "icon (ICNS)", _CONVERT),
    (b"\x93NUMPY", "NumPy", _ARRAYS),
    (b"\x89HDF", "HDF5", _ARRAYS),
    (b"\x80\x02", "pickle", _ARRAYS),
    (b"\x80\x03", "pickle", _ARRAYS),
    (b"\x80\x04", "pickle", _ARRAYS),
    (b"\x80\x05", "pickle", _ARRAYS),
    (b"PK\x03\x04", "ZIP", _UNPACK),
    (b"\x1f\x8b", "gzip", _UNPACK),
    (b"BZh", "bzip2", _UNPACK),
    (b"\xfd7zXZ\0", "xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK),
    (b"Rar!", "RAR", _UNPACK),
    (b"7z\xbc\xaf", "7-Zip", _UNPACK),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video", _FRAMES),
    (b"\0\0\x01\xba", "MPEG video", _FRAMES),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Microsoft Office", _("Export its images to JPEG or PNG.")),
    (b"SQLite format 3\0", "SQLite", _REPLACE),
    (b"L\0\0\0\x01\x14\x02\0", "Windows shortcut", _("Replace it by the file that it leads to.")),
    (b"\0\x05\x16\x07", "AppleDouble", _("Remove it: it has only the metadata of a file of macOS.")),
    (b"version https://git-lfs", "Git LFS pointer", _("Download the image with git lfs pull.")),
    (b"/annex/objects/", "git-annex pointer", _("Download the image with git annex get.")),
    (b"outs:", "DVC pointer", _("Download the image with dvc pull.")),
    (b"/* XPM */", "XPM", _CONVERT),
    (b"#define ", "XBM", _CONVERT),
)
_QUICKTIME_ATOMS = frozenset({b"wide", b"mdat", b"moov", b"skip", b"free", b"pnot"})
_CONTROL_BYTES = bytes(set(range(32)) - set(map(ord, string.whitespace))) + b"\x7f"
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_MIN_TEXT = 4  # bytes

_JPEG_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_JPEG_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)
_JPEG_HIERARCHICAL = (0xC5, 0xC6, 0xCD, 0xCE)


class ForeignFormatError(Exception):
    """The file is none that is read, or its reader is missing.

    Args:
        message: What is wrong, a clause whose field `name` is the file.
        hint: What to do.
    """

    def __init__(self, message: Message, hint: Message) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def foreign_format(name: str, hint: Message = _CONVERT) -> ForeignFormatError:
    """Return the error for a file of a format that is not read."""
    return ForeignFormatError(_("{name} is in the format {format}, which is not read", name="", format=name), hint)


def reject_foreign(head: bytes) -> None:
    """Raise ForeignFormatError if a file that begins with `head` is of a known format; `head` is of no image format."""
    for start, name, hint in _STARTS:
        if head.startswith(start):
            raise foreign_format(name, hint)
    if head[4:8] == b"ftyp":
        raise foreign_format("camera raw (CR3)") if head[8:12] == b"crx " else foreign_format("MP4 video", _FRAMES)
    if head[4:8] in _QUICKTIME_ATOMS:
        raise foreign_format("QuickTime video", _FRAMES)
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        raise foreign_format("AVI video", _FRAMES)
    if head[128:132] == b"DICM":
        raise foreign_format("DICOM", _("Export its images to PNG."))
    if head[344:348] in (b"n+1\0", b"ni1\0"):
        raise foreign_format("NIfTI", _("Save its slices as PNG."))
    if head[257:262] == b"ustar":
        raise foreign_format("tar", _UNPACK)
    if head[40:44] == b" EMF":
        raise foreign_format("Windows metafile (EMF)")
    if head[:1] == b"P" and head[1:2] in tuple(b"%d" % i for i in range(1, 8)) and head[2:3].isspace():
        raise foreign_format("Netpbm (PBM, PGM, PPM or PAM)")
    _reject_text(head)


def reject_variant(file: BinaryIO) -> None:
    """Raise ForeignFormatError if a file that cannot be decoded is a JPEG of a kind that Pillow does not read."""
    file.seek(0)
    kind, bits = _jpeg_frame(file)
    if kind in _JPEG_LOSSLESS:
        raise foreign_format("lossless JPEG")
    if kind in _JPEG_HIERARCHICAL:
        raise foreign_format("hierarchical JPEG")
    if kind and bits not in (0, 8):
        raise foreign_format(f"JPEG of {bits} bits", _("Convert it to PNG."))


def reject_tiff_variant(head: bytes) -> None:
    """Raise ForeignFormatError for files that begin like TIFF files: camera raw, and one kind that Pillow misreads."""
    if head[:4] == b"II*\0" and head[8:10] == b"CR":
        raise foreign_format("camera raw (CR2)")
    if head[:4] == b"MM\0+":
        raise foreign_format("big-endian BigTIFF")


def _jpeg_frame(file: BinaryIO) -> tuple[int, int]:
    """Return the kind of frame of a JPEG file and its bits; (0, 0) for other files and before a frame."""
    if file.read(2) != b"\xff\xd8":
        return 0, 0
    while len(header := file.read(4)) == 4 and header[0] == 0xFF:
        marker, length = header[1], struct.unpack(">H", header[2:])[0]
        if marker in _JPEG_FRAMES:
            return marker, int.from_bytes(file.read(1))
        if marker == 0xDA:  # the pixels
            break
        file.seek(length - 2, io.SEEK_CUR)
    return 0, 0


def _reject_text(head: bytes) -> None:
    """Raise ForeignFormatError for text: HTML, SVG, or what a server or a program wrote instead of an image."""
    encoding = next((encoding for bom, encoding in _BOMS if head.startswith(bom)), "")
    content = head.decode(encoding, "replace").encode() if encoding else head
    text = content.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n").lower()
    if text.startswith(b"<"):
        if b"<svg" in text or (text.startswith((b"<!doctype svg", b"<?xml")) and b"/svg" in text):
            raise foreign_format("SVG")
        if b"<!doctype html" in text or b"<html" in text:
            raise foreign_format("HTML", _("Download the image again: this is a web page."))
    if text.startswith((b"data:image/", b"/9j/", b"ivborw0kggo")):
        raise foreign_format("Base64 text", _("Decode it, for example with base64 --decode."))
    if len(text) >= _MIN_TEXT and not any(byte in _CONTROL_BYTES for byte in content) and _is_utf8(content):
        raise foreign_format("XML" if text.startswith(b"<?xml") else "plain text", _DOWNLOAD)


def _is_utf8(content: bytes) -> bool:
    """Return True for the beginning of UTF-8 text, whose last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return False
    return True
