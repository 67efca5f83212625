"""`python -m headstart`, and the door that the installed command opens: it is light, so that Ctrl-C is heard early."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is being imported ends it without a traceback."""
    try:
        from headstart.cli.main import main as command

        command()
    except KeyboardInterrupt:
        print("Stopped; nothing was lost.\nRun the command again.", file=sys.stderr)  # noqa: T201
        sys.exit(130)


if __name__ == "__main__":
    main()
