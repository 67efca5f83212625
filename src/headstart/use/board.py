"""TensorBoard, opened on a folder of runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tensorboard import program
from tensorboard.program import TensorBoardServerException

from headstart.errors import DataError, ResourceError


def serve(folder: Path, port: int, tell: Callable[[str], None]) -> None:
    """Serve `folder` on this machine only, tell the address, and stay until interrupted.

    Raises DataError for a folder that is not there, ResourceError when the port is taken.
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}.", "Name the folder your runs are in, e.g. `headstart board runs`."
        )
    board = program.TensorBoard()
    board.configure(argv=[None, "--logdir", str(folder), "--port", str(port), "--host", "127.0.0.1"])
    try:
        tell(board.launch())
    except TensorBoardServerException as error:
        raise ResourceError(
            f"TensorBoard cannot use port {port} ({error.msg.strip()}).", "Choose another with --port."
        ) from None
    threading.Event().wait()
