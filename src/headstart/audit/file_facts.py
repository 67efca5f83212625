"""Facts in the headers of image files: format, size, mode, time and camera. No pixel is decoded."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from headstart.data.decode import suppress_pillow_warnings
from headstart.data.image_formats import format_of, open_image
from headstart.data.image_index import ImageIndex
from headstart.data.parallel import ordered_map
from headstart.reporter import ProgressCallback

_EXIF_IFD = 0x8769
_MAKE, _MODEL, _SERIAL = 0x010F, 0x0110, 0xA431
_TAKEN, _DIGITIZED = (0x9003, 0x9291), (0x9004, 0x9292)  # time in seconds, and its fraction
_TIME = re.compile(r"\s*(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_HEAD_BYTES = 64
_PER_TASK = 64
_PROGRESS_STEP = 512


@dataclass(frozen=True)
class FileFacts:
    """What the header of an image file says.

    Attributes:
        format: Format of the content, one of `FORMATS`; "" if it is none of them.
        size: (width, height) in px as stored; (0, 0) if the header cannot be read.
        mode: Mode of Pillow: L, RGB, RGBA, P, I;16, …; "" if the header cannot be read.
        bytes: Size of the file.
        taken: When the photo was taken, in seconds since 1970 by the clock of the camera; None if it is not written.
        camera: Maker, model and serial number of the camera; "" if they are not written.
    """

    format: str = ""
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    bytes: int = 0
    taken: float | None = None
    camera: str = ""


def read_file_facts(
    images: ImageIndex, threads: int, progress: ProgressCallback | None = None
) -> tuple[FileFacts, ...]:
    """Return the facts of each image's file, read in one pass by `threads` threads.

    Args:
        images: Index of the images.
        threads: Number of threads.
        progress: Called with (files done, all files).
    """
    batches = [range(i, min(i + _PER_TASK, len(images))) for i in range(0, len(images), _PER_TASK)]
    facts: list[FileFacts] = []
    with (
        suppress_pillow_warnings(),
        contextlib.closing(
            ordered_map(lambda batch: [_facts_of(images.paths[i]) for i in batch], batches, threads)
        ) as results,
    ):
        for part in results:
            facts += part
            if progress and (len(facts) % _PROGRESS_STEP < _PER_TASK or len(facts) == len(images)):
                progress(len(facts), len(images))
    return tuple(facts)


def _facts_of(path: Path) -> FileFacts:
    """Return the facts of a file; what cannot be read is left empty, since the pixel store reports it."""
    if not path.is_file():
        return FileFacts()
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            name = format_of(file.read(_HEAD_BYTES))
            file.seek(0)
            try:
                with open_image(file) as image:
                    taken, camera = _photo_facts(image)
                    return FileFacts(name, image.size, image.mode, size, taken, camera)
            except Exception:  # Pillow's readers raise almost anything on damaged files
                return FileFacts(name, bytes=size)
    except OSError:
        return FileFacts()


def _photo_facts(image: Image.Image) -> tuple[float | None, str]:
    """Return the time at which a photo was taken, and its camera."""
    try:
        exif = image.getexif()
        if not exif:
            return None, ""
        details: Mapping[int, object] = exif.get_ifd(_EXIF_IFD)
        names = (exif.get(_MAKE), exif.get(_MODEL), details.get(_SERIAL))
        camera = " ".join(text for value in names if (text := _text(value)))
        times = (_time(details.get(time), details.get(fraction)) for time, fraction in (_TAKEN, _DIGITIZED))
        return next((time for time in times if time is not None), None), camera
    except Exception:  # a damaged EXIF block raises many kinds of errors
        return None, ""


def _text(value: object) -> str:
    """Return a text of EXIF without the padding that cameras write."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return str(value).replace("\0", " ").strip() if value is not None else ""


def _time(value: object, fraction: object) -> float | None:
    """Return seconds since 1970 from a time of EXIF; None for one that is not set, such as 0000:00:00."""
    if (match := _TIME.match(_text(value))) is None:
        return None
    try:
        seconds = datetime(*map(int, match.groups()), tzinfo=UTC).timestamp()  # type: ignore[arg-type, misc]
    except ValueError:
        return None
    digits = _text(fraction)
    return seconds + (float(f"0.{digits}") if digits.isascii() and digits.isdigit() else 0.0)
