"""Peak anonymous memory of a run, in a process of its own; mapped pages of the store are not counted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path


def anonymous(pid: int) -> int:
    """Bytes of anonymous resident memory of a process now (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def peak(source: str, size: int) -> int:
    """The largest anonymous memory seen during a short run of `headstart train`, looked at fifty times a second."""
    with tempfile.TemporaryDirectory() as runs:
        words = ["train", source, "--image-size", str(size), "--epochs", "12st", "--runs", runs]
        run = "from headstart.cli import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", run, *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        found = 0
        while process.poll() is None:
            try:
                found = max(found, anonymous(process.pid))
            except (FileNotFoundError, ProcessLookupError):
                break
            time.sleep(0.02)
        if process.wait() != 0:
            raise RuntimeError(f"the run ended with exit code {process.returncode}")
    return found


def table(source: str, size: int) -> list[str]:
    """One row: the peak of a run on `source`."""
    return [f"peak anonymous memory, {source} at {size} px: {peak(source, size) / 1e9:.2f} GB"]
