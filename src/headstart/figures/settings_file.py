"""Import matplotlib without a file of settings in the working folder, which may be somebody else's."""

from __future__ import annotations

import importlib
import os
from importlib.util import find_spec
from pathlib import Path

SETTINGS_FILE = "matplotlibrc"


def import_matplotlib() -> None:
    """Import matplotlib; a `matplotlibrc` in the working folder is not read.

    matplotlib reads the first one that it finds when it is imported, and looks in the working folder before all others,
    whatever the environment says. For the time of the import the working folder is that of its own default file.
    Figures have a style of their own.

    Raises:
        ImportError: It is not installed.
    """
    spec = find_spec("matplotlib")
    place = spec.origin if spec is not None and os.path.lexists(SETTINGS_FILE) else None
    if place is None:
        importlib.import_module("matplotlib")
        return
    folder = Path.cwd()
    try:
        os.chdir(Path(place).parent / "mpl-data")
        importlib.import_module("matplotlib")
    finally:
        os.chdir(folder)
