"""Every image decoded once: a memory-mapped store of uint8 pixels in the cache, keyed by content and size.

<cache>/pixels/<key>/pixels.bin      the pictures one after the other, each h x w x 3 bytes, RGB
                     index.npz       contents [n, 16], sizes [n, 2] (h, w), deep [n] (more than 8 bits), checks [n]
                                     (CRC-32 of a picture's bytes): no pickle
                     MANIFEST.json   the length of pixels.bin and the hash of index.npz, written last
<cache>/pixels/undecodable.json      contents that were no images when last tried: where to look first
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
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

from headstart.data.decode import VERSION, Pixels, UndecodableError, decode, decode_file, decoded_bytes, opened, quiet
from headstart.data.hashing import UNREADABLE, fingerprint, hash_file, hash_files
from headstart.data.image_index import ImageIndex
from headstart.data.parallel import ordered_map
from headstart.errors import DataError, ResourceError
from headstart.storage.cache import cache_root, commit_folder, scratch_folder, write_whole

__all__ = ["PixelStore", "decode", "fingerprint", "hash_files", "open_store"]

Progress = Callable[[int, int], None]
_SCHEMA = 2
_SPARE = 64 << 20  # bytes of disk that stay free


@dataclass(frozen=True)
class _Bad:
    reason: str  # after the file's name: "is empty"
    lasting: bool  # a property of the bytes, not of the moment


class PixelStore:
    """The pixels of a listing: `store[i]` is image i as a read-only uint8 view [h, w, 3], RGB; nothing is copied.

    `sizes` int32 [len, 2] holds (h, w), (0, 0) for the images in `bad`, which are no images and have no pixels.
    `notes` are sentences for the user. A picture's bytes are checked when it is first asked for, and
    DataError raised where they are not those that were written.
    """

    def __init__(self, folder: Path, contents: Sequence[str], side: int, reasons: dict[str, _Bad]) -> None:
        known, sizes, deep, checks = _index(folder)
        starts = np.concatenate([[0], np.cumsum(np.prod(sizes, axis=1, dtype=np.int64) * 3)])
        number = {content: i for i, content in enumerate(known)}
        self.side = side
        self.bad = tuple(i for i, content in enumerate(contents) if content in reasons)
        record = np.fromiter((number.get(content, -1) for content in contents), dtype=np.int64, count=len(contents))
        self.sizes: npt.NDArray[np.int32] = np.where(record[:, None] >= 0, sizes[record], 0).astype(np.int32)
        self._starts = starts[record]
        self._folder, self._checks = folder, checks[record]
        self._checked = np.zeros(len(record), dtype=np.bool_)
        with (folder / "pixels.bin").open("rb") as file:
            self._pixels = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
        count = int(np.count_nonzero(deep[record] & (record >= 0)))
        self.notes = (f"{count:,} images of more than 8 bits were scaled to 8 by their range.",) if count else ()

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Pixels:
        height, width = self.sizes[index]
        if not height:
            raise LookupError(f"image {index} could not be decoded and has no pixels")
        start = self._starts[index]
        found = self._pixels[start : start + int(height) * int(width) * 3]
        if not self._checked[index]:
            self._check(index, found)
        return found.reshape(height, width, 3)

    def _check(self, index: int, found: Pixels) -> None:
        if zlib.crc32(found.data) != self._checks[index]:
            hint = "Start or resume it again: they will be decoded anew."
            try:
                (self._folder / "MANIFEST.json").unlink(missing_ok=True)  # without it the store is made anew
            except OSError:
                hint = f"Delete {self._folder}, then start or resume it again."
            raise DataError(f"The cached pixels in {self._folder} have changed on the disk (image {index}).", hint)
        self._checked[index] = True


def open_store(
    listing: ImageIndex,
    contents: Sequence[str],
    *,
    side: int,
    skip_bad: bool = False,
    progress: Progress | None = None,
    threads: int,
) -> PixelStore:
    """The store for `listing` with shorter sides of about `side` px (see `decode`), built if it is not there.

    `contents` are the hashes from `hash_files`. `progress` is told (done, of how many) while building. Images that
    cannot be decoded are all found before a DataError names them; with `skip_bad` they are listed in `store.bad`.
    Raises ResourceError where the disk is too small or the cache cannot be written.
    """
    first: dict[str, int] = {}
    for i, content in enumerate(contents):
        first.setdefault(content, i)
    bad: dict[str, _Bad] = {}
    suspects = [
        content for content in _undecodable() | {c for c in first if c.startswith(UNREADABLE)} if content in first
    ]
    with quiet():
        for content in suspects:
            result = _read(listing.paths[first[content]], content, side)
            if isinstance(result, _Bad):
                bad[content] = result
            elif content.startswith(UNREADABLE):
                bad[content] = _Bad("could not be read a moment ago, but can now", lasting=False)
        good = [content for content in first if content not in bad]
        folder = _place(good, side)
        if good and not _whole(folder):
            folder = _build(listing, {content: first[content] for content in good}, bad, side, progress, threads)
    if bad and (not skip_bad or len(bad) == len(first)):
        raise _refusal(listing, contents, bad)
    return PixelStore(folder, contents, side, bad)


def _build(
    listing: ImageIndex, first: dict[str, int], bad: dict[str, _Bad], side: int, progress: Progress | None, threads: int
) -> Path:
    """Decode the images of `first` (content -> index) into a new store; what cannot be decoded is added to `bad`."""
    paths = [listing.paths[i] for i in first.values()]
    root = _root()
    with scratch_folder(root) as scratch:
        _check_disk(root, paths, side)
        good, sizes, deep, checks = list[str](), list[tuple[int, int]](), list[bool](), list[int]()
        work = ordered_map(lambda item: _read(item[1], item[0], side), zip(first, paths, strict=True), threads)
        with contextlib.closing(work) as results, (scratch / "pixels.bin").open("wb") as file:
            for done, (content, result) in enumerate(zip(first, results, strict=True), 1):
                if isinstance(result, _Bad):
                    bad[content] = result
                else:
                    file.write(result[0].data)
                    good.append(content)
                    sizes.append(result[0].shape[:2])
                    deep.append(result[1])
                    checks.append(zlib.crc32(result[0].data))
                if progress:
                    progress(done, len(first))
        _remember(bad)
        folder = _place(good, side)
        if good:
            _write_index(scratch, good, sizes, deep, checks)
            if folder.exists() and not _whole(folder):  # damaged; another process's appears whole
                shutil.rmtree(folder, ignore_errors=True)
            commit_folder(scratch, folder)
    return folder


def _read(path: Path, content: str, side: int) -> tuple[Pixels, bool] | _Bad:
    """Pixels and depth of the file, which must still hold `content`."""
    try:
        with opened(path) as file:
            if not content.startswith(UNREADABLE) and hash_file(file) != content:
                return _Bad("changed while it was being read", lasting=False)
            file.seek(0)
            return decode_file(file, side, str(path))
    except DataError as error:
        reason = error.message.removeprefix(str(path)).strip(" .")
        return _Bad(reason, lasting=isinstance(error, UndecodableError) and not content.startswith(UNREADABLE))


def _refusal(listing: ImageIndex, contents: Sequence[str], bad: dict[str, _Bad]) -> DataError:
    where = [i for i, content in enumerate(contents) if content in bad]
    count = f"{len(where):,} of the {len(contents):,} images of {listing.source} cannot be decoded"
    if len(where) == len(contents):
        count = f"None of the {len(contents):,} images of {listing.source} can be decoded"
    shown = "; ".join(f"{listing.keys[i]} {bad[contents[i]].reason}" for i in where[:5])
    what = f"{count}: {shown}{'; …' if len(where) > 5 else ''}."
    hint = "Replace or remove them, or leave them out with --skip-bad."
    return DataError(what, hint)


def _root() -> Path:
    return cache_root() / "pixels"


def _place(contents: Iterable[str], side: int) -> Path:
    """Where the store of these contents is: their hash with the size and the decoders' versions."""
    recipe = f"{VERSION} {PIL.__version__} {features.version('libjpeg_turbo')} {side}\n"
    digest = hashlib.blake2b(recipe.encode(), digest_size=16)
    for content in sorted(contents):
        digest.update(content.encode())
    return _root() / digest.hexdigest()


