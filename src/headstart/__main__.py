"""Entry point of `python -m headstart` and of the `headstart` command; light, so that Ctrl-C is caught early."""

from __future__ import annotations

import os
import sys
from types import TracebackType


def main() -> None:
    """Run the command line; Ctrl-C during its import ends the process without a traceback."""
    try:
        _restart_in_utf8()
        from headstart import streams
        from headstart.errors import ResourceError
        from headstart.i18n import translated

        streams.replace_streams()
        sys.excepthook = _print_traceback
        from headstart.hardware.garbage import collect_rarely

        collect_rarely()
        from headstart.cli.main import main as command

        try:
            command()
            code: int | str | None = 0
        except SystemExit as end:
            code = end.code
        if sentence := streams.lost_output():
            print(translated(sentence), file=sys.stderr)  # noqa: T201
            code = code or ResourceError.exit_code
        sys.exit(code)
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C.\nRun the command again.", file=sys.stderr)  # noqa: T201
        sys.exit(130)


def _print_traceback(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Print the traceback of an error of --debug; its message may have names, whose control characters are escaped."""
    from headstart.cli.output import print_traceback

    print_traceback(error)


def _restart_in_utf8() -> None:
    """Replace this process by one in Python's UTF-8 mode if the locale has another encoding.

    Names of files are UTF-8 nearly everywhere, whatever the locale. In the locale C without coercion Python would read
    them as ASCII, and paths could not be written to plans and records.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"  # for worker processes
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
