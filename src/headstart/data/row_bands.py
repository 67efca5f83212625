"""Divide the rows of a large image into bands, so that intermediate values take little memory."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

MAX_VALUES = 1 << 20  # of a band


def bands(values: npt.NDArray[np.generic]) -> list[slice]:
    """Return bands of rows: intermediate values of a whole large image would take several times its memory."""
    rows = max(1, MAX_VALUES // max(1, math.prod(values.shape[1:])))
    return [slice(begin, begin + rows) for begin in range(0, len(values), rows)]
