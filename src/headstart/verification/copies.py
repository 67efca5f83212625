"""The result on the test images that have no copy in another split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from headstart.verification.contrasts import contrast
from headstart.verification.declaration import Declaration
from headstart.verification.formulas import Values, sample_of
from headstart.verification.records import ClassifiedImages
from headstart.verification.tree import Tree


def without_copies(
    tables: dict[str, Values],
    images: ClassifiedImages,
    copies: npt.NDArray[np.bool_],
    declared: Declaration,
    level: float,
) -> Tree | None:
    """Return the result without images that have a copy in any of the runs; None if there are none.

    Args:
        tables: For each arm whether each image is classified correctly, [seeds, images].
        images: The images.
        copies: Whether each has a copy.
        declared: What the study declares.
        level: Level of the primary contrast.
    """
    if not copies.any():
        return None
    kept = ~copies
    result: Tree = {"copies": int(copies.sum()), "images": int(kept.sum()), "scores": {}, "contrast": None}
    if not kept.any():
        return result
    sample = sample_of(declared.protocol.metric, images.labels[kept], images.units[kept])
    parts = {name: table[:, kept] for name, table in tables.items()}
    result["scores"] = {name: float((part * sample.weights).mean()) for name, part in parts.items()}
    first, second = declared.primary
    if sample.g > 1 and len(parts[first]) > 1:
        difference, margin = parts[first] - parts[second], declared.protocol.margin_width
        result["contrast"] = contrast(difference, (first, second), level, margin, sample, primary=True)
    return result
