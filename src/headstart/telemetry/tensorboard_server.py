"""Serve TensorBoard on a folder of runs."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from headstart.errors import DataError, ResourceError, UsageError
from headstart.i18n import Message, _

# TensorBoard subsamples longer series: its default limits of 1000 points and 10 images would hide most of a run.
SAMPLES_PER_PLUGIN = "scalars=100000,histograms=2000,images=1000"


def legend(folder: Path) -> list[Message]:
    """Return lines that explain the names of a study's extra runs in TensorBoard; empty for a folder without them."""
    if not any(next(folder.glob(pattern), None) for pattern in ("search/*", "*/search/*")):
        return []
    return [
        _(
            "Runs named search/… are trials of one learning rate on seeds of their own; mean-… is the mean over an "
            "arm's seeds."
        ),
        _("To see the comparison alone, filter the runs by ^(?!.*search/)."),
    ]


def launch(folder: Path, port: int, host: str = "127.0.0.1") -> str:
    """Serve `folder` in a thread until the process ends, and return the URL.

    Args:
        folder: Folder of runs.
        port: 0 uses any free port.
        host: Address to listen at; by default only this machine can connect.

    Raises:
        UsageError: The port is out of range.
        DataError: The folder does not exist.
        ResourceError: The port is in use, or the address is not of this machine.
    """
    if not 0 <= port <= 65535:
        raise UsageError(_("{port} is not a port.", port=port), _("Choose 1 to 65535, or 0 for any free port."))
    if not folder.is_dir():
        raise DataError(
            _("There is no folder {folder}.", folder=folder),
            _("Use the folder of your runs, e.g. `headstart tensorboard runs`."),
        )
    from tensorboard import program  # slow: after the checks
    from tensorboard.program import TensorBoardServerException

    board = program.TensorBoard()
    address = ["--port", str(port), "--host", host]
    board.configure(argv=[None, "--logdir", str(folder), *address, "--samples_per_plugin", SAMPLES_PER_PLUGIN])
    try:
        return str(board.launch())
    except (TensorBoardServerException, SystemExit) as error:  # it exits for an address of another machine
        reason = error.msg.strip() if isinstance(error, TensorBoardServerException) else _("not of this machine")
        raise ResourceError(
            _("TensorBoard cannot use {host}:{port} ({reason}).", host=host, port=port, reason=reason),
            _("Choose another --port, or another --host."),
        ) from None


def wait() -> None:
    """Block until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
