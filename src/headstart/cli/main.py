"""Command line: parse the arguments, run a command, and turn errors into two sentences and an exit code."""

from __future__ import annotations

import itertools
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from cyclopts import App, CycloptsError

from headstart.config.plugins import load_plugins
from headstart.errors import HeadstartError, as_headstart_error, require_supported_platform
from headstart.i18n import _


def main(arguments: list[str] | None = None) -> None:
    """Run a command. An error prints its message and its hint on stderr, and a traceback only with --debug.

    Args:
        arguments: words of the command line. Default: those of the process.

    Raises:
        SystemExit: the command failed; the code is that of the error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in itertools.takewhile(lambda word: word != "--", words)
    for stream in (sys.stdout, sys.stderr):  # escape characters that the terminal's encoding lacks
        getattr(stream, "reconfigure", lambda **_unused: None)(errors="backslashreplace")
    try:
        require_supported_platform()
        load_plugins()
        app = _application()
        app.meta(words, exit_on_error=False, print_error=False)
    except KeyboardInterrupt:
        _ignore_interrupts(arguments)
        _exit_with(HeadstartError(_("Stopped by Ctrl-C."), _("Run the command again.")), 130)
    except Exception as error:
        if debug:
            raise
        converted = _converted(error)
        _ignore_interrupts(arguments)
        _exit_with(converted, converted.exit_code)


def _application() -> App:
    """Return the application with its commands.

    They are imported after the plugins: their help lists the rows of the registries at the time of the import.
    """
    from headstart.cli import (  # noqa: F401
        ablate,
        check,
        compare,
        completion,
        figures,
        import_log,
        inspect,
        pool,
        predict,
        reports,
        train,
        verify,
    )
    from headstart.cli.app import app

    return app


def _ignore_interrupts(arguments: list[str] | None) -> None:
    """Ignore a second Ctrl-C in a process of our own: it would make a regular exit look like a crash."""
    if arguments is None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _converted(error: Exception) -> HeadstartError:
    if isinstance(error, CycloptsError):
        from headstart.cli.usage import usage_error

        return usage_error(error)
    return as_headstart_error(error)


def _exit_with(error: HeadstartError, code: int) -> NoReturn:
    if sys.stdout is not None:
        with suppress(OSError, ValueError):  # a closed pipe
            sys.stdout.flush()  # the error refers to what was printed before it, also where both go to one file
    if sys.stderr is not None:  # closed with `2>&-`; print would write to stdout
        from headstart.cli.output import print_errors

        print_errors([error.message, error.hint])
    sys.exit(code)
