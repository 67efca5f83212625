"""A memory-mapped store of decoded images (uint8) in the cache, keyed by content and size.

<cache>/pixels/<key>/pixels.bin      the images one after the other, each h x w x 3 bytes, RGB
                     index.npz       contents (hashes) [n, 16], sizes [n, 2] (h, w), deep [n] (more than 8 bits), checks
                                     [n] (CRC-32 of an image's bytes): no pickle
                     MANIFEST.json   the length of pixels.bin and the hash of index.npz, written last
<cache>/pixels/undecodable.json      hashes of files that could not be decoded the last time; they are tried first
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
from PIL import features

from headstart.data.decode import (
    DECODER_VERSION,
    FORMATS,
    ImageFileError,
    Pixels,
    UndecodableError,
    decode_file,
    decoded_bytes,
    open_regular_file,
    suppress_pillow_warnings,
)
from headstart.data.hashing import UNREADABLE_PREFIX, hash_file
from headstart.data.image_index import ImageIndex
from headstart.data.parallel import ordered_map
from headstart.errors import DataError, ResourceError
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.cache import cache_root, commit_folder, scratch_folder, write_cache_file
from headstart.storage.folders import format_bytes
from headstart.storage.schemas.cache import StoreManifest, UndecodableFiles

ProgressCallback = Callable[[int, int], None]
_SCHEMA_VERSION = 2  # of a store
_MIN_FREE_BYTES = 64 << 20  # of disk space beside the store
_SIZE_SAMPLE = 64  # images whose headers give the estimate of the store's size


@dataclass(frozen=True)
class _DecodeFailure:
    fault: Message  # a clause whose field `name` is the file
    permanent: bool  # caused by the bytes, not by the state of the disk

    def of(self, key: str) -> Message:
        """Return the fault of an image with this content."""
        return Message(self.fault.template, {**self.fault.values, "name": key})


class PixelStore:
    """The pixels of an image index: `store[i]` is image i as a read-only uint8 view [h, w, 3], RGB, without a copy.

    An image's checksum is verified at the first access, and DataError is raised if it does not match.

    Attributes:
        sizes: (h, w) of each image, int32 [len, 2]; (0, 0) for the images in `bad`.
        bad: Positions of the images that cannot be decoded and have no pixels.
        notes: Sentences for the user.
    """

    def __init__(self, folder: Path, content_hashes: Sequence[str], failures: dict[str, _DecodeFailure]) -> None:
        stored_hashes, sizes, deep, checks = _read_index(folder)
        starts = np.concatenate([[0], np.cumsum(np.prod(sizes, axis=1, dtype=np.int64) * 3)])
        number = {content: i for i, content in enumerate(stored_hashes)}
        self.bad = tuple(i for i, content in enumerate(content_hashes) if content in failures)
        record = np.fromiter(
            (number.get(content, -1) for content in content_hashes), dtype=np.int64, count=len(content_hashes)
        )
        self.sizes: npt.NDArray[np.int32] = np.where(record[:, None] >= 0, sizes[record], 0).astype(np.int32)
        self._starts = starts[record]
        self._folder, self._checks = folder, checks[record]
        self._checked = np.zeros(len(record), dtype=np.bool_)
        with (folder / "pixels.bin").open("rb") as file:
            self._pixels = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        count = int(np.count_nonzero(deep[record] & (record >= 0)))
        note = ngettext(
            "Scaled {count:,} image with more than 8 bits per value to 8.",
            "Scaled {count:,} images with more than 8 bits per value to 8.",
            count,
        )
        self.notes = (note,) if count else ()

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Pixels:
        height, width = self.sizes[index]
        if not height:
            raise LookupError(f"image {index} could not be decoded and has no pixels")
        start = self._starts[index]
        flat = self._pixels[start : start + int(height) * int(width) * 3]
        if not self._checked[index]:
            self._check(index, flat)
        return flat.reshape(height, width, 3)

    def _check(self, index: int, flat: Pixels) -> None:
        if zlib.crc32(flat.data) != self._checks[index]:
            hint = _("Run the command again: the images will be decoded again.")
            try:
                (self._folder / "MANIFEST.json").unlink(missing_ok=True)  # without it the store is built again
            except OSError:
                hint = _("Delete {folder} and run the command again.", folder=self._folder)
            raise DataError(
                _(
                    "The cached pixels in {folder} have changed on the disk (image {index}).",
                    folder=self._folder,
                    index=index,
                ),
                hint,
            )
        self._checked[index] = True


def open_store(
    images: ImageIndex,
    content_hashes: Sequence[str],
    *,
    side: int,
    skip_bad: bool = False,
    progress: ProgressCallback | None = None,
    threads: int,
) -> PixelStore:
    """Return the pixel store of an image index, which is built if it does not exist.

    Args:
        images: Index of the images.
        content_hashes: Their content hashes, from `hash_files`.
        side: Length of the shorter sides in px, about (see `decode`).
        skip_bad: List images that cannot be decoded in `store.bad` instead of raising DataError.
        progress: Called with (images done, all images) while the store is built.
        threads: Number of decoding threads.

    Raises:
        DataError: Images cannot be decoded. The whole set is tried before the error names them.
        ResourceError: The disk is too small or the cache cannot be written.
    """
    first: dict[str, int] = {}
    for i, content in enumerate(content_hashes):
        first.setdefault(content, i)
    failures: dict[str, _DecodeFailure] = {}
    suspects = [
        content
        for content in _read_undecodable() | {c for c in first if c.startswith(UNREADABLE_PREFIX)}
        if content in first
    ]
    with suppress_pillow_warnings():
        for content in suspects:
            result = _read(images.paths[first[content]], content, side)
            if isinstance(result, _DecodeFailure):
                failures[content] = result
            elif content.startswith(UNREADABLE_PREFIX):
                fault = _("{name} could not be read a moment ago, but can now", name="")
                failures[content] = _DecodeFailure(fault, permanent=False)
        good = [content for content in first if content not in failures]
        folder = _store_folder(good, side)
        if good and not _is_complete(folder):
            folder = _build(images, {content: first[content] for content in good}, failures, side, progress, threads)
    if failures and (not skip_bad or len(failures) == len(first)):
        raise _undecodable_error(images, content_hashes, failures)
    return PixelStore(folder, content_hashes, failures)


def _build(
    images: ImageIndex,
    first: dict[str, int],
    failures: dict[str, _DecodeFailure],
    side: int,
    progress: ProgressCallback | None,
    threads: int,
) -> Path:
    """Decode the images of `first` (content -> position) into a new store; add what fails to `failures`."""
    paths = [images.paths[i] for i in first.values()]
    root = _root()
    with scratch_folder(root) as scratch:
        _check_disk(root, paths, side)
        good, sizes, deep, checks = list[str](), list[tuple[int, int]](), list[bool](), list[int]()
        work = ordered_map(lambda item: _read(item[1], item[0], side), zip(first, paths, strict=True), threads)
        with contextlib.closing(work) as results, (scratch / "pixels.bin").open("wb") as file:
            for done, (content, result) in enumerate(zip(first, results, strict=True), 1):
                if isinstance(result, _DecodeFailure):
                    failures[content] = result
                else:
                    file.write(result[0].data)
                    good.append(content)
                    sizes.append(result[0].shape[:2])
                    deep.append(result[1])
                    checks.append(zlib.crc32(result[0].data))
                if progress:
                    progress(done, len(first))
        _add_undecodable(failures)
        folder = _store_folder(good, side)
        if good:
            _write_index(scratch, good, sizes, deep, checks)
            if folder.exists() and not _is_complete(folder):  # damaged: a store of another process appears complete
                shutil.rmtree(folder, ignore_errors=True)
            commit_folder(scratch, folder)
    return folder


def _read(path: Path, content: str, side: int) -> tuple[Pixels, bool] | _DecodeFailure:
    """Return the pixels of a file and whether it has more than 8 bits; its content must still match its hash."""
    try:
        with open_regular_file(path) as file:
            if not content.startswith(UNREADABLE_PREFIX) and hash_file(file) != content:
                return _DecodeFailure(_("{name} changed while it was being read", name=path), permanent=False)
            file.seek(0)
            return decode_file(file, side, str(path))
    except ImageFileError as error:
        permanent = isinstance(error, UndecodableError) and not content.startswith(UNREADABLE_PREFIX)
        return _DecodeFailure(error.fault, permanent=permanent)


def _undecodable_error(
    images: ImageIndex, content_hashes: Sequence[str], failures: dict[str, _DecodeFailure]
) -> DataError:
    failed = [i for i, content in enumerate(content_hashes) if content in failures]
    examples = [failures[content_hashes[i]].of(images.keys[i]) for i in failed[:5]]
    faults = join([*examples, *(["…"] if len(failed) > 5 else [])], "; ")
    if len(failed) == len(content_hashes):
        message = ngettext(
            "None of the {count:,} image of {source} can be decoded: {faults}.",
            "None of the {count:,} images of {source} can be decoded: {faults}.",
            len(content_hashes),
            source=images.source,
            faults=faults,
        )
        return DataError(message, _("Check that these are image files ({formats}).", formats=", ".join(FORMATS)))
    message = ngettext(
        "{failed:,} of the {count:,} image of {source} cannot be decoded: {faults}.",
        "{failed:,} of the {count:,} images of {source} cannot be decoded: {faults}.",
        len(content_hashes),
        failed=len(failed),
        source=images.source,
        faults=faults,
    )
    return DataError(message, _("Leave them out with --skip-bad, or replace them."))


def _root() -> Path:
    return cache_root() / "pixels"


def _store_folder(content_hashes: Iterable[str], side: int) -> Path:
    """Return the folder of a store, named after the content hashes, the size and the versions of the decoders."""
    recipe = f"{DECODER_VERSION} {PIL.__version__} {features.version('libjpeg_turbo')} {side}\n"
    digest = hashlib.blake2b(recipe.encode(), digest_size=16)
    for content in sorted(content_hashes):
        digest.update(content.encode())
    return _root() / digest.hexdigest()


def _write_index(
    folder: Path,
    content_hashes: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    deep: Sequence[bool],
    checks: Sequence[int],
) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        contents=np.frombuffer(bytes.fromhex("".join(content_hashes)), dtype=np.uint8).reshape(len(content_hashes), -1),
        sizes=np.array(sizes, dtype=np.int32),
        deep=np.array(deep, dtype=np.bool_),
        checks=np.array(checks, dtype=np.uint32),
    )
    (folder / "index.npz").write_bytes(buffer.getvalue())
    length = (folder / "pixels.bin").stat().st_size
    index = hashlib.sha256(buffer.getvalue()).hexdigest()
    manifest = StoreManifest(schema_version=_SCHEMA_VERSION, bytes=length, index=index)
    (folder / "MANIFEST.json").write_text(manifest.model_dump_json(indent=1) + "\n")


def _is_complete(folder: Path) -> bool:
    """Return True if the files in `folder` match its manifest; `PixelStore` checks the pixels."""
    try:
        manifest = StoreManifest.read(folder / "MANIFEST.json")
        index = hashlib.sha256((folder / "index.npz").read_bytes()).hexdigest()
        length = (folder / "pixels.bin").stat().st_size
        return manifest == StoreManifest(schema_version=_SCHEMA_VERSION, bytes=length, index=index)
    except (OSError, DataError):
        return False


def _read_index(
    folder: Path,
) -> tuple[list[str], npt.NDArray[np.int32], npt.NDArray[np.bool_], npt.NDArray[np.uint32]]:
    with np.load(folder / "index.npz", allow_pickle=False) as arrays:
        content_hashes = [row.tobytes().hex() for row in arrays["contents"]]
        return content_hashes, arrays["sizes"], arrays["deep"], arrays["checks"]


def _read_undecodable() -> set[str]:
    try:
        return set(UndecodableFiles.read(_root() / "undecodable.json").contents)
    except DataError:
        return set()


def _add_undecodable(failures: dict[str, _DecodeFailure]) -> None:
    """Save the hashes of files that are not images. They are tried again each time, so a wrong entry does no harm."""
    saved = _read_undecodable()
    if fresh := {content for content, failure in failures.items() if failure.permanent} - saved:
        listed = UndecodableFiles(contents=tuple(sorted(saved | fresh)))
        write_cache_file(_root() / "undecodable.json", listed.model_dump_json(indent=1).encode())


def _check_disk(root: Path, paths: Sequence[Path], side: int) -> None:
    """Raise ResourceError if the store would not fit on the disk; its size is estimated from a sample of the images."""
    image_bytes = []
    for path in paths[:: max(1, len(paths) // _SIZE_SAMPLE)]:
        with contextlib.suppress(DataError), open_regular_file(path) as file:
            image_bytes.append(decoded_bytes(file, side))
    needed = int(np.mean(image_bytes or [0]) * len(paths) * 1.1) + _MIN_FREE_BYTES
    free = shutil.disk_usage(root).free
    if needed > free:
        raise ResourceError(
            _(
                "The pixel store needs about {needed}, and {folder} has {free} free.",
                needed=format_bytes(needed),
                folder=root,
                free=format_bytes(free),
            ),
            _("Free some space, point HEADSTART_CACHE at a larger disk, or use smaller images."),
        )
