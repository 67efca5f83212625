"""TensorBoard, opened on a folder of runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from tensorboard import program
from tensorboard.program import TensorBoardServerException

from headstart.errors import DataError, ResourceError, UsageError

# TensorBoard thins out what is longer: its own limits of 1000 points and 10 pictures would hide most of a run.
SAMPLES = "scalars=100000,histograms=2000,images=1000"


def legend(folder: Path) -> list[str]:
    """What the runs are that a study has beside those of its comparison, as TensorBoard names them."""
    if not any(next(folder.glob(place), None) for place in ("search/*", "*/search/*")):
        return []
    return [
        "Runs named search/… tried a learning rate each, on seeds of their own; mean-… is the mean of an arm's seeds.",
        "To see the comparison alone, filter the runs by ^(?!.*search/).",
    ]


def serve(folder: Path, port: int, tell: Callable[[str], None]) -> None:
    """Serve `folder` on this machine only, tell the address, and stay until interrupted.

    Raises UsageError for a number that is no port, DataError for a folder that is not there, ResourceError when it
    is taken.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is no port.", "Choose one from 1 to 65535, or 0 for any that is free.")
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}.", "Name the folder your runs are in, e.g. `headstart board runs`."
        )
    board = program.TensorBoard()
    address = ["--port", str(port), "--host", "127.0.0.1"]
    board.configure(argv=[None, "--logdir", str(folder), *address, "--samples_per_plugin", SAMPLES])
    try:
        tell(board.launch())
    except TensorBoardServerException as error:
        raise ResourceError(
            f"TensorBoard cannot use port {port} ({error.msg.strip()}).", "Choose another with --port."
        ) from None
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
