"""Entry point of `python -m headstart` and of the `headstart` command; light, so that Ctrl-C is caught early."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C during its import ends the process without a traceback."""
    try:
        from headstart.hardware.garbage import collect_rarely

        collect_rarely()
        from headstart.cli.main import main as command

        command()
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C.\nRun the command again.", file=sys.stderr)  # noqa: T201
        sys.exit(130)


if __name__ == "__main__":
    main()
