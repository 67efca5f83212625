"""Decode image files into a new pixel store, in two passes where the images decide how they are converted."""

from __future__ import annotations

import contextlib
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from headstart.data import store_files
from headstart.data.conversion import DEFAULT_CONVERSION, EIGHT_BITS, MAX_16_BIT, OPAQUE, Conversion
from headstart.data.decode import (
    REPLACE_HINT,
    ImageFileError,
    UndecodableError,
    decode_file,
    decoded_bytes,
    open_regular_file,
)
from headstart.data.hashing import UNREADABLE_PREFIX, hash_file
from headstart.data.image_formats import FORMATS
from headstart.data.image_index import ImageIndex
from headstart.data.parallel import ordered_map
from headstart.data.pixels import DecodedImage
from headstart.data.store_files import PIXELS_FILE, StoreIndex
from headstart.errors import DataError, ResourceError
from headstart.i18n import Message, _, join, ngettext
from headstart.reporter import ProgressCallback
from headstart.storage import contained
from headstart.storage.cache import commit_folder, scratch_folder
from headstart.text import format_bytes

_MIN_FREE_BYTES = 64 << 20  # of disk space beside the store
_SIZE_SAMPLE = 64  # images whose headers give the estimate of the store's size


@dataclass(frozen=True)
class DecodeFailure:
    """An image that cannot be decoded, and why."""

    fault: Message  # a clause whose field `name` is the file
    permanent: bool  # caused by the bytes, not by the state of the disk
    hint: Message = REPLACE_HINT

    def of(self, key: str) -> Message:
        """Return the fault of an image with this content."""
        return Message(self.fault.template, {**self.fault.values, "name": key})


@dataclass(frozen=True)
class StoreBuilder:
    """Decodes files into a new store.

    Attributes:
        root: The cache.
        paths: Path of each content.
        failures: Receives what cannot be decoded.
        side: As in `open_store`.
        conversion: As in `open_store`.
        threads: As in `open_store`.
    """

    root: Path
    paths: dict[str, Path]
    failures: dict[str, DecodeFailure]
    side: int
    conversion: Conversion | None
    threads: int

    def build(self, progress: ProgressCallback | None) -> str:
        """Return the name of the store below the cache; it has no files if nothing can be decoded.

        Raises:
            DataError: A file has changed while it was read.
            ResourceError: The disk is too small, or the cache cannot be written.
        """
        root = self.root
        with scratch_folder(root, store_files.STORES) as scratch:
            _check_disk(root / store_files.STORES, list(self.paths.values()), self.side)
            with contained.new_file(root, f"{scratch}/{PIXELS_FILE}", sync=False) as file:
                index = self._decode_all(file, progress)
                if index and self.conversion is None:
                    self._convert_again(file, index)
            store_files.add_undecodable(content for content, failure in self.failures.items() if failure.permanent)
            name = store_files.store_name(index.content_hashes if index else (), self.side, self.conversion)
            if index:
                store_files.write_index(root, scratch, index)
                if store_files.read_store(root, name) is None:
                    contained.remove_folder(root, name)  # damaged: a store of another process appears complete
                commit_folder(root, scratch, name)
        return name

    def _decode_all(self, file: BinaryIO, progress: ProgressCallback | None) -> StoreIndex | None:
        """Write the pixels of all files with the given conversion or the default."""
        good: list[str] = []
        facts, sizes, checks = list[tuple[int, int, bool]](), list[tuple[int, ...]](), list[int]()
        conversion = self.conversion or DEFAULT_CONVERSION
        work = ordered_map(
            lambda item: read_image(item[1], item[0], self.side, conversion), self.paths.items(), self.threads
        )
        with contextlib.closing(work) as results:
            for done, (content, result) in enumerate(zip(self.paths, results, strict=True), 1):
                if isinstance(result, DecodeFailure):
                    self.failures[content] = result
                else:
                    file.write(result.pixels.data)
                    good.append(content)
                    sizes.append(result.pixels.shape[:2])
                    facts.append((result.facts.max_value, result.facts.visible, result.facts.is_scaled))
                    checks.append(zlib.crc32(result.pixels.data))
                if progress:
                    progress(done, len(self.paths))
        if not good:
            return None
        max_values, visible, scaled = zip(*facts, strict=True)
        return StoreIndex(
            content_hashes=tuple(good),
            sizes=np.array(sizes, dtype=np.int32),
            max_values=np.array(max_values, dtype=np.int32),
            visible=np.array(visible, dtype=np.int16),
            scaled=np.array(scaled, dtype=np.bool_),
            checks=np.array(checks, dtype=np.uint32),
        )

    def _convert_again(self, file: BinaryIO, index: StoreIndex) -> None:
        """Replace the pixels of the images that the found conversion changes, now that it is known."""
        conversion, starts = index.found_conversion(), index.starts()
        is_rescaled = (index.max_values != EIGHT_BITS) & (conversion.max_value != MAX_16_BIT)
        is_moved = (index.visible != OPAQUE) & (conversion.background != DEFAULT_CONVERSION.background)
        places = np.flatnonzero(is_rescaled | is_moved).tolist()
        contents = [index.content_hashes[i] for i in places]
        work = ordered_map(
            lambda content: read_image(self.paths[content], content, self.side, conversion), contents, self.threads
        )
        with contextlib.closing(work) as results:
            for place, content, result in zip(places, contents, results, strict=True):
                if isinstance(result, DecodeFailure):  # the file was changed or removed a moment ago
                    raise ImageFileError(result.of(str(self.paths[content])), result.hint)
                file.seek(starts[place])
                file.write(result.pixels.data)
                index.checks[place] = zlib.crc32(result.pixels.data)


