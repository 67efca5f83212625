"""TensorBoard as the tests meet it: a process that is asked over HTTP, or an event file read back."""

import json
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from google.protobuf.json_format import MessageToJson
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util import tensor_util

from tests.conftest import environment_for_processes

CONFIGURATION = (
    "hparams",
    "custom_scalars",
)  # what a board is told about a run, rather than a point of it; has no time


def points(folder: Path) -> list[tuple[str, int, float, str, str]]:
    """All that a run's event file says, in order: (tag, step, time, plugin, content).

    An emptied one may lie beside it.
    """
    (file,) = (file for file in folder.glob("events.out.tfevents.*") if file.stat().st_size)
    found = []
    for event in EventFileLoader(str(file)).Load():
        for value in event.summary.value:
            plugin = value.metadata.plugin_data.plugin_name
            content = str(tensor_util.make_ndarray(value.tensor).tolist())
            if plugin == "hparams":  # a protocol buffer's map has no order
                about = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                content = MessageToJson(about, sort_keys=True)
            when = 0.0 if plugin in CONFIGURATION else event.wall_time
            found.append((value.tag, event.step, when, plugin, content))
    return found


class Board:
    """A TensorBoard on a folder, in a process of its own: `with Board(folder) as board: board.get(...)`."""

    def __init__(self, folder: Path, *flags: str, ours: bool = False) -> None:
        """`ours` starts it as `headstart board FOLDER`, else it is `tensorboard --logdir FOLDER FLAGS…`."""
        words = [
            "-m",
            "tensorboard.main",
            "--logdir",
            str(folder),
            "--host",
            "127.0.0.1",
            "--reload_interval",
            "1",
            *flags,
        ]
        if ours:
            words = ["-c", "from headstart.cli.main import main; main()", "board", str(folder)]
        self.process = subprocess.Popen(
            [sys.executable, *words, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment_for_processes(),
        )
        self._told: Queue[str] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.url = self._address()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._told.put(line)

    def _address(self) -> str:
        said = ""
        try:
            while "http://127.0.0.1:" not in (line := self._told.get(timeout=60)):
                said += line
        except Empty:
            self.stop()
            raise AssertionError(f"TensorBoard told no address: {said}") from None
        return next(word for word in line.split() if word.startswith("http://127.0.0.1:")).rstrip("/")

    def get(self, path: str, **query: Any) -> Any:
        return json.loads(self.bytes(path, **query))

    def bytes(self, path: str, **query: Any) -> bytes:
        words = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(f"{self.url}/data/{path}{words}", timeout=30) as answer:
            return answer.read()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"{self.url}/data/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def scalars(self, run: str, tag: str) -> list[tuple[float, int, float]]:
        """(time, step, value) of each point."""
        return [tuple(point) for point in self.get("plugin/scalars/scalars", run=run, tag=tag)]

    def until(self, ready: Callable[["Board"], Any], seconds: float = 60) -> None:
        """Wait until `ready` says so: TensorBoard reads its files again every second or every five."""
        end = time.monotonic() + seconds
        while not ready(self):
            assert time.monotonic() < end, f"TensorBoard has {self.get('plugin/scalars/tags').keys()}, not what we want"
            time.sleep(0.2)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
