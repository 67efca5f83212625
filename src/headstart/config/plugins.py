"""Modules that add rows to the registries, named in the environment variable `HEADSTART_PLUGINS`."""

from __future__ import annotations

import importlib
import os

from headstart.errors import UsageError
from headstart.i18n import _

VARIABLE = "HEADSTART_PLUGINS"


def load_plugins() -> None:
    """Import the modules in `HEADSTART_PLUGINS`, separated by commas.

    The command line, the public names of `headstart` and each worker process call this before they read a plan. A
    module that is imported already costs nothing. Worker processes inherit the variable.

    Raises:
        UsageError: A module cannot be imported.
    """
    for name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        try:
            importlib.import_module(name)
        except Exception as error:  # any statement of the module may fail
            raise UsageError(
                _(
                    "The plugin {name} in {variable} cannot be imported ({kind}: {error}).",
                    name=name,
                    variable=VARIABLE,
                    kind=type(error).__name__,
                    error=error,
                ),
                _("Install the module or put its folder on PYTHONPATH, or remove it from the variable."),
            ) from error
