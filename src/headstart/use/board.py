"""TensorBoard, opened on a folder of runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from tensorboard import program
from tensorboard.program import TensorBoardServerException

from headstart.errors import DataError, ResourceError

# TensorBoard thins out what is longer: its own limits of 1000 points and 10 pictures would hide most of a run.
SAMPLES = "scalars=100000,histograms=2000,images=1000"


def serve(folder: Path, port: int, tell: Callable[[str], None]) -> None:
    """Serve `folder` on this machine only, tell the address, and stay until interrupted.

    Raises DataError for a folder that is not there, ResourceError when the port is taken.
    """
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