def _write_index(
    folder: Path, contents: Sequence[str], sizes: Sequence[tuple[int, int]], deep: Sequence[bool], checks: Sequence[int]
) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        contents=np.frombuffer(bytes.fromhex("".join(contents)), dtype=np.uint8).reshape(len(contents), -1),
        sizes=np.array(sizes, dtype=np.int32),
        deep=np.array(deep, dtype=np.bool_),
        checks=np.array(checks, dtype=np.uint32),
    )
    (folder / "index.npz").write_bytes(buffer.getvalue())
    length = (folder / "pixels.bin").stat().st_size
    manifest = {"schema": _SCHEMA, "bytes": length, "index": hashlib.sha256(buffer.getvalue()).hexdigest()}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest, indent=1) + "\n")


def _whole(folder: Path) -> bool:
    """Whether the store in `folder` is there and its files are those of its manifest (`PixelStore` checks pixels)."""
    try:
        manifest = json.loads((folder / "MANIFEST.json").read_bytes())
        index = hashlib.sha256((folder / "index.npz").read_bytes()).hexdigest()
        files = (manifest["schema"], manifest["index"], manifest["bytes"])
        return files == (_SCHEMA, index, (folder / "pixels.bin").stat().st_size)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _index(folder: Path) -> tuple[list[str], npt.NDArray[np.int32], npt.NDArray[np.bool_], npt.NDArray[np.uint32]]:
    with np.load(folder / "index.npz", allow_pickle=False) as arrays:
        contents = [row.tobytes().hex() for row in arrays["contents"]]
        return contents, arrays["sizes"], arrays["deep"], arrays["checks"]


def _undecodable() -> set[str]:
    try:
        return set(json.loads((_root() / "undecodable.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return set()


def _remember(bad: dict[str, _Bad]) -> None:
    """Keep in mind which contents were no images. It is a hint, tried again each time, so it can do no harm."""
    known = _undecodable()
    if fresh := {content for content, why in bad.items() if why.lasting} - known:
        write_whole(_root() / "undecodable.json", json.dumps(sorted(known | fresh), indent=0).encode())


def _check_disk(root: Path, paths: Sequence[Path], side: int) -> None:
    """Raises ResourceError if the store would not fit; its size is judged by 64 of the images."""
    weights = []
    for path in paths[:: max(1, len(paths) // 64)]:
        with contextlib.suppress(DataError), opened(path) as file:
            weights.append(decoded_bytes(file, side))
    needed = int(np.mean(weights or [0]) * len(paths) * 1.1) + _SPARE
    free = shutil.disk_usage(root).free
    if needed > free:
        what = f"The pixel store needs about {needed / 1e9:.1f} GB, and {root} has {free / 1e9:.1f} GB free."
        raise ResourceError(what, "Free some space, point HEADSTART_CACHE at a larger disk, or use smaller images.")
