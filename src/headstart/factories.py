"""Import paths of factories, such as `torch.optim:AdamW`, which are resolved when they are used."""

from __future__ import annotations

import importlib
from typing import Any


def load_factory(path: str) -> Any:
    """Return the object at an import path `MODULE:NAME`.

    Raises:
        ImportError: The module cannot be imported.
        AttributeError: The module has no such object.
    """
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
