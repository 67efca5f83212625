"""Leave out classes that have too few images (`--min-per-class`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headstart.data.hashing import hash_files
from headstart.data.image_index import ImageIndex, class_counts_text
from headstart.data.splits import unit_numbers
from headstart.errors import DataError
from headstart.i18n import _, ngettext


def without_small_classes(images: ImageIndex, minimum: int) -> ImageIndex:
    """Return the index without classes that have fewer than `minimum` independent images or groups, with a note.

    Images of equal content and of one group count once. With declared splits, those of train count.

    Raises:
        DataError: Fewer than two classes remain.
    """
    pool = np.array([split in ("", "train") for split in images.splits], dtype=bool)
    units = unit_numbers(images, hash_files(images))
    pairs = np.unique(np.stack([images.labels[pool], units[pool]]), axis=1)  # (class, unit), each once
    counts = np.bincount(pairs[0], minlength=len(images.classes))
    small = {images.classes[i]: int(counts[i]) for i in np.flatnonzero(counts < minimum)}
    if not small:
        return images
    kept = [name for name in images.classes if name not in small]
    if len(kept) < 2:
        limit = int(np.sort(counts)[-2]) if len(counts) > 1 else 0
        raise DataError(
            ngettext(
                "--min-per-class {minimum} leaves {count} class of {source}.",
                "--min-per-class {minimum} leaves {count} classes of {source}.",
                len(kept),
                minimum=minimum,
                source=images.source,
            ),
            _("Use {limit} or less.", limit=limit) if limit else _("Add images of at least two classes."),
        )
    picked = images.pick(kept)
    note = ngettext(
        "Left out {count:,} class with fewer than {minimum} independent images or groups for training: {classes}.",
        "Left out {count:,} classes with fewer than {minimum} independent images or groups for training: {classes}.",
        len(small),
        minimum=minimum,
        classes=class_counts_text(small),
    )
    left_out = len(images) - len(picked)
    note = ngettext(
        "{note} This leaves out {count:,} image.",
        "{note} This leaves out {count:,} images.",
        left_out,
        note=note,
    )
    return replace(picked, notes=(*picked.notes, note))