def read_image(path: Path, content: str, side: int, conversion: Conversion) -> DecodedImage | DecodeFailure:
    """Return the pixels of a file; its content must still match its hash."""
    try:
        with open_regular_file(path) as file:
            if not content.startswith(UNREADABLE_PREFIX) and hash_file(file) != content:
                return DecodeFailure(_("{name} changed while it was being read", name=path), permanent=False)
            file.seek(0)
            return decode_file(file, side, str(path), conversion)
    except ImageFileError as error:
        permanent = isinstance(error, UndecodableError) and not content.startswith(UNREADABLE_PREFIX)
        return DecodeFailure(error.fault, permanent, error.hint)


def undecodable_error(
    images: ImageIndex, content_hashes: Sequence[str], failures: dict[str, DecodeFailure]
) -> DataError:
    """Return the error that names the first images that cannot be decoded."""
    failed = [i for i, content in enumerate(content_hashes) if content in failures]
    examples = [failures[content_hashes[i]].of(images.keys[i]) for i in failed[:5]]
    faults = join([*examples, *(["…"] if len(failed) > 5 else [])], "; ")
    hints = {failures[content_hashes[i]].hint for i in failed}
    shared = hints.pop() if len(hints) == 1 else REPLACE_HINT  # what helps one image may not help the next
    if len(failed) == len(content_hashes):
        message = ngettext(
            "None of the {count:,} image of {source} can be decoded: {faults}.",
            "None of the {count:,} images of {source} can be decoded: {faults}.",
            len(content_hashes),
            source=images.source,
            faults=faults,
        )
        general = _("Check that these are image files ({formats}).", formats=", ".join(FORMATS))
        return DataError(message, general if shared == REPLACE_HINT else shared)
    message = ngettext(
        "{failed:,} of the {count:,} image of {source} cannot be decoded: {faults}.",
        "{failed:,} of the {count:,} images of {source} cannot be decoded: {faults}.",
        len(content_hashes),
        failed=len(failed),
        source=images.source,
        faults=faults,
    )
    if shared == REPLACE_HINT:
        return DataError(message, _("Leave them out with --skip-bad, or replace them."))
    return DataError(message, join([shared, _("Or leave out what cannot be decoded with --skip-bad.")]))


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
