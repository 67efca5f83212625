"""Garbage collection of a process that belongs to headstart alone."""

from __future__ import annotations

import atexit
import gc

YOUNG_OBJECTS = 50_000  # new objects between two collections; the default suits small programs


def collect_rarely() -> None:
    """Collect garbage rarely, and not at the end of the process.

    The imports of a training make about a million objects, none of which is garbage. Searching them takes a tenth of
    a second at each of many collections, and half a second when the process ends.
    """
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)
