"""TensorBoard for tests: a server process that is queried over HTTP, and a reader of event files."""

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

CONFIGURATION_PLUGINS = ("hparams", "custom_scalars")  # their values describe a run and have no time


def points(folder: Path) -> list[tuple[str, int, float, str, str]]:
    """Return the content of a run's event file, in order: (tag, step, time, plugin, content).

    An empty event file may be in the folder too, and one with the results on test of a run of a study.
    """
    files = sorted(file for file in folder.glob("events.out.tfevents.*") if file.stat().st_size)
    assert len(files) == 1 or (files[1].name == f"{files[0].name}.test" and len(files) == 2), files
    values = []
    for event in (event for file in files for event in EventFileLoader(str(file)).Load()):
        for value in event.summary.value:
            plugin = value.metadata.plugin_data.plugin_name
            content = str(tensor_util.make_ndarray(value.tensor).tolist())
            if plugin == "hparams":  # a protocol buffer's map has no order
                message = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                content = MessageToJson(message, sort_keys=True)
            wall_time = 0.0 if plugin in CONFIGURATION_PLUGINS else event.wall_time
            values.append((value.tag, event.step, wall_time, plugin, content))
    return values


class TensorBoardServer:
    """A TensorBoard process on a folder: `with TensorBoardServer(folder) as board: board.get(...)`."""

    def __init__(self, folder: Path, *flags: str, headstart: bool = False) -> None:
        """Start `headstart tensorboard FOLDER`, or `tensorboard --logdir FOLDER FLAGS…` unless `headstart` is set."""
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
        if headstart:
            words = ["-c", "from headstart.cli.main import main; main()", "tensorboard", str(folder)]
        self.process = subprocess.Popen(
            [sys.executable, *words, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment_for_processes(),
        )
        self._output: Queue[str] = Queue()
        threading.Thread(target=self._read_output, daemon=True).start()
        self.url = self._address()

    def _read_output(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._output.put(line)

    def _address(self) -> str:
        output = ""
        try:
            while "http://127.0.0.1:" not in (line := self._output.get(timeout=60)):
                output += line
        except Empty:
            self.stop()
            raise AssertionError(f"TensorBoard printed no address: {output}") from None
        return next(word for word in line.split() if word.startswith("http://127.0.0.1:")).rstrip("/")

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at `path`."""
        return json.loads(self.bytes(path, **query))

    def bytes(self, path: str, **query: Any) -> bytes:
        """Return the content at `path`."""
        words = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(f"{self.url}/data/{path}{words}", timeout=30) as response:
            return response.read()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Post `body` as JSON and return the JSON response."""
        request = urllib.request.Request(
            f"{self.url}/data/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def scalars(self, run: str, tag: str) -> list[tuple[float, int, float]]:
        """Return (time, step, value) of each point."""
        return [tuple(point) for point in self.get("plugin/scalars/scalars", run=run, tag=tag)]

    def wait_until(self, ready: Callable[["TensorBoardServer"], Any], seconds: float = 60) -> None:
        """Wait until `ready` returns True: TensorBoard reads its files every second or every five."""
        end = time.monotonic() + seconds
        while not ready(self):
            assert time.monotonic() < end, f"timed out; TensorBoard has {self.get('plugin/scalars/tags').keys()}"
            time.sleep(0.2)

    def stop(self) -> int:
        """Terminate the process and return its exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def __enter__(self) -> "TensorBoardServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
